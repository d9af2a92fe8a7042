"""The Einstein radius that `giga init` reads off an image, against published ones and beside guessing their median.

    python benchmarks/first_look.py DIR

DIR holds catalogue.csv with the columns name, image, noise_map, psf and theta_E_published [arcsec]; lenses without a
published radius are left out. Images have pixels of `--pixel-scale`.
"""

import csv
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import parser, write

from giga.jobs.init import Wishes, begin


def main() -> None:
    options = parser(__doc__, "first_look")
    options.add_argument("folder", type=Path)
    options.add_argument("--pixel-scale", type=float, default=0.05)
    options = options.parse_args()
    with open(options.folder / "catalogue.csv", newline="", encoding="utf-8") as file:
        lenses = [row for row in csv.DictReader(file) if row["theta_E_published"]]
    rows = []
    for lens in lenses[:2] if options.smoke else lenses:
        files = {name: options.folder / lens[column] for name, column in (("noise", "noise_map"), ("psf", "psf"))}
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as out:
            begun = begin(options.folder / lens["image"], Wishes(pixel_scale=options.pixel_scale, **files), Path(out))
        published = float(lens["theta_E_published"])
        rows.append(dict(name=lens["name"], published=published, found=round(begun.found.theta_E, 4),
                         error=round(begun.found.theta_E / published - 1.0, 4),
                         seconds=round(time.perf_counter() - started, 2)))
    published = np.array([row["published"] for row in rows])
    errors = np.abs([row["error"] for row in rows])
    nothing = np.abs(np.median(published) / published - 1.0)
    write(options.out, dict(
        lenses=len(rows), median_error=float(np.median(errors)), within_20_percent=int(np.sum(errors < 0.2)),
        guessing_the_median=dict(median_error=float(np.median(nothing)), within_20_percent=int(np.sum(nothing < 0.2))),
        median_seconds=float(np.median([row["seconds"] for row in rows])), rows=rows))


if __name__ == "__main__":
    main()
