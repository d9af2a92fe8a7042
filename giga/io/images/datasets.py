"""Data sets of other lensing codes, as they are: HDF5 files of lenstronomy, folders of PyAutoLens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.io.images.hdf5 import IMAGE, KERNEL, TRANSFORM, is_hdf5, listed, pixel_side, read_arrays
from giga.io.jsonfile import read_json

IMAGES, NOISES, MASKS = ("data.fits", "image.fits"), ("noise_map.fits", "noise.fits"), \
    ("mask.fits", "mask_extra_galaxies.fits")
SHOWN = 8  # names of a folder in a message


@dataclass(frozen=True)
class Dataset:
    """What a data set holds; None and empty where it does not.

    Attributes:
        image, noise, psf, mask: Its files; those of an HDF5 file are the file itself. Ones of the mask are left out.
        noise_hdu, psf_hdu: Their arrays.
        rms: Scatter of the sky.
        exposure_time: Exposure time [s], or the name of its map.
        pixel_scale: Side of a pixel [arcsec].
        z_lens, z_source: Redshifts.
        notes: What the user should know.
    """

    image: Path
    noise: Path | None = None
    psf: Path | None = None
    mask: Path | None = None
    noise_hdu: str | None = None
    psf_hdu: str | None = None
    rms: float | None = None
    exposure_time: float | str | None = None
    pixel_scale: float | None = None
    z_lens: float | None = None
    z_source: float | None = None
    notes: tuple[str, ...] = ()


def find_dataset(path: Path, field: str) -> Dataset | None:
    """The data set at a path; None for a file that is not HDF5.

    Args:
        path: A folder, or a file.
        field: Name of the setting that asked for it, for messages.

    Raises:
        InputError: A folder or an HDF5 file without an image by a name that is known, by what it holds.
    """
    if path.is_dir():
        return _folder(path, field)
    return _hdf5(path, field) if path.is_file() and is_hdf5(path) else None


def _folder(folder: Path, field: str) -> Dataset:
    """PyAutoLens: data.fits, noise_map.fits, psf.fits, and what is optional: a mask, info.json."""
    def first(names: tuple[str, ...]) -> Path | None:
        return next((folder / name for name in names if (folder / name).is_file()), None)

    image, noise, mask = (first(names) for names in (IMAGES, NOISES, MASKS))
    if image is None:
        names = sorted(one.name for one in folder.iterdir())
        more = f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)
        raise InputError(folder, field, f"a folder with {', '.join(names[:SHOWN])}{more}" if names else
                         "an empty folder", "data.fits or image.fits in it, as PyAutoLens has them, or a file")
    info: dict[str, Any] = read_json(folder / "info.json") if (folder / "info.json").is_file() else {}
    scale, z_lens, z_source = (_number(info, *keys) for keys in (
        ("pixel_scale", "pixel_scales"), ("redshift_lens", "z_lens"), ("redshift_source", "z_source")))
    said = ", ".join(one.name for one in (image, noise, first(("psf.fits",)), mask) if one is not None)
    return Dataset(image, noise, first(("psf.fits",)), mask, pixel_scale=scale, z_lens=z_lens, z_source=z_source,
                   notes=(f"a folder as PyAutoLens has it: {said}",))


def _number(info: Any, *keys: str) -> float | None:
    """A number above 0 by the first key that has one."""
    for key in keys:
        value = info.get(key) if isinstance(info, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < np.inf:
            return float(value)
    return None


def _hdf5(path: Path, field: str) -> Dataset:
    """lenstronomy: the keyword arguments of its image data by name; the kernel in the file, or in one beside it."""
    expected = f"{IMAGE}, as lenstronomy names it, in two dimensions"
    try:
        arrays = read_arrays(path)
        side = pixel_side(arrays[TRANSFORM]) if TRANSFORM in arrays else None
    except (OSError, ValueError) as error:
        raise InputError(path, field, f"cannot be read ({error})", "HDF5 as lenstronomy has it") from error
    if arrays.get(IMAGE, np.zeros(0)).ndim != 2:
        raise InputError(path, field, f"HDF5 with {listed(arrays)}", expected)
    psf, hdu = path if KERNEL in arrays else None, KERNEL
    beside = path.with_name("psf" + path.name.removeprefix("image"))
    if psf is None and path.name.startswith("image") and beside.is_file() and is_hdf5(beside):
        psf = beside
        if KERNEL not in (held := read_arrays(beside)):
            raise InputError(beside, "--psf", f"HDF5 with {listed(held)}", f"{KERNEL}, as lenstronomy names it")
    rms, exposure = (_scalar(arrays.get(name)) for name in ("background_rms", "exposure_time"))
    has_map = arrays.get("noise_map", np.zeros(0)).ndim == 2
    if exposure is None and arrays.get("exposure_time", np.zeros(0)).ndim == 2:
        exposure = "exposure_time"
    said = f"HDF5 as lenstronomy has it: {listed(arrays)}" + (f"; PSF: {beside.name}" if psf == beside else "")
    return Dataset(path, path if has_map else None, psf, None, "noise_map" if has_map else None,
                   None if psf is None else hdu, None if has_map else rms, None if has_map else exposure, side,
                   notes=(said, *_turned(arrays)))


def _scalar(values: np.ndarray | None) -> float | None:
    """One number above 0."""
    if values is None or values.size != 1 or not 0.0 < float(values.ravel()[0]) < np.inf:
        return None
    return float(values.ravel()[0])


def _turned(arrays: dict[str, np.ndarray]) -> list[str]:
    """How the angles of the file lie against those of the fit, which are along rows and columns from the middle."""
    if TRANSFORM not in arrays or "ra_at_xy_0" not in arrays or "dec_at_xy_0" not in arrays:
        return []
    transform = arrays[TRANSFORM].astype(float)
    ny, nx = arrays[IMAGE].shape
    corner = np.array([float(arrays[name]) for name in ("ra_at_xy_0", "dec_at_xy_0")])
    x, y = corner + transform @ [0.5 * (nx - 1), 0.5 * (ny - 1)]
    side = pixel_side(transform)
    plain = np.allclose(transform, side * np.eye(2), atol=1e-6 * side)
    if plain and abs(x) < 0.01 * side and abs(y) < 0.01 * side:
        return []
    turned = "" if plain else f", and its axes by {(transform / side).round(4).tolist()}"
    return [f"angles of the fit are along rows and columns from the middle of the image, which in the file is at "
            f"({x:.4g}, {y:.4g}) arcsec{turned}"]
