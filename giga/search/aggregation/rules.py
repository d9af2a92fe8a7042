"""From the votes of several graders to a grade: the rule of the paper, the mean, and where they disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from giga.search.grading.questions import GRADES, UNSEEN
from giga.search.grading.records import Vote

SCORES = {"A": 3.0, "B": 2.0, "C": 1.0, "X": 0.0}


@dataclass(frozen=True)
class Ballot:
    """What graders have said of candidates: grades as numbers, 0 for A to 3 for X, -1 where one has not said anything.

    Attributes:
        names: Of the candidates.
        kinds: "candidate" or "simulation".
        truths: Of simulations, "lens", "no lens" or a grade; else empty.
        graders: Their names.
        grades: Of the first showings, shape (candidates, graders), int.
        repeats: Of the second showings, likewise.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    truths: tuple[str, ...]
    graders: tuple[str, ...]
    grades: np.ndarray
    repeats: np.ndarray


def ballot(votes: Iterable[Vote]) -> Ballot:
    """Sort votes that stand: a grade counts as itself, "nothing" of the first question as X.

    What was escalated and has no grade yet counts as not said.
    """
    found: dict[tuple[str, str], dict[tuple[str, int], str]] = {}
    truths: dict[tuple[str, str], str] = {}
    graders: dict[str, None] = {}
    for vote in sorted(votes, key=lambda vote: vote.seq):
        grade = vote.answer if vote.question == "grade" else "X" if vote.answer == UNSEEN else None
        if vote.undone is None and grade is not None:
            key = vote.kind, vote.name
            graders.setdefault(vote.grader)
            truths[key] = vote.truth
            found.setdefault(key, {})[vote.grader, vote.showing] = grade
    keys, names = sorted(found), list(graders)
    tables = np.full((2, len(keys), len(names)), -1)
    for row, key in enumerate(keys):
        for (grader, showing), grade in found[key].items():
            tables[min(showing, 1), row, names.index(grader)] = GRADES.index(grade)
    return Ballot(tuple(name for _, name in keys), tuple(kind for kind, _ in keys), tuple(truths[key] for key in keys),
                  tuple(names), *tables)


def cancelled(grades: Sequence[str]) -> str:
    """The rule of the paper: A and C cancel each other, and the majority of the rest is the grade.

    The paper has seven graders, and no X: after cancelling there is an odd number of A and B, or of B and C. Here X
    votes first: a candidate that half of its graders or more call no lens is X, and else their votes are left out. A
    tie, which an even number of graders can leave, takes the lower grade; if all cancel, the grade is B.

    >>> cancelled("AAAABBC"), cancelled("AC"), cancelled("AXX"), cancelled("AABB"), cancelled("")
    ('A', 'B', 'X', 'B', '')

    References:
        Zhang et al., "Searching for galaxy cluster-scale strong lenses from the DESI Legacy Imaging Surveys", s. 4.1.
    """
    count = Counter(grades)
    if not count:
        return ""
    if 2 * count["X"] >= sum(count.values()):
        return "X"
    a, b, c = count["A"] - count["C"], count["B"], count["C"] - count["A"]
    if a > b:
        return "A"
    return "B" if b > c or a == b == c == 0 else "C"


def mean_score(grades: Iterable[str]) -> float:
    """Mean of A = 3, B = 2, C = 1, X = 0; NaN without grades."""
    scores = [SCORES[grade] for grade in grades]
    return float(np.mean(scores)) if scores else float("nan")


def tally(grades: Sequence[str]) -> str:
    """Grades as they are counted in papers.

    >>> tally("BABCAAA")
    '4A 2B 1C'
    """
    count = Counter(grades)
    return " ".join(f"{count[grade]}{grade}" for grade in GRADES if count[grade])


def said(votes: Ballot, row: int) -> list[str]:
    """The grades that a candidate was given, in the order of the graders."""
    return [GRADES[grade] for grade in votes.grades[row] if grade >= 0]


def disagreements(votes: Ballot, least: float = 0.5) -> list[tuple[str, float, str]]:
    """Candidates whose grades differ most: name, standard deviation of their scores, and count of their grades.

    Args:
        votes: Of all graders.
        least: Standard deviation from which a candidate is listed; the paper shows its largest ones.
    """
    rows = []
    for row, name in enumerate(votes.names):
        grades = said(votes, row)
        if len(grades) > 1 and (spread := float(np.std([SCORES[grade] for grade in grades]))) >= least:
            rows.append((name, spread, tally(grades)))
    return sorted(rows, key=lambda one: (-one[1], one[0]))


def permitted(truths: Sequence[str]) -> np.ndarray:
    """True grades that candidates may have, shape (candidates, 4): all, or of a simulation those of its truth."""
    allowed: Mapping[str, str] = {"": "ABCX", "lens": "ABC", "no lens": "X"} | {grade: grade for grade in GRADES}
    return np.array([[grade in allowed[truth] for grade in GRADES] for truth in truths], bool).reshape(-1, len(GRADES))
