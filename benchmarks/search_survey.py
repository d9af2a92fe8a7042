"""Searching many cutouts: what one costs, and what two workers bring of which one is killed.

    python benchmarks/search_survey.py --out search_survey.json --cutouts 4000

Cutouts are simulated images of the zoo's chain, repeated to the number that is asked for, in one HDF5 file. They are
searched three times into fresh folders: by one worker, by two, and by two of which one is killed when a third of the
parts are done. Workers share the cores of this machine evenly, so that the one has half of them. Rates are of the time
between the first part that is done and the last, without the start of processes and compilation; `whole_s` has all.
`cpu_ms` is the processor time of a cutout, reading included, in the median over parts: on a machine that others use as
well, it tells what clocks do not. Two workers whose `cpu_ms` is that of one do twice its work on two idle cores.
"""

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from _common import parser, write
from astropy.table import Table
from flax import nnx

from giga.jobs.surveys.candidates import Ranking
from giga.jobs.surveys.search import Search, plan_search, run_search
from giga.models.networks.count import operations, parameters
from giga.models.networks.heads import Classifier, Estimator
from giga.models.networks.resnet import ResNet, ResNetConfig
from giga.models.systems.modular import make_simulator
from giga.models.zoo import load
from giga.runtime import parallel, workers
from giga.runtime.environment import rate

MODEL, UNIQUE, REPEATS = "modular-lsst", 64, 5


class Net(nnx.Module):
    """A ResNet with two classes, of a size for which the zoo has no weights yet."""

    def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs):
        trunk = ResNet(config, rngs=rngs)
        self.network = Estimator(trunk, Classifier(trunk.width, rngs=rngs))

    def __call__(self, images: Any) -> Any:
        return self.network(images)


def forward(network: Any, images: Any) -> Any:
    return network.through(images).logits if hasattr(network, "through") else network(images)


def one_cutout(name: str, network: Any, side: int, batches: tuple[int, ...] = (1, 8)) -> dict[str, Any]:
    """A forward pass of a cutout of side x side x 3, alone and in a batch, on all cores."""
    graph, state = nnx.split(network)
    call = jax.jit(lambda state, images: forward(nnx.merge(graph, state), images))
    row: dict[str, Any] = {"network": name, "side": side, "parameters": parameters(network), "flops": operations(
        call, state, jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))}
    for batch in batches:
        images, walls, used = jnp.ones((batch, side, side, 3)), [], []
        jax.block_until_ready(call(state, images))
        for _ in range(REPEATS):
            wall, cpu = time.perf_counter(), time.process_time()
            jax.block_until_ready(call(state, images))
            walls.append(time.perf_counter() - wall)
            used.append(time.process_time() - cpu)
        row[f"batch_{batch}"] = {"fastest_ms": round(1e3 * min(walls) / batch, 2),
                                 "cpu_ms": round(1e3 * float(np.median(used)) / batch, 2)}
    return row


def survey(path: Path, count: int) -> None:
    """Write the cutouts."""
    config = load(MODEL)[0].config
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(3), k))(np.arange(UNIQUE))
    images = np.asarray(jax.jit(jax.vmap(make_simulator(config).example))(keys).image, np.float32)
    with h5py.File(path, "w") as file:
        shape = images.shape[1:]
        stack = file.create_dataset("images", (count, *shape), np.float32, chunks=(UNIQUE, *shape))
        for start in range(0, count, UNIQUE):
            stack[start:start + UNIQUE] = images[:count - start]


def searched(cutouts: Path, out: Path, count: int, part: int, many: int, kill: bool) -> dict[str, Any]:
    """Search by workers of this machine, one of which is killed by its process number if wanted."""
    folder, _ = plan_search(Search((cutouts,), MODEL, part=part), out)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:len(cores) * many // 2])  # half of them for the one, which its worker inherits
    parts, ends, killed = len(folder.left()), [], []
    started = time.perf_counter()

    def say(text: str) -> None:
        if not text.startswith("part "):
            return
        ends.append(time.perf_counter())
        if kill and not killed and len(ends) >= parts // 3:
            killed.append(_victim())

    run_search(folder, Ranking(top=8), workers.Workers(many), say)
    table = Table.read(folder.path / "scores.fits")
    used = [about["cpu_seconds"] / about["cutouts"] for about in map(folder.told, range(parts))]
    names = [str(name) for name in table["name"]]
    right = names == [f"{cutouts.stem}_{k:06d}" for k in range(count)] and bool(np.isfinite(table["logit"]).all())
    row = {"workers": many, "killed": len(killed), "cutouts": count, "every_row_once": right,
           "cutouts_per_s": round(rate(count * (len(ends) - 1) / len(ends), ends[-1] - ends[0]), 2),
           "cpu_ms": round(1e3 * float(np.median(used)), 2), "whole_s": round(time.perf_counter() - started, 1)}
    shutil.rmtree(out)
    os.sched_setaffinity(0, cores)
    return row


def _victim() -> int:
    """Kill the first worker process; returns its number."""
    for child in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for pid in child.read_text().split():
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)
                return int(pid)
    raise RuntimeError("no worker process to be killed")


def main() -> None:
    arguments = parser(__doc__ or "", "search_survey")
    arguments.add_argument("--cutouts", type=int, default=4000)
    arguments.add_argument("--part", type=int, default=64)
    options = arguments.parse_args()
    count = 4 * options.part if options.smoke else options.cutouts
    parallel.start()
    chain = load(MODEL)[0]
    rows = [one_cutout(MODEL, chain, chain.config.pixels)]
    if not options.smoke:
        rows += [one_cutout(name, Net(config, rngs=nnx.Rngs(0)), 223) for name, config in (
            ("ResNet-18, as the paper", ResNetConfig.of(18, 3)), ("ResNet, small", ResNetConfig.small(3)))]
    with tempfile.TemporaryDirectory() as folder:
        cutouts = Path(folder) / "survey.h5"
        survey(cutouts, count)
        runs = [searched(cutouts, Path(folder) / f"run{many}{kill}", count, options.part, many, kill)
                for many, kill in ((1, False), (2, False), (2, True))]
    write(options.out, {"one": rows, "runs": runs, "speedup": round(
        runs[1]["cutouts_per_s"] / runs[0]["cutouts_per_s"], 3)})


if __name__ == "__main__":
    main()
