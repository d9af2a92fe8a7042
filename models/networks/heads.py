"""What is asked of features: a class, parameters, or a posterior of parameters."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from jax.scipy.linalg import solve_triangular

from giga.models.networks import spline
from giga.runtime.products import einsum


class Classifier(nnx.Module):
    """Logits of classes from features of shape (n, width)."""

    def __init__(self, width: int, classes: int = 2, *, rngs: nnx.Rngs):
        self.out = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, features: Array) -> Array:
        """Return the logits, shape (n, classes)."""
        return self.out(features)

    def loss(self, features: Array, label: Array) -> Array:
        """Cross-entropy of each image, shape (n,); `label` is an integer for each, shape (n,)."""
        return optax.softmax_cross_entropy_with_integer_labels(self(features), label)


class Regressor(nnx.Module):
    """Parameters from features, in the coordinates of a `Coordinates`, without uncertainty."""

    def __init__(self, width: int, size: int, *, rngs: nnx.Rngs):
        self.out = nnx.Linear(width, size, rngs=rngs)

    def __call__(self, features: Array) -> Array:
        """Return the parameters, shape (n, size)."""
        return self.out(features)

    def loss(self, features: Array, theta: Array) -> Array:
        """Mean absolute error of each image, shape (n,)."""
        return jnp.mean(jnp.abs(self(features) - theta), axis=-1)


class ConditionalDensity(nnx.Module):
    """A density of parameters that depends on features: a map to a standard normal, and what follows from it."""

    size: int  # number of parameters

    def whiten(self, features: Array, theta: Array) -> tuple[Array, Array]:
        """Return u, shape (n, size), a standard normal where theta is a draw, and the log-determinant of du/dtheta."""
        raise NotImplementedError

    def colour(self, features: Array, u: Array) -> Array:
        """The inverse of `whiten`: u of shape (draws, n, size) to theta of that shape."""
        raise NotImplementedError

    def log_prob(self, features: Array, theta: Array) -> Array:
        """Log-density of parameters.

        Args:
            features: Shape (n, width).
            theta: Shape (n, size), in the coordinates of a `Coordinates`.

        Returns:
            Shape (n,).
        """
        u, log_det = self.whiten(features, theta)
        return _standard(u) + log_det

    def sample(self, key: Array, features: Array, draws: int) -> Array:
        """Draw parameters, shape (draws, n, size)."""
        return self.colour(features, jax.random.normal(key, (draws, len(features), self.size)))

    def loss(self, features: Array, theta: Array) -> Array:
        """Negative log-density of each image, shape (n,)."""
        return -self.log_prob(features, theta)


class GaussianPosterior(ConditionalDensity):
    """A Gaussian of full covariance whose mean and Cholesky factor depend on the features.

    The factor is that of the precision: u = A (theta - mean) is a standard normal, A lower triangular with a positive
    diagonal. The density then needs no solution of equations, and a sample one of a triangular system.
    """

    def __init__(self, width: int, size: int, *, rngs: nnx.Rngs):
        self.size = size
        # A tenth of the usual weights: the posterior begins near the standard normal of the coordinates.
        self.out = nnx.Linear(width, size + size * (size + 1) // 2, rngs=rngs,
                              kernel_init=nnx.initializers.variance_scaling(0.01, "fan_in", "normal"))

    def moments(self, features: Array) -> tuple[Array, Array]:
        """Return the mean, shape (n, size), and the factor A, shape (n, size, size)."""
        raw = self.out(features)
        rows, columns = jnp.tril_indices(self.size)
        lower = jnp.zeros((raw.shape[0], self.size, self.size)).at[:, rows, columns].set(raw[:, self.size:])
        diagonal = jnp.diagonal(lower, axis1=-2, axis2=-1)
        scale = jnp.exp(diagonal)
        return raw[:, :self.size], lower + jnp.eye(self.size) * (scale - diagonal)[:, None, :]

    def __call__(self, features: Array) -> Array:
        """Return the mean, shape (n, size)."""
        return self.moments(features)[0]

    def whiten(self, features: Array, theta: Array) -> tuple[Array, Array]:
        """Return u, shape (n, size), and log |du/dtheta|, shape (n,)."""
        mean, factor = self.moments(features)
        log_det = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
        return einsum("nij,nj->ni", factor, theta - mean), log_det

    def colour(self, features: Array, u: Array) -> Array:
        """The inverse of `whiten`: u of shape (draws, n, size) to theta of that shape."""
        mean, factor = self.moments(features)
        solve = jax.vmap(lambda a, b: solve_triangular(a, b, lower=True))
        return mean + jnp.moveaxis(solve(factor, jnp.moveaxis(u, 0, -1)), -1, 0)

    def covariance(self, features: Array) -> Array:
        """Covariance of the parameters, shape (n, size, size)."""
        factor = self.moments(features)[1]
        half = jax.vmap(lambda a: solve_triangular(a, jnp.eye(self.size), lower=True))(factor)
        return einsum("nij,nkj->nik", half, half)


class Coupling(nnx.Module):
    """One layer of a flow: some coordinates move by splines that the others and the context set."""

    def __init__(self, size: int, parity: int, context: int, hidden: int, bins: int, *, rngs: nnx.Rngs):
        self.move = tuple(k for k in range(size) if k % 2 == parity or size == 1)
        self.keep = tuple(k for k in range(size) if k not in self.move)
        self.bins = bins
        zero = nnx.initializers.zeros
        self.layers = nnx.List([nnx.Linear(len(self.keep) + context, hidden, rngs=rngs),
                                nnx.Linear(hidden, hidden, rngs=rngs),
                                nnx.Linear(hidden, len(self.move) * (3 * bins - 1), rngs=rngs, kernel_init=zero)])

    def _raw(self, u: Array, context: Array) -> Array:
        context = jnp.broadcast_to(context, (*u.shape[:-1], context.shape[-1]))
        x = jnp.concatenate([u[..., jnp.array(self.keep, int)], context], axis=-1)
        for layer in self.layers[:-1]:
            x = jax.nn.silu(layer(x))
        return self.layers[-1](x).reshape(*u.shape[:-1], len(self.move), 3 * self.bins - 1)

    def __call__(self, u: Array, context: Array) -> tuple[Array, Array]:
        """Move u, shape (..., size), towards the standard normal; return it and its log-determinant, shape (...)."""
        move = jnp.array(self.move, int)
        moved, log_slope = spline.forward(u[..., move], self._raw(u, context))
        return u.at[..., move].set(moved), jnp.sum(log_slope, axis=-1)

    def back(self, u: Array, context: Array) -> Array:
        """The inverse of a call."""
        move = jnp.array(self.move, int)
        return u.at[..., move].set(spline.inverse(u[..., move], self._raw(u, context)))


class FlowPosterior(ConditionalDensity):
    """A conditional normalising flow: a Gaussian of full covariance, bent by coupling layers of splines.

    It begins as the Gaussian, exactly. Parameters should be ones whose density has no constraint: the ellipticity
    e1, e2 rather than the pair (cos 2 phi, sin 2 phi), which lies on a circle.

    References:
        Durkan et al. (2019), arXiv:1906.04032; Dinh et al. (2017), arXiv:1605.08803.
    """

    def __init__(self, width: int, size: int, *, layers: int = 6, hidden: int = 64, bins: int = 8, rngs: nnx.Rngs):
        self.size = size
        self.gaussian = GaussianPosterior(width, size, rngs=rngs)
        self.context = nnx.Linear(width, hidden, rngs=rngs)
        self.couplings = nnx.List([Coupling(size, k % 2, hidden, hidden, bins, rngs=rngs) for k in range(layers)])

    def whiten(self, features: Array, theta: Array) -> tuple[Array, Array]:
        """Return u, shape (n, size), a standard normal, and log |du/dtheta|, shape (n,)."""
        context = jax.nn.silu(self.context(features))
        u, total = self.gaussian.whiten(features, theta)
        for coupling in self.couplings:
            u, log_det = coupling(u, context)
            total = total + log_det
        return u, total

    def colour(self, features: Array, u: Array) -> Array:
        """The inverse of `whiten`: u of shape (draws, n, size) to theta of that shape."""
        context = jax.nn.silu(self.context(features))
        for coupling in reversed(list(self.couplings)):
            u = coupling.back(u, context)
        return self.gaussian.colour(features, u)


class Estimator(nnx.Module):
    """A network that makes features, and the head that is asked of them."""

    def __init__(self, trunk: Any, head: Any):
        self.trunk, self.head = trunk, head

    def __call__(self, x: Array) -> Array:
        """The head's answer for images, shape (n, ny, nx, bands); the mean of a Gaussian posterior.

        What else a head can do, a flow's density and draws, is asked of `head` with `trunk(x)`.
        """
        return self.head(self.trunk(x))

    def loss(self, x: Array, target: Array) -> Array:
        """The head's loss of each image, shape (n,)."""
        return self.head.loss(self.trunk(x), target)


def _standard(u: Array) -> Array:
    return -0.5 * jnp.sum(u**2, axis=-1) - 0.5 * u.shape[-1] * math.log(2 * math.pi)
