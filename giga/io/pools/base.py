"""What a search looks at: a table of cutouts, known before any pixel is read, and what reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from giga.io.errors import InputError, nearest
from giga.io.images.cube import Cube
from giga.io.table_file import read_table_file

NAMES = ("name", "names", "id", "object_id", "objectid")  # columns and arrays of names, in any case
RA, DEC = ("ra", "raj2000", "ra_icrs", "alpha_j2000"), ("dec", "de", "dej2000", "de_icrs", "delta_j2000")


@dataclass(frozen=True)
class Rows:
    """Cutouts of a pool, arrays of one length.

    Attributes:
        name: Of each, different from all others.
        file: Where it is.
        index: Its place in the file: entry, HDU or flat pixel; -1 where the file is the cutout or the sky says it.
        ra, dec: Of its middle, ICRS [deg]; NaN where not known.
    """

    name: np.ndarray
    file: np.ndarray
    index: np.ndarray
    ra: np.ndarray
    dec: np.ndarray

    def __len__(self) -> int:
        return len(self.name)

    def __getitem__(self, part: slice) -> Rows:
        return Rows(*(values[part] for values in vars(self).values()))

    @staticmethod
    def of(names: Sequence[str], file: str | Sequence[str], index: Any = -1, ra: Any = np.nan,
           dec: Any = np.nan) -> Rows:
        """Rows from what is known; single values hold for all."""
        n = len(names)
        return Rows(np.asarray(names, object), np.full(n, file, object) if isinstance(file, str)
                    else np.asarray(file, object), np.broadcast_to(np.asarray(index, np.int64), n),
                    np.broadcast_to(np.asarray(ra, float), n), np.broadcast_to(np.asarray(dec, float), n))


@dataclass(frozen=True)
class Pool:
    """A pool, as far as it is known without its pixels.

    Attributes:
        kind: Key of `giga.io.pools.READERS`.
        files: Those that hold it, or its folder.
        rows: Its cutouts.
        settings: What its reader takes beside.
    """

    kind: str
    files: tuple[str, ...]
    rows: Rows
    settings: Mapping[str, Any] = field(default_factory=dict)


class Reader(Protocol):
    """Reads cutouts of a pool; one process has one."""

    def read(self, rows: Rows) -> Iterator[Cube | InputError]:
        """Each cutout, its bands in the order of the network's; or why it cannot be read."""
        ...


def check_names(rows: Rows, where: str | Path) -> Rows:
    """Refuse names that are empty or there twice; and no rows at all. Raises InputError."""
    if not len(rows):
        raise InputError(where, "", "no cutout", "at least one")
    names = rows.name.tolist()
    if len(set(names)) < len(names):
        name, times = Counter(names).most_common(1)[0]
        first, second = [k + 1 for k, one in enumerate(names) if one == name][:2]
        raise InputError(where, "name", f"{name!r} {times} times, first in rows {first} and {second}",
                         "a name of its own for each cutout")
    if "" in names:
        raise InputError(where, "name", f"empty in row {names.index('') + 1}", "a name for each cutout")
    return rows


def column(table: Any, names: Sequence[str]) -> str | None:
    """The column of a table, or array of a file, that has one of some names, in any case."""
    known = {str(name).lower(): str(name) for name in table}
    return next((known[name] for name in names if name in known), None)


def read_positions(file: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names and positions [deg] of a table; rows without a name are numbered.

    Raises:
        InputError: No such table, no columns of positions, or ones that are no numbers or no places on the sky.
    """
    table = read_table_file(file)
    found = [column(table.colnames, names) for names in (RA, DEC)]
    for wanted, name in zip(("ra", "dec"), found, strict=True):
        if name is None:
            raise InputError(file, wanted, "no such column", nearest(wanted, table.colnames) + ", in degrees")
    values = []
    for name, low, high in zip(found, (0.0, -90.0), (360.0, 90.0), strict=True):
        cells: Any = table[name]
        try:
            each = np.asarray(np.ma.filled(np.ma.asarray(cells, dtype=float), np.nan))
        except (TypeError, ValueError) as error:
            raise InputError(file, str(name), f"not a number ({error})", "degrees") from error
        wrong = np.flatnonzero(~((each >= low) & (each <= high)))
        if len(wrong):
            raise InputError(file, f"{name}, row {wrong[0] + 1}", f"got {each[wrong[0]]:g}",
                             f"degrees from {low:g} to {high:g}")
        values.append(each)
    name = column(table.colnames, NAMES)
    names = [f"{k + 1:06d}" for k in range(len(table))] if name is None else [
        text(one) for one in np.asarray(table[name]).tolist()]
    return names, values[0], values[1]


def text(value: Any) -> str:
    """A name as a text, whichever kind a file has it in."""
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).strip()
