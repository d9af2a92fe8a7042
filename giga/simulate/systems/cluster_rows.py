"""A table of galaxies as leaves of a population: a row a galaxy."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array

from giga.light.sersic import Sersic
from giga.simulate.populations.derived import Derived

COLUMNS = ("x", "y", "e1", "e2", "theta_E", "R", "n", "there")  # of a galaxy, then its amplitude in each band


def at(array: Derived, entry: int | tuple[int, int]) -> Derived:
    """One entry of an array, as a leaf."""
    return Derived(_entry, array, entry) if isinstance(entry, int) else Derived(_cell, array, *entry)


def light_of(galaxies: Derived, row: int) -> Sersic:
    """The light of one row of a table with `COLUMNS` and amplitudes."""
    R, n = (at(galaxies, (row, COLUMNS.index(name))) for name in ("R", "n"))
    return Sersic(amp=amplitudes_of(galaxies, row), R_sersic=R, n_sersic=n, **shape_of(galaxies, row))


def amplitudes_of(galaxies: Derived, row: int) -> Derived:
    """The amplitudes of one row in the bands."""
    return Derived(_amplitudes, galaxies, row)


def shape_of(galaxies: Derived, row: int) -> dict[str, Any]:
    """Ellipse and place of one row of such a table."""
    return {theirs: at(galaxies, (row, COLUMNS.index(name))) for theirs, name in (
        ("e1", "e1"), ("e2", "e2"), ("center_x", "x"), ("center_y", "y"))}


def once(array: Array) -> Array:
    """A table whose entries are leaves: it is computed as one, where XLA would compile it anew for each of them."""
    return jax.lax.optimization_barrier(array)


# Functions of Deriveds are named ones of the module, so that two populations that are built alike compile once.

def _entry(array: Any, number: Any) -> Any:
    return array[number]


def _cell(array: Any, row: Any, column: Any) -> Any:
    return array[row, column]


def _amplitudes(array: Any, row: Any) -> Any:
    return array[row, len(COLUMNS):]
