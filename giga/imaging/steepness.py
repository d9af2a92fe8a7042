"""Cores of light that a pixel's samples cannot resolve: how much too bright or faint its middle is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np
from jax import Array

from giga.imaging.observation import Observation
from giga.imaging.render import sampling
from giga.lensing.scene import Scene
from giga.light.base import LightProfile

ALLOWED = 0.05  # error of the central pixel that is not spoken of
FINE = 48  # samples a side that stand for the truth
ADVISED = (1, 2, 4, 8, 16)  # times the PSF's supersampling, what is looked at
STRETCH = 2.0  # linear magnification of a source's core, about
SOFT = 0.4  # of the distance of samples: a softening from which no peak is left where one falls on a cusp
OFFSETS = ((0.125, 0.125), (0.125, 0.375), (0.375, 0.125), (0.375, 0.375))  # of a core from a sample [subpixels]


def core_errors(profile: LightProfile, pixel_scale: float, counts: tuple[int, ...]) -> np.ndarray:
    """Relative error of the brightest pixel, root mean square over where between its samples the centre lies.

    Args:
        profile: With numbers on its leaves; its centre is not looked at.
        pixel_scale: Side of the pixel [arcsec].
        counts: Numbers of samples a side to be looked at.
    """
    profile = jax.tree.map(np.float32, profile.replace(amp=None, center_x=0.0, center_y=0.0))
    places = np.concatenate([_places(n, offset) for n in counts for offset in OFFSETS], 1)
    x, y = (pixel_scale * places).astype(np.float32)
    sizes = [size for n in counts for _ in OFFSETS for size in (n**2, FINE**2)]
    parts = np.split(np.asarray(_brightness(profile, x, y), float), np.cumsum(sizes)[:-1])
    means = np.array([part.mean() for part in parts]).reshape(len(counts), len(OFFSETS), 2)
    return np.sqrt(np.mean((means[..., 0] / means[..., 1] - 1.0) ** 2, 1))


def steep_for(scene: Scene, observations: Sequence[Observation], cusps: bool = False) -> list[str]:
    """What of a scene with numbers is too steep for the sampling of some observations, as `steep_cores` says it."""
    found: list[str] = []
    for observation in observations:
        samples = observation.psf.supersampling if observation.psf else observation.supersampling
        found += steep_cores(scene, float(observation.grid.pixel_scale), samples, observation.band, cusps)
    return list(dict.fromkeys(found))


def steep_cores(scene: Scene, pixel_scale: float, supersampling: int, band: str | None = None,
                cusps: bool = False) -> list[str]:
    """Profiles whose core is sampled too coarsely, in words, with what would do.

    Args:
        scene: With numbers on its leaves.
        pixel_scale: Side of a pixel [arcsec].
        supersampling: That of the PSF.
        band: Profiles of other bands are left out; None is that of an image without a name.
        cusps: Only sources that are not softened, of whose samples a likelihood has peaks.
    """
    found = []
    for section in ("source_light",) if cusps else ("lens_light", "source_light"):
        lensed = section == "source_light" and len(scene.mass) > 0
        scale = pixel_scale / STRETCH if lensed else pixel_scale
        for k, profile in enumerate(getattr(scene, section)):
            fields = {field.name for field in dataclasses.fields(profile)}
            if profile.is_point or not profile.scalar_amp or not {"center_x", "center_y"} <= fields:
                continue
            if profile.bands is not None and band not in profile.bands:
                continue
            samples = sampling(profile, supersampling)
            soft = SOFT * pixel_scale / samples
            softened = getattr(profile, "softening", 0.0) > 0.99 * soft
            if cusps and softened:
                continue
            counts = (samples, *(supersampling * times for times in ADVISED))
            errors = core_errors(profile, scale, counts)
            if not errors[0] > ALLOWED:
                continue
            enough = next((n for n, error in zip(counts[1:], errors[1:], strict=True)
                           if n > samples and error <= ALLOWED), None)
            advice = f"supersampling = {enough} of the profile makes it right to {ALLOWED:.0%}" if enough else \
                f"no supersampling up to {counts[-1]} makes it right to {ALLOWED:.0%}"
            if "softening" in fields and not softened:
                advice += f", softening = {soft:.2g} leaves the likelihood without peaks"
            found.append(f"{section}.{k}: {type(profile).__name__} is too steep for supersampling = {samples}: "
                         f"its central pixel is off by {100.0 * errors[0]:.0f}%; {advice}")
    return found


def share_left(profile: LightProfile) -> float:
    """Share of its flux that softening leaves to a profile with numbers; one for a profile that has none."""
    if not getattr(profile, "softening", 0.0):
        return 1.0
    profile = profile.replace(amp=1.0)
    return float(profile.flux() / profile.replace(softening=0.0).flux())


def _places(count: int, offset: tuple[float, float]) -> np.ndarray:
    """Places of a pixel's samples, and then of the many that stand for the truth, from the centre of the light.

    Args:
        count: Samples a side.
        offset: Of the centre from the sample nearest the middle, in parts of their distance.

    Returns:
        x and y in pixels, shape (2, count^2 + FINE^2).
    """
    center = (np.array(offset) + (0.5 if count % 2 == 0 else 0.0)) / count
    both = []
    for n in (count, FINE):
        line = (np.arange(n) + 0.5) / n - 0.5
        both.append(np.stack([a.ravel() for a in np.meshgrid(line - center[0], line - center[1])]))
    return np.concatenate(both, 1)


@jax.jit
def _brightness(profile: LightProfile, x: Array, y: Array) -> Array:
    return profile.basis(x, y)[0]
