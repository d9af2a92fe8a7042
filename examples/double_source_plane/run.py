"""Measure the equation of state of dark energy from a made double ring: two sources at their own redshifts, one lens.

    python examples/double_source_plane/run.py --out runs/double_source_plane

makes an image with noise and runs `giga fit` on it, as `double.toml` says. It ends with w0, and the ratio of distances
that the two rings measure, beside the truth, and a picture. With --smoke the fit is cut short and nothing is kept.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits

from giga import EPL, PSF, FitConfig, Grid, Result, Scene, Sersic, Shear
from giga.imaging.psf import plan
from giga.imaging.render import render
from giga.io.configuration.toml import load_config
from giga.jobs.run import run_fit
from giga.lensing.cosmology import Cosmology
from giga.lensing.planes import Planes
from giga.mass import SIS

CONFIG = Path(__file__).with_name("double.toml")
REDSHIFTS, W0 = (0.222, 0.609, 2.035), -1.0
PIXELS, SIDE, RMS, EXPOSURE = 64, 0.1, 0.01, 4000.0
SHORT = {"inference.n_screen": 16, "inference.n_starts": 2, "inference.n_finalists": 1, "inference.map_steps": 2,
         "inference.map_rounds": 1, "inference.vi_axis": "none", "inference.vi_steps": 2, "inference.vi_samples": 4,
         "inference.n_chains": 4, "inference.n_block": 4, "inference.n_pilot": 1, "inference.min_iterations": 4,
         "inference.max_iterations": 4, "inference.n_bridge": 32, "inference.n_predictive": 8,
         "inference.derived": False}


def truth() -> Scene:
    """The lens, with the near source as a small mass of its own."""
    near, far = (0.05, -0.03), (-0.06, 0.08)
    return Scene(
        mass=[EPL(theta_E=1.9, gamma=2.05, e1=0.06, e2=0.04, center_x=0.01, center_y=-0.02),
              Shear(gamma1=0.03, gamma2=-0.02),
              SIS(theta_E=0.12, center_x=near[0], center_y=near[1], plane=1)],
        lens_light=[Sersic(amp=6.0, R_sersic=0.7, n_sersic=3.0, center_x=0.01, center_y=-0.02)],
        source_light=[Sersic(amp=12.0, R_sersic=0.15, n_sersic=1.0, center_x=near[0], center_y=near[1], plane=1),
                      Sersic(amp=6.0, R_sersic=0.12, n_sersic=1.0, center_x=far[0], center_y=far[1])],
        planes=Planes(redshifts=list(REDSHIFTS), cosmology=Cosmology(w0=W0)))


def simulate(folder: Path) -> None:
    """Write the image."""
    folder.mkdir(parents=True, exist_ok=True)
    grid = Grid(shape=(PIXELS, PIXELS), pixel_scale=SIDE)
    psf = PSF.gaussian(fwhm=0.17, pixel_scale=SIDE, size=11)
    image = np.asarray(render(truth(), grid, plan(psf, grid.shape)), float)
    noise = np.sqrt(RMS**2 + np.maximum(image, 0.0) / EXPOSURE)
    image = image + noise * np.random.default_rng(609).standard_normal(image.shape)
    hdu = fits.PrimaryHDU(image.astype(np.float32))
    hdu.header["BUNIT"] = "counts/s"
    hdu.writeto(folder / "double.fits", overwrite=True)


def known() -> dict[str, float]:
    """True value of each free parameter by path."""
    scene = truth()
    parts = {f"{part}.{k}": profile for part in ("mass", "lens_light", "source_light")
             for k, profile in enumerate(getattr(scene, part))}
    free = ("theta_E", "gamma", "e1", "e2", "gamma1", "gamma2", "R_sersic", "n_sersic", "center_x", "center_y")
    values = {f"{path}.{name}": float(getattr(profile, name)) for path, profile in parts.items() for name in free
              if name in vars(profile)}
    return values | {"planes.cosmology.w0": W0}


def ratio(w0: np.ndarray) -> np.ndarray:
    """What deflections of the lens are multiplied by for the near source, for values of w0."""
    def one(w0: jax.Array) -> jax.Array:
        distances = Cosmology(w0=w0)
        return distances.lensing_efficiency(REDSHIFTS[0], REDSHIFTS[1]) / \
            distances.lensing_efficiency(REDSHIFTS[0], REDSHIFTS[2])

    return np.asarray(jax.jit(jax.vmap(one))(np.atleast_1d(w0)), float)


def show(result: Result, picture: Path | None) -> None:
    """Print w0 and the ratio of distances beside the truth, and draw the posterior."""
    w0 = np.ravel(result.samples["planes.cosmology.w0"])
    beta = ratio(w0)
    for name, draws, true in (("w0", w0, W0), ("ratio of distances", beta, float(ratio(np.array(W0))[0]))):
        low, middle, high = np.quantile(draws, [0.16, 0.5, 0.84])
        print(f"{name:20} {middle:8.4f} +{high - middle:.4f} -{middle - low:.4f}   truth {true:.4f}")
    if picture is None:
        return
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13.0, 4.0), layout="constrained")
    observation = result.observations[0]
    left.imshow(np.arcsinh(np.asarray(observation.image) / 0.1), origin="lower", cmap="magma",
                extent=observation.grid.extent)
    left.set(xlabel="x [arcsec]", ylabel="y [arcsec]", title="data")
    bins = np.linspace(-2.5, -0.2, 70).tolist()
    middle.hist([w0, np.ravel(result.prior_samples["planes.cosmology.w0"])], bins=bins, density=True, histtype="step",
                color=["C0", "0.6"], label=["posterior", "prior"])
    middle.axvline(W0, color="k", lw=1.0, label="truth")
    middle.set(xlabel="$w_0$", yticks=[])
    middle.legend(frameon=False)
    gamma = np.ravel(result.samples["mass.0.gamma"])
    right.plot(gamma, w0, ".", ms=2.0, alpha=0.5)
    right.plot(truth().mass[0].gamma, W0, "k+", ms=14.0)
    right.set(xlabel=r"slope $\gamma$ of the lens", ylabel="$w_0$")
    figure.savefig(picture, dpi=110)
    plt.close(figure)


def fit(data: Path, out: Path, overrides: Mapping[str, object], **options: bool) -> Result:
    """Fit the image."""
    config = load_config(CONFIG, fit_config_type=FitConfig, data_dir=data).with_overrides(overrides)
    return run_fit(config, out, truth=known(), **options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/double_source_plane"), help="folder of the results")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--overwrite", action="store_true", help="remove the run that the folder holds")
    parser.add_argument("--smoke", action="store_true", help="cut the fit short, and keep nothing")
    options = parser.parse_args()
    if options.smoke:  # programs that run for a moment are not worth optimising
        jax.config.update("jax_disable_most_optimizations", True)
        with tempfile.TemporaryDirectory() as scratch:
            simulate(Path(scratch))
            show(fit(Path(scratch), Path(scratch) / "run", SHORT), None)
        return
    simulate(options.out / "data")
    show(fit(options.out / "data", options.out / "run", {}, resume=options.resume, overwrite=options.overwrite),
         options.out / "w0.png")


if __name__ == "__main__":
    main()
