"""Pictures that test: replicated data against the data, posteriors against priors, ranks and coverage of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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
from giga.inference.checks.comparison import DISCREPANCIES
from giga.inference.checks.findings import p_text
from giga.inference.result import Result
from giga.lensing.labels import labels

BLUE, REPLICA, BAND, WORST = "#1f5fa8", "0.72", "0.85", "#c0392b"
TITLES = {"chi2": r"$\chi^2$", "correlation": "correlation of neighbouring residuals"}
COLUMNS = 6
CURVE_LEVELS = np.linspace(0.02, 0.98, 49)


def checks_figure(result: Result) -> Figure:
    """Posterior predictive distributions, and where in its prior each posterior lies.

    Args:
        result: A fit with its checks, `result.info["checks"]`.
    """
    known, names = result.info["checks"], list(result.samples)
    height = max(5.2, 1.3 + 0.24 * len(names))
    figure = Figure(figsize=(9.6, height), layout="constrained")
    left, right = np.ravel(figure.subfigures(1, 2, width_ratios=(1.0, 1.15), squeeze=False))
    shown = [name for name in DISCREPANCIES if name in known["predictive"]]
    for k, name in enumerate(shown):
        _predictive(left.add_subplot(len(shown), 1, k + 1), known["predictive"][name], TITLES[name])
    _prior(right.add_subplot(), known["prior"], names)
    return figure


def _predictive(axis: Axes, found: Mapping[str, Any], title: str) -> None:
    replicated, observed = np.asarray(found["replicated"]), np.asarray(found["observed"])
    edges = np.histogram_bin_edges(np.concatenate([replicated, observed]), bins=30).tolist()
    axis.hist(replicated, edges, color=REPLICA, label="replicated data")
    axis.hist(observed, edges, histtype="step", color=BLUE, lw=1.4, label="data")
    p = p_text(found["p_value"], len(observed))
    axis.set(xlabel=title, ylabel="posterior draws", title=f"$p$ {p if p[0] in '<>' else f'= {p}'}")
    axis.legend(frameon=False, fontsize=8)


def _prior(axis: Axes, known: Mapping[str, Mapping[str, Any]], names: list[str]) -> None:
    text, rows = labels(names), np.arange(len(names))
    places = np.array([known[name]["places"] for name in names])
    axis.axvspan(0.025, 0.975, color="0.94", lw=0)
    axis.axvspan(0.16, 0.84, color="0.86", lw=0)
    axis.hlines(rows, places[:, 0], places[:, 4], color=BLUE, lw=1.2)
    axis.hlines(rows, places[:, 1], places[:, 3], color=BLUE, lw=3.4)
    axis.plot(places[:, 2], rows, "o", color="white", mec=BLUE, ms=4.5)
    axis.set_yticks(rows, [text[name] for name in names])
    axis.set(xlim=(0.0, 1.0), ylim=(len(names) - 0.4, -0.6), xlabel="cumulative probability of the prior",
             title="Posteriors in their priors (68%, 95%)")
    for row, name in enumerate(names):
        kept = known[name]["width_kept"]
        axis.text(1.015, row, f"{100.0 * kept:.2g}%" if kept < 9.95 else ">10", va="center", fontsize=8,
                  transform=axis.get_yaxis_transform())
    axis.text(1.015, -0.75, "width", va="bottom", fontsize=8, transform=axis.get_yaxis_transform())


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
    draw_coverage(right, below)
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
            axis.plot(curve.z, curve.difference, color=BLUE, lw=0.7, alpha=0.6)
    for k, name in enumerate(outside):
        axis.plot(found[name].z, found[name].difference, lw=1.2, color=WORST,
                  ls=("-", "--", ":", "-.")[k % 4], label=f"{text[name]}, outside")
    axis.axhline(0.0, color="black", lw=0.6)
    axis.set(xlabel="rank / (draws + 1)", ylabel="share of truths below, less uniform", xlim=(0, 1),
             title=f"Ranks of {len(next(iter(ranks.values())))} lenses, {len(ranks)} quantities")
    axis.legend(frameon=False, fontsize=8, loc="lower left", ncols=2)


def draw_coverage(axis: Axes, below: Mapping[str, Sequence[float] | np.ndarray]) -> None:
    """Share of truths inside central intervals of each probability, less that probability.

    Args:
        axis: Drawn on.
        below: Share of the draws below the truth, one a lens, by parameter.
    """
    shares = np.stack([np.asarray(values) for values in below.values()], 1)
    n, parameters = shares.shape
    curves = np.stack([covered(shares, level) for level in CURVE_LEVELS]) - CURVE_LEVELS[:, None, None]
    bands = ((n, "0.92", f"95% band, one parameter ({n} lenses)"),
             (n * parameters, "0.75", f"95% band, all {n * parameters} truths"))
    for count, color, label in bands:
        low, high = stats.binom.ppf([[0.025], [0.975]], count, CURVE_LEVELS) / count - CURVE_LEVELS
        axis.fill_between(CURVE_LEVELS, low, high, color=color, lw=0, label=label)
    axis.plot(CURVE_LEVELS, curves.mean(1), color=BLUE, lw=0.5, alpha=0.35)
    axis.plot(CURVE_LEVELS, curves.mean((1, 2)), color=BLUE, lw=1.8, label="all parameters")
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
    axis.bar((np.arange(bins) + 0.5) * width, histogram(ranks, size, bins), width=width, color=BLUE, alpha=0.75,
             edgecolor="white", lw=0.4)
    test = uniformity(ranks, size)
    axis.set_title(f"{label}   $p$ = {test.p_chi2:.2g}", fontsize=8, pad=4,
                   color=WORST if min(test.p_chi2, test.p_ks) < 0.01 else "black")
    axis.set_xlim(0, size + 1)
    axis.tick_params(labelsize=7)
