"""Maximum a posteriori: many starts, screened, then Levenberg-Marquardt; or plain multi-start Adam."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.sharding import Mesh

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior, prior_draws
from giga.component import AnyArray
from giga.inference.search.curvature import parameter_numbers, quadratic
from giga.inference.search.lanes import JACOBIAN_COST, LANES, Improve, Lanes, Screen
from giga.runtime.calls import Alone, Call, Program
from giga.runtime.parallel import compiled, spread

FEWEST = 2  # rounds for the finalists with the noise as it is
OVERTAKING = 5.0  # rounds in which a lane that climbs may overtake the best
HOPELESS = 30.0  # log-posterior below the best at which a finalist gives its place to a draw about the best
HOPS = (2.0, 4.0, 8.0, 16.0)  # widths of those draws, of the Gaussian of the curvature there, in turn
IN_VAIN = 2  # such draws for each lane, in a row, after which the search ends
ON_ITS_WAY = 0.3  # relative error of the best one's parabola within which a lane on it climbs to that mode
ROUNDS_OF_A_DRAW = 2  # about so many, until it has arrived or is given up
WIDEST = 2.0  # in any direction, in prior standard deviations
SECOND = 1 << 20  # keeps the key of the second turn's draws apart from those of the rounds


@dataclass(frozen=True)
class MapConfig:
    """Search for the mode.

    Attributes:
        n_screen: Prior draws whose amplitudes are solved and whose log-posterior is compared; in two turns where the
            light of the lens has parameters.
        n_starts: Draws kept and improved.
        n_finalists: Starts kept after the first round.
        steps: Levenberg-Marquardt steps in a round.
        rounds: Most rounds for the finalists; after `FEWEST` with the noise as it is they end when none climbs.
        softening: Shares of the data that are added to the noise of every other start, see
            `giga.inference.search.lanes.softened`: the first in the screen and the first round, each other in one of
            the finalists' first rounds.
        agree: Log-posterior difference within which two starts have found one mode.
    """

    n_screen: int = 512
    n_starts: int = 64
    n_finalists: int = 16
    steps: int = 5
    rounds: int = 40
    softening: tuple[float, ...] = (0.3, 0.1, 0.03)
    agree: float = 0.5


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
        The finalists, best first, and what a person wants to know: counts of gradient equivalents, of rounds and of
        draws about the best ("hops"), dead lanes (log-posterior not finite), and finalists that agree with the best.

    Raises:
        FloatingPointError: No start has a log-posterior that is finite.
    """
    width, free = config.n_finalists, np.zeros(posterior.prior.size, bool)
    lanes, soft, dead = _started(key, posterior, config, screen, improve, start)
    groups = -(-len(soft) // width)
    lanes, soft = _kept(lanes, soft, width)
    if not np.isfinite(np.asarray(lanes.log_prob)).any():  # from which no step leads away
        raise FloatingPointError(f"MAP: all {config.n_screen} starts have a log-posterior that is not finite")
    precision, rounds, hops, vain, top, climbing = np.zeros(()), 0, 0, 0, -np.inf, np.ones(width, bool)
    least, most = min(config.rounds, FEWEST + max(len(config.softening) - 1, 0)), IN_VAIN * (width - 1)
    report(_progress(lanes, soft, 1 / (1 + least)))
    while rounds < config.rounds and (climbing.any() or rounds < least):
        rounds += 1
        before, shares = np.asarray(lanes.log_prob, float), _shares(config, rounds, soft)
        lanes, precision = improve(posterior, lanes, free, shares)
        climbing = _climbing(before, np.asarray(lanes.log_prob, float), config.agree) | (soft & (shares == 0.0))
        lanes, order = _best(lanes, width)
        precision, climbing, soft = precision[order], climbing[order], shares[order] > 0.0
        best, sound = float(lanes.log_prob[0]), np.isfinite(lanes.log_prob[0]) and np.isfinite(precision[0]).all()
        settled = sound and least <= rounds < config.rounds and not climbing[0]
        if settled and (hops or _alone(lanes, config.agree)):
            vain, top = 0 if best > top + config.agree else vain, max(best, top)
            idle = _idle(lanes, precision[0], climbing, config.agree)
            lanes, drawn = _hopped(jax.random.fold_in(key, rounds), lanes, precision[0], idle, vain, most - vain)
            climbing, hops, vain = climbing & ~idle | drawn, hops + int(drawn.sum()), vain + int(drawn.sum())
        waiting = -(-(most - vain) // max(width - 1, 1)) if hops or _alone(lanes, config.agree) else 0
        left = ROUNDS_OF_A_DRAW * (waiting + int(climbing.any())) if climbing.any() or rounds < least else 0
        report(_progress(lanes, soft, (rounds + 1) / (1 + min(config.rounds, max(least, rounds) + left))))
    log_prob = np.asarray(lanes.log_prob, float)
    jacobians = config.steps * (groups + rounds) * width
    info = {"log_prob": float(log_prob[0]), "starts": config.n_screen,
            "dead_lanes": dead + int(np.sum(~np.isfinite(log_prob))),
            "agreeing_finalists": int(np.sum(log_prob > log_prob[0] - config.agree)), "finalists": width,
            "finalist_log_probs": [float(v) for v in log_prob], "jacobians": jacobians, "rounds": rounds, "hops": hops,
            "evaluations": config.n_screen + int(JACOBIAN_COST * jacobians)}
    return MapState(lanes.z, lanes.log_prob, precision), info


def draws_of_a_call(prior: Prior, config: MapConfig) -> int:
    """Number of draws that the screen takes at a time: all, or half of them where there are two turns (`_started`)."""
    return -(-config.n_screen // 2) if _turns(prior, config) == 2 else config.n_screen


def _turns(prior: Prior, config: MapConfig) -> int:
    return 2 if _of_lens_light(prior).any() and config.n_starts >= 2 * config.n_finalists else 1


def _of_lens_light(prior: Prior) -> np.ndarray:
    """Which parameters belong to the light of the lens."""
    return np.isin(np.arange(prior.size), jax.tree.leaves(parameter_numbers(prior).lens_light))


def _started(key: Array, posterior: Posterior, config: MapConfig, screen: Screen, improve: Improve,
             start: np.ndarray | None) -> tuple[Lanes, np.ndarray, int]:
    """The starts after their first round, in two turns where the lens shines.

    A draw of the prior has the arcs of the lens and its light wrong, and of these the light is what the screen sees. So
    the draws of the second turn have the light of the best start of the first, and are compared by their arcs.

    Returns:
        The lanes, which of them see softened noise, and how many draws have no density.
    """
    prior, width = posterior.prior, config.n_finalists
    turns, drawn, light = _turns(prior, config), draws_of_a_call(prior, config), _of_lens_light(prior)
    free, dead = np.zeros(prior.size, bool), 0
    parts: list[tuple[Lanes, np.ndarray]] = []
    first = -(-config.n_starts // (turns * width)) * width  # whole groups
    both = bool(config.softening) and width > 1
    for turn, count in enumerate([min(first, config.n_starts), config.n_starts - first][:turns]):
        soft = np.arange(drawn) % 2 < both  # every other start
        z = np.array(prior_draws(prior, jax.random.fold_in(key, SECOND) if turn else key, drawn))
        for kind in (False, True) if turn else ():
            lanes, seen = parts[0]
            z[np.ix_(soft == kind, light)] = _best_of(lanes, seen, kind)[light]
        tried = screen(posterior, z, _shares(config, 0, soft))
        dead += int(np.sum(~np.isfinite(np.asarray(tried.log_prob))))
        lanes, soft = _kept(tried, soft, count)
        if start is not None and not turn:
            extra = Lanes(start, *(np.full(len(start), v, start.dtype) for v in (-np.inf, 1.0, np.inf)))
            lanes = Lanes(*(np.concatenate([e, a])[:count] for e, a in zip(extra, lanes, strict=True)))
            soft = np.concatenate([np.zeros(len(start), bool), soft])[:count]
        parts.append((_in_groups(posterior, lanes, free, _shares(config, 0, soft), improve, width), soft))
    return (Lanes(*(np.concatenate(leaves) for leaves in zip(*(lanes for lanes, _ in parts), strict=True))),
            np.concatenate([soft for _, soft in parts]), dead)


def _best_of(lanes: Lanes, soft: np.ndarray, kind: bool) -> np.ndarray:
    """The best of the lanes that see softened noise, or of the others; of all where there is none of a kind."""
    own = np.flatnonzero(soft == kind) if (soft == kind).any() else np.arange(len(soft))
    _, order = _best(Lanes(*(np.asarray(a)[own] for a in lanes)), 1)
    return np.asarray(lanes.z)[own[order[0]]]


def _in_groups(posterior: Posterior, lanes: Lanes, free: np.ndarray, shares: np.ndarray, improve: Improve,
               width: int) -> Lanes:
    """A round for more lanes than the program takes; the last group is filled up with the last lane."""
    count = len(shares)
    places = np.minimum(np.arange(-(-count // width) * width), count - 1).reshape(-1, width)
    parts = [improve(posterior, Lanes(*(a[group] for a in lanes)), free, shares[group])[0] for group in places]
    return Lanes(*(np.concatenate(leaves)[:count] for leaves in zip(*parts, strict=True)))


def _alone(lanes: Lanes, agree: float) -> bool:
    """Whether most finalists did not arrive where the best did: it may not be the best there is."""
    log_prob = np.asarray(lanes.log_prob, float)
    return bool(np.sum(log_prob > log_prob[0] - agree) < len(log_prob) / 2)


def _arriving(lanes: Lanes, precision: AnyArray, agree: float) -> np.ndarray:
    """Which lanes lie on the parabola of the best one, and so are on their way to where it is."""
    log_prob, away = np.asarray(lanes.log_prob, float), np.asarray(lanes.z, float) - np.asarray(lanes.z[0], float)
    gap = log_prob[0] - log_prob
    fall = 0.5 * np.einsum("ki,ij,kj->k", away, np.asarray(precision, float), away)
    return np.isfinite(gap) & (np.abs(fall - gap) < agree + ON_ITS_WAY * gap)


def _idle(lanes: Lanes, precision: AnyArray, climbing: np.ndarray, agree: float) -> np.ndarray:
    """Lanes whose places are free: copies of the best, those on their way to it, hopeless ones that do not climb."""
    log_prob = np.asarray(lanes.log_prob, float)
    other = (log_prob > log_prob[0] - HOPELESS) & (log_prob <= log_prob[0] - agree)
    idle = _arriving(lanes, precision, agree) | ~climbing & ~other
    idle[0] = False
    return idle


def _hopped(key: Array, lanes: Lanes, precision: AnyArray, idle: np.ndarray, first: int,
            most: int) -> tuple[Lanes, np.ndarray]:
    """The lanes, with draws about the best in the places of idle ones; and which.

    They are draws of the Gaussian of its curvature, `HOPS` times as wide but nowhere wider than `WIDEST`, so they
    look for what is better near by and further off: two profiles that lie one on the other come apart, a source
    takes another size.

    Args:
        key: Random key.
        lanes: The lanes, best first.
        precision: Of the best.
        idle: From `_idle`.
        first: Draws made before, which tells whose width is next.
        most: Draws that may be made.
    """
    lost = idle & (np.cumsum(idle) <= most)
    values, vectors = np.linalg.eigh(np.asarray(precision, float))
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    widths = np.resize(np.roll(HOPS, -first), lost.sum())[:, None] / np.sqrt(np.maximum(values, 1.0))
    steps = np.minimum(widths, WIDEST) * rng.standard_normal(widths.shape)
    z, log_prob, damping, chi2 = (np.array(a) for a in lanes)
    z[lost] = z[0] + steps @ vectors.T
    damping[lost], log_prob[lost], chi2[lost] = 1.0, -np.inf, np.inf
    return Lanes(z, log_prob, damping, chi2), lost


def _progress(lanes: Lanes, soft: np.ndarray, done: float) -> dict:
    """What is told of a round: of the best lane that sees the noise as it is."""
    best = int(np.argmax(np.where(soft, -np.inf, lanes.log_prob)))
    return {"log_prob": float(lanes.log_prob[best]), "chi2": float(lanes.chi2[best]), "done": done}


def _shares(config: MapConfig, rounds: int, soft: np.ndarray) -> np.ndarray:
    """Share of the data in the noise of each lane after so many rounds of the finalists; none in the last round."""
    share = config.softening[rounds] if rounds < min(len(config.softening), max(config.rounds, 1)) else 0.0
    return np.where(soft, share, 0.0)


def _kept(lanes: Lanes, soft: np.ndarray, count: int) -> tuple[Lanes, np.ndarray]:
    """The best lanes, half of them of each kind as far as there are so many, and which of them are softened."""
    _, order = _best(lanes, len(soft))
    kinds = [order[~soft[order]], order[soft[order]]]
    halves = np.concatenate([kinds[0][:count - count // 2], kinds[1][:count // 2]])
    chosen = np.concatenate([halves, order[~np.isin(order, halves)]])[:count]
    places = order[np.isin(order, chosen)]
    return Lanes(*(np.asarray(a)[places] for a in lanes)), soft[places]


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


def multi_start_adam(key: Array, posterior: Posterior, over: Mesh, n_starts: int = 32, steps: int = 400,
                     learning_rate: float = 1e-2, call: Call | None = None) -> tuple[MapState, dict]:
    """Plain multi-start Adam with a polynomial schedule, as GIGA-Lens has it, for comparison.

    References:
        Gu et al. (2022), ApJ 935, 49, sec. 3.1.
    """
    out, precision = (call or Alone(over))(_adam(over, steps, learning_rate), posterior,
                                           prior_draws(posterior.prior, key, n_starts))
    lanes, order = _best(out, n_starts)
    log_prob = np.asarray(lanes.log_prob, float)
    return MapState(lanes.z, lanes.log_prob, precision[order]), {
        "log_prob": float(log_prob[0]), "starts": n_starts, "dead_lanes": int(np.sum(~np.isfinite(log_prob))),
        "finalist_log_probs": [float(v) for v in log_prob], "evaluations": n_starts * steps}


@cache
def _adam(over: Mesh, steps: int, learning_rate: float) -> Program:
    optimiser = optax.adam(optax.polynomial_schedule(learning_rate, learning_rate / 10.0, 0.5, steps))

    def one(posterior: Posterior, own: None, z: Array) -> tuple[Lanes, Array]:
        def step(carry, _):
            z, state = carry[:2]
            value, gradient = jax.value_and_grad(posterior.log_prob)(z)
            updates, state = optimiser.update(-gradient, state)
            return (z + updates, state, value), value

        (z, _, _), trace = jax.lax.scan(step, (z, optimiser.init(z), jnp.zeros((), z.dtype)), None, length=steps)
        lanes = Lanes(z, posterior.log_prob(z), jnp.ones((), z.dtype), trace[-1])
        return lanes, quadratic(posterior, z).precision

    run = spread(one, over)
    return Program("adam", compiled(lambda posteriors, slots, active, z: run(posteriors, slots, active, None, z),
                                    over), lambda z: (LANES, 0))
