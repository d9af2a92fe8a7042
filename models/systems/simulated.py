"""Tasks whose examples are simulated images: what they have in common, whichever network and loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import jax
from jax import Array

from giga.simulate.batch import Batch
from giga.simulate.generator import LENSED, Examples, Geometry, Simulator, simulator
from giga.simulate.populations.population import Population
from giga.simulate.surveys import shifted as other
from giga.simulate.surveys.own import OwnSurvey
from giga.simulate.surveys.survey import Survey


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


def require(population: Population, what: str, *, parts: Sequence[str] = (), lensed: bool | None = None,
            values: Sequence[str] = ()) -> None:
    """Refuse a population that lacks what is to be learned from it.

    Args:
        population: Distribution of scenes.
        what: That learns from it, in words.
        parts: Of the scene that are needed: "lens_light", "source_light".
        lensed: Whether scenes with and without a lensed source are needed, told by the extra "lensed"; False needs
            lenses alone, None takes either.
        values: Names of the truth that are needed.

    Raises:
        ValueError: What is missing, by the place where a configuration has it.
    """
    scene = jax.eval_shape(population.sample, jax.random.key(0))
    for part in parts:
        if not getattr(scene, part):
            raise ValueError(f"{part}: none in the population; {what} needs [[{part}]]")
    if lensed is True and LENSED not in population.free:
        raise ValueError(f"extras.{LENSED}: missing, so that every scene is a lens; {what} needs a Bernoulli draw of "
                         "this name, by which the amplitude of the source, or the Einstein radius, is multiplied")
    if lensed is False and LENSED in population.free:
        raise ValueError(f"extras.{LENSED}: a draw, so that some scenes are no lenses; {what} learns from lenses alone")
    for name in values:
        if name not in population.names:
            raise ValueError(f"{name}: no such value in the population; {what} needs it")


def elsewhere(made: Simulator, survey: Survey) -> Simulator:
    """The same scenes as a network that learns from a simulator has not seen them: PSF and noise are others.

    Moffat PSFs a quarter wider than the survey's, and noise that is correlated between pixels.
    """
    seen = OwnSurvey.of(survey).survey  # whose PSFs have widths, of kernels too
    psfs = other.psfs(seen, made.optics.supersampling)
    return simulator(made.population, survey.grid, psfs[:1] if made.mixing is not None else psfs, other.noise(survey),
                     companions=made.companions, mixing=made.mixing, turns=made.turns)
