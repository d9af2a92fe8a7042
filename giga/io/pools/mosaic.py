"""Cutouts that are cut out of mosaics as they are read, around the positions of a catalogue or on a grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from giga.imaging.grid import Grid, sky_of, sky_to_pixel
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.companion import check_band, order_of
from giga.io.images.cube import KEPT, Cube
from giga.io.images.hdu import COMPANIONS, DISTORTIONS, opened, window
from giga.io.images.sky import celestial_wcs, difference, local_wcs
from giga.io.pools.base import Pool, Rows, check_names, read_positions
from giga.io.pools.files import checked


def mosaic_pool(paths: Sequence[Path], bands: Sequence[str], shape: tuple[int, int], catalogue: Path | None,
                grid: float | None, pixel_scale: float | None) -> Pool:
    """Places in mosaics, one file or HDU a band, whose cutouts have a shape.

    Args:
        paths: The files, in the order of the bands.
        bands: Of the network.
        shape: (ny, nx) of the cutouts.
        catalogue: Table of positions around which they are cut.
        grid: In place of it, the step of a grid that covers the mosaic [arcsec].
        pixel_scale: Which the network learned [arcsec]; None takes any.

    Raises:
        InputError: A mosaic without WCS, of other pixels than its other bands or the network; no positions.
    """
    with Mosaic([str(path) for path in paths], bands) as mosaic:
        return Pool("mosaic", tuple(str(path) for path in paths),
                    _rows(mosaic, paths, shape, catalogue, grid, pixel_scale))


def _rows(mosaic: Mosaic, paths: Sequence[Path], shape: tuple[int, int], catalogue: Path | None, grid: float | None,
          pixel_scale: float | None) -> Rows:
    if pixel_scale is not None:
        check_pixel_scale(mosaic.pixel_scale, pixel_scale, 0.01, "which the network learned", paths[0], "WCS")
    if catalogue is not None:
        names, ra, dec = read_positions(catalogue)
        return check_names(Rows.of(names, str(paths[0]), -1, ra, dec), catalogue)
    assert grid is not None
    step = max(1, round(grid / mosaic.pixel_scale))
    (ny, nx), (h, w) = mosaic.shape, shape
    if ny < h or nx < w:
        raise InputError(paths[0], "--grid", f"a mosaic of {ny} x {nx} pixels", f"at least {h} x {w}")
    starts = [np.unique(np.append(np.arange(0, size - side + 1, step), size - side))
              for size, side in ((ny, h), (nx, w))]
    row, col = (one.ravel() for one in np.meshgrid(*starts, indexing="ij"))
    sky: Any = sky_of(mosaic.wcs, col + 0.5 * (w - 1), row + 0.5 * (h - 1)).icrs
    return Rows.of([f"y{a:06d}x{b:06d}" for a, b in zip(row, col, strict=True)], str(paths[0]), row * nx + col,
                   sky.ra.deg, sky.dec.deg)


class Mosaic(ExitStack):
    """Large images of one place in several bands, of which parts are read within a block.

    Attributes:
        wcs: Of the first band.
        shape: (ny, nx).
        pixel_scale: Side of a pixel [arcsec].
    """

    def __init__(self, files: Sequence[str], bands: Sequence[str]) -> None:
        super().__init__()
        self.file, self.bands = Path(files[0]), tuple(bands)
        try:
            self._take([each for file in files for each in _layers(self, Path(file))], len(files))
        except BaseException:
            self.close()
            raise

    def _take(self, found: list[tuple[str, Any, WCS]], files: int) -> None:
        """Keep the images of the bands, which have to lie on each other."""
        bands = self.bands
        if len(found) != len(bands):
            raise InputError(self.file, "", f"{len(found)} images of two dimensions in {files} files",
                             f"one a band: {', '.join(bands)}")
        found = [found[k] for k in order_of([name for name, _, _ in found], bands, self.file, "")]
        self.hdus = [hdu for _, hdu, _ in found]
        self.wcs, self.shape, self.header = found[0][2], self.hdus[0].shape, self.hdus[0].header
        whole = slice(0, self.shape[0]), slice(0, self.shape[1])
        for band, (_, hdu, wcs) in zip(bands, found, strict=True):
            check_band(str(hdu.header.get("FILTER", "")), band, bands, self.file, f"band {band}")
            if hdu.shape != self.shape or not (apart := difference(wcs, self.wcs, *whole)).same:
                seen = f"{hdu.shape[0]} x {hdu.shape[1]} pixels" if hdu.shape != self.shape else str(apart)
                raise InputError(self.file, f"band {band}", seen, f"the {self.shape[0]} x {self.shape[1]} pixels of "
                                 f"band {bands[0]}, to half a pixel")
        try:
            self.pixel_scale = float(Grid.from_wcs(self.wcs, self.shape).pixel_scale)
        except ValueError as error:
            raise InputError(self.file, "WCS", str(error), "square pixels") from error

    def cut(self, rows: slice, columns: slice) -> Cube:
        """A part in all bands, with its own WCS."""
        header = local_wcs(self.wcs, rows, columns).to_header(relax=True)
        header.update({key: self.header[key] for key in KEPT if key in self.header})
        unit = str(self.header["BUNIT"]).strip() if "BUNIT" in self.header else None
        return Cube(np.stack([np.asarray(hdu.section[rows, columns], float) for hdu in self.hdus], -1), header,
                    self.file, unit)


class MosaicReader:
    """Cuts cutouts out of mosaics."""

    def __init__(self, files: Sequence[str], bands: Sequence[str], shape: tuple[int, int], settings: Any) -> None:
        self.made, self.shape = (files, bands), shape

    def read(self, rows: Rows) -> Iterator[Cube | InputError]:
        """Each cutout, or why it cannot be read."""
        with Mosaic(*self.made) as mosaic:
            column, row = sky_to_pixel(mosaic.wcs, SkyCoord(rows.ra * u.deg, rows.dec * u.deg))
            for k, place in enumerate(rows.index.tolist()):
                at = f"ra {rows.ra[k]:.6f}, dec {rows.dec[k]:.6f}"
                try:
                    yield checked(mosaic.cut(*_part(mosaic, self.shape, place, column[k], row[k])), mosaic.bands)
                except InputError as error:
                    yield error
                except ValueError as error:
                    yield InputError(mosaic.file, at, str(error))
                except OSError as error:
                    yield InputError(mosaic.file, at, f"cannot be read ({' '.join(str(error).split())})")


def _part(mosaic: Mosaic, shape: tuple[int, int], place: int, column: float, row: float) -> tuple[slice, slice]:
    """Rows and columns of a cutout: from a pixel on, or around a place. Raises ValueError off the mosaic."""
    if place >= 0:
        y, x = divmod(place, mosaic.shape[1])
        return slice(y, y + shape[0]), slice(x, x + shape[1])
    if not np.isfinite([column, row]).all():
        raise ValueError("is where the WCS of the mosaic does not reach")
    return window(mosaic.shape, shape, pixel=(float(column), float(row)))


def _layers(stack: ExitStack, path: Path) -> list[tuple[str, Any, WCS]]:
    """The two-dimensional images of a file, open, with their names and WCS."""
    with opened(path, "image"):  # says what is wrong with it
        pass
    hdus: Any = stack.enter_context(fits.open(path, memmap=False))
    found = [hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 2
             and hdu.name not in COMPANIONS | DISTORTIONS]
    layers = []
    for hdu in found:
        try:
            wcs = celestial_wcs(hdu.header, hdus)
        except ValueError as error:
            raise InputError(path, "WCS", str(error), "a WCS that can be used") from error
        if wcs is None:
            raise InputError(path, "WCS", f"none in HDU {hdu.name or 'without a name'}", "a celestial WCS, by which a "
                             "mosaic is cut")
        layers.append((str(hdu.name), hdu, wcs))
    return layers
