"""The configuration that a user starts from, written with comments by what a first look found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from giga.component import Component
from giga.io.configuration.priors import GALAXY_SCALE, Expected, default
from giga.io.tables import inline
from giga.light.gaussian import MultiGaussian
from giga.light.sersic import Sersic
from giga.mass.epl import EPL
from giga.mass.external import Shear

SOFT = "0.4 of a sample [arcsec], which no cusp falls through"
CENTRE = ("center_x", "center_y")  # of a profile, tied together
Light = Literal["gaussians", "sersics"]


@dataclass(frozen=True)
class Start:
    """What a starting configuration is written from.

    Attributes:
        about: Lines for the head of the file.
        redshifts: Of lens and source, None where not known.
        observation: Lines of its observation: field, value as TOML, comment.
        expected: What was found of the lens.
        light: What the light of the lens is made of.
    """

    about: Sequence[str]
    redshifts: tuple[float | None, float | None]
    observation: Sequence[tuple[str, str, str]]
    expected: Expected
    light: Light = "gaussians"


def text_of(start: Start) -> str:
    """The configuration as TOML."""
    head = [f"# {line}" for line in start.about]
    parts = ["\n".join(head), "[run]\nseed = 1", _lens(start),
             "[[observation]]\n" + _lines(start.observation), *_mass(start), *_lens_light(start), _source(start)]
    return "\n\n".join(parts) + "\n"


def _lens(start: Start) -> str:
    """The redshifts, or where they would stand."""
    rows = [f"{name} = {value:g}" if value is not None else f"# {name} = "
            for name, value in zip(("z_lens", "z_source"), start.redshifts, strict=True)]
    head = "# Redshifts turn angles into kpc and solar masses; they may be added after the fit."
    return "\n".join([head, "[lens]", *rows])


def _mass(start: Start) -> list[str]:
    said = {"theta_E": "by the ring of lens.png; 68% within the factor", "gamma": "2 is isothermal",
            "center_x": "mass that may leave the light takes up what the source's profile misses"}
    return ["# The mass of the lens: a power law about the centre of the light, and an external shear.\n"
            + _profile(start, "mass", EPL, said, tied="lens_light.0"), _profile(start, "mass", Shear, {})]


def _lens_light(start: Start) -> list[str]:
    if start.light == "gaussians":
        said = {"profile": "fluxes are left out: they are solved, and not negative", "e1": "by the light",
                "center_x": "by its peak",
                "sigma_min": "widths from below a pixel ...", "sigma_max": "... to inside the ring"}
        further = {"sigma_max": "to the extent of the light", "center_x": "about the same centre"}
        return ["# The light of the lens: two multi-Gaussian expansions, whose profile is free. The outer one has an\n"
                "# ellipse of its own, as isophotes twist and flatten outwards.\n"
                + _profile(start, "lens_light", MultiGaussian, said, 0),
                _profile(start, "lens_light", MultiGaussian, further, 1, tied="lens_light.0")]
    said = {"profile": "amp is left out: it is solved", "R_sersic": "half-light radius [arcsec]", "softening": SOFT,
            "center_x": "by its peak"}
    compact, extended = (_profile(start, "lens_light", Sersic, said, part) for part in (0, 1))
    return ["# The light of the lens: a compact and an extended part.\n" + compact, extended]


def _source(start: Start) -> str:
    said = {"profile": "amp is left out: it is solved", "R_sersic": "half-light radius [arcsec]",
            "center_x": "in the source plane, about the lens", "softening": SOFT}
    return "# The source, behind the lens.\n" + _profile(start, "source_light", Sersic, said)


def _profile(start: Start, section: str, cls: type[Component], said: Mapping[str, str], part: int | None = None,
             tied: str = "") -> str:
    """A profile with the priors of the set, and comments by parameter; its centre may be that of another."""
    rows = [("profile", f'"{cls.__name__}"', said.get("profile", ""))]
    for field in dataclasses.fields(cls):  # pyright: ignore[reportArgumentType]
        value = default(GALAXY_SCALE, section, cls.__name__, field.name, lambda: start.expected, part)
        if tied and field.name in CENTRE:
            value = {"same_as": f"{tied}.{field.name}"}
        if value is not None:
            rows.append((field.name, inline(value), said.get(field.name, "")))
    return f"[[{section}]]\n" + _lines(rows)


def _lines(rows: Sequence[tuple[str, str, str]]) -> str:
    out = []
    for field, value, comment in rows:
        line = f"{field} = {value}" if field else value
        out.append(f"{line:<34}  # {comment}" if comment else line)
    return "\n".join(out)
