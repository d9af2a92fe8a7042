"""Elliptical core-Sersic profile."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array, nn

from giga.component import Param, static
from giga.ellipse import ELLIPTICITY, radius_squared
from giga.light.base import LightProfile
from giga.light.sersic import N_SERSIC, ShapeConstant, floor_squared, shape_constant

NODES = 512  # of the quadrature of the flux
REACH = 18.0  # exponents of e that the integrand falls towards the centre


class CoreSersic(LightProfile):
    """A Sersic profile whose centre, within a break radius, is a power law.

    I = amp (1 + (Rb/R)^alpha)^(gamma/alpha) exp(-b_n (((R^alpha + Rb^alpha) / R_sersic^alpha)^(1/(alpha n)) - 1)).

    With `Rb` far below a pixel it is the Sersic profile. R_sersic and b_n are those of that Sersic profile.

    Attributes:
        R_sersic: Half-light radius on the intermediate axis [arcsec].
        Rb: Break radius [arcsec].
        n_sersic: Sersic index of the outer part.
        gamma: Slope of the inner part, I ~ R^-gamma; the flux is finite below 2.
        alpha: Sharpness of the break.
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
        b_n, softening: As in `Sersic`.

    References:
        Graham et al. (2003), AJ 125, 2951; Trujillo et al. (2004), AJ 127, 1917, eq. 5.
    """

    R_sersic: Param
    Rb: Param
    n_sersic: Param
    gamma: Param
    alpha: Param = 3.0
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    b_n: ShapeConstant = static(default="exact")
    softening: float = static(default=0.0)

    ranges: ClassVar = {"R_sersic": (0.0, math.inf), "Rb": (0.0, math.inf), "n_sersic": N_SERSIC, "gamma": (-1.0, 2.0),
                        "alpha": (0.0, math.inf), **ELLIPTICITY}

    def basis(self, x: Array, y: Array) -> Array:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        soft = r_squared + floor_squared(r_squared, self.softening)
        steps = self.alpha * 0.5 * jnp.log(soft / self.Rb**2)  # alpha ln(R / Rb)
        inner = self.gamma / self.alpha * nn.softplus(-steps)
        log_ratio = jnp.log(self.Rb / self.R_sersic) + nn.softplus(steps) / self.alpha
        b = shape_constant(self.n_sersic, self.b_n)
        return jnp.exp(inner + b - b * jnp.exp(log_ratio / self.n_sersic))[None]

    def flux(self) -> Array:
        # 2 pi int I R^2 d ln R: the trapezoid rule is exact to rounding where both ends vanish, as R^(2 - gamma) and
        # as the Sersic profile; ellipses of one intermediate axis have one area.
        span = jnp.linspace(-REACH / (2.0 - self.gamma), 4.0 + 2.3 * self.n_sersic, NODES)
        radius = self.R_sersic * jnp.exp(span)
        round_one = self.replace(e1=0.0, e2=0.0, center_x=0.0, center_y=0.0)
        terms = radius**2 * round_one.brightness(radius, jnp.zeros_like(radius))
        return 2.0 * math.pi * (span[1] - span[0]) * jnp.sum(terms)
