"""An image as a light profile."""

import dataclasses
import math
from typing import ClassVar, Literal

import jax.numpy as jnp
from jax import Array

from giga.component import Param, static
from giga.light.base import LightProfile


class PixelImage(LightProfile):
    """A stamp of pixels, interpolated: amp times the brightness of the image at a position, zero outside of it.

    Bicubic interpolation has a continuous slope, which gradients of a fit need, and passes through the pixels; it
    overshoots beside sharp edges by up to a tenth of the step. Bilinear interpolation does not, and its slope jumps
    at the pixels. Both fall to zero within two pixels outside the edge.

    Attributes:
        amp: Factor of the image; None is linear.
        image: Brightness at the pixel centres, shape (ny, nx), the first row lowest.
        scale: Side of a pixel [arcsec].
        center_x, center_y: Position of the image's centre [arcsec].
        phi_G: Angle of the image's rows, counter-clockwise from +x [rad].
        interpolation: "bicubic" or "bilinear".

    References:
        Keys (1981), IEEE Trans. ASSP 29, 1153, eq. 15, for the cubic kernel.
    """

    image: Param = dataclasses.field(metadata={"file": True})
    scale: Param
    center_x: Param = 0.0
    center_y: Param = 0.0
    phi_G: Param = 0.0
    interpolation: Literal["bicubic", "bilinear"] = static(default="bicubic")

    ranges: ClassVar = {"scale": (0.0, math.inf)}
    amp_unit: ClassVar[str] = ""

    def basis(self, x: Array, y: Array) -> Array:
        image = jnp.asarray(self.image)
        dx, dy = (x - self.center_x) / self.scale, (y - self.center_y) / self.scale
        cos, sin = jnp.cos(self.phi_G), jnp.sin(self.phi_G)
        weigh, reach = (_cubic, 2) if self.interpolation == "bicubic" else (_linear, 1)
        ny, nx = image.shape
        column, across = _taps(cos * dx + sin * dy + 0.5 * (nx - 1), nx, weigh, reach)
        row, up = _taps(cos * dy - sin * dx + 0.5 * (ny - 1), ny, weigh, reach)
        padded = jnp.pad(image, reach + 1)
        value = jnp.zeros_like(x)
        for j, along_y in enumerate(up):
            for i, along_x in enumerate(across):
                value = value + along_y * along_x * padded[row + j, column + i]
        return value[None]

    def flux(self) -> Array:
        # Both kernels sum to one over the pixels, and reach the padding alone beyond them.
        return self.amp * jnp.sum(jnp.asarray(self.image)) * self.scale**2


def _taps(pixel: Array, size: int, weigh, reach: int) -> tuple[Array, list[Array]]:
    """First of the pixels that a position draws on, as an index of the padded row, and the weights of all."""
    # Beyond `reach` pixels outside, the position is held where the kernel meets the padding alone.
    pixel = jnp.clip(pixel, -float(reach), size - 1.0 + reach)
    first = jnp.clip(jnp.floor(pixel), -float(reach), size - 2.0 + reach)
    return first.astype(int) + 2, weigh(pixel - first)


def _linear(t: Array) -> list[Array]:
    return [1.0 - t, t]


def _cubic(t: Array) -> list[Array]:
    """Weights of the pixels at -1, 0, 1 and 2 for a position between 0 and 1."""
    return [((-0.5 * t + 1.0) * t - 0.5) * t, (1.5 * t - 2.5) * t**2 + 1.0, ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t**2]
