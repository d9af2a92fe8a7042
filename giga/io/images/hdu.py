"""Images in FITS files: choice of the HDU, byte order, WCS, cutout."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.nddata import Cutout2D, NoOverlapError, PartialOverlapError
from astropy.wcs import WCS, FITSFixedWarning

from giga.imaging.grid import position_to_pixel
from giga.io.errors import InputError


def read_image(path: str | PathLike[str], hdu: int | str | None = None,
               field: str = "image") -> tuple[np.ndarray, fits.Header, str | None]:
    """Read a two-dimensional image.

    Args:
        path: FITS file; may be compressed.
        hdu: Number or name of the HDU ("SCI", or "SCI,2" for its second version); None is the first
            two-dimensional image.
        field: Name of the setting that asked for it, for messages.

    Returns:
        The image in float64 of the machine's byte order, shape (ny, nx), its header, and its BUNIT.

    Raises:
        InputError: Missing file, not FITS, no such HDU, or an HDU that is not a 2-D image.
    """
    def read(chosen: Any) -> tuple[np.ndarray, fits.Header]:
        return np.array(chosen.data, dtype=np.float64), chosen.header.copy()

    image, header = _opened(path, hdu, field, read)
    return image, header, str(header["BUNIT"]).strip() if "BUNIT" in header else None


def image_shape(path: str | PathLike[str], hdu: int | str | None = None, field: str = "image") -> tuple[int, int]:
    """Shape (ny, nx) of the image that `read_image` would read, from its header. Raises InputError."""
    return _opened(path, hdu, field, lambda chosen: chosen.shape)


@contextmanager
def opened(path: str | PathLike[str], field: str, expected: str = "a FITS file") -> Iterator[Any]:
    """The HDUs of a file, to be read within the block.

    Args:
        path: FITS file; may be compressed.
        field: Name of the setting that asked for it, for messages.
        expected: What the file should be, for messages.

    Raises:
        InputError: No such file, or it cannot be read, is cut short, or has not what the block looks for in it.
    """
    if not Path(path).is_file():
        raise InputError(path, field, "is a folder" if Path(path).is_dir() else "no such file", expected)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "File may have been truncated")
            with open(path, "rb") as file, fits.open(file, memmap=False) as hdus:
                yield hdus
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, Warning) as error:
        raise InputError(path, field, f"cannot be read ({' '.join(str(error).split())[:200]})", expected) from error


def _opened(path: str | PathLike[str], hdu: int | str | None, field: str, read: Callable[[Any], Any]) -> Any:
    """What a function makes of an HDU."""
    with opened(path, field) as hdus:
        return read(_choose(hdus, path, hdu, field))


def _choose(hdus: fits.HDUList, path: str | PathLike[str], hdu: int | str | None, field: str) -> Any:
    every: list[Any] = list(hdus)
    present = ", ".join(f"{k} {h.name or '(no name)'} {_kind(h)}" for k, h in enumerate(every))
    if hdu is None:
        for candidate in every:
            if candidate.is_image and len(candidate.shape) == 2:
                return candidate
        raise InputError(path, field, f"no 2-D image among its HDUs: {present}", "a 2-D image")
    name, comma, version = str(hdu).partition(",")
    try:
        if isinstance(hdu, int) and hdu < 0:
            raise IndexError(hdu)  # astropy would count from the end
        found: Any = hdus[(name, int(version)) if isinstance(hdu, str) and comma else hdu]
    except (KeyError, IndexError, ValueError):
        raise InputError(path, field, f"no HDU {hdu!r}", f"one of its HDUs: {present}") from None
    if not found.is_image or len(found.shape) != 2:
        raise InputError(path, field, f"HDU {hdu!r} is {_kind(found)}", f"a 2-D image; its HDUs are {present}")
    return found


def _kind(hdu: Any) -> str:
    if not hdu.is_image:
        return "a table"
    return f"{len(hdu.shape)}-D {hdu.shape}" if hdu.shape else "without data"


def celestial_wcs(header: fits.Header) -> WCS | None:
    """The celestial WCS of a header; None when it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # obsolete keywords that astropy translates
        wcs = WCS(header)
        return wcs.celestial if wcs.has_celestial else None


def cutout(image: np.ndarray, size: int | tuple[int, int], wcs: WCS | None = None,
           pixel: tuple[float, float] | None = None, position: tuple[float, float] | None = None,
           ) -> tuple[np.ndarray, WCS | None, tuple[slice, slice]]:
    """Cut a part out of an image.

    Args:
        image: Shape (ny, nx).
        size: Side, or (ny, nx), of the part [pixels].
        wcs: WCS of the image, if it has one.
        pixel: (column, row) of the part's centre, the first pixel being 0.
        position: (ra, dec) of the part's centre, ICRS [deg]; with neither, it is the image centre.

    Returns:
        The part, its WCS, and its (rows, columns) in the image.

    Raises:
        ValueError: A part that reaches over the edge, or a sky position without a WCS.
    """
    if position is not None:
        if wcs is None:
            raise ValueError("a sky position, but the header has no celestial WCS")
        pixel = position_to_pixel(wcs, *position)
        if not np.isfinite(pixel).all():
            raise ValueError(f"ra {position[0]:.6g}, dec {position[1]:.6g} is too far from the image for its WCS, "
                             f"whose centre is at ra {wcs.wcs.crval[0]:.6g}, dec {wcs.wcs.crval[1]:.6g}")
    if pixel is None:
        pixel = (0.5 * (image.shape[1] - 1), 0.5 * (image.shape[0] - 1))
    try:
        part = Cutout2D(image, pixel, size, wcs=wcs, mode="strict", copy=True)
    except (NoOverlapError, PartialOverlapError, ValueError):
        raise ValueError(f"size {size} around column {pixel[0]:.6g}, row {pixel[1]:.6g} reaches over the edge "
                         f"of an image of {image.shape[0]} x {image.shape[1]} pixels") from None
    rows, columns = part.slices_original
    return np.asarray(part.data), part.wcs, (rows, columns)
