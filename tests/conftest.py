"""Fixtures that all tests share: precision and random numbers."""

import gc
from pathlib import Path

import jax
import numpy as np
import pytest

REFERENCE = Path(__file__).parent / "reference" / "lenstronomy.npz"


@pytest.fixture(autouse=True, scope="module")
def forgotten_programs():
    """Free the compiled programs of a file when it is done: those of all files together fill a machine's memory."""
    yield
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
    """Values computed by lenstronomy, see `tests/reference/make_lenstronomy.py`."""
    with np.load(REFERENCE, allow_pickle=False) as file:
        return dict(file)
