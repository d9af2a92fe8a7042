"""Validation on examples drawn once: a fixed set, and a shifted one with another PSF, noise and kind of source.

Of a task whose examples are stored, the fixed set is the part of the source that is for validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from giga.models.training.loop import Loop
from giga.models.training.task import FedTask, ShiftedTask
from giga.runtime.identity import hash_of, identity_of
from giga.runtime.parallel import on_host

STEPS = {"fixed": -1, "shifted": -2, "simulated": -1}
"""The steps that the sets are drawn at; training steps are not negative."""


@dataclass(frozen=True)
class ValidationSet:
    """Examples in micro-batches, laid out over the devices.

    Attributes:
        name: `fixed` or `shifted`; `simulated` beside a fixed set that is stored.
        batches: The micro-batches, which can be gone through again and again; stored ones are read each time.
        sha256: Hash of all their arrays, in order; of stored ones, of what their source is.
    """

    name: str
    batches: Iterable[Any]
    sha256: str


def draw_sets(loop: Loop) -> tuple[ValidationSet, ...]:
    """Draw the fixed set and, where the task has one, the shifted set; none if the config says so.

    Example i has the key fold_in(fold_in(key(validation_seed), -1 or -2), i), whatever the number of devices. Of stored
    examples the fixed set is all of those held out for it; what else the task simulates is a set of its own.
    """
    config, task = loop.config, loop.task
    names = ["fixed", "shifted"] if isinstance(task, ShiftedTask) else ["fixed"]
    sets = []
    if isinstance(task, FedTask) and config.validation_size:
        if task.source.held_out("validation"):
            sets.append(ValidationSet("fixed", Stored(loop), identity_of(task.source.identity, "validation")))
        names = ["simulated"] if task.stored < 1.0 else []
    for name in names if config.validation_size else ():
        draw = loop.examples(name == "shifted")
        count = config.validation_size // config.micro
        batches = tuple(draw(config.validation_seed, STEPS[name], k) for k in range(count))
        sets.append(ValidationSet(name, batches, _hash(batches)))
    return tuple(sets)


@dataclass(frozen=True)
class Stored:
    """The stored examples that are held out for validation, read whenever they are gone through."""

    loop: Loop

    def __iter__(self) -> Iterator[Any]:
        return self.loop.held_out("validation")


def _hash(batches: tuple[Any, ...]) -> str:
    """Hash of a set that does not depend on how it is cut into batches."""
    parts = [on_host(batch) for batch in batches]
    return hash_of(jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts))


def validate(evaluate: Any, params: Any, stats: Any, batches: Iterable[Any]) -> dict[str, float]:
    """Mean loss and metrics over a set.

    Args:
        evaluate: Made by `Loop.evaluation`.
        params: Weights, as a rule their running mean.
        stats: Batch statistics.
        batches: Of equal size.
    """
    rows = [evaluate(params, stats, batch) for batch in batches]
    return {name: float(np.mean([np.asarray(row[name], np.float64) for row in rows])) for name in rows[0]}
