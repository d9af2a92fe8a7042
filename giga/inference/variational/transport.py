"""A conditional Gaussian: the map from a standard normal to a posterior with one curved degeneracy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from numpy.typing import DTypeLike

from giga.component import AnyArray, Component
from giga.inference.variational.bounds import Bounds
from giga.runtime.products import matmul

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
        order: Shape (n,), the place of each coordinate of z in (axis, the others in order); an
            array, so that one compiled program serves any axis.
        bounds: Elementwise map behind all this, for parameters near a bound of their prior.
    """

    location: AnyArray
    width: AnyArray
    mean: AnyArray
    chol: AnyArray
    shift: AnyArray
    factor: AnyArray
    order: AnyArray
    bounds: Bounds

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.shift.shape[0]

    def __call__(self, u: Array) -> tuple[Array, Array]:
        """Return z, shape (n,), and the log-determinant of dz/du."""
        v = self.shift + matmul(self.factor, u)
        mean, lower, log_det = self._given(v[0])
        y = jnp.concatenate([(self.location + self.width * v[0])[None], mean + matmul(lower, v[1:])])[self.order]
        z, bent = self.bounds(y)
        return z, log_det + bent

    def pull(self, z: Array) -> tuple[Array, Array]:
        """Return u, shape (n,), of a point z, and the log-determinant of dz/du there."""
        y, bent = self.bounds.pull(z)
        ordered = jnp.zeros_like(y).at[self.order].set(y)
        t = (ordered[0] - self.location) / self.width
        mean, lower, log_det = self._given(t)
        v = jnp.concatenate([t[None], solve_triangular(lower, ordered[1:] - mean, lower=True)])
        return solve_triangular(self.factor, v - self.shift, lower=True), log_det + bent

    def _given(self, t: Array) -> tuple[Array, Array, Array]:
        """Mean and Cholesky factor of the other coordinates given the axis's, and the whole log-determinant."""
        bounded = jnp.clip(t, -1.1 * REACH, 1.1 * REACH)
        mean = self.mean[0] + self.mean[1] * t + self.mean[2] * bounded**2 + self.mean[3] * bounded**3
        chol = self.chol[0] + self.chol[1] * bounded + self.chol[2] * bounded**2
        log_diagonal = jnp.diag(chol)
        lower = jnp.tril(chol, -1) + jnp.diag(jnp.exp(log_diagonal))
        return mean, lower, jnp.log(self.width) + jnp.sum(log_diagonal) + jnp.sum(jnp.log(jnp.diag(self.factor)))

    def behind(self, shift: AnyArray, factor: AnyArray) -> Transport:
        """The map u -> self(shift + factor u), factor lower-triangular."""
        return self.replace(shift=self.shift + matmul(self.factor, shift), factor=matmul(self.factor, factor))


def gaussian(mean: np.ndarray, covariance: np.ndarray, axis: int = 0, dtype: DTypeLike = np.float32) -> Transport:
    """A full-rank Gaussian as a transport map, made on the host."""
    mean, covariance = np.asarray(mean, float), np.asarray(covariance, float)
    others = np.delete(np.arange(len(mean)), axis)
    variance = covariance[axis, axis]
    slope = covariance[others, axis] / variance
    rest = covariance[np.ix_(others, others)] - np.outer(slope, slope) * variance
    means, chols = np.zeros((4, len(others))), np.zeros((3, len(others), len(others)))
    means[0], means[1], chols[0] = mean[others], slope * np.sqrt(variance), _log_chol(rest)
    return _transport(mean[axis], np.sqrt(variance), means, chols, axis, dtype)


def _transport(location: float, width: float, means: np.ndarray, chols: np.ndarray, axis: int,
               dtype: DTypeLike) -> Transport:
    n = means.shape[1] + 1
    place = np.arange(n)
    order = np.where(place == axis, 0, np.where(place < axis, place + 1, place))
    parts = {"location": location, "width": width, "mean": means, "chol": chols, "shift": np.zeros(n),
             "factor": np.eye(n)}
    numbers = {name: np.asarray(part, dtype) for name, part in parts.items()}
    return Transport(order=order.astype(np.int32), bounds=Bounds.none(n, dtype), **numbers)


def inverse(precision: np.ndarray) -> np.ndarray:
    """Covariance of a precision matrix in units of prior deviations.

    No direction is left wider than three of them: below that a precision from float32 is rounding.
    """
    values, vectors = np.linalg.eigh(0.5 * (precision + precision.T))
    return (vectors / np.maximum(values, 1.0 / 9.0)) @ vectors.T


def _log_chol(covariance: np.ndarray) -> np.ndarray:
    """Cholesky factor with the logarithm of its diagonal."""
    lower = np.linalg.cholesky(covariance)
    return np.tril(lower, -1) + np.diag(np.log(np.diag(lower)))


def conditional(mean: np.ndarray, precision: np.ndarray, z: np.ndarray, node_precision: np.ndarray, axis: int,
                dtype: DTypeLike = np.float32) -> Transport:
    """Fit a conditional Gaussian to nodes along a coordinate.

    Args:
        mean, precision: Mode and Gauss-Newton precision there.
        z: Conditional modes, shape (nodes, n).
        node_precision: Precision there, shape (nodes, n, n).
        axis: The coordinate.
        dtype: Precision of the map.
    """
    mean, precision = np.asarray(mean, float), np.asarray(precision, float)
    others = np.delete(np.arange(len(mean)), axis)
    width = np.sqrt(inverse(precision)[axis, axis])
    points = np.concatenate([np.asarray(z, float), mean[None]])
    precisions = np.concatenate([np.asarray(node_precision, float), precision[None]])
    t = (points[:, axis] - mean[axis]) / width
    weight = np.exp(-0.125 * t**2)[:, None]
    factors = np.stack([_log_chol(inverse(p[np.ix_(others, others)])) for p in precisions])
    powers = t[:, None] ** np.arange(4) * weight
    means = np.linalg.lstsq(powers, points[:, others] * weight, rcond=None)[0]
    chols = np.linalg.lstsq(powers[:, :3], factors.reshape(len(t), -1) * weight, rcond=None)[0]
    return _transport(mean[axis], width, means, chols.reshape(3, *factors.shape[1:]), axis, dtype)
