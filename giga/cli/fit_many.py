"""`giga fit-many`: a catalogue of lenses with one configuration."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import DataFolder, Override, Scheduler, Slurm, WorkerCount, app, console, edge, fail
from giga.cli.fit import StopAfter
from giga.io.configuration.toml import parse_override
from giga.io.errors import InputError
from giga.jobs.fleet import check_data, plan_fleet, run_fleet
from giga.runtime.workers import Workers


@app.command("fit-many")
@edge
def fit_many_command(
    catalogue: Annotated[Path, typer.Argument(help="Table with one row a lens: CSV, ECSV, FITS, VOTable.")],
    config: Annotated[Path, typer.Option("--config", help="Configuration that the lenses share, a TOML file.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the fleet.")],
    data: DataFolder = None,
    override: Override = None,
    ignore: Annotated[list[str] | None, typer.Option("--ignore", help="Column to pass over.")] = None,
    together: Annotated[int | None, typer.Option("--together", min=1, help="Lenses in one compiled call, and of a "
                                                            "piece that a worker takes.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed lenses again.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a catalogue with missing files, and each lens "
                                            "with a serious finding of the audit.")] = False,
    audit: Annotated[bool, typer.Option("--audit/--no-audit", help="Audit the data of each lens first.")] = True,
    check: Annotated[bool, typer.Option("--check", help="Load all data, say what is wrong, fit nothing.")] = False,
    pictures: Annotated[bool, typer.Option("--pictures/--no-pictures", help="Draw pictures and reports.")] = True,
    stop_after: StopAfter = None,
    workers: WorkerCount = None, scheduler: Scheduler = None, slurm: Slurm = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the folder stands, which a fleet always "
                                                            "does; this changes nothing.")] = False,
) -> None:
    """Fit many lenses: one configuration, one catalogue, one folder; run it again to go on."""
    if ignore and "name" in ignore:
        raise InputError("", "--ignore", "got 'name'", "a column that is not needed")
    where = Workers(workers, scheduler, slurm)
    fleet = plan_fleet(catalogue, config, data_dir=data, overrides=dict(map(parse_override, override or [])),
                       ignore=ignore or (), strict=strict, where=where)
    if check:
        status = check_data(fleet, console, audit=audit, strict=strict)
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's notice
        try:
            status = run_fleet(fleet, out, together=together, where=where, retry_failed=retry_failed, draw=pictures,
                               audit=audit, strict=strict, console=console, searches=stop_after is not None)
        except KeyboardInterrupt:
            fail("interrupted; the same command goes on", code=130)
        console.print(f"table: {escape(str(out / 'summary.fits'))}", highlight=False)
        if stop_after is not None:
            console.print("the best fits of the searches, without errors; the same command without --stop-after goes "
                          "on", highlight=False, soft_wrap=True)
        if pictures:
            console.print(f"pictures: {escape(str(out / 'gallery.html'))}", highlight=False)
    bad = {name: f"{said}: {reason}" for name, (said, reason) in status.items() if said in ("failed", "refused")}
    for name, reason in bad.items():
        console.print(f"[red]{escape(name)}[/] {escape(reason)}", highlight=False, soft_wrap=True)
    done = sum(said == "done" for said, _ in status.values())
    console.print(f"{done} done, {len(bad)} failed, {len(status) - done - len(bad)} left", highlight=False)
    if bad:
        raise typer.Exit(1)
