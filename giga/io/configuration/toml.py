"""Configurations in TOML: read, checked, overridden, written back. Text is never evaluated."""

from __future__ import annotations

import copy
import dataclasses
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpyro.distributions as dist
from astropy.wcs import WCS

from giga.bayes.systems import Term
from giga.imaging.grid import Grid
from giga.io.configuration.cluster import ClusterSection, read_cluster, with_par
from giga.io.configuration.expected import filled, said
from giga.io.configuration.planes import PlanesConfig, read_planes
from giga.io.configuration.points import PointsConfig
from giga.io.configuration.profiles import (
    SECTIONS,
    DistributionConfig,
    ProfileConfig,
    Tie,
    Value,
    made,
    read_profile,
    resolve,
)
from giga.io.errors import InputError, nearest
from giga.io.images.config import LensConfig, LikelihoodConfig, ObservationConfig, RunConfig, StartConfig
from giga.io.images.deflection_map import frame_at, frame_of_image
from giga.io.tables import Place, read_table, show, to_table, write_toml
from giga.lensing.redshifts import Redshifts
from giga.lensing.scene import Scene
from giga.light.base import LightProfile

SAME = 1e-6  # difference of redshifts that are one
LISTS = ("observation", *SECTIONS, "points")
"""Sections in double brackets."""


@dataclass(frozen=True)
class Config:
    """A fit as it is run, every default filled in. Made by `load_config`, written by `dump_config`."""

    run: RunConfig  # [run]: seed, precision, devices
    observation: tuple[ObservationConfig, ...]  # [[observation]]: the data
    mass: tuple[ProfileConfig, ...]  # [[mass]]
    lens_light: tuple[ProfileConfig, ...]  # [[lens_light]]
    source_light: tuple[ProfileConfig, ...]  # [[source_light]]
    likelihood: LikelihoodConfig  # [likelihood]: how amplitudes are solved
    inference: Any  # [inference]: an instance of the dataclass given to load_config
    lens: LensConfig = field(default_factory=LensConfig)  # [lens]: redshifts and cosmology
    priors: str | None = None  # named set of priors, for the parameters that are not written
    taken: Mapping[str, Any] = field(default_factory=dict, compare=False)  # what came from it, as TOML, by path
    planes: PlanesConfig | None = None  # [planes]: redshifts of several planes
    points: tuple[PointsConfig, ...] = ()  # [[points]]: images of point sources
    cluster: ClusterSection | None = None  # [cluster]: systems of images, in the place of an observation
    start: StartConfig = field(default_factory=StartConfig)  # [start]: an earlier fit to go on from
    notes: tuple[str, ...] = field(default=(), compare=False)  # what of LensTool's file is not taken, in words
    file: Path = field(default=Path(), compare=False)  # where it was read from, for messages

    @property
    def said(self) -> list[str]:
        """What came from the named set of priors, in words, a line a profile."""
        profiles = {f"{section}.{k}": one.profile for section in SECTIONS
                    for k, one in enumerate(getattr(self, section))}
        return said(self.priors, self.taken, profiles) if self.priors is not None else []

    @property
    def terms(self) -> list[Term]:
        """The images of point sources that are fitted."""
        return [*(one.term() for one in self.points), *([] if self.cluster is None else [self.cluster.term()])]

    @property
    def redshifts(self) -> Redshifts:
        """What turns angles into lengths and masses."""
        known = self.lens.redshifts
        if self.cluster is not None:
            return self.cluster.seen_from(self.lens)
        return known if self.planes is None else self.planes.completed(known)

    def refuse(self, by: str, *sections: str) -> None:
        """Refuse sections that a command would leave out without a word. Raises InputError."""
        for name in sections:
            if to_tables(self).get(name):
                raise InputError(self.file, name, "given", f"no such section: {by} leaves it out")

    def with_overrides(self, overrides: Mapping[str, Any]) -> Config:
        """Return a checked copy with some values changed.

        Args:
            overrides: New values by path: `inference.n_chains`, `mass.0.theta_E`, `observation.0.hdu`.
                None takes a value away, which leaves its default. What came from the named set of priors is taken from
                it again, by the new field, except what is set.

        Raises:
            InputError: An unknown path, or a value that the configuration refuses.
        """
        tables = to_tables(self)
        for path, value in self.taken.items():
            section, k, key = path.split(".")
            del tables[section][int(k)][key]
            if any(f"{one}.".startswith(f"{path}.") for one in overrides):
                tables[section][int(k)][key] = copy.copy(value)
        for path, value in overrides.items():
            override(tables, path, value, Place(self.file))
        return dataclasses.replace(parse_config(tables, self.file, type(self.inference)), notes=self.notes)


def load_config(path: str | PathLike[str], *, fit_config_type: type, data_dir: str | PathLike[str] | None = None,
                overrides: Mapping[str, Any] | None = None) -> Config:
    """Read a configuration.

    Args:
        path: TOML file.
        fit_config_type: Frozen dataclass of the section [inference].
        data_dir: Folder that the paths of observations are relative to; None is the file's own.
        overrides: Values that are changed, see `Config.with_overrides`.

    Raises:
        InputError: File, path of the field, value seen and what was expected.
    """
    config = parse_config(read_toml(path), Path(path), fit_config_type, data_dir)
    return config.with_overrides(overrides) if overrides else config


def read_toml(path: str | PathLike[str]) -> dict[str, Any]:
    """Read the tables of a configuration, unchecked. Raises InputError."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(file, "", "no such file", "a TOML configuration") from None
    except OSError as error:
        raise InputError(file, "", f"cannot be read ({error.strerror})", "a TOML configuration") from error
    except UnicodeDecodeError as error:
        raise InputError(file, "", "not text in UTF-8", "a TOML configuration") from error
    return read_toml_text(text, file)


def read_toml_text(text: str, file: Path) -> dict[str, Any]:
    """Read the tables in a text, unchecked; `file` is what messages call it. Raises InputError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        single = re.search(rf"^[ \t]*\[({'|'.join(LISTS)})\]", text, re.MULTILINE)  # twice, as one list never is
        expected = f"[[{single[1]}]] in double brackets" if single else "a TOML configuration"
        raise InputError(file, single[1] if single else "", f"not TOML ({error})", expected) from error


def parse_config(tables: Mapping[str, Any], file: Path, fit_config_type: type,
                 data_dir: str | PathLike[str] | None = None) -> Config:
    """Check the tables of a configuration; see `load_config`."""
    place = Place(file, "", Path(data_dir) if data_dir is not None else file.parent)
    valid = [f.name for f in dataclasses.fields(Config) if f.name not in ("file", "taken", "notes")]
    for name, table in tables.items():
        if name not in valid:
            raise place.at(name).error("unknown section", nearest(name, valid))
        if isinstance(table, list) and name not in LISTS:
            raise place.at(name).error("a list", f"[{name}] in single brackets")
    notes: Sequence[str] = ()
    if is_cluster := "cluster" in tables:
        tables, notes = with_par(tables, place)
    observations = _list(tables, "observation", place)
    if not observations and not is_cluster and not tables.get("points"):
        raise place.at("observation").error("missing", "at least one [[observation]], or [[points]] or [cluster]")
    for name in ("observation", "lens_light", "source_light", "points", "planes", "priors"):
        if is_cluster and tables.get(name):
            raise place.at(name).error("given beside [cluster]", "one of them: a cluster is fitted by positions alone")
    if not observations and "priors" in tables:
        raise place.at("priors").error("given without [[observation]]", "one, whose field the priors are scaled to")
    observation = tuple(read_table(ObservationConfig, table, at) for table, at in observations)
    priors, taken = tables.get("priors"), {}
    if priors is not None:
        tables, taken = filled(tables, priors, observation[0], SECTIONS, place)
    lens = read_table(LensConfig, tables.get("lens", {}), place.at("lens"))
    planes = read_planes(tables["planes"], place.at("planes"), {"H0": lens.H0, "Om0": lens.Om0}) \
        if "planes" in tables else None
    cluster = read_cluster(tables["cluster"], place.at("cluster"), lens) if is_cluster else None
    planes = planes if cluster is None else cluster.planes(lens)
    config = Config(
        run=read_table(RunConfig, tables.get("run", {}), place.at("run")), observation=observation,
        **{section: tuple(read_profile(table, at, section) for table, at in _list(tables, section, place))
           for section in SECTIONS},
        likelihood=read_table(LikelihoodConfig, tables.get("likelihood", {}), place.at("likelihood")),
        inference=read_table(fit_config_type, tables.get("inference", {}), place.at("inference")),
        points=tuple(read_table(PointsConfig, table, at) for table, at in _list(tables, "points", place)),
        start=read_table(StartConfig, tables.get("start", {}), Place(file, "start", file.parent)),
        lens=lens, planes=planes, cluster=cluster, priors=priors, taken=taken, notes=tuple(notes),
        file=file)
    _check(config, place)
    return config


def dump_config(config: Config) -> str:
    """Write a configuration with every default as TOML that reads back to an equal one.

    Paths are written absolute, so that it can be run from anywhere; a field left out means none. What came from a
    named set of priors is written as any other.
    """
    return write_toml(to_tables(config))


def to_tables(config: Config) -> dict[str, Any]:
    """The sections of a configuration as nested dicts and lists."""
    tables: dict[str, Any] = {} if config.priors is None else {"priors": config.priors}
    tables |= {"run": to_table(config.run), "observation": to_table(config.observation)}
    for section in SECTIONS:
        if profiles := getattr(config, section):
            tables[section] = [_profile_table(profile) for profile in profiles]
    tables |= {"likelihood": to_table(config.likelihood), "inference": to_table(config.inference),
               "lens": to_table(config.lens)}
    if start := to_table(config.start):
        tables["start"] = start
    if not config.observation:
        del tables["observation"]
    if config.cluster is not None:  # its planes follow from it
        return tables | {"cluster": config.cluster.table()}
    if config.planes is not None:
        tables["planes"] = config.planes.table()
    return tables | {"points": to_table(config.points)} if config.points else tables


def scene_from_config(config: Config) -> Scene:
    """Build the scene: numbers where fixed, distributions where free, one object for each tie."""
    values = _values(config)
    ends = resolve(values, _ranges(config), _solved(config), Place(config.file))
    leaves: dict[str, float | dist.Distribution] = {}
    for end in ends.values():
        if end not in leaves:
            value = values[end]
            assert not isinstance(value, Tie)  # `resolve` ends at a number or a distribution
            leaves[end] = value.build() if isinstance(value, DistributionConfig) else value
    parts = {}
    for section, classes in SECTIONS.items():
        parts[section] = [
            made(classes[profile.profile], dict(profile.settings),
                 {key: leaves[ends[f"{section}.{k}.{key}"]] for key, _ in profile.parameters}, f"{section}.{k}",
                 None if config.cluster is None else config.cluster.settings.reference, lambda: _frame(config))
            for k, profile in enumerate(getattr(config, section))]
    planes = () if config.planes is None else config.planes.build(lambda path: leaves[ends[path]])
    return Scene(**parts, noise_scale=_noise_scales(config), planes=planes)


def _frame(config: Config) -> tuple[Grid, WCS] | None:
    """The angles of the scene: those of the first image, or of a cluster's reference; None where neither is there."""
    if config.observation:
        return frame_of_image(config.observation[0], "observation.0")
    reference = None if config.cluster is None else config.cluster.settings.reference
    return None if reference is None else frame_at(reference)


def _noise_scales(config: Config) -> list[float | dist.Distribution]:
    """A factor of each observation's noise; an empty list where none is fitted."""
    widths = [observation.noise_scale_sd for observation in config.observation]
    return [1.0 if sd is None else dist.LogNormal(0.0, sd) for sd in widths] if any(widths) else []


def parse_override(text: str) -> tuple[str, Any]:
    """Read `name=value` from a command line; the value is TOML, or else the text itself.

    >>> parse_override("inference.n_chains=8"), parse_override("run.devices=cpu")
    (('inference.n_chains', 8), ('run.devices', 'cpu'))
    """
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise InputError("", text, "no name=value", "an override such as run.seed=1")
    return name.strip(), parse_value(value)


def parse_value(text: str) -> Any:
    """Read one value that is TOML, or else the text itself."""
    try:
        tables = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return tables["value"] if list(tables) == ["value"] else text.strip()


def differences(old: str, new: str) -> list[str]:
    """Values that differ between two configurations, each as `path: old -> new`.

    >>> differences("[run]\\nseed = 1", "[run]\\nseed = 2\\ndevices = 'cpu'")
    ["run.devices: none -> 'cpu'", 'run.seed: 1 -> 2']

    Args:
        old: One, as TOML.
        new: The other.
    """
    before, after = (dict(flat(tomllib.loads(text))) for text in (old, new))
    shown = {path: [repr(values[path]) if path in values else "none" for values in (before, after)]
             for path in sorted(before | after) if before.get(path) != after.get(path)}
    return [f"{path}: {seen} -> {now}" for path, (seen, now) in shown.items()]


def listed(changes: list[str], most: int = 3) -> str:
    """The first changes of a list, and how many more there are.

    >>> listed(["a: 1 -> 2", "b: 1 -> 3"], most=1)
    'a: 1 -> 2 and 1 more'
    """
    return ", ".join(changes[:most]) + (f" and {len(changes) - most} more" if len(changes) > most else "")


def flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested tables and lists by path: `observation.0.pixel_scale`."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else None
    if entries is None:
        yield path, node
        return
    for key, value in entries:
        yield from flat(value, f"{path}.{key}" if path else str(key))


def _list(tables: Mapping[str, Any], section: str, place: Place) -> list[tuple[Any, Place]]:
    entries = tables.get(section, [])
    if not isinstance(entries, list):
        raise place.at(section).error("a single table", f"[[{section}]] in double brackets")
    return [(table, place.at(section).at(k)) for k, table in enumerate(entries)]


def _profile_table(profile: ProfileConfig) -> dict[str, Any]:
    table: dict[str, Any] = {"profile": profile.profile}
    for key, value in profile.parameters:
        if isinstance(value, Tie):
            table[key] = {"same_as": value.same_as}
        elif isinstance(value, DistributionConfig):
            table[key] = {"dist": value.dist, **dict(value.arguments)}
        else:
            table[key] = value
    return table | {key: to_table(value) for key, value in profile.settings}


def _values(config: Config) -> dict[str, Value]:
    """Value of each parameter of the scene by path."""
    profiles = {f"{section}.{k}.{key}": value for section in SECTIONS
                for k, profile in enumerate(getattr(config, section)) for key, value in profile.parameters}
    return profiles if config.planes is None else profiles | config.planes.values()


def _ranges(config: Config) -> dict[str, tuple[float, float]]:
    """Physical ranges by path, of the parameters that have one."""
    ranges = {f"{section}.{k}.{key}": limits for section, classes in SECTIONS.items()
              for k, profile in enumerate(getattr(config, section))
              for key, limits in classes[profile.profile].ranges.items()}
    return ranges if config.planes is None else ranges | config.planes.ranges()


def _solved(config: Config) -> set[str]:
    """Paths of the amplitudes that are left to be solved."""
    return {f"{section}.{k}.amp" for section, classes in SECTIONS.items()
            for k, profile in enumerate(getattr(config, section))
            if issubclass(classes[profile.profile], LightProfile) and "amp" not in dict(profile.parameters)}


def _check(config: Config, place: Place) -> None:
    """What only the whole can tell: ties, ranges, bands, something to fit."""
    if config.observation and not config.lens_light and not config.source_light:
        raise place.at("source_light").error("no light", "at least one [[lens_light]] or [[source_light]]")
    resolve(_values(config), _ranges(config), _solved(config), place)
    _check_bands(config, place)
    for k, points in enumerate(config.points):
        try:
            points.term().check(scene_from_config(config))
        except InputError:
            raise
        except ValueError as error:  # it begins with the field
            raise InputError(place.file, f"points.{k}", str(error)) from None
    if config.cluster is not None:
        try:
            config.cluster.term().check(scene_from_config(config))
        except InputError:
            raise
        except ValueError as error:  # it begins with the field
            raise InputError(place.file, "cluster", str(error)) from None
    absolute = any(SECTIONS["mass"][profile.profile].absolute for profile in config.mass)  # pyright: ignore
    if config.planes is not None or absolute or any("plane" in dict(profile.settings) for section in SECTIONS
                                        for profile in getattr(config, section)):
        try:
            scene_from_config(config).check()
        except InputError:
            raise
        except ValueError as error:  # it begins with the path of the value
            raise InputError(place.file, "", str(error)) from None
    if config.planes is not None and config.cluster is None:
        _check_redshifts(config, config.planes, place)


def _check_redshifts(config: Config, planes: PlanesConfig, place: Place) -> None:
    """[lens] names a plane with mass and one behind it, or what deflections are scaled to. Raises InputError."""
    numbers = [dict(profile.settings).get("plane") or 0 for profile in config.mass] or [0]
    lenses = {f"planes.redshifts.{k}": planes.redshifts[k] for k in sorted(set(numbers)) if k < len(planes.redshifts)}
    behind = {f"planes.redshifts.{k}": z for k, z in enumerate(planes.redshifts) if k > min(numbers)}
    if planes.reference is not None:
        behind["planes.reference"] = planes.reference
    for name, choices, whose in (("z_lens", lenses, "of a plane with mass"), ("z_source", behind, "behind a mass")):
        z = getattr(config.lens, name)
        if z is None or any(not isinstance(one, float) or abs(one - z) < SAME for one in choices.values()):
            continue
        listed = ", ".join(f"{path} = {one:g}" for path, one in choices.items()) or "none of which there is"
        raise place.at("lens").at(name).error(f"got {z:g}", f"a redshift {whose}, {listed}, or to leave it out")


def _check_bands(config: Config, place: Place) -> None:
    """Profiles name bands that are there, and each band sees a light, sampled as its PSF allows."""
    bands = [observation.band for observation in config.observation if observation.band is not None]
    lit: set[int] = set()  # numbers of the observations that see a light
    for section in SECTIONS:
        for k, profile in enumerate(getattr(config, section)):
            settings, here = dict(profile.settings), place.at(section).at(k)
            for band in settings.get("bands", ()):
                if band not in bands:
                    raise here.at("bands").error(show(band), nearest(band, bands) + ", the bands of the observations")
            seeing = {number: observation for number, observation in enumerate(config.observation)
                      if "bands" not in settings or observation.band in settings["bands"]}
            lit |= set(seeing) if section != "mass" else set()
            factor = settings.get("supersampling", 1)
            for number, observation in seeing.items():
                if factor != 1 and factor % observation.supersampling:
                    raise here.at("supersampling").error(show(factor), "1, or a multiple of observation."
                                                         f"{number}.supersampling, {observation.supersampling}")
    for number, observation in enumerate(config.observation):
        if number not in lit:
            raise place.at("observation").at(number).at("band").error(show(observation.band), "a band in which a "
                                                                      "[[lens_light]] or [[source_light]] shines")


def override(tables: dict[str, Any], path: str, value: Any, place: Place) -> None:
    """Set one value in nested tables; unknown names are refused when the tables are read again."""
    *parents, last = path.split(".")
    node: Any = tables
    for depth, part in enumerate([*parents, last]):
        here = place.at(".".join(path.split(".")[:depth + 1]))
        if isinstance(node, list):
            if not part.isdecimal() or int(part) >= len(node):
                raise here.error("no such entry", f"a number from 0 to {len(node) - 1}")
            key: Any = int(part)
        elif isinstance(node, dict):
            key = part
        else:
            raise here.error("unknown name", "a path such as inference.n_chains or mass.0.theta_E")
        if depth < len(parents):
            node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
    if value is None:
        if key not in (node if isinstance(node, dict) else ()):
            raise here.error("no such value to take away", "a value that is set")
        del node[key]
    else:
        node[key] = value
