"""How good a finder of lenses is: rates, curves, what they mean for a survey, and ensembles.

Labels are 1 for a lens and 0 for what is none; scores are higher for lenses, on any scale. All on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta, rankdata

from giga.models.systems.measured import counted

CONFIDENCE = 0.68
ENSEMBLES = ("rank", "worst", "mean")
PUBLISHED = {"VGG": (0.886, 0.146), "SC-VGG": (0.917, 0.159)}
"""Completeness and false-positive rate of Angora et al. (2023), Table A.1: the latter is one less the completeness of
what is no lens."""


@dataclass(frozen=True)
class Confusion:
    """True and false positives and negatives at a threshold."""

    tp: int
    fp: int
    fn: int
    tn: int

    @property
    def purity(self) -> float:
        """Share of lenses among what is called one, the precision; NaN where nothing is."""
        return _share(self.tp, self.tp + self.fp)

    @property
    def completeness(self) -> float:
        """Share of lenses that is called one: recall, true-positive rate."""
        return _share(self.tp, self.tp + self.fn)

    @property
    def false_positive_rate(self) -> float:
        """Share of what is no lens that is called one."""
        return _share(self.fp, self.fp + self.tn)

    @property
    def f1(self) -> float:
        """Harmonic mean of purity and completeness."""
        return _share(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def average_efficiency(self) -> float:
        """Share of all that is classified right, the accuracy."""
        return _share(self.tp + self.tn, self.tp + self.fp + self.fn + self.tn)

    @property
    def negatives(self) -> Confusion:
        """The same for the class of what is no lens."""
        return Confusion(self.tn, self.fn, self.fp, self.tp)


def confusion(label: np.ndarray, score: np.ndarray, threshold: float) -> Confusion:
    """Count what a threshold makes of scores, shape (n,); a score at the threshold is called a lens.

    Raises:
        ValueError: Arrays of several shapes, labels other than 0 and 1, or scores that are NaN.
    """
    label, score = _checked(label, score)
    called = score >= threshold
    return Confusion(*(int(np.sum((called == yes) & (label == lens)))
                       for yes, lens in ((True, True), (True, False), (False, True), (False, False))))


@dataclass(frozen=True, eq=False)
class Curve:
    """Rates at every threshold, from the highest score down.

    Attributes:
        threshold: Scores that are met, infinity first, shape (k,).
        completeness, false_positive_rate, purity: At and above each; the purity of nothing is 1.
    """

    threshold: np.ndarray
    completeness: np.ndarray
    false_positive_rate: np.ndarray
    purity: np.ndarray

    @property
    def auc(self) -> float:
        """Area under the ROC curve: the share of pairs in which the lens has the higher score, ties by half."""
        return float(np.trapezoid(self.completeness, self.false_positive_rate))

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve, as the sum of purities over steps of completeness."""
        return float(np.sum(np.diff(self.completeness) * self.purity[1:]))


def curve(label: np.ndarray, score: np.ndarray) -> Curve:
    """ROC and precision-recall curves. Equal scores are one step.

    Raises:
        ValueError: See `confusion`; or one class alone.
    """
    label, score = _checked(label, score)
    if label.all() or not label.any():
        raise ValueError(f"labels: {label.sum()} lenses of {len(label)}; expected some with and some without")
    found, wrong = counted(score, label)
    return Curve(*(np.concatenate([[first], values]) for first, values in (
        (np.inf, np.unique(score)[::-1]), (0.0, found / label.sum()), (0.0, wrong / (~label).sum()),
        (1.0, found / (found + wrong)))))


def interval(successes: int, trials: int, confidence: float = CONFIDENCE,
             kind: str = "clopper-pearson") -> tuple[float, float]:
    """Interval of a share.

    Args:
        successes, trials: Counted.
        confidence: Of the interval, its sides equally likely.
        kind: "clopper-pearson", which covers at least so much, or "jeffreys", which does so in the mean.

    References:
        Brown, Cai & DasGupta (2001), Statist. Sci. 16, 101.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"interval: {successes} of {trials}; expected a count within one or more trials")
    if kind not in ("clopper-pearson", "jeffreys"):
        raise ValueError(f"interval: got {kind!r}; expected 'clopper-pearson' or 'jeffreys'")
    tail, exact = 0.5 * (1.0 - confidence), kind == "clopper-pearson"
    more = 0.0 if exact else 0.5
    low = beta.ppf(tail, successes + more, trials - successes + (1.0 if exact else 0.5))
    high = beta.ppf(1.0 - tail, successes + (1.0 if exact else 0.5), trials - successes + more)
    return (0.0 if successes == 0 else float(low)), (1.0 if successes == trials else float(high))


@dataclass(frozen=True)
class Completeness:
    """Completeness at a false-positive rate.

    Attributes:
        completeness: At the threshold.
        interval: Of it, for the lenses that were counted.
        threshold: The lowest score at which no more negatives than the rate allows are called lenses.
        false_positive_rate: What was counted there.
        rate_interval: Of it, for the negatives that were counted.
        band: Completeness where the rate itself has the ends of its interval: what the negatives leave open.
    """

    completeness: float
    interval: tuple[float, float]
    threshold: float
    false_positive_rate: float
    rate_interval: tuple[float, float]
    band: tuple[float, float]


def completeness_at(label: np.ndarray, score: np.ndarray, rate: float = 1e-4,
                    confidence: float = CONFIDENCE) -> Completeness:
    """Completeness at a false-positive rate, with its intervals.

    Raises:
        ValueError: Fewer negatives than 1 / rate, by which the rate cannot be told from zero; see `curve`.
    """
    label, score = _checked(label, score)
    others = np.sort(score[~label])[::-1]
    if len(others) * rate < 1.0:
        raise ValueError(f"negatives: {len(others)} cannot tell a false-positive rate of {rate:g}; expected "
                         f"{int(np.ceil(1.0 / rate))} or more")
    lenses = np.sort(score[label])
    if not len(lenses):
        raise ValueError("labels: no lens; expected some with and some without")

    def above(allowed: int) -> tuple[float, int]:
        """The lowest threshold above all but so many negatives, and the lenses from it on."""
        if allowed >= len(others):
            return -np.inf, len(lenses)
        first = np.searchsorted(lenses, others[allowed], side="right")
        return float(np.nextafter(others[allowed], np.inf)), len(lenses) - int(first)

    allowed = int(np.floor(len(others) * rate * (1.0 + 1e-12)))
    threshold, found = above(allowed)
    counted = int(np.sum(others >= threshold))
    low, high = interval(allowed, len(others), confidence)
    # Where the true rate of `k` counted is between low and high, `rate` is met by k rate / high to k rate / low.
    ends = [above(int(np.floor(allowed * rate / one)))[1] / len(lenses) for one in (high, max(low, 1e-300))]
    return Completeness(found / len(lenses), interval(found, len(lenses), confidence), threshold,
                        counted / len(others), interval(counted, len(others), confidence), (ends[0], ends[1]))


def purity_at(prevalence: np.ndarray | float, completeness: float, false_positive_rate: float) -> np.ndarray:
    """Purity of what is called a lens where lenses are a share of all objects.

    The rates of Angora et al. (2023), 88.6% and 14.6%, leave one in seventeen where 1% are lenses:

    >>> round(float(purity_at(0.01, *PUBLISHED["VGG"])), 3)
    0.058
    """
    found = np.asarray(prevalence, float) * completeness
    wrong = (1.0 - np.asarray(prevalence, float)) * false_positive_rate
    return np.where(found + wrong > 0.0, found / np.where(found + wrong > 0.0, found + wrong, 1.0), np.nan)


def error_rates(value: np.ndarray, edges: Sequence[float], label: np.ndarray, score: np.ndarray, threshold: float,
                lenses: bool, confidence: float = CONFIDENCE) -> list[dict[str, float]]:
    """Rate of errors in bins of a property: false negatives of lenses, or false positives of what is none.

    Args:
        value: The property: magnitude, colour, Einstein radius, redshift, size; shape (n,).
        edges: Of the bins, the first in and the last out of them.
        label, score, threshold: See `confusion`.
        lenses: Whether lenses are looked at, or the others.
        confidence: Of the intervals.

    Returns:
        For each bin `low`, `high`, `count`, `wrong`, `rate` and its interval `rate_low`, `rate_high`; an empty bin has
        a count of zero and no rate.
    """
    label, score = _checked(label, score)
    value = np.asarray(value, float)
    chosen = label == lenses
    wrong = (score < threshold) if lenses else (score >= threshold)
    rows = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        here = chosen & (value >= low) & (value < high)
        count, bad = int(here.sum()), int((here & wrong).sum())
        row: dict[str, float] = dict(low=low, high=high, count=count, wrong=bad)
        if count:
            row |= dict(zip(("rate", "rate_low", "rate_high"), (bad / count, *interval(bad, count, confidence)),
                            strict=True))
        rows.append(row)
    return rows


def calibration(label: np.ndarray, probability: np.ndarray, bins: int = 10) -> tuple[list[dict[str, float]], float]:
    """Share of lenses by their probability, and the mean distance of the two, weighted by the images of each bin.

    Returns:
        For each bin that is not empty `count`, `probability` (its mean) and `share`; and the expected calibration
        error.
    """
    label, probability = _checked(label, probability)
    which = np.clip((probability * bins).astype(int), 0, bins - 1)
    rows = [dict(count=int(np.sum(here)), probability=float(probability[here].mean()), share=float(label[here].mean()))
            for k in range(bins) if (here := which == k).any()]
    return rows, sum(row["count"] * abs(row["probability"] - row["share"]) for row in rows) / len(label)


def ensemble(scores: np.ndarray, kind: str = "rank") -> np.ndarray:
    """Scores of several finders as one.

    Args:
        scores: Shape (finders, n), each on a scale of its own for "rank", on one scale for the others.
        kind: "rank" is the mean rank, from 0 to 1; "worst" the lowest score, so that all must agree; "mean" the plain
            mean, which one finder that is sure can carry alone.

    Raises:
        ValueError: Another kind, or scores of another shape or NaN.
    """
    scores = np.asarray(scores, float)
    if kind not in ENSEMBLES:
        raise ValueError(f"ensemble: got {kind!r}; expected one of {', '.join(ENSEMBLES)}")
    if scores.ndim != 2 or not scores.size or np.isnan(scores).any():
        raise ValueError(f"scores: got shape {scores.shape}, {np.isnan(scores).sum()} NaN; expected (finders, n)")
    if kind == "rank":
        return np.mean([(rankdata(one) - 0.5) / len(one) for one in scores], 0)
    return scores.min(0) if kind == "worst" else scores.mean(0)


def folds(label: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Number of the fold of each image, shape (n,): in each fold the classes have their shares, to one image.

    Raises:
        ValueError: Fewer than two folds, or more than a class has images.
    """
    label = np.asarray(label)
    sizes = [int(np.sum(label == one)) for one in np.unique(label)]
    if not 2 <= count <= min(sizes, default=0):
        raise ValueError(f"folds: got {count}; expected 2 to {min(sizes, default=0)}, the images of the smallest class")
    random, number = np.random.default_rng(seed), np.zeros(len(label), int)
    for one in np.unique(label):
        of_class = np.flatnonzero(label == one)
        number[random.permutation(of_class)] = np.arange(len(of_class)) % count
    return number


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and interquartile range of a measure over folds."""
    low, middle, high = np.percentile(np.asarray(values, float), [25, 50, 75])
    return dict(median=float(middle), q1=float(low), q3=float(high), iqr=float(high - low))


def summary(label: np.ndarray, score: np.ndarray, threshold: float,
            rates: Sequence[float] = (1e-2, 1e-3, 1e-4)) -> dict[str, float]:
    """The numbers of one test set: those of both papers at a threshold, and completeness at low false-positive rates.

    Rates that the negatives cannot tell are left out.
    """
    counts, line = confusion(label, score, threshold), curve(label, score)
    out = dict(auc=line.auc, average_precision=line.average_precision, average_efficiency=counts.average_efficiency,
               purity=counts.purity, completeness=counts.completeness, f1=counts.f1,
               false_positive_rate=counts.false_positive_rate,
               purity_at_1_percent=float(purity_at(0.01, counts.completeness, counts.false_positive_rate)))
    negatives = int(np.sum(np.asarray(label) == 0))
    for rate in rates:
        if negatives * rate >= 1.0:
            found = completeness_at(label, score, rate)
            name = f"completeness_at_{rate:.0e}".replace("e-0", "e-")
            out |= {name: found.completeness, f"{name}_low": found.interval[0], f"{name}_high": found.interval[1]}
    return {name: value for name, value in out.items() if np.isfinite(value)}


def flat(rows: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, float]:
    """Rates in bins under names of their own, for a card: `mag_24_25`."""
    return {f"{name}_{row['low']:g}_{row['high']:g}": float(row["rate"]) for name, bins in rows.items()
            for row in bins if "rate" in row}


def _checked(label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    label, score = np.asarray(label), np.asarray(score, float)
    if label.ndim != 1 or label.shape != score.shape or not len(label):
        raise ValueError(f"labels and scores: got shapes {label.shape} and {score.shape}; expected one, (n,)")
    if not np.isin(label, (0, 1)).all():
        raise ValueError(f"labels: got {np.unique(label)[:5].tolist()}; expected 0 and 1")
    if bad := int(np.isnan(score).sum()):
        raise ValueError(f"scores: {bad} of {len(score)} are NaN")
    return label == 1, score


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
