"""How fast simulator and network are, apart and together."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from giga.models.training.feed import check_fed
from giga.models.training.loop import Loop
from giga.models.training.source import AHEAD
from giga.models.training.state import TrainState
from giga.runtime.environment import rate
from giga.runtime.parallel import one_by_one

CPU_STEPS = 3  # timed at a go where a step takes long
ROUNDS = 3  # of which the fastest counts
READ = 2 * AHEAD  # steps whose stored examples are read at a go, more than are read ahead


def measure_rates(loop: Loop, state: TrainState, rounds: int = ROUNDS) -> dict[str, float]:
    """Images a second of the simulator alone, of the network alone on one fixed batch, and of both.

    Batches and programs are those of the training; compile time is left out, and the state is not touched. Where scenes
    are used again, simulator and both bear the time in which a chunk's are made, in equal parts by its steps.

    Returns:
        `simulator`, `network` and `joint` [images/s], `joint_over_network`, at best 1, and `reuse`, the images of each
        scene. Where examples are stored, all or some, `source` takes the place of `simulator`: how fast they are read.
    """
    config = loop.config
    steps = min(config.chunk, CPU_STEPS) if one_by_one(loop.over) else min(config.chunk, config.steps)
    draw, fixed_steps, steps_simulated = loop.drawn(), loop.chunk(steps, False), loop.chunk(steps)
    bank = loop.scenes(0)
    fixed = draw(next(bank) if loop.fed else bank, 0, 0)

    def simulate(state):
        return [draw(bank, step, micro) for step in range(steps) for micro in range(config.accumulate)]

    runs: dict[str, Callable[[TrainState], Any]] = {
        "simulator": simulate, "network": lambda state: fixed_steps(state, fixed),
        "joint": lambda state: steps_simulated(state, bank)}
    if loop.fed:
        runs["source"] = lambda state: list(itertools.islice(loop.feed(0).batches, READ))
        runs.pop("simulator")
    elif bank is not None:
        runs["scenes"] = lambda state: loop.scenes(0)
    seconds, images = _fastest(runs, state, rounds), steps * config.batch_size
    scenes = seconds.pop("scenes", 0.0) * steps / config.chunk
    read = READ * check_fed(loop.task, config, loop.over.devices.size)
    rates = {name: rate(read if name == "source" else images,
                        taken if name == "network" else taken + scenes) for name, taken in seconds.items()}
    return rates | {"joint_over_network": rates["joint"] / rates["network"], "reuse": config.reuse}


def _fastest(runs: dict[str, Callable[[TrainState], Any]], state: TrainState, rounds: int) -> dict[str, float]:
    """Seconds of the fastest call of each, after one that compiles; each has its own copy of the state.

    They are called in turns, so that what else the machine does falls on all of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(1 + rounds):
        for name, run in runs.items():
            copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))
            started = time.perf_counter()
            jax.block_until_ready(run(copy))
            seconds[name].append(time.perf_counter() - started)
    return {name: min(taken[1:]) for name, taken in seconds.items()}
