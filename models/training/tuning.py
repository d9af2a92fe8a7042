"""Trained weights that go on learning: which of them move, and how fast."""

from __future__ import annotations

from typing import Any

import jax
import optax
from flax import nnx

from giga.models.training.task import Task, TunedTask


def tuned(optimiser: optax.GradientTransformation, task: Task) -> optax.GradientTransformation:
    """An optimiser whose updates are multiplied by the rates of a `TunedTask`, decay of weights included.

    A weight of rate 0 stays as it is, its running mean to rounding. For any other task the optimiser is returned as it
    is.
    """
    if not isinstance(task, TunedTask):
        return optimiser

    def scaled(updates: Any, params: Any) -> Any:
        return jax.tree.map(lambda rate, update: rate * update, task.rates(params), updates)

    return optax.chain(optimiser, optax.stateless(scaled))


def hold(model: nnx.Module, rates: Any) -> None:
    """Make constants of the weights of rate 0, in place: no gradient is computed for them, nor back through them.

    Args:
        model: As `TunedTask.loss` has it.
        rates: Of its weights, by the structure of their state.
    """
    params = nnx.state(model, nnx.Param)
    nnx.update(model, jax.tree.map(lambda rate, leaf: leaf if rate else jax.lax.stop_gradient(leaf), rates, params))


def still(model: nnx.Module, names: tuple[str, ...]) -> None:
    """Let the batch norms and dropouts of parts whose weights are held behave as in evaluation, in place.

    Args:
        model: In training mode.
        names: Attributes of the model, with points between: `backbone.blocks.0`.
    """
    for name in names:
        part: Any = model
        for piece in name.split("."):
            part = part[int(piece)] if piece.isdigit() else getattr(part, piece)
        if isinstance(part, nnx.Module):
            part.eval()


