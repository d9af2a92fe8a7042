"""Profiles of Herculens 0.3: as lenstronomy's, but for the radius of a Sersic, which is on the major axis.

`radius_major_axis = False` of its Sersic puts it on the intermediate axis, where giga has it. b_n is linear. `DPIE` and
`PIEMD` are dual and single pseudo-isothermal masses by axis ratio and angle [rad], their radii those of Kassiola &
Kovner's ellipse; `theta_E` of them is the Einstein radius of the round one, unless `scale_flag = False`.

References:
    Galan et al. (2022), A&A 668, A155; the package's profiles.
    Suyu & Halkola (2010), A&A 524, A94 (`DPIE` and `PIEMD`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from giga.component import Component
from giga.io.errors import InputError
from giga.io.exchange.conventions import (
    axis_of_foci,
    axis_ratio,
    components,
    constant_of,
    linear,
    polar,
    reshaped,
    shapelet_order,
    within,
)
from giga.io.exchange.pairs import Pair, read, same, written
from giga.light.core_sersic import CoreSersic
from giga.light.gaussian import Gaussian
from giga.light.sersic import Sersic
from giga.light.shapelets import Shapelets
from giga.light.uniform_sky import UniformSky
from giga.mass.epl import EPL
from giga.mass.external import Shear
from giga.mass.nie import NIE
from giga.mass.pjaffe import PJaffeEllipse
from giga.mass.point_mass import PointMass
from giga.mass.sie import SIE
from giga.mass.sis import SIS

CODE = "Herculens"
CENTER = {"center_x": 0.0, "center_y": 0.0}
ELLIPSE = ("e1", "e2", "center_x", "center_y")
POLAR = ("q", "phi", "center_x", "center_y")
SMALLEST = 1e-8  # core that a smaller one is taken for [arcsec]
WIDEST = 60.0  # |ln| of an Einstein radius over the cut radius, up to which it is looked for
STEPS = 100  # halvings of that range, and of what is left of it: below rounding


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


def dual_strength(theta_E: Any, core: Any, cut: Any) -> Any:
    """E with deflection E (sqrt(r^2 + core^2) - core - sqrt(r^2 + cut^2) + cut) / r of the Einstein radius theta_E."""
    a, b = np.hypot(theta_E, core) + core, np.hypot(theta_E, cut) + cut
    # 1 / a - 1 / b with the difference of b and a factored, for radii far below theta_E
    return a * b / ((cut - core) * (1.0 + (cut + core) / (a - core + b - cut)))


def dual_radius(strength: Any, core: Any, cut: Any) -> Any:
    """Inverse of `dual_strength`, which rises with the radius; by halving."""
    low, high = (np.log(cut) + side * np.ones_like(strength * core) for side in (-WIDEST, WIDEST))
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        beyond = dual_strength(np.exp(middle), core, cut) < strength
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    return np.exp(0.5 * (low + high))


def _components(k: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(("e1", "e2"), components(k["q"], k["phi"]), strict=True)) \
        | {key: k[key] for key in ("center_x", "center_y")}


def _dual(scale_flag: bool) -> Pair:
    """Elliptical mass between two radii; which is the core is told by their size, as Herculens does."""
    def out(p: Any) -> dict[str, Any]:
        unit = axis_of_foci(p.e1, p.e2)
        core, cut = np.minimum(p.Ra, p.Rs) / unit, np.maximum(p.Ra, p.Rs) / unit
        if np.any(core == cut):
            raise InputError("", "Rs", f"got {p.Rs}, as Ra", "another radius than Ra, by whose difference "
                             "Herculens divides")
        strength = 2.0 * p.sigma0 * core * cut / (cut - core)
        if scale_flag and not np.all(p.sigma0 > 1.0):
            raise InputError("", "sigma0", f"got {p.sigma0}", "above 1, for there to be an Einstein radius, or "
                             "scale_flag=False")
        theta_E = dual_radius(strength, core, cut) if scale_flag else strength * (1.0 - (core / cut) ** 2)
        q, phi = polar(p.e1, p.e2)
        return {"theta_E": theta_E, "r_core": core, "r_trunc": cut, "q": q, "phi": within(phi),
                "center_x": p.center_x, "center_y": p.center_y}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields = _components(k)
        radii = np.maximum(k["r_core"], SMALLEST), k["r_trunc"]
        core, cut = np.minimum(*radii), np.maximum(*radii)
        unit = axis_of_foci(fields["e1"], fields["e2"])
        strength = dual_strength(k["theta_E"], core, cut) if scale_flag else k["theta_E"] / (1.0 - (core / cut) ** 2)
        return fields | {"sigma0": 0.5 * strength * (cut - core) / (core * cut), "Ra": unit * core, "Rs": unit * cut}

    return Pair("DPIE", PJaffeEllipse, ("theta_E", "r_core", "r_trunc", *POLAR), out, back, CENTER)


def _single(scale_flag: bool) -> Pair:
    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields, strength = _components(k), k["theta_E"]
        unit = axis_of_foci(fields["e1"], fields["e2"])
        if scale_flag:  # theta_E^2 / (sqrt(theta_E^2 + r_core^2) - r_core)
            strength = np.hypot(strength, k["r_core"]) + k["r_core"]
        return fields | {"theta_E": unit * strength, "s_scale": unit * k["r_core"]}

    return Pair("PIEMD", NIE, ("theta_E", "r_core", *POLAR), vars, back, CENTER, reads=True)


def pairs(radius_major_axis: bool = True, scale_flag: bool = True) -> tuple[Pair, ...]:
    """Profiles of both, by the names of Herculens's profile types.

    Args:
        radius_major_axis: As the Sersic profiles of Herculens were made.
        scale_flag: As the `DPIE` and `PIEMD` of Herculens were made.
    """
    return (
        same("EPL", EPL, "theta_E gamma e1 e2 center_x center_y", defaults=CENTER),
        same("SIE", SIE, "theta_E e1 e2 center_x center_y", defaults=CENTER),
        same("NIE", NIE, "theta_E r_core e1 e2 center_x center_y", {"r_core": "s_scale"}, defaults=CENTER),
        same("SIS", SIS, "theta_E center_x center_y", defaults=CENTER),
        same("POINT_MASS", PointMass, "theta_E center_x center_y", defaults=CENTER),
        Pair("SHEAR", Shear, ("gamma1", "gamma2", "ra_0", "dec_0"),
             lambda p: {"gamma1": p.gamma1, "gamma2": p.gamma2}, _shear, {"ra_0": 0.0, "dec_0": 0.0}),
        Pair("SHEAR_GAMMA_PSI", Shear, ("gamma_ext", "psi_ext", "ra_0", "dec_0"), vars,
             lambda k: _shear(k | {"gamma1": k["gamma_ext"] * np.cos(2.0 * k["psi_ext"]),
                                   "gamma2": k["gamma_ext"] * np.sin(2.0 * k["psi_ext"])}),
             {"ra_0": 0.0, "dec_0": 0.0}, reads=True),
        _dual(scale_flag),
        _single(scale_flag),
        _sersic("SERSIC_ELLIPSE", Sersic, radius_major_axis, {}),
        _sersic("CORE_SERSIC", CoreSersic, radius_major_axis,
                {"R_break": "Rb", "gamma_in": "gamma", "alpha": "alpha"}),
        same("GAUSSIAN", Gaussian, "amp sigma center_x center_y", defaults=CENTER, only={"e1": 0.0, "e2": 0.0}),
        same("GAUSSIAN_ELLIPSE", Gaussian, "amp sigma e1 e2 center_x center_y", defaults=CENTER),
        Pair("SHAPELETS", Shapelets, ("n_max", "beta", "center_x", "center_y", "amps"),
             lambda p: {"n_max": p.n_max, "beta": p.beta, "center_x": p.center_x, "center_y": p.center_y,
                        "amps": p.amp},
             lambda k: {key: k[key] for key in ("beta", "center_x", "center_y")}
             | {"amp": k["amps"], "n_max": shapelet_order(k["amps"], k["n_max"])}, CENTER | {"n_max": None}),
        same("UNIFORM", UniformSky, "amp"),
    )


def _shear(k: dict[str, Any]) -> dict[str, Any]:
    if np.any(k["ra_0"]) or np.any(k["dec_0"]):
        raise ValueError(f"got ra_0 = {k['ra_0']}, dec_0 = {k['dec_0']}; expected 0: giga's shear is about the origin")
    return {"gamma1": k["gamma1"], "gamma2": k["gamma2"]}


def to_herculens(profile: Component, radius_major_axis: bool = True, scale_flag: bool = True
                 ) -> tuple[str, dict[str, Any]]:
    """Type and parameters of a profile in Herculens; `n_max` of SHAPELETS is an argument of the class.

    Raises:
        InputError: As `giga.io.exchange.pairs.written`.
    """
    return written(pairs(radius_major_axis, scale_flag), CODE, profile, type(profile).__name__)


def from_herculens(name: str, values: Mapping[str, Any], radius_major_axis: bool = True, scale_flag: bool = True
                   ) -> Any:
    """A profile from one of Herculens. Raises InputError, as `giga.io.exchange.pairs.read`."""
    return read(pairs(radius_major_axis, scale_flag), CODE, name, values, name, ("amp", "amps"))
