"""The picture of a fit's checks: replicated data against the data, posteriors against their priors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from giga.inference.checks.comparison import DISCREPANCIES
from giga.inference.result import Result
from giga.lensing.labels import labels

REPLICA, DATA = "0.72", "#1f5fa8"
TITLES = {"chi2": r"$\chi^2$", "correlation": "correlation of neighbouring residuals"}


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
    axis.hist(observed, edges, histtype="step", color=DATA, lw=1.4, label="data")
    axis.set(xlabel=title, ylabel="posterior draws", title=f"$p$ = {found['p_value']:.3f}")
    axis.legend(frameon=False, fontsize=8)


def _prior(axis: Axes, known: Mapping[str, Mapping[str, Any]], names: list[str]) -> None:
    text, rows = labels(names), np.arange(len(names))
    places = np.array([known[name]["places"] for name in names])
    axis.axvspan(0.025, 0.975, color="0.94", lw=0)
    axis.axvspan(0.16, 0.84, color="0.86", lw=0)
    axis.hlines(rows, places[:, 0], places[:, 4], color=DATA, lw=1.2)
    axis.hlines(rows, places[:, 1], places[:, 3], color=DATA, lw=3.4)
    axis.plot(places[:, 2], rows, "o", color="white", mec=DATA, ms=4.5)
    axis.set_yticks(rows, [text[name] for name in names])
    axis.set(xlim=(0.0, 1.0), ylim=(len(names) - 0.4, -0.6), xlabel="cumulative probability of the prior",
             title="Posteriors in their priors (68%, 95%)")
    for row, name in enumerate(names):
        kept = known[name]["width_kept"]
        axis.text(1.015, row, f"{100.0 * kept:.2g}%" if kept < 9.95 else ">10", va="center", fontsize=8,
                  transform=axis.get_yaxis_transform())
    axis.text(1.015, -0.75, "width", va="bottom", fontsize=8, transform=axis.get_yaxis_transform())
