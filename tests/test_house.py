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

# What is the user's, by name, before and after all that users import. JAX alone comes first: it sets environment
# variables of its own.
IMPORTED = """
import json, locale, logging, os, random, signal, sys, warnings
import jax, matplotlib, numpy
from jax._src import xla_bridge

if OWN:
    import astropy
    logging.basicConfig(level=logging.INFO, stream=sys.stdout)
    warnings.filterwarnings("error", category=RuntimeWarning)
    matplotlib.use("svg")

def users():
    state = numpy.random.get_state()
    return {
        "handlers": [repr(handler) for handler in logging.root.handlers], "level": logging.root.level,
        "logger class": repr(logging.getLoggerClass()), "disabled": logging.root.manager.disable,
        "filters": [repr(one) for one in warnings.filters], "showwarning": repr(warnings.showwarning),
        "backend": repr(matplotlib.rcParams._get_backend_or_none()), "figures": matplotlib.rcParams["figure.figsize"],
        "jax": {name: repr(value) for name, value in jax.config.values.items()}, "environment": dict(os.environ),
        "signals": [repr(signal.getsignal(one)) for one in sorted(signal.valid_signals())],
        "locale": locale.setlocale(locale.LC_ALL), "numpy errors": numpy.geterr(), "hook": repr(sys.excepthook),
        "printing": repr(numpy.get_printoptions()), "recursion": sys.getrecursionlimit(), "folder": os.getcwd(),
        "random": hash(random.getstate()), "numpy random": [state[1].tolist(), state[2]]}

before = users()
import giga
import giga.cli, giga.jobs.fleet, giga.jobs.results, giga.jobs.run, giga.models.training.train
after = users()
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="MINE %(message)s")
print(json.dumps({"backends": xla_bridge.backends_are_initialized(),
                  "changed": [name for name in before if after[name] != before[name]
                              and not (name == "jax" and before[name].items() <= after[name].items())]}))
logging.getLogger("mine").info("heard")
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


OPTIONAL = {"starlette": "giga/jobs/grading", "uvicorn": "giga/jobs/grading"}  # in which folder alone


def test_what_giga_imports_is_a_dependency():
    imported: set[str] = set()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    declared = {re.match(r"[\w-]+", name).group().replace("-", "_") for name in declared}
    for folder in ("giga", "models"):
        for path in (ROOT / folder).rglob("*.py"):
            own = {name for name, place in OPTIONAL.items() if (ROOT / place) in path.parents}
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                names = {name.replace("orbax.checkpoint", "orbax_checkpoint").split(".")[0] for name in names}
                imported |= names - own
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


@pytest.mark.parametrize("own", [False, True], ids=["a bare process", "a user's own settings"])
def test_import_computes_nothing_and_changes_nothing_of_the_users(own):
    run = subprocess.run([sys.executable, "-c", f"OWN = {own}{IMPORTED}"], capture_output=True, text=True, check=True)
    *_, found, heard = run.stdout.splitlines()
    assert json.loads(found) == {"backends": False, "changed": []}
    assert heard == ("INFO:mine:heard" if own else "MINE heard")


def test_checkpoints_leave_a_bare_root_logger_bare(tmp_path):
    code = ("import logging, numpy\nfrom giga.runtime.checkpoint import Store\nstore = Store(r'{}', 'one')\n"
            "store.save('state', [numpy.zeros(2)], dict())\nstore.load('state', [0])\nprint(logging.root.handlers)")
    run = subprocess.run([sys.executable, "-c", code.format(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_version_is_that_of_the_project():
    assert giga.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_public_names_are_there():
    profiles, rest = {"EPL", "NFW", "SIE", "Shear", "Sersic", "Shapelets"}, {"Scene", "Grid", "PSF", "Observation"}
    assert profiles | rest <= set(dir(giga))
