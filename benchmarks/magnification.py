"""Numbers of the Foundry paper at its best fit: Einstein radius, mass, and magnification by three methods.

Huang et al. (2025), arXiv:2502.03455: Tables 3 and 5, section 4 and appendix A. The paper gives neither the threshold
nor the amplitudes of the source's seven orders of shapelets, so the magnifications are those of two sources at its
places: the best fit as `giga.jobs.problems.foundry` has it, with amplitudes drawn, and a round Gaussian of the width
and at the place of the shapelets, their lowest order.
"""

import time

import jax
import numpy as np
from _common import parser, write

from giga.jobs.problems.foundry import FOUNDRY_PIXEL_SCALE, FOUNDRY_PIXELS, foundry_truth
from giga.lensing.cosmology import Cosmology
from giga.lensing.einstein import einstein_numbers
from giga.lensing.magnification import Square, lensed, magnifications
from giga.lensing.redshifts import Redshifts
from giga.lensing.scene import Scene
from giga.light import Gaussian

PAPER = {"mass": 1.739e12, "totals": [174.00, 167.09, 169.99], "z_lens": 0.4834, "z_source": 1.6748}
COSMOLOGIES = {"stated (Planck 2018)": Cosmology(H0=67.4, Om0=0.315), "H0 70, Om0 0.3": Cosmology()}


def main() -> None:
    options = parser(__doc__, "magnification").parse_args()
    jax.config.update("jax_enable_x64", True)
    truth = jax.tree.map(np.float64, foundry_truth())
    masses = jax.tree.map(lambda leaf: np.full(2, leaf), list(truth.mass))
    found = einstein_numbers(masses, 0.5 * FOUNDRY_PIXELS * FOUNDRY_PIXEL_SCALE)
    results: dict = {"paper": PAPER, "einstein_radius_arcsec": float(found.radius[0]), "slope": float(found.slope[0]),
                     "mass_over_critical_arcsec2": float(found.mass[0]), "mass": {}, "magnification": {}}
    for name, cosmology in COSMOLOGIES.items():
        z = Redshifts(PAPER["z_lens"], PAPER["z_source"], cosmology)
        mass = float(found.mass[0]) * z.mass_per_arcsec2
        results["mass"][name] = {"solar_masses": mass, "over_the_papers": mass / PAPER["mass"]}
    results["seconds_of_1000_lenses"] = _timed(truth, 64 if options.smoke else 1000)
    shapelets = truth.source_light[1]
    lowest = Scene(mass=truth.mass, source_light=[Gaussian(amp=1.0, sigma=shapelets.beta, center_x=shapelets.center_x,
                                                           center_y=shapelets.center_y)])
    square = Square(x=0.0, y=0.0, side=FOUNDRY_PIXELS * FOUNDRY_PIXEL_SCALE)
    for source, scene in {"best fit, amplitudes drawn": truth, "lowest order of the shapelets": lowest}.items():
        rows = results["magnification"].setdefault(source, [])
        for fine in (1, 4):
            n = fine * FOUNDRY_PIXELS
            pixel = FOUNDRY_PIXEL_SCALE / fine
            run = jax.jit(lambda scene, share, n=n: lensed(scene, square, share, n))
            for share in (0.25, 0.5, 0.75):
                seen = run(scene, share)
                each = magnifications(seen, pixel**2)
                rows.append(dict(image_pixel_arcsec=pixel, share=share, arcs=len(each.counts),
                                 totals=each.totals.round(2).tolist(), peaks=float(seen.peaks),
                                 over_the_papers=(each.totals / PAPER["totals"]).round(3).tolist(),
                                 each=[np.round(part, 2).tolist() for part in each]))
    write(options.out, results)


def _timed(truth: Scene, count: int) -> dict:
    """Seconds of the Einstein radii of draws about the best fit, compiled; scaled to 1000."""
    rng = np.random.default_rng(0)
    mass = [truth.mass[0].reaching(0.43, np.float32), truth.mass[1]]  # as the prior of a fit sets it up
    masses = jax.tree.map(lambda leaf: leaf + 0.002 * rng.normal(size=count), mass)
    out = {}
    for name in ("with compiling", "compiled"):
        begun, cpu = time.perf_counter(), time.process_time()
        einstein_numbers(masses, 4.0)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
        out[name] = {"wall": wall * 1000 / count, "cpu": cpu * 1000 / count}
    return out


if __name__ == "__main__":
    main()
