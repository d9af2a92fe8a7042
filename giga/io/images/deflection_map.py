"""Deflection fields of published models, from FITS."""

from __future__ import annotations

import math
from os import PathLike

import numpy as np
from astropy.wcs import WCS

from giga.component import Param
from giga.imaging.grid import Grid
from giga.io.errors import InputError
from giga.io.images.config import ObservationConfig
from giga.io.images.fits import frame_of
from giga.io.images.hdu import read_image
from giga.io.images.sky import celestial_wcs
from giga.mass.deflection_map import DeflectionMap


def frame_of_image(config: ObservationConfig, path: str) -> tuple[Grid, WCS]:
    """Grid and WCS of the part of an image that is fitted, whose angles are the scene's.

    Args:
        config: Its section of a configuration.
        path: Of the section, for messages.

    Raises:
        InputError: An image without a celestial WCS, or one that cannot be read.
    """
    grid, window, wcs = frame_of(config, path)
    if wcs is None:
        raise InputError(config.image, f"{path}.image", "no celestial WCS", "one, which a DeflectionMap is placed by")
    return grid, wcs.celestial[window]


def frame_at(reference: tuple[float, float]) -> tuple[Grid, WCS]:
    """Grid and WCS of a scene whose x runs to the west and y to the north of a place, as `on_plane` has it.

    Args:
        reference: Right ascension and declination of the origin [deg].
    """
    ra, dec = reference
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---CAR", "DEC--CAR"]
    wcs.wcs.crval = [ra, 0.0]
    wcs.wcs.crpix = [1.0, 1.0 - 3600.0 * dec]
    wcs.wcs.cdelt = [-1.0 / (3600.0 * math.cos(math.radians(dec))), 1.0 / 3600.0]
    return Grid(shape=(1, 1), pixel_scale=1.0), wcs


def load_deflection_map(alpha_x: str | PathLike[str], alpha_y: str | PathLike[str],
                        psi: str | PathLike[str] | None = None, reference: Grid | None = None,
                        reference_wcs: WCS | None = None, scale: Param = 1.0) -> DeflectionMap:
    """Read a deflection field and place it by its WCS.

    Args:
        alpha_x, alpha_y: FITS images of the deflection along the images' own columns and rows [arcsec].
        psi: FITS image of the potential [arcsec^2].
        reference, reference_wcs: Grid and WCS of the image whose angles the lens is in; without them they run along
            the field's own columns and rows from its centre.
        scale: D_ls / D_s of the source, over that which the field was made for.

    Raises:
        InputError: A file that cannot be read, two shapes, no celestial WCS, pixels that are not square, or a
            potential of another field.
    """
    files = {"alpha_x": alpha_x, "alpha_y": alpha_y} | ({} if psi is None else {"psi": psi})
    images: dict[str, np.ndarray] = {}
    grid = None
    for name, file in files.items():
        images[name], header, _ = read_image(file, None, name)
        shape = images[name].shape
        if shape != images["alpha_x"].shape:
            raise InputError(file, name, f"shape {shape}", f"{images['alpha_x'].shape}, the shape of {alpha_x}")
        try:
            wcs = celestial_wcs(header)
        except (ValueError, KeyError, AssertionError, MemoryError) as error:  # what astropy raises for broken cards
            raise InputError(file, name, f"WCS that cannot be read ({error})", "a FITS WCS") from error
        if wcs is None:
            raise InputError(file, name, "no celestial WCS", "a FITS WCS, which places the field")
        try:
            placed = Grid.from_wcs(wcs, (shape[0], shape[1]), reference, reference_wcs)
        except ValueError as error:
            raise InputError(file, name, str(error), "square pixels, of the parity of the image") from error
        grid = grid or placed
        here, there = (np.asarray([g.center_x, g.center_y]) for g in (placed, grid))
        if np.max(np.abs(here - there)) > 0.1 * grid.pixel_scale:
            raise InputError(file, name, f"centre {here}", f"{there}, that of {alpha_x}, to a tenth of a pixel")
    assert grid is not None
    try:
        return DeflectionMap.of(**images, pixel_scale=float(grid.pixel_scale), center_x=grid.center_x,
                                center_y=grid.center_y, rotation=grid.rotation, scale=scale)
    except ValueError as error:
        field = str(error).partition(":")[0]
        raise InputError(files.get(field, alpha_x), field, str(error).partition(": ")[2]) from error
