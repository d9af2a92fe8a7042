"""LensTool's files: parameters (`.par`), catalogues of members (potfiles) and of multiple images (arcs).

Positions are in arcsec from the reference, x to the west and y to the north, as on a picture with north up; angles are
counter-clockwise from +x. LensTool's `ellipticite` of type 81 is (a^2 - b^2) / (a^2 + b^2) of the mass.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.lensing.cosmology import Cosmology
from giga.lensing.redshifts import Redshifts
from giga.mass.base import MassProfile
from giga.mass.external import Shear
from giga.mass.members import DPIE, SCALE, Catalogue, Halos, Members, rows_named
from giga.mass.nfw import NFW
from giga.mass.pjaffe import PJaffe

TYPES = {1: "isothermal, elliptical in the potential", 12: "NFW, elliptical in the potential", 14: "external shear",
         81: "dual pseudo-isothermal"}
"""Types of potentials that are known, by LensTool's number."""
POINTLIKE, ENDLESS = 1e-5, 1e7  # core and cut of type 1, which has none [arcsec]
COSMOLOGY = ("H0", "Om0", "Ok0", "w0", "wa")
FREE, GAUSSIAN = 1, 3  # LensTool's numbers of a uniform and of a normal prior


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
        numbers = self._numbers("runmode", "reference", 3)
        if numbers is None:
            raise InputError(self.file, "runmode", "no reference", "reference 3 RA DEC")
        return numbers[1], numbers[2]

    @property
    def cosmology(self) -> Cosmology:
        """The section cosmologie; 70, 0.3 and a flat universe where it says nothing. Raises InputError."""
        found = {key: values[0] for key in ("H0", "omegaM", "omegaX", "wX", "wa")
                 if (values := self._numbers("cosmologie", key, 1)) is not None}
        matter = found.get("omegaM", 0.3)
        return Cosmology(H0=found.get("H0", 70.0), Om0=matter, Ok0=1.0 - matter - found.get("omegaX", 1.0 - matter),
                         w0=found.get("wX", -1.0), wa=found.get("wa", 0.0))

    @property
    def field(self) -> tuple[float, float, float, float] | None:
        """The section champ: xmin, xmax, ymin, ymax [arcsec]."""
        ends = [self._numbers("champ", key, 1) for key in ("xmin", "xmax", "ymin", "ymax")]
        return None if None in ends else tuple(end[0] for end in ends if end is not None)  # pyright: ignore

    @property
    def sigma(self) -> float | None:
        """Standard deviation of positions, sigposArcsec [arcsec]."""
        found = self._numbers("image", "sigposArcsec", 1)
        return None if found is None else found[0]

    @property
    def images(self) -> str | None:
        """Name of the catalogue of multiple images."""
        row = next((r for s in self.named("image") if (r := s.row("multfile")) is not None), None)
        return None if row is None else row.values[-1]

    def _numbers(self, section: str, key: str, least: int) -> tuple[float, ...] | None:
        for one in self.named(section):
            if (row := one.row(key)) is not None:
                return numbers_of(row, self.file, least)
        return None


def read_par(path: str | PathLike[str]) -> Par:
    """Read a `.par`.

    Raises:
        InputError: It is not there, or a section has no end; file and line are named.
    """
    path = Path(path)
    comments, sections = [], []
    name, label, begun, rows = "", "", 0, []
    for number, words in _lines(path, comments):
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


def _lines(path: Path, comments: list[str] | None = None) -> Iterator[tuple[int, list[str]]]:
    """Numbers and words of the lines of a text; those that begin with # are left out, the first of them kept."""
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror})", "a text file of LensTool") from None
    head = True
    for number, line in enumerate(text.splitlines(), 1):
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


class Potential:
    """A section potentiel in the units of giga: numbers are checked as they are read.

    Attributes:
        label: Its name.
        kind: Its type.
        line: Of its type.
    """

    def __init__(self, par: Par, section: Section):
        self.label, self._file, self._section, self._cosmology = section.label, par.file, section, par.cosmology
        row = section.row("profil") or section.row("profile")
        if row is None:
            raise InputError(par.file, f"line {section.line}", f"potentiel {section.label} without profil",
                             f"profil and one of {', '.join(map(str, TYPES))}")
        self.line, self.kind = row.line, int(numbers_of(row, par.file, 1)[0])
        if self.kind not in TYPES:
            known = ", ".join(f"{number} ({name})" for number, name in TYPES.items())
            raise InputError(par.file, f"line {row.line}", f"profil {self.kind} of potentiel {section.label}",
                             f"a type that is known, {known}")
        self.z_lens = self.number("z_lens")
        self.x, self.y = self.number("x_centre", 0.0), self.number("y_centre", 0.0)
        self.angle = math.radians(self.number("angle_pos", 0.0))

    def number(self, key: str, default: float | None = None) -> float:
        """A number; without a default it must be there. Raises InputError."""
        row = self._section.row(key)
        if row is None:
            if default is None:
                raise InputError(self._file, f"line {self._section.line}", f"potentiel {self.label} without {key}",
                                 f"{key} and a number")
            return default
        return numbers_of(row, self._file, 1)[0]

    def radius(self, key: str) -> float:
        """A radius in arcsec, from its own or that in kpc, which LensTool prefers. Raises InputError."""
        row = self._section.row(f"{key}_kpc") or self._section.row(key)
        if row is None:
            raise InputError(self._file, f"line {self._section.line}", f"potentiel {self.label} without {key}",
                             f"{key}_kpc or {key}")
        value = numbers_of(row, self._file, 1)[0]
        if value < 0.0:
            raise InputError(self._file, f"line {row.line}", f"{row.key} {value:g}", "a radius that is not negative")
        return value / self.kpc if row.key.endswith("_kpc") else value

    @property
    def kpc(self) -> float:
        return par_kpc(self.z_lens, *(float(getattr(self._cosmology, key)) for key in COSMOLOGY))

    def shape(self, share: float = 1.0) -> tuple[float, float]:
        """(e1, e2) of giga; `share` is the potential's ellipticity over that in the file, 1 where it is the mass's."""
        value = self.number("ellipticite", self.number("ellipticity", 0.0))
        if not 0.0 <= value < 1.0:
            row = self._section.row("ellipticite") or self._section.row("ellipticity")
            line = self._section.line if row is None else row.line
            raise InputError(self._file, f"line {line}", f"ellipticite {value:g}", "a number from 0 to below 1")
        e = half_angle(share * value)
        return e * math.cos(2.0 * self.angle), e * math.sin(2.0 * self.angle)

    def profile(self) -> MassProfile:
        """The mass, for D_ls / D_s = 1."""
        place: dict[str, Any] = {"center_x": self.x, "center_y": self.y}
        if self.kind == 14:
            gamma = self.number("gamma")
            return Shear(gamma1=gamma * math.cos(2.0 * self.angle), gamma2=gamma * math.sin(2.0 * self.angle))
        sigma = self.number("v_disp")
        b0 = SCALE * sigma**2
        if self.kind == 81:
            e1, e2 = self.shape()
            core, cut = self.radius("core_radius"), self.radius("cut_radius")
            if not cut > core:
                raise InputError(self._file, f"line {self._section.line}", f"cut radius {cut:g} and core radius "
                                 f"{core:g} arcsec of potentiel {self.label}", "a cut radius above the core radius")
            return DPIE(sigma=sigma, core=core, cut=cut, e1=e1, e2=e2, **place)
        if self.kind == 12:
            e1, e2 = self.shape()
            return NFW(Rs=self.radius("scale_radius") if self._has("scale_radius") else self.radius("core_radius"),
                       alpha_Rs=b0 * (1.0 - math.log(2.0)), e1=e1, e2=e2, **place)
        e1, e2 = self.shape(1.0 / 3.0)  # LensTool's rule for types that are not elliptical in the mass
        return PJaffe(sigma0=b0 / 3.0 / POINTLIKE, Ra=POINTLIKE, Rs=ENDLESS, e1=e1, e2=e2, **place)

    def _has(self, key: str) -> bool:
        return self._section.row(key) is not None or self._section.row(f"{key}_kpc") is not None


@cache
def par_kpc(z_lens: float, *cosmology: float) -> float:
    """Length of one arcsec at a redshift [kpc], by the numbers of `COSMOLOGY`; a file asks for it many times."""
    return Redshifts(z_lens, None, Cosmology(**dict(zip(COSMOLOGY, cosmology, strict=True)))).kpc_lens


def half_angle(value: float) -> float:
    """|e| = (1-q)/(1+q) of (1 - q^2) / (1 + q^2), from zero on.

    >>> round(half_angle(0.8), 12)
    0.5
    """
    return value / (1.0 + math.sqrt(1.0 - value**2))


def potentials(par: Par) -> list[Potential]:
    """Every potentiel of a `.par`. Raises InputError for a type that is not known, or a number that is none."""
    return [Potential(par, section) for section in par.named("potentiel", "potential")]


def masses(par: Par) -> list[MassProfile]:
    """The potentials of a `.par` as masses for D_ls / D_s = 1; all of type 81 are one.

    Raises:
        InputError: A type that is not known, several redshifts of lenses, or a number out of its range.
    """
    every = potentials(par)
    if not every:
        raise InputError(par.file, "", "no potentiel", "a .par with potentials")
    if len({one.z_lens for one in every}) > 1:
        raise InputError(par.file, "z_lens", f"got {sorted({one.z_lens for one in every})}", "one redshift of all")
    made: list[Any] = [one.profile() for one in every]
    dual = [one for one in made if isinstance(one, DPIE)]
    out = [one for one in made if not isinstance(one, DPIE)]
    if dual:
        names = ("sigma", "core", "cut", "e1", "e2", "center_x", "center_y")
        columns: dict[str, Any] = {name: np.array([getattr(one, name) for one in dual]) for name in names}
        out.insert(0, Halos(each=DPIE(**columns)))
    return out


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of a catalogue of members or of images.

    Attributes:
        names: Their names.
        x, y: Positions from the reference [arcsec].
        a, b: Semi-axes, in any unit.
        theta: Position angle [deg].
        z: Redshift of images, 0 where it is not known; of members the eighth column.
        mag: Magnitude.
        lines: Numbers of the lines.
        file: Where they are from.
    """

    names: tuple[str, ...]
    x: np.ndarray
    y: np.ndarray
    a: np.ndarray
    b: np.ndarray
    theta: np.ndarray
    z: np.ndarray
    mag: np.ndarray
    lines: tuple[int, ...]
    file: Path


def read_potfile(path: str | PathLike[str], reference: tuple[float, float] | None = None) -> Table:
    """Read a catalogue of members: name, place, semi-axes, angle, magnitude, luminosity.

    Args:
        path: The file. Its line #REFERENCE tells whether places are in degrees (0) or in arcsec from a place (3);
            without one they are in degrees.
        reference: Right ascension and declination that positions are wanted from [deg]; None is the file's own.

    Raises:
        InputError: Rows that are too short, not numbers, or not finite; lines are named.
    """
    return _table(Path(path), reference, 7, mag=6, z=7)


def read_images(path: str | PathLike[str], reference: tuple[float, float] | None = None) -> Table:
    """Read a catalogue of multiple images: name, place, semi-axes, angle, redshift, magnitude; see `read_potfile`."""
    return _table(Path(path), reference, 7, mag=7, z=6)


def _table(path: Path, reference: tuple[float, float] | None, least: int, mag: int, z: int) -> Table:
    own, absolute = _reference(path)
    names, numbers, lines = [], [], []
    for line, words in _lines(path):
        try:
            values = [float(word) for word in words[1:8]]
        except ValueError:
            values = []
        if len(values) < least - 1:
            raise InputError(path, f"line {line}", " ".join(words), f"a name and {least - 1} or 7 numbers")
        names.append(words[0])
        numbers.append(values + [0.0] * (7 - len(values)))
        lines.append(line)
    if not names:
        raise InputError(path, "", "no row", "a catalogue of LensTool")
    rows = np.array(numbers)
    if (bad := np.flatnonzero(~np.isfinite(rows).all(1))).size:
        raise InputError(path, f"line {lines[bad[0]]}", f"{rows_named(bad)} ({', '.join(names[k] for k in bad[:5])}) "
                         "not finite", "finite numbers, the magnitude too")
    x, y = rows[:, 0], rows[:, 1]
    target = reference if reference is not None else own if own is not None else (x[0], y[0])
    if absolute:
        x, y = on_plane(x, y, target)
    elif own is not None and target != own:
        shift_x, shift_y = on_plane(np.array([own[0]]), np.array([own[1]]), target)
        x, y = x + shift_x, y + shift_y
    return Table(tuple(names), x, y, rows[:, 2], rows[:, 3], rows[:, 4], rows[:, z - 1], rows[:, mag - 1],
                 tuple(lines), path)


def _reference(path: Path) -> tuple[tuple[float, float] | None, bool]:
    """The place in the line #REFERENCE, if there is one, and whether rows are in degrees."""
    try:
        text = path.read_text(encoding="latin-1")
    except OSError as error:
        raise InputError(path, "", f"cannot be read ({error.strerror})", "a catalogue of LensTool") from None
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if words and words[0] == "#REFERENCE":
            try:
                kind, *place = [float(word) for word in words[1:4]]
            except ValueError:
                kind, place = -1.0, []
            if kind not in (0.0, 3.0) or (kind == 3.0 and len(place) < 2):
                raise InputError(path, f"line {number}", line.strip(), "#REFERENCE 0, or #REFERENCE 3 RA DEC")
            return (place[0], place[1]) if len(place) == 2 else None, kind == 0.0
    return None, True


def on_plane(ra: np.ndarray, dec: np.ndarray, reference: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of places from a reference, x to the west, as LensTool has them: no projection [arcsec]."""
    return (-(ra - reference[0]) * math.cos(math.radians(reference[1])) * 3600.0, (dec - reference[1]) * 3600.0)


def on_sky(x: np.ndarray, y: np.ndarray, reference: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `on_plane` [deg]."""
    return reference[0] - x / (3600.0 * math.cos(math.radians(reference[1]))), reference[1] + y / 3600.0


def write_table(table: Table, reference: tuple[float, float], *, images: bool = False) -> str:
    """A catalogue of members, or of images, as text, its positions in arcsec from the reference."""
    rows = [f"#REFERENCE 3 {reference[0]:.9f} {reference[1]:.9f}"]
    for k, name in enumerate(table.names):
        last = (table.z[k], table.mag[k]) if images else (table.mag[k], table.z[k])
        rows.append(f"{name} {table.x[k]:.8f} {table.y[k]:.8f} {table.a[k]:g} {table.b[k]:g} {table.theta[k]:g} "
                    + " ".join(f"{value:.10g}" for value in last))
    return "\n".join([*rows, ""])


def catalogue_of(table: Table) -> Catalogue:
    """The members of a table. Raises InputError for semi-axes that make no ellipse; the line is named."""
    bad = np.flatnonzero(~((table.a > 0.0) & (table.b > 0.0)))
    if bad.size:
        raise InputError(table.file, f"line {table.lines[bad[0]]}", f"semi-axes {table.a[bad[0]]:g} and "
                         f"{table.b[bad[0]]:g} of {table.names[bad[0]]}", "semi-axes above 0")
    e = (table.a - table.b) / (table.a + table.b)
    turn = 2.0 * np.radians(table.theta)
    return Catalogue.of(table.x, table.y, e * np.cos(turn), e * np.sin(turn), table.mag)


def members(par: Par) -> list[Members]:
    """The potfiles of a `.par`, whose catalogues lie beside it, at the values that it gives.

    Raises:
        InputError: A type other than 81, or numbers that are missing or out of their range.
    """
    return [_members(par, section) for section in par.named("potfile")]


def _members(par: Par, section: Section) -> Members:
    def numbers(key: str) -> tuple[float, ...]:
        row = section.row(key)
        if row is None:
            raise InputError(par.file, f"line {section.line}", f"{section.name} without {key}", f"{key} and numbers")
        return numbers_of(row, par.file, 1)

    kind = section.row("type")
    if kind is not None and int(numbers("type")[0]) != 81:
        raise InputError(par.file, f"line {kind.line}", f"type {' '.join(kind.values)} of {section.name}", "type 81")
    row = section.row("filein")
    if row is None:
        raise InputError(par.file, f"line {section.line}", f"{section.name} without filein", "filein and a file")
    kpc = Redshifts(numbers("zlens")[0], None, par.cosmology).kpc_lens
    values: dict[str, Any] = {
        "sigma": middle(numbers("sigma")),
        "core": numbers("corekpc")[-1] / kpc if section.row("corekpc") else numbers("core")[-1],
        "cut": middle(numbers("cutkpc")) / kpc if section.row("cutkpc") else middle(numbers("cut"))}
    for name, value in values.items():
        if value < 0.0:
            raise InputError(par.file, f"line {section.line}", f"{name} {value:g} of {section.name}", "not negative")
    table = read_potfile(par.file.parent / row.values[-1], par.reference)
    vdslope = numbers("vdslope")[1] if section.row("vdslope") else 4.0
    slope = numbers("slope")[1] if section.row("slope") else 4.0
    return Members(catalogue=catalogue_of(table), mag0=numbers("mag0")[0], sigma_exponent=1.0 / vdslope,
                   cut_exponent=2.0 / slope, **values)


def middle(numbers: Sequence[float]) -> float:
    """Value that a prior of LensTool stands about: that of 0, the middle of 1, the mean of 3."""
    if len(numbers) == 1:
        return numbers[0]
    return 0.5 * (numbers[1] + numbers[2]) if int(numbers[0]) == FREE and len(numbers) > 2 else numbers[1]


def system_names(names: Sequence[str]) -> list[str]:
    """The system of each image: what stands before the last point of its name, or before its last letter.

    >>> system_names(["105.1", "4.2", "7a"])
    ['105', '4', '7']
    """
    return [name.rpartition(".")[0] if "." in name else name.rstrip("abcdefghijklmnopqrstuvwxyz") for name in names]


def free_redshifts(par: Par) -> dict[str, tuple[float, ...]]:
    """What `z_m_limit` says of systems without a redshift: LensTool's kind of prior and its numbers, by system.

    Raises:
        InputError: A line of too few numbers.
    """
    out = {}
    for section in par.named("image"):
        for row in section.rows:
            if row.key == "z_m_limit":
                values = numbers_of(row, par.file, 5)
                out[f"{values[1]:g}"] = values[2:5]
    return out
