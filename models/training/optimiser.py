"""AdamW with clipping, warm-up and cosine, and the running mean of the weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from giga.models.training.config import TrainConfig


def schedule(config: TrainConfig) -> optax.Schedule:
    """Learning rate by step: linear warm-up from zero, then half a cosine down to `final` of the highest."""
    top = config.learning_rate
    if not config.warmup:
        return optax.cosine_decay_schedule(top, config.steps, config.final)
    return optax.warmup_cosine_decay_schedule(0.0, top, config.warmup, config.steps, config.final * top)


def optimiser(config: TrainConfig) -> optax.GradientTransformation:
    """Gradients clipped by their global norm, then AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101).

    Biases and scales of norms, which have one axis, do not decay.
    """
    adam = optax.adamw(schedule(config), weight_decay=config.weight_decay, mask=_decays)
    return optax.chain(optax.clip_by_global_norm(config.clip), adam) if config.clip else adam


def _decays(params: Any) -> Any:
    return jax.tree.map(lambda a: a.ndim > 1, params)


def averaged(ema: Any, params: Any, step: Array, memory: float) -> Any:
    """The running mean of the weights after one more update.

    The memory grows as (1 + step) / (10 + step) up to its value, so that the first weights are soon forgotten.

    Args:
        ema: The mean so far.
        params: The new weights.
        step: Updates before this one, shape ().
        memory: Weight of the mean so far, in the long run.
    """
    if not memory:
        return params
    keep = jnp.minimum(memory, (1.0 + step) / (10.0 + step))
    return jax.tree.map(lambda mean, new: keep * mean + (1.0 - keep) * new, ema, params)
