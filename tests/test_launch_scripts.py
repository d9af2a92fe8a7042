"""The launch scripts of examples/nodes, with two real processes.

Where srun or mpirun are not installed (or no SLURM controller answers), a stand-in of that name sets the variables
that they set. What the scripts start is a probe in the place of giga: it joins the others as `giga fit` does.
"""

import os
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from _processes import BARE, ROOT, run

SCRIPTS = ROOT / "examples" / "nodes"

PROBE = f"""
    {BARE}
    import argparse, os
    os.chdir(os.path.dirname(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["fit"])
    parser.add_argument("config")
    parser.add_argument("--out")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    given = parser.parse_args()
    from giga.runtime.parallel import everywhere, start, start_nodes
    launch = start_nodes(given.coordinator, given.processes, given.process, 600.0)
    start("cpu", 1)
    told = everywhere(f"{{launch.process}} of {{launch.processes}}")
    with open(f"seen{{launch.process}}", "w") as file:
        print(given.config, given.out, given.resume, told, file=file)
    """

SRUN = """
    import os, subprocess, sys
    names = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "localhost",
             "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "2"}
    ranks = ("SLURM_PROCID", "SLURM_LOCALID")
    started = [subprocess.Popen(sys.argv[1:], env=os.environ | names | dict.fromkeys(ranks, str(k))) for k in range(2)]
    sys.exit(max(process.wait() for process in started))
    """

MPIRUN = """
    import os, subprocess, sys
    names = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
    ranks = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK")
    started = [subprocess.Popen(sys.argv[1:], env=os.environ | names | dict.fromkeys(ranks, str(k))) for k in range(2)]
    sys.exit(max(process.wait() for process in started))
    """


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(folder: Path, name: str, code: str) -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(code)}")
    path.chmod(0o755)
    return path


def has_slurm() -> bool:
    if not shutil.which("sinfo"):
        return False
    return subprocess.run(["sinfo", "--noheader", "--states=idle"], capture_output=True, timeout=30).stdout != b""


@pytest.mark.slow
@pytest.mark.parametrize("script", ["explicit", "slurm", "openmpi"])
def test_a_launch_script_starts_processes_that_find_each_other(script, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "OMPI_", "XLA_"))}
    environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "HOSTS": "localhost localhost",
                    "GIGA": str(program(tmp_path, "probe", PROBE)), "PORT": str(free_port()),
                    "COORDINATOR": f"localhost:{free_port()}", "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    arguments = ["lens.toml", "--out", "a b"]
    command = [str(SCRIPTS / f"{script}.sh"), *arguments]
    if script == "openmpi" and shutil.which("mpirun"):
        environment["MPIRUN"] = "mpirun --oversubscribe -np 2" + " --allow-run-as-root" * (os.getuid() == 0)
    elif script == "openmpi":
        program(tmp_path, "mpirun", MPIRUN)
    elif script == "slurm" and has_slurm():
        command = ["sbatch", "--wait", "--nodes=1", "--ntasks-per-node=2", "--output", str(tmp_path / "log"), *command]
    elif script == "slurm":
        program(tmp_path, "srun", SRUN)
    done = run(*command, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.out + done.error
    seen = [path.read_text() for path in sorted(tmp_path.glob("seen*"))]
    assert seen == [f"lens.toml a b {script != 'explicit'} ['0 of 2', '1 of 2']\n"] * 2


@pytest.mark.slow
def test_the_explicit_script_fails_when_a_process_fails(tmp_path):
    giga = program(tmp_path, "probe", 'import sys\nsys.exit(3 if sys.argv[-1] == "0" else 0)')
    environment = os.environ | {"HOSTS": "localhost localhost", "GIGA": str(giga)}
    assert run(SCRIPTS / "explicit.sh", "lens.toml", env=environment, cwd=tmp_path).returncode == 3
    nothing = {name: value for name, value in environment.items() if name != "HOSTS"}
    done = run(SCRIPTS / "explicit.sh", env=nothing, cwd=tmp_path)
    assert done.returncode != 0 and "names of the machines" in done.error
