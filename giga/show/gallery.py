"""gallery.html: the pictures of a fleet on one page, which opens beside the folders of its lenses."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import quote

import numpy as np
from astropy.table import Table

from giga.inference.digits import rounded
from giga.show.report import ESS_LIMIT, RHAT_LIMIT, html_page

MORE = """
body { max-width: 1500px; }
.lens { margin: 0 0 1.6rem; scroll-margin-top: 1rem; }
.lens h2 { margin: 1.2rem 0 .2rem; }
.lens h2 span { color: var(--soft); font-weight: 400; font-size: .85rem; }
.bad { color: var(--bad); } a { color: var(--accent); text-decoration: none; }
"""
HEAD = "mass_0_theta_E"  # the parameter that has a column, where the model has it


@dataclass(frozen=True)
class Shown:
    """What a lens's folder has to be shown.

    Attributes:
        folder: Path from the page to it.
        files: Names of the files in it.
    """

    folder: str
    files: Collection[str]


def gallery_page(table: Table, shown: Mapping[str, Shown]) -> str:
    """A page with a row of numbers and the picture of each lens, without a script.

    Args:
        table: One row a lens, as `giga.io.results.fleet.FleetFolder.table` makes it.
        shown: Folder of each lens by name.
    """
    values: Any = table.as_array()
    rows = [dict(zip(table.colnames, row, strict=True)) for row in values]
    status = [str(row["status"]) for row in rows]
    counts = ", ".join(f"{status.count(kind)} {kind}" for kind in dict.fromkeys(status))
    parts = ["<h1>giga: a fleet</h1>", f'<p class="sub">{len(rows)} lenses: {escape(counts)}</p>',
             _overview(rows), *(_lens(row, shown[str(row["name"])]) for row in rows)]
    return html_page("a fleet", parts, MORE)


def _overview(rows: list[dict]) -> str:
    """The table at the head of the page."""
    named = any(f"{HEAD}_{kind}" in row for row in rows for kind in ("mean", "best"))
    titles = ["lens", "status", *(["θ<sub>E</sub> [″]"] if named else []), "reduced χ²", "worst R-hat", "smallest ESS",
              "seconds", "findings"]
    lines = []
    for row in rows:
        name = str(row["name"])
        cells = [f'<td><a href="#{quote(name)}">{escape(name)}</a></td>',
                 _cell(str(row["status"]), row["status"] in ("failed", "refused"))]
        if named:
            cells.append(_cell(_with_error(row, HEAD)))
        rhat, ess = _known(row, "worst_rhat"), _known(row, "smallest_ess")
        found = _known(row, "findings")
        cells += [_cell(_text(row, "reduced_chi2", 3)), _cell(_text(row, "worst_rhat", 4), not rhat <= RHAT_LIMIT),
                  _cell(_text(row, "smallest_ess", 0), not ess >= ESS_LIMIT), _cell(_text(row, "seconds", 0)),
                  _cell(_text(row, "findings", 0), found > 0)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{title}</th>" for title in titles)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _lens(row: Mapping, shown: Shown) -> str:
    """The picture of a lens, with what is to be seen."""
    name = str(row["name"])
    folder = quote(shown.folder)
    links = [f'<a href="{folder}/{file}">{text}</a>' for file, text in
             (("report.html", "report"), ("corner.png", "posterior"), ("audit.png", "data")) if file in shown.files]
    said = [f'<p class="bad">{escape(text)}</p>' for text in (_said(row, "reason"), _said(row, "look_at")) if text]
    if found := _said(row, "audit"):
        said.append(f'<p class="{"bad" if _known(row, "audit_serious") > 0.0 else "note"}">audit: {escape(found)}</p>')
    picture = '<p class="note">No picture.</p>'
    if "fit.png" in shown.files:
        picture = f'<figure><img loading="lazy" src="{folder}/fit.png" alt="the fit of {escape(name)}"></figure>'
    return (f'<div class="lens" id="{quote(name)}"><h2>{escape(name)} <span>{" · ".join(links)}</span></h2>'
            f"{''.join(said)}{picture}</div>")


def _cell(text: str, bad: bool = False) -> str:
    return f'<td class="bad">{escape(text)}</td>' if bad and text else f"<td>{escape(text)}</td>"


def _known(row: Mapping, column: str) -> float:
    """A number of the table; NaN where it is not known."""
    value = row.get(column, np.ma.masked)
    return float("nan") if np.ma.is_masked(value) else float(value)


def _text(row: Mapping, column: str, digits: int) -> str:
    value = _known(row, column)
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def _said(row: Mapping, column: str) -> str:
    value = row.get(column, np.ma.masked)
    return "" if np.ma.is_masked(value) else str(value)


def _with_error(row: Mapping, name: str) -> str:
    """The mean and its error, or the best fit of a search, which has none."""
    mean, sd = _known(row, f"{name}_mean"), _known(row, f"{name}_sd")
    return _text(row, f"{name}_best", 3) if np.isnan(mean) else f"{rounded(mean, sd)} ± {rounded(sd, sd)}"
