"""Sersic mass: stars with a mass-to-light ratio."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import radius_squared
from giga.mass.base import MassProfile
from giga.mass.forms.functions import gauss_legendre, softening
from giga.mass.forms.homoeoid import deflection, ellipse, ring

RINGS = 48
DEPTH = 40.0  # exponent at which the mass is cut: 4e-18 of the central one


class Sersic(MassProfile):
    """Sersic profile of the mass, kappa = mass_to_light k_eff exp(-b_n ((R / R_sersic)^(1/n) - 1)), elliptical.

    b_n = 1.9992 n - 0.3271, which is the light's with b_n = "linear"; the light's own default is the exact one. To let
    mass follow light, give the light that form, and tie the shape to that of the light and k_eff to its amplitude:
    `mass_to_light` is then the convergence of a surface brightness of one.

    Attributes:
        k_eff: Convergence at R_sersic for mass_to_light = 1.
        R_sersic: Half-mass radius on the intermediate axis [arcsec].
        n_sersic: Sersic index.
        e1, e2: Ellipticity components of the mass, (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
        mass_to_light: Factor of the convergence.

    References:
        Cardone (2004), A&A 415, 839 (the convergence); see `giga.mass.forms.homoeoid` for the fields.
    """

    k_eff: Param
    R_sersic: Param
    n_sersic: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    mass_to_light: Param = 1.0

    ranges = {"R_sersic": (0.0, math.inf), "n_sersic": (0.17, math.inf), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0),
              "mass_to_light": (0.0, math.inf)}

    def potential(self, x: Array, y: Array) -> Array:
        x, y = jnp.broadcast_arrays(x - self.center_x, y - self.center_y)
        _, _, squared, w = ellipse(x, y, self.e1, self.e2)
        g, mass = self._rings(squared, w)
        return 0.5 * squared * jnp.sum(mass * (jnp.log(ring(g, w)) - jnp.log(g)) * (1.0 - w + 2.0 * w * g), -1).real

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = jnp.broadcast_arrays(x - self.center_x, y - self.center_y)
        u, v, squared, w = ellipse(x, y, self.e1, self.e2)
        return deflection(u, v, self._rings(squared, w)[1])

    def convergence(self, x: Array, y: Array) -> Array:
        squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2) + softening(x)
        return self._peak() * jnp.exp(-self._exponent(squared))

    def _b(self) -> Array:
        return 1.9992 * self.n_sersic - 0.3271

    def _peak(self) -> Array:
        return self.mass_to_light * self.k_eff * jnp.exp(self._b())

    def _exponent(self, squared: Array) -> Array:
        return self._b() * jnp.exp(0.5 / self.n_sersic * jnp.log(squared / self.R_sersic**2))

    def _rings(self, squared: Array, w: Array) -> tuple[Array, Array]:
        """Rings g and their kappa dg as `giga.mass.forms.homoeoid` has them: g = h^p, p = 4 + n / 2, 0 < h < 1.

        The power makes the cusp of the convergence and the logarithm of the potential smooth enough for Gauss's
        nodes. Beyond DEPTH there is no mass, and no ring.
        """
        exponent = self._exponent(squared)[..., None]
        # Rings of flat lenses turn by arcsin|e| at most, which takes from the real part of the exponent.
        turn = (1.0 - self.e1**2 - self.e2**2) ** (-0.25 / self.n_sersic)
        kept = jnp.minimum(exponent, DEPTH * turn)
        h, weights = (jnp.asarray(part, squared.dtype) for part in gauss_legendre(RINGS))
        power = 4.0 + 0.5 * self.n_sersic
        g = jnp.exp(2.0 * self.n_sersic * jnp.log(kept / exponent)) * h**power
        turn = jnp.exp(jnp.log(ring(g, w)) / (2.0 * self.n_sersic))
        return g, self._peak() * jnp.exp(-kept * h ** (power / (2.0 * self.n_sersic)) * turn) * weights * power * g / h
