"""`giga bench`: fixed problems, timed; their table and their figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from giga.cli.base import app, console, edge, fail
from giga.io.errors import InputError
from giga.io.jsonfile import write_json
from giga.jobs.bench.plot import bench_figure
from giga.jobs.bench.suite import STAGES, Settings, WorkerError, read, run
from giga.jobs.bench.table import bench_table
from giga.jobs.bench.worker import NAMES
from giga.runtime.atomic import write_bytes
from giga.show.plot import png

WIDTH = 190  # columns of the table, where the terminal has fewer


@app.command("bench")
@edge
def bench_command(
    problems: Annotated[list[str] | None, typer.Argument(help=f"Of {', '.join(NAMES)}; all by default. With --table "
                                                              "or --plot: files of earlier runs.")] = None,
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.")] = Path("bench.json"),
    stages: Annotated[str, typer.Option(help="What is timed, separated by commas; a fit goes as far as the last "
                                             "stage named.")] = ",".join(STAGES),
    devices: Annotated[str | None, typer.Option(help="Numbers of devices, as 1,2,4,8; by default all that are "
                                                     "here.")] = None,
    repeat: Annotated[int, typer.Option(help="Fits of each problem; the first pays for compiling.")] = 1,
    lenses: Annotated[int, typer.Option(help="Number of lenses of the fleet.")] = 8,
    smoke: Annotated[bool, typer.Option("--smoke", help="Tiny sizes, to see that it works.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Print the table of files of earlier runs.")] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw files of earlier runs into this PNG.")] = None,
) -> None:
    """Time fixed problems stage by stage, and write what was found as JSON."""
    if table or plot is not None:
        _show([Path(name) for name in problems or []], table, plot)
        return
    settings = Settings(problems or NAMES, stages.split(","), _numbers(devices), repeat, lenses, smoke)
    if not out.parent.is_dir():
        raise InputError(out, "--out", f"no folder {out.parent}", "a file in a folder that is there")
    try:
        for held in run(settings):
            write_json(out, held)  # after each row, so that a long run leaves what it has
    except WorkerError as error:
        fail(str(error), code=1)
    except KeyboardInterrupt:
        fail(f"interrupted; rows that were whole are in {out}", code=130)
    _table(read([out]))
    console.print(f"wrote {escape(str(out))}")


def _show(files: list[Path], table: bool, plot: Path | None) -> None:
    if not files:
        raise InputError("", "bench", "no file", "one or more JSON files that giga bench wrote")
    rows = read(files)
    if table:
        _table(rows)
    if plot is not None:
        console.print(f"wrote {escape(str(write_bytes(plot, png(bench_figure(rows)))))}")


def _table(rows: list[dict]) -> None:
    wide = console if console.width >= WIDTH else Console(width=WIDTH)
    wide.print(bench_table(rows))


def _numbers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise InputError("", "--devices", f"got {text!r}", "numbers separated by commas, as 1,2,4,8") from None
