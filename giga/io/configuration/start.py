"""The configuration that a user starts from, written with comments by what a first look found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Light = Literal["gaussians", "sersics"]


@dataclass(frozen=True)
class Start:
    """What a starting configuration is written from. Angles are in arcsec, those of the scene.

    Attributes:
        about: Lines for the head of the file.
        redshifts: Of lens and source, None where not known.
        observation: Lines of its observation: field, value as TOML, comment.
        center_x, center_y: Centre of the lens.
        e1, e2: Ellipticity of its light.
        half_light: Half-light radius of its light.
        theta_E: Einstein radius.
        factor: To either side of it, that holds 68% of its prior.
        pixel_scale: Side of a pixel.
        extent: Radius of the circle that is fitted.
        light: What the light of the lens is made of.
    """

    about: Sequence[str]
    redshifts: tuple[float | None, float | None]
    observation: Sequence[tuple[str, str, str]]
    center_x: float
    center_y: float
    e1: float
    e2: float
    half_light: float
    theta_E: float
    factor: float
    pixel_scale: float
    extent: float
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


def quoted(text: str) -> str:
    """A string in TOML."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _mass(start: Start) -> list[str]:
    factor = f"{start.factor:.3g}"
    return ["# The mass of the lens: a power law and an external shear.\n[[mass]]\n" + _lines([
        ("profile", '"EPL"', ""),
        ("theta_E", _log_normal(start.theta_E, factor), "by the ring of lens.png; 68% within the factor"),
        ("gamma", '{dist = "TruncatedNormal", loc = 2.0, scale = 0.2, low = 1.2, high = 2.8}', "2 is isothermal"),
        ("e1", _normal(0.0, 0.15), ""), ("e2", _normal(0.0, 0.15), ""),
        ("center_x", _normal(start.center_x, _near(start)), "by the peak of the light"),
        ("center_y", _normal(start.center_y, _near(start)), "")]),
        "[[mass]]\n" + _lines([("profile", '"Shear"', ""), ("gamma1", _normal(0.0, 0.05), ""),
                               ("gamma2", _normal(0.0, 0.05), "")])]


def _lens_light(start: Start) -> list[str]:
    centre = [("center_x", _normal(start.center_x, _near(start)), ""),
              ("center_y", _normal(start.center_y, _near(start)), "")]
    if start.light == "gaussians":
        rows = [("profile", '"MultiGaussian"', "fluxes are left out: they are solved, and not negative"),
                ("n_gaussians", "20", ""),
                ("sigma_min", f"{0.3 * start.pixel_scale:.3g}", "widths from below a pixel ..."),
                ("sigma_max", f"{max(start.extent, 2.0 * start.half_light):.3g}", "... to the extent of the light"),
                ("e1", _normal(start.e1, 0.1), "by the light"), ("e2", _normal(start.e2, 0.1), "")]
        return ["# The light of the lens: a multi-Gaussian expansion, whose profile is free.\n[[lens_light]]\n"
                + _lines([*rows, *centre])]
    parts = []
    for radius, index in ((0.5 * start.half_light, 3.0), (2.0 * start.half_light, 1.5)):
        rows = [("profile", '"Sersic"', "amp is left out: it is solved"),
                ("R_sersic", _log_normal(max(radius, start.pixel_scale), "1.7"), "half-light radius [arcsec]"),
                ("n_sersic", _log_normal(index, "1.6"), ""),
                ("e1", _normal(start.e1, 0.1), ""), ("e2", _normal(start.e2, 0.1), "")]
        parts.append("[[lens_light]]\n" + _lines([*rows, *centre]))
    return ["# The light of the lens: a compact and an extended part.\n" + parts[0], parts[1]]


def _source(start: Start) -> str:
    size = max(0.12 * start.theta_E, 0.5 * start.pixel_scale)
    place = 0.25 * start.theta_E
    return "# The source, behind the lens.\n[[source_light]]\n" + _lines([
        ("profile", '"Sersic"', "amp is left out: it is solved"),
        ("R_sersic", _log_normal(size, "1.8"), "half-light radius [arcsec]"),
        ("n_sersic", _log_normal(1.5, "1.5"), ""),
        ("e1", _normal(0.0, 0.2), ""), ("e2", _normal(0.0, 0.2), ""),
        ("center_x", _normal(start.center_x, place), "in the source plane, about the lens"),
        ("center_y", _normal(start.center_y, place), "")])


def _near(start: Start) -> float:
    """How near mass and light are to the peak of the light [arcsec]."""
    return max(0.05, 0.5 * start.pixel_scale)


def _normal(loc: float, scale: float) -> str:
    return f'{{dist = "Normal", loc = {_short(loc)}, scale = {scale:.3g}}}'


def _log_normal(median: float, factor: str) -> str:
    return f'{{dist = "LogNormal", median = {median:.3g}, factor = {factor}}}'


def _short(value: float) -> str:
    return f"{round(value, 3) + 0.0:g}"


def _lines(rows: Sequence[tuple[str, str, str]]) -> str:
    out = []
    for field, value, comment in rows:
        line = f"{field} = {value}" if field else value
        out.append(f"{line:<34}  # {comment}" if comment else line)
    return "\n".join(out)
