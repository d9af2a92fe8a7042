"""How good graders are: against simulations of which the truth is known, against themselves, and against each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from giga.search.aggregation.rules import Ballot
from giga.search.grading.questions import GRADES

X = GRADES.index("X")
LEAST = 5  # candidates that two must share before their agreement means something


@dataclass(frozen=True)
class Share:
    """A share with its 68% interval; NaN where there is nothing to count.

    Attributes:
        hits, of: What was counted.
        low, high: Of the interval of Jeffreys.
    """

    hits: int
    of: int
    low: float
    high: float

    @staticmethod
    def counted(hits: int, of: int) -> Share:
        """A share and its interval, which is that of a beta distribution with half a hit and half a miss more."""
        if not of:
            return Share(0, 0, np.nan, np.nan)
        low, high = beta.ppf([0.16, 0.84], hits + 0.5, of - hits + 0.5)
        return Share(hits, of, 0.0 if hits == 0 else float(low), 1.0 if hits == of else float(high))

    @property
    def value(self) -> float:
        """The share itself."""
        return self.hits / self.of if self.of else float("nan")


@dataclass(frozen=True)
class Skill:
    """One grader.

    Attributes:
        grader: The name.
        graded: Number of candidates.
        completeness: Share of simulated lenses that were given A, B or C.
        false_positives: Share of simulated non-lenses that were given one.
        repeated: Share of repeats that were given the same grade again.
        self_kappa: Weighted kappa between first and second showings.
    """

    grader: str
    graded: int
    completeness: Share
    false_positives: Share
    repeated: Share
    self_kappa: float


def skills(votes: Ballot) -> list[Skill]:
    """The skill of each grader, from what was inserted."""
    truths = np.array(votes.truths)
    lens, none = np.isin(truths, ("lens", "A", "B", "C")), np.isin(truths, ("no lens", "X"))
    out = []
    for k, name in enumerate(votes.graders):
        first, second = votes.grades[:, k], votes.repeats[:, k]
        given, both = first >= 0, (first >= 0) & (second >= 0)
        found = given & (first != X)
        out.append(Skill(
            name, int(given.sum()), Share.counted(int((found & lens).sum()), int((given & lens).sum())),
            Share.counted(int((found & none).sum()), int((given & none).sum())),
            Share.counted(int((first == second)[both].sum()), int(both.sum())), kappa(first, second)))
    return out


def kappa(first: np.ndarray, second: np.ndarray, classes: int = len(GRADES)) -> float:
    """Cohen's kappa with quadratic weights: 1 for the same grades, 0 for what chance gives.

    Args:
        first, second: Grades as numbers, -1 where there is none, of the same shape.
        classes: Number of grades.

    Returns:
        Kappa; NaN with fewer than `LEAST` candidates in common, or if all have one grade.

    References:
        Cohen (1968), Psychol. Bull. 70, 213.
    """
    both = (np.asarray(first) >= 0) & (np.asarray(second) >= 0)
    if both.sum() < LEAST:
        return float("nan")
    table = np.zeros((classes, classes))
    np.add.at(table, (np.asarray(first)[both], np.asarray(second)[both]), 1.0 / both.sum())
    apart = (np.arange(classes)[:, None] - np.arange(classes)[None]) ** 2.0
    expected = np.sum(apart * table.sum(1)[:, None] * table.sum(0)[None])
    return float(1.0 - np.sum(apart * table) / expected) if expected > 0.0 else float("nan")


def agreement(votes: Ballot) -> np.ndarray:
    """Weighted kappa between graders, shape (graders, graders), of the first showings."""
    count = len(votes.graders)
    return np.array([[1.0 if j == k else kappa(votes.grades[:, j], votes.grades[:, k]) for k in range(count)]
                     for j in range(count)]).reshape(count, count)
