"""Profiles of caustics 1.7: axis ratio and angle, the slope t = gamma - 1, and a Sersic on the major axis.

Angles are counter-clockwise from +x [rad]. `Rein` of SIE and EPL is on the intermediate axis, as giga's theta_E; the
core `s` of an SIE and `Re` of a Sersic are on the major axis. b_n is a series, or lenstronomy's with
`use_lenstronomy_k`. A brightness is integrated over the pixels' supersampling, not multiplied by their area: `Ie` is a
flux per pixel.

References:
    Stone et al. (2024), JOSS 9, 7081; the package's functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from giga.component import Component
from giga.io.exchange.conventions import (
    axis_ratio,
    components,
    constant_of,
    exact,
    linear,
    polar,
    reshaped,
    series,
    within,
)
from giga.io.exchange.pairs import Pair, read, same, written
from giga.light.sersic import Sersic
from giga.mass.epl import EPL
from giga.mass.external import Convergence, Shear
from giga.mass.nie import NIE
from giga.mass.point_mass import PointMass
from giga.mass.sie import SIE
from giga.mass.sis import SIS

CODE = "caustics"
CORED = ", with s"  # of the SIE that has a core
CENTER = {"x0": "center_x", "y0": "center_y"}


def _ellipse(p: Any) -> dict[str, Any]:
    q, phi = polar(p.e1, p.e2)
    return {"x0": p.center_x, "y0": p.center_y, "q": q, "phi": within(phi, 0.5 * np.pi)}


def _components(k: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(("e1", "e2"), components(k["q"], k["phi"]), strict=True)) | {"center_x": k["x0"],
                                                                               "center_y": k["y0"]}


def pairs(pixel_scale: float, use_lenstronomy_k: bool = False) -> tuple[Pair, ...]:
    """Profiles of both, by the names of caustics' classes.

    Args:
        pixel_scale: Side of a pixel [arcsec], for `Ie`.
        use_lenstronomy_k: As the Sersic of caustics was made.
    """
    constant, area = linear if use_lenstronomy_k else series, pixel_scale**2
    shape = ("x0", "y0", "q", "phi")

    def sersic(p: Any) -> dict[str, Any]:
        amp, radius = reshaped(p.amp, p.R_sersic, p.n_sersic, constant_of(p), constant(p.n_sersic))
        return _ellipse(p) | {"n": p.n_sersic, "Re": radius / np.sqrt(axis_ratio(p)),
                              "Ie": None if amp is None else amp * area}

    def sersic_back(k: dict[str, Any]) -> dict[str, Any]:
        kind, wanted = ("linear", linear(k["n"])) if use_lenstronomy_k else ("exact", exact(k["n"]))
        amp, radius = reshaped(None if k["Ie"] is None else k["Ie"] / area, k["Re"] * np.sqrt(k["q"]), k["n"],
                               constant(k["n"]), wanted)
        return _components(k) | {"amp": amp, "R_sersic": radius, "n_sersic": k["n"], "b_n": kind}

    return (
        Pair("SIE", SIE, (*shape, "Rein", "s"), lambda p: _ellipse(p) | {"Rein": p.theta_E},
             lambda k: _components(k) | {"theta_E": k["Rein"]}, {"s": 0.0}),
        Pair(f"SIE{CORED}", NIE, (*shape, "Rein", "s"),
             lambda p: _ellipse(p) | {"Rein": p.theta_E, "s": p.s_scale / np.sqrt(axis_ratio(p))},
             lambda k: _components(k) | {"theta_E": k["Rein"], "s_scale": k["s"] * np.sqrt(k["q"])}),
        Pair("EPL", EPL, (*shape, "Rein", "t"), lambda p: _ellipse(p) | {"Rein": p.theta_E, "t": p.gamma - 1.0},
             lambda k: _components(k) | {"theta_E": k["Rein"], "gamma": k["t"] + 1.0}),
        same("SIS", SIS, "x0 y0 Rein", CENTER | {"Rein": "theta_E"}),
        same("Point", PointMass, "x0 y0 Rein", CENTER | {"Rein": "theta_E"}),
        same("MassSheet", Convergence, "x0 y0 kappa", {"x0": "ra_0", "y0": "dec_0"}),
        Pair("ExternalShear", Shear, ("x0", "y0", "gamma_1", "gamma_2"),
             lambda p: {"x0": 0.0, "y0": 0.0, "gamma_1": p.gamma1, "gamma_2": p.gamma2}, _shear,
             {"x0": 0.0, "y0": 0.0}),
        Pair("Sersic", Sersic, (*shape, "n", "Re", "Ie"), sersic, sersic_back),
    )


def _shear(k: dict[str, Any]) -> dict[str, Any]:
    if np.any(k["x0"]) or np.any(k["y0"]):
        raise ValueError(f"got x0 = {k['x0']}, y0 = {k['y0']}; expected 0: giga's shear is about the origin")
    return {"gamma1": k["gamma_1"], "gamma2": k["gamma_2"]}


def to_caustics(profile: Component, pixel_scale: float, use_lenstronomy_k: bool = False) -> tuple[str, dict[str, Any]]:
    """Class and parameters of a profile in caustics; an NIE is its SIE with a core `s`.

    Raises:
        InputError: As `giga.io.exchange.pairs.written`.
    """
    name, values = written(pairs(pixel_scale, use_lenstronomy_k), CODE, profile, type(profile).__name__)
    return name.removesuffix(CORED), values


def from_caustics(name: str, values: Mapping[str, Any], pixel_scale: float, use_lenstronomy_k: bool = False) -> Any:
    """A profile from one of caustics. Raises InputError, as `giga.io.exchange.pairs.read`."""
    cored = CORED if name == "SIE" and values.get("s") else ""
    return read(pairs(pixel_scale, use_lenstronomy_k), CODE, f"{name}{cored}", values, name, ("Ie",))
