"""Leaves that are functions of other leaves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False, init=False)
class Derived:
    """A leaf that is a function of other leaves, each of which is drawn once a scene.

    It is no pytree, so that trees hold it as one leaf.

    >>> import numpyro.distributions as dist
    >>> theta_E = dist.Uniform(1.0, 3.0)
    >>> half = Derived(lambda radius: 0.5 * radius, theta_E)

    Attributes:
        function: Takes the values of the inputs and returns one array; traceable.
        inputs: Distributions, Columns, other Deriveds, numbers or arrays. Inputs may have any shape, so that two
            Deriveds can share the entries of one multivariate draw.
    """

    function: Callable[..., Any]
    inputs: tuple[Any, ...]

    def __init__(self, function: Callable[..., Any], *inputs: Any) -> None:
        if not callable(function):
            raise ValueError(f"Derived: got {function!r}; expected a function and its inputs")
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "inputs", inputs)
