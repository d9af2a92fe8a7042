"""Tasks whose examples are simulated images: what they have in common, whichever network and loss."""

from __future__ import annotations

import copy
from typing import Self

import jax
from jax import Array

from giga.simulate.batch import Batch
from giga.simulate.generator import Examples, Geometry


class SimulatedTask:
    """Examples of a simulator, and of another for the shifted set; a subclass says what its loss needs of them.

    Attributes:
        simulator: Of the training set.
        other: Of the shifted set.
    """

    simulator: Examples
    other: Examples

    def prepared(self, batch: Batch) -> dict[str, Array]:
        """What the loss needs of simulated images, with or without a leading axis."""
        raise NotImplementedError

    def example(self, key: Array) -> dict[str, Array]:
        """One training example."""
        return self.finish(key, self.geometry(key))

    def geometry(self, key: Array) -> Geometry:
        """The scene of an example."""
        return self.simulator.geometry(jax.random.split(key)[0])

    def finish(self, key: Array, geometry: Geometry) -> dict[str, Array]:
        """The example of a scene."""
        return self.prepared(self.simulator.finish(jax.random.split(key)[1], geometry))

    def shifted_example(self, key: Array) -> dict[str, Array]:
        """One example of another PSF, another noise and other sources."""
        return self.prepared(self.other.example(key))

    @property
    def arrays(self) -> tuple[Examples, Examples]:
        """The simulators: cutouts of real sky and tables are large."""
        return self.simulator, self.other

    def holding(self, arrays: tuple[Examples, Examples]) -> Self:
        """The same task with these simulators."""
        task = copy.copy(self)
        task.simulator, task.other = arrays
        return task
