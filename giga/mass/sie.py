"""Singular isothermal ellipsoid in closed form."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import radius_squared
from giga.mass.base import MassProfile
from giga.mass.forms.functions import pick, softening

ORDER = 9  # of the series for nearly round lenses, to rounding below the ellipticity at which it ends


class SIE(MassProfile):
    """Singular isothermal ellipsoid, kappa = theta_E / (2 sqrt(q x^2 + y^2 / q)): the EPL at gamma = 2.

    Attributes:
        theta_E: Einstein radius on the intermediate axis [arcsec].
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].

    References:
        Kormann, Schneider & Bartelmann (1994), A&A 284, 285, eq. 27a.
    """

    theta_E: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"theta_E": (0.0, math.inf), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}

    def potential(self, x: Array, y: Array) -> Array:
        alpha_x, alpha_y = self.deflection(x, y)
        return (x - self.center_x) * alpha_x + (y - self.center_y) * alpha_y

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.center_x, y - self.center_y
        # The angular series of the EPL in w = -conj(E) u / conj(u) sums to arctanh(t) / t for t^2 = w.
        u, v = x - self.e1 * x - self.e2 * y, y - self.e2 * x + self.e1 * y
        length = jnp.sqrt(u**2 + v**2 + softening(x))
        u, v = u / length, v / length
        e_squared = self.e1**2 + self.e2**2
        flat = e_squared > pick(x, 0.04, 0.01) ** 2
        near, near_imag = self._series(u, v, flat)
        far, far_imag = self._closed(u, v, flat, pick(x, 0.04, 0.01))
        real, imag = jnp.where(flat, far, near), jnp.where(flat, far_imag, near_imag)
        scale = self.theta_E * jnp.sqrt(1.0 - e_squared)
        return scale * real, scale * imag

    def convergence(self, x: Array, y: Array) -> Array:
        squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        return 0.5 * self.theta_E / jnp.sqrt(squared + softening(squared))

    def _closed(self, u: Array, v: Array, flat: Array, smallest: float) -> tuple[Array, Array]:
        """arctanh(kappa (u + i v)) / kappa, kappa^2 = -conj(E), for a lens that is not round."""
        e1, e2 = jnp.where(flat, self.e1, smallest), jnp.where(flat, self.e2, 0.0)
        e = jnp.sqrt(e1**2 + e2**2)
        root, angle = jnp.sqrt(e), 0.5 * jnp.arctan2(e2, -e1)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        a, b = root * (cos * u - sin * v), root * (cos * v + sin * u)
        p, r = 0.5 * jnp.arctanh(2.0 * a / (1.0 + e)), 0.5 * jnp.arctan(2.0 * b / (1.0 - e))
        return (cos * p + sin * r) / root, (cos * r - sin * p) / root

    def _series(self, u: Array, v: Array, flat: Array) -> tuple[Array, Array]:
        """(u + i v) times the sum of w^k / (2 k + 1), for a lens that is nearly round."""
        e1, e2 = jnp.where(flat, 0.0, self.e1), jnp.where(flat, 0.0, self.e2)
        cos, sin = u**2 - v**2, 2.0 * u * v
        w, z = -(e1 * cos + e2 * sin), e2 * cos - e1 * sin
        total, total_imag = jnp.zeros_like(w), jnp.zeros_like(w)
        for k in range(ORDER - 1, -1, -1):
            total, total_imag = 1.0 / (2 * k + 1) + w * total - z * total_imag, w * total_imag + z * total
        return u * total - v * total_imag, u * total_imag + v * total
