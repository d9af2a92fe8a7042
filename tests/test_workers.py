"""Pieces of work on real worker processes: what dies, what goes on, and who is refused."""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import _pieces
import pytest
from _processes import environment, started

import giga
from giga.io.errors import InputError
from giga.runtime import workers as module
from giga.runtime.workers import HERE, ClusterError, Workers, alone, spread

pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning",
                                        "ignore::pytest.PytestUnraisableExceptionWarning")


@contextmanager
def cluster(folder, path=""):
    """A scheduler and a worker with a giga of a path; gives its address and its process."""
    env = environment(**({"PYTHONPATH": os.pathsep.join([path, str(Path(__file__).parent)])} if path else {}))
    there = folder / "scheduler.json"
    there.unlink(missing_ok=True)
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", "0", "--scheduler-file",
            there]
    work = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", there, "--nthreads", "1",
            "--no-nanny", "--no-dashboard", "--local-directory", folder]
    with started(*dask, env=env, cwd=folder) as scheduler:  # Python looks first in the folder that it starts in
        while not there.exists():
            assert scheduler.process.poll() is None
            time.sleep(0.05)
        with started(*work, env=env, cwd=folder):
            yield json.loads(there.read_text())["address"], scheduler.process


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """However busy the machine is."""
    monkeypatch.setattr(module, "ANSWER_S", 600.0)


def left(folder):
    return [(str(folder), k) for k in range(5) if not (folder / f"{k}.txt").exists()]


def test_here_one_after_the_other(tmp_path):
    assert list(spread(_pieces.touch, left(tmp_path), HERE)) == [((str(tmp_path), k), None) for k in range(5)]


def test_a_scheduler_that_is_killed_and_started_again(tmp_path):
    with cluster(tmp_path) as (address, scheduler):
        (tmp_path / "victim").write_text(str(scheduler.pid))
        with pytest.raises(ClusterError, match="the scheduler went away with . pieces of work left; the same command"):
            list(spread(_pieces.touch, left(tmp_path), Workers(scheduler=address)))
    assert 0 < len(left(tmp_path)) < 5
    with cluster(tmp_path) as (address, _):
        wanted = left(tmp_path)
        assert sorted(piece for piece, _ in spread(_pieces.touch, wanted, Workers(scheduler=address))) == wanted
    assert not left(tmp_path)


def test_workers_of_another_version_are_refused(tmp_path):
    other = tmp_path / "other"
    shutil.copytree(Path(giga.__file__).parent, other / "giga", ignore=shutil.ignore_patterns("*.safetensors", "*.pyc"))
    with (other / "giga" / "component.py").open("a") as file:
        file.write("\n# Another version.\n")
    with cluster(tmp_path, str(other)) as (address, _):
        with pytest.raises(ClusterError, match=r"a worker has giga .* \(\w{12}\); expected that of the coordinator"):
            list(spread(_pieces.touch, left(tmp_path), Workers(scheduler=address)))
    assert len(left(tmp_path)) == 5


def test_a_scheduler_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    with pytest.raises(ClusterError, match="--scheduler: tcp://127.0.0.1:9 does not answer within 0.5 s"):
        list(spread(_pieces.touch, [], Workers(scheduler="tcp://127.0.0.1:9")))


def test_jobs_of_slurm(tmp_path, monkeypatch):
    """An sbatch that runs the script of a job at once; the options reach it, and the jobs are cancelled at the end."""
    pytest.importorskip("dask_jobqueue")
    for name, text in (("sbatch", f'cp "$1" {tmp_path}/script\nsh {tmp_path}/script >{tmp_path}/job 2>&1 &\n'
                                  'echo "Submitted batch job $!"'),
                       ("scancel", f'echo "$1" > {tmp_path}/cancelled\nkill "$1" 2>/dev/null || true')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    wanted, said = left(tmp_path), []
    where = Workers(1, slurm="--partition=gpu --gres=gpu:1 --time=1:00:00 --cpus-per-task=2 --mem=4G")
    assert sorted(piece for piece, _ in spread(_pieces.touch, wanted, where, said.append)) == wanted
    script = (tmp_path / "script").read_text()
    for line in ("#SBATCH --partition=gpu", "#SBATCH --gres=gpu:1", "#SBATCH -t 1:00:00", "#SBATCH --cpus-per-task=2"):
        assert line in script
    assert said[0] == "1 jobs are asked of SLURM; work begins with the first" and (tmp_path / "cancelled").exists()


@pytest.mark.parametrize(("given", "message"), [
    (dict(workers=2, scheduler="tcp://a:1"), "--scheduler: given with --workers or --slurm"),
    (dict(workers=0), "--workers: got 0, expected at least 1"),
])
def test_places_that_are_none(given, message):
    with pytest.raises(ClusterError, match=message):
        Workers(**given)


@pytest.mark.parametrize(("options", "message"), [("gpu", "got 'gpu', expected options of sbatch"),
                                                  ("--job='a", "No closing quotation"),
                                                  ("--cpus-per-task=x", "--cpus-per-task=x, expected a number"),
                                                  ("--time=1:00", "no sbatch on this machine")])
def test_options_of_sbatch_that_are_none(options, message, monkeypatch, tmp_path):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match=message):
        module._jobs(options)


def test_one_coordinator_a_folder_until_it_dies(tmp_path):
    code = ("import sys; from pathlib import Path; from giga.runtime.workers import alone\n"
            "with alone(Path(sys.argv[1])):\n print('held', flush=True); sys.stdin.read()")
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             env=environment(), text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ClusterError, match=f"process {other.pid} of .* works on this folder; expected one coord"):
            with alone(tmp_path):
                pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    with alone(tmp_path):
        pass


def test_errors_of_the_work_are_not_taken_for_those_of_the_scheduler():
    class Distributed:
        Client = staticmethod(lambda address, timeout: nullcontext(address))

    with pytest.raises(InputError, match="a.fits: image"):
        with module._client(Distributed, Workers(scheduler="tcp://a:1"), print) as client:
            assert client == "tcp://a:1"
            raise InputError("a.fits", "image", "got 1")


def test_errors_come_back_from_workers_as_they_were():
    error = copy.copy(InputError("a.fits", "image", "got 1", "2"))  # by what a pickle is made of, too
    assert isinstance(error, InputError) and str(error) == "a.fits: image: got 1; expected 2" and error.seen == "got 1"
