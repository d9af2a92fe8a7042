"""Parameters that the data push against a bound of their prior, in a coordinate that stays linear there."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.prior import Prior
from giga.component import AnyArray, Component
from giga.runtime.parallel import ON_VECTORS

NEAR = 0.15  # a bound within seven standard deviations of the likelihood is near
NARROW = 0.3  # of the prior's range: a wider posterior is no stranger to the prior's own coordinate
FAR = (8.0, 14.0)  # where the prior's tail on the real line is looked at
ROWS = 16  # places at which the prior is expanded in a compiled call


class Bounds(Component):
    """Elementwise map y -> z, the identity but for parameters near a bound.

    A bounded parameter lives on the real line through a logarithm of its distance w to the bound
    (for an interval, of its odds). Where the posterior is much narrower than the prior, its other
    parameters depend on w linearly, and along log w they bend by as much as w changes. So
    w = soft log(1 + exp(y)): linear in y up to about one posterior width from the bound, and a
    logarithm only below it.

    Attributes:
        side: Shape (n,): -1 near the lower bound, +1 near the upper, 0 for the identity.
        log_soft: Logarithm of the width, shape (n,).
        shift, scale: The prior's, shape (n,): log w = -side (shift + scale z).
    """

    side: AnyArray
    log_soft: AnyArray
    shift: AnyArray
    scale: AnyArray

    @staticmethod
    def none(n: int, dtype: np.typing.DTypeLike) -> Bounds:
        """The identity."""
        return Bounds(side=np.zeros(n, dtype), log_soft=np.zeros(n, dtype), shift=np.zeros(n, dtype),
                      scale=np.ones(n, dtype))

    def __call__(self, y: Array) -> tuple[Array, Array]:
        """Return z, shape (n,), and the log-determinant of dz/dy."""
        log_w = self.log_soft + _log_softplus(-self.side * y)
        z = jnp.where(self.side != 0, (-self.side * log_w - self.shift) / self.scale, y)
        return z, self._log_det(y)

    def pull(self, z: Array) -> tuple[Array, Array]:
        """Return y, shape (n,), of a point z, and the log-determinant of dz/dy there."""
        y = self._back(z, jnp)
        return y, self._log_det(y)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """y of z, on the host in float64, shape (..., n)."""
        return self._back(np.asarray(z, float), np)

    def _back(self, z: Any, xp: Any) -> Any:
        log_u = -self.side * (self.shift + self.scale * z) - self.log_soft
        u = xp.exp(xp.clip(log_u, -80.0, 80.0))
        v = xp.where(u < 20.0, xp.log(xp.expm1(xp.minimum(u, 20.0))), u)
        return xp.where(self.side != 0, -self.side * v, z)

    def _log_det(self, y: Array) -> Array:
        v = -self.side * y
        slope = jax.nn.log_sigmoid(v) - _log_softplus(v) - jnp.log(self.scale)
        return jnp.sum(jnp.where(self.side != 0, slope, 0.0))

    def moved(self, prior: Prior, z: np.ndarray, precision: np.ndarray,
              held: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Take modes in z, with their precisions, to modes in y.

        The mode of a density depends on the coordinate: one Newton step follows it.

        Args:
            prior: The prior.
            z: Modes, shape (k, n).
            precision: Curvature there, the prior's included, shape (k, n, n).
            held: Coordinate that stays where it is.

        Returns:
            Modes in y and the precisions there, in float64.
        """
        y, precision = self.inverse(z), np.asarray(precision, float)
        near = np.asarray(self.side) != 0
        if not near.any():
            return y, precision
        gradient, curvature = _expand(prior, z)
        first, second, slope = self._derivatives(y)
        rest = precision - _diagonals(np.maximum(curvature, 1e-3))
        own = np.where(near, slope**2 * curvature - gradient * slope * first - second, curvature)
        out = slope[:, :, None] * rest * slope[:, None, :] + _diagonals(np.maximum(own, 1e-3))
        pull = np.where(near, first, 0.0)
        system = out.copy()
        if held is not None:
            pull[:, held] = system[:, held, :] = system[:, :, held] = 0.0
            system[:, held, held] = 1.0
        step = np.linalg.solve(system, pull[..., None])[..., 0]
        step *= np.minimum(1.0, 1.5 / np.maximum(np.abs(step).max(1, keepdims=True), 1e-12))
        return y + step, out

    def _derivatives(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First and second derivative of log dz/dy, and dz/dy."""
        side = np.asarray(self.side, float)
        v = np.where(side != 0, -side * y, 0.0)
        sigmoid, softplus = np.exp(-np.logaddexp(0.0, -v)), np.logaddexp(0.0, v)
        ratio = sigmoid / softplus
        first = -side * ((1.0 - sigmoid) - ratio)
        second = -sigmoid * (1.0 - sigmoid) - ratio * (1.0 - sigmoid) + ratio**2
        near = side != 0
        return (np.where(near, first, 0.0), np.where(near, second, 0.0),
                np.where(near, ratio / np.asarray(self.scale, float), 1.0))


def near_bounds(prior: Prior, mode: np.ndarray, precision: np.ndarray) -> Bounds:
    """Find the parameters whose posterior leans on a bound.

    Args:
        prior: The prior.
        mode: The posterior's mode, shape (n,).
        precision: Curvature there, the prior's included, shape (n, n).
    """
    shift, scale = np.asarray(prior.shift, float), np.asarray(prior.scale, float)
    places = [mode, *(((sign * far) - shift) / scale for sign in (-1.0, 1.0) for far in FAR)]
    gradient, curvature = _expand(prior, np.stack(places))
    tail = gradient[1:] / scale  # a density that is finite at the bound falls as exp(-|.|) on the line
    bounded = {-1.0: np.abs(tail[:2] - 1.0).max(0) < 0.05, 1.0: np.abs(tail[2:] + 1.0).max(0) < 0.05}
    sd = scale * _likelihood_sd(precision, np.maximum(curvature[0], 1e-3))
    line = shift + scale * np.asarray(mode, float)
    side, log_soft = np.zeros(len(line)), np.zeros(len(line))
    for sign, has in bounded.items():
        log_w = -sign * line
        here = has & (log_w < np.log(0.5)) & (sd > NEAR) & (log_w + np.log(sd) < np.log(NARROW))
        side, log_soft = np.where(here, sign, side), np.where(here, log_w + np.log(sd), log_soft)
    dtype = prior.shift.dtype
    return Bounds(side=side.astype(dtype), log_soft=log_soft.astype(dtype), shift=np.asarray(prior.shift),
                  scale=np.asarray(prior.scale))


def inverse(precision: np.ndarray) -> np.ndarray:
    """Covariance of a precision matrix in units of prior deviations.

    No direction is left wider than three of them: below that a precision from float32 is rounding.
    """
    values, vectors = np.linalg.eigh(0.5 * (precision + precision.T))
    return (vectors / np.maximum(values, 1.0 / 9.0)) @ vectors.T


def _likelihood_sd(precision: np.ndarray, curvature: np.ndarray) -> np.ndarray:
    """Standard deviation of each parameter with its own prior taken away, the others' kept."""
    variance = np.diag(inverse(np.asarray(precision, float)))
    left = 1.0 / variance - curvature
    return 1.0 / np.sqrt(np.maximum(left, 1e-12))


def _expand(prior: Prior, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and curvature of the log-prior at places, shape (k, n) each, on the host."""
    padded = np.resize(np.asarray(z, prior.shift.dtype), (-(-len(z) // ROWS) * ROWS, prior.size))
    parts = [_expansion(prior, padded[i:i + ROWS]) for i in range(0, len(padded), ROWS)]
    gradient, curvature = (np.concatenate(part).astype(float)[:len(z)] for part in zip(*parts, strict=True))
    return gradient, curvature


@partial(jax.jit, compiler_options=ON_VECTORS)
def _expansion(prior: Prior, z: Array) -> tuple[Array, Array]:
    _, gradient, curvature = jax.vmap(prior.expansion)(z)
    return gradient, curvature


def _diagonals(values: np.ndarray) -> np.ndarray:
    return values[..., None] * np.eye(values.shape[-1])


def _log_softplus(v: Array) -> Array:
    """log(log(1 + exp(v))), also where the exponential underflows."""
    safe = jnp.maximum(v, -10.0)
    return jnp.where(v < -10.0, v - 0.5 * jnp.exp(jnp.minimum(v, -10.0)), jnp.log(jax.nn.softplus(safe)))
