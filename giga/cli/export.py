"""`giga export`: a run, in the files of another code."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import app, check_out, console, edge, tell
from giga.jobs.exchange import export_run


class Code(StrEnum):
    """Codes whose files are written and read."""

    COOLEST = "coolest"
    LENSTRONOMY = "lenstronomy"


@app.command("export")
@edge
def export_command(
        run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
        to: Annotated[Code, typer.Option("--to", help="coolest: a template with data, quantiles and chain; "
                                         "lenstronomy: keyword arguments of the best fit.")],
        out: Annotated[Path, typer.Option("--out", help="A JSON file; those that belong to it lie beside it.")],
        observation: Annotated[int, typer.Option("--observation", help="Number of the observation, from 0.")] = 0,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over what is there.")] = False) -> None:
    """Write a run in the files of another code."""
    check_out([out], overwrite=overwrite)
    done = export_run(run, to.value, out, observation)
    tell(out, done.notes)
    for path in done.files:
        console.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)
