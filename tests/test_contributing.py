"""The example of CONTRIBUTING.md does what the page says."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.mass.base import MassProfile

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FILE, PARAM = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def plummer(tmp_path_factory) -> type[MassProfile]:
    path = tmp_path_factory.mktemp("profile") / "plummer.py"
    path.write_text(FILE)
    spec = importlib.util.spec_from_file_location("plummer", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Plummer


@pytest.fixture(scope="module")
def arguments() -> dict[str, float]:
    """The numbers in the line for the list of profiles."""
    call = ast.parse(f"[{PARAM}]", mode="eval").body.elts[0].args[0]
    assert ast.unparse(call.func) == "mass.Plummer"
    return {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}


KNOWN = """
from giga.io.configuration.profiles import MASS

def test_toml_files_know_Plummer():
    assert MASS["Plummer"].__module__ == "giga.mass.plummer"
"""


def test_it_is_one_short_file_and_one_line():
    assert len(FILE.splitlines()) < 40
    assert len(PARAM.splitlines()) == 1


def test_that_file_and_that_line_are_all_it_takes(tmp_path):
    """In a copy of the repository, the tests of profiles run on it, and TOML files know it."""
    shutil.copytree(ROOT / "giga", tmp_path / "giga", symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tests").mkdir()
    for name in ("pyproject.toml", "tests/conftest.py", "tests/test_mass.py"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "giga" / "mass" / "plummer.py").write_text(FILE)
    listed = tmp_path / "tests" / "test_mass.py"
    listed.write_text(listed.read_text().replace("PROFILES = [\n", f"PROFILES = [\n{PARAM}", 1))
    listed.with_name("test_known.py").write_text(KNOWN)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "Plummer and not edges",
                          str(listed.parent)], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0 and re.search(r"\b[6-9] passed", run.stdout), run.stdout


def test_its_deflection_is_the_gradient_of_its_potential(plummer, arguments):
    h = 1e-4  # central differences: error about h^2, rounding about 1e-16 / h
    with jax.enable_x64(True):
        profile = plummer(**arguments)
        x, y = jnp.asarray(np.random.default_rng(1).uniform(-3.0, 3.0, (2, 50)))
        alpha_x, alpha_y = profile.deflection(x, y)
        difference_x = (profile.potential(x + h, y) - profile.potential(x - h, y)) / (2.0 * h)
        difference_y = (profile.potential(x, y + h) - profile.potential(x, y - h)) / (2.0 * h)
        np.testing.assert_allclose(alpha_x, difference_x, atol=1e-6)
        np.testing.assert_allclose(alpha_y, difference_y, atol=1e-6)


def test_its_convergence_is_the_closed_form(plummer, arguments):
    with jax.enable_x64(True):
        profile = plummer(**arguments)
        x, y = jnp.asarray(np.random.default_rng(2).uniform(-3.0, 3.0, (2, 50)))
        r_squared = (x - profile.center_x) ** 2 + (y - profile.center_y) ** 2
        expected = profile.theta_E**2 * profile.s**2 / (r_squared + profile.s**2) ** 2
        np.testing.assert_allclose(profile.convergence(x, y), expected, rtol=1e-9, atol=1e-14)
