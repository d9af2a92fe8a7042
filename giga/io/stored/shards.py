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
from giga.io.images.hdu import COMPANIONS, DISTORTIONS, SUFFIXES, is_fits

DATASETS = ("image", "images", "cutouts", "data", "x")  # names that images are known by, the first that is there
NAMES = ("name", "names", "id", "ids")  # of what tells one image from another
MANY = 16  # bands; a side is longer
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
        pixel_scale: Side of a pixel [arcsec], likewise.
        kernels: PSFs at the pixel scale, an array of shape (count or 1, bands, k, k), if HDF5 or Zarr has one, `psf`.
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
    pixel_scale: float | None = None
    kernels: Any = None

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
        if is_fits(name):
            return _fits(path)
    raise InputError(path, "images", f"a name that ends in {path.suffix!r}",
                     f"one of {', '.join((*HDF5, '.zarr', '.npy', *SUFFIXES))}, or a folder of them")


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
        arrays = _arrays(opened, kind)
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
        columns |= {name: np.asarray(item[:]) for name, item in _arrays(opened["truth"], kind).items()
                    if item.shape == (count,)}
    texts = {name: _texts(values) for name, values in columns.items()}
    names = next((tuple(texts.pop(one).tolist()) for one in NAMES if one in texts), ())
    bands = attributes.get("bands")
    bands = bands.split() if isinstance(bands, str) else [] if bands is None else _texts(np.asarray(bands)).tolist()
    unit = attributes.get("unit", attributes.get("BUNIT"))
    chunks, scale = getattr(found, "shards", None) or found.chunks, attributes.get("pixel_scale", attributes.get(
        "pixscale"))
    return Shard(path, count, shape, found, layout == "first", chunks[0] if chunks else 1, tuple(map(str, names)),
                 tuple(bands), None if unit is None else _texts(np.asarray(unit)).item(), texts,
                 None if scale is None else float(np.asarray(scale)), arrays.get("psf"))


def _arrays(group: Any, kind: type) -> dict[str, Any]:
    """Arrays of a group by name."""
    return {name: item for name in group if isinstance(item := group[name], kind)}


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
    with open(path, "rb") as file, fits.open(file, memmap=False, lazy_load_hdus=True) as hdus:
        images = _image_hdus(hdus)
        if not images:
            raise InputError(path, "images", "no image among its HDUs", "a cube, or an HDU an image")
        header, shape, unit = images[0].header, images[0].shape, images[0].header.get("BUNIT")
        bands = tuple(str(header.get("BANDS", "")).split())
        if len(shape) == 4 or len(images) == 1 and len(shape) == 3:
            columns = {}
            tables: list[Any] = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
            for table in tables:
                found = {name: np.array(table.data[name]) for name in table.columns.names}
                columns |= {name: values.astype(values.dtype.newbyteorder("=")) for name, values in found.items()
                            if values.shape == shape[:1]}
            names = next((tuple(map(str, columns.pop(one))) for one in NAMES if one in columns), ())
            array, block = _pieces(path, images[:1], shape[1:], shape[0])
            return Shard(path, shape[0], _shape(path, shape, "first"), array, True, block, names, bands, unit, columns)
        if len(shape) not in (2, 3):
            raise InputError(path, "images", f"an image of shape {shape}", "two, three or four dimensions")
        odd = next((hdu for hdu in images if hdu.shape != shape), None)
        if odd is not None:
            raise InputError(path, "images", f"HDU {odd.name!r} of shape {odd.shape}", f"{shape}, as "
                             f"{images[0].name!r} has")
        other = next((hdu for hdu in images if hdu.header.get("BUNIT") != unit), None)
        if other is not None:
            raise InputError(path, "images", f"BUNIT {other.header.get('BUNIT')!r} in HDU {other.name!r}",
                             f"{unit!r}, as {images[0].name!r} has")
        names = tuple(str(hdu.header.get("EXTNAME", k)) for k, hdu in enumerate(images))
        planes = shape if len(shape) == 3 else (1, *shape)
        array, block = _pieces(path, images, planes, len(images))
        return Shard(path, len(images), (planes[1], planes[2], planes[0]), array, True, block, names, bands, unit)


def _image_hdus(hdus: Any) -> list[Any]:
    """HDUs that are images, and not what goes with one."""
    return [hdu for hdu in hdus if hdu.is_image and hdu.shape and hdu.name not in COMPANIONS | DISTORTIONS]


def is_stack(file: Path) -> bool:
    """Whether the first image of a FITS file has four dimensions: those of many images. Raises InputError."""
    with readable(file), open(file, "rb") as opened, fits.open(opened, memmap=False, lazy_load_hdus=True) as hdus:
        images = _image_hdus(hdus)
        return bool(images) and len(images[0].shape) == 4
    raise AssertionError  # the block returns or raises


def _pieces(path: Path, hdus: list[Any], shape: tuple[int, ...], count: int) -> tuple[Any, int]:
    """The images of some HDUs as one array, and how many are read at once: all of a compressed file."""
    plain = all(type(hdu) in (fits.PrimaryHDU, fits.ImageHDU) for hdu in hdus)
    if not plain or path.name.lower().endswith((".gz", ".fz")):
        return _Unpacked(path, shape), count
    size, each = abs(hdus[0].header["BITPIX"]) // 8, count // len(hdus)
    starts = np.array([hdu.fileinfo()["datLoc"] for hdu in hdus])
    offsets = (starts[:, None] + np.arange(each) * int(np.prod(shape)) * size).ravel()
    ends, length = offsets[-1] + int(np.prod(shape)) * size, path.stat().st_size
    if ends > length:
        raise ValueError(f"{length} bytes, of at least {ends} that its headers tell")
    header = hdus[0].header
    kind = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}[header["BITPIX"]]
    return _Pieces(path, offsets, kind, shape, header.get("BSCALE", 1.0), header.get("BZERO", 0.0)), 1


@dataclass(frozen=True, eq=False)
class _Pieces:
    """Images at places of a file, as one array of shape (n, ...); the file is open only while it is read."""

    path: Path
    offsets: np.ndarray
    kind: str
    shape: tuple[int, ...]
    scale: float
    zero: float

    def __getitem__(self, rows: slice) -> np.ndarray:
        count, found = int(np.prod(self.shape)), []
        with open(self.path, "rb") as file:
            for offset in self.offsets[rows]:
                file.seek(offset)
                found.append(np.frombuffer(file.read(count * np.dtype(self.kind).itemsize), self.kind, count))
        images = np.stack(found).reshape(-1, *self.shape).astype(np.float32)
        return images if (self.scale, self.zero) == (1.0, 0.0) else images * self.scale + self.zero


@dataclass(frozen=True, eq=False)
class _Unpacked:
    """Images of a compressed file, which is read as a whole."""

    path: Path
    shape: tuple[int, ...]

    def __getitem__(self, rows: slice) -> np.ndarray:
        with open(self.path, "rb") as file, fits.open(file, memmap=False) as hdus:
            images = _image_hdus(hdus)
            images = images[:1] if len(images[0].shape) > 3 else images
            return np.concatenate([np.asarray(hdu.data, np.float32).reshape(-1, *self.shape) for hdu in images])[rows]


class FitsFiles:
    """A folder of FITS files, an image each, as one array of shape (n, bands, ny, nx)."""

    def __init__(self, files: list[Path], shape: tuple[int, int, int], names: tuple[str, ...] = ()):
        self.files, self._shape, self._names = files, shape, names

    def __getitem__(self, rows: slice) -> np.ndarray:
        found = []
        for file in self.files[rows]:
            data, _, names = read_cutout(file)
            if names != self._names and sorted(names) == sorted(self._names):
                raise InputError(file, "images", f"HDUs in the order {', '.join(names)}",
                                 f"{', '.join(self._names)}, as the others")
            if data.shape != (self._shape[2], *self._shape[:2]):
                raise InputError(file, "images", f"an image of shape {data.shape} (bands, ny, nx)",
                                 f"{(self._shape[2], *self._shape[:2])}, as the others")
            found.append(data)
        return np.stack(found)


def read_cutout(file: Path) -> tuple[np.ndarray, Any, tuple[str, ...]]:
    """One image of shape (bands, ny, nx), from a cube, a plane, or an HDU a band; the first header; names of the HDUs.

    Raises:
        InputError: It cannot be read, or has no image.
    """
    with readable(file), open(file, "rb") as opened, fits.open(opened, memmap=False) as hdus:
        images = _image_hdus(hdus)
        if not images or len(images[0].shape) not in (2, 3):
            raise InputError(file, "images", "no image of two or three dimensions", "a cutout of one or several bands")
        header = images[0].header
        if len(images[0].shape) == 3:
            return np.asarray(images[0].data, np.float32), header, ()
        return (np.stack([np.asarray(hdu.data, np.float32) for hdu in images]), header,
                tuple(str(hdu.name) for hdu in images))
    raise AssertionError  # the block returns or raises
