"""One problem on one number of devices, in a process of its own, so that memory and compiling are its own.

Run by `giga.jobs.bench.suite` as `python -m giga.jobs.bench.worker JOB.json OUT.json`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from giga.bayes.prior import Prior
from giga.inference.settings import FitConfig
from giga.io.jsonfile import read_json, write_json
from giga.jobs.bench.measure import peak_memory
from giga.jobs.bench.stages import SMOKE, evaluations, fits
from giga.jobs.problems import Problem, demo60, foundry128, gigalens80
from giga.runtime import parallel
from giga.runtime.environment import environment

NAMES = ("demo60", "foundry128", "fleet")
CPU_SIZES, CPU_TOTAL = (1, 16), 64
ACCELERATOR_SIZES, ACCELERATOR_TOTAL = (1, 16, 256, 1024, 4096), 4096
SMOKE_SIZES, SMOKE_TOTAL = (1,), 2


def systems_of(name: str, lenses: int) -> list[Problem]:
    """The lenses of a problem: one, or a fleet of so many."""
    if name == "fleet":
        return gigalens80(lenses).systems()
    return [{"demo60": demo60, "foundry128": foundry128}[name]()]


def work(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job; see `giga.jobs.bench.suite.Settings` for what it holds.

    Raises:
        DeviceError: More devices are asked for than there are.
    """
    devices = parallel.start("auto", job["devices"])
    if job["devices"] is not None and len(devices) < job["devices"]:
        raise parallel.DeviceError(f"--devices: got {job['devices']}; expected at most the {len(devices)} that are "
                                   f"here: {parallel.describe(devices)}")
    devices = devices[:job["devices"]]
    over, on_cpu, smoke = parallel.mesh(devices), devices[0].platform == "cpu", job["smoke"]
    sizes, total = (SMOKE_SIZES, SMOKE_TOTAL) if smoke else (
        (CPU_SIZES, CPU_TOTAL) if on_cpu else (ACCELERATOR_SIZES, ACCELERATOR_TOTAL))
    budget = 0.2 if smoke else 5.0 if on_cpu else 1.0  # seconds a measurement; other work shares the cores
    systems = systems_of(job["problem"], job["lenses"])
    where = f"{job['problem']} on {parallel.describe(devices)}"
    row: dict[str, Any] = dict(
        problem=job["problem"], lenses=len(systems), parameters=Prior.of(systems[0].prior).size,
        pixels=int(np.sum(systems[0].observations[0].mask)), devices=_devices(devices), environment=environment())

    def say(line: str) -> None:
        print(f"{where}: {line}", file=sys.stderr, flush=True)

    if "eval" in job["stages"]:
        row["eval"] = evaluations(systems, over, sizes, total, budget, say)
        row["eval"]["memory"] = peak_memory(devices)
    wanted = [stage for stage in job["stages"] if stage != "eval"]
    if wanted:
        row["fits"] = fits(systems, over, wanted, job["repeat"], SMOKE if smoke else FitConfig(), say)
    return row


def _devices(devices: list[Any]) -> dict[str, Any]:
    """What the devices are; those of a CPU are simulated and share its cores."""
    on_cpu, cores = devices[0].platform == "cpu", parallel.cores()
    return dict(count=len(devices), platform=devices[0].platform, kind=devices[0].device_kind, simulated=on_cpu,
                cores=cores if on_cpu else None, oversubscribed=on_cpu and len(devices) > cores)


def main() -> None:
    job, out = map(Path, sys.argv[1:])
    try:
        write_json(out, {"row": work(read_json(job))})
    except parallel.DeviceError as error:
        write_json(out, {"refused": str(error)})


if __name__ == "__main__":
    main()
