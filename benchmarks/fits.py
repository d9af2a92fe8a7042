"""Fit lenses that an independent code simulated, with the prior that they were drawn from.

The folder is that of `gigalens_sims.py`. One compiled program serves every system: the first row pays for it.
Each row holds times with compile apart, convergence, reduced chi2, and how far the truth lies from the posterior
mean in its standard deviations. Needs pyyaml.
"""

import time
from pathlib import Path

import jax
from _common import parser, write
from gigalens_sims import BACKGROUND_RMS, EXPOSURE_TIME, load

from giga import PSF, Grid, Observation, fit, parallel
from giga.calibrate import RANKED, row_of
from giga.inference.result import Result
from giga.prior import values_of
from giga.problems import gigalens_prior


def ranked(truth: dict[str, float], result: Result, system: int) -> dict:
    """Share of the draws below the truth ("ranks"), their number, and the truth's rank among thinned ones."""
    row = row_of(truth, result.samples, {}, RANKED, system)
    return dict(ranks={name: round(share, 5) for name, share in row["below"].items()}, draws=row["draws"],
                thinned_ranks=row["ranks"], thinned_draws=RANKED)


def main() -> None:
    arguments = parser(__doc__, "fits")
    arguments.add_argument("folder", type=Path, help="folder with standard80.npz, standard80.yaml and psf.npy")
    arguments.add_argument("--systems", type=int, nargs="+", default=[0, 1, 2])
    options = arguments.parse_args()
    parallel.start()
    systems = options.systems[:1] if options.smoke else options.systems
    images, scenes, kernel = load(options.folder, max(systems) + 1)
    prior, psf = gigalens_prior(), PSF.from_native(kernel, 2, "lenstronomy")
    rows = []
    for system in systems:
        observation = Observation(image=images[system], grid=Grid(shape=(80, 80), pixel_scale=0.065), psf=psf,
                                  background_rms=BACKGROUND_RMS, exposure_time=EXPOSURE_TIME)
        scene = jax.tree.map(lambda leaf, k=system: leaf[k], scenes)
        truth = values_of(prior, scene)
        start = time.perf_counter()
        result = fit(prior, [observation], seed=system, truth=truth)
        pulls = {name: float((truth[name] - values.mean()) / values.std()) for name, values in result.samples.items()}
        rows.append(dict(
            system=system, wall_s=round(time.perf_counter() - start, 2),
            timings_s={key: round(value, 2) for key, value in result.timings_s.items()},
            evaluations=dict(result.evaluations), reduced_chi2=round(result.reduced_chi2, 4),
            worst_rhat=round(max(row["rhat"] for row in result.diagnostics.values()), 4),
            smallest_ess_bulk=round(min(row["ess_bulk"] for row in result.diagnostics.values())),
            smallest_ess_tail=round(min(row["ess_tail"] for row in result.diagnostics.values())),
            divergences=result.info["hmc"]["divergences"], converged=result.info["hmc"]["converged"],
            agreeing_finalists=result.info["map"]["agreeing_finalists"],
            **ranked(truth, result, system), worst_pull=round(max(map(abs, pulls.values())), 2),
            pulls={name: round(value, 2) for name, value in pulls.items()}))
        print({key: value for key, value in rows[-1].items()
               if key not in ("pulls", "ranks", "thinned_ranks")}, flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
