"""A folder being graded: its votes, its pictures, and who grades."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from giga.io.errors import InputError
from giga.io.grading.folder import Graded, read_folder, read_simulations
from giga.jobs.grading.pictures import PAGE, RESIDUAL, Look, Pictures
from giga.jobs.grading.subtraction import Subtraction
from giga.search.grading.questions import MODELS
from giga.search.grading.records import StoreError, Task
from giga.search.grading.store import PATIENCE, VoteStore


@dataclass(frozen=True)
class Grader:
    """Who grades.

    Attributes:
        name: As it is exported.
        number: In the votes.
        token: What lets the grader in, and nobody else.
    """

    name: str
    number: int
    token: str

    @property
    def mark(self) -> str:
        """What tells the pictures of this grader's queue from those of another one's in a browser's memory."""
        return hashlib.sha256(self.token.encode()).hexdigest()[:12]


class Session:
    """What the page shows and keeps.

    Args:
        path: The folder, see `giga.io.grading.folder.read_folder`.
        graders: Names.
        simulations: A folder of candidates of which the truth is known, to insert.
        seed, repeats: See `giga.search.grading.store.VoteStore`.
        model: Separator for the lens-subtracted panel; None takes one that fits.
        subtract: Whether there is such a panel.
        patience: A lock of another process is waited for [s].

    Raises:
        InputError: Whatever is wrong with the folder, the votes in it, or a name.
    """

    def __init__(self, path: Path, graders: Sequence[str], simulations: Path | None = None, seed: int | None = None,
                 repeats: float | None = None, model: str | None = None, subtract: bool = True,
                 patience: float = PATIENCE):
        self.folder = read_folder(path)
        self.scheme = self.folder.scheme
        inserted = () if simulations is None else read_simulations(simulations)
        if inserted and self.scheme is MODELS:
            raise InputError(simulations or "", "--simulations", "given for a fleet", "a folder of candidates")
        every: list[Graded] = [*self.folder.graded, *inserted]
        try:
            self.store = VoteStore(self.folder.database, self.scheme, seed, repeats, patience)
            self.store.add([one.item for one in every])
            self.graders = tuple(Grader(name, self.store.grader(name), secrets.token_urlsafe(24))
                                 for name in dict.fromkeys(graders))
        except StoreError as error:
            raise InputError("", "", str(error)) from error
        places = {(one.item.kind, one.item.name): one for one in every}
        items = self.store.items()
        missing = [item.name for item in items.values() if (item.kind, item.name) not in places]
        if missing:
            raise InputError(self.folder.database, "", f"{len(missing)} inserted simulations are in the votes, as "
                             f"{missing[0]!r}", "--simulations with the folder that they are from")
        self.graded = {number: places[item.kind, item.name] for number, item in items.items()}
        models = self.scheme is MODELS
        self.pictures = Pictures(self.graded, Subtraction(model) if subtract and not models else None)
        self.tiles = Look(panel=RESIDUAL) if models else Look()

    def task(self, grader: Grader, position: int) -> Task | None:
        """A place of a queue, or None."""
        found = self.store.tasks(grader.number, position, 1)
        return found[0] if found and found[0].position == position else None

    def page(self, grader: Grader, page: int) -> list[Task]:
        """The places of a page of the mosaic."""
        return self.store.tasks(grader.number, page * PAGE, PAGE)

    def prepare(self, grader: Grader, page: int, look: Look) -> None:
        """Have a page of the mosaic made ahead."""
        if tasks := self.page(grader, page):
            self.pictures.page([task.item for task in tasks], look)

    def warm(self) -> None:
        """Have the pages made that the graders see first, and wait for the first of them."""
        for grader in self.graders:
            first = self.store.first_open(grader.number, self.scheme.questions[0].name)
            self.prepare(grader, (first or 0) // PAGE, self.tiles)
        tasks = self.page(self.graders[0], 0)
        if tasks and self.scheme is not MODELS:
            with suppress(InputError):  # the page says what is wrong with it
                self.pictures.views(tasks[0].item)
