"""Arcs injected into real images: the light is added with its own photon noise, the rest is left as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from giga.component import Component
from giga.imaging.grid import Grid
from giga.imaging.psf import PSF, plan
from giga.imaging.render import render
from giga.lensing.scene import Scene
from giga.light.base import LightProfile
from giga.simulate.surveys.cutouts import central
from giga.simulate.surveys.noise import FEW, CameraNoise, CutoutNoise

_render = jax.jit(render)
_draw = jax.jit(CameraNoise.__call__)


class Injection(Component):
    """A real image with light added to it.

    Attributes:
        image: The real image, the light and its photon noise, shape (ny, nx, bands) [counts / s].
        light: What was added, without noise.
        noise: The photon noise of the light alone.
    """

    image: Array
    light: Array
    noise: Array


class Backdrop(CutoutNoise):
    """Real galaxies as the scene that arcs are added to: each cutout brings its lens galaxy, companions and noise.

    With a population that has masses and sources and no lens light it makes lenses, with one without
    sources the negatives that go with them.
    """

    @staticmethod
    def of(bank: ArrayLike, shape: tuple[int, int], sigma: ArrayLike | None = None,
           photon: ArrayLike | None = None) -> Backdrop:
        """A bank of galaxies, cut to the shape of the images about their centres.

        Args:
            bank: Shape (m, my, mx, bands), a galaxy in the centre of each [counts / s].
            shape: (ny, nx) of the images.
            sigma, photon: See `CutoutNoise.of`.

        Raises:
            ValueError: What `CutoutNoise.of` raises.
        """
        whole = CutoutNoise.of(bank, shape, sigma, photon)
        maps = whole.sigma if whole.sigma.ndim == 2 else central(whole.sigma, shape)
        return Backdrop(bank=central(whole.bank, shape), sigma=maps, photon=whole.photon, turn=whole.turn)


def scene_in(scene: Scene, band: int) -> Scene:
    """The scene of one band: leaves of light with one value a band give theirs."""

    def one(profile: LightProfile) -> LightProfile:
        values = {}
        for field in fields(profile):  # pyright: ignore[reportArgumentType]
            value = getattr(profile, field.name)
            plain = 1 if field.name == "amp" and not profile.scalar_amp else 0
            if not field.metadata.get("static") and value is not None and jnp.ndim(value) > plain:
                values[field.name] = jnp.asarray(value)[band]
        return profile.replace(**values)

    return scene.replace(lens_light=[one(p) for p in scene.lens_light],
                         source_light=[one(p) for p in scene.source_light])


def light_of(scene: Scene, grid: Grid, psfs: Sequence[PSF]) -> Array:
    """Render a scene in bands, shape (ny, nx, bands) [counts / s].

    Args:
        scene: Numbers on its leaves; those of its light may have one value a band.
        grid: The pixels of the image.
        psfs: One PSF a band.
    """
    return jnp.stack([_render(scene_in(scene, k), grid, plan(psf, grid.shape)) for k, psf in enumerate(psfs)], -1)


def inject(key: Array, image: ArrayLike, light: ArrayLike, photon: ArrayLike | None) -> Injection:
    """Add light to a real image, with the photon noise of that light.

    The noise that the image has stays as it is; of the added light only its own Poisson fluctuation is new.

    Args:
        key: Random key.
        image: Shape (ny, nx, bands) [counts / s].
        light: See `light_of`, same shape.
        photon: Variance per count / s of the light, shape () or (bands,); None adds none.

    Raises:
        ValueError: Shapes that differ, or pixels that are not finite.
    """
    real, added = np.asarray(image, np.float32), jnp.asarray(light, jnp.float32)
    if real.ndim != 3 or real.shape != added.shape:
        raise ValueError(f"image: shape {real.shape}; the light has {added.shape}, expected (ny, nx, bands) in both")
    if not np.isfinite(added).all():
        raise ValueError(f"light: {np.sum(~np.isfinite(added))} pixels are NaN or infinite")
    noise = jnp.zeros_like(added)
    if photon is not None:
        variance = jnp.broadcast_to(jnp.asarray(photon, jnp.float32), real.shape[2:])
        nothing = jnp.zeros(real.shape[2:], jnp.float32)
        few = bool(np.min(np.where(added > 0.0, added / variance, FEW)) < FEW)
        noise, _ = _draw(CameraNoise(background_rms=nothing, photon=variance, sky=nothing, few=few), key, added)
        noise = jnp.where((added > 0.0) & (variance > 0.0), noise, 0.0)
    return Injection(image=jnp.asarray(real) + added + noise, light=added, noise=noise)
