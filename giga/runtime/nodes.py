"""The processes of one run: how they find each other before JAX starts, and what they tell each other after.

JAX aborts a process whose partners do not come. So the processes meet over a plain connection first, where
every failure can be said in words; only when all are there does JAX open its own.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

FIRST_PORT, PORTS = 61440, 4096  # above the ports that Linux hands out
GRACE_S = 3.0  # for others to come when something is wrong with one [s]


class NodeError(RuntimeError):
    """Processes that were to work as one cannot."""


@dataclass(frozen=True)
class Launch:
    """Place of this process in a run of several.

    Attributes:
        coordinator: HOST:PORT of process 0, on which the others find it.
        processes: Number of processes.
        process: Number of this one, from zero.
        local: Its number among those of its node.
        locals: Number of processes on its node.
    """

    coordinator: str
    processes: int
    process: int
    local: int = 0
    locals: int = 1

    def __post_init__(self) -> None:
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise NodeError(f"--coordinator: got {self.coordinator!r}; expected HOST:PORT")
        if self.processes < 1:
            raise NodeError(f"--processes: got {self.processes}; expected at least 1")
        if not 0 <= self.process < self.processes:
            raise NodeError(f"--process: got {self.process}; expected 0 to {self.processes - 1}, one number for each "
                            f"of the {self.processes} processes")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the coordinator."""
        host, _, port = self.coordinator.rpartition(":")
        return host.strip("[]"), int(port)


def find_launch(environment: Mapping[str, str], coordinator: str | None = None, processes: int | None = None,
                process: int | None = None) -> Launch | None:
    """Tell the place of this process from its options and from what SLURM's srun or Open MPI's mpirun set.

    Options come before the environment.

    Args:
        environment: Environment variables.
        coordinator: HOST:PORT of process 0.
        processes: Number of processes.
        process: Number of this one.

    Returns:
        The place; None for a run of one process.

    Raises:
        NodeError: What is there is not enough, or wrong.
    """
    found = _slurm(environment) or _open_mpi(environment) or {}
    given = {"coordinator": coordinator, "processes": processes, "process": process}
    found |= {name: value for name, value in given.items() if value is not None}
    if not found:
        return None
    missing = [f"--{name}" for name in given if found.get(name) is None]
    if missing and any(value is not None for value in given.values()):
        raise NodeError(f"{', '.join(missing)}: missing; without srun or mpirun give all of --coordinator HOST:PORT, "
                        "--processes N and --process K")
    if missing:
        raise NodeError("Open MPI does not say where process 0 is; give --coordinator HOST:PORT")
    return Launch(**found)


def _slurm(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What `srun` says; a batch script without it runs one process."""
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if not all(name in environment for name in names) or environment["SLURM_STEP_NUM_TASKS"] == "1":
        return None
    job, nodes, tasks, process, local = (environment[name] for name in names)
    step = int(environment.get("SLURM_STEP_ID", "0"))
    # Of node[007-015,020],other the first: node007.
    first = re.match(r"([^,\[]+)(?:\[([^,\-\]]+))?", nodes)
    if first is None:
        raise NodeError(f"SLURM_STEP_NODELIST: got {nodes!r}; expected names of nodes")
    host = first[1] + (first[2] or "")
    on_node = environment.get("SLURM_STEP_TASKS_PER_NODE", "1")  # as 4(x3),2: the largest is that of most nodes
    return {"coordinator": f"{host}:{FIRST_PORT + (int(job) + 131 * step) % PORTS}", "processes": int(tasks),
            "process": int(process), "local": int(local), "locals": int(re.split(r"\D", on_node)[0])}


def _open_mpi(environment: Mapping[str, str]) -> dict[str, Any] | None:
    """What `mpirun` says. Only up to version 4 does it tell where it runs; process 0 is then taken to be there."""
    names = ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE")
    if not all(name in environment for name in names) or environment[names[0]] == "1":
        return None
    size, rank, local, local_size = (int(environment[name]) for name in names)
    found: dict[str, Any] = {"processes": size, "process": rank, "local": local, "locals": local_size}
    # 1531576320.0;tcp://10.96.0.1,10.148.0.1:34911 or tcp6://[fe80::1,2620::2]:43370
    at = re.match(r"(\d+)\.\d+;(?:tcp://([^,:]+)|tcp6://\[([^,\]]+))", environment.get("OMPI_MCA_orte_hnp_uri", ""))
    if at:
        host = at[2] or f"[{at[3]}]"
        found["coordinator"] = f"{host}:{FIRST_PORT + int(at[1]) // PORTS % PORTS}"
    return found


def neighbours(environment: Mapping[str, str]) -> int:
    """Number of processes on this node, as far as srun or mpirun tell."""
    return (_slurm(environment) or _open_mpi(environment) or {}).get("locals", 1)


def share_of(count: int, launch: Launch) -> list[int] | None:
    """Which of the GPUs that every process of a node sees are this one's; None leaves it all of them.

    Raises:
        NodeError: They cannot be shared out evenly.
    """
    if launch.locals == 1 or count <= 1:  # alone, or bound to its own by the launcher
        return None
    if count % launch.locals:
        raise NodeError(f"{launch.locals} processes on a node of {count} GPUs; expected a number of processes that "
                        f"divides {count}, or each process bound to its own (srun --gpus-per-task)")
    each = count // launch.locals
    return list(range(launch.local * each, (launch.local + 1) * each))


def meet(launch: Launch, timeout_s: float) -> None:
    """Wait until all processes of a run are there and see that they fit each other.

    Args:
        launch: Place of this process.
        timeout_s: Longest time to wait [s].

    Raises:
        NodeError: In every process that is there, if one is missing or is of another run or version.
    """
    if launch.processes > 1:
        (_receive if launch.process == 0 else _report)(launch, timeout_s)


def _hello(launch: Launch) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in ("giga", "jax")}
    return {"giga run of": launch.processes, "process": launch.process, "versions": versions}


def _receive(launch: Launch, timeout_s: float) -> None:
    """Process 0: listen until the others have reported, then tell them all what came out."""
    mine, deadline, (_, port) = _hello(launch), time.monotonic() + timeout_s, launch.address
    waiting, problem = set(range(1, launch.processes)), ""
    connections: list[socket.socket] = []
    try:
        with _listen(port) as server:
            while waiting:
                server.settimeout(max(deadline - time.monotonic(), 0.01))
                try:
                    connection = server.accept()[0]
                except TimeoutError:
                    problem = problem or (f"{_numbered(waiting)} of {launch.processes} did not reach the coordinator "
                                          f"{launch.coordinator} within {timeout_s:g} s")
                    break
                connections.append(connection)
                hello = _read_line(connection, 5.0)
                if "giga run of" not in hello:  # no process of ours
                    continue
                if not problem and (problem := _difference(mine, hello, waiting)):
                    deadline = min(deadline, time.monotonic() + GRACE_S)  # for the others to come and hear it
                waiting.discard(hello.get("process", -1))
        for connection in connections:
            _write_line(connection, {"problem": problem})
    except OSError as error:
        raise NodeError(f"coordinator {launch.coordinator}: process 0 cannot listen on port {port} "
                        f"({error.strerror or error}); choose another --coordinator HOST:PORT") from error
    finally:
        for connection in connections:
            connection.close()
    if problem:
        raise NodeError(problem)


def _report(launch: Launch, timeout_s: float) -> None:
    """Another process: find process 0, say who this is, hear what came out."""
    deadline, seen = time.monotonic() + timeout_s, "no answer"
    while (left := deadline - time.monotonic()) > 0.0:
        try:
            connection = socket.create_connection(launch.address, timeout=left)
            break
        except OSError as error:
            seen = str(error.strerror or error)
            time.sleep(min(0.2, max(left, 0.0)))
    else:
        raise NodeError(f"coordinator {launch.coordinator}: no answer to process {launch.process} within "
                        f"{timeout_s:g} s ({seen}); process 0 must run there, and the port be open")
    with connection:
        _write_line(connection, _hello(launch))
        answer = _read_line(connection, timeout_s + 5.0)
    if "problem" not in answer:
        raise NodeError(f"coordinator {launch.coordinator}: answers, but not as process 0 of this run; "
                        "choose another --coordinator HOST:PORT")
    if answer["problem"]:
        raise NodeError(answer["problem"])


def _difference(mine: dict[str, Any], other: dict[str, Any], waiting: set[int]) -> str:
    """Why a process that reports does not belong to this run, or nothing."""
    number, count = other.get("process"), other["giga run of"]
    if count != mine["giga run of"]:
        return f"process {number} is of a run of {count} processes, process 0 of one of {mine['giga run of']}"
    if other.get("versions") != mine["versions"]:
        return f"process {number} has {other.get('versions')}, process 0 has {mine['versions']}"
    return "" if number in waiting else f"two processes say that they are process {number}"


def _numbered(processes: set[int]) -> str:
    listed = ", ".join(str(process) for process in sorted(processes)[:8]) + (" ..." if len(processes) > 8 else "")
    return f"process{'es' if len(processes) > 1 else ''} {listed}"


def _listen(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, backlog=128, dualstack_ipv6=True)
    return socket.create_server(("", port), backlog=128)


def _write_line(connection: socket.socket, content: dict[str, Any]) -> None:
    try:
        connection.sendall(json.dumps(content).encode() + b"\n")
    except OSError:
        return  # it has gone, and will be missed where it matters


def _read_line(connection: socket.socket, timeout_s: float) -> dict[str, Any]:
    """One JSON object, or an empty one when something else came."""
    connection.settimeout(timeout_s)
    try:
        with connection.makefile("rb") as stream:
            content = json.loads(stream.readline(4096))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def everywhere(text: str) -> list[str]:
    """Texts of all processes, in every process; all must call, in the same order."""
    if jax.process_count() == 1:
        return [text]
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(content))))
    padded = np.zeros(max(int(sizes.max()), 1), np.uint8)
    padded[:len(content)] = content
    rows = np.asarray(multihost_utils.process_allgather(padded)).astype(np.uint8)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def process_count() -> int:
    """Number of processes that work as one."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks to the user."""
    return jax.process_index() == 0


def from_first(content: bytes) -> bytes:
    """What the first process has, in every process; all must call."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    mine = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(mine)).astype(np.uint8).tobytes()
