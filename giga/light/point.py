"""Points of light, such as quasars: no larger than the PSF makes them. The renderer lays their flux on the pixels."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from giga.component import Param, static
from giga.light.base import LightProfile


class Point(LightProfile):
    """A point of light where it is seen: a star, or one image of a quasar. It is a lens light.

    It has no surface brightness: `giga.imaging.points` lays its flux on the pixels.

    Attributes:
        amp: Flux [counts / s].
        center_x, center_y: Where it is seen [arcsec].
    """

    center_x: Param
    center_y: Param

    amp_unit: ClassVar[str] = "ct / s"
    is_point: ClassVar[bool] = True
    sections: ClassVar[tuple[str, ...]] = ("lens_light",)

    def basis(self, x: Array, y: Array) -> Array:
        return jnp.zeros((self.n_amp, *x.shape), x.dtype)

    def flux(self) -> Array:
        return jnp.asarray(self.amp)


class LensedPoint(LightProfile):
    """A point source behind the lens, whose images have its flux times their magnifications. It is a source light.

    Its images are found by Newton's method from where they were seen (`giga.lensing.near.images_near`).

    Attributes:
        amp: Flux without lensing [counts / s].
        center_x, center_y: Where the source is on its plane [arcsec].
        x, y: Where each image is seen, roughly [arcsec].
        found: Its images once they are found, `giga.lensing.near.located`: position, magnification, and where the last
            step of Newton's method began, shape (5, images).
    """

    center_x: Param
    center_y: Param
    x: tuple[float, ...] = static()
    y: tuple[float, ...] = static()
    found: Param = dataclasses.field(default=None, metadata={"inner": True})

    amp_unit: ClassVar[str] = "ct / s"
    is_point: ClassVar[bool] = True
    sections: ClassVar[tuple[str, ...]] = ("source_light",)

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not self.x:
            raise ValueError(f"y: got {len(self.y)} numbers beside {len(self.x)} of x; expected one an image")

    def basis(self, x: Array, y: Array) -> Array:
        return jnp.zeros((self.n_amp, *x.shape), x.dtype)

    def shares(self, magnification: Array) -> Array:
        """Flux of each image for unit amplitudes, shape (n_amp, images), from its magnification, shape (images,)."""
        return jnp.abs(magnification)[None]

    def flux(self) -> Array:
        return jnp.asarray(self.amp)


class MicrolensedPoint(LensedPoint):
    """The same with a flux for each image that is its own, as microlensing, dust and variability leave them.

    Attributes:
        amp: Flux of each image, shape (images,) [counts / s].
    """

    scalar_amp: ClassVar[bool] = False

    @property
    def n_amp(self) -> int:
        return len(self.x)

    def shares(self, magnification: Array) -> Array:
        return jnp.eye(len(self.x), dtype=magnification.dtype)

    def flux(self) -> Array:
        return jnp.asarray(jnp.nan)  # without lensing it is not known

