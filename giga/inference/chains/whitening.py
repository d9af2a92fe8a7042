"""The affine map that makes a density most like a standard normal, from draws and their gradients."""

import numpy as np


def whitening(u: np.ndarray, gradient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The affine map in whose coordinates a density is nearest to a standard normal.

    The covariance C of draws alone is noisy: it takes hundreds of independent ones to know the shape of forty
    dimensions. Of a Gaussian of precision P the gradients have the covariance G = P C P, whatever the draws, and the
    geometric mean of C and the inverse of G is then the true covariance, without noise. It is what minimises the
    Fisher divergence. Both are first drawn towards unity, which the map has made the better guess where draws are few.

    Args:
        u: Draws, shape (count, n).
        gradient: Of the log-density there.

    Returns:
        Shift, shape (n,), and lower-triangular factor, shape (n, n).

    References:
        Seyboldt, Carlson & Carpenter (2026), arXiv:2603.18845 (Fisher divergence, its dense minimiser).
    """
    count, n = u.shape
    trust = 1.0 - 1.0 / (1.0 + 0.5 * count / n)  # half of the draws count as independent
    spread, score = (trust * np.cov(a.T) + (1.0 - trust) * np.eye(n) for a in (u, gradient))
    covariance = _geometric_mean(spread, np.linalg.inv(score))
    return u.mean(0) + covariance @ gradient.mean(0), np.linalg.cholesky(covariance)


def _geometric_mean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The positive-definite matrix M with M a^-1 M = b, half way between two."""
    root = np.linalg.cholesky(a)
    inner = np.linalg.solve(root, np.linalg.solve(root, b).T)
    values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
    half = root @ (vectors * values**0.25)
    return half @ half.T
