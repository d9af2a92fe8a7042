"""Benchmarks as a figure: rates, time to a posterior, its worth, and scaling over devices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from giga.jobs.bench.table import Row, compile_seconds, fit_of, run_seconds, where

COLORS = {"demo60": "#1f5fa8", "foundry128": "#c0392b", "fleet": "#2e8b57"}
MARKERS = "osD^vP"
STAGE_COLORS = {"compile": "0.8", "map": "#9ecae1", "svi": "#4292c6", "hmc": "#08519c", "evidence": "#e07b28"}
STAGE_TITLES = {"compile": "compiling", "map": "MAP", "svi": "VI", "hmc": "HMC", "evidence": "evidence"}


def bench_figure(rows: Sequence[Row]) -> Figure:
    """Four panels of the rows of `giga.jobs.bench.suite.read`."""
    figure = Figure(figsize=(11.0, 8.0), layout="constrained")
    (rate, time), (worth, scaling) = figure.subplots(2, 2)
    _rates(rate, rows)
    _times(time, rows)
    _worth(worth, rows)
    _scaling(scaling, rows)
    for axis in figure.axes:
        axis.title.set_fontsize(10)
    if any(row.get("smoke") for row in rows):
        figure.suptitle("smoke run: the numbers mean nothing", color="#c0392b")
    return figure


def _machine(row: Row) -> str:
    """Kind of the devices, without their number."""
    return row["environment"]["cpu"] if row["devices"]["platform"] == "cpu" else row["devices"]["kind"]


def _machines(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(_machine(row) for row in rows))


def _marker(rows: Sequence[Row], row: Row) -> str:
    return MARKERS[_machines(rows).index(_machine(row)) % len(MARKERS)]


def _rates(axis: Axes, rows: Sequence[Row]) -> None:
    """Gradients a second and device against the batch, on the fewest devices."""
    fewest: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row["problem"], _machine(row)
        if "eval" in row and (key not in fewest or row["devices"]["count"] < fewest[key]["devices"]["count"]):
            fewest[key] = row
    for row in fewest.values():
        points = [(r["per_device"], r["rate_per_device"]) for r in row["eval"]["value_and_gradient"] if "rate" in r]
        axis.plot(*zip(*points, strict=True), color=COLORS[row["problem"]], marker=_marker(rows, row), ms=5, lw=1.4)
    axis.set(xscale="log", yscale="log", xlabel="batch per device", ylabel="gradients per second and device",
             title="Value and gradient of the log-posterior")
    _legend(axis, rows)


def _legend(axis: Axes, rows: Sequence[Row]) -> None:
    """Colours are problems, markers machines."""
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    handles = [Line2D([], [], color=COLORS[name], lw=2, label=name) for name in problems]
    handles += [Line2D([], [], color="0.3", ls="", marker=MARKERS[k % len(MARKERS)], label=name)
                for k, name in enumerate(_machines(rows))]
    axis.legend(handles=handles, frameon=False, fontsize=8)


def _fitted(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    pairs = [(row, fit_of(row)) for row in rows]
    return [(row, fit) for row, fit in pairs if fit is not None]


def _times(axis: Axes, rows: Sequence[Row]) -> None:
    """Seconds of each stage, stacked."""
    fitted = _fitted(rows)
    left = np.zeros(len(fitted))
    for stage, color in STAGE_COLORS.items():
        seconds = np.array([compile_seconds(row) or 0.0 if stage == "compile" else run_seconds(fit)[stage]
                            for row, fit in fitted])
        axis.barh(np.arange(len(fitted)), seconds, left=left, color=color, label=STAGE_TITLES[stage], height=0.7)
        left = left + seconds
    for k, (_, fit) in enumerate(fitted):
        if not fit["converged"]:
            axis.text(left[k], k, "  not converged", va="center", fontsize=7, color="#c0392b")
    axis.set(xlabel="seconds", title=r"To $\hat{R}<1.01$ and bulk ESS > 1000 of every parameter")
    axis.set_yticks(np.arange(len(fitted)), [f"{row['problem']}\n{where(row)}" for row, _ in fitted], fontsize=7)
    axis.invert_yaxis()
    axis.set_xlim(0.0, 1.25 * max(left, default=1.0))
    axis.legend(frameon=False, fontsize=8)


def _worth(axis: Axes, rows: Sequence[Row]) -> None:
    """Effective samples a second against those a gradient, warm-up included: the code's speed, and the sampler's."""
    for row, fit in _fitted(rows):
        rate = fit.get("ess_per_second")
        if rate is None or fit["ess_per_gradient"] is None:
            continue
        axis.plot(fit["ess_per_gradient"], rate, color=COLORS[row["problem"]], marker=_marker(rows, row), ms=7, ls="",
                  mfc=COLORS[row["problem"]] if fit["converged"] else "white")
        axis.annotate(str(row["devices"]["count"]), (fit["ess_per_gradient"], rate), xytext=(5, 3),
                      textcoords="offset points", fontsize=7)
    axis.set(xscale="log", yscale="log", xlabel="ESS per gradient", ylabel="ESS per second",
             title="HMC: smallest bulk ESS; beside each point the number of devices")
    axis.margins(0.35)
    axis.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_locator(NullLocator())
    _legend(axis, rows)


def _scaling(axis: Axes, rows: Sequence[Row]) -> None:
    """Speed over that of the fewest devices: batch fixed (strong), and batch fixed a device (weak)."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if "eval" in row:
            groups.setdefault((row["problem"], _machine(row)), []).append(row)
    counts = sorted({row["devices"]["count"] for group in groups.values() for row in group})
    for (problem, _), group in groups.items():
        group = sorted(group, key=lambda row: row["devices"]["count"])
        if len(group) < 2:
            continue
        for style, rates in (("-", [_strong(row) for row in group]), ("--", [_weak(row, group) for row in group])):
            if None in rates:
                continue
            first = group[0]["devices"]["count"]
            axis.plot([row["devices"]["count"] for row in group], [first * rate / rates[0] for rate in rates],
                      color=COLORS[problem], ls=style, marker=_marker(rows, group[0]), ms=5, lw=1.4)
    shared = [row for group in groups.values() for row in group if row["devices"]["oversubscribed"]]
    if shared:
        cores = shared[0]["devices"]["cores"]
        axis.axvspan(cores, counts[-1] * 1.1, color="0.93", lw=0, zorder=0)
        axis.text(cores * 1.05, counts[0], f"simulated devices share {cores} cores", fontsize=7, color="0.35")
    ends = np.array([counts[0], counts[-1]]) if counts else np.array([1, 1])
    axis.plot(ends, ends, color="black", lw=0.7)
    axis.set(xscale="log", yscale="log", xlabel="devices", ylabel="speed over that of one device",
             title="Scaling of value and gradient")
    for which in (axis.xaxis, axis.yaxis):
        which.set_major_locator(FixedLocator(counts))
        which.set_major_formatter("{x:g}")
        which.set_minor_locator(NullLocator())
    handles = [Line2D([], [], color="0.3", ls="-", label="strong (same batch)"),
               Line2D([], [], color="0.3", ls="--", label="weak (same batch per device)"),
               Line2D([], [], color="black", lw=0.7, label="ideal")]
    axis.legend(handles=handles, frameon=False, fontsize=8, loc="upper left")


def _strong(row: Row) -> float | None:
    """Gradients a second of the batch that all numbers of devices share, or of that nearest above it."""
    done = [r for r in row["eval"]["value_and_gradient"] if "rate" in r and r["total"] >= row["eval"]["strong_total"]]
    return min(done, key=lambda r: r["total"])["rate"] if done else None


def _weak(row: Row, group: Sequence[Row]) -> float | None:
    """Gradients a second of the largest batch a device that all rows have."""
    common = set.intersection(*({r["per_device"] for r in one["eval"]["value_and_gradient"] if "rate" in r}
                                for one in group))
    if not common:
        return None
    return max(r["rate"] for r in row["eval"]["value_and_gradient"] if r["per_device"] == max(common) and "rate" in r)
