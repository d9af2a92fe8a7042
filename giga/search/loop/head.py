"""A head on the features of a trained network: logistic regression, trained anew in each round."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

STEPS = 30  # of Newton's method, which takes ten


@dataclass(frozen=True)
class Head:
    """Log-odds of a lens: a product with standardised features.

    Attributes:
        mean, scale: Of the features in training, shape (d,).
        weights: Shape (d + 1,), the constant last.
    """

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Log-odds of rows of features, shape (n,)."""
        return (features - self.mean) / self.scale @ self.weights[:-1] + self.weights[-1]


def train_head(features: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None,
               ridge: float = 1e-2) -> Head:
    """Fit a head.

    Lenses and others count the same in all, however many there are of each.

    Args:
        features: Shape (n, d).
        labels: 1 for a lens, 0 for none, shape (n,).
        weights: How much each example counts among its own, shape (n,); None counts all alike.
        ridge: Half the inverse variance of the prior of the weights, an example.

    Raises:
        ValueError: Features that are not finite, or one kind of example alone.
    """
    features, labels = np.asarray(features, float), np.asarray(labels, bool)
    if not np.isfinite(features).all():
        raise ValueError(f"features: {(~np.isfinite(features)).any(1).sum()} rows are not finite")
    if labels.all() or not labels.any():
        raise ValueError(f"labels: {labels.sum()} lenses among {len(labels)} examples, expected both kinds")
    each = np.ones(len(labels)) if weights is None else np.asarray(weights, float)
    each = np.where(labels, each / each[labels].sum(), each / each[~labels].sum()) / 2.0
    mean = np.average(features, axis=0, weights=each)
    scale = np.sqrt(np.average((features - mean) ** 2, axis=0, weights=each))
    scale = np.where(scale > 0.0, scale, 1.0)
    x = np.concatenate([(features - mean) / scale, np.ones((len(features), 1))], 1)
    penalty = np.append(np.full(features.shape[1], 2.0 * ridge), 0.0)
    theta = np.zeros(x.shape[1])

    def loss(at: np.ndarray) -> float:
        odds = x @ at
        return float(each @ (np.logaddexp(0.0, odds) - labels * odds) + 0.5 * penalty @ at**2)

    value = loss(theta)
    for _ in range(STEPS):
        chance = expit(x @ theta)
        gradient = x.T @ (each * (chance - labels)) + penalty * theta
        curvature = (x * (each * chance * (1.0 - chance))[:, None]).T @ x + np.diag(penalty + 1e-10)
        step, size = np.linalg.solve(curvature, gradient), 1.0
        while (new := loss(theta - size * step)) > value and size > 1e-4:
            size /= 2.0
        theta, gain, value = theta - size * step, value - new, new
        if gain < 1e-9:
            break
    return Head(mean, scale, theta)
