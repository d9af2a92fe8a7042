"""Light of many bands at the cost of what differs between them."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jax import Array

from giga.light.base import LightProfile
from giga.render import average, sampling
from giga.scene import Scene
from giga.simulate.optics import Optics


def band_images(scene: Scene, rays: dict[int, tuple], optics: Optics, variant: Array,
                bands: int) -> tuple[Array, Array]:
    """Images of lens light and lensed source light.

    A leaf of a light profile may hold one value a band. A profile whose bands differ by amplitude alone is
    evaluated once. Where bands share their PSF the fewer are convolved: unit images, or bands.

    Args:
        scene: Numbers on its leaves, shape () or (bands,).
        rays: By supersampling, the positions on the sky and on the source plane, see `rays_of`.
        optics: The PSFs.
        variant: Which of their variants.
        bands: Number of bands.

    Returns:
        Two arrays of shape (ny, nx, bands): mean surface brightness of each pixel.
    """
    lens = _convolved([_unit(p, rays, 0, optics, bands) for p in scene.lens_light], optics, variant, bands)
    source = _convolved([_unit(p, rays, 1, optics, bands) for p in scene.source_light], optics, variant, bands)
    return lens, source


def banded(profile: LightProfile) -> set[str]:
    """Names of the fields that hold one value a band."""
    return {field.name for field in dataclasses.fields(profile)  # pyright: ignore[reportArgumentType]
            if not field.metadata.get("static")
            and jnp.ndim(getattr(profile, field.name)) > (0 if field.name != "amp" or profile.scalar_amp else 1)}


def _unit(profile: LightProfile, rays: dict[int, tuple], plane: int, optics: Optics, bands: int):
    """Phases and amplitudes of a profile: ((1 or bands, s*s, ny, nx), (bands,))."""
    s = optics.supersampling
    factor = sampling(profile, s)
    x, y = rays[factor][plane]
    several = banded(profile)
    if several <= {"amp"} and profile.scalar_amp:
        phases = profile.basis(x, y)
        amp = jnp.broadcast_to(jnp.asarray(profile.amp, x.dtype), (bands,))
    else:
        def one(values: dict[str, Array]) -> Array:
            return profile.replace(**values).brightness(x, y)

        phases = jax.vmap(one)({name: getattr(profile, name) for name in several}) if several \
            else one({})[None]
        amp = jnp.ones((bands,), x.dtype)
    return average(phases, factor, s), amp


def _convolved(units: Sequence[tuple[Array, Array]], optics: Optics, variant: Array, bands: int) -> Array:
    ny, nx = optics.convolutions.shape
    if not units:
        return jnp.zeros((ny, nx, bands), optics.kernels.dtype)
    alike = {phases.shape[1] for phases, _ in units}
    if optics.shared and sum(len(phases) for phases, _ in units) <= bands * len(alike):
        convolve, out = optics.convolution(variant, 0), 0.0
        for phases, amp in units:
            images = [convolve(one) for one in phases]
            out = out + jnp.stack(images if len(images) > 1 else images * bands, -1) * amp
        return jnp.asarray(out)
    images = []
    for band in range(bands):
        convolve, image = optics.convolution(variant, band), 0.0
        for size in sorted(alike):
            here = [(phases[band if len(phases) > 1 else 0], amp[band]) for phases, amp in units
                    if phases.shape[1] == size]
            image = image + convolve(reduce(operator.add, (amp * phases for phases, amp in here)))
        images.append(image)
    return jnp.stack(images, -1)
