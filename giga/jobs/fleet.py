"""A fleet: a catalogue of lenses and one configuration, checked whole, then fitted lens by lens into a folder."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from giga.component import leaves_with_names
from giga.imaging.audit import Audit
from giga.inference.checks.comparison import data_hash
from giga.inference.fleet import FAILURES, Lens, fit_many, search_many
from giga.inference.result import Found
from giga.inference.settings import FitConfig
from giga.io.configuration.catalogue import Row, configure, image_shapes, read_catalogue
from giga.io.configuration.toml import Config, read_toml, scene_from_config
from giga.io.errors import InputError, nearest
from giga.io.results.fleet import FleetFolder
from giga.io.results.folder import read_summary
from giga.jobs.audit import audited, keep_audits
from giga.jobs.drawers import Drawers
from giga.jobs.job import (
    CHECKPOINT,
    Job,
    changed_units,
    changed_values,
    check_parameters,
    dates_of,
    free_names,
    prepare,
    start_devices_of,
)
from giga.jobs.results import in_units, keep_search, write_results
from giga.lensing.scene import Scene
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.runtime.checkpoint import CheckpointError, mark_of
from giga.runtime.claims import EXPIRY, Claim, Claims, turns
from giga.show.gallery import Shown, gallery_page
from giga.show.terminal import Board

DEATHS = 3  # workers that may die of one lens
FULL = (errno.ENOSPC, errno.EDQUOT)  # the fault of the machine, not of the lens


@dataclass(frozen=True, eq=False)
class Fleet:
    """A catalogue, checked. Made by `plan_fleet`.

    Attributes:
        rows: Its rows by name.
        configs: Configuration of each.
        missing: Why a lens cannot be loaded, for those that cannot.
        order: The names, those of one shape together.
        notes: What the user should know.
    """

    rows: Mapping[str, Row]
    configs: Mapping[str, Config]
    missing: Mapping[str, str]
    order: Sequence[str]
    notes: Sequence[str]


def plan_fleet(catalogue: str | PathLike[str], config: str | PathLike[str], *,
               data_dir: str | PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None,
               ignore: Collection[str] = (), strict: bool = False) -> Fleet:
    """Read and check a catalogue and its configuration, without loading the data.

    Args:
        catalogue: Table with one row a lens.
        config: TOML file that the lenses share.
        data_dir: Folder that all paths are relative to, see `giga.io.configuration.catalogue.configure`.
        overrides: Values that are changed for all, by path.
        ignore: Columns to pass over.
        strict: Refuse the catalogue when a file of a row is missing.

    Raises:
        InputError: File, row, column, value seen and what was expected.
    """
    rows = read_catalogue(catalogue, ignore)
    configs = configure(rows, catalogue, read_toml(config), Path(config), FitConfig, data_dir, overrides)
    for own in configs:
        if own.start.folder is not None:
            raise InputError(own.file, "start", f"got {own.start.folder}", "no [start]: a fleet has no earlier fit, "
                             "`giga fit` goes on from one")
    start_devices_of(configs[0])  # before a distribution is made, which starts JAX on what it finds
    kinds: dict[tuple, list[str]] = {}
    missing: dict[str, str] = {}
    for row, own in zip(rows, configs, strict=True):
        check_parameters(own, scene_from_config(own))
        try:
            shapes = image_shapes(row, own)
        except InputError as error:
            if strict:
                raise InputError(catalogue, f"row {row.number} ({row.name})", str(error)) from error
            missing[row.name] = str(error)
        else:
            kinds.setdefault(shapes, []).append(row.name)
    names = [row.name for row in rows]
    return Fleet(dict(zip(names, rows, strict=True)), dict(zip(names, configs, strict=True)), missing,
                 [name for alike in kinds.values() for name in alike] + list(missing), _notes(kinds))


def check_data(fleet: Fleet, console: Console, *, audit: bool = True,
               strict: bool = False) -> dict[str, tuple[str, str]]:
    """Load the data of every lens and say what is wrong.

    Args:
        fleet: The lenses.
        console: Where to print.
        audit: Audit the data too.
        strict: A serious finding of the audit refuses a lens.

    Returns:
        Status ("waiting", "refused" or "failed") and reason of each lens.
    """
    status = dict.fromkeys(fleet.rows, ("waiting", "")) | {name: ("failed", why) for name, why in fleet.missing.items()}
    notes = list(fleet.notes)
    for name in [name for name in fleet.order if name not in fleet.missing]:
        try:
            job = prepare(fleet.configs[name])
            truth_of(fleet.rows[name], job.prior)
            notes += job.notes
            found = _audits(job) if audit else []
        except InputError as error:
            status[name] = "failed", str(error)
            continue
        for text in (finding.text for one in found for finding in one.findings):
            console.print(f"[yellow]{escape(name)}: audit:[/] {escape(text)}", highlight=False, soft_wrap=True)
        if strict and (serious := _serious(found)):
            status[name] = "refused", f"{serious} (--strict)"
    for note in dict.fromkeys(notes):
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    return status


def truth_of(row: Row, prior: Scene) -> Mapping[str, float] | None:
    """The true values of a row, which must be those of all free parameters of its prior."""
    if not row.truth:
        return None
    leaves = dict(leaves_with_names(prior))
    for name in row.truth:
        if name not in leaves:
            raise InputError("", f"truth.{name}", "no such parameter", nearest(name, leaves))
    free = free_names(prior)
    for name in free:
        if name not in row.truth:
            raise InputError("", f"truth.{name}", "missing", "the true values of all free parameters, or none")
    return {name: row.truth[name] for name in free}


def run_fleet(fleet: Fleet, out: Path, *, together: int | None = None, expiry: float = EXPIRY, wait: bool = True,
              retry_failed: bool = False, draw: bool = True, audit: bool = True, strict: bool = False,
              searches: bool = False, console: Console | None = None,
              fit: Callable[..., None] | None = None) -> dict[str, tuple[str, str]]:
    """Fit the lenses of a fleet that are not fitted yet, beside other workers on the same folder.

    Args:
        fleet: The lenses.
        out: The folder.
        together: Lenses in a compiled call; None chooses.
        expiry: Age at which the claim of another worker is taken over [s].
        wait: Wait for the lenses of other workers.
        retry_failed: Try failed lenses again, from their beginning.
        draw: Draw pictures and reports.
        audit: Audit the data of each lens before its fit.
        strict: Refuse a lens with a serious finding of the audit; the others go on.
        searches: End each fit after its search; called again without it, the fits go on from there.
        console: Where to print; the standard output by default.
        fit: What fits, with the arguments of `giga.inference.fleet.fit_many`, which is the default.

    Returns:
        Status ("done", "failed", "refused", "running", "waiting") and reason of each lens.

    Raises:
        InputError: Devices that are not there.
        OSError: A file cannot be written.
    """
    console, fit = console or Console(), fit or (search_many if searches else fit_many)
    shared = next(iter(fleet.configs.values()))
    devices = start_devices_of(shared)
    for note in fleet.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    console.print(f"fitting {len(fleet.rows)} lenses on {parallel.describe(devices)}", highlight=False)
    folder = FleetFolder(out, searches)
    with Claims(folder.claims, expiry) as claims, Drawers() as drawers:
        worker = _Worker(fleet, folder, claims, drawers if draw else None, audit, strict)
        worker.look_at_results(retry_failed)
        try:
            with Board(console, worker.status()) as worker.board:
                for turn in turns(fleet.order, claims, worker.has_ended, wait=wait):
                    fit(worker.lenses(turn), config=shared.inference, amplitudes=shared.likelihood.amplitudes,
                        amplitude_sd=shared.likelihood.amplitude_sd, precision=shared.run.precision, together=together,
                        over=parallel.mesh(devices), done=worker.done)
                    worker.board.look(worker.status())
            if draw:
                with console.status("drawing pictures"):
                    drawers.finish()
                for problem in drawers.problems:
                    console.print(f"[yellow]note:[/] pictures: {escape(problem)}", highlight=False)
        finally:  # also of a fleet that is interrupted
            status = worker.status()
            worker.folder.write_table(status)
            if draw:
                write_gallery(worker.folder, status)
    return status


def write_gallery(folder: FleetFolder, status: Mapping[str, tuple[str, str]]) -> Path:
    """Write gallery.html, which shows the pictures in the folders of the lenses."""
    shown = {name: Shown(f"lenses/{name}", [file.name for file in folder.lens(name).glob("*.*")]) for name in status}
    return write_text(folder.path / "gallery.html", gallery_page(folder.table(status), shown))


@dataclass(eq=False)
class _Worker:
    """One worker: opens lenses that it claimed, keeps how they end, and says so."""

    fleet: Fleet
    folder: FleetFolder
    claims: Claims
    drawers: Drawers | None
    audit: bool = True
    strict: bool = False
    board: Board | None = None
    jobs: dict[str, Job] = field(default_factory=dict)  # of the lenses that are being fitted
    refused: dict[str, str] = field(default_factory=dict)  # why results in the folder are not of this fleet
    noted: set[str] = field(default_factory=set)

    def look_at_results(self, retry_failed: bool) -> None:
        """Refuse results of other configurations and data; forget failures; take up what has other units; draw."""
        drawn = "report.html" if self.folder.searches else "corner.png"
        for name, config in self.fleet.configs.items():
            if (failure := self.folder.failure(name)) is not None:
                if retry_failed and name not in self.fleet.missing:
                    self._forget(name, failure)
            elif reason := self._foreign(name, config):
                self.refused[name] = reason
            elif self.folder.is_done(name):
                # A search alone has nothing in units; the results of a fit that it finds there stay.
                if not self.folder.searches and changed_units(self.folder.lens(name), config):
                    self._reopen(name)
                elif self.drawers and not (self.folder.lens(name) / drawn).exists():
                    self.drawers.add(self.folder.lens(name))
        self.folder.write_table(self.status())

    def _forget(self, name: str, failure: dict[str, str]) -> None:
        """Let a failed lens be fitted from its beginning, unless another worker has done so since it was looked at."""
        if self.claims.take(name) is None:
            return
        if self.folder.failure(name) == failure:
            shutil.rmtree(self.folder.lens(name) / CHECKPOINT, ignore_errors=True)
            self.folder.forget_failure(name)
        self.claims.give_back(name)

    def _reopen(self, name: str) -> None:
        """Let a lens be taken up from its checkpoint: redshifts or zero points are new, and so are numbers by them."""
        if self.claims.take(name) is None:
            return
        (self.folder.lens(name) / "summary.json").unlink(missing_ok=True)
        self.claims.give_back(name)

    def status(self) -> dict[str, tuple[str, str]]:
        """Status and reason of each lens."""
        return {name: self._status(name) for name in self.fleet.rows}

    def has_ended(self, name: str) -> bool:
        """Whether nothing more will be done with a lens."""
        return (self.folder.is_done(name) or name in self.refused or name in self.fleet.missing
                or self.folder.failure(name) is not None)

    def lenses(self, turn: Iterator[Claim]) -> Iterator[Lens]:
        """Open claimed lenses; one that cannot be opened ends here."""
        for claim in turn:
            name, folder = claim.name, self.folder.lens(claim.name)
            try:
                if claim.deaths >= DEATHS:
                    raise CheckpointError(f"{claim.deaths} workers died while they fitted it")
                job = self._prepared(name)
                found = _audits(job) if self.audit else []
            except (CheckpointError, ValueError, ArithmeticError, LookupError) as error:
                self._end(name, self.folder.fail(name, error))
                continue
            try:
                store = job.store(folder)
            except CheckpointError as error:
                self.refused[name] = str(error)
                self._end(name, f"refused: {error}")
                continue
            if self.audit:
                keep_audits(job.observations, found, folder, self.drawers is not None)
            serious = _serious(found)
            if serious and self.strict:
                self.refused[name] = f"{serious} (--strict)"
                self._end(name, f"refused: {self.refused[name]}")
                continue
            for note in [*job.notes, *([f"{name}: {serious}"] if serious else [])]:
                self._note(note)
            self.jobs[name] = job
            yield Lens(name=name, prior=job.prior, observations=job.observations, seed=job.config.run.seed,
                       points=job.config.terms,
                       truth=job.truth, store=store,
                       keep=partial(keep_search, folder=folder, config_text=job.text, draw=False))

    def done(self, lens: Lens, result: Found | Exception) -> None:
        """Keep how a lens ended."""
        job, folder = self.jobs.pop(lens.name), self.folder.lens(lens.name)
        if not self.claims.is_mine(lens.name):
            self._say(f"{lens.name}: left to the worker that took it over")
            return
        try:
            if isinstance(result, Exception):
                raise result
            write_results(in_units(result, job.config), folder, job.text, draw=False)
        except FAILURES as error:
            if isinstance(error, OSError) and error.errno in FULL:
                raise
            if self.drawers is not None and (folder / "search.json").is_file():
                self.drawers.add(folder)
            self._end(lens.name, f"failed: {self.folder.fail(lens.name, error)}")
            return
        if self.drawers is not None:
            self.drawers.add(folder)
        self._end(lens.name, self.folder.says(lens.name))

    def _end(self, name: str, text: str) -> None:
        self.claims.give_back(name)
        status = self.status()
        self.folder.write_table(status)
        if self.board is not None:
            self.board.lens(name, text, status)

    def _note(self, note: str) -> None:
        """Say what should be known of the data of a lens, unless it was said of another."""
        said = note.partition(": ")[2] or note  # without the file
        if said not in self.noted:
            self._say(f"note: {note}")
        self.noted.add(said)

    def _say(self, text: str) -> None:
        if self.board is not None:
            self.board.say(text)

    def _status(self, name: str) -> tuple[str, str]:
        if name in self.refused:
            return "refused", self.refused[name]
        failure = self.folder.failure(name)
        if failure is None and self.folder.is_done(name):
            return "done", ""
        if name in self.fleet.missing or failure is not None:
            return "failed", self.fleet.missing.get(name, "") or (failure or {}).get("reason", "")
        return ("waiting" if self.claims.is_free(name) else "running"), ""

    def _foreign(self, name: str, config: Config) -> str:
        """Why the results or checkpoints in the folder of a lens are not those of this fleet; empty when they are."""
        folder = self.folder.lens(name)
        if changes := changed_values(folder, config):
            return f"{folder} holds another configuration ({changes}); use another --out, or remove that folder"
        if name in self.fleet.missing or not self.folder.is_done(name):
            return ""
        try:
            mark = mark_of(folder / CHECKPOINT)
            if not mark:  # someone has removed the checkpoint
                return self._other_data(name, config)
            # Loading every image again to compare takes long; the files' dates tell when that is needed.
            if mark.get("dates") == dates_of(config) and mark.get("truth") == self._truth(name, config):
                return ""
            self._prepared(name).store(folder)
        except (CheckpointError, InputError) as error:
            return str(error)
        return ""

    def _prepared(self, name: str) -> Job:
        """A lens with its data and its true values."""
        job = prepare(self.fleet.configs[name])
        return replace(job, truth=truth_of(self.fleet.rows[name], job.prior))

    def _truth(self, name: str, config: Config) -> dict[str, float]:
        """What the catalogue says of the true values of a lens."""
        row = self.fleet.rows[name]
        return dict(truth_of(row, scene_from_config(config)) or {}) if row.truth else {}

    def _other_data(self, name: str, config: Config) -> str:
        """Why results whose checkpoint is gone are not of these data, as far as their summary tells."""
        path = self.folder.last(name)
        known, date = read_summary(path, ()), path.stat().st_mtime_ns
        if known.get("truth", {}) != self._truth(name, config):
            return f"{path}: truth: not that of the catalogue; use another --out, or remove that folder"
        if all(max(dates[1:]) < date for dates in dates_of(config).values()):
            return ""
        if known.get("checks", {}).get("data_hash") == data_hash(prepare(config).observations, config.terms):
            return ""
        return f"{path}: a fit of other data; use another --out, or remove that folder"


def _audits(job: Job) -> list[Audit]:
    """What the audit finds in the data of a lens."""
    return audited(job.prior, job.observations, job.config.run.precision, job.config.file)


def _serious(audits: Sequence[Audit]) -> str:
    """The first serious finding, in words; empty without one."""
    return next((f"audit: {text}" for one in audits for text in one.serious), "")


def _notes(kinds: Mapping[tuple, Sequence[str]]) -> list[str]:
    """Say that lenses have several shapes."""
    if len(kinds) < 2:
        return []
    said = [f"{', '.join(f'{ny} x {nx}' for ny, nx in shapes)} ({len(names)}: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''})" for shapes, names in kinds.items()]
    return [f"images of {len(kinds)} shapes, each of which compiles its own program: {'; '.join(said)}"]
