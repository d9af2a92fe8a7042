"""Forty HST lenses by one configuration, unattended: fit them, and set their Einstein radii beside published ones.

    python examples/slacs_fleet/run.py DIR --out runs/slacs

DIR holds catalogue.csv: name, image, noise_map and psf (FITS, paths from DIR), the redshifts z_lens and z_source where
they are known, and theta_E_published [arcsec] where a paper has it. The same as `giga fit-many DIR/catalogue.csv
--config examples/slacs_fleet/fleet.toml --out runs/slacs --ignore theta_E_published`, and a table at its end. Run it
again to go on; `--workers N` is that of the command. With --smoke there are two small simulated lenses in the same
format, a single Sersic for their light, and fits that are cut short.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from giga import EPL, PSF, Grid, Scene, Sersic, Shear
from giga.imaging.psf import plan
from giga.imaging.render import render
from giga.jobs.fleet import plan_fleet, run_fleet
from giga.runtime.parallel import start_devices
from giga.runtime.workers import Workers

CONFIG = Path(__file__).with_name("fleet.toml")
SHORT = {"observation.0.cutout": {"x": 22, "y": 22, "size": 41}, "observation.0.mask_keep": [{"radius": 1.0}],
         "observation.0.supersampling": 1, "observation.0.correlation": "none", "observation.0.noise_scale": 1.0,
         "lens_light": [{"profile": "Sersic", "R_sersic": 0.4, "n_sersic": 3.0, "e1": 0.1}],  # compiles in less time
         "inference.derived": False, "inference.n_predictive": 0,
         "inference.n_screen": 16, "inference.n_starts": 4, "inference.n_finalists": 4, "inference.map_steps": 3,
         "inference.map_rounds": 2, "inference.vi_steps": 2, "inference.vi_samples": 8, "inference.n_chains": 4,
         "inference.n_block": 10, "inference.n_pilot": 1, "inference.min_iterations": 10,
         "inference.max_iterations": 10, "inference.n_bridge": 16}
RMS = 0.01  # counts / s


def simulate(folder: Path, count: int = 2, pixels: int = 45) -> Path:
    """Write small lenses as the catalogue's: image, noise map with pixels that are bad, PSF.

    Args:
        folder: Where they go.
        count: Number of lenses.
        pixels: Side of an image.

    Returns:
        The catalogue.
    """
    rng, grid = np.random.default_rng(7), Grid(shape=(pixels, pixels), pixel_scale=0.05)
    psf = PSF.gaussian(fwhm=0.12, pixel_scale=0.05, size=7)
    rows = []
    for k in range(count):
        name, theta_E = f"SIM{k}", rng.uniform(0.5, 0.7)
        (folder / name).mkdir(exist_ok=True)
        light = Sersic(amp=30.0, R_sersic=0.4, n_sersic=3.0, e1=0.1)
        source = Sersic(amp=60.0, R_sersic=0.1, n_sersic=1.0, center_x=rng.normal(0.0, 0.05), center_y=0.05)
        model = np.asarray(render(Scene(mass=[EPL(theta_E=theta_E, gamma=2.0, e1=0.1), Shear(gamma1=0.02, gamma2=0.0)],
                                        lens_light=[light], source_light=[source]), grid, plan(psf, grid.shape)), float)
        noise = np.sqrt(RMS**2 + np.maximum(model, 0.0) / 2000.0)
        image = model + noise * rng.standard_normal(model.shape)
        noise[3:6, 3:6] = 1e8
        for file, array in (("image", image), ("noise", noise), ("psf", np.asarray(psf.kernel, float))):
            fits.PrimaryHDU(array).writeto(folder / name / f"{file}.fits", overwrite=True)
        rows.append({"name": name, "image": f"{name}/image.fits", "noise_map": f"{name}/noise.fits",
                     "psf": f"{name}/psf.fits", "z_lens": 0.3, "z_source": 0.7, "theta_E_published": theta_E})
    Table(rows).write(folder / "catalogue.csv", format="ascii.csv", overwrite=True)
    return folder


def beside(folder: Path, out: Path) -> Table:
    """Einstein radii beside published ones, for the lenses that have both; written to published.csv in `out`.

    The radius is the effective one, of the area in the critical curve, where it was computed, else `theta_E`.
    """
    with open(folder / "catalogue.csv", newline="", encoding="utf-8") as file:
        published = {row["name"]: row["theta_E_published"] for row in csv.DictReader(file)}
    rows = []
    for name, theirs in published.items():
        table = out / "lenses" / name / "table.csv"
        if not theirs or not table.is_file():
            continue
        fit = Table.read(table, format="ascii.csv")
        key = "einstein_radius" if "einstein_radius_mean" in fit.colnames else "mass.0.theta_E"
        ours = float(fit[f"{key}_mean"][0])
        rows.append({"name": name, "published": float(theirs), "giga": ours, "sd": float(fit[f"{key}_sd"][0]),
                     "difference_percent": 100.0 * (ours / float(theirs) - 1.0)})
    found = Table(rows, names=("name", "published", "giga", "sd", "difference_percent"),
                  dtype=(str, float, float, float, float))
    found.write(out / "published.csv", format="ascii.csv", overwrite=True)
    return found


def main() -> None:
    """Read the command line, fit, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="folder with catalogue.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/slacs"))
    parser.add_argument("--workers", type=int, help="processes that fit; this one without")
    parser.add_argument("--smoke", action="store_true", help="two small simulated lenses, cut short")
    arguments = parser.parse_args()
    where = Workers(arguments.workers)
    if arguments.folder is None and not arguments.smoke:
        parser.error("DIR is missing: the folder with catalogue.csv and the images")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if arguments.smoke else arguments.out
        start_devices()  # before the first computation, so that every core is a device
        folder = simulate(out) if arguments.smoke else arguments.folder
        fleet = plan_fleet(folder / "catalogue.csv", CONFIG, overrides=SHORT if arguments.smoke else {},
                           ignore=["theta_E_published"], where=where)
        run_fleet(fleet, out, where=where, draw=not arguments.smoke)
        found = beside(folder, out)
        for name in ("published", "giga", "sd"):
            found[name].info.format = ".4f"
        found["difference_percent"].info.format = "+.1f"
        found.pprint_all()
        errors = np.abs(found["difference_percent"])
        print(f"{len(found)} lenses with a published Einstein radius: median difference {np.median(errors):.1f}%, "
              f"{int(np.sum(errors > 5.0))} above 5%")


if __name__ == "__main__":
    main()
