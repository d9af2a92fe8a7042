"""`giga fit`: from FITS images to a posterior, pictures and a report."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from giga.cli.audit import Strict
from giga.cli.base import (
    ConfigFile,
    Coordinator,
    CoordinatorTimeout,
    DataFolder,
    Out,
    Override,
    Overwrite,
    Process,
    Processes,
    Resume,
    app,
    console,
    edge,
)
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config, parse_override
from giga.jobs.run import run_fit, run_search
from giga.runtime import parallel


class Stage(StrEnum):
    """A stage that a fit can be ended after."""

    MAP = "map"


InitFrom = Annotated[str | None, typer.Option("--init-from", help="Network, by name or path, whose predicted posterior "
                                              "the search starts from.")]
MaskFrom = Annotated[str | None, typer.Option("--mask-from", help="Separator, by name or path: only pixels where it "
                                              "sees lens or source are fitted.")]
StopAfter = Annotated[Stage | None, typer.Option("--stop-after", help="End after this stage with a picture of its best "
                                                 "fit; --resume goes on later.")]


@app.command("fit")
@edge
def fit_command(config: ConfigFile, out: Out, data: DataFolder = None, override: Override = None,
                resume: Resume = False, overwrite: Overwrite = False, coordinator: Coordinator = None,
                processes: Processes = None, process: Process = None,
                coordinator_timeout: CoordinatorTimeout = 60.0, init_from: InitFrom = None,
                mask_from: MaskFrom = None, stop_after: StopAfter = None, strict: Strict = False) -> None:
    """Fit a lens: from FITS images to a posterior, pictures and a report."""
    settings = load_config(config, fit_config_type=FitConfig, data_dir=data,
                           overrides=dict(map(parse_override, override or [])))
    parallel.start_nodes(coordinator, processes, process, coordinator_timeout)
    run = run_fit if stop_after is None else run_search
    run(settings, out, resume=resume, overwrite=overwrite, console=console, init_from=init_from, mask_from=mask_from,
        strict=strict)
