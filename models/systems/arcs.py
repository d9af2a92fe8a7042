"""Finders of giant arcs in clusters: what they are trained on, and how they are measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from giga.models.networks.finder import Finder, FinderConfig
from giga.models.systems.finder import FinderTask, scored
from giga.models.systems.finder_metrics import completeness_at, curve, interval
from giga.models.systems.measured import Measured, Scores
from giga.runtime.identity import identity_of
from giga.simulate.generator import Examples, simulator
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys import shifted as other_world
from giga.simulate.surveys.noise import CameraNoise, Noise
from giga.simulate.systems.cluster_mimics import KINDS, arcs_among_mimics, cluster_mimics

SUPERSAMPLING = 2
BINS = {"fnr_mag": ("mag", (21.0, 23.0, 24.0, 25.0, 28.0), True),
        "fnr_theta_E": ("theta_E", (5.0, 6.0, 8.0, 12.0, 40.0), True),
        "fnr_z": ("z", (0.5, 1.0, 1.5, 2.5, 5.0), True), "fnr_kind": ("kind", (-0.5, 0.5, 1.5, 2.5), True),
        "fnr_r_e": ("r_e", (0.0, 0.15, 0.3, 0.6, 1.7), True),
        "fpr_z_lens": ("z_lens", (0.1, 0.3, 0.5, 0.7, 1.04), False)}
"""Properties that rates of errors are measured against, see `giga.models.systems.finder.BINS`."""

RATES = {"1e-2": 1e-2, "1e-3": 1e-3}
"""False-positive rates of ordinary negatives at whose thresholds mimics are counted."""

SET = 2  # number of the set of mimics; "mock" and "shifted" are 0 and 1, see `giga.models.systems.finder.evaluate`


def make_simulator(config: FinderConfig, shifted: bool = False, noise: Noise | None = None,
                   catalogue: Catalogue | None = None, **population: Any) -> Examples:
    """The simulator of a finder of arcs.

    Args:
        config: Survey and size of the images.
        shifted: What the network has not been trained for: Moffat PSFs that are a quarter wider, noise that is
            correlated between pixels, sources with clumps.
        noise: In the place of the camera's, for what is not shifted; images of real clusters, of `Backdrop`, for both.
        catalogue: Of sources, see `giga.simulate.systems.cluster_arcs.cluster_arcs`.
        population: Its other settings, and `mimics` of `giga.simulate.systems.cluster_mimics.arcs_among_mimics`. With
            `light=False` the noise has to bring the clusters.
    """
    survey, real = config.observed, not population.get("light", True)
    if shifted:
        psfs, noise = other_world.psfs(survey, SUPERSAMPLING), noise if real else other_world.noise(survey)
        population = {**population, "clumps": other_world.CLUMPS}
    else:
        psfs = survey.psfs(SUPERSAMPLING)
    drawn = arcs_among_mimics(survey, catalogue=catalogue, **population)
    return simulator(drawn, survey.grid, psfs, CameraNoise.of(survey) if noise is None else noise)


def make_mimics(config: FinderConfig, noise: Noise | None = None, catalogue: Catalogue | None = None,
                shares: Mapping[str, float] | None = None, **population: Any) -> Examples:
    """The simulator of what is taken for an arc: the clusters, PSFs and noise of `make_simulator`, without arcs.

    Args:
        config, noise, catalogue: See `make_simulator`.
        shares: Of the kinds, see `giga.simulate.systems.cluster_mimics.cluster_mimics`.
        population: The other settings of `make_simulator`; `impostors` has no meaning here.
    """
    survey = config.observed
    population = {name: value for name, value in population.items() if name != "impostors"}
    drawn = cluster_mimics(survey, shares, catalogue=catalogue, **population)
    return simulator(drawn, survey.grid, survey.psfs(SUPERSAMPLING), CameraNoise.of(survey) if noise is None else noise)


def evaluate_mimics(config: FinderConfig, model: Finder, images: int, seed: int, made: Examples,
                    mock: Measured) -> Measured:
    """Measure a finder on images of mimics, none of which a training step draws.

    Args:
        config: Of the network.
        model: The network.
        images: Size of the set, none of them lenses.
        seed: Of the sets.
        made: See `make_mimics`.
        mock: What the mocks tell of the same network: their negatives give the thresholds, their arcs the lenses.

    Returns:
        What `measured_mimics` tells.
    """
    return measured_mimics(scored(config, model, made, images, jax.random.fold_in(jax.random.key(seed), SET)), mock)


def measured_mimics(rows: Mapping[str, np.ndarray], mock: Measured) -> Measured:
    """What scores of mimics tell of a finder.

    Args:
        rows: `score`, `mimic`, `flux` and `colour` of the mimics, shape (n,) each.
        mock: See `evaluate_mimics`.

    Returns:
        `auc` of the mocks' arcs against all mimics, and `auc_KIND` against each kind. At the threshold of each of
        `RATES` that the mocks' negatives can tell: `completeness_at_RATE` of the arcs, `fpr_at_RATE` of the mimics with
        the ends of its interval, and `fpr_KIND_at_RATE` with its. Beside them the areas for flux and colour alone.

    Raises:
        ValueError: A mock set that has no scores.
    """
    if mock.scores is None:
        raise ValueError("mock: no scores; expected those of a finder")
    known, score, kind = mock.scores, rows["score"], rows["mimic"]
    arcs = known.score[known.positive]
    numbers = {"auc": _area(arcs, score)} | {f"auc_{name}": _area(arcs, score[kind == k])
                                             for k, name in enumerate(KINDS) if np.any(kind == k)}
    for called, rate in RATES.items():
        if np.sum(~known.positive) * rate < 1.0:
            continue  # the negatives cannot tell such a rate
        found = completeness_at(known.positive, known.score, rate)
        numbers[f"completeness_at_{called}"] = found.completeness
        for name, chosen in {"": kind >= 0, **{f"_{name}": kind == k for k, name in enumerate(KINDS)}}.items():
            if total := int(np.sum(chosen)):
                wrong = int(np.sum(score[chosen] >= found.threshold))
                low, high = interval(wrong, total)
                key = f"fpr{name}_at_{called}"
                numbers |= {key: wrong / total, f"{key}_low": low, f"{key}_high": high}
    alone = {f"{name} alone": rows[name] for name in ("flux", "colour")}
    baselines = {name: {"auc": _area(known.baselines[name][known.positive], values)} for name, values in alone.items()}
    both = np.concatenate([arcs, score])
    return Measured(numbers, baselines, Scores(
        np.arange(len(both)) < len(arcs), both, known.cut, 1.0 / (1.0 + np.exp(-both.astype(float))),
        {name: np.concatenate([known.baselines[name][known.positive], values]) for name, values in alone.items()}))


def _area(lenses: np.ndarray, others: np.ndarray) -> float:
    """Area under the ROC curve of scores of lenses and of others."""
    return curve(np.arange(len(lenses) + len(others)) < len(lenses), np.concatenate([lenses, others])).auc


class ArcTask(FinderTask):
    """What `giga.models.training.train` needs to train a finder of arcs.

    Args:
        config: Network and images.
        noise, catalogue, population: See `make_simulator`.
    """

    def __init__(self, config: FinderConfig, noise: Noise | None = None, catalogue: Catalogue | None = None,
                 **population: Any):
        self.config, self.made_of = config, ("arcs", noise, population)
        self.simulator = make_simulator(config, False, noise, catalogue, **population)
        self.other = make_simulator(config, True, noise, catalogue, **population)

    @property
    def identity(self) -> str:
        """Hash of the configuration, its survey, the populations and their noise."""
        return identity_of("finder", self.config, self.config.observed, *self.made_of, self.simulator, self.other)
