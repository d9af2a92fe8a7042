"""Files of many images, read a piece at a time: HDF5, Zarr, NumPy, FITS cubes, FITS with an HDU an image."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

from giga.io.errors import InputError, nearest
from giga.io.images.hdu import COMPANIONS, DISTORTIONS

DATASETS = ("image", "images", "cutouts", "data", "x")  # names that images are known by, the first that is there
NAMES = ("name", "names", "id", "ids")  # of what tells one image from another
MANY = 16  # bands; a side is longer
FITS = (".fits", ".fit", ".fits.gz", ".fits.fz")
HDF5 = (".h5", ".hdf5", ".hdf")
FAULTS = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError)
"""What damaged files make libraries raise."""


@dataclass(frozen=True, eq=False)
class Shard:
    """Images of one file.

    Attributes:
        path: The file.
        count: Number of images.
        shape: (ny, nx, bands) of each.
        array: What is sliced along its first axis, `array[a:b]`; opened once, and read piece by piece.
        first: Whether bands come before rows in it.
        block: Images that are stored together, as a compressed chunk is.
        names: Of the images, if the file has them.
        bands: Their names, if the file has them.
        unit: Of the pixels, likewise.
        columns: What else the file knows of each image, shape (count,) each.
    """

    path: Path
    count: int
    shape: tuple[int, int, int]
    array: Any
    first: bool = False
    block: int = 1
    names: tuple[str, ...] = ()
    bands: tuple[str, ...] = ()
    unit: str | None = None
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Images `start` to `stop`, shape (n, ny, nx, bands), in the machine's byte order.

        Raises:
            InputError: They cannot be read; names the file and the images.
        """
        with readable(self.path, f"images {start} to {stop - 1} cannot be read"):
            found = np.asarray(self.array[start:stop])
            if found.ndim == 3:
                found = found[..., None]
            elif self.first:
                found = np.moveaxis(found, 1, -1)
            return found.astype(np.float32)


@contextmanager
def readable(path: Path, seen: str = "cannot be read", expected: str = "a whole file") -> Iterator[None]:
    """Turn what a damaged file makes libraries raise into an InputError of the file."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "File may have been truncated")
            yield
    except InputError:
        raise
    except (*FAULTS, Warning) as error:
        raise InputError(path, "images", f"{seen} ({' '.join(str(error).split())[:200]})", expected) from error


def open_shard(path: Path, dataset: str | None = None, layout: str = "last") -> Shard:
    """Open a file of images; none of them is read.

    Args:
        path: HDF5, Zarr (a folder that ends in .zarr), a .npy file, FITS.
        dataset: Name of the images in HDF5 or Zarr; None is the first of `DATASETS` that is there.
        layout: "last" for (n, ny, nx, bands), "first" for (n, bands, ny, nx). FITS has the bands first.

    Raises:
        InputError: A file that is missing, damaged, of another format or without images, or whose bands come first
            though `layout` says last.
    """
    name = path.name.lower()
    if not path.exists():
        raise InputError(path, "images", "no such file", "stored images")
    with readable(path):
        if name.endswith(HDF5):
            return _grouped(path, h5py.File(path, "r"), h5py.Dataset, dataset, layout)
        if name.endswith(".zarr"):
            zarr = _zarr()
            opened = zarr.open(str(path), mode="r")
            return _grouped(path, opened, zarr.Array, dataset, layout)
        if name.endswith(".npy"):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return Shard(path, len(array), _shape(path, array.shape, layout), array, layout == "first")
        if name.endswith(FITS):
            return _fits(path)
    raise InputError(path, "images", f"a name that ends in {path.suffix!r}",
                     f"one of {', '.join((*HDF5, '.zarr', '.npy', *FITS))}, or a folder of them")


def _zarr() -> Any:
    try:
        return importlib.import_module("zarr")
    except ModuleNotFoundError as error:
        raise InputError("", "images", "Zarr is asked for, and zarr is not installed", "giga[data]") from error


def _shape(path: Path, shape: tuple[int, ...], layout: str) -> tuple[int, int, int]:
    """(ny, nx, bands) of an array of images."""
    if len(shape) not in (3, 4):
        raise InputError(path, "images", f"an array of shape {shape}", "(n, ny, nx, bands) or (n, ny, nx)")
    if len(shape) == 3:
        return shape[1], shape[2], 1
    if layout == "last" and shape[1] <= MANY < shape[3]:
        raise InputError(path, "images", f"an array of shape {shape}, whose bands come first",
                         "(n, ny, nx, bands), or layout = \"first\"")
    if layout == "first" and shape[3] <= MANY < shape[1]:
        raise InputError(path, "images", f"an array of shape {shape}, whose bands come last",
                         "(n, bands, ny, nx), or layout = \"last\"")
    return (shape[2], shape[3], shape[1]) if layout == "first" else (shape[1], shape[2], shape[3])


def _grouped(path: Path, opened: Any, kind: type, dataset: str | None, layout: str) -> Shard:
    """HDF5 or Zarr: named arrays, with attributes."""
    if isinstance(opened, kind):  # one array by itself
        arrays, array = {}, opened
    else:
        arrays = {name: item for name, item in opened.items() if isinstance(item, kind)}
        name = next((one for one in DATASETS if one in arrays), None) if dataset is None else dataset
        if name not in arrays:
            raise InputError(path, "images", f"no array {name or ' or '.join(DATASETS)!r}; it has "
                             f"{', '.join(map(repr, arrays)) or 'none'}", nearest(name or "image", arrays))
        array = arrays[name]
    found: Any = array
    shape = _shape(path, tuple(found.shape), layout)
    count, attributes = found.shape[0], {**dict(getattr(opened, "attrs", {})), **dict(found.attrs)}
    if (missing := _not_written(found)) is not None:
        raise InputError(path, "images", missing, "a whole file")
    columns = {name: np.asarray(item[:]) for name, item in arrays.items()
               if len(item.shape) == 1 and item.shape[0] == count}
    if not isinstance(opened, kind) and "truth" in opened and not isinstance(opened["truth"], kind):
        columns |= {name: np.asarray(item[:]) for name, item in opened["truth"].items() if item.shape == (count,)}
    texts = {name: _texts(values) for name, values in columns.items()}
    names = next((tuple(texts.pop(one).tolist()) for one in NAMES if one in texts), ())
    bands = attributes.get("bands")
    bands = bands.split() if isinstance(bands, str) else [] if bands is None else _texts(np.asarray(bands)).tolist()
    unit = attributes.get("unit", attributes.get("BUNIT"))
    chunks = getattr(found, "shards", None) or found.chunks
    return Shard(path, count, shape, found, layout == "first", chunks[0] if chunks else 1, tuple(map(str, names)),
                 tuple(bands), None if unit is None else _texts(np.asarray(unit)).item(), texts)


def _not_written(array: Any) -> str | None:
    """What is missing of a Zarr array, which reads as zeros where a chunk is not there."""
    if not hasattr(array, "nchunks_initialized"):
        return None
    there, wanted = array.nchunks_initialized, getattr(array, "nchunks", 0)
    shards = getattr(array, "shards", None)
    if shards:
        wanted = int(np.prod([-(-side // shard) for side, shard in zip(array.shape, shards, strict=True)]))
        there = min(there, wanted)
    return f"{wanted - there} of {wanted} chunks are missing" if there < wanted else None


def _texts(values: np.ndarray) -> np.ndarray:
    """Bytes as texts; anything else as it is."""
    if values.dtype.kind in "OS":
        return np.vectorize(lambda one: one.decode() if isinstance(one, bytes) else str(one), otypes=[str])(values)
    return values


def _fits(path: Path) -> Shard:
    """A cube of shape (n, bands, ny, nx) or (n, ny, nx), with a table of what is known; or an HDU an image."""
    hdus: Any = fits.open(path, memmap=not path.name.lower().endswith((".gz", ".fz")))
    images = [hdu for hdu in hdus if hdu.is_image and hdu.shape and hdu.name not in COMPANIONS | DISTORTIONS]
    if not images:
        raise InputError(path, "images", "no image among its HDUs", "a cube, or an HDU an image")
    first = images[0]
    unit = first.header.get("BUNIT")
    if len(first.shape) == 4 or len(images) == 1 and len(first.shape) == 3:
        columns = {}
        for table in (hdu for hdu in hdus if not hdu.is_image and hdu.data is not None):
            found = {name: np.asarray(table.data[name]) for name in table.names}
            columns |= {name: values.astype(values.dtype.newbyteorder("=")) for name, values in found.items()
                        if values.shape == (first.shape[0],)}
        names = next((tuple(map(str, columns.pop(one))) for one in NAMES if one in columns), ())
        return Shard(path, first.shape[0], _shape(path, first.shape, "first"), first.section, True, 1, names,
                     tuple(str(first.header.get("BANDS", "")).split()), unit, columns)
    _ = first.shape if len(first.shape) in (2, 3) else _shape(path, first.shape, "first")
    shapes = {hdu.shape for hdu in images}
    if len(shapes) > 1:
        odd = next(hdu for hdu in images if hdu.shape != first.shape)
        raise InputError(path, "images", f"HDU {odd.name!r} of shape {odd.shape}", f"{first.shape}, as {first.name!r} "
                         "and the others have")
    units = {str(hdu.header.get("BUNIT", "")): hdu.name for hdu in images}
    if len(units) > 1:
        raise InputError(path, "images", "; ".join(f"BUNIT {key!r} in HDU {name!r}" for key, name in units.items()),
                         "one unit for all images")
    shape = first.shape if len(first.shape) == 3 else (1, *first.shape)
    return Shard(path, len(images), (shape[1], shape[2], shape[0]), _Listed(images), True, 1,
                 tuple(hdu.name or str(k) for k, hdu in enumerate(images)),
                 tuple(str(first.header.get("BANDS", "")).split()), unit)


class _Listed:
    """HDUs as one array of shape (n, bands, ny, nx); none is kept once it has been read."""

    def __init__(self, hdus: list[Any]):
        self._hdus = hdus

    def __getitem__(self, rows: slice) -> np.ndarray:
        found = []
        for hdu in self._hdus[rows]:
            data = np.asarray(hdu.section[...], np.float32)
            found.append(data if data.ndim == 3 else data[None])
        return np.stack(found)


class FitsFiles:
    """A folder of FITS files, an image each, as one array of shape (n, bands, ny, nx)."""

    def __init__(self, files: list[Path], shape: tuple[int, int, int]):
        self._files, self._shape = files, shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        found = []
        for file in self._files[rows]:
            data = read_cutout(file)[0]
            if data.shape != (self._shape[2], *self._shape[:2]):
                raise InputError(file, "images", f"an image of shape {data.shape} (bands, ny, nx)",
                                 f"{(self._shape[2], *self._shape[:2])}, as the others")
            found.append(data)
        return np.stack(found)


def read_cutout(file: Path) -> tuple[np.ndarray, Any]:
    """One image of shape (bands, ny, nx), from a cube, a plane, or an HDU a band; and the header of the first HDU.

    Raises:
        InputError: It cannot be read, or has no image.
    """
    with readable(file), open(file, "rb") as opened, fits.open(opened, memmap=False) as hdus:
        images: list[Any] = [hdu for hdu in hdus if hdu.is_image and hdu.shape
                             and hdu.name not in COMPANIONS | DISTORTIONS]
        if not images or len(images[0].shape) not in (2, 3):
            raise InputError(file, "images", "no image of two or three dimensions", "a cutout of one or several bands")
        header = images[0].header
        if len(images[0].shape) == 3:
            return np.asarray(images[0].data, np.float32), header
        return np.stack([np.asarray(hdu.data, np.float32) for hdu in images]), header
    raise AssertionError  # the block returns or raises
