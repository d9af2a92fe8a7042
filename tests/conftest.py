"""Fixtures that all tests share: precision and random numbers; and how their programs are compiled."""

import gc
import importlib.util
import mmap
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

# Most of the time of the tests is XLA's compiling of programs that run once on a few numbers. Its older emitters of
# fused loops compile faster than those that have replaced them on CPUs, and with them the second level of optimisation
# takes half the time of the third for programs that are as fast. XLA ends a process that names a flag it does not know,
# so the emitters' is looked for first. Set before JAX starts, and inherited by the processes of tests. Users' programs
# are compiled otherwise: so are those of the examples, and of the comparisons with lenstronomy that `make test` runs
# once more with AS_USERS set.
#
# What is compiled is kept, for all processes of a run, the workers and those that tests start, and for the runs to
# come: more than half of a first run's time is compiling. `make clean` removes it.
AS_USERS = os.environ.get("AS_USERS", "0") == "1"
OLDER_EMITTERS = "xla_cpu_use_fusion_emitters"
LARGEST = 4e9  # bytes of compiled programs


def known_to_xla(flag: str) -> bool:
    """Whether the installed jaxlib has a flag of this name."""
    spec = importlib.util.find_spec("jaxlib")
    assert spec is not None and spec.origin is not None
    library = Path(spec.origin).with_name("libjax_common.so")
    if not library.exists():
        return False
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"\0" + flag.encode() + b"\0") >= 0


if not AS_USERS and OLDER_EMITTERS not in os.environ.get("XLA_FLAGS", "") and known_to_xla(OLDER_EMITTERS):
    flags = f"--{OLDER_EMITTERS}=false --xla_backend_optimization_level=2"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
if not AS_USERS:
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of processes; files say it themselves
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    programs = Path(__file__).parents[1] / ".pytest_cache" / "programs"
    # Nothing tells which of them are still of use, so that a folder that has grown too large begins anew.
    if programs.exists() and sum(file.stat().st_size for file in programs.iterdir()) > LARGEST:
        shutil.rmtree(programs)
    programs.mkdir(parents=True, exist_ok=True)
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(programs), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

# A shell that starts them in the background has its programs ignore Ctrl-C, and tests send it to themselves.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No compiled program is kept in the user's folder, or taken from there. Processes of tests inherit this.
os.environ["GIGA_CACHE"] = "off"

import jax  # noqa: E402
import numpy as np  # noqa: E402

REFERENCES = [Path(__file__).parent / "reference" / name for name in ("lenstronomy.npz", "mass.npz")]


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs(request):
    """Compile a file's programs with little optimisation, and free them when it is done.

    A file whose programs run for longer than they compile says `OPTIMISED = True`. The programs of all files together
    fill a machine's memory.
    """
    optimised = AS_USERS or getattr(request.module, "OPTIMISED", False)
    jax.config.update("jax_disable_most_optimizations", not optimised)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
    jax.clear_caches()
    gc.collect()


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Run the test once in each precision; the value is the NumPy dtype."""
    with jax.enable_x64(request.param == "float64"):
        yield np.dtype(request.param)


@pytest.fixture
def x64():
    """Run the test in float64."""
    with jax.enable_x64(True):
        yield np.dtype("float64")


@pytest.fixture
def rng():
    """Random numbers with a fixed seed."""
    return np.random.default_rng(20)


@pytest.fixture(scope="session")
def reference():
    """Values computed by lenstronomy and mpmath, see `tests/reference/make_lenstronomy.py` and `make_mass.py`."""
    values = {}
    for path in REFERENCES:
        with np.load(path, allow_pickle=False) as file:
            values |= dict(file)
    return values


@pytest.fixture(scope="session")
def planes_reference():
    """Values computed by lenstronomy, see `tests/reference/make_planes.py`."""
    with np.load(Path(__file__).parent / "reference" / "planes.npz", allow_pickle=False) as file:
        return dict(file)
