"""Which images are for training, which for validation, which for a test: stratified, and grouped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

PARTS = ("train", "validation", "test")
STREAM = 7  # of the seed, so that a split shares no numbers with an order of images


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of each part, sorted; no row is in two of them.

    Attributes:
        train: What is learned from.
        validation: What chooses the best weights, and ends a training; empty if there is none.
        test: What a network is measured on, when all is done; empty if there is none.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    def part(self, name: str) -> np.ndarray:
        """Rows of a part by its name. Raises ValueError for another name."""
        if name not in PARTS:
            raise ValueError(f"part: got {name!r}, expected one of {', '.join(PARTS)}")
        return getattr(self, name)


def split(classes: np.ndarray, shares: Sequence[float] = (0.8, 0.1, 0.1), *, groups: np.ndarray | None = None,
          seed: int = 0, names: Sequence[Any] | None = None) -> Split:
    """Share out images among training, validation and test, each class in the same shares.

    Args:
        classes: Class of each image, from 0, shape (n,); zeros where there are none.
        shares: Of training, validation and test; of sum one.
        groups: Of each image, any values, shape (n,): a galaxy, a cluster, a night. Images of a group stay together.
        seed: Of the draw.
        names: Of the classes, for messages.

    Raises:
        ValueError: Shares that are negative or do not sum to one, or a part without an example of a class.
    """
    if len(shares) != len(PARTS) or min(shares) < 0.0 or abs(sum(shares) - 1.0) > 1e-6:
        raise ValueError(f"shares: got {', '.join(f'{share:g}' for share in shares)}, of sum {sum(shares):g}; expected "
                         "three numbers of at least 0, for training, validation and test, that sum to 1")
    bin_of = _dealt(classes, np.asarray(shares, float), groups, seed)
    found = [np.flatnonzero(bin_of == k) for k in range(len(PARTS))]
    for name, share, rows in zip(PARTS, shares, found, strict=True):
        if share:
            check_classes(classes, rows, f"the part {name!r} of the split", names)
    return Split(*found)


def folds(classes: np.ndarray, number: int, fold: int, *, groups: np.ndarray | None = None, seed: int = 0,
          names: Sequence[Any] | None = None) -> Split:
    """One of k folds: it is the test, the next one the validation, the others are for training.

    Over all folds each image is tested once, by a network that was neither trained nor chosen with it.

    Args:
        classes, groups, seed, names: See `split`.
        number: Folds, at least 3.
        fold: Which one, from 0.

    Raises:
        ValueError: Too few folds, no such fold, or one without an example of a class.
    """
    if number < 3:
        raise ValueError(f"folds: got {number}, expected at least 3: one tests, one validates, the others train")
    if not 0 <= fold < number:
        raise ValueError(f"fold: got {fold}, expected 0 to {number - 1}")
    bin_of = _dealt(classes, np.full(number, 1.0 / number), groups, seed)
    for k in range(number):
        check_classes(classes, np.flatnonzero(bin_of == k), f"fold {k} of {number}", names)
    validation = (fold + 1) % number
    return Split(np.flatnonzero((bin_of != fold) & (bin_of != validation)), np.flatnonzero(bin_of == validation),
                 np.flatnonzero(bin_of == fold))


def check_classes(classes: np.ndarray, rows: np.ndarray, where: str, names: Sequence[Any] | None = None) -> None:
    """Refuse a part without an example of a class. Raises ValueError, which names class, part and how many there are.
    """
    present = set(classes[rows].tolist())
    for value, count in zip(*np.unique(classes, return_counts=True), strict=True):
        if int(value) not in present:
            name = repr(names[int(value)] if names is not None else int(value))
            raise ValueError(f"{where}: no example of class {name}, of which there are {count} in all; expected at "
                             "least one: more examples, fewer parts, or groups that are not so large")


def _dealt(classes: np.ndarray, shares: np.ndarray, groups: np.ndarray | None, seed: int) -> np.ndarray:
    """Part of each image, shape (n,): groups of many images first, each to where its classes are wanted most."""
    rng, classes = np.random.default_rng([seed, STREAM]), np.asarray(classes)
    if groups is None:  # each image its own group, dealt by class
        out = np.empty(len(classes), int)
        for value in np.unique(classes):
            rows = rng.permutation(np.flatnonzero(classes == value))
            out[rows] = np.repeat(np.arange(len(shares)), _counts(len(rows), shares))
        return out
    _, of_row = np.unique(np.asarray(groups), return_inverse=True)
    kinds, class_of = np.unique(classes, return_inverse=True)
    table = np.zeros((of_row.max() + 1, len(kinds)))
    np.add.at(table, (of_row, class_of), 1.0)
    wanted = shares[:, None] * table.sum(0)
    part = np.empty(len(table), int)
    shuffled = rng.permutation(len(table))
    for group in shuffled[np.argsort(-table[shuffled].sum(1), kind="stable")]:
        # What a part still lacks of these classes, of all that there is of them; parts of no share take nothing.
        lacks = (wanted / np.maximum(table.sum(0), 1.0)) @ (table[group] / table[group].sum())
        part[group] = np.argmax(np.where(shares > 0.0, lacks, -np.inf))
        wanted[part[group]] -= table[group]
    return part[of_row]


def _counts(number: int, shares: np.ndarray) -> np.ndarray:
    """Whole numbers in given shares, of sum `number`; a part that has a share gets one if there are enough."""
    counts = np.floor(number * shares + 1e-9).astype(int)
    for k in np.argsort(-(number * shares - counts), kind="stable")[:number - counts.sum()]:
        counts[k] += 1
    for k in np.flatnonzero((counts == 0) & (shares > 0.0)):
        if counts.max() > 1:
            counts[np.argmax(counts)] -= 1
            counts[k] = 1
    return counts
