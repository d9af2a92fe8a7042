"""The benchmark suite: fixed problems, each in a process of its own for each number of devices."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from giga.io.errors import InputError, nearest
from giga.io.jsonfile import read_json, write_json
from giga.jobs.bench.worker import NAMES
from giga.runtime.parallel import DeviceError

FORMAT = "giga bench 1"
STAGES = ("eval", "map", "svi", "hmc")


class WorkerError(Exception):
    """A worker ended without a row; what it said is on the error stream."""


@dataclass(frozen=True)
class Settings:
    """What is run.

    Attributes:
        problems: Of `NAMES`.
        stages: Of `STAGES`; a fit goes as far as the last that is named.
        devices: Numbers of devices; None is all that are here.
        repeat: Fits of each problem, with seeds 0, 1, ...
        lenses: Number of lenses of the fleet.
        smoke: Tiny sizes, to see that it works; its numbers mean nothing.
    """

    problems: Sequence[str] = NAMES
    stages: Sequence[str] = STAGES
    devices: Sequence[int] | None = None
    repeat: int = 1
    lenses: int = 8
    smoke: bool = False

    def __post_init__(self) -> None:
        for field, given, valid in (("PROBLEM", self.problems, NAMES), ("--stages", self.stages, STAGES)):
            if not given:
                raise InputError("", field, "none given", f"some of {', '.join(valid)}")
            for name in given:
                if name not in valid:
                    raise InputError("", field, f"got {name!r}", nearest(name, valid))
        for field, numbers in (("--devices", self.devices or [1]), ("--repeat", [self.repeat]),
                               ("--lenses", [self.lenses - 1])):
            if min(numbers) < 1:
                raise InputError("", field, f"got {min(numbers) + (field == '--lenses')}",
                                 "2 or more" if field == "--lenses" else "1 or more")


def run(settings: Settings) -> Iterator[dict[str, Any]]:
    """Run the suite; yields what the file holds after each row.

    The largest number of devices comes first, so that one that is not here is refused at once.

    Raises:
        DeviceError: More devices are asked for than there are.
        WorkerError: A worker broke.
    """
    held: dict[str, Any] = {"format": FORMAT, "settings": asdict(settings), "rows": []}
    counts = [None] if settings.devices is None else sorted(settings.devices, reverse=True)
    for problem in settings.problems:
        for count in counts:
            job = dict(problem=problem, devices=count, stages=list(settings.stages), repeat=settings.repeat,
                       lenses=settings.lenses, smoke=settings.smoke)
            held["rows"].append(_work(job))
            yield held


def _work(job: dict[str, Any]) -> dict[str, Any]:
    """Have a job done by a process of its own; its progress goes to the error stream."""
    with tempfile.TemporaryDirectory() as scratch:
        asked, told = Path(scratch) / "job.json", Path(scratch) / "row.json"
        write_json(asked, job)
        done = subprocess.run([sys.executable, "-m", "giga.jobs.bench.worker", str(asked), str(told)], check=False,
                              env=os.environ | dict(XLA_FLAGS=_without_count(os.environ.get("XLA_FLAGS", ""))))
        if done.returncode:
            raise WorkerError(f"the worker of {job['problem']} on {job['devices']} devices ended with exit code "
                              f"{done.returncode}")
        answer = read_json(told)
    if "refused" in answer:
        raise DeviceError(answer["refused"])
    return answer["row"]


def _without_count(flags: str) -> str:
    """XLA's flags without a number of simulated devices, which would stand against the one asked for."""
    return " ".join(flag for flag in flags.split() if "xla_force_host_platform_device_count" not in flag)


def read(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Rows of several files.

    Raises:
        InputError: A file that is missing, damaged, or not of this suite.
    """
    rows = []
    for path in paths:
        held = read_json(path)
        seen = held.get("format") if isinstance(held, dict) else None
        if seen != FORMAT:
            raise InputError(path, "format", f"got {seen!r}", f"{FORMAT!r}, as giga bench writes")
        rows += [row | {"smoke": held["settings"]["smoke"]} for row in held["rows"]]
    return rows
