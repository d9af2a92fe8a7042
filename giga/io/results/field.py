"""The field of a fit without pixels in its files: maps and positions in model.fits, agreements in summary.json.

Maps have a celestial WCS where the place of the origin is known: x to the west and y to the north, in degrees of right
ascension and declination without a projection (CAR, its reference on the equator), as LensTool takes positions. Their
WCS "A" gives x and y in arcsec.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from astropy.io import fits

from giga.inference.field import MAPS, Agreement, Field
from giga.io.errors import InputError
from giga.io.images.angles import angles, grid_of
from giga.lensing.critical import Curve, einstein_radius_of

POSITIONS = "POSITIONS"  # table of the images that were seen
TEXT = {"MAGNIFICATION": "magnification", "CONVERGENCE": "convergence", "Q16": "16% quantile over draws",
        "Q50": "median over draws", "Q84": "84% quantile over draws"}


def field_hdus(shown: Field) -> list[Any]:
    """Image HDUs of the maps, and the table of positions."""
    hdus: list[Any] = []
    for name, values in shown.maps.items():
        header = angles(shown.grid) if shown.reference is None else _sky(shown)
        header.extend(angles(shown.grid, "A"))
        hdu = fits.ImageHDU(np.asarray(values, np.float32), header=header, name=name)
        kind, _, end = name.partition("_")
        hdu.header["CONTENT"] = (TEXT[kind] + (f", {TEXT[end]}" if end else ", of the best fit"), "no unit")
        if shown.z_map is not None:
            hdu.header["ZSOURCE"] = (shown.z_map, "redshift of the source that it is for")
        if end:
            hdu.header["NDRAWS"] = (shown.draws, "number of draws")
        hdus.append(hdu)
    names = np.array([shown.rows[k].name for k in shown.owner])
    hdus.append(fits.BinTableHDU.from_columns([
        fits.Column("system", f"{max(map(len, names))}A", array=names),
        fits.Column("number", "J", array=np.asarray(shown.owner, np.int32)),
        fits.Column("x", "D", unit="arcsec", array=shown.x),
        fits.Column("y", "D", unit="arcsec", array=shown.y)], name=POSITIONS))
    return hdus


def field_summary(shown: Field) -> dict[str, Any]:
    """What summary.json says of it."""
    return {"systems": [dataclasses.asdict(row) for row in shown.rows], "all": dataclasses.asdict(shown.total),
            "z_map": shown.z_map, "reference": shown.reference, "draws": shown.draws,
            "einstein_radius": einstein_radius_of([curve for curve in shown.curves if not curve.secondary]),
            "secondary_einstein_radii": sorted((curve.einstein_radius for curve in shown.curves
                                                if curve.secondary and curve.kind == "tangential"), reverse=True)}


def read_field(path: str | PathLike[str], known: Mapping[str, Any], curves: Sequence[Curve]) -> Field:
    """Read it back.

    Args:
        path: model.fits.
        known: From `field_summary`.
        curves: Those of model.fits.

    Raises:
        InputError: An HDU that is not there.
    """
    try:
        with fits.open(path, memmap=False) as file:
            hdus: Any = file
            maps = {hdu.name: np.array(hdu.data, float) for hdu in hdus if hdu.name.partition("_")[0] in MAPS}
            header, table = hdus[MAPS[0]].header, hdus[POSITIONS].data
            return Field(
                grid=grid_of(header, "" if known["reference"] is None else "A"), x=np.array(table["x"], float),
                y=np.array(table["y"], float), owner=np.array(table["number"], int),
                rows=[Agreement(**row) for row in known["systems"]], total=Agreement(**known["all"]), maps=maps,
                curves=curves, z_map=known["z_map"], draws=known["draws"],
                reference=None if known["reference"] is None else tuple(known["reference"]))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(path, "", f"cannot be read ({error})", "the maps of a finished fit") from error


def _sky(shown: Field) -> fits.Header:
    """Celestial WCS of the maps."""
    assert shown.reference is not None
    (ny, nx), scale = shown.grid.shape, float(shown.grid.pixel_scale) / 3600.0
    ra, dec = shown.reference
    cards = {"WCSAXES": 2, "CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "CUNIT1": "deg", "CUNIT2": "deg",
             "CRPIX1": 0.5 * (nx + 1), "CRPIX2": 0.5 * (ny + 1) - dec / scale, "CRVAL1": ra, "CRVAL2": 0.0,
             "CDELT1": -scale / math.cos(math.radians(dec)), "CDELT2": scale, "RADESYS": "ICRS"}
    return fits.Header(list(cards.items()))
