"""Elliptical power law with a core."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import radius_squared
from giga.mass.base import MassProfile
from giga.mass.forms.functions import gauss_legendre, growth, log1p_ratio
from giga.mass.forms.homoeoid import deflection, ellipse, ring

RINGS = 48


class SPEMD(MassProfile):
    """Cored elliptical power law, kappa = (3-gamma)/2 (theta_E^2 / (q x^2 + y^2/q + s_scale^2))^((gamma-1)/2).

    By quadrature over rings, spaced evenly in the logarithm of R^2 + s_scale^2.

    Attributes:
        theta_E: Einstein radius on the intermediate axis for no core [arcsec].
        gamma: Slope of the three-dimensional density outside the core, 1 < gamma < 3; 2 is isothermal.
        s_scale: Core radius on the intermediate axis [arcsec].
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].

    References:
        Barkana (1998), ApJ 502, 531, eq. 3 (the convergence); see `giga.mass.forms.homoeoid` for the fields.
    """

    theta_E: Param
    gamma: Param
    s_scale: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"theta_E": (0.0, math.inf), "gamma": (1.0, 3.0), "s_scale": (0.0, math.inf), "e1": (-1.0, 1.0),
              "e2": (-1.0, 1.0)}

    def potential(self, x: Array, y: Array) -> Array:
        # The rings' own integral by parts: of m(v) (1 - w) / v, m the mass inside the ring over 2 pi
        x, y = jnp.broadcast_arrays(x - self.center_x, y - self.center_y)
        _, _, squared, w = ellipse(x, y, self.e1, self.e2)
        g, step, ratio = self._spacing(squared)
        inside = jnp.expm1((1.5 - 0.5 * self.gamma) * jnp.log1p(ratio * g * ring(g, w)))
        total = jnp.sum(step / g * inside / ring(g, w), -1) * (1.0 - w[..., 0])
        return 0.5 * self._scale() * self.s_scale**2 * total.real

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = jnp.broadcast_arrays(x - self.center_x, y - self.center_y)
        u, v, squared, w = ellipse(x, y, self.e1, self.e2)
        g, step, ratio = self._spacing(squared)
        falling = jnp.exp((0.5 - 0.5 * self.gamma) * jnp.log1p(ratio * g * ring(g, w)))
        return deflection(u, v, (1.5 - 0.5 * self.gamma) * self._scale() * step * falling)

    def convergence(self, x: Array, y: Array) -> Array:
        squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        ratio = self.theta_E**2 / (squared + self.s_scale**2)
        return (1.5 - 0.5 * self.gamma) * ratio ** (0.5 * (self.gamma - 1.0))

    def _scale(self) -> Array:
        return (self.theta_E**2 / self.s_scale**2) ** (0.5 * (self.gamma - 1.0))

    def _spacing(self, squared: Array) -> tuple[Array, Array, Array]:
        """Rings g = ((1 + R^2 / s^2)^eta - 1) s^2 / R^2, their dg, and R^2 / s^2, all with an axis over the rings."""
        eta, weights = (jnp.asarray(part, squared.dtype) for part in gauss_legendre(RINGS))
        ratio = (squared / self.s_scale**2)[..., None]
        log = jnp.log1p(ratio)
        # expm1(log eta) / ratio, without a division by what vanishes at the centre
        rise = eta * growth(-log * eta) * log1p_ratio(ratio)
        return rise, weights * log1p_ratio(ratio) * jnp.exp(log * eta), ratio
