"""Where the pixels of a file lie on the sky: its WCS with its distortions, and the linear one that is used of it."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, WCSSUB_CELESTIAL, FITSFixedWarning
from astropy.wcs.utils import proj_plane_pixel_scales

from giga.imaging.grid import sky_of, sky_to_pixel, tangent_plane

LARGEST = 60.0  # side of a pixel [arcsec]: what is larger has lost its scale (CDELT is 1 degree where it is missing)
OFFSET, SCALE = 0.5, 0.01  # pixels, and share of their side, from which on two images are not on the same pixels
SIP = re.compile(r"(A|B|AP|BP)_(ORDER|DMAX|\d+_\d+)")
TABLES = re.compile(r"(CPDIS|CQDIS|D2IMDIS|AXISCORR|CPERR|CQERR|D2IMERR)\d?|(DP|DQ|D2IM)\d\..*|D2IMEXT|D2IMARR")


def celestial_wcs(header: fits.Header, hdus: Any = None, notes: list[str] | None = None) -> WCS | None:
    """The celestial WCS of a header, with the distortions that belong to it.

    Args:
        header: Of an image.
        hdus: The HDUs of its file, where tables of distortions are.
        notes: Gets what of the header is left out: SIP coefficients without -SIP in CTYPE, as a mosaic that was
            rectified keeps them of its frames, and tables that the file has not.

    Returns:
        The WCS of two axes, or None when there is none.

    Raises:
        ValueError: Cards that are no WCS, or pixels without a scale.
    """
    notes = [] if notes is None else notes
    if not any(str(header.get(f"CTYPE{k}", "")).strip() for k in range(1, 10)):
        return None
    kept, types = header.copy(), [str(header.get(f"CTYPE{k}", "")) for k in (1, 2)]
    if any(SIP.fullmatch(key) for key in kept) and not any(kind.strip().endswith("-SIP") for kind in types):
        _remove(kept, SIP)
        notes.append(f"SIP coefficients are left out, since CTYPE {types[0]!r} is without -SIP")
    try:
        wcs = _read(kept, hdus)
    except (KeyError, AssertionError, ValueError) as error:
        tables = sorted({key for key in kept if TABLES.fullmatch(key)})
        if not tables:
            raise ValueError(_line(error)) from error
        errors = [float(str(kept[key])) for key in tables if key.startswith(("CPERR", "CQERR", "D2IMERR"))]
        _remove(kept, TABLES)
        try:
            wcs = _read(kept, None)
        except (KeyError, AssertionError, ValueError, MemoryError) as again:
            raise ValueError(_line(again)) from again
        notes.append("distortions in tables that are not in the file are left out"
                     + (f", up to {max(errors):.2g} pixels" if errors else ""))
    except MemoryError as error:  # astropy says so of broken cards
        raise ValueError(_line(error)) from error
    if not wcs.has_celestial:
        return None
    side = float(proj_plane_pixel_scales(wcs).max()) * 3600.0
    if not 0.0 < side <= LARGEST:
        lacks = not any(re.fullmatch(r"CD\d_\d|PC\d_\d|CDELT\d", key) for key in header)
        raise ValueError(f"pixels of {side:.6g} arcsec" + ", for it has CTYPE, but no CD, PC or CDELT" * lacks)
    return wcs


def _read(header: fits.Header, hdus: Any) -> WCS:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # obsolete keywords that astropy translates
        warnings.filterwarnings("error", "Polynomial distortion", AstropyUserWarning)  # which astropy leaves out
        try:
            return WCS(header.copy(), hdus, naxis=[WCSSUB_CELESTIAL])  # astropy takes cards out of it
        except AstropyUserWarning as error:
            raise ValueError(_line(error)) from error


def _remove(header: fits.Header, pattern: re.Pattern[str]) -> None:
    for key in {key for key in header if pattern.fullmatch(key)}:
        header.remove(key, ignore_missing=True, remove_all=True)


def _line(error: Exception) -> str:
    """The last line of what astropy says, which is the reason."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]


def distorted(wcs: WCS) -> str:
    """What keeps a WCS from being a linear map to a tangent plane, in a word; empty for one that is."""
    if wcs.sip is not None:
        return "SIP"
    if any(table is not None for table in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)):
        return "tables"
    cards = wcs.to_header(relax=True)  # once it is set, wcslib shows TPV as TAN
    kinds = {str(cards[f"CTYPE{k}"])[4:].strip("-").partition("-")[0] for k in (1, 2)}
    if kinds == {"TAN"}:
        return "PV" if any(re.fullmatch(r"PV\d_\d+", key) for key in cards) else ""
    return " and ".join(sorted(kinds))


def local_wcs(wcs: WCS, rows: slice, columns: slice) -> WCS:
    """The WCS of a part of an image, linear in its tangent plane.

    One that is linear is moved. Of any other the value in the middle of the part and the derivative there, between the
    quarters of its sides, make the new one.

    Args:
        wcs: Celestial WCS of the image.
        rows, columns: The part.

    Raises:
        ValueError: The WCS does not reach there.
    """
    if not distorted(wcs) and wcs.wcs.lng == 0:
        moved = wcs.deepcopy()
        moved.wcs.crpix = wcs.wcs.crpix - [columns.start, rows.start]
        return moved
    ny, nx = rows.stop - rows.start, columns.stop - columns.start
    middle = np.array([columns.start + 0.5 * (nx - 1), rows.start + 0.5 * (ny - 1)])
    sky, plane = tangent_plane(wcs, middle[0], middle[1], max(1.0, 0.25 * min(ny, nx)))
    local = WCS(naxis=2)
    local.wcs.ctype = [f"{wcs.wcs.lngtyp.strip():-<4}-TAN", f"{wcs.wcs.lattyp.strip():-<4}-TAN"]
    local.wcs.crval = sky
    local.wcs.crpix = middle - [columns.start, rows.start] + 1.0
    local.wcs.cd = plane
    local.wcs.radesys, local.wcs.equinox = wcs.wcs.radesys, wcs.wcs.equinox
    local.wcs.set()
    return local


def departure(wcs: WCS, local: WCS, rows: slice, columns: slice) -> float:
    """Largest distance at the corners of a part between its linear WCS and the whole one [pixels]; NaN past reach."""
    corners = _corners(rows, columns)
    column, row = sky_to_pixel(local, sky_of(wcs, *corners.T))
    return float(np.hypot(column + columns.start - corners[:, 0], row + rows.start - corners[:, 1]).max())


def _corners(rows: slice, columns: slice) -> np.ndarray:
    return np.array([[x, y] for x in (columns.start, columns.stop - 1) for y in (rows.start, rows.stop - 1)], float)


@dataclass(frozen=True)
class Difference:
    """How the pixels of one image lie on those of another.

    Attributes:
        columns, rows: Where its middle lies, away from the same pixel of the other [pixels of the other]; NaN where
            the other does not reach.
        scale: Its pixels' side over the other's.
        turn: Angle from the other's columns to its own [deg].
        mirrored: Whether it is mirrored; its columns are then, before it is turned.
        most: Largest distance of a corner or the middle from the same pixel of the other [pixels of the other].
    """

    columns: float
    rows: float
    scale: float
    turn: float
    mirrored: bool
    most: float

    @property
    def same(self) -> bool:
        """Whether both have the same pixels, to `OFFSET` and `SCALE`."""
        return not self.mirrored and self.most <= OFFSET and abs(self.scale - 1.0) <= SCALE

    def __str__(self) -> str:
        if not math.isfinite(self.columns):
            return "elsewhere on the sky"
        columns, rows = (round(value, 2) + 0.0 for value in (self.columns, self.rows))  # never -0
        parts = [f"shifted by {columns:.2f} columns and {rows:.2f} rows", f"pixels {self.scale:.4f} times as "
                 "large", f"turned by {self.turn:.2f} deg"]
        told = [math.hypot(self.columns, self.rows) > OFFSET, abs(self.scale - 1.0) > SCALE, abs(self.turn) > 0.01]
        told[0] |= not (self.mirrored or any(told))
        return ", ".join(["mirrored"] * self.mirrored + [part for part, tell in zip(parts, told, strict=True) if tell])


def same_core(one: WCS, other: WCS) -> bool:
    """Whether two are one but for the distortions, which one of them lacks: cards that were written without them."""
    if bool(distorted(one)) == bool(distorted(other)):
        return False
    return all(np.allclose(mine, its, rtol=1e-7, atol=1e-12) for mine, its in (
        (one.wcs.crval, other.wcs.crval), (one.wcs.crpix, other.wcs.crpix),
        (one.pixel_scale_matrix, other.pixel_scale_matrix)))


def difference(wcs: WCS, other: WCS, rows: slice, columns: slice) -> Difference:
    """How the pixels of a part of an image lie on those of the same part of another.

    Args:
        wcs: Celestial WCS of the image.
        other: Of the other.
        rows, columns: The part.
    """
    ny, nx = rows.stop - rows.start, columns.stop - columns.start
    middle = np.array([columns.start + 0.5 * (nx - 1), rows.start + 0.5 * (ny - 1)])
    points = np.concatenate([middle + [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], _corners(rows, columns)])
    column, row = sky_to_pixel(other, sky_of(wcs, *points.T))
    (xx, xy), (yx, yy) = (column[1] - column[0], column[2] - column[0]), (row[1] - row[0], row[2] - row[0])
    area = xx * yy - xy * yx
    mirrored = bool(area < 0.0)
    turn = math.degrees(math.atan2(-yx - xy, yy - xx) if mirrored else math.atan2(yx - xy, xx + yy))
    away = np.hypot(column - points[:, 0], row - points[:, 1])
    return Difference(float(column[0] - middle[0]), float(row[0] - middle[1]), math.sqrt(abs(area)), turn, mirrored,
                      float(np.where(np.isfinite(away), away, np.inf).max()))

