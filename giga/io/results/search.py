"""The folder of a search: what there is to do, the scores of each part, and what came of it."""

from __future__ import annotations

import hashlib
import importlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from astropy.io import fits
from astropy.table import Table

from giga.io.errors import InputError
from giga.io.images.cube import KEPT, Cube
from giga.io.jsonfile import read_json, write_json
from giga.io.pools.base import Pool, Rows
from giga.runtime.atomic import write_atomically
from giga.runtime.identity import changed

PLAN, ITEMS, PARTS = "search.json", "cutouts.parquet", "parts"
SCORES, CANDIDATES, GALLERY, KNOWN = "scores", "candidates", "gallery.html", "known"
TEXTS = ("name", "file", "reason")  # columns of texts
LONGEST = 120  # characters of the name of a cutout's file
FORMATS = {".fits": "fits", ".vot": "votable", ".csv": "ascii.csv"}


def _parquet() -> tuple[Any, Any]:
    """pyarrow and its Parquet files. Raises InputError."""
    try:
        return importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError("", "pyarrow", f"cannot be imported ({error})", "pip install 'giga[search]'") from error


@dataclass(frozen=True)
class SearchFolder:
    """The files of a search.

    Attributes:
        path: The folder.
    """

    path: Path

    def plan(self, pool: Pool, settings: Mapping[str, Any], facts: Mapping[str, str], part: int) -> bool:
        """Keep what is to be done, or see that what is kept is the same.

        Args:
            pool: The cutouts.
            settings: What a part needs to know, as JSON has it.
            facts: What the scores depend on, as `giga.runtime.identity.told` gives it.
            part: Cutouts of a part.

        Returns:
            Whether the search was there already.

        Raises:
            InputError: The folder holds another search; says what differs.
        """
        if (self.path / PLAN).exists():
            kept = self.about()
            if differs := changed(kept["facts"], dict(facts)):
                raise InputError(self.path, "--out", f"holds another search ({'; '.join(differs)})",
                                 "the same search, another folder, or --overwrite")
            return True
        arrow, parquet = _parquet()
        (self.path / PARTS).mkdir(exist_ok=True)
        table = arrow.table({name: arrow.array(values.tolist(), arrow.string()).dictionary_encode()
                             if name == "file" else arrow.array(values.tolist() if name in TEXTS else values)
                             for name, values in vars(pool.rows).items()})
        write_atomically(self.path / ITEMS, lambda place: parquet.write_table(table, place, row_group_size=part))
        write_json(self.path / PLAN, {"settings": dict(settings), "facts": dict(facts), "cutouts": len(pool.rows),
                                      "part": part, "kind": pool.kind, "files": list(pool.files),
                                      "reader": dict(pool.settings)})
        return False

    def about(self) -> dict[str, Any]:
        """What `plan` kept. Raises InputError."""
        return read_json(self.path / PLAN)

    def rows(self, number: int) -> Rows:
        """The cutouts of a part."""
        table = _parquet()[1].ParquetFile(self.path / ITEMS).read_row_group(number)
        return Rows(*(np.asarray(table[name].to_pylist(), object) if name in TEXTS else table[name].to_numpy()
                      for name in ("name", "file", "index", "ra", "dec")))

    def part(self, number: int) -> Path:
        """The file of a part's scores: whole, or not there."""
        return self.path / PARTS / f"{number:07d}.parquet"

    def left(self) -> list[int]:
        """Numbers of the parts that are not done."""
        about = self.about()
        done = {path.name for path in (self.path / PARTS).glob("*.parquet")}
        return [k for k in range(-(-about["cutouts"] // about["part"])) if self.part(k).name not in done]

    def write_part(self, number: int, columns: Mapping[str, Sequence[Any] | np.ndarray],
                   told: Mapping[str, Any]) -> None:
        """Write the scores of a part and what is told of it, atomically."""
        arrow, parquet = _parquet()
        table = arrow.table({name: arrow.array(list(values) if name in TEXTS else values)
                             for name, values in columns.items()}).replace_schema_metadata({"told": json.dumps(told)})
        write_atomically(self.part(number), lambda place: parquet.write_table(table, place))

    def told(self, number: int) -> dict[str, Any]:
        """What was told of a part. Raises InputError when its file is damaged."""
        try:
            return json.loads(_parquet()[1].read_schema(self.part(number)).metadata[b"told"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(self.part(number), "", f"cannot be read ({' '.join(str(error).split())})",
                             "the scores of a part; remove it to have them anew") from error

    def write_scores(self) -> Table:
        """Write the scores of all parts as one table, in Parquet and FITS, in the order of the cutouts; returns it."""
        arrow, parquet = _parquet()
        about = self.about()
        parts = [self.part(k) for k in range(-(-about["cutouts"] // about["part"]))]
        try:
            whole = arrow.concat_tables([parquet.read_table(path) for path in parts]).replace_schema_metadata(None)
        except (OSError, ValueError) as error:
            raise InputError(self.path / PARTS, "", f"cannot be read ({' '.join(str(error).split())[:200]})",
                             "whole parts; remove the damaged one to have it anew") from error
        write_atomically(self.path / f"{SCORES}.parquet", lambda place: parquet.write_table(whole, place))
        table = Table({name: np.asarray(whole[name].to_pylist(), str) if name in TEXTS else whole[name].to_numpy()
                       for name in whole.column_names})
        _with_units(table)
        write_table(self.path / f"{SCORES}.fits", table)
        return table

    def cutout(self, name: str) -> Path:
        """The file of a candidate's cutout."""
        safe = quote(name, safe="+-.,=@()[]")
        if len(safe) > LONGEST:  # and still another for each name
            safe = f"{safe[:LONGEST - 17]}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
        return self.path / CANDIDATES / f"{safe}.fits"

    def write_candidates(self, table: Table) -> list[Path]:
        """Write the catalogue of candidates as FITS, VOTable and CSV."""
        return [write_table(self.path / f"{CANDIDATES}{suffix}", _with_units(table)) for suffix in FORMATS]


def write_table(path: Path, table: Table) -> Path:
    """Write a table as its suffix says, atomically; what is not known is empty."""
    def write(place: Path) -> None:
        written: Any = table.copy()
        for name in written.colnames:  # FITS has ASCII alone
            if path.suffix == ".fits" and written[name].dtype.kind == "U":
                written[name] = np.char.encode(np.asarray(written[name]), "ascii", "backslashreplace")
        written.write(place, format=FORMATS[path.suffix], overwrite=True)

    return write_atomically(path, write)


UNITS = {"ra": "deg", "dec": "deg", "theta_E": "arcsec", "phi": "rad", "known_sep": "arcsec"}


def _with_units(table: Table) -> Table:
    """Give the columns that have one their unit."""
    for name, unit in UNITS.items():
        if name in table.colnames:
            column: Any = table[name]
            column.unit = unit
    return table


def write_cutout(path: Path, cube: Cube, bands: Sequence[str], cards: Mapping[str, Any]) -> Path:
    """Write a cutout with an HDU a band, named after it, with its WCS: what `giga init`, `fit` and `predict` read.

    Args:
        path: The file.
        cube: The cutout.
        bands: Names of the bands.
        cards: Further cards of the first header; what ASCII has no sign for is written as `\\u2606`.
    """
    primary = fits.PrimaryHDU()
    for key, value in cards.items():
        if value == value:  # FITS has no NaN
            primary.header[key] = ascii(value)[1:-1] if isinstance(value, str) and not (
                value.isascii() and value.isprintable()) else value
    hdus: list[Any] = [primary]
    kept = re.compile(r"(CTYPE|CRVAL|CRPIX|CDELT|CUNIT).*|(PC|CD)\d_\d|LONPOLE|LATPOLE|RADESYS|EQUINOX|WCSAXES")
    header = fits.Header([card for card in cube.header.cards if kept.fullmatch(card.keyword) or card.keyword in KEPT])
    for k, band in enumerate(bands):
        hdus.append(fits.ImageHDU(np.asarray(cube.image[..., k], np.float32), header.copy(), name=band))
        hdus[-1].header["FILTER"] = band
        if cube.unit:
            hdus[-1].header["BUNIT"] = cube.unit
    return write_atomically(path, lambda place: fits.HDUList(hdus).writeto(place, overwrite=True))
