"""The coordinates in which networks know parameters: of zero mean and unit spread, angles without a jump."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """Parameters by name, to and from a vector of numbers near one.

    A position angle phi, which is the same after half a turn, becomes the pair (cos 2 phi, sin 2 phi).

    Raises:
        ValueError: Lengths that differ, a scale that is not positive, or no parameter at all.

    >>> c = Coordinates(names=("theta_E",), location=(1.0,), scale=(0.5,), angles=("phi",))
    >>> c.size
    3
    >>> print(c.encode({"theta_E": 1.5, "phi": 0.0}))
    [1. 1. 0.]
    """

    names: tuple[str, ...]  # of the parameters that are shifted and scaled
    location: tuple[float, ...]
    scale: tuple[float, ...]
    angles: tuple[str, ...] = ()  # position angles [rad]

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.location) == len(self.scale):
            raise ValueError(f"names, location and scale must have one length, got {len(self.names)}, "
                             f"{len(self.location)} and {len(self.scale)}")
        if not self.names + self.angles:
            raise ValueError("coordinates need at least one parameter")
        for name, scale in zip(self.names, self.scale, strict=True):
            if not scale > 0:
                raise ValueError(f"scale of {name} must be positive, got {scale}")

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return len(self.names) + 2 * len(self.angles)

    def encode(self, truth: Mapping[str, Array | float]) -> Array:
        """Coordinates of parameters, shape (..., size), each parameter of shape (...).

        Raises:
            ValueError: A parameter is missing.
        """
        if missing := [name for name in self.names + self.angles if name not in truth]:
            raise ValueError(f"parameters without a value: {', '.join(missing)}; there are {', '.join(truth)}")
        linear = [(jnp.asarray(truth[name]) - location) / scale
                  for name, location, scale in zip(self.names, self.location, self.scale, strict=True)]
        turns = [f(2 * jnp.asarray(truth[name])) for name in self.angles for f in (jnp.cos, jnp.sin)]
        return jnp.stack(jnp.broadcast_arrays(*linear, *turns), axis=-1)

    def decode(self, theta: Array) -> dict[str, Array]:
        """Parameters of coordinates, shape (..., size); angles lie within a quarter turn of zero [rad].

        Raises:
            ValueError: Another number of coordinates.
        """
        if theta.shape[-1] != self.size:
            raise ValueError(f"coordinates must be of shape (..., {self.size}), got {theta.shape}")
        linear = {name: location + scale * theta[..., k] for k, (name, location, scale) in
                  enumerate(zip(self.names, self.location, self.scale, strict=True))}
        pairs = {name: theta[..., len(self.names) + 2 * k:][..., :2] for k, name in enumerate(self.angles)}
        return linear | {name: 0.5 * jnp.arctan2(pair[..., 1], pair[..., 0]) for name, pair in pairs.items()}

    @property
    def log_volume(self) -> float:
        """Log of the product of the scales: to be subtracted from a log-density for one of the parameters."""
        return sum(map(math.log, self.scale))
