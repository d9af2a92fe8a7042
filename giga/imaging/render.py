"""From a scene to pixels: trace, evaluate on subpixels, convolve, times the pixel area."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import jax.numpy as jnp
from jax import Array

from giga.imaging.grid import Grid
from giga.imaging.observation import Data
from giga.imaging.points import point_images, points
from giga.imaging.psf import Convolution
from giga.lensing.near import located
from giga.lensing.scene import Scene
from giga.light.base import LightProfile

MANY = 100  # amplitudes of a profile from which its images stay one stack: a program with each by itself grows too long


def render(scene: Scene, grid: Grid, convolution: Convolution) -> Array:
    """Render a scene whose amplitudes are all numbers.

    Args:
        scene: The lens.
        grid: Pixel grid, shape (ny, nx).
        convolution: The PSF made ready by `giga.imaging.psf.plan`.

    Returns:
        Shape (ny, nx) [counts / s]: surface brightness times the pixel area.
    """
    s = convolution.supersampling
    image = jnp.zeros(grid.shape, jnp.result_type(grid.pixel_scale, jnp.float32))
    for factor in supersamplings(scene, s):
        lens, source = (sampled_at(factor, s, profiles) for profiles in (scene.lens_light, scene.source_light))
        x, y = grid.phases(factor)
        brightness = total(lens, x, y)
        if source:
            brightness = brightness + lensed(source, scene.rays(x, y))
        if factor == s and any(profile.is_point for profile in scene.light):
            brightness = brightness + points(scene, grid, s)
        image = image + convolution(average(brightness, factor, s))
    if bare := unconvolved(scene):
        image = image + total(bare, *grid.coordinates())
    return image * grid.pixel_area


def render_data(scene: Scene, data: Data) -> Array:
    """Render a scene as one observation sees it, shape (ny, nx), in multiples of the data's unit."""
    return render(data.seen(scene), data.grid, data.convolution)


def basis_images(scene: Scene, grid: Grid, convolution: Convolution) -> Array:
    """Images of the linear profiles for unit amplitudes, shape (n, ny, nx), in the order of `light`."""
    s, scene = convolution.supersampling, located(scene)
    images: list[Array] = []
    rays: dict[tuple[int, bool], Callable[[LightProfile], tuple[Array, Array]]] = {}
    for profiles, is_lensed in ((scene.lens_light, False), (scene.source_light, True)):
        for profile in profiles:
            if not profile.is_linear:
                continue
            if profile.is_point:
                images += list(point_images(profile, grid, s))
                continue
            if not profile.convolved:
                images += list(profile.basis(*grid.coordinates()))
                continue
            for part in profile.sampled_apart():
                factor = sampling(part, s)
                if (factor, is_lensed) not in rays:
                    at = grid.phases(factor)
                    rays[factor, is_lensed] = scene.rays(*at) if is_lensed else lambda _, at=at: at
                stack = average(part.basis(*rays[factor, is_lensed](part)), factor, s)
                images += list(stack) if part.n_amp < MANY else [stack]
    # Images of one number of phases are convolved together; those of two axes not at all; a stack by itself.
    alike = [list(run) for _, run in groupby(images, key=lambda image: (image.ndim, len(image) * (image.ndim == 3)))]
    parts = [jnp.stack(run) if run[0].ndim == 2 else convolution.many(run) if run[0].ndim == 3
             else jnp.concatenate([convolution.stacked(stack) for stack in run]) for run in alike]
    return jnp.concatenate(parts) * grid.pixel_area


def total(profiles: Iterable[LightProfile], x: Array, y: Array) -> Array:
    """Sum of the profiles' brightness at given positions."""
    value = jnp.zeros_like(x)
    for profile in profiles:
        value = value + profile.brightness(x, y)
    return value


def lensed(profiles: Sequence[LightProfile], rays: Callable[[LightProfile], tuple[Array, Array]]) -> Array:
    """Sum of the brightness of one or more sources where rays meet their planes; see `Scene.rays`."""
    value = jnp.zeros_like(rays(profiles[0])[0])
    for profile in profiles:
        value = value + profile.brightness(*rays(profile))
    return value


def sampling(profile: LightProfile, psf_supersampling: int) -> int:
    """Subpixels a side at which a profile is evaluated."""
    factor = profile.supersampling or psf_supersampling
    if factor != 1 and factor % psf_supersampling:
        raise ValueError(f"{type(profile).__name__}.supersampling: expected 1 or a multiple of the PSF's "
                         f"{psf_supersampling}, got {factor}")
    return factor


def supersamplings(scene: Scene, psf_supersampling: int) -> Sequence[int]:
    """The distinct subpixel counts in a scene, smallest first."""
    points = {psf_supersampling for p in scene.light if p.is_point}
    return sorted(points | {sampling(part, psf_supersampling) for p in scene.light if _is_extended(p)
                            for part in p.sampled_apart()})


def sampled_at(factor: int, psf_supersampling: int, profiles: Iterable[LightProfile]) -> list[LightProfile]:
    """The profiles, or parts of them, that the PSF touches and that are evaluated on so many subpixels a side."""
    return [part for p in profiles if _is_extended(p) for part in p.sampled_apart()
            if sampling(part, psf_supersampling) == factor]


def _is_extended(profile: LightProfile) -> bool:
    """Whether it is a brightness that the PSF touches."""
    return profile.convolved and not profile.is_point


def unconvolved(scene: Scene) -> list[LightProfile]:
    """Lights that the PSF does not touch; they are evaluated at the pixel centres, where they are seen."""
    return [p for p in scene.light if not p.convolved]


def average(phases: Array, factor: int, s: int) -> Array:
    """Average phases of factor x factor subpixels to s x s ones (or leave a single phase alone)."""
    if factor in (s, 1):
        return phases
    *lead, _, ny, nx = phases.shape
    m = factor // s
    return phases.reshape(*lead, s, m, s, m, ny, nx).mean((-5, -3)).reshape(*lead, s * s, ny, nx)
