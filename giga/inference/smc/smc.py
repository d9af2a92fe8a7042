"""Tempered sequential Monte Carlo: particles from the prior, or from widened maps of the modes, to the posterior."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from scipy.optimize import root_scalar
from scipy.special import logsumexp, softmax

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior
from giga.component import AnyArray
from giga.inference.chains.hmc import (
    NOTHING,
    Chains,
    Draws,
    HMCConfig,
    HMCState,
    Sampler,
    physical,
    sampler,
    sufficient,
    worst_case,
)
from giga.inference.modes.evidence import Evidence
from giga.inference.smc.tempering import Maps, tempered
from giga.inference.variational.transport import gaussian, pulled
from giga.inference.variational.vi import Ascent
from giga.runtime.calls import Call
from giga.runtime.journal import Keep, direct
from giga.runtime.parallel import on_host
from giga.runtime.random import split, split_data

SHRINK = 0.05  # of its diagonal, added to the particles' covariance, so that it stays positive definite
FINEST = 1e-9  # smallest step of the tempering exponent


@dataclass(frozen=True)
class SMCConfig:
    """Tempered sequential Monte Carlo.

    Attributes:
        n_groups: Groups of particles that never exchange any; their spread is the error.
        n_particles: Particles in a group.
        n_moves: HMC trajectories between two resamplings.
        share: Effective share of the particles that a step of the exponent leaves.
        length: Trajectory length in whitened units.
        target_accept: Acceptance that the step size aims at.
        max_steps: Most leapfrog steps of a trajectory.
        max_rounds: Most steps of the exponent.
        n_keep: Rounds of moves whose draws are kept at the end, at most.
        ess, tail_ess, rhat: Where these rounds may end earlier: bulk and tail effective sample size, and R-hat of the
            groups.
        widen: By how much, in standard deviations.
    """

    n_groups: int = 8
    n_particles: int = 128
    n_moves: int = 5
    share: float = 0.6
    length: float = 1.5
    target_accept: float = 0.8
    max_steps: int = 16
    max_rounds: int = 200
    n_keep: int = 8
    ess: float = 1000.0
    tail_ess: float = 400.0
    rhat: float = 1.01
    widen: float = 1.5

    @property
    def moves(self) -> HMCConfig:
        """Settings of the moves' program."""
        return HMCConfig(n_chains=self.n_groups * self.n_particles, n_block=self.n_moves, length=self.length,
                         target_accept=self.target_accept, max_steps=self.max_steps)


class Particles(NamedTuple):
    """Where a run of the sampler is.

    Attributes:
        z: Shape (groups, particles, n).
        start, target: Log-density of the start and of the posterior there, (groups, particles).
        beta: The exponent.
        log_z: Log-evidence of each group so far, (groups,).
        step_size: Of the moves.
    """

    z: AnyArray
    start: AnyArray
    target: AnyArray
    beta: float
    log_z: AnyArray
    step_size: float


class SMC(NamedTuple):
    """Compiled programs of the sampler.

    Attributes:
        moves: Blocks of HMC for all particles.
        ascent: Evaluates batches of the posterior.
        config: Sizes.
    """

    moves: Sampler
    ascent: Ascent
    config: SMCConfig


def smc_programs(over: Mesh, config: SMCConfig, ascent: Ascent, call: Call | None = None) -> SMC:
    """The programs for a mesh; particles are spread over it."""
    return SMC(sampler(over, config.moves, call), ascent, config)


def sample_smc(key: Array, posterior: Posterior, start: Prior | Maps, programs: SMC,
               report: Callable[[dict], None] = lambda info: None,
               keep: Keep = direct) -> tuple[Draws, Evidence, dict]:
    """Carry particles from a start to the posterior.

    In each round the exponent grows until the weights leave the wanted share of the particles effective
    (the mean over the groups), each group is resampled by itself, and all particles take a few HMC
    trajectories in coordinates whitened by their own covariance. The product of the groups' mean weights
    estimates the evidence, without bias but for the adaptation; the groups' spread is its error. At the end
    rounds of moves on the posterior are kept.

    Args:
        key: Random key.
        posterior: The posterior.
        start: Its prior, or `Maps`.
        programs: From `smc_programs`.
        report: Called after each round with "beta" and "acceptance".
        keep: Keeps what each round returned, see `giga.runtime.journal.Journal.call`.

    Returns:
        The draws, one chain a group, in which relatives are neighbours, so that R-hat and effective
        sample size see what they share; the log-evidence; and counts.

    References:
        Del Moral, Doucet & Jasra (2006), J. R. Stat. Soc. B 68, 411; Buchholz, Chopin & Jacob (2021),
        Bayesian Analysis 16, 745 (adaptive HMC moves); Jasra et al. (2011), Scand. J. Stat. 38, 1 (adaptive steps).
    """
    config = programs.config

    def moved(key: Array, state: Particles, adapt: bool) -> tuple[Particles, Draws]:
        like = Particles(*(0,) * 6), Draws(*(0,) * 6)
        after, draws = keep("smc", lambda: _moved(key, posterior, start, state, programs, adapt), like,
                            jax.random.key_data(key), state)
        return after._replace(beta=float(after.beta), step_size=float(after.step_size)), draws

    key, sub = split(key, 2)
    shape = (config.n_groups, config.n_particles)
    z = np.asarray(_draws(start, split_data(sub, shape[0] * shape[1])))
    state = _evaluated(posterior, start, z.reshape(*shape, -1), programs, 0.0, np.zeros(shape[0]), 0.3)
    dead, gradients, rounds, accepted = int(np.sum(~np.isfinite(state.target))), z.shape[0], 0, []
    while state.beta < 1.0:
        if rounds == config.max_rounds:
            raise FloatingPointError(f"SMC: the exponent is {state.beta:.3g} after {rounds} rounds; the posterior is "
                                     "too far from the start for so many particles")
        key, pick, move = split(key, 3)
        state = resampled(pick, state, config)
        state, draws = moved(move, state, True)
        gradients += int(np.sum(draws.n_steps)) + 2 * z.shape[0]
        rounds += 1
        accepted.append(float(np.mean(draws.acceptance_rate)))
        report({"beta": state.beta, "acceptance": accepted[-1], "done": _share(state.beta)})
    kept: list[Draws] = []
    values: list[Draws] = []  # the same with physical values
    worst = dict(NOTHING)
    while len(kept) < config.n_keep and not sufficient(worst, config.rhat, config.ess, config.tail_ess):
        key, move = split(key, 2)
        state, draws = moved(move, state, False)
        gradients += int(np.sum(draws.n_steps)) + 2 * z.shape[0]
        kept.append(draws)
        values.append(draws._replace(z=physical(posterior.prior, draws.z)))
        worst = worst_case(_grouped(values, config).z)
        report({"acceptance": float(np.mean(draws.acceptance_rate)), "rhat": worst["rhat"], "ess": worst["ess_bulk"],
                "tail_ess": worst["ess_tail"], "done": 1.0})
    together = _grouped(kept, config)
    still = np.ptp(np.concatenate([d.z for d in kept], 1), axis=1).max(-1) == 0.0
    evidence = _evidence(state.log_z)
    share = np.exp(state.log_z - logsumexp(state.log_z))
    return together, evidence, {
        "iterations": int(together.z.shape[1]), "chains": config.n_groups, "particles": z.shape[0], "rounds": rounds,
        "acceptance": float(np.mean(accepted + [float(np.mean(d.acceptance_rate)) for d in kept])),
        "step_size": float(state.step_size), "divergences": int(sum(d.diverging.sum() for d in kept)),
        "dead_chains": int(still.sum()), "dead_particles": dead, "replaced_starts": 0,
        "converged": sufficient(worst, config.rhat, config.ess, config.tail_ess),
        "worst_rhat": worst["rhat"], "smallest_ess_bulk": worst["ess_bulk"], "smallest_ess_tail": worst["ess_tail"],
        "evaluations": gradients,
        "ess_per_gradient": worst["ess_bulk"] / gradients, "effective_groups": float(1.0 / np.sum(share**2)),
        "log_evidence_of_groups": [float(v) for v in state.log_z]}


_draws = jax.jit(lambda start, keys: jax.vmap(start.sample)(jax.random.wrap_key_data(keys)))
_start_density = jax.jit(lambda start, z: jax.vmap(start.log_prob)(z))


def _evaluated(posterior: Posterior, start: Prior | Maps, z: np.ndarray, programs: SMC, beta: float,
               log_z: np.ndarray, step_size: float) -> Particles:
    flat = z.reshape(-1, z.shape[-1])
    plain = gaussian(np.zeros(flat.shape[1]), np.eye(flat.shape[1]), 0, flat.dtype)
    # At the exponent 1 this is the posterior, by the program that evaluates the others too.
    target, _ = programs.ascent.evaluate(tempered(start, posterior, 1.0), plain, flat)
    first = np.asarray(on_host(_start_density(start, flat)), float)
    shape = z.shape[:2]
    return Particles(z, first.reshape(shape), np.asarray(target, float).reshape(shape), beta, log_z, step_size)


def resampled(key: Array, state: Particles, config: SMCConfig) -> Particles:
    """Raise the exponent and resample each group; particles without a finite density get no weight."""
    # Imported here: the import starts JAX's backend, and with it ends the choice of devices.
    from blackjax.smc.resampling import systematic

    excess = state.target - state.start
    excess = np.where(np.isfinite(excess), excess, -np.inf)
    if not np.isfinite(excess).any(1).all():
        raise FloatingPointError("SMC: a group of particles has no finite log-posterior")

    def share(step: float) -> float:
        weights = softmax(step * excess, axis=1)  # -inf stays, since the step is positive
        return float(np.mean(1.0 / np.sum(weights**2, 1)) / excess.shape[1])

    rest = 1.0 - state.beta
    if share(rest) >= config.share:
        step = rest
    elif share(FINEST) < config.share:  # most particles have no finite density
        step = FINEST
    else:
        bracket = (np.log(FINEST), np.log(rest))
        step = float(np.exp(root_scalar(lambda log_step: share(np.exp(log_step)) - config.share, bracket=bracket).root))
    weights = step * excess
    norm = logsumexp(weights, axis=1)
    keys = jax.random.split(key, len(excess))
    places = [np.asarray(systematic(k, jnp.asarray(np.exp(w - n)), excess.shape[1]))
              for k, w, n in zip(keys, weights, norm, strict=True)]
    beta = 1.0 if step == rest else float(state.beta + step)
    take = np.stack(places)
    return Particles(np.take_along_axis(state.z, take[..., None], 1), np.take_along_axis(state.start, take, 1),
                     np.take_along_axis(state.target, take, 1), beta,
                     state.log_z + norm - np.log(excess.shape[1]), state.step_size)


def _moved(key: Array, posterior: Posterior, start: Prior | Maps, state: Particles,
           programs: SMC, adapt: bool) -> tuple[Particles, Draws]:
    """A round of HMC for all particles, in coordinates whitened by their covariance."""
    flat = np.asarray(state.z, float).reshape(-1, state.z.shape[-1])
    dtype = state.z.dtype
    n = flat.shape[1]
    covariance = np.atleast_2d(np.cov(flat.T))
    covariance += SHRINK * np.diag(np.diag(covariance)) + 1e-12 * np.eye(n)
    transport = gaussian(flat.mean(0), covariance, 0, dtype)
    density = tempered(start, posterior, state.beta)
    u, _ = pulled(transport, flat.astype(dtype))
    value, gradient = programs.ascent.evaluate(density, transport, u)
    chains = HMCState(Chains(u, value, gradient), np.asarray(state.step_size, dtype),
                      np.asarray(programs.config.length, dtype), transport)
    after, _, draws = programs.moves.run(key, density, chains, adapt)
    z = np.asarray(draws.z)[:, -1].reshape(state.z.shape)
    return _evaluated(posterior, start, z, programs, state.beta, state.log_z, float(after.step_size)), draws


def _grouped(kept: Sequence[Draws], config: SMCConfig) -> Draws:
    """Draws of each group as one chain: particle after particle, each with its own moves in order."""
    joined = Draws(*(np.concatenate(parts, 1) for parts in zip(*kept, strict=True)))
    return Draws(*(np.reshape(a, (config.n_groups, -1, *np.shape(a)[2:])) for a in joined))


def _evidence(log_z: np.ndarray) -> Evidence:
    """Mean of the groups' evidences, with its standard error from their spread."""
    share = np.exp(log_z - log_z.max())
    error = float(share.std(ddof=1) / share.mean() / np.sqrt(len(share)))
    return Evidence(float(logsumexp(log_z) - np.log(len(log_z))), error)


def _share(beta: float) -> float:
    """Share of the way that is done, on the exponent's logarithmic scale from 1e-6."""
    return float(np.clip(1.0 + np.log10(max(beta, 1e-6)) / 6.0, 0.01, 0.99))
