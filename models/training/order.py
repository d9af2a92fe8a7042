"""Which stored image each place of a training has: a function of the seed and the place alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Order:
    """A sequence without end that goes through some rows, in another order each time.

    Rows that are read together, a block, stay near each other: an epoch goes through the blocks in random order, and
    through the rows of `window` blocks at a time in random order. Nothing is kept from one place to the next, so that
    a run that goes on needs its step alone.

    Attributes:
        rows: Numbers of the images, shape (n,).
        seed: Of the order, several numbers.
        blocks: Block of each of the rows, shape (n,); None where each is read alone, and any order is as fast.
        window: Blocks that are mixed with each other.
    """

    rows: np.ndarray
    seed: Sequence[int]
    blocks: np.ndarray | None = None
    window: int = 1
    _epochs: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def at(self, places: np.ndarray) -> np.ndarray:
        """Rows at places, from zero."""
        epochs, within = np.divmod(places, len(self.rows))
        found = np.empty(len(places), self.rows.dtype)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            found[here] = self.epoch(int(epoch))[within[here]]
        return found

    def epoch(self, number: int) -> np.ndarray:
        """All rows, in the order of an epoch; the last two are kept."""
        if number not in self._epochs:
            rng = np.random.default_rng([*self.seed, number])
            if self.blocks is None:
                order = rng.permutation(self.rows)
            else:
                blocks, of_row = np.unique(self.blocks, return_inverse=True)
                windows = rng.permutation(len(blocks))[of_row] // self.window
                order = self.rows[np.lexsort((rng.random(len(self.rows)), windows))]
            for old in sorted(self._epochs)[:-1]:
                self._epochs.pop(old, None)
            self._epochs[number] = order
        return self._epochs[number]


@dataclass(frozen=True, eq=False)
class Balanced:
    """Several orders in turn, one a class: each class is seen as often as any other, however few images it has.

    Attributes:
        orders: One a class.
    """

    orders: tuple[Order, ...]

    def at(self, places: np.ndarray) -> np.ndarray:
        """Rows at places, from zero."""
        turns, classes = np.divmod(places, len(self.orders))
        found = np.empty(len(places), np.int64)
        for k, order in enumerate(self.orders):
            here = classes == k
            found[here] = order.at(turns[here])
        return found
