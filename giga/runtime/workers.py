"""Pieces of work for one process or many: here, one after the other, or on Dask's distributed scheduler.

What a piece leaves is a file that is whole or not there, so that what is done is known from a folder alone. Retries,
workers that die, and who takes what are Dask's business; nothing here schedules, waits or tries again.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import shlex
import shutil
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock, Timeout

from giga.runtime.cache import enable_cache
from giga.runtime.environment import source_version

LOCK = ".coordinator.lock"
HOLDER = ".coordinator.json"
ANSWER_S = 30.0  # in which a scheduler answers
TOPIC = "giga"  # of what pieces of work have to say
BETWEEN_S = 0.1  # looks, while workers work
OTHER = "workers: "  # what the error of a worker of another version begins with
JOB = {"cores": "1", "memory": "8GB"}  # of a job, where its options do not say
_ONE = threading.Lock()


class ClusterError(RuntimeError):
    """Workers that cannot be had, or that went away."""


@dataclass(frozen=True)
class Lost:
    """A piece of work whose workers died of it, one after the other.

    Attributes:
        reason: What Dask says.
    """

    reason: str


@dataclass(frozen=True)
class Workers:
    """Where pieces of work go; nothing given is this process.

    Attributes:
        workers: Processes on this machine, each with its share of the cores and of the GPUs; with `slurm` the number of
            jobs.
        scheduler: Address of a Dask scheduler that runs, with workers of its own.
        slurm: Options of sbatch for each job, as `--partition=gpu --gres=gpu:1 --time=4:00:00`.

    Raises:
        ClusterError: Two places at once, or no worker.
    """

    workers: int | None = None
    scheduler: str | None = None
    slurm: str | None = None

    def __post_init__(self) -> None:
        if self.scheduler is not None and (self.slurm is not None or self.workers is not None):
            raise ClusterError("--scheduler: given with --workers or --slurm; expected it alone, for it has workers of "
                               "its own")
        if self.workers is not None and self.workers < 1:
            raise ClusterError(f"--workers: got {self.workers}, expected at least 1")

    @property
    def here(self) -> bool:
        """Whether all is done in this process."""
        return self.workers is None and self.scheduler is None and self.slurm is None


HERE = Workers()


def spread(work: Callable[[Any], None], pieces: Iterable[Any], where: Workers = HERE,
           say: Callable[[str], None] = lambda text: None, look: Callable[[], None] = lambda: None
           ) -> Generator[tuple[Any, Lost | None], None, None]:
    """Do pieces of work, and tell of each when it has ended.

    Args:
        work: `work(piece)`, of a module. It leaves files, whole or not at all, and does nothing where they are there: a
            piece comes twice when a worker dies before it says that it is done.
        pieces: What it takes.
        where: Who does it.
        say: Gets what the user should know, and what pieces of work `tell`.
        look: Called again and again while workers work, in this thread.

    Yields:
        Each piece, in the order in which they end, with None or, if no worker survived it, `Lost`.

    Raises:
        ClusterError: No workers, ones of another version of giga, or a scheduler that went away.
        Exception: Whatever `work` raises; what is not done by then stays undone.
    """
    if where.here:
        for piece in pieces:
            work(piece)
            yield piece, None
        return
    distributed = _needed("distributed")
    with ExitStack() as stack:
        client = stack.enter_context(_client(distributed, where, say))
        _refuse_others(client, where)
        task = _guarded(source_version(), work.__module__, work.__qualname__)
        left: dict[str, tuple[Any, Any]] = {}
        ours: set[str] = set()
        client.subscribe_topic(TOPIC, lambda event: say(event[1]["text"]) if event[1]["key"] in ours else None)
        for piece in pieces:
            future = client.submit(task, piece, pure=False)
            ours.add(future.key)
            left[future.key] = piece, future
        ends = distributed.as_completed([future for _, future in left.values()])
        while not ends.is_empty():
            if not ends.has_ready():
                look()
                time.sleep(BETWEEN_S)
                continue
            future = next(ends)
            if future.status in ("pending", "lost"):  # it had ended, and its worker has died since
                ends.add(future)
                continue
            piece, _ = left.pop(future.key)
            error = future.exception() if future.status == "error" else None
            if future.status == "cancelled" or isinstance(error, distributed.CancelledError):
                raise ClusterError(f"the scheduler went away with {len(left) + 1} pieces of work left; the same "
                                   "command goes on")
            if error is not None and not isinstance(error, distributed.KilledWorker):
                raise ClusterError(str(error)) if str(error).startswith(OTHER) else error
            yield piece, None if error is None else Lost(" ".join(str(error).split()))


def tell(text: str) -> None:
    """Say something to the user from a piece of work that a worker does."""
    worker = _needed("distributed").get_worker()
    worker.log_event(TOPIC, {"key": worker.get_current_task(), "text": text})


@contextmanager
def by_itself() -> Iterator[None]:
    """Do a piece of work in a worker as in a process of its own.

    Of the pieces that the worker's threads have it is done alone, with all devices, and libraries find no scheduler of
    Dask: xarray would write files by locks that the scheduler has to grant.
    """
    with _ONE, _needed("dask").config.set(scheduler="synchronous"):
        yield


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a folder as the only coordinator, until the block or the process ends. Raises ClusterError."""
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ClusterError(f"{folder}: {_holder(folder)} works on this folder; expected one coordinator, whose workers "
                           "may be many") from None
    try:
        (folder / HOLDER).write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        known = json.loads((folder / HOLDER).read_text())
        return f"process {known['pid']} of {known['host']}"
    except (OSError, ValueError, KeyError):
        return "another process"


def _needed(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ClusterError(f"{name}: cannot be imported ({error}); expected pip install 'giga[cluster]'") from error


@contextmanager
def _client(distributed: Any, where: Workers, say: Callable[[str], None]) -> Iterator[Any]:
    """A client of the scheduler, which is started if none was named; it and its workers end with the block."""
    with ExitStack() as stack:
        if where.scheduler is not None:
            try:
                client = stack.enter_context(distributed.Client(where.scheduler, timeout=ANSWER_S))
            except (OSError, TimeoutError, ValueError) as error:
                raise ClusterError(f"--scheduler: {where.scheduler} does not answer within {ANSWER_S:g} s ({error})"
                                   ) from error
            yield client
            return
        if where.slurm is not None:
            cluster = stack.enter_context(_jobs(where.slurm))
            cluster.scale(jobs=where.workers or 1)
            say(f"{where.workers or 1} jobs are asked of SLURM; work begins with the first")
        else:
            cluster = stack.enter_context(distributed.LocalCluster(
                n_workers=where.workers, threads_per_worker=1, memory_limit=0, dashboard_address=":0"))
        client = stack.enter_context(distributed.Client(cluster))
        if importlib.util.find_spec("bokeh") is not None:
            say(f"dashboard: {client.dashboard_link}")
        yield client


def _jobs(options: str) -> Any:
    """Workers that are jobs of SLURM. Raises ClusterError."""
    jobqueue = _needed("dask_jobqueue")
    try:
        asked = shlex.split(options)
    except ValueError as error:
        raise ClusterError(f"--slurm: got {options!r} ({error}), expected options of sbatch") from error
    if wrong := [one for one in asked if not one.startswith("-")]:
        raise ClusterError(f"--slurm: got {wrong[0]!r}, expected options of sbatch as --partition=gpu")
    given = {name.lstrip("-"): value for name, _, value in (one.partition("=") for one in asked)}
    cores = given.get("cpus-per-task", JOB["cores"])
    if not cores.isdecimal() or int(cores) < 1:
        raise ClusterError(f"--slurm: --cpus-per-task={cores}, expected a number of at least 1")
    if shutil.which("sbatch") is None:
        raise ClusterError("--slurm: no sbatch on this machine; expected one of a SLURM cluster")
    own = [one for one in asked if one.partition("=")[0] not in ("--cpus-per-task", "--mem", "--time")]
    return jobqueue.SLURMCluster(cores=int(cores), processes=1, memory=given.get("mem") or JOB["memory"],
                                 walltime=given.get("time"), job_extra_directives=own,
                                 worker_extra_args=["--nthreads", "1", "--memory-limit", "0"],
                                 scheduler_options={"dashboard_address": ":0"})  # another may have 8787


def _refuse_others(client: Any, where: Workers) -> None:
    """Refuse workers of another version, and have the others, those that come later too, take their share."""
    share = (where.workers or 0) if where.slurm is None else 0
    keep = str(jax.config.values.get("jax_compilation_cache_dir") or "")
    try:
        client.register_plugin(_plugin(source_version(), share, bool(keep)), name="giga")
    except RuntimeError as error:
        raise ClusterError(str(error)) from error


def settle(share: int, keep: bool, name: Any) -> None:
    """Have a worker take its share of the machine.

    Args:
        share: Workers of this machine that share its cores and GPUs; 0 leaves them as they are.
        keep: Keep compiled programs.
        name: Of the worker; of those that share a machine its number.
    """
    if share and isinstance(name, int):
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        if cores[name % share::share]:
            os.sched_setaffinity(0, cores[name % share::share])
        visible = [one for one in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if one.strip()]
        gpus = visible or [str(k) for k in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
        if gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus[name % len(gpus)]
    if keep:
        enable_cache()


def _plugin(version: str, share: int, keep: bool) -> Any:
    """What workers are sent, by value, to begin with; each imports its own giga."""
    base: Any = _needed("distributed").WorkerPlugin

    class Settled(base):
        """Refuses a worker of another version, or settles it."""

        def setup(self, worker: Any) -> None:
            refuse(version)
            importlib.import_module("giga.runtime.workers").settle(share, keep, worker.name)

    refuse = _refusal()
    return Settled()


def _guarded(version: str, module: str, name: str) -> Callable[[Any], None]:
    """A function of a module, to be sent to workers by value, since a worker of another version may not have it."""
    refuse = _refusal()

    def giga_work(piece: Any) -> None:
        refuse(version)
        getattr(importlib.import_module(module), name)(piece)

    return giga_work


def _refusal() -> Callable[[str], None]:
    """A function that is sent by value and raises where giga is another version."""
    mark = OTHER

    def refuse(version: str) -> None:
        try:
            own = importlib.import_module("giga.runtime.environment").source_version()
        except (ImportError, AttributeError) as error:
            own = f"that cannot be used ({error})"
        if own != version:
            raise RuntimeError(f"{mark}a worker has giga {own}; expected that of the coordinator, {version}")

    return refuse
