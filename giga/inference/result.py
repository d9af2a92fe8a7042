"""What a fit leaves in memory; `giga.io.results.folder` writes it, `giga.show.plot` and `giga.show.report` show it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from giga.imaging.observation import Observation
from giga.inference.amplitudes import Solved
from giga.inference.digits import rounded
from giga.lensing.scene import Scene


@dataclass(frozen=True)
class PointsFit:
    """How well the images of point sources agree with the best fit.

    Attributes:
        chi2: Sum of squares of what is left of all that was measured, over its standard deviations.
        n: Number of what was measured: two coordinates an image, fluxes, delays.
        log_likelihood: With its normalisation.
    """

    chi2: float = 0.0
    n: int = 0
    log_likelihood: float = 0.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Found:
    """The best fit that a search or a finished fit has found, in NumPy on the host.

    Attributes:
        prior: Scene with distributions on its leaves, as fitted.
        observations: The observations that were fitted.
        scenes: Best-fit scene (highest log-posterior seen) for each observation, with the solved
            linear amplitudes filled in, so that it renders; without observations one alone.
        best: Physical value of each parameter at the best fit, by path name (`mass.0.theta_E`).
        model_images: Best-fit model image of each observation, (ny, nx) [counts / s].
        sigma_images: Noise standard deviation at the best fit, (ny, nx) [counts / s].
        amplitudes: Linear amplitudes that were solved; of a finished fit with draws of them.
        chi2: Sum over fitted pixels of ((data - model) / sigma)^2 at the best fit; where noise is correlated, of these
            made independent.
        n_pixels: Number of fitted pixels.
        n_free: Number of sampled parameters plus solved amplitudes, and places and fluxes of point sources that are
            solved.
        timings_s: Seconds: "compile", "map", "svi", "hmc", "evidence", and "derived" with its own compiling.
        evaluations: Log-posterior gradients (or their equivalents) used by "map", "svi", "hmc", "evidence".
        info: What each stage reports: "map": {...}, "svi": {...}, "hmc": {...}; plain numbers,
            strings and lists, fit for JSON. Besides, "checks" and "findings", see `giga.inference.checks`.
        truth: True value by path name when the data was simulated.
        seed: Seed of the run.
        devices: The devices used.
        versions: Package versions, by name.
        derived: Numbers that follow from the parameters, a `giga.inference.derived.Derived`; None when not asked for.
        points: How well images of point sources agree, where there are some.
        point_images: The images of point sources, a `giga.inference.point_images.PointTable`; None where there are
            none, or derived numbers were not asked for.
        field: Of a fit without pixels what is shown, a `giga.inference.field.Field`; None where there are pixels.
    """

    prior: Scene
    observations: Sequence[Observation]
    scenes: Sequence[Scene]
    best: Mapping[str, float]
    model_images: Sequence[np.ndarray]
    sigma_images: Sequence[np.ndarray]
    chi2: float
    n_pixels: int
    n_free: int
    timings_s: Mapping[str, float]
    evaluations: Mapping[str, int]
    amplitudes: Solved = field(default_factory=Solved)
    info: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    truth: Mapping[str, float] | None = None
    seed: int = 0
    devices: Sequence[str] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    derived: Any = None
    points: PointsFit = PointsFit()
    point_images: Any = None
    field: Any = None

    @property
    def names(self) -> list[str]:
        """Path names of the free parameters."""
        return list(self.best)

    @property
    def reduced_chi2(self) -> float:
        """chi2 per degree of freedom, of pixels and point images together."""
        return self.total_chi2 / max(self.n_data - self.n_free, 1)

    @property
    def total_chi2(self) -> float:
        """chi2 of pixels and point images together."""
        return self.chi2 + self.points.chi2

    @property
    def n_data(self) -> int:
        """Number of fitted pixels and of numbers measured of point images."""
        return self.n_pixels + self.points.n

    @property
    def data_said(self) -> str:
        """What was fitted, in words: "1600 pixels and 8 measurements of point images"."""
        parts = [f"{self.n_pixels} pixels"] * bool(self.n_pixels or not self.points.n)
        return " and ".join([*parts, *[f"{self.points.n} measurements of point images"] * bool(self.points.n)])

    @property
    def findings(self) -> list[str]:
        """What must be seen before its numbers are used, a sentence each."""
        rows: Any = self.info.get("findings", ())
        return [row["text"] for row in rows]

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True, eq=False, kw_only=True)
class Result(Found):
    """A finished fit, in NumPy on the host.

    Attributes:
        samples: HMC samples in physical units by path name, each (chains, draws).
        vi_samples: Samples of the variational posterior by path name, each (n,).
        prior_samples: Draws from the prior by path name, each (n,).
        sample_stats: "lp", "acceptance_rate", "diverging", "energy", "n_steps", each (chains, draws).
        log_likelihood: Log-likelihood of the samples with its normalisation, all pixels together, (chains, draws).
        diagnostics: By path name: "rhat", "rhat_gelman_rubin" (the 1992 definition that
            TensorFlow Probability uses), "ess_bulk", "ess_tail".
        pointwise: Log-likelihood pixel by pixel, if it was asked for: the numbers of some of the draws, and for each
            observation an array of shape (chains, these draws, fitted pixels).
    """

    samples: Mapping[str, np.ndarray]
    vi_samples: Mapping[str, np.ndarray]
    prior_samples: Mapping[str, np.ndarray]
    sample_stats: Mapping[str, np.ndarray]
    log_likelihood: np.ndarray
    diagnostics: Mapping[str, Mapping[str, float]]
    pointwise: tuple[np.ndarray, Sequence[np.ndarray]] | None = None

    def summary(self) -> str:
        """A table for people: mean, spread, R-hat and ESS of each parameter, the truth if known, and chi2."""
        width = max(map(len, self.names))
        head = f"{'':{width}}  {'mean':>10}  {'sd':>9}  {'R-hat':>6}  {'ESS':>6}"
        lines = [head + (f"  {'truth':>10}" if self.truth else "")]
        for name, values in self.samples.items():
            row = self.diagnostics[name]
            mean, sd = float(values.mean()), float(values.std(ddof=1))
            numbers = f"{rounded(mean, sd):>10}  {rounded(sd, sd):>9}  {row['rhat']:6.3f}  {row['ess_bulk']:6.0f}"
            lines.append(f"{name:{width}}  {numbers}" + (f"  {self.truth[name]:10.5g}" if self.truth else ""))
        lines.append(f"chi2 {self.total_chi2:.1f} for {self.data_said} and {self.n_free} free: "
                     f"reduced {self.reduced_chi2:.4f}")
        return "\n".join([*lines, *(f"- {text}" for text in self.findings)])
