"""Which kind of pool some paths are, and the reader of each kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.io.pools.base import Pool, Reader
from giga.io.pools.files import FileReader, HDUReader, folder_pool, hdu_pool
from giga.io.pools.mosaic import MosaicReader, mosaic_pool
from giga.io.pools.stacks import StackReader, stack_pool

READERS: dict[str, Callable[[Sequence[str], Sequence[str], tuple[int, int], Any], Reader]] = {
    "folder": FileReader, "hdus": HDUReader, "stack": StackReader, "mosaic": MosaicReader}
"""By the kind of a pool; each is made of files, bands, shape of the cutouts and settings."""


def pool_of(paths: Sequence[Path], bands: Sequence[str], shape: tuple[int, int], pixel_scale: float | None = None, *,
            catalogue: Path | None = None, grid: float | None = None, pattern: str | None = None,
            dataset: str | None = None) -> Pool:
    """List the cutouts that some paths hold, without reading their pixels.

    Args:
        paths: A folder of FITS files, each with all bands; a FITS file with an HDU a cutout; a stack of all bands in
            FITS, HDF5, Zarr or .npy, or one a band; or, with `catalogue` or `grid`, mosaics.
        bands: Of the network.
        shape: (ny, nx) of cutouts that are cut out of mosaics.
        pixel_scale: Of the network [arcsec], that mosaics have to have; None takes any.
        catalogue, grid: See `giga.io.pools.mosaic.mosaic_pool`.
        pattern: Files of a folder, see `giga.io.pools.files.folder_pool`.
        dataset: Name of the array in HDF5, Zarr or FITS.

    Raises:
        InputError: What cannot be searched: file, field, what is there and what was expected.
    """
    for path in paths:
        if not path.exists():
            raise InputError(path, "", "no such file or folder", "cutouts or mosaics")
    if catalogue is not None or grid is not None:
        if catalogue is not None and grid is not None:
            raise InputError("", "--grid", "given with --catalogue", "one of them")
        if grid is not None and not 0.0 < grid < np.inf:
            raise InputError("", "--grid", f"got {grid:g}", "a step above 0 arcsec")
        return mosaic_pool(paths, bands, shape, catalogue, grid, pixel_scale)
    first = paths[0]
    if first.is_dir() and first.suffix != ".zarr":
        if len(paths) > 1:
            raise InputError(paths[1], "", f"{len(paths)} paths, the first a folder", "one folder")
        return folder_pool(first, pattern)
    if pattern is not None:
        raise InputError(first, "--pattern", "given for a file", "a folder")
    if len(paths) == 1 and first.suffix not in (".npy", ".zarr", ".h5", ".hdf5") and dataset is None and (
            pool := hdu_pool(first)) is not None:
        return pool
    return stack_pool(paths, bands, dataset)
