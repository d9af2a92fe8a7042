"""How fast simulator and network are, apart and together."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from giga.models.loop import Loop
from giga.models.state import TrainState
from giga.parallel import one_by_one

CPU_STEPS = 3  # timed at a go where a step takes long
ROUNDS = 3  # of which the fastest counts


def measure_rates(loop: Loop, state: TrainState) -> dict[str, float]:
    """Images a second of the simulator alone, of the network alone on one fixed batch, and of both.

    Batches and programs are those of the training; compile time is left out, and the state is not touched.

    Returns:
        `simulator`, `network` and `joint` [images/s], and `joint_over_network`, at best 1.
    """
    config = loop.config
    steps = min(config.chunk, CPU_STEPS) if one_by_one(loop.over) else min(config.chunk, config.steps)
    draw, fixed_steps, steps_simulated = loop.examples(loop.task.example), loop.chunk(steps, False), loop.chunk(steps)
    fixed = draw(config.seed, 0, 0)

    def simulate(state):
        return [draw(config.seed, step, micro) for step in range(steps) for micro in range(config.accumulate)]

    images = steps * config.batch_size
    simulator = images / _fastest(simulate, state)
    network = images / _fastest(lambda state: fixed_steps(state, fixed), state)
    joint = images / _fastest(steps_simulated, state)
    return {"simulator": simulator, "network": network, "joint": joint, "joint_over_network": joint / network}


def _fastest(run: Callable[[TrainState], Any], state: TrainState) -> float:
    """Seconds of the fastest call, after one that compiles; each has its own copy of the state."""
    seconds = []
    for _ in range(1 + ROUNDS):
        copy = jax.block_until_ready(jax.tree.map(jnp.copy, state))
        started = time.perf_counter()
        jax.block_until_ready(run(copy))
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
