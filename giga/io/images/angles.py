"""A grid in a FITS header: its angles as a linear WCS."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy.io import fits

from giga.imaging.grid import Grid


def angles(grid: Grid, key: str = "") -> fits.Header:
    """Linear WCS of a grid in lens angles [arcsec]."""
    (ny, nx), scale = grid.shape, float(grid.pixel_scale)
    cos, sin = float(np.cos(grid.rotation)), float(np.sin(grid.rotation))
    cards = {"WCSAXES": 2, "WCSNAME": "LENS", "CTYPE1": "X", "CTYPE2": "Y", "CUNIT1": "arcsec", "CUNIT2": "arcsec",
             "CRPIX1": 0.5 * (nx + 1), "CRPIX2": 0.5 * (ny + 1), "CRVAL1": float(grid.center_x),
             "CRVAL2": float(grid.center_y), "CDELT1": scale, "CDELT2": scale,
             "PC1_1": cos, "PC1_2": -sin, "PC2_1": sin, "PC2_2": cos}
    return fits.Header([(keyword + key, value) for keyword, value in cards.items()])


def grid_of(header: Mapping[str, Any], key: str = "") -> Grid:
    """The grid that `angles` described."""
    return Grid(shape=(header["NAXIS2"], header["NAXIS1"]), pixel_scale=float(header["CDELT1" + key]),
                center_x=float(header["CRVAL1" + key]), center_y=float(header["CRVAL2" + key]),
                rotation=float(np.arctan2(header["PC2_1" + key], header["PC1_1" + key])))
