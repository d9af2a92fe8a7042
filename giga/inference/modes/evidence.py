"""Evidence of a posterior: Laplace's from the mode, bridge sampling from draws and a fitted map."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jax import Array
from scipy.special import logsumexp

from giga.bayes.posterior import Posterior
from giga.component import AnyArray
from giga.inference.chains.diagnostics import ess_mean
from giga.inference.variational.transport import Transport, pulled, pushed
from giga.inference.variational.vi import Ascent
from giga.runtime.random import normal

FLOOR = 1.0 / 9.0  # smallest eigenvalue of a precision that is believed, as in `transport.inverse`
LEAST_OVERLAP = 1e-6  # of draws and proposals: with less, none of thousands lies where the other density is


class Evidence(NamedTuple):
    """Logarithm of the integral of a density.

    Attributes:
        log: Its estimate.
        error: Its standard error.
    """

    log: float
    error: float


class Proposals(NamedTuple):
    """Independent draws of a map and the posterior there.

    Attributes:
        z: Shape (count, n).
        log_prob: Log-posterior, shape (count,); -inf where it is not finite.
        dead: Number of those.
    """

    z: AnyArray
    log_prob: AnyArray
    dead: int


def laplace(log_prob: float, precision: np.ndarray) -> float:
    """Log-evidence of the Gaussian with the height and curvature of a mode.

    log_prob - log det(precision) / 2 + n log(2 pi) / 2; directions that the data leave wider than
    three prior deviations count as that wide.
    """
    values = np.linalg.eigvalsh(0.5 * (precision + precision.T))
    return float(log_prob - 0.5 * np.sum(np.log(np.maximum(values, FLOOR) / (2.0 * np.pi))))


def propose(key: Array, posterior: Posterior, transport: Transport, ascent: Ascent, count: int) -> Proposals:
    """Draw from a map and evaluate the posterior there.

    Args:
        key: Random key.
        posterior: The posterior.
        transport: The map.
        ascent: From `giga.inference.variational.vi.ascender`, whose compiled program evaluates the posterior.
        count: Number of draws.
    """
    u = normal(key, (count, transport.size), transport.shift.dtype)
    value, _ = ascent.evaluate(posterior, transport, u)
    z, log_det = pushed(transport, u)
    log_prob = np.asarray(value, float) - np.asarray(log_det, float)
    good = np.isfinite(log_prob)
    return Proposals(z, np.where(good, log_prob, -np.inf), int(np.sum(~good)))


def log_density_of(transport: Transport, z: np.ndarray) -> np.ndarray:
    """Log-density of a map's own distribution at points of any leading shape, in float64."""
    flat = np.reshape(z, (-1, transport.size)).astype(transport.shift.dtype)
    u, log_det = pulled(transport, flat)
    log_normal = -0.5 * np.sum(np.asarray(u, float) ** 2, 1) - 0.5 * transport.size * np.log(2.0 * np.pi)
    return (log_normal - np.asarray(log_det, float)).reshape(np.shape(z)[:-1])


def bridge(samples: np.ndarray, proposals: np.ndarray, rounds: int = 200, tolerance: float = 1e-10) -> Evidence:
    """Bridge sampling between draws of an unnormalised density p and of a normalised one q.

    The optimal bridge of Meng & Wong, iterated. The error is the delta method's, with the draws of p
    counted by the effective sample size of the term they enter.

    Args:
        samples: log p - log q at draws of p, shape (chains, draws); NaN marks a draw that is left out.
        proposals: log p - log q at independent draws of q, shape (count,); -inf where p is zero.
        rounds: Most iterations.
        tolerance: Change of the log-evidence at which they end.

    Raises:
        FloatingPointError: No proposal lies where p is, no draw of p is left, or the two do not overlap.

    References:
        Meng & Wong (1996), Statistica Sinica 6, 831, eq. 4.1; Fruehwirth-Schnatter (2004), Econometrics
        Journal 7, 143, sec. 3.3 (error); Gronau et al. (2017), J. Math. Psych. 81, 80.
    """
    kept = ~np.isnan(samples)
    if not kept.any() or not np.isfinite(proposals).any():
        raise FloatingPointError(f"bridge sampling: {int(kept.sum())} draws of the posterior and "
                                 f"{int(np.isfinite(proposals).sum())} of {len(proposals)} proposals can be used")
    first = np.median(samples[kept])  # the scale of p / q
    a, b = np.where(kept, samples - first, 0.0), proposals - first
    n_p, n_q = _ess(a, kept), float(len(b))
    log_p, log_q = np.log(n_p / (n_p + n_q)), np.log(n_q / (n_p + n_q))
    log_z = 0.0
    for _ in range(rounds):
        top = logsumexp(b - np.logaddexp(log_p + b, log_q + log_z)) - np.log(n_q)
        bottom = logsumexp(-np.logaddexp(log_p + a[kept], log_q + log_z)) - np.log(kept.sum())
        change, log_z = top - bottom - log_z, top - bottom
        if abs(change) < tolerance:
            break
    # p and q, both normalised, over their mixture: each has mean (its overlap) under the other.
    f_q = np.exp(b - log_z - np.logaddexp(log_p + b - log_z, log_q))
    f_p = np.exp(-np.logaddexp(log_p + a - log_z, log_q))
    if not min(f_q.mean(), f_p[kept].mean()) > LEAST_OVERLAP:
        raise FloatingPointError("bridge sampling: the draws of the posterior and the proposals do not overlap")
    error2 = f_q.var() / f_q.mean() ** 2 / n_q + f_p[kept].var() / f_p[kept].mean() ** 2 / _ess(f_p, kept)
    return Evidence(float(log_z + first), float(np.sqrt(error2)))


def _ess(values: np.ndarray, kept: np.ndarray) -> float:
    """Effective number of draws for a mean; draws left out stand at the mean of the others."""
    if np.ptp(values[kept]) == 0.0:
        return float(kept.sum())
    filled = np.where(kept, values, values[kept].mean())
    return max(1.0, float(ess_mean(filled[..., None])[0]) * kept.mean())
