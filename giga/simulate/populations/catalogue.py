"""Catalogues as populations: all columns of a draw come from one row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import AnyArray


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a catalogue, as a leaf of a population. Made by `catalogue[name]`.

    It is no pytree, so that trees hold it as one leaf.

    Attributes:
        catalogue: The catalogue; columns of one catalogue object are drawn from one row.
        name: Name of the column.
    """

    catalogue: Catalogue
    name: str


@dataclass(frozen=True, eq=False)
class Catalogue:
    """A table whose rows are objects that were measured or forecast together.

    >>> lenses = Catalogue({"theta_E": [1.1, 0.9, 2.0], "q": [0.7, 0.8, 0.6]}, weights=[1.0, 1.0, 0.5])
    >>> lenses["theta_E"].name, len(lenses)
    ('theta_E', 3)

    Attributes:
        columns: Shape (n,), or (n, bands) for a column with one value a band; by name.
        weights: Shape (n,), how often a row is drawn, relative to the others; None is equally often.

    Raises:
        ValueError: No columns or rows, columns of unequal lengths, values that are no numbers or not finite,
            negative weights, or weights that are all zero.
    """

    columns: Mapping[str, AnyArray]
    weights: AnyArray | None = None

    def __post_init__(self) -> None:
        columns = {name: _numbers(name, values) for name, values in self.columns.items()}
        if not columns:
            raise ValueError("catalogue: no columns; expected at least one")
        first, n = next((name, len(values)) for name, values in columns.items())
        for name, values in columns.items():
            if len(values) != n:
                raise ValueError(f"catalogue: {name} has {len(values)} rows; expected {n}, as {first} has")
        if not n:
            raise ValueError(f"catalogue: {first} has no rows; expected at least one")
        object.__setattr__(self, "columns", columns)
        if self.weights is not None:
            object.__setattr__(self, "weights", _checked_weights(self.weights, n))

    def __getitem__(self, name: str) -> Column:
        """A column, to be put on leaves of a population.

        Raises:
            ValueError: No such column; says which there are.
        """
        if name not in self.columns:
            raise ValueError(f"catalogue: no column {name!r}; expected one of {', '.join(map(repr, self.columns))}")
        return Column(self, name)

    def __len__(self) -> int:
        """Number of rows."""
        return len(next(iter(self.columns.values())))

    def select(self, keep: AnyArray) -> Catalogue:
        """The catalogue of some rows, given by a boolean mask of shape (n,) or by their numbers."""
        weights = None if self.weights is None else self.weights[keep]
        return Catalogue({name: values[keep] for name, values in self.columns.items()}, weights)


def upper_edges(weights: AnyArray) -> AnyArray:
    """Where each row but the last ends when 32 random bits are shared out among the rows, shape (n - 1,) uint32.

    Integers keep the shares exact to 2^-32, where the cumulative sum in float32 would lose rows of a long catalogue.
    """
    shares = np.cumsum(np.asarray(weights, np.float64) / np.sum(weights))[:-1]
    return np.minimum(np.floor(shares * 2.0**32), 2.0**32 - 1.0).astype(np.uint32)


def draw_row(key: Array, n: int, edges: AnyArray | None) -> Array:
    """Number of a random row, shape ().

    Args:
        key: Random key.
        n: Number of rows.
        edges: What `upper_edges` gives, or None for rows that are drawn equally often.
    """
    if edges is None:
        return jax.random.randint(key, (), 0, n)
    return jnp.searchsorted(jnp.asarray(edges), jax.random.bits(key, (), jnp.uint32), side="right")


def _numbers(name: str, values: Any) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"catalogue: {name} is of type {array.dtype}; expected numbers")
    if array.ndim not in (1, 2):
        raise ValueError(f"catalogue: {name} has shape {array.shape}; expected (rows,) or (rows, bands)")
    if bad := np.flatnonzero(~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))).tolist():
        raise ValueError(f"catalogue: {name} is {array[bad[0]]} in row {bad[0]}; expected finite numbers "
                         f"({len(bad)} bad rows of {len(array)})")
    return array


def _checked_weights(values: Any, n: int) -> np.ndarray:
    weights = _numbers("weights", values)
    if weights.shape != (n,):
        raise ValueError(f"catalogue: weights have shape {weights.shape}; expected ({n},), one a row")
    if (bad := int(np.argmin(weights))) >= 0 and weights[bad] < 0.0:
        raise ValueError(f"catalogue: weights is {weights[bad]:g} in row {bad}; expected no negative weight")
    if not np.any(weights > 0.0):
        raise ValueError("catalogue: all weights are zero; expected a positive one")
    return weights
