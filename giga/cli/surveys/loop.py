"""`giga loop`: score, look at the best, grade, learn from the grades, until new finds stop."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from giga.cli.base import app, console, edge
from giga.io.errors import InputError
from giga.jobs.loop.drive import LOG, LoopSettings, run_loop
from giga.jobs.loop.features import Extractor, Sample, sample
from giga.jobs.loop.people import by_people, by_script, read_graders
from giga.runtime import parallel
from giga.search.loop.rounds import FeatureFinder
from giga.show.terminal import names_table


@app.command("loop")
@edge
def loop_command(
        pool: Annotated[Path, typer.Argument(metavar="POOL", help="What is searched: a folder of cutouts, with a "
                                             "catalogue or without, or shards of giga simulate.")],
        train: Annotated[Path, typer.Option("--train", help="Labelled cutouts to learn from: shards, or a folder whose "
                                            "catalogue has a column truth or label.")],
        out: Annotated[Path, typer.Option("--out", help="Folder of the loop; the same command goes on in it.")],
        model: Annotated[str, typer.Option("--model", help="Network whose features are used: a name of the zoo, or a "
                                           "path.")] = "modular-lsst",
        test: Annotated[Path | None, typer.Option("--test", help="Labelled cutouts that purity and completeness are "
                                                  "measured on.")] = None,
        top: Annotated[int, typer.Option("--top", min=1, help="Cutouts that are looked at in a round.")] = 4000,
        rounds: Annotated[int, typer.Option("--rounds", min=1, help="At most.")] = 9,
        stop: Annotated[float, typer.Option("--stop", min=0.0, max=1.0, help="End after a round that adds at most this "
                                            "share of all finds.")] = 0.03,
        hard_negatives: Annotated[bool, typer.Option("--hard-negatives/--no-hard-negatives", help="Learn also from "
                                                     "what was looked at and is no lens.")] = True,
        weight: Annotated[float, typer.Option("--weight", min=0.0, help="Simulations that one graded cutout counts "
                                              "for.")] = 5.0,
        scripted: Annotated[Path | None, typer.Option("--scripted", help="JSON with confusion matrices of graders that "
                                                      "are played, for a pool whose truth is known.")] = None) -> None:
    """Search in rounds: score, look at the best, grade, learn from the grades, until new finds stop."""
    played = None if scripted is None else read_graders(scripted)
    people = by_people(pool) if played is None and pool.is_dir() and not any(pool.glob("*.h5")) else None
    if played is None and people is None:
        raise InputError(pool, "", "shards, which no page shows", "a folder of cutouts, or --scripted")
    parallel.start()
    extractor = Extractor(model)
    out.mkdir(parents=True, exist_ok=True)
    learned = _both(train, sample(train, extractor, out / "features_train.npz", labelled=True))
    tested = None if test is None else _both(test, sample(test, extractor, out / "features_test.npz", labelled=True))
    searched = sample(pool, extractor, out / "features_pool.npz", labelled=played is not None)
    known = (searched.labels >= 0).all()
    finder = FeatureFinder(searched.names, searched.features, learned.features, learned.labels, weight=weight,
                           **({} if tested is None else {"testing": tested.features, "truths": tested.labels}))
    grading = people if played is None else by_script(played, searched.labels)
    assert grading is not None
    identity = {"model": model, "weights": extractor.card.sha256, "weight": weight, "training": len(learned.names),
                "pool": hashlib.sha256("\n".join(searched.names).encode()).hexdigest(),
                "graders": None if scripted is None else hashlib.sha256(scripted.read_bytes()).hexdigest()}

    def say(row: Mapping[str, float]) -> None:
        console.print(f"round {row['iter']:.0f}: {row['new']:.0f} new, {row['cum']:.0f} in all", highlight=False)

    ended = run_loop(out, finder, grading, LoopSettings(top, rounds, stop, hard_negatives), identity,
                     np.asarray(searched.labels) if known else None, say)
    if ended.rows:
        shown = names_table(*ended.rows[0])
        for row in ended.rows:
            shown.add_row(*("" if math.isnan(value) else f"{value:.5g}" for value in row.values()))
        console.print(shown)
        console.print(f"table: {escape(str(out / LOG))}", highlight=False)
    if ended.waits is not None:
        console.print(f"to grade: giga grade {escape(str(ended.waits))} --grader NAME; then the same command goes on",
                      highlight=False, soft_wrap=True)
    else:
        console.print(f"ended: {ended.why}", highlight=False)


def _both(path: Path, labelled: Sample) -> Sample:
    """Cutouts of both kinds. Raises InputError."""
    lenses, of = int((labelled.labels == 1).sum()), len(labelled.labels)
    if lenses in (0, of):
        raise InputError(path, "label", f"{lenses} lenses among {of} cutouts", "lenses and others")
    return labelled
