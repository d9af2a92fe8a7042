"""Files of simulated images: one shard, in FITS or HDF5, with the truth as a table whose units are in the header."""

from __future__ import annotations

import io
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

from giga.io.errors import InputError
from giga.lensing.labels import unit
from giga.runtime.atomic import write_atomically, write_bytes
from giga.simulate.batch import Batch

SUFFIXES = {"fits": ".fits", "hdf5": ".h5"}
UNIT = "count / s"  # of the images
PARTS = ("lens", "source", "noise")
CUBES = ("image", *PARTS, "companions", "sigma")
UNITS = {"amp": "count / (s arcsec2)", "sigma_v": "km / s", "mag_lens": "mag", "mag_source": "mag",
         "lens_magnitude": "mag", "source_magnitude": "mag", "mag": "mag", "mimic_mag": "mag", "mimic_size": "arcsec",
         "r_e": "arcsec", "image_x": "arcsec", "image_y": "arcsec", "radius": "arcsec", "width": "arcsec",
         "pitch": "rad", "phi0": "rad"}
"""Units of the truth by the last part of a name, besides those of `giga.lensing.labels`."""


def unit_of(name: str) -> str:
    """Unit of an entry of the truth, empty for none.

    >>> unit_of("mass.0.theta_E"), unit_of("lens_light.0.amp"), unit_of("z_lens")
    ('arcsec', 'count / (s arcsec2)', '')
    """
    return "" if name.startswith("mixing.") else UNITS.get(name.rpartition(".")[2]) or unit(name)


def write_shard(path: str | PathLike[str], batch: Batch, cards: dict[str, Any]) -> Path:
    """Write images with their parts, noise, PSF and truth, whole or not at all.

    HDF5 has them channels last, as `Batch`: `image`, `parts/lens`, `parts/source`, `parts/noise`, `companions`,
    `sigma`, `psf`, `label`, `truth/NAME` with the attribute `unit`. FITS has the HDUs IMAGE, LENS, SOURCE, NOISE,
    COMPANIONS, SIGMA as cubes of shape (n, bands, ny, nx), PSF, and the table TRUTH with one row an image. PSFs that
    are the same for all images are written once.

    Args:
        path: Ends in .h5 or .fits.
        batch: Arrays on the host.
        cards: What belongs into the header: names of at most eight characters, texts and numbers.
    """
    path, psf = Path(path), np.asarray(batch.psf)
    psf = psf[:1] if (psf == psf[:1]).all() else psf
    if path.suffix == SUFFIXES["fits"]:
        return write_bytes(path, _fits(batch, psf, cards))
    return write_atomically(path, lambda temporary: _hdf5(temporary, batch, psf, cards))


def read_shard(path: str | PathLike[str]) -> Batch:
    """Read what `write_shard` wrote, as NumPy arrays, channels last.

    Raises:
        InputError: Missing, damaged, or no shard.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES.values():
        raise InputError(path, "", f"a name that ends in {path.suffix!r}", f"one of {', '.join(SUFFIXES.values())}")
    if not path.is_file():
        raise InputError(path, "", "no such file", "a shard that giga simulate wrote")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "File may have been truncated")
            arrays = _read_fits(path) if path.suffix == SUFFIXES["fits"] else _read_hdf5(path)
    except (OSError, ValueError, TypeError, KeyError, IndexError, Warning) as error:
        seen = f"cannot be read ({' '.join(str(error).split())[:200]})"
        raise InputError(path, "", seen, "a shard that giga simulate wrote") from error
    n = len(arrays["image"])
    return Batch(image=arrays["image"], parts={name: arrays[name] for name in PARTS}, truth=arrays["truth"],
                 companions=arrays["companions"], label=arrays["label"], sigma=arrays["sigma"],
                 psf=np.broadcast_to(arrays["psf"], (n, *arrays["psf"].shape[1:])))


def _images(batch: Batch) -> dict[str, np.ndarray]:
    return {name: np.asarray(batch.parts[name] if name in PARTS else getattr(batch, name), np.float32)
            for name in CUBES}


def _hdf5(path: Path, batch: Batch, psf: np.ndarray, cards: dict[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        file.attrs.update({name.lower(): value for name, value in cards.items()})
        for name, value in _images(batch).items():
            place = f"parts/{name}" if name in PARTS else name
            file.create_dataset(place, data=value).attrs["unit"] = UNIT
        file.create_dataset("psf", data=psf)
        file.create_dataset("label", data=np.asarray(batch.label))
        truth = file.create_group("truth")
        for name, value in batch.truth.items():
            truth.create_dataset(name, data=np.asarray(value)).attrs["unit"] = unit_of(name)


def _read_hdf5(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        def get(name: str) -> np.ndarray:
            return np.asarray(file[name])

        truth = file["truth"]
        if not isinstance(truth, h5py.Group):
            raise ValueError("truth is no group")
        cubes = {name: get(f"parts/{name}" if name in PARTS else name) for name in CUBES}
        return {**cubes, "psf": get("psf"), "label": get("label"),
                "truth": {name: get(f"truth/{name}") for name in truth}}


def _fits(batch: Batch, psf: np.ndarray, cards: dict[str, Any]) -> bytes:
    primary = fits.PrimaryHDU()
    for name, value in cards.items():
        primary.header[name.upper()] = value
    hdus: list[Any] = [primary]
    for name, value in _images(batch).items():
        hdu = fits.ImageHDU(np.ascontiguousarray(np.moveaxis(value, -1, 1)), name=name.upper())
        hdu.header["BUNIT"] = "count/s"
        hdus.append(hdu)
    hdus.append(fits.ImageHDU(psf, name="PSF"))
    columns = []
    for name, value in {"label": batch.label, **batch.truth}.items():
        array = np.asarray(value)
        array = array.astype(np.int32) if array.dtype.kind in "bu" else array
        letter = {"i": "J" if array.itemsize == 4 else "K", "f": "E" if array.itemsize == 4 else "D"}[array.dtype.kind]
        width = "" if array.ndim == 1 else str(array.shape[1])
        columns.append(fits.Column(name, f"{width}{letter}", unit=unit_of(name) or None, array=array))
    hdus.append(fits.BinTableHDU.from_columns(columns, name="TRUTH"))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()


def _read_fits(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file, fits.open(file, memmap=False) as opened:
        hdus: Any = opened

        def native(values: Any) -> np.ndarray:
            array = np.asarray(values)
            return array.astype(array.dtype.newbyteorder("="))

        images = {name: native(np.moveaxis(hdus[name.upper()].data, 1, -1)) for name in CUBES}
        table = hdus["TRUTH"].data
        columns = {name: native(table[name]) for name in table.names}
        return {**images, "psf": native(hdus["PSF"].data), "label": columns.pop("label"), "truth": columns}
