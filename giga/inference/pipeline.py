"""The pipeline that strings the stages together: MAP, variational inference, HMC."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from giga.bayes.exchange import Orders, exchanges
from giga.bayes.posterior import AmplitudeMethod, Posterior, variance
from giga.bayes.prior import Prior, prior_draws
from giga.imaging.observation import Data, Observation
from giga.imaging.render import render_data
from giga.inference.amplitudes import solved_amplitudes
from giga.inference.chains.diagnostics import ess_tail, rhat_and_ess_bulk, rhat_gelman_rubin
from giga.inference.chains.hmc import Draws, HMCState, guided, sample_hmc, sampler, warm_up
from giga.inference.checks.comparison import checks, pointwise, predictive
from giga.inference.checks.findings import findings
from giga.inference.derived import derive
from giga.inference.modes.evidence import pushed
from giga.inference.modes.modes import Mode, find_modes
from giga.inference.result import Result
from giga.inference.sampling import in_orders, sample_modes, sample_particles, stage_name
from giga.inference.search.lanes import improver, screener
from giga.inference.search.map import MapState, find_map, multi_start_adam
from giga.inference.search.starts import Starts, chosen, smaller
from giga.inference.settings import FitConfig
from giga.inference.smc.smc import SMC, smc_programs
from giga.inference.variational.pathfinder import fit_pathfinder
from giga.inference.variational.transport import Transport
from giga.inference.variational.vi import VIState, ascender, fit_vi
from giga.lensing.scene import Scene
from giga.runtime import parallel
from giga.runtime.calls import Alone, Call, Clock, kept
from giga.runtime.checkpoint import Store
from giga.runtime.journal import Journal
from giga.runtime.parallel import ON_VECTORS, on_host
from giga.runtime.random import normal, split

Report = Callable[[str, dict], None]
"""Called as `report(stage, numbers)`: stage "map", "svi", "hmc" or "evidence", or "svi-2", "hmc-2" for the second
of several modes; no numbers when it starts; {"note": text} for what the user should know."""

PREDICTIVE_KEY = 2000  # keeps its key apart from those of the modes
STARTS_KEY = 2001  # keeps theirs apart from those of the screen
AMPLITUDES_KEY = 2002  # and theirs apart from both
N_VI = 4000  # draws kept of the variational posterior and of the prior
PACKAGES = ("giga", "jax", "jaxlib", "numpy", "numpyro", "blackjax", "arviz", "astropy")


def fit(prior: Scene, observations: Sequence[Observation], *, config: FitConfig | None = None, seed: int = 0,
        amplitudes: AmplitudeMethod = "nonnegative", amplitude_sd: float | None = None,
        truth: Mapping[str, float] | None = None, precision: str = "float32", start: Mapping[str, float] | None = None,
        report: Report = lambda stage, numbers: None, store: Store | None = None, over: Mesh | None = None,
        starts: Starts | None = None) -> Result:
    """Fit a scene of distributions to observations.

    Args:
        prior: Scene with distributions on the leaves to be fitted.
        observations: One or several observations of it.
        config: Sizes and targets of the stages.
        seed: Seed; the same seed gives the same samples on any number of devices, to rounding.
        amplitudes: How linear amplitudes are treated, see `giga.bayes.posterior.Posterior`.
        amplitude_sd: Standard deviation of their Gaussian prior; None is flat.
        truth: True values by path name, when known; kept in the result.
        precision: "float32" or "float64" (which needs `jax_enable_x64`).
        start: A start to add to the search, by path name, every parameter given.
        report: Progress callback.
        store: Where to keep checkpoints, and to go on from.
        over: Device mesh; all devices by default.
        starts: What a network proposes; the search is then smaller, see `giga.inference.search.starts`.

    Returns:
        The result, on the host.

    Raises:
        ValueError: The prior has no distribution, no observation, a setting that does not fit them, or starts that
            have no parameter of it.
        FloatingPointError: The search or the variational posterior ended where the log-posterior is
            not a number.
    """
    over = over or parallel.mesh()
    posterior = Posterior.of(prior, observations, amplitudes, amplitude_sd, dtype_of(precision))
    with Clock() as clock:
        return fit_posterior(posterior, prior, observations, config or FitConfig(), seed, truth, start, report, store,
                             over, Alone(over), clock, starts)


def fit_posterior(posterior: Posterior, prior: Scene, observations: Sequence[Observation], config: FitConfig,
                  seed: int, truth: Mapping[str, float] | None, start: Mapping[str, float] | None, report: Report,
                  store: Store | None, over: Mesh, call: Call, clock: Clock, starts: Starts | None = None) -> Result:
    """The stages, one after the other, of a fit whose posterior is made; `call` runs the programs, see `fit`."""
    names = posterior.prior.names
    if config.vi_axis not in ("auto", "none", *names):
        raise ValueError(f"inference.vi_axis: expected auto, none or one of {', '.join(names)}, got {config.vi_axis!r}")
    if starts is not None and config.map_method != "lm":
        raise ValueError(f"inference.map_method: expected lm, which takes starts, got {config.map_method!r}")
    journal = Journal(store, lambda text: report("map", {"note": text}), lambda: clock.seconds, lambda: clock.idle)
    with journal:
        run = _Run(posterior, config, seed, report, journal, over, call)
        first = None if start is None else np.asarray(posterior.prior.vector(start), posterior.prior.shift.dtype)[None]
        found, modes = run.map(clock, first, starts)
        sample = sample_modes if config.sampler == "hmc" else sample_particles
        fitted, draws = sample(run, clock, found, modes)
        return _result(run, found, fitted, draws, prior, observations, truth, clock)


class _Run:
    """One pass through the stages: times them, counts, and keeps what the compiled calls return."""

    def __init__(self, posterior: Posterior, config: FitConfig, seed: int, report: Report, journal: Journal,
                 over: Mesh, call: Call):
        self.config, self.seed, self.report, self.over = config, seed, report, over
        self.journal, self.direct, self.call = journal, call, kept(call, journal)
        self.keys = split(jax.random.key(seed), 5)
        self.exchanges = exchanges(posterior.prior)
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

    def stage(self, name: str, clock: Clock, work: Callable[[], tuple[Any, dict]]) -> Any:
        self.report(name, {})
        journal, begun, free = self.journal, time.perf_counter(), clock.seconds + clock.idle
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

    def map(self, clock: Clock, start: np.ndarray | None, starts: Starts | None) -> tuple[MapState, list[Mode]]:
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
    dtype = posterior.prior.shift.dtype
    flat = draws.z.reshape(-1, len(names))
    x, log_prior = _in_pieces(_physical, posterior.prior, flat, run.config.n_chains * run.config.n_block)
    x = x.reshape(draws.z.shape)
    k = int(np.argmax(draws.log_prob))
    mode, height = _mode(posterior, found)
    best = flat[k] if draws.log_prob.flat[k] > height else mode
    key_vi, key_prior = split(run.keys[4], 2)
    vi_z = _variational_draws(posterior, fitted.transport, key_vi)
    prior_z = prior_draws(posterior.prior, key_prior, N_VI)
    whole = [observation.data(dtype, poisson=data.poisson, trim=False, scaled=True)
             for observation, data in zip(observations, posterior.data, strict=True)]
    scenes, rendered, variances = on_host(_best_fit(posterior, best, whole))
    models, sigmas, chi2, pixels = [], [], 0.0, 0
    for observation, data, model, var in zip(observations, whole, rendered, variances, strict=True):
        sigma = data.physical(np.sqrt(np.asarray(var, float)))
        models.append(data.physical(np.asarray(model, float)))
        sigmas.append(sigma)
        residual = np.where(observation.mask, (observation.image - models[-1]) / sigma, 0.0)
        chi2, pixels = chi2 + float(np.sum(residual**2)), pixels + int(np.sum(observation.mask))
    solved = sum(p.n_amp for o in observations for p in prior.in_band(o.band).light if p.is_linear)
    rhat, ess_bulk = rhat_and_ess_bulk(x)
    tables = {"rhat": rhat, "rhat_gelman_rubin": rhat_gelman_rubin(x), "ess_bulk": ess_bulk, "ess_tail": ess_tail(x)}
    at = np.asarray(_constrain(posterior.prior, np.concatenate([best[None], vi_z, prior_z])))
    result = Result(
        prior=prior, observations=list(observations), scenes=list(scenes),
        best={name: float(v[0]) for name, v in _named(names, at[:1]).items()},
        samples={name: x[..., i] for i, name in enumerate(names)},
        vi_samples=_named(names, at[1:1 + N_VI]),
        prior_samples=_named(names, at[1 + N_VI:]),
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
    if run.config.n_pointwise:
        result = result.replace(pointwise=pointwise(posterior, draws.z, run.config.n_pointwise))
    note = checks(result, posterior.amplitudes if solved else None, predicted)
    amplitudes = solved_amplitudes(run.key(4, AMPLITUDES_KEY), posterior, draws.z, scenes, prior, observations)
    result = result.replace(info={**run.info, "checks": note}, amplitudes=amplitudes)
    result = result.replace(info={**result.info, "findings": findings(result)})
    return result.replace(derived=derive(posterior.prior, result)) if run.config.derived else result


# Compiled once a process, whatever number of lenses is fitted.
_constrain = jax.jit(jax.vmap(Prior.constrain, (None, 0)), compiler_options=ON_VECTORS)
_physical = jax.jit(jax.vmap(lambda prior, z: (prior.constrain(z), prior.log_prob(z)), (None, 0)),
                    compiler_options=ON_VECTORS)


@jax.jit
def _best_fit(posterior: Posterior, z: Array,
              whole: list[Data]) -> tuple[tuple[Scene, ...], list[Array], list[Array]]:
    """The scene as each observation sees it, and its image on all of its pixels with their variance, in its unit."""
    scenes = posterior.scenes(z)
    models = [render_data(scene, data) for scene, data in zip(scenes, whole, strict=True)]
    return scenes, models, [variance(model, data) for model, data in zip(models, whole, strict=True)]


def _mode(posterior: Posterior, found: MapState) -> tuple[np.ndarray, float]:
    """The mode and its log-posterior, its profiles in the order that the prior likes best."""
    z, height, orders = np.asarray(found.z[0]), float(found.log_prob[0]), posterior.orders
    if orders is None:
        return z, height
    log_prior = np.asarray(_log_prior_of_orders(orders, posterior.prior, z), float)
    k = int(np.argmax(log_prior))
    return np.asarray(orders(z))[k], height + log_prior[k] - float(np.logaddexp.reduce(log_prior))


_log_prior_of_orders = jax.jit(Orders.log_prior)


def _variational_draws(posterior: Posterior, transport: Transport, key: Array) -> np.ndarray:
    for_normals, for_deal = split(key, 2)
    z, _ = pushed(transport, normal(for_normals, (N_VI, transport.size), transport.shift.dtype))
    return in_orders(for_deal, posterior, z)[0]


def _in_pieces(function: Callable, prior: Prior, z: np.ndarray, size: int) -> Any:
    """Evaluate a batched function in pieces of one size, so that it is compiled once whatever their number."""
    padded = np.concatenate([z, np.repeat(z[:1], -len(z) % size, 0)])
    parts = [function(prior, padded[i:i + size]) for i in range(0, len(z), size)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:len(z)].astype(float), *parts)


def _named(names: Sequence[str], values: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.asarray(values[:, i], float) for i, name in enumerate(names)}


def dtype_of(precision: str) -> Any:
    """NumPy's type for "float32" or "float64". Raises ValueError."""
    if precision not in ("float32", "float64"):
        raise ValueError(f"precision: expected float32 or float64, got {precision!r}")
    if precision == "float64" and not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError("precision: float64 needs jax.config.update('jax_enable_x64', True) before the fit")
    return np.dtype(precision)
