"""Points of light on the subpixels of an image, so that the PSF comes to lie where they are."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from giga.imaging.grid import Grid
from giga.lensing.near import located
from giga.lensing.scene import Scene
from giga.light.base import LightProfile
from giga.light.point import LensedPoint, Point
from giga.runtime.products import einsum

WIDTH = 6  # samples to either side from which the PSF is interpolated


def points(scene: Scene, grid: Grid, supersampling: int) -> Array:
    """All points of a scene whose fluxes are numbers, for the PSF; see `laid`."""
    total = jnp.zeros((), jnp.result_type(grid.pixel_scale, jnp.float32))
    for profile in located(scene).light:
        if profile.is_point:
            total = total + point_image(profile, grid, supersampling)
    return total


def point_image(profile: LightProfile, grid: Grid, supersampling: int) -> Array:
    """A point with its own fluxes, for the PSF, shape (s*s, ny, nx); see `point_images`."""
    return einsum("k,kpij->pij", jnp.atleast_1d(jnp.asarray(profile.amp)), point_images(profile, grid, supersampling))


def point_images(profile: LightProfile, grid: Grid, supersampling: int) -> Array:
    """A point for unit amplitudes, of a `located` scene, for the PSF, shape (n_amp, s*s, ny, nx); see `laid`."""
    if isinstance(profile, LensedPoint):
        x, y, magnification = profile.found[:3]
        return laid(x, y, profile.shares(magnification), grid, supersampling)
    assert isinstance(profile, Point)
    x, y = (jnp.asarray(value)[None] for value in (profile.center_x, profile.center_y))
    return laid(x, y, jnp.ones((1, 1), x.dtype), grid, supersampling)


def laid(x: Array, y: Array, flux: Array, grid: Grid, supersampling: int) -> Array:
    """Lay fluxes on subpixels so that a convolution with the PSF interpolates its samples to where they are.

    Between samples the PSF is their sum with weights sinc(u) (1 - (u / w)^2)^4, w = `WIDTH` samples, scaled to a sum of
    one: of a Gaussian that is 3 samples wide at half maximum it is right to 0.1% of the peak, of one of 2.2 to 0.5%.

    Args:
        x, y: Where the points are, shape (n,) [arcsec].
        flux: Fluxes of one or more sets of them, shape (k, n) [counts / s].
        grid: Pixel grid.
        supersampling: Subpixels a side, s.

    Returns:
        Brightness in the order of `Grid.phases`, shape (k, s*s, ny, nx) [counts / s / arcsec^2].
    """
    (ny, nx), s = grid.shape, supersampling
    column, row = grid.to_pixel(x, y)
    across, down = (_weights(place, side, s) for place, side in ((column, nx), (row, ny)))
    brightness = einsum("kn,nbi,naj->kbaij", flux, down, across) * (s**2 / grid.pixel_area)
    return brightness.reshape(len(flux), s * s, ny, nx)


def _weights(place: Array, side: int, s: int) -> Array:
    """What each subpixel has of points along an axis, shape (n, s, side)."""
    at = s * place + 0.5 * (s - 1)  # in subpixels, the first one's centre at zero
    samples = s * jnp.arange(side)[None, :] + jnp.arange(s)[:, None]
    first = jnp.floor(at)
    near = jnp.arange(-WIDTH, WIDTH + 2)
    whole = jnp.sum(_interpolation(near - (at - first)[:, None]), -1)
    return _interpolation(samples - at[:, None, None]) / whole[:, None, None]


def _interpolation(u: Array) -> Array:
    window = jnp.maximum(1.0 - (u / WIDTH) ** 2, 0.0)
    return jnp.sinc(u) * window**4
