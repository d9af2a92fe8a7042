"""Hamiltonian Monte Carlo: many short chains in the whitened space of the variational posterior."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior
from giga.component import AnyArray
from giga.inference.chains.diagnostics import ess_tail, rhat_and_ess_bulk
from giga.inference.chains.trajectory import Chains, Move, trajectory
from giga.inference.chains.whitening import straightened, whitening
from giga.inference.variational import guide
from giga.inference.variational.transport import Transport, pulled, pushed
from giga.inference.variational.vi import Ascent, log_density
from giga.runtime.calls import Alone, Call, Program
from giga.runtime.parallel import batched, compiled, spread
from giga.runtime.random import normal, split

LOST_ACCEPTANCE = 0.2  # a block this far below the target has left the region that the step was set in
STUCK_ACCEPTANCE = 0.5  # so far below, of one chain: it stands where the step is too long for it
SHORTER = 0.5  # times the step, for a chain that is stuck
MAX_RESETS = 3
LONGEST = 3.0  # times the trajectory's length, for draws that reach so far
LONGER = 1.1  # a change of the length that is worth it
NOTHING = {"rhat": np.inf, "ess_bulk": 0.0, "ess_tail": 0.0}  # `worst_case` of no draw


@dataclass(frozen=True)
class HMCConfig:
    """Sampling stage.

    Attributes:
        n_chains: Chains.
        n_block: Iterations in a compiled block, between looks at the diagnostics.
        n_pilot: Blocks in each of the two pilot rounds that whiten; a third of one block sets the step.
        n_min, n_max: Fewest and most iterations kept, a chain.
        ess, tail_ess: Bulk and tail effective sample size wanted of every parameter.
        rhat: Largest R-hat wanted.
        length: Trajectory length in whitened units; the number of steps is jittered about it. It grows with the
            `reach` of the draws.
        target_accept: Acceptance that the pilot's step size aims at.
        max_steps: Most leapfrog steps a trajectory.
        guided: Whether the steps follow the coarse posterior (`giga.bayes.posterior.Posterior.coarse`), which makes
            sense where it costs less. What is sampled is the posterior all the same.
    """

    n_chains: int = 16
    n_block: int = 50
    n_pilot: int = 2
    n_min: int = 100
    n_max: int = 3000
    ess: float = 1000.0
    tail_ess: float = 400.0
    rhat: float = 1.01
    length: float = 1.9
    target_accept: float = 0.9
    max_steps: int = 64
    guided: bool = False


class HMCState(NamedTuple):
    """What goes on: chains, step size, the map they live in.

    Attributes:
        chains: Leading axis over chains.
        step_size: Shape ().
        length: Of a trajectory, shape ().
        transport: Map from the chains' coordinates to the prior's.
    """

    chains: Chains
    step_size: AnyArray
    length: AnyArray
    transport: Transport


class Draws(NamedTuple):
    """Samples of a block, leading axes (chains, iterations).

    Attributes:
        z: Unconstrained vectors, (..., n).
        log_prob: Log-posterior density of z.
        acceptance_rate, diverging, energy: Of each trajectory.
        n_steps: Leapfrog steps, shared by the chains.
    """

    z: AnyArray
    log_prob: AnyArray
    acceptance_rate: AnyArray
    diverging: AnyArray
    energy: AnyArray
    n_steps: AnyArray


class Path(NamedTuple):
    """Draws of a block in the chains' coordinates, leading axes (chains, iterations).

    Attributes:
        u: Positions, (..., n).
        gradient: Of the log-density there, (..., n).
    """

    u: AnyArray
    gradient: AnyArray


class Sampler(NamedTuple):
    """Compiled blocks of HMC.

    Attributes:
        program: Of the arguments (key, state, adapt), to (state, path, draws).
        call: How it is run.
        config: Sizes.
        over: Device mesh.
    """

    program: Program
    call: Call
    config: HMCConfig
    over: Mesh

    def run(self, key: Array, posterior: Posterior, state: HMCState, adapt: bool) -> tuple[HMCState, Path, Draws]:
        """A block from a state: the new state, the chains' path in their own coordinates, and the draws."""
        return self.call(self.program, posterior, jax.random.key_data(key), state, adapt)


def warm_up(key: Array, posterior: Posterior, transport: Transport, sampler: Sampler, ascent: Ascent,
            report: Callable[[dict], None] = lambda info: None) -> tuple[HMCState, dict]:
    """Start chains as draws of the variational posterior, re-whiten by their covariance, set the step size.

    Three rounds of adapting blocks. After the first two the covariance of their draws moves the chains to
    coordinates in which it is unity, and sets the length of the trajectories there; after the first, a curved ridge is
    made straight. The last sets the step in the coordinates in which the sampling goes on.

    Args:
        key: Random key.
        posterior: The posterior.
        transport: Map from a standard normal, from the variational stage.
        sampler: From `sampler`.
        ascent: From `giga.inference.variational.vi.ascender`, which evaluates the starts.
        report: Called after each round with "acceptance".

    Returns:
        State from which `sample_hmc` goes on, the gradients used, how many starts were replaced
        because their log-density is not finite, and along how many coordinates a ridge was made straight.

    Raises:
        FloatingPointError: No start has a finite log-density.
    """
    config = sampler.config
    start, *rounds = split(key, 4)
    u = normal(start, (config.n_chains, transport.size), transport.shift.dtype)
    state, replaced = _alive(_chains(posterior, transport, u, 0.3, config.length, ascent))
    gradients = config.n_chains
    for part, blocks in zip(rounds, (config.n_pilot, config.n_pilot, 1), strict=True):
        kept = []
        for k, sub in enumerate(split(part, blocks)):
            state, path, out = sampler.run(sub, posterior, state, True)
            gradients += _gradients(out, config)
            kept.append([np.asarray(a, float)[:, config.n_block // 3 if k == 0 else 0:] for a in path])
        report({"acceptance": float(np.mean(out.acceptance_rate)), "done": 0.0})
        if part is not rounds[-1]:
            seen = Path(*(np.concatenate(a, 1) for a in zip(*kept, strict=True)))
            state = _rewhiten(posterior, state, seen, config.length, ascent, bend=part is rounds[0])
    return state, {"evaluations": gradients, "replaced_starts": replaced,
                   "bent_along": state.transport.bend.soft}


def sample_hmc(key: Array, posterior: Posterior, state: HMCState, sampler: Sampler,
               report: Callable[[dict], None] = lambda info: None) -> tuple[HMCState, Draws, dict]:
    """Sample the posterior until every parameter has the effective sample sizes and R-hat wanted.

    Blocks of fixed-step HMC with jittered length, with a look at the diagnostics between blocks. Where the draws so far
    reach further than the trajectories were made for, these become longer, at most `LONGEST` times. Where a
    block's acceptance falls far below what the step was set for, the chains have come to a place
    that the pilot did not see: the step is set anew from there, and the draws so far are left out. Where one chain
    alone is stuck, in a narrow tail, the mean of all would hardly tell, nor set another step: it is halved. Draws so
    far are left out then only at the beginning: each step size leaves the posterior as it is.

    Args:
        key: Random key; block k uses `fold_in(key, k)`.
        posterior: The posterior.
        state: From `warm_up`.
        sampler: From `sampler`.
        report: Called after each block with "acceptance", "rhat", "ess", "tail_ess", "iterations".

    Returns:
        The state at the end, the samples on the host, and counts: gradients, divergences, dead
        chains (that never moved), acceptance, step size, how often the step was set anew, whether
        the targets were reached.
    """
    config = sampler.config
    blocks: list[Draws] = []
    values: list[np.ndarray] = []
    paths: list[np.ndarray] = []
    worst, spent, resets, count = dict(NOTHING), 0, 0, 0
    while not _reached(worst, blocks, config) and len(blocks) * config.n_block < config.n_max:
        state, path, out = sampler.run(jax.random.fold_in(key, count), posterior, state, False)
        count, spent = count + 1, spent + _gradients(out, config)
        each = np.mean(np.asarray(out.acceptance_rate, float), 1)
        acceptance = float(np.mean(each))
        lost = acceptance < config.target_accept - LOST_ACCEPTANCE
        if (lost or each.min() < config.target_accept - STUCK_ACCEPTANCE) and resets < MAX_RESETS:
            resets += 1
            if lost:
                state, _, out = sampler.run(jax.random.fold_in(key, count), posterior, state, True)
                count, spent = count + 1, spent + _gradients(out, config)
            else:
                state = state._replace(step_size=np.asarray(SHORTER * state.step_size, state.step_size.dtype))
            if lost or len(blocks) * config.n_block < config.n_min:
                blocks, values, paths = [], [], []
                continue
        blocks.append(out)
        paths.append(np.asarray(path.u, float))
        state = _longer(state, config.length * reach(np.concatenate(paths, 1)))
        values.append(physical(posterior.prior, out.z))
        worst = worst_case(np.concatenate(values, 1))
        report({"acceptance": acceptance, "iterations": len(blocks) * config.n_block,
                "rhat": worst["rhat"], "ess": worst["ess_bulk"], "tail_ess": worst["ess_tail"],
                "done": _share(worst, blocks, config)})
    draws = _join(blocks)
    still = np.ptp(draws.z, axis=1).max(-1) == 0.0
    return state, draws, {
        "iterations": int(draws.z.shape[1]), "chains": config.n_chains,
        "acceptance": float(draws.acceptance_rate.mean()), "step_size": float(state.step_size),
        "length": float(state.length),
        "mean_steps": float(draws.n_steps.mean()), "resets": resets,
        "divergences": int(draws.diverging.sum()), "dead_chains": int(still.sum()),
        "converged": _reached(worst, blocks, config), "worst_rhat": worst["rhat"],
        "smallest_ess_bulk": worst["ess_bulk"], "smallest_ess_tail": worst["ess_tail"], "evaluations": spent,
        "ess_per_gradient": worst["ess_bulk"] / spent}


def _share(worst: dict[str, float], blocks: list[Draws], config: HMCConfig) -> float:
    """Share of the sampling that is done: ESS and R-hat - 1 both go as the number of iterations."""
    need = max(config.ess / max(worst["ess_bulk"], 1.0), config.tail_ess / max(worst["ess_tail"], 1.0),
               (worst["rhat"] - 1.0) / (config.rhat - 1.0), config.n_min / (len(blocks) * config.n_block))
    return min(1.0, max(1.0 / max(need, 1.0), len(blocks) * config.n_block / config.n_max))


def _reached(worst: dict[str, float], blocks: list[Draws], config: HMCConfig) -> bool:
    enough = len(blocks) * config.n_block >= config.n_min
    return enough and sufficient(worst, config.rhat, config.ess, config.tail_ess)


def sufficient(worst: dict[str, float], rhat: float, ess: float, tail_ess: float) -> bool:
    """Whether what `worst_case` found reaches the targets."""
    return worst["rhat"] < rhat and worst["ess_bulk"] > ess and worst["ess_tail"] > tail_ess


def worst_case(samples: np.ndarray) -> dict[str, float]:
    """Largest rank-normalised R-hat and smallest bulk and tail ESS over parameters, of (chains, draws, n)."""
    rhat, ess = rhat_and_ess_bulk(samples)
    return {"rhat": float(np.max(rhat)), "ess_bulk": float(np.min(ess)), "ess_tail": float(np.min(ess_tail(samples)))}


def physical(prior: Prior, z: AnyArray) -> np.ndarray:
    """Physical values of unconstrained draws, shape (chains, draws, n).

    What is reported is their R-hat, whose folded part looks at distances from the median and differs from that of z.
    """
    return np.asarray(_constrain(prior, z), float)


_constrain = jax.jit(jax.vmap(jax.vmap(Prior.constrain, (None, 0)), (None, 0)))


def sampler(over: Mesh, config: HMCConfig, call: Call | None = None) -> Sampler:
    """Blocks of iterations; when adapting, the common step size of a lens's chains follows their mean acceptance."""
    return Sampler(_block(over, config.n_chains, config.n_block, config.max_steps, config.target_accept,
                          config.guided), call or Alone(over), config, over)


def guided(key: Array, posterior: Posterior, transport: Transport, exact: Sampler,
           ascent: Ascent) -> tuple[Sampler, dict]:
    """The sampler whose steps follow the coarse posterior, where that costs less and is near enough; else the same.

    Args:
        key: Random key.
        posterior: The posterior.
        transport: Map from a standard normal, from the variational stage.
        exact: From `sampler`.
        ascent: From `giga.inference.variational.vi.ascender`.

    Returns:
        The sampler, and what was found: "guide_error", the spread of the difference in log-density (None
        where it is not a number), and "guided".
    """
    if not posterior.is_fine:
        return exact, {"evaluations": 0}
    error = guide.error(key, posterior, transport, exact.over, exact.call, ascent)
    info = {"guide_error": error if np.isfinite(error) else None, "guided": error < guide.NEAR_ENOUGH,
            "evaluations": round((1.0 + guide.END_COST) * ascent.n_samples)}
    if not info["guided"]:
        return exact, info
    return sampler(exact.over, replace(exact.config, guided=True), exact.call), info


def _gradients(draws: Draws, config: HMCConfig) -> int:
    """What the trajectories of a block cost, in gradients of the posterior."""
    if not config.guided:
        return int(np.sum(draws.n_steps))
    return round(guide.STEP_COST * float(np.sum(draws.n_steps)) + guide.END_COST * np.size(draws.n_steps))


@cache
def _block(over: Mesh, n_chains: int, n_block: int, max_steps: int, target_accept: float, guided: bool) -> Program:
    # One sequence for all lenses, so that those of a call make long and short trajectories together: the golden
    # section's, which fills the interval evenly from the first entries on.
    jitter = 0.5 + np.arange(1, n_block + 1) * 0.5 * (5.0**0.5 - 1.0) % 1.0

    def one(posterior: Posterior, own: tuple[Transport, Any, Array, Array], key: Array,
            chain: Chains) -> tuple[Chains, Move]:
        transport, images, size, steps = own
        density = partial(log_density, posterior, transport)
        along = partial(log_density, posterior.coarse(images), transport) if guided else None
        return trajectory(key, chain, density, size, steps, along)

    def middle(posterior: Posterior, transport: Transport, _: Array) -> Any:
        return guide.middle(posterior, transport)

    def force(posterior: Posterior, own: tuple[Transport, Any], u: Array) -> Array:
        transport, images = own
        return jax.grad(partial(log_density, posterior.coarse(images), transport))(u)

    def back(transport: Transport, u: Array, log_density: Array) -> tuple[Array, Array]:
        z, log_det = jax.vmap(jax.vmap(transport))(u)
        return z, log_density - log_det

    move, to_prior = spread(one, over), batched(back, over, 0)
    middles, forces = spread(middle, over), spread(force, over)

    def run(posteriors: Posterior, slots: Array, active: Array, key: Array, state: HMCState, adapt: Array):
        dtype, chains, images = state.step_size.dtype, state.chains, None
        if guided:  # the force where the chains stand may be another's, of other coordinates
            each = middles(posteriors, slots, active, state.transport, slots[:, None])
            images = jax.tree.map(lambda a: a[:, 0], each)
            chains = chains._replace(logdensity_grad=forces(posteriors, slots, active, (state.transport, images),
                                                            chains.position))

        def iteration(carry, inputs):
            chains, size, mean = carry
            keys, k, wanted = inputs
            steps = jnp.clip(jnp.round(state.length / size * wanted), 1, max_steps).astype(int)
            chains, (accept, diverging, energy) = move(posteriors, slots, active,
                                                       (state.transport, images, size, steps), keys, chains)
            accept = jnp.where(jnp.isfinite(accept), accept, 0.0)
            # Robbins-Monro on the logarithm of the step; the late steps are averaged
            change = 1.5 / (1.0 + k) ** 0.6 * (jnp.mean(accept, 1) - target_accept)
            size = size * jnp.exp(jnp.where(adapt, change, 0.0))
            share = jnp.where(k < n_block // 2, 1.0, 1.0 / (k - n_block // 2 + 1.0))
            mean = mean + share * (jnp.log(size) - mean)
            draws = Draws(chains.position, chains.logdensity, accept, diverging, energy,
                          jnp.repeat(steps[:, None], n_chains, 1))
            return (chains, size, mean), (draws, chains.logdensity_grad)

        keys = jax.vmap(lambda one: jax.random.split(jax.random.wrap_key_data(one), (n_block, n_chains)))(key)
        inputs = (jnp.swapaxes(keys, 0, 1), jnp.arange(n_block), jnp.asarray(jitter, dtype))
        start = (chains, state.step_size, jnp.log(state.step_size))
        (chains, _, mean), out = jax.lax.scan(iteration, start, inputs)
        size = jnp.where(adapt, jnp.exp(mean), state.step_size)
        draws, gradient = jax.tree.map(lambda a: jnp.moveaxis(a, 0, 2), out)
        z, log_prob = to_prior(state.transport, draws.z, draws.log_prob)
        path, draws = Path(draws.z, gradient), draws._replace(z=z, log_prob=log_prob)
        return state._replace(chains=chains, step_size=size), path, draws

    return Program("sample", compiled(run, over),
                   lambda key, state, adapt: (state, Path(0, 0), Draws(0, 0, 0, 0, 0, 0)))


def _chains(posterior: Posterior, transport: Transport, u: np.ndarray, step_size: float, length: float,
            ascent: Ascent) -> HMCState:
    value, gradient = ascent.evaluate(posterior, transport, u)
    dtype = transport.shift.dtype
    chains = Chains(np.asarray(u, dtype), value, gradient)
    return HMCState(chains, np.asarray(step_size, dtype), np.asarray(length, dtype), transport)


def _alive(state: HMCState) -> tuple[HMCState, int]:
    """Put chains whose density is not finite, and that could never move, on the places of the others."""
    chains = state.chains
    good = np.isfinite(chains.logdensity) & np.isfinite(chains.logdensity_grad).all(1)
    if not good.any():
        raise FloatingPointError(f"HMC: none of {len(good)} draws of the variational posterior has a finite "
                                 "log-posterior")
    place = np.where(good, np.arange(len(good)), np.resize(np.flatnonzero(good), len(good)))
    return state._replace(chains=Chains(*(a[place] for a in chains))), int(np.sum(~good))


def _rewhiten(posterior: Posterior, state: HMCState, path: Path, length: float, ascent: Ascent,
              bend: bool) -> HMCState:
    """Move to coordinates in which the pilot's draws have zero mean and their covariance is that of their gradients.

    Args:
        posterior: The posterior.
        state: The chains, in the coordinates of `path`.
        path: The pilot's draws.
        length: Of a trajectory in whitened units.
        ascent: Which evaluates the chains.
        bend: Whether a curved ridge is made straight first; the map must have no bend yet.
    """
    before, dtype = state.transport, state.transport.shift.dtype
    u, gradient = (np.asarray(a, float).reshape(-1, a.shape[-1]) for a in path)
    z, _ = pushed(before, np.concatenate([u.astype(dtype), np.asarray(state.chains.position)]))
    after = before
    if bend:
        curved, u, gradient = straightened(u, gradient, np.asarray(_slope(before, u.mean(0).astype(dtype)), float))
        after = before if curved is None else before.bent(curved)
    shift, factor = whitening(u, gradient)
    after = after.behind(shift.astype(dtype), factor.astype(dtype))
    moved = np.asarray(pulled(after, z)[0], float)
    return _chains(posterior, after, moved[len(u):], float(state.step_size), length * reach(moved[:len(u)]), ascent)


_slope = jax.jit(jax.jacfwd(lambda transport, u: transport(u)[0], argnums=1))


def reach(u: np.ndarray) -> float:
    """Standard deviation of draws along their widest direction: 1 where they are a standard normal, at most `LONGEST`.

    In coordinates that are whitened by draws and gradients a straight posterior is a standard normal. One that follows
    a curve is wider than its local curvature says, and trajectories made for unit width walk along it at random.

    Args:
        u: Draws, shape (..., n). Half of them count as independent: so many of a standard normal have a largest
            eigenvalue of (1 + sqrt(n / count))^2 by chance, which is divided out.

    References:
        Marchenko & Pastur (1967), Math. USSR-Sb. 1, 457.
    """
    flat = u.reshape(-1, u.shape[-1])
    chance = (1.0 + np.sqrt(flat.shape[1] / (0.5 * len(flat)))) ** 2
    widest = np.linalg.eigvalsh(np.atleast_2d(np.cov(flat.T)))[-1]
    return float(np.clip(np.sqrt(widest / chance), 1.0, LONGEST))


def _longer(state: HMCState, length: float) -> HMCState:
    """The state with longer trajectories, where that is a change that is worth it."""
    if length < LONGER * float(state.length):
        return state
    return state._replace(length=np.asarray(length, np.asarray(state.length).dtype))


def _join(blocks: list[Draws]) -> Draws:
    return Draws(*(np.concatenate(parts, axis=1) for parts in zip(*blocks, strict=True)))
