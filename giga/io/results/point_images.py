"""The images of point sources in the files of a fit: rows in summary.json, the table POINT_IMAGES in model.fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits

from giga.inference.point_images import UNITS, PointImage, PointTable

NAME = "POINT_IMAGES"
KEYS = {"best": "", "sd": "_sd", "observed": "_observed", "sigma": "_sigma"}  # of a row of numbers, ends of columns
FITS_UNITS = {"arcsec2": "arcsec2", "days": "d"}


def images_summary(table: PointTable) -> dict[str, Any]:
    """What summary.json says of it under `points`."""
    rows = [{"source": row.source, "seen": row.seen, "parity": row.parity, "draws": row.draws, **row.numbers}
            for row in table.rows]
    return {"images": rows, "draws": table.count, "time_delay_distance": table.time_delay_distance,
            "notes": list(table.notes)}


def read_images(known: Mapping[str, Any]) -> PointTable | None:
    """Read it back from the section `points`; None where there is none, as in files of earlier versions."""
    if "images" not in known:
        return None
    rows = [PointImage(row["source"], row["seen"], row["parity"],
                       {name: {key: float("nan") if value is None else value for key, value in row[name].items()}
                        for name in UNITS if name in row}, row["draws"]) for row in known["images"]]
    return PointTable(tuple(rows), tuple(known["notes"]), known["draws"], known["time_delay_distance"])


def images_hdu(table: PointTable) -> fits.BinTableHDU:
    """A row an image; NaN is what is not known, -1 the number of an image that nobody has seen."""
    columns = [fits.Column("source", "J", array=np.array([row.source for row in table.rows], np.int32)),
               fits.Column("seen", "J", array=np.array([-1 if row.seen is None else row.seen for row in table.rows],
                                                       np.int32)),
               fits.Column("parity", "J", array=np.array([row.parity for row in table.rows], np.int32))]
    for name, unit in UNITS.items():
        for key, end in KEYS.items():
            values = [row.numbers.get(name, {}).get(key, np.nan) for row in table.rows]
            if any(key in row.numbers.get(name, {}) for row in table.rows):
                columns.append(fits.Column(name + end, "D", unit=FITS_UNITS.get(unit, unit) or None,
                                           array=np.array(values, float)))
    return fits.BinTableHDU.from_columns(columns, name=NAME)
