"""Profiles of Herculens 0.3: as lenstronomy's, but for the radius of a Sersic, which is on the major axis.

`radius_major_axis = False` of its Sersic puts it on the intermediate axis, where giga has it. b_n is linear.

References:
    Galan et al. (2022), A&A 668, A155; the package's profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from giga.component import Component
from giga.io.exchange.conventions import axis_ratio, constant_of, linear, polar, reshaped
from giga.io.exchange.pairs import Pair, read, same, written
from giga.light.core_sersic import CoreSersic
from giga.light.gaussian import Gaussian
from giga.light.sersic import Sersic
from giga.light.uniform_sky import UniformSky
from giga.mass.epl import EPL
from giga.mass.external import Shear
from giga.mass.nie import NIE
from giga.mass.point_mass import PointMass
from giga.mass.sie import SIE
from giga.mass.sis import SIS

CODE = "Herculens"
CENTER = {"center_x": 0.0, "center_y": 0.0}
ELLIPSE = ("e1", "e2", "center_x", "center_y")


def _sersic(name: str, profile: type[Component], major: bool, renamed: Mapping[str, str]) -> Pair:
    """Lengths across the ellipse go with sqrt(q), all of them; of a core-Sersic the break radius too."""
    here = {key: key for key in ("amp", "R_sersic", "n_sersic", *ELLIPSE)} | dict(renamed)
    lengths = [key for key in here if key in ("R_sersic", "R_break")]

    def out(p: Any) -> dict[str, Any]:
        amp, radius = reshaped(p.amp, p.R_sersic, p.n_sersic, constant_of(p), linear(p.n_sersic))
        found = {key: getattr(p, name) for key, name in here.items()} | {"amp": amp, "R_sersic": radius}
        factor = np.sqrt(axis_ratio(p)) if major else 1.0
        return found | {key: found[key] / factor for key in lengths}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        factor = np.sqrt(polar(k["e1"], k["e2"])[0]) if major else 1.0
        return {name: k[key] * factor if key in lengths else k[key] for key, name in here.items()} | {"b_n": "linear"}

    defaults = CENTER | ({"alpha": 3.0} if "alpha" in here else {})
    return Pair(name, profile, tuple(here), out, back, defaults)


def pairs(radius_major_axis: bool = True) -> tuple[Pair, ...]:
    """Profiles of both, by the names of Herculens's profile types.

    Args:
        radius_major_axis: As the Sersic profiles of Herculens were made.
    """
    return (
        same("EPL", EPL, "theta_E gamma e1 e2 center_x center_y", defaults=CENTER),
        same("SIE", SIE, "theta_E e1 e2 center_x center_y", defaults=CENTER),
        same("NIE", NIE, "theta_E r_core e1 e2 center_x center_y", {"r_core": "s_scale"}, defaults=CENTER),
        same("SIS", SIS, "theta_E center_x center_y", defaults=CENTER),
        same("POINT_MASS", PointMass, "theta_E center_x center_y", defaults=CENTER),
        Pair("SHEAR", Shear, ("gamma1", "gamma2", "ra_0", "dec_0"),
             lambda p: {"gamma1": p.gamma1, "gamma2": p.gamma2}, _shear, {"ra_0": 0.0, "dec_0": 0.0}),
        _sersic("SERSIC_ELLIPSE", Sersic, radius_major_axis, {}),
        _sersic("CORE_SERSIC", CoreSersic, radius_major_axis,
                {"R_break": "Rb", "gamma_in": "gamma", "alpha": "alpha"}),
        same("GAUSSIAN", Gaussian, "amp sigma center_x center_y", defaults=CENTER, only={"e1": 0.0, "e2": 0.0}),
        same("GAUSSIAN_ELLIPSE", Gaussian, "amp sigma e1 e2 center_x center_y", defaults=CENTER),
        same("UNIFORM", UniformSky, "amp"),
    )


def _shear(k: dict[str, Any]) -> dict[str, Any]:
    if np.any(k["ra_0"]) or np.any(k["dec_0"]):
        raise ValueError(f"got ra_0 = {k['ra_0']}, dec_0 = {k['dec_0']}; expected 0: giga's shear is about the origin")
    return {"gamma1": k["gamma1"], "gamma2": k["gamma2"]}


def to_herculens(profile: Component, radius_major_axis: bool = True) -> tuple[str, dict[str, Any]]:
    """Type and parameters of a profile in Herculens. Raises InputError, as `giga.io.exchange.pairs.written`."""
    return written(pairs(radius_major_axis), CODE, profile, type(profile).__name__)


def from_herculens(name: str, values: Mapping[str, Any], radius_major_axis: bool = True) -> Any:
    """A profile from one of Herculens. Raises InputError, as `giga.io.exchange.pairs.read`."""
    return read(pairs(radius_major_axis), CODE, name, values, name)
