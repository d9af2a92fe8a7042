"""Processes of tests: waited for as long as they get on with their work, and never left behind.

How long a process takes is the machine's affair; that it hangs shows in the processor time that it uses.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

from giga.jobs.bench.measure import cpu_seconds

ROOT = Path(__file__).parents[1]
# The first line of programs that need a few modules of giga: the package's own imports take longer than all they do.
BARE = (f"import sys, types; giga = sys.modules['giga'] = types.ModuleType('giga'); "
        f"giga.__path__ = [{str(ROOT / 'giga')!r}]")
IDLE_S = 120.0  # in which processes that work use more than `LEAST_S` of processor time, whatever else the machine does
BEREFT_S = 20.0  # the same when one of them has failed, for which the others may wait in vain
LEAST_S = 0.5
MOST_S = 600.0  # of processor time: what goes round in circles


class Running(NamedTuple):
    """A process that leads a group of its own, and the files that take what it says."""

    process: subprocess.Popen
    out: IO[str]
    error: IO[str]


class Ended(NamedTuple):
    """What is left of a process."""

    returncode: int
    out: str
    error: str


@contextmanager
def started(*command: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Iterator[Running]:
    """A process that is gone after the block, and all that it started with it."""
    with TemporaryFile("w+") as out, TemporaryFile("w+") as error:
        process = subprocess.Popen([str(word) for word in command], env=env, cwd=cwd, stdout=out, stderr=error,
                                   start_new_session=True)
        try:
            yield Running(process, out, error)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ended(*running: Running) -> list[Ended]:
    """Wait for processes while they get on; raises AssertionError, with what they said, when they do not."""
    used, done, since, looked = [0.0] * len(running), 0.0, time.monotonic(), time.monotonic()
    while None in (codes := [each.process.poll() for each in running]):
        time.sleep(0.02)
        if sys.platform != "linux":  # nobody tells what they do: they are waited for without end
            continue
        limit = BEREFT_S if any(codes) else IDLE_S
        if (now := time.monotonic()) < looked + min(2.0, limit):  # to look costs as much as a little work
            continue
        looked = now
        used = [max(old, cpu_seconds(each.process.pid, True)) for old, each in zip(used, running, strict=True)]
        if sum(used) > done + LEAST_S:
            done, since = sum(used), now
        if now - since > limit or sum(used) > MOST_S:
            raise AssertionError(f"exit codes {codes}, {now - since:.0f} s without work after {sum(used):.0f} s of it; "
                                 + "\n".join(_said(each.error)[-2000:] for each in running))
    return [Ended(each.process.returncode, _said(each.out), _said(each.error)) for each in running]


def _said(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def run(*command: object, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Ended:
    """Run a command to its end."""
    with started(*command, env=env, cwd=cwd) as running:
        return ended(running)[0]


def together(*commands: tuple[object, ...], envs: list[Mapping[str, str]]) -> list[Ended]:
    """Run commands beside each other."""
    with ExitStack() as stack:
        return ended(*[stack.enter_context(started(*command, env=env))
                       for command, env in zip(commands, envs, strict=True)])


def environment(**extra: str) -> dict[str, str]:
    """Of a process that works for a test: its programs run once, so that they are compiled with little optimisation."""
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", **extra}


def devices(count: int) -> dict[str, str]:
    """The part of the environment that makes one CPU as many devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {"XLA_FLAGS": flags.strip()}


def python(code: str, *arguments: object, bare: bool = False, **extra: str) -> str:
    """What a program prints, which must end well."""
    (out,) = pythons(code, [arguments], [extra], bare)
    return out


def pythons(code: str, arguments: list[tuple[object, ...]], extras: list[dict[str, str]],
            bare: bool = False) -> list[str]:
    """What processes of one program print, beside each other, each with its arguments and environment; see `BARE`."""
    code = f"{BARE * bare}\n{textwrap.dedent(code)}"
    found = together(*[(sys.executable, "-c", code, *each) for each in arguments],
                     envs=[environment(**extra) for extra in extras])
    for each in found:
        assert each.returncode == 0, each.error[-3000:]
    return [each.out for each in found]
