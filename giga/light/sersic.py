"""Elliptical Sersic profile."""

import math
from functools import reduce
from typing import ClassVar, Literal

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaincc, gammaln

from giga.component import Param, static
from giga.ellipse import ELLIPTICITY, radius_squared
from giga.light.base import LightProfile

ShapeConstant = Literal["exact", "linear"]
N_SERSIC = (0.17, 20.0)
"""Range of the Sersic index, where both forms of b_n are positive. Galaxies have 0.5 to 10."""


class Sersic(LightProfile):
    """Elliptical Sersic profile, I = amp exp(-b_n ((R / R_sersic)^(1/n) - 1)).

    Attributes:
        R_sersic: Half-light radius on the intermediate axis [arcsec].
        n_sersic: Sersic index.
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
        b_n: "exact" makes R_sersic the half-light radius at any index. "linear" takes b_n = 1.9992 n - 0.3271, as
            lenstronomy and GIGA-Lens do: 3% off at n = 0.5, and not positive below n = 0.164.
        softening: Radius that is added to R in quadrature [arcsec]; 0 is the profile as it is. A cusp is as bright as
            the nearest sample is near, so that a likelihood has a peak wherever one falls on it; from 0.4 of the
            samples' distance on there is none. Light from within so far is lost.

    References:
        Sersic (1968), Atlas de galaxias australes; Graham & Driver (2005), PASA 22, 118, eq. 1.
    """

    R_sersic: Param
    n_sersic: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    b_n: ShapeConstant = static(default="exact")
    softening: float = static(default=0.0)

    ranges: ClassVar = {"R_sersic": (0.0, math.inf), "n_sersic": N_SERSIC, **ELLIPTICITY}

    def basis(self, x: Array, y: Array) -> Array:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        log_ratio = 0.5 * jnp.log((r_squared + floor_squared(r_squared, self.softening)) / self.R_sersic**2)
        b = shape_constant(self.n_sersic, self.b_n)
        # exp costs half of expm1, and the rounding stays that of the logarithm: 5e-7 of the brightness in float32.
        return jnp.exp(b - b * jnp.exp(log_ratio / self.n_sersic))[None]

    def flux(self) -> Array:
        flux = self.amp * unit_flux(self.R_sersic, self.n_sersic, self.b_n)
        if not self.softening:
            return flux
        within = shape_constant(self.n_sersic, self.b_n) * (self.softening / self.R_sersic) ** (1.0 / self.n_sersic)
        return flux * gammaincc(2.0 * self.n_sersic, within)


def floor_squared(r_squared: Array, softening: float = 0.0) -> float:
    """What is added to R^2 so that its logarithm, and the gradient of it, are finite at R = 0 [arcsec^2].

    There (R / R_sersic)^(1/n) is then below 1e-2 of b_n's exponent for any n up to 10.
    """
    return softening**2 + (1e-12 if r_squared.dtype == jnp.float32 else 1e-24)


def shape_constant(n: Param, kind: ShapeConstant = "exact") -> Param:
    """The b_n that the profile is drawn with: exact, or the linear form of lenstronomy and GIGA-Lens."""
    return b_n(n) if kind == "exact" else 1.9992 * n - 0.3271


def unit_flux(R_sersic: Array, n_sersic: Array, kind: ShapeConstant = "exact") -> Array:
    """Total flux of a Sersic profile of amp = 1, 2 pi n R^2 e^b b^(-2n) Gamma(2n) [arcsec^2].

    It holds for any b and for any ellipticity, R_sersic being on the intermediate axis.

    Args:
        R_sersic: Half-light radius [arcsec].
        n_sersic: Sersic index.
        kind: The profile's `b_n`.

    References:
        Graham & Driver (2005), PASA 22, 118, eq. 4.
    """
    b = shape_constant(n_sersic, kind)
    log_flux = b - 2.0 * n_sersic * jnp.log(b) + gammaln(2.0 * n_sersic)
    return 2.0 * jnp.pi * n_sersic * R_sersic**2 * jnp.exp(log_flux)


NUMERATOR = (0.3394955021, 3.452331773, 129.8131594, 655.7342167, 1457.997919, 1721.073283)
DENOMINATOR = (1.0, 18.38084542, 426.587352, 5357.575662, 43890.6146, 115797.849, 174259.7244)


def b_n(n: Param) -> Param:
    """Solve Gamma(2n) = 2 gamma(2n, b): to 2e-9 of the larger of b and 0.02, for n from 0.1 to 20.

    The leading terms of the series at large n, 2n - 1/3, and a rational function fitted to the rest, which falls as
    4 / (405 n) like the series' next term. All its coefficients are positive, so it is smooth and loses no digits.

    References:
        Ciotti & Bertin (1999), A&A 352, 447, eq. 18, for the series.
    """
    rest = _polynomial(NUMERATOR, n) / _polynomial(DENOMINATOR, n)
    return 2.0 * n - 1.0 / 3.0 + rest


def _polynomial(coefficients: tuple[float, ...], x: Param) -> Param:
    """The polynomial of these coefficients, lowest power first."""
    return reduce(lambda value, c: value * x + c, reversed(coefficients))
