"""The map from a standard normal to a posterior with curved degeneracies: a conditional Gaussian, and a bend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.linalg import solve_triangular
from numpy.typing import DTypeLike

from giga.component import AnyArray, Component
from giga.inference.variational.bounds import Bounds, inverse
from giga.runtime.parallel import ON_VECTORS, on_host
from giga.runtime.products import matmul

REACH = 3.2  # nodes run this many standard deviations each way along the axis
SOFT = 8  # most coordinates along which a bend is quadratic
PIECE = 1024  # points in a call


class Bend(Component):
    """A quadratic shear, w -> shift + outer (w + c(w)): where the first coordinates go, the last follow on a curve.

    c has entries of the last coordinates alone and is a quadratic form of the first: the map is undone in one step,
    and keeps volume but for the determinant of `outer`. Far out c is held.

    Attributes:
        shift, outer: Affine map behind it, shapes (n,) and (n, n).
        curve: Coefficients of `products`, shape (k (k + 1) / 2, n); zero for the coordinates that they are made of.
        log_det: Logarithm of the determinant of `outer`, shape ().
    """

    shift: AnyArray
    outer: AnyArray
    curve: AnyArray
    log_det: AnyArray

    @property
    def soft(self) -> int:
        """Coordinates along which it bends; on the host."""
        return _count(int(np.sum(np.any(self.curve, axis=1))))

    @staticmethod
    def none(n: int, dtype: DTypeLike) -> Bend:
        """The identity of n coordinates."""
        k = most_soft(n)
        return Bend(shift=np.zeros(n, dtype), outer=np.eye(n, dtype=dtype),
                    curve=np.zeros((k * (k + 1) // 2, n), dtype), log_det=np.zeros((), dtype))

    def __call__(self, w: Array) -> Array:
        """Of a point, shape (n,)."""
        return self.shift + matmul(self.outer, w + self._c(w))

    def pull(self, v: Array) -> Array:
        """The point w that goes to v, shape (n,)."""
        straight = jnp.linalg.solve(self.outer, v - self.shift)
        return straight - self._c(straight)

    def _c(self, w: Array) -> Array:
        return matmul(products(held(w[:_count(len(self.curve))]), jnp), self.curve)


def most_soft(n: int) -> int:
    """Coordinates along which a bend of n may be quadratic."""
    return max(min(SOFT, n - 1), 0)


def _count(pairs: int) -> int:
    """Coordinates that have so many products."""
    return (math.isqrt(8 * pairs + 1) - 1) // 2


def held(t: Any, xp: Any = jnp) -> Any:
    """A coordinate, held a little beyond the last node."""
    return xp.clip(t, -1.1 * REACH, 1.1 * REACH)


def products(w: Any, xp: Any) -> Any:
    """Products of two coordinates, less their mean over a standard normal: shape (..., k) to (..., k (k + 1) / 2).

    In the order 00, 10, 11, 20, ...: those of fewer coordinates come first.
    """
    first, second = np.tril_indices(w.shape[-1])
    return w[..., first] * w[..., second] - xp.asarray(first == second, w.dtype)


class Transport(Component):
    """Map u -> z with z[axis] = location + width t, and the rest Gaussian given t.

    t is the axis's share of v = bend(shift + factor u); given t the other coordinates have a mean cubic
    in t and a Cholesky factor quadratic in t. The map is triangular behind the bend, so its Jacobian is the product
    of its diagonals. With all higher coefficients zero it is a full-rank Gaussian.

    Attributes:
        location, width: Of the axis coordinate.
        mean: Shape (4, n-1), coefficients of 1, t, t^2, t^3.
        chol: Shape (3, n-1, n-1), coefficients of 1, t, t^2 of a lower-triangular matrix whose
            diagonal is the logarithm of the factor's.
        shift, factor: Affine map in front, shapes (n,) and (n, n) lower-triangular.
        order: Shape (n,), the place of each coordinate of z in (axis, the others in order); an
            array, so that one compiled program serves any axis.
        bounds: Elementwise map behind all this, for parameters near a bound of their prior.
        bend: What draws have shown to be curved, see `giga.inference.chains.whitening.straightened`.
    """

    location: AnyArray
    width: AnyArray
    mean: AnyArray
    chol: AnyArray
    shift: AnyArray
    factor: AnyArray
    order: AnyArray
    bounds: Bounds
    bend: Bend

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.shift.shape[0]

    def __call__(self, u: Array) -> tuple[Array, Array]:
        """Return z, shape (n,), and the log-determinant of dz/du."""
        v = self.bend(self.shift + matmul(self.factor, u))
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
        return solve_triangular(self.factor, self.bend.pull(v) - self.shift, lower=True), log_det + bent

    def _given(self, t: Array) -> tuple[Array, Array, Array]:
        """Mean and Cholesky factor of the other coordinates given the axis's, and the whole log-determinant."""
        bounded = held(t)
        mean = self.mean[0] + self.mean[1] * t + self.mean[2] * bounded**2 + self.mean[3] * bounded**3
        chol = self.chol[0] + self.chol[1] * bounded + self.chol[2] * bounded**2
        log_diagonal = jnp.diag(chol)
        lower = jnp.tril(chol, -1) + jnp.diag(jnp.exp(log_diagonal))
        inner = self.bend.log_det + jnp.sum(jnp.log(jnp.diag(self.factor)))
        return mean, lower, jnp.log(self.width) + jnp.sum(log_diagonal) + inner

    def behind(self, shift: AnyArray, factor: AnyArray) -> Transport:
        """The map u -> self(shift + factor u), factor lower-triangular."""
        return self.replace(shift=self.shift + matmul(self.factor, shift), factor=matmul(self.factor, factor))

    def bent(self, bend: Bend) -> Transport:
        """The map u -> self(bend(u)), made on the host. Raises ValueError where it is bent already."""
        if np.any(self.bend.curve):
            raise ValueError("transport: bent already; two bends are not one")
        shift, factor = np.asarray(self.shift, float), np.asarray(self.factor, float)
        dtype, n = np.asarray(self.shift).dtype, self.size
        after = {"shift": shift + factor @ bend.shift, "outer": factor @ bend.outer, "curve": bend.curve,
                 "log_det": bend.log_det + np.sum(np.log(np.diag(factor)))}
        return self.replace(bend=Bend(**{name: np.asarray(value, dtype) for name, value in after.items()}),
                            shift=np.zeros(n, dtype), factor=np.eye(n, dtype=dtype))


def pushed(transport: Transport, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Images of points under a map, shape (count, n), and the log-determinants there, on the host."""
    return _in_pieces(_push, transport, u)


def pulled(transport: Transport, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The points whose images are z, shape (count, n), and the log-determinants there, on the host."""
    return _in_pieces(_pull, transport, z)


def _in_pieces(function: Callable, transport: Transport, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate a map in pieces of one size, so that it is compiled once whatever the number of points."""
    padded = np.concatenate([points, np.repeat(points[:1], -len(points) % PIECE, 0)])
    parts = [on_host(function(transport, padded[i:i + PIECE])) for i in range(0, len(padded), PIECE)]
    out, log_det = (np.concatenate(part)[:len(points)] for part in zip(*parts, strict=True))
    return out, log_det


_push = jax.jit(jax.vmap(Transport.__call__, (None, 0)), compiler_options=ON_VECTORS)
_pull = jax.jit(jax.vmap(Transport.pull, (None, 0)), compiler_options=ON_VECTORS)


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
    return Transport(order=order.astype(np.int32), bounds=Bounds.none(n, dtype), bend=Bend.none(n, dtype), **numbers)


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
