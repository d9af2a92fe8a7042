"""What a problem is, how its images are simulated, and the distributions of its prior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from giga.bayes.posterior import variance
from giga.imaging.observation import Observation
from giga.imaging.render import render_data
from giga.lensing.scene import Scene


@dataclass(frozen=True, eq=False)
class Problem:
    """A posterior whose truth is known.

    Attributes:
        name: What it is called.
        prior: Scene of distributions.
        observations: The simulated images: one of the one system, or one for each of `n` systems.
        truth: Scene of numbers; of several systems, of arrays with a leading axis over them.
    """

    name: str
    prior: Scene
    observations: tuple[Observation, ...]
    truth: Scene

    def systems(self) -> list[Problem]:
        """Each system of a problem of several as a problem of its own."""
        return [Problem(f"{self.name}_{k}", self.prior, (observation,),
                        jax.tree.map(lambda leaf, k=k: leaf[k].item(), self.truth))
                for k, observation in enumerate(self.observations)]


def simulate(truths: Sequence[Scene], template: Observation,
             seed: int | list[int]) -> tuple[Observation, ...]:
    """Give copies of an observation the noisy images of some scenes.

    Args:
        truths: Scenes of numbers, all of one structure.
        template: Its image is left out; its noise is drawn for the noiseless model.
        seed: Seed of the noise.
    """
    data, rng = template.data(trim=False), np.random.default_rng(seed)
    observations = []
    for truth in truths:
        model = _render(jax.tree.map(jnp.float32, truth), data)
        sigma = np.sqrt(np.asarray(variance(model, data), float))
        observations.append(template.replace(image=np.asarray(model, float) + sigma * np.asarray(
            data.unit_noise(lambda shape: rng.normal(size=shape)))))
    return tuple(observations)


@jax.jit
def _render(scene, data):
    return render_data(scene, data)


def normal(scale: float) -> dist.Distribution:
    """A normal distribution about zero."""
    return dist.Normal(0.0, scale)


def log_normal(median: float, scale: float) -> dist.Distribution:
    """A log-normal distribution, by its median."""
    return dist.LogNormal(float(np.log(median)), scale)


def truncated(loc: float, scale: float, low: float, high: float) -> dist.Distribution:
    """A truncated normal distribution."""
    return dist.TruncatedNormal(loc, scale, low=low, high=high)


def cells(size: int, parts: int) -> np.ndarray:
    """Centres of the parts of centred pixels [pixels]."""
    return (np.arange(size * parts) + 0.5) / parts - 0.5 * size
