"""Fit a cluster of galaxies by the images of six sources behind it: `giga fit` on a catalogue of members and of arcs.

    python examples/cluster/run.py --out runs/cluster

makes a cluster of two halos and 30 galaxies, writes its catalogues as LensTool has them, and fits them. With --data
FOLDER the files of that folder are fitted instead. With --smoke the fit is cut short and nothing is kept.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import minimum_filter
from scipy.optimize import root

from giga import FitConfig, Result
from giga.io.configuration.toml import load_config
from giga.io.lenstool.catalogues import Table, catalogue_of, write_table
from giga.jobs.run import run_fit
from giga.lensing.cosmology import Cosmology
from giga.lensing.tracing import deflection
from giga.mass import DPIE, Members
from giga.mass.members import gathered

CONFIG = Path(__file__).with_name("cluster.toml")
REFERENCE = (150.0, 2.2)
Z_LENS, SIGMA = 0.4, 0.3
FAINTEST = 0.7  # magnification
SOURCES = [(4.0, 0.3, 1.2), (2.0, 1.0, 1.7), (6.0, 0.4, 2.4), (2.2, 2.2, 3.1), (6.0, 3.6, 4.2), (10.0, 3.0, 5.5)]
"""x, y and redshift of each source."""
TRUTH = {
    "mass.0.sigma": 800.0, "mass.0.core": 6.0, "mass.0.e1": 0.12, "mass.0.e2": 0.06, "mass.0.center_x": 0.4,
    "mass.0.center_y": -0.3, "mass.1.sigma": 420.0, "mass.1.center_x": 25.0, "mass.1.center_y": 13.0,
    "mass.2.sigma": 150.0, "mass.2.cut": 6.0, "planes.sources.5": 5.5}
SHORT = {"cluster.pixel_scale": 2.0, "cluster.ladder": "source",  # whose programs compile sooner
         "inference.n_screen": 32, "inference.n_starts": 4, "inference.n_finalists": 2,
         "inference.map_rounds": 6, "inference.vi_axis": "none", "inference.vi_steps": 2, "inference.vi_samples": 4,
         "inference.n_chains": 4, "inference.n_block": 4, "inference.n_pilot": 1, "inference.min_iterations": 4,
         "inference.max_iterations": 4, "inference.derived": False}


def galaxies() -> Table:
    """A catalogue of 30 galaxies: the brightest in the middle, the others around the two halos."""
    rng = np.random.default_rng(30)
    count = 30
    which = rng.uniform(size=count) < 0.7
    middle = np.where(which[:, None], [0.0, 0.0], [25.0, 13.0])
    places = middle + rng.normal(0.0, 16.0, (count, 2))
    places[0] = 0.4, -0.3
    mag = np.sort(18.0 + 4.0 * rng.uniform(size=count) ** 0.6)
    ratio = rng.uniform(0.6, 1.0, count)
    return Table(tuple(map(str, range(1, count + 1))), places[:, 0], places[:, 1], np.ones(count), ratio,
                 rng.uniform(0.0, 180.0, count), np.zeros(count), mag, tuple(range(2, count + 2)), Path("members.cat"))


def simulate(folder: Path) -> None:
    """Write the catalogues of members and of images."""
    folder.mkdir(parents=True, exist_ok=True)
    table = galaxies()
    main = {key.removeprefix("mass.0."): value for key, value in TRUTH.items() if key.startswith("mass.0.")}
    second = {key.removeprefix("mass.1."): value for key, value in TRUTH.items() if key.startswith("mass.1.")}
    mass = [DPIE(cut=180.0, **main), DPIE(core=3.0, cut=80.0, **second),
            Members(catalogue=catalogue_of(table), sigma=150.0, cut=6.0, core=0.03, mag0=19.0)]
    axis = np.linspace(-60.0, 60.0, 401)
    alpha = jax.jit(lambda mass, x, y: deflection(gathered(mass), x, y))(mass, *np.meshgrid(axis, axis))
    bends = [RectBivariateSpline(axis, axis, np.asarray(part, float)) for part in alpha]  # of y and x
    weights = np.asarray(Cosmology().lensing_efficiency(Z_LENS, np.array([z for *_, z in SOURCES])), float)
    rng, rows = np.random.default_rng(6), []
    for k, ((x, y, z), weight) in enumerate(zip(SOURCES, weights, strict=True), start=1):
        for j, at in enumerate(images_of(np.array([x, y]), weight, bends, axis), start=1):
            rows.append((f"{k}.{j}", *(at + rng.normal(0.0, SIGMA, 2)), 0.0 if k == len(SOURCES) else z))
    names, xs, ys, zs = zip(*rows, strict=True)
    one, none = np.ones(len(rows)), np.zeros(len(rows))
    images = Table(names, np.array(xs), np.array(ys), one, one, none, np.array(zs), none, tuple(range(len(rows))),
                   Path("arcs.dat"))
    (folder / "members.cat").write_text(write_table(table, REFERENCE), encoding="utf-8")
    (folder / "arcs.dat").write_text(write_table(images, REFERENCE, images=True), encoding="utf-8")


def images_of(beta: np.ndarray, weight: float, bends: Sequence[RectBivariateSpline], axis: np.ndarray) -> np.ndarray:
    """Images of a source that are not much fainter than it, by Newton's method from where the grid comes near it."""

    def miss(at: np.ndarray) -> np.ndarray:
        return at - weight * np.array([bend(at[1], at[0])[0, 0] for bend in bends]) - beta

    def slope(at: np.ndarray) -> np.ndarray:
        return np.eye(2) - weight * np.array([[bend(at[1], at[0], dx=k, dy=1 - k)[0, 0] for k in (0, 1)]
                                              for bend in bends])

    x, y = np.meshgrid(axis, axis)
    apart = np.hypot(x - weight * bends[0](axis, axis) - beta[0], y - weight * bends[1](axis, axis) - beta[1])
    starts = np.argwhere((apart == minimum_filter(apart, 5)) & (apart < 3.0))
    found: list[np.ndarray] = []
    for row, column in starts:
        solved = root(miss, np.array([axis[column], axis[row]]), jac=slope)
        if solved.success and 1.0 / abs(np.linalg.det(slope(solved.x))) > FAINTEST \
                and all(np.hypot(*(solved.x - one)) > 0.1 for one in found):
            found.append(solved.x)
    return np.array(found)


def fit(data: Path, out: Path, overrides: Mapping[str, object], simulated: bool, **options: bool) -> Result:
    """Fit the files of a folder; a made cluster is compared with its truth."""
    config = load_config(CONFIG, fit_config_type=FitConfig, data_dir=data).with_overrides(overrides)
    return run_fit(config, out, truth=TRUTH if simulated else None, **options)


def show(result: Result) -> None:
    """Print how well the images of each source agree."""
    print(f"{'system':>8} {'images':>7} {'source plane':>13} {'image plane':>12}  rms [arcsec]")
    for row in (*result.field.rows, result.field.total):
        print(f"{row.name:>8} {row.images:7d} {row.source:13.4f} {row.image:12.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with members.cat and arcs.dat; made without it")
    parser.add_argument("--out", type=Path, default=Path("runs/cluster"), help="folder of the results")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in the folder")
    parser.add_argument("--overwrite", action="store_true", help="remove the run that the folder holds")
    parser.add_argument("--smoke", action="store_true", help="cut the fit short, and keep nothing")
    options = parser.parse_args()
    if options.smoke:  # programs that run for a moment are not worth optimising
        jax.config.update("jax_disable_most_optimizations", True)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) if options.smoke else options.out
        data = options.data or out / "catalogues"  # where a run that goes on finds them
        if options.data is None:
            simulate(data)
        show(fit(data, out, SHORT if options.smoke else {}, options.data is None, resume=options.resume,
                 overwrite=options.overwrite))


if __name__ == "__main__":
    main()
