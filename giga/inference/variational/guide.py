"""Whether the steps of the chains may follow the coarse posterior, which costs half as much."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from giga.bayes.posterior import Posterior
from giga.inference.variational.transport import Transport
from giga.inference.variational.vi import Ascent, log_density
from giga.runtime.calls import Call, Program
from giga.runtime.parallel import compiled, spread
from giga.runtime.random import normal

NEAR_ENOUGH = 0.1  # spread of the difference in log-density: it costs 5% of the acceptance, whatever the step
STEP_COST, END_COST = 0.55, 0.55  # of a step along the guide and of the value at its end, in gradients


def error(key: Array, posterior: Posterior, transport: Transport, over: Mesh, call: Call, ascent: Ascent) -> float:
    """Spread of the difference of the coarse log-density from the true one, over draws of a map.

    By the median, since draws far out in the map's tail are not where the chains go.

    Args:
        key: Random key.
        posterior: The posterior; its source is sampled on subpixels.
        transport: Map from a standard normal to it.
        over: Device mesh.
        call: How programs are run.
        ascent: From `giga.inference.variational.vi.ascender`, whose batch is the number of draws.

    Returns:
        The spread; infinite where a density is not a number.
    """
    u = normal(key, (ascent.n_samples, transport.size), transport.shift.dtype)
    exact, _ = ascent.evaluate(posterior, transport, u)
    coarse = call(_coarse(over), posterior, transport, u)
    difference = np.asarray(coarse, float) - np.asarray(exact, float)
    spread_of = 1.4826 * np.median(np.abs(difference - np.median(difference)))
    return float(spread_of) if np.isfinite(spread_of) else np.inf


def middle(posterior: Posterior, transport: Transport) -> tuple[Array, ...]:
    """Images with which the coarse posterior agrees with the other at the middle of the map."""
    return posterior.coarse_images(transport(jnp.zeros_like(transport.shift))[0])


@cache
def _coarse(over: Mesh) -> Program:
    """Coarse log-density of draws of a map."""
    def images_of(posterior: Posterior, transport: Transport, _: Array) -> tuple[Array, ...]:
        return middle(posterior, transport)

    def one(posterior: Posterior, own: tuple[Transport, tuple[Array, ...]], u: Array) -> Array:
        transport, images = own
        return partial(log_density, posterior.coarse(images), transport)(u)

    middles, values = spread(images_of, over), spread(one, over)

    def run(posteriors: Posterior, slots: Array, active: Array, transport: Transport, u: Array) -> Array:
        each = middles(posteriors, slots, active, transport, slots[:, None])
        return values(posteriors, slots, active, (transport, jax.tree.map(lambda a: a[:, 0], each)), u)

    return Program("coarse", compiled(run, over), lambda transport, u: 0)
