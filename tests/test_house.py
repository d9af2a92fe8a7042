"""The repository as a whole: what is tracked, what is linked, what an import does."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import giga

pytestmark = pytest.mark.quick

ROOT = Path(__file__).parents[1]
needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a git checkout")

# Hosts of package registries and of their mirrors; the pieces are joined here so that this file has none.
REGISTRIES = re.compile("|".join(re.escape(name) for name in (
    "py" "pi.org", "python" "hosted.org", "ana" "conda.org", "registry." "npmjs.org", "crates" ".io",
    "proxy." "golang.org", "artifact" "ory")))

IMPORTED = """
import json
from jax._src import xla_bridge
import jax
before = dict(jax.config.values)
import giga
after = dict(jax.config.values)
print(json.dumps({"backends": xla_bridge.backends_are_initialized(),
                  "changed": [name for name in after if name in before and after[name] != before[name]]}))
"""


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name]


@needs_git
def test_no_tracked_file_names_a_package_registry():
    found = {}
    for path in tracked():
        if path.is_file() and (match := REGISTRIES.search(path.read_bytes().decode("utf-8", "ignore"))):
            found[str(path.relative_to(ROOT))] = match.group()
    assert not found


def test_what_giga_imports_is_a_dependency():
    imported: set[str] = set()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    declared = {re.match(r"[\w-]+", name).group().replace("-", "_") for name in declared}
    for folder in ("giga", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                imported |= {name.replace("orbax.checkpoint", "orbax_checkpoint").split(".")[0] for name in names}
    missing = imported - declared - {"giga", *sys.stdlib_module_names}
    assert not missing


@pytest.mark.parametrize(("library", "file"), [
    ("arviz", "giga/inference/chains/diagnostics.py"), ("orbax", "giga/runtime/checkpoint.py")])
def test_a_library_that_changes_its_names_is_called_by_one_file(library, file):
    """ArviZ is of two generations, and orbax announces that the names at its top go."""
    found = {str(path.relative_to(ROOT)) for folder in ("giga", "models") for path in (ROOT / folder).rglob("*.py")
             if re.search(rf"^\s*(import|from) {library}\b", path.read_text(), re.MULTILINE)}
    assert found == {file}


@needs_git
def test_tracked_files_are_small():
    weights = ROOT / "models" / "zoo"  # test_zoo.py has their limit
    large = {str(p.relative_to(ROOT)): p.stat().st_size for p in tracked()
             if p.is_file() and p.stat().st_size > 2**20 and not (p.parent == weights and p.suffix == ".safetensors")}
    assert not large


def test_models_is_a_relative_link():
    link = ROOT / "giga" / "models"
    assert link.is_symlink()
    assert str(link.readlink()) == "../models"


def test_models_refuses_its_bare_name():
    run = subprocess.run([sys.executable, "-c", "import models"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert "ImportError: this package is imported as 'giga.models', not as 'models'" in run.stderr


def test_import_computes_nothing_and_changes_no_flag():
    run = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == {"backends": False, "changed": []}


def test_version_is_that_of_the_project():
    assert giga.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_public_names_are_there():
    profiles, rest = {"EPL", "NFW", "SIE", "Shear", "Sersic", "Shapelets"}, {"Scene", "Grid", "PSF", "Observation"}
    assert profiles | rest <= set(dir(giga))
