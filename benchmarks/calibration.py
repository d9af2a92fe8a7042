"""Ranks of the truth and coverage over the fits of `fits.py`: are the posteriors what they say?

Reads the JSON files that fits.py wrote (several files of different systems are put together; of a system that
is in two, the later counts). Leaves the summary as JSON and, beside it, the figure.
"""

import json
from pathlib import Path

from _common import parser, write

from giga.inference.checks.calibration import summary
from giga.runtime.atomic import write_bytes
from giga.show.checks import calibration_figure
from giga.show.plot import png


def rows_of(paths: list[Path]) -> list[dict]:
    """One row a system, in their order."""
    rows = {row["system"]: row for path in paths for row in json.loads(path.read_text())["results"]}
    for system, row in rows.items():
        if "thinned_ranks" not in row:
            raise SystemExit(f"system {system}: has no ranks; run fits.py again")
    return [rows[system] for system in sorted(rows)]


def main() -> None:
    arguments = parser(__doc__, "calibration")
    arguments.add_argument("fits", type=Path, nargs="+", help="JSON files that fits.py wrote")
    options = arguments.parse_args()
    rows = rows_of(options.fits)
    (size,) = {row["thinned_draws"] for row in rows}
    names = list(rows[0]["ranks"])
    ranks = {name: [row["thinned_ranks"][name] for row in rows] for name in names}
    below = {name: [row["ranks"][name] for row in rows] for name in names}
    found = summary(ranks, below, size) | dict(
        systems=[row["system"] for row in rows], not_converged=[row["system"] for row in rows if not row["converged"]])
    write(options.out, found)
    write_bytes(options.out.with_suffix(".png"), png(calibration_figure(ranks, below, size)))


if __name__ == "__main__":
    main()
