"""`giga simulate`: images with their truth, in files, for those who want files."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import (
    ConfigFile,
    Out,
    Override,
    Overwrite,
    Resume,
    Scheduler,
    Slurm,
    WorkerCount,
    app,
    console,
    edge,
)
from giga.io.configuration.simulation import load_simulation, read_run
from giga.io.configuration.toml import parse_override
from giga.io.results.simulation import held, simulate_shards
from giga.jobs.job import claim
from giga.runtime import parallel
from giga.runtime.workers import Workers


@app.command("simulate")
@edge
def simulate_command(config: ConfigFile, out: Out, images: Annotated[int | None, typer.Option(
        "-n", "--images", min=1, help="Number of images; by default output.images.")] = None,
        override: Override = None, resume: Resume = False, overwrite: Overwrite = False, workers: WorkerCount = None,
        scheduler: Scheduler = None, slurm: Slurm = None) -> None:
    """Simulate images of lenses and write them with their parts, noise, PSF and truth."""
    where = Workers(workers, scheduler, slurm)
    changes = dict(map(parse_override, override or []))
    if images is not None:
        changes["output.images"] = images
    run = read_run(config, changes)
    devices = parallel.start(run.devices, n_devices=run.n_devices)
    simulation = load_simulation(config, changes)
    for note in simulation.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", highlight=False)
    claim(out, resume=resume, overwrite=overwrite, files=held(out), config=config)
    place = parallel.describe(devices) if where.here else "workers"
    console.print(f"{simulation.output.images} images of {simulation.survey.name} on {place}", highlight=False)

    def report(done: int, shards: int, rate: float) -> None:
        told = f"{rate:.0f} images/s, compilation and writing included" if rate else "was there"
        console.print(f"shard {done} of {shards}: {told}", highlight=False)

    manifest = simulate_shards(simulation, out, parallel.mesh(devices), report, where=where, changes=changes,
                               say=lambda text: console.print(escape(text), highlight=False))
    console.print(f"wrote {escape(str(manifest))}", highlight=False, soft_wrap=True)
