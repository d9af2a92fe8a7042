"""Profiles of PyAutoLens: (y, x) pairs, radii of mass on the major axis and rescaled, fluxes per pixel.

`ell_comps` are (e2, e1) of giga and `centre` is (y, x). A power law is
kappa = (3 - slope) / (1 + q) (einstein_radius / xi)^(slope - 1) with xi^2 = x^2 + y^2 / q^2, so that giga's theta_E is
sqrt(q) (2 / (1 + q))^(1 / (slope - 1)) einstein_radius; a core adds core_radius^2 to xi^2. A Sersic has its radius on
the intermediate axis, b_n by a series, and an `intensity` per pixel, whatever their area. A shear has giga's signs.

References:
    Nightingale et al. (2021), JOSS 6, 2825; profiles of PyAutoGalaxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from giga.component import Component
from giga.io.exchange.conventions import axis_ratio, constant_of, exact, polar, reshaped, series
from giga.io.exchange.pairs import Pair, read, same, written
from giga.light.sersic import Sersic
from giga.mass.epl import EPL
from giga.mass.external import Convergence, Shear
from giga.mass.nfw import NFW
from giga.mass.nie import NIE
from giga.mass.point_mass import PointMass
from giga.mass.sie import SIE
from giga.mass.sis import SIS
from giga.mass.spemd import SPEMD

CODE = "PyAutoLens"
ORIGIN = {"centre": np.zeros(2)}
SHAPE = {"centre": np.zeros(2), "ell_comps": np.zeros(2)}
UNIT = 4.0 * (1.0 - np.log(2.0))  # deflection of an NFW halo at its scale radius, in kappa_s scale_radius


def _pair(y: Any, x: Any) -> Any:
    return np.stack(np.broadcast_arrays(y, x), axis=-1)


def _shape(p: Any) -> dict[str, Any]:
    return {"centre": _pair(p.center_y, p.center_x)} | ({"ell_comps": _pair(p.e2, p.e1)} if "e1" in vars(p) else {})


def _fields(k: dict[str, Any]) -> dict[str, Any]:
    out = {}
    for key, names in (("centre", ("center_y", "center_x")), ("ell_comps", ("e2", "e1"))):
        if key in k:
            if np.shape(k[key])[-1:] != (2,):
                raise ValueError(f"{key} of shape {np.shape(k[key])}; expected a pair (y, x)")
            out |= {name: np.asarray(k[key])[..., j] for j, name in enumerate(names)}
    if "e1" in out and not np.all(np.hypot(out["e1"], out["e2"]) < 1.0):
        raise ValueError(f"ell_comps of modulus {np.max(np.hypot(out['e1'], out['e2'])):g}; expected below 1")
    return out


def einstein_radius(theta_E: Any, q: Any, slope: Any) -> Any:
    """PyAutoLens's `einstein_radius` of giga's theta_E [arcsec]."""
    return theta_E / _rescaled(q, slope)


def _rescaled(q: Any, slope: Any) -> Any:
    return np.sqrt(q) * (2.0 / (1.0 + q)) ** (1.0 / (slope - 1.0))


def _power_law(name: str, profile: type[Component], round_one: bool, sloped: bool, cored: bool,
               **more: Any) -> Pair:
    extra = {"slope": "gamma"} if sloped else {}
    there = ("centre", *(() if round_one else ("ell_comps",)), "einstein_radius", *extra,
             *(("core_radius",) if cored else ()))

    def out(p: Any) -> dict[str, Any]:
        q, slope = 1.0 if round_one or "e1" not in vars(p) else axis_ratio(p), p.gamma if sloped else 2.0
        found = {key: value for key, value in _shape(p).items() if key in there}
        found |= {"einstein_radius": einstein_radius(p.theta_E, q, slope)}
        return found | {key: getattr(p, name) for key, name in extra.items()} \
            | ({"core_radius": p.s_scale / np.sqrt(q)} if cored else {})

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields = _fields(k)
        q = polar(fields["e1"], fields["e2"])[0] if "e1" in fields else 1.0
        fields |= {"theta_E": k["einstein_radius"] * _rescaled(q, k["slope"] if sloped else 2.0)}
        fields |= {name: k[key] for key, name in extra.items()}
        return fields | ({"s_scale": k["core_radius"] * np.sqrt(q)} if cored else {})

    return Pair(name, profile, there, out, back, {key: value for key, value in SHAPE.items() if key in there}, **more)


def pairs(pixel_scale: float) -> tuple[Pair, ...]:
    """Profiles of both, by the names of PyAutoLens's classes.

    Args:
        pixel_scale: Side of a pixel [arcsec], for `intensity`.
    """
    area, flat = pixel_scale**2, {"e1": 0.0, "e2": 0.0}

    def sersic(p: Any) -> dict[str, Any]:
        amp, radius = reshaped(p.amp, p.R_sersic, p.n_sersic, constant_of(p), series(p.n_sersic))
        return _shape(p) | {"intensity": None if amp is None else amp * area, "effective_radius": radius,
                            "sersic_index": p.n_sersic}

    def sersic_back(k: dict[str, Any]) -> dict[str, Any]:
        n, amp = k["sersic_index"], k["intensity"]
        amp, radius = reshaped(None if amp is None else amp / area, k["effective_radius"], n, series(n),
                               exact(n))
        return _fields(k) | {"amp": amp, "R_sersic": radius, "n_sersic": n}

    light = ("intensity", "effective_radius", "sersic_index")
    return (
        _power_law("Isothermal", SIE, False, False, False),
        _power_law("IsothermalSph", SIS, True, False, False),
        _power_law("PowerLaw", EPL, False, True, False),
        _power_law("PowerLawSph", EPL, True, True, False, reads=True),
        _power_law("IsothermalCore", NIE, False, False, True),
        _power_law("IsothermalCoreSph", NIE, True, False, True, reads=True),
        _power_law("PowerLawCore", SPEMD, False, True, True),
        _power_law("PowerLawCoreSph", SPEMD, True, True, True, reads=True),
        _power_law("PointMass", PointMass, True, False, False),
        Pair("NFWSph", NFW, ("centre", "kappa_s", "scale_radius"),
             lambda p: {"centre": _shape(p)["centre"], "kappa_s": p.alpha_Rs / (UNIT * p.Rs), "scale_radius": p.Rs},
             lambda k: _fields(k) | {"Rs": k["scale_radius"], "alpha_Rs": UNIT * k["kappa_s"] * k["scale_radius"]},
             ORIGIN, flat, "0: giga's is elliptical in the potential"),
        same("ExternalShear", Shear, "gamma_1 gamma_2", {"gamma_1": "gamma1", "gamma_2": "gamma2"}),
        Pair("MassSheet", Convergence, ("centre", "kappa"),
             lambda p: {"centre": _pair(p.dec_0, p.ra_0), "kappa": p.kappa},
             lambda k: {"kappa": k["kappa"], "dec_0": _fields(k)["center_y"], "ra_0": _fields(k)["center_x"]}, ORIGIN),
        Pair("Sersic", Sersic, ("centre", "ell_comps", *light), sersic, sersic_back, SHAPE),
        Pair("SersicSph", Sersic, ("centre", *light), sersic, sersic_back, ORIGIN, reads=True),
    )


def to_pyautolens(profile: Component, pixel_scale: float) -> tuple[str, dict[str, Any]]:
    """Class and parameters of a profile in PyAutoLens. Raises InputError, as `giga.io.exchange.pairs.written`."""
    return written(pairs(pixel_scale), CODE, profile, type(profile).__name__)


def from_pyautolens(name: str, values: Mapping[str, Any], pixel_scale: float) -> Any:
    """A profile from one of PyAutoLens. Raises InputError, as `giga.io.exchange.pairs.read`."""
    return read(pairs(pixel_scale), CODE, name, values, name, ("intensity",))
