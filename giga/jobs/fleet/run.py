"""A fleet, run: what its folder holds is looked at, the rest fitted, here or by workers, and all set out in a table."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from giga.inference.checks.comparison import data_hash
from giga.inference.fleet import MOST
from giga.io.configuration.toml import Config, scene_from_config
from giga.io.errors import InputError
from giga.io.results.fleet import FleetFolder
from giga.io.results.folder import read_summary
from giga.jobs.drawers import Drawers
from giga.jobs.fleet.lenses import Fit, Piece, Settings, fit_lenses, fit_piece, prepared
from giga.jobs.fleet.plan import Fleet, truth_of
from giga.jobs.job import CHECKPOINT, changed_units, changed_values, dates_of, prepare, start_devices_of
from giga.runtime.atomic import write_text
from giga.runtime.checkpoint import CheckpointError, mark_of
from giga.runtime.workers import HERE, ClusterError, Lost, Workers, alone, spread
from giga.show.gallery import Shown, gallery_page
from giga.show.terminal import Board

EACH = 4  # pieces of a worker, so that those that have ended take from those that have not
UNKNOWN = 16  # workers that a scheduler is taken to have
LOOK_S = 2.0  # between looks at the folder while workers work; more where a look takes long


def run_fleet(fleet: Fleet, out: str | PathLike[str], *, together: int | None = None, where: Workers = HERE,
              retry_failed: bool = False, draw: bool = True, audit: bool = True, strict: bool = False,
              searches: bool = False, console: Console | None = None,
              fit: Fit | None = None) -> dict[str, tuple[str, str]]:
    """Fit the lenses of a fleet that are not fitted yet, as the only coordinator of the folder.

    Args:
        fleet: The lenses.
        out: The folder.
        together: Lenses in a compiled call, and of a piece that a worker takes; None chooses.
        where: Who fits; without workers this process, with all its devices.
        retry_failed: Try failed lenses again, from their beginning.
        draw: Draw pictures and reports.
        audit: Audit the data of each lens before its fit.
        strict: Refuse a lens with a serious finding of the audit; the others go on.
        searches: End each fit after its search; called again without it, the fits go on from there.
        console: Where to print; the standard output by default.
        fit: What fits, with the arguments of `giga.inference.fleet.fit_many`, which is the default; workers import it.

    Returns:
        Status ("done", "failed", "refused", "waiting") and reason of each lens.

    Raises:
        InputError: Devices that are not there.
        ClusterError: Another coordinator, or workers that cannot be had or went away.
        OSError: A file cannot be written.
    """
    folder, console = FleetFolder(Path(out).absolute(), searches), console or Console()
    place = start_devices_of(fleet.shared).where if where.here else "workers"
    for note in fleet.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    folder.path.mkdir(parents=True, exist_ok=True)
    with alone(folder.path), Drawers() as drawers:
        run = _Run(fleet, folder, Settings(together, None, draw, audit, strict, searches, fit), drawers)
        console.print(f"fitting {len(fleet.rows)} lenses on {place}", highlight=False)
        run.look_at_results(retry_failed)
        try:
            with Board(console, run.status) as run.board:
                run.here() if where.here else run.by_workers(where)
            if draw:
                with console.status("drawing pictures"):
                    drawers.finish()
                for problem in drawers.problems:
                    console.print(f"[yellow]note:[/] pictures: {escape(problem)}", highlight=False)
        finally:  # also of a fleet that is interrupted
            status = run.look()
            folder.write_table(status)
            if draw:
                write_gallery(folder, status)
    return status


def write_gallery(folder: FleetFolder, status: Mapping[str, tuple[str, str]]) -> Path:
    """Write gallery.html, which shows the pictures in the folders of the lenses."""
    shown = {name: Shown(f"lenses/{name}", [file.name for file in folder.lens(name).glob("*.*")]) for name in status}
    return write_text(folder.path / "gallery.html", gallery_page(folder.table(status), shown))


@dataclass(eq=False)
class _Run:
    """Has lenses fitted, and tells from the folder how things stand."""

    fleet: Fleet
    folder: FleetFolder
    settings: Settings
    drawers: Drawers
    board: Board | None = None
    status: dict[str, tuple[str, str]] = field(default_factory=dict)
    noted: set[str] = field(default_factory=set)
    next_look: float = 0.0

    def here(self) -> None:
        """Fit what is left in this process."""
        left = self._left()
        if left.rows:
            fit_lenses(left, self.folder, self.settings, self.drawers, self._say, lambda name: self.look([name]))

    def by_workers(self, where: Workers) -> None:
        """Have workers fit what is left: in pieces, and what is lost with a piece once more, lens by lens."""
        left = self._left()
        lost = self._spread(left, where)
        for name, reason in self._spread(self.fleet.part(list(lost)), where, 1).items():
            self.folder.fail(name, ClusterError(f"its workers died: {reason}"))
            self.look([name])
        if self.settings.draw:
            self._draw_missing(left.rows)

    def _spread(self, left: Fleet, where: Workers, size: int | None = None) -> dict[str, str]:
        """Have workers fit lenses in pieces; gives those whose workers died of their piece, with the reason."""
        lost: dict[str, str] = {}
        if not left.alike:
            return lost
        most = self.settings.together or max(1, min(MOST, len(left.rows) // (EACH * _count(where))))
        settings = replace(self.settings, most=most)
        pieces = [Piece(left.part(names), self.folder.path, settings) for names in _pieces(left, size or most)]
        with closing(spread(fit_piece, pieces, where, self._say, self._look_again)) as ends:
            for piece, died in ends:
                status = self.look(piece.fleet.rows)
                if isinstance(died, Lost):
                    lost |= {name: died.reason for name in piece.fleet.rows if status[name][0] == "waiting"}
        return lost

    def look_at_results(self, retry_failed: bool) -> None:
        """Refuse results of other configurations and data; forget failures; take up what has other units; draw."""
        for name, config in self.fleet.configs.items():
            self.folder.forget_refusal(name)
            if self.folder.failure(name) is not None:
                if retry_failed and name not in self.fleet.missing:
                    shutil.rmtree(self.folder.lens(name) / CHECKPOINT, ignore_errors=True)
                    self.folder.forget_failure(name)
            elif reason := self._foreign(name, config):
                self.folder.refuse(name, reason)
            # A search alone has nothing in units; the results of a fit that it finds there stay.
            elif self.folder.is_done(name) and not self.folder.searches \
                    and changed_units(self.folder.lens(name), config):
                (self.folder.lens(name) / "summary.json").unlink()  # it is taken up from its checkpoint
        self.status = {name: self._status(name) for name in self.fleet.rows}
        if self.settings.draw:
            self._draw_missing(self.fleet.rows)
        self.folder.write_table(self.status)

    def look(self, names: Iterable[str] | None = None) -> dict[str, tuple[str, str]]:
        """Status and reason of each lens; says of those that have ended since the last look how they did.

        Args:
            names: Lenses to look at; all by default.
        """
        ends = {}
        for name in self.status if names is None else names:
            if self.status[name][0] == "waiting" and (now := self._status(name))[0] != "waiting":
                self.status[name] = ends[name] = now
        if ends:
            self.folder.write_table(self.status)
        for name, (said, reason) in ends.items():
            if self.board is not None:
                self.board.lens(name, self.folder.says(name) if said == "done" else f"{said}: {reason}", self.status)
        return self.status

    def _look_again(self) -> None:
        """Look, if the last look was long ago."""
        if (begun := time.monotonic()) >= self.next_look:
            self.look()
            self.next_look = time.monotonic() + max(LOOK_S, 10.0 * (time.monotonic() - begun))

    def _left(self) -> Fleet:
        """The lenses that have not ended."""
        return self.fleet.part([name for name, (said, _) in self.status.items() if said == "waiting"])

    def _say(self, text: str) -> None:
        """Say something, but not twice what should be known of data alike."""
        said = text.removeprefix("note: ").partition(": ")[2] or text  # without the file
        if self.board is not None and (said not in self.noted or not text.startswith("note: ")):
            self.board.say(text)
        self.noted.add(said)

    def _status(self, name: str) -> tuple[str, str]:
        if refusal := self.folder.refusal(name):
            return "refused", refusal
        failure = self.folder.failure(name)
        if failure is None and self.folder.is_done(name):
            return "done", ""
        if name in self.fleet.missing or failure is not None:
            return "failed", self.fleet.missing.get(name, "") or (failure or {}).get("reason", "")
        return "waiting", ""

    def _draw_missing(self, names: Iterable[str]) -> None:
        """Draw lenses that have results and no pictures."""
        drawn = "report.html" if self.folder.searches else "corner.png"
        for name in names:
            if self.status[name][0] == "done" and not (self.folder.lens(name) / drawn).exists():
                self.drawers.add(self.folder.lens(name))

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
            prepared(self.fleet.rows[name], config).store(folder)
        except (CheckpointError, InputError) as error:
            return str(error)
        return ""

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


def _count(where: Workers) -> int:
    """Number of workers, as far as it is known before they come."""
    return UNKNOWN if where.scheduler is not None else where.workers or 1


def _pieces(fleet: Fleet, size: int) -> Iterator[list[str]]:
    """Names of lenses of one shape, so many at a time."""
    for alike in fleet.alike:
        for k in range(0, len(alike), size):
            yield list(alike[k:k + size])
