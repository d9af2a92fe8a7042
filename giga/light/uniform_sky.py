"""A uniform sky."""

from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from giga.light.base import LightProfile


class UniformSky(LightProfile):
    """A sky of one brightness, I = amp: what its subtraction left, of either sign.

    It is neither lensed nor convolved, and its solved amplitude may be negative.

    Attributes:
        amp: Brightness [counts / s / arcsec^2].
    """

    convolved: ClassVar[bool] = False
    positive: ClassVar[bool] = False
    sections: ClassVar[tuple[str, ...]] = ("lens_light",)

    def basis(self, x: Array, y: Array) -> Array:
        return jnp.ones_like(x)[None]

    def flux(self) -> Array:
        return jnp.asarray(jnp.inf)
