"""Cutouts that are entries of one array: HDF5, Zarr, NumPy, or cubes of FITS; those of a batch are read together."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from astropy.io import fits

from giga.io.errors import InputError
from giga.io.images.companion import check_band
from giga.io.images.cube import Cube
from giga.io.images.hdf5 import is_hdf5
from giga.io.images.hdu import COMPANIONS, opened
from giga.io.pools.base import DEC, NAMES, RA, Pool, Rows, check_names, column, text
from giga.io.pools.files import checked

IMAGES = ("images", "image", "cutouts", "cutout", "data", "x")  # names of arrays of images, the first that is there
LAYOUTS = "(n, ny, nx, bands), (n, bands, ny, nx), or a file (n, ny, nx) for each band"


def stack_pool(paths: Sequence[Path], bands: Sequence[str], dataset: str | None) -> Pool:
    """The entries of an array with all bands, or of one array a band, in the order of the bands.

    Args:
        paths: One file, or one a band.
        bands: Of the network.
        dataset: Name of the array in its file; None takes the one that is there, or one of `IMAGES`.

    Raises:
        InputError: A file that cannot be read, an array of another shape, other bands, bands of different lengths.
    """
    first = paths[0]
    with Stack([str(path) for path in paths], bands, dataset) as stack:
        about = stack.about[0]
        names = about.get(column(about, NAMES) or "")
        stem = first.stem if len(paths) == 1 else first.absolute().parent.name
        rows = Rows.of([f"{stem}_{k:06d}" for k in range(stack.size)] if names is None else
                       [text(one) for one in np.asarray(names[:]).tolist()], str(first), np.arange(stack.size),
                       *(np.nan if (name := column(about, choice)) is None else np.asarray(about[name][:], float)
                         for choice in (RA, DEC)))
    return Pool("stack", tuple(str(path) for path in paths), check_names(rows, first), {"dataset": dataset})


class Stack(ExitStack):
    """Arrays of cutouts that are open within a block.

    Attributes:
        size: Number of cutouts.
        about: Of each file, its arrays of one value a cutout by name, unread, its unit, its FILTER and the names of its
            bands.
    """

    def __init__(self, files: Sequence[str], bands: Sequence[str], dataset: str | None) -> None:
        super().__init__()
        self.files, self.bands = [Path(file) for file in files], tuple(bands)
        try:
            found = [_open(self, path, dataset) for path in self.files]
            self.arrays, self.about = [array for array, _ in found], [about for _, about in found]
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        """See that the arrays are cutouts of the bands."""
        files, bands = self.files, self.bands
        self.layers, self.first = len(files) > 1 or len(bands) == 1 and len(self.arrays[0].shape) == 3, False
        for path, array in zip(self.files, self.arrays, strict=True):
            if len(array.shape) != (3 if self.layers else 4):
                raise InputError(path, "", f"an array of shape {tuple(array.shape)}", LAYOUTS)
            if array.shape != self.arrays[0].shape:
                raise InputError(path, "", f"shape {tuple(array.shape)}", f"{tuple(self.arrays[0].shape)}, as "
                                 f"{self.files[0].name} has")
        shape, n = self.arrays[0].shape, len(bands)
        if self.layers and len(files) != n:
            raise InputError(self.files[0], "", f"{len(files)} files", f"one a band: {', '.join(bands)}")
        if not self.layers:
            if (shape[1] == n) == (shape[3] == n):
                raise InputError(self.files[0], "", f"an array of shape {tuple(shape)}", f"{LAYOUTS}; with {n} bands: "
                                 f"{', '.join(bands)}")
            self.first = shape[1] == n
        self.size = int(shape[0])
        self.order = self._order()

    def _order(self) -> list[int]:
        """Where each band of the network is, by the names that the file has for its own."""
        named = [text(one) for one in np.asarray(self.about[0].get("bands", ())).ravel().tolist()]
        for band, file, about in zip(self.bands, self.files, self.about, strict=True) if self.layers else ():
            check_band(about.get("FILTER", ""), band, self.bands, file, f"band {band}")
        if self.layers or not named:
            return list(range(len(self.bands)))
        if sorted(one.lower() for one in named) != sorted(one.lower() for one in self.bands):
            raise InputError(self.files[0], "bands", ", ".join(named), ", ".join(self.bands))
        return [[one.lower() for one in named].index(band.lower()) for band in self.bands]

    def read(self, index: np.ndarray) -> np.ndarray:
        """Some cutouts, shape (n, ny, nx, bands)."""
        low, high = int(index.min()), int(index.max()) + 1
        near = high - low <= 4 * len(index)  # entries side by side come in one piece
        parts = [np.asarray(array[low:high])[index - low] if near else np.stack([array[k] for k in index])
                 for array in self.arrays]
        if self.layers:
            return np.stack(parts, -1)
        return np.moveaxis(parts[0], 1, -1)[..., self.order] if self.first else parts[0][..., self.order]


class StackReader:
    """Reads cutouts of a stack."""

    def __init__(self, files: Sequence[str], bands: Sequence[str], shape: tuple[int, int], settings: Any) -> None:
        self.made = files, bands, settings["dataset"]

    def read(self, rows: Rows) -> Iterator[Cube | InputError]:
        """Each cutout, or why it cannot be read."""
        with Stack(*self.made) as stack:
            yield from _each(stack, rows)


def _each(stack: Stack, rows: Rows) -> Iterator[Cube | InputError]:
    try:
        images = stack.read(rows.index)
    except (OSError, ValueError, RuntimeError) as error:  # one of them: each is tried alone
        if len(rows) > 1:
            for k in range(len(rows)):
                yield from _each(stack, rows[k:k + 1])
            return
        yield InputError(stack.files[0], f"entry {rows.index[0]}", f"cannot be read ({' '.join(str(error).split())})")
        return
    for image in images:
        try:
            yield checked(Cube(image, fits.Header(), stack.files[0], stack.about[0].get("BUNIT")), stack.bands)
        except InputError as error:
            yield error


def _open(stack: ExitStack, path: Path, dataset: str | None) -> tuple[Any, dict[str, Any]]:
    """An array of a file that is read where it is, and what lies beside it."""
    how: Callable[[ExitStack, Path, str | None], tuple[Any, dict[str, Any]]] = _fits
    if path.suffix == ".npy":
        how = _numpy
    elif path.suffix == ".zarr":
        how = _zarr
    elif path.is_file() and is_hdf5(path):
        how = _hdf5
    if not path.exists():
        raise InputError(path, "", "no such file", "cutouts in FITS, HDF5, Zarr or .npy")
    try:
        return how(stack, path, dataset)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise InputError(path, "", f"cannot be read ({' '.join(str(error).split())[:200]})",
                         "an array of cutouts") from error


def _numpy(stack: ExitStack, path: Path, dataset: str | None) -> tuple[Any, dict[str, Any]]:
    return np.load(path, mmap_mode="r", allow_pickle=False), {}


def _hdf5(stack: ExitStack, path: Path, dataset: str | None) -> tuple[Any, dict[str, Any]]:
    file = stack.enter_context(h5py.File(path))
    found: dict[str, Any] = {}
    file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
    return _chosen(path, found, dict(file.attrs), dataset)


def _zarr(stack: ExitStack, path: Path, dataset: str | None) -> tuple[Any, dict[str, Any]]:
    try:
        zarr = importlib.import_module("zarr")
    except ImportError as error:
        raise InputError(path, "zarr", f"cannot be imported ({error})", "pip install 'giga[search]'") from error
    root = zarr.open(str(path), mode="r")
    if isinstance(root, zarr.Array):
        return root, dict(root.attrs)
    return _chosen(path, dict(root.arrays()), dict(root.attrs), dataset)


def _fits(stack: ExitStack, path: Path, dataset: str | None) -> tuple[Any, dict[str, Any]]:
    with opened(path, "image") as hdus:  # says what is wrong with it
        cubes = {str(hdu.name or k): k for k, hdu in enumerate(hdus)
                 if hdu.is_image and len(hdu.shape) in (3, 4) and hdu.name not in COMPANIONS}
    file: Any = stack.enter_context(fits.open(path, memmap=False))
    chosen, about = _chosen(path, {name: file[number].section for name, number in cubes.items()}, {}, dataset)
    header: Any = next(file[number].header for name, number in cubes.items() if dataset in (None, name))
    return chosen, about | {key: str(header[key]).strip() for key in ("BUNIT", "FILTER") if key in header}


def _chosen(path: Path, arrays: dict[str, Any], attributes: dict[str, Any],
            dataset: str | None) -> tuple[Any, dict[str, Any]]:
    """The array of images among those of a file, and those of one value each beside it."""
    deep = {name: array for name, array in arrays.items() if len(array.shape) in (3, 4)}
    listed = ", ".join(f"{name} {tuple(array.shape)}" for name, array in arrays.items()) or "no array"
    if dataset is not None and dataset not in deep:
        raise InputError(path, "--dataset", f"no array {dataset!r} of three or four dimensions", f"one of: {listed}")
    name = dataset or next((one for one in deep if one.rpartition("/")[2].lower() in IMAGES), None) or (
        next(iter(deep)) if len(deep) == 1 else None)
    if name is None:
        raise InputError(path, "", listed, f"one array of images, or its name as --dataset; {LAYOUTS}")
    own: dict[str, Any] = dict(getattr(deep[name], "attrs", {}))
    unit = next((text(one[key]) for one in (own, attributes) for key in ("BUNIT", "unit", "units") if key in one), None)
    size = deep[name].shape[0]
    about = {one: array for one, array in arrays.items() if tuple(array.shape) == (size,)}
    return deep[name], about | ({"BUNIT": unit} if unit else {}) | {
        "bands": next((one["bands"] for one in (own, attributes) if "bands" in one), ())}
