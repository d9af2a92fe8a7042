"""Many files of images as one array that is never held: shards, blocks, and the size that a network wants."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from giga.io.errors import InputError
from giga.io.images.hdu import SUFFIXES, is_fits, stem
from giga.io.images.units import power_of
from giga.io.stored.shards import HDF5, FitsFiles, Shard, is_stack, open_shard, read_cutout, readable
from giga.runtime.identity import identity_of

SIZES = ("refuse", "crop", "pad", "resize")
LOOKED_AT = 16  # images whose pixels are part of the identity of a stack
HOLD = 256  # bytes of blocks that are held, in millions
SHARDS = (*HDF5, ".zarr", ".npy")


@dataclass(frozen=True, eq=False)
class Stack:
    """Images of several shards, as `giga.models.training.source.Images`.

    Attributes:
        shards: Whose images follow each other, of one shape, unit and order of bands.
        shape: (ny, nx, bands) that they are read as.
        size: What is done with images of another size: "crop" cuts their middle, "pad" puts zeros around them,
            "resize" shares out their light among pixels of another side, whose sum it keeps.
        hold: Bytes of blocks that are held at most.
        notes: What the user should know: files that are damaged.
    """

    shards: tuple[Shard, ...]
    shape: tuple[int, int, int]
    size: str = "refuse"
    hold: int = HOLD * 10**6
    notes: tuple[str, ...] = ()
    counted: dict[str, int] = field(default_factory=lambda: {"read": 0, "held": 0, "most_held": 0})
    """Bytes that were read from files, that are held now, and that were held at most."""
    _held: OrderedDict[tuple[int, int], np.ndarray] = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        return int(self._ends[-1])

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([shard.count for shard in self.shards])

    @property
    def blocks(self) -> np.ndarray | None:
        """Block of each image; None where every image is read alone."""
        return self._blocks

    @cached_property
    def _blocks(self) -> np.ndarray | None:
        if all(shard.block == 1 for shard in self.shards):
            return None
        numbers, first = [], 0
        for shard in self.shards:
            numbers.append(first + np.arange(shard.count) // shard.block)
            first += -(-shard.count // shard.block)
        return np.concatenate(numbers)

    @property
    def window(self) -> int:
        """Blocks that may be mixed: half of those that are held, so that one window can follow another."""
        largest = max(shard.block for shard in self.shards) * int(np.prod(self.shape)) * 4
        return max(1, self.hold // (2 * largest))

    @property
    def identity(self) -> str:
        """Hash of names and sizes of the files, of the shape, and of the pixels of some images, evenly spaced."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        rows = np.unique(np.linspace(0, len(self) - 1, min(LOOKED_AT, len(self))).astype(int))
        files = [(shard.path.name, shard.count, _bytes(shard.path)) for shard in self.shards]
        return identity_of("stack", files, self.shape, self.size,
                           hashlib.sha256(np.ascontiguousarray(self.read(rows)).tobytes()).hexdigest())

    @property
    def names(self) -> tuple[str, ...]:
        """Of all images; empty if some shard has none."""
        if any(not shard.names for shard in self.shards):
            return ()
        return tuple(name for shard in self.shards for name in shard.names)

    def columns(self) -> dict[str, np.ndarray]:
        """What all shards know of their images, shape (n,) each."""
        common = set.intersection(*(set(shard.columns) for shard in self.shards))
        return {name: np.concatenate([shard.columns[name] for shard in self.shards]) for name in sorted(common)}

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Images by their numbers, float32, shape (n, ny, nx, bands).

        Raises:
            InputError: Some cannot be read, or are not finite; names the file and the images.
        """
        out = np.empty((len(rows), *self.shape), np.float32)
        of_shard = np.searchsorted(self._ends, rows, side="right")
        with self._lock:  # a training and its validation read in threads of their own
            for place in np.argsort(rows, kind="stable"):
                number = int(of_shard[place])
                shard = self.shards[number]
                within = int(rows[place] - (self._ends[number] - shard.count))
                out[place] = self._block(number, within // shard.block)[within % shard.block]
        return out

    def _block(self, number: int, block: int) -> np.ndarray:
        """A block of a shard, read if it is not held."""
        shard, at = self.shards[number], (number, block)
        if at in self._held:
            self._held.move_to_end(at)
            return self._held[at]
        start, stop = block * shard.block, min((block + 1) * shard.block, shard.count)
        images = shard.read(start, stop)
        self.counted["read"] += images.nbytes
        bad = ~np.isfinite(images).all(axis=(1, 2, 3))
        if bad.any():
            row = start + int(np.argmax(bad))
            raise InputError(shard.path, "images", f"{bad.sum()} images are not finite, the first is image {row}"
                             + (f" ({shard.names[row]})" if shard.names else ""), "finite numbers; fill or leave out")
        images = sized(images, self.shape[:2], self.size)
        if shard.block > 1:
            self._held[at] = images
            self.counted["held"] += images.nbytes
            while self.counted["held"] > self.hold and len(self._held) > 1:
                self.counted["held"] -= self._held.popitem(last=False)[1].nbytes
            self.counted["most_held"] = max(self.counted["most_held"], self.counted["held"])
        return images


def open_stack(paths: str | Path | Sequence[str | Path], *, dataset: str | None = None, layout: str = "last",
               shape: tuple[int, int] | None = None, size: str = "refuse", bands: Sequence[str] = (),
               unit: str | None = None, hold_mb: float = HOLD) -> Stack:
    """Open stored images; a damaged file among several is left out, and named in the notes.

    Args:
        paths: A file, a folder of files, or several. A folder holds shards (HDF5, Zarr, NumPy, FITS cubes), or FITS
            files of one image each.
        dataset, layout: See `giga.io.stored.shards.open_shard`.
        shape: (ny, nx) that is wanted; None is that of the images.
        size: What to do with images of another: see `Stack`; "refuse" raises an error.
        bands: Names of the bands, in the order that is wanted; empty takes those of the file.
        unit: Of the pixels; None takes that of the first file.
        hold_mb: Most memory for what is stored in blocks [MB].

    Raises:
        InputError: No image, all files damaged, another size, order of bands or unit.
    """
    if size not in SIZES:
        raise InputError("", "size", f"got {size!r}", f"one of {', '.join(SIZES)}")
    if layout not in ("last", "first"):
        raise InputError("", "layout", f"got {layout!r}", "last or first")
    several = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    shards, notes = [], []
    for path in several:
        found, said = _folder(path, dataset, layout) if path.is_dir() and path.suffix != ".zarr" else (
            _opened([path], dataset, layout))
        shards += found
        notes += said
    if not shards:
        more = f", and {len(notes) - 1} more files are damaged" if len(notes) > 1 else ""
        raise InputError(several[0], "images", f"no file that can be read: {notes[0]}{more}" if notes else "no image",
                         "stored images")
    _check_alike(shards, bands, unit)
    ny, nx, count = shards[0].shape
    wanted: tuple[int, int] = (ny, nx) if shape is None else (shape[0], shape[1])
    for shard in shards:
        if shard.shape[2] != count or (shard.shape[:2] != wanted and not _fits_in(shard.shape, wanted, size)):
            raise InputError(shard.path, "images", f"images of {shard.shape[0]} x {shard.shape[1]} pixels in "
                             f"{shard.shape[2]} bands", f"{wanted[0]} x {wanted[1]} in {count}, or a size that says "
                             "what to do with others: crop, pad or resize")
    return Stack(tuple(shards), (wanted[0], wanted[1], count), size, int(hold_mb * 1e6), tuple(notes))


def _fits_in(shape: tuple[int, ...], wanted: tuple[int, int], size: str) -> bool:
    larger = shape[0] >= wanted[0] and shape[1] >= wanted[1]
    smaller = shape[0] <= wanted[0] and shape[1] <= wanted[1]
    return size == "resize" or size == "crop" and larger or size == "pad" and smaller


def _folder(folder: Path, dataset: str | None, layout: str) -> tuple[list[Shard], list[str]]:
    """Shards of a folder, or its cutouts as one."""
    files = sorted(path for path in folder.iterdir() if path.name.lower().endswith((*SHARDS, *SUFFIXES)))
    shards = [path for path in files if path.name.lower().endswith(SHARDS)]
    images = [path for path in files if is_fits(path.name)]
    if shards and images:
        raise InputError(folder, "images", f"{shards[0].name} beside {images[0].name}", "one format in a folder")
    if not files:
        raise InputError(folder, "images", "no stored images in the folder",
                         f"files named *{', *'.join((*SHARDS, *SUFFIXES))}")
    return _opened(shards, dataset, layout) if shards else _cutouts(folder, images)


def _opened(paths: list[Path], dataset: str | None, layout: str) -> tuple[list[Shard], list[str]]:
    shards, notes = [], []
    for path in paths:
        try:
            shards.append(open_shard(path, dataset, layout))
        except InputError as error:
            if not error.expected.startswith("a whole file"):
                raise
            notes.append(f"{path}: left out: {error.seen}")
    return shards, notes


def _cutouts(folder: Path, files: list[Path]) -> tuple[list[Shard], list[str]]:
    """FITS files of one image each; or cubes of many, each a shard."""
    whole, notes = [], []
    for file in files:
        size = file.stat().st_size
        if not size or size % 2880 and not file.name.lower().endswith((".gz", ".fz")):
            notes.append(f"{file}: left out: {size} bytes, no whole number of blocks of 2880: cut short")
        else:
            whole.append(file)
    if not whole:
        return [], notes
    if is_stack(whole[0]):
        found, said = _opened(whole, None, "last")
        return found, notes + said
    image, header, names = read_cutout(whole[0])
    for file in whole[1:]:
        with readable(file):
            unit = _unit_of(file)
        if power_of(unit, header.get("BUNIT")) not in (None, 1.0):
            raise InputError(file, "images", f"BUNIT {unit!r}", f"{header.get('BUNIT')!r}, as {whole[0].name} has")
    named = len(set(names)) == len(names) > 1 and not set(names) & {"", "PRIMARY"}
    bands = tuple(str(header.get("BANDS", "")).split()) or (names if named else ())
    shape = (image.shape[1], image.shape[2], image.shape[0])
    return [Shard(folder, len(whole), shape, FitsFiles(whole, shape, names), True, 1,
                  tuple(stem(file.name) for file in whole), bands, header.get("BUNIT"))], notes


def _unit_of(file: Path) -> str | None:
    """BUNIT in the first header of a file that has one, by its cards; nothing else is read."""
    with open(file, "rb") as opened:
        for _ in range(32):
            block = opened.read(2880)
            cards = [block[k:k + 80] for k in range(0, len(block), 80)]
            for card in cards:
                if card.startswith(b"BUNIT   ="):
                    return card[10:].split(b"/ ")[0].decode("ascii", "replace").strip().strip("'").strip()
            if not block or any(card.startswith(b"END     ") for card in cards):
                return None
    return None


def _check_alike(shards: list[Shard], bands: Sequence[str], unit: str | None) -> None:
    """Refuse files of other units or other bands than those wanted, or than the first's."""
    first = shards[0]
    for shard in shards:
        wanted = tuple(bands) or first.bands
        if wanted and shard.shape[2] != len(wanted):
            raise InputError(shard.path, "images", f"{shard.shape[2]} bands", f"{len(wanted)}: {', '.join(wanted)}")
        if wanted and shard.bands and [one.lower() for one in shard.bands] != [one.lower() for one in wanted]:
            raise InputError(shard.path, "images", f"bands in the order {', '.join(shard.bands)}", ", ".join(wanted))
        asked = first.unit if unit is None else unit
        if power_of(shard.unit, asked) not in (None, 1.0):
            raise InputError(shard.path, "images", f"pixels in {shard.unit!r}", f"{asked!r}")


def sized(images: np.ndarray, shape: tuple[int, int], how: str) -> np.ndarray:
    """Images of another size, shape (n, ny, nx, bands): cut, padded, or resampled, see `Stack`.

    Args:
        images: Shape (n, ny', nx', bands).
        shape: (ny, nx).
        how: "crop", "pad" or "resize"; nothing else happens to images of that size already.
    """
    if images.shape[1:3] == shape:
        return images
    if how == "resize":
        rows, columns = (_overlaps(old, new) for old, new in zip(images.shape[1:3], shape, strict=True))
        return np.einsum("ai,nijc,bj->nabc", rows, images, columns, optimize=True)
    for axis, (old, new) in enumerate(zip(images.shape[1:3], shape, strict=True), 1):
        if old > new:
            images = np.take(images, np.arange((old - new) // 2, (old - new) // 2 + new), axis)
        elif old < new:
            edges = [(0, 0)] * 4
            edges[axis] = ((new - old) // 2, new - old - (new - old) // 2)
            images = np.pad(images, edges)
    return images


def _overlaps(old: int, new: int) -> np.ndarray:
    """Share of each of `old` pixels that lies in each of `new`, shape (new, old); columns sum to one."""
    edges = np.arange(new + 1) * (old / new)
    low, high = np.maximum(edges[:-1, None], np.arange(old)), np.minimum(edges[1:, None], np.arange(1, old + 1))
    return np.maximum(high - low, 0.0).astype(np.float32)


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)
