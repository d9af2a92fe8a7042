"""Which pixels are fitted: masks in FITS and region files, circles and annuli, and neighbours found in the image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from regions import (
    LinePixelRegion,
    PixCoord,
    PixelRegion,
    PointPixelRegion,
    Regions,
    SkyRegion,
    TextPixelRegion,
)

from giga.imaging.grid import Grid, position_to_pixel
from giga.imaging.sources import exposed, neighbours
from giga.io.errors import InputError
from giga.io.images.config import REGIONS, ObservationConfig, RingConfig, is_region_file
from giga.io.images.hdu import read_image

FLAT = (PointPixelRegion, TextPixelRegion, LinePixelRegion)  # regions without an area

Window = tuple[slice, slice]


def read_mask(config: ObservationConfig, image: np.ndarray, window: Window, grid: Grid, wcs: WCS | None,
              notes: list[str], path: str) -> np.ndarray:
    """Pixels of the part that is used that are fitted, shape (ny, nx).

    Args:
        config: What is kept and what is left out.
        image: The whole image, as it is in its file.
        window: Rows and columns of the part.
        grid: Grid of the part.
        wcs: Celestial WCS of the whole image; None without.
        notes: Gets what the user should know of.
        path: Path of the section, for messages.

    Raises:
        InputError: A file that cannot be read or is no mask, a place that the image cannot tell, or no pixel left.
    """
    mask = np.ones(grid.shape, bool)
    if config.mask is not None:
        mask = _left(from_file(config, image, window, wcs, f"{path}.mask"), config.mask, f"{path}.mask")
        if mask.all():
            notes.append(f"{Path(config.mask).name}: {path}.mask leaves out no pixel of the part that is used")
    keep = None
    if config.mask_keep:
        keep = np.any(ring_masks(config.mask_keep, grid, window, wcs, config.image, f"{path}.mask_keep"), axis=0)
        mask = _left(mask & keep, config.image, f"{path}.mask_keep")
    out = ring_masks(config.mask_exclude, grid, window, wcs, config.image, f"{path}.mask_exclude")
    notes += [f"{Path(config.image).name}: {path}.mask_exclude.{k} leaves out no pixel of the part that is used"
              for k, ring in enumerate(out) if not ring.any()]
    mask = _left(mask & ~out.any(0), config.image, f"{path}.mask_exclude")
    if config.mask_neighbours and keep is not None:
        part = image[window]
        try:
            others = neighbours(part, exposed(part), keep)
        except ValueError as error:
            raise InputError(config.image, f"{path}.mask_neighbours", str(error),
                             "an image with some blank sky") from error
        notes.append(f"{Path(config.image).name}: mask_neighbours leaves out {int((mask & others).sum())} of "
                     f"{int(mask.sum())} pixels")
        mask = _left(mask & ~others, config.image, f"{path}.mask_neighbours")
    return mask


def from_file(config: ObservationConfig, image: np.ndarray, window: Window, wcs: WCS | None,
              field: str) -> np.ndarray:
    """Pixels of a part of an image that its mask file keeps, shape (ny, nx). Raises InputError."""
    assert config.mask is not None
    read = _regions if is_region_file(config.mask) else _from_fits
    return read(config, image, window, wcs, field) == (config.mask_is == "good")


def ring_masks(rings: Sequence[RingConfig], grid: Grid, window: Window, wcs: WCS | None, file: Path,
               field: str) -> np.ndarray:
    """Pixels whose centre lies in each of some circles and annuli, shape (rings, ny, nx). Raises InputError."""
    x, y = (np.asarray(a, float) for a in grid.coordinates())
    inside = np.zeros((len(rings), *grid.shape), bool)
    for k, ring in enumerate(rings):
        center_x, center_y = ring_center(ring, grid, window, wcs, file, f"{field}.{k}")
        r = np.hypot(x - center_x, y - center_y)
        inside[k] = (r < ring.radius) & (r >= ring.inner)
    return inside


def ring_center(ring: RingConfig, grid: Grid, window: Window, wcs: WCS | None, file: Path,
                field: str) -> tuple[float, float]:
    """Centre of a circle in the angles of the scene [arcsec]. Raises InputError."""
    pixel = (ring.column, ring.row)
    if ring.ra is not None and ring.dec is not None:
        if wcs is None:
            raise InputError(file, f"{field}.ra", "a sky position, but the header has no celestial WCS",
                             "x and y [arcsec], or column and row")
        pixel = position_to_pixel(wcs, ring.ra, ring.dec)
        if not np.isfinite(pixel).all():
            raise InputError(file, f"{field}.ra", f"ra {ring.ra:.6g}, dec {ring.dec:.6g} is too far from the "
                             "image for its WCS", "a place in the image")
    if pixel[0] is None or pixel[1] is None:
        return ring.x, ring.y
    scale, (ny, nx) = float(grid.pixel_scale), grid.shape
    x, y = grid._to_sky((pixel[0] - window[1].start - 0.5 * (nx - 1)) * scale,
                        (pixel[1] - window[0].start - 0.5 * (ny - 1)) * scale)
    return float(x), float(y)


def read_regions(file: Path, shape: tuple[int, ...], window: Window, wcs: WCS | None, field: str) -> np.ndarray:
    """Pixels of a part of an image whose centres lie in the regions of a DS9 or CASA file, shape (ny, nx).

    Regions that are excluded in the file (`-circle(...)`) are cut out of the others, or of the whole image when there
    are no others.

    Args:
        file: The region file.
        shape: Of the whole image, which its pixel coordinates are of.
        window: Rows and columns of the part.
        wcs: Celestial WCS of the whole image, which its sky coordinates need.
        field: For messages.

    Raises:
        InputError: No such file, no regions, one without an area, or sky coordinates without a WCS.
    """
    expected = "a DS9 (.reg) or CASA (.crtf) region file"
    if not file.is_file():
        raise InputError(file, field, "is a folder" if file.is_dir() else "no such file", expected)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)  # by which regions says what it passes over
            found: Sequence[Any] = Regions.read(file, format=REGIONS[file.suffix.lower()])
    except AstropyUserWarning as warning:
        raise InputError(file, field, f"a part that cannot be read ({' '.join(str(warning).split())[:200]})",
                         f"{expected} in image, fk5, icrs or galactic coordinates") from warning
    except (ValueError, KeyError, IndexError, TypeError, UnicodeDecodeError, OSError) as error:
        raise InputError(file, field, f"cannot be read ({' '.join(str(error).split())[:200]})", expected) from error
    if not len(found):
        raise InputError(file, field, "holds no region", expected)
    rows, columns = np.indices(shape)[(slice(None), *window)]
    here = PixCoord(columns, rows)
    inside, outside, bare = np.zeros(rows.shape, bool), np.zeros(rows.shape, bool), True
    for k, region in enumerate(found):
        name = type(region).__name__.removesuffix("Region")
        if isinstance(region, SkyRegion):
            if wcs is None:
                raise InputError(file, field, f"region {k} ({name}) is on the sky, but the image has no celestial WCS",
                                 "regions in image coordinates")
            region = region.to_pixel(wcs)
        if not isinstance(region, PixelRegion) or isinstance(region, FLAT):
            raise InputError(file, field, f"region {k} ({name}) has no area",
                             "circles, ellipses, boxes, polygons, annuli")
        covered = np.asarray(region.contains(here))
        if region.meta.get("include", True):
            inside, bare = inside | covered, False
        else:
            outside |= covered
    return ~outside if bare else inside & ~outside


def read_with(file: Path, hdu: int | str | None, image: np.ndarray, field: str,
              config: ObservationConfig) -> np.ndarray:
    """Read a map that goes with an image, and is not the image under another name."""
    values, _, _ = read_image(file, hdu, field)
    if np.array_equal(values, image, equal_nan=True):
        raise InputError(file, field, f"its values are those of the image, {config.image}", "another HDU or file")
    return values


def first_of(bad: np.ndarray, window: Window) -> tuple[int, int, str]:
    """First of some pixels: its row and column in the part, and its place in the file in words."""
    row, column = (int(k) for k in np.argwhere(bad)[0])
    return row, column, f"[y={row + window[0].start}, x={column + window[1].start}]"


def _regions(config: ObservationConfig, image: np.ndarray, window: Window, wcs: WCS | None, field: str) -> np.ndarray:
    assert config.mask is not None
    return read_regions(config.mask, image.shape, window, wcs, field)


def _from_fits(config: ObservationConfig, image: np.ndarray, window: Window, wcs: WCS | None, field: str) -> np.ndarray:
    """Non-zero pixels of a mask in FITS."""
    assert config.mask is not None
    values = read_with(config.mask, config.mask_hdu, image, field, config)[window]
    if not np.isfinite(values).all():
        raise InputError(config.mask, field, f"{np.sum(~np.isfinite(values))} pixels are NaN or infinite",
                         "zeros and ones")
    odd = (values < 0.0) & (values != np.round(values))
    if odd.any():
        row, column, place = first_of(odd, window)
        raise InputError(config.mask, field, f"{odd.sum()} pixels are negative and not whole, the first is "
                         f"{values[row, column]:.6g} at {place}", "zeros and ones, not an image")
    return values != 0.0


def _left(mask: np.ndarray, file: Path, field: str) -> np.ndarray:
    """A mask that keeps some pixels; else the error of the field that leaves none."""
    if not mask.any():
        raise InputError(file, field, f"no pixel is left to fit, all {mask.size} are masked", "some that are kept")
    return mask
