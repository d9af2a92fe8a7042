"""Gaussian light, alone and as a series of many widths."""

from __future__ import annotations

import math
import operator
from functools import reduce
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Param, is_distribution, static
from giga.ellipse import ELLIPTICITY, radius_squared
from giga.light.base import LightProfile

SMOOTH = 2.5  # pixels; the narrower axis is above one pixel then for any axis ratio down to 0.16


class Gaussian(LightProfile):
    """Elliptical Gaussian, I = amp / (2 pi sigma^2) exp(-R^2 / (2 sigma^2)).

    Attributes:
        amp: Total flux [counts / s].
        sigma: Standard deviation on the intermediate axis [arcsec].
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
    """

    sigma: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges: ClassVar = {"sigma": (0.0, math.inf), **ELLIPTICITY}
    amp_unit: ClassVar[str] = "ct / s"

    def basis(self, x: Array, y: Array) -> Array:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        rate, peak = _normal(self.sigma)
        return (peak * jnp.exp(rate * r_squared))[None]

    def flux(self) -> Array:
        return jnp.asarray(self.amp)


class MultiGaussian(LightProfile):
    """Multi-Gaussian expansion: concentric Gaussians of one ellipse whose widths form a geometric series.

    I = sum_k amp_k / (2 pi sigma_k^2) exp(-R^2 / (2 sigma_k^2)), sigma_k = sigma_min (sigma_max / sigma_min)^(k/(K-1)).
    The order of the widths is fixed, so no two terms can change places. Left out, the amplitudes are solved, and
    are not negative unless the likelihood says otherwise: the radial profile is free, and the only parameters are
    those of the ellipse, besides the two widths where they are free.

    A Gaussian of a pixel's width or more has no power at frequencies that the pixels do not resolve (a relative
    exp(-2 pi^2 sigma^2), 3e-9 for one pixel). So those that are `SMOOTH` pixels wide are evaluated once a pixel,
    whatever the supersampling: seen through the PSF they are as exact as with subpixels. `for_pixels` counts them.

    Attributes:
        amp: Fluxes of the Gaussians, shape (n_gaussians,) [counts / s]; None is linear.
        sigma_min, sigma_max: First and last width on the intermediate axis [arcsec]: about a fifth of a pixel, and the
            extent of the light.
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
        n_gaussians: Number of Gaussians, 20 to 60 for a galaxy.
        n_smooth: The last of them that are evaluated once a pixel.
        part: First and one past the last that this one stands for; None is all.

    References:
        Cappellari (2002), MNRAS 333, 400; He et al. (2024), arXiv:2403.16253, for solved amplitudes.
    """

    sigma_min: Param
    sigma_max: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    n_gaussians: int = static(default=30)
    n_smooth: int = static(inner=True, default=0)
    part: tuple[int, int] | None = static(inner=True, default=None)

    ranges: ClassVar = {"sigma_min": (0.0, math.inf), "sigma_max": (0.0, math.inf), **ELLIPTICITY}
    scalar_amp: ClassVar[bool] = False
    amp_unit: ClassVar[str] = "ct / s"

    @property
    def n_amp(self) -> int:
        return self.n_gaussians

    def sigmas(self) -> Array:
        """Widths of the Gaussians, shape (n_gaussians,) [arcsec]."""
        ratio = jnp.log(self.sigma_max / self.sigma_min)
        return self.sigma_min * jnp.exp(ratio * np.asarray(self._steps(), ratio.dtype))

    def for_pixels(self, pixel_scale: float) -> MultiGaussian:
        if any(is_distribution(width) for width in (self.sigma_min, self.sigma_max)) or self.part is not None:
            return self.replace(n_smooth=0)
        low, high = float(self.sigma_min), float(self.sigma_max)
        return self.replace(n_smooth=sum(low * (high / low) ** step >= SMOOTH * pixel_scale for step in self._steps()))

    def sampled_apart(self) -> tuple[MultiGaussian, ...]:
        first = self.n_gaussians - self.n_smooth
        if not self.n_smooth or self.part is not None:
            return (self,)
        smooth = self.replace(part=(first, self.n_gaussians), supersampling=1)
        return (self.replace(part=(0, first)), smooth) if first else (smooth,)

    def basis(self, x: Array, y: Array) -> Array:
        return jnp.stack(list(self._terms(x, y).values()))

    def brightness(self, x: Array, y: Array) -> Array:
        return reduce(operator.add, (self.amp[k] * term for k, term in self._terms(x, y).items()))

    def flux(self) -> Array:
        return jnp.sum(jnp.asarray(self.amp))

    def _steps(self) -> list[float]:
        """Place of each width on the way from the first, 0, to the last, 1."""
        return [k / max(self.n_gaussians - 1, 1) for k in range(self.n_gaussians)]

    def _terms(self, x: Array, y: Array) -> dict[int, Array]:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        first, end = self.part or (0, self.n_gaussians)
        rates, peaks = _normal(self.sigmas()[first:end].astype(r_squared.dtype))
        return {k: peaks[k - first] * jnp.exp(rates[k - first] * r_squared) for k in range(first, end)}


def _normal(sigma: Array) -> tuple[Array, Array]:
    """A round Gaussian of unit flux: what the squared radius is multiplied by in its exponent, and its peak."""
    return -0.5 / sigma**2, 1.0 / (2.0 * math.pi * sigma**2)
