"""Draws of separate modes put together: the evidence of each, and chains that hold all in proportion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax import Array

from giga.bayes.posterior import Posterior
from giga.inference.chains.hmc import Draws
from giga.inference.modes.evidence import Evidence, bridge, log_density_of, propose
from giga.inference.variational.transport import Transport
from giga.inference.variational.vi import Ascent
from giga.runtime.random import split

FEWEST_DRAWS = 10  # a chain, in the region of its own mode, below which the mode has not held its chains


class Weighed(NamedTuple):
    """Evidence of sampled modes.

    Attributes:
        total: Log-evidence of all of them.
        modes: Of each.
        labels: For each mode, of each of its draws the mode in whose region it lies, (chains, draws).
        dead: Proposals at which the log-posterior is not finite.
    """

    total: Evidence
    modes: list[Evidence]
    labels: list[np.ndarray]
    dead: int

    @property
    def weights(self) -> np.ndarray:
        """Share of each mode."""
        logs = np.array([e.log for e in self.modes])
        share = np.exp(logs - logs.max())
        return share / share.sum()


def weigh(key: Array, posterior: Posterior, transports: Sequence[Transport], shares: Sequence[float],
          draws: Sequence[Draws], ascent: Ascent, count: int) -> Weighed:
    """Evidence of each mode by bridge sampling, with the map of its chains as the proposal.

    Space is cut into one region a mode: a point belongs to the mode whose map, times its share by
    Laplace, has the largest density there. Draws and proposals outside the region of their mode are
    left out, so that the modes' evidences add up even where their regions touch.

    Args:
        key: Random key.
        posterior: The posterior.
        transports: Map of each mode's chains.
        shares: A first guess of the weights.
        draws: Draws of each mode's chains.
        ascent: From `giga.inference.variational.vi.ascender`.
        count: Proposals of each mode.
    """
    def region(z: np.ndarray) -> np.ndarray:
        if len(transports) == 1:
            return np.zeros(z.shape[:-1], int)
        density = [np.log(s) + log_density_of(t, z) for s, t in zip(shares, transports, strict=True)]
        return np.argmax(density, axis=0)

    labels, evidences, dead = [region(np.asarray(d.z)) for d in draws], [], 0
    for k, (sub, transport) in enumerate(zip(split(key, len(transports)), transports, strict=True)):
        proposals = propose(sub, posterior, transport, ascent, count)
        inside = region(np.asarray(proposals.z)) == k
        ratio = np.where(inside, proposals.log_prob - log_density_of(transport, proposals.z), -np.inf)
        own = np.asarray(draws[k].log_prob, float) - log_density_of(transport, draws[k].z)
        own = np.where(labels[k] == k, own, np.nan)
        left = np.sum(np.isfinite(own)) < FEWEST_DRAWS * len(own) or not np.isfinite(ratio).any()
        if len(transports) > 1 and left:  # its chains went elsewhere, or its map has nothing there
            evidences.append(Evidence(-np.inf, 0.0))
        else:
            evidences.append(bridge(own, ratio))
        dead += proposals.dead
    logs, errors = np.array(evidences).T
    if not np.isfinite(logs).any():
        raise FloatingPointError("bridge sampling: no mode has draws and proposals in its own region")
    weights = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    total = Evidence(float(logs.max() + np.log(np.exp(logs - logs.max()).sum())),
                     float(np.sqrt(np.sum((weights * errors) ** 2))))
    return Weighed(total, evidences, labels, dead)


def mixture(rng: np.random.Generator, draws: Sequence[Draws], weighed: Weighed) -> Draws:
    """Chains that each hold all modes in proportion to their weights.

    Chain c of the result takes its draws from chain c of every mode, in their order, at places chosen
    at random. Autocorrelation within a mode and disagreement between chains therefore show in R-hat
    and the effective sample size as they do for one mode; the error of the weights does not, and is
    reported apart.

    Args:
        rng: Where the places come from.
        draws: Draws of each mode, all of as many chains.
        weighed: From `weigh`.
    """
    if len(draws) == 1:
        return draws[0]
    chains = len(draws[0].log_prob)
    pools = []
    for k, labels in enumerate(weighed.labels):
        chain, draw = np.nonzero(labels == k)
        size = len(chain) // chains * chains
        pools.append((chain[:size].reshape(chains, -1), draw[:size].reshape(chains, -1)))
    weights = weighed.weights
    length = int(min(pool[0].shape[1] / w for pool, w in zip(pools, weights, strict=True) if w > 0.0))
    rows = []
    for c in range(chains):
        edges = np.floor(np.cumsum(weights) * length + (c + rng.uniform()) / chains).astype(int)
        counts = np.diff(np.clip(edges, 0, length), prepend=0)
        counts[np.argmax(weights)] += length - counts.sum()
        mode = rng.permutation(np.repeat(np.arange(len(draws)), counts))
        row = [np.empty((length, *np.shape(a)[2:]), np.asarray(a).dtype) for a in draws[0]]
        for k, count in enumerate(counts):
            size = pools[k][0].shape[1]
            take = np.floor(np.linspace(0.0, size, count, endpoint=False)).astype(int)
            for out, values in zip(row, draws[k], strict=True):
                out[mode == k] = np.asarray(values)[pools[k][0][c, take], pools[k][1][c, take]]
        rows.append(row)
    return Draws(*(np.stack(parts) for parts in zip(*rows, strict=True)))
