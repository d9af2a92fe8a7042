"""Generalised Navarro-Frenk-White halo: a free inner slope."""

import math

import jax
import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.mass.base import MassProfile
from giga.mass.forms.functions import gauss_legendre, pick, softening

INNER, MIDDLE, OUTER, RADII = 54, 24, 40, 48  # terms and nodes, see `_mass` and `GNFW.potential`


class GNFW(MassProfile):
    """Halo with rho proportional to (r/Rs)^-gamma_in (1 + r/Rs)^(gamma_in - 3), spherical.

    The mass in a cylinder is that in a sphere, an incomplete beta function, and a quadrature over what lies before
    and behind it. The potential is a quadrature of the deflection.

    Attributes:
        Rs: Scale radius [arcsec].
        alpha_Rs: Deflection at Rs [arcsec].
        gamma_in: Inner slope, 0 < gamma_in < 3; 1 is the NFW halo.
        center_x, center_y: Centre [arcsec].

    References:
        Wyithe, Turner & Spergel (2001), ApJ 555, 504; Keeton (2001), arXiv:astro-ph/0102341, eqs. 65-68.
    """

    Rs: Param
    alpha_Rs: Param
    gamma_in: Param
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"Rs": (0.0, math.inf), "gamma_in": (0.0, 3.0)}

    def potential(self, x: Array, y: Array) -> Array:
        x, y = x - self.center_x, y - self.center_y
        x0 = jnp.sqrt(x**2 + y**2 + softening(x)) / self.Rs
        nodes, weights = (jnp.asarray(part, x0.dtype) for part in gauss_legendre(RADII))
        # psi is the integral of M(x) / x; x = x0 t^k makes it smooth at t = 0, and the floor is far below what counts
        k, smallest = 6.0 / (3.0 - self.gamma_in), pick(x, 1e-30, 1e-200)

        def shell(node: tuple[Array, Array]) -> Array:
            return node[1] * k / node[0] * _mass(jnp.maximum(x0 * node[0] ** k, smallest), self.gamma_in)

        return self._scale(x0) * self.Rs**2 * jnp.sum(jax.lax.map(shell, (nodes, weights)), axis=0)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.center_x, y - self.center_y
        r = jnp.sqrt((x**2 + y**2 + softening(x)) / self.Rs**2)
        slope = self._scale(r) * _mass(r, self.gamma_in) / r / r  # one by one, for float32
        return slope * x, slope * y

    def _scale(self, like: Array) -> Array:
        return self.alpha_Rs / self.Rs / _mass(jnp.ones((), like.dtype), self.gamma_in)


def _mass(x: Array, gamma: Array) -> Array:
    """Mass in a cylinder of radius x > 0, in scale radii and up to a factor."""
    a = 3.0 - gamma
    # In the sphere: of y^(a - 1) / (1 - y) to x / (1 + x); by a power series to y = 1/2, by quadrature over
    # -ln(1 - y) beyond it
    y = jnp.where(x < 1.0, x / (1.0 + x), 0.5)  # not a minimum, whose derivative is halved where both are one
    orders = jnp.arange(INNER - 1, -1, -1)
    sphere = y**a * jnp.polyval(1.0 / (a + orders), y, unroll=INNER)
    nodes, weights = (jnp.asarray(part, x.dtype) for part in gauss_legendre(MIDDLE))
    width = jnp.log1p(jnp.where(x < 1.0, 1.0, x)) - jnp.log(2.0)
    sphere = sphere + width * jnp.sum(weights * (-jnp.expm1(-jnp.log(2.0) - width[..., None] * nodes)) ** (a - 1.0), -1)
    # Around it: of (1 + y/x)^-a (1 - sqrt(1 - y^2)) / y to 1, by quadrature over eta = ln(1 + y/x) / ln(1 + 1/x),
    # which is h (2 - h) for the root to be smooth at y = 1
    h, weights = (jnp.asarray(part, x.dtype) for part in gauss_legendre(OUTER))
    # That logarithm without 1/x where x is small, whose slope leaves single precision
    log = jnp.where(x < 1.0, jnp.log1p(x) - jnp.log(x), jnp.log1p(1.0 / jnp.where(x < 1.0, 1.0, x)))[..., None]
    x = x[..., None]
    eta = h * (2.0 - h)
    y, left = x * jnp.expm1(log * eta), -(1.0 + x) * jnp.expm1(-log * (1.0 - h) ** 2)
    ring = jnp.exp((1.0 - a) * log * eta) * y / (1.0 + jnp.sqrt(left * (1.0 + y)))
    return sphere + jnp.sum(weights * 2.0 * (1.0 - h) * x * log * ring, -1)
