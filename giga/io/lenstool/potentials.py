"""Potentials of a `.par` as masses of giga.

Angles are counter-clockwise from +x. LensTool's `ellipticite` of type 81 is (a^2 - b^2) / (a^2 + b^2) of the mass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.io.lenstool.par import Par, Section, numbers_of
from giga.mass.base import MassProfile
from giga.mass.external import Shear
from giga.mass.members import DPIE, SCALE, Halos
from giga.mass.nfw import NFW
from giga.mass.pjaffe import PJaffe

TYPES = {1: "isothermal, elliptical in the potential", 12: "NFW, elliptical in the potential", 14: "external shear",
         81: "dual pseudo-isothermal"}
"""Types of potentials that are known, by LensTool's number."""
POINTLIKE, ENDLESS = 1e-5, 1e7  # core and cut of type 1, which has none [arcsec]
CORELESS = 1e-9  # what a core radius of 0 is taken as [arcsec]
ISOTHERMAL = 1.0 / 3.0  # ellipticity of the potential of type 1 over that in the file, LensTool's rule


class Potential:
    """A section potentiel in the units of giga: numbers are checked as they are read.

    Attributes:
        label: Its name.
        kind: Its type.
        line: Of its type.
    """

    def __init__(self, par: Par, section: Section):
        self.label, self._file, self._section, self._par = section.label, par.file, section, par
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
        return value / self._par.kpc(self.z_lens) if row.key.endswith("_kpc") else value

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
        if sigma < 0.0:
            row = self._section.row("v_disp")
            raise InputError(self._file, f"line {self._section.line if row is None else row.line}",
                             f"v_disp {sigma:g} of potentiel {self.label}", "a dispersion that is not negative")
        b0 = SCALE * sigma**2
        if self.kind == 81:
            e1, e2 = self.shape()
            core, cut = self.radius("core_radius") or CORELESS, self.radius("cut_radius")
            if not cut > core:
                raise InputError(self._file, f"line {self._section.line}", f"cut radius {cut:g} and core radius "
                                 f"{core:g} arcsec of potentiel {self.label}", "a cut radius above the core radius")
            return DPIE(sigma=sigma, core=core, cut=cut, e1=e1, e2=e2, **place)
        if self.kind == 12:
            e1, e2 = self.shape()
            return NFW(Rs=self.radius("scale_radius") if self.has("scale_radius") else self.radius("core_radius"),
                       alpha_Rs=b0 * (1.0 - math.log(2.0)), e1=e1, e2=e2, **place)
        e1, e2 = self.shape(ISOTHERMAL)
        return PJaffe(sigma0=b0 / 3.0 / POINTLIKE, Ra=POINTLIKE, Rs=ENDLESS, e1=e1, e2=e2, **place)

    def has(self, key: str) -> bool:
        """Whether there is a row of a key, or of the same in kpc."""
        return self._section.row(key) is not None or self._section.row(f"{key}_kpc") is not None


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
    return together(every)


def together(several: Sequence[Potential]) -> list[MassProfile]:
    """Potentials as masses for D_ls / D_s = 1; all of type 81 are one. Raises InputError."""
    made: list[Any] = [one.profile() for one in several]
    dual = [one for one in made if isinstance(one, DPIE)]
    out = [one for one in made if not isinstance(one, DPIE)]
    if dual:
        names = ("sigma", "core", "cut", "e1", "e2", "center_x", "center_y")
        columns: dict[str, Any] = {name: np.array([getattr(one, name) for one in dual]) for name in names}
        out.insert(0, Halos(each=DPIE(**columns)))
    return out
