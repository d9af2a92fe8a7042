"""Corner figure: each parameter and each pair, variational and HMC samples overlaid."""

from collections.abc import Sequence

import corner
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from giga.inference.result import Result
from giga.lensing.labels import is_mass, labels, with_unit

HMC_COLOR, VI_COLOR = "#1f5fa8", "#e07b28"
LEVELS = (0.3935, 0.8647)  # mass inside 1 and 2 sigma of a two-dimensional Gaussian
MOST_SAMPLES = 40000
MOST_NAMES = 12  # by default only the mass parameters are shown above this


def default_names(result: Result) -> list[str]:
    """All parameters, or those of the mass when there are more than 12."""
    mass = [name for name in result.names if is_mass(name)]
    return mass if len(result.names) > MOST_NAMES and mass else result.names


def corner_figure(result: Result, names: Sequence[str] | None = None) -> Figure:
    """Posterior of each parameter and each pair: HMC filled, variational outlined, truth dashed.

    Args:
        result: The fit.
        names: Path names of the parameters to show; by default all, or those of the mass when there
            are more than 12.

    Raises:
        ValueError: A name that is not a parameter of the fit.
    """
    names = default_names(result) if names is None else list(names)
    unknown = [name for name in names if name not in result.samples]
    if unknown:
        raise ValueError(f"names: unknown parameter {unknown[0]!r}; expected some of {', '.join(result.names)}")
    text, n = labels(result.names), len(names)
    hmc, vi = (np.stack([_thin(samples[name]) for name in names], 1) for samples in (result.samples, result.vi_samples))
    truth = [(result.truth or {}).get(name) for name in names]
    side = 1.9 if n <= 4 else 1.5
    figure = Figure(figsize=(side * n + 1.0, side * n + 1.0))
    ranges = [_range(*pair) for pair in zip(hmc.T, vi.T, strict=True)]
    for samples, color, filled in ((hmc, HMC_COLOR, True), (vi, VI_COLOR, False)):
        corner.corner(
            samples, fig=figure, color=color, weights=np.full(len(samples), 1.0 / len(samples)), range=ranges, bins=40,
            smooth=1.2, smooth1d=1.6, levels=LEVELS, plot_datapoints=False, plot_density=False, fill_contours=filled,
            no_fill_contours=not filled, contour_kwargs={"linewidths": 0.7 if filled else 1.2}, max_n_ticks=3,
            labels=[with_unit(text[name], name) for name in names], label_kwargs={"fontsize": 9})
    axes = np.array(figure.axes, object).reshape(n, n)
    for axis in axes.flat:
        axis.tick_params(direction="in", labelsize=7)
    for k, (name, value) in enumerate(zip(names, truth, strict=True)):
        axes[k, k].set_title(f"{text[name]} = {_interval(hmc[:, k])}", fontsize=8 if n > 4 else 9, pad=4)
        axes[k, k].autoscale(axis="y")  # the higher of the two histograms
        axes[k, k].set_ylim(bottom=0.0)
        if value is not None:
            for axis in axes[k:, k]:
                axis.axvline(value, color="black", lw=0.8, ls="--")
            for axis in axes[k, :k]:
                axis.axhline(value, color="black", lw=0.8, ls="--")
    _legend(figure, n, any(value is not None for value in truth))
    return figure


def _legend(figure: Figure, n: int, truth: bool) -> None:
    handles = [Line2D([], [], color=HMC_COLOR, lw=5, alpha=0.7, label="HMC"),
               Line2D([], [], color=VI_COLOR, lw=1.6, label="variational")]
    if truth:
        handles.append(Line2D([], [], color="black", lw=0.9, ls="--", label="truth"))
    size = 9 if n <= 4 else 13
    figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.98, 0.97), frameon=False, fontsize=size)


def _thin(samples: np.ndarray) -> np.ndarray:
    flat = np.asarray(samples, float).ravel()
    return flat[:: max(len(flat) // MOST_SAMPLES, 1)]


def _range(*samples: np.ndarray) -> tuple[float, float]:
    """Range that holds nearly all samples of each set, with a margin."""
    limits = [np.quantile(s, [0.002, 0.998]) for s in samples]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    margin = 0.08 * (high - low) or 1e-3 * max(abs(high), 1e-3)
    return float(low - margin), float(high + margin)


def _interval(samples: np.ndarray) -> str:
    """Median with the distances to the 16% and 84% quantiles, to two digits of the smaller."""
    low, middle, high = np.quantile(samples, [0.16, 0.5, 0.84])
    smaller = min(high - middle, middle - low)
    digits = int(np.clip(1 - np.floor(np.log10(smaller)), 0, 6)) if smaller > 0.0 else 3
    return rf"${middle:.{digits}f}^{{+{high - middle:.{digits}f}}}_{{-{middle - low:.{digits}f}}}$"
