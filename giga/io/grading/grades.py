"""What several graders come to, as files: a row a candidate, and a record a grader."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table

from giga.io.jsonfile import write_json
from giga.runtime.atomic import write_atomically
from giga.search.aggregation.confusion import Aggregate
from giga.search.aggregation.rules import SCORES, Ballot, cancelled, mean_score, said, tally
from giga.search.aggregation.skill import Share, agreement, skills
from giga.search.grading.questions import GRADES

LEVEL = 0.9  # of credible intervals
GRADE_FILES = ("grades.ecsv", "grades.fits", "graders.json")


def grades_table(votes: Ballot, found: Aggregate | None = None) -> Table:
    """One row a candidate, without what was inserted.

    Columns `name`, `graders` (their number), `votes`, `grade` by the paper's rule, `mean` and `spread` of the scores
    3 to 0; of the Bayesian model `p_A`, `p_B`, `p_C`, `p_X`, `p_lens` with `p_lens_low` and `p_lens_high`, the score
    that is expected, and `grade_bayes`, the likeliest grade.

    Args:
        votes: Of all graders.
        found: What the model makes of them.
    """
    rows = [k for k, kind in enumerate(votes.kinds) if kind == "candidate"]
    given = [said(votes, row) for row in rows]
    table: Any = Table({
        "name": np.array([votes.names[row] for row in rows], str),
        "graders": np.array([len(one) for one in given], int),
        "votes": np.array([tally(one) for one in given], str),
        "grade": np.array([cancelled(one) for one in given], str),
        "mean": np.array([mean_score(one) for one in given], float),
        "spread": np.array([np.std([SCORES[grade] for grade in one]) if one else np.nan for one in given], float)})
    if found is not None:
        drawn = found.grades[:, rows]
        mean, lens = drawn.mean(0), 1.0 - drawn[..., GRADES.index("X")]
        low, high = found.interval(lens, LEVEL)
        for k, grade in enumerate(GRADES):
            table[f"p_{grade}"] = mean[:, k].astype(float)
        table["p_lens"], table["p_lens_low"], table["p_lens_high"] = (
            np.asarray(one, float) for one in (lens.mean(0), low, high))
        table["score"] = np.asarray(mean @ np.array([SCORES[grade] for grade in GRADES]), float)
        table["grade_bayes"] = np.array([GRADES[k] for k in mean.argmax(1)], str)
        table.meta["level"] = LEVEL
    return table


def graders_record(votes: Ballot, found: Aggregate | None = None) -> dict[str, Any]:
    """How good each grader is: from what was inserted, from repeats, from the others, and by the model."""
    matrix = agreement(votes)
    out = []
    for k, one in enumerate(skills(votes)):
        row: dict[str, Any] = {
            "grader": one.grader, "graded": one.graded, "completeness": _share(one.completeness),
            "false_positives": _share(one.false_positives), "repeated": _share(one.repeated),
            "self_kappa": _number(one.self_kappa),
            "kappa": {name: _number(matrix[k, j]) for j, name in enumerate(votes.graders) if j != k}}
        if found is not None:
            low, high = found.interval(found.confusion[:, k], LEVEL)
            row["confusion"] = {true: {answer: [float(found.confusion[:, k, t, a].mean()), float(low[t, a]),
                                                float(high[t, a])] for a, answer in enumerate(GRADES)}
                                for t, true in enumerate(GRADES)}
        out.append(row)
    record: dict[str, Any] = {"graders": out}
    if found is not None:
        shares = found.prevalence.mean(0).astype(float).tolist()
        record |= {"rhat": found.rhat, "prevalence": dict(zip(GRADES, shares, strict=True))}
    return record


def write_grades(folder: Path, votes: Ballot, found: Aggregate | None = None) -> list[Path]:
    """Write `GRADE_FILES` into a folder that is there."""
    table: Any = grades_table(votes, found)
    ecsv, fits, graders = (folder / name for name in GRADE_FILES)
    plain = table.copy()
    plain["name"] = np.array([name.encode("ascii", "backslashreplace").decode() for name in table["name"]], str)
    return [write_atomically(ecsv, lambda to: table.write(to, format="ascii.ecsv", overwrite=True)),
            write_atomically(fits, lambda to: plain.write(to, format="fits", overwrite=True)),
            write_json(graders, graders_record(votes, found))]


def _share(share: Share) -> dict[str, Any] | None:
    return None if not share.of else {"hits": share.hits, "of": share.of, "low": share.low, "high": share.high}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
