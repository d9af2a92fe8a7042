"""Multi-path Pathfinder, an alternative to natural gradients: Gaussians along the paths of L-BFGS."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from giga.bayes.posterior import Posterior
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import VIState
from giga.runtime.parallel import on_host
from giga.runtime.random import split

PATHS = 4  # from the best finalists of the search
DRAWS = 16  # at each point of a path, for its evidence lower bound
STEPS = 30  # of L-BFGS
POOL = 4000  # draws of the best Gaussian, whose moments are taken


def fit_pathfinder(key: Array, posterior: Posterior, starts: np.ndarray, over: Mesh,
                   report: Callable[[dict], None] = lambda info: None) -> tuple[VIState, dict]:
    """Fit a Gaussian by multi-path Pathfinder.

    Each path is a run of L-BFGS from one start; of the Gaussians with the inverse Hessians that all of them
    pass, the one with the highest evidence lower bound is kept. The Pareto shape of the importance weights of
    all paths' draws says how good it is (below 0.7: good enough to be weighted).

    Args:
        key: Random key.
        posterior: The posterior.
        starts: Shape (k, n); the first `PATHS` are used.
        over: Device mesh; only its kind of device matters, the paths run on the first device.
        report: Called with "elbo" at the end.

    Returns:
        The Gaussian, and the bound, the Pareto shape and gradients.

    Raises:
        FloatingPointError: No path has a finite bound.

    References:
        Zhang et al. (2022), JMLR 23, 306, algorithms 1 and 2.
    """
    dtype, n = posterior.prior.shift.dtype, posterior.prior.size
    on_cpu = over.devices.flat[0].platform == "cpu"
    key_run, key_pool = split(key, 2)
    starts = np.asarray(starts[:PATHS], dtype)
    shape, bounds, draws = on_host(_paths(on_cpu)(key_run, key_pool, posterior, starts))
    if not np.isfinite(bounds).any():
        raise FloatingPointError(f"Pathfinder: none of {len(starts)} paths has a finite evidence lower bound")
    best = int(np.argmax(np.where(np.isfinite(bounds), bounds, -np.inf)))
    chosen = np.asarray(draws[best], float)
    info = {"method": "pathfinder", "elbo": float(bounds[best]), "pareto_k": float(shape),
            "evaluations": len(starts) * (STEPS * (1 + DRAWS) + DRAWS)}
    report({"elbo": info["elbo"], "done": 1.0})
    return VIState(gaussian(chosen.mean(0), np.cov(chosen.T).reshape(n, n), 0, dtype)), info


@cache
def _paths(on_cpu: bool) -> Callable[..., Any]:
    # Imported here: the import starts JAX's backend, and with it ends the choice of devices.
    from blackjax.vi import multipathfinder, pathfinder

    # On a CPU images go through one by one, as everywhere.
    batch = jax.custom_batching.sequential_vmap if on_cpu else lambda function: function

    @batch
    def value_and_grad(posterior: Posterior, z: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(posterior.log_prob)(z)

    @jax.custom_vjp
    def density(posterior: Posterior, z: Array) -> Array:
        return value_and_grad(posterior, z)[0]

    density.defvjp(value_and_grad, lambda gradient, cotangent: (None, cotangent * gradient))

    @jax.jit
    def run(key: Array, key_pool: Array, posterior: Posterior, starts: Array):
        state, _ = multipathfinder.multi_approximate(key, partial(density, posterior), starts, DRAWS, maxiter=STEPS,
                                                   ftol=1e-9)
        _, shape = multipathfinder.psis_weights(state)
        keys = jax.random.split(key_pool, len(starts))
        draws, _ = jax.vmap(lambda k, path: pathfinder.sample(k, path, POOL))(keys, state.path_states)
        return shape, state.path_states.elbo, draws

    return run
