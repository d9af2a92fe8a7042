"""Benchmarks for people: one line a problem and device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

Row = Mapping[str, Any]

STAGES = ("map", "svi", "hmc", "evidence")

COLUMNS = ("problem", "devices", "forward\n1/s", "gradients\n1/s", "Jacobians\n1/s", "batch", "compile\ns", "MAP\ns",
           "VI\ns", "HMC\ns", "ln Z\ns", "R-hat", "ESS", "ESS/s", "ESS/grad", "memory\nGiB", "J/grad")


def where(row: Row) -> str:
    """Name of the devices: `1 x NVIDIA H200`, `AMD EPYC, 2 cores`, or `AMD EPYC, 4 devices on 2 cores`."""
    devices = row["devices"]
    if devices["platform"] != "cpu":
        return f"{devices['count']} x {devices['kind']}"
    count, cpu = devices["count"], row["environment"]["cpu"]
    if devices["oversubscribed"]:
        return f"{cpu}, {count} devices on {devices['cores']} cores"
    return f"{cpu}, {count} core{'s' if count > 1 else ''}"


def best(rows: Sequence[Row] | None) -> Row | None:
    """The batch size with the highest rate."""
    done = [row for row in rows or [] if "rate" in row]
    return max(done, key=lambda row: row["rate"]) if done else None


def fit_of(row: Row) -> Row | None:
    """The fit that stands for a row: of those after the first, which paid for compiling, the median; else the first."""
    fits = [fit for fit in row.get("fits", []) if "timings_s" in fit]
    if not fits:
        return None
    later = sorted(fits[1:], key=lambda fit: fit["wall_s"])
    return later[(len(later) - 1) // 2] if later else fits[0]


def run_seconds(fit: Row) -> dict[str, float]:
    """Seconds of the stages without compiling."""
    return {stage: fit["timings_s"].get(stage, 0.0) for stage in STAGES}


def compile_seconds(row: Row) -> float | None:
    """Seconds that the first fit spent on compiling."""
    fits = [fit for fit in row.get("fits", []) if "timings_s" in fit]
    return fits[0]["timings_s"].get("compile") if fits else None


def bench_table(rows: Sequence[Row]) -> Table:
    """The rows of `giga.jobs.bench.suite.read` as a table.

    Rates are those of the best batch, a device; ESS is the smallest bulk one of all parameters. A fit that did
    not reach its target is red.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), caption=_caption(rows))
    for k, title in enumerate(COLUMNS):
        table.add_column(title, justify="left" if k < 2 else "right", no_wrap=True)
    for row in rows:
        table.add_row(row["problem"] + (" (smoke)" if row.get("smoke") else ""), where(row), *_evaluation(row),
                      *_fit(row), _memory(row), _number((row.get("eval") or {}).get("energy", {}).get(
                          "joules_per_gradient")))
    return table


def _evaluation(row: Row) -> list[str]:
    found = [best((row.get("eval") or {}).get(name)) for name in ("forward", "value_and_gradient", "jacobian")]
    gradient = found[1]
    rates = [None if one is None else one["rate_per_device"] for one in found]
    return [*map(_number, rates), str(gradient["per_device"]) if gradient else "-"]


def _fit(row: Row) -> list[str]:
    fit = fit_of(row)
    if fit is None:
        return ["-"] * 9
    seconds, colour = run_seconds(fit), "green" if fit["converged"] else "red"
    return [_number(compile_seconds(row)), *(_number(second) for second in seconds.values()),
            f"[{colour}]{_number(fit['worst_rhat'], 4)}[/]", f"[{colour}]{_number(fit['smallest_ess_bulk'], 4)}[/]",
            _number(fit.get("ess_per_second")), _number(fit["ess_per_gradient"])]


def _memory(row: Row) -> str:
    peaks = [part["memory"]["bytes"] for part in [row.get("eval") or {}, *row.get("fits", [])] if "memory" in part]
    return _number(max(peaks) / 2**30) if peaks else "-"


def _number(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "-"
    if value >= 10.0 ** digits:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def _caption(rows: Sequence[Row]) -> str:
    """What a reader must know of the numbers."""
    out = ["rates a device, at the batch a device that is fastest; R-hat, ESS: the worst parameter"]
    if any(row["devices"]["simulated"] for row in rows):
        out.append("devices of a CPU are simulated, one a core where there are as many")
    busy = [row for row in rows if row["environment"]["load_1min"] > row["environment"]["cores"]]
    if busy:
        out.append(f"{len(busy)} of {len(rows)} rows began on a machine that was busy with other work (load above the "
                   "number of its cores)")
    return "; ".join(out)
