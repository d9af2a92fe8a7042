"""The section [cluster]: images of many sources behind one cluster, in a file, and the field that maps are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from giga.bayes.systems import SystemImages, SystemsTerm, View
from giga.io.configuration.par import tables_of
from giga.io.configuration.planes import PlanesConfig, read_cosmology, written
from giga.io.configuration.profiles import Tie, Value, check_range, read_value
from giga.io.errors import InputError, nearest
from giga.io.images.config import LensConfig
from giga.io.lenstool.catalogues import Table, read_images, system_names
from giga.io.tables import Place, above, convert, read_table, show, to_table
from giga.lensing.cosmology import Cosmology
from giga.lensing.redshifts import Redshifts


@dataclass(frozen=True)
class ClusterConfig:
    """Section [cluster]: systems of images, whose positions are fitted."""

    images: Path  # catalogue of multiple images, as LensTool has them
    reference: tuple[float, float]  # right ascension and declination that positions are relative to [deg]
    sigma: float = above(0.0)  # standard deviation of each coordinate [arcsec]
    half_width: float = above(0.0)  # of the square about the reference that the images lie in, and maps show [arcsec]
    ladder: Literal["source", "image"] = "image"  # plane in which positions are compared
    pixel_scale: float | None = above(0.0, None)  # of the maps [arcsec]; none is a hundredth of half_width
    z_map: float = above(0.0, 9.0)  # redshift of the source that the maps are for


class Systems(NamedTuple):
    """What the file of images holds.

    Attributes:
        table: Its rows.
        names: Name of each system, in order.
        system: Number of the system of each row.
        redshifts: Of each system; a number, or its prior.
    """

    table: Table
    names: tuple[str, ...]
    system: tuple[int, ...]
    redshifts: tuple[Value, ...]


@dataclass(frozen=True)
class ClusterSection:
    """The section as it is read: its settings, priors of redshifts by system, and what the file of images holds."""

    settings: ClusterConfig
    priors: tuple[tuple[str, Value], ...]
    systems: Systems

    cosmology: tuple[tuple[str, Value], ...] = ()  # its own fields, beside those of [lens]

    def term(self) -> SystemsTerm:
        """The term of a posterior."""
        table, settings = self.systems.table, self.settings
        scale = settings.half_width / 100.0 if settings.pixel_scale is None else settings.pixel_scale
        view = View(half_width=settings.half_width, pixel_scale=scale, z_map=settings.z_map,
                    reference=settings.reference)
        return SystemsTerm(data=SystemImages.of(table.x, table.y, settings.sigma, self.systems.system),
                           ladder=settings.ladder, names=self.systems.names, view=view)

    def planes(self, lens: LensConfig) -> PlanesConfig:
        """One lens plane, and the sources behind it."""
        assert lens.z_lens is not None
        cosmology = tuple(({"H0": lens.H0, "Om0": lens.Om0} | dict(self.cosmology)).items())
        return PlanesConfig((lens.z_lens,), None, cosmology, sources=self.systems.redshifts, absolute=True)

    def seen_from(self, lens: LensConfig) -> Redshifts:
        """The cluster and the source that the maps are for; what is free of a cosmology is that of each draw."""
        known = {key: value for key, value in self.cosmology if isinstance(value, float)}
        return Redshifts(lens.z_lens, self.settings.z_map, Cosmology(**({"H0": lens.H0, "Om0": lens.Om0} | known)))

    def table(self) -> dict[str, Any]:
        """The section as it is written."""
        out = to_table(self.settings)
        for key, values in (("redshifts", self.priors), ("cosmology", self.cosmology)):
            if values:
                out[key] = {name: written(value) for name, value in values}
        return out


def with_par(tables: Mapping[str, Any], place: Place) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Tables of a configuration with those of the `.par` that its section [cluster] names, which give way to them.

    Further [[mass]] are added to those of the file.

    Returns:
        The tables, and what of the file is not taken, in words.

    Raises:
        InputError: A file that is not there, or that LensTool would not read; file and line are named.
    """
    cluster = tables.get("cluster")
    if not isinstance(cluster, Mapping) or "par" not in cluster:
        return tables, ()
    here = place.at("cluster").at("par")
    path = convert(Path, cluster["par"], here)
    if not path.is_file():
        raise here.error(f"{path} is not there", "a .par of LensTool")
    found, notes = tables_of(path, images="images" not in cluster)
    own: dict[str, Any] = {key: value for key, value in cluster.items() if key != "par"}
    for key in ("redshifts", "cosmology"):
        if isinstance(own.get(key), Mapping):
            own[key] = found["cluster"].get(key, {}) | own[key]
    lens, mass = tables.get("lens", {}), tables.get("mass", [])
    if not isinstance(lens, Mapping) or not isinstance(mass, list):
        return tables, ()  # which are refused when they are read
    return {**tables, "mass": found["mass"] + mass, "lens": found["lens"] | lens,
            "cluster": found["cluster"] | own}, notes


def read_cluster(table: Any, place: Place, lens: LensConfig) -> ClusterSection:
    """Read the section, and the file of images that it names.

    Args:
        table: What TOML gave.
        place: Where it stands.
        lens: The section [lens].

    Raises:
        InputError: A wrong field, an image that lies outside the field, two images of a system at one place, a system
            of one image, a source in front of the lens, or a system whose redshift is not known and has no prior.
    """
    if not isinstance(table, Mapping):
        raise place.error(show(table), "a table")
    if lens.z_lens is None:
        raise InputError(place.file, "lens.z_lens", "missing", "the redshift of the cluster")
    given = table.get("redshifts", {})
    if not isinstance(given, Mapping):
        raise place.at("redshifts").error(show(given), 'a table such as {"4" = {dist = "Uniform", low = 1.0, '
                                          "high = 6.0}}")
    priors = {name: read_value(value, place.at("redshifts").at(name)) for name, value in given.items()}
    cosmology = read_cosmology(table.get("cosmology", {}), place.at("cosmology"), {})
    settings = read_table(ClusterConfig, {key: value for key, value in table.items()
                                          if key not in ("redshifts", "cosmology")}, place)
    if not settings.z_map > lens.z_lens:
        raise place.at("z_map").error(f"got {settings.z_map:g}", f"a redshift behind the lens, above {lens.z_lens:g}")
    rows = read_images(settings.images, settings.reference)
    owners = system_names(rows.names)
    names = tuple(dict.fromkeys(owners))
    for name in priors:
        if name not in names:
            raise place.at("redshifts").at(name).error("no such system", nearest(name, names))
    outside = np.flatnonzero(np.maximum(np.abs(rows.x), np.abs(rows.y)) > settings.half_width)
    if outside.size:
        k = int(outside[0])
        raise InputError(rows.file, f"line {rows.lines[k]}", f"image {rows.names[k]} at {rows.x[k]:.2f}, "
                         f"{rows.y[k]:.2f} arcsec", f"a place within cluster.half_width, {settings.half_width:g}")
    seen: dict[tuple[str, float, float], int] = {}
    for k, place_of in enumerate(zip(owners, rows.x.tolist(), rows.y.tolist(), strict=True)):
        if (first := seen.setdefault(place_of, k)) != k:
            raise InputError(rows.file, f"line {rows.lines[k]}", f"image {rows.names[k]} at {rows.x[k]:.2f}, "
                             f"{rows.y[k]:.2f} arcsec, where {rows.names[first]} of line {rows.lines[first]} is",
                             "a place of its own for each image of a system")
    redshifts = tuple(_redshift(name, [k for k, owner in enumerate(owners) if owner == name], rows, priors, lens.z_lens,
                                place) for name in names)
    return ClusterSection(settings, tuple(priors.items()),
                          Systems(rows, names, tuple(names.index(owner) for owner in owners), redshifts), cosmology)


def _redshift(name: str, rows: list[int], table: Table, priors: Mapping[str, Value], z_lens: float,
              place: Place) -> Value:
    """The redshift of a system, checked."""
    line = f"line {table.lines[rows[0]]}"
    if len(rows) < 2:
        raise InputError(table.file, line, f"one image of system {name}", "2 or more images of a source")
    found = {float(table.z[k]) for k in rows}
    if len(found) > 1:
        raise InputError(table.file, line, f"redshifts {sorted(found)} of system {name}", "one redshift of a source")
    if (prior := priors.get(name)) is not None:
        if not isinstance(prior, Tie):
            check_range(prior, (z_lens, np.inf), place.at("redshifts").at(name))
        return prior
    z = found.pop()
    if z == 0.0:
        raise place.at("redshifts").error(f"none of system {name}, whose redshift in {table.file} is 0",
                                          f'"{name}" = {{dist = ...}} or a number')
    if not z > z_lens:
        raise InputError(table.file, line, f"redshift {z:g} of system {name}", f"a source behind the lens, above "
                         f"{z_lens:g}")
    return z
