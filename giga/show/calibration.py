"""The picture of a calibration study: rank histograms, the distribution of ranks, and coverage."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from giga.inference.checks.calibration import (
    LEVELS,
    choose_bins,
    covered,
    ecdf_difference,
    histogram,
    histogram_band,
    uniformity,
)
from giga.lensing.labels import labels

BAND, CURVE, WORST = "0.85", "#1f5fa8", "#c0392b"
COLUMNS = 6
CURVE_LEVELS = np.linspace(0.02, 0.98, 49)


def calibration_figure(ranks: Mapping[str, Sequence[int]], below: Mapping[str, Sequence[float]],
                       size: int) -> Figure:
    """Differences of the ranks' distributions, coverage, and one rank histogram a quantity.

    Args:
        ranks: Ranks of the truth by quantity, one a lens.
        below: Share of the draws below the truth, by parameter.
        size: Number of draws that each truth was ranked among.
    """
    names = list(ranks)
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(11.0, 4.0 + 1.35 * rows), layout="constrained")
    top, bottom = np.ravel(figure.subfigures(2, 1, squeeze=False, height_ratios=[4.0, 1.35 * rows]))
    left, right = top.subplots(1, 2)
    _differences(left, ranks, size)
    _coverage(right, below)
    text = labels(names)
    axes = bottom.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
    for axis, name in zip(axes.flat, names, strict=False):
        _histogram(axis, np.asarray(ranks[name]), size, text[name])
    for axis in list(axes.flat)[len(names):]:
        axis.set_axis_off()
    for axis in list(axes.flat)[max(len(names) - COLUMNS, 0):len(names)]:
        axis.tick_params(labelbottom=True)
    bottom.supxlabel(f"rank of the truth among {size} draws", fontsize=9)
    bottom.supylabel("lenses", fontsize=9)
    return figure


def _differences(axis: Axes, ranks: Mapping[str, Sequence[int]], size: int) -> None:
    found = {name: ecdf_difference(np.asarray(values), size) for name, values in ranks.items()}
    text, first = labels(list(ranks)), next(iter(found.values()))
    axis.fill_between(first.z, first.low, first.high, step="mid", color=BAND, lw=0,
                      label="99% band of a whole curve")
    outside = [name for name, curve in found.items() if not curve.inside]
    for name, curve in found.items():
        if name not in outside:
            axis.plot(curve.z, curve.difference, color=CURVE, lw=0.7, alpha=0.6)
    for k, name in enumerate(outside):
        axis.plot(found[name].z, found[name].difference, lw=1.2, color=WORST,
                  ls=("-", "--", ":", "-.")[k % 4], label=f"{text[name]}, outside")
    axis.axhline(0.0, color="black", lw=0.6)
    axis.set(xlabel="rank / (draws + 1)", ylabel="share of truths below, less uniform", xlim=(0, 1),
             title=f"Ranks of {len(next(iter(ranks.values())))} lenses, {len(ranks)} quantities")
    axis.legend(frameon=False, fontsize=8, loc="lower left", ncols=2)


def _coverage(axis: Axes, below: Mapping[str, Sequence[float]]) -> None:
    shares = np.stack([np.asarray(values) for values in below.values()], 1)
    n, parameters = shares.shape
    curves = np.stack([covered(shares, level) for level in CURVE_LEVELS]) - CURVE_LEVELS[:, None, None]
    bands = ((n, "0.92", f"95% band, one parameter ({n} lenses)"),
             (n * parameters, "0.75", f"95% band, all {n * parameters} truths"))
    for count, color, label in bands:
        low, high = stats.binom.ppf([[0.025], [0.975]], count, CURVE_LEVELS) / count - CURVE_LEVELS
        axis.fill_between(CURVE_LEVELS, low, high, color=color, lw=0, label=label)
    axis.plot(CURVE_LEVELS, curves.mean(1), color=CURVE, lw=0.5, alpha=0.35)
    axis.plot(CURVE_LEVELS, curves.mean((1, 2)), color=CURVE, lw=1.8, label="all parameters")
    axis.axhline(0.0, color="black", lw=0.6)
    for level in LEVELS:
        axis.axvline(level, color="black", lw=0.6, ls=":")
    axis.set(xlabel="probability of the central interval", ylabel="share of truths inside, less probability",
             xlim=(0, 1), title="Coverage")
    axis.legend(frameon=False, fontsize=8, loc="lower left", ncols=2)


def _histogram(axis: Axes, ranks: np.ndarray, size: int, label: str) -> None:
    bins = choose_bins(len(ranks), size)
    width = (size + 1) / bins
    low, high = histogram_band(len(ranks), bins)
    axis.axhspan(low, high, color=BAND, lw=0)
    axis.axhline(len(ranks) / bins, color="0.5", lw=0.6)
    axis.bar((np.arange(bins) + 0.5) * width, histogram(ranks, size, bins), width=width, color=CURVE, alpha=0.75,
             edgecolor="white", lw=0.4)
    test = uniformity(ranks, size)
    axis.set_title(f"{label}   $p$ = {test.p_chi2:.2g}", fontsize=8, pad=4,
                   color=WORST if min(test.p_chi2, test.p_ks) < 0.01 else "black")
    axis.set_xlim(0, size + 1)
    axis.tick_params(labelsize=7)
