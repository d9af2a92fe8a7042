"""The wings of giga: imports go from higher ones to lower ones, and no two files or folders import each other."""

import ast
import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import giga

pytestmark = pytest.mark.quick

PACKAGE = Path(giga.__file__).parent

# Lowest first; those of one line do not import each other. docs/design.md says what lives in each.
WINGS = (
    ("component", "ellipse"),
    ("runtime",),
    ("mass", "light"),
    ("lensing",),
    ("imaging",),
    ("bayes",),
    ("inference", "simulate"),
    ("models",),
    ("search",),
    ("io",),
    ("show",),
    ("jobs",),
    ("cli",),
)
FLOOR_OF = {name: floor for floor, names in enumerate(WINGS) for name in names}
PUBLIC = "__init__"  # giga/__init__.py: above all, imported by none but those who use giga
CROWD = 20  # files in a folder
FILES = sorted(p.relative_to(PACKAGE) for folder in (PACKAGE, PACKAGE / "models") for p in folder.rglob("*.py"))


def module(path: Path) -> str:
    """`imaging.grid` for imaging/grid.py, `mass` for mass/__init__.py."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(path) for path in FILES} - {PUBLIC}


def imported(source: str) -> set[str]:
    """Modules of giga that a source imports: `imaging.grid` for `from giga.imaging.grid import Grid`."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {_longest(name.split(".")[1:]) for name in found if name.split(".")[0] == "giga"}


def _longest(parts: list[str]) -> str:
    """The module that a dotted name leads to; `__init__` for a name of giga itself."""
    for end in range(len(parts), 0, -1):
        if ".".join(parts[:end]) in MODULES or parts[0] in FLOOR_OF and end == 1:
            return ".".join(parts[:end])
    return PUBLIC


def wrong(wing: str, source: str) -> set[str]:
    """The imports of a source that lead to a higher wing than its own, or to another one of the same line."""
    wings = {name: name.split(".")[0] for name in imported(source)}
    return {name for name, other in wings.items()
            if other != wing and FLOOR_OF.get(other, len(WINGS)) >= FLOOR_OF[wing]}


def without_circles(arrows: Mapping[str, Iterable[str]]) -> None:
    """See that arrows lead nowhere back to where they came from."""
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(f"a circle of imports: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_to_lower_wings(path):
    wing = path.parts[0].removesuffix(".py")
    if wing == PUBLIC:
        return
    assert wing in FLOOR_OF, f"giga/{path} is in no wing: see docs/design.md, and the list above"
    assert not wrong(wing, (PACKAGE / path).read_text())


def test_no_circle_of_files_or_folders():
    arrows = {module(path): imported((PACKAGE / path).read_text()) for path in FILES if module(path) != PUBLIC}
    without_circles({name: found - {name} for name, found in arrows.items()})
    # A folder is one room; what lies beside the rooms of a wing strings them together, and is a room each.
    halls = {parent for path in FILES for parent in path.parent.parents}
    rooms = {module(path): module(path) if path.parent in halls else ".".join(path.parent.parts) for path in FILES}
    between: dict[str, set[str]] = {}
    for name, found in arrows.items():
        between.setdefault(rooms[name], set()).update(rooms.get(one, one) for one in found)
    without_circles({room: found - {room} for room, found in between.items()})


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=str)
def test_folders_are_not_crowded(folder):
    files = [path for path in FILES if path.parent == folder and path.name != "__init__.py"]
    assert len(files) <= CROWD


@pytest.mark.parametrize(("wing", "source", "found"), [
    ("imaging", "from giga.inference.pipeline import fit", {"inference.pipeline"}),
    ("imaging", "def f():\n    import giga.io.images.fits", {"io.images.fits"}),
    ("mass", "from giga.lensing import scene", {"lensing.scene"}),
    ("mass", "from giga.light import Sersic", {"light"}),
    ("mass", "from giga import EPL", {PUBLIC}),
    ("bayes", "import giga", {PUBLIC}),
    ("imaging", "from giga.imaging.grid import Grid\nfrom giga.lensing.scene import Scene\nimport numpy.random", set()),
])
def test_an_upward_import_is_seen(wing, source, found):
    assert wrong(wing, source) == found


def test_a_circle_is_seen():
    with pytest.raises(pytest.fail.Exception, match="a <- b <- a|b <- a <- b"):
        without_circles({"a": {"b"}, "b": {"a"}})


def test_relative_imports_are_refused():
    with pytest.raises(AssertionError, match="absolute"):
        imported("from .grid import Grid")


@pytest.mark.parametrize("page", ["docs/design.md", "docs/images/wings.svg"])
def test_the_plan_that_is_shown_is_the_one_that_is_kept(page):
    """Every wing stands on the page and in the picture, in this order; the picture has the highest at the top."""
    text = (PACKAGE.parent / page).read_text()
    marks = [rf"<text [^>]*>{name}</text>" if page.endswith("svg") else rf"^\| .*`{name}(\.py|/)`"
             for name in FLOOR_OF]
    found = [re.search(mark, text, re.MULTILINE) for mark in marks]
    assert all(found), [name for name, match in zip(FLOOR_OF, found, strict=True) if not match]
    lines = [text.count("\n", 0, match.start()) for match in found if match]
    drawn = [FLOOR_OF[name] for _, name in sorted(zip(lines, FLOOR_OF, strict=True), key=lambda pair: pair[0])]
    assert drawn == sorted(drawn, reverse=page.endswith("svg"))
