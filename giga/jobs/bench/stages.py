"""What is timed: one evaluation in batches, and whole fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior, values_of
from giga.inference.fleet import Lens, fit_many
from giga.inference.pipeline import fit
from giga.inference.result import Result
from giga.inference.search.curvature import quadratic
from giga.inference.settings import FitConfig
from giga.jobs.bench.energy import EnergyMeter
from giga.jobs.bench.measure import compile_apart, peak_memory, run_times, significant
from giga.jobs.problems import Problem
from giga.runtime.environment import rate
from giga.runtime.parallel import batched, sharded

Say = Callable[[str], None]

FUNCTIONS: dict[str, Callable[[Posterior, jax.Array], Any]] = {
    "forward": lambda posterior, z: posterior.models(z),
    "value_and_gradient": lambda posterior, z: jax.value_and_grad(posterior.log_prob)(z),
    "jacobian": quadratic,  # with the gradient and the Gauss-Newton precision, as one step of the search takes it
}
SMOKE = FitConfig(derived=False,
                  n_screen=16, n_starts=4, n_finalists=4, map_steps=3, map_rounds=2, vi_steps=2, vi_samples=8,
                  n_chains=4, n_block=10, n_pilot=1, min_iterations=10, max_iterations=10)


def evaluations(systems: Sequence[Problem], over: Mesh, sizes: Sequence[int], total: int, budget: float,
                say: Say) -> dict[str, Any]:
    """Time forward model, value and gradient, and Jacobian, at several batch sizes.

    Args:
        systems: Lenses of one model; entries of a batch go through them in turn, each with its own data.
        over: Devices.
        sizes: Batch sizes a device.
        total: Size of the batch that is the same whatever the number of devices (strong scaling).
        budget: Seconds a measurement.
        say: Called with a line for people.

    Returns:
        By function a list of rows, one a batch size: "per_device" and "total" entries, "compile_s", times of
        one call in ms, "rate" (entries a second) and "rate_per_device"; "energy" of the largest batch of gradients.
    """
    devices = over.devices.size
    counts = sorted({size * devices for size in sizes} | {-(-total // devices) * devices})
    out: dict[str, Any] = {"strong_total": total}
    replicated = NamedSharding(over, PartitionSpec())
    stack = jax.device_put(_stack(systems), replicated)
    for name, function in FUNCTIONS.items():
        rows, program = [], jax.jit(sharded(batched(_of_one_lens(function), over), over))
        best: tuple[float, Any, Any] | None = None
        for count in counts:
            row: dict[str, Any] = dict(per_device=count // devices, total=count)
            rows.append(row)
            arguments = stack, *jax.device_put(_points(systems, count), replicated)
            try:
                compiled, compile_s = compile_apart(program, *arguments)
                row |= run_times(compiled, *arguments, budget=budget)
            except jax.errors.JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error):
                    raise
                row["failed"] = "out of memory"
                say(f"{name}, batch {count}: out of memory")
                break
            rate = 1e3 * count / row["median_ms"]
            row |= dict(compile_s=significant(compile_s), rate=significant(rate),
                        rate_per_device=significant(rate / devices))
            say(f"{name}, batch {count}: {rate:.4g} a second")
            if best is None or rate > best[0]:
                best = rate, compiled, arguments
        out[name] = rows
        if name == "value_and_gradient" and best is not None:
            out["energy"] = _energy(*best[1:], over, budget)
    return out


def _stack(systems: Sequence[Problem]) -> Posterior:
    """The posteriors of the lenses with a leading axis over them, on the host."""
    posteriors = [Posterior.of(system.prior, system.observations) for system in systems]
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *posteriors)


def _of_one_lens(function: Callable[[Posterior, jax.Array], Any]) -> Callable[..., Any]:
    """The function as one of stacked posteriors, the number of one, and a point; a stack of one is not searched."""
    return lambda stack, k, z: function(jax.tree.map(lambda a: a[0] if len(a) == 1 else a[k], stack), z)


def _points(systems: Sequence[Problem], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of lenses, in turn, and points near their truths."""
    priors = [Prior.of(system.prior) for system in systems]
    at = np.stack([np.asarray(prior.vector(values_of(system.prior, system.truth)))
                   for prior, system in zip(priors, systems, strict=True)])
    lens = np.arange(count) % len(systems)
    spread = 0.02 * np.random.default_rng(0).normal(size=(count, at.shape[1]))
    return lens, (at[lens] + spread).astype(at.dtype)


def _energy(compiled: Callable, arguments: Any, over: Mesh, budget: float) -> dict[str, Any]:
    """Joules a gradient, of calls for as long as the budget."""
    calls = 0
    with EnergyMeter(list(over.devices.flat)) as meter:
        end = time.perf_counter() + budget
        while time.perf_counter() < end:
            jax.block_until_ready(compiled(*arguments))
            calls += 1
    found = dict(meter.result)
    if found["joules"] is not None:
        found["joules_per_gradient"] = found["joules"] / (calls * len(arguments[-1]))
    return found


class _Enough(Exception):
    """The stages wanted are done."""


def fits(systems: Sequence[Problem], over: Mesh, stages: Sequence[str], repeat: int, config: FitConfig,
         say: Say) -> list[dict[str, Any]]:
    """Fit a problem; the first time pays for compiling.

    Args:
        systems: One lens, or a fleet, which is fitted as one.
        over: Devices.
        stages: Of "map", "svi" and "hmc"; the fit goes as far as the last of them.
        repeat: Number of fits, with seeds 0, 1, ...
        config: Sizes and targets.
        say: Called with a line for people.

    Returns:
        One row a fit.
    """
    rows = []
    for seed in range(repeat):
        with EnergyMeter(list(over.devices.flat)) as meter:
            begun = time.perf_counter()
            if len(systems) > 1:
                row = _fleet(systems, over, seed, config)
            elif "hmc" in stages:
                row = of_result(fit(systems[0].prior, systems[0].observations, config=config, seed=seed, over=over))
            else:
                row = _partly(systems[0], over, stages, seed, config)
            row["wall_s"] = significant(time.perf_counter() - begun)
        row |= dict(seed=seed, energy=meter.result, memory=peak_memory(list(over.devices.flat)))
        if "converged" in row:
            row["seconds_to_target"] = row["wall_s"] if row["converged"] else None
        say(f"fit {seed}: {row['wall_s']:.1f} s" + ("" if row.get("converged", True) else ", not converged"))
        rows.append(row)
    return rows


def of_result(result: Result) -> dict[str, Any]:
    """Times, counts, and what the chains are worth: the smallest bulk ESS over seconds and over gradients.

    Seconds are those of HMC without compiling, gradients those of HMC, its warm-up included in both.
    """
    ess = float(np.min([row["ess_bulk"] for row in result.diagnostics.values()]))
    rhat = float(np.max([row["rhat"] for row in result.diagnostics.values()]))
    return dict(
        timings_s={stage: significant(seconds) for stage, seconds in result.timings_s.items()},
        evaluations=dict(result.evaluations), worst_rhat=_finite(rhat), smallest_ess_bulk=_finite(ess),
        ess_per_second=_finite(rate(ess, result.timings_s["hmc"])),
        ess_per_gradient=_finite(ess / result.evaluations["hmc"]),
        reduced_chi2=significant(result.reduced_chi2), chains=result.info["hmc"]["chains"],
        divergences=result.info["hmc"]["divergences"], converged=bool(result.info["hmc"]["converged"]))


def _finite(value: float) -> float | None:
    """A number to five digits; None for what is none, as the R-hat of chains that stand still."""
    return significant(value) if np.isfinite(value) else None


def _partly(system: Problem, over: Mesh, stages: Sequence[str], seed: int, config: FitConfig) -> dict[str, Any]:
    """Stop a fit before the first stage that is not wanted; only the times of whole fits are told by stage."""
    last = "svi" if "svi" in stages else "map"

    def report(stage: str, numbers: dict[str, Any]) -> None:
        if stage == "hmc" or (stage == "svi" and last == "map"):
            raise _Enough

    try:
        fit(system.prior, system.observations, config=config, seed=seed, over=over, report=report)
    except _Enough:
        return dict(until=last)
    raise AssertionError(f"the fit went on after {last}")


def _fleet(systems: Sequence[Problem], over: Mesh, seed: int, config: FitConfig) -> dict[str, Any]:
    """All lenses of a fleet by one call: sums over the lenses, and what their worst one has."""
    rows: list[dict[str, Any]] = []
    failed: list[str] = []

    def done(lens: Lens, result: Result | Exception) -> None:
        if isinstance(result, Exception):
            failed.append(f"{lens.name}: {type(result).__name__}: {result}")
        else:
            rows.append(of_result(result))

    lenses = [Lens(name=s.name, prior=s.prior, observations=s.observations, seed=seed * len(systems) + k)
              for k, s in enumerate(systems)]
    fit_many(lenses, config=config, over=over, done=done)
    summary: dict[str, Any] = dict(
        lenses=len(systems), failed=failed, converged_lenses=sum(r["converged"] for r in rows),
        converged=not failed and all(r["converged"] for r in rows))
    if rows:
        summary |= {key: {stage: significant(sum(r[key][stage] for r in rows), 8) for stage in rows[0][key]}
                    for key in ("timings_s", "evaluations")}
        for key, worst in (("worst_rhat", max), ("smallest_ess_bulk", min), ("ess_per_gradient", min)):
            values = [r[key] for r in rows]
            summary[key] = None if None in values else worst(values)
    return summary
