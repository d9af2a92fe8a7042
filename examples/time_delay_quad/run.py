"""Measure the Hubble constant from a made quasar with four images: positions, flux ratios and time delays.

    python examples/time_delay_quad/run.py --out runs/time_delay_quad

makes what would be measured of the images, with errors, and runs `giga fit` on it, as `quad.toml` says. It ends with H0
and the time-delay distance beside the truth, and a picture. With --smoke the fit is cut short and nothing is kept.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np

from giga import EPL, FitConfig, Result, Scene, Shear
from giga.io.configuration.toml import load_config
from giga.jobs.run import run_fit
from giga.lensing.cosmology import Cosmology
from giga.lensing.delays import arrival_times
from giga.lensing.images import Finder, find_images
from giga.lensing.planes import Planes

CONFIG = Path(__file__).with_name("quad.toml")
H0, Z_LENS, Z_SOURCE = 70.0, 0.6, 1.7
SOURCE = (0.08, 0.06)
POSITION, FLUX, DELAY = 0.003, 0.1, 0.8  # errors: arcsec, of the flux, days
SHORT = {"inference.n_screen": 32, "inference.n_starts": 4, "inference.n_finalists": 2, "inference.map_rounds": 8,
         "inference.vi_axis": "none", "inference.vi_steps": 2, "inference.vi_samples": 4, "inference.n_chains": 4,
         "inference.n_block": 4, "inference.n_pilot": 1, "inference.min_iterations": 4, "inference.max_iterations": 4,
         "inference.derived": False}


def truth() -> Scene:
    """The lens."""
    return Scene(mass=[EPL(theta_E=1.35, gamma=1.95, e1=0.11, e2=-0.06, center_x=0.02, center_y=-0.01),
                       Shear(gamma1=0.03, gamma2=0.045)],
                 planes=Planes(redshifts=[Z_LENS, Z_SOURCE], cosmology=Cosmology(H0=H0)))


def measured(seed: int = 4) -> dict[str, Any]:
    """What is measured of the images, the first to arrive first, as values of the section [[points]]."""
    scene = truth()
    images = find_images(scene.lenses(), *SOURCE, Finder(half_width=3.0))
    x, y, mu = (np.asarray(part[:int(images.count)], float) for part in (images.x, images.y, images.magnification))
    days = np.asarray(arrival_times(scene.mass, scene.planes, x, y), float)
    order = np.argsort(days)
    x, y, flux, days = x[order], y[order], np.abs(mu[order]), days[order] - days.min()
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((4, len(x)))
    return {"x": np.round(x + POSITION * noise[0], 4).tolist(), "y": np.round(y + POSITION * noise[1], 4).tolist(),
            "flux": np.round(flux * (1.0 + FLUX * noise[2]), 3).tolist(),
            "flux_sigma": np.round(FLUX * flux, 3).tolist(),
            "delay": np.round(days + DELAY * noise[3], 2)[1:].tolist()}


def fit(out: Path, overrides: Mapping[str, object], **options: bool) -> Result:
    """Fit what was measured."""
    points = {f"points.0.{key}": value for key, value in measured().items()}
    config = load_config(CONFIG, fit_config_type=FitConfig).with_overrides(points | dict(overrides))
    lens, shear = truth().mass
    known = {f"mass.0.{key}": getattr(lens, key) for key in ("theta_E", "gamma", "e1", "e2", "center_x", "center_y")}
    known |= {f"mass.1.{key}": getattr(shear, key) for key in ("gamma1", "gamma2")}
    return run_fit(config, out, truth=known | {"planes.cosmology.H0": H0}, **options)


def distance(hubble: np.ndarray) -> np.ndarray:
    """Time-delay distance of the lens for values of H0 [Mpc]."""
    return np.asarray(Cosmology(H0=1.0).time_delay_distance(Z_LENS, Z_SOURCE), float) / hubble


def show(result: Result, picture: Path | None) -> None:
    """Print H0 and the distance beside the truth, and draw their posterior."""
    hubble = np.ravel(result.samples["planes.cosmology.H0"])
    for name, draws, true in (("H0 [km / s / Mpc]", hubble, H0),
                              ("time-delay distance [Mpc]", distance(hubble), float(distance(np.array(H0))))):
        low, middle, high = np.quantile(draws, [0.16, 0.5, 0.84])
        print(f"{name:26} {middle:8.1f} +{high - middle:.1f} -{middle - low:.1f}   truth {true:.1f}")
    if picture is None:
        return
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.0, 4.0), layout="constrained")
    prior = np.ravel(result.prior_samples["planes.cosmology.H0"])
    left.hist([hubble, prior], bins=np.linspace(40.0, 110.0, 71).tolist(), density=True, histtype="step",
              color=["C0", "0.6"], label=["posterior", "prior"])
    left.axvline(H0, color="k", lw=1.0, label="truth")
    left.set(xlabel="$H_0$ [km s$^{-1}$ Mpc$^{-1}$]", yticks=[])
    left.legend(frameon=False)
    gamma = np.ravel(result.samples["mass.0.gamma"])
    right.plot(gamma, hubble, ".", ms=2.0, alpha=0.5)
    right.plot(truth().mass[0].gamma, H0, "k+", ms=14.0)
    right.set(xlabel=r"slope $\gamma$", ylabel="$H_0$ [km s$^{-1}$ Mpc$^{-1}$]")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/time_delay_quad"), help="folder of the results")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--overwrite", action="store_true", help="remove the run that the folder holds")
    parser.add_argument("--smoke", action="store_true", help="cut the fit short, and keep nothing")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.smoke:  # programs that run for a moment are not worth optimising
        jax.config.update("jax_disable_most_optimizations", True)
        with tempfile.TemporaryDirectory() as scratch:
            show(fit(Path(scratch), SHORT), None)
        return
    result = fit(options.out, {}, resume=options.resume, overwrite=options.overwrite)
    show(result, options.out / "hubble.png")


if __name__ == "__main__":
    main()
