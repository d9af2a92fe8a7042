"""`giga audit`: what in the data of a configuration would make a fit wrong, before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import ConfigFile, DataFolder, Override, app, console, edge, tell
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config, parse_override
from giga.io.errors import InputError
from giga.jobs.audit import audited, show_audits, write_audits
from giga.jobs.job import prepare

Strict = Annotated[bool, typer.Option("--strict", help="Refuse data with a serious finding of the audit.")]


@app.command("audit")
@edge
def audit_command(config: ConfigFile, data: DataFolder = None, override: Override = None, strict: Strict = False,
                  out: Annotated[Path | None, typer.Option("--out", help="Picture of what was found.")] = None) -> None:
    """Look at image, noise, PSF and mask before a fit."""
    if out is not None and not out.parent.is_dir():
        raise InputError(out, "--out", f"no folder {out.parent}", "a file in a folder that is there")
    settings = load_config(config, fit_config_type=FitConfig, data_dir=data,
                           overrides=dict(map(parse_override, override or [])))
    job = prepare(settings)
    tell(config, job.notes)
    audits = audited(job.prior, job.observations, settings.run.precision, config)
    show_audits(audits, console)
    if out is not None:
        console.print(f"wrote {escape(str(write_audits(job.observations, audits, out)))}")
    for k, one in enumerate(audits):
        if strict and one.serious:
            raise InputError(config, f"observation.{k}", one.serious[0], "data without serious findings (--strict)")
