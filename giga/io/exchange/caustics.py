"""Profiles of caustics 1.7: axis ratio and angle, the slope t = gamma - 1, masses in suns, a Sersic on the major axis.

Angles are counter-clockwise from +x [rad]. `Rein` of SIE and EPL is on the intermediate axis, as giga's theta_E; the
core `s` of an SIE and `Re` of a Sersic are on the major axis. b_n is a series, or lenstronomy's with
`use_lenstronomy_k`. A brightness is integrated over the pixels' supersampling, not multiplied by their area: `Ie` is a
flux per pixel. `NFW`, `TNFW` and `PseudoJaffe` have a mass [Msun], whose deflection depends on the distances of lens
and source and, through the concentration, on the critical density: `Distances` has them as caustics computes them.

References:
    Stone et al. (2024), JOSS 9, 7081; the package's functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from giga.component import Component
from giga.io.errors import InputError
from giga.io.exchange.conventions import (
    UNIT,
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
from giga.light.pixel_image import PixelImage
from giga.light.sersic import Sersic
from giga.mass.epl import EPL
from giga.mass.external import Convergence, Shear
from giga.mass.nfw import NFW
from giga.mass.nie import NIE
from giga.mass.pjaffe import PJaffe
from giga.mass.point_mass import PointMass
from giga.mass.sie import SIE
from giga.mass.sis import SIS
from giga.mass.tnfw import TNFW

CODE = "caustics"
CORED = ", with s"  # of the SIE that has a core
CENTER = {"x0": "center_x", "y0": "center_y"}
ROUND = {"e1": 0.0, "e2": 0.0}
ARCSEC = np.pi / 648000.0  # [rad]
OVERDENSITY = 200.0  # of the mass of a halo, over the critical density
STEPS = 60  # of Newton's for a concentration; from 5 it takes ten


class Distances(NamedTuple):
    """What a mass in suns needs to bend light; of a cosmology of caustics, with redshifts of lens and source:

    `Distances(cosmo.angular_diameter_distance(z_l), cosmo.critical_density(z_l),
    cosmo.critical_surface_density(z_l, z_s))`.

    Attributes:
        d_l: Angular diameter distance of the lens [Mpc].
        critical_density: Of the universe at the lens [Msun / Mpc^3].
        critical_surface_density: Of lens and source [Msun / Mpc^2].
    """

    d_l: float
    critical_density: float
    critical_surface_density: float

    def surface(self) -> Any:
        """Mass of one square arcsecond of convergence one [Msun]."""
        return self.critical_surface_density * (self.d_l * ARCSEC) ** 2


def _ellipse(p: Any) -> dict[str, Any]:
    q, phi = polar(p.e1, p.e2)
    return {"x0": p.center_x, "y0": p.center_y, "q": q, "phi": within(phi, 0.5 * np.pi)}


def _components(k: dict[str, Any]) -> dict[str, Any]:
    return dict(zip(("e1", "e2"), components(k["q"], k["phi"]), strict=True)) | {"center_x": k["x0"],
                                                                               "center_y": k["y0"]}


def _enclosed(c: Any) -> Any:
    """Mass of an NFW halo within c scale radii, over 4 pi rho_s r_s^3."""
    return np.log1p(c) - c / (1.0 + c)


def concentration(density: Any) -> Any:
    """Concentration of a halo from its rho_s over the critical density, by Newton's steps in its logarithm."""
    log = np.log(5.0) * np.ones_like(density)
    for _ in range(STEPS):
        c = np.exp(log)
        m = _enclosed(c)
        log = log - np.log(OVERDENSITY / 3.0 * c**3 / m / density) / (3.0 - (c / (1.0 + c)) ** 2 / m)
    return np.exp(log)


def _halos(at: Distances | None, total_mass: bool) -> tuple[Pair, ...]:
    """NFW by mass and concentration, TNFW by mass and radii, pseudo-Jaffe by mass and radii: all round."""
    def given() -> Distances:
        if at is None:
            raise InputError("", "mass", "no distances", "at=Distances(...), for a mass in suns bends light by them")
        return at

    def halo(p: Any) -> tuple[Any, Any]:
        """Concentration, and mass within it [Msun]."""
        where, kappa_s = given(), p.alpha_Rs / (UNIT * p.Rs)
        Rs = p.Rs * where.d_l * ARCSEC
        c = concentration(kappa_s * where.critical_surface_density / Rs / where.critical_density)
        return c, 4.0 / 3.0 * np.pi * OVERDENSITY * where.critical_density * (c * Rs) ** 3

    def strength(c: Any, Rs: Any) -> Any:
        """alpha_Rs of a concentration and a scale radius [arcsec]."""
        where = given()
        rho_s = OVERDENSITY / 3.0 * where.critical_density * c**3 / _enclosed(c)
        return UNIT * rho_s * Rs * where.d_l * ARCSEC / where.critical_surface_density * Rs

    def radius(mass: Any) -> Any:
        """Radius within which the mean density is `OVERDENSITY` times the critical one [arcsec]."""
        where = given()
        return np.cbrt(3.0 * mass / (4.0 * np.pi * OVERDENSITY * where.critical_density)) / (where.d_l * ARCSEC)

    def share(tau: Any) -> Any:
        """Total mass of a truncated halo over 4 pi rho_s r_s^3."""
        return tau**2 / (tau**2 + 1.0) ** 2 * ((tau**2 - 1.0) * np.log(tau) + np.pi * tau - (tau**2 + 1.0))

    def nfw(p: Any) -> dict[str, Any]:
        c, mass = halo(p)
        return {"x0": p.center_x, "y0": p.center_y, "mass": mass, "c": c}

    def nfw_back(k: dict[str, Any]) -> dict[str, Any]:
        Rs = radius(k["mass"]) / k["c"]
        return {"Rs": Rs, "alpha_Rs": strength(k["c"], Rs), "center_x": k["x0"], "center_y": k["y0"]}

    def tnfw(p: Any) -> dict[str, Any]:
        tau, unit = p.r_trunc / p.Rs, 4.0 * np.pi * given().surface() / UNIT
        mass = unit * p.alpha_Rs * p.Rs * share(tau) if total_mass else halo(p)[1]
        return {"x0": p.center_x, "y0": p.center_y, "mass": mass, "Rs": p.Rs, "tau": tau}

    def tnfw_back(k: dict[str, Any]) -> dict[str, Any]:
        Rs, unit = k["Rs"], 4.0 * np.pi * given().surface() / UNIT
        alpha_Rs = k["mass"] / (unit * Rs * share(k["tau"])) if total_mass else strength(radius(k["mass"]) / Rs, Rs)
        return {"Rs": Rs, "alpha_Rs": alpha_Rs, "r_trunc": k["tau"] * Rs, "center_x": k["x0"], "center_y": k["y0"]}

    def jaffe(p: Any) -> dict[str, Any]:
        return {"x0": p.center_x, "y0": p.center_y, "mass": 2.0 * np.pi * p.sigma0 * p.Ra * p.Rs * given().surface(),
                "Rc": p.Ra, "Rs": p.Rs}

    def jaffe_back(k: dict[str, Any]) -> dict[str, Any]:
        return {"sigma0": k["mass"] / (2.0 * np.pi * k["Rc"] * k["Rs"] * given().surface()), "Ra": k["Rc"],
                "Rs": k["Rs"], "center_x": k["x0"], "center_y": k["y0"]}

    return (Pair("NFW", NFW, ("x0", "y0", "mass", "c"), nfw, nfw_back, {}, ROUND, "0: caustics' is round"),
            Pair("TNFW", TNFW, ("x0", "y0", "mass", "Rs", "tau"), tnfw, tnfw_back),
            Pair("PseudoJaffe", PJaffe, ("x0", "y0", "mass", "Rc", "Rs"), jaffe, jaffe_back, {}, ROUND,
                 "0: caustics' is round"))


def pairs(pixel_scale: float, use_lenstronomy_k: bool = False, at: Distances | None = None,
          total_mass: bool = True) -> tuple[Pair, ...]:
    """Profiles of both, by the names of caustics' classes.

    Args:
        pixel_scale: Side of a pixel [arcsec], for `Ie`.
        use_lenstronomy_k: As the Sersic of caustics was made.
        at: Distances, for profiles that have a mass.
        total_mass: As the TNFW of caustics was made, `interpret_m_total_mass`.
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
        *_halos(at, total_mass),
        Pair("Sersic", Sersic, (*shape, "n", "Re", "Ie"), sersic, sersic_back),
        Pair("Pixelated", PixelImage, ("image", "x0", "y0", "pixelscale", "scale"),
             lambda p: {"image": p.image, "x0": p.center_x, "y0": p.center_y, "pixelscale": p.scale,
                        "scale": None if p.amp is None else p.amp * area},
             lambda k: {"image": k["image"], "center_x": k["x0"], "center_y": k["y0"], "scale": k["pixelscale"],
                        "amp": None if k["scale"] is None else k["scale"] / area, "interpolation": "bilinear"},
             {"x0": 0.0, "y0": 0.0}, {"phi_G": 0.0}),
    )


def _shear(k: dict[str, Any]) -> dict[str, Any]:
    if np.any(k["x0"]) or np.any(k["y0"]):
        raise ValueError(f"got x0 = {k['x0']}, y0 = {k['y0']}; expected 0: giga's shear is about the origin")
    return {"gamma1": k["gamma_1"], "gamma2": k["gamma_2"]}


def to_caustics(profile: Component, pixel_scale: float, use_lenstronomy_k: bool = False, at: Distances | None = None,
                total_mass: bool = True) -> tuple[str, dict[str, Any]]:
    """Class and parameters of a profile in caustics; an NIE is its SIE with a core `s`. For the rest see `pairs`.

    Raises:
        InputError: As `giga.io.exchange.pairs.written`; a mass in suns without `at`.
    """
    known = pairs(pixel_scale, use_lenstronomy_k, at, total_mass)
    name, values = written(known, CODE, profile, type(profile).__name__)
    return name.removesuffix(CORED), values


def from_caustics(name: str, values: Mapping[str, Any], pixel_scale: float, use_lenstronomy_k: bool = False,
                  at: Distances | None = None, total_mass: bool = True) -> Any:
    """A profile from one of caustics. Raises InputError, as `giga.io.exchange.pairs.read`."""
    core = values.get("s")
    cored = CORED if name == "SIE" and core is not None and np.any(np.asarray(core) != 0.0) else ""
    known = pairs(pixel_scale, use_lenstronomy_k, at, total_mass)
    return read(known, CODE, f"{name}{cored}", values, name, ("Ie", "scale"))
