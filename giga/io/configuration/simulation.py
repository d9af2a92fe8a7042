"""Configurations of `giga simulate`: a population, a survey, its noise or cutouts that are there, and the output."""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from giga.imaging.steepness import steep_cores
from giga.io.configuration.recipes import (
    SCENE,
    CompanionsConfig,
    MixingConfig,
    OutputConfig,
    PopulationConfig,
    population_of,
)
from giga.io.configuration.survey import SurveyConfig, files_of, read_noise, read_survey
from giga.io.configuration.toml import LISTS, flat, override, read_toml
from giga.io.configuration.training import SIMULATED, DevicesConfig
from giga.io.errors import InputError, nearest
from giga.io.stored.injected import Galaxies, InjectedConfig, finite_columns, open_galaxies
from giga.io.tables import Place, read_table, show, to_table, write_toml
from giga.models.training.injected import Injected
from giga.models.training.order import Order
from giga.models.training.splits import PARTS
from giga.runtime import parallel
from giga.runtime.identity import identity_of
from giga.simulate.batch import Batch
from giga.simulate.generator import Simulator, simulator
from giga.simulate.injected import Injector
from giga.simulate.mixing import Mixing
from giga.simulate.optics import Optics
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.population import Population
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.ggsl import companions

CUT = 0.02  # share of a PSF outside its kernel that is said
LOOKED_AT = 8  # scenes whose cores are looked at
PLACES = {"psf": "survey.psf", "mixing": "mixing", "population": "population", "companions": "companions",
          "seeing": "survey.seeing", "beta": "survey.beta"}
"""Where in the file a complaint of the simulator belongs, by its first word."""
OTHERS = ("system", "train")
"""Sections of a training, whose images the same file describes."""
KINDS = {"population": PopulationConfig, "companions": CompanionsConfig, "mixing": MixingConfig,
         "output": OutputConfig, "run": DevicesConfig}


@dataclass(frozen=True, eq=False)
class Simulation:
    """What is simulated and how it is written.

    Attributes:
        made: What makes images: a simulator, or light that is put into stored cutouts.
        survey: Their pixels and bands.
        output: What is written.
        run: Devices.
        tables: The configuration with its defaults, paths absolute.
        facts: All that the images depend on but their number, by name.
        file: The configuration, for messages.
        notes: What the user should know.
    """

    made: Simulator | Injected
    survey: Survey
    output: OutputConfig
    run: DevicesConfig
    tables: dict[str, Any]
    facts: dict[str, Any]
    file: Path
    notes: tuple[str, ...] = ()
    order: Order | None = None  # in which cutouts are taken, of light that is put into them

    @property
    def identity(self) -> str:
        """Hash of all that the images depend on, but their number."""
        return identity_of("simulation", self.facts)

    @property
    def simulator(self) -> Simulator:
        """What simulates images that need no cutouts. Raises InputError for one that does."""
        if isinstance(self.made, Injected):
            raise InputError(self.file, "injected", "light that is put into cutouts", "a simulation of whole images")
        return self.made

    @property
    def population(self) -> Population:
        """Distribution of the scenes."""
        return self.made.injector.population if isinstance(self.made, Injected) else self.made.population

    def images(self, step: int, count: int, over: Mesh | None = None) -> Batch:
        """Images of a step, on the host: those of training steps, and of shards.

        Image i has the key `fold_in(fold_in(key(output.seed), step), i)`.

        Args:
            step: From zero.
            count: Of images.
            over: Mesh of devices; None is all. Light is put into cutouts on the first.

        Raises:
            InputError: Cutouts that cannot be read.
        """
        if isinstance(self.made, Injected):
            assert self.order is not None  # made with it
            return self.made.of_step(step, count, self.order)
        key = jax.random.fold_in(jax.random.key(self.output.seed), step)
        return parallel.on_host(self.made.simulate(key, count, over))

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
    return simulation_of(_tables(path, overrides), Place(path, "", path.parent))


def simulation_of(tables: Mapping[str, Any], place: Place) -> Simulation:
    """The simulation of tables that were read from a place; other sections are left alone. See `load_simulation`."""
    if "survey" not in tables:
        raise place.at("survey").error("missing", "[survey] with the name of a preset")
    configs: dict[str, Any] = {name: read_table(kind, tables.get(name, {}), place.at(name))
                               for name, kind in KINDS.items()}
    survey, survey_config, changes = read_survey(tables["survey"], place.at("survey"))
    output, files, order, cutouts = configs["output"], [survey_config, changes, configs["population"]], None, {}
    if output.turns and survey.shape[0] != survey.shape[1]:
        raise place.at("output.turns").error("got true", f"square images, not {survey.shape}")
    kept = {name: to_table(configs[name]) for name in KINDS if name in tables or name in ("output", "run")}
    kept |= {"survey": {**to_table(survey_config), **({"band": {n: to_table(c) for n, c in changes.items()}} if changes
                                                     else {})}}
    notes: tuple[str, ...] = ()
    try:
        if "injected" in tables:
            config = read_table(InjectedConfig, tables["injected"], place.at("injected"))
            galaxies, made = _injected(tables, config, configs, survey, survey_config, place)
            order = _order(made, config, place)
            kept["injected"], notes = to_table(config), galaxies.notes
            files.append(config.labels)
            cutouts = {"the cutouts": galaxies.identity}
        else:
            noise, noise_config = read_noise(tables.get("noise", {}), survey, place.at("noise"))
            made = _simulator(tables, configs, survey, survey_config, noise, place)
            kept["noise"] = to_table(noise_config)
            files.append(noise_config)
    except InputError:
        raise
    except ValueError as error:
        word, _, rest = str(error).partition(": ")
        known = word in PLACES
        raise place.at(PLACES[word] if known else "population").error(rest if known else str(error)) from error
    kept |= {name: tables[name] for name in SCENE if name in tables}
    population = made.injector.population if isinstance(made, Injected) else made.population
    return Simulation(made, survey, output, configs["run"], kept, _facts(kept, survey, files_of(*files)) | cutouts,
                      Path(place.file), (*notes, *_notes(population, survey, survey_config.supersampling)), order)


def _simulator(tables: Mapping[str, Any], configs: Mapping[str, Any], survey: Survey, config: SurveyConfig, noise: Any,
               place: Place) -> Simulator:
    mixing = Mixing(bands=len(survey.bands), **vars(configs["mixing"])) if "mixing" in tables else None
    near = None
    if "companions" in tables and configs["companions"].most:
        near = companions(survey, **vars(configs["companions"]), supersampling=config.supersampling)
    population = population_of(tables, configs["population"], survey, mixing is not None, place)
    return simulator(population, survey.grid, config.psfs(survey, mixing is not None), noise, companions=near,
                     mixing=mixing, turns=configs["output"].turns)


def _injected(tables: Mapping[str, Any], config: InjectedConfig, configs: Mapping[str, Any], survey: Survey,
              survey_config: SurveyConfig, place: Place) -> tuple[Galaxies, Injected]:
    """Light that is put into cutouts; columns of the population are those of their table."""
    check_own(tables, place, "noise", "companions", "mixing")
    if survey_config.seeing is not None:
        raise place.at("survey.seeing").error("given for an injection", "a PSF of each cutout, see [injected]")
    if configs["population"].table is not None:
        raise place.at("population.table").error("given for an injection", "columns of injected.labels, a row a cutout")
    galaxies = open_galaxies(config, survey, survey_config.supersampling, configs["output"].seed)
    known = np.isin(np.arange(len(galaxies.images)), np.concatenate([galaxies.split.part(one) for one in PARTS]))
    columns = finite_columns(galaxies.columns, known, set(_columns_in(tables)))
    if not config.lens_light:
        check_mimics(configs["population"].mimics, place)
    population = population_of(tables, configs["population"], survey, False, place,
                               Catalogue(columns) if columns else None)
    check_source(population, place)
    optics = None
    if galaxies.kernels is None:
        optics = Optics.of([list(survey.psfs(survey_config.supersampling))], survey.shape)
    injector = Injector(grid=survey.grid, population=population, optics=optics,
                        supersampling=survey_config.supersampling, turns=configs["output"].turns,
                        lens_light=config.lens_light)
    made = Injected(galaxies, jax.tree.map(jnp.asarray, injector), galaxies.split, seed=configs["output"].seed,
                    scenes=config.scenes)
    return galaxies, made


def _order(made: Injected, config: InjectedConfig, place: Place) -> Order:
    """In which order cutouts are written: those of a part, as training takes them; or all."""
    parts = PARTS if config.part == "all" else (config.part,)
    rows = np.sort(np.concatenate([made.split.part(one) for one in parts]))
    if not len(rows):
        raise place.at("injected.part").error(f"{config.part!r}, in which no cutout is", "a part with a share")
    return made.order(rows)


def _columns_in(value: Any) -> list[str]:
    """Names of the columns that values of a file take."""
    if isinstance(value, Mapping):
        own = [value["column"]] if isinstance(value.get("column"), str) else []
        return own + [name for one in value.values() for name in _columns_in(one)]
    return [name for one in value for name in _columns_in(one)] if isinstance(value, list) else []


def check_own(tables: Mapping[str, Any], place: Place, *sections: str) -> None:
    """Refuse sections for what an image that is there has of its own. Raises InputError."""
    for section in sections:
        if section in tables:
            raise place.at(section).error("given for an injection", "no such section: noise and galaxies nearby are "
                                                                    "the image's own")


def check_mimics(mimics: float | None, place: Place) -> None:
    """Refuse mimics where the light of lenses, which they are part of, is left out. Raises InputError."""
    if mimics:
        raise place.at("population.mimics").error(f"got {mimics:g} for an injection, which adds the light of sources "
                                                  "alone", "no mimics")


def check_source(population: Population, place: Place) -> None:
    """Refuse a population without sources, whose light is what is added. Raises InputError."""
    scene = jax.eval_shape(population.sample, jax.random.key(0))
    if not scene.source_light:
        raise place.at("source_light").error("no source", "[[source_light]], whose light is added")


def _notes(population: Population, survey: Survey, supersampling: int) -> tuple[str, ...]:
    """PSFs that their kernels cut, and cores of light that the sampling does not resolve, in half of some scenes."""
    notes = []
    for band in survey.bands:
        outside = 1.0 - band.psf.enclosed_flux(survey.pixel_scale, supersampling)
        if outside > CUT:
            notes.append(f"band {band.name}: {100.0 * outside:.3g}% of the light of the PSF lies outside its kernel")
    scenes = jax.device_get(jax.jit(jax.vmap(population.sample))(jax.random.split(jax.random.key(0), LOOKED_AT)))
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
    tables, place = _tables(path, overrides), Place(path)
    check_own(tables, place, "noise", "companions", "mixing", "output")
    if "injected" in tables:
        raise place.at("injected").error("given beside the cutouts of the command", "no such section: giga simulate "
                                                                                    "makes its images")
    simulation = load_simulation(path, overrides)
    check_mimics(simulation.tables.get("population", {}).get("mimics"), place)
    check_source(simulation.population, place)
    return simulation


def _tables(path: Path, overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    tables, place = read_toml(path), Place(path)
    for name, value in (overrides or {}).items():
        override(tables, name, value, place)
    valid = (*SIMULATED, "run", *OTHERS)
    for section, table in tables.items():
        if section not in valid:
            raise place.at(section).error("unknown section", nearest(section, valid))
        if section not in LISTS and not isinstance(table, Mapping):
            raise place.at(section).error(show(table), "a table")
    return tables


def _facts(tables: Mapping[str, Any], survey: Survey, files: list[Path]) -> dict[str, Any]:
    """Settings, the survey's own numbers, contents of files, and versions; neither the number of images nor devices."""
    told = {**tables, "output": {name: value for name, value in tables["output"].items() if name != "images"}}
    told.pop("run")
    versions = {f"version of {name}": importlib.metadata.version(name) for name in ("giga", "jax", "numpyro")}
    contents = {f"content of {part}": hashlib.sha256(part.read_bytes()).hexdigest() for path in files
                for part in (sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path])}
    return {**dict(flat(told)), "the survey's numbers": survey, **versions, **contents}
