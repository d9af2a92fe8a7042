"""What a training run carries from step to step, and the network that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from giga.component import AnyArray, Component
from giga.models.training.config import TrainConfig
from giga.models.training.task import Task
from giga.runtime.parallel import AXIS


class TrainState(Component):
    """All that the next step needs; the examples need the step alone."""

    step: AnyArray  # updates made, shape ()
    params: Any  # weights, float32
    stats: Any  # batch statistics
    ema: Any  # running mean of the weights
    moments: Any  # state of the optimiser


class Best(Component):
    """The best validation so far, and the weights that made it."""

    loss: AnyArray  # on the fixed set, shape (); infinity before the first validation
    step: AnyArray
    ema: Any
    stats: Any
    waited: AnyArray  # validations since


@dataclass(frozen=True)
class Network:
    """A network without its state, as compiled programs take it.

    Attributes:
        structure: The module without arrays.
        rest: What is neither weight nor batch statistics: the keys and counts of random streams.
    """

    structure: Any
    rest: Any

    def model(self, params: Any, stats: Any, key: jax.Array | None = None, train: bool = False) -> Any:
        """The module with its state, to be called.

        In training, statistics of a batch norm are those of the batch on all devices together; the model is then
        called inside `jax.shard_map` over `giga.runtime.parallel.AXIS`.

        Args:
            params: Weights.
            stats: Batch statistics.
            key: Seed of the random streams; None leaves them as they were made.
            train: Mode of dropout and batch norm.
        """
        rest = self.rest if key is None else jax.tree.map(lambda leaf: _renewed(leaf, key), self.rest)
        model = nnx.merge(self.structure, params, stats, rest, copy=True)  # of variables, which belong to a trace
        model.train() if train else model.eval()
        if train:
            model.set_attributes(nnx.BatchNorm, axis_name=AXIS, raise_if_not_found=False)
        return model

    def stats_of(self, model: Any) -> Any:
        """The batch statistics of a module after a call."""
        return nnx.state(model, nnx.BatchStat)


def _renewed(leaf: jax.Array, key: jax.Array) -> jax.Array:
    """A stream's key, made of the step's; its count starts again."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.fold_in(key, 0)
    return jnp.zeros_like(leaf)


def start(task: Task, config: TrainConfig, optimiser: optax.GradientTransformation) -> tuple[Network, TrainState]:
    """Make the network of a task and the state before the first step.

    The state has arrays of its own: those of the network that the task gives, which may be one that was loaded, stay.

    Raises:
        ValueError: A weight that is not float32; names it.
    """
    model = task.network(nnx.Rngs(config.seed))
    structure, params, stats, rest = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        if leaf.dtype != jnp.float32:
            raise ValueError(f"network: weight {weight_name(path)} is {leaf.dtype}, expected float32 (bfloat16 is for "
                             "activations)")
    params, stats, ema = jax.tree.map(jnp.copy, (params, stats, params))  # every step donates them, each once
    return Network(structure, rest), TrainState(step=jnp.int32(0), params=params, stats=stats, ema=ema,
                                                moments=optimiser.init(params))


def nothing_yet(state: TrainState) -> Best:
    """The best validation before the first."""
    ema, stats = jax.tree.map(np.asarray, (state.ema, state.stats))
    return Best(loss=np.float32(np.inf), step=np.int32(0), ema=ema, stats=stats, waited=np.int32(0))


def weight_name(path: Any) -> str:
    """Spell the place of a weight in a network: `down.0.conv.kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
