"""Convergence of chains: R-hat, modern and of 1992, bulk and tail effective sample size.

A run looks at them after every block, so they are computed for all parameters at once. They are ArviZ's to rounding.
"""

from typing import Any

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.special import ndtri

TAILS = (0.05, 0.95)  # quantiles whose effective sample sizes are those of the tails


def rhat(samples: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat (Vehtari et al. 2021, Bayesian Analysis 16, 667).

    Args:
        samples: Shape (chains, draws, n).

    Returns:
        Shape (n,).
    """
    return rhat_and_ess_bulk(samples)[0]


def rhat_gelman_rubin(samples: np.ndarray) -> np.ndarray:
    """Potential scale reduction of Gelman & Rubin (1992), as TensorFlow Probability computes it.

    The ratio of variances without the square root, so about the square of the modern one; what
    Huang et al. (2025, arXiv:2502.03455, sec. 4) quote. NaN or infinite where no chain moves.
    """
    chains, draws, _ = samples.shape
    within = samples.var(1, ddof=1).mean(0)
    between = samples.mean(1).var(0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = ((draws - 1) / draws * within + between) / within
    return ratio * (chains + 1) / chains - (draws - 1) / (chains * draws)


def ess_bulk(samples: np.ndarray) -> np.ndarray:
    """Bulk effective sample size (Vehtari et al. 2021), shape (n,)."""
    return rhat_and_ess_bulk(samples)[1]


def ess_tail(samples: np.ndarray) -> np.ndarray:
    """Tail effective sample size: of the 5% and 95% quantiles, the smaller (Vehtari et al. 2021), shape (n,).

    NaN where a sample is, or with fewer than four draws.
    """
    draws, n = samples.shape[1:]
    if draws < 4:
        return np.full(n, np.nan)
    bad = np.isnan(samples).any((0, 1))
    ends = np.quantile(np.where(bad, 0.0, samples), TAILS, axis=(0, 1))
    each = [_ess(np.moveaxis(_halves(samples <= end), -1, 0).astype(float)) for end in ends]
    return np.where(bad, np.nan, np.minimum(*each))


def ess_mean(samples: np.ndarray) -> np.ndarray:
    """Effective sample size of the mean (Vehtari et al. 2021), shape (n,); for values of a finite variance."""
    return _each(samples, method="mean")


def rhat_and_ess_bulk(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`rhat` and `ess_bulk`, which share the ranks; NaN where a sample is, or with fewer than four draws."""
    draws, n = samples.shape[1:]
    if draws < 4:
        return np.full(n, np.nan), np.full(n, np.nan)
    parts = _halves(samples)
    shape = (n, *parts.shape[:2])
    flat = np.ascontiguousarray(parts.reshape(-1, n).T, float)
    order = np.argsort(flat, 1)
    ordered = np.take_along_axis(flat, order, 1)
    size = ordered.shape[1]
    folded = np.abs(ordered - 0.5 * (ordered[:, (size - 1) // 2] + ordered[:, size // 2])[:, None])
    merged = np.argsort(folded, 1, kind="stable")  # they fall and then rise, which a stable sort merges
    bulk = _scores(ordered, order).reshape(shape)
    tail = _scores(np.take_along_axis(folded, merged, 1), np.take_along_axis(order, merged, 1)).reshape(shape)
    bad = np.isnan(flat).any(1)
    return (np.where(bad, np.nan, np.maximum(_split_rhat(bulk), _split_rhat(tail))),
            np.where(bad, np.nan, _ess(bulk)))


def _halves(samples: np.ndarray) -> np.ndarray:
    """Split each chain into two; the middle draw of an odd number is left out."""
    half = samples.shape[1] // 2
    return np.concatenate([samples[:, :half], samples[:, -half:]])


def _scores(ordered: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Normal quantiles of Blom's fractional ranks, row by row; equal values share their mean rank.

    Args:
        ordered: Values in ascending order.
        order: Their places.
    """
    size, edge = ordered.shape[1], np.ones((len(ordered), 1), bool)
    place = np.arange(size, dtype=np.int32)
    changes = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(np.concatenate([edge, changes], 1), place, 0), 1)
    last = np.where(np.concatenate([changes, edge], 1), place, size)
    last = np.minimum.accumulate(last[:, ::-1], 1)[:, ::-1]
    quantile = ndtri((0.5 * np.arange(2 * size - 1) + 0.625) / (size + 0.25))  # at half the sum of two places
    scores = np.empty(ordered.shape)
    np.put_along_axis(scores, order, quantile[first + last], 1)
    return scores


def _split_rhat(scores: np.ndarray) -> np.ndarray:
    """Potential scale reduction of (n, chains, draws); NaN where no chain moves."""
    draws = scores.shape[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = draws * scores.mean(2).var(1, ddof=1) / scores.var(2, ddof=1).mean(1)
    return np.sqrt((ratio + draws - 1) / draws)


def _ess(scores: np.ndarray) -> np.ndarray:
    """Effective sample size of the mean of (n, chains, draws)."""
    n, chains, draws = scores.shape
    length = next_fast_len(2 * draws, real=True)  # pyright: ignore[reportArgumentType]
    power = np.abs(rfft(scores - scores.mean(2, keepdims=True), length, axis=2)) ** 2  # pyright: ignore
    covariance = irfft(power.mean(1), length, axis=1)[:, :draws] / draws  # pyright: ignore
    within = covariance[:, :1] * draws / (draws - 1.0)
    total = covariance[:, :1] + scores.mean(2).var(1, ddof=1)[:, None]
    still = np.ptp(scores, axis=(1, 2)) < np.finfo(float).resolution
    rho = 1.0 - (within - covariance) / np.where(still[:, None], 1.0, total)
    size = chains * draws
    times = [1.0 if quiet else max(_time(row), 1.0 / np.log10(size)) for quiet, row in zip(still, rho, strict=True)]
    return size / np.array(times)


def _time(rho: np.ndarray) -> float:
    """Autocorrelation time from the correlation at each lag, summed over Geyer's initial monotone sequence.

    References:
        Geyer (1992), Statistical Science 7, 473, sec. 3.3; as in Stan and ArviZ.
    """
    kept = np.zeros(len(rho) + 1)
    even, odd = 1.0, float(rho[1])
    kept[:2] = even, odd
    t = 1
    while t < len(rho) - 3 and even + odd > 0.0:
        even, odd = float(rho[t + 1]), float(rho[t + 2])
        if even + odd >= 0.0:
            kept[t + 1:t + 3] = even, odd
        t += 2
    end = t - 1
    if even > 0.0:
        kept[end] = even
    for t in range(1, end - 2, 2):
        if kept[t + 1] + kept[t + 2] > kept[t - 1] + kept[t]:
            kept[t + 1:t + 3] = 0.5 * (kept[t - 1] + kept[t])
    return float(-1.0 + 2.0 * kept[:end].sum() + kept[end])


def _each(samples: np.ndarray, **how: Any) -> np.ndarray:
    """ArviZ's effective sample size, parameter by parameter; 0.23 and 1 answer alike when all is spelt out."""
    import arviz as az  # here: with matplotlib.pyplot and xarray it is a third of the time that `import giga` takes

    return np.array([float(az.ess(samples[..., k], **how)) for k in range(samples.shape[-1])])
