"""A fleet: simulate lenses as a survey would have them, write images and a catalogue, fit them all, print the table.

    python examples/fleet/run.py --out runs/fleet --lenses 16

The same as `giga fit-many runs/fleet/catalogue.csv --config examples/fleet/fleet.toml --out runs/fleet`, once the
images are there; `--workers N` is that of the command. With --smoke there are four small lenses and the fits are cut
short.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from giga import EPL, PSF, Grid, Scene, Sersic
from giga.imaging.psf import plan
from giga.imaging.render import render
from giga.jobs.fleet import plan_fleet, run_fleet
from giga.runtime.parallel import start_devices
from giga.runtime.workers import Workers

CONFIG = Path(__file__).with_name("fleet.toml")
SHORT = {"inference.derived": False,
         "inference.n_screen": 64, "inference.n_starts": 8, "inference.n_finalists": 4, "inference.map_steps": 4,
         "inference.map_rounds": 2, "inference.vi_steps": 4, "inference.vi_samples": 16, "inference.n_chains": 4,
         "inference.n_block": 25, "inference.n_pilot": 1, "inference.min_iterations": 25,
         "inference.max_iterations": 50}
RMS = 0.01  # counts / s
SHOWN = ("truth", "mean", "sd", "q16", "q84")


def simulate(folder: Path, count: int, pixels: int) -> Path:
    """Write images, the PSF and the catalogue of some lenses.

    Args:
        folder: Where they go.
        count: Number of lenses.
        pixels: Side of an image; it is 4 arcsec wide.

    Returns:
        The catalogue, which has the true values too.
    """
    rng, scale = np.random.default_rng(3), 4.0 / pixels
    grid, psf = Grid(shape=(pixels, pixels), pixel_scale=scale), PSF.gaussian(fwhm=0.12, pixel_scale=scale, size=7)
    fits.PrimaryHDU(np.asarray(psf.kernel, float)).writeto(folder / "psf.fits", overwrite=True)
    blur, rows = plan(PSF.from_native(np.asarray(psf.kernel, float), 2), grid.shape), []
    for k in range(count):
        truth = {"mass.0.theta_E": rng.uniform(0.8, 1.3), "mass.0.gamma": rng.normal(2.0, 0.1),
                 "mass.0.e1": rng.normal(0.0, 0.1), "mass.0.e2": rng.normal(0.0, 0.1),
                 "source_light.0.R_sersic": rng.uniform(0.12, 0.25),
                 "source_light.0.center_x": rng.normal(0.0, 0.1), "source_light.0.center_y": rng.normal(0.0, 0.1)}
        numbers = {name: value for name, value in truth.items() if name.startswith("mass")}
        mass = EPL(**{name.rpartition(".")[2]: value for name, value in numbers.items()})
        source = {name.rpartition(".")[2]: value for name, value in truth.items() if name not in numbers}
        model = np.asarray(render(Scene(mass=[mass], source_light=[Sersic(amp=20.0, n_sersic=1.0, **source)]), grid,
                                  blur), float)
        exposure = float(rng.choice([800.0, 1600.0]))
        image = model + np.sqrt(RMS**2 + np.maximum(model, 0.0) / exposure) * rng.standard_normal(model.shape)
        hdu = fits.PrimaryHDU(image)
        hdu.header["BUNIT"] = "electron/s"
        hdu.writeto(folder / f"lens{k:03d}.fits", overwrite=True)
        rows.append({"name": f"SIM{k:03d}", "image": f"lens{k:03d}.fits", "pixel_scale": scale,
                     "exposure_time": exposure, "seed": k, "mass.0.theta_E.loc": np.log(truth["mass.0.theta_E"] * 1.05),
                     **{f"truth.{name}": value for name, value in truth.items()}})
    catalogue = folder / "catalogue.csv"
    Table(rows).write(catalogue, format="ascii.csv", overwrite=True)
    return catalogue


def main() -> None:
    """Read the command line, simulate and fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/fleet"))
    parser.add_argument("--lenses", type=int, default=16)
    parser.add_argument("--workers", type=int, help="processes that fit; this one without")
    parser.add_argument("--smoke", action="store_true", help="four small lenses, cut short")
    arguments = parser.parse_args()
    where = Workers(arguments.workers)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if arguments.smoke else arguments.out
        out.mkdir(parents=True, exist_ok=True)
        start_devices()  # before the first computation, so that every core is a device
        catalogue = simulate(out, 4 if arguments.smoke else arguments.lenses, 28 if arguments.smoke else 80)
        fleet = plan_fleet(catalogue, CONFIG, data_dir=out, overrides=SHORT if arguments.smoke else {}, where=where)
        run_fleet(fleet, out, where=where, draw=not arguments.smoke)
        table = Table.read(out / "summary.fits")
        numbers = ["reduced_chi2", "worst_rhat", "smallest_ess", *(f"mass_0_theta_E_{key}" for key in SHOWN)]
        for name in numbers:
            table[name].info.format = ".4g"
        table["name", "status", *numbers].pprint_all()


if __name__ == "__main__":
    main()
