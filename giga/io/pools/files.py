"""Cutouts that are FITS files of a folder, or HDUs of one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.io.images.cube import Cube, read_cube
from giga.io.images.hdu import COMPANIONS, SUFFIXES, is_fits, opened, stem
from giga.io.pools.base import Pool, Rows, check_names


def folder_pool(folder: Path, pattern: str | None) -> Pool:
    """The FITS files of a folder, each a cutout with all bands, named after its path.

    Args:
        folder: The folder.
        pattern: Which of its files, as `*/image.fits`; None takes those of the folder itself that end as FITS files do.

    Raises:
        InputError: No file, or two of one name.
    """
    paths = sorted(path for path in folder.glob(pattern or "*") if path.is_file()
                   and (pattern is not None or is_fits(path.name)))
    if not paths:
        raise InputError(folder, "--pattern" if pattern else "", f"no file {pattern or 'that is FITS'} in the folder",
                         f"cutouts named *{', *'.join(SUFFIXES)}, or --pattern")
    names = [stem(path.relative_to(folder).as_posix()).replace("/", "_") for path in paths]
    return Pool("folder", (str(folder),), check_names(Rows.of(names, [str(path) for path in paths]), folder))


def hdu_pool(path: Path) -> Pool | None:
    """The three-dimensional HDUs of a file, each a cutout with all bands, named by EXTNAME; None with fewer than two.

    Raises:
        InputError: The file cannot be read, or two are of one name.
    """
    with opened(path, "image") as hdus:
        found = [(k, str(hdu.name or f"{path.stem}_{k}")) for k, hdu in enumerate(hdus)
                 if hdu.is_image and len(hdu.shape) == 3 and hdu.name not in COMPANIONS]
    if len(found) < 2:
        return None
    rows = Rows.of([name for _, name in found], str(path), [k for k, _ in found])
    return Pool("hdus", (str(path),), check_names(rows, path))


class FileReader:
    """Reads cutouts that are files."""

    def __init__(self, files: Sequence[str], bands: Sequence[str], shape: tuple[int, int], settings: Any) -> None:
        self.bands = tuple(bands)

    def read(self, rows: Rows) -> Iterator[Cube | InputError]:
        """Each cutout, or why it cannot be read."""
        for file in rows.file.tolist():
            try:
                yield read_cube([file], self.bands)
            except InputError as error:
                yield error


class HDUReader(FileReader):
    """Reads cutouts that are HDUs of one file."""

    def read(self, rows: Rows) -> Iterator[Cube | InputError]:
        """Each cutout, or why it cannot be read."""
        path = Path(str(rows.file[0]))
        with opened(path, "image") as hdus:
            for number in rows.index.tolist():
                try:
                    hdu = hdus[number]
                    yield checked(Cube(np.moveaxis(np.asarray(hdu.data, float), 0, -1), hdu.header.copy(), path,
                                       str(hdu.header["BUNIT"]).strip() if "BUNIT" in hdu.header else None),
                                  self.bands)
                except InputError as error:
                    yield error
                except (OSError, ValueError, TypeError) as error:
                    yield InputError(path, f"HDU {number}", f"cannot be read ({' '.join(str(error).split())})")


def checked(cube: Cube, bands: Sequence[str]) -> Cube:
    """A cutout as it may be scored.

    Raises:
        InputError: Another number of bands, a band that is NaN, or pixels that are not finite.
    """
    if cube.image.shape[-1] != len(bands):
        raise InputError(cube.file, "", f"{cube.image.shape[-1]} bands", f"{len(bands)}: {', '.join(bands)}")
    bad = ~np.isfinite(cube.image)
    if bad.any():
        count = bad.sum((0, 1))
        whole = cube.image[..., 0].size
        said = [f"band {band}: " + ("no pixel is finite" if one == whole else f"{one} pixels are NaN or infinite")
                for band, one in zip(bands, count, strict=True) if one]
        raise InputError(cube.file, "", "; ".join(said), "finite numbers")
    return cube
