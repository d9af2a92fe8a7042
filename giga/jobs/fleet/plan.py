"""A fleet: a catalogue of lenses and one configuration, checked whole before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from giga.component import leaves_with_names
from giga.imaging.audit import Audit
from giga.inference.settings import FitConfig
from giga.io.configuration.catalogue import Row, configure, image_shapes, read_catalogue
from giga.io.configuration.toml import Config, read_toml, scene_from_config
from giga.io.errors import InputError, nearest
from giga.jobs.audit import audited
from giga.jobs.job import Job, check_parameters, free_names, prepare, start_devices_of
from giga.lensing.scene import Scene
from giga.runtime.parallel import DeviceError, start_devices
from giga.runtime.workers import HERE, Workers


@dataclass(frozen=True, eq=False)
class Fleet:
    """A catalogue, checked. Made by `plan_fleet`.

    Attributes:
        rows: Its rows by name.
        configs: Configuration of each.
        missing: Why a lens cannot be loaded, for those that cannot.
        alike: The names of the others, those of one shape together.
        notes: What the user should know.
    """

    rows: Mapping[str, Row]
    configs: Mapping[str, Config]
    missing: Mapping[str, str]
    alike: Sequence[Sequence[str]]
    notes: Sequence[str]

    @property
    def shared(self) -> Config:
        """A configuration, for what all have in common."""
        return next(iter(self.configs.values()))

    def part(self, names: Collection[str]) -> Fleet:
        """The fleet of some of its lenses."""
        wanted = set(names)
        return Fleet({name: self.rows[name] for name in names}, {name: self.configs[name] for name in names},
                     {name: why for name, why in self.missing.items() if name in wanted},
                     [mine for one in self.alike if (mine := [name for name in one if name in wanted])], ())


def plan_fleet(catalogue: str | PathLike[str], config: str | PathLike[str], *,
               data_dir: str | PathLike[str] | None = None, overrides: Mapping[str, Any] | None = None,
               ignore: Collection[str] = (), strict: bool = False, where: Workers = HERE) -> Fleet:
    """Read and check a catalogue and its configuration, without loading the data.

    Args:
        catalogue: Table with one row a lens.
        config: TOML file that the lenses share.
        data_dir: Folder that all paths are relative to, see `giga.io.configuration.catalogue.configure`.
        overrides: Values that are changed for all, by path.
        ignore: Columns to pass over.
        strict: Refuse the catalogue when a file of a row is missing.
        where: Who is to fit it. Workers have the devices that the configuration asks for; this process needs none.

    Raises:
        InputError: File, row, column, value seen and what was expected.
    """
    rows = read_catalogue(catalogue, ignore)
    configs = configure(rows, catalogue, read_toml(config), Path(config), FitConfig, data_dir, overrides)
    for own in configs:
        if own.start.folder is not None:
            raise InputError(own.file, "start", f"got {own.start.folder}", "no [start]: a fleet has no earlier fit, "
                             "`giga fit` goes on from one")
    _start(configs[0], where)  # before a distribution is made, which starts JAX on what it finds
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
                 list(kinds.values()), _notes(kinds))


def _start(config: Config, where: Workers) -> None:
    """Start the devices; for workers, which have these, JAX on a CPU, or on what it runs on already."""
    if where.here:
        start_devices_of(config)
        return
    with suppress(DeviceError):
        start_devices("cpu", config.run.precision)


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
    for name in [name for one in fleet.alike for name in one]:
        try:
            job = prepare(fleet.configs[name])
            truth_of(fleet.rows[name], job.prior)
            notes += job.notes
            found = audits_of(job) if audit else []
        except InputError as error:
            status[name] = "failed", str(error)
            continue
        for text in (finding.text for one in found for finding in one.findings):
            console.print(f"[yellow]{escape(name)}: audit:[/] {escape(text)}", highlight=False, soft_wrap=True)
        if strict and (serious := serious_of(found)):
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


def audits_of(job: Job) -> list[Audit]:
    """What the audit finds in the data of a lens."""
    return audited(job.prior, job.observations, job.config.run.precision, job.config.file)


def serious_of(audits: Sequence[Audit]) -> str:
    """The first serious finding, in words; empty without one."""
    return next((f"audit: {text}" for one in audits for text in one.serious), "")


def _notes(kinds: Mapping[tuple, Sequence[str]]) -> list[str]:
    """Say that lenses have several shapes."""
    if len(kinds) < 2:
        return []
    said = [f"{', '.join(f'{ny} x {nx}' for ny, nx in shapes)} ({len(names)}: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''})" for shapes, names in kinds.items()]
    return [f"images of {len(kinds)} shapes, each of which compiles its own program: {'; '.join(said)}"]
