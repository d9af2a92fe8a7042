"""`giga aggregate`: the votes of several graders as grades, and how good the graders are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape

from giga.cli.base import app, check_out, console, edge
from giga.io.errors import InputError
from giga.io.grading.grades import GRADE_FILES, write_grades
from giga.io.grading.votes import read_votes
from giga.search.aggregation.confusion import aggregate
from giga.search.aggregation.rules import ballot, disagreements, permitted
from giga.search.aggregation.skill import Share, agreement, skills
from giga.show.terminal import names_table

LISTED = 10  # disagreements that are printed
RHAT = 1.05


@app.command("aggregate")
@edge
def aggregate_command(
        folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that giga grade has graded.")],
        out: Annotated[Path, typer.Option("--out", help="Folder for grades.ecsv, grades.fits and graders.json.")],
        bayes: Annotated[bool, typer.Option("--bayes/--no-bayes", help="Infer true grades and confusion matrices; "
                                            "without, the paper's rule and means alone.")] = True,
        seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the sampling.")] = 0,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False) -> None:
    """Make grades of the votes of several graders: the paper's rule, the mean, and a Bayesian model."""
    votes = ballot(read_votes(folder))
    if not votes.names:
        raise InputError(folder, "", "no candidate has a grade", "votes on candidates")
    if out.exists() and not out.is_dir():
        raise InputError(out, "--out", "is a file", "a folder")
    if out.is_dir():
        check_out([out / name for name in GRADE_FILES], overwrite=overwrite)
    out.mkdir(parents=True, exist_ok=True)
    found = aggregate(votes.grades, permitted(votes.truths), seed) if bayes else None
    write_grades(out, votes, found)
    matrix = agreement(votes)
    table = names_table("grader", "graded", "completeness", "false positives", "repeated", "kappa with others")
    for k, one in enumerate(skills(votes)):
        others = matrix[k][np.arange(len(matrix)) != k]
        others = others[np.isfinite(others)]
        table.add_row(escape(one.grader), f"{one.graded:,}", _text(one.completeness), _text(one.false_positives),
                      _text(one.repeated), f"{others.mean():.2f}" if others.size else "")
    console.print(table)
    differ = disagreements(votes)
    for name, spread, count in differ[:LISTED]:
        console.print(f"disagreement: {escape(name)}: {count}, spread {spread:.2f}", highlight=False)
    if len(differ) > LISTED:
        console.print(f"and {len(differ) - LISTED} more; column spread", highlight=False)
    if found is not None and found.rhat > RHAT:
        console.print(f"[yellow]note:[/] the sampling has not converged (R-hat {found.rhat:.3f}): more votes, or "
                      "inserted simulations, tell the grades apart", highlight=False, soft_wrap=True)
    console.print(f"grades: {escape(str(out))}", highlight=False)


def _text(share: Share) -> str:
    return f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})" if share.of else ""
