"""Lenses of a fleet, opened, fitted together and left in its folder: by this process, or piece by piece by workers."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from giga.inference.fleet import FAILURES, Lens, fit_many, most_together, search_many
from giga.inference.result import Found
from giga.io.configuration.catalogue import Row
from giga.io.configuration.toml import Config
from giga.io.results.fleet import FleetFolder
from giga.jobs.audit import keep_audits
from giga.jobs.drawers import Drawers
from giga.jobs.fleet.plan import Fleet, audits_of, serious_of, truth_of
from giga.jobs.job import Job, prepare, start_devices_of
from giga.jobs.results import in_units, keep_search, write_results
from giga.runtime.checkpoint import CheckpointError
from giga.runtime.workers import by_itself, tell

FULL = (errno.ENOSPC, errno.EDQUOT)  # the fault of the machine, not of the lens
Fit = Callable[..., None]


@dataclass(frozen=True)
class Settings:
    """How the lenses of a fleet are fitted.

    Attributes:
        together: Lenses in a compiled call; None chooses.
        most: Lenses of a piece, more than which are never together; None is no limit.
        draw: Draw pictures and reports.
        audit: Audit the data of each lens before its fit.
        strict: Refuse a lens with a serious finding of the audit.
        searches: End each fit after its search.
        fit: What fits, with the arguments of `giga.inference.fleet.fit_many`, which is the default.
    """

    together: int | None = None
    most: int | None = None
    draw: bool = True
    audit: bool = True
    strict: bool = False
    searches: bool = False
    fit: Fit | None = None


@dataclass(frozen=True, eq=False)
class Piece:
    """Lenses for a worker.

    Attributes:
        fleet: The fleet of these alone.
        out: Folder of the whole fleet.
        settings: How they are fitted.
    """

    fleet: Fleet
    out: Path
    settings: Settings


def fit_piece(piece: Piece) -> None:
    """Fit the lenses of a piece in a worker, and leave all that `giga fit` leaves; nothing to do where that is there.

    Raises:
        InputError: Devices that are not there.
        OSError: A disk is full.
    """
    folder = FleetFolder(piece.out, piece.settings.searches)
    if all(folder.has_ended(name) for name in piece.fleet.rows):
        return
    with by_itself(), Drawers() as drawers:
        fit_lenses(piece.fleet, folder, piece.settings, drawers, tell)
        drawers.finish()
        for problem in drawers.problems:
            tell(f"note: pictures: {problem}")


def fit_lenses(fleet: Fleet, folder: FleetFolder, settings: Settings, drawers: Drawers, say: Callable[[str], None],
               ended: Callable[[str], object] = lambda name: None) -> None:
    """Fit those lenses of a fleet that have not ended, and leave how each ended in the folder.

    Args:
        fleet: The lenses.
        folder: Of the whole fleet.
        settings: How they are fitted.
        drawers: Draw what is there.
        say: Gets what the user should know.
        ended: Called with the name of each lens when its files are there.

    Raises:
        InputError: Devices that are not there.
        OSError: A disk is full.
    """
    shared = fleet.shared
    over, together = start_devices_of(shared).over, settings.together
    if together is None and settings.most is not None:
        together = min(settings.most, most_together(over, shared.inference))
    with ExitStack() as held:
        lenses = _Lenses(fleet, folder, settings, drawers, say, ended, held)
        fit = settings.fit or (search_many if settings.searches else fit_many)
        fit(lenses.opened(), config=shared.inference, amplitudes=shared.likelihood.amplitudes,
            amplitude_sd=shared.likelihood.amplitude_sd, precision=shared.run.precision, together=together, over=over,
            done=lenses.done)


def prepared(row: Row, config: Config) -> Job:
    """A lens with its data and its true values. Raises InputError."""
    job = prepare(config)
    return replace(job, truth=truth_of(row, job.prior))


@dataclass(eq=False)
class _Lenses:
    """Opens lenses as places come free, and keeps how they end."""

    fleet: Fleet
    folder: FleetFolder
    settings: Settings
    drawers: Drawers
    say: Callable[[str], None]
    ended: Callable[[str], object]
    held: ExitStack  # gives back what is still held when the fits end by an error
    jobs: dict[str, Job] = field(default_factory=dict)  # of the lenses that are being fitted
    locks: dict[str, FileLock] = field(default_factory=dict)

    def opened(self) -> Iterator[Lens]:
        """Open lenses; one that cannot be opened ends here."""
        for name in [name for one in self.fleet.alike for name in one]:
            if self.folder.has_ended(name):
                continue
            self._hold(name)
            if not self.folder.has_ended(name) and (lens := self._opened(name)) is not None:
                yield lens
            else:
                self._end(name)

    def _hold(self, name: str) -> None:
        """Hold a lens, when a process that an earlier run has left behind is not at it any more."""
        lock = FileLock(self.folder.lock(name))
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            self.say(f"{name}: a worker of an earlier run is still at it; waiting for it")
            lock.acquire()
        self.locks[name] = lock
        self.held.callback(lock.release)

    def _opened(self, name: str) -> Lens | None:
        """A lens, ready to be fitted; None for one that failed or was refused."""
        folder, settings = self.folder.lens(name), self.settings
        try:
            job = prepared(self.fleet.rows[name], self.fleet.configs[name])
            found = audits_of(job) if settings.audit else []
        except (CheckpointError, ValueError, ArithmeticError, LookupError) as error:
            self.folder.fail(name, error)
            return None
        try:
            store = job.store(folder)
        except CheckpointError as error:
            self.folder.refuse(name, str(error))
            return None
        if settings.audit:
            keep_audits(job.observations, found, folder, settings.draw)
        serious = serious_of(found)
        if serious and settings.strict:
            self.folder.refuse(name, f"{serious} (--strict)")
            return None
        for note in [*job.notes, *([f"{name}: {serious}"] if serious else [])]:
            self.say(f"note: {note}")
        self.jobs[name] = job
        return Lens(name=name, prior=job.prior, observations=job.observations, seed=job.config.run.seed,
                    points=job.config.terms, truth=job.truth, store=store,
                    keep=partial(keep_search, folder=folder, config_text=job.text, draw=False))

    def done(self, lens: Lens, result: Found | Exception) -> None:
        """Keep how a lens ended."""
        job, folder = self.jobs.pop(lens.name), self.folder.lens(lens.name)
        try:
            if isinstance(result, Exception):
                raise result
            write_results(in_units(result, job.config), folder, job.text, draw=False)
        except FAILURES as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            self.folder.fail(lens.name, error)
        if self.settings.draw and any((folder / file).is_file() for file in ("summary.json", "search.json")):
            self.drawers.add(folder)
        self._end(lens.name)

    def _end(self, name: str) -> None:
        self.locks.pop(name).release()
        self.ended(name)
