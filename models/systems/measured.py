"""What a test set tells of a network: numbers beside those of methods that anybody could do, scores, and estimates."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.stats import rankdata

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Scores:
    """What a network and its baselines say of two classes.

    Attributes:
        positive: Which images are lenses, shape (n,), bool.
        score: Of the network, shape (n,); the higher the likelier a lens.
        cut: Above which it says so.
        probability: Of a lens, shape (n,); None where the score is no probability.
        baselines: Scores of other methods by their names, shape (n,) each.
    """

    positive: np.ndarray
    score: np.ndarray
    cut: float
    probability: np.ndarray | None = None
    baselines: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """A quantity that a network measures.

    Attributes:
        truth: Shape (n,).
        found: Shape (n,).
        unit: Of both.
        interval: Ends of the central 68%, shape (2, n); None where the network gives no errors.
        below: Share of the draws of its posterior that are below the truth, shape (n,), likewise.
        baselines: What other methods find, by their names, shape (n,) each.
        period: After which the quantity repeats, of an angle; 0 if it does not.
    """

    truth: np.ndarray
    found: np.ndarray
    unit: str = ""
    interval: np.ndarray | None = None
    below: np.ndarray | None = None
    baselines: Mapping[str, np.ndarray] = field(default_factory=dict)
    period: float = 0.0

    def errors(self, found: np.ndarray) -> np.ndarray:
        """What was found less the truth; of an angle the shorter way round."""
        error = found - self.truth
        return error - self.period * np.round(error / self.period) if self.period else error


@dataclass(frozen=True)
class Measured:
    """A network on one test set.

    Attributes:
        numbers: By name, the most telling first.
        baselines: The same measures of methods without a network, by method; those that mean something.
        scores: Of a network that tells lenses.
        estimates: Of a network that measures, by name of the quantity.
        recovered: Of one that separates, by method, the network's first: signal-to-noise of the lensed sources and
            their found flux over the true one, shape (2, n).
    """

    numbers: Numbers
    baselines: Mapping[str, Numbers] = field(default_factory=dict)
    scores: Scores | None = None
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    recovered: Mapping[str, np.ndarray] = field(default_factory=dict)


def flattened(sets: Mapping[str, Measured]) -> dict[str, dict[str, float]]:
    """The numbers of test sets as a card has them: those of a baseline under "SET: METHOD"."""
    found: dict[str, dict[str, float]] = {}
    for name, tested in sets.items():
        found[name] = dict(tested.numbers)
        found |= {f"{name}: {method}": dict(numbers) for method, numbers in tested.baselines.items()}
    return found


def finite(numbers: Numbers) -> dict[str, float]:
    """Numbers to four digits after the point, without those that mean nothing."""
    return {name: round(float(value), 4) for name, value in numbers.items() if math.isfinite(value)}


def counted(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many positives and negatives are at or above each score, from the highest to the lowest; ties as one."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    return np.cumsum(positive[order])[last], np.cumsum(~positive[order])[last]


def roc(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, from the highest threshold to the lowest, ties as one step."""
    true, false = counted(score, positive)
    return np.append(0.0, false / (~positive).sum()), np.append(0.0, true / positive.sum())


def precision_recall(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of lenses among what is called one, and share of the lenses that is found, from the highest threshold."""
    true, false = counted(score, positive)
    return true / (true + false), true / positive.sum()


def area_under_roc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counted half."""
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rankdata(score)[positive].sum() - 0.5 * n * (n + 1)) / (n * m))


def best_threshold(score: np.ndarray, positive: np.ndarray) -> float:
    """The threshold of highest accuracy, midway between two scores."""
    order = np.sort(score)
    cuts = np.append(0.5 * (order[1:] + order[:-1]), order[-1])
    ranks = np.searchsorted(order, cuts, side="right")
    hits = np.append(0, np.cumsum(positive[np.argsort(score, kind="stable")]))
    right = positive.sum() - hits[ranks] + ranks - hits[ranks]  # positives above, negatives at or below
    return float(cuts[np.argmax(right)])


def confusion(scores: Scores) -> np.ndarray:
    """Images by class, shape (2, 2): row is or is not a lens, column called one or not, the others first."""
    called = scores.score > scores.cut
    return np.array([[np.sum((called == said) & (scores.positive == true)) for said in (False, True)]
                     for true in (False, True)])


def reliability(probability: np.ndarray, positive: np.ndarray,
                bins: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, share of positives and number of images in equal bins of the probability that are not empty."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    count = np.bincount(place, minlength=bins)
    there = count > 0
    mean, share = (np.bincount(place, values, minlength=bins)[there] / count[there]
                   for values in (probability, positive.astype(float)))
    return mean, share, count[there]


def calibration_error(probability: np.ndarray, positive: np.ndarray) -> float:
    """Mean distance of stated probabilities from the shares that are true, over images in ten bins."""
    mean, share, count = reliability(probability, positive)
    return float(np.sum(np.abs(mean - share) * count) / count.sum())
