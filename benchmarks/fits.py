"""Fit lenses that an independent code simulated, with the prior that they were drawn from.

The folder is that of `gigalens_sims.py`. One compiled program serves every system: the first row pays for it.
Each row holds times with compile apart, convergence, reduced chi2, and how far the truth lies from the posterior
mean in its standard deviations. Needs pyyaml.
"""

import time
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
from _common import parser, write
from gigalens_sims import BACKGROUND_RMS, EXPOSURE_TIME, load

from giga import EPL, PSF, Grid, Observation, Scene, Sersic, Shear, fit, parallel
from giga.prior import values_of


def prior() -> Scene:
    """The prior that the systems were drawn from: 22 parameters."""
    normal, log_normal, uniform = dist.Normal, dist.LogNormal, dist.Uniform

    def truncated(loc: float, scale: float, low: float, high: float) -> dist.Distribution:
        return dist.TruncatedNormal(loc, scale, low=low, high=high)

    return Scene(
        mass=[EPL(theta_E=log_normal(np.log(1.25), 0.25), gamma=truncated(2.0, 0.25, 1.0, 3.0), e1=normal(0.0, 0.1),
                  e2=normal(0.0, 0.1), center_x=normal(0.0, 0.03), center_y=normal(0.0, 0.03)),
              Shear(gamma1=normal(0.0, 0.05), gamma2=normal(0.0, 0.05))],
        lens_light=[Sersic(amp=log_normal(np.log(300.0), 0.3), R_sersic=log_normal(np.log(1.6), 0.15),
                           n_sersic=uniform(2.0, 6.0), e1=truncated(0.0, 0.05, -0.15, 0.15),
                           e2=truncated(0.0, 0.05, -0.15, 0.15), center_x=normal(0.0, 0.01),
                           center_y=normal(0.0, 0.01))],
        source_light=[Sersic(amp=log_normal(np.log(150.0), 0.5), R_sersic=log_normal(np.log(0.25), 0.15),
                             n_sersic=uniform(0.5, 4.0), e1=truncated(0.0, 0.15, -0.5, 0.5),
                             e2=truncated(0.0, 0.15, -0.5, 0.5), center_x=normal(0.0, 0.25),
                             center_y=normal(0.0, 0.25))])


def main() -> None:
    arguments = parser(__doc__, "fits")
    arguments.add_argument("folder", type=Path, help="folder with standard80.npz, standard80.yaml and psf.npy")
    arguments.add_argument("--systems", type=int, nargs="+", default=[0, 1, 2])
    options = arguments.parse_args()
    parallel.start()
    systems = options.systems[:1] if options.smoke else options.systems
    images, scenes, kernel = load(options.folder, max(systems) + 1)
    psf = PSF.from_native(kernel, 2, "lenstronomy")
    rows = []
    for system in systems:
        observation = Observation(image=images[system], grid=Grid(shape=(80, 80), pixel_scale=0.065), psf=psf,
                                  background_rms=BACKGROUND_RMS, exposure_time=EXPOSURE_TIME)
        scene = jax.tree.map(lambda leaf, k=system: leaf[k], scenes)
        truth = values_of(prior(), scene)
        start = time.perf_counter()
        result = fit(prior(), [observation], seed=system, truth=truth)
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
            worst_pull=round(max(map(abs, pulls.values())), 2),
            pulls={name: round(value, 2) for name, value in pulls.items()}))
        print({key: value for key, value in rows[-1].items() if key != "pulls"}, flush=True)
    write(options.out, rows)


if __name__ == "__main__":
    main()
