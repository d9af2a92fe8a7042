"""The images of a fit, ready to be drawn or written: nothing after this needs the tracer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jax import Array

from giga.imaging.grid import Grid
from giga.imaging.observation import Data, Observation
from giga.imaging.render import render_data, total
from giga.inference.amplitudes import linear_profiles
from giga.inference.result import Found
from giga.lensing.critical import Curve, critical_curves
from giga.lensing.scene import Scene
from giga.lensing.tracing import trace
from giga.light.base import LightProfile

SOURCE_PIXELS = 160
BRIGHT = 0.05  # the source plane is drawn out to where lensed pixels have this part of the peak brightness


@dataclass(frozen=True, eq=False)
class Picture:
    """What is shown of one observation.

    Attributes:
        observation: The observation.
        model, sigma: Best-fit model and noise standard deviation, (ny, nx) [counts / s].
        lens_light, lensed_source: Its parts, (ny, nx) [counts / s].
        source: Surface brightness in the source plane, square [counts / s / arcsec^2].
        source_grid: Where the pixels of `source` lie.
        curves: Critical curves and caustics.
        held: Share of the source's flux that `source` holds; NaN where a profile does not tell its flux.
        source_error: Standard deviation of `source` at the best fit where it has no given shape, with the lens as it
            is; None otherwise.
    """

    observation: Observation
    model: np.ndarray
    sigma: np.ndarray
    lens_light: np.ndarray
    lensed_source: np.ndarray
    source: np.ndarray
    source_grid: Grid
    curves: Sequence[Curve]
    held: float = float("nan")
    source_error: np.ndarray | None = None

    @property
    def mask(self) -> np.ndarray:
        """True where a pixel was fitted, (ny, nx)."""
        return np.asarray(self.observation.mask, bool)

    @property
    def residual(self) -> np.ndarray:
        """(data - model) / sigma, NaN where a pixel was not fitted, (ny, nx)."""
        out = np.full(self.model.shape, np.nan)
        used = self.mask
        out[used] = (self.observation.image[used] - self.model[used]) / self.sigma[used]
        return out

    @property
    def chi2(self) -> float:
        """Sum of the squared residuals, made independent first where the noise is correlated."""
        return float(np.sum(self.observation.independent(self.model, self.sigma) ** 2))


def pictures(result: Found) -> list[Picture]:
    """Render the parts of the best fit, one picture for each observation."""
    if not result.observations:
        return []
    found: list[Curve] | None = None
    out = []
    for k, (observation, scene, model, sigma) in enumerate(zip(result.observations, result.scenes, result.model_images,
                                                               result.sigma_images, strict=True)):
        if found is None:  # all observations see one mass
            half_width = 0.75 * max(observation.grid.shape) * float(observation.grid.pixel_scale)
            center = float(observation.grid.center_x), float(observation.grid.center_y)
            found = critical_curves(scene.lenses(), half_width, center=center)
        source, source_grid = source_plane(scene, observation, found)
        lens_light, lensed_source = _parts(scene, observation.data(trim=False))
        out.append(Picture(
            observation=observation, model=np.asarray(model, float), sigma=np.asarray(sigma, float),
            lens_light=np.asarray(lens_light, float), lensed_source=np.asarray(lensed_source, float),
            source=source, source_grid=source_grid, curves=found, held=_held(scene, source, source_grid),
            source_error=_source_error(result, k, source_grid)))
    return out


def _source_error(result: Found, k: int, grid: Grid) -> np.ndarray | None:
    """Standard deviation on a grid in the source plane of those sources of observation k that have roots."""
    total = None
    for name, _, place in linear_profiles(result.prior, k, result.observations):
        profile = result.scenes[k].light[place]
        if name in result.amplitudes.roots and name.startswith("source_light"):
            waves = np.asarray(_basis(profile.replace(amp=None), grid), float)
            spread = np.einsum("kyx,km->myx", waves, result.amplitudes.roots[name], optimize=True)
            total = np.sum(spread**2, 0) + (0.0 if total is None else total)
    return None if total is None else np.sqrt(total)


def _held(scene: Scene, source: np.ndarray, grid: Grid) -> float:
    """Share of the source's flux on the pixels of a grid in the source plane."""
    total = sum((float(profile.flux()) for profile in scene.of_plane().source_light if not profile.is_point), 0.0)
    return float(source.sum()) * float(grid.pixel_area) / total if total > 0.0 else float("nan")


def source_plane(scene: Scene, observation: Observation, curves: Sequence[Curve]) -> tuple[np.ndarray, Grid]:
    """Surface brightness of the source on a square that holds it and the tangential caustics.

    Returns:
        The image, shape (160, 160) [counts / s / arcsec^2], and its grid.
    """
    scene = scene.in_band(observation.band)
    x, y, brightness = map(np.asarray, _traced(scene, observation.grid))
    fitted = np.repeat(np.repeat(np.asarray(observation.mask, bool), 2, 0), 2, 1)
    bright = fitted & (brightness > BRIGHT * brightness[fitted].max()) & (brightness > 0.0)
    points = [np.stack([x[bright], y[bright]], 1)]
    points += [curve.caustic for curve in curves if curve.kind == "tangential"]
    points = np.concatenate(points)
    if not len(points):
        points = np.stack([x[fitted], y[fitted]], 1)
    low, high = points.min(0), points.max(0)
    side = 1.3 * max(float((high - low).max()), 2.0 * float(observation.grid.pixel_scale))
    middle = 0.5 * (low + high)
    grid = Grid(shape=(SOURCE_PIXELS, SOURCE_PIXELS), pixel_scale=side / SOURCE_PIXELS,
                center_x=float(middle[0]), center_y=float(middle[1]))
    return np.asarray(_brightness(scene.of_plane().source_light, grid), float), grid


@jax.jit
def _traced(scene: Scene, grid: Grid) -> tuple[Array, Array, Array]:
    """Places in the last source plane that subpixels are traced to, and the brightness there."""
    scene = scene.of_plane()
    x, y = trace(scene.mass, *grid.coordinates(2))
    return x, y, total(scene.source_light, x, y)


@jax.jit
def _basis(profile: LightProfile, grid: Grid) -> Array:
    return profile.basis(*grid.coordinates())


@jax.jit
def _brightness(profiles: list[LightProfile], grid: Grid) -> Array:
    return total(profiles, *grid.coordinates())


@jax.jit
def _parts(scene: Scene, data: Data) -> tuple[Array, Array]:
    """Images of the lens light and of the lensed source, (ny, nx) each [counts / s]."""
    return render_data(scene.replace(source_light=[]), data), render_data(scene.replace(lens_light=[]), data)
