"""`giga export`: a run in the files of another code, or a network for those who have not giga."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from rich.markup import escape

from giga.cli.base import app, check_out, console, edge, tell
from giga.cli.evaluate import loaded
from giga.io.errors import InputError
from giga.jobs.exchange import export_cluster, export_run
from giga.jobs.program import PLATFORMS, beside, export_folder, export_program
from giga.runtime import parallel


class Target(StrEnum):
    """What is written."""

    COOLEST = "coolest"
    LENSTRONOMY = "lenstronomy"
    LENSTOOL = "lenstool"
    STABLEHLO = "stablehlo"
    HUB = "hub"


@app.command("export")
@edge
def export_command(
        what: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="Folder of a run; or a network: name in the zoo, "
                                            "or path.")],
        to: Annotated[Target, typer.Option("--to", help="Of a run, coolest: a template with data, quantiles and chain; "
                                           "lenstronomy: keyword arguments of the best fit; lenstool, of a "
                                           "cluster: best.par, potfiles and arcs.dat of the best fit, in a folder. Of "
                                           "a network, stablehlo: a program that JAX calls without giga; hub: a "
                                           "folder for a hub of models.")],
        out: Annotated[Path, typer.Option("--out", help="A file, JSON for a run; those that belong to it lie beside "
                                          "it. For LensTool and a hub a folder.")],
        observation: Annotated[int, typer.Option("--observation", help="Of a run: number of the observation, from "
                                                 "0.")] = 0,
        platform: Annotated[list[str] | None, typer.Option("--platform", help="Of a program: cpu, cuda or tpu; all of "
                                                           "them without. May be given several times.")] = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over what is there.")] = False) -> None:
    """Write a run in the files of another code, or a network as a program or a folder of its own."""
    for one in platform or ():
        if one not in PLATFORMS:
            raise InputError("", "--platform", f"got {one!r}", f"one of {', '.join(PLATFORMS)}")
    if to in (Target.COOLEST, Target.LENSTRONOMY):
        check_out([out], overwrite=overwrite)
        done = export_run(Path(what), cast(Literal["coolest", "lenstronomy"], to.value), out, observation)
        tell(out, done.notes)
        files = done.files
    elif to is Target.LENSTOOL:
        cluster = export_cluster(Path(what), out, overwrite=overwrite)
        tell(out, cluster.notes)
        files = cluster.files
    else:
        parallel.start()
        network, card = loaded(what)
        if to is Target.HUB:
            files = export_folder(what, network, card, out)
        else:
            check_out([out, beside(out)], overwrite=overwrite)
            files = export_program(what, network, card, out, tuple(platform or PLATFORMS))
    for path in files:
        console.print(f"wrote {escape(str(path))}", highlight=False, soft_wrap=True)
