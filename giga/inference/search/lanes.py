"""Lanes that climb to a mode: starts with their amplitudes solved, and damped Gauss-Newton steps, many at once."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh

from giga.bayes.posterior import Posterior, variance
from giga.bayes.prior import Prior
from giga.component import AnyArray
from giga.imaging.linear import solve
from giga.inference.search.curvature import parameter_numbers, quadratic
from giga.lensing.near import located
from giga.runtime.calls import Alone, Call, Program
from giga.runtime.parallel import compiled, spread

STEP_CAP = 1.5  # longest step of one parameter, in prior standard deviations
DAMPINGS = (0.1, 1.0, 10.0)  # tried at each Jacobian, times the lane's own
JACOBIAN_COST = 5.5  # gradients: a Jacobian costs about four, its three trial values half a one each


class Lanes(NamedTuple):
    """Optimiser lanes, one a start.

    Attributes:
        z: Shape (lanes, n).
        log_prob: Shape (lanes,).
        damping: Shape (lanes,).
        chi2: Where each lane's last step began, shape (lanes,).
    """

    z: AnyArray
    log_prob: AnyArray
    damping: AnyArray
    chi2: AnyArray


LANES = Lanes(0, 0, 0, 0)  # the structure of lanes
Screen = Callable[[Posterior, AnyArray, AnyArray], Lanes]


class Improve(Protocol):
    """A round of damped steps, see `improver`."""

    def __call__(self, posterior: Posterior, lanes: Lanes, frozen: AnyArray,
                 shares: AnyArray | None = None) -> tuple[Lanes, AnyArray]: ...


def screener(over: Mesh, call: Call | None = None) -> Screen:
    """Evaluate starts with their amplitudes solved: `(posterior, z, shares) -> lanes`.

    The shares, one a start, are those of `softened`.
    """
    call, program = call or Alone(over), _screen(over)
    return lambda posterior, z, shares: call(program, posterior, z, np.asarray(shares, posterior.prior.shift.dtype))


@cache
def _screen(over: Mesh) -> Program:
    def one(posterior: Posterior, own: None, z: Array, share: Array) -> Lanes:
        return evaluated(softened(posterior, share), z)

    run = spread(one, over)
    return Program("screen", compiled(lambda posteriors, slots, active, z, shares:
                                      run(posteriors, slots, active, None, z, shares), over),
                   lambda z, shares: LANES)


def evaluated(posterior: Posterior, z: Array) -> Lanes:
    """A lane that starts at z with its amplitudes solved."""
    z = with_solved_amplitudes(posterior, z)
    return Lanes(z, posterior.log_prob(z), jnp.ones((), z.dtype), jnp.full((), jnp.inf, z.dtype))


def with_solved_amplitudes(posterior: Posterior, z: Array) -> Array:
    """Replace the sampled amplitudes of z by the best ones, kept within three prior deviations.

    Each amplitude that is a parameter of its own is solved as if it were linear, with the noise of
    the data, in the first observation that sees it.
    """
    prior = posterior.prior
    x, low, high = jax.vmap(prior.constrain)(jnp.stack([z, jnp.full_like(z, -3.0), jnp.full_like(z, 3.0)]))
    scene, numbers = prior.fill(x), parameter_numbers(prior)
    if any(_sampled_amplitude(mark, prior) for mark in numbers.light):
        scene = located(scene)
    done: set[int] = set()
    for data in posterior.data:
        marks = numbers.in_band(data.band)
        profiles = zip(scene.in_band(data.band).light, marks.light, strict=True)
        sampled = [_sampled_amplitude(mark, prior) and mark.amp not in done for _, mark in profiles]
        if not any(sampled):
            continue
        seen = data.seen(scene)
        flags = iter(sampled)
        opened = seen.replace(lens_light=[p.replace(amp=None) if next(flags) else p for p in seen.lens_light],
                              source_light=[p.replace(amp=None) if next(flags) else p for p in seen.source_light])
        frozen = data.replace(variance=variance(data.image, data), poisson=False)
        values = iter(solve(opened, frozen, nonnegative=True).values)
        for profile, mark, free in zip(opened.light, marks.light, sampled, strict=True):
            if profile.is_linear:
                value = next(values)
                if free:
                    done.add(mark.amp)
                    x = x.at[mark.amp].set(jnp.clip(data.physical(value), low[mark.amp], high[mark.amp]))
    # The others stay where they are: near an edge of its range a parameter does not come back to the last digit.
    moved = np.isin(np.arange(prior.size), sorted(done))
    return jnp.where(moved, prior.unconstrain(x), z)


def _sampled_amplitude(mark, prior: Prior) -> bool:
    """Whether a light profile (of parameter numbers) has an amplitude that is its own parameter."""
    return mark.scalar_amp and mark.amp is not None and mark.amp >= 0 and prior.slots.count(mark.amp) == 1


def improver(over: Mesh, steps: int, call: Call | None = None) -> Improve:
    """A round of damped steps: `(posterior, lanes, frozen, shares) -> (lanes, precision)`.

    The precision is that of each lane's last expansion. The shares, one a lane, are those of `softened`; None is zeros.
    """
    call, program = call or Alone(over), _improve(over, steps)

    def improve(posterior: Posterior, lanes: Lanes, frozen: AnyArray,
                shares: AnyArray | None = None) -> tuple[Lanes, AnyArray]:
        shares = np.zeros_like(lanes.damping) if shares is None else np.asarray(shares, lanes.damping.dtype)
        return call(program, posterior, frozen, lanes, shares)

    return improve


@cache
def _improve(over: Mesh, steps: int) -> Program:
    def one(posterior: Posterior, frozen: Array, lane: Lanes, share: Array) -> tuple[Lanes, Array]:
        seen = softened(posterior, share)
        empty = jnp.zeros((posterior.prior.size,) * 2, lane.z.dtype)

        def step(carry, _):
            return damped_step(seen, carry[0], frozen), None

        return jax.lax.scan(step, (lane, empty), None, length=steps)[0]

    return Program("improve", compiled(spread(one, over), over), lambda frozen, lanes, shares: (LANES, 0))


def damped_step(posterior: Posterior, lane: Lanes, frozen: Array) -> tuple[Lanes, Array]:
    """One Levenberg-Marquardt step: one Jacobian, several dampings, the best one taken if it gains.

    Args:
        posterior: The posterior.
        lane: One lane.
        frozen: Boolean, shape (n,): parameters that stay where they are.

    Returns:
        The lane and the Gauss-Newton precision where the step began.
    """
    value, chi2, gradient, whole = quadratic(posterior, lane.z)
    gradient = jnp.where(frozen, 0.0, gradient)
    precision = jnp.where(frozen[:, None] | frozen[None, :], jnp.eye(len(frozen), dtype=whole.dtype), whole)
    diagonal = jnp.diag(jnp.diag(precision))

    def trial(damping: Array):
        step = jax.scipy.linalg.solve(precision + damping * diagonal, gradient, assume_a="pos")
        step = step * jnp.minimum(1.0, STEP_CAP / jnp.max(jnp.abs(step)))
        return lane.z + step, posterior.log_prob(lane.z + step)

    dampings = lane.damping * jnp.asarray(DAMPINGS, value.dtype)
    z, log_prob = jax.lax.map(trial, dampings)
    score = jnp.where(jnp.isfinite(log_prob), log_prob, -jnp.inf)
    k = jnp.argmax(score)
    gained = score[k] > value
    damping = jnp.clip(jnp.where(gained, dampings[k] * 0.3, lane.damping * 30.0), 1e-7, 1e7)
    return Lanes(jnp.where(gained, z[k], lane.z), jnp.where(gained, score[k], value), damping, chi2), whole


def softened(posterior: Posterior, share: AnyArray) -> Posterior:
    """The posterior with a share of the data added to the noise, in quadrature.

    In a deep image a start misses bright pixels by hundreds of standard deviations, and they alone decide where it
    goes: the core of the deflector, before the arcs are where they belong. With errors that are shares of the
    brightness, all that is seen counts alike, and fewer starts end in a lesser mode.

    Args:
        posterior: The posterior.
        share: Of the data's positive part; zero changes nothing.
    """
    return posterior.replace(data=tuple(d.replace(variance=d.variance + (share * jnp.maximum(d.image, 0.0)) ** 2)
                                        for d in posterior.data))
