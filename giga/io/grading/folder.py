"""What lies in a folder to be graded: candidates with a catalogue, plain cutouts, or the fits of a fleet."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from astropy.table import Table

from giga.io.errors import InputError
from giga.io.images.hdu import is_fits, stem
from giga.io.table_file import FORMATS, read_table_file
from giga.search.grading.questions import CANDIDATES, MODELS, Scheme
from giga.search.grading.records import SIMULATION, Item

VERSION = "1"  # of candidate folders
CATALOGUES = ("candidates", "catalogue", "catalog")
NEEDED = ("name", "cutout")
DATABASE = "grading.sqlite"
TRUTHS = {"1": "lens", "true": "lens", "lens": "lens", "0": "no lens", "false": "no lens", "no lens": "no lens",
          "nonlens": "no lens", "a": "A", "b": "B", "c": "C", "x": "X"}


@dataclass(frozen=True)
class Graded:
    """One thing to grade, and its files.

    Attributes:
        item: As the votes know it.
        files: Of a candidate its cutouts, the first as the search has seen it; of a model its folder.
        row: Of the catalogue, by column; empty without one.
    """

    item: Item
    files: tuple[Path, ...]
    row: dict[str, Any]


@dataclass(frozen=True)
class Folder:
    """A folder that can be graded.

    Attributes:
        path: Where it is; its votes lie in it as `DATABASE`.
        scheme: Questions.
        graded: In the order of the catalogue, or of the names.
    """

    path: Path
    scheme: Scheme
    graded: tuple[Graded, ...]

    @property
    def database(self) -> Path:
        """The file of the votes."""
        return self.path / DATABASE


def read_folder(path: Path) -> Folder:
    """Find what is to be graded in a folder.

    A folder that `giga fit-many` filled holds models. One with a catalogue candidates.fits (or .ecsv, .csv, .vot)
    holds candidates: its columns are `name` and `cutout`, a path relative to the folder, and `ra`, `dec` and `score` if
    they are known. Any other holds cutouts, one a FITS file. Files NAME.OTHER.fits beside a cutout NAME.fits are
    further views of the same candidate.

    Raises:
        InputError: No such folder, nothing to grade in it, a catalogue of another version or without its columns, a
            name that is there twice, a cutout that lies outside.
    """
    if not path.is_dir():
        raise InputError(path, "", "is a file" if path.exists() else "no such folder",
                         "a folder of candidates or models")
    if (path / "lenses").is_dir():
        return Folder(path, MODELS, tuple(_models(path)))
    catalogue = next((path / f"{name}{suffix}" for name in CATALOGUES for suffix in FORMATS
                      if (path / f"{name}{suffix}").is_file()), None)
    graded = tuple(_plain(path) if catalogue is None else _listed(path, catalogue))
    if not graded:
        raise InputError(catalogue or path, "", "nothing to grade", "a catalogue with rows, FITS cutouts, or a fleet")
    return Folder(path, CANDIDATES, graded)


def read_simulations(path: Path) -> tuple[Graded, ...]:
    """Candidates of which the truth is known, to insert: as `read_folder`, with a column `truth` or `label`.

    The truth is a grade, or 1 and 0 for a lens and none. Without the column all are lenses.

    Raises:
        InputError: What `read_folder` raises, or a truth that is none.
    """
    folder = read_folder(path)
    if folder.scheme is not CANDIDATES:
        raise InputError(path, "--simulations", "a fleet", "a folder of simulated cutouts")
    truths = [truth_of(path, k, one) or "lens" for k, one in enumerate(folder.graded)]
    return tuple(Graded(Item(one.item.name, SIMULATION, one.item.mark, truth), one.files, one.row)
                 for one, truth in zip(folder.graded, truths, strict=True))


def truth_of(path: Path, number: int, one: Graded) -> str | None:
    """The truth of a candidate by the column `truth` or `label`: "lens", "no lens" or a grade; None without them.

    Args:
        path: The folder, for messages.
        number: Of the row, from 0.
        one: The candidate.

    Raises:
        InputError: A truth that is none.
    """
    said = one.row.get("truth", one.row.get("label"))
    if said is None:
        return None
    if (known := _text(said).lower()) not in TRUTHS:
        raise InputError(path, f"row {number + 1} ({one.item.name}): truth", f"got {known!r}",
                         "1 or 0, lens or no lens, or a grade A, B, C, X")
    return TRUTHS[known]


def _models(path: Path) -> Iterable[Graded]:
    for folder in sorted(one for one in (path / "lenses").iterdir() if one.is_dir()):
        if (folder / "fit.png").is_file() or (folder / "model.fits").is_file():
            yield Graded(Item(folder.name, "model", ""), (folder,), {"name": folder.name})


def _plain(path: Path) -> Iterable[Graded]:
    for name, files in sorted(_by_name(path).items()):
        yield _graded(name, files, {"name": name})


def _by_name(folder: Path) -> dict[str, list[Path]]:
    """FITS files of a folder by what their names begin with; NAME.fits comes before NAME.OTHER.fits."""
    found: dict[str, list[Path]] = defaultdict(list)
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if is_fits(entry.name)
                       and not entry.name.startswith("."))
    bare = {stem(name): name for name in names}
    for one, name in sorted(bare.items(), key=lambda pair: len(pair[0])):
        whose = next((one[:k] for k in range(1, len(one)) if one[k] == "." and one[:k] in bare), one)
        found[whose].append(folder / name)
    return found


def _listed(path: Path, catalogue: Path) -> Iterable[Graded]:
    table: Any = read_table_file(catalogue)
    check_version(catalogue, table)
    for column in NEEDED:
        if column not in table.colnames:
            raise InputError(catalogue, f"column {column!r}", f"columns {', '.join(map(str, table.colnames))}",
                             "name, ra, dec, score, cutout")
    columns: dict[str, list] = {str(name): table[name].tolist() for name in table.colnames
                                if np.ndim(table[name]) == 1}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    beside: dict[Path, dict[str, list[Path]]] = {}
    seen: dict[str, int] = {}
    for k, row in enumerate(rows, start=1):
        name, cutout = (_text(row[column]) for column in NEEDED)
        if not name or name in seen:
            raise InputError(catalogue, f"row {k}: name", f"got {name!r}" + (f", as in row {seen[name]}" if name else
                                                                             ""), "a name of its own")
        seen[name] = k
        place = PurePath(cutout)
        if not cutout or place.is_absolute() or ".." in place.parts:
            raise InputError(catalogue, f"row {k} ({name}): cutout", f"got {cutout!r}", "a path within the folder")
        file = path / place
        if file.parent not in beside:
            beside[file.parent] = _by_name(file.parent) if file.parent.is_dir() else {}
        others = [one for one in beside[file.parent].get(stem(file.name), ()) if one != file]
        yield _graded(name, [file, *others], row)


def check_version(file: Path, table: Table) -> None:
    """Refuse a catalogue that says it is of another version. Raises InputError."""
    meta = {str(key).lower(): value for key, value in (table.meta or {}).items()}
    found = str(meta.get("version", VERSION)).strip()
    if found != VERSION:
        raise InputError(file, "version", f"got {found!r}", f"{VERSION!r}: candidates of this version of giga")


def _graded(name: str, files: list[Path], row: dict[str, Any]) -> Graded:
    """A candidate, known again by its place on the sky, or by its file."""
    try:
        mark = f"{float(row['ra']):.6f} {float(row['dec']):+.6f}"
    except (KeyError, TypeError, ValueError):
        mark = files[0].name
    return Graded(Item(name, "candidate", mark), tuple(files), row)


def _text(value: Any) -> str:
    return (value.decode() if isinstance(value, bytes) else "" if value is None else str(value)).strip()
