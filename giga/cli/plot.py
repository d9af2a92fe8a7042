"""`giga plot`: the pictures and the reports of finished runs, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import app, console, edge
from giga.jobs.results import redraw


@app.command()
@edge
def plot(runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs.")]) -> None:
    """Draw the pictures and the report of finished runs again."""
    for run in runs:
        for path in redraw(run):
            console.print(f"wrote {escape(str(path))}")
