"""The pipeline that strings the stages together: MAP, variational inference, HMC."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from giga import parallel
from giga.checkpoint import Store
from giga.exchange import exchanges
from giga.inference.calls import Alone, Call, Clock, kept
from giga.inference.comparison import checks, predictive
from giga.inference.diagnostics import ess_tail, rhat_and_ess_bulk, rhat_gelman_rubin
from giga.inference.hmc import Draws, HMCConfig, HMCState, sample_hmc, sampler, warm_up
from giga.inference.map import MapConfig, MapState, find_map, improver, multi_start_adam, screener
from giga.inference.modes import Mode, ModesConfig, find_modes
from giga.inference.pathfinder import fit_pathfinder
from giga.inference.result import Result
from giga.inference.sampling import sample_modes, sample_particles, stage_name
from giga.inference.smc import SMC, SMCConfig, smc_programs
from giga.inference.transport import Transport
from giga.inference.vi import VIConfig, VIState, ascender, fit_vi
from giga.journal import Journal
from giga.observation import Observation
from giga.posterior import AmplitudeMethod, Posterior, variance
from giga.prior import Prior
from giga.render import render_data
from giga.scene import Scene

Report = Callable[[str, dict], None]
"""Called as `report(stage, numbers)`: stage "map", "svi", "hmc" or "evidence", or "svi-2", "hmc-2" for the second
of several modes; no numbers when it starts; {"note": text} for what the user should know."""

PREDICTIVE_KEY = 2000  # keeps its key apart from those of the modes
N_VI = 4000  # draws kept of the variational posterior and of the prior
PACKAGES = ("giga", "jax", "jaxlib", "numpy", "numpyro", "blackjax", "arviz", "astropy")


@dataclass(frozen=True)
class FitConfig:
    """How a fit searches and samples. The defaults suit a galaxy-scale lens on any machine.

    Attributes:
        map_method: "lm" (screened multi-start Levenberg-Marquardt) or "adam" (GIGA-Lens's, to compare).
        n_screen: Prior draws that are screened.
        n_starts: Draws kept and improved.
        n_finalists: Starts kept after the first round.
        map_steps: Steps in a round.
        map_rounds: Most rounds for the finalists, which go on while one still climbs.
        vi_method: "natural" (natural gradients from the curvature at the mode) or "pathfinder" (multi-path).
        vi_steps: Natural-gradient steps of the variational stage.
        vi_samples: Samples in each.
        vi_axis: Parameter along which the Gaussian is conditional: "auto", "none", or its name.
        n_chains: HMC chains.
        n_block: Iterations in a compiled block, between looks at the diagnostics.
        n_pilot: Blocks in each of the two pilot rounds that whiten; a third, of one block, sets the step.
        min_iterations: Fewest iterations kept, a chain.
        max_iterations: Most iterations kept, a chain.
        target_ess: Bulk effective sample size wanted of every parameter.
        target_rhat: Largest R-hat wanted.
        target_accept: Acceptance that the step size aims at.
        mode_floor: Smallest share of the evidence from which a separate mode is sampled.
        n_bridge: Proposals of each mode for the evidence.
        n_predictive: Draws whose replicated data are compared with the data; 0 leaves this out.
        sampler: "hmc" (chains from every mode) or "smc" (tempered sequential Monte Carlo, which finds modes by itself
            and costs far more evaluations).
        smc_start: Where its particles start: "prior", or "map", the widened maps of the modes that the search found.
        smc_groups: Independent groups of particles, whose spread is the error of evidence and weights.
        smc_particles: Particles in a group.
        smc_moves: HMC trajectories between two steps of the temperature.
    """

    map_method: str = "lm"
    n_screen: int = 512
    n_starts: int = 64
    n_finalists: int = 16
    map_steps: int = 5
    map_rounds: int = 40
    vi_method: str = "natural"
    vi_steps: int = 12
    vi_samples: int = 64
    vi_axis: str = "auto"
    n_chains: int = 8
    n_block: int = 50
    n_pilot: int = 2
    min_iterations: int = 100
    max_iterations: int = 3000
    target_ess: float = 1000.0
    target_rhat: float = 1.01
    target_accept: float = 0.9
    mode_floor: float = 1e-3
    n_bridge: int = 512
    n_predictive: int = 200
    sampler: str = "hmc"
    smc_start: str = "prior"
    smc_groups: int = 8
    smc_particles: int = 128
    smc_moves: int = 5

    def __post_init__(self) -> None:
        if self.map_method not in ("lm", "adam"):
            raise ValueError(f"inference.map_method: expected lm or adam, got {self.map_method!r}")
        if self.vi_method not in ("natural", "pathfinder"):
            raise ValueError(f"inference.vi_method: expected natural or pathfinder, got {self.vi_method!r}")
        if self.sampler not in ("hmc", "smc"):
            raise ValueError(f"inference.sampler: expected hmc or smc, got {self.sampler!r}")
        if self.smc_start not in ("prior", "map"):
            raise ValueError(f"inference.smc_start: expected prior or map, got {self.smc_start!r}")
        if self.smc_groups < 4 or self.smc_particles < 8:
            raise ValueError("inference.smc_groups, smc_particles: expected at least 4 groups of at least 8 particles "
                             f"(their spread is the error), got {self.smc_groups} of {self.smc_particles}")
        for name in ("n_screen", "n_starts", "n_finalists", "map_steps", "map_rounds", "vi_steps", "n_chains",
                     "n_pilot", "n_block", "max_iterations", "n_bridge", "smc_moves"):
            if getattr(self, name) < 1:
                raise ValueError(f"inference.{name}: expected a positive integer, got {getattr(self, name)}")
        if self.n_chains < 4:
            raise ValueError(f"inference.n_chains: expected at least 4 (R-hat compares chains), got {self.n_chains}")
        if self.vi_samples < 2 or self.vi_samples % 2:
            raise ValueError(f"inference.vi_samples: expected an even number (antithetic pairs), got {self.vi_samples}")
        if not self.n_finalists <= self.n_starts <= self.n_screen:
            raise ValueError(f"inference: expected n_finalists <= n_starts <= n_screen, got {self.n_finalists}, "
                             f"{self.n_starts}, {self.n_screen}")
        if not 0 <= self.min_iterations <= self.max_iterations:
            raise ValueError(f"inference.min_iterations: expected 0 to max_iterations = {self.max_iterations}, "
                             f"got {self.min_iterations}")
        if not 0.0 < self.target_accept < 1.0:
            raise ValueError(f"inference.target_accept: expected a number between 0 and 1, got {self.target_accept}")
        if self.n_predictive < 0:
            raise ValueError(f"inference.n_predictive: expected 0 or more, got {self.n_predictive}")
        if not 0.0 < self.mode_floor < 1.0:
            raise ValueError(f"inference.mode_floor: expected a number between 0 and 1, got {self.mode_floor}")
        if not self.target_rhat > 1.0:
            raise ValueError(f"inference.target_rhat: expected a number above 1, got {self.target_rhat}")

    @property
    def map(self) -> MapConfig:
        """Settings of the MAP stage."""
        return MapConfig(n_screen=self.n_screen, n_starts=self.n_starts, n_finalists=self.n_finalists,
                         steps=self.map_steps, rounds=self.map_rounds)

    @property
    def vi(self) -> VIConfig:
        """Settings of the variational stage."""
        return VIConfig(steps=self.vi_steps, n_samples=self.vi_samples, axis=self.vi_axis)

    @property
    def modes(self) -> ModesConfig:
        """What counts as a mode."""
        return ModesConfig(floor=self.mode_floor, n_bridge=self.n_bridge)

    @property
    def smc(self) -> SMCConfig:
        """Settings of sequential Monte Carlo."""
        return SMCConfig(n_groups=self.smc_groups, n_particles=self.smc_particles, n_moves=self.smc_moves,
                         ess=self.target_ess, rhat=self.target_rhat)

    @property
    def hmc(self) -> HMCConfig:
        """Settings of the HMC stage."""
        return HMCConfig(n_chains=self.n_chains, n_pilot=self.n_pilot, n_block=self.n_block, n_min=self.min_iterations,
                         n_max=self.max_iterations, ess=self.target_ess, rhat=self.target_rhat,
                         target_accept=self.target_accept)


def fit(prior: Scene, observations: Sequence[Observation], *, config: FitConfig | None = None, seed: int = 0,
        amplitudes: AmplitudeMethod = "profile", amplitude_sd: float | None = None,
        truth: Mapping[str, float] | None = None, precision: str = "float32", start: Mapping[str, float] | None = None,
        report: Report = lambda stage, numbers: None, store: Store | None = None, over: Mesh | None = None) -> Result:
    """Fit a scene of distributions to observations.

    Args:
        prior: Scene with distributions on the leaves to be fitted.
        observations: One or several observations of it.
        config: Sizes and targets of the stages.
        seed: Seed; the same seed gives the same samples on any number of devices, to rounding.
        amplitudes: How linear amplitudes are treated, see `giga.posterior.Posterior`.
        amplitude_sd: Standard deviation of their Gaussian prior; None is flat.
        truth: True values by path name, when known; kept in the result.
        precision: "float32" or "float64" (which needs `jax_enable_x64`).
        start: A start to add to the search, by path name, every parameter given.
        report: Progress callback.
        store: Where to keep checkpoints, and to go on from.
        over: Device mesh; all devices by default.

    Returns:
        The result, on the host.

    Raises:
        ValueError: The prior has no distribution, no observation, or a setting that does not fit them.
        FloatingPointError: The search or the variational posterior ended where the log-posterior is
            not a number.
    """
    over = over or parallel.mesh()
    posterior = Posterior.of(prior, observations, amplitudes, amplitude_sd, dtype_of(precision))
    with Clock() as clock:
        return fit_posterior(posterior, prior, observations, config or FitConfig(), seed, truth, start, report, store,
                             over, Alone(over), clock)


def fit_posterior(posterior: Posterior, prior: Scene, observations: Sequence[Observation], config: FitConfig,
                  seed: int, truth: Mapping[str, float] | None, start: Mapping[str, float] | None, report: Report,
                  store: Store | None, over: Mesh, call: Call, clock: Clock) -> Result:
    """The stages, one after the other, of a fit whose posterior is made; `call` runs the programs, see `fit`."""
    names = posterior.prior.names
    if config.vi_axis not in ("auto", "none", *names):
        raise ValueError(f"inference.vi_axis: expected auto, none or one of {', '.join(names)}, got {config.vi_axis!r}")
    journal = Journal(store, lambda text: report("map", {"note": text}), lambda: clock.seconds, lambda: clock.idle)
    with journal:
        run = _Run(posterior, config, seed, report, journal, over, call)
        first = None if start is None else np.asarray(posterior.prior.vector(start), posterior.prior.shift.dtype)[None]
        found, modes = run.map(clock, first)
        sample = sample_modes if config.sampler == "hmc" else sample_particles
        fitted, draws = sample(run, clock, found, modes)
        return _result(run, found, fitted, draws, prior, observations, truth, clock)


class _Run:
    """One pass through the stages: times them, counts, and keeps what the compiled calls return."""

    def __init__(self, posterior: Posterior, config: FitConfig, seed: int, report: Report, journal: Journal,
                 over: Mesh, call: Call):
        self.posterior, self.config, self.seed, self.report, self.over = posterior, config, seed, report, over
        self.journal, self.direct, self.call = journal, call, kept(call, journal)
        self.keys = jax.random.split(jax.random.key(seed), 5)
        self.exchanges = exchanges(posterior.prior)
        self.info: dict[str, dict] = {}
        self.timings: dict[str, float] = {}
        self.evaluations: dict[str, int] = {}
        # The programs that the stages share; each is compiled when first used.
        self.screen = screener(over, self.call)
        self.improve = improver(over, config.map_steps, self.call)
        self.ascent = ascender(over, config.vi_samples, config.vi_steps, self.call)
        self.sampler = sampler(over, config.hmc, self.call)

    def stage(self, name: str, clock: Clock, work: Callable[[], tuple[Any, dict]]) -> Any:
        self.report(name, {})
        journal, begun, free = self.journal, time.perf_counter(), clock.seconds + clock.idle
        replayed, made, earlier = journal.replayed, journal.made, journal.seconds
        state, info = work()
        journal.flush()
        # Calls that an earlier run made count with the time that they took then.
        new = time.perf_counter() - begun - (clock.seconds + clock.idle - free)
        self.timings[name] = new + journal.seconds - earlier
        if journal.replayed > replayed and journal.made == made:
            self.report(name, {"restored": True})
        self.evaluations[name] = info["evaluations"]
        self.info[name] = info
        return state

    def map(self, clock: Clock, start: np.ndarray | None) -> tuple[MapState, list[Mode]]:
        def search() -> tuple[MapState, dict]:
            if self.config.map_method == "adam":
                return multi_start_adam(self.keys[0], self.posterior, self.over, self.config.n_finalists,
                                        call=self.call)
            return find_map(self.keys[0], self.posterior, self.config.map, self.screen, self.improve, start,
                            lambda d: self.report("map", d))

        def work() -> tuple[tuple[MapState, list[Mode]], dict]:
            found, info = search()
            modes, evaluations = find_modes(self.posterior, found, self.improve, self.ascent, self.config.modes,
                                            self.exchanges.swaps)
            return (found, modes), info | {"evaluations": info["evaluations"] + evaluations}

        return self.stage("map", clock, work)

    def vi(self, clock: Clock, found: MapState, k: int = 0) -> VIState:
        """The variational stage of mode k."""
        name = stage_name("svi", k)
        if self.config.vi_method == "pathfinder":
            return self.stage(name, clock, lambda: fit_pathfinder(
                self.key(1, k), self.posterior, found.z, self.over, lambda d: self.report(name, d)))
        return self.stage(name, clock, lambda: fit_vi(
            self.key(1, k), self.posterior, found, self.config.vi, self.ascent, self.improve,
            lambda d: self.report(name, d)))

    def hmc(self, clock: Clock, fitted: VIState, share: float = 1.0, k: int = 0) -> tuple[HMCState, Draws]:
        """The chains of mode k, which is asked for its share of the effective sample size."""
        name = stage_name("hmc", k)
        sampler = self.sampler._replace(config=replace(self.config.hmc, ess=share * self.config.target_ess))

        def work() -> tuple[tuple[HMCState, Draws], dict]:
            warm, info = warm_up(self.key(2, k), self.posterior, fitted.transport, sampler, self.ascent,
                                 lambda d: self.report(name, d))
            state, draws, more = sample_hmc(self.key(3, k), self.posterior, warm, sampler,
                                            lambda d: self.report(name, d))
            return (state, draws), more | {"evaluations": more["evaluations"] + info["evaluations"],
                                           "replaced_starts": info["replaced_starts"]}

        return self.stage(name, clock, work)

    def smc(self) -> SMC:
        """The programs of sequential Monte Carlo."""
        # The journal keeps a round as a whole.
        ascent = ascender(self.over, self.config.vi_samples, 1, self.direct)
        return smc_programs(self.over, self.config.smc, ascent, self.direct)

    def key(self, stage: int, k: int) -> jax.Array:
        """Random key of a stage for mode k."""
        return jax.random.fold_in(self.keys[stage], k) if k else self.keys[stage]


def _result(run: _Run, found: MapState, fitted: VIState, draws: Draws, prior: Scene,
            observations: Sequence[Observation], truth: Mapping[str, float] | None, clock: Clock) -> Result:
    posterior, names = run.posterior, run.posterior.prior.names
    dtype = posterior.log_norm.dtype
    flat = draws.z.reshape(-1, len(names))
    x, log_prior = _in_pieces(_physical, posterior.prior, flat, run.config.n_chains * run.config.n_block)
    x = x.reshape(draws.z.shape)
    k = int(np.argmax(draws.log_prob))
    best = flat[k] if draws.log_prob.flat[k] > found.log_prob[0] else np.asarray(found.z[0])
    key_vi, key_prior = jax.random.split(run.keys[4])
    vi_z = _variational_draws(fitted.transport, key_vi)
    prior_z = _prior_draws(posterior.prior, key_prior)
    scenes = jax.tree.map(np.asarray, _scenes(posterior, best))
    models, sigmas, chi2, pixels = [], [], 0.0, 0
    for observation, data, scene in zip(observations, posterior.data, scenes, strict=True):
        whole = observation.data(dtype, poisson=data.poisson, trim=False)
        model = _render(scene, whole)
        sigma = np.sqrt(np.asarray(variance(model, whole), float))
        models.append(np.asarray(model, float))
        sigmas.append(sigma)
        residual = np.where(observation.mask, (observation.image - models[-1]) / sigma, 0.0)
        chi2, pixels = chi2 + float(np.sum(residual**2)), pixels + int(np.sum(observation.mask))
    solved = sum(p.n_amp for o in observations for p in prior.in_band(o.band).light if p.is_linear)
    rhat, ess_bulk = rhat_and_ess_bulk(x)
    tables = {"rhat": rhat, "rhat_gelman_rubin": rhat_gelman_rubin(x), "ess_bulk": ess_bulk, "ess_tail": ess_tail(x)}
    result = Result(
        prior=prior, observations=list(observations), scenes=list(scenes),
        best={name: float(v[0]) for name, v in _named(names, _constrain(posterior.prior, best[None])).items()},
        samples={name: x[..., i] for i, name in enumerate(names)},
        vi_samples=_named(names, _constrain(posterior.prior, vi_z)),
        prior_samples=_named(names, _constrain(posterior.prior, prior_z)),
        sample_stats={"lp": draws.log_prob, "acceptance_rate": draws.acceptance_rate, "diverging": draws.diverging,
                      "energy": draws.energy, "n_steps": draws.n_steps},
        log_likelihood=draws.log_prob - log_prior.reshape(draws.log_prob.shape) + float(posterior.log_norm),
        model_images=models, sigma_images=sigmas, chi2=chi2, n_pixels=pixels, n_free=len(names) + solved,
        diagnostics={name: {key: float(table[i]) for key, table in tables.items()} for i, name in enumerate(names)},
        timings_s={"compile": clock.seconds + run.journal.compile_s, **run.timings}, evaluations=run.evaluations,
        info=run.info, truth=truth, seed=run.seed,
        devices=[f"{d.platform}:{d.id} {d.device_kind}" for d in run.over.devices.flat],
        versions={name: importlib.metadata.version(name) for name in PACKAGES})
    predicted = predictive(run.key(4, PREDICTIVE_KEY), posterior, flat, run.config.n_predictive) \
        if run.config.n_predictive else {}
    note = checks(result, posterior.amplitudes if solved else None, predicted)
    return result.replace(info={**run.info, "checks": note})


# Compiled once a process, whatever number of lenses is fitted.
_constrain = jax.jit(jax.vmap(Prior.constrain, (None, 0)))
_physical = jax.jit(jax.vmap(lambda prior, z: (prior.constrain(z), prior.log_prob(z)), (None, 0)))
_scenes = jax.jit(Posterior.scenes)
_render = jax.jit(render_data)


@jax.jit
def _variational_draws(transport: Transport, key: jax.Array) -> jax.Array:
    normal = jax.random.normal(key, (N_VI, transport.size), transport.shift.dtype)
    return jax.vmap(lambda u: transport(u)[0])(normal)


@jax.jit
def _prior_draws(prior: Prior, key: jax.Array) -> jax.Array:
    return jax.vmap(prior.sample)(jax.random.split(key, N_VI))


def _in_pieces(function: Callable, prior: Prior, z: np.ndarray, size: int) -> Any:
    """Evaluate a batched function in pieces of one size, so that it is compiled once whatever their number."""
    padded = np.concatenate([z, np.repeat(z[:1], -len(z) % size, 0)])
    parts = [function(prior, padded[i:i + size]) for i in range(0, len(z), size)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:len(z)].astype(float), *parts)


def _named(names: Sequence[str], values: jax.Array) -> dict[str, np.ndarray]:
    return {name: np.asarray(values[:, i], float) for i, name in enumerate(names)}


def dtype_of(precision: str) -> Any:
    """NumPy's type for "float32" or "float64". Raises ValueError."""
    if precision not in ("float32", "float64"):
        raise ValueError(f"precision: expected float32 or float64, got {precision!r}")
    if precision == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("precision: float64 needs jax.config.update('jax_enable_x64', True) before the fit")
    return np.dtype(precision)
