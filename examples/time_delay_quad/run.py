"""Measure the Hubble constant from a made quasar with four images: positions, flux ratios and time delays.

    python examples/time_delay_quad/run.py --out runs/time_delay_quad

makes what would be measured of the images, with errors, and runs `giga fit` on it, as `quad.toml` says. It ends with H0
and the time-delay distance beside the truth, and a picture. With --pixels it makes an image too, with the quasar, its
host and the lens, and fits both at once, as `pixels.toml` says. With --smoke the fit is cut short and nothing is kept.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from giga.lensing.delays import arrival_times
from giga.lensing.images import Finder, find_images
from giga.lensing.planes import Planes
from giga.light import MicrolensedPoint

ALONE, BESIDE = (Path(__file__).with_name(name) for name in ("quad.toml", "pixels.toml"))
H0, Z_LENS, Z_SOURCE = 70.0, 0.6, 1.7
SOURCE = (0.08, 0.06)
POSITION, FLUX, DELAY = 0.003, 0.1, 0.8  # errors: arcsec, of the flux, days
PIXELS, SIDE, FWHM, RMS, EXPOSURE = 56, 0.08, 0.2, 0.02, 2000.0  # of the image, as pixels.toml has them
SEEN = (9.0, 14.0, 18.0, 7.0)  # fluxes of the quasar's images in it, no longer as they are magnified [counts / s]
SHORT = {"inference.n_screen": 32, "inference.n_starts": 4, "inference.n_finalists": 2, "inference.map_rounds": 8,
         "inference.vi_axis": "none", "inference.vi_steps": 2, "inference.vi_samples": 4, "inference.n_chains": 4,
         "inference.n_block": 4, "inference.n_pilot": 1, "inference.min_iterations": 4, "inference.max_iterations": 4,
         "inference.n_bridge": 32, "inference.n_predictive": 8}


def truth() -> Scene:
    """The lens."""
    return Scene(mass=[EPL(theta_E=1.35, gamma=1.95, e1=0.11, e2=-0.06, center_x=0.02, center_y=-0.01),
                       Shear(gamma1=0.03, gamma2=0.045)],
                 planes=Planes(redshifts=[Z_LENS, Z_SOURCE], cosmology=Cosmology(H0=H0)))


def images() -> tuple[np.ndarray, ...]:
    """The images, the first to arrive first: x, y, their flux over that of the source, and their delay [days]."""
    scene = truth()
    found = find_images(scene.lenses(), *SOURCE, Finder(half_width=3.0))
    x, y, mu = (np.asarray(part[:int(found.count)], float) for part in (found.x, found.y, found.magnification))
    days = np.asarray(arrival_times(scene.mass, scene.planes, x, y), float)
    order = np.argsort(days)
    return x[order], y[order], np.abs(mu[order]), days[order] - days.min()


def measured(seed: int = 4) -> dict[str, Any]:
    """What is measured of the images as values of the section [[points]]."""
    x, y, flux, days = images()
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((4, len(x)))
    return {"x": np.round(x + POSITION * noise[0], 4).tolist(), "y": np.round(y + POSITION * noise[1], 4).tolist(),
            "flux": np.round(flux * (1.0 + FLUX * noise[2]), 3).tolist(),
            "flux_sigma": np.round(FLUX * flux, 3).tolist(),
            "delay": np.round(days + DELAY * noise[3], 2)[1:].tolist()}


def shining() -> Scene:
    """The lens with its light, the quasar and its host."""
    x, y, *_ = images()
    at = dict(zip(("center_x", "center_y"), SOURCE, strict=True))
    return truth().replace(
        lens_light=[Sersic(amp=2.0, R_sersic=0.8, n_sersic=3.5, e1=0.08, e2=-0.05, center_x=0.02, center_y=-0.01)],
        source_light=[MicrolensedPoint(amp=np.array(SEEN), x=tuple(x), y=tuple(y), **at),
                      Sersic(amp=6.0, R_sersic=0.25, n_sersic=1.2, e1=0.1, e2=0.15, **at)])


def simulate(folder: Path) -> None:
    """Write the image."""
    folder.mkdir(parents=True, exist_ok=True)
    grid = Grid(shape=(PIXELS, PIXELS), pixel_scale=SIDE)
    psf = PSF.gaussian(fwhm=FWHM, pixel_scale=SIDE, size=15, supersampling=2)
    image = np.asarray(render(shining(), grid, plan(psf, grid.shape, np.float64)), float)
    noise = np.sqrt(RMS**2 + np.maximum(image, 0.0) / EXPOSURE)
    hdu = fits.PrimaryHDU((image + noise * np.random.default_rng(6).standard_normal(image.shape)).astype(np.float32))
    hdu.header["BUNIT"] = "counts/s"
    hdu.writeto(folder / "quad.fits", overwrite=True)


def known(scene: Scene) -> dict[str, float]:
    """True value of each free parameter by path."""
    free = ("theta_E", "gamma", "e1", "e2", "gamma1", "gamma2", "R_sersic", "n_sersic", "center_x", "center_y")
    return {"planes.cosmology.H0": H0} | {
        f"{part}.{k}.{name}": float(getattr(profile, name)) for part in ("mass", "lens_light", "source_light")
        for k, profile in enumerate(getattr(scene, part)) for name in free if name in vars(profile)}


def fit(out: Path, overrides: Mapping[str, object], data: Path | None = None, **options: bool) -> Result:
    """Fit what was measured, alone or beside the image in a folder."""
    points = {f"points.0.{key}": value for key, value in measured().items()}
    config = load_config(ALONE if data is None else BESIDE, fit_config_type=FitConfig, data_dir=data)
    scene = truth() if data is None else shining()
    return run_fit(config.with_overrides(points | dict(overrides)), out, truth=known(scene), **options)


def show(result: Result, picture: Path | None) -> None:
    """Print H0 and the distance beside the truth, and draw their posterior."""
    hubble = np.ravel(result.samples["planes.cosmology.H0"])
    known = [("H0 [km / s / Mpc]", hubble, H0)]
    if result.derived is not None:
        true_distance = float(Cosmology(H0=H0).time_delay_distance(Z_LENS, Z_SOURCE))
        known.append(("time-delay distance [Mpc]", result.derived.draws["time_delay_distance"], true_distance))
    for name, draws, true in known:
        low, middle, high = np.quantile(draws, [0.16, 0.5, 0.84])
        print(f"{name:26} {middle:8.1f} +{high - middle:.1f} -{middle - low:.1f}   truth {true:.1f}")
    for k, true in enumerate(SEEN if result.amplitudes.draws else ()):
        draws = result.amplitudes.draws["source_light.0.amp"][..., k]
        print(f"{f'flux of image {k} [counts / s]':26} {np.mean(draws):8.2f} +- {np.std(draws):.2f}   truth {true:.2f}")
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
    parser.add_argument("--pixels", action="store_true", help="fit an image beside them")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--overwrite", action="store_true", help="remove the run that the folder holds")
    parser.add_argument("--smoke", action="store_true", help="cut the fit short, and keep nothing")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.smoke:  # programs that run for a moment are not worth optimising
        jax.config.update("jax_disable_most_optimizations", True)
        with tempfile.TemporaryDirectory() as scratch:
            if options.pixels:
                simulate(Path(scratch))
            overrides = SHORT | ({"inference.derived": False} if options.pixels else {})
            show(fit(Path(scratch) / "run", overrides, Path(scratch) if options.pixels else None), None)
        return
    data, run = (options.out / "data", options.out / "run") if options.pixels else (None, options.out)
    if data is not None:
        simulate(data)
    result = fit(run, {}, data, resume=options.resume, overwrite=options.overwrite)
    show(result, options.out / "hubble.png")


if __name__ == "__main__":
    main()
