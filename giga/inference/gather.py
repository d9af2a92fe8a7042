"""What a fit has found, gathered from its stages: after the search, and when the chains have ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.exchange import Orders
from giga.bayes.points import PointTerm
from giga.bayes.posterior import Posterior, variance
from giga.bayes.prior import Prior, constrained, prior_draws
from giga.imaging.observation import Data
from giga.imaging.render import render_data
from giga.inference.amplitudes import best_amplitudes, solved_amplitudes
from giga.inference.chains.diagnostics import ess_tail, rhat_and_ess_bulk, rhat_gelman_rubin
from giga.inference.chains.hmc import Draws
from giga.inference.checks.comparison import checks, pointwise, predictive
from giga.inference.checks.findings import findings
from giga.inference.derived import Derived, derive
from giga.inference.field import field_of
from giga.inference.point_images import PointTable, point_images
from giga.inference.result import Found, PointsFit, Result
from giga.inference.sampling import in_orders
from giga.inference.search.map import MapState
from giga.inference.stages import Stages
from giga.inference.variational.transport import Transport, pushed
from giga.inference.variational.vi import VIState
from giga.lensing.near import bare
from giga.lensing.scene import Scene
from giga.runtime.environment import versions
from giga.runtime.parallel import ON_VECTORS, on_host
from giga.runtime.random import normal, split

PREDICTIVE_KEY = 2000  # keeps its key apart from those of the modes
AMPLITUDES_KEY = 2002  # and theirs apart from it
F = TypeVar("F", bound=Found)
N_VI = 4000  # draws kept of the variational posterior and of the prior


def found_by_search(run: Stages, found: MapState) -> Found:
    """What the search has found, with its images."""
    mode, _ = _mode(run.posterior, found)
    best = _at_best(run, mode)
    return _with_images(_with_field(best.replace(info={**best.info, "findings": findings(best)}), run), run)


def gathered(run: Stages, found: MapState, fitted: VIState, draws: Draws) -> Result:
    """The finished fit.

    Args:
        run: The stages, done.
        found: The search's finalists.
        fitted: The variational state of the heaviest mode.
        draws: Of all modes.
    """
    posterior, names = run.posterior, run.posterior.prior.names
    flat = draws.z.reshape(-1, len(names))
    x, log_prior = _in_pieces(_physical, posterior.prior, flat, run.config.n_chains * run.config.n_block)
    x = x.reshape(draws.z.shape)
    k = int(np.argmax(draws.log_prob))
    mode, height = _mode(posterior, found)
    best = _at_best(run, flat[k] if draws.log_prob.flat[k] > height else mode)
    key_vi, key_prior = split(run.keys[4], 2)
    vi_z = _variational_draws(posterior, fitted.transport, key_vi)
    prior_z = prior_draws(posterior.prior, key_prior, N_VI)
    rhat, ess_bulk = rhat_and_ess_bulk(x)
    tables = {"rhat": rhat, "rhat_gelman_rubin": rhat_gelman_rubin(x), "ess_bulk": ess_bulk, "ess_tail": ess_tail(x)}
    at = _constrained(posterior.prior, np.concatenate([vi_z, prior_z]))
    result = Result(
        **vars(best),
        samples={name: x[..., i] for i, name in enumerate(names)},
        vi_samples=_named(names, at[:N_VI]),
        prior_samples=_named(names, at[N_VI:]),
        sample_stats={"lp": draws.log_prob, "acceptance_rate": draws.acceptance_rate, "diverging": draws.diverging,
                      "energy": draws.energy, "n_steps": draws.n_steps},
        log_likelihood=draws.log_prob - log_prior.reshape(draws.log_prob.shape) + float(posterior.log_norm),
        diagnostics={name: {key: float(table[i]) for key, table in tables.items()} for i, name in enumerate(names)})
    predicted = predictive(run.key(4, PREDICTIVE_KEY), posterior, flat, run.config.n_predictive) \
        if run.config.n_predictive and posterior.data else {}
    if run.config.n_pointwise and posterior.data:
        result = result.replace(pointwise=pointwise(posterior, draws.z, run.config.n_pointwise))
    note = checks(result, posterior.amplitudes if result.amplitudes.best else None, predicted, run.lens.points)
    amplitudes = solved_amplitudes(run.key(4, AMPLITUDES_KEY), posterior, draws.z, result.amplitudes, result.prior,
                                   result.observations)
    result = result.replace(info={**result.info, "checks": note}, amplitudes=amplitudes)
    result = result.replace(info={**result.info, "findings": findings(result)})
    result = _with_images(_with_field(result, run, x.reshape(-1, len(names))), run, x.reshape(-1, len(names)))
    if not run.config.derived:
        return result
    begun = time.perf_counter()
    result = result.replace(derived=_derived(posterior.prior, result, posterior.points))
    return result.replace(timings_s={**result.timings_s, "derived": time.perf_counter() - begun})


def _with_field(found: F, run: Stages, x: np.ndarray | None = None) -> F:
    """What a fit without pixels has to show; x are the draws of a finished fit, shape (draws, n)."""
    if found.observations or not run.lens.points:
        return found
    prior = run.posterior.prior
    draws = None if x is None else x.astype(prior.shift.dtype)
    begun = time.perf_counter()
    # By the points of the posterior, which are in its precision.
    field = field_of(found.scenes[0], run.posterior.points, prior, draws)
    return found.replace(field=field, timings_s={**found.timings_s, "maps": time.perf_counter() - begun})


def _with_images(found: F, run: Stages, x: np.ndarray | None = None) -> F:
    """The images of point sources; x are the draws of a finished fit, shape (draws, n)."""
    posterior = run.posterior
    if not (run.config.derived and any(isinstance(term, PointTerm) for term in posterior.points)):
        return found
    begun = time.perf_counter()
    best = np.array([found.best[name] for name in posterior.prior.names])
    try:
        table = point_images(posterior.prior, posterior.points, best, x)
    except (ArithmeticError, ValueError, LookupError) as error:  # said, for the fit is done
        table = PointTable(notes=(f"{type(error).__name__}: {error}",))
    return found.replace(point_images=table, timings_s={**found.timings_s, "images": time.perf_counter() - begun})


def _derived(prior: Prior, result: Result, points: Sequence[Any]) -> Derived:
    """The derived numbers; where they cannot be computed that is said of them, for the fit is done."""
    try:
        return derive(prior, result, points=points)
    except (ArithmeticError, ValueError, LookupError) as error:
        return Derived(missing={"all derived numbers": f"{type(error).__name__}: {error}"})


def _at_best(run: Stages, best: np.ndarray) -> Found:
    """The images and the numbers of one unconstrained vector, shape (n,)."""
    posterior, lens = run.posterior, run.lens
    names, dtype = posterior.prior.names, posterior.prior.shift.dtype
    whole = [observation.data(dtype, poisson=data.poisson, trim=False, scaled=True)
             for observation, data in zip(lens.observations, posterior.data, strict=True)]
    scenes, rendered, variances, (roots, log_likelihood) = on_host(_best_fit(posterior, best, whole))
    points = PointsFit()
    if posterior.points:
        # Of a fit without pixels it is the one scene.
        scene, left, height = on_host(_best_points(posterior, best))
        scenes = list(scenes) or [scene]
        points = PointsFit(float(np.sum(left.astype(float) ** 2)), left.size, float(height))
    models, sigmas, chi2, pixels = [], [], 0.0, 0
    for observation, data, model, var in zip(lens.observations, whole, rendered, variances, strict=True):
        sigma = data.physical(np.sqrt(np.asarray(var, float)))
        models.append(data.physical(np.asarray(model, float)))
        sigmas.append(sigma)
        residual = observation.independent(models[-1], sigma)
        chi2, pixels = chi2 + float(np.sum(residual**2)), pixels + int(np.sum(observation.mask))
    amplitudes = best_amplitudes(scenes[:len(whole)], lens.prior, lens.observations, roots)
    info = dict(run.info)
    if amplitudes.effective:
        info["amplitudes"] = {"log_evidence": float(log_likelihood) + posterior.log_norm,
                              "determined_by_the_data": sum(amplitudes.effective.values())}
    return Found(
        prior=lens.prior, observations=list(lens.observations), scenes=list(scenes),
        best=dict(zip(names, map(float, _constrained(posterior.prior, best[None])[0]), strict=True)),
        model_images=models, sigma_images=sigmas, amplitudes=amplitudes, chi2=chi2, n_pixels=pixels,
        n_free=len(names) + amplitudes.count + sum(term.solved for term in posterior.points), points=points,
        timings_s={"compile": run.clock.seconds + run.journal.compile_s, **run.timings},
        evaluations=dict(run.evaluations), info=info, truth=lens.truth, seed=lens.seed,
        devices=[f"{d.platform}:{d.id} {d.device_kind}" for d in run.over.devices.flat],
        versions=versions())


# Compiled once a process, whatever number of lenses is fitted.
_physical = jax.jit(jax.vmap(lambda prior, z: (prior.constrain(z), prior.log_prob(z)), (None, 0)),
                    compiler_options=ON_VECTORS)


@jax.jit
def _best_fit(posterior: Posterior, z: Array,
              whole: list[Data]) -> tuple[tuple[Scene, ...], list[Array], list[Array], tuple[Any, Array | None]]:
    """The scene as each observation sees it, and its image on all of its pixels with their variance, in its unit.

    Besides, of amplitudes with a prior of their own, `Posterior.own_roots` and the log-likelihood; without such, None.
    """
    scenes = posterior.located_scenes(z)
    models = [render_data(scene, data) for scene, data in zip(scenes, whole, strict=True)]
    return tuple(map(bare, scenes)), models, [variance(model, data.with_noise_of(scene, k))
                            for k, (model, data, scene) in enumerate(zip(models, whole, scenes, strict=True))], \
        (posterior.own_roots(z), posterior.log_likelihood(z)) if posterior.has_own_priors else (None, None)


@jax.jit
def _best_points(posterior: Posterior, z: Array) -> tuple[Scene, Array, Array]:
    """The scene, what is left of point images over their standard deviations, and their log-likelihood."""
    scene = posterior.prior.scene(z)
    height = sum((term.log_likelihood(scene) for term in posterior.points), jnp.zeros((), z.dtype))
    return scene, posterior.point_residuals(z), height


def _mode(posterior: Posterior, found: MapState) -> tuple[np.ndarray, float]:
    """The mode and its log-posterior, its profiles in the order that the prior likes best."""
    z, height, orders = np.asarray(found.z[0]), float(found.log_prob[0]), posterior.orders
    if orders is None:
        return z, height
    log_prior = np.asarray(_log_prior_of_orders(orders, posterior.prior, z), float)
    k = int(np.argmax(log_prior))
    return np.asarray(orders(z))[k], height + log_prior[k] - float(np.logaddexp.reduce(log_prior))


_log_prior_of_orders = jax.jit(Orders.log_prior)


def _variational_draws(posterior: Posterior, transport: Transport, key: Array) -> np.ndarray:
    for_normals, for_deal = split(key, 2)
    z, _ = pushed(transport, normal(for_normals, (N_VI, transport.size), transport.shift.dtype))
    return in_orders(for_deal, posterior, z)[0]


def _in_pieces(function: Callable, prior: Prior, z: np.ndarray, size: int) -> Any:
    """Evaluate a batched function in pieces of one size, so that it is compiled once whatever their number."""
    padded = np.concatenate([z, np.repeat(z[:1], -len(z) % size, 0)])
    parts = [function(prior, padded[i:i + size]) for i in range(0, len(z), size)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:len(z)].astype(float), *parts)


def _constrained(prior: Prior, z: np.ndarray) -> np.ndarray:
    """Physical values of vectors, shape (count, n); in one program whatever their number."""
    return np.asarray(constrained(prior, np.resize(z, (2 * N_VI, z.shape[1]))), float)[:len(z)]


def _named(names: Sequence[str], values: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[:, i] for i, name in enumerate(names)}
