"""A network learns the posterior of a fit from draws of the fit's own prior and noise, and is measured on them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior, constrained
from giga.component import AnyArray, Component, Param
from giga.imaging.observation import Data, Observation
from giga.inference.checks import calibration
from giga.lensing.scene import Scene
from giga.models.networks.posterior import PosteriorNet, PosteriorNetConfig
from giga.models.systems.measured import Estimate, Measured
from giga.runtime.identity import identity_of
from giga.simulate.observed import add_noise, draw_models

RANKED = 99  # draws that a truth is ranked among
DRAWS = 10 * RANKED  # draws that intervals are made of


class Subject(Component):
    """What a network learns the posterior of: a prior and the observations that it is seen in.

    Attributes:
        prior: Of the scene.
        data: Templates, untrimmed: grid, PSF, noise and mask; one a band.
        amplitude_sd: Standard deviation of the Gaussian that solved amplitudes are drawn from; 0 if there are none.
    """

    prior: Prior
    data: tuple[Data, ...]
    amplitude_sd: Param = 0.0

    @staticmethod
    def of(scene: Scene, observations: Sequence[Observation], amplitude_sd: float | None = None) -> Subject:
        """Put a scene of distributions and its observations together.

        Raises:
            ValueError: Observations of different shapes, or amplitudes that are left to be solved and have no prior.
        """
        if len({observation.image.shape for observation in observations}) > 1:
            shapes = ", ".join(str(observation.image.shape) for observation in observations)
            raise ValueError(f"observations: shapes {shapes}; expected one shape, for they are a network's bands")
        linear = any(scene.in_band(observation.band).is_linear for observation in observations)
        if linear and amplitude_sd is None:
            raise ValueError("amplitude_sd: missing; amplitudes that are left to be solved are drawn from a Gaussian "
                             "of this standard deviation")
        posterior = Posterior.of(scene, observations)
        data = tuple(o.data(np.float32, poisson=d.poisson, trim=False, scaled=True)
                     for o, d in zip(observations, posterior.data, strict=True))
        return Subject(prior=posterior.prior, data=data, amplitude_sd=amplitude_sd or 0.0)

    @property
    def rms(self) -> tuple[float, ...]:
        """Noise of the sky in each band [counts / s]."""
        return tuple(float(one.physical(np.sqrt(np.median(np.asarray(one.variance)[np.asarray(one.mask) > 0.0]))))
                     for one in self.data)

    def models(self, key: Array) -> tuple[Array, list[Array]]:
        """Draw z, shape (n,), and its images without noise, (ny, nx) in the units of the templates for each band."""
        return draw_models(key, self.prior, self.data, jnp.asarray(self.amplitude_sd, jnp.float32))

    def image(self, key: Array, z: Array, models: list[Array]) -> Array:
        """Add the noise at z, drawn from what `models` leaves of the same key; shape (ny, nx, bands) [counts / s]."""
        return jnp.stack(add_noise(key, z, models, self.prior, self.data), -1)


class PosteriorTask:
    """What `giga.models.training.train` needs to train an amortised posterior."""

    def __init__(self, config: PosteriorNetConfig, subject: Subject):
        self.config, self.subject = config, subject
        self.places = np.array([subject.prior.names.index(name) for name in config.parameters])

    @property
    def identity(self) -> str:
        """Hash of the configuration, the prior and the templates."""
        # Images of templates are not looked at.
        data = tuple(one.replace(image=jnp.zeros_like(one.image)) for one in self.subject.data)
        return identity_of("posterior", self.config, self.subject.prior, data, self.subject.amplitude_sd)

    @property
    def arrays(self) -> Subject:
        """The subject: its templates are images."""
        return self.subject

    def holding(self, arrays: Subject) -> PosteriorTask:
        """The same task with this subject."""
        task = copy.copy(self)
        task.subject = arrays
        return task

    def network(self, rngs: nnx.Rngs) -> PosteriorNet:
        """A fresh network, with the mask of the templates."""
        model = PosteriorNet(self.config, rngs=rngs)
        model.mask[...] = jnp.stack([one.mask for one in self.subject.data], -1).astype(jnp.float32)
        return model

    def example(self, key: Array) -> dict[str, Array]:
        """One image and the parameters that it was drawn with."""
        return self.finish(key, self.geometry(key))

    def geometry(self, key: Array) -> tuple[Array, list[Array]]:
        """Parameters and their images without noise."""
        return self.subject.models(key)

    def finish(self, key: Array, geometry: tuple[Array, list[Array]]) -> dict[str, Array]:
        """The example of some parameters."""
        z, models = geometry
        return {"image": self.subject.image(key, z, models), "z": z[self.places]}

    def loss(self, model: PosteriorNet, batch: dict[str, Array], key: Array) -> tuple[Array, dict[str, Array]]:
        """Negative log-density of the true parameters, a parameter."""
        u, log_det = model.whiten(batch["image"], batch["z"])
        value = -jnp.mean(model.density(u, log_det)) / u.shape[-1]
        return value, {"u2": jnp.mean(u**2)}


def calibrated(model: PosteriorNet, task: PosteriorTask, images: int = 1024, seed: int = 3) -> float:
    """Set the temperature of a network by examples that neither training nor test draws.

    The head's u of a true parameter is a standard normal if the posterior is right. The temperature of greatest
    likelihood is the root of the mean of u^2; it stays 1 where that is within two standard errors of 1, of which
    training on examples that are never seen twice as a rule makes sure.

    Args:
        model: The network; its temperature is set.
        task: What it learned.
        images: Number of examples.
        seed: Of the examples.

    Returns:
        The temperature.
    """
    run = _rows(task, model)
    squares = np.concatenate([np.mean(part["u"] ** 2, -1) for part in run(images, seed, 0)])
    mean, error = float(squares.mean()), float(squares.std(ddof=1) / np.sqrt(len(squares)))
    temperature = float(np.sqrt(mean)) if abs(mean - 1.0) > 2.0 * error else 1.0
    model.temperature[...] = jnp.float32(temperature)
    return temperature


def measure(model: PosteriorNet, task: PosteriorTask, images: int, seed: int = 2) -> Measured:
    """Measure predicted posteriors on examples that no training step draws.

    Args:
        model: The network.
        task: What it learned.
        images: Number of examples.
        seed: Of the examples.

    Returns:
        "coverage_68" and "coverage_95" over all parameters, "gap_68" and "gap_95", the largest distance of any
        parameter's from its level, "p_ks", the smallest p-value of the ranks times the number of parameters,
        "temperature", "best_temperature", which this set would have, "log_prob", and "gain", what the image tells of
        the parameters beyond the prior [nats]; "shrink" of each parameter, its mean sd over the prior's, in z, and
        "error", the rms of its median from the truth over the rms of the mean of the truths from it, likewise. The
        baseline is "the prior", which has not seen the image. Estimates are of physical values: median, central 68%.
    """
    parts = list(_rows(task, model)(images, seed, DRAWS))
    draws = np.concatenate([part["draws"] for part in parts], 1)
    truth, u, log_prob = (np.concatenate([part[name] for part in parts]) for name in ("z", "u", "log_prob"))
    below, rng = np.mean(draws < truth, axis=0), np.random.default_rng(seed)
    names = task.config.parameters
    ranks = {name: [calibration.rank(truth[i, k], draws[:RANKED, i, k], rng) for i in range(len(truth))]
             for k, name in enumerate(names)}
    found = calibration.summary(ranks, {name: list(below[:, k]) for k, name in enumerate(names)}, RANKED)
    out = {}
    for k, level in enumerate(calibration.LEVELS):
        rows = [row["coverage"][k]["share"] for row in found["quantities"].values()]
        out[f"coverage_{100 * level:.0f}"] = float(found["coverage"][k]["share"])
        out[f"gap_{100 * level:.0f}"] = float(max(abs(row - level) for row in rows))
    log_priors = np.asarray(_log_priors(task.subject.prior, _filled(task, truth)))
    before = log_priors[:, task.places].sum(-1).mean()
    error = np.sqrt(np.mean((np.median(draws, 0) - truth) ** 2, 0)) / truth.std(0)
    numbers = out | {"p_ks": float(found["smallest"]["p_ks"]["adjusted"]), "temperature": float(model.temperature[...]),
                  "best_temperature": float(np.sqrt(np.mean(u**2))), "log_prob": float(log_prob.mean()),
                  "gain": float(log_prob.mean() - before)} | {
                      f"shrink {name}": float(draws[..., k].std(0).mean()) for k, name in enumerate(names)} | {
                      f"error {name}": float(error[k]) for k, name in enumerate(names)}
    prior = {"log_prob": float(before), "gain": 0.0} | {f"{kind} {name}": 1.0 for kind in ("shrink", "error")
                                                        for name in names}
    return Measured(numbers, {"the prior": prior}, estimates=_estimates(task, truth, draws, below))


def _estimates(task: PosteriorTask, truth: np.ndarray, draws: np.ndarray, below: np.ndarray) -> dict[str, Estimate]:
    """Physical values by parameter; quantiles of z are those of the values, which rise or fall with it."""
    prior, names, quantiles = task.subject.prior, task.config.parameters, np.quantile(draws, [0.16, 0.5, 0.84], axis=0)
    true, low, middle, high = (physical(prior, names, z) for z in (truth, *quantiles.astype(truth.dtype)))
    return {name: Estimate(true[:, k], middle[:, k], interval=np.sort([low[:, k], high[:, k]], 0), below=below[:, k],
                           baselines={"the mean": np.full(len(true), true[:, k].mean())})
            for k, name in enumerate(names)}


def physical(prior: Prior, names: Sequence[str], z: AnyArray) -> np.ndarray:
    """Physical values of some parameters.

    Args:
        prior: Of all parameters.
        names: Those that z has.
        z: Unconstrained values, shape (draws, len(names)).

    Returns:
        Same shape.
    """
    places = np.array([prior.names.index(name) for name in names])
    whole = np.zeros((len(z), prior.size), prior.shift.dtype)
    whole[:, places] = z
    return np.asarray(constrained(prior, whole), float)[:, places]


_log_priors = jax.jit(jax.vmap(Prior.log_probs, (None, 0)))


def _filled(task: PosteriorTask, z: np.ndarray) -> np.ndarray:
    whole = np.zeros((len(z), task.subject.prior.size), z.dtype)
    whole[:, task.places] = z
    return whole


def _rows(task: PosteriorTask, model: PosteriorNet, together: int = 32) -> Any:
    """Make `run(images, seed, draws)`, which yields batches: true z, their u and log-density, and draws."""
    structure, state = nnx.split(model)

    def run(images: int, seed: int, draws: int) -> Iterator[dict[str, np.ndarray]]:
        size = min(together, images)
        for first in range(0, images, size):
            key, own = jax.random.split(jax.random.fold_in(jax.random.key(seed), first))
            count = min(size, images - first)
            # The last batch is made as large as the others and cut, else its programs are compiled for it alone.
            noise = np.zeros((draws, size, len(task.places)), np.float32)
            noise[:, :count] = jax.random.normal(own, (draws, count, len(task.places)))
            found = _batch(structure, task.config, state, task.subject, jax.random.split(key, size), noise)
            yield {name: np.asarray(values)[:, :count] if name == "draws" else np.asarray(values)[:count]
                   for name, values in found.items()}

    return run


@partial(jax.jit, static_argnums=(0, 1))
def _batch(structure: Any, config: PosteriorNetConfig, state: Any, subject: Subject, keys: Array,
           noise: Array) -> dict[str, Array]:
    """A batch of examples, one a key, and draws of their posteriors, one for each entry of the noise."""
    model = nnx.merge(structure, state)
    examples = jax.lax.map(PosteriorTask(config, subject).example, keys)
    u, log_det = model.whiten(examples["image"], examples["z"])
    return {"z": examples["z"], "u": u, "log_prob": model.density(u, log_det),
            "draws": model.placed(examples["image"], noise)}
