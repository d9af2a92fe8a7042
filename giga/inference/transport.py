"""A conditional Gaussian: the map from a standard normal to a posterior with one curved degeneracy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Component, static

REACH = 3.2  # nodes run this many standard deviations each way along the axis


class Transport(Component):
    """Map u -> z with z[axis] = location + width t, and the rest Gaussian given t.

    t is the axis's share of v = shift + factor u; given t the other coordinates have a mean cubic
    in t and a Cholesky factor quadratic in t. The map is triangular, so its Jacobian is the product
    of its diagonals. With no bend (all higher coefficients zero) it is a full-rank Gaussian.

    Attributes:
        location, width: Of the axis coordinate.
        mean: Shape (4, n-1), coefficients of 1, t, t^2, t^3.
        chol: Shape (3, n-1, n-1), coefficients of 1, t, t^2 of a lower-triangular matrix whose
            diagonal is the logarithm of the factor's.
        shift, factor: Affine map in front, shapes (n,) and (n, n) lower-triangular.
        axis: The conditioning coordinate.
    """

    location: Array
    width: Array
    mean: Array
    chol: Array
    shift: Array
    factor: Array
    axis: int = static()

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.shift.shape[0]

    def __call__(self, u: Array) -> tuple[Array, Array]:
        """Return z, shape (n,), and the log-determinant of dz/du."""
        v = self.shift + self.factor @ u
        t = v[0]
        bounded = jnp.clip(t, -1.1 * REACH, 1.1 * REACH)
        mean = self.mean[0] + self.mean[1] * t + self.mean[2] * bounded**2 + self.mean[3] * bounded**3
        chol = self.chol[0] + self.chol[1] * bounded + self.chol[2] * bounded**2
        log_diagonal = jnp.diag(chol)
        lower = jnp.tril(chol, -1) + jnp.diag(jnp.exp(log_diagonal))
        rest = mean + lower @ v[1:]
        z = jnp.concatenate([rest[:self.axis], (self.location + self.width * t)[None], rest[self.axis:]])
        log_det = jnp.log(self.width) + jnp.sum(log_diagonal) + jnp.sum(jnp.log(jnp.diag(self.factor)))
        return z, log_det

    def behind(self, shift: Array, factor: Array) -> Transport:
        """The map u -> self(shift + factor u), factor lower-triangular."""
        return self.replace(shift=self.shift + self.factor @ shift, factor=self.factor @ factor)


def gaussian(mean: Array, covariance: Array, axis: int = 0) -> Transport:
    """A full-rank Gaussian as a transport map."""
    n = len(mean)
    others = np.delete(np.arange(n), axis)
    variance = covariance[axis, axis]
    slope = covariance[others, axis] / variance
    rest = covariance[np.ix_(others, others)] - jnp.outer(slope, slope) * variance
    zero = jnp.zeros_like(slope)
    return Transport(location=mean[axis], width=jnp.sqrt(variance),
                     mean=jnp.stack([mean[others], slope * jnp.sqrt(variance), zero, zero]),
                     chol=jnp.stack([_log_chol(rest), *([jnp.zeros_like(rest)] * 2)]),
                     shift=jnp.zeros_like(mean), factor=jnp.eye(n, dtype=mean.dtype), axis=axis)


def _log_chol(covariance: Array) -> Array:
    lower = jnp.linalg.cholesky(covariance)
    return jnp.tril(lower, -1) + jnp.diag(jnp.log(jnp.diag(lower)))


def conditional(mean: Array, precision: Array, z: np.ndarray, node_precision: np.ndarray, axis: int) -> Transport:
    """Fit a conditional Gaussian to nodes along a coordinate.

    Args:
        mean, precision: Mode and Gauss-Newton precision there.
        z: Conditional modes, shape (nodes, n).
        node_precision: Precision there, shape (nodes, n, n).
        axis: The coordinate.
    """
    dtype = mean.dtype
    mean, precision = np.asarray(mean, float), np.asarray(precision, float)
    others = np.delete(np.arange(len(mean)), axis)
    width = np.sqrt(np.linalg.inv(precision)[axis, axis])
    points = np.concatenate([np.asarray(z, float), mean[None]])
    precisions = np.concatenate([np.asarray(node_precision, float), precision[None]])
    t = (points[:, axis] - mean[axis]) / width
    weight = np.sqrt(np.exp(-0.25 * t**2))
    factors = np.stack([_log_factor(p[np.ix_(others, others)]) for p in precisions])
    powers = t[:, None] ** np.arange(4)
    means = np.linalg.lstsq(powers * weight[:, None], points[:, others] * weight[:, None], rcond=None)[0]
    flat = factors.reshape(len(t), -1)
    chols = np.linalg.lstsq(powers[:, :3] * weight[:, None], flat * weight[:, None], rcond=None)[0]
    n = len(others)
    return Transport(location=jnp.asarray(mean[axis], dtype), width=jnp.asarray(width, dtype), mean=jnp.asarray(means, dtype),
                     chol=jnp.asarray(chols.reshape(3, n, n), dtype), shift=jnp.zeros(n + 1, dtype),
                     factor=jnp.eye(n + 1, dtype=dtype), axis=axis)


def _log_factor(precision: np.ndarray) -> np.ndarray:
    """Cholesky factor of the inverse, with the logarithm of its diagonal."""
    lower = np.linalg.cholesky(np.linalg.inv(precision))
    return np.tril(lower, -1) + np.diag(np.log(np.diag(lower)))
