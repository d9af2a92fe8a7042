"""Fit SDSSJ0946+1006, the "Jackpot" lens, from a folder of its HST files.

    python examples/slacs0946/run.py DATA --out runs/slacs0946

DATA holds data.fits, noise_map.fits, psf.fits and mask_extra_galaxies.fits. With --smoke a simulated
stand-in takes the place of the data and the fit is cut short: it shows that the road is open, no more.
With --ring RUN nothing is fitted: it says how well the ring is in a run that is there, with the noise of DATA.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.ndimage import uniform_filter

from giga import EPL, PSF, FitConfig, Grid, Observation, Result, Scene, Sersic, Shear
from giga.imaging.psf import plan
from giga.imaging.render import render
from giga.io.configuration.toml import load_config
from giga.io.results.model import read_model
from giga.jobs.run import run_fit

CONFIG = Path(__file__).with_name("fit.toml")
SHORT = {"inference.derived": False, "source_light.1.n_max": 2,
         "inference.n_screen": 16, "inference.n_starts": 2, "inference.n_finalists": 1, "inference.map_steps": 2,
         "inference.map_rounds": 1, "inference.vi_axis": "none", "inference.vi_steps": 2, "inference.vi_samples": 8,
         "inference.n_chains": 4, "inference.n_block": 4, "inference.n_pilot": 1, "inference.min_iterations": 4,
         "inference.max_iterations": 4, "inference.n_bridge": 32, "inference.n_predictive": 8}


def stand_in(folder: Path, pixels: int = 131) -> None:
    """Write a simulated lens in the files, units and traps of the real one."""
    scene = Scene(
        mass=[EPL(theta_E=1.38, gamma=2.05, e1=-0.03, e2=0.05), Shear(gamma1=-0.05, gamma2=0.06)],
        lens_light=[Sersic(amp=1.0, R_sersic=0.6, n_sersic=3.0, e1=-0.03, e2=0.06)],
        source_light=[Sersic(amp=1.0, R_sersic=0.15, n_sersic=1.0, center_x=0.15, center_y=-0.06)])
    grid = Grid(shape=(pixels, pixels), pixel_scale=0.05)
    psf = PSF.gaussian(fwhm=0.1, pixel_scale=0.05, size=21)
    image = np.asarray(render(scene, grid, plan(psf, grid.shape)), float)
    noise = np.sqrt(0.0078**2 + np.maximum(image, 0.0) / 2000.0)
    image += noise * np.random.default_rng(946).standard_normal(image.shape)
    files = {"data": image, "noise_map": noise, "psf": 0.956 * np.asarray(psf.kernel),
             "mask_extra_galaxies": np.zeros(image.shape)}
    for name, array in files.items():
        fits.PrimaryHDU(array).writeto(folder / f"{name}.fits")


def ring_residuals(observation: Observation, model: np.ndarray, sigma: np.ndarray, inner: float = 0.9,
                   outer: float = 1.9) -> tuple[float, float]:
    """Largest normalised residual between two radii, of single pixels and of means over 3 x 3 pixels."""
    fitted = np.asarray(observation.mask)
    residual = np.where(fitted, (observation.image - model) / sigma, 0.0)
    share = uniform_filter(fitted.astype(float), 3)
    mean = 3.0 * uniform_filter(residual, 3) / np.sqrt(np.where(fitted, share, 1.0))
    radius = np.hypot(*(np.asarray(axis) for axis in observation.grid.coordinates()))
    ring = fitted & (radius >= inner) & (radius < outer)
    return float(np.abs(residual[ring]).max()), float(np.abs(mean[ring]).max())


def show(result: Result) -> None:
    """Print how well the ring is fitted."""
    say(*ring_residuals(result.observations[0], result.model_images[0], result.sigma_images[0]))


def say(pixel: float, mean: float) -> None:
    """Print residuals of the ring."""
    print(f"ring, 0.9 to 1.9 arcsec: largest residual {pixel:.1f} sigma in a pixel, {mean:.1f} in a mean over 3 x 3")


def main() -> None:
    """Read the command line and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="folder of the HST files")
    parser.add_argument("--out", type=Path, default=Path("runs/slacs0946"))
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--ring", type=Path, metavar="RUN", help="say how well the ring is in a run that is there")
    parser.add_argument("--smoke", action="store_true", help="a simulated stand-in, cut short")
    arguments = parser.parse_args()
    if arguments.smoke:
        with tempfile.TemporaryDirectory() as folder:
            stand_in(Path(folder))
            config = load_config(CONFIG, fit_config_type=FitConfig, data_dir=folder).with_overrides(SHORT)
            show(run_fit(config, Path(folder) / "run"))
        return
    if arguments.ring is not None and arguments.data is not None:
        (shown,) = read_model(arguments.ring / "model.fits")
        noise = fits.getdata(arguments.data / "noise_map.fits")
        margin = [(n - m) // 2 for n, m in zip(noise.shape, shown.sigma.shape, strict=True)]
        part = noise[margin[0]:margin[0] + shown.sigma.shape[0], margin[1]:margin[1] + shown.sigma.shape[1]]
        say(*ring_residuals(shown.observation, shown.model, part))
        return
    if arguments.data is None:
        parser.error("give the folder of the HST files, or --smoke")
    config = load_config(CONFIG, fit_config_type=FitConfig, data_dir=arguments.data)
    show(run_fit(config, arguments.out, resume=arguments.resume, overwrite=arguments.overwrite))


if __name__ == "__main__":
    main()
