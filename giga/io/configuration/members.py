"""Member galaxies of a cluster, from a potfile of LensTool or from a table of columns."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from giga.io.errors import InputError
from giga.io.lenstool.catalogues import catalogue_of, first_repeated, on_plane, read_potfile
from giga.io.table_file import FORMATS, read_table_file
from giga.mass.members import MAGNITUDES, NO_MAGNITUDE, Catalogue, rows_named

PLACES, SHAPES = (("x", "y"), ("ra", "dec")), (("e1", "e2"), ("q", "pa"))


def read_members(path: Path, reference: tuple[float, float] | None) -> Catalogue:
    """Read the members of a cluster.

    A file whose name ends as a table's (.csv, .ecsv, .fits, .vot) has the columns `x` and `y` [arcsec, x to the west]
    or `ra` and `dec` [deg], `mag`, and of members that are not round `e1` and `e2`, or the axis ratio `q` and the
    position angle `pa` [deg, east of north]. Where there is a column `id`, it tells members apart; further columns are
    passed over. Any other file is a potfile of LensTool.

    Args:
        path: The file.
        reference: Right ascension and declination of the origin [deg]; None is a potfile's own.

    Raises:
        InputError: No such file, columns that are missing or too many, degrees without a reference, numbers that are
            missing, not finite or out of their range, magnitudes that stand for none (of modulus 50 and more), or a
            member that is there twice, by its `id` or by its place; rows are named.
    """
    if path.suffix.lower() not in FORMATS:
        return catalogue_of(read_potfile(path, reference))
    table = read_table_file(path)
    if not len(table):
        raise InputError(path, "", "no rows", "one row a member")
    place = _one_of(path, table, PLACES)
    if place is None:
        raise InputError(path, "x", f"no such column among {', '.join(table.colnames)}", "x and y, or ra and dec")
    x, y = (_column(path, table, name) for name in place)
    if place == ("ra", "dec"):
        if reference is None:
            raise InputError(path, "ra", "places in degrees", "a reference in [cluster], which they are taken from")
        x, y = on_plane(x, y, reference)
    e1, e2 = _shapes(path, table, len(x))
    mag = _column(path, table, "mag")
    if (bad := np.flatnonzero(np.abs(mag) >= NO_MAGNITUDE)).size:
        raise InputError(path, "mag", f"{mag[bad[0]]:g} in {rows_named(bad + 1)}", MAGNITUDES)
    for column, keys in (("id", _names(table)), (" and ".join(place), zip(x.tolist(), y.tolist(), strict=True))):
        if (pair := first_repeated(keys)) is not None:
            raise InputError(path, column, f"the same in {rows_named(np.array(pair[::-1]) + 1)}", "each member once")
    return Catalogue.of(x, y, e1, e2, mag)


def _names(table: Table) -> list[Any]:
    """The cells of a column `id`, where there is one; the number of the row in the place of one that is empty."""
    if "id" not in table.colnames:
        return []
    column = np.ma.asarray(table["id"])
    empty = np.ma.getmaskarray(column)
    return [k if empty[k] or not str(cell).strip() else str(cell).strip() for k, cell in enumerate(column.data)]


def _shapes(path: Path, table: Table, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Components of the ellipticities; position angles turn from north, +y, to east, -x."""
    given = _one_of(path, table, SHAPES)
    if given is None:
        return np.zeros(count), np.zeros(count)
    first, second = (_column(path, table, name) for name in given)
    if given == ("e1", "e2"):
        if (bad := np.flatnonzero(np.hypot(first, second) >= 1.0)).size:
            raise InputError(path, "e1", f"e1^2 + e2^2 of 1 or more in {rows_named(bad + 1)}", "less")
        return first, second
    if (bad := np.flatnonzero(~((first > 0.0) & (first <= 1.0)))).size:
        raise InputError(path, "q", f"{first[bad[0]]:g} in {rows_named(bad + 1)}", "axis ratios above 0, at most 1")
    e, turn = (1.0 - first) / (1.0 + first), np.radians(2.0 * second) + math.pi
    return e * np.cos(turn), e * np.sin(turn)


def _one_of(path: Path, table: Table, choices: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    """The pair of columns that a table has; None for none."""
    found = [pair for pair in choices if any(name in table.colnames for name in pair)]
    if len(found) > 1:
        raise InputError(path, " and ".join(found[1]), f"beside {' and '.join(found[0])}", "one of the two")
    return found[0] if found else None


def _column(path: Path, table: Table, name: str) -> np.ndarray:
    """Numbers of a column, all of them there and finite; rows are counted from 1."""
    if name not in table.colnames:
        raise InputError(path, name, f"no such column among {', '.join(table.colnames)}", "a number for each member")
    column: Any = np.ma.asarray(table[name])
    missing = np.flatnonzero(np.ma.getmaskarray(column) | np.array([str(cell).strip() == "" for cell in column.data]))
    if missing.size:
        raise InputError(path, name, f"missing in {rows_named(missing + 1)}", "a number for each member")
    try:
        values = np.asarray(column.data, float)
    except ValueError:
        text = next(str(cell) for cell in column.data if not _is_number(cell))
        raise InputError(path, name, f"got {text!r}", "a number for each member") from None
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        raise InputError(path, name, f"not finite in {rows_named(bad + 1)}", "a finite number for each member")
    return values


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
