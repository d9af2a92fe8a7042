"""Images in FITS files, and in HDF5 as lenstronomy has them: choice of the HDU, byte order, cutout."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.nddata import NoOverlapError, PartialOverlapError, overlap_slices
from astropy.wcs import WCS

from giga.imaging.grid import position_to_pixel
from giga.io.errors import InputError
from giga.io.images.hdf5 import as_hdus, is_hdf5
from giga.io.images.sky import local_wcs

SUFFIXES = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz")
"""What names of FITS files end in, in any case."""
COMPANIONS = frozenset("""
    ERR ERROR ERRORS SIGMA RMS NOISE NOISE_MAP STD STDDEV STDEV UNC UNCERT UNCERTAINTY
    VAR VARIANCE VAR_POISSON VAR_RNOISE VAR_FLAT WHT WGT WEIGHT IVAR INVVAR
    DQ MASK FLAG FLAGS BPM CON CTX EXP EXPMAP EXPOSURE TIME SAMP AREA PSF SKY BKG BACKGROUND SEG SEGMAP
""".split())
"""Names of HDUs that go with an image and are none."""
MARKS = {b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture", b"\x93NUMPY": "an array of NumPy (.npy)",
         b"PK": "a zip archive (as .npz is)", b"II*\0": "a TIFF picture", b"MM\0*": "a TIFF picture", b"%PDF": "a PDF",
         b"\x80\x04": "a pickle", b"\x80\x05": "a pickle"}
"""What files begin with that are taken for images."""
DISTORTIONS = frozenset(("WCSDVARR", "D2IMARR"))
"""Names of HDUs that are tables of a WCS."""


def is_fits(name: str) -> bool:
    """Whether a file is FITS by its name."""
    return name.lower().endswith(SUFFIXES)


def stem(name: str) -> str:
    """The name of a FITS file without what such names end in; another name as it is.

    >>> stem("a.b.fits.gz"), stem("a.txt")
    ('a.b', 'a.txt')
    """
    ends = sorted(SUFFIXES, key=len, reverse=True)
    return next((name[:-len(end)] for end in ends if name.lower().endswith(end)), name)


def read_image(path: str | PathLike[str], hdu: int | str | None = None,
               field: str = "image") -> tuple[np.ndarray, fits.Header, str | None]:
    """Read a two-dimensional image.

    Args:
        path: FITS file; may be compressed.
        hdu: Number or name of the HDU ("SCI", or "SCI,2" for its second version); None is the first
            two-dimensional image whose name is not that of a companion (ERR, WHT, DQ and the like).
        field: Name of the setting that asked for it, for messages.

    Returns:
        The image in float64 of the machine's byte order, shape (ny, nx), its header, and its BUNIT.

    Raises:
        InputError: Missing file, not FITS, no such HDU, or an HDU that is not a 2-D image.
    """
    with opened(path, field) as hdus:
        chosen = hdus[choose(hdus, path, hdu, field)]
        image, header = np.array(chosen.data, dtype=np.float64), chosen.header.copy()
    return image, header, str(header["BUNIT"]).strip() if "BUNIT" in header else None


def image_shape(path: str | PathLike[str], hdu: int | str | None = None, field: str = "image") -> tuple[int, int]:
    """Shape (ny, nx) of the image that `read_image` would read, from its header. Raises InputError."""
    with opened(path, field) as hdus:
        return hdus[choose(hdus, path, hdu, field)].shape


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
            if is_hdf5(path):
                yield as_hdus(path)
                return
            with open(path, "rb") as file, fits.open(file, memmap=False) as hdus:
                yield hdus
    except InputError:
        raise
    except (OSError, ValueError, TypeError, KeyError, IndexError, Warning) as error:
        seen = f"cannot be read ({' '.join(str(error).split())[:200]}){_looks_like(path)}"
        raise InputError(path, field, seen, expected) from error


def _looks_like(path: str | PathLike[str]) -> str:
    """What a file is that is not FITS, by its first bytes; empty where they do not tell."""
    with open(path, "rb") as file:
        start = file.read(512)
    found = next((words for mark, words in MARKS.items() if start.startswith(mark)), "")
    if not found and not start:
        found = "an empty file"
    if not found and not start.startswith(b"SIMPLE") and start.isascii() and b"\0" not in start:
        found = "a text"
    return f", it is {found}" if found else ""


def choose(hdus: fits.HDUList, path: str | PathLike[str], hdu: int | str | None, field: str,
           setting: str | None = None) -> int:
    """Number of the HDU that is read.

    Args:
        hdus: Of the file.
        path: The file, for messages.
        hdu: Number or name, or None.
        field: Name of the setting that asked for the file, for messages.
        setting: Name of the setting that names the HDU of a companion. Without `hdu` its file has to have one image.

    Raises:
        InputError: No such HDU, one that is not a 2-D image, or several of which one has to be named.
    """
    every: list[Any] = list(hdus)
    present = ", ".join(f"{k} {h.name or '(no name)'} {_kind(h)}" for k, h in enumerate(every))
    if hdu is None:
        images = [k for k, h in enumerate(every) if h.is_image and len(h.shape) == 2 and h.name not in DISTORTIONS]
        if not images:
            raise InputError(path, field, f"no 2-D image among its HDUs: {present}", "a 2-D image")
        if setting is not None and len(images) > 1:
            raise InputError(path, field, f"{len(images)} images, and no {setting} says which", f"{setting}, one of "
                             + ", ".join(f"{k} {every[k].name or '(no name)'} {every[k].shape}" for k in images))
        return next((k for k in images if every[k].name not in COMPANIONS), images[0])
    name, comma, version = str(hdu).partition(",")
    try:
        if isinstance(hdu, int) and hdu < 0:
            raise IndexError(hdu)  # astropy would count from the end
        number = hdu if isinstance(hdu, int) else hdus.index_of((name, int(version)) if comma else hdu)
        found: Any = hdus[number]
    except (KeyError, IndexError, ValueError):
        raise InputError(path, field, f"no HDU {hdu!r}", f"one of its HDUs: {present}") from None
    if not found.is_image or len(found.shape) != 2:
        raise InputError(path, field, f"HDU {hdu!r} is {_kind(found)}", f"a 2-D image; its HDUs are {present}")
    return number


def _kind(hdu: Any) -> str:
    if not hdu.is_image:
        return "a table"
    return f"{len(hdu.shape)}-D {hdu.shape}" if hdu.shape else "without data"


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
        The part, its WCS, linear (`giga.io.images.sky.local_wcs`), and its (rows, columns) in the image.

    Raises:
        ValueError: A part that reaches over the edge, or a sky position without a WCS.
    """
    rows, columns = window(image.shape, size, wcs, pixel, position)
    return image[rows, columns].copy(), None if wcs is None else local_wcs(wcs, rows, columns), (rows, columns)


def window(shape: tuple[int, ...], size: int | tuple[int, int], wcs: WCS | None = None,
           pixel: tuple[float, float] | None = None, position: tuple[float, float] | None = None,
           ) -> tuple[slice, slice]:
    """Rows and columns of the part that `cutout` cuts out of an image of some shape. Raises ValueError."""
    if position is not None:
        if wcs is None:
            raise ValueError("a sky position, but the header has no celestial WCS")
        pixel = position_to_pixel(wcs, *position)
        if not np.isfinite(pixel).all():
            raise ValueError(f"ra {position[0]:.6g}, dec {position[1]:.6g} is too far from the image for its WCS, "
                             f"whose centre is at {wcs.wcs.lngtyp.lower()} {wcs.wcs.crval[wcs.wcs.lng]:.6g}, "
                             f"{wcs.wcs.lattyp.lower()} {wcs.wcs.crval[wcs.wcs.lat]:.6g}")
    if pixel is None:
        pixel = (0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1))
    sides = (size, size) if isinstance(size, int) else size
    try:
        rows, columns = overlap_slices(shape, sides, pixel[::-1], mode="strict")[0]
    except (NoOverlapError, PartialOverlapError, ValueError):
        raise ValueError(f"size {size} around column {pixel[0]:.6g}, row {pixel[1]:.6g} reaches over the edge "
                         f"of an image of {shape[0]} x {shape[1]} pixels") from None
    return rows, columns
