"""From a simulated image to a posterior in Python, ending with one figure.

    python examples/quickstart.py --out quickstart.png
"""

import argparse
from pathlib import Path

import numpy as np
import numpyro.distributions as dist

from giga import EPL, PSF, FitConfig, Grid, Observation, Scene, Sersic, Shear, fit
from giga.jobs.demo import BACKGROUND_RMS, EXPOSURE_TIME, PIXEL_SCALE, SUPERSAMPLING, simulate
from giga.runtime import parallel
from giga.show.plot import fit_figure, png
from giga.show.terminal import FitProgress


def main() -> None:
    """Simulate, fit, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("quickstart.png"))
    parser.add_argument("--smoke", action="store_true", help="a short fit, to show that it runs")
    arguments = parser.parse_args()
    parallel.start()

    # 1. Data. Yours come from `load_observation`; here the demonstration's image is made on the spot.
    image, kernel = simulate()
    observation = Observation(image=image, grid=Grid(shape=image.shape, pixel_scale=PIXEL_SCALE),
                              psf=PSF.from_native(kernel, SUPERSAMPLING), background_rms=BACKGROUND_RMS,
                              exposure_time=EXPOSURE_TIME)

    # 2. A scene of distributions is the prior. `amp` is left out: both amplitudes are solved.
    prior = Scene(
        mass=[EPL(theta_E=dist.LogNormal(np.log(1.2), 0.25), gamma=dist.TruncatedNormal(2.0, 0.25, low=1.2, high=2.8),
                  e1=dist.Normal(0.0, 0.1), e2=dist.Normal(0.0, 0.1)),
              Shear(gamma1=dist.Normal(0.0, 0.05), gamma2=dist.Normal(0.0, 0.05))],
        lens_light=[Sersic(R_sersic=dist.LogNormal(-0.2, 0.3), n_sersic=dist.Uniform(1.0, 6.0),
                           e1=dist.Normal(0.0, 0.1), e2=dist.Normal(0.0, 0.1))],
        source_light=[Sersic(R_sersic=dist.LogNormal(-1.5, 0.3), n_sersic=dist.Uniform(0.5, 4.0),
                             center_x=dist.Normal(0.0, 0.2), center_y=dist.Normal(0.0, 0.2))])

    # 3. Fit and look.
    config = FitConfig()
    if arguments.smoke:
        config = FitConfig(n_screen=32, n_starts=4, n_finalists=4, map_rounds=1, vi_steps=2, vi_samples=8, n_chains=4,
                           n_block=10, n_pilot=1, min_iterations=10, max_iterations=10)
    with FitProgress() as report:
        result = fit(prior, [observation], config=config, seed=1, report=report)
    print(result.summary())
    arguments.out.write_bytes(png(fit_figure(result)))
    print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
