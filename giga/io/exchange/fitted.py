"""A finished fit, or what a search has found, as scenes: of numbers at the best fit, of arrays for the draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np

from giga.component import is_distribution, path_name
from giga.inference.amplitudes import linear_profiles
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import Config, load_config, scene_from_config
from giga.io.errors import InputError
from giga.io.results.folder import SEARCHED, read_summary
from giga.io.results.posterior import AMPLITUDES, read_posterior
from giga.lensing.scene import Scene


@dataclass(frozen=True, eq=False)
class Fitted:
    """What one observation of a fit sees, in float64; without observations all that was fitted.

    Attributes:
        folder: Of the run.
        config: As it was run.
        number: Of the observation.
        prior: Scene with distributions on its free leaves.
        best: Scene of numbers; solved amplitudes are filled in.
        draws: Scene whose free leaves are arrays with the draws of all chains along their first axis; of a search, the
            best fit as one draw.
        sampled: Whether these are draws of the posterior.
        chi2: Of the best fit.
    """

    folder: Path
    config: Config
    number: int
    prior: Scene
    best: Scene
    draws: Scene
    sampled: bool
    chi2: float


def read_fitted(folder: str | PathLike[str], number: int = 0) -> Fitted:
    """Read a run back.

    Where amplitudes were solved, the draws are those that amplitudes were drawn for.

    Args:
        folder: Of the run.
        number: Of the observation.

    Raises:
        InputError: A file that is missing or damaged, a number of no observation, or a parameter without a value.
    """
    folder = Path(folder)
    config = load_config(folder / "config.toml", fit_config_type=FitConfig)
    count = len(config.observation)
    if not 0 <= number < max(count, 1):
        raise InputError(folder / "config.toml", "--observation", f"got {number}",
                         f"0 to {count - 1}, of {count} observations" if count else "none, of a fit without an image")
    sampled = (folder / "summary.json").is_file() or not (folder / "search.json").is_file()
    file = folder / ("summary.json" if sampled else "search.json")
    known = read_summary(file) if sampled else read_summary(file, SEARCHED)
    whole, band = scene_from_config(config), config.observation[number].band if count else None
    observations: Any = config.observation  # of which the bands alone are asked
    solved = [name for name, _, _ in linear_profiles(whole, number, observations)] if count else []
    rows = known.get("amplitudes", {})
    if lacking := [name for name in solved if name not in rows]:
        raise InputError(file, f"amplitudes.{lacking[0]}", "missing", "the amplitudes that the fit has solved")
    amplitudes = {name: np.asarray(rows[name]["best"], float) for name in solved}
    prior = whole.in_band(band)
    best = filled(whole, {name: np.asarray(value, float) for name, value in known["best"].items()}, file)
    best = _shining(best, band, [amplitudes[name] for name in solved])
    if sampled:
        groups = read_posterior(folder / "posterior.nc")
        values, drawn = groups["posterior"], groups.get(AMPLITUDES, {})
        if solved and all(name in drawn for name in solved):
            values = {name: array[:, drawn["draw"]] for name, array in values.items()}
            amplitudes = {name: _flat(drawn[name]) for name in solved}
        free = {name: _flat(array) for name, array in values.items()}
    else:
        free = {name: np.atleast_1d(np.asarray(value, float)) for name, value in known["best"].items()}
        amplitudes = {name: value[None] for name, value in amplitudes.items()}
    draws = _shining(filled(whole, free, file), band, [amplitudes[name] for name in solved])
    return Fitted(folder, config, number, prior, best, draws, sampled, float(known["chi2"]))


def _shining(scene: Scene, band: str | None, amplitudes: list[np.ndarray]) -> Scene:
    """The scene as a band sees it, with amplitudes where there are any: without an image none is solved."""
    seen = scene.in_band(band)
    return seen.with_amplitudes(amplitudes) if amplitudes else seen


def filled(prior: Any, values: Mapping[str, Any], file: str | PathLike[str] = "") -> Any:
    """A scene with values where its prior has distributions; one distribution on several leaves is one value.

    Args:
        prior: The scene.
        values: Numbers or arrays by the path of the parameter, its first leaf.
        file: Where they are from, for messages.

    Raises:
        InputError: A parameter without a value.
    """
    seen: dict[int, str] = {}

    def one(path: tuple[Any, ...], leaf: Any) -> Any:
        if not is_distribution(leaf):
            return leaf
        name = seen.setdefault(id(leaf), path_name(path))
        if name not in values:
            raise InputError(file, name, "missing", "a value of every parameter that config.toml frees")
        return values[name]

    return jax.tree_util.tree_map_with_path(one, prior, is_leaf=is_distribution)


def _flat(array: np.ndarray) -> np.ndarray:
    """Draws of all chains along one axis."""
    return np.asarray(array, float).reshape(-1, *np.shape(array)[2:])
