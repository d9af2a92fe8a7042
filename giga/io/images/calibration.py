"""What a header tells of an image's calibration: exposure time, gain, zero point, saturation."""

from __future__ import annotations

import math
from typing import Any

import astropy.units as u
from astropy.io import fits

from giga.io.images.units import parse_unit

EXPOSURES = ("EXPTIME", "EFFEXPTM", "XPOSURE", "EXPOSURE", "TEXPTIME", "ITIME")  # [s]
GAINS = ("GAIN", "EGAIN", "CCDGAIN", "ARAWGAIN")  # electrons per count
ZERO_POINTS = ("MAGZERO", "MAGZPT", "MAGZP", "MAGZEROP", "PHOTZP", "ZEROPT", "ZPAB", "ABZPT", "ZEROPOIN", "ZP")  # mag
SATURATIONS = ("SATURATE", "SATURATA", "SATURATB", "SATLEVEL")  # in the image's unit
ST_ZERO = -21.1  # of PHOTZPT, which is that of the ST system and no AB zero point
NANOMAGGY = 22.5  # AB magnitude of one


def calibration(header: fits.Header, hdus: Any, unit: str) -> dict[str, tuple[float, str] | None]:
    """Exposure, gain, zero point and saturation of an HDU, each with the keyword that tells it; None where none does.

    Keywords of the HDU come before those of the first HDU, in which many archives keep them.

    Args:
        header: Of the HDU.
        hdus: Of the file.
        unit: BUNIT of the HDU.
    """
    first = hdus[0].header if len(hdus) else header

    def find(keys: tuple[str, ...]) -> tuple[float, str] | None:
        for cards in (header, first):
            for key in keys:
                if (value := number_in(cards, key)) is not None:
                    return value, key
        return None

    return {"exposure": find(EXPOSURES), "gain": find(GAINS), "saturation": find(SATURATIONS),
            "zero_point": find(ZERO_POINTS) or _zero_point(header, first, unit)}


def _zero_point(header: fits.Header, first: fits.Header, unit: str) -> tuple[float, str] | None:
    """AB magnitude of one unit: by HST's keywords, those of the HSC pipeline, or the unit itself."""
    for cards in (header, first):
        flam, plam = number_in(cards, "PHOTFLAM"), number_in(cards, "PHOTPLAM")
        if flam is not None and plam is not None:  # ACS Data Handbook, sect. 5.1
            return -2.5 * math.log10(flam) + ST_ZERO - 5.0 * math.log10(plam) + 18.6921, "PHOTFLAM and PHOTPLAM"
        if (flux := number_in(cards, "FLUXMAG0")) is not None:
            return 2.5 * math.log10(flux), "FLUXMAG0"
    if "nanomaggy" in unit.lower() or "nanomaggies" in unit.lower():
        return NANOMAGGY, "BUNIT"
    try:
        flux = parse_unit(unit) if unit else None
    except ValueError:
        return None
    if flux is None:
        return None
    for solid in (u.dimensionless_unscaled, u.arcsec**2):  # a flux, or that of a square arcsec
        if (flux * solid).is_equivalent(u.Jy):
            jansky: Any = (flux * solid).to(u.Jy)
            return 8.90 - 2.5 * math.log10(jansky), "BUNIT"
    return None


def number_in(header: Any, key: str) -> float | None:
    """A number above 0 that a header has, also where it is written as text; None else."""
    value: Any = header.get(key)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value < math.inf:
        return None
    return float(value)
