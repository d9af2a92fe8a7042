"""Kill a fit with SIGKILL at random moments, let it go on, and compare its samples with those of the unbroken run.

A moment is drawn from the whole work of a run: imports, compiling, every stage, and the writing of the checkpoint
itself. It is told in processor time, so that it does not matter what else the machine does; only Linux tells that of
another process. After each kill the fit is started again in the same folder and runs to its end. Compiled programs are
kept in JAX's persistent cache in a temporary folder, else the study would spend its time on compiling.
"""

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _common import parser, write

from giga.jobs.bench.measure import cpu_seconds

CACHE = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}


def run(folder: Path, interval_s: float, iterations: int) -> None:
    """The fit that is killed: a galaxy on 16 x 16 pixels, four parameters. Its samples go to samples.npz."""
    import numpyro.distributions as dist

    from giga import PSF, FitConfig, Grid, Observation, Scene, Sersic, fit
    from giga.runtime.checkpoint import Store

    y, x = 0.2 * (np.mgrid[:16, :16] - 7.5)
    image = 3.0 * np.exp(-1.68 * np.hypot(x, y) / 0.6) + 0.05 * np.random.default_rng(1).normal(size=x.shape)
    observation = Observation(image=0.04 * image, grid=Grid(shape=image.shape, pixel_scale=0.2), background_rms=0.002,
                              psf=PSF.gaussian(0.2, 0.2, 5))
    prior = Scene(lens_light=[Sersic(amp=dist.LogNormal(1.0, 0.5), R_sersic=dist.LogNormal(-0.5, 0.3), n_sersic=1.0,
                                     center_x=dist.Normal(0.0, 0.1), center_y=dist.Normal(0.0, 0.1))])
    config = FitConfig(n_screen=32, n_starts=8, n_finalists=8, map_rounds=4, vi_steps=8, vi_samples=32, n_chains=8,
                       n_block=50, n_pilot=2, min_iterations=iterations, max_iterations=iterations, derived=False)
    result = fit(prior, [observation], config=config, seed=5, store=Store(folder / "checkpoint", "kill", interval_s))
    np.savez(folder / "samples.npz", **result.samples)  # pyright: ignore[reportArgumentType]


def start(folder: Path, interval_s: float, iterations: int) -> subprocess.Popen:
    """Start the fit in a process of its own."""
    folder.mkdir(exist_ok=True)
    words = ["--run", str(folder), "--interval", str(interval_s), "--iterations", str(iterations)]
    return subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True,
                            env=os.environ | CACHE | {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "cache")})


def finish(folder: Path, interval_s: float, iterations: int) -> tuple[dict[str, np.ndarray], float]:
    """Let the fit run to its end; returns its samples and the processor time that it took [s]."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = start(folder, interval_s, iterations)
    _, error = process.communicate()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"the fit ended with {process.returncode}:\n{error}")
    with np.load(folder / "samples.npz", allow_pickle=False) as file:
        return dict(file), after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def killed(folder: Path, interval_s: float, iterations: int, after_s: float) -> dict:
    """Kill a fit after some processor time; returns what its checkpoint holds."""
    process = start(folder, interval_s, iterations)
    while process.poll() is None and cpu_seconds(process.pid) < after_s:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)  # to nobody, when it has ended
    process.communicate()
    checkpoint = folder / "checkpoint"
    return dict(killed=process.returncode == -signal.SIGKILL, parts=len(list(checkpoint.glob("part-*.json"))),
                half_written=len(list(checkpoint.glob("*tmp*"))))


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> bool:
    """Whether samples are equal bit for bit."""
    return first.keys() == second.keys() and all(first[k].tobytes() == second[k].tobytes() for k in first)


def main() -> None:
    arguments = parser(__doc__ or "", "kill")
    arguments.add_argument("--kills", type=int, default=20, help="how many")
    arguments.add_argument("--seed", type=int, default=1, help="of the moments")
    arguments.add_argument("--interval", type=float, default=0.0, help="between checkpoints [s]")
    arguments.add_argument("--iterations", type=int, default=1000, help="of the chains")
    arguments.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.run:
        run(options.run, options.interval, options.iterations)
        return
    rng, kills = np.random.default_rng(options.seed), 2 if options.smoke else options.kills
    how = options.interval, 200 if options.smoke else options.iterations
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unbroken, _ = finish(folder / "first", *how)
        again, whole_s = finish(folder / "second", *how)  # with every program in the cache
        rows = []
        # One moment in each of as many equal parts of the duration.
        for k, share in enumerate((np.arange(kills) + rng.uniform(size=kills)) / kills):
            place = folder / str(k)
            while not (row := killed(place, *how, share * whole_s))["killed"]:
                share *= 0.8  # it was faster than the unbroken run, and had ended
                shutil.rmtree(place)
            samples, _ = finish(place, *how)
            rows.append(dict(share=round(float(share), 3), **row, equal=same(samples, unbroken)))
            print(rows[-1], flush=True)
        equal = sum(row["equal"] for row in rows)
        write(options.out, dict(interval_s=options.interval, iterations=how[1], repeatable=same(unbroken, again),
                                kills=kills, equal=equal, rows=rows))
    if equal < kills:
        raise SystemExit(f"{kills - equal} of {kills} runs ended with other samples")


if __name__ == "__main__":
    main()
