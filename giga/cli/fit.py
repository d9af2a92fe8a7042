"""`giga fit`: from FITS images to a posterior, pictures and a report."""

from __future__ import annotations

from giga import parallel
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
from giga.io.toml import load_config, parse_override
from giga.run import run_fit


@app.command("fit")
@edge
def fit_command(config: ConfigFile, out: Out, data: DataFolder = None, override: Override = None,
                resume: Resume = False, overwrite: Overwrite = False, coordinator: Coordinator = None,
                processes: Processes = None, process: Process = None,
                coordinator_timeout: CoordinatorTimeout = 60.0) -> None:
    """Fit a lens: from FITS images to a posterior, pictures and a report."""
    settings = load_config(config, fit_config_type=FitConfig, data_dir=data)
    settings = settings.with_overrides(dict(map(parse_override, override or [])))
    parallel.start_nodes(coordinator, processes, process, coordinator_timeout)
    run_fit(settings, out, resume=resume, overwrite=overwrite, console=console)
