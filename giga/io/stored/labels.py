"""Labelled images on disk as a source of training examples: which label is whose, and how they are split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError, nearest
from giga.io.stored.shards import NAMES
from giga.io.stored.stack import HOLD, Stack, open_stack
from giga.io.table_file import read_table_file
from giga.models.systems.labelled import Labelled
from giga.models.training.source import Stored
from giga.models.training.splits import PARTS, Split, check_classes, folds, split

SHOWN = 5  # names in a message
SHARES = (0.8, 0.1, 0.1)


def open_cutouts(images: str | Path | Sequence[str | Path], labels: str | Path | None = None, *,
                 target: str | None = None, values: Sequence[str] = (), classes: Sequence[str] = (),
                 name: str | None = None, group: str | None = None, split_by: str | None = None,
                 shares: Sequence[float] = SHARES, number_of_folds: int = 0, fold: int = 0, balance: bool = False,
                 unlabelled: str = "refuse", seed: int = 0, shape: tuple[int, int] | None = None,
                 size: str = "refuse", bands: Sequence[str] = (), unit: str | None = None,
                 dataset: str | None = None, layout: str = "last", hold_mb: float = HOLD) -> Labelled:
    """Open labelled images; none is read but a few, to know them again.

    Args:
        images: A file, a folder or several, see `giga.io.stored.stack.open_stack`.
        labels: A table: CSV, ECSV, FITS, VOTable or Parquet, one row an image. None takes what the files of the images
            know themselves, as those of `giga simulate` do.
        target: Column of classes; None is "label" if there are no `values`.
        values: Columns of numbers that are learned in the place of classes.
        classes: Names of the classes in their order; empty is all that there are, sorted.
        name: Column of the names of images; None is the first of "name", "names", "id", "ids". Without one, rows are
            those of the images in their order.
        group: Column of what must not be in two parts of a split: a galaxy, a cluster, a name.
        split_by: Column that says train, validation or test itself.
        shares: Of the three parts, drawn with the same share of each class.
        number_of_folds, fold: In the place of shares, one of k folds.
        balance: Whether each class is shown as often as any other.
        unlabelled: "refuse" images without labels, or "leave" them out.
        seed: Of the split and of the order in training.
        shape, size, bands, unit, dataset, layout, hold_mb: See `giga.io.stored.stack.open_stack`.

    Raises:
        InputError: What `open_stack` raises; a column that is not there; labels for images that are not there, or
            images without labels, named and counted; a part without an example of a class.
    """
    stack = open_stack(images, dataset=dataset, layout=layout, shape=shape, size=size, bands=bands, unit=unit,
                       hold_mb=hold_mb)
    where = Path(labels) if labels is not None else stack.shards[0].path
    if unlabelled not in ("refuse", "leave"):
        raise InputError("", "unlabelled", f"got {unlabelled!r}", "refuse or leave")
    columns, known, notes = known_of(stack, labels, name)
    if target is None and not values:
        target = "label"
    wanted = [*([target] if target else []), *values, *([group] if group else []), *([split_by] if split_by else [])]
    for column in wanted:
        if column not in columns:
            raise InputError(where, column or "", "no such column", nearest(str(column), columns))
    if target:
        texts = _labels(columns[target])
        known &= texts != ""
    check_known(stack, known, where, target or "labels", unlabelled)
    found: dict[str, np.ndarray] = {}
    names: tuple[str, ...] = ()
    kinds = np.zeros(len(stack), np.int32)
    if target:
        names, kinds = _classes(texts, known, classes, where, target)
        found["label"] = kinds
    if values:
        numbers = np.stack([_numbers(columns[one], known, where, one) for one in values], -1)
        found["theta"] = numbers.astype(np.float32)
    made = split_of(columns, known, where, kinds=kinds, group=group, split_by=split_by, shares=shares,
                    number_of_folds=number_of_folds, fold=fold, seed=seed, names=names)
    source = Stored(stack, found, made, kinds if balance and target else None, seed)
    shown = tuple(bands) or stack.shards[0].bands or tuple(f"band {k + 1}" for k in range(stack.shape[2]))
    return Labelled(source, shown, stack.shards[0].unit if unit is None else unit, names, tuple(values),
                    (*stack.notes, *notes))


def known_of(stack: Stack, labels: str | Path | None,
             name: str | None = None) -> tuple[dict[str, np.ndarray], np.ndarray, list[str]]:
    """What is known of images: columns in their order, which of them have a row, and what the user should know.

    Args:
        stack, labels, name: See `open_cutouts`. Rows of images that have none are of no meaning.

    Raises:
        InputError: Labels of images that are not there, names that are there twice.
    """
    if labels is None:
        return stack.columns(), np.ones(len(stack), bool), []
    return _matched(stack, Path(labels), name)


def check_known(stack: Stack, known: np.ndarray, file: Path, field: str, unlabelled: str) -> None:
    """Refuse images without a row, unless they are to be left out. Raises InputError."""
    if (missing := np.flatnonzero(~known)).size and unlabelled == "refuse":
        raise InputError(file, field, f"{missing.size} images without a label: "
                         f"{_listed([name_of(stack, int(row)) for row in missing])}",
                         "a label for each, or unlabelled = \"leave\"")


def split_of(columns: dict[str, np.ndarray], known: np.ndarray, file: Path, *, kinds: np.ndarray, group: str | None,
             split_by: str | None, shares: Sequence[float], number_of_folds: int, fold: int, seed: int,
             names: tuple[str, ...]) -> Split:
    """The split of images that are known, see `open_cutouts`; `kinds` are their classes, of the names.

    Raises:
        InputError: A part without an example of a class, or parts that are none.
    """
    groups = None if group is None else _as_texts(columns[group])
    parts = None if split_by is None else _as_texts(columns[split_by])
    rows = np.flatnonzero(known)
    try:
        made = _split(kinds[rows], parts if parts is None else parts[rows], file, split_by, shares, number_of_folds,
                      fold, None if groups is None else groups[rows], seed, names)
    except InputError:
        raise
    except ValueError as error:
        field, _, rest = str(error).partition(": ")
        raise InputError(file, field, rest) from error
    return Split(*(rows[made.part(one)] for one in PARTS))


def _matched(stack: Stack, file: Path,
             name: str | None) -> tuple[dict[str, np.ndarray], np.ndarray, list[str]]:
    """Columns of a table in the order of the images, and which images have a row."""
    table: Any = read_table_file(file)
    lost, notes = len(stack.notes), []
    columns = {one: np.ma.filled(table[one], "" if table[one].dtype.kind in "OSU" else np.nan)
               if hasattr(table[one], "mask") and table[one].dtype.kind in "OSUf" else np.asarray(table[one])
               for one in table.colnames}
    by = name if name is not None else next((one for one in NAMES if one in columns), None)
    if by is not None and by not in columns:
        raise InputError(file, by, "no such column", nearest(by, columns))
    if by is None or not stack.names:
        if name is not None:
            raise InputError(stack.shards[0].path, "images", "the images have no names", f"names, as the column {name}")
        if len(table) != len(stack) or lost:
            seen = f"{len(table)} rows for {len(stack)} images" + (f", {lost} files being damaged" if lost else "")
            raise InputError(file, "labels", seen, "one for each, in their order; or a column of names, and images "
                             "that have names")
        return columns, np.ones(len(stack), bool), notes
    folded = [one.casefold() for one in stack.names]  # FITS knows no case of names of HDUs
    case = len(set(folded)) == len(folded)
    places = {one: k for k, one in enumerate(folded if case else stack.names)}
    if len(places) < len(stack.names):
        twice = _listed([one for one, times in Counter(stack.names).items() if times > 1])
        raise InputError(stack.shards[0].path, "images", f"names are there twice: {twice}", "one name an image")
    rows = _as_texts(columns[by])
    again, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise InputError(file, by, f"{(counts > 1).sum()} names have several rows: {_listed(again[counts > 1])}",
                         "one row an image")
    keys = [one.casefold() if case else one for one in rows.tolist()]
    gone = [one for one, key in zip(rows.tolist(), keys, strict=True) if key not in places]
    if gone:
        said = f"{len(gone)} labels of images that are not there: {_listed(gone)}"
        if not lost:
            raise InputError(file, by, said, "the names of the images, such as "
                             f"{', '.join(map(repr, stack.names[:2]))}")
        notes.append(f"{file}: {said}; {lost} files of images are damaged")
    order, here = np.zeros(len(stack), int), np.zeros(len(stack), bool)
    for row, one in enumerate(keys):
        if one in places:
            order[places[one]], here[places[one]] = row, True
    return {one: values[order] for one, values in columns.items()}, here, notes


def _classes(texts: np.ndarray, known: np.ndarray, classes: Sequence[str], file: Path,
             target: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes and the number of each image's; zero where it is not known."""
    present = sorted(set(texts[known].tolist()))
    names = tuple(classes) or tuple(present)
    for one in present:
        if one not in names:
            raise InputError(file, target, f"the label {one!r}", nearest(one, names))
    if missing := [one for one in names if one not in present]:
        raise InputError(file, target, f"no example of the class {missing[0]!r}", "one at least of each class")
    if len(names) < 2:
        raise InputError(file, target, f"{len(names)} classes: {', '.join(names)}", "two or more")
    numbers = {one: k for k, one in enumerate(names)}
    return names, np.array([numbers.get(one, 0) if there else 0 for one, there in zip(texts, known, strict=True)],
                           np.int32)


def _split(kinds: np.ndarray, parts: np.ndarray | None, file: Path, column: str | None, shares: Sequence[float],
           number: int, fold: int, groups: np.ndarray | None, seed: int, names: tuple[str, ...]) -> Split:
    if parts is not None:
        odd = sorted(set(parts.tolist()) - set(PARTS))
        if odd:
            raise InputError(file, column or "", f"the part {odd[0]!r}", f"one of {', '.join(PARTS)}")
        made = Split(*(np.flatnonzero(parts == one) for one in PARTS))
        check_classes(kinds, made.train, "the part 'train' of the split", names or None)
        return made
    if number:
        return folds(kinds, number, fold, groups=groups, seed=seed, names=names or None)
    return split(kinds, shares, groups=groups, seed=seed, names=names or None)


def _numbers(column: np.ndarray, known: np.ndarray, file: Path, name: str) -> np.ndarray:
    try:
        numbers = np.array([float(one) if there else 0.0 for one, there in zip(column, known, strict=True)])
    except ValueError as error:
        raise InputError(file, name, f"no number ({error})", "numbers") from error
    if not np.isfinite(numbers).all():
        row = int(np.argmax(~np.isfinite(numbers)))
        raise InputError(file, name, f"row {row + 1}: {numbers[row]}", "finite numbers")
    return numbers


def _labels(column: np.ndarray) -> np.ndarray:
    """Cells as names of classes, "" where there is none: nan is none, and 1 and 1.0 are one where all are numbers."""
    texts = np.array(["" if one.casefold() == "nan" else one for one in _as_texts(column)], dtype=str)
    try:
        return _as_texts(np.array([float(one) if one else np.nan for one in texts]))
    except ValueError:
        return texts


def _as_texts(column: np.ndarray) -> np.ndarray:
    """Cells as texts without spaces around; whole numbers without a point."""
    def text(one: Any) -> str:
        if isinstance(one, bytes):
            one = one.decode()
        if isinstance(one, float | np.floating):
            return "" if np.isnan(one) else str(int(one)) if float(one).is_integer() else repr(float(one))
        return str(one).strip()

    return np.array([text(one) for one in column], dtype=str)


def name_of(stack: Stack, row: int) -> str:
    """What an image is called in messages."""
    return stack.names[row] if stack.names else f"image {row}"


def _listed(names: Sequence[Any] | np.ndarray) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(str, list(names)[:SHOWN])) + more
