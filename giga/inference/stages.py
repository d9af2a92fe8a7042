"""The stages of one fit: the search, the variational map, the chains; timed, counted, and kept in a journal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from giga.bayes.exchange import exchanges
from giga.bayes.posterior import Posterior
from giga.bayes.systems import Term
from giga.imaging.observation import Observation
from giga.inference.chains.hmc import Draws, HMCState, guided, sample_hmc, sampler, warm_up
from giga.inference.modes.modes import Mode, find_modes
from giga.inference.result import Found
from giga.inference.search.lanes import improver, screener
from giga.inference.search.map import MapState, find_map, multi_start_adam
from giga.inference.search.starts import Starts, chosen, smaller
from giga.inference.settings import FitConfig
from giga.inference.smc.smc import SMC, smc_programs
from giga.inference.variational.pathfinder import fit_pathfinder
from giga.inference.variational.vi import VIState, ascender, fit_vi
from giga.lensing.scene import Scene
from giga.runtime.calls import Call, Clock, kept
from giga.runtime.checkpoint import Store
from giga.runtime.journal import Journal
from giga.runtime.random import split

Report = Callable[[str, dict], None]
"""Called as `report(stage, numbers)`: stage "map", "svi", "hmc" or "evidence", or "svi-2", "hmc-2" for the second
of several modes; no numbers when it starts; {"note": text} for what the user should know."""

STARTS_KEY = 2001  # keeps theirs apart from those of the screen


def quiet(stage: str, numbers: dict[str, Any]) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Lens:
    """What is fitted.

    Attributes:
        name: Its name, for people and files.
        prior: Scene with distributions on the leaves to be fitted.
        observations: One or several observations of it.
        seed: Seed; the samples depend on it and on nothing else that runs.
        truth: True values by path name, when known; kept in the result.
        start: A start to add to the search, by path name, every parameter given.
        starts: What a network proposes; the search is then smaller, see `giga.inference.search.starts`.
        store: Where to keep checkpoints, and to go on from.
        report: Progress callback.
        keep: Called with what the search found, before anything else is done with it.
        points: Images of point sources of it, see `giga.bayes.points`.
    """

    name: str
    prior: Scene
    observations: Sequence[Observation]
    seed: int = 0
    truth: Mapping[str, float] | None = None
    start: Mapping[str, float] | None = None
    starts: Starts | None = None
    store: Store | None = None
    report: Report = quiet
    keep: Callable[[Found], object] | None = None
    points: Sequence[Term] = ()

    def start_of(self, posterior: Posterior) -> np.ndarray | None:
        """The start as rows of unconstrained vectors, shape (1, n)."""
        if self.start is None:
            return None
        return np.asarray(posterior.prior.vector(self.start), posterior.prior.shift.dtype)[None]


def stage_name(name: str, k: int) -> str:
    """Name of a stage of mode k: "svi" of the first, "svi-2" of the second."""
    return f"{name}-{k + 1}" if k else name


class Stages:
    """One pass through the stages: times them, counts, and keeps what the compiled calls return."""

    def __init__(self, lens: Lens, posterior: Posterior, config: FitConfig, journal: Journal, over: Mesh, call: Call,
                 clock: Clock):
        self.lens, self.config, self.over, self.clock = lens, config, over, clock
        self.report, self.seed = lens.report, lens.seed
        self.journal, self.direct, self.call = journal, call, kept(call, journal)
        self.keys = split(jax.random.key(lens.seed), 5)
        named = {place for term in posterior.points for place in term.named}
        self.exchanges = exchanges(posterior.prior, named)
        if config.sampler != "hmc":  # particles find every order by themselves
            self.exchanges = self.exchanges._replace(unlike=None)
        self.posterior = posterior.replace(orders=self.exchanges.unlike)
        self.info: dict[str, dict] = {}
        self.timings: dict[str, float] = {}
        self.evaluations: dict[str, int] = {}
        # The programs that the stages share; each is compiled when first used.
        self.screen = screener(over, self.call)
        self.improve = improver(over, config.map_steps, self.call)
        self.ascent = ascender(over, config.vi_samples, config.vi_steps, self.call)
        self.sampler = sampler(over, config.hmc, self.call)

    def stage(self, name: str, work: Callable[[], tuple[Any, dict]]) -> Any:
        self.report(name, {})
        journal, clock = self.journal, self.clock
        begun, free = time.perf_counter(), clock.seconds + clock.idle
        replayed, made, earlier = journal.replayed, journal.made, journal.seconds
        state, info = work()
        journal.flush()
        # Calls that an earlier run made count with the time that they took then.
        new = time.perf_counter() - begun - (clock.seconds + clock.idle - free)
        self.timings[name] = max(new, 0.0) + journal.seconds - earlier  # JAX times its compiling by another clock
        if journal.replayed > replayed and journal.made == made:
            self.report(name, {"restored": True})
        self.evaluations[name] = info["evaluations"]
        self.info[name] = info
        return state

    def map(self) -> tuple[MapState, list[Mode]]:
        """The search: its finalists, and the modes among them."""
        start, starts = self.lens.start_of(self.posterior), self.lens.starts

        def search() -> tuple[MapState, dict]:
            if starts is not None:
                config = smaller(self.config.map)
                first, info = chosen(jax.random.fold_in(self.keys[0], STARTS_KEY), self.posterior, starts, config,
                                     self.over, self.call)
                first = first if start is None else np.concatenate([start, first])
                found, more = find_map(self.keys[0], self.posterior, config, self.screen, self.improve, first,
                                       lambda d: self.report("map", d))
                return found, more | {"evaluations": more["evaluations"] + info["proposed"], "init": info}
            if self.config.map_method == "adam":
                return multi_start_adam(self.keys[0], self.posterior, self.over, self.config.n_finalists,
                                        call=self.call)
            return find_map(self.keys[0], self.posterior, self.config.map, self.screen, self.improve, start,
                            lambda d: self.report("map", d))

        def work() -> tuple[tuple[MapState, list[Mode]], dict]:
            found, info = search()
            modes, evaluations = find_modes(self.posterior, found, self.improve, self.ascent, self.config.modes,
                                            self.exchanges)
            return (found, modes), info | {"evaluations": info["evaluations"] + evaluations}

        return self.stage("map", work)

    def vi(self, found: MapState, k: int = 0) -> VIState:
        """The variational stage of mode k."""
        name = stage_name("svi", k)
        if self.config.vi_method == "pathfinder":
            return self.stage(name, lambda: fit_pathfinder(
                self.key(1, k), self.posterior, found.z, self.over, lambda d: self.report(name, d)))
        return self.stage(name, lambda: fit_vi(
            self.key(1, k), self.posterior, found, self.config.vi, self.ascent, self.improve,
            lambda d: self.report(name, d)))

    def hmc(self, fitted: VIState, share: float = 1.0, k: int = 0) -> tuple[HMCState, Draws]:
        """The chains of mode k, which is asked for its share of the effective sample size."""
        name = stage_name("hmc", k)
        wanted = replace(self.config.hmc, ess=share * self.config.target_ess,
                         tail_ess=share * self.config.target_tail_ess)
        exact = self.sampler._replace(config=wanted)

        def work() -> tuple[tuple[HMCState, Draws], dict]:
            key = jax.random.fold_in(self.key(2, k), 1)
            sampler, found = guided(key, self.posterior, fitted.transport, exact, self.ascent) \
                if self.config.guide else (exact, {"evaluations": 0})
            warm, info = warm_up(self.key(2, k), self.posterior, fitted.transport, sampler, self.ascent,
                                 lambda d: self.report(name, d))
            state, draws, more = sample_hmc(self.key(3, k), self.posterior, warm, sampler,
                                            lambda d: self.report(name, d))
            return (state, draws), more | found | {
                "evaluations": found["evaluations"] + info["evaluations"] + more["evaluations"],
                "replaced_starts": info["replaced_starts"], "bent_along": info["bent_along"]}

        return self.stage(name, work)

    def smc(self) -> SMC:
        """The programs of sequential Monte Carlo."""
        # The journal keeps a round as a whole.
        ascent = ascender(self.over, self.config.vi_samples, 1, self.direct)
        return smc_programs(self.over, self.config.smc, ascent, self.direct)

    def key(self, stage: int, k: int) -> jax.Array:
        """Random key of a stage for mode k."""
        return jax.random.fold_in(self.keys[stage], k) if k else self.keys[stage]
