"""Lenses injected a second in a cluster of hundreds of potentials, three bands, on the cores that there are.

PAR is a model of LensTool; a prepared cluster (.npz) is taken as it is. `whole` is an image with the light of the
members and its noise, `light` the lensed source alone, traced and convolved. Seconds are of the wall; `cpu_ms` is the
time that the process had a core, which other work on the machine does not change.
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write

from giga.imaging.grid import Grid
from giga.io.clusters.fields import load_field
from giga.io.clusters.models import read_cluster
from giga.runtime import parallel
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems.cluster_fields import prepare
from giga.simulate.systems.clusters import cluster_lenses

ROUNDS = 5


def timed(simulator, images):
    """Milliseconds an image, of the wall and of the processor: the fastest of some rounds."""
    jax.block_until_ready(simulator.simulate(jax.random.key(0), images))
    rows = []
    for k in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(simulator.simulate(jax.random.key(k + 1), images))
        rows.append((1e3 * (time.perf_counter() - wall) / images, 1e3 * (time.process_time() - cpu) / images))
    wall, cpu = np.min(rows, 0)
    return {"wall_ms": float(wall), "cpu_ms": float(cpu), "per_second": float(1e3 / wall)}


def main():
    arguments = parser(__doc__ or "", "clusters_inject")
    arguments.add_argument("par", type=Path, help=".par of LensTool, or a prepared cluster")
    arguments.add_argument("--survey", default="hst-hff-60mas")
    arguments.add_argument("--half-width", type=float, default=60.0)
    arguments.add_argument("--images", type=int, default=256)
    options = arguments.parse_args()
    survey = SURVEYS[options.survey]
    devices = parallel.start()
    begun = time.perf_counter()
    if options.par.suffix == ".npz":
        field, potentials, seconds = load_field(options.par), None, None
    else:
        lens = read_cluster(options.par)
        potentials = sum(np.size(jax.tree.leaves(mass)[0]) for mass in lens.mass)
        field = prepare(lens, Grid(shape=survey.shape, pixel_scale=survey.pixel_scale), options.half_width,
                        nodes=2 if options.smoke else 8)
        seconds = time.perf_counter() - begun
    images = 16 if options.smoke else options.images
    whole = cluster_lenses(field, survey, lensed=1.0, behind=0.0)
    nothing = np.zeros((len(field.center), *field.alpha.shape[3:], len(survey.bands)), np.float32)
    light = cluster_lenses(field, survey, lensed=1.0, behind=0.0, stamps=nothing)
    write(options.out, {
        "cluster": options.par.parent.name if options.par.suffix != ".npz" else options.par.stem,
        "potentials": potentials, "prepared_seconds": seconds, "galaxies": len(field.center),
        "lines": len(field.lens), "pixels": list(survey.shape), "bands": len(survey.bands), "devices": len(devices),
        "bytes": int(sum(jnp.asarray(leaf).nbytes for leaf in jax.tree.leaves(field))),
        "whole": timed(whole, images), "light": timed(light, images)})


if __name__ == "__main__":
    main()
