"""The order in which a grader sees what is graded: shuffled by a seed, with some shown twice."""

from __future__ import annotations

import hashlib

import numpy as np

APART = 20  # places at least between the two showings of one, where there are as many


def order(count: int, repeats: float, seed: int, grader: str, part: int = 0) -> list[tuple[int, int]]:
    """Shuffle items for a grader, and show some of them again.

    Args:
        count: Number of items.
        repeats: Share of them that are shown twice, from 0 to 1.
        seed: Of the session.
        grader: Each grader has an order of their own.
        part: Number of the addition, where items came later.

    Returns:
        (item, showing) in the order of the queue, showing 0 for the first and 1 for the second time.
    """
    name = int.from_bytes(hashlib.sha256(grader.encode()).digest()[:8], "little")
    rng = np.random.default_rng([seed, name, part])
    shuffled = rng.permutation(count)
    again = np.sort(rng.choice(count, round(repeats * count), replace=False))
    gap = min(APART, max(count // 2, 1))
    # A place between its own, so many places on, and the end; fractions keep the first showings where they are.
    later = np.minimum(again + gap, count - 1)
    places = rng.uniform(later, count)
    keys = np.concatenate([np.arange(count, dtype=float), np.maximum(places, later + 0.5)])
    items = [(int(item), 0) for item in shuffled] + [(int(shuffled[k]), 1) for k in again]
    return [items[k] for k in np.argsort(keys, kind="stable")]
