"""Clusters from LensTool's files: scatter and rms of their images, time of a gradient, and of a map of deflections.

DIR is a folder with a `.par`, its potfiles and its catalogue of images. Systems with a redshift in the catalogue count
as spectroscopic; others take the middle of their prior in the `.par`, or what --redshift says. `lenstool` is LensTool's
own rule for sources: the mean of where images are traced to, weighted by the square root of the magnification; images
that are not found are left out of its chi2. `header` is what LensTool says of its own best fit. The arithmetic of a map
is its number of potentials and pixels times the seconds of one potential at one pixel, on so few pixels that they stay
in the cache. One core.
"""

import os
import resource
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import HERE, parser, write

from giga.bayes.systems import SystemImages, SystemsTerm, image_plane, scatter, source_plane, traced
from giga.io.lenstool.catalogues import read_images, system_names
from giga.io.lenstool.par import free_redshifts, middle, read_par
from giga.io.lenstool.potentials import masses, potentials
from giga.io.lenstool.potfiles import members
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.lensing.tracing import deflection
from giga.mass.members import gathered

SIDE = 1000
CACHED = 128  # pixels a side of a map that stays in the cache


def load(par, images, known, potfiles, given):
    """The scene, its images and the names of its systems; `given` has redshifts that the catalogue lacks."""
    table = read_images(images, par.reference)
    owners = system_names(table.names)
    priors, names, redshifts = free_redshifts(par), [], []
    for name in dict.fromkeys(owners):
        z = float(table.z[owners.index(name)])
        if z == 0.0 and known:
            continue
        names.append(name)
        redshifts.append(z if z > 0.0 else given[name] if name in given else middle(priors[name]))
    rows = [k for k, name in enumerate(owners) if name in names]
    data = SystemImages.of(table.x[rows], table.y[rows], par.sigma or 0.5, [names.index(owners[k]) for k in rows])
    mass = masses(par) + (members(par) if potfiles else [])
    planes = Planes(redshifts=[potentials(par)[0].z_lens], sources=redshifts, absolute=True, cosmology=par.cosmology)
    return Scene(mass=mass, planes=planes), data, names


def compared(scene, data):
    """Scatter in the source plane, and rms in the image plane by the best sources and by LensTool's."""
    weights = scene.planes.source_weights(0)

    @jax.jit
    def evaluated(mass):
        mass = gathered(mass)
        places, first = traced(mass, data, weights), source_plane(mass, data, weights)
        share = jnp.sqrt(jnp.abs(first.magnification))[:, None]
        system = np.asarray(data.system)
        beta = (jax.ops.segment_sum(share * places, system, data.count)
                / jax.ops.segment_sum(share, system, data.count))
        return scatter(places, data), image_plane(mass, data, weights), image_plane(mass, data, weights, beta)

    spread, best, theirs = jax.tree.map(np.asarray, evaluated(scene.mass))
    sigma = np.asarray(data.sigma)[:, None]
    out = {"systems": data.count, "images": len(data.system), "median_scatter_arcsec": float(np.median(spread)),
           "largest_scatter_arcsec": float(spread.max())}
    for name, placed in (("best", best), ("lenstool", theirs)):
        left = np.where(placed.settled[:, None] | (name == "best"), placed.residuals, 0.0)
        out[name] = {"rms_arcsec": float(np.sqrt(np.mean(np.sum((left * sigma) ** 2, -1)))),
                     "chi2": float(np.sum(left**2)), "found": int(placed.settled.sum())}
    return out, spread


def gradients(scene, data, repeats):
    """Milliseconds of one gradient of the likelihood by all that the scene holds, in float32."""
    out = {}
    single = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (scene, data))
    for ladder in ("source", "image"):
        run = jax.jit(jax.value_and_grad(lambda scene, data, ladder=ladder:
                                         SystemsTerm(data=data, ladder=ladder).log_likelihood(scene)))
        begun = time.perf_counter()
        program = run.lower(*single).compile()
        compile_s, times = time.perf_counter() - begun, []
        for _ in range(repeats):
            begun = time.perf_counter()
            jax.block_until_ready(program(*single))
            times.append(time.perf_counter() - begun)
        out[ladder] = {"compile_s": compile_s, "milliseconds": 1e3 * float(np.median(times))}
    return out


def field(scene, side, repeats):
    """Seconds and memory of a map of deflections, seconds of one potential, and compiling of ten times as many."""
    places = [np.meshgrid(*2 * [np.linspace(-60.0, 60.0, n, dtype=np.float32)]) for n in (side, min(side, CACHED))]
    halos = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), gathered(scene.mass))
    count = sum(len(one.each.sigma) for one in halos)
    run = jax.jit(deflection)
    asked = {"map": (halos, *places[0]), "one": (jax.tree.map(lambda leaf: leaf[:1], halos[-1:]), *places[1]),
             "tenfold": (jax.tree.map(lambda leaf: jnp.tile(leaf, 10), halos), *places[0])}
    out, programs = {"side": side, "potentials": count}, {}
    for name, given in asked.items():
        begun = time.perf_counter()
        programs[name] = run.lower(*given).compile()
        out[f"{name}_compile_s"] = time.perf_counter() - begun
    # In turns, so that what else the machine does meets both.
    times: dict[str, list[float]] = {"map": [], "one": []}
    for _ in range(repeats):
        for name, spent in times.items():
            calls = 1 if name == "map" else 100
            begun = time.perf_counter()
            for _ in range(calls):
                jax.block_until_ready(programs[name](*asked[name]))
            spent.append((time.perf_counter() - begun) / calls / asked[name][1].size)
    seconds = {name: float(np.median(spent)) for name, spent in times.items()}  # a pixel
    return out | {"map_s": side**2 * seconds["map"], "one_ns_a_pixel": 1e9 * seconds["one"],
                  "map_over_its_arithmetic": seconds["map"] / (count * seconds["one"]),
                  "map_temporary_MiB": programs["map"].memory_analysis().temp_size_in_bytes / 2**20}


def peak_gib():
    """Most memory that this process has had [GiB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    arguments = parser(__doc__, "clusters")
    arguments.add_argument("dir", type=Path, help="folder of the cluster")
    arguments.add_argument("--par", default="input.par")
    arguments.add_argument("--images", default="arcs.dat")
    arguments.add_argument("--all", action="store_true", help="systems without a redshift too")
    arguments.add_argument("--redshift", nargs="+", default=[], metavar="SYSTEM=Z", help="of systems without one")
    options = arguments.parse_args()
    # Before JAX starts its threads: large maps would run on more cores than what they are compared with.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    given = {name: float(z) for name, z in (pair.split("=") for pair in options.redshift)}
    if options.out == HERE / "results" / "clusters.json":
        options.out = options.out.with_name(f"clusters-{options.dir.name}.json")
    par = read_par(options.dir / options.par)
    scene, data, names = load(par, options.dir / options.images, not options.all, bool(par.named("potfile")), given)
    maps = field(scene, 64 if options.smoke else SIDE, 1 if options.smoke else 3)
    maps["peak_GiB"] = peak_gib()  # of a process that has made maps alone
    numbers, spread = compared(scene, data)
    numbers |= {"given": given, "header": list(par.comments),
                "scatter_arcsec": dict(zip(names, map(float, spread), strict=True)),
                "gradient": gradients(scene, data, 3 if options.smoke else 30),
                "map": maps, "peak_GiB": peak_gib()}
    write(options.out, numbers)


if __name__ == "__main__":
    main()
