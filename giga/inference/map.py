"""Maximum a posteriori: many starts, screened, then Levenberg-Marquardt; or plain multi-start Adam."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from giga.component import AnyArray
from giga.inference.calls import Alone, Call, Program
from giga.inference.curvature import parameter_numbers, quadratic
from giga.linear import solve
from giga.parallel import compiled, spread
from giga.posterior import Posterior, variance
from giga.prior import Prior
from giga.scene import Scene

STEP_CAP = 1.5  # longest step of one parameter, in prior standard deviations
DAMPINGS = (0.1, 1.0, 10.0)  # tried at each Jacobian, times the lane's own
FEWEST = 2  # rounds for the finalists with the noise as it is
OVERTAKING = 5.0  # rounds in which a lane that climbs may overtake the best
HOPELESS = 30.0  # log-posterior below the best at which a finalist gives its place to a draw about the best
HOPS = (2.0, 4.0, 8.0, 16.0)  # widths of those draws, of the Gaussian of the curvature there, in turn
WIDEST = 2.0  # in any direction, in prior standard deviations
JACOBIAN_COST = 5.5  # gradients: a Jacobian costs about four, its three trial values half a one each


@dataclass(frozen=True)
class MapConfig:
    """Search for the mode.

    Attributes:
        n_screen: Prior draws whose amplitudes are solved and whose log-posterior is compared.
        n_starts: Draws kept and improved.
        n_finalists: Starts kept after the first round.
        steps: Levenberg-Marquardt steps in a round.
        rounds: Most rounds for the finalists; after `FEWEST` with the noise as it is they end when none climbs.
        softening: Shares of the data that are added to the noise, see `softened`: the first in the screen and the
            first round, each other in one of the finalists' first rounds.
        agree: Log-posterior difference within which two starts have found one mode.
    """

    n_screen: int = 512
    n_starts: int = 64
    n_finalists: int = 16
    steps: int = 5
    rounds: int = 40
    softening: tuple[float, ...] = (0.3, 0.1, 0.03)
    agree: float = 0.5


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


class MapState(NamedTuple):
    """What the next stage needs of the search.

    Attributes:
        z: The finalists, best first, shape (finalists, n).
        log_prob: Their log-posterior.
        precision: Gauss-Newton precision at each, shape (finalists, n, n).
    """

    z: AnyArray
    log_prob: AnyArray
    precision: AnyArray


Screen = Callable[[Posterior, AnyArray, float], Lanes]


class Improve(Protocol):
    """A round of damped steps, see `improver`."""

    def __call__(self, posterior: Posterior, lanes: Lanes, frozen: AnyArray,
                 share: float = 0.0) -> tuple[Lanes, AnyArray]: ...


def find_map(key: Array, posterior: Posterior, config: MapConfig, screen: Screen, improve: Improve,
             start: np.ndarray | None = None,
             report: Callable[[dict], None] = lambda info: None) -> tuple[MapState, dict]:
    """Find the mode of the posterior.

    Args:
        key: Random key.
        posterior: The posterior.
        config: Sizes of the search.
        screen: From `screener`.
        improve: From `improver`.
        start: Starts to add to the screened ones, shape (k, n).
        report: Called between compiled rounds with "log_prob" and "chi2" of the best lane.

    Returns:
        The finalists, best first, and what a person wants to know: counts of gradient equivalents,
        dead lanes (log-posterior not finite), starts that agree with the best, distinct modes.
    """
    shares = iter(config.softening)
    share = next(shares, 0.0)
    screened = screen(posterior, _keys(key, config.n_screen), share)
    dead = int(np.sum(~np.isfinite(np.asarray(screened.log_prob))))
    lanes, _ = _best(screened, config.n_starts)
    if start is not None:
        extra = Lanes(start, *(np.full(len(start), v, start.dtype) for v in (-np.inf, 1.0, np.inf)))
        lanes = Lanes(*(np.concatenate([e, a])[:config.n_starts] for e, a in zip(extra, lanes, strict=True)))
    free = np.zeros(posterior.prior.size, bool)
    width = config.n_finalists
    groups = [Lanes(*(a[i:i + width] for a in lanes)) for i in range(0, len(lanes.z), width)]
    first = [improve(posterior, _pad(group, width), free, share)[0] for group in groups]
    lanes, _ = _best(Lanes(*(np.concatenate(parts) for parts in zip(*first, strict=True))), width)
    precision, rounds, hops, top, climbing = np.zeros(()), 0, 0, -np.inf, np.ones(width, bool)
    least = min(config.rounds, FEWEST + max(len(config.softening) - 1, 0))
    report(_progress(lanes, share, 1 / (1 + least)))
    while rounds < config.rounds and (climbing.any() or rounds < least):
        last, before = share, np.asarray(lanes.log_prob, float)
        share = next(shares, 0.0) if rounds + 1 < config.rounds else 0.0
        lanes, precision = improve(posterior, lanes, free, share)
        climbing = _climbing(before, np.asarray(lanes.log_prob, float), config.agree) | (share != last)
        rounds += 1
        lanes, order = _best(lanes, width)
        precision, climbing = precision[order], climbing[order]
        best = float(lanes.log_prob[0])
        if rounds >= least and not climbing[0] and best > top + config.agree and _alone(lanes, config.agree):
            lanes, drawn = _hopped(jax.random.fold_in(key, rounds), lanes, precision, climbing)
            climbing, hops, top = climbing | drawn, hops + 1, best
        report(_progress(lanes, share, (rounds + 1) / (1 + min(config.rounds, max(least, rounds + climbing.any())))))
    log_prob = np.asarray(lanes.log_prob, float)
    jacobians = config.steps * (len(groups) + rounds) * width
    info = {"log_prob": float(log_prob[0]), "starts": config.n_screen,
            "dead_lanes": dead + int(np.sum(~np.isfinite(log_prob))),
            "agreeing_finalists": int(np.sum(log_prob > log_prob[0] - config.agree)), "finalists": width,
            "finalist_log_probs": [float(v) for v in log_prob], "jacobians": jacobians, "rounds": rounds, "hops": hops,
            "evaluations": config.n_screen + int(JACOBIAN_COST * jacobians)}
    if not np.isfinite(log_prob[0]):
        raise FloatingPointError(f"MAP: all {config.n_screen} starts have a log-posterior that is not finite")
    return MapState(lanes.z, lanes.log_prob, precision), info


def _alone(lanes: Lanes, agree: float) -> bool:
    """Whether most finalists did not arrive where the best did: it may not be the best there is."""
    log_prob = np.asarray(lanes.log_prob, float)
    return bool(np.sum(log_prob > log_prob[0] - agree) < len(log_prob) / 2)


def _hopped(key: Array, lanes: Lanes, precision: AnyArray, climbing: np.ndarray) -> tuple[Lanes, np.ndarray]:
    """The lanes, with draws about the best in the places of those that are `HOPELESS` and do not climb; and which.

    They are draws of the Gaussian of its curvature, `HOPS` times as wide but nowhere wider than `WIDEST`, so they
    look for what is better near by and further off: two profiles that lie one on the other come apart, a source
    takes another size.
    """
    log_prob = np.asarray(lanes.log_prob, float)
    lost = ~climbing & ~(log_prob > log_prob[0] - HOPELESS)
    values, vectors = np.linalg.eigh(np.asarray(precision[0], float))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    widths = np.resize(HOPS, lost.sum())[:, None] / np.sqrt(np.maximum(values, 1.0))
    steps = np.minimum(widths, WIDEST) * rng.standard_normal(widths.shape)
    z, damping, chi2 = np.array(lanes.z), np.array(lanes.damping), np.array(lanes.chi2)
    z[lost] = z[0] + steps @ vectors.T
    damping[lost], log_prob[lost], chi2[lost] = 1.0, -np.inf, np.inf
    return Lanes(z, log_prob.astype(z.dtype), damping, chi2), lost


def _progress(lanes: Lanes, share: float, done: float) -> dict:
    """What is told of a round; the log-posterior only where it is that of the fit."""
    softened = {"softening": share} if share else {"log_prob": float(lanes.log_prob[0])}
    return {"chi2": float(lanes.chi2[0]), **softened, "done": done}


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


def _climbing(before: np.ndarray, after: np.ndarray, agree: float) -> np.ndarray:
    """Which lanes still gain, and enough to reach the best one in a few rounds."""
    gain = after - before
    gap = np.max(after, where=np.isfinite(after), initial=-np.inf) - after
    with np.errstate(invalid="ignore"):
        return (gain > agree) & (gap < OVERTAKING * gain)


def _best(lanes: Lanes, count: int) -> tuple[Lanes, np.ndarray]:
    """The best lanes, best first, and their places; those that are not finite go last."""
    log_prob = np.asarray(lanes.log_prob)
    order = np.argsort(np.where(np.isfinite(log_prob), -log_prob, np.inf), kind="stable")[:count]
    return Lanes(*(a[order] for a in lanes)), order


def _pad(lanes: Lanes, count: int) -> Lanes:
    missing = count - len(lanes.z)
    return Lanes(*(np.concatenate([a, np.repeat(a[:1], missing, 0)]) for a in lanes)) if missing else lanes


def _keys(key: Array, count: int) -> np.ndarray:
    """Keys as numbers, one a lane."""
    return np.asarray(jax.random.key_data(jax.random.split(key, count)))


def screener(over: Mesh, call: Call | None = None) -> Screen:
    """Evaluate prior draws with their amplitudes solved: `(posterior, keys, share) -> lanes`, keys as numbers.

    The share is that of `softened`.
    """
    call, program = call or Alone(over), _screen(over)
    return lambda posterior, keys, share=0.0: call(program, posterior, _share(posterior, share), keys)


@cache
def _screen(over: Mesh) -> Program:
    def one(posterior: Posterior, share: Array, key: Array) -> Lanes:
        return evaluated(softened(posterior, share), posterior.prior.sample(jax.random.wrap_key_data(key)))

    return Program("screen", compiled(spread(one, over), over), lambda share, keys: LANES)


def _share(posterior: Posterior, share: float) -> np.ndarray:
    return np.asarray(share, posterior.prior.shift.dtype)


def evaluated(posterior: Posterior, z: Array) -> Lanes:
    """A lane that starts at z with its amplitudes solved."""
    z = with_solved_amplitudes(posterior, z)
    return Lanes(z, posterior.log_prob(z), jnp.ones((), z.dtype), jnp.full((), jnp.inf, z.dtype))


def _of_keys(one: Callable, over: Mesh) -> Callable:
    """Compile a function of a posterior and a lane's key."""
    run = spread(one, over)
    return compiled(lambda posteriors, slots, active, keys: run(posteriors, slots, active, None, keys), over)


def with_solved_amplitudes(posterior: Posterior, z: Array) -> Array:
    """Replace the sampled amplitudes of z by the best ones, kept within three prior deviations.

    Each amplitude that is a parameter of its own is solved as if it were linear, with the noise of
    the data, in the first observation that sees it.
    """
    prior = posterior.prior
    x = prior.constrain(z)
    scene, numbers = prior.fill(x), parameter_numbers(prior)
    low, high = prior.constrain(jnp.full_like(z, -3.0)), prior.constrain(jnp.full_like(z, 3.0))
    done: set[int] = set()
    for data in posterior.data:
        marks = numbers.in_band(data.band)
        profiles = zip(scene.in_band(data.band).light, marks.light, strict=True)
        sampled = [_sampled_amplitude(mark, prior) and mark.amp not in done for _, mark in profiles]
        if not any(sampled):
            continue
        seen = scene.in_band(data.band)
        flags = iter(sampled)
        opened = Scene(mass=seen.mass,
                       lens_light=[p.replace(amp=None) if next(flags) else p for p in seen.lens_light],
                       source_light=[p.replace(amp=None) if next(flags) else p for p in seen.source_light])
        frozen = data.replace(variance=variance(data.image, data), poisson=False)
        values = iter(solve(opened, frozen, nonnegative=True).values)
        for profile, mark, free in zip(opened.light, marks.light, sampled, strict=True):
            if profile.is_linear:
                value = next(values)
                if free:
                    done.add(mark.amp)
                    x = x.at[mark.amp].set(jnp.clip(value, low[mark.amp], high[mark.amp]))
    return prior.unconstrain(x)


def _sampled_amplitude(mark, prior: Prior) -> bool:
    """Whether a light profile (of parameter numbers) has an amplitude that is its own parameter."""
    return mark.scalar_amp and mark.amp is not None and mark.amp >= 0 and prior.slots.count(mark.amp) == 1


def improver(over: Mesh, steps: int, call: Call | None = None) -> Improve:
    """A round of damped steps: `(posterior, lanes, frozen, share) -> (lanes, precision)`.

    The precision is that of each lane's last expansion, the share that of `softened`.
    """
    call, program = call or Alone(over), _improve(over, steps)

    def improve(posterior: Posterior, lanes: Lanes, frozen: AnyArray, share: float = 0.0) -> tuple[Lanes, AnyArray]:
        return call(program, posterior, (frozen, _share(posterior, share)), lanes)

    return improve


@cache
def _improve(over: Mesh, steps: int) -> Program:
    def one(posterior: Posterior, own: tuple[Array, Array], lane: Lanes) -> tuple[Lanes, Array]:
        frozen, share = own
        seen = softened(posterior, share)
        empty = jnp.zeros((posterior.prior.size,) * 2, lane.z.dtype)

        def step(carry, _):
            return damped_step(seen, carry[0], frozen), None

        return jax.lax.scan(step, (lane, empty), None, length=steps)[0]

    return Program("improve", compiled(spread(one, over), over), lambda own, lanes: (LANES, 0))


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


def multi_start_adam(key: Array, posterior: Posterior, over: Mesh, n_starts: int = 32, steps: int = 400,
                     learning_rate: float = 1e-2, call: Call | None = None) -> tuple[MapState, dict]:
    """Plain multi-start Adam with a polynomial schedule, as GIGA-Lens has it, for comparison.

    References:
        Gu et al. (2022), ApJ 935, 49, sec. 3.1.
    """
    out, precision = (call or Alone(over))(_adam(over, steps, learning_rate), posterior, _keys(key, n_starts))
    lanes, order = _best(out, n_starts)
    log_prob = np.asarray(lanes.log_prob, float)
    return MapState(lanes.z, lanes.log_prob, precision[order]), {
        "log_prob": float(log_prob[0]), "starts": n_starts, "dead_lanes": int(np.sum(~np.isfinite(log_prob))),
        "finalist_log_probs": [float(v) for v in log_prob], "evaluations": n_starts * steps}


@cache
def _adam(over: Mesh, steps: int, learning_rate: float) -> Program:
    optimiser = optax.adam(optax.polynomial_schedule(learning_rate, learning_rate / 10.0, 0.5, steps))

    def one(posterior: Posterior, own: None, key: Array) -> tuple[Lanes, Array]:
        def step(carry, _):
            z, state = carry[:2]
            value, gradient = jax.value_and_grad(posterior.log_prob)(z)
            updates, state = optimiser.update(-gradient, state)
            return (z + updates, state, value), value

        z = posterior.prior.sample(jax.random.wrap_key_data(key))
        (z, _, _), trace = jax.lax.scan(step, (z, optimiser.init(z), jnp.zeros((), z.dtype)), None, length=steps)
        lanes = Lanes(z, posterior.log_prob(z), jnp.ones((), z.dtype), trace[-1])
        return lanes, quadratic(posterior, z).precision

    return Program("adam", _of_keys(one, over), lambda keys: (LANES, 0))
