"""A source on a grid of pixels, with a Gaussian process as its prior."""

import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Param, static
from giga.light.base import LightProfile
from giga.runtime.products import matmul


class PixelSource(LightProfile):
    """A brightness of no given shape: n x n values on a square, whose prior is a Gaussian process.

    I(x, y) = sum_jk amp_jk sin(j theta_x) sin(k theta_y), theta_x = pi (x - center_x + half_size) / (2 half_size),
    j, k = 1 .. n, inside of the square and zero outside. That is what passes through n x n values on a grid of spacing
    2 half_size / (n + 1) and falls to zero at the edge: the amplitudes are the discrete sine transform of the values.
    They are solved, as Gaussians of zero mean that are independent of each other,

        sd_jk^2 = 2 pi (sd length / half_size)^2 (1 + (kappa length)^2 / (2 nu))^-(nu + 1),
        kappa^2 = (pi / (2 half_size))^2 (j^2 + k^2),

    the spectrum of a Matern kernel. The power falls with kappa^-(2 nu + 2): nu = 0 is what the regularisation of the
    gradient has, nu = 1 that of the curvature, nu = 0.5 an exponential kernel. The amplitudes are integrated out, so
    `sd`, `length` and `nu` are parameters like any other, and the evidence chooses them.

    Attributes:
        amp: Shape (n_pixels^2,), j slowest, or None: solved.
        half_size: Half of the square's side [arcsec].
        center_x, center_y: Its centre [arcsec].
        sd: Standard deviation of the brightness under the prior, far from the edge [as the brightness].
        length: Length over which it is correlated [arcsec].
        nu: Smoothness.
        n_pixels: Pixels a side.

    References:
        Suyu et al. (2006), MNRAS 371, 983, for the evidence of a pixelated source; Vernardos & Koopmans (2022), MNRAS
        516, 1347, for Gaussian processes as its prior; Solin & Sarkka (2020), Stat. Comput. 30, 419, eq. 56, for the
        process in a basis of sines.
    """

    half_size: Param
    center_x: Param = 0.0
    center_y: Param = 0.0
    sd: Param
    length: Param
    nu: Param = 1.0
    n_pixels: int = static(default=20)

    ranges: ClassVar = {"half_size": (0.0, math.inf), "sd": (0.0, math.inf), "length": (0.0, math.inf),
                        "nu": (0.0, math.inf)}
    scalar_amp: ClassVar[bool] = False
    positive: ClassVar[bool] = False

    @property
    def n_amp(self) -> int:
        return self.n_pixels**2

    @property
    def has_own_prior(self) -> bool:
        return True

    def basis(self, x: Array, y: Array) -> Array:
        along, up = self._waves(x - self.center_x), self._waves(y - self.center_y)
        return (along[:, None] * up[None]).reshape(self.n_amp, *jnp.shape(x))

    def brightness(self, x: Array, y: Array) -> Array:
        along, up = self._waves(x - self.center_x), self._waves(y - self.center_y)
        rows = matmul(jnp.reshape(jnp.asarray(self.amp), (self.n_pixels,) * 2), up.reshape(self.n_pixels, -1))
        return jnp.sum(along * rows.reshape(along.shape), 0)

    def prior_sd(self) -> Array:
        wave = np.pi / 2.0 * np.arange(1, self.n_pixels + 1)
        kappa2 = np.add.outer(wave**2, wave**2).ravel()  # in units of 1 / half_size^2
        ratio = self.length / self.half_size
        # In logarithms, for whose exponents float32 has room.
        power = -0.5 * (self.nu + 1.0) * jnp.log1p(kappa2 * (ratio**2 / (2.0 * self.nu)))
        return math.sqrt(2.0 * math.pi) * self.sd * ratio * jnp.exp(power)

    def divided(self, unit: Array) -> "PixelSource":
        return super().divided(unit).replace(sd=self.sd / unit)

    def flux(self) -> Array:
        odd = np.where(np.arange(1, self.n_pixels + 1) % 2, 1.0 / np.arange(1, self.n_pixels + 1), 0.0)
        weights = jnp.asarray((4.0 / math.pi) ** 2 * np.outer(odd, odd).ravel(), jnp.result_type(self.half_size, float))
        return self.half_size**2 * jnp.sum(weights * jnp.asarray(self.amp))

    def _waves(self, offset: Array) -> Array:
        """sin(j theta) along one axis for each j, zero outside of the square, shape (n_pixels, *offset.shape)."""
        t = offset / self.half_size
        inside = jnp.abs(t) < 1.0
        theta = 0.5 * math.pi * (1.0 + jnp.where(inside, t, -1.0))
        j = jnp.arange(1, self.n_pixels + 1, dtype=theta.dtype).reshape(-1, *[1] * theta.ndim)
        return jnp.where(inside, jnp.sin(j * theta), 0.0)
