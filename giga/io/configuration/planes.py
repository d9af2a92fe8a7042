"""The section [planes]: redshifts of several planes, and their cosmology, fixed or free."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from giga.io.configuration.profiles import DistributionConfig, Tie, Value, read_value
from giga.io.errors import nearest
from giga.io.tables import Place, show
from giga.lensing.cosmology import Cosmology
from giga.lensing.planes import Planes
from giga.lensing.redshifts import Redshifts

FIELDS = ("redshifts", "reference", "cosmology", "sources", "absolute")
RANGES = {"H0": (0.0, math.inf), "Om0": (0.0, 1.0)}


@dataclass(frozen=True)
class PlanesConfig:
    """Section [planes]: a number, a distribution or a tie for each value."""

    redshifts: tuple[Value, ...]  # of each plane, nearest first
    reference: Value | None  # of the source that deflections are scaled to; none is the last plane
    cosmology: tuple[tuple[str, Value], ...]  # fields of the cosmology
    sources: tuple[Value, ...] = ()  # of further sources, of which only images are seen
    absolute: bool = False  # whether masses are those of D_ls / D_s = 1

    def values(self) -> dict[str, Value]:
        """Every value by its path in a scene."""
        out = {f"planes.redshifts.{k}": value for k, value in enumerate(self.redshifts)}
        if self.reference is not None:
            out["planes.reference"] = self.reference
        out |= {f"planes.sources.{k}": value for k, value in enumerate(self.sources)}
        return out | {f"planes.cosmology.{key}": value for key, value in self.cosmology}

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Physical ranges by path, of those that have one."""
        out = {path: (0.0, math.inf) for path in self.values() if not path.startswith("planes.cosmology")}
        return out | {f"planes.cosmology.{key}": limits for key, limits in RANGES.items()}

    def build(self, leaf: Callable[[str], Any]) -> Planes:
        """The planes, with what a function tells of each path."""
        return Planes(redshifts=[leaf(f"planes.redshifts.{k}") for k in range(len(self.redshifts))],
                      reference=None if self.reference is None else leaf("planes.reference"),
                      cosmology=Cosmology(**{key: leaf(f"planes.cosmology.{key}") for key, _ in self.cosmology}),
                      sources=[leaf(f"planes.sources.{k}") for k in range(len(self.sources))], absolute=self.absolute)

    def completed(self, known: Redshifts) -> Redshifts:
        """What turns angles into lengths and masses, from [lens], and where that says nothing from numbers here."""
        first, last = (z if isinstance(z, float) else None for z in (self.redshifts[0], self.redshifts[-1]))
        fixed = {key: value for key, value in self.cosmology if isinstance(value, float)}
        return Redshifts(known.z_lens or first, known.z_source or last,
                         known.cosmology.replace(**fixed))

    def table(self) -> dict[str, Any]:
        """The section as it is written."""
        out: dict[str, Any] = {"redshifts": [written(value) for value in self.redshifts]}
        if self.reference is not None:
            out["reference"] = written(self.reference)
        if self.sources:
            out["sources"] = [written(value) for value in self.sources]
        if self.absolute:
            out["absolute"] = True
        return out | {"cosmology": {key: written(value) for key, value in self.cosmology}}


def read_planes(table: Any, place: Place, defaults: Mapping[str, float]) -> PlanesConfig:
    """Read the section.

    Args:
        table: What TOML gave.
        place: Where it stands.
        defaults: Values of the cosmology that the section leaves out.

    Raises:
        InputError: An unknown field, or a value that is none.
    """
    if not isinstance(table, Mapping):
        raise place.error(show(table), "a table")
    for key in table:
        if key not in FIELDS:
            raise place.at(key).error("unknown field", nearest(key, FIELDS))
    redshifts = table.get("redshifts")
    if not isinstance(redshifts, list) or not redshifts:
        seen = "missing" if redshifts is None else show(redshifts)
        raise place.at("redshifts").error(seen, "a list of redshifts, one a plane, nearest first")
    cosmology = read_cosmology(table.get("cosmology", {}), place.at("cosmology"), defaults)
    reference = read_value(table["reference"], place.at("reference")) if "reference" in table else None
    sources, absolute = table.get("sources", []), table.get("absolute", False)
    if not isinstance(sources, list):
        raise place.at("sources").error(show(sources), "a list of redshifts")
    if not isinstance(absolute, bool):
        raise place.at("absolute").error(show(absolute), "true or false")
    return PlanesConfig(tuple(read_value(z, place.at("redshifts").at(k)) for k, z in enumerate(redshifts)), reference,
                        cosmology,
                        tuple(read_value(z, place.at("sources").at(k)) for k, z in enumerate(sources)), absolute)


def read_cosmology(table: Any, place: Place, defaults: Mapping[str, float]) -> tuple[tuple[str, Value], ...]:
    """Fields of the cosmology, which may be free; raises InputError."""
    if not isinstance(table, Mapping):
        raise place.error(show(table), "a table such as {H0 = 70.0, w0 = -1.0}")
    names = [field.name for field in dataclasses.fields(Cosmology)]  # pyright: ignore[reportArgumentType]
    for key in table:
        if key not in names:
            raise place.at(key).error("unknown field", nearest(key, names))
    given = {key: read_value(value, place.at(key)) for key, value in table.items()}
    return tuple((dict(defaults) | given).items())


def written(value: Value) -> Any:
    """A value as TOML has it."""
    if isinstance(value, Tie):
        return {"same_as": value.same_as}
    return {"dist": value.dist, **dict(value.arguments)} if isinstance(value, DistributionConfig) else value
