"""Variational inference: a full-rank (conditional) Gaussian, started from the curvature at the mode."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from giga.bayes.posterior import Posterior
from giga.component import AnyArray
from giga.inference.search.lanes import JACOBIAN_COST, Improve, Lanes
from giga.inference.search.map import MapState
from giga.inference.variational.bounds import Bounds, inverse, near_bounds
from giga.inference.variational.transport import REACH, Transport, conditional, gaussian
from giga.runtime.calls import Alone, Call, Program
from giga.runtime.parallel import ON_VECTORS, batched, compiled, on_host, spread
from giga.runtime.products import matmul
from giga.runtime.random import normal

FALL = 4.0  # standard errors, and one more, by which the bound may fall in a step that is kept
SLOWER = 0.25  # rate after one that is not
UNLIKE = 1.0  # scatter of the log-density among draws, for each coordinate, from which a map is begun again
SCALES = 0.5 ** np.arange(11)  # of which it takes the one with the best bound
GAIN = 1.0  # of the bound, below which its ascents end
ASCENTS = 6  # at most


@dataclass(frozen=True)
class VIConfig:
    """Variational stage.

    Attributes:
        steps: Natural-gradient steps.
        n_samples: Samples a step, in antithetic pairs.
        rate: First step's learning rate; it falls as 1 / (1 + k / 4).
        bend: Smallest bend of the conditional mean (in standard deviations, at two of them along the
            axis) from which a conditional Gaussian is used; below it a plain one.
        axis: Name of the conditioning parameter, "auto" (the one that bends most) or "none".
    """

    steps: int = 12
    n_samples: int = 64
    rate: float = 0.5
    bend: float = 0.3
    axis: str = "auto"


class VIState(NamedTuple):
    """What the next stage needs: the fitted map from a standard normal."""

    transport: Transport


class Ascent(NamedTuple):
    """Compiled natural-gradient steps, which also serve to evaluate batches.

    Attributes:
        program: Of the arguments (transport, u, rates, steps), to (transport, elbo, sd, values, gradients).
        call: How it is run.
        n_samples: Size of a batch.
        steps: Largest number of steps.
    """

    program: Program
    call: Call
    n_samples: int
    steps: int

    def run(self, posterior: Posterior, transport: Transport, u: np.ndarray, rates: np.ndarray, steps: int):
        """Take steps; u has shape (self.steps, n_samples, n), of which the first `steps` are used."""
        return self.call(self.program, posterior, transport, u, rates, np.int32(steps))

    def evaluate(self, posterior: Posterior, transport: Transport, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-density and gradient in the map's coordinates, for any number of points."""
        values, gradients = [], []
        rates = np.zeros(self.steps, transport.shift.dtype)
        for i in range(0, len(u), self.n_samples):
            part = np.asarray(u[i:i + self.n_samples])
            batch = np.zeros((self.steps, self.n_samples, transport.size), transport.shift.dtype)
            batch[0, :len(part)] = part
            *_, value, gradient = self.run(posterior, transport, batch, rates, 1)
            values.append(np.asarray(value)[:len(part)])
            gradients.append(np.asarray(gradient)[:len(part)])
        return np.concatenate(values), np.concatenate(gradients)


def log_density(posterior: Posterior, transport: Transport, u: Array) -> Array:
    """Log-posterior in the map's coordinates, the Jacobian included."""
    z, log_det = transport(u)
    return posterior.log_prob(z) + log_det


def fit_vi(key: Array, posterior: Posterior, found: MapState, config: VIConfig, ascent: Ascent, improve: Improve,
           report: Callable[[dict], None] = lambda info: None) -> tuple[VIState, dict]:
    """Fit the variational posterior.

    The Gaussian starts at the mode with the Gauss-Newton covariance. Where its conditional mean
    bends along a parameter, nodes along that parameter make it a conditional Gaussian. Natural-
    gradient steps on the evidence lower bound then correct mean and covariance; the expected
    Hessian is taken by Stein's lemma with the Gaussian's own share removed, so that its noise
    vanishes where the posterior is Gaussian. With more parameters than samples a step changes the
    precision by a matrix of low rank and a diagonal.

    Where the posterior is rough, as that of a model that does not fit, the curvature at the mode may hold for a small
    part of its Gaussian alone, and draws fall thousands below the mode. Such a map is begun again, narrower. There the
    gradients of 64 draws tell little, too: a step after which the bound is lower is taken back, and steps are smaller.

    Args:
        key: Random key.
        posterior: The posterior.
        found: The search's finalists; the first is the mode.
        config: Sizes.
        ascent: From `ascender`.
        improve: From `giga.inference.search.lanes.improver`.
        report: Called with "elbo" at the end.

    Returns:
        The map and the ELBO before and after, the axis, the scale at which the map was begun, and counts of gradients.

    Raises:
        FloatingPointError: The bound is not a number.

    References:
        Khan & Rue (2023), JMLR 24, 281, sec. 4 (natural-gradient Gaussian variational inference).
    """
    begun, info = _start(posterior, found, config, ascent, improve)
    half = normal(key, (config.steps, config.n_samples // 2, begun.size), begun.shift.dtype)
    u = np.concatenate([half, -half], 1)
    transport, trace, sd = _ascended(posterior, begun, u, config, ascent)
    scale, evaluations = 1.0, config.steps * config.n_samples
    if not sd * np.sqrt(config.n_samples) < UNLIKE * begun.size:
        wide, bounds = (1.0, transport, trace, sd), [-np.inf]
        scale, transport = _narrower(posterior, begun, u[0], ascent)
        for _ in range(ASCENTS):
            transport, trace, sd = _ascended(posterior, transport, u, config, ascent)
            bounds.append(_bound(trace))
            if not bounds[-1] > bounds[-2] + GAIN:
                break
        evaluations += (len(SCALES) + config.steps * (len(bounds) - 1)) * config.n_samples
        if _bound(wide[2]) > _bound(trace):
            scale, transport, trace, sd = wide
    if not np.isfinite(trace[-1]):
        raise FloatingPointError(
            "VI: the evidence lower bound is not a number about a mode of log-posterior "
            f"{float(found.log_prob[0]):.6g}; the search has probably not reached the mode "
            "(raise inference.map_rounds or n_starts), or the noise is far too small")
    info |= {"elbo_start": trace[0], "elbo": _bound(trace), "elbo_trace": trace, "elbo_sd": sd, "scale": scale,
             "evaluations": info["evaluations"] + evaluations}
    report({"elbo": info["elbo"], "done": 1.0})
    return VIState(transport), info


def _ascended(posterior: Posterior, transport: Transport, u: np.ndarray, config: VIConfig,
              ascent: Ascent) -> tuple[Transport, list[float], float]:
    """The map after all steps, the bound at each from the first on where it is a number, and the last one's error."""
    rates = (config.rate / (1.0 + np.arange(config.steps) / 4.0)).astype(u.dtype)
    transport, elbo, sd, *_ = ascent.run(posterior, transport, u, rates, config.steps)
    numbers = [float(v) for v in elbo if np.isfinite(v)]  # none follows on one that is not kept
    return transport, numbers or [np.nan], float(sd[-1])


def _bound(trace: list[float]) -> float:
    return float(np.mean(trace[-3:]))


def _narrower(posterior: Posterior, transport: Transport, u: np.ndarray, ascent: Ascent) -> tuple[float, Transport]:
    """The scale of a map's draws at which its bound is best, and the map of that scale."""
    n = transport.size
    values, _ = ascent.evaluate(posterior, transport, (SCALES[:, None, None] * u).reshape(-1, n).astype(u.dtype))
    bounds = values.reshape(len(SCALES), -1).astype(float).mean(1) + n * np.log(SCALES)
    scale = float(SCALES[np.argmax(np.where(np.isfinite(bounds), bounds, -np.inf))])
    return scale, transport.behind(np.zeros(n, u.dtype), scale * np.eye(n, dtype=u.dtype))


def _start(posterior: Posterior, found: MapState, config: VIConfig, ascent: Ascent,
           improve: Improve) -> tuple[Transport, dict]:
    """The Gaussian at the mode, conditional on the parameter along which it bends most."""
    names, dtype, prior = posterior.prior.names, found.z.dtype, posterior.prior
    bounds = near_bounds(prior, found.z[0], found.precision[0])
    (mode,), (precision,) = bounds.moved(prior, found.z[:1], found.precision[:1])
    covariance = inverse(precision)
    plain = gaussian(mode, covariance, 0, dtype).replace(bounds=bounds)
    score = bends(posterior, plain, covariance, ascent)
    axis = int(np.argmax(score)) if config.axis in ("auto", "none") else names.index(config.axis)
    leaning = [name for name, side in zip(names, bounds.side, strict=True) if side]
    info = {"axis": names[axis], "bend": float(score[axis]), "near_bounds": leaning, "evaluations": 2 * len(mode),
            "conditional": False}
    unbent = gaussian(mode, covariance, axis, dtype).replace(bounds=bounds)
    if config.axis == "none" or (config.axis == "auto" and score[axis] < config.bend):
        return unbent, info
    lanes, node_precision = walk(posterior, bounds, mode, covariance, axis, len(found.z), improve)
    info["evaluations"] += int(2 * len(found.z) * JACOBIAN_COST)
    good = np.isfinite(np.asarray(lanes.log_prob)) & np.isfinite(np.asarray(node_precision)).all((1, 2))
    if good.sum() < 4:
        return unbent, info | {"failed_nodes": int((~good).sum())}
    nodes, node_precision = bounds.moved(prior, np.asarray(lanes.z)[good], np.asarray(node_precision)[good], axis)
    transport = conditional(mode, precision, nodes, node_precision, axis, dtype).replace(bounds=bounds)
    return transport, info | {"conditional": True, "failed_nodes": int((~good).sum())}


def bends(posterior: Posterior, plain: Transport, covariance: np.ndarray, ascent: Ascent) -> np.ndarray:
    """How much the conditional mean bends along each coordinate, in standard deviations.

    At two standard deviations either way along a coordinate, on the line where a Gaussian has its
    conditional mean, the gradient across that line shows how far the true mean lies off. In the
    Gaussian's own coordinates the line of coordinate k is a ray along row k of the factor.

    Args:
        posterior: The posterior.
        plain: The Gaussian as a map.
        covariance: Its covariance, shape (n, n).
        ascent: From `ascender`.
    """
    n = len(covariance)
    lower = np.tril(plain.chol[0], -1) + np.diag(np.exp(np.diag(plain.chol[0])))
    factor = np.block([[plain.width, np.zeros((1, n - 1))], [plain.mean[1][:, None], lower]])[plain.order]
    rays = factor / np.linalg.norm(factor, axis=1, keepdims=True)
    u = 2.0 * np.concatenate([rays, -rays])
    _, gradient = ascent.evaluate(posterior, plain, u)
    excess = np.asarray(gradient, float) + u  # zero for a Gaussian
    along = np.sum(excess * np.concatenate([rays, -rays]), 1)
    across = np.sqrt(np.maximum(np.sum(excess**2, 1) - along**2, 0.0))
    return np.where(np.isfinite(across), across, np.inf).reshape(2, n).mean(0)


_mapped = jax.jit(jax.vmap(Bounds.__call__, (None, 0)), compiler_options=ON_VECTORS)


def walk(posterior: Posterior, bounds: Bounds, mode: np.ndarray, covariance: np.ndarray, axis: int, count: int,
         improve: Improve) -> tuple[Lanes, AnyArray]:
    """Conditional modes and precisions at nodes along a coordinate, all at once.

    Args:
        posterior: The posterior.
        bounds: Map from the Gaussian's coordinates to the prior's.
        mode, covariance: The Gaussian at the mode; nodes start on its conditional-mean line.
        axis: The coordinate, held at each node.
        count: Number of nodes, as many as `improve` has lanes.
        improve: From `giga.inference.search.lanes.improver`.
    """
    dtype = posterior.prior.shift.dtype
    t = np.linspace(-REACH, REACH, count)
    y = mode + t[:, None] * covariance[axis] / np.sqrt(covariance[axis, axis])
    z, _ = on_host(_mapped(bounds, y.astype(dtype)))
    lanes = Lanes(z, *(np.full(count, value, dtype) for value in (-np.inf, 1e-2, 0.0)))
    frozen = np.arange(len(mode)) == axis
    lanes, _ = improve(posterior, lanes, frozen)
    return improve(posterior, lanes, frozen)


def ascender(over: Mesh, n_samples: int, steps: int, call: Call | None = None) -> Ascent:
    """Natural-gradient steps, at most so many a call; samples are spread over the mesh."""
    return Ascent(_ascend(over, n_samples, steps), call or Alone(over), n_samples, steps)


@cache
def _ascend(over: Mesh, n_samples: int, steps: int) -> Program:
    def one(posterior: Posterior, transport: Transport, u: Array) -> tuple[Array, Array]:
        return jax.value_and_grad(lambda v: log_density(posterior, transport, v))(u)

    evaluate, natural_steps = spread(one, over), batched(_natural_step, over, 0)

    def run(posteriors: Posterior, slots: Array, active: Array, transport: Transport, u: Array, rates: Array,
            counts: Array):
        wide, n, dtype = len(slots), u.shape[-1], u.dtype

        def step(k, carry):
            transport, kept, top, margin, slow, elbos, errors, *_ = carry
            going = active & (k < counts)
            value, gradient = evaluate(posteriors, slots, going, transport, u[:, k])
            elbo = jnp.mean(value, 1) + 0.5 * n * (1.0 + jnp.log(2.0 * jnp.pi))
            error = jnp.std(value, 1) / jnp.sqrt(n_samples)
            stays = elbo >= top - margin  # not where it is not a number
            climbs = stays & (elbo > top)
            top, margin = jnp.where(climbs, elbo, top), jnp.where(climbs, FALL * error + 1.0, margin)
            slow = jnp.where(stays, slow, SLOWER * slow)
            kept = _chosen(stays, transport, kept)
            moved = natural_steps(transport, u[:, k], gradient, rates[:, k] * slow)
            told = stays | (k == 0)  # else what was told of the map that is kept
            after = (_chosen(stays, moved, kept), kept, top, margin, slow,
                     elbos.at[:, k].set(jnp.where(told, elbo, elbos[:, k - 1])),
                     errors.at[:, k].set(jnp.where(told, error, errors[:, k - 1])), value, gradient)
            return _chosen(going, after, carry)

        empty, zero = jnp.zeros((wide, steps), dtype), jnp.zeros(wide, dtype)
        start = (transport, transport, zero - jnp.inf, zero, zero + 1.0, empty, empty,
                 jnp.zeros((wide, n_samples), dtype), jnp.zeros((wide, n_samples, n), dtype))
        moved, kept, _, _, slow, *found = jax.lax.fori_loop(0, jnp.max(counts, where=active, initial=0), step, start)
        return _chosen(slow < 1.0, kept, moved), *found

    return Program("ascent", compiled(run, over), lambda transport, *rest: (transport, 0, 0, 0, 0))


def _chosen(which: Array, first: Any, second: Any) -> Any:
    """Of two trees, for each slot."""
    return jax.tree.map(lambda a, b: jnp.where(which.reshape(-1, *(1,) * (a.ndim - 1)), a, b), first, second)


def _natural_step(transport: Transport, u: Array, gradient: Array, rate: Array) -> Transport:
    n = transport.size
    excess = gradient + u  # zero where the posterior is this Gaussian
    # A sample far off in the tail must not swing the step.
    length = jnp.linalg.norm(excess, axis=1, keepdims=True)
    excess = excess * jnp.minimum(1.0, 3.0 * jnp.sqrt(n) / jnp.maximum(length, 1e-6))
    outer = matmul(excess.T, u) / len(u)
    change = 0.5 * (outer + outer.T)
    if n > len(u):  # too few samples for all its entries
        change = _low_rank_and_diagonal(change, len(u) // 4)
    values, vectors = jnp.linalg.eigh(jnp.eye(n, dtype=u.dtype) - rate * change)
    covariance = matmul(vectors / jnp.clip(values, 0.5, 2.0), vectors.T)
    shift = rate * matmul(covariance, jnp.mean(excess, 0))
    shift = shift * jnp.minimum(1.0, 1.0 / jnp.maximum(jnp.linalg.norm(shift), 1e-6))
    return transport.behind(shift, jnp.linalg.cholesky(covariance))


def _low_rank_and_diagonal(matrix: Array, rank: int) -> Array:
    """The largest eigenvalues of a symmetric matrix, by magnitude, and the diagonal of what they leave."""
    values, vectors = jnp.linalg.eigh(matrix)
    kept = jnp.argsort(-jnp.abs(values))[:rank]
    low = matmul(vectors[:, kept] * values[kept], vectors[:, kept].T)
    return low + jnp.diag(jnp.diag(matrix - low))
