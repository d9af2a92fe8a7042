"""`giga grade`: candidates or models looked at and graded on a local page."""

from __future__ import annotations

import getpass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import app, check_out, console, edge
from giga.io.errors import InputError
from giga.io.grading.votes import KINDS, read_votes, refits, write_votes
from giga.runtime.atomic import write_text


@app.command("grade")
@edge
def grade_command(
        folder: Annotated[Path, typer.Argument(metavar="DIR", help="Candidates with a catalogue, a folder of "
                                               "FITS cutouts, or a fleet.")],
        grader: Annotated[list[str] | None, typer.Option("--grader", help="Who grades, each at an address of their "
                                                         "own; may be given several times. Your login name "
                                                         "without.")] = None,
        simulations: Annotated[Path | None, typer.Option("--simulations", help="Folder of cutouts of which the truth "
                                                         "is known (column truth), to insert.")] = None,
        repeats: Annotated[float | None, typer.Option("--repeats", min=0.0, max=1.0, help="Share of all that is shown "
                                                      "twice; none without.")] = None,
        seed: Annotated[int | None, typer.Option("--seed", min=0, max=2**32 - 1,
                                                 help="Of the order; 0 without.")] = None,
        model: Annotated[str | None, typer.Option("--model", help="Separator of the lens-subtracted panel: a name of "
                                                  "the zoo, or a path; one that fits without.")] = None,
        subtract: Annotated[bool, typer.Option("--subtract/--no-subtract", help="Show a panel without the lens where a "
                                               "separator fits.")] = True,
        port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 0,
        export: Annotated[list[Path] | None, typer.Option("--export", help="Write all votes to a file, .csv, .fits or "
                                                          ".jsonl, and serve nothing; may be given several "
                                                          "times.")] = None,
        refit: Annotated[Path | None, typer.Option("--refits", help="Write the models that any grader has found "
                                                   "wanting to a CSV file, and serve nothing.")] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
) -> None:
    """Grade candidates, or the models of a fleet, on a page in your browser; run it again to go on."""
    if export or refit:
        for path in export or ():
            if path.suffix.lower().removeprefix(".") not in KINDS:
                raise InputError(path, "--export", f"a name that ends in {path.suffix!r}",
                                 f"one of .{', .'.join(KINDS)}")
        check_out(export or (), overwrite=overwrite, option="--export")
        check_out([refit] if refit else (), overwrite=overwrite, option="--refits")
        votes = read_votes(folder)
        for path in export or ():
            write_votes(path, votes)
            console.print(f"{len(votes)} votes: {escape(str(path))}", highlight=False, soft_wrap=True)
        if refit:
            write_text(refit, again := refits(votes))
            lines = again.count("\n") - 1
            console.print(f"{lines} models to fit again: {escape(str(refit))}", highlight=False, soft_wrap=True)
        return
    for library in ("starlette", "uvicorn"):
        if find_spec(library) is None:
            raise InputError("", "giga grade", f"{library} is not installed", "giga[grade]")
    from giga.jobs.grading.serve import serve
    from giga.jobs.grading.session import Session

    session = Session(folder, grader or [getpass.getuser()], simulations, seed, repeats, model, subtract)
    kinds = [one.item.kind for one in session.graded.values()]
    counts = ", ".join(f"{kinds.count(kind):,} {kind}s" for kind in dict.fromkeys(kinds))
    console.print(f"{escape(str(folder))}: {counts}; votes in {escape(str(session.folder.database))}", highlight=False,
                  soft_wrap=True)

    def say(name: str, address: str) -> None:
        console.print(f"[bold]{escape(name)}[/]: {escape(address)}", highlight=False, soft_wrap=True)

    serve(session, port, say)
    console.print("all answers are kept; the same command goes on", highlight=False)
