"""Many lenses, each with its own result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jax.sharding import Mesh

from giga.checkpoint import CheckpointError, Store
from giga.inference.pipeline import FitConfig, Report, fit
from giga.inference.result import Result
from giga.observation import Observation
from giga.posterior import AmplitudeMethod
from giga.scene import Scene

FAILURES = (ArithmeticError, ValueError, LookupError, OSError, CheckpointError)
"""What may end one lens and leave the others be; anything else is a fault of the program or of the machine."""


def quiet(stage: str, numbers: dict[str, Any]) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Lens:
    """One lens of a fleet.

    Attributes:
        name: Its name, for people and files.
        prior: Scene with distributions on the leaves to be fitted.
        observations: One or several observations of it.
        seed: Seed; the samples depend on it and on nothing else that runs.
        truth: True values by path name, when known.
        start: A start to add to the search, by path name.
        store: Where to keep checkpoints, and to go on from.
        report: Progress callback.
    """

    name: str
    prior: Scene
    observations: Sequence[Observation]
    seed: int = 0
    truth: Mapping[str, float] | None = None
    start: Mapping[str, float] | None = None
    store: Store | None = None
    report: Report = quiet


def fit_many(lenses: Iterable[Lens], *, config: FitConfig | None = None, amplitudes: AmplitudeMethod = "profile",
             amplitude_sd: float | None = None, precision: str = "float32", together: int | None = None,
             over: Mesh | None = None, done: Callable[[Lens, Result | Exception], None]) -> None:
    """Fit many lenses.

    Args:
        lenses: The lenses.
        config: Sizes and targets of the stages, for all.
        amplitudes: How linear amplitudes are treated, see `giga.posterior.Posterior`.
        amplitude_sd: Standard deviation of their Gaussian prior; None is flat.
        precision: "float32" or "float64" (which needs `jax_enable_x64`).
        together: Lenses in a compiled call; None chooses.
        over: Device mesh; all devices by default.
        done: Called once a lens, as each ends, with its result or with the error that ended it
            (of `FAILURES`); the others go on.
    """
    for lens in lenses:
        try:
            result: Result | Exception = fit(
                lens.prior, lens.observations, config=config, seed=lens.seed, amplitudes=amplitudes,
                amplitude_sd=amplitude_sd, truth=lens.truth, precision=precision, start=lens.start,
                report=lens.report, store=lens.store, over=over)
        except FAILURES as error:
            result = error
        done(lens, result)
