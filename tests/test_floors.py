"""Imports inside giga go downwards only."""

import ast
from pathlib import Path

import pytest

import giga

PACKAGE = Path(giga.__file__).parent

# Lowest first. Modules of one floor may import each other; a folder stands for all that is in it.
FLOORS = (
    ("component", "atomic", "parallel", "checkpoint", "journal", "memory", "nodes", "processes", "ellipse",
     "products"),
    ("cosmology", "grid", "psf", "resampling"),
    ("mass", "light"),
    ("tracing", "critical", "images", "scene", "observation"),
    ("render", "linear", "jacobian"),
    ("family", "prior", "exchange", "posterior"),
    ("inference", "simulate"),
    ("models",),
    ("search",),
    ("io", "labels", "pictures", "plot", "corner", "checks_plot", "compare", "report", "progress", "terminal", "board",
     "claims", "drawers", "demo", "problems", "run", "fleet", "many", "bench", "calibrate", "calibration_plot",
     "systems", "amortised", "separated_mask", "training_progress", "separation_plot", "cli"),
)
FLOOR_OF = {name: floor for floor, names in enumerate(FLOORS) for name in names}
PUBLIC = "__init__"  # giga/__init__.py: above all, imported by none but those who use giga
MODULES = sorted(p.relative_to(PACKAGE) for folder in (PACKAGE, PACKAGE / "models") for p in folder.rglob("*.py"))


def imported(source: str) -> set[str]:
    """Parts of giga that a source imports: `grid` for `from giga.imaging.grid import Grid`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = {name.split(".")[1] if "." in name else PUBLIC for name in found if name.split(".")[0] == "giga"}
    return {name if name in FLOOR_OF else PUBLIC for name in parts}


def upward(part: str, source: str) -> set[str]:
    """The imports of a source that lead to a higher floor than that of its own part of giga."""
    return {name for name in imported(source) if FLOOR_OF.get(name, len(FLOORS)) > FLOOR_OF[part]}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_imports_go_downwards(module):
    part = module.parts[0].removesuffix(".py")
    if part == PUBLIC:
        return
    assert part in FLOOR_OF, f"giga/{module} has no floor: give it one here and in docs/design.md"
    assert not upward(part, (PACKAGE / module).read_text())


@pytest.mark.parametrize(("part", "source", "found"), [
    ("grid", "from giga.imaging.render import render", {"render"}),
    ("grid", "def f():\n    import giga.io.images.fits", {"io"}),
    ("mass", "from giga import scene", {"scene"}),
    ("mass", "from giga import EPL", {PUBLIC}),
    ("posterior", "import giga", {PUBLIC}),
    ("render", "from giga.imaging.grid import Grid\nfrom giga.imaging.linear import solve\nimport numpy.random", set()),
])
def test_an_upward_import_is_seen(part, source, found):
    assert upward(part, source) == found


def test_relative_imports_are_refused():
    with pytest.raises(AssertionError, match="absolute"):
        imported("from .grid import Grid")
