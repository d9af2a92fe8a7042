"""Examples that are made as they are read: simulated light in stored cutouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import jax
import numpy as np
from jax import Array

from giga.models.training.order import Order
from giga.models.training.source import WEIGHT, Images, Rows
from giga.models.training.splits import Split
from giga.runtime.identity import identity_of
from giga.runtime.parallel import rounded_up
from giga.simulate.batch import Batch
from giga.simulate.generator import LENSED
from giga.simulate.injected import Cutout, Injector

HELD = 2**32 - 1  # of the fold that makes the keys of cutouts by number; no step has this number
TOGETHER = 256  # images of one call at most


class Backdrops(Protocol):
    """Cutouts with what their light needs: PSF, noise, electrons per count."""

    @property
    def images(self) -> Images:
        """Their pixels."""
        ...

    @property
    def identity(self) -> str:
        """Hash of what they are."""
        ...

    def read(self, rows: np.ndarray) -> Cutout:
        """Cutouts by their numbers, arrays of the host with a leading axis."""
        ...


@dataclass(frozen=True, eq=False)
class Injected:
    """Simulated light in stored cutouts, as a source of examples.

    Example i of a step has the key `fold_in(fold_in(key(seed), step), i)`, and the cutout that the order of the
    training's cutouts has there: so it depends on seed and step alone, and every time that a cutout is seen it has
    another scene. In a part that is held out each cutout has as many as `scenes` says, always the same.

    Attributes:
        backdrops: The cutouts.
        injector: Puts light into them.
        split: Cutouts for training, validation and test.
        values: Names in the truth that are learned; empty learns the label.
        seed: Of scenes, turns and order.
        scenes: Of each cutout in a part that is held out.
    """

    backdrops: Backdrops
    injector: Injector
    split: Split
    values: tuple[str, ...] = ()
    seed: int = 0
    scenes: int = 1

    @property
    def images(self) -> Images:
        """The cutouts without light."""
        return self.backdrops.images

    @property
    def identity(self) -> str:
        """Hash of cutouts, population, split and seed."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        return identity_of("injected", self.backdrops.identity, self.injector, self.split.train, self.split.validation,
                           self.values, self.seed, self.scenes)

    @property
    def epoch(self) -> int:
        """Examples in which every training cutout is seen once."""
        return len(self.split.train)

    def order(self, rows: np.ndarray) -> Order:
        """The order in which some cutouts are seen, without end."""
        blocks = self.images.blocks
        return Order(rows, [self.seed], None if blocks is None else blocks[rows], self.images.window)

    @cached_property
    def _order(self) -> Order:
        return self.order(self.split.train)

    def check(self, count: int) -> None:
        """Any number of examples of a step can be had."""

    def batch(self, step: int, count: int) -> Rows:
        """The examples of a step."""
        return self._example(self.of_step(step, count, self._order))

    def of_step(self, step: int, count: int, order: Order) -> Batch:
        """All that is known of the examples of a step, on the host."""
        key = jax.random.fold_in(jax.random.key(self.seed), step)
        return self.made(order.at(np.arange(step * count, (step + 1) * count)), _keys(key, np.arange(count)))

    def held_out(self, part: str) -> int:
        """Number of examples of a part."""
        return len(self.split.part(part)) * self.scenes

    def part(self, name: str, first: int, count: int) -> Rows:
        """Examples of a part, all cutouts in the order of their rows, then all again with other scenes."""
        rows = self.split.part(name)
        numbers = np.arange(first, min(first + count, self.held_out(name)))
        scenes, places = np.divmod(numbers, max(1, len(rows)))
        return self._example(self.made(rows[places], self._held(rows[places] + scenes * len(self.images))))

    def rows(self, rows: np.ndarray) -> Rows:
        """Examples by the numbers of their cutouts, each with a scene of its own that is always the same."""
        return self._example(self.made(rows, self._held(rows)))

    def _held(self, numbers: np.ndarray) -> Array:
        """Keys of what is held out; the first scene of a cutout has its number."""
        return _keys(jax.random.fold_in(jax.random.key(self.seed), HELD), numbers)

    @property
    def targets(self) -> Rows:
        """What `rows` of all cutouts tells, nothing rendered: "label" or "theta"."""
        return self._targets

    @cached_property
    def _targets(self) -> Rows:
        rows = np.arange(len(self.images))
        truth = jax.tree.map(np.asarray, _told(self.injector, self._held(rows), rows))
        return {"theta": _stacked(truth, self.values)} if self.values else {"label": _label(truth, len(rows))}

    def made(self, rows: np.ndarray, keys: Array) -> Batch:
        """Put light into cutouts, one a key; arrays of the host."""
        parts = []
        for first in range(0, len(rows), TOGETHER):
            some = rows[first:first + TOGETHER]
            size = rounded_up(len(some))  # of few sizes, as each has a program of its own
            there = np.resize(np.arange(len(some)), size)
            cutouts = jax.tree.map(lambda values, there=there: values[there], self.backdrops.read(some))
            found = _made(self.injector, keys[first:first + TOGETHER][there], cutouts)
            parts.append(jax.tree.map(lambda values, some=some: np.asarray(values)[:len(some)], found))
        return parts[0] if len(parts) == 1 else jax.tree.map(lambda *values: np.concatenate(values), *parts)

    def _example(self, batch: Batch) -> Rows:
        out = {"image": np.asarray(batch.image), WEIGHT: np.ones(len(batch.image), np.float32)}
        if self.values:
            return out | {"theta": _stacked(batch.truth, self.values)}
        return out | {"label": np.asarray(batch.label, np.int32)}


def _stacked(truth: Any, names: tuple[str, ...]) -> np.ndarray:
    return np.stack([np.asarray(truth[name], np.float32) for name in names], -1)


def _label(truth: Any, count: int) -> np.ndarray:
    return np.asarray(truth.get(LENSED, np.ones(count)), np.int32)


def _one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """Batches in the way that is fast: on a CPU one by one, else together; on the first device, without a mesh.

    Batches are made in a thread beside the training, whose programs are of all devices: two such programs at once could
    wait for each other.
    """
    def wrapped(injector: Injector, *entries: Any) -> Any:
        if jax.default_backend() == "cpu":
            return jax.lax.map(lambda entry: function(injector, *entry), entries)
        return jax.vmap(lambda *entry: function(injector, *entry))(*entries)

    return jax.jit(wrapped)


_made = _one_by_one(Injector.__call__)
_told = jax.jit(jax.vmap(Injector.told, (None, 0, 0)))
_keys = jax.jit(jax.vmap(jax.random.fold_in, (None, 0)))
