"""Starts of the search for the mode that something else than the prior has proposed, as a network does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior, constrained, prior_draws
from giga.inference.search.lanes import screener
from giga.inference.search.map import MapConfig, draws_of_a_call
from giga.runtime.calls import Call
from giga.runtime.parallel import ON_VECTORS


@dataclass(frozen=True, eq=False)
class Starts:
    """Proposed values of some parameters or all of them.

    Attributes:
        values: Draws by path name, each shape (k,), in physical units; names that the prior does not have are left out.
        model: Name of what proposed them.
        sha256: Hash of its weights.
    """

    values: Mapping[str, np.ndarray]
    model: str
    sha256: str = ""


def smaller(config: MapConfig) -> MapConfig:
    """The search when starts are proposed: a quarter of the draws and of the starts, half of the finalists."""
    starts = max(config.n_starts // 4, 2)
    return replace(config, n_screen=max(config.n_screen // 4, starts), n_starts=starts,
                   n_finalists=min(max(config.n_finalists // 2, 1), starts))


def completed(key: Array, prior: Prior, starts: Starts) -> np.ndarray:
    """Unconstrained vectors of the proposed values, other parameters drawn from the prior.

    Returns:
        Shape (k, n); values outside the support of the prior are left out with their draw.

    Raises:
        ValueError: No parameter in common, or no draw inside the support.
    """
    shared = [name for name in prior.names if name in starts.values]
    if not shared:
        raise ValueError(f"{starts.model}: predicts {', '.join(starts.values)}; expected some of the free parameters, "
                         f"{', '.join(prior.names)}")
    count = len(next(iter(starts.values.values())))
    x = np.array(constrained(prior, prior_draws(prior, key, count)))
    for name in shared:
        x[:, prior.names.index(name)] = starts.values[name]
    z = np.asarray(_placed(prior, x))
    z = z[np.isfinite(z).all(1)]
    if not len(z):
        raise ValueError(f"{starts.model}: none of its {count} draws lies inside the support of the prior")
    return z


def chosen(key: Array, posterior: Posterior, starts: Starts, config: MapConfig, over: Mesh,
           call: Call | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """The best of the proposed starts, half of those that the search keeps; the other half are prior draws.

    Args:
        key: Random key.
        posterior: The posterior.
        starts: What was proposed.
        config: Of the search, already made smaller.
        over: The devices.
        call: How programs are called, see `giga.runtime.calls`.

    Returns:
        Unconstrained vectors, shape (config.n_starts // 2, n), best first, and what a person wants to know.
    """
    z = completed(key, posterior.prior, starts)
    # As many as were proposed, whatever was left out, as many at a time as the search's own program evaluates.
    width = draws_of_a_call(posterior.prior, config)
    padded = np.resize(z, (-(-len(next(iter(starts.values.values()))) // width) * width, z.shape[1]))
    screen, shares = screener(over, call), np.zeros(width)
    parts = [screen(posterior, padded[i:i + width], shares) for i in range(0, len(padded), width)]
    log_prob = np.concatenate([part.log_prob for part in parts]).astype(float)[:len(z)]
    order = np.argsort(np.where(np.isfinite(log_prob), -log_prob, np.inf), kind="stable")[:max(config.n_starts // 2, 1)]
    return np.concatenate([part.z for part in parts])[order], {
        "model": starts.model, "sha256": starts.sha256, "proposed": len(z), "kept": len(order),
        "parameters": sum(name in starts.values for name in posterior.prior.names),
        "best_log_prob": float(log_prob[order[0]])}


_placed = jax.jit(jax.vmap(Prior.unconstrain, (None, 0)), compiler_options=ON_VECTORS)
