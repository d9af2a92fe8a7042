"""Densities on the way from a start to a posterior, and the start that knows the modes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior
from giga.component import AnyArray, Component
from giga.inference.variational.transport import Transport


class Maps(Component):
    """A mixture of transport maps: the distribution that particles start from.

    Attributes:
        maps: Stacked over the modes.
        log_shares: Logarithm of the share of each.
    """

    maps: Transport
    log_shares: AnyArray

    @staticmethod
    def of(maps: Sequence[Transport], shares: Sequence[float], widen: float) -> Maps:
        """Put maps together, each widened about its middle."""
        wide = [t.replace(factor=widen * t.factor) for t in maps]
        dtype = wide[0].shift.dtype
        stacked = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *wide)
        return Maps(maps=stacked, log_shares=np.log(np.asarray(shares, float) / np.sum(shares)).astype(dtype))

    def log_prob(self, z: Array) -> Array:
        """Log-density of the mixture."""
        u, log_det = jax.vmap(Transport.pull, (0, None))(self.maps, z)
        each = -0.5 * jnp.sum(u**2, 1) - 0.5 * z.size * jnp.log(2.0 * jnp.pi) - log_det
        return jax.scipy.special.logsumexp(self.log_shares + each)

    def sample(self, key: Array) -> Array:
        """One draw."""
        choose, draw = jax.random.split(key)
        k = jax.random.categorical(choose, self.log_shares)
        one = jax.tree.map(lambda leaf: jnp.take(leaf, k, axis=0), self.maps)
        return one(jax.random.normal(draw, one.shift.shape, one.shift.dtype))[0]


class Tempered(Component):
    """The density start^(1 - beta) posterior^beta, in the place of a posterior.

    Attributes:
        start: Where the particles come from.
        posterior: Where they go.
        beta: The exponent.
    """

    start: Prior | Maps
    posterior: Any
    beta: AnyArray

    @property
    def prior(self) -> Prior:
        """The posterior's prior."""
        return self.posterior.prior

    def log_prob(self, z: Array) -> Array:
        """Log-density, not normalised."""
        first = self.start.log_prob(z)
        return first + self.beta * (self.posterior.log_prob(z) - first)


def tempered(start: Prior | Maps, posterior: Posterior, beta: float) -> Any:
    """A `Tempered` of the posterior's precision, for programs that take a posterior."""
    return Tempered(start=start, posterior=posterior, beta=np.asarray(beta, posterior.prior.shift.dtype))
