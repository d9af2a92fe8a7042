"""A cutout as it is looked at: all its bands, sizes and resolutions, with pixels that are missing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs.utils import proj_plane_pixel_scales

from giga.io.errors import InputError
from giga.io.images.hdu import COMPANIONS, DISTORTIONS, opened
from giga.io.images.sky import celestial_wcs

FIELD = "cutout"
UNNAMED = frozenset(("", "SCI", "PRIMARY", "IMAGE", "DATA", "COMPRESSED_IMAGE"))
BLUE_TO_RED = "u g B V r R i I z Z y Y VIS J H K Ks".split()
SCALE = ("CD1_1", "CD1_2", "CD2_1", "CD2_2", "CDELT1", "CDELT2", "PC1_1", "PC1_2")
SMALLEST = 8  # side of an image that is worth a look [pixels]


@dataclass(frozen=True, eq=False)
class View:
    """Bands of one size and resolution.

    Attributes:
        image: Shape (ny, nx, bands), float32; what is missing is NaN.
        bands: Their names, the bluest first where the names tell.
        header: Of the first band.
        file: Where it is from.
    """

    image: np.ndarray
    bands: tuple[str, ...]
    header: fits.Header
    file: Path

    @cached_property
    def pixel_scale(self) -> float | None:
        """Side of a pixel [arcsec]; None where the header does not tell."""
        try:
            wcs = celestial_wcs(self.header)
        except ValueError:
            return None
        return None if wcs is None else float(np.mean(proj_plane_pixel_scales(wcs)) * 3600.0)

    @property
    def name(self) -> str:
        """The size of its field and of its pixels, in words."""
        ny, nx = self.image.shape[:2]
        scale = self.pixel_scale
        size = f"{nx} × {ny} px" if scale is None else f"{nx * scale:.3g}″ at {scale:.3g}″"
        first, *more = self.bands
        return size if more or first.isdigit() else f"{size}, {first}"


def read_views(files: Sequence[Path]) -> tuple[View, ...]:
    """Read all images of a candidate.

    An image of three dimensions has its bands first. Those of two dimensions that follow one another with the same
    shape and scale are bands of one view. Errors, weights and masks are passed over.

    Args:
        files: FITS files; the first is the one that the search has seen.

    Raises:
        InputError: A file that cannot be read, or without an image.
    """
    views: list[View] = []
    for file in files:
        found: list[tuple[tuple, list[np.ndarray], list[str], fits.Header]] = []
        with opened(file, FIELD) as hdus:
            primary = hdus[0].header
            for hdu in hdus:
                if not hdu.is_image or len(hdu.shape) not in (2, 3) or hdu.name in COMPANIONS | DISTORTIONS:
                    continue
                if min(hdu.shape[-2:]) < SMALLEST:
                    raise InputError(file, FIELD, f"an image of {hdu.shape[-2]} x {hdu.shape[-1]} pixels",
                                     f"at least {SMALLEST} x {SMALLEST}")
                data = np.array(hdu.data, np.float32)
                layers, names = (list(data), _bands(hdu, primary, len(data))) if data.ndim == 3 else ([data], _bands(
                    hdu, primary, 1))
                key = (data.shape[-2:], tuple(hdu.header.get(card) for card in SCALE))
                if data.ndim == 2 and found and found[-1][0] == key and names[0] not in found[-1][2]:
                    found[-1][1].extend(layers)
                    found[-1][2].extend(names)
                else:
                    found.append((key, layers, names, hdu.header.copy()))
        if not found:
            raise InputError(file, FIELD, "no image among its HDUs", "an image of two or three dimensions")
        views += [_view(layers, names, header, file) for _, layers, names, header in found]
    return tuple(views)


def _bands(hdu: Any, primary: fits.Header, count: int) -> list[str]:
    """Names of the bands of an HDU: its cards BANDS or BAND1..., the primary's, or its own name."""
    for header in (hdu.header, primary):
        listed = re.split(r"[\s,;]+", str(header.get("BANDS", "")).strip())
        if len(listed) != count or not listed[0]:
            listed = [str(header[f"BAND{k}"]) for k in range(1, count + 1) if f"BAND{k}" in header]
        if len(listed) == count:
            return listed
    if count == 1:
        own = hdu.name if hdu.name not in UNNAMED else ""
        said = [str(hdu.header.get(card, "")).strip() for card in ("BAND", "FILTER")]
        alike = [name for name in said if name.upper() == own.upper()]  # names of HDUs are upper-case
        return [next(name for name in (*alike, own, *said, "1") if name)]
    return [str(k) for k in range(1, count + 1)]


def _view(layers: list[np.ndarray], names: list[str], header: fits.Header, file: Path) -> View:
    place = {name.lower() if name not in BLUE_TO_RED else name: k for k, name in enumerate(BLUE_TO_RED)}
    known = [place.get(name, place.get(name.lower())) for name in names]
    order = list(range(len(names)))
    if None not in known:
        order = sorted(order, key=lambda k: known[k] or 0)
    elif all(re.fullmatch(r"[Ff]\d{3,4}[A-Za-z]*", name) for name in names):
        order = sorted(order, key=lambda k: _wavelength(names[k]))
    image = np.stack([layers[k] for k in order], -1)
    return View(np.where(np.isfinite(image), image, np.nan), tuple(names[k] for k in order), header, file)


def _wavelength(name: str) -> int:
    """Of a filter of HST or JWST, by the number in its name; those of the infrared channels come after the rest."""
    number = int(re.sub(r"\D", "", name))
    return number * 10 if number < 200 else number
