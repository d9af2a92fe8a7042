"""Configurations of `giga simulate`: a population, a survey, its noise, and what is written."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from giga.imaging.steepness import steep_cores
from giga.io.configuration.collett import read_collett
from giga.io.configuration.population import OTHERS, read_population
from giga.io.configuration.profiles import SECTIONS
from giga.io.configuration.survey import files_of, read_noise, read_survey
from giga.io.configuration.toml import LISTS, flat, override, read_toml
from giga.io.configuration.training import DevicesConfig
from giga.io.errors import InputError, nearest
from giga.io.table_file import read_table_file
from giga.io.tables import Place, at_least, read_table, show, to_table, write_toml
from giga.runtime.identity import identity_of
from giga.simulate.generator import Simulator, simulator
from giga.simulate.mixing import Mixing
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.population import Population
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.collett import collett_population
from giga.simulate.systems.ggsl import EMPTY, companions, physical, table_2

SCENE = (*SECTIONS, *OTHERS)
"""Sections that describe a population of one's own."""
CUT = 0.02  # share of a PSF outside its kernel that is said
LOOKED_AT = 8  # scenes whose cores are looked at
PLACES = {"psf": "survey.psf", "mixing": "mixing", "population": "population", "companions": "companions"}
"""Where in the file a complaint of the simulator belongs, by its first word."""


def _check_ranges(config: Any, *names: str, may_be_one: bool = False) -> None:
    """Refuse ranges that end before they begin, or, unless they may be one number, there. Raises ValueError."""
    for name in names:
        low, high = getattr(config, name)
        if not (low <= high if may_be_one else low < high):
            raise ValueError(f"{name}: got {low:g} to {high:g}; expected a lower number first")


@dataclass(frozen=True)
class PopulationConfig:
    """Section [population]: a recipe, or a table whose columns the profiles of the file take."""

    recipe: Literal["table_2", "physical", "collett"] | None = None
    table: Path | None = None  # of lenses: of Collett (2015), or CSV, ECSV, FITS, VOTable
    clumps: int = at_least(0, 0)  # bright knots of the source
    empty: float = at_least(0.0, EMPTY)  # share of images without a source
    lens_magnitude: tuple[float, float] = (17.0, 20.5)  # range of the deflector's r magnitude, "physical"
    source_magnitude: tuple[float, float] = (21.0, 24.5)  # range of the unlensed source's

    def __post_init__(self) -> None:
        if self.empty > 1.0:
            raise ValueError(f"empty: got {self.empty}; expected a share from 0 to 1")
        _check_ranges(self, "lens_magnitude", "source_magnitude")
        if self.recipe == "collett" and self.table is None:
            raise InputError("", "table", "missing", "a table of Collett (2015)")
        if self.recipe in ("table_2", "physical") and self.table is not None:
            raise InputError("", "table", f"given for the recipe {self.recipe!r}", "no table")


@dataclass(frozen=True)
class CompanionsConfig:
    """Section [companions]: galaxies nearby, whose light counts as noise."""

    most: int = at_least(0, 3)  # each is there with probability one half
    magnitude: tuple[float, float] = (20.0, 25.0)  # range in r

    def __post_init__(self) -> None:
        _check_ranges(self, "magnitude")


@dataclass(frozen=True)
class MixingConfig:
    """Section [mixing]: random strengths of the parts, see `giga.simulate.mixing.Mixing`."""

    alpha: tuple[float, float] = (0.0, 1.0)
    beta: tuple[float, float] = (0.0, 1.0)
    gamma: tuple[float, float] = (0.5, 1.5)
    epsilon: tuple[float, float] = (0.0, 1.0)
    missing: float = at_least(0.0, 0.0)  # probability that a band alone shows no source

    def __post_init__(self) -> None:
        _check_ranges(self, "alpha", "beta", "gamma", "epsilon", may_be_one=True)


@dataclass(frozen=True)
class OutputConfig:
    """Section [output]: what is written."""

    format: Literal["hdf5", "fits"] = "hdf5"
    images: int = at_least(1, 1024)  # in all
    per_shard: int = at_least(1, 512)  # in one file
    seed: int = at_least(0, 0)
    turns: bool = False  # flip and turn each image, truth included

    def __post_init__(self) -> None:
        if self.seed >= 2**32:
            raise ValueError(f"seed: got {self.seed}; expected a number below 2^32")


KINDS = {"population": PopulationConfig, "companions": CompanionsConfig, "mixing": MixingConfig,
         "output": OutputConfig, "run": DevicesConfig}


@dataclass(frozen=True)
class Simulation:
    """What is simulated and how it is written.

    Attributes:
        simulator: The source of images.
        survey: Their pixels and bands.
        output: What is written.
        run: Devices.
        tables: The configuration with its defaults, paths absolute.
        facts: All that the images depend on but their number, by name.
        file: The configuration, for messages.
        notes: What the user should know.
    """

    simulator: Simulator
    survey: Survey
    output: OutputConfig
    run: DevicesConfig
    tables: dict[str, Any]
    facts: dict[str, Any]
    file: Path
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Hash of all that the images depend on, but their number."""
        return identity_of("simulation", self.facts)

    def dump(self) -> str:
        """The configuration as TOML."""
        return write_toml({name: table for name, table in self.tables.items() if table})


def read_run(path: Path, overrides: Mapping[str, Any] | None = None) -> DevicesConfig:
    """Section [run] alone, for devices are chosen before anything is computed. Raises InputError."""
    return read_table(DevicesConfig, _tables(path, overrides).get("run", {}), Place(path).at("run"))


def load_simulation(path: Path, overrides: Mapping[str, Any] | None = None) -> Simulation:
    """Read a configuration, its PSFs, cutouts and tables, and make the simulator.

    Args:
        path: TOML file.
        overrides: Values to change, by path: `output.images`.

    Raises:
        InputError: File, path of the field, value seen and what was expected.
    """
    tables, place = _tables(path, overrides), Place(path, "", path.parent)
    if "survey" not in tables:
        raise place.at("survey").error("missing", "[survey] with the name of a preset")
    configs: dict[str, Any] = {name: read_table(kind, tables.get(name, {}), place.at(name))
                               for name, kind in KINDS.items()}
    survey, survey_config, changes = read_survey(tables["survey"], place.at("survey"))
    noise, noise_config = read_noise(tables.get("noise", {}), survey, place.at("noise"))
    mixing = Mixing(bands=len(survey.bands), **vars(configs["mixing"])) if "mixing" in tables else None
    output = configs["output"]
    try:
        near = None
        if "companions" in tables and configs["companions"].most:
            near = companions(survey, configs["companions"].most, configs["companions"].magnitude)
        population = _population(tables, configs["population"], survey, mixing is not None, place)
        made = simulator(population, survey.grid, survey.psfs(survey_config.supersampling), noise, companions=near,
                         mixing=mixing, turns=output.turns)
        if output.turns and survey.shape[0] != survey.shape[1]:
            raise place.at("output.turns").error("got true", f"square images, not {survey.shape}")
    except InputError:
        raise
    except ValueError as error:
        word, _, rest = str(error).partition(": ")
        known = word in PLACES
        raise place.at(PLACES[word] if known else "population").error(rest if known else str(error)) from error
    kept = {name: to_table(configs[name]) for name in KINDS if name in tables or name in ("output", "run")}
    kept |= {"survey": {**to_table(survey_config), **({"band": {n: to_table(c) for n, c in changes.items()}} if changes
                                                     else {})}, "noise": to_table(noise_config)}
    kept |= {name: tables[name] for name in SCENE if name in tables}
    return Simulation(made, survey, output, configs["run"], kept, _facts(
        kept, survey, files_of(survey_config, changes, noise_config, configs["population"])), path,
        _notes(made, survey, survey_config.supersampling))


def _notes(made: Simulator, survey: Survey, supersampling: int) -> tuple[str, ...]:
    """PSFs that their kernels cut, and cores of light that the sampling does not resolve, in half of some scenes."""
    notes = []
    for band in survey.bands:
        outside = 1.0 - band.psf.enclosed_flux(survey.pixel_scale, supersampling)
        if outside > CUT:
            notes.append(f"band {band.name}: {100.0 * outside:.3g}% of the light of the PSF lies outside its kernel")
    scenes = jax.device_get(jax.jit(jax.vmap(made.population.sample))(jax.random.split(jax.random.key(0), LOOKED_AT)))
    found: list[str] = []
    for k in range(LOOKED_AT):
        scene = jax.tree.map(lambda leaf, k=k: np.ravel(leaf[k])[0], scenes)  # of bands the first
        found += steep_cores(scene, survey.pixel_scale, supersampling, survey.bands[0].name)
    for place in dict.fromkeys(text.partition(":")[0] for text in found):
        said = [text for text in found if text.startswith(f"{place}:")]
        if len(said) >= LOOKED_AT // 2:
            notes.append(f"{said[0]} (in one of the scenes; alike in {len(said)} of {LOOKED_AT})")
    return tuple(notes)


def load_injection(path: Path, overrides: Mapping[str, Any] | None = None) -> Simulation:
    """Read the configuration of light that is to be added to real images: a population and the survey that took them.

    Raises:
        InputError: What `load_simulation` raises, a section that has no place there, or no source.
    """
    place = Place(path)
    tables = _tables(path, overrides)
    for section in ("noise", "companions", "mixing", "output"):
        if section in tables:
            raise place.at(section).error("given for an injection", "no such section: noise and galaxies nearby are "
                                                                    "the image's own")
    simulation = load_simulation(path, overrides)
    scene = jax.eval_shape(simulation.simulator.population.sample, jax.random.key(0))
    if not scene.source_light:
        raise place.at("source_light").error("no source", "[[source_light]], whose light is added")
    return simulation


def _tables(path: Path, overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    tables, place = read_toml(path), Place(path)
    for name, value in (overrides or {}).items():
        override(tables, name, value, place)
    valid = (*KINDS, "survey", "noise", *SCENE)
    for section, table in tables.items():
        if section not in valid:
            raise place.at(section).error("unknown section", nearest(section, valid))
        if section not in LISTS and not isinstance(table, Mapping):
            raise place.at(section).error(show(table), "a table")
    return tables


def _population(tables: Mapping[str, Any], config: PopulationConfig, survey: Survey, mixed: bool,
                place: Place) -> Population:
    own = [name for name in SCENE if name in tables]
    if config.recipe is None:
        if not any(name in tables for name in SECTIONS):
            raise place.at("population").error("no population", "a recipe, or [[mass]], [[lens_light]], "
                                                                "[[source_light]]")
        table = None if config.table is None else _catalogue(config.table)
        return read_population(tables, place.file, () if mixed else survey.bands, table)
    if own:
        raise place.at("population.recipe").error(f"{config.recipe!r} beside {', '.join(own)}", "one of them")
    if config.recipe == "table_2":
        if not mixed:
            raise place.at("population.recipe").error("'table_2', whose light has no unit, without [mixing]",
                                                      "[mixing] as well")
        return table_2(config.clumps, config.empty)
    if config.recipe == "physical":
        return physical(survey, config.lens_magnitude, config.source_magnitude, config.clumps, config.empty)
    assert config.table is not None  # the section was checked
    return collett_population(read_collett(config.table), survey.bands)


def _catalogue(path: Path) -> Catalogue:
    if path.suffix == ".txt":
        return read_collett(path)
    table: Any = read_table_file(path)
    columns = {}
    for name in table.colnames:
        try:
            column = table[name].astype(float)
        except ValueError:
            continue  # a text, which no leaf can be
        columns[name] = np.asarray(column.filled(np.nan) if hasattr(column, "filled") else column)
    try:
        return Catalogue(columns)
    except ValueError as error:
        raise InputError(path, "population.table", str(error).removeprefix("catalogue: ")) from error


def _facts(tables: Mapping[str, Any], survey: Survey, files: list[Path]) -> dict[str, Any]:
    """Settings, the survey's own numbers, contents of files, and versions; neither the number of images nor devices."""
    told = {**tables, "output": {name: value for name, value in tables["output"].items() if name != "images"}}
    told.pop("run")
    versions = {f"version of {name}": importlib.metadata.version(name) for name in ("giga", "jax", "numpyro")}
    contents = {f"content of {part}": hashlib.sha256(part.read_bytes()).hexdigest() for path in files
                for part in (sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path])}
    return {**dict(flat(told)), "the survey's numbers": survey, **versions, **contents}
