"""Where examples come from when they are not simulated: images on disk, read ahead while the network learns.

A task with a `source` is trained on what it gives, or on a mixture with what the task simulates (`Fed`). A source is a
function of the step: which images, in which order, it knows from its seed, so that the state of a training holds the
step and nothing else. Formats of files are `giga.io.stored`'s business.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from giga.models.training.order import Balanced, Order
from giga.models.training.splits import Split
from giga.runtime.identity import identity_of

AHEAD = 8  # batches that are read before they are wanted
WEIGHT = "weight"  # of each example in a mean over a set: 0 for those that only fill a batch up

Rows = dict[str, np.ndarray]
"""Examples on the host by what they hold, each of shape (n, ...); "image" is of shape (n, ny, nx, bands)."""


class Images(Protocol):
    """Images that lie somewhere, read by their number, and never all at once."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of one image, (ny, nx, bands)."""
        ...

    @property
    def blocks(self) -> np.ndarray | None:
        """Block of each image, shape (n,). Those of a block are read at the cost of one; None if each is alone."""
        ...

    @property
    def window(self) -> int:
        """Blocks that may be held at once, and so mixed with each other."""
        ...

    @property
    def identity(self) -> str:
        """Hash of what the images are."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Images by their numbers, float32, shape (n, ny, nx, bands)."""
        ...


class Source(Protocol):
    """Stored examples by step; what a `FedTask` has."""

    @property
    def identity(self) -> str:
        """Hash of all that the examples depend on but the step."""
        ...

    def check(self, count: int) -> None:
        """Refuse a number of examples of a step that cannot be had. Raises ValueError."""
        ...

    def batch(self, step: int, count: int) -> Rows:
        """The `count` examples of a step, in an order that depends on the step and on the source alone."""
        ...

    def held_out(self, part: str) -> int:
        """Number of examples of a part of the split, see `giga.models.training.splits.PARTS`."""
        ...

    def part(self, name: str, first: int, count: int) -> Rows:
        """Examples `first` to `first + count` of a part, always in the same order."""
        ...


class Numbered(Source, Protocol):
    """Examples by the number of their image, each of which is in one part of a split."""

    @property
    def images(self) -> Images:
        """Where they are."""
        ...

    @property
    def split(self) -> Split:
        """Images for training, validation and test."""
        ...

    @property
    def targets(self) -> Rows:
        """What is known of each by name, arrays with a row an image; "label" is an integer, "theta" numbers."""
        ...

    @property
    def epoch(self) -> int:
        """Examples in which every training image is seen."""
        ...

    def rows(self, rows: np.ndarray) -> Rows:
        """Examples by the numbers of their images."""
        ...


@dataclass(frozen=True, eq=False)
class Stored:
    """Images with what is known of them, and how they are split.

    Attributes:
        images: Where they are.
        targets: What is known of each by name, shape (n, ...) each: "label", an integer; "theta", numbers.
        split: Rows for training, validation and test.
        classes: Class of each image, shape (n,), if each class is to be seen as often as any other; None sees each
            image once an epoch.
        seed: Of the order.
    """

    images: Images
    targets: Rows
    split: Split
    classes: np.ndarray | None = None
    seed: int = 0

    @property
    def identity(self) -> str:
        """Hash of images, targets, split, balance and seed."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        return identity_of("stored", self.images.identity, self.targets, self.split.train, self.split.validation,
                           self.classes, self.seed)

    @property
    def epoch(self) -> int:
        """Examples in which every training image is seen; balanced, all of the largest class, others more than once."""
        if self.classes is None:
            return len(self.split.train)
        counts = np.unique(self.classes[self.split.train], return_counts=True)[1]
        return int(len(counts) * counts.max())

    @cached_property
    def _order(self) -> Order | Balanced:
        train, blocks, window = self.split.train, self.images.blocks, self.images.window
        if self.classes is None:
            return Order(train, [self.seed], None if blocks is None else blocks[train], window)
        kinds = np.unique(self.classes[train])
        each = [train[self.classes[train] == kind] for kind in kinds]
        return Balanced(tuple(Order(rows, [self.seed, int(kind)], None if blocks is None else blocks[rows],
                                    max(1, window // len(kinds))) for kind, rows in zip(kinds, each, strict=True)))

    def check(self, count: int) -> None:
        """Any number of examples of a step can be had."""

    def batch(self, step: int, count: int) -> Rows:
        """The examples of a step."""
        return self.rows(self._order.at(np.arange(step * count, (step + 1) * count)))

    def held_out(self, part: str) -> int:
        """Number of examples of a part."""
        return len(self.split.part(part))

    def part(self, name: str, first: int, count: int) -> Rows:
        """Examples of a part in the order of their rows."""
        return self.rows(self.split.part(name)[first:first + count])

    def rows(self, rows: np.ndarray) -> Rows:
        """Examples by the numbers of their images."""
        return {"image": self.images.read(rows), **{name: values[rows] for name, values in self.targets.items()},
                WEIGHT: np.ones(len(rows), np.float32)}


@dataclass(frozen=True, eq=False)
class Blend:
    """Several stored sources, each with a share of every batch.

    Attributes:
        sources: Examples with the same targets.
        shares: Of each, of sum one.

    Raises:
        ValueError: Shares that are not positive or do not sum to one, or another number of them.
    """

    sources: tuple[Numbered, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        check_shares(self.shares)
        if len(self.shares) != len(self.sources):
            raise ValueError(f"shares: got {len(self.shares)} for {len(self.sources)} sources, expected one for each")

    @property
    def identity(self) -> str:
        """Hash of the sources and their shares."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        return identity_of("blend", [source.identity for source in self.sources], self.shares)

    @property
    def epoch(self) -> int:
        """Examples in which the source that is slowest to be gone through has been."""
        return max(int(np.ceil(source.epoch / share)) for source, share in zip(self.sources, self.shares, strict=True))

    def check(self, count: int) -> None:
        """Refuse a number of examples whose shares are no whole numbers. Raises ValueError."""
        self._counts(count)

    def _counts(self, count: int) -> list[int]:
        return [whole(share, count, "stored images of a batch") for share in self.shares]

    def batch(self, step: int, count: int) -> Rows:
        """The examples of a step."""
        return _joined([source.batch(step, one)
                        for source, one in zip(self.sources, self._counts(count), strict=True)])

    def held_out(self, part: str) -> int:
        """Number of examples of a part."""
        return sum(source.held_out(part) for source in self.sources)

    def part(self, name: str, first: int, count: int) -> Rows:
        """Examples of a part, source after source."""
        found, before = [], 0
        for source in self.sources:
            start, stop = max(first - before, 0), min(first + count - before, source.held_out(name))
            if start < stop:
                found.append(source.part(name, start, stop - start))
            before += source.held_out(name)
        return _joined(found)


def check_shares(shares: Sequence[float]) -> None:
    """Refuse shares that are not above 0 or do not sum to one. Raises ValueError."""
    if not shares or min(shares) <= 0.0 or abs(sum(shares) - 1.0) > 1e-6:
        raise ValueError(f"share: got {', '.join(f'{share:g}' for share in shares)}, of sum {sum(shares):g}; expected "
                         "numbers above 0 that sum to 1")


def whole(share: float, count: int, what: str) -> int:
    """A share of some images as a number of them. Raises ValueError where it is none."""
    number = round(share * count)
    if abs(share * count - number) > 1e-6 * count or (share and not number):
        raise ValueError(f"share: {share:g} of the {count} {what} is {share * count:g}; expected a whole number, such "
                         f"as {max(1, number)}, a share of {max(1, number) / count:g}")
    return number


def places(stored: float, images: int) -> np.ndarray:
    """Which of some images are stored, the others being simulated: as many in every run of a few, shape (images,).

    Args:
        stored: Share that is.
        images: Of a micro-batch on one device.

    Raises:
        ValueError: A share that is none, or that does not make the same number of images on every device.
    """
    if not 0.0 < stored <= 1.0 + 1e-6:
        raise ValueError(f"share: got {stored:g} stored, expected a number above 0, at most 1")
    period = Fraction(stored).limit_denominator(images)
    if images % period.denominator or abs(float(period) - stored) > 1e-6:
        whole(stored, images, "images of a micro-batch on a device")
    return np.arange(images) % period.denominator < period.numerator


def filled(rows: Rows, size: int, total: int, counted: int) -> Rows:
    """Examples of a held-out set as a batch of a fixed size, weighted so that means over batches are those of the set.

    Args:
        rows: At most `size` examples; repeats of the first fill the batch up, with a weight of zero.
        size: Of the batch.
        total: Examples in all batches, repeats included.
        counted: Examples of the set.
    """
    missing = size - len(rows[WEIGHT])
    out = {name: np.concatenate([values, np.repeat(values[:1], missing, 0)]) for name, values in rows.items()}
    out[WEIGHT] = np.where(np.arange(size) < size - missing, total / counted, 0.0).astype(np.float32)
    return out


def read_ahead(read: Callable[[int], Any], first: int, last: int, ahead: int = AHEAD) -> Iterator[Any]:
    """`read(k)` for k from `first` to `last`, in order, the next ones being read while one is used.

    Grain reads in one thread: reading and decoding let go of Python's lock, and HDF5 takes one call at a time.

    Raises:
        ModuleNotFoundError: Grain is not installed.
        Exception: What `read` raises, at its place.
    """
    try:
        grain: Any = importlib.import_module("grain.python")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("stored examples are read ahead by Grain, which is not installed: install "
                                  "giga[data]") from error
    options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=ahead)
    return iter(grain.MapDataset.range(first, last).map(read).to_iter_dataset(options))


def _joined(parts: list[Rows]) -> Rows:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
