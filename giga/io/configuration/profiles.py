"""Tables of profiles, with numbers, distributions and ties, to components."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpyro.distributions as dist
from astropy.wcs import WCS

from giga import light, mass
from giga.bayes.truncated import log_mass
from giga.component import Component
from giga.imaging.grid import Grid
from giga.io.configuration.members import read_members
from giga.io.errors import InputError, nearest
from giga.io.images.deflection_map import load_deflection_map
from giga.io.images.hdu import read_image
from giga.io.lenstool.catalogues import check_brightness
from giga.io.tables import Place, convert, number, show
from giga.light.base import LightProfile
from giga.mass.deflection_map import DeflectionMap

MASS: Mapping[str, type[Component]] = {name: cls for name, cls in mass.PROFILES.items() if cls.from_numbers}
LIGHT: Mapping[str, type[Component]] = light.PROFILES
SECTIONS = {"mass": MASS, "lens_light": LIGHT, "source_light": LIGHT}


@dataclass(frozen=True)
class Family:
    """A distribution by name: what makes it and its arguments, required and optional."""

    make: Callable[..., dist.Distribution]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


DISTRIBUTIONS: Mapping[str, Family] = {
    "Normal": Family(dist.Normal, ("loc", "scale")),
    "LogNormal": Family(dist.LogNormal, ("loc", "scale")),  # of the natural logarithm
    "Uniform": Family(dist.Uniform, ("low", "high")),
    "LogUniform": Family(dist.LogUniform, ("low", "high")),
    "TruncatedNormal": Family(dist.TruncatedNormal, ("loc", "scale"), ("low", "high")),
    "HalfNormal": Family(dist.HalfNormal, ("scale",)),
}
SETTING_MINIMUM = {"n_max": 0, "n_gaussians": 2, "terms": 1, "supersampling": 1, "plane": 0, "n_pixels": 4,
                   "softening": 0.0}
SETTING_MAXIMUM = {"n_pixels": 48}  # of which a matrix of n^4 numbers is factored at every step
OUTSIDE = 0.01  # largest share of a prior that may lie outside its parameter's range
EXPECTED = "a number, {dist = ...} or {same_as = ...}"


@dataclass(frozen=True)
class DistributionConfig:
    """A prior: the name of a distribution and its arguments."""

    dist: str
    arguments: tuple[tuple[str, float], ...]

    def build(self) -> dist.Distribution:
        """Make the distribution."""
        return DISTRIBUTIONS[self.dist].make(**dict(self.arguments))


@dataclass(frozen=True)
class Tie:
    """A parameter that equals another one, named by its path."""

    same_as: str


Value = float | DistributionConfig | Tie


@dataclass(frozen=True)
class ProfileConfig:
    """A profile: its name, its parameters, and its settings that are not parameters."""

    profile: str
    parameters: tuple[tuple[str, Value], ...]
    settings: tuple[tuple[str, Any], ...]


def read_profile(table: Any, place: Place, section: str) -> ProfileConfig:
    """Read one table of a profile section; defaults are filled in.

    Args:
        table: What TOML gave.
        place: Where it stands.
        section: "mass", "lens_light" or "source_light".

    Raises:
        InputError: An unknown profile, parameter or distribution, or a value out of its range.
    """
    classes = SECTIONS[section]
    if not isinstance(table, Mapping):
        raise place.error(show(table), "a table")
    if "profile" not in table:
        raise place.at("profile").error("missing", f"one of {', '.join(map(repr, classes))}")
    name = table["profile"]
    if not isinstance(name, str) or name not in classes:
        raise place.at("profile").error(show(name), nearest(str(name), classes))
    cls = classes[name]
    if issubclass(cls, LightProfile) and section not in cls.sections:
        which = "not lensed" if section == "source_light" else "behind the lens"
        raise place.at("profile").error(f"{name}, which is {which}", f"it in a [[{cls.sections[0]}]]")
    fields = {f.name: f for f in dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
              if not f.metadata.get("inner")}
    hints = typing.get_type_hints(cls)
    for key in table:
        if key != "profile" and key not in fields:
            raise place.at(key).error("unknown parameter", f"{nearest(key, fields)}, which {name} has")
    parameters, settings = [], []
    for key, field in fields.items():
        is_setting, is_file, here = field.metadata.get("static"), field.metadata.get("file"), place.at(key)
        if key not in table and field.default is dataclasses.MISSING:
            file = "a catalogue of members" if is_file == "members" else "a FITS file"
            setting = "an integer" if hints[key] is int else "a list of numbers"
            listed = is_setting or field.metadata.get("list")
            raise here.error("missing", setting if listed else file if is_file else EXPECTED)
        if is_file:
            settings += [(key, str(convert(Path, table[key], here)))] if key in table else []
        elif field.metadata.get("list"):
            settings.append((key, read_list(table[key], here, cls.ranges.get(key))))
        elif is_setting:
            value = _setting(hints[key], table[key], here) if key in table else field.default
            settings += [(key, value)] if value is not None else []
        elif key in table:
            parameters.append((key, read_value(table[key], here)))
            if key == "amp" and issubclass(cls, LightProfile) and not cls.scalar_amp:
                raise here.error(show(table[key]), f"no amp: the amplitudes of {name} are solved")
        elif isinstance(field.default, (int, float)):
            parameters.append((key, float(field.default)))
    lists = {key: value for key, value in settings if fields[key].metadata.get("list")}
    if len({len(value) for value in lists.values()}) > 1:
        (first, one), (second, other) = lists.items()
        raise place.at(second).error(f"{len(other)} numbers beside {len(one)} of {first}", "one for each of them")
    lists = {key: value for key, value in settings if isinstance(value, tuple) and key in ("x", "y")}
    if len({len(value) for value in lists.values()}) > 1 or not all(lists.values()):
        raise place.at("y").error(f"{len(lists['y'])} numbers beside {len(lists['x'])} of x", "one an image, 1 or more")
    return ProfileConfig(name, tuple(parameters), tuple(settings))


def read_list(value: Any, place: Place, limits: tuple[float, float] | None) -> tuple[float, ...]:
    """Read a list of fixed numbers, each inside an open range."""
    numbers = convert(tuple[float, ...], value, place)
    if not numbers:
        raise place.error(show(value), "one number or more")
    for k, one in enumerate(numbers if limits is not None else ()):
        assert limits is not None
        check_range(one, limits, place.at(k))
    return numbers


def made(cls: type[Component], settings: Mapping[str, Any], parameters: Mapping[str, Any], path: str,
         reference: tuple[float, float] | None = None,
         frame: Callable[[], tuple[Grid, WCS] | None] = lambda: None) -> Component:
    """Make a profile; images and catalogues that it names are read.

    Args:
        cls: Its class.
        settings: What is not a parameter, and the FITS files of images.
        parameters: Numbers and distributions.
        path: Its path, for messages.
        reference: Right ascension and declination that places in catalogues are wanted from [deg]; None is their own.
        frame: What tells the angles of the scene, by an image's grid and WCS; None is a field's own.

    Raises:
        InputError: An image that cannot be read, or has pixels that are not finite; a catalogue with such rows.
    """
    values = dict(settings)
    if cls is DeflectionMap:
        placed = frame()
        return load_deflection_map(**values, **parameters, **(
            {} if placed is None else {"reference": placed[0], "reference_wcs": placed[1]}))
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        if (kind := field.metadata.get("file")) == "members":
            values[field.name] = read_members(Path(values[field.name]), reference)
            if isinstance(mag0 := parameters.get("mag0"), float):
                check_brightness(values[field.name], mag0, settings[field.name], f"{path}.mag0")
            values |= _offsets(parameters, len(values[field.name].mag), path)
        elif kind:
            values[field.name] = _image(values[field.name], f"{path}.{field.name}")
        elif field.metadata.get("list"):
            values[field.name] = np.asarray(values[field.name])
    return cls(**values, **parameters)


def _offsets(parameters: Mapping[str, Any], count: int, path: str) -> dict[str, list[dist.Distribution]]:
    """A free offset of each member from every relation that has a scatter. Raises InputError."""
    offsets = {}
    for scatter, name in (("scatter", "offsets"), ("cut_scatter", "cut_offsets")):
        value = parameters.get(scatter, 0.0)
        if isinstance(value, float) and value < 0.0:
            raise InputError("", f"{path}.{scatter}", f"got {value:g}", "a number of 0 or more [dex]")
        if not (isinstance(value, float) and value == 0.0):
            offsets[name] = [dist.Normal(0.0, 1.0) for _ in range(count)]
    return offsets


def _image(file: str, path: str) -> np.ndarray:
    image, _, _ = read_image(file, field=path)
    if not np.isfinite(image).all():
        raise InputError(file, path, f"{np.sum(~np.isfinite(image))} pixels that are not finite", "finite pixels")
    return image


def read_value(value: Any, place: Place) -> Value:
    """Read a number, a distribution or a tie."""
    if not isinstance(value, Mapping):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise place.error(show(value), EXPECTED)
        return number(value, place)
    if "same_as" in value:
        if len(value) > 1 or not isinstance(value["same_as"], str):
            raise place.error(show(dict(value)), 'a tie alone, {same_as = "mass.0.center_x"}')
        return Tie(value["same_as"])
    if "dist" not in value:
        raise place.error(show(dict(value)), "{dist = ...} or {same_as = ...}")
    return _distribution(value, place)


def _setting(hint: Any, value: Any, place: Place) -> Any:
    value = convert(hint, value, place)
    minimum = SETTING_MINIMUM.get(place.path.rpartition(".")[2])
    if minimum is not None and value < minimum:
        raise place.error(show(value), f"{'a number' if hint is float else 'an integer'} of at least {minimum:g}")
    maximum = SETTING_MAXIMUM.get(place.path.rpartition(".")[2])
    if maximum is not None and value > maximum:
        raise place.error(show(value), f"an integer of at most {maximum}")
    return value


def _distribution(table: Mapping[str, Any], place: Place) -> DistributionConfig:
    name = table["dist"]
    if not isinstance(name, str) or name not in DISTRIBUTIONS:
        raise place.at("dist").error(show(name), nearest(str(name), DISTRIBUTIONS))
    family = DISTRIBUTIONS[name]
    valid = (*family.required, *family.optional)
    if name == "LogNormal" and not {"loc", "scale"} & set(table):
        table = _by_median(table, place)
    for key in table:
        if key != "dist" and key not in valid:
            raise place.at(key).error("unknown argument", f"{nearest(key, valid)}, which {name} has")
    for key in family.required:
        if key not in table:
            raise place.at(key).error("missing", f"a number, the {key} of {name}")
    arguments = {key: number(table[key], place.at(key)) for key in valid if key in table}
    if "scale" in arguments and not arguments["scale"] > 0.0:
        raise place.at("scale").error(f"got {arguments['scale']:g}", "a number above 0")
    if family.optional and not set(family.optional) & set(arguments):
        raise place.error(f"{name} without bounds", " or ".join(family.optional))
    if name == "LogUniform" and not arguments["low"] > 0.0:
        raise place.at("low").error(f"got {arguments['low']:g}", "a number above 0")
    if "low" in arguments and "high" in arguments and not arguments["low"] < arguments["high"]:
        raise place.error(f"got low = {arguments['low']:g}, high = {arguments['high']:g}", "low below high")
    return DistributionConfig(name, tuple(arguments.items()))


def _by_median(table: Mapping[str, Any], place: Place) -> dict[str, Any]:
    """A LogNormal that is given by its median and the factor to either side that holds 68% of it."""
    given = {}
    for key, least in (("median", 0.0), ("factor", 1.0)):
        if key not in table:
            raise place.at(key).error("missing", "median and factor, or loc and scale, of LogNormal")
        given[key] = number(table[key], place.at(key))
        if not given[key] > least:
            raise place.at(key).error(f"got {given[key]:g}", f"a number above {least:g}")
    rest = {key: value for key, value in table.items() if key not in given}
    return rest | {"loc": math.log(given["median"]), "scale": math.log(given["factor"])}


def resolve(values: Mapping[str, Value], ranges: Mapping[str, tuple[float, float]], solved: set[str],
            place: Place) -> dict[str, str]:
    """Follow every tie to the parameter that it ends at, and check the ranges.

    Args:
        values: Value of each parameter by path.
        ranges: Open physical range by path, of those that have one.
        solved: Paths of amplitudes that are solved, which nothing can be tied to.
        place: Where the configuration stands.

    Returns:
        For each path the path that holds its number or distribution.

    Raises:
        InputError: A tie to nothing, to a solved amplitude or in a circle; a value out of its range.
    """
    ends = {}
    for path in values:
        here, seen, end = place.at(path), [path], path
        while isinstance(value := values[end], Tie):
            end = value.same_as
            if end in solved:
                raise here.error(f"same as {end}, an amplitude that is solved", "a parameter with a value")
            if end not in values:
                raise here.error(f"same as {end!r}, which is no parameter", nearest(end, values))
            if end in seen:
                raise here.error(f"a circle of ties, {' -> '.join([*seen, end])}", "a tie that ends at a value")
            seen.append(end)
        ends[path] = end
        if path in ranges:
            check_range(value, ranges[path], here)
    _check_ellipticities(values, ends, place)
    return ends


def _check_ellipticities(values: Mapping[str, Value], ends: Mapping[str, str], place: Place) -> None:
    """Two numbers e1, e2 of one profile are a point inside the unit circle."""
    for path in values:
        if path.endswith(".e1") and (other := f"{path[:-1]}2") in values:
            e1, e2 = values[ends[path]], values[ends[other]]
            if isinstance(e1, float) and isinstance(e2, float) and math.hypot(e1, e2) >= 1.0:
                raise place.at(other).error(f"got {e2:g} beside e1 = {e1:g}", "e1^2 + e2^2 below 1")


def check_range(value: float | DistributionConfig, limits: tuple[float, float], place: Place) -> None:
    """Refuse a number or a prior outside the open range of a physical parameter. Raises InputError."""
    low, high = limits
    words = f"above {low:g}" if math.isinf(high) else f"between {low:g} and {high:g}"
    if not isinstance(value, DistributionConfig):
        if not low < value < high:
            raise place.error(f"got {value:g}", f"a number {words}")
        return
    arguments = dict(value.arguments)
    start, stop = arguments.get("low", -math.inf), arguments.get("high", math.inf)
    if math.isfinite(start) and start < low or math.isfinite(stop) and stop > high:
        ends = f"{start:g} to {stop:g}" if math.isfinite(start) and math.isfinite(stop) else \
            f"{start:g} up" if math.isfinite(start) else f"{stop:g} down"
        raise place.error(f"{value.dist} from {ends}", f"a prior {words}, its bounds too")
    share = share_outside(value, low, high)
    if share > OUTSIDE:
        raise place.error(f"{value.dist} with {100.0 * share:.3g}% of it outside", f"a prior {words} (at most "
                          f"{100.0 * OUTSIDE:g}% outside; TruncatedNormal, LogNormal and Uniform have bounds)")


def share_outside(value: DistributionConfig, low: float, high: float) -> float:
    """Share of a prior, whose own bounds are within a range, that lies outside the range."""
    arguments = dict(value.arguments)
    if "scale" not in arguments:
        return 0.0
    loc, scale = arguments.get("loc", 0.0), arguments["scale"]
    if value.dist == "LogNormal":
        low, high = (math.log(x) if x > 0.0 else -math.inf for x in (low, high))
    own = 0.0 if value.dist == "HalfNormal" else arguments.get("low", -math.inf), arguments.get("high", math.inf)

    def log_between(start: float, stop: float) -> float:
        """Logarithm of the normal distribution's mass, up to a constant."""
        if not start < stop:
            return -math.inf
        peak = (min(max(loc, start), stop) - loc) / scale
        return float(log_mass((start - loc) / scale, (stop - loc) / scale)) - 0.5 * peak**2

    return 1.0 - math.exp(log_between(max(own[0], low), min(own[1], high)) - log_between(*own))
