"""Navarro-Frenk-White halo, spherical or elliptical in the potential."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.mass.base import MassProfile
from giga.mass.forms.functions import softening


class NFW(MassProfile):
    """NFW halo; with an ellipticity, its potential (not its mass) is constant on ellipses.

    Attributes:
        Rs: Scale radius [arcsec].
        alpha_Rs: Deflection of the spherical halo at Rs [arcsec].
        e1, e2: Ellipticity of the potential; the radius is
            R^2 = r^2 - 2 (e1 (x^2 - y^2) + 2 e2 x y) / (1 + |e|^2).
        center_x, center_y: Centre [arcsec].

    References:
        Golse & Kneib (2002), A&A 390, 821, eqs. 1-8 and 11-14.
    """

    Rs: Param
    alpha_Rs: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"Rs": (0.0, math.inf), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}

    def potential(self, x: Array, y: Array) -> Array:
        _, _, r_squared, _, _ = self._ellipse(x, y)
        inside, s, log_half = _split(r_squared)
        # h = ln^2(X/2) - arccosh^2(1/X): both squares are large and near at small X, so factor them.
        # Each branch is given an argument of its own domain where the other one is taken.
        sum_ = jnp.log1p(-jnp.where(inside, r_squared, 0.5) / (2.0 * (1.0 + jnp.where(inside, s, 0.0))))
        inner = -sum_ * (sum_ - 2.0 * log_half)
        outer = log_half**2 + jnp.arctan(jnp.where(inside, 1.0, s)) ** 2
        near = log_half**2 - (1.0 - r_squared) * _arctanh_ratio(1.0 - r_squared) ** 2
        far = jnp.where(inside, inner, outer)
        h = jnp.where(jnp.abs(1.0 - r_squared) < NEAR, near, far)
        return 0.5 * self.alpha_Rs * self.Rs / (1.0 - jnp.log(2.0)) * h

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y, r_squared, c1, c2 = self._ellipse(x, y)
        inside, s, log_half = _split(r_squared)
        s_in = jnp.where(inside, s, 0.5)
        # g / X^2 for X < 1, with the logarithms of small X cancelled by hand
        drop = jnp.where(inside, r_squared, 0.5) / (2.0 * (1.0 + s_in))
        large = jnp.maximum(drop, 1e-3)
        log_ratio = jnp.where(drop < 1e-3, -1.0 - drop * (0.5 + drop / 3.0), jnp.log1p(-large) / large)
        inner = (0.5 * log_ratio - log_half) / ((1.0 + s_in) * s_in)
        s_out = jnp.where(inside, 1.0, s)
        outer = (log_half + jnp.arctan(s_out) / s_out) / r_squared
        near = (log_half + _arctanh_ratio(1.0 - r_squared)) / r_squared
        g = jnp.where(jnp.abs(1.0 - r_squared) < NEAR, near, jnp.where(inside, inner, outer))
        scale = self.alpha_Rs / self.Rs / (1.0 - jnp.log(2.0)) * g
        return scale * (x - c1 * x - c2 * y), scale * (y - c2 * x + c1 * y)

    def _ellipse(self, x: Array, y: Array):
        """Offsets, squared elliptical radius in units of Rs, and the coefficients of its gradient."""
        x, y = x - self.center_x, y - self.center_y
        factor = 2.0 / (1.0 + self.e1**2 + self.e2**2)
        c1, c2 = factor * self.e1, factor * self.e2
        r_squared = x**2 + y**2 - c1 * (x**2 - y**2) - 2.0 * c2 * x * y
        return x, y, (r_squared + softening(r_squared)) / self.Rs**2, c1, c2


NEAR = 0.05  # half-width in X^2 of the series around X = 1


def _split(r_squared: Array):
    """Which points lie inside Rs, sqrt|1 - X^2| (safe at X = 1), and ln(X / 2)."""
    v = 1.0 - r_squared
    safe = jnp.where(jnp.abs(v) < 0.5 * NEAR, 0.5 * NEAR, jnp.abs(v))
    return v > 0.0, jnp.sqrt(safe), 0.5 * jnp.log(0.25 * r_squared)


def _arctanh_ratio(v: Array) -> Array:
    """arctanh(sqrt(v)) / sqrt(v) near v = 0, of either sign: sum of v^k / (2k + 1)."""
    v = jnp.clip(v, -NEAR, NEAR)
    total = jnp.zeros_like(v)
    for k in range(10, -1, -1):
        total = total * v + 1.0 / (2 * k + 1)
    return total
