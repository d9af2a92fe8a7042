"""Parameters and floating-point operations of a network, without running it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

TRAINING = 3  # a training step costs three forward passes: the backward pass is two


class Count(NamedTuple):
    """The size and the cost of a network."""

    parameters: int
    forward: float  # floating-point operations of one image

    @property
    def training(self) -> float:
        """Operations of one image in training, three forward passes by convention."""
        return TRAINING * self.forward


def parameters(model: Any) -> int:
    """Number of trained parameters of a network; running statistics are none."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


def operations(function: Callable[..., Any], *inputs: Any) -> float:
    """Floating-point operations of a function, as XLA's cost analysis of the traced program counts them.

    A multiplication and an addition are two; products with the zeros around an image are not counted. The program
    is neither compiled nor run, so the count is the same on every device.

    Args:
        function: What is counted.
        inputs: Its arguments: arrays, or `jax.ShapeDtypeStruct` in their place.
    """
    with jax.default_device(jax.devices("cpu")[0]):  # XLA has no analysis of a program traced for a GPU
        cost: Any = jax.jit(function).lower(*inputs).cost_analysis()
    return float(cost["flops"])


def count(make: Callable[[], Any], shape: tuple[int, ...]) -> Count:
    """Count a network that is not made.

    Args:
        make: Makes the network: `lambda: UNet(UNetConfig.paper(), rngs=nnx.Rngs(0))`.
        shape: Of one image, (ny, nx, bands).
    """
    graph, state = nnx.split(nnx.eval_shape(make))
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return Count(parameters(state), operations(lambda s, x: nnx.merge(graph, s)(x), state, image))
