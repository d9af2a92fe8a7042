"""HDF5 files as lenstronomy's users keep them: arrays by the names of its keyword arguments, seen as HDUs."""

from __future__ import annotations

from os import PathLike
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

IMAGE, KERNEL, TRANSFORM = "image_data", "kernel_point_source", "transform_pix2angle"
FIRST = (IMAGE, KERNEL)  # which a file is read for
SQUARE = 1e-3  # share by which the sides of a pixel may differ


def is_hdf5(path: str | PathLike[str]) -> bool:
    """Whether a file is HDF5, by its first bytes."""
    return bool(h5py.is_hdf5(path))


def read_arrays(path: str | PathLike[str]) -> dict[str, np.ndarray]:
    """The numbers and arrays of a file by name, without its groups and texts. Raises OSError."""
    with h5py.File(path) as file:
        found = {name: np.asarray(item[()]) for name, item in file.items() if isinstance(item, h5py.Dataset)}
    return {name: values for name, values in found.items() if values.dtype.kind in "iufb"}


def listed(arrays: dict[str, np.ndarray]) -> str:
    """What a file holds, in words."""
    return ", ".join(f"{name} {values.shape}" for name, values in arrays.items()) or "no array"


def as_hdus(path: str | PathLike[str]) -> fits.HDUList:
    """The two-dimensional arrays of a file as HDUs of their names, `image_data` or `kernel_point_source` first.

    The side of a pixel and the exposure time are in the header of `image_data`, the samples a pixel of the kernel
    in that of `kernel_point_source`.

    Raises:
        ValueError: No such array, or pixels that are not squares.
        OSError: The file cannot be read.
    """
    arrays = read_arrays(path)
    flat = [name for name, values in arrays.items() if values.ndim == 2 and name != TRANSFORM]
    if not flat:
        raise ValueError(f"HDF5 with {listed(arrays)}, and no image in two dimensions")
    hdus: list[Any] = [fits.PrimaryHDU()]
    for name in sorted(flat, key=lambda name: (name not in FIRST, name)):
        hdus.append(fits.ImageHDU(arrays[name].astype(np.float64), name=name))
        if name == IMAGE and TRANSFORM in arrays:
            hdus[-1].header["PIXSCALE"] = pixel_side(arrays[TRANSFORM])
        if name == IMAGE and "exposure_time" in arrays and arrays["exposure_time"].size == 1:
            hdus[-1].header["EXPTIME"] = float(arrays["exposure_time"].ravel()[0])
        if name == KERNEL and "point_source_supersampling_factor" in arrays:
            hdus[-1].header["OVERSAMP"] = int(arrays["point_source_supersampling_factor"])
    return fits.HDUList(hdus)


def pixel_side(transform: np.ndarray) -> float:
    """Side of a pixel by the matrix from pixels to angles [arcsec]. Raises ValueError."""
    if transform.shape != (2, 2) or not np.isfinite(transform).all():
        raise ValueError(f"{TRANSFORM} of shape {transform.shape}; expected a 2 x 2 matrix")
    (a, b), (c, d) = transform.astype(float)
    side = float(np.sqrt(abs(a * d - b * c)))
    skew = max(abs(a * b + c * d), abs(a * a + c * c - b * b - d * d))
    if not side > 0.0 or skew > 2.0 * SQUARE * side**2:  # of squares of lengths
        raise ValueError(f"{TRANSFORM} {transform.tolist()}; expected square pixels, turned or mirrored at most")
    return round(side, 9)
