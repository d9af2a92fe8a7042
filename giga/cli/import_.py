"""`giga import`: a model of another code, as a configuration."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import app, check_out, console, edge, tell
from giga.io.configuration.priors import SETS
from giga.io.errors import InputError, nearest
from giga.jobs.exchange import import_model


class Code(StrEnum):
    """Codes whose files are read."""

    COOLEST = "coolest"
    LENSTRONOMY = "lenstronomy"


@app.command("import")
@edge
def import_command(
        file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON: a template of COOLEST, or kwargs_model and "
                                             "kwargs_result of lenstronomy.")],
        code: Annotated[Code, typer.Option("--from", help="Whose file it is.")],
        out: Annotated[Path, typer.Option("--out", help="The configuration.")] = Path("lens.toml"),
        observation: Annotated[Path | None, typer.Option("--observation", help="Configuration whose data and settings "
                                                         "are taken.")] = None,
        priors: Annotated[str | None, typer.Option("--priors", help="Named set of priors, galaxy-scale, for what the "
                                                   "file neither fixes nor gives a prior.")] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over what is there.")] = False) -> None:
    """Write a configuration of a model that another code has made."""
    if priors is not None and priors not in SETS:
        raise InputError("", "--priors", f"got {priors!r}", nearest(priors, SETS))
    check_out([out], [path for path in (file, observation) if path is not None], overwrite)
    done = import_model(file, code.value, out, observation, priors)
    tell(out, done.notes)
    for path in done.files:
        console.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)
