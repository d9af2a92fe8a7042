"""Pictures of what is graded, made ahead of the grader and kept for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from matplotlib.image import imread

from giga.inference.pictures import Picture
from giga.io.errors import InputError
from giga.io.grading.folder import Graded
from giga.io.grading.views import View, read_views
from giga.io.results.model import read_model
from giga.jobs.grading.subtraction import Subtraction
from giga.show.grading.pixels import (
    RGB,
    crossed,
    encoded,
    field,
    picture,
    resampled,
    residual,
    sheet,
    white_balance,
)

TILE, COLUMNS, PAGE = 128, 10, 100  # side of a tile [pixels], tiles in a row and on a page
SHARES = (1.0, 0.5, 0.25)  # of the field
LEAST_FIELD = 12  # pixels of a field
PLAIN, SUBTRACTED, RESIDUAL = "plain", "subtracted", "residual"
PANELS = (PLAIN, SUBTRACTED, RESIDUAL)
USUAL = 40  # candidates that tell what colour is white
KEPT, KEPT_VIEWS = 400, 300  # pictures, and candidates whose pixels are kept


@dataclass(frozen=True)
class Look:
    """How a picture is made.

    Attributes:
        view: Number of the view.
        band: A band, or "RGB"; empty takes RGB where there are bands for it.
        stretch: See `giga.show.grading.pixels.STRETCHES`.
        share: Number of the share of the field.
        panel: One of `PANELS`.
    """

    view: int = 0
    band: str = ""
    stretch: str = "arcsinh"
    share: int = 0
    panel: str = PLAIN


class Pictures:
    """Pictures by item, each made once: who asks for one that is being made waits for it.

    Files are read and drawn by one thread, in the order of the asking; networks run in another one.

    Args:
        graded: Items by number.
        subtraction: Takes lenses away, or None.
    """

    def __init__(self, graded: dict[int, Graded], subtraction: Subtraction | None):
        self.graded, self.subtraction = graded, subtraction
        self._drawer, self._networks = ThreadPoolExecutor(1, "pictures"), ThreadPoolExecutor(1, "networks")
        self._kept: OrderedDict[Any, Future] = OrderedDict()
        self._views: OrderedDict[int, tuple[View, ...] | InputError] = OrderedDict()
        self._white: dict[tuple[str, ...], list[float]] = {}
        self._lock = Lock()

    def close(self) -> None:
        """Let go of the threads."""
        for pool in (self._drawer, self._networks):
            pool.shutdown(wait=False, cancel_futures=True)

    def _once(self, key: Any, pool: ThreadPoolExecutor, make: Callable[[], Any]) -> Future:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = pool.submit(make)
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return self._kept[key]

    def views(self, item: int) -> tuple[View, ...]:
        """What there is of a candidate. Raises InputError where it cannot be read."""
        return self._once(("views", item), self._drawer, lambda: self._read(item)).result()

    def image(self, item: int, look: Look) -> Future:
        """A picture as PNG, in the making; its result raises InputError or ValueError."""
        if look.panel == SUBTRACTED:
            views = self._once(("views", item), self._drawer, lambda: self._read(item))
            return self._once((item, look), self._networks, lambda: self._subtracted(views.result(), look))
        return self._once((item, look), self._drawer, lambda: encoded(self._drawn(item, look)))

    def file(self, item: int) -> bytes:
        """The picture that a fit left."""
        path = self.graded[item].files[0] / "fit.png"
        if not path.is_file():
            raise InputError(path, "", "no such file", "the picture of a finished fit")
        return path.read_bytes()

    def page(self, items: Sequence[int], look: Look) -> Future:
        """A page of tiles as JPEG, in the making."""
        return self._once((tuple(items), look), self._drawer, lambda: encoded(
            sheet([self._tile(item, look) for item in items], COLUMNS, TILE), exact=False))

    def _read(self, item: int) -> tuple[View, ...]:
        """Views of a candidate, kept for a while, with the error in the place of those that cannot be read."""
        if item not in self._views:
            try:
                self._views[item] = read_views(self.graded[item].files)
            except InputError as error:
                self._views[item] = error
            while len(self._views) > KEPT_VIEWS:
                self._views.popitem(last=False)
        found = self._views[item]
        if isinstance(found, InputError):
            raise found
        return found

    def _tile(self, item: int, look: Look) -> np.ndarray:
        try:
            return resampled(self._drawn(item, look), TILE)
        except ValueError:  # it cannot be read, or has not this band
            return crossed(TILE)

    def _drawn(self, item: int, look: Look) -> np.ndarray:
        if look.panel == RESIDUAL:
            return self._residual(item)
        view = chosen(self._read(item), look)
        return drawn(view, look, self._balance(view))

    def _balance(self, view: View) -> list[float]:
        """The white of candidates of these bands, from some of the folder; see `white_balance`."""
        if view.bands not in self._white:
            images = []
            for item in list(self.graded)[::max(len(self.graded) // USUAL, 1)][:USUAL]:
                try:
                    images += [one.image for one in self._read(item) if one.bands == view.bands][:1]
                except InputError:
                    continue
            self._white[view.bands] = white_balance(images or [view.image])
        return self._white[view.bands]

    def _residual(self, item: int) -> np.ndarray:
        """The residuals of a model beside each other; of one without images its picture."""
        folder = self.graded[item].files[0]
        if (folder / "model.fits").is_file():
            found: list[Picture] = read_model(folder / "model.fits")
            if found:
                tallest = max(one.residual.shape[0] for one in found)
                return np.concatenate([np.pad(residual(one.residual, one.mask),
                                              ((tallest - one.residual.shape[0], 0), (0, 0), (0, 0)))
                                       for one in found], 1)
        return _picture(folder / "fit.png")

    def _subtracted(self, views: tuple[View, ...], look: Look) -> bytes:
        if self.subtraction is None:
            raise ValueError("no network takes the lens away; expected one whose bands and pixels fit")
        view = chosen(views, look)
        white = self._drawer.submit(self._balance, view).result()
        return encoded(drawn(view, look, white, self.subtraction.without_lens(view)))


def chosen(views: tuple[View, ...], look: Look) -> View:
    """The view of a look. Raises ValueError where there is none."""
    if not 0 <= look.view < len(views) or not 0 <= look.share < len(SHARES):
        raise ValueError(f"view: got {look.view}, {look.share}; expected one of {len(views)} views and {len(SHARES)} "
                         "fields")
    return views[look.view]


def drawn(view: View, look: Look, balance: Sequence[float], image: np.ndarray | None = None) -> np.ndarray:
    """A view in colours, or another image with its sky, shape (ny, nx, 3).

    Raises as `giga.show.grading.pixels.picture`.
    """
    first, *more = view.bands
    band = look.band or (RGB if more else first)
    shown = view.image if image is None else image
    return field(picture(shown, view.bands, band, look.stretch, balance, view.image), SHARES[look.share])


def shares(view: View) -> list[int]:
    """Numbers of the shares of the field that leave something to see."""
    return [k for k, share in enumerate(SHARES) if k == 0 or share * min(view.image.shape[:2]) >= LEAST_FIELD]


def _picture(path: Path) -> np.ndarray:
    if not path.is_file():
        raise InputError(path, "", "no such file", "the picture of a finished fit")
    return np.round(255.0 * np.asarray(imread(path))[..., :3]).astype(np.uint8)
