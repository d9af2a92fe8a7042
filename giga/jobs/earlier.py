"""A fit that goes on from an earlier one: its best fit as the start, and its source on pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from giga.bayes.prior import Prior
from giga.inference.pictures import Picture
from giga.io.configuration.profiles import DistributionConfig, ProfileConfig
from giga.io.configuration.toml import Config
from giga.io.errors import InputError
from giga.io.images.config import StartConfig
from giga.io.results.folder import read_found
from giga.lensing.scene import Scene
from giga.light.pixel_source import PixelSource

FAINT = 0.02  # of its peak: the frame holds what of the source is brighter
MARGIN = 1.4  # of the frame's side about that
PIXELS = (12, 22)  # fewest and most a side that are chosen
ALONE = {"n_screen": 1, "n_starts": 1, "n_finalists": 1}  # the search climbs from the start, and from there alone


def gone_on(config: Config) -> Config:
    """A configuration with what its section [start], which names a fit, says of the model and of the search.

    Of `pixelated_from` all profiles of the source give way to one `PixelSource`: a square about the light that the
    earlier fit has there, a brightness that scatters as that light does, free within a factor of three, and a
    correlation length of a quarter of the square's half, free within a factor of two.

    Raises:
        InputError: A folder that holds no fit, or a fit without source light.
    """
    folder = config.start.folder
    assert folder is not None
    if config.inference.map_method != "lm":
        raise InputError(config.file, "inference.map_method", f"got {config.inference.map_method!r}",
                         "'lm', which takes the start of [start]")
    changes: dict[str, Any] = {"start": StartConfig(best_of=folder), "inference": replace(config.inference, **ALONE)}
    if config.start.pixelated_from is not None:
        _, drawn = read_found(folder)
        changes["source_light"] = (on_pixels(drawn[0], folder, config.start.n_pixels),)
    return replace(config, **changes)


def on_pixels(picture: Picture, folder: Path, n_pixels: int | None = None) -> ProfileConfig:
    """The pixelated source that takes the place of the one in a picture.

    Args:
        picture: Of the earlier fit.
        folder: Where it lies, for messages.
        n_pixels: Pixels a side; None chooses.

    Raises:
        InputError: It shows no source.
    """
    x, y = (np.asarray(axis, float) for axis in picture.source_grid.coordinates())
    light = picture.source
    if not light.max() > 0.0:
        raise InputError(folder, "start.pixelated_from", "no light in its source plane", "a fit with a source")
    bright = light > FAINT * light.max()
    (left, right), (low, high) = ((float(axis[bright].min()), float(axis[bright].max())) for axis in (x, y))
    pixel = float(picture.observation.grid.pixel_scale)
    half = max(0.5 * MARGIN * max(right - left, high - low), 2.0 * pixel)
    center_x, center_y = 0.5 * (left + right), 0.5 * (low + high)
    inside = np.maximum(np.abs(x - center_x), np.abs(y - center_y)) < half
    sd = float(np.sqrt(np.mean(light[inside] ** 2)))
    numbers = {"half_size": half, "center_x": center_x, "center_y": center_y, "nu": 1.0}
    free = {"sd": _about(sd, 3.0), "length": _about(0.25 * half, 2.0)}
    n = n_pixels or int(np.clip(np.ceil(2.0 * half / (0.5 * pixel)), *PIXELS))
    return ProfileConfig(PixelSource.__name__, (*((name, float(f"{value:.5g}")) for name, value in numbers.items()),
                                                *free.items()), (("n_pixels", n),))


def start_of(config: Config, prior: Scene) -> tuple[dict[str, float], list[str]]:
    """The values that the search starts from, and what the user should know of them.

    Those of the earlier best fit; of a parameter that it does not have, the middle of its prior.

    Args:
        config: From `gone_on`.
        prior: Its scene.

    Raises:
        InputError: A value of the earlier fit that the prior does not allow.
    """
    folder = config.start.folder
    assert folder is not None
    found, _ = read_found(folder)
    flat = Prior.of(prior)
    middle = np.asarray(jax.jit(Prior.constrain)(flat, np.zeros(flat.size, flat.shift.dtype)), float)
    known = {name: found.best[name] for name in flat.names if name in found.best}
    values = dict(zip(flat.names, middle.tolist(), strict=True)) | known
    z = np.asarray(flat.vector(values))
    for name, place in zip(flat.names, z, strict=True):
        if not np.isfinite(place):
            raise InputError(config.file, name, f"a prior without {values[name]:.6g}, the best fit of {folder}",
                             "a prior that allows it")
    missing = [name for name in flat.names if name not in known and not _of_pixels(name, config)]
    notes = [f"{folder} says nothing of {', '.join(missing)}; the search starts from the middle of their priors"] \
        if missing else []
    return values, notes


def _of_pixels(name: str, config: Config) -> bool:
    """Whether a parameter is one of a pixelated source that the earlier fit need not have."""
    part, _, rest = name.partition(".")
    return part == "source_light" and config.source_light[int(rest.partition(".")[0])].profile == PixelSource.__name__


def _about(median: float, factor: float) -> DistributionConfig:
    return DistributionConfig("LogNormal", (("loc", float(f"{np.log(median):.5g}")),
                                            ("scale", float(f"{np.log(factor):.5g}"))))
