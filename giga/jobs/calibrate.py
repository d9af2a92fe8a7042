"""Simulation-based calibration as a run: truths from the prior, data from the truths, fits, ranks.

What is left is one small file a lens, written when its fit ends, so that the same command goes on where
it was stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import Any

import jax
import numpy as np

from giga.bayes.posterior import AmplitudeMethod, Posterior
from giga.bayes.prior import Prior
from giga.imaging.observation import Data, Observation, facts_of
from giga.inference.checks.calibration import rank, thin
from giga.inference.fleet import Lens, fit_many
from giga.inference.result import Result
from giga.inference.settings import FitConfig
from giga.io.errors import InputError
from giga.io.results.calibration import Study
from giga.lensing.scene import Scene
from giga.runtime.identity import identity_of
from giga.simulate.observed import draw_observed

RANKED = 99  # draws that each truth is ranked among: few enough to be nearly independent, 100 ranks
FUNCTIONS = ("log_likelihood", "log_prior")  # of parameters and data; the first sees what no parameter shows


@dataclass(frozen=True)
class Calibration:
    """What is to be calibrated.

    Attributes:
        prior: Scene of distributions.
        observations: Templates: their grid, PSF, mask and noise are kept, their images replaced. A scene
            with linear amplitudes keeps the noise of the templates' own pixels as a noise map.
        config: Sizes and targets of the fits.
        amplitudes: How linear amplitudes are treated; only "marginal" is a posterior.
        amplitude_sd: Standard deviation of their prior.
        precision: "float32" or "float64".
        seed: Seed of truths, noise and fits.
        ranked: Number of draws that each truth is ranked among.

    Raises:
        ValueError: Amplitudes without a prior, or fits that cannot have as many draws as are ranked.
    """

    prior: Scene
    observations: Sequence[Observation]
    config: FitConfig = field(default_factory=FitConfig)
    amplitudes: AmplitudeMethod = "nonnegative"
    amplitude_sd: float | None = None
    precision: str = "float32"
    seed: int = 0
    ranked: int = RANKED

    def __post_init__(self) -> None:
        linear = any(self.prior.in_band(o.band).is_linear for o in self.observations)
        if self.amplitudes != "marginal" and any(p.is_linear and not p.has_own_prior for p in self.prior.light):
            raise ValueError(f"likelihood.amplitudes: got {self.amplitudes!r}; expected 'marginal' with amplitude_sd: "
                             "solved amplitudes have no prior that a truth could be drawn from")
        most = self.config.max_iterations * self.config.n_chains
        if self.config.sampler == "hmc" and most < self.ranked:
            raise ValueError(f"inference.max_iterations: got {self.config.max_iterations} of {self.config.n_chains} "
                             f"chains, {most} draws; expected at least the {self.ranked} that a truth is ranked among")
        if linear:
            object.__setattr__(self, "observations", [_with_noise_map(o) for o in self.observations])

    @property
    def facts(self) -> dict[str, Any]:
        """All that the ranks depend on, by name."""
        # Images are replaced; where their noise counts, it has become a map. No file has their place on the sky.
        templates = facts_of(self.observations, without=("image", "WCS"))
        names = ("amplitudes", "amplitude_sd", "precision", "seed", "ranked")
        settings = {f"inference.{one.name}": getattr(self.config, one.name) for one in fields(self.config)}
        prior = Prior.of(self.prior, self._dtype)  # in which tied parameters are one
        return {**{name: getattr(self, name) for name in names}, **settings, **templates, "prior": self.prior,
                "parameters": (prior.names, prior.slots)}

    def identity(self) -> str:
        """Hash of all that the ranks depend on."""
        return identity_of(self.facts)

    def lens(self, number: int) -> Lens:
        """Draw a truth from the prior and simulate its data.

        Args:
            number: Number of the lens; with the seed it sets truth and noise.

        Raises:
            FloatingPointError: The model of the truth is not finite.
        """
        posterior = self._posterior()
        data = tuple(o.data(self._dtype, poisson=d.poisson, trim=False, scaled=True)
                     for o, d in zip(self.observations, posterior.data, strict=True))
        key = jax.random.fold_in(jax.random.key(self.seed), number)
        x, images = jax.device_get(_simulate(key, posterior.prior, data, np.asarray(self.amplitude_sd or 0.0,
                                                                                   self._dtype)))
        truth = {name: float(value) for name, value in posterior.prior.values(x).items()}
        if not all(np.isfinite(image).all() for image in images):
            raise FloatingPointError(f"lens {number}: the model of its truth is not finite: {truth}")
        return Lens(name=f"{number:05d}", prior=self.prior, truth=truth, seed=(self.seed + 1000003 * number) % 2**32,
                    observations=[o.replace(image=image) for o, image in zip(self.observations, images, strict=True)])

    def row(self, lens: Lens, result: Result) -> dict[str, Any]:
        """What a fit says of the truth: ranks, shares of draws below it, and how well the chains did."""
        posterior = Posterior.of(lens.prior, lens.observations, self.amplitudes, self.amplitude_sd, self._dtype)
        truth = dict(lens.truth or {})
        likelihood, prior = jax.device_get(_log_densities(posterior, posterior.prior.vector(truth)))
        of_draws = np.asarray(result.log_likelihood)
        functions = {"log_likelihood": (float(likelihood) + float(posterior.log_norm), of_draws),
                     "log_prior": (float(prior), np.asarray(result.sample_stats["lp"])
                                   - (of_draws - float(posterior.log_norm)))}
        return row_of(truth, result.samples, functions, self.ranked, lens.seed) | dict(
            evaluations=sum(result.evaluations.values()), converged=bool(result.info["hmc"]["converged"]),
            worst_rhat=max(d["rhat"] for d in result.diagnostics.values()),
            smallest_ess_bulk=min(d["ess_bulk"] for d in result.diagnostics.values()),
            reduced_chi2=result.reduced_chi2, seed=lens.seed)

    @property
    def _dtype(self) -> Any:
        return np.dtype(self.precision)

    def _posterior(self) -> Posterior:
        return Posterior.of(self.prior, self.observations, self.amplitudes, self.amplitude_sd, self._dtype)


def run(calibration: Calibration, study: Study, count: int,
        report: Callable[[int, dict[str, Any]], None] = lambda number, row: None) -> None:
    """Fit the lenses of a study that are not there yet.

    Args:
        calibration: What is calibrated.
        study: Where rows are kept.
        count: Number of lenses wanted in all.
        report: Called with the number and the row of each lens that ends; a row of a failed fit has
            "failed", the reason.
    """

    def keep(number: int, row: dict[str, Any]) -> None:
        study.write(number, row)
        report(number, row)

    def missing() -> Iterator[Lens]:
        for number in range(count):
            if study.has(number):
                continue
            try:
                lens = calibration.lens(number)
            except FloatingPointError as error:  # a truth that cannot be simulated: counted, and the study goes on
                keep(number, {"failed": f"FloatingPointError: {error}"})
            else:
                yield lens

    def done(lens: Lens, result: Result | Exception) -> None:
        draws = 0 if isinstance(result, Exception) else np.asarray(result.log_likelihood).size
        if isinstance(result, Exception):
            keep(int(lens.name), {"failed": f"{type(result).__name__}: {result}", "truth": dict(lens.truth or {})})
        elif draws < calibration.ranked:  # its targets were so low
            keep(int(lens.name), {"failed": f"{draws} draws, fewer than the {calibration.ranked} that are ranked",
                                  "truth": dict(lens.truth or {})})
        else:
            keep(int(lens.name), calibration.row(lens, result))

    # Ranks need no numbers for a paper.
    fit_many(missing(), config=replace(calibration.config, derived=False), amplitudes=calibration.amplitudes,
             amplitude_sd=calibration.amplitude_sd, precision=calibration.precision, done=done)


def row_of(truth: Mapping[str, float], samples: Mapping[str, np.ndarray],
           functions: Mapping[str, tuple[float, np.ndarray]], ranked: int, seed: int) -> dict[str, Any]:
    """Ranks of a truth among thinned draws, and shares of all draws below it.

    Args:
        truth: True values by path name.
        samples: Draws by path name, each (chains, draws).
        functions: By name the true value of a function of parameters and data, and its draws.
        ranked: Number of draws L of the ranks.
        seed: Seed of the order of ties.
    """
    rng = np.random.default_rng(seed)
    pairs = {name: (value, samples[name]) for name, value in truth.items()} | dict(functions)
    return {"truth": dict(truth), "draws": int(next(iter(samples.values())).size),
            "ranks": {name: rank(value, thin(np.asarray(draws), ranked), rng)
                      for name, (value, draws) in pairs.items()},
            "below": {name: float(np.mean(np.asarray(samples[name]) < value)) for name, value in truth.items()}}


def row_of_run(folder: str | PathLike[str], samples: Mapping[str, np.ndarray], truth: Mapping[str, float],
               ranked: int = RANKED) -> dict[str, Any]:
    """The row of a finished run, from its samples and the truth that it kept.

    Raises:
        InputError: Fewer draws than are ranked.
    """
    size = next(iter(samples.values())).size
    if size < ranked:
        raise InputError(folder, "posterior.nc", f"{size} draws", f"at least the {ranked} that a truth is ranked among")
    return row_of(truth, samples, {}, ranked, 0)


def _with_noise_map(observation: Observation) -> Observation:
    """The observation with the noise of its own pixels as a map, which does not change with the image."""
    return observation.replace(noise_map=observation.sigma(), background_rms=None, exposure_time=None)


@jax.jit
def _simulate(key: jax.Array, prior: Prior, data: tuple[Data, ...], amplitude_sd: jax.Array):
    """A truth from the prior and one image an observation."""
    z, images = draw_observed(key, prior, data, amplitude_sd)
    return prior.constrain(z), images


_log_densities = jax.jit(lambda posterior, z: (posterior.log_likelihood(z), posterior.prior.log_prob(z)))
