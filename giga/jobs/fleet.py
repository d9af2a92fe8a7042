"""A catalogue of lenses and one configuration, read and checked before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from giga.component import leaves_with_names
from giga.inference.settings import FitConfig
from giga.io.configuration.catalogue import Row, configure, image_shapes, read_catalogue
from giga.io.configuration.toml import Config, read_toml, scene_from_config
from giga.io.errors import InputError, nearest
from giga.jobs.run import Job, check_parameters, free_names, prepare, start_devices_of


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


def check_data(fleet: Fleet, console: Console) -> dict[str, tuple[str, str]]:
    """Load the data of every lens and say what is wrong.

    Returns:
        Status ("waiting" or "failed") and reason of each lens.
    """
    status = dict.fromkeys(fleet.rows, ("waiting", "")) | {name: ("failed", why) for name, why in fleet.missing.items()}
    notes = list(fleet.notes)
    for name in [name for name in fleet.order if name not in fleet.missing]:
        try:
            job = prepare(fleet.configs[name])
            truth_of(fleet.rows[name], job)
            notes += job.notes
        except InputError as error:
            status[name] = "failed", str(error)
    for note in dict.fromkeys(notes):
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    return status


def truth_of(row: Row, job: Job) -> Mapping[str, float] | None:
    """The true values of a row, which must be those of all free parameters."""
    if not row.truth:
        return None
    leaves = dict(leaves_with_names(job.prior))
    for name in row.truth:
        if name not in leaves:
            raise InputError("", f"truth.{name}", "no such parameter", nearest(name, leaves))
    free = free_names(job.prior)
    for name in free:
        if name not in row.truth:
            raise InputError("", f"truth.{name}", "missing", "the true values of all free parameters, or none")
    return {name: row.truth[name] for name in free}


def _notes(kinds: Mapping[tuple, Sequence[str]]) -> list[str]:
    """Say that lenses have several shapes."""
    if len(kinds) < 2:
        return []
    said = [f"{', '.join(f'{ny} x {nx}' for ny, nx in shapes)} ({len(names)}: {', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''})" for shapes, names in kinds.items()]
    return [f"images of {len(kinds)} shapes, each of which compiles its own program: {'; '.join(said)}"]
