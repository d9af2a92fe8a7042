"""Tables of columns in the formats that astropy reads."""

from __future__ import annotations

import warnings
from pathlib import Path

from astropy.table import Table

from giga.io.errors import InputError

FORMATS = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".fits": "fits", ".fit": "fits", ".vot": "votable",
           ".xml": "votable", ".parquet": "parquet"}


def read_table_file(file: Path) -> Table:
    """Read CSV, ECSV, FITS, VOTable or Parquet, by the end of its name; the cells of CSV are texts.

    Raises:
        InputError: Not there, of another kind, empty or damaged.
    """
    kind = FORMATS.get(file.suffix.lower())
    if not file.is_file():
        raise InputError(file, "", "no such file", "a table")
    if kind is None:
        raise InputError(file, "", f"a name that ends in {file.suffix!r}", f"one of {', '.join(FORMATS)}")
    try:
        if kind.startswith("ascii"):
            lines = file.read_text(encoding="utf-8-sig").splitlines()  # spreadsheets begin it with a mark
            if not any(line.strip() for line in lines):
                raise InputError(file, "", "empty", "a header and rows")
            if kind == "ascii.ecsv":
                return Table.read(lines, format=kind)
            # As texts: the name 0946 is no number.
            return Table.read(lines, format=kind, guess=False, fast_reader=False, converters={"*": [str]})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that astropy does not know; those are left alone
            return Table.read(file, format=kind)
    except InputError:
        raise
    except ModuleNotFoundError as error:  # of Parquet
        raise InputError(file, "", f"{error.name} is not installed", "giga[data]") from error
    except (OSError, ValueError, TypeError, KeyError, IndexError) as error:
        seen = f"cannot be read ({' '.join(str(error).split())[:200]})"
        raise InputError(file, "", seen, f"a table as {kind.rpartition('.')[2].upper()}") from error
