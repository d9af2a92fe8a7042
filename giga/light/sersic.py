"""Elliptical Sersic profile."""

import math

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln

from giga.component import Param, static
from giga.ellipse import radius_squared
from giga.light.base import LightProfile


class Sersic(LightProfile):
    """Elliptical Sersic profile, I = amp exp(-b_n ((R / R_sersic)^(1/n) - 1)).

    Attributes:
        R_sersic: Half-light radius on the intermediate axis [arcsec].
        n_sersic: Sersic index; from 0.5 up in galaxies, and above 0.17 for the default b_n to be positive.
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
        exact_bn: Use the asymptotic series of b_n instead of b_n = 1.9992 n - 0.3271, which is
            what lenstronomy and GIGA-Lens use and is 3% off at n = 0.5.

    References:
        Huang et al. (2025), arXiv:2502.03455, eq. 3; Ciotti & Bertin (1999), A&A 352, 447, eq. 18.
    """

    R_sersic: Param
    n_sersic: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    exact_bn: bool = static(default=False)

    ranges = {"R_sersic": (0.0, math.inf), "n_sersic": (0.17, math.inf), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}

    def basis(self, x: Array, y: Array) -> Array:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        # (R / R_sersic)^(1/n); the floor keeps the logarithm and its gradient finite at R = 0,
        # where the power is below 1e-2 of the exponent for any n up to 10.
        tiny = 1e-12 if r_squared.dtype == jnp.float32 else 1e-24
        log_ratio = 0.5 * jnp.log((r_squared + tiny) / self.R_sersic**2)
        b = shape_constant(self.n_sersic, self.exact_bn)
        # exp costs half of expm1, and the rounding stays that of the logarithm: 5e-7 of the brightness in float32.
        return jnp.exp(b - b * jnp.exp(log_ratio / self.n_sersic))[None]


def shape_constant(n: Array, exact_bn: bool = False) -> Array:
    """The b_n that the profile is drawn with, exact or not."""
    return b_n(n) if exact_bn else 1.9992 * n - 0.3271


def unit_flux(R_sersic: Array, n_sersic: Array, exact_bn: bool = False) -> Array:
    """Total flux of a Sersic profile of amp = 1, 2 pi n R^2 e^b b^(-2n) Gamma(2n) [arcsec^2].

    It holds for any b and for any ellipticity, R_sersic being on the intermediate axis.

    Args:
        R_sersic: Half-light radius [arcsec].
        n_sersic: Sersic index.
        exact_bn: As in `Sersic`.

    References:
        Graham & Driver (2005), PASA 22, 118, eq. 4.
    """
    b = shape_constant(n_sersic, exact_bn)
    log_flux = b - 2.0 * n_sersic * jnp.log(b) + gammaln(2.0 * n_sersic)
    return 2.0 * jnp.pi * n_sersic * R_sersic**2 * jnp.exp(log_flux)


def b_n(n: Array) -> Array:
    """Solve Gamma(2n) = 2 gamma(2n, b): to 3e-4 at n = 0.5, 5e-5 at n = 1 and 5e-6 from n = 2 on.

    References:
        Ciotti & Bertin (1999), A&A 352, 447, eq. 18.
    """
    return (2.0 * n - 1.0 / 3.0 + 4.0 / (405.0 * n) + 46.0 / (25515.0 * n**2)
            + 131.0 / (1148175.0 * n**3) - 2194697.0 / (30690717750.0 * n**4))
