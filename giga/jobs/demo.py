"""The embedded default: simulate an HST-like quad with giga's own tracer, then fit it like any other lens."""

from pathlib import Path

import jax
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from giga.imaging.grid import Grid
from giga.imaging.psf import PSF, plan
from giga.imaging.render import render
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL, Shear
from giga.runtime.atomic import write_atomically, write_text

PIXELS = 80  # a side
PIXEL_SCALE = 0.05  # arcsec, a drizzled HST image
SUPERSAMPLING = 2
BACKGROUND_RMS = 0.006  # counts / s
EXPOSURE_TIME = 2200.0  # s
SEED = 1

TRUTH = Scene(
    mass=[EPL(theta_E=1.17, gamma=1.96, e1=0.11, e2=-0.07, center_x=0.012, center_y=-0.018),
          Shear(gamma1=-0.035, gamma2=0.022)],
    lens_light=[Sersic(amp=7.0, R_sersic=0.82, n_sersic=3.4, e1=0.08, e2=-0.05, center_x=0.004, center_y=-0.007)],
    source_light=[Sersic(amp=14.0, R_sersic=0.19, n_sersic=1.4, e1=-0.12, e2=0.16, center_x=0.055, center_y=0.038)],
)
"""The lens that is simulated: a quad with an arc, 22 parameters, all of them fitted."""

CONFIG = f"""\
# giga's demonstration: a simulated quad, 22 free parameters.

[run]
seed = {SEED}

[[observation]]
image = "data.fits"
psf = "psf.fits"
supersampling = {SUPERSAMPLING}
background_rms = {BACKGROUND_RMS}
exposure_time = {EXPOSURE_TIME}

[[mass]]
profile = "EPL"
theta_E = {{dist = "LogNormal", loc = 0.2, scale = 0.25}}
gamma = {{dist = "TruncatedNormal", loc = 2.0, scale = 0.25, low = 1.2, high = 2.8}}
e1 = {{dist = "Normal", loc = 0.0, scale = 0.1}}
e2 = {{dist = "Normal", loc = 0.0, scale = 0.1}}
center_x = {{dist = "Normal", loc = 0.0, scale = 0.03}}
center_y = {{dist = "Normal", loc = 0.0, scale = 0.03}}

[[mass]]
profile = "Shear"
gamma1 = {{dist = "Normal", loc = 0.0, scale = 0.05}}
gamma2 = {{dist = "Normal", loc = 0.0, scale = 0.05}}

[[lens_light]]
profile = "Sersic"
amp = {{dist = "LogNormal", loc = 1.6, scale = 0.7}}
R_sersic = {{dist = "LogNormal", loc = -0.2, scale = 0.3}}
n_sersic = {{dist = "Uniform", low = 1.0, high = 6.0}}
e1 = {{dist = "Normal", loc = 0.0, scale = 0.1}}
e2 = {{dist = "Normal", loc = 0.0, scale = 0.1}}
center_x = {{dist = "Normal", loc = 0.0, scale = 0.02}}
center_y = {{dist = "Normal", loc = 0.0, scale = 0.02}}

[[source_light]]
profile = "Sersic"
amp = {{dist = "LogNormal", loc = 2.3, scale = 0.7}}
R_sersic = {{dist = "LogNormal", loc = -1.5, scale = 0.3}}
n_sersic = {{dist = "Uniform", low = 0.5, high = 4.0}}
e1 = {{dist = "Normal", loc = 0.0, scale = 0.15}}
e2 = {{dist = "Normal", loc = 0.0, scale = 0.15}}
center_x = {{dist = "Normal", loc = 0.0, scale = 0.2}}
center_y = {{dist = "Normal", loc = 0.0, scale = 0.2}}
"""


def simulate(seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Simulate the demonstration's image.

    Args:
        seed: Seed of the noise.

    Returns:
        Image, shape (PIXELS, PIXELS) [counts / s], and the native PSF kernel.
    """
    grid = Grid(shape=(PIXELS, PIXELS), pixel_scale=PIXEL_SCALE)
    kernel = np.asarray(PSF.gaussian(fwhm=0.1, pixel_scale=PIXEL_SCALE, size=13).kernel, float)
    wings = np.asarray(PSF.gaussian(fwhm=0.25, pixel_scale=PIXEL_SCALE, size=13).kernel, float)
    kernel = 0.85 * kernel + 0.15 * wings
    convolution = plan(PSF.from_native(kernel, SUPERSAMPLING), grid.shape)
    rendered = jax.jit(render)(jax.tree.map(np.float32, TRUTH), grid, convolution)
    model = np.asarray(rendered, float)
    sigma = np.sqrt(BACKGROUND_RMS**2 + np.maximum(model, 0.0) / EXPOSURE_TIME)
    return model + sigma * np.random.default_rng(seed).standard_normal(model.shape), kernel


def write_demo(folder: Path, seed: int = SEED) -> Path:
    """Write the demonstration's image, PSF and configuration, as a user would have them.

    Args:
        folder: Made if it is not there.
        seed: Seed of the noise and of the fit.

    Returns:
        The configuration file, `demo.toml`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image, kernel = simulate(seed)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.2], [0.5 * (PIXELS + 1)] * 2
    wcs.wcs.cdelt = [-PIXEL_SCALE / 3600.0, PIXEL_SCALE / 3600.0]
    header = wcs.to_header()
    header["BUNIT"], header["EXPTIME"], header["OBJECT"] = "electron/s", EXPOSURE_TIME, "giga demonstration"
    write_atomically(folder / "data.fits", lambda path: fits.PrimaryHDU(image, header).writeto(path, overwrite=True))
    write_atomically(folder / "psf.fits", lambda path: fits.PrimaryHDU(kernel).writeto(path, overwrite=True))
    return write_text(folder / "demo.toml", CONFIG.replace(f"seed = {SEED}", f"seed = {seed}"))
