"""Finders and estimators that learn from any simulation: a network of cutouts, and scenes that need no cutouts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.models.networks.cutouts import CutoutConfig, CutoutNet
from giga.models.systems.labelled import CutoutLearner, Labelled, Tuning
from giga.models.systems.simulated import SimulatedTask, elsewhere, require
from giga.models.training.injected import HELD
from giga.models.training.source import WEIGHT, Rows
from giga.models.training.splits import PARTS, Split
from giga.models.zoo.weights import tensors_of
from giga.runtime.identity import identity_of
from giga.simulate.batch import Batch
from giga.simulate.generator import Simulator
from giga.simulate.surveys.survey import Survey

LOOKED_AT = 512  # images that noise, features and shares of classes are measured on
CLASSES = ("0", "1")  # no lens, lens


@dataclass(frozen=True, eq=False)
class Drawn:
    """Simulated images by number, as `giga.models.training.source.Numbered`: a network is begun and measured on them.

    Attributes:
        simulator: Of the images.
        values: Names in the truth that are learned; empty learns the label.
        count: Images of each part.
        seed: Of the images; those of each part are their own, and none is a training's.
    """

    simulator: Simulator
    values: tuple[str, ...] = ()
    count: int = LOOKED_AT
    seed: int = 0

    @property
    def images(self) -> Any:
        """What has the shape of an image."""
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, (ny, nx, bands)."""
        return (*self.simulator.grid.shape, self.simulator.bands)

    @property
    def split(self) -> Split:
        """As many images for each part."""
        return Split(*(np.arange(self.count) + k * self.count for k in range(len(PARTS))))

    @property
    def epoch(self) -> int:
        """Images of a part, as none is seen twice and there is no other epoch."""
        return self.count

    @property
    def identity(self) -> str:
        """Hash of what the images depend on."""
        return identity_of("drawn", self.simulator, self.values, self.count, self.seed)

    @property
    def targets(self) -> Rows:
        """What all images are to be told as."""
        return self._targets

    @cached_property
    def _targets(self) -> Rows:
        rows = np.arange(len(PARTS) * self.count)
        return self._named(jax.tree.map(np.asarray, _told(self.simulator, self._key, rows)))

    def check(self, count: int) -> None:
        """Any number of examples of a step can be had."""

    def batch(self, step: int, count: int) -> Rows:
        """Examples of a step."""
        return self.rows(np.arange(step * count, (step + 1) * count))

    def held_out(self, part: str) -> int:
        """Number of examples of a part."""
        return len(self.split.part(part))

    def part(self, name: str, first: int, count: int) -> Rows:
        """Examples of a part."""
        return self.rows(self.split.part(name)[first:first + count])

    def rows(self, rows: np.ndarray) -> Rows:
        """Examples by their numbers."""
        image, *told = jax.tree.map(np.asarray, _drawn(self.simulator, self._key, rows))
        return {"image": image, WEIGHT: np.ones(len(rows), np.float32), **self._named(told)}

    @property
    def _key(self) -> Array:
        return jax.random.fold_in(jax.random.key(self.seed), HELD)

    def _named(self, told: Any) -> Rows:
        label, truth = told
        if self.values:
            return {"theta": np.stack([truth[name] for name in self.values], -1).astype(np.float32)}
        return {"label": label}


@jax.jit
def _drawn(simulator: Simulator, key: Array, rows: Array) -> tuple[Array, Array, dict[str, Array]]:
    def one(row: Array) -> tuple[Array, Array, dict[str, Array]]:
        batch = simulator.example(jax.random.fold_in(key, row))
        return jnp.asarray(batch.image), jnp.asarray(batch.label), batch.truth

    return jax.lax.map(one, rows)


@jax.jit
def _told(simulator: Simulator, key: Array, rows: Array) -> tuple[Array, dict[str, Array]]:
    """Labels and truths, of which nothing is rendered."""
    def one(row: Array) -> tuple[Array, dict[str, Array]]:
        batch = simulator.example(jax.random.fold_in(key, row))
        return jnp.asarray(batch.label), batch.truth

    return jax.lax.map(one, rows)


def drawn(simulator: Simulator, survey: Survey, values: tuple[str, ...] = (), classes: tuple[str, ...] = (),
          count: int = LOOKED_AT, seed: int = 0) -> Labelled:
    """Simulated images as labelled examples.

    Args:
        simulator: Of the images.
        survey: Whose bands they have.
        values: Names in the truth that are told; empty tells classes.
        classes: Names of what has no lensed source and what has; empty is "0" and "1".
        count: Images of each part.
        seed: Of the images.
    """
    return Labelled(Drawn(simulator, values, count, seed), tuple(band.name for band in survey.bands), "count / s",
                    () if values else classes or CLASSES, values)


class LensTask(CutoutLearner, SimulatedTask):
    """What `giga.models.training.train.train` needs to learn lenses, or their numbers, from a simulation.

    Args:
        config: Of the network.
        made: What simulates the images.
        survey: Whose images they are.
        start, tuning, weights: See `giga.models.systems.labelled.CutoutTask`.
        shares: Share of each class, by which weights are scaled.

    Raises:
        ValueError: A population that does not tell what is to be learned.
    """

    def __init__(self, config: CutoutConfig, made: Simulator, survey: Survey, start: CutoutNet | None = None, *,
                 tuning: Tuning | None = None, weights: tuple[float, ...] = (), shares: np.ndarray | None = None):
        require(made.population, "a finder", lensed=True if config.classes else None, values=config.values)
        super().__init__(config, start, tuning, weights,
                         lambda: np.full(2, 0.5) if shares is None else np.asarray(shares))
        self.simulator, self.other = made, elsewhere(made, survey)

    @property
    def identity(self) -> str:
        """Hash of all that the training depends on, the weights that it starts from too."""
        start = {} if self._start is None else tensors_of(self._start)
        return identity_of("lenses", self.config, start, self.tuning, self._weights, self.simulator)

    def prepared(self, batch: Batch) -> dict[str, Array]:
        """An image and what it is to be told as."""
        return self.row(batch)
