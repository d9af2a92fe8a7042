"""What it saves to make curved ridges straight: gradients to the same targets, beside an affine map alone.

Posteriors in closed form of three dimensions, a Gaussian whose second coordinate has a parabola of the first added: the
stronger it bends and the narrower it is, the less an affine map helps. A row a posterior and a seed: gradients with
warm-up, iterations and the length of the trajectories at the end, with a bend where the pilot finds one worth it, and
with none. With --lens, a configuration of `giga fit`, the chains of that lens take --iterations both ways, from one
search and one variational map; what is compared is then the smallest effective sample size for a gradient.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from _common import parser, write
from jax import Array

from giga import FitConfig, fit
from giga.bayes.prior import Prior
from giga.component import Component
from giga.inference.chains import whitening
from giga.inference.chains.hmc import HMCConfig, sample_hmc, sampler, warm_up
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import ascender
from giga.io.configuration.toml import load_config
from giga.jobs.job import prepare
from giga.runtime.checkpoint import Store
from giga.runtime.parallel import mesh

WAYS = ("affine", "bent")
SHAPES = ((0.0, 0.3), (0.3, 0.3), (1.0, 0.3), (2.0, 0.3), (1.0, 0.05))  # bend, variance across


class Banana(Component):
    """A Gaussian of unit variance and one of another, to which bend (z0^2 - 1) is added, and a third coordinate."""

    prior: Prior
    bend: Array
    variance: Array

    def log_prob(self, z: Array) -> Array:
        """Log-density, up to a constant."""
        across = z[1] - self.bend * (z[0] ** 2 - 1.0)
        return -0.5 * (z[0] ** 2 + across**2 / self.variance + z[2] ** 2)


@contextmanager
def way_of(way: str) -> Iterator[None]:
    """Without a bend, or with it where it is worth it."""
    kept = whitening.WORTH
    whitening.WORTH = 0.0 if way == "affine" else kept
    try:
        yield
    finally:
        whitening.WORTH = kept


def on_a_lens(path: Path, iterations: int) -> list[dict]:
    """Chains of so many iterations of a lens, a row a way; the journal answers what the two have in common."""
    config, rows = load_config(path, fit_config_type=FitConfig), []
    job = prepare(config)
    settings = replace(config.inference, min_iterations=iterations, max_iterations=iterations, derived=False)
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            with way_of(way):
                result = fit(job.prior, job.observations, config=settings, seed=config.run.seed,
                             amplitudes=config.likelihood.amplitudes, amplitude_sd=config.likelihood.amplitude_sd,
                             precision=config.run.precision, store=Store(folder, "trajectories"))
            hmc = result.info["hmc"]
            rows.append(dict(way=way) | {name: hmc[name] for name in (
                "iterations", "chains", "mean_steps", "step_size", "length", "bent_along", "acceptance", "divergences",
                "worst_rhat", "smallest_ess_bulk", "smallest_ess_tail", "evaluations", "ess_per_gradient")})
            print(rows[-1], flush=True)
    return rows


def main() -> None:
    arguments = parser(__doc__ or "", "trajectories")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--lens", type=Path, help="configuration of a lens")
    arguments.add_argument("--iterations", type=int, default=600, help="of its chains")
    options = arguments.parse_args()
    if options.lens:
        affine, bent = rows = on_a_lens(options.lens, options.iterations)
        write(options.out, dict(lens=options.lens.parent.name, rows=rows,
                                gain=round(bent["ess_per_gradient"] / affine["ess_per_gradient"], 2)))
        return
    jax.config.update("jax_enable_x64", True)
    config = HMCConfig(n_chains=8, n_block=100, n_min=200, n_max=6000, ess=1000.0)
    programs = sampler(mesh(), config), ascender(mesh(), 16, 1)
    prior, rows = Prior.of([dist.Normal(0.0, 1.0)] * 3, np.float64), []
    for bend, variance in SHAPES[2:3] if options.smoke else SHAPES:
        shape: dict[str, Any] = dict(bend=np.asarray(bend), variance=np.asarray(variance))
        posterior: Any = Banana(prior=prior, **shape)
        start = gaussian(np.zeros(3), np.diag([1.0, variance + 2.0 * bend**2, 1.0]), 0, np.float64)
        for seed in options.seeds[:1] if options.smoke else options.seeds:
            row = dict(bend=bend, variance=variance, seed=seed)
            for way in WAYS:
                first, second = jax.random.split(jax.random.key(seed))
                with way_of(way):
                    state, warm = warm_up(first, posterior, start, *programs)
                _, _, info = sample_hmc(second, posterior, state, programs[0])
                row |= {f"{way}_gradients": warm["evaluations"] + info["evaluations"],
                        f"{way}_iterations": info["iterations"], f"{way}_length": round(info["length"], 2),
                        f"{way}_converged": info["converged"]}
            row["ratio"] = round(row["bent_gradients"] / row["affine_gradients"], 3)
            rows.append(row)
    shapes = sorted({(row["bend"], row["variance"]) for row in rows})
    medians = [dict(bend=b, variance=v, ratio=float(np.median([row["ratio"] for row in rows
                                                               if (row["bend"], row["variance"]) == (b, v)])))
               for b, v in shapes]
    write(options.out, dict(chains=config.n_chains, ess=config.ess, median_ratio=medians, rows=rows))


if __name__ == "__main__":
    main()
