"""Populations in TOML: the profiles of a fit, with ties, named relations, one value a band, and catalogue columns."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from giga.io.configuration.profiles import SECTIONS, DistributionConfig, check_range, made, read_list, read_value
from giga.io.errors import nearest
from giga.io.tables import Place, convert, number, show
from giga.lensing.scene import Scene
from giga.simulate.populations import relations
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.derived import Derived
from giga.simulate.populations.population import Population
from giga.simulate.surveys.survey import Band

OTHERS = ("values", "extras")
"""Sections of named values: to be tied to, and those that are part of the truth too."""
EXPECTED = "a number, a list of one a band, or a table with dist, same_as, column or relation"


@dataclass(frozen=True)
class Relation:
    """A relation by name: what makes the leaf, and its arguments, required and optional."""

    make: Callable[..., Any]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


RELATIONS: Mapping[str, Relation] = {
    "e1": Relation(lambda q, phi: relations.ellipticity(q, phi)[0], ("q", "phi")),
    "e2": Relation(lambda q, phi: relations.ellipticity(q, phi)[1], ("q", "phi")),
    "within": Relation(relations.within, ("center", "radius"), ("reach",)),
    "present": Relation(relations.present, ("value", "probability")),
    "einstein_radius": Relation(relations.einstein_radius, ("sigma_v", "z_lens", "z_source")),
    "amplitude": Relation(relations.amplitude, ("magnitude", "R_sersic", "n_sersic", "zero_point")),
    "sum": Relation(lambda a, b: Derived(jnp.add, a, b), ("a", "b")),
    "product": Relation(lambda a, b: Derived(jnp.multiply, a, b), ("a", "b")),
}


def read_population(tables: Mapping[str, Any], file: Path, bands: Sequence[Band] = (),
                    catalogue: Catalogue | None = None) -> Population:
    """Make a population of the tables of a TOML file.

    `[[mass]]`, `[[lens_light]]` and `[[source_light]]` are written as for a fit. A value is a number, a list of one
    number a band, or a table: `{dist = ...}`, with `each_band = true` for one draw a band, and with the distribution
    Bernoulli of `probability` besides those of a fit; `{same_as = "mass.0.theta_E"}`; `{column = "theta_E"}` of the
    catalogue; `{relation = "within", center = ..., radius = ...}`, whose arguments are values again. `[values]` names
    values to be tied to, `[extras]` those that are part of the truth too.

    Args:
        tables: What TOML gave; other sections are left alone.
        file: Where it was read from, for messages.
        bands: Bands of the survey; their zero points are those of `amplitude` unless it has its own.
        catalogue: Where columns are taken from.

    Raises:
        InputError: File, path of the field, value seen and what was expected.
    """
    reader = _Reader(tables, Place(file), bands, catalogue)
    parts = {}
    for section, classes in SECTIONS.items():
        entries = tables.get(section, [])
        if not isinstance(entries, list):
            raise reader.place.at(section).error("a single table", f"[[{section}]] in double brackets")
        parts[section] = [reader.profile(entry, f"{section}.{k}", classes) for k, entry in enumerate(entries)]
    extras = {name: reader.leaf(f"extras.{name}") for name in tables.get("extras", {})}
    try:
        population = Population.of(Scene(**parts), extras)
    except ValueError as error:
        raise reader.place.error(str(error)) from error
    if bands and population.n_bands not in (None, len(bands)):
        raise reader.place.error(f"values for {population.n_bands} bands", f"{len(bands)}, as the survey has")
    return population


class _Reader:
    """Makes each value once, so that ties are one object."""

    def __init__(self, tables: Mapping[str, Any], place: Place, bands: Sequence[Band],
                 catalogue: Catalogue | None) -> None:
        self.tables, self.place, self.bands, self.catalogue = tables, place, bands, catalogue
        self.made: dict[str, Any] = {}
        self.making: list[str] = []
        self.ranges: dict[str, tuple[float, float]] = {}
        for section in OTHERS:
            if not isinstance(tables.get(section, {}), Mapping):
                raise place.at(section).error(show(tables[section]), f"[{section}] in single brackets")

    def profile(self, table: Any, path: str, classes: Mapping[str, type]) -> Any:
        """One profile of a section."""
        here = self.place.at(path)
        if not isinstance(table, Mapping):
            raise here.error(show(table), "a table")
        name = table.get("profile")
        if not isinstance(name, str) or name not in classes:
            raise here.at("profile").error(show(name), nearest(str(name), classes))
        fields = {f.name: f for f in dataclasses.fields(classes[name])}
        hints = typing.get_type_hints(classes[name])
        self.ranges |= {f"{path}.{key}": limits for key, limits in classes[name].ranges.items()}
        settings, arguments = {}, {}
        for key, value in table.items():
            if key == "profile":
                continue
            if key not in fields:
                raise here.at(key).error("unknown parameter", f"{nearest(key, fields)}, which {name} has")
            kind = fields[key].metadata
            if kind.get("file"):
                settings[key] = str(convert(Path, value, here.at(key)))
            elif kind.get("list"):
                settings[key] = read_list(value, here.at(key), classes[name].ranges.get(key))
            elif kind.get("static"):
                settings[key] = convert(hints[key], value, here.at(key))
            else:
                arguments[key] = self.leaf(f"{path}.{key}")
        for key, field in fields.items():
            if key not in (*settings, *arguments) and field.default is dataclasses.MISSING \
                    and not field.metadata.get("inner"):
                raise here.at(key).error("missing", EXPECTED)
        return made(classes[name], settings, arguments, path)

    def leaf(self, path: str) -> Any:
        """The value at a path of the file."""
        here = self.place.at(path)
        if path in self.making:
            raise here.error(f"a circle of ties, {' -> '.join([*self.making, path])}", "a tie that ends at a value")
        if path not in self.made:
            self.making.append(path)
            self.made[path] = self._make(self._find(path), path, here)
            self.making.pop()
        return self.made[path]

    def _find(self, path: str) -> Any:
        node: Any = self.tables
        for part in path.split("."):
            if isinstance(node, Mapping) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                asked = self.place.at(self.making[-2] if len(self.making) > 1 else path)
                raise asked.error(f"same as {path!r}, which has no value", "the path of a value, mass.0.theta_E")
        return node

    def _make(self, value: Any, path: str, here: Place) -> Any:
        if isinstance(value, list):
            return np.array([self._number(item, path, here.at(k)) for k, item in enumerate(value)])
        if not isinstance(value, Mapping):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise here.error(show(value), EXPECTED)
            return self._number(value, path, here)
        kinds = [kind for kind in ("dist", "same_as", "column", "relation") if kind in value]
        if len(kinds) != 1 or not isinstance(value[kinds[0]], str):
            raise here.error(show(dict(value)), EXPECTED)
        if kinds == ["same_as"]:
            if len(value) > 1:
                raise here.error(show(dict(value)), 'a tie alone, {same_as = "mass.0.center_x"}')
            return self.leaf(value["same_as"])
        if kinds == ["column"]:
            return self._column(value, here)
        return self._relation(value, path, here) if kinds == ["relation"] else self._distribution(value, path, here)

    def _number(self, value: Any, path: str, here: Place) -> float:
        found = number(value, here)
        self._check_range(found, path, here)
        return found

    def _check_range(self, value: float | DistributionConfig, path: str, here: Place) -> None:
        """A parameter of a profile is within its range; what is behind a tie or a relation is not looked into."""
        if path in self.ranges:
            check_range(value, self.ranges[path], here)

    def _distribution(self, value: Mapping[str, Any], path: str, here: Place) -> dist.Distribution:
        arguments = dict(value)
        each_band = arguments.pop("each_band", False)
        if not isinstance(each_band, bool) or each_band and not self.bands:
            raise here.at("each_band").error(show(each_band), "true or false, and a survey that has bands")
        if arguments["dist"] == "Bernoulli":
            share = number(arguments.get("probability", math.nan), here.at("probability"))
            if not 0.0 <= share <= 1.0 or len(arguments) != 2:
                raise here.error(show(arguments), "Bernoulli with a probability from 0 to 1")
            prior: dist.Distribution = dist.Bernoulli(probs=share)
        else:
            config = read_value(arguments, here)
            assert isinstance(config, DistributionConfig)  # it has a `dist`
            self._check_range(config, path, here)
            prior = config.build()
        return prior.expand([len(self.bands)]) if each_band else prior

    def _column(self, value: Mapping[str, Any], here: Place) -> Any:
        if self.catalogue is None:
            raise here.error(show(dict(value)), "no column: there is no catalogue")
        if len(value) > 1 or value["column"] not in self.catalogue.columns:
            raise here.error(show(dict(value)), nearest(value["column"], self.catalogue.columns))
        return self.catalogue[value["column"]]

    def _relation(self, value: Mapping[str, Any], path: str, here: Place) -> Any:
        name = value["relation"]
        if name not in RELATIONS:
            raise here.at("relation").error(show(name), nearest(name, RELATIONS))
        relation = RELATIONS[name]
        valid = (*relation.required, *relation.optional)
        for key in value:
            if key != "relation" and key not in valid:
                raise here.at(key).error("unknown argument", f"{nearest(key, valid)}, which {name} has")
        arguments = {key: self.leaf(f"{path}.{key}") for key in value if key != "relation"}
        if "zero_point" in valid and self.bands:
            arguments.setdefault("zero_point", np.array([band.zero_point for band in self.bands]))
        for key in relation.required:
            if key not in arguments:
                raise here.at(key).error("missing", f"{EXPECTED}, the {key} of {name}")
        try:
            return relation.make(**arguments)
        except ValueError as error:
            raise here.error(str(error)) from error
