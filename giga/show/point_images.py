"""The images of point sources as a table of a report."""

from __future__ import annotations

import math
from html import escape

from giga.inference.digits import rounded
from giga.inference.point_images import UNITS, PointImage, PointTable

HEADS = {"x": "x [″]", "y": "y [″]", "magnification": "magnification", "flux": "flux",
         "fermat_potential": "Fermat potential [″²]", "delay": "delay [days]"}
NOTE = ("Of the best fit, with the standard deviation over {draws} draws; below it what was measured. Magnifications "
        "are signed: negative at saddles of the arrival time. Delays and Fermat potentials are over those of the first "
        "image of the source that was measured.")


def point_images_part(table: PointTable | None) -> list[str]:
    """Head, table and notes; nothing of a fit without point sources."""
    if table is None:
        return []
    names = [name for name in UNITS if any(name in row.numbers for row in table.rows)]
    shared = any(row.draws not in (None, 1.0) for row in table.rows)
    heads = ["source", "image", *(HEADS[name] for name in names), *(["in draws"] if shared else [])]
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = []
    for row in table.rows:
        seen = "not seen" if row.seen is None else str(row.seen)
        cells = [str(row.source), seen, *(_cell(row, name) for name in names)]
        cells += ["–" if row.draws is None else f"{100.0 * row.draws:.3g}%"] if shared else []
        body.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    about = NOTE.format(draws=table.count) if table.count else NOTE.replace(
        ", with the standard deviation over {draws} draws", "")
    notes = [about, *table.notes]
    if table.time_delay_distance is not None:
        notes.append(f"By the redshifts of the section lens, time-delay distance {table.time_delay_distance:.1f} Mpc.")
    return ["<h2>Images of point sources</h2>", f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
            f'<tbody>{"".join(body)}</tbody></table></div>',
            *(f'<p class="note">{escape(text)}</p>' for text in notes)]


def _cell(row: PointImage, name: str) -> str:
    """A number with its error, and under it what was measured with its own."""
    numbers = row.numbers.get(name, {})
    fitted = _with_error(numbers.get("best", math.nan), numbers.get("sd", math.nan))
    if "observed" not in numbers:
        return fitted
    return f"{fitted}<br><small>{_with_error(numbers['observed'], numbers['sigma'])}</small>"


def _with_error(value: float, error: float) -> str:
    if not math.isfinite(value):
        return "–"
    text = rounded(value, error)
    return (f"{text} ± {rounded(error, error)}" if math.isfinite(error) and error > 0.0 else text).replace("-", "−")
