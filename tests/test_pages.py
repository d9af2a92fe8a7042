"""The examples in the documentation are what the code takes."""

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpyro.distributions as dist
import pytest

import giga
from giga.bayes.prior import Prior
from giga.io.configuration.population import read_population
from giga.io.configuration.toml import parse_config, scene_from_config

ROOT = Path(__file__).parents[1]
README, QUICKSTART, CONFIGURATION = "README.md", "docs/quickstart.md", "docs/configuration.md"
POPULATIONS = "docs/populations.md"


@dataclass(frozen=True)
class NoSettings:
    """A section [inference] that is left out."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


def scene_of(source: str) -> giga.Scene:
    """The value of the assignment to `prior` in a source, made from the names that giga exports."""
    keep = [node for node in ast.parse(source).body if isinstance(node, ast.Assign)
            and ast.unparse(node.targets[0]) in ("prior", "position")]
    names = {"dist": dist, **{name: getattr(giga, name) for name in ("EPL", "Scene", "Sersic", "Shear")}}
    exec(compile(ast.Module(keep, []), "page", "exec"), names)
    return names["prior"]


@pytest.mark.parametrize("page", [README, CONFIGURATION])
def test_configurations_are_valid(page):
    (text,) = blocks(page, "toml")
    scene = scene_from_config(parse_config(tomllib.loads(text), Path("lens.toml"), NoSettings))
    assert Prior.of(scene).size >= 8


def test_the_configuration_ties_the_lens_light_to_the_mass():
    (text,) = blocks(CONFIGURATION, "toml")
    scene = scene_from_config(parse_config(tomllib.loads(text), Path("lens.toml"), NoSettings))
    assert scene.lens_light[0].center_x is scene.mass[0].center_x


@pytest.mark.parametrize(("page", "size"), [(README, 7), (QUICKSTART, 16)])
def test_priors_are_valid(page, size):
    assert Prior.of(scene_of(blocks(page, "python")[0])).size == size


@pytest.mark.parametrize("page", [README, QUICKSTART])
def test_names_imported_in_examples_exist(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module == "giga":
                assert not {alias.name for alias in node.names} - set(dir(giga))


def test_the_readme_example_has_under_ten_lines():
    assert len(blocks(README, "python")[0].splitlines()) < 10


def test_links_lead_to_files():
    for page in (README, *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text()):
            path = (ROOT / page).parent / link
            assert path.exists() or path.suffix == ".png" or "api/" in link, f"{page}: {link}"


def test_populations_of_the_page_are_drawn():
    names: dict[str, Any] = {}
    run, read = [], []
    for block in blocks(POPULATIONS, "python"):
        (read if "read_collett" in block else run).append(block)
    for block in run:
        exec(compile(block, POPULATIONS, "exec"), names)
    assert len(run) >= 4 and names["truths"]["mass.0.theta_E"].shape == (1000,)
    for name in ("lenses", "measured"):
        scene, truth = names[name].draw(names["jax"].random.key(0))
        assert float(scene.mass[0].theta_E) == float(truth["mass.0.theta_E"]) > 0.0
    (block,) = read  # it needs a file: its imports are tried, and that the survey has the bands
    exec("".join(line + "\n" for line in block.splitlines() if line.startswith("from")), names)
    assert [band.name for band in names["SURVEYS"]["lsst"].select("gri").bands] == list("gri")


def test_the_population_in_toml_is_drawn():
    (text,) = blocks(POPULATIONS, "toml")
    population = read_population(tomllib.loads(text), Path("population.toml"))
    assert "lensed" in population.free and "mass.0.theta_E" in population.free


CLUSTER = {"input.par": """runmode
	reference 3 150.0 2.2
	end
image
	sigposArcsec 0.3
	end
potentiel O1
	profil 81
	ellipticite 0.3
	core_radius 5.0
	cut_radius 200.0
	v_disp 900.0
	z_lens 0.39
	end
potfile
	filein 3 members.cat
	zlens 0.39
	core 0.05
	mag0 19.0
	sigma 0 200.0
	cut 0 10.0
	end
fini
""", "members.cat": """#REFERENCE 3 150.0 2.2
g1 28.0 -3.0 1.0 0.8 30.0 18.5 0
g2 -12.0 30.0 1.0 0.9 80.0 19.5 0
""", "arcs.dat": """#REFERENCE 3 150.0 2.2
1.1 24.0 3.0 1 1 0 1.5 0
1.2 -9.0 6.0 1 1 0 1.5 0
"""}


@pytest.mark.parametrize("page", ["planes", "points", "clusters"])
def test_examples_run_by_themselves(page, tmp_path, monkeypatch):
    """Each with its own imports; those of points go on from the first, which has the scene."""
    for name, text in CLUSTER.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    found = blocks(f"docs/{page}.md", "python")
    scene = {}
    precise = jax.config.jax_enable_x64  # which an example turns on
    try:
        for block in found:
            names: dict[str, Any] = {"scene": scene["scene"]} if page == "points" and scene else {}
            exec(compile(block, page, "exec"), names)
            scene |= names
    finally:
        jax.config.update("jax_enable_x64", precise)
    assert len(found) == 2
