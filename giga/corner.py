"""Corner figure: each parameter and each pair, variational and HMC samples overlaid."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.ndimage
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from giga.inference.result import Result
from giga.labels import is_mass, labels, with_unit

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
    hmc, vi = ({name: _thin(samples[name]) for name in names} for samples in (result.samples, result.vi_samples))
    ranges = {name: _range(hmc[name], vi[name]) for name in names}
    truth = result.truth or {}
    side = 1.9 if n <= 4 else 1.5
    figure = Figure(figsize=(side * n + 1.0, side * n + 1.0))
    axes = figure.subplots(n, n, squeeze=False)
    edge = 0.75 / (side * n + 1.0)
    figure.subplots_adjust(left=edge, bottom=edge, right=1.0 - 0.3 * edge, top=1.0 - 0.6 * edge, wspace=0.06,
                           hspace=0.06)
    for i, name in enumerate(names):
        for j, other in enumerate(names):
            axis = axes[i, j]
            if j > i:
                axis.set_axis_off()
                continue
            if i == j:
                _marginal(axis, hmc[name], vi[name], ranges[name])
                axis.set_title(f"{text[name]} = {_interval(hmc[name])}", fontsize=8 if n > 4 else 9, pad=4)
            else:
                _pair(axis, hmc[other], hmc[name], ranges[other], ranges[name], HMC_COLOR, filled=True)
                _pair(axis, vi[other], vi[name], ranges[other], ranges[name], VI_COLOR, filled=False)
                axis.set_ylim(ranges[name])
                if name in truth:
                    axis.axhline(truth[name], color="black", lw=0.8, ls="--")
            if other in truth:
                axis.axvline(truth[other], color="black", lw=0.8, ls="--")
            axis.set_xlim(ranges[other])
            _ticks(axis, text, (name, other), bottom=i == n - 1, left=j == 0, diagonal=i == j)
    figure.align_labels()
    _legend(figure, axes[0, 0], n, bool(truth))
    return figure


def _legend(figure: Figure, first: Axes, n: int, truth: bool) -> None:
    handles = [Line2D([], [], color=HMC_COLOR, lw=5, alpha=0.7, label="HMC"),
               Line2D([], [], color=VI_COLOR, lw=1.6, label="variational")]
    if truth:
        handles.append(Line2D([], [], color="black", lw=0.9, ls="--", label="truth"))
    size = 9 if n <= 4 else 13
    figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.98, 0.97), frameon=False, fontsize=size)


def _ticks(axis: Axes, text: Mapping[str, str], pair: tuple[str, str], bottom: bool, left: bool,
           diagonal: bool) -> None:
    axis.xaxis.set_major_locator(MaxNLocator(3, prune="both"))
    axis.yaxis.set_major_locator(NullLocator() if diagonal else MaxNLocator(3, prune="both"))
    axis.tick_params(direction="in", labelsize=7, top=not diagonal, right=not diagonal)
    axis.ticklabel_format(axis="x", useOffset=False)
    if bottom:
        axis.tick_params(axis="x", labelrotation=45)
        axis.set_xlabel(with_unit(text[pair[1]], pair[1]), fontsize=9)
    else:
        axis.tick_params(labelbottom=False)
    if left and not diagonal:
        axis.ticklabel_format(axis="y", useOffset=False)
        axis.tick_params(axis="y", labelrotation=45)
        axis.set_ylabel(with_unit(text[pair[0]], pair[0]), fontsize=9)
    else:
        axis.tick_params(labelleft=False)


def _thin(samples: np.ndarray) -> np.ndarray:
    flat = np.asarray(samples, float).ravel()
    return flat[:: max(len(flat) // MOST_SAMPLES, 1)]


def _range(*samples: np.ndarray) -> tuple[float, float]:
    """Range that holds nearly all samples of each set, with a margin."""
    limits = [np.quantile(s, [0.002, 0.998]) for s in samples]
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    margin = 0.08 * (high - low) or 1e-3 * max(abs(high), 1e-3)
    return float(low - margin), float(high + margin)


def _marginal(axis: Axes, hmc: np.ndarray, vi: np.ndarray, limits: tuple[float, float]) -> None:
    for samples, color, filled in ((hmc, HMC_COLOR, True), (vi, VI_COLOR, False)):
        counts, edges = np.histogram(samples, bins=60, range=limits)
        density = scipy.ndimage.gaussian_filter1d(counts.astype(float), 1.6)
        density, middle = density / max(density.max(), 1e-12), 0.5 * (edges[1:] + edges[:-1])
        if filled:
            axis.fill_between(middle, density, color=color, alpha=0.35, lw=0)
        axis.plot(middle, density, color=color, lw=1.3)
    axis.set_ylim(0.0, 1.12)


def _pair(axis: Axes, x: np.ndarray, y: np.ndarray, x_range, y_range, color: str, filled: bool) -> None:
    """Contours that hold 39% and 86% of the samples."""
    bins = 40 if len(x) > 2000 else 28
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=bins, range=[x_range, y_range])
    density = scipy.ndimage.gaussian_filter(counts.T, 1.2)
    ordered = np.sort(density.ravel())[::-1]
    inside = np.cumsum(ordered) / max(ordered.sum(), 1e-30)
    heights = sorted({float(ordered[np.searchsorted(inside, level)]) for level in LEVELS})
    if heights[0] <= 0.0 or heights[-1] >= ordered[0]:
        return  # too few samples for a contour
    middle = [0.5 * (edges[1:] + edges[:-1]) for edges in (x_edges, y_edges)]
    if filled:
        shades = [to_rgba(color, alpha) for alpha in (0.3, 0.6)][-len(heights):]
        axis.contourf(*middle, density, levels=[*heights, ordered[0] * 1.001], colors=shades)
    axis.contour(*middle, density, levels=heights, colors=[color], linewidths=0.7 if filled else 1.2)


def _interval(samples: np.ndarray) -> str:
    """Median with the distances to the 16% and 84% quantiles, to two digits of the smaller."""
    low, middle, high = np.quantile(samples, [0.16, 0.5, 0.84])
    smaller = min(high - middle, middle - low)
    digits = int(np.clip(1 - np.floor(np.log10(smaller)), 0, 6)) if smaller > 0.0 else 3
    return rf"${middle:.{digits}f}^{{+{high - middle:.{digits}f}}}_{{-{middle - low:.{digits}f}}}$"
