"""Are posteriors what they say? Ranks of the truth, their uniformity, and the coverage of intervals.

A truth drawn from the prior and draws of the posterior of data simulated from it are exchangeable. The
rank of the truth among L independent draws is therefore uniform on 0 .. L, for every parameter and for
every function of parameters and data. Functions of numbers of ranks: nothing here fits or simulates.

References:
    Talts et al. (2018), arXiv:1804.06788 (simulation-based calibration); Modrak et al. (2023), Bayesian
    Analysis, doi:10.1214/23-BA1404 (functions of parameters and data); Sailynoja et al. (2022), Stat.
    Comput. 32, 32 (bands of the empirical distribution).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

LEVELS = (0.68, 0.95)
"""Levels of the intervals whose coverage is quoted."""


def thin(samples: np.ndarray, count: int) -> np.ndarray:
    """Take draws at equal distances from chains laid end to end.

    Args:
        samples: Shape (chains, draws, ...).
        count: Number of draws; no more than there are.

    Raises:
        ValueError: More draws are wanted than there are.
    """
    flat = samples.reshape(-1, *samples.shape[2:])
    if count > len(flat):
        raise ValueError(f"thin: expected at most {len(flat)} draws, got {count}")
    return flat[((np.arange(count) + 0.5) * len(flat) / count).astype(int)]


def rank(truth: float, draws: np.ndarray, rng: np.random.Generator) -> int:
    """Number of draws below the truth, ties broken at random: uniform on 0 .. len(draws) if calibrated."""
    below, equal = int(np.sum(draws < truth)), int(np.sum(draws == truth))
    return below + (int(rng.integers(equal + 1)) if equal else 0)


class Uniformity(NamedTuple):
    """Tests of ranks against a uniform distribution.

    Attributes:
        chi2: Of the counts in `bins` equal bins.
        bins: Their number.
        p_chi2: Its p-value with bins - 1 degrees of freedom.
        ks: Largest distance of the cumulative distributions, the ranks spread within their steps.
        p_ks: Its p-value.
    """

    chi2: float
    bins: int
    p_chi2: float
    ks: float
    p_ks: float


def uniformity(ranks: np.ndarray, size: int, bins: int | None = None) -> Uniformity:
    """Test ranks for uniformity.

    Args:
        ranks: Integers from 0 to size, shape (n,).
        size: Number of draws L that each truth was ranked among.
        bins: Number of bins; it must divide L + 1. None takes `choose_bins`.
    """
    ranks = np.asarray(ranks)
    bins = choose_bins(len(ranks), size) if bins is None else bins
    if (size + 1) % bins:
        raise ValueError(f"uniformity: expected a number of bins that divides {size + 1}, got {bins}")
    counts = histogram(ranks, size, bins)
    chi2, p_chi2 = stats.chisquare(counts)
    spread = (ranks + np.random.default_rng(0).uniform(size=len(ranks))) / (size + 1)
    ks = stats.kstest(spread, "uniform")
    return Uniformity(float(chi2), bins, float(p_chi2), float(ks.statistic), float(ks.pvalue))


def choose_bins(n: int, size: int, least: float = 5.0, most: int = 20) -> int:
    """Largest number of bins that divides L + 1 and expects at least `least` ranks in each; two at least."""
    fitting = [k for k in range(2, most + 1) if (size + 1) % k == 0]
    if not fitting:
        raise ValueError(f"choose_bins: no number from 2 to {most} divides {size + 1}")
    return max([k for k in fitting if n / k >= least] or [fitting[0]])


def histogram(ranks: np.ndarray, size: int, bins: int) -> np.ndarray:
    """Counts of ranks in equal bins, shape (bins,)."""
    return np.bincount(np.asarray(ranks) * bins // (size + 1), minlength=bins)


def histogram_band(n: int, bins: int, level: float = 0.99) -> tuple[float, float]:
    """Counts between which a bin of n uniform ranks lies at a level, each bin by itself."""
    low, high = stats.binom.ppf([0.5 - 0.5 * level, 0.5 + 0.5 * level], n, 1.0 / bins)
    return float(low), float(high)


class Ecdf(NamedTuple):
    """Empirical distribution of ranks less the uniform one.

    Attributes:
        z: Where, shape (k,); each is a step of the ranks.
        difference: Share of ranks below z, less z.
        low, high: Band that holds the whole curve of uniform ranks at the level asked for.
    """

    z: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def inside(self) -> bool:
        """Whether the curve stays inside its band."""
        return bool(np.all((self.difference >= self.low) & (self.difference <= self.high)))


def ecdf_difference(ranks: np.ndarray, size: int, level: float = 0.99) -> Ecdf:
    """Difference of the empirical distribution of ranks from the uniform one, with its simultaneous band.

    Args:
        ranks: Integers from 0 to size, shape (n,).
        size: Number of draws L.
        level: Probability with which the whole curve of uniform ranks stays inside the band.

    References:
        Sailynoja et al. (2022), Stat. Comput. 32, 32, sec. 3 (band), and fig. 1 (difference).
    """
    z = np.arange(1, size + 1) / (size + 1)
    counts = np.cumsum(np.bincount(np.asarray(ranks), minlength=size + 1))[:-1]
    n = len(ranks)
    tail = 0.5 * _pointwise(n, size, level)
    return Ecdf(z, counts / n - z, stats.binom.ppf(tail, n, z) / n - z, stats.binom.isf(tail, n, z) / n - z)


@cache
def _pointwise(n: int, size: int, level: float, simulations: int = 2000) -> float:
    """Two-sided pointwise tail probability whose bands hold a whole curve at a level (by simulation)."""
    rng, z = np.random.default_rng(0), np.arange(1, size + 1) / (size + 1)
    smallest = np.empty(simulations)
    for k in range(simulations):
        counts = np.cumsum(rng.multinomial(n, np.full(size + 1, 1.0 / (size + 1))))[:-1]
        lower, upper = stats.binom.cdf(counts, n, z), stats.binom.sf(counts - 1, n, z)
        smallest[k] = 2.0 * np.minimum(lower, upper).min()
    return float(min(np.quantile(smallest, 1.0 - level), 1.0))


def covered(below: np.ndarray, level: float) -> np.ndarray:
    """Whether the central interval of a level holds the truth.

    Args:
        below: Share of the posterior's draws below the truth, any shape.
        level: Probability of the interval.
    """
    return np.abs(np.asarray(below) - 0.5) <= 0.5 * level


class Coverage(NamedTuple):
    """How many truths a central interval holds.

    Attributes:
        level: Nominal probability.
        share: Share that is held.
        n: Number of truths.
        error: Standard error of the share, lenses taken as independent and their parameters not.
        low, high: Where the share of a calibrated posterior lies at 95%, were the truths independent.
    """

    level: float
    share: float
    n: int
    error: float
    low: float
    high: float


def coverage(below: np.ndarray, level: float) -> Coverage:
    """Coverage of the central interval over lenses, or over lenses and parameters.

    The parameters of one lens share its noise, so that their hits are correlated: the standard error is
    taken from the spread of the lenses' own shares, while the band is the plain binomial one.

    Args:
        below: Share of draws below the truth, shape (lenses,) or (lenses, parameters).
        level: Probability of the interval.
    """
    hits = covered(below, level)
    lenses = hits.reshape(len(hits), -1).mean(1)
    if lenses.size > 1 and hits.ndim > 1:
        error = float(lenses.std(ddof=1) / np.sqrt(len(lenses)))
    else:
        error = float(np.sqrt(level * (1.0 - level) / hits.size))
    low, high = stats.binom.ppf([0.025, 0.975], hits.size, level) / hits.size
    return Coverage(level, float(hits.mean()), int(hits.size), error, float(low), float(high))


def summary(ranks: Mapping[str, Sequence[int]], below: Mapping[str, Sequence[float]], size: int) -> dict[str, Any]:
    """What a study found: each quantity, and all parameters together; plain numbers, fit for JSON.

    Args:
        ranks: Ranks of the truth by quantity, one a lens.
        below: Share of all draws below the truth, by parameter; a part of the quantities or all of them.
        size: Number of draws L of the ranks.

    Returns:
        "quantities" by name (tests, coverage at `LEVELS`), "coverage" over all of `below`, and the
        smallest p-value of each test, as it is and multiplied by the number of quantities (Bonferroni):
        of many quantities one is small by chance.
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, values in ranks.items():
        test = uniformity(np.asarray(values), size)
        rows[name] = dict(**test._asdict(), ecdf_inside=ecdf_difference(np.asarray(values), size).inside)
        if name in below:
            shares = np.asarray(below[name])
            rows[name]["coverage"] = [coverage(shares, level)._asdict() for level in LEVELS]
    together = np.stack([np.asarray(values) for values in below.values()], axis=1)
    smallest = {key: min(row[key] for row in rows.values()) for key in ("p_chi2", "p_ks")}
    return dict(
        lenses=len(together), draws_ranked=size, quantities=rows,
        coverage=[coverage(together, level)._asdict() for level in LEVELS],
        smallest={key: dict(value=value, adjusted=min(1.0, value * len(rows)),
                            quantity=min(rows, key=lambda name, k=key: rows[name][k]))
                  for key, value in smallest.items()})
