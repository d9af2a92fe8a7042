"""Catalogues of lenses: tables whose columns change a configuration from row to row."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np

from giga.io.configuration.profiles import SECTIONS
from giga.io.configuration.toml import Config, override, parse_config, parse_value
from giga.io.errors import InputError, nearest
from giga.io.images.config import ObservationConfig
from giga.io.images.hdu import image_shape
from giga.io.table_file import read_table_file
from giga.io.tables import Place
from giga.lensing.labels import unit

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
SHARED = ("run", "likelihood", "inference")
UNITS = {"exposure_time": "s", "pixel_scale": "arcsec", "psf_fwhm": "arcsec", "ra": "deg", "dec": "deg"}
PATHS = ("image", "noise_map", "psf", "mask")
TEXTS = (*PATHS, "band")  # texts even where they look like numbers


@dataclass(frozen=True)
class Row:
    """One lens of a catalogue.

    Attributes:
        name: Its name, fit for a folder.
        number: Its row, the first being 1.
        values: What it sets, by path in the configuration.
        columns: The column of each of these.
        truth: True values by path name.
    """

    name: str
    number: int
    values: Mapping[str, Any]
    columns: Mapping[str, str]
    truth: Mapping[str, float] = field(default_factory=dict)


def read_catalogue(path: str | PathLike[str], ignore: Collection[str] = ()) -> list[Row]:
    """Read a catalogue.

    Args:
        path: CSV, ECSV, FITS or VOTable, by the end of its name.
        ignore: Columns to pass over.

    Raises:
        InputError: File, row, column, value seen and what was expected.
    """
    file = Path(path)
    table = read_table_file(file)
    columns = [name for name in table.colnames if name not in ignore]
    if "name" not in columns:
        raise InputError(file, "name", f"no such column among {', '.join(table.colnames)}", "the names of the lenses")
    paths = {column: _path_of(column, file) for column in columns if column != "name"}
    for path, count in {p: list(paths.values()).count(p) for p in paths.values()}.items():
        if count > 1:
            twice = [column for column, other in paths.items() if other == path]
            raise InputError(file, f"columns {' and '.join(twice)}", f"both set {path}", "one of them")
    if not len(table):
        raise InputError(file, "", "no rows", "one row a lens")
    units = {column: table[column].unit for column in paths}  # pyright: ignore[reportAttributeAccessIssue]
    rows, seen = [], {}
    for number, cells in enumerate(list(table), 1):  # pyright: ignore[reportArgumentType]
        name = _name(_plain(cells["name"]), Place(file, f"row {number}: name"), seen, number)
        values, truth = {}, {}
        for column, path in paths.items():
            value = _value(cells[column], path, units[column], Place(file, f"row {number} ({name}): {column}"))
            if value is not None:
                (truth if path.startswith("truth.") else values)[path.removeprefix("truth.")] = value
        rows.append(Row(name, number, values, {path: column for column, path in paths.items()}, truth))
    return rows


def configure(rows: Sequence[Row], file: str | PathLike[str], tables: Mapping[str, Any], config_file: Path,
              fit_config_type: type, data_dir: str | PathLike[str] | None = None,
              overrides: Mapping[str, Any] | None = None) -> list[Config]:
    """The configuration of each lens, checked.

    Args:
        rows: The lenses.
        file: Their catalogue.
        tables: The configuration that they share, as `read_toml` gives it.
        config_file: Its file.
        fit_config_type: Frozen dataclass of the section [inference].
        data_dir: Folder that all paths are relative to; None is the catalogue's for its own and the configuration's
            for the others.
        overrides: Values that are changed for all, by path.

    Raises:
        InputError: A configuration that is wrong, with the row and the column that made it so.
    """
    base = {"observation": [{}]} | copy.deepcopy(dict(tables))
    for path, value in (overrides or {}).items():
        override(base, path, value, Place(config_file))
    folder = Path(file).parent if data_dir is None else Path(data_dir)
    made = []
    for row in rows:
        mine = copy.deepcopy(base)
        try:
            for path, value in row.values.items():
                is_path = path.startswith("observation.") and path.rpartition(".")[2] in PATHS
                override(mine, path, str(folder.absolute() / value) if is_path else value, Place(config_file))
            made.append(parse_config(mine, config_file, fit_config_type, data_dir))
        except InputError as error:
            raise _in_row(error, row, file) from error
    return made


def image_shapes(row: Row, config: Config) -> tuple[tuple[int, int], ...]:
    """Shape (ny, nx) of the images of a lens, as they are cut out; its other files are there.

    Raises:
        InputError: A file that is missing, or an image that cannot be read, by its column.
    """
    shapes = []
    for k, observation in enumerate(config.observation):
        for key in PATHS:
            path, place = getattr(observation, key), f"observation.{k}.{key}"
            if path is not None and not path.is_file():
                raise InputError(path, row.columns.get(place, place), "no such file", "a FITS file")
        column, size = f"observation.{k}.image", observation.cutout.size if observation.cutout else None
        shape = image_shape(observation.image, observation.hdu, row.columns.get(column, column))
        shapes.append((size, size) if isinstance(size, int) else size or shape)
    return tuple(shapes)


def _path_of(column: str, file: Path) -> str:
    """The path in the configuration that a column sets."""
    fields = [f.name for f in dataclasses.fields(ObservationConfig)]
    head = column.partition(".")[0]
    if column in ("seed", "run.seed"):
        return "run.seed"
    if head in fields:
        return f"observation.0.{column}"
    if column in ("z_lens", "z_source"):
        return f"lens.{column}"
    if "." in column and head in ("observation", "truth", "lens", *SECTIONS):
        return column
    if head in SHARED:
        raise InputError(file, column, "a column", "the same for all lenses, in the configuration or with --set")
    known = nearest(column, ["name", "seed", *fields]).rpartition(" (")[2]
    raise InputError(file, column, "unknown column", "name, seed, a field of [[observation]], or a path such as "
                     f"mass.0.theta_E.loc ({known}; --ignore {column} passes over it")


def _name(value: Any, place: Place, seen: dict[str, int], number: int) -> str:
    name = "" if value is None else str(value)
    if not NAME.fullmatch(name):
        raise place.error(f"got {name!r}", "a name fit for a folder: letters, digits and . _ + -, at most 100, the "
                          "first a letter or a digit")
    if name.lower() in seen:
        raise place.error(f"got {name!r}, the name of row {seen[name.lower()]} too",
                          "different names, by more than upper and lower case")
    seen[name.lower()] = number
    return name


def _plain(cell: Any) -> Any:
    """A cell as a plain value: text, number or truth value; None when it is empty."""
    if np.ma.is_masked(cell):
        return None
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    value = cell.tolist() if isinstance(cell, (np.generic, np.ndarray)) else cell
    if isinstance(value, str):
        return value.strip() or None
    return value


def _value(cell: Any, path: str, given: u.UnitBase | None, place: Place) -> Any:
    """The value of a cell in the units of the configuration; None when it is empty."""
    value = _plain(cell)
    if value is None:
        return None
    key = path.rpartition(".")[2]
    if path.startswith("observation.") and key in TEXTS:
        return str(value)
    if isinstance(value, str):
        value = _read(value)
    if given is not None and isinstance(value, (int, float)):
        return _convert(value, given, path, place)
    if path.startswith("truth.") and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise place.error(f"got {value!r}", "a number")
    return value


def _read(text: str) -> Any:
    if NUMBER.fullmatch(text):
        return float(text) if set(text) & set(".eE") else int(text)
    return {"true": True, "false": False}[text.lower()] if text.lower() in ("true", "false") else parse_value(text)


def _convert(value: float, given: u.UnitBase, path: str, place: Place) -> float:
    parts = path.split(".")
    wanted = UNITS.get(parts[-1], "") or unit(path) or (unit(".".join(parts[:-1])) if len(parts) > 3 else "")
    if not wanted:
        return value
    try:
        return np.asarray(u.Quantity(value, given).to_value(wanted), float).item()
    except u.UnitConversionError:
        raise place.error(f"unit {given}", f"{wanted}, or a unit that converts to it") from None


def _in_row(error: InputError, row: Row, file: str | PathLike[str]) -> InputError:
    """An error of a configuration as one of the row that it was made for."""
    for path, column in row.columns.items():
        inside = f"{path}.".startswith(f"{error.field}.") or error.field.startswith(f"{path}.")
        if path == error.field or path in row.values and inside:
            return InputError(file, f"row {row.number} ({row.name}): {column}", error.seen, error.expected)
    return InputError(file, f"row {row.number} ({row.name})", str(error))
