"""Light of many bands at the cost of what differs between them."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
from jax import Array

from giga.imaging.render import average, sampling
from giga.lensing.scene import Scene
from giga.light.base import LightProfile
from giga.simulate.optics import Optics


def band_images(scene: Scene, rays: dict[int, tuple], optics: Optics, variant: Array,
                bands: int) -> tuple[Array, Array]:
    """Images of lens light and lensed source light.

    A leaf of a light profile may hold one value a band. A profile whose bands differ by amplitude alone is
    evaluated once; one whose amplitudes are zero is not evaluated at all. Where bands share their PSF the fewer are
    convolved: unit images, or bands.

    Args:
        scene: Numbers on its leaves, shape () or (bands,).
        rays: By supersampling, the positions on the sky and `Scene.rays`.
        optics: The PSFs.
        variant: Which of their variants.
        bands: Number of bands.

    Returns:
        Two arrays of shape (ny, nx, bands): mean surface brightness of each pixel.
    """
    return (_image(scene.lens_light, rays, False, optics, variant, bands),
            _image(scene.source_light, rays, True, optics, variant, bands))


def banded(profile: LightProfile) -> set[str]:
    """Names of the fields that hold one value a band."""
    return {field.name for field in dataclasses.fields(profile)  # pyright: ignore[reportArgumentType]
            if not field.metadata.get("static")
            and jnp.ndim(getattr(profile, field.name)) > (0 if field.name != "amp" or profile.scalar_amp else 1)}


def _phases(profile: LightProfile, rays: dict[int, tuple], lensed: bool, optics: Optics) -> Array:
    """Brightness on the phases of a pixel, shape (1 or bands, s*s, ny, nx): of unit amplitude if it alone is banded."""
    s = optics.supersampling
    factor = sampling(profile, s)
    x, y = rays[factor][1](profile) if lensed else rays[factor][0]
    several = banded(profile)
    if _by_amplitude(profile):
        phases = profile.basis(x, y)
    else:
        def one(values: dict[str, Array]) -> Array:
            return profile.replace(**values).brightness(x, y)

        phases = jax.vmap(one)({name: getattr(profile, name) for name in several}) if several \
            else one({})[None]
    return average(phases, factor, s)


def _by_amplitude(profile: LightProfile) -> bool:
    """Whether the bands of a profile differ by amplitude alone."""
    return profile.scalar_amp and banded(profile) <= {"amp"}


def _unless_dark(profile: LightProfile, work: Callable[[], Array]) -> Array:
    """The light of a profile, which costs nothing where its amplitudes are zero, and images go through one by one.

    Pairs of galaxies, companions, and sources that are not always there are drawn as amplitudes of zero.
    """
    out = jax.eval_shape(work)
    return jax.lax.cond(jnp.any(jnp.asarray(profile.amp) != 0.0), work, lambda: jnp.zeros(out.shape, out.dtype))


def _image(profiles: Sequence[LightProfile], rays: dict[int, tuple], lensed: bool, optics: Optics, variant: Array,
           bands: int) -> Array:
    """Convolved light of profiles of one plane, shape (ny, nx, bands)."""
    ny, nx = optics.convolutions.shape
    dtype = optics.kernels.dtype
    out = jnp.zeros((ny, nx, bands), dtype)
    counts = [1 if _by_amplitude(p) or not banded(p) else bands for p in profiles]
    sizes = [1 if sampling(p, optics.supersampling) == 1 else optics.supersampling**2 for p in profiles]
    amps = [jnp.broadcast_to(jnp.asarray(p.amp if _by_amplitude(p) else 1.0, dtype), (bands,)) for p in profiles]
    if optics.shared and sum(counts) <= bands * len(set(sizes)):
        convolve = optics.convolution(variant, 0)
        for profile, count, amp in zip(profiles, counts, amps, strict=True):
            def light(profile: LightProfile = profile, count: int = count, amp: Array = amp) -> Array:
                images = [convolve(one) for one in _phases(profile, rays, lensed, optics)]
                return jnp.stack(images if count > 1 else images * bands, -1) * amp

            out = out + _unless_dark(profile, light)
        return out
    units = [_unless_dark(p, lambda p=p: _phases(p, rays, lensed, optics)) for p in profiles]
    images = []
    for band in range(bands):
        convolve, image = optics.convolution(variant, band), jnp.zeros((ny, nx), dtype)
        for size in sorted(set(sizes)):
            here = [amp[band] * unit[band if len(unit) > 1 else 0]
                    for unit, amp, k in zip(units, amps, sizes, strict=True) if k == size]
            image = image + convolve(reduce(operator.add, here))
        images.append(image)
    return jnp.stack(images, -1)
