"""Profiles that giga and another code both have, one `Pair` each, and the errors for those that one of them has not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from giga.component import Component, is_distribution
from giga.io.errors import InputError, nearest

AMPLITUDE = "amp"


@dataclass(frozen=True)
class Pair:
    """A profile of giga and its counterpart.

    Attributes:
        name: What the other code calls it.
        profile: giga's class.
        there: The other code's parameters.
        out: From a profile whose leaves are numbers or arrays to the other's parameters.
        back: From the other's parameters, defaults filled in, to giga's fields.
        defaults: What the other code takes where a parameter is left out.
        only: Values that fields of giga's must have, for the other has no such parameter.
        expected: What to say of a field that has not.
        reads: Whether it is for reading alone: another name, or an older one.
    """

    name: str
    profile: type[Component]
    there: tuple[str, ...]
    out: Callable[[Any], dict[str, Any]]
    back: Callable[[dict[str, Any]], dict[str, Any]]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    only: Mapping[str, Any] = field(default_factory=dict)
    expected: str = ""
    reads: bool = False


def same(name: str, profile: type[Component], there: str, renamed: Mapping[str, str] | None = None,
         **more: Any) -> Pair:
    """A pair whose parameters differ in name at most.

    Args:
        name, profile: As in `Pair`.
        there: Parameters of the other code, separated by spaces.
        renamed: giga's name of those that it calls otherwise.
        more: Other fields of `Pair`.
    """
    here = {key: (renamed or {}).get(key, key) for key in there.split()}
    return Pair(name, profile, tuple(here), lambda p: {key: getattr(p, name) for key, name in here.items()},
                lambda k: {name: k[key] for key, name in here.items()}, **more)


def written(pairs: Sequence[Pair], code: str, profile: Component, path: str) -> tuple[str, dict[str, Any]]:
    """Name and parameters of a profile in another code; an amplitude that is solved is left out.

    Args:
        pairs: Of the code.
        code: What it is called, for messages.
        profile: With numbers, or arrays of draws, on its leaves.
        path: Where it stands in a scene, for messages.

    Raises:
        InputError: A profile that the code does not have, a field that it cannot say, or one that is no number.
    """
    numbers = _numbers(profile, path)
    own = [pair for pair in pairs if pair.profile is type(profile) and not pair.reads]
    if not own:
        raise InputError("", path, f"{type(profile).__name__}, which {code} does not have",
                         f"one of {', '.join(dict.fromkeys(p.profile.__name__ for p in pairs if not p.reads))}")
    for pair in own:
        wrong = [key for key, value in pair.only.items() if not np.all(np.asarray(getattr(numbers, key) == value))]
        if not wrong:
            with _at(path), np.errstate(all="ignore"):
                found = pair.out(numbers)
            made = {key: plain(value) for key, value in found.items() if value is not None}
            _check_finite(made, path, f"{code}'s {pair.name}")
            return pair.name, made
    pair, key = own[-1], wrong[0]
    raise InputError("", f"{path}.{key}", f"got {getattr(numbers, key)} of {type(profile).__name__}",
                     f"{pair.expected or f'{pair.only[key]}'}, for {code} has no other {pair.name}")


def read(pairs: Sequence[Pair], code: str, name: str, values: Mapping[str, Any], path: str,
         solved: Sequence[str] = (AMPLITUDE,)) -> Any:
    """A profile of giga from that of another code.

    Args:
        pairs: Of the code.
        code: What it is called, for messages.
        name: Of its profile.
        values: Its parameters: numbers, or arrays of draws.
        path: Where it stands, for messages.
        solved: Parameters that may be left out, for they are solved.

    Raises:
        InputError: A profile that giga does not have, a parameter that is unknown, missing, not finite, or outside
            of what giga's takes.
    """
    known = {pair.name: pair for pair in pairs}
    if name not in known:
        raise InputError("", path, f"{code}'s profile {name!r}", nearest(str(name), known))
    pair = known[name]
    for key in values:
        if key not in pair.there:
            raise InputError("", f"{path}.{key}", f"no parameter of {code}'s {name}", nearest(key, pair.there))
    given: dict[str, Any] = dict(pair.defaults)
    for key in pair.there:
        if key in values and values[key] is not None:
            given[key] = _number(values[key], f"{path}.{key}")
        elif key not in given:
            if key not in solved:
                raise InputError("", f"{path}.{key}", "missing", f"a number, which {code}'s {name} needs")
            given[key] = None
    _check_ellipse(given, path)
    with _at(path), np.errstate(all="ignore"):
        back = pair.back(given)
    fields = {key: plain(value) for key, value in back.items() if value is not None}
    for key, (low, high) in pair.profile.ranges.items():
        if key in fields and not np.all((np.asarray(fields[key]) > low) & (np.asarray(fields[key]) < high)):
            raise InputError("", path, f"{name} with {key} = {np.asarray(fields[key]).ravel()[:3]}",
                             f"{key} above {low:g}" + ("" if np.isinf(high) else f" and below {high:g}"))
    _check_finite(fields, path, pair.profile.__name__)
    return pair.profile(**fields)


def plain(value: Any) -> Any:
    """A Python float, or an array in float64; words, integers and tuples, which are settings, are kept."""
    if isinstance(value, str | int | tuple):
        return value
    array = np.asarray(value, float)
    return float(array) if array.ndim == 0 else array


@contextmanager
def _at(path: str) -> Iterator[None]:
    """Put the path of a profile before the fields that its errors name."""
    try:
        yield
    except InputError as error:
        raise InputError("", f"{path}.{error.field}", error.seen, error.expected) from None
    except ValueError as error:
        raise InputError("", path, str(error)) from None


def _check_ellipse(given: Mapping[str, Any], path: str) -> None:
    if "e1" in given and "e2" in given and not np.all(np.hypot(given["e1"], given["e2"]) < 1.0):
        raise InputError("", f"{path}.e1", f"|e| = {np.max(np.hypot(given['e1'], given['e2'])):g}",
                         "e1^2 + e2^2 below 1")
    if "q" in given and not np.all((np.asarray(given["q"]) > 0.0) & (np.asarray(given["q"]) <= 1.0)):
        raise InputError("", f"{path}.q", f"got {given['q']}", "an axis ratio above 0, at most 1")


def _check_finite(values: Mapping[str, Any], path: str, what: str) -> None:
    """What came out: two radii that a formula divides by the difference of may be one."""
    for key, value in values.items():
        if not isinstance(value, str | int | tuple) and not np.isfinite(value).all():
            raise InputError("", path, f"{what} with {key} = {np.asarray(value).ravel()[:3]}", "a finite number")


def _number(value: Any, path: str) -> Any:
    if isinstance(value, str | bool) or isinstance(value, Mapping):
        raise InputError("", path, f"got {value!r}", "a number")
    if isinstance(value, int):
        return value
    try:
        array = np.asarray(value, float)
    except (TypeError, ValueError):
        raise InputError("", path, f"got {value!r}"[:80], "a number") from None
    if not np.isfinite(array).all():
        raise InputError("", path, f"got {value}"[:80], "a finite number")
    return array


def _numbers(profile: Component, path: str) -> Any:
    """The profile with NumPy's numbers on its leaves."""
    changes = {}
    for one in dataclasses.fields(profile):  # pyright: ignore[reportArgumentType]
        value = getattr(profile, one.name)
        if one.metadata.get("static") or value is None:
            continue
        if is_distribution(value):
            raise InputError("", f"{path}.{one.name}", f"a distribution, {type(value).__name__}", "a number")
        changes[one.name] = np.asarray(value, float)
        if not np.isfinite(changes[one.name]).all():
            raise InputError("", f"{path}.{one.name}", f"got {value}"[:80], "a finite number")
    return profile.replace(**changes)
