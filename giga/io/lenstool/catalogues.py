"""LensTool's catalogues, of members (potfiles) and of multiple images (arcs).

Positions are in arcsec from the reference, x to the west and y to the north, as on a picture with north up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.io.lenstool.par import lines_of, text_of
from giga.mass.members import BRIGHTEST, MAGNITUDES, NO_MAGNITUDE, Catalogue, rows_named


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a catalogue of members or of images.

    Attributes:
        names: Their names.
        x, y: Positions from the reference [arcsec].
        a, b: Semi-axes, in any unit.
        theta: Position angle [deg].
        z: Redshift of images, 0 where it is not known; of members the eighth column.
        mag: Magnitude.
        lines: Numbers of the lines.
        file: Where they are from.
    """

    names: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    b: np.ndarray
    theta: np.ndarray
    z: np.ndarray
    mag: np.ndarray
    lines: tuple[int, ...]
    file: Path


def read_potfile(path: str | PathLike[str], reference: tuple[float, float] | None = None) -> Table:
    """Read a catalogue of members: name, place, semi-axes, angle, magnitude, luminosity.

    Args:
        path: The file. Its line #REFERENCE tells whether places are in degrees (0) or in arcsec from a place (3);
            without one they are in degrees.
        reference: Right ascension and declination that positions are wanted from [deg]; None is the file's own.

    Raises:
        InputError: Rows that are too short, not numbers, or not finite; lines are named.
    """
    return _table(Path(path), reference, 7, mag=6, z=7)


def read_images(path: str | PathLike[str], reference: tuple[float, float] | None = None) -> Table:
    """Read a catalogue of multiple images: name, place, semi-axes, angle, redshift, magnitude; see `read_potfile`."""
    return _table(Path(path), reference, 7, mag=7, z=6)


def _table(path: Path, reference: tuple[float, float] | None, least: int, mag: int, z: int) -> Table:
    own, absolute = _reference(path)
    names, numbers, lines = [], [], []
    for line, words in lines_of(path):
        try:
            values = [float(word) for word in words[1:8]]
        except ValueError:
            values = []
        if len(values) < least - 1:
            raise InputError(path, f"line {line}", " ".join(words), f"a name and {least - 1} or 7 numbers")
        names.append(words[0])
        numbers.append(values + [0.0] * (7 - len(values)))
        lines.append(line)
    if not names:
        raise InputError(path, "", "no row", "a catalogue of LensTool")
    rows = np.array(numbers)
    if (bad := np.flatnonzero(~np.isfinite(rows).all(1))).size:
        raise InputError(path, f"line {lines[bad[0]]}", f"{rows_named(bad)} ({', '.join(names[k] for k in bad[:5])}) "
                         "not finite", "finite numbers, the magnitude too")
    x, y = rows[:, 0], rows[:, 1]
    target = reference if reference is not None else own if own is not None else (x[0], y[0])
    if absolute:
        x, y = on_plane(x, y, target)
    elif own is not None and target != own:
        shift_x, shift_y = on_plane(np.array([own[0]]), np.array([own[1]]), target)
        x, y = x + shift_x, y + shift_y
    return Table(tuple(names), x, y, rows[:, 2], rows[:, 3], rows[:, 4], rows[:, z - 1], rows[:, mag - 1],
                 tuple(lines), path)


def _reference(path: Path) -> tuple[tuple[float, float] | None, bool]:
    """The place in the line #REFERENCE, if there is one, and whether rows are in degrees."""
    for number, line in enumerate(text_of(path, "a catalogue of LensTool").splitlines(), 1):
        words = line.split()
        if words and words[0] == "#REFERENCE":
            try:
                kind, *place = [float(word) for word in words[1:4]]
            except ValueError:
                kind, place = -1.0, []
            if kind not in (0.0, 3.0) or (kind == 3.0 and len(place) < 2):
                raise InputError(path, f"line {number}", line.strip(), "#REFERENCE 0, or #REFERENCE 3 RA DEC")
            return (place[0], place[1]) if len(place) == 2 else None, kind == 0.0
    return None, True


def has_reference(path: str | PathLike[str]) -> bool:
    """Whether a catalogue says itself what its places are, by a line #REFERENCE. Raises InputError."""
    text = text_of(Path(path), "a catalogue of LensTool")
    return any(line.split()[:1] == ["#REFERENCE"] for line in text.splitlines())


def on_plane(ra: np.ndarray, dec: np.ndarray, reference: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of places from a reference, x to the west, as LensTool has them: no projection [arcsec]."""
    east = (ra - reference[0] + 180.0) % 360.0 - 180.0  # a field may lie across a right ascension of 0
    return (-east * math.cos(math.radians(reference[1])) * 3600.0, (dec - reference[1]) * 3600.0)


def on_sky(x: np.ndarray, y: np.ndarray, reference: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `on_plane` [deg]."""
    ra = reference[0] - x / (3600.0 * math.cos(math.radians(reference[1])))
    return ra % 360.0, reference[1] + y / 3600.0


def write_table(table: Table, reference: tuple[float, float], *, images: bool = False) -> str:
    """A catalogue of members, or of images, as text, its positions in arcsec from the reference."""
    rows = [f"#REFERENCE 3 {reference[0]:.15g} {reference[1]:.15g}"]
    for k, name in enumerate(table.names):
        last = (table.z[k], table.mag[k]) if images else (table.mag[k], table.z[k])
        rows.append(f"{name} {table.x[k]:.9f} {table.y[k]:.9f} {table.a[k]:.12g} {table.b[k]:.12g} "
                    + " ".join(f"{value:.12g}" for value in (table.theta[k], *last)))
    return "\n".join([*rows, ""])


def catalogue_of(table: Table) -> Catalogue:
    """The members of a table.

    Raises:
        InputError: Semi-axes that make no ellipse, a magnitude that stands for none, or a member that is there twice,
            by its name or by its place; lines are named.
    """
    bad = np.flatnonzero(~((table.a > 0.0) & (table.b > 0.0)))
    if bad.size:
        raise InputError(table.file, f"line {table.lines[bad[0]]}", f"semi-axes {table.a[bad[0]]:g} and "
                         f"{table.b[bad[0]]:g} of {table.names[bad[0]]}", "semi-axes above 0")
    if (bad := np.flatnonzero(np.abs(table.mag) >= NO_MAGNITUDE)).size:
        named = ", ".join(f"{table.names[k]} of line {table.lines[k]}" for k in bad[:5])
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise InputError(table.file, f"line {table.lines[bad[0]]}", f"magnitude {table.mag[bad[0]]:g} ({named}{more})",
                         MAGNITUDES)
    for what, keys in (("named", table.names), ("at the place of", zip(table.x.tolist(), table.y.tolist(),
                                                                      strict=True))):
        if (pair := first_repeated(keys)) is not None:
            k, first = pair
            raise InputError(table.file, f"line {table.lines[k]}", f"{table.names[k]} {what} {table.names[first]} of "
                             f"line {table.lines[first]}", "each member once")
    e = (table.a - table.b) / (table.a + table.b)
    turn = 2.0 * np.radians(table.theta)
    return Catalogue.of(table.x, table.y, e * np.cos(turn), e * np.sin(turn), table.mag)


def first_repeated(keys: Iterable[Any]) -> tuple[int, int] | None:
    """Numbers of the first entry that was there before, and of where it was; None where all differ.

    >>> first_repeated(["a", "b", "a"])
    (2, 0)
    """
    seen: dict[Any, int] = {}
    return next(((k, seen[key]) for k, key in enumerate(keys) if seen.setdefault(key, k) != k), None)


def check_brightness(catalogue: Catalogue, mag0: float, file: str | PathLike[str], field: str) -> None:
    """Refuse members whose luminosities over that of mag0 are none of galaxies; rows are counted from 1.

    Args:
        catalogue: The members.
        mag0: Magnitude at which their relation is anchored.
        file: Of the catalogue.
        field: Where mag0 is, for messages.

    Raises:
        InputError: A member that is brighter by more than 15 magnitudes.
    """
    mag = np.asarray(catalogue.mag)
    if (bad := np.flatnonzero(mag0 - mag > BRIGHTEST)).size:
        raise InputError(file, "", f"magnitude {mag[bad[0]]:g} in {rows_named(bad + 1)}, beside {field} = {mag0:g}",
                         f"members at most {BRIGHTEST:g} magnitudes brighter, a million times the luminosity")


def system_names(names: Sequence[str]) -> list[str]:
    """The system of each image: what stands before the last point of its name, or before its last letter.

    >>> system_names(["105.1", "4.2", "7a"])
    ['105', '4', '7']
    """
    return [name.rpartition(".")[0] if "." in name else name.rstrip("abcdefghijklmnopqrstuvwxyz") for name in names]
