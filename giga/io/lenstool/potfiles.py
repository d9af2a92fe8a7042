"""Potfiles of a `.par`: member galaxies on a scaling relation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from giga.io.errors import InputError
from giga.io.lenstool.catalogues import catalogue_of, check_brightness, read_potfile
from giga.io.lenstool.par import Par, Row, Section, middle, numbers_of
from giga.io.lenstool.potentials import CORELESS
from giga.mass.members import NO_MAGNITUDE, Members

SCALES = ("sigma", "core", "cut")  # of a member of magnitude mag0
EXPONENTS: dict[str, tuple[str, Callable[[float], float]]] = {
    "sigma_exponent": ("vdslope", lambda slope: 1.0 / slope), "cut_exponent": ("slope", lambda slope: 2.0 / slope)}
"""LensTool's row of each exponent of `Members`, and the exponent of its number, which is 4 where there is none."""
USUAL = 4.0
SCATTERS = {"scatter": ("vdscatter", "sigma"), "cut_scatter": ("rcutscatter", "cut")}
"""LensTool's row of each scatter of `Members`, in km / s and arcsec or kpc, and the number that it is added to."""


class Potfile:
    """A section potfile, checked.

    Attributes:
        z_lens: Redshift of the members.
        mag0: Magnitude at which the relation is anchored.
        catalogue: Path of the catalogue.
        name: Of the section.
    """

    def __init__(self, par: Par, section: Section):
        self._par, self._section, self.name = par, section, section.name
        kind = section.row("type")
        if kind is not None and int(numbers_of(kind, par.file, 1)[0]) != 81:
            raise InputError(par.file, f"line {kind.line}", f"type {' '.join(kind.values)} of {self.name}", "type 81")
        self.z_lens = numbers_of(self._row("zlens"), par.file, 1)[0]
        mag0 = self._row("mag0")
        self.mag0 = numbers_of(mag0, par.file, 1)[-1]
        if not abs(self.mag0) < NO_MAGNITUDE:
            raise InputError(par.file, f"line {mag0.line}", f"mag0 {self.mag0:g} of {self.name}",
                             f"a magnitude between {-NO_MAGNITUDE:g} and {NO_MAGNITUDE:g}")
        self.catalogue = par.file.parent / self._row("filein").values[-1]

    def scale(self, name: str) -> tuple[Row, float]:
        """The row of one of `SCALES`, and what its numbers are over in km / s or arcsec. Raises InputError."""
        row = self._row(f"{name}kpc", name)
        return row, self._par.kpc(self.z_lens) if row.key.endswith("kpc") else 1.0

    def slope(self, name: str) -> Row | None:
        """The row of one of `EXPONENTS`."""
        return self._section.row(EXPONENTS[name][0])

    def scatter(self, name: str) -> Row | None:
        """The row of one of `SCATTERS`, where members have one: its kind is not 0."""
        row = self._section.row(SCATTERS[name][0])
        return row if row is not None and int(numbers_of(row, self._par.file, 1)[0]) else None

    def members(self) -> Members:
        """The members at the values that the file gives, on their relation even with a scatter. Raises InputError."""
        values: dict[str, Any] = {}
        for name in SCALES:
            row, unit = self.scale(name)
            values[name] = middle(numbers_of(row, self._par.file, 1)) / unit
            if values[name] < 0.0:
                raise InputError(self._par.file, f"line {row.line}", f"{row.key} {' '.join(row.values)}",
                                 "a number that is not negative")
        values["core"] = values["core"] or CORELESS
        for name, (_, of) in EXPONENTS.items():
            row = self.slope(name)
            values[name] = of(USUAL if row is None else middle(numbers_of(row, self._par.file, 1)))
        catalogue = catalogue_of(read_potfile(self.catalogue, self._par.reference))
        check_brightness(catalogue, self.mag0, self.catalogue, f"{self.name}.mag0")
        return Members(catalogue=catalogue, mag0=self.mag0, **values)

    def _row(self, *keys: str) -> Row:
        """The first row that there is of some keys. Raises InputError."""
        found = next((row for key in keys if (row := self._section.row(key)) is not None), None)
        if found is None:
            raise InputError(self._par.file, f"line {self._section.line}", f"{self.name} without {' or '.join(keys)}",
                             f"{keys[0]} and what belongs to it")
        return found


def potfiles(par: Par) -> list[Potfile]:
    """Every potfile of a `.par`. Raises InputError for a type other than 81, or what is missing."""
    return [Potfile(par, section) for section in par.named("potfile")]


def members(par: Par) -> list[Members]:
    """The potfiles of a `.par`, whose catalogues lie beside it, at the values that it gives. Raises InputError."""
    return [one.members() for one in potfiles(par)]
