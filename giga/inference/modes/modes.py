"""Modes of a posterior: which of the search's finalists are separate, how heavy each is, and what is said of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from giga.bayes.exchange import NONE, Exchanges
from giga.bayes.posterior import Posterior
from giga.component import AnyArray
from giga.inference.modes.evidence import laplace
from giga.inference.modes.mixture import Weighed
from giga.inference.search.lanes import JACOBIAN_COST, Improve, Lanes
from giga.inference.search.map import MapState
from giga.inference.variational.bounds import inverse
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import Ascent

CLOSE = 2.0  # finalists within this Mahalanobis distance are one mode without a look between them
SETTLED = 0.05  # a round that gains less in log-posterior has arrived
SETTLING_ROUNDS = 4
HOPEFUL = 10.0  # finalists this far below the floor in log-weight are not improved further
BETWEEN = 3  # points looked at between neighbouring nodes of a path


@dataclass(frozen=True)
class ModesConfig:
    """What counts as a mode.

    Attributes:
        floor: Smallest share of the evidence (Laplace's) from which a mode is sampled.
        dip: Two points are one mode when a path joins them on which the log-posterior falls by no
            more than this below the lower of them; chains cross such a pass.
        n_bridge: Proposals of each mode for its evidence.
    """

    floor: float = 1e-3
    dip: float = 2.0
    n_bridge: int = 512


class Mode(NamedTuple):
    """A mode.

    Attributes:
        z: Where it is, shape (n,).
        log_prob: Log-posterior there.
        precision: Gauss-Newton precision there, shape (n, n).
        starts: Finalists of the search that ended in it.
        weight: Its share of the evidence of all modes, by Laplace's approximation.
        distance: Mahalanobis distance from the heaviest mode.
        barrier: How far the log-posterior falls on the way to the nearest heavier mode (the best path
            found), below the lower of the two; NaN where no way was looked for.
    """

    z: AnyArray
    log_prob: float
    precision: AnyArray
    starts: int
    weight: float
    distance: float
    barrier: float


def find_modes(posterior: Posterior, found: MapState, improve: Improve, ascent: Ascent, config: ModesConfig,
               like: Exchanges = NONE) -> tuple[list[Mode], int]:
    """Group the finalists of the search into modes.

    Finalists within two standard deviations are one mode. What is left and may carry weight is
    improved until it has settled. Two of these are one mode when the log-posterior does not dip
    between them: along the straight line, or along a path that is bent to the ridge by damped steps
    with one coordinate held at each node. Modes that differ by the order of like profiles are one mode.

    Args:
        posterior: The posterior.
        found: The search's finalists.
        improve: From `giga.inference.search.lanes.improver`.
        ascent: From `giga.inference.variational.vi.ascender`, which evaluates points.
        config: What counts as a mode.
        like: From `giga.bayes.exchange.exchanges`.

    Returns:
        The modes, heaviest first, and the gradients used.
    """
    groups = _close(found, like)
    if not groups:
        raise FloatingPointError("modes: the curvature is not a number at any of the search's finalists")
    groups, evaluations = _settle(posterior, groups, improve, len(found.z), config, like)
    modes: list[Mode] = []
    hopeful = _hopeful(groups, config)
    for group, wanted in zip(groups, hopeful, strict=True):
        barriers = []
        for k, mode in enumerate(modes if wanted else []):
            dip, cost = _dip(posterior, mode, _nearest(mode, group, like), improve, ascent, len(found.z), config)
            evaluations += cost
            if dip <= config.dip:
                modes[k] = mode._replace(starts=mode.starts + group.starts)
                break
            barriers.append(dip)
        else:
            modes.append(group._replace(barrier=min(barriers, default=np.nan)))
    return _weighed(modes), evaluations


def _close(found: MapState, like: Exchanges) -> list[Mode]:
    """Finalists that are not within `CLOSE` of a better one, best first."""
    groups: list[Mode] = []
    log_prob = np.asarray(found.log_prob, float)
    for k in np.argsort(-np.where(np.isfinite(log_prob), log_prob, -np.inf), kind="stable"):
        precision = np.asarray(found.precision[k], float)
        if not (np.isfinite(log_prob[k]) and np.isfinite(precision).all()):
            continue
        mode = Mode(np.asarray(found.z[k]), float(log_prob[k]), precision, 1, 0.0, 0.0, np.nan)
        near = [i for i, other in enumerate(groups) if _distance(other, _nearest(other, mode, like)) < CLOSE]
        if near:
            groups[near[0]] = groups[near[0]]._replace(starts=groups[near[0]].starts + 1)
        else:
            groups.append(mode)
    return groups


def _distance(a: Mode, b: Mode) -> float:
    """Mahalanobis distance under the mean of the two precisions."""
    step = np.asarray(a.z, float) - np.asarray(b.z, float)
    return float(np.sqrt(max(0.0, 0.5 * step @ (a.precision + b.precision) @ step)))


def _nearest(a: Mode, b: Mode, like: Exchanges) -> Mode:
    """The order of b's like profiles in which it is nearest to a, exchanging two at a time."""
    distance = _distance(a, b)
    while True:
        nearer = min(_copies(b, like), key=lambda copy: _distance(a, copy), default=b)
        if not _distance(a, nearer) < distance:
            return b
        b, distance = nearer, _distance(a, nearer)


def _copies(mode: Mode, like: Exchanges) -> list[Mode]:
    """The mode with its like profiles in other orders."""
    copies = [mode._replace(z=mode.z[p], precision=mode.precision[np.ix_(p, p)]) for p in like.swaps]
    if (orders := like.unlike) is not None:
        for p, stretch, shift in zip(orders.place[1:], orders.stretch[1:], orders.shift[1:], strict=True):
            copies.append(mode._replace(z=stretch * mode.z[p] + shift,
                                        precision=mode.precision[np.ix_(p, p)] / np.outer(stretch, stretch)))
    return copies


def _hopeful(groups: Sequence[Mode], config: ModesConfig) -> np.ndarray:
    """Which groups may reach the floor."""
    log_weight = np.array([laplace(g.log_prob, g.precision) for g in groups])
    return log_weight > log_weight.max() + np.log(config.floor) - HOPEFUL


def _settle(posterior: Posterior, groups: list[Mode], improve: Improve, width: int,
            config: ModesConfig, like: Exchanges) -> tuple[list[Mode], int]:
    """Improve the groups that may carry weight until they gain no more, and group them again."""
    evaluations = 0
    for _ in range(SETTLING_ROUNDS if len(groups) > 1 else 0):
        hopeful = _hopeful(groups, config)
        if hopeful.sum() < 2:
            break
        chosen = [g for g, wanted in zip(groups, hopeful, strict=True) if wanted]
        dtype = chosen[0].z.dtype
        z = np.stack([g.z for g in chosen])
        lanes, precision = _round(posterior, z, np.zeros(z.shape[1], bool), improve, width)
        evaluations += int(width * JACOBIAN_COST)
        after = np.asarray(lanes.log_prob, float)[:len(chosen)]
        gain = max(a - g.log_prob for a, g in zip(after, chosen, strict=True))
        moved = [g._replace(z=np.asarray(lanes.z[k], dtype), log_prob=float(after[k]),
                            precision=np.asarray(precision[k], float)) if after[k] >= g.log_prob else g
                 for k, g in enumerate(chosen)]
        rest = [g for g, wanted in zip(groups, hopeful, strict=True) if not wanted]
        groups = _regrouped(moved + rest, like)
        if gain < SETTLED:
            break
    return groups, evaluations


def _regrouped(groups: list[Mode], like: Exchanges) -> list[Mode]:
    out: list[Mode] = []
    for group in sorted(groups, key=lambda g: -g.log_prob):
        near = [i for i, other in enumerate(out) if _distance(other, _nearest(other, group, like)) < CLOSE]
        if near:
            out[near[0]] = out[near[0]]._replace(starts=out[near[0]].starts + group.starts)
        else:
            out.append(group)
    return out


def _round(posterior: Posterior, z: np.ndarray, frozen: np.ndarray, improve: Improve,
           width: int) -> tuple[Lanes, AnyArray]:
    """A round of damped steps for up to `width` points, in as many lanes as the program has."""
    padded = np.concatenate([z, np.repeat(z[:1], width - len(z), 0)])
    lanes = Lanes(padded, *(np.full(width, value, z.dtype) for value in (-np.inf, 1e-2, 0.0)))
    return improve(posterior, lanes, frozen)


def _dip(posterior: Posterior, a: Mode, b: Mode, improve: Improve, ascent: Ascent, width: int,
         config: ModesConfig) -> tuple[float, int]:
    """How far the log-posterior falls between two points, on the best path that was tried, and the gradients used."""
    lower = min(a.log_prob, b.log_prob)
    start, step = np.asarray(a.z, float), np.asarray(b.z, float) - np.asarray(a.z, float)
    straight = start + np.linspace(0.0, 1.0, width + 2)[1:-1, None] * step
    best, evaluations = lower - _lowest(posterior, straight, ascent), width
    precision = 0.5 * (a.precision + b.precision)
    along_ridge = np.abs(step) / np.sqrt(np.diag(inverse(precision)))
    across = np.abs(step) * np.sqrt(np.diag(precision))
    for axis in dict.fromkeys([int(np.argmax(along_ridge)), int(np.argmax(across))]):
        if best <= config.dip:
            break
        frozen = np.arange(len(step)) == axis
        lanes, _ = _round(posterior, straight.astype(a.z.dtype), frozen, improve, width)
        path = np.concatenate([start[None], np.asarray(lanes.z, float), (start + step)[None]])
        shares = np.linspace(0.0, 1.0, BETWEEN + 2)[:-1, None, None]
        dense = ((1.0 - shares) * path[:-1] + shares * path[1:]).reshape(-1, len(step))
        best = min(best, lower - _lowest(posterior, dense, ascent))
        evaluations += int(width * JACOBIAN_COST) + len(dense)
    return float(best), evaluations


def _lowest(posterior: Posterior, z: np.ndarray, ascent: Ascent) -> float:
    """Lowest log-posterior of some points; -inf where one is not finite."""
    n, dtype = z.shape[1], posterior.prior.shift.dtype
    value, _ = ascent.evaluate(posterior, gaussian(np.zeros(n), np.eye(n), 0, dtype), z.astype(dtype))
    value = np.asarray(value, float)
    return float(value.min()) if np.isfinite(value).all() else -np.inf


def _weighed(modes: list[Mode]) -> list[Mode]:
    """Modes with their weights, heaviest first."""
    log_evidence = np.array([laplace(m.log_prob, m.precision) for m in modes])
    weights = np.exp(log_evidence - log_evidence.max())
    order = np.argsort(-weights, kind="stable")
    return [modes[k]._replace(weight=float(weights[k] / weights.sum()), distance=_distance(modes[order[0]], modes[k]))
            for k in order]


def note_of(modes: Sequence[Mode], floor: float, weighed: Weighed | None = None,
            failed: Mapping[int, str] | None = None) -> list[dict]:
    """What a person wants to know of each mode, fit for JSON.

    Args:
        modes: From `find_modes`.
        floor: Smallest weight from which a mode is sampled.
        weighed: Evidence of those that were sampled, in their order.
        failed: Why a mode could not be sampled, by its place.
    """
    failed, sampled = failed or {}, iter(zip(weighed.modes, weighed.weights, strict=True) if weighed else ())
    rows = []
    for k, mode in enumerate(modes):
        row = {"log_prob": mode.log_prob, "starts": mode.starts, "laplace_weight": mode.weight,
               "distance": mode.distance, "barrier": mode.barrier if np.isfinite(mode.barrier) else None,
               "sampled": mode.weight >= floor and k not in failed}
        if k in failed:
            row["failed"] = failed[k]
        if row["sampled"] and weighed is not None:
            evidence, weight = next(sampled)
            row |= {"weight": float(weight), "log_evidence": evidence.log, "log_evidence_error": evidence.error}
            if evidence.log == -np.inf:
                row |= {"sampled": False, "failed": "its chains left it"}
        rows.append(row)
    return rows


def sentence(rows: Sequence[Mapping], copies: int = 1, dealt: int = 1) -> str:
    """Say what modes there are: `2 modes: weights 0.63 +- 0.01 and 0.37 +- 0.01, both sampled.`

    Args:
        rows: From `note_of`.
        copies: Orders of profiles with equal priors.
        dealt: Orders of profiles that differ in their priors alone, in which the draws are.
    """
    taken = [row for row in rows if row["sampled"]]
    starts = sum(row["starts"] for row in rows)
    if len(taken) == 1:
        text = f"one mode, in which {taken[0]['starts']} of {starts} finalists ended"
    else:
        parts = [f"{row['weight']:.3f} +- {row['weight'] * row['log_evidence_error']:.3f} ({row['starts']} finalists)"
                 for row in taken if "weight" in row]
        text = f"{len(taken)} modes were sampled, with weights {', '.join(parts)}"
    failed = [row for row in rows if "failed" in row]
    if failed:
        text += f"; {len(failed)} could not be sampled ({'; '.join(row['failed'] for row in failed)})"
    small = [row for row in rows if not row["sampled"] and "failed" not in row]
    if small:
        share = sum(row["laplace_weight"] for row in small)
        text += (f"; {sum(row['starts'] for row in small)} finalists ended elsewhere, in {len(small)} places that hold "
                 f"{share:.1g} of the evidence by Laplace's approximation and were not sampled")
    if copies > 1:
        text += (f"; profiles with equal priors can stand in {copies} orders, which give the same image: one order was "
                 "sampled")
    if dealt > 1:
        text += (f"; profiles that differ in their priors alone can stand in {dealt} orders: the draws are in all of "
                 "them, by the priors' odds")
    return text


def as_found(modes: Sequence[Mode], k: int, found: MapState) -> MapState:
    """The finalists as the variational stage of mode k starts from them: the mode first, then those nearest to it.

    In the places of those that are nearest to another mode stands mode k itself.
    """
    dtype, mode = found.z.dtype, modes[k]
    z = np.asarray(found.z, float)
    distance = [np.einsum("ki,ij,kj->k", z - m.z, m.precision, z - m.z) for m in modes]
    own = (np.argmin(distance, axis=0) == k) & (np.arange(len(z)) > 0)
    return MapState(np.where(own[:, None], found.z, np.asarray(mode.z, dtype)),
                    np.where(own, found.log_prob, np.asarray(mode.log_prob, dtype)),
                    np.where(own[:, None, None], found.precision, np.asarray(mode.precision, dtype)))
