"""Critical curves of a cluster and of its galaxies, from LensTool's files, told apart.

DIR is a folder with a `.par` that has potfiles. --z is the redshift of the source, --half-width that of the square
about the origin. One picture is left beside the JSON: critical curves and caustics, those of galaxies in red.
"""

import time
from pathlib import Path

import numpy as np
from _common import HERE, parser, write
from matplotlib.figure import Figure

from giga.io.lenstool.par import read_par
from giga.io.lenstool.potentials import masses, potentials
from giga.io.lenstool.potfiles import members
from giga.lensing.caustics import cross_sections, told_apart
from giga.lensing.critical import critical_curves
from giga.lensing.planes import Behind, Planes
from giga.runtime.atomic import write_bytes
from giga.show.plot import png

GALAXIES = (0.2, 3.5)  # equivalent Einstein radii of galaxy lenses in Angora et al. (2023) [arcsec]


def picture(curves, half):
    """Critical curves and caustics."""
    figure = Figure(figsize=(10.0, 5.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for curve in curves:
        style = {"color": "C3" if curve.secondary else "k", "lw": 0.8, "ls": "-" if curve.kind == "tangential" else ":"}
        left.plot(*curve.critical.T, **style)
        right.plot(*curve.caustic.T, **style)
    left.set(xlim=(-half, half), ylim=(-half, half), xlabel="$x$ [arcsec]", ylabel="$y$ [arcsec]", aspect="equal",
             title="critical curves")
    right.set(xlabel="$x$ [arcsec]", aspect="equal", title="caustics")
    return figure


def main():
    arguments = parser(__doc__ or "", "curves")
    arguments.add_argument("dir", type=Path, help="folder of the cluster")
    arguments.add_argument("--par", default="input.par")
    arguments.add_argument("--z", type=float, default=2.5)
    arguments.add_argument("--half-width", type=float, default=60.0)
    options = arguments.parse_args()
    if options.out == HERE / "results" / "curves.json":
        options.out = options.out.with_name(f"curves-{options.dir.name}.json")
    par = read_par(options.dir / options.par)
    halos, galaxies = masses(par), members(par)
    planes = Planes(redshifts=[potentials(par)[0].z_lens], sources=[options.z], absolute=True, cosmology=par.cosmology)
    places = np.concatenate([np.stack([one.catalogue.x, one.catalogue.y], 1) for one in galaxies])
    if options.smoke:
        places = places[:4]
    begun = time.perf_counter()
    curves = critical_curves([Behind(mass=halos + galaxies, planes=planes, z=options.z)], options.half_width,
                             galaxies=places)
    curves = told_apart(curves, [Behind(mass=halos, planes=planes, z=options.z)])
    seconds = time.perf_counter() - begun
    tangential = [curve for curve in curves if curve.kind == "tangential"]
    radii = [curve.einstein_radius for curve in tangential if curve.secondary]
    closed = all(curve.closed for curve in curves)
    write(options.out, {
        "members": len(places), "z_source": options.z, "half_width_arcsec": options.half_width, "seconds": seconds,
        "primary_radius_arcsec": max(curve.einstein_radius for curve in tangential if not curve.secondary),
        "secondary": len(radii), "galaxy_lenses": sum(GALAXIES[0] < radius < GALAXIES[1] for radius in radii),
        "largest_secondary_arcsec": max(radii), "open_curves": sum(not curve.closed for curve in curves),
        "cross_sections_arcsec2": cross_sections(curves) if closed else None})
    write_bytes(options.out.with_suffix(".png"), png(picture(curves, options.half_width)))


if __name__ == "__main__":
    main()
