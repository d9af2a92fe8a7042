"""From the modes of a search to one set of draws: each mode sampled, weighed, and put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from scipy.special import logsumexp

from giga.bayes.posterior import Posterior
from giga.inference.chains.hmc import Draws, physical, sufficient, worst_case
from giga.inference.modes.evidence import Evidence, laplace
from giga.inference.modes.mixture import Weighed, mixture, weigh
from giga.inference.modes.modes import Mode, as_found, note_of, sentence
from giga.inference.search.map import MapState
from giga.inference.smc.smc import sample_smc
from giga.inference.smc.tempering import Maps
from giga.inference.stages import Stages, stage_name
from giga.inference.variational.transport import Transport
from giga.inference.variational.vi import VIState
from giga.runtime.parallel import on_host
from giga.runtime.random import split_data

SMALLEST_SHARE = 0.1  # of the effective sample size, asked for from the lightest mode
PIECE = 512  # draws that are put in order in a compiled call
BRIDGE_KEY, DEAL_KEY = 1000, 1001  # keep their keys apart from those of the modes


def sample_modes(run: Stages, found: MapState, modes: Sequence[Mode]) -> tuple[VIState, Draws]:
    """Sample every mode that carries weight, weigh them, and put their draws together.

    A mode that cannot be sampled because the log-posterior about it is not a number is noted; when
    that is true of all, the first one's error is raised.

    Args:
        run: Stages of the pipeline.
        found: The search's finalists.
        modes: From `giga.inference.modes.modes.find_modes`.

    Returns:
        The variational state of the heaviest mode, and the draws of all. What is to be known is noted in
        `run.info`: "modes" and "modes_sentence" of "map", and "evidence".
    """
    floor = run.config.mode_floor
    fitted: list[VIState] = []
    parts: list[tuple[Transport, Draws]] = []
    places: list[int] = []
    failed: dict[int, str] = {}
    first_error: FloatingPointError | None = None
    for k, mode in enumerate(modes):
        if mode.weight < floor:
            continue
        try:
            state = run.vi(as_found(modes, k, found), k)
            share = min(1.0, max(SMALLEST_SHARE, 1.5 * mode.weight))
            after, draws = run.hmc(state, share, k)
        except FloatingPointError as error:
            failed[k], first_error = str(error), first_error or error
            continue
        fitted.append(state)
        parts.append((after.transport, draws))
        places.append(k)
    if first_error is not None and not parts:
        raise first_error
    transports, draws = zip(*parts, strict=True)
    key = jax.random.fold_in(run.key(4, 0), BRIDGE_KEY)

    def work() -> tuple[Weighed, dict]:
        shares, count = [modes[k].weight for k in places], run.config.n_bridge
        reason = None
        try:
            out = weigh(key, run.posterior, transports, shares, draws, run.ascent, count)
        except FloatingPointError as error:  # the draws are there all the same
            unknown, reason = [Evidence(float(np.log(share)), np.nan) for share in shares], str(error)
            out = Weighed(Evidence(np.nan, np.nan), unknown,
                          [np.full(np.shape(d.log_prob), k) for k, d in enumerate(draws)], 0)
        note = evidence_note(out.total, run.posterior, "bridge", count * len(parts), out.dead, modes,
                             run.exchanges.orders)
        if reason is not None:
            note["failed"] = f"{reason}; modes are weighed by Laplace's approximation"
        run.report("evidence", {"log_evidence": note["log_evidence"], "done": 1.0})
        return out, note

    weighed: Weighed = run.stage("evidence", work)
    together = mixture(np.random.default_rng(int(_bits(key))), draws, weighed)
    rows = note_of(modes, floor, weighed, failed)
    unlike = run.posterior.orders
    run.info["map"] |= {"modes": rows, "modes_sentence": sentence(
        rows, run.exchanges.orders, 1 if unlike is None else len(unlike.place))}
    if places != [0] or failed:
        _add_up(run, together, weighed, places)
    return fitted[0], dealt(run.key(4, DEAL_KEY), run.posterior, together)


def dealt(key: Array, posterior: Posterior, draws: Draws) -> Draws:
    """Draws of the posterior from draws of its sum over the orders of like profiles."""
    if posterior.orders is None:
        return draws
    z, change = in_orders(key, posterior, np.reshape(draws.z, (-1, draws.z.shape[-1])))
    return draws._replace(z=z.reshape(draws.z.shape), log_prob=draws.log_prob + change.reshape(draws.log_prob.shape))


def in_orders(key: Array, posterior: Posterior, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Put each vector, shape (count, n), in an order of its own; and the change of its log-density.

    In pieces of one size, so that they are compiled once whatever their number.
    """
    if posterior.orders is None:
        return z, np.zeros(len(z), z.dtype)
    keys = split_data(key, -(-len(z) // PIECE) * PIECE)
    padded = np.resize(z, (len(keys), z.shape[1]))
    parts = [on_host(_deal(keys[k:k + PIECE], posterior.orders, posterior.prior, padded[k:k + PIECE]))
             for k in range(0, len(keys), PIECE)]
    dealt, change = (np.concatenate(part)[:len(z)] for part in zip(*parts, strict=True))
    return dealt, change


_deal = jax.jit(lambda keys, orders, prior, z: jax.vmap(lambda key, one: orders.deal(key, prior, one))(
    jax.random.wrap_key_data(keys), z))


_bits = jax.jit(jax.random.bits)


def sample_particles(run: Stages, found: MapState, modes: Sequence[Mode]) -> tuple[VIState, Draws]:
    """Sample by tempered sequential Monte Carlo, from the prior or from the widened maps of the modes.

    The variational stage of the heaviest mode is there for comparison, and of all modes above the floor
    when the particles start from them; a mode whose map is not a number is left out of the start with a note.
    Each draw is counted for the mode that is nearest to it.

    Args:
        run: Stages of the pipeline.
        found: The search's finalists.
        modes: From `giga.inference.modes.modes.find_modes`.

    Returns:
        As `sample_modes`.

    Raises:
        FloatingPointError: No mode has a map.
    """
    config = run.config
    heavy = [k for k, mode in enumerate(modes) if mode.weight >= config.mode_floor]
    from_maps, copies = config.smc_start == "map", run.exchanges.orders
    fitted, failed = _mapped(run, found, modes, heavy if from_maps else heavy[:1])
    start = run.posterior.prior
    if from_maps:
        start = Maps.of([state.transport for state in fitted.values()], [modes[k].weight for k in fitted],
                        config.smc.widen)
    notes: dict[str, dict] = {}

    def work() -> tuple[Draws, dict]:
        draws, evidence, info = sample_smc(run.key(2, 0), run.posterior, start, run.smc(),
                                           lambda numbers: run.report("smc", numbers), run.journal.call)
        notes["evidence"] = evidence_note(evidence, run.posterior, "smc", 0, info["dead_particles"], modes, copies,
                                          copies if from_maps else 1)
        return draws, info | {"sampler": "smc", "start": config.smc_start}

    draws: Draws = run.stage("smc", work)
    # The sampling stage has one name, whichever way it went.
    run.timings["hmc"], run.evaluations["hmc"] = run.timings.pop("smc"), run.evaluations.pop("smc")
    run.info["hmc"] = run.info.pop("smc")
    run.timings["svi"] = sum(run.timings.pop(part) for part in _of_stage("svi", run.timings))
    run.evaluations["svi"] = sum(run.evaluations.pop(part) for part in _of_stage("svi", run.evaluations))
    first = next(iter(fitted))
    run.info["svi"] = run.info.pop(stage_name("svi", first))
    rows = note_of([modes[k] for k in heavy] if from_maps else modes, 0.0, failed=failed)
    _count(rows, modes, draws, notes["evidence"]["log_evidence"] - float(run.posterior.log_norm),
           run.exchanges.swaps)
    run.info["map"] |= {"modes": rows, "modes_sentence": sentence(rows, copies if from_maps else 1)}
    run.info["evidence"] = notes["evidence"]
    return fitted[first], draws


def _mapped(run: Stages, found: MapState, modes: Sequence[Mode],
            places: Sequence[int]) -> tuple[dict[int, VIState], dict[int, str]]:
    """The maps of some modes by place, and why others have none, which is noted; all failing is an error."""
    fitted: dict[int, VIState] = {}
    errors: dict[int, FloatingPointError] = {}
    for k in places:
        try:
            fitted[k] = run.vi(as_found(modes, k, found), k)
        except FloatingPointError as error:
            errors[k] = error
    if not fitted:
        raise errors[places[0]]
    for k, error in errors.items():
        run.report("smc", {"note": f"no particles start from mode {k + 1}, which holds {modes[k].weight:.2g} of the "
                                   f"evidence by Laplace's approximation: {error}"})
    return fitted, {k: str(error) for k, error in errors.items()}


def _count(rows: list[dict], modes: Sequence[Mode], draws: Draws, log_evidence: float,
           swaps: Sequence[np.ndarray]) -> None:
    """Weight of each mode: the share of the draws that it is nearest to, with the groups' spread as the error."""
    z = np.asarray(draws.z, float)

    def nearest_order(mode: Mode) -> np.ndarray:
        moved = z
        while True:
            orders = [moved, *(moved[..., p] for p in swaps)]
            steps = np.stack(orders) - mode.z
            distance = np.einsum("...i,ij,...j", steps, mode.precision, steps)
            best = np.argmin(distance, axis=0)
            if not best.any():
                return distance[0]
            moved = np.take_along_axis(np.stack(orders), best[None, ..., None], axis=0)[0]

    distance = [nearest_order(mode) for mode in modes[:len(rows)]]
    nearest = np.argmin(distance, axis=0)
    for k, row in enumerate(rows):
        share = (nearest == k).mean(1)
        mean, error = float(share.mean()), float(share.std(ddof=1) / np.sqrt(len(share)))
        if mean > 0.0:
            row |= {"weight": mean, "log_evidence": log_evidence + float(np.log(mean)),
                    "log_evidence_error": error / mean, "sampled": True}
            if "failed" in row:  # particles have come to it from another mode
                row["not_a_start"] = row.pop("failed")
        else:
            row["sampled"] = False


def evidence_note(evidence: Evidence, posterior: Posterior, method: str, evaluations: int, dead: int,
                  modes: Sequence[Mode] = (), copies: int = 1, missing: int | None = None) -> dict:
    """What a run says of its evidence; the likelihood's normalisation is put back.

    Like profiles can stand in so many orders ("copies"); each mode is listed in one of them. The evidence lacks
    all but one of them, unless `missing` says otherwise.
    """
    norm = float(posterior.log_norm)
    log_evidence = evidence.log + norm + float(np.log(copies if missing is None else missing))
    note = {"log_evidence": log_evidence, "copies": copies, "error": evidence.error, "method": method,
            "evaluations": evaluations, "dead_proposals": dead}
    if modes:
        laplaces = [laplace(m.log_prob, m.precision) for m in modes]
        note["log_evidence_laplace"] = norm + float(np.log(copies) + logsumexp(laplaces))
    return note


def _add_up(run: Stages, together: Draws, weighed: Weighed, places: Sequence[int]) -> None:
    """Times, gradients and counts of all modes under the names of the stages."""
    each = [run.info.pop(stage_name("hmc", k)) for k in places]
    for name in ("svi", "hmc"):
        run.timings[name] = sum(run.timings.pop(part) for part in _of_stage(name, run.timings))
        run.evaluations[name] = sum(run.evaluations.pop(part) for part in _of_stage(name, run.evaluations))
    run.info["svi"] = run.info.pop(stage_name("svi", places[0]))
    worst = worst_case(physical(run.posterior.prior, together.z))
    ess = [note["smallest_ess_bulk"] for note in each]
    config = run.config
    reached = sufficient(worst, config.target_rhat, config.target_ess, config.target_tail_ess)
    run.info["hmc"] = each[0] | {
        "iterations": int(together.z.shape[1]), "modes": len(places),
        "chains": sum(note["chains"] for note in each),
        "acceptance": float(np.mean([note["acceptance"] for note in each])),
        "divergences": sum(note["divergences"] for note in each),
        "dead_chains": sum(note["dead_chains"] for note in each),
        "replaced_starts": sum(note["replaced_starts"] for note in each),
        "evaluations": run.evaluations["hmc"],
        "converged": reached and all(note["converged"] for note in each),
        "worst_rhat": max(worst["rhat"], *(note["worst_rhat"] for note in each)),
        "smallest_ess_bulk": worst["ess_bulk"], "smallest_ess_tail": worst["ess_tail"],
        "ess_per_gradient": worst["ess_bulk"] / run.evaluations["hmc"],
        "crossed": [float(np.mean(labels != k)) for k, labels in enumerate(weighed.labels)],
        "ess_of_each_mode": ess}


def _of_stage(name: str, kept: Mapping[str, Any]) -> list[str]:
    """Names under which a stage of any mode is kept."""
    return [part for part in kept if part.partition("-")[0] == name]
