"""The forecast of lenses by Collett (2015), as published with LensPop: text tables with their columns in the header."""

from __future__ import annotations

import math
import re
from os import PathLike
from pathlib import Path

import numpy as np

from giga.io.errors import InputError
from giga.simulate.populations.catalogue import Catalogue

HEADER = re.compile(r"#\s*\[(\d+)\]\s*(.+?)\s*$")
# What a header line says, and the column that it becomes; {0} is the band.
MEANINGS = tuple((re.compile(pattern), name) for pattern, name in (
    (r"zl, lens redshift", "z_lens"),
    (r"zs, source redshift", "z_source"),
    (r"b, Einstein radius \(arcseconds\)", "theta_E"),
    (r"sig_v, lens velocity dispersion \(km/s\)", "sigma_v"),
    (r"ql, lens flattening", "q_lens"),
    (r"rl, lens half light radius \(arcseconds\)", "R_lens"),
    (r"lens (\S+) band magnitude", "mag_lens_{0}"),
    (r"xs, source x coordinate", "x_source"),
    (r"ys, source y coordinate", "y_source"),
    (r"qs, source flattening", "q_source"),
    (r"ps, source position angle \(degrees\)", "phi_source"),
    (r"rs, source half light radius \(arcseconds\)", "R_source"),
    (r"source (\S+) band magnitude", "mag_source_{0}"),
    (r"mu_s, source magnification", "magnification"),
    (r"(\S+) band coadd seeing", "seeing_{0}"),
    (r"(\S+) band coadd signal-to-noise of source", "snr_{0}"),
    (r"signal-to-noise in the \S+ - \S+ difference image", "snr_difference"),
))
NEEDED = ("z_lens", "z_source", "theta_E", "sigma_v", "q_lens", "R_lens", "x_source", "y_source", "q_source",
          "phi_source", "R_source")
HALF_DIGIT = 0.005
"""Radii are printed to 0.01 arcsec; one that is printed as 0.00 is below this."""


def read_collett(path: str | PathLike[str]) -> Catalogue:
    """Read a table of lenses: `lenses_DESa.txt`, `lenses_Euclid.txt`, `lenses_LSSTc.txt` and their like.

    Columns: `z_lens`, `z_source`, `theta_E` [arcsec], `sigma_v` [km / s], `q_lens`, `R_lens` and `R_source`
    [half-light radii, arcsec], `x_source`, `y_source` [relative to the lens, arcsec], `q_source`, `phi_source` [rad],
    `mag_lens_B` and `mag_source_B` [total AB magnitudes in band B, the source's without magnification],
    `magnification`, `seeing_B` [arcsec], `snr_B`, `snr_difference`; and `phi_lens`, which is pi / 2 in every row: the
    tables have the major axis of each lens along +y. Radii are those of the intermediate axis, as in giga, and angles
    go from +x to +y. The lenses have Sersic index 4, the sources 1.

    The angles of rows are relative to a lens that stands upright; `giga.simulate.systems.collett` turns them. A radius
    printed as 0.00 is read as 0.005, the largest that it can be. A table is a tenth of the sky, and all its rows weigh
    the same.

    Args:
        path: The table.

    Raises:
        InputError: No such file, a header that does not tell the columns, a row with another number of values, or a
            value that is no number or outside its range.

    References:
        Collett (2015), ApJ 811, 20.
    """
    file = Path(path)
    lines = _lines(file)
    names = _names(file, lines)
    rows, numbers = [], []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            rows.append(_row(file, number, line, names))
            numbers.append(number)
    if not rows:
        raise InputError(file, "", "no rows", "one lens a line")
    columns = dict(zip(names, np.array(rows).T, strict=True))
    _check_ranges(file, columns, numbers)
    for name in ("R_lens", "R_source"):
        columns[name] = np.maximum(columns[name], HALF_DIGIT)
    columns["phi_source"] = np.deg2rad(columns["phi_source"])
    return Catalogue(columns | {"phi_lens": np.full(len(rows), 0.5 * math.pi)})


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(file, "", "no such file", "a table of Collett (2015)") from None
    except OSError as error:
        raise InputError(file, "", f"cannot be read ({error.strerror})", "a table of Collett (2015)") from error
    except UnicodeDecodeError as error:
        raise InputError(file, "", "not text in UTF-8", "a table of Collett (2015)") from error


def _names(file: Path, lines: list[str]) -> list[str]:
    """Names of the columns, in order, from the header."""
    names = []
    for number, line in enumerate(lines, 1):
        if not (header := HEADER.match(line)):
            continue
        if int(header[1]) != len(names):
            raise InputError(file, f"line {number}", f"column [{header[1]}]", f"column [{len(names)}]")
        for meaning, name in MEANINGS:
            if match := meaning.match(header[2]):
                names.append(name.format(*match.groups()))
                break
        else:
            raise InputError(file, f"line {number}", f"a column {header[2]!r}", "one that Collett (2015) has")
    if missing := [name for name in NEEDED if name not in names]:
        raise InputError(file, "", f"no column for {', '.join(missing)} in the header",
                         "lines such as '#[0] zl, lens redshift'")
    return names


def _row(file: Path, number: int, line: str, names: list[str]) -> list[float]:
    words = line.split()
    if len(words) != len(names):
        raise InputError(file, f"line {number}", f"{len(words)} values", f"{len(names)}, as the header has columns")
    values = []
    for word, name in zip(words, names, strict=True):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(file, f"line {number}, {name}", f"got {word!r}", "a finite number")
        values.append(value)
    return values


def _check_ranges(file: Path, columns: dict[str, np.ndarray], numbers: list[int]) -> None:
    checks = [(name, columns[name] > 0.0, "a number above 0") for name in ("z_lens", "theta_E", "sigma_v")]
    checks += [(name, columns[name] >= 0.0, "a number from 0 on") for name in ("R_lens", "R_source")]
    checks += [(name, (columns[name] > 0.0) & (columns[name] <= 1.0), "an axis ratio above 0, up to 1")
               for name in ("q_lens", "q_source")]
    checks.append(("z_source", columns["z_source"] > columns["z_lens"], "a redshift above that of the lens"))
    for name, good, expected in checks:
        if not good.all():
            row = int(np.argmin(good))
            raise InputError(file, f"line {numbers[row]}, {name}", f"got {columns[name][row]:g}", expected)
