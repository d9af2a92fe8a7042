"""Sections [population], [companions], [mixing] and [output] of a simulation, and the populations that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from giga.io.configuration.collett import read_collett
from giga.io.configuration.population import OTHERS, read_population
from giga.io.configuration.profiles import SECTIONS
from giga.io.errors import InputError
from giga.io.table_file import read_table_file
from giga.io.tables import Place, above, at_least
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.population import Population
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.cluster_arcs import THETA_E
from giga.simulate.systems.cluster_mimics import arcs_among_mimics, cluster_mimics
from giga.simulate.systems.collett import collett_population
from giga.simulate.systems.ggsl import EMPTY, check_kinds, physical, table_2
from giga.simulate.systems.modular import lsst_lenses

SCENE = (*SECTIONS, *OTHERS)
"""Sections that describe a population of one's own."""


def _check_ranges(config: Any, *names: str, may_be_one: bool = False) -> None:
    """Refuse ranges that end before they begin, or, unless they may be one number, there. Raises ValueError."""
    for name in names:
        low, high = getattr(config, name)
        if not (low <= high if may_be_one else low < high):
            raise ValueError(f"{name}: got {low:g} to {high:g}; expected a lower number first")


@dataclass(frozen=True)
class PopulationConfig:
    """Section [population]: a recipe, or a table whose columns the profiles of the file take."""

    recipe: Literal["table_2", "physical", "collett", "cluster_arcs", "cluster_mimics", "modular"] | None = None
    table: Path | None = None  # of lenses: of Collett (2015), or CSV, ECSV, FITS, VOTable
    clumps: int = at_least(0, 0)  # bright knots of the source
    empty: float = at_least(0.0, EMPTY)  # share of images without a source; of "modular" of those that are not lensed
    lens_magnitude: tuple[float, float] = (17.0, 20.5)  # range of the deflector's r magnitude, "physical"
    source_magnitude: tuple[float, float] = (21.0, 24.5)  # range of the unlensed source's
    theta_E: float = above(0.0, THETA_E)  # least Einstein radius of "cluster_arcs" and "cluster_mimics" [arcsec]
    members: int = at_least(0, 12)  # most galaxies of a cluster beside the brightest; 0 to add arcs to real clusters
    impostors: float = 0.5  # share of clusters without an arc that have a galaxy of an arc's magnitude
    mimics: float | None = None  # share of what is no lens in "cluster_arcs" that has a mimic of an arc; none is 0
    matched: bool | None = None  # whether what is not lensed is as bright as arcs are, "modular"; none is false

    def __post_init__(self) -> None:
        if self.empty > 1.0:
            raise ValueError(f"empty: got {self.empty}; expected a share from 0 to 1")
        if not 0.0 <= self.impostors <= 1.0:
            raise ValueError(f"impostors: got {self.impostors}; expected a share from 0 to 1")
        _check_ranges(self, "lens_magnitude", "source_magnitude")
        if self.recipe == "collett" and self.table is None:
            raise InputError("", "table", "missing", "a table of Collett (2015)")
        if self.mimics is not None and not 0.0 <= self.mimics <= 1.0:
            raise ValueError(f"mimics: got {self.mimics}; expected a share from 0 to 1")
        for name, given, owner in (("mimics", self.mimics, "cluster_arcs"), ("matched", self.matched, "modular")):
            if given is not None and self.recipe != owner:
                recipe = repr(self.recipe) if self.recipe else "none"
                raise ValueError(f"{name}: got {str(given).lower()} with {recipe} as recipe; expected {owner!r}")
        if self.recipe in ("table_2", "physical", "modular") and self.table is not None:
            raise InputError("", "table", f"given for the recipe {self.recipe!r}", "no table")


@dataclass(frozen=True)
class CompanionsConfig:
    """Section [companions]: galaxies nearby, whose light counts as noise."""

    most: int = at_least(0, 3)  # each is there with probability one half
    magnitude: tuple[float, float] = (20.0, 25.0)  # range in r
    kinds: tuple[float, ...] | None = None  # shares of blue galaxies, red ones, stars, close pairs, and spirals

    def __post_init__(self) -> None:
        _check_ranges(self, "magnitude")
        check_kinds(self.kinds)


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


def population_of(tables: Mapping[str, Any], config: PopulationConfig, survey: Survey, mixed: bool, place: Place,
                  catalogue: Catalogue | None = None) -> Population:
    """The population of a file: a recipe's, or that of its own profiles.

    Args:
        tables: What TOML gave.
        config: Section [population].
        survey: Whose bands and zero points it has.
        mixed: Whether its light has no bands yet.
        place: The file.
        catalogue: Whose columns its leaves may take in the place of those of a table.

    Raises:
        InputError: No population or two, or values that are wrong.
    """
    own = [name for name in SCENE if name in tables]
    if config.recipe is None:
        if not any(name in tables for name in SECTIONS):
            raise place.at("population").error("no population", "a recipe, or [[mass]], [[lens_light]], "
                                                                "[[source_light]]")
        table = catalogue if config.table is None else _catalogue(config.table)
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
    if config.recipe in ("cluster_arcs", "cluster_mimics"):
        clusters: dict[str, Any] = dict(theta_E=config.theta_E, members=config.members,
                                        catalogue=None if config.table is None else read_collett(config.table))
        if config.recipe == "cluster_mimics":
            return cluster_mimics(survey, **clusters)
        return arcs_among_mimics(survey, config.mimics or 0.0, lensed=1.0 - config.empty, impostors=config.impostors,
                                 **clusters)
    if config.recipe == "modular":
        return lsst_lenses(survey, lensed=1.0 - config.empty if config.empty else None, clumps=config.clumps,
                           matched=bool(config.matched))
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
