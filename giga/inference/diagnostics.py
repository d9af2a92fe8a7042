"""Convergence of chains: R-hat, modern and of 1992, bulk and tail effective sample size."""

import arviz as az
import numpy as np


def rhat(samples: np.ndarray) -> np.ndarray:
    """Rank-normalised split R-hat (Vehtari et al. 2021, Bayesian Analysis 16, 667).

    Args:
        samples: Shape (chains, draws, n).

    Returns:
        Shape (n,).
    """
    return _each(samples, lambda a: az.rhat(a, method="rank"))


def rhat_gelman_rubin(samples: np.ndarray) -> np.ndarray:
    """Potential scale reduction of Gelman & Rubin (1992), as TensorFlow Probability computes it.

    The ratio of variances without the square root, so about the square of the modern one; what
    Huang et al. (2025, arXiv:2502.03455, sec. 4) quote.
    """
    chains, draws, _ = samples.shape
    within = samples.var(1, ddof=1).mean(0)
    between = samples.mean(1).var(0, ddof=1)
    return ((draws - 1) / draws * within + between) / within * (chains + 1) / chains - (draws - 1) / (chains * draws)


def ess_bulk(samples: np.ndarray) -> np.ndarray:
    """Bulk effective sample size (Vehtari et al. 2021), shape (n,)."""
    return _each(samples, lambda a: az.ess(a, method="bulk"))


def ess_tail(samples: np.ndarray) -> np.ndarray:
    """Tail effective sample size: of the 5% and 95% quantiles, the smaller (Vehtari et al. 2021)."""
    return _each(samples, lambda a: az.ess(a, method="tail"))


def _each(samples: np.ndarray, function) -> np.ndarray:
    return np.array([float(function(samples[..., k])) for k in range(samples.shape[-1])])
