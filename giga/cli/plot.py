"""`giga plot`: the pictures and the report of a finished run, drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import app, console, edge
from giga.io.results import redraw


@app.command()
@edge
def plot(run: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Draw the pictures and the report of a finished run again."""
    for path in redraw(run):
        console.print(f"wrote {escape(str(path))}")
