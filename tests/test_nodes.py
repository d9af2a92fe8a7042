"""Processes that find each other, or say why not."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from giga.runtime import nodes
from giga.runtime.nodes import Launch, NodeError, find_launch, meet, neighbours, share_of

pytestmark = pytest.mark.quick

SLURM = {"SLURM_JOB_ID": "4242", "SLURM_STEP_ID": "1", "SLURM_STEP_NODELIST": "node[007-015,020],other",
         "SLURM_STEP_NUM_TASKS": "20", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x10)"}
MPI = {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_LOCAL_RANK": "1",
       "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1,10.148.0.1:34911"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize(("environment", "options", "expected"), [
    ({}, (), None),
    (SLURM, (), Launch("node007:61717", 20, 5, 1, 2)),
    (SLURM | {"SLURM_STEP_NODELIST": "a,b"}, (), Launch("a:61717", 20, 5, 1, 2)),
    (SLURM | {"SLURM_STEP_NODELIST": "gpu-1-2"}, (), Launch("gpu-1-2:61717", 20, 5, 1, 2)),
    (SLURM | {"SLURM_STEP_NODELIST": "n[3,5-7]"}, (), Launch("n3:61717", 20, 5, 1, 2)),
    (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, (), None),
    ({k: v for k, v in SLURM.items() if k != "SLURM_STEP_NODELIST"}, (), None),  # a batch script without srun
    (SLURM, ("x:99",), Launch("x:99", 20, 5, 1, 2)),
    (MPI, (), Launch("10.96.0.1:62624", 4, 3, 1, 2)),
    (MPI | {"OMPI_MCA_orte_hnp_uri": "1314521088.0;tcp6://[fe80::b9b,2620::2]:43370"}, (),
     Launch("[fe80::b9b]:62880", 4, 3, 1, 2)),
    ({k: v for k, v in MPI.items() if "uri" not in k}, ("h:1",), Launch("h:1", 4, 3, 1, 2)),  # Open MPI 5
    ({}, ("[::1]:77", 2, 1), Launch("[::1]:77", 2, 1)),
    ({}, ("h:77", 1, 0), Launch("h:77", 1, 0)),
])
def test_a_launch_is_found(environment, options, expected):
    assert find_launch(environment, *options) == expected


@pytest.mark.parametrize(("environment", "options", "message"), [
    ({}, ("h:1",), r"--processes, --process: missing; without srun or mpirun give all of"),
    ({}, (None, 2, 0), r"--coordinator: missing"),
    ({}, ("h", 2, 0), r"--coordinator: got 'h'; expected HOST:PORT"),
    ({}, ("h:99999", 2, 0), r"--coordinator: got 'h:99999'"),
    ({}, ("h:1", 2, 2), r"--process: got 2; expected 0 to 1"),
    ({}, ("h:1", 0, 0), r"--processes: got 0"),
    ({k: v for k, v in MPI.items() if "uri" not in k}, (), r"Open MPI does not say where process 0 is; give --coord"),
])
def test_a_launch_that_cannot_be(environment, options, message):
    with pytest.raises(NodeError, match=message):
        find_launch(environment, *options)


def test_gpus_of_a_node_are_shared_out():
    launches = [Launch("h:1", 8, k, k % 4, 4) for k in range(8)]
    assert [share_of(8, launch) for launch in launches[4:]] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert share_of(0, launches[1]) is None  # no GPU
    assert share_of(1, launches[1]) is None  # bound to its own
    assert share_of(8, Launch("h:1", 2, 1)) is None  # alone on its node
    with pytest.raises(NodeError, match="4 processes on a node of 6 GPUs"):
        share_of(6, launches[0])
    assert (neighbours(SLURM), neighbours(MPI), neighbours({})) == (2, 2, 1)


LONG_S = 600.0  # for those who come, however slow the machine is


@pytest.fixture
def clock(monkeypatch):
    """The clock of the meeting stands still until two processes have reported; then all time is over."""
    reports, difference = [], nodes._difference

    def told(*arguments):
        reports.append(arguments)
        return difference(*arguments)

    monkeypatch.setattr(nodes, "_difference", told)
    monkeypatch.setattr(nodes, "time", SimpleNamespace(monotonic=lambda: 10.0 * LONG_S * (len(reports) > 1),
                                                       sleep=time.sleep))


def outcomes(launches, timeout_s=LONG_S, late=()):
    """What becomes of each process; those named in `late` come half a second after the others."""

    def one(launch):
        time.sleep(0.5 * (launch.process in late))
        try:
            meet(launch, timeout_s)
        except NodeError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(len(launches)) as pool:
        return list(pool.map(one, launches))


@pytest.mark.parametrize("late", [(), (0,), (1, 2)])
def test_all_meet(late):
    at = f"localhost:{free_port()}"
    assert outcomes([Launch(at, 3, k) for k in range(3)], late=late) == [None] * 3


def test_one_alone_needs_nobody():
    meet(Launch("nowhere:1", 1, 0), 0.1)


def test_a_coordinator_that_does_not_answer_is_named():
    at = f"localhost:{free_port()}"
    with pytest.raises(NodeError, match=f"coordinator {at}: no answer to process 1 within 0.6 s"):
        meet(Launch(at, 2, 1), 0.6)
    with pytest.raises(NodeError, match=r"coordinator no\.such\.host\.invalid:1: no answer to process 1"):
        meet(Launch("no.such.host.invalid:1", 2, 1), 0.5)


def test_all_that_came_learn_who_is_missing(clock):
    at = f"localhost:{free_port()}"
    found = outcomes([Launch(at, 5, k) for k in (0, 2, 4)])
    assert found == [f"processes 1, 3 of 5 did not reach the coordinator {at} within 600 s"] * 3


@pytest.mark.parametrize(("launches", "message"), [
    ([(3, 0), (3, 1), (4, 2)], "process 2 is of a run of 4 processes, process 0 of one of 3"),
    ([(3, 0), (3, 1), (3, 1)], "two processes say that they are process 1"),
])
def test_processes_of_other_runs(clock, launches, message):
    at = f"localhost:{free_port()}"
    assert outcomes([Launch(at, count, k) for count, k in launches]) == [message] * 3


def test_other_versions_are_refused(monkeypatch):
    at, hello = f"localhost:{free_port()}", nodes._hello
    monkeypatch.setattr(nodes, "_hello", lambda launch: hello(launch) | {"versions": {"giga": f"0.{launch.process}"}})
    assert outcomes([Launch(at, 2, k) for k in range(2)]) == ["process 1 has {'giga': '0.1'}, process 0 has {'giga': "
                                                             "'0.0'}"] * 2


def connected(port: int) -> socket.socket:
    """A connection to a port, as soon as somebody listens there."""
    while True:
        try:
            return socket.create_connection(("localhost", port), timeout=LONG_S)
        except ConnectionRefusedError:
            time.sleep(0.02)


def test_strangers_at_the_port():
    """A port scanner does not disturb the meeting; a port of something else is no coordinator."""
    port = free_port()
    at = f"localhost:{port}"

    def scan():
        for content in (b"GET / HTTP/1.1\r\n\r\n", b"[1, 2]\n", b"\xff\n"):
            with connected(port) as stranger:
                stranger.sendall(content)

    def rest():
        scan()
        meet(Launch(at, 2, 1), LONG_S)

    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(rest)
        meet(Launch(at, 2, 0), LONG_S)
        others.result()
    with socket.create_server(("localhost", port), reuse_port=True) as server:
        def answer():
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(json.dumps("hello").encode() + b"\n")

        with ThreadPoolExecutor(1) as pool:
            answered = pool.submit(answer)
            with pytest.raises(NodeError, match=f"coordinator {at}: answers, but not as process 0 of this run"):
                meet(Launch(at, 2, 1), LONG_S)
            answered.result()


def test_a_port_in_use():
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(NodeError, match=rf"process 0 cannot listen on port {port} \(.*in use"):
            meet(Launch(f"localhost:{port}", 2, 0), 1.0)
