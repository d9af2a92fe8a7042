"""How many digits a device keeps in float32: posteriors against float64 on a CPU, simulated images against a CPU's.

Value, gradient and Gauss-Newton precision of the log-posterior of demo60 and foundry128, at eight points near the
truth: the norm of the error over that of the reference. Of the images the largest error, relative to the largest pixel.
"""

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior, values_of
from giga.inference.search.curvature import quadratic
from giga.jobs.bench.measure import significant
from giga.jobs.problems import Problem, demo60, foundry128
from giga.models.networks.separator import GGSLConfig
from giga.models.systems.ggsl import make_simulator

PROBLEMS = {"demo60": demo60, "foundry128": foundry128}
POINTS = 8


@dataclass(frozen=True)
class Case:
    """A problem, its prior's frame in float32, and points in it."""

    problem: Problem
    prior: Prior
    points: np.ndarray


def cases(names: list[str]) -> dict[str, Case]:
    """Problems and points; made in float32, since the frame of a prior is drawn and depends on the precision."""
    out = {}
    for name in names:
        problem = PROBLEMS[name]()
        prior = Prior.of(problem.prior)
        at = np.asarray(prior.vector(values_of(problem.prior, problem.truth)), float)
        away = 0.02 * np.random.default_rng(0).normal(size=(POINTS, at.size))
        out[name] = Case(problem, prior, (at + away).astype(np.float32))
    return out


def computed(names: list[str], dtype: type) -> dict[str, np.ndarray]:
    """Value, gradient and precision of each problem, in a precision."""
    made, out = cases(names), {}
    jax.config.update("jax_enable_x64", dtype is np.float64)
    for name, case in made.items():
        posterior = Posterior.of(case.problem.prior, case.problem.observations, dtype=dtype)
        frame = posterior.prior.replace(shift=np.asarray(case.prior.shift, dtype), scale=np.asarray(case.prior.scale,
                                                                                                    dtype))
        posterior, z = posterior.replace(prior=frame), jnp.asarray(case.points, dtype)
        value, gradient = jax.jit(jax.vmap(jax.value_and_grad(posterior.log_prob)))(z)
        precision = jax.jit(jax.vmap(lambda z, posterior=posterior: quadratic(posterior, z).precision))(z)
        out |= {f"{name} value": value, f"{name} gradient": gradient, f"{name} precision": precision}
    return {key: np.asarray(found, np.float64) for key, found in out.items()}


def reference(names: list[str]) -> dict[str, np.ndarray]:
    """The same in float64 on the CPU, by a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reference.npz"
        subprocess.run([sys.executable, __file__, "--reference", str(path), "--problems", *names], check=True,
                       env=os.environ | {"JAX_PLATFORMS": "cpu"})
        with np.load(path) as found:
            return dict(found)


def images() -> dict[str, float]:
    """Largest difference of an image of either recipe to that of a CPU, relative to the largest pixel."""
    cpu, key, out = jax.devices("cpu")[0], jax.random.key(1), {}
    for recipe in ("paper", "physical"):
        simulator = make_simulator(GGSLConfig(recipe=recipe))
        example = jax.jit(lambda simulator, key: simulator.example(key).image)
        here = np.asarray(example(simulator, key))
        there = np.asarray(example(*jax.device_put((simulator, key), cpu)))
        out[f"image, {recipe}"] = float(np.abs(here - there).max() / np.abs(there).max())
    return out


def main() -> None:
    arguments = parser(__doc__ or "", "digits")
    arguments.add_argument("--problems", nargs="+", choices=tuple(PROBLEMS), default=list(PROBLEMS))
    arguments.add_argument("--reference", type=Path, help="write the reference to this file, and do no more")
    options = arguments.parse_args()
    names = options.problems[:1] if options.smoke else options.problems
    if options.reference is not None:
        np.savez(options.reference, **computed(names, np.float64))
        return
    exact, found = reference(names), computed(names, np.float32)
    errors = {key: np.linalg.norm(found[key] - exact[key]) / np.linalg.norm(exact[key]) for key in exact}
    write(options.out, {key: significant(float(value), 2) for key, value in (errors | images()).items()})


if __name__ == "__main__":
    main()
