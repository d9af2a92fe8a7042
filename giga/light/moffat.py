"""Moffat profile."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import ELLIPTICITY, radius_squared
from giga.light.base import LightProfile


class Moffat(LightProfile):
    """Elliptical Moffat profile, I = amp (1 + R^2 / alpha^2)^(-beta).

    Its flux is pi alpha^2 amp / (beta - 1), its half-light radius alpha (2^(1/(beta-1)) - 1)^(1/2).

    Attributes:
        alpha: Core radius on the intermediate axis [arcsec].
        beta: Slope: I falls as R^(-2 beta).
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].

    References:
        Moffat (1969), A&A 3, 455, eq. 7.
    """

    alpha: Param
    beta: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges: ClassVar = {"alpha": (0.0, math.inf), "beta": (1.0, math.inf), **ELLIPTICITY}

    def basis(self, x: Array, y: Array) -> Array:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        return jnp.exp(-self.beta * jnp.log1p(r_squared / self.alpha**2))[None]

    def flux(self) -> Array:
        return math.pi * self.alpha**2 * self.amp / (self.beta - 1.0)
