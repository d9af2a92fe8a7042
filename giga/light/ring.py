"""Ring of light: a Gaussian annulus on an ellipse."""

import math
from typing import ClassVar

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import erfc

from giga.component import Param
from giga.ellipse import ELLIPTICITY, radius_squared
from giga.light.base import LightProfile
from giga.light.sersic import floor_squared


class Ring(LightProfile):
    """Elliptical annulus, I = amp exp(-(R - radius)^2 / (2 width^2)).

    A ring galaxy, a star-forming ring, or a ghost of a bright star out of focus. Where the width is not below the
    radius it is a disc with a cusp of finite height in the middle, whose derivatives there are those of a radius
    that is softened by 1e-6 arcsec in float32.

    Attributes:
        radius: Where it is brightest, on the intermediate axis [arcsec].
        width: Standard deviation across it, on the same axis [arcsec].
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].

    References:
        The form is chosen here; its flux is the integral of 2 pi R I.
    """

    radius: Param
    width: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges: ClassVar = {"radius": (0.0, math.inf), "width": (0.0, math.inf), **ELLIPTICITY}

    def basis(self, x: Array, y: Array) -> Array:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        away = (jnp.sqrt(r_squared + floor_squared(r_squared)) - self.radius) / self.width
        return jnp.exp(-0.5 * away**2)[None]

    def flux(self) -> Array:
        return self.amp * unit_flux(self.radius, self.width)


def unit_flux(radius: Array, width: Array) -> Array:
    """Total flux of a ring of amp = 1 and any ellipticity [arcsec^2].

    2 pi width (width exp(-t^2 / 2) + radius (pi / 2)^(1/2) erfc(-t / 2^(1/2))) with t = radius / width.

    Args:
        radius: Where it is brightest [arcsec].
        width: Standard deviation across it [arcsec].
    """
    t = radius / width
    inner = width * jnp.exp(-0.5 * t**2) + radius * math.sqrt(0.5 * math.pi) * erfc(-t / math.sqrt(2.0))
    return 2.0 * math.pi * width * inner
