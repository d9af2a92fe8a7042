"""The loop of a search: score, look at the best, grade, learn from the grades, and again until new finds stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from giga.search.grading.questions import GRADES
from giga.search.loop.head import Head, train_head

Weights = dict[str, np.ndarray]
"""What a finder has learned, as arrays by name: what is kept on disk."""


class Finder(Protocol):
    """A network over a pool, which learns anew in each round."""

    @property
    def names(self) -> Sequence[str]:
        """Of the members of the pool, in their order."""
        ...

    def train(self, lenses: np.ndarray, others: np.ndarray) -> Weights:
        """Learn from the training set and from members of the pool, by their numbers, that were graded."""
        ...

    def score(self, weights: Weights) -> np.ndarray:
        """Scores of the whole pool, shape (n,), a lens the higher."""
        ...

    def test(self, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
        """Scores and labels (1 a lens) of a test set that no training sees; empty without one."""
        ...


@dataclass(frozen=True)
class FeatureFinder:
    """Features of a trained network, and a head that is trained anew.

    Attributes:
        names: Of the pool.
        pool: Its features, shape (n, d).
        training, labels: Simulations to learn from, shape (m, d) and (m,).
        testing, truths: A test set, shape (k, d) and (k,).
        weight: How many simulations one graded member counts for.
    """

    names: Sequence[str]
    pool: np.ndarray
    training: np.ndarray
    labels: np.ndarray
    testing: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    truths: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    weight: float = 5.0

    def train(self, lenses: np.ndarray, others: np.ndarray) -> Weights:
        """See `Finder`."""
        features = np.concatenate([self.training, self.pool[lenses], self.pool[others]])
        labels = np.concatenate([self.labels, np.ones(len(lenses)), np.zeros(len(others))])
        weights = np.append(np.ones(len(self.labels)), np.full(len(lenses) + len(others), self.weight))
        return vars(train_head(features, labels, weights))

    def score(self, weights: Weights) -> np.ndarray:
        """See `Finder`."""
        return Head(**weights)(self.pool)

    def test(self, weights: Weights) -> tuple[np.ndarray, np.ndarray]:
        """See `Finder`."""
        return (Head(**weights)(self.testing) if len(self.truths) else np.zeros(0)), np.asarray(self.truths)


@dataclass(frozen=True)
class Round:
    """What one round came to.

    Attributes:
        scores: Of the whole pool.
        viewed: Numbers of the members that were looked at, the best first.
        grades: Of each.
        test_scores, test_labels: Of the test set.
    """

    scores: np.ndarray
    viewed: np.ndarray
    grades: tuple[str, ...]
    test_scores: np.ndarray
    test_labels: np.ndarray

    @property
    def found(self) -> np.ndarray:
        """Numbers of the members that are lenses by their grades."""
        return self.viewed[[grade != "X" for grade in self.grades]]


def best(scores: np.ndarray, seen: np.ndarray, top: int) -> np.ndarray:
    """Numbers of the members that score best among those that nobody has looked at, the best first.

    Args:
        scores: Of the pool.
        seen: Numbers of those that were looked at before.
        top: How many.
    """
    left = np.setdiff1d(np.arange(len(scores)), seen)
    return left[np.argsort(-scores[left], kind="stable")][:top]


def learned(rounds: Sequence[Round], hard_negatives: bool) -> tuple[np.ndarray, np.ndarray]:
    """Members to learn from: those that were found, and, if wanted, those that scored high and are no lenses."""
    nothing = np.zeros(0, int)
    lenses = np.concatenate([nothing, *(one.found for one in rounds)])
    others = np.concatenate([nothing, *(np.setdiff1d(one.viewed, one.found) for one in rounds)])
    return lenses, others if hard_negatives else nothing


def stopped(rounds: Sequence[Round], most: int, stop: float) -> str:
    """Why the loop is at its end, in words; empty while it goes on.

    Args:
        rounds: That are done.
        most: Number of rounds at most.
        stop: Share of all finds that a round has to add.
    """
    if not rounds:
        return ""
    new, all_ = len(rounds[-1].found), sum(len(one.found) for one in rounds)
    if len(rounds) >= most:
        return f"{most} rounds are done"
    if sum(len(one.viewed) for one in rounds) >= len(rounds[-1].scores):
        return "everything has been looked at"
    if new <= stop * all_:
        return f"round {len(rounds)} found {new} of {all_}, a share of at most {stop:g}"
    return ""


def table(rounds: Sequence[Round], truths: np.ndarray | None = None) -> list[dict[str, float]]:
    """The log of the rounds, as Table 2 of the paper has it.

    Columns: `iter`; `thresh`, the lowest score that was looked at; `thresh_tp`, that of a new find; `new`; `cum`;
    `cum_A`, `cum_B`, `cum_C`; `purity` and `completeness` of the test set at the threshold [%]. Where the truth of the
    pool is known also `pool_purity` and `pool_completeness` of all finds [%], and `random`, the completeness that
    looking at as many at random would have had on average. NaN where there is nothing to count.

    Args:
        rounds: That are done.
        truths: 1 for the lenses of the pool, or None.

    References:
        Zhang et al., "Searching for galaxy cluster-scale strong lenses from the DESI Legacy Imaging Surveys", Table 2.
    """
    rows: list[dict[str, float]] = []
    grades: list[str] = []
    found: list[int] = []
    viewed = 0
    for k, one in enumerate(rounds, start=1):
        new, threshold = one.found, float(one.scores[one.viewed].min())
        grades += [grade for grade in one.grades if grade != "X"]
        found += new.tolist()
        viewed += len(one.viewed)
        above, lens = one.test_scores >= threshold, one.test_labels > 0
        row = {"iter": k, "thresh": threshold, "thresh_tp": float(one.scores[new].min()) if len(new) else np.nan,
               "new": len(new), "cum": len(found), **{f"cum_{grade}": grades.count(grade) for grade in GRADES[:3]},
               "purity": _percent((above & lens).sum(), above.sum()),
               "completeness": _percent((above & lens).sum(), lens.sum())}
        if truths is not None:
            right = int((truths[found] > 0).sum())
            row |= {"pool_purity": _percent(right, len(found)),
                    "pool_completeness": _percent(right, int((truths > 0).sum())),
                    "random": _percent(viewed, len(truths))}
        rows.append(row)
    return rows


def _percent(part: int, whole: int) -> float:
    return 100.0 * float(part) / float(whole) if whole else float("nan")
