"""`giga search`: lenses among many cutouts, or in whole mosaics, by a network of the zoo."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import Out, Overwrite, Scheduler, Slurm, WorkerCount, app, console, edge, fail
from giga.cli.predict import Exposure, Units, check_units
from giga.io.errors import InputError
from giga.jobs.surveys.candidates import Ranking
from giga.jobs.surveys.search import Search, plan_search, run_search
from giga.runtime.workers import Workers
from giga.show.terminal import names_table

SHOWN = 10  # candidates in the terminal


class Size(StrEnum):
    """What to do with a cutout of another size."""

    REFUSE = "refuse"
    CROP = "crop"
    PAD = "pad"


@app.command("search")
@edge
def search_command(
        paths: Annotated[list[Path], typer.Argument(metavar="CUTOUTS...", help="A folder of FITS cutouts with all "
                                                    "bands each; a FITS file with an HDU a cutout; a stack in HDF5, "
                                                    "Zarr, .npy or FITS, or one a band; or, with --catalogue or "
                                                    "--grid, mosaics, one a band.")],
        model: Annotated[str, typer.Option("--model", help="Name in the zoo, or path of weights, of a network that "
                                           "tells lenses.")],
        out: Out,
        catalogue: Annotated[Path | None, typer.Option(help="Table of positions (ra, dec, name) around which mosaics "
                                                       "are cut.")] = None,
        grid: Annotated[float | None, typer.Option(help="Step of a grid over mosaics \\[arcsec].")] = None,
        pattern: Annotated[str | None, typer.Option(help="Files of the folder, as '*/image.fits'.")] = None,
        dataset: Annotated[str | None, typer.Option(help="Name of the array in the stack.")] = None,
        top: Annotated[int, typer.Option(min=1, help="Candidates that are kept.")] = 100,
        known: Annotated[Path | None, typer.Option(help="Table of known lenses (ra, dec, name).")] = None,
        radius: Annotated[float, typer.Option(min=0.0, help="Of the match with known lenses \\[arcsec].")] = 3.0,
        size: Annotated[Size, typer.Option(help="What to do with a cutout of another size than the model's.")] =
        Size.REFUSE,
        units: Units = None, exposure: Exposure = None,
        zero_point: Annotated[list[float] | None, typer.Option("--zero-point", help="Magnitude of one unit of flux in "
                                                               "each band; the model's survey's without.")] = None,
        lenses: Annotated[str | None, typer.Option("--class", help="Class that is the lenses, of a network that "
                                                   "learned from labelled cutouts; without, the one called lens, else "
                                                   "the last.")] = None,
        init: Annotated[str, typer.Option("--init", help="Options for giga init in the command that fits a candidate, "
                                          "as '--psf psf.fits --survey lsst'.")] = "",
        init_from: Annotated[str | None, typer.Option("--init-from", help="Network whose predicted posterior that fit "
                                                      "starts from.")] = None,
        batch: Annotated[int, typer.Option(min=1, help="Cutouts that are scored at once.")] = 64,
        part: Annotated[int, typer.Option(min=1, help="Cutouts of a part, which a worker takes as a whole.")] = 2048,
        workers: WorkerCount = None, scheduler: Scheduler = None, slurm: Slurm = None,
        overwrite: Overwrite = False) -> None:
    """Find lenses among cutouts or in mosaics: scores of all, candidates with cutouts, and a page to look at.

    The same command goes on where an earlier one ended.
    """
    check_units(units, exposure)
    if out.exists() and not out.is_dir():
        raise InputError(out, "--out", "is a file", "a folder")
    where = Workers(workers, scheduler, slurm)
    search = Search(tuple(paths), model, catalogue, grid, pattern, dataset, size.value, units, exposure,
                    tuple(zero_point) if zero_point else None, batch, part,
                    lenses)
    folder, there = plan_search(search, out, overwrite)
    cutouts = folder.about()["cutouts"]
    left = len(folder.left())
    console.print(f"{cutouts} cutouts, {left} parts to score" + ", the others were there" * there, highlight=False)

    def say(text: str) -> None:
        console.print(escape(text), highlight=False, soft_wrap=True)

    found = run_search(folder, Ranking(top, known, radius, init, init_from), where, say)
    table = names_table("rank", "name", "score", "logit", "known")
    for values in found[:SHOWN]:
        table.add_row(str(values["rank"]), escape(values["name"]), f"{values['score']:.4f}", f"{values['logit']:.2f}",
                      escape(values["known"]))
    console.print(table)
    console.print(f"wrote {escape(str(out))}: scores.parquet, scores.fits, candidates.fits, .vot and .csv, and "
                  "gallery.html to look at", highlight=False, soft_wrap=True)
    if not found:
        fail(f"{out}: none of the cutouts could be scored; scores.fits has the reason of each", code=1)
