"""Fit DESI-165.4754-06.0423 with the model of the DESI Strong Lens Foundry paper: 41 parameters, 33 amplitudes.

    python examples/foundry/run.py --out runs/foundry

simulates the image at the paper's best fit, at the depth of the HST image, and fits it. With --data FOLDER
the files of that folder are fitted instead, real ones for instance: see the README beside this file.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from giga import FitConfig, Result
from giga.bayes.prior import values_of
from giga.io.configuration.toml import load_config
from giga.jobs.problems import (
    EXPOSURES,
    F140W_ZERO_POINT,
    FOUNDRY_EXPOSURE,
    FOUNDRY_PIXEL_SCALE,
    foundry128,
    foundry_kernel,
)
from giga.jobs.run import run_fit

CONFIG = Path(__file__).with_name("fit.toml")
RA, DEC = 165.4754, -6.0423  # deg, of the lens
PIVOT = 13922.9  # Angstrom, of F140W
SHORT = {"inference.derived": False,
         "observation.0.cutout.size": 40, "source_light.1.n_max": 1, "inference.n_screen": 32, "inference.n_starts": 4,
         "inference.n_finalists": 2, "inference.map_steps": 4, "inference.map_rounds": 6, "inference.vi_axis": "none",
         "inference.vi_steps": 2, "inference.vi_samples": 4, "inference.n_chains": 4, "inference.n_block": 4,
         "inference.n_pilot": 1, "inference.min_iterations": 4, "inference.max_iterations": 4}


def simulate(folder: Path) -> None:
    """Write the simulated image and the PSF, with the HDUs and cards of an image that AstroDrizzle made."""
    folder.mkdir(parents=True, exist_ok=True)
    image = foundry128().observations[0].image
    primary = fits.PrimaryHDU()
    primary.header.update({
        "TELESCOP": "HST", "INSTRUME": "WFC3", "DETECTOR": "IR", "FILTER": "F140W", "PROPOSID": 15867,
        "TARGNAME": "DESI-165.4754-06.0423", "NDRIZIM": EXPOSURES, "EXPTIME": FOUNDRY_EXPOSURE,
        "ORIGIN": "simulated by giga"})
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [RA, DEC], [0.5 * (side + 1) for side in reversed(image.shape)]
    wcs.wcs.cd = FOUNDRY_PIXEL_SCALE / 3600.0 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    science = fits.ImageHDU(image.astype(np.float32), wcs.to_header(), name="SCI", ver=1)
    # PHOTFLAM in erg / s / cm^2 / Angstrom for one electron / s, from the AB zero point and the pivot wavelength.
    photflam = 10.0 ** (-0.4 * (F140W_ZERO_POINT + 5.0 * np.log10(PIVOT) + 2.4079))
    science.header.update({"BUNIT": "ELECTRONS/S", "PHOTFLAM": photflam, "PHOTPLAM": PIVOT, "PHOTZPT": -21.1})
    weight = fits.ImageHDU(np.full(image.shape, FOUNDRY_EXPOSURE, np.float32), wcs.to_header(), name="WHT", ver=1)
    fits.HDUList([primary, science, weight]).writeto(folder / "foundry_drz.fits", overwrite=True)
    fits.PrimaryHDU(foundry_kernel()).writeto(folder / "foundry_psf.fits", overwrite=True)


def fit(data: Path, out: Path, overrides: Mapping[str, object], simulated: bool, **options: bool) -> Result:
    """Fit the files of a folder; a simulated lens is compared with its truth."""
    config = load_config(CONFIG, fit_config_type=FitConfig, data_dir=data).with_overrides(overrides)
    problem = foundry128() if simulated else None
    return run_fit(config, out, truth=values_of(problem.prior, problem.truth) if problem else None, **options)


def main() -> None:
    """Read the command line, simulate and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with foundry_drz.fits and foundry_psf.fits to be fitted")
    parser.add_argument("--out", type=Path, default=Path("runs/foundry"))
    parser.add_argument("--simulate-only", type=Path, metavar="FOLDER", help="write the simulated files there, no more")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--smoke", action="store_true", help="a fit of a small part, cut short")
    arguments = parser.parse_args()
    if arguments.simulate_only is not None:
        simulate(arguments.simulate_only)
    elif arguments.smoke:
        with tempfile.TemporaryDirectory() as folder:
            simulate(Path(folder))
            fit(Path(folder), Path(folder) / "run", SHORT, simulated=True)
    else:
        data = arguments.data or arguments.out / "data"
        if arguments.data is None:
            simulate(data)
        fit(data, arguments.out, {}, simulated=arguments.data is None, resume=arguments.resume,
            overwrite=arguments.overwrite)


if __name__ == "__main__":
    main()
