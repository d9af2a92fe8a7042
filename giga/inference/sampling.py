"""From the modes of a search to one set of draws: each mode sampled, weighed, and put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax import Array
from scipy.special import logsumexp

from giga.inference.evidence import Evidence, laplace
from giga.inference.hmc import Draws, HMCState, worst_case
from giga.inference.map import MapState
from giga.inference.modes import Mode, Weighed, as_found, mixture, note_of, sentence, weigh
from giga.inference.transport import Transport
from giga.inference.vi import Ascent, VIState
from giga.posterior import Posterior

SMALLEST_SHARE = 0.1  # of the effective sample size, asked for from the lightest mode
BRIDGE_KEY = 1000  # keeps its key apart from those of the modes


class Stages(Protocol):
    """What `sample_modes` needs of a run of the pipeline."""

    report: Callable[[str, dict], None]
    posterior: Posterior
    ascent: Ascent
    config: Any
    info: dict[str, dict]
    timings: dict[str, float]
    evaluations: dict[str, int]

    def vi(self, clock: Any, found: MapState, k: int = 0) -> VIState:
        """The variational stage of mode k."""
        ...

    def hmc(self, clock: Any, fitted: VIState, share: float = 1.0, k: int = 0) -> tuple[HMCState, Draws]:
        """The chains of mode k."""
        ...

    def stage(self, name: str, clock: Any, work: Callable[[], tuple[Any, dict]]) -> Any:
        """Do the work of a stage, timed and noted."""
        ...

    def key(self, stage: int, k: int) -> Array:
        """A random key."""
        ...


def stage_name(name: str, k: int) -> str:
    """Name of a stage of mode k: "svi" of the first, "svi-2" of the second."""
    return f"{name}-{k + 1}" if k else name


def sample_modes(run: Stages, clock: Any, found: MapState, modes: Sequence[Mode]) -> tuple[VIState, Draws]:
    """Sample every mode that carries weight, weigh them, and put their draws together.

    A mode that cannot be sampled because the log-posterior about it is not a number is noted; when
    that is true of all, the first one's error is raised.

    Args:
        run: Stages of the pipeline.
        clock: Counts compile time.
        found: The search's finalists.
        modes: From `giga.inference.modes.find_modes`.

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
            state = run.vi(clock, as_found(mode, found), k)
            share = min(1.0, max(SMALLEST_SHARE, 1.5 * mode.weight))
            after, draws = run.hmc(clock, state, share, k)
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
        out = weigh(key, run.posterior, transports, shares, draws, run.ascent, count)
        note = evidence_note(out.total, run.posterior, "bridge", count * len(parts), out.dead, modes)
        run.report("evidence", {"log_evidence": note["log_evidence"], "done": 1.0})
        return out, note

    weighed: Weighed = run.stage("evidence", clock, work)
    together = mixture(np.random.default_rng(int(jax.random.bits(key))), draws, weighed)
    rows = note_of(modes, floor, weighed, failed)
    run.info["map"] |= {"modes": rows, "modes_sentence": sentence(rows)}
    if places != [0] or failed:
        _add_up(run, together, weighed, places)
    return fitted[0], together


def evidence_note(evidence: Evidence, posterior: Posterior, method: str, evaluations: int, dead: int,
                  modes: Sequence[Mode] = ()) -> dict:
    """What a run says of its evidence; the likelihood's normalisation is put back."""
    norm = float(posterior.log_norm)
    note = {"log_evidence": evidence.log + norm, "error": evidence.error, "method": method,
            "evaluations": evaluations, "dead_proposals": dead}
    if modes:
        note["log_evidence_laplace"] = norm + float(logsumexp([laplace(m.log_prob, m.precision) for m in modes]))
    return note


def _add_up(run: Stages, together: Draws, weighed: Weighed, places: Sequence[int]) -> None:
    """Times, gradients and counts of all modes under the names of the stages."""
    each = [run.info.pop(stage_name("hmc", k)) for k in places]
    for name in ("svi", "hmc"):
        run.timings[name] = sum(run.timings.pop(part) for part in _of_stage(name, run.timings))
        run.evaluations[name] = sum(run.evaluations.pop(part) for part in _of_stage(name, run.evaluations))
    run.info["svi"] = run.info.pop(stage_name("svi", places[0]))
    worst = worst_case(together.z)
    ess = [note["smallest_ess_bulk"] for note in each]
    config = run.config
    converged = all(note["converged"] for note in each) and worst["rhat"] < config.target_rhat \
        and worst["ess_bulk"] > config.target_ess
    run.info["hmc"] = each[0] | {
        "iterations": int(together.z.shape[1]), "modes": len(places),
        "chains": sum(note["chains"] for note in each),
        "acceptance": float(np.mean([note["acceptance"] for note in each])),
        "divergences": sum(note["divergences"] for note in each),
        "dead_chains": sum(note["dead_chains"] for note in each),
        "replaced_starts": sum(note["replaced_starts"] for note in each),
        "evaluations": run.evaluations["hmc"], "converged": converged,
        "worst_rhat": max(worst["rhat"], *(note["worst_rhat"] for note in each)),
        "smallest_ess_bulk": worst["ess_bulk"], "ess_per_gradient": worst["ess_bulk"] / run.evaluations["hmc"],
        "crossed": [float(np.mean(labels != k)) for k, labels in enumerate(weighed.labels)],
        "ess_of_each_mode": ess}


def _of_stage(name: str, kept: Mapping[str, Any]) -> list[str]:
    """Names under which a stage of any mode is kept."""
    return [part for part in kept if part.partition("-")[0] == name]
