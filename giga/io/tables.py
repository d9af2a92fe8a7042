"""TOML tables to frozen dataclasses, each value checked, and back to text."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from giga.io.errors import InputError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Where in which file a value stands, for error messages.

    Attributes:
        file: The file read.
        path: Path of the value in it, `mass.0.theta_E`.
        folder: The folder that relative paths start from.
    """

    file: Path
    path: str = ""
    folder: Path = Path()

    def at(self, name: str | int) -> Place:
        """The place of an entry of this table or list."""
        return dataclasses.replace(self, path=f"{self.path}.{name}" if self.path else str(name))

    def error(self, seen: str, expected: str = "") -> InputError:
        """Make the error of this place."""
        return InputError(self.file, self.path, seen, expected)


def at_least(minimum: float, default: Any = dataclasses.MISSING) -> Any:
    """A field whose number must not be below a minimum."""
    return dataclasses.field(default=default, metadata={"at_least": minimum})


def above(limit: float, default: Any = dataclasses.MISSING) -> Any:
    """A field whose number must be above a limit."""
    return dataclasses.field(default=default, metadata={"above": limit})


def read_table(cls: type[T], table: Any, place: Place) -> T:
    """Read a TOML table into a frozen dataclass.

    Field types may be bool, int, float, str, Path, Literal, tuples, other dataclasses, and unions of them;
    `at_least` and `above` in a field's metadata bound a number. The dataclass may check itself in
    `__post_init__` and raise a ValueError that begins with the field's name and a colon, or an InputError
    with an empty file.

    Args:
        cls: The dataclass.
        table: What TOML gave.
        place: Where it stands.

    Raises:
        InputError: An unknown or missing field, a value of a wrong type or out of its range.
    """
    if not isinstance(table, Mapping):
        raise place.error(show(table), "a table")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # pyright: ignore[reportArgumentType]
    for name in table:
        if name not in fields:
            raise place.at(name).error("unknown field", nearest(name, fields))
    values = {}
    for name, field in fields.items():
        if name in table:
            values[name] = convert(hints[name], table[name], place.at(name))
            _check_range(values[name], field.metadata, place.at(name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise place.at(name).error("missing", describe(hints[name]))
    try:
        return cls(**values)
    except InputError as error:
        if error.file:
            raise
        raise place.at(error.field).error(error.seen, error.expected) from None
    except ValueError as error:
        # The message names the field itself, as `n: ...` or by its whole path.
        field, colon, rest = str(error).partition(": ")
        inside = field.removeprefix(f"{place.path}.")
        if colon and inside in fields:
            raise place.at(inside).error(rest) from error
        raise place.error(str(error).removeprefix(f"{place.path}: ")) from error


def convert(hint: Any, value: Any, place: Place) -> Any:
    """Convert a TOML value to a type, or raise the InputError of its place."""
    options = _options(hint)
    matching = [option for option in options if _matches(option, value)]
    if not matching:
        literals = [option for option in options if typing.get_origin(option) is Literal]
        choices = [str(choice) for option in literals for choice in typing.get_args(option)]
        expected = nearest(value, choices) if choices and isinstance(value, str) else describe(hint)
        raise place.error(show(value), expected)
    option = matching[0]
    if dataclasses.is_dataclass(option):
        return read_table(option, value, place)  # pyright: ignore[reportArgumentType]
    if typing.get_origin(option) is tuple:
        arguments = typing.get_args(option)
        items = [arguments[0]] * len(value) if len(arguments) == 2 and arguments[1] is Ellipsis else arguments
        return tuple(convert(item, v, place.at(k)) for k, (item, v) in enumerate(zip(items, value, strict=True)))
    if option is float:
        return number(value, place)
    if option is Path:
        return (place.folder / Path(value).expanduser()).resolve()
    return value


def number(value: Any, place: Place) -> float:
    """A finite float from a TOML number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise place.error(show(value), "a finite number")
    return float(value)


def describe(hint: Any) -> str:
    """Say in words what a type takes."""
    words = {bool: "true or false", int: "an integer", float: "a number", str: "a string", Path: "a path"}
    parts = []
    for option in _options(hint):
        if typing.get_origin(option) is Literal:
            parts.append("one of " + ", ".join(repr(choice) for choice in typing.get_args(option)))
        elif typing.get_origin(option) is tuple:
            arguments = typing.get_args(option)
            count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} entries, "
            parts.append(f"a list ({count}each {describe(arguments[0])})")
        elif dataclasses.is_dataclass(option):
            parts.append("a table of " + ", ".join(f.name for f in dataclasses.fields(option)))
        else:
            parts.append(words[option])
    return " or ".join(parts)


def show(value: Any) -> str:
    """Say what was seen, cut to a line."""
    text = repr(value)
    return f"got {text if len(text) <= 80 else text[:77] + '...'}"


def _options(hint: Any) -> tuple[Any, ...]:
    """The types of a union, None left out; TOML cannot write it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(option for option in typing.get_args(hint) if option is not type(None))
    return (hint,)


def _matches(option: Any, value: Any) -> bool:
    """Whether a value is of a type, before its content is looked at."""
    if typing.get_origin(option) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in typing.get_args(option))
    if typing.get_origin(option) is tuple:
        arguments = typing.get_args(option)
        return isinstance(value, (list, tuple)) and (arguments[-1] is Ellipsis or len(arguments) == len(value))
    if dataclasses.is_dataclass(option):
        return isinstance(value, Mapping)
    if isinstance(value, bool) or option is bool:
        return isinstance(value, bool) and option is bool
    if option is float:
        return isinstance(value, (int, float))
    return isinstance(value, str if option is Path else option)


def _check_range(value: Any, metadata: Mapping[str, Any], place: Place) -> None:
    for item in value if isinstance(value, tuple) else (value,):
        if "above" in metadata and isinstance(item, (int, float)) and not item > metadata["above"]:
            raise place.error(show(item), f"a number above {metadata['above']:g}")
        if "at_least" in metadata and isinstance(item, (int, float)) and not item >= metadata["at_least"]:
            raise place.error(show(item), f"a number of at least {metadata['at_least']:g}")


def to_table(value: Any) -> Any:
    """A dataclass as nested dicts and lists that TOML can write; fields that are None are left out."""
    if dataclasses.is_dataclass(value):
        items = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return {name: to_table(item) for name, item in items if item is not None}
    if isinstance(value, (tuple, list)):
        return [to_table(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def write_toml(sections: Mapping[str, Any]) -> str:
    """Write single values, then sections (a table, or a list of tables) with one line a field."""
    single = {name: value for name, value in sections.items() if isinstance(value, str | int | float)}
    blocks = ["\n".join(f"{_key(name)} = {inline(value)}" for name, value in single.items())] if single else []
    for name, section in sections.items():
        if name in single:
            continue
        head, tables = (f"[[{name}]]", section) if isinstance(section, list) else (f"[{name}]", [section])
        for table in tables:
            blocks.append("\n".join([head, *(f"{_key(key)} = {inline(value)}" for key, value in table.items())]))
    return "\n\n".join(blocks) + "\n"


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else inline(key)


def inline(value: Any) -> str:
    """One value as TOML; JSON's escapes are TOML's, but for the raw DEL that TOML forbids."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {inline(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(inline(item) for item in value) + "]"
