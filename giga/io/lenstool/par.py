"""LensTool's `.par` as it stands: sections, rows, and the numbers in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np

from giga.io.errors import InputError
from giga.lensing.cosmology import Cosmology
from giga.lensing.redshifts import Redshifts

COSMOLOGY = ("H0", "Om0", "Ok0", "w0", "wa")
FREE, GAUSSIAN = 1, 3  # LensTool's numbers of a uniform and of a normal prior
LIMITS = f"{FREE} LOW HIGH, or {GAUSSIAN} MEAN SD with SD above 0, or 0"
COSMOLOGIES = ("cosmologie", "cosmology")
LIMITED = {"H0": "H0", "omegaM": "omegaM", "omega": "omegaM", "omegaX": "omegaX", "lambda": "omegaX",
           "omegaL": "omegaX", "wX": "wX", "wa": "wa"}
"""Rows of cosmolimit, and the name of what each is a limit of."""
OPENS = ("runmode", "potentiel", "potential", "limit", "potfile", *COSMOLOGIES, "cosmolimit", "champ", "cline",
         "grande", "observ")
"""Names of sections that are no row of any other; LensTool numbers potfiles."""
OPENS_ALONE = ("image", "source", "grille", "grid", "pixel", "cleanlens", "msgrid")
"""Names of sections that are rows of others too, where a value follows them."""
MARK = "\u00ef\u00bb\u00bf"  # the byte-order mark of UTF-8, read as Latin-1
FLAT = 1e-9  # curvature below which a universe is flat, as LensTool's is that has omegaK 0


@dataclass(frozen=True)
class Row:
    """A line of a section: its key, the values after it as text, and its number in the file."""

    key: str
    values: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Section:
    """A section of a `.par` from its name to `end`, with the label after the name: `potentiel O1`."""

    name: str
    label: str
    rows: tuple[Row, ...]
    line: int

    def row(self, key: str) -> Row | None:
        """The last row of a key."""
        return next((row for row in reversed(self.rows) if row.key == key), None)


@dataclass(frozen=True)
class Par:
    """A `.par` file as it stands: every section and row, known or not.

    Attributes:
        comments: Lines at its head, without their #.
        sections: In order.
        file: Where it was read from.
    """

    comments: tuple[str, ...]
    sections: tuple[Section, ...]
    file: Path = field(default=Path(), compare=False)

    def named(self, *names: str) -> list[Section]:
        """Sections of some names; LensTool numbers potfiles, so `potfile` has potfile0 too."""
        return [s for s in self.sections if s.name.rstrip("0123456789") in names]

    @property
    def reference(self) -> tuple[float, float]:
        """Right ascension and declination that positions are relative to [deg]. Raises InputError."""
        row = self._row("runmode", "reference")
        if row is None:
            raise InputError(self.file, "runmode", "no reference", "reference 3 RA DEC")
        numbers = numbers_of(row, self.file, 1)
        if numbers[0] != 3.0 or len(numbers) < 3:
            raise InputError(self.file, f"line {row.line}", f"reference {' '.join(row.values)}", "reference 3 RA DEC, "
                             "which positions in arcsec are from")
        return numbers[1], numbers[2]

    @property
    def cosmology(self) -> Cosmology:
        """The section cosmologie; 70, 0.3 and a flat universe where it says nothing. Raises InputError.

        With omegaK 0 it is flat whatever omegaX is, as LensTool takes it.
        """
        found = {key: values[0] for name in COSMOLOGIES for key in ("H0", "omegaM", "omegaX", "omegaK", "wX", "wa")
                 if (values := self._numbers(name, key, 1)) is not None}
        matter = found.get("omegaM", 0.3)
        if found.get("omegaK") == 0.0:
            found["omegaX"] = 1.0 - matter
        return Cosmology(H0=found.get("H0", 70.0), Om0=matter, Ok0=1.0 - matter - found.get("omegaX", 1.0 - matter),
                         w0=found.get("wX", -1.0), wa=found.get("wa", 0.0))

    def kpc(self, z_lens: float) -> float:
        """Length of one arcsec at a redshift [kpc]."""
        return _kpc(z_lens, *(float(getattr(self.cosmology, key)) for key in COSMOLOGY))

    @property
    def field(self) -> tuple[float, float, float, float] | None:
        """The section champ: xmin, xmax, ymin, ymax [arcsec]."""
        ends = [self._numbers("champ", key, 1) for key in ("xmin", "xmax", "ymin", "ymax")]
        return None if None in ends else tuple(end[0] for end in ends if end is not None)  # pyright: ignore

    @property
    def sigma(self) -> float | None:
        """Standard deviation of positions, sigposArcsec [arcsec]. Raises InputError."""
        row = self._row("image", "sigposArcsec")
        if row is None:
            return None
        numbers = numbers_of(row, self.file, 1)
        if len(numbers) > 1 and numbers[0]:
            raise InputError(self.file, f"line {row.line}", f"sigposArcsec {' '.join(row.values)}", "one number: a "
                             "standard deviation that is free is no part of the model")
        return numbers[min(len(numbers), 2) - 1]

    @property
    def ladder(self) -> Literal["source", "image"] | None:
        """The plane in which positions are compared, by forme: below 0 that of the images. Raises InputError."""
        found = self._numbers("image", "forme", 1)
        return None if found is None else "image" if found[0] < 0.0 else "source"

    @property
    def images(self) -> str | None:
        """Name of the catalogue of multiple images."""
        row = self._row("image", "multfile")
        return None if row is None else row.values[-1]

    def _numbers(self, section: str, key: str, least: int) -> tuple[float, ...] | None:
        row = self._row(section, key)
        return None if row is None else numbers_of(row, self.file, least)

    def _row(self, section: str, key: str) -> Row | None:
        return next((row for one in self.named(section) if (row := one.row(key)) is not None), None)


@cache
def _kpc(z_lens: float, *cosmology: float) -> float:  # a file asks for it many times
    return Redshifts(z_lens, None, Cosmology(**dict(zip(COSMOLOGY, cosmology, strict=True)))).kpc_lens


def read_par(path: str | PathLike[str]) -> Par:
    """Read a `.par`.

    Raises:
        InputError: It is not there, or a section has no end before the next begins; file and lines are named.
    """
    path = Path(path)
    comments, sections = [], []
    name, label, begun, rows = "", "", 0, []
    for number, words in lines_of(path, comments):
        key = words[0]
        if not name:
            if key == "fini":
                break
            if key == "end":  # LensTool itself writes one too many
                continue
            name, label, begun, rows = key, " ".join(words[1:]), number, []
        elif key == "end":
            sections.append(Section(name, label, tuple(rows), begun))
            name = ""
        elif key.rstrip("0123456789") in OPENS or key in OPENS_ALONE and len(words) == 1:
            raise InputError(path, f"line {begun}", f"{name} {label}".rstrip() + f" without end before line {number}, "
                             f"{' '.join(words)}", "end after the last line of a section")
        else:
            rows.append(Row(key, tuple(words[1:]), number))
    if name:
        raise InputError(path, f"line {begun}", f"{name} without end", "end after the last line of a section")
    if not sections:
        raise InputError(path, "", "no section", "a .par of LensTool")
    return Par(tuple(comments), tuple(sections), path)


def write_par(par: Par) -> str:
    """A `.par` as text, which reads back to an equal one but for the numbers of lines."""
    out = [f"#{line}" for line in par.comments]
    for section in par.sections:
        out.append(f"{section.name} {section.label}".rstrip())
        out += ["\t" + " ".join((f"{row.key:<15}", *row.values)).rstrip() for row in section.rows]
        out.append("\tend")
    return "\n".join([*out, "fini", ""])


def text_of(path: Path, kind: str) -> str:
    """The text of a file, without a byte-order mark. Raises InputError; `kind` is what was expected, in words."""
    try:
        return path.read_text(encoding="latin-1").removeprefix(MARK)
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror})", kind) from None


def lines_of(path: Path, comments: list[str] | None = None) -> Iterator[tuple[int, list[str]]]:
    """Numbers and words of the lines of a text; those that begin with # are left out, the first of them kept."""
    head = True
    for number, line in enumerate(text_of(path, "a text file of LensTool").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            if words and head and comments is not None:
                comments.append(line.strip()[1:])
            continue
        head = False
        yield number, words


def numbers_of(row: Row, file: Path, least: int) -> tuple[float, ...]:
    """The numbers of a row, `least` or more. Raises InputError with its line."""
    try:
        values = tuple(map(float, row.values))
    except ValueError:
        values = ()
    if len(values) < least or not np.isfinite(values).all():
        raise InputError(file, f"line {row.line}", f"{row.key} {' '.join(row.values)}".strip(), f"{least} or more "
                         f"finite numbers after {row.key}")
    return values


def middle(numbers: Sequence[float]) -> float:
    """Value that a prior of LensTool stands about: that of 0, the middle of 1, the mean of 3."""
    if len(numbers) == 1:
        return numbers[0]
    return 0.5 * (numbers[1] + numbers[2]) if int(numbers[0]) == FREE and len(numbers) > 2 else numbers[1]


def free_redshifts(par: Par) -> dict[str, tuple[float, ...]]:
    """What `z_m_limit` says of systems without a redshift: LensTool's kind of prior and its numbers, by system.

    Raises:
        InputError: A line of too few numbers.
    """
    out = {}
    for section in par.named("image"):
        for row in section.rows:
            if row.key == "z_m_limit":
                name, numbers = system_of(row.values[1]) if len(row.values) > 1 else "", Row(row.key, row.values[2:],
                                                                                            row.line)
                values = numbers_of(numbers, par.file, 2)[:3]
                kind = int(values[0])
                if kind not in (0, FREE, GAUSSIAN) or kind and not (len(values) > 2 and values[2] > (
                        values[1] if kind == FREE else 0.0)):
                    raise InputError(par.file, f"line {row.line}", f"{row.key} {' '.join(row.values)}",
                                     f"a number and a system, then {LIMITS}")
                out[name] = values
    return out


def free_cosmology(par: Par) -> dict[str, Row]:
    """Rows of `cosmolimit` whose kind is not 0, by what they are a limit of: H0, omegaM, omegaX, wX, wa.

    Raises:
        InputError: A row without a number.
    """
    out: dict[str, Row] = {}
    for section in par.named("cosmolimit"):
        for row in section.rows:
            if row.key in LIMITED:
                out.pop(LIMITED[row.key], None)
                if int(numbers_of(row, par.file, 1)[0]):
                    out[LIMITED[row.key]] = row
    return out


def system_of(text: str) -> str:
    """The name of a system, of which LensTool writes 4 as 4.0.

    >>> system_of("4.0"), system_of("4.10"), system_of("A")
    ('4', '4.10', 'A')
    """
    head, _, tail = text.partition(".")
    return head if tail and not tail.strip("0") and head.isdecimal() else text
