"""table.tex and table.csv: the numbers of a fit as a paper prints them, and as one row of a table."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from astropy.table import Table

from giga.inference.digits import latex, moments
from giga.inference.result import Result
from giga.lensing.labels import labels, unit

UNITS = {"arcsec": r"\arcsec", "kpc": "kpc", "Mpc": "Mpc", "solMass": r"$M_\odot$", "arcsec2": r"arcsec$^2$",
         "mag": "mag", "": ""}


BESIDE = ("einstein_mass_over_critical", "source.magnification_")
"""Beginnings of the numbers that a fleet's LaTeX leaves to its other tables."""


def latex_rows(result: Result) -> str:
    """Rows of a LaTeX table: symbol, median with the way to the 16% and 84% quantiles, unit."""
    text = labels(result.names)
    lines = [rf"{text[name]} & ${_value(values)}$ & {UNITS[unit(name)]} \\" for name, values in result.samples.items()]
    if result.derived is not None:
        lines += [rf"{name.replace('_', ' ')} & ${_value(draws)}$ & {UNITS[result.derived.units[name]]} \\"
                  for name, draws in result.derived.draws.items()]
        lines += [rf"{name.replace('_', ' ')} & \nodata & \\ % {reason}"
                  for name, reason in result.derived.missing.items()]
    return "\n".join(lines) + "\n"


def csv_row(result: Result) -> str:
    """A head and one row: mean, standard deviation and quantiles of each number, and its best value."""
    columns: dict[str, list[float]] = {}
    for name, values in result.samples.items():
        columns |= {f"{name}_{key}": [value] for key, value in moments(values).items()}
        columns[f"{name}_best"] = [result.best[name]]
    for name, row in (result.derived.rows() if result.derived is not None else {}).items():
        columns |= {f"{name}_{key}": [value] for key, value in row.items()}
    out = io.StringIO()
    Table(columns).write(out, format="ascii.csv")
    return out.getvalue()


def fleet_rows(lenses: Mapping[str, Mapping[str, Any]]) -> str:
    """Rows of a LaTeX table, one a lens, under a comment that names the columns.

    Args:
        lenses: By the name of the lens, the section `derived` of its summary.
    """
    known = {name: row["unit"] for derived in lenses.values() for name, row in derived.items() if row is not None}
    shown = {name: unit for name, unit in known.items() if not name.startswith(BESIDE)}
    heads = [name.replace("_", " ") + (f" [{unit}]" if unit else "") for name, unit in shown.items()]
    lines = [f"% {' & '.join(['name', *heads])}"]
    for lens, derived in lenses.items():
        rows = [derived.get(name) for name in shown]
        cells = [r"\nodata" if row is None or row["q50"] is None else f"${latex(row['q16'], row['q50'], row['q84'])}$"
                 for row in rows]
        lines.append(" & ".join([lens.replace("_", r"\_"), *cells]) + r" \\")
    return "\n".join(lines) + "\n"


def _value(draws) -> str:
    row = moments(draws)
    return latex(row["q16"], row["q50"], row["q84"])
