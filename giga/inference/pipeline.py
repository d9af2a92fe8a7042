"""The pipeline that strings the stages together: MAP, variational inference, HMC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from giga.bayes.posterior import AmplitudeMethod, Posterior
from giga.bayes.systems import Term
from giga.imaging.observation import Observation
from giga.inference.gather import found_by_search, gathered
from giga.inference.result import Found, Result
from giga.inference.sampling import sample_modes, sample_particles
from giga.inference.search.starts import Starts
from giga.inference.settings import FitConfig
from giga.inference.stages import Lens, Report, Stages, quiet
from giga.lensing.scene import Scene
from giga.runtime import parallel
from giga.runtime.calls import Alone, Call, Clock
from giga.runtime.checkpoint import Store
from giga.runtime.journal import Journal


def fit(prior: Scene, observations: Sequence[Observation], *, config: FitConfig | None = None, seed: int = 0,
        amplitudes: AmplitudeMethod = "nonnegative", amplitude_sd: float | None = None,
        truth: Mapping[str, float] | None = None, precision: str = "float32", start: Mapping[str, float] | None = None,
        report: Report = quiet, store: Store | None = None, over: Mesh | None = None, starts: Starts | None = None,
        keep: Callable[[Found], object] | None = None, points: Sequence[Term] = ()) -> Result:
    """Fit a scene of distributions to observations.

    Args:
        prior: Scene with distributions on the leaves to be fitted.
        observations: One or several observations of it.
        config: Sizes and targets of the stages.
        seed: Seed; the same seed gives the same samples on any number of devices, to rounding.
        amplitudes: How linear amplitudes are treated, see `giga.bayes.posterior.Posterior`.
        amplitude_sd: Standard deviation of their Gaussian prior; None is flat.
        truth: True values by path name, when known; kept in the result.
        precision: "float32" or "float64" (which needs `jax_enable_x64`).
        start: A start to add to the search, by path name, every parameter given.
        report: Progress callback.
        store: Where to keep checkpoints, and to go on from.
        over: Device mesh; all devices by default.
        starts: What a network proposes; the search is then smaller, see `giga.inference.search.starts`.
        keep: Called with what the search has found, before anything is sampled.
        points: Images of point sources, see `giga.bayes.points`; their likelihoods are added to that of the pixels.

    Returns:
        The result, on the host.

    Raises:
        ValueError: The prior has no distribution, no observation, a setting that does not fit them, or starts that
            have no parameter of it.
        FloatingPointError: The search or the variational posterior ended where the log-posterior is
            not a number.
    """
    lens = Lens("", prior, observations, seed, truth, start, starts, store, report, keep, points)
    over = over or parallel.mesh()
    posterior = Posterior.of(prior, observations, amplitudes, amplitude_sd, dtype_of(precision), points=points)
    with Clock() as clock:
        return fit_posterior(lens, posterior, config or FitConfig(), over, Alone(over), clock)


def search(prior: Scene, observations: Sequence[Observation], *, config: FitConfig | None = None, seed: int = 0,
           amplitudes: AmplitudeMethod = "nonnegative", amplitude_sd: float | None = None,
           truth: Mapping[str, float] | None = None, precision: str = "float32",
           start: Mapping[str, float] | None = None, report: Report = quiet, store: Store | None = None,
           over: Mesh | None = None, starts: Starts | None = None, points: Sequence[Term] = ()) -> Found:
    """The first stage of `fit` alone: the best fit, without a posterior.

    Arguments and errors are those of `fit`, which goes on from here when it is given the same store.
    """
    lens = Lens("", prior, observations, seed, truth, start, starts, store, report, points=points)
    over = over or parallel.mesh()
    posterior = Posterior.of(prior, observations, amplitudes, amplitude_sd, dtype_of(precision), points=points)
    with Clock() as clock:
        return search_posterior(lens, posterior, config or FitConfig(), over, Alone(over), clock)


def fit_posterior(lens: Lens, posterior: Posterior, config: FitConfig, over: Mesh, call: Call, clock: Clock) -> Result:
    """The stages, one after the other, of a fit whose posterior is made; `call` runs the programs, see `fit`."""
    with _begun(lens, posterior, config, over, call, clock) as run:
        found, modes = run.map()
        if lens.keep is not None:
            lens.keep(found_by_search(run, found))
        sample = sample_modes if config.sampler == "hmc" else sample_particles
        return gathered(run, found, *sample(run, found, modes))


def search_posterior(lens: Lens, posterior: Posterior, config: FitConfig, over: Mesh, call: Call, clock: Clock
                     ) -> Found:
    """The first stage of `fit_posterior` alone."""
    with _begun(lens, posterior, config, over, call, clock) as run:
        found, _ = run.map()
        return found_by_search(run, found)


@contextmanager
def _begun(lens: Lens, posterior: Posterior, config: FitConfig, over: Mesh, call: Call, clock: Clock
           ) -> Iterator[Stages]:
    """The stages of a fit, with its journal open. Raises ValueError for settings that do not suit it."""
    names = posterior.prior.names
    if config.vi_axis not in ("auto", "none", *names):
        raise ValueError(f"inference.vi_axis: expected auto, none or one of {', '.join(names)}, got {config.vi_axis!r}")
    if lens.starts is not None and config.map_method != "lm":
        raise ValueError(f"inference.map_method: expected lm, which takes starts, got {config.map_method!r}")
    with Journal(lens.store, lambda text: lens.report("map", {"note": text}), lambda: clock.seconds,
                 lambda: clock.idle) as journal:
        yield Stages(lens, posterior, config, journal, over, call, clock)


def dtype_of(precision: str) -> Any:
    """NumPy's type for "float32" or "float64". Raises ValueError."""
    if precision not in ("float32", "float64"):
        raise ValueError(f"precision: expected float32 or float64, got {precision!r}")
    if precision == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("precision: float64 needs jax.config.update('jax_enable_x64', True) before the fit")
    return np.dtype(precision)
