"""One Hamiltonian trajectory: leapfrog steps along a force, accepted by the density itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from giga.component import AnyArray

DIVERGENT = 1000.0  # a trajectory that gains so much energy has left the region where its step is stable

Density = Callable[[Array], Array]


class Chains(NamedTuple):
    """Where the chains are.

    Attributes:
        position: Shape (chains, n), in the map's coordinates.
        logdensity: Shape (chains,).
        logdensity_grad: The force there, shape (chains, n).
    """

    position: AnyArray
    logdensity: AnyArray
    logdensity_grad: AnyArray


class Move(NamedTuple):
    """What became of a trajectory.

    Attributes:
        acceptance: Probability with which its end was accepted.
        diverging: Whether its energy ran away, or is not a number.
        energy: At its end.
    """

    acceptance: Array
    diverging: Array
    energy: Array


def trajectory(key: Array, chain: Chains, density: Density, size: Array, steps: Array,
               guide: Density | None = None) -> tuple[Chains, Move]:
    """Move a chain by one trajectory of Hamiltonian Monte Carlo with unit masses.

    With a guide the steps follow its gradient, which may cost much less than the density's. Any force that
    depends on the position alone makes leapfrog steps reversible and keeps volume, and the end is accepted by the
    density: the chain samples the density, whatever the guide. How far apart the two are shows in the acceptance.

    Args:
        key: Random key.
        chain: Of one chain; its force is the gradient of the guide, or of the density without one.
        density: Log-density.
        size: Step size.
        steps: Number of steps.
        guide: Log-density near the other.

    References:
        Neal (2011), Handbook of MCMC, ch. 5, sec. 5.3.2 and 5.5.1 (trajectories of approximate potentials).
    """
    force = jax.value_and_grad(guide or density)
    for_momentum, for_end = jax.random.split(key)
    momentum = jax.random.normal(for_momentum, chain.position.shape, chain.position.dtype)

    def step(_, carry):
        u, p, _, g = carry
        p = p + 0.5 * size * g
        u = u + size * p
        value, g = force(u)
        return u, p + 0.5 * size * g, value, g

    u, p, value, g = jax.lax.fori_loop(0, steps, step, (chain.position, momentum, chain.logdensity,
                                                        chain.logdensity_grad))
    if guide is not None:
        value = density(u)
    energy = 0.5 * jnp.sum(p**2) - value
    gain = 0.5 * jnp.sum(momentum**2) - chain.logdensity - energy
    gain = jnp.where(jnp.isnan(gain), -jnp.inf, gain)
    taken = jnp.log(jax.random.uniform(for_end, (), gain.dtype)) < gain
    after = jax.tree.map(lambda new, old: jnp.where(taken, new, old), Chains(u, value, g), chain)
    return after, Move(jnp.minimum(1.0, jnp.exp(gain)), gain < -DIVERGENT, energy)
