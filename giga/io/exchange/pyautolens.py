"""Profiles of PyAutoLens: (y, x) pairs, radii of mass on the major axis and rescaled, fluxes per pixel.

`ell_comps` are (e2, e1) of giga and `centre` is (y, x). A power law is
kappa = (3 - slope) / (1 + q) (einstein_radius / xi)^(slope - 1) with xi^2 = x^2 + y^2 / q^2, so that giga's theta_E is
sqrt(q) (2 / (1 + q))^(1 / (slope - 1)) einstein_radius; a core adds core_radius^2 to xi^2, and a halo's `scale_radius`
is in xi. A Sersic has its radius on the intermediate axis, b_n by a series, and an `intensity` per pixel, whatever
their area; `sigma` of a Gaussian and `alpha` of a Moffat are on the minor axis. Of mass, an intensity times
`mass_to_light_ratio` is a convergence. A shear has giga's signs.

References:
    Nightingale et al. (2021), JOSS 6, 2825; profiles of PyAutoGalaxy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import hyp2f1

from giga.component import Component
from giga.io.errors import InputError
from giga.io.exchange.conventions import (
    UNIT,
    axis_of_foci,
    axis_ratio,
    components,
    constant_of,
    exact,
    from_squares,
    linear,
    of_squares,
    polar,
    reshaped,
    series,
    with_modulus,
    within,
)
from giga.io.exchange.pairs import Pair, read, same, written
from giga.light.core_sersic import CoreSersic
from giga.light.gaussian import Gaussian
from giga.light.moffat import Moffat
from giga.light.sersic import Sersic
from giga.light.shapelets import Shapelets
from giga.mass.epl import EPL
from giga.mass.external import Convergence, Flexion, Shear
from giga.mass.gaussian import Gaussian as GaussianMass
from giga.mass.gnfw import GNFW
from giga.mass.members import DPIE
from giga.mass.nfw import NFW
from giga.mass.nfw_ellipse import NFWEllipse
from giga.mass.nie import NIE
from giga.mass.pjaffe import PJaffe, PJaffeEllipse
from giga.mass.point_mass import PointMass
from giga.mass.sersic import Sersic as SersicMass
from giga.mass.sie import SIE
from giga.mass.sis import SIS
from giga.mass.spemd import SPEMD
from giga.mass.tnfw import TNFW

CODE = "PyAutoLens"
MASS = ", a mass"  # of classes that light and mass both have
RATIO = "mass_to_light_ratio"
ORIGIN = {"centre": np.zeros(2)}
SHAPE = {"centre": np.zeros(2), "ell_comps": np.zeros(2)}
FLAT = {"e1": 0.0, "e2": 0.0}
PLANES = ("redshift_object", "redshift_source", "H0", "Om0")  # of dPIEMass: giga's are of the scene
NODES = 40  # of the quadrature of `gnfw_unit`


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


def _ratio(fields: dict[str, Any]) -> Any:
    """Axis ratio of what was read; one of a class without `ell_comps`."""
    return polar(fields["e1"], fields["e2"])[0] if "e1" in fields else 1.0


def _places(there: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in SHAPE.items() if key in there}


def _named(round_one: bool, *more: str) -> tuple[str, ...]:
    return ("centre", *(() if round_one else ("ell_comps",)), *more)


def _power_law(name: str, profile: type[Component], round_one: bool, sloped: bool, cored: bool,
               **more: Any) -> Pair:
    extra = {"slope": "gamma"} if sloped else {}
    there = _named(round_one, "einstein_radius", *extra, *(("core_radius",) if cored else ()))

    def out(p: Any) -> dict[str, Any]:
        q, slope = 1.0 if round_one or "e1" not in vars(p) else axis_ratio(p), p.gamma if sloped else 2.0
        found = {key: value for key, value in _shape(p).items() if key in there}
        found |= {"einstein_radius": einstein_radius(p.theta_E, q, slope)}
        return found | {key: getattr(p, name) for key, name in extra.items()} \
            | ({"core_radius": p.s_scale / np.sqrt(q)} if cored else {})

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields = _fields(k)
        q = _ratio(fields)
        fields |= {"theta_E": k["einstein_radius"] * _rescaled(q, k["slope"] if sloped else 2.0)}
        fields |= {name: k[key] for key, name in extra.items()}
        return fields | ({"s_scale": k["core_radius"] * np.sqrt(q)} if cored else {})

    return Pair(name, profile, there, out, back, _places(there), **more)


def _halo(name: str, profile: type[Component], renamed: Mapping[str, str] | None = None, round_one: bool = True,
          **more: Any) -> Pair:
    """An NFW halo or one of its kin, by `kappa_s` and `scale_radius`; the inner slope changes what kappa_s means."""
    extra = dict(renamed or {})
    there = _named(round_one, "kappa_s", "scale_radius", *extra)

    def unit(of: dict[str, Any]) -> Any:
        return gnfw_unit(of["gamma_in"]) if profile is GNFW else UNIT

    def out(p: Any) -> dict[str, Any]:
        q = 1.0 if round_one else axis_ratio(p)
        return {key: value for key, value in _shape(p).items() if key in there} \
            | {"kappa_s": p.alpha_Rs / (unit(vars(p)) * p.Rs), "scale_radius": p.Rs / np.sqrt(q)} \
            | {key: getattr(p, field) for key, field in extra.items()}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields = _fields(k) | {field: k[key] for key, field in extra.items()}
        Rs = k["scale_radius"] * np.sqrt(_ratio(fields))
        return fields | {"Rs": Rs, "alpha_Rs": unit(fields) * k["kappa_s"] * Rs}

    return Pair(name, profile, there, out, back, _places(there), **more)


def gnfw_unit(gamma_in: Any) -> Any:
    """Deflection of a halo rho = (kappa_s / Rs) x^-g (1 + x)^(g - 3) at x = r / Rs = 1, in kappa_s Rs.

    Four times the mass in the cylinder: that in the sphere, a hypergeometric function, and what lies before and behind
    it, whose integral over s = 1 / r from 0 to 1 is smooth in s = sin(phi).
    """
    gamma = np.asarray(gamma_in, float)
    a = 3.0 - gamma
    inside = 2.0**-a * hyp2f1(1.0, a, a + 1.0, 0.5) / a  # of r^(a - 1) (1 + r)^-a from 0 to 1
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    phi = 0.25 * np.pi * (nodes + 1.0)
    # (1 - cos) cos / sin, without a difference
    around = np.tan(0.5 * phi) * np.cos(phi) * (1.0 + np.sin(phi)) ** -a[..., None]
    return 4.0 * (inside + 0.25 * np.pi * np.sum(weights * around, axis=-1))


def _dual(name: str, profile: type[Component], round_one: bool, **more: Any) -> Pair:
    """A dual pseudo-isothermal profile by ra, rs and b0; of elliptical mass or, `PJaffe`, of elliptical potential."""
    there = _named(round_one, "ra", "rs", "b0")
    of_mass = profile is PJaffeEllipse

    def out(p: Any) -> dict[str, Any]:
        unit = axis_of_foci(p.e1, p.e2) if of_mass else 1.0
        ra = p.Ra / unit
        e1, e2 = (p.e1, p.e2) if of_mass else with_modulus(p.e1, p.e2, of_squares)
        found = {"centre": _pair(p.center_y, p.center_x), "ell_comps": _pair(e2, e1)}
        return {key: value for key, value in found.items() if key in there} \
            | {"ra": ra, "rs": p.Rs / unit, "b0": 2.0 * p.sigma0 * ra}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields, unit = _fields(k), 1.0
        if of_mass and not round_one:
            unit = axis_of_foci(fields["e1"], fields["e2"])
        elif not round_one:
            fields |= dict(zip(("e1", "e2"), with_modulus(fields["e1"], fields["e2"], from_squares), strict=True))
        return fields | {"sigma0": 0.5 * k["b0"] / k["ra"], "Ra": unit * k["ra"], "Rs": unit * k["rs"]}

    return Pair(name, profile, there, out, back, _places(there), **more)


def _pie(k: dict[str, Any]) -> dict[str, Any]:
    fields = _fields(k)
    unit = axis_of_foci(fields["e1"], fields["e2"])
    return fields | {"theta_E": unit * k["b0"], "s_scale": unit * k["ra"]}


def _chameleon(name: str, round_one: bool) -> Pair:
    there = _named(round_one, "intensity", "core_radius_0", "core_radius_1", RATIO)

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields, core, cut = _fields(k), k["core_radius_0"], k["core_radius_1"]
        unit = 1.0 if round_one else axis_of_foci(fields["e1"], fields["e2"])
        scale = 0.5 * k[RATIO] * k["intensity"] * (cut - core) / (core * cut)
        return fields | {"sigma0": scale, "Ra": unit * core, "Rs": unit * cut}

    return Pair(name + MASS, PJaffeEllipse, there, vars, back, _places(there) | {RATIO: 1.0}, reads=True)


def _dispersion(name: str, round_one: bool, **more: Any) -> Pair:
    """By LensTool's parameters; redshifts and cosmology, which they come with, are of giga's scene."""
    there = ("centre", *(() if round_one else ("ellipticity", "angle_pos")), "sigma", "r_core", "r_cut", *PLANES)

    def out(p: Any) -> dict[str, Any]:
        found = {"centre": _pair(p.center_y, p.center_x), "sigma": p.sigma, "r_core": p.core, "r_cut": p.cut}
        if round_one:
            return found
        angle = within(np.degrees(polar(p.e1, p.e2)[1]), 0.0, 180.0)
        return found | {"ellipticity": of_squares(np.hypot(p.e1, p.e2)), "angle_pos": angle}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields = _fields(k) | {"sigma": k["sigma"], "core": k["r_core"], "cut": k["r_cut"]}
        if round_one:
            return fields
        if not np.all((k["ellipticity"] >= 0.0) & (k["ellipticity"] < 1.0)):
            raise InputError("", "ellipticity", f"got {k['ellipticity']}", "a number from 0, below 1")
        e = from_squares(k["ellipticity"])
        e1, e2 = components((1.0 - e) / (1.0 + e), np.radians(k["angle_pos"]))
        return fields | {"e1": e1, "e2": e2}

    defaults = ORIGIN | dict.fromkeys(PLANES) | ({} if round_one else {"ellipticity": 0.0, "angle_pos": 0.0})
    return Pair(name, DPIE, there, out, back, defaults, **more)


def _sersic(name: str, area: float, round_one: bool, index: float | None = None, **more: Any) -> Pair:
    """Light of a Sersic, or of one whose index is its name."""
    there = _named(round_one, "intensity", "effective_radius", *(("sersic_index",) if index is None else ()))

    def out(p: Any) -> dict[str, Any]:
        amp, radius = reshaped(p.amp, p.R_sersic, p.n_sersic, constant_of(p), series(p.n_sersic))
        return _shape(p) | {"intensity": None if amp is None else amp * area, "effective_radius": radius,
                            "sersic_index": p.n_sersic}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        n, amp = k["sersic_index"] if index is None else index, k["intensity"]
        amp, radius = reshaped(None if amp is None else amp / area, k["effective_radius"], n, series(n), exact(n))
        return _fields(k) | {"amp": amp, "R_sersic": radius, "n_sersic": n}

    return Pair(name, Sersic, there, out, back, _places(there), **more)


def _cored(name: str, area: float, round_one: bool, index: float | None = None, **more: Any) -> Pair:
    """A core-Sersic, whose `intensity` is meant for the break radius."""
    same_names = {"radius_break": "Rb", "gamma": "gamma", "alpha": "alpha"}
    there = _named(round_one, "intensity", "effective_radius", *(("sersic_index",) if index is None else ()),
                   *same_names)

    def factor(k: dict[str, Any], n: Any) -> Any:
        """Intensity over that of giga's formula with the series' b_n."""
        b, alpha = series(n), k["alpha"]
        at_break = (2.0 ** (1.0 / alpha) * k["radius_break"] / k["effective_radius"]) ** (1.0 / n)
        return 2.0 ** (k["gamma"] / alpha) * np.exp(b * (1.0 - at_break))

    def out(p: Any) -> dict[str, Any]:
        amp, radius = reshaped(p.amp, p.R_sersic, p.n_sersic, constant_of(p), series(p.n_sersic))
        found = _shape(p) | {"effective_radius": radius, "sersic_index": p.n_sersic}
        found |= {key: getattr(p, field) for key, field in same_names.items()}
        return found | {"intensity": None if amp is None else amp * area * factor(found, p.n_sersic)}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        n, amp = k["sersic_index"] if index is None else index, k["intensity"]
        amp = None if amp is None else amp / area / factor(k, n)
        amp, radius = reshaped(amp, k["effective_radius"], n, series(n), exact(n))
        return _fields(k) | {field: k[key] for key, field in same_names.items()} \
            | {"amp": amp, "R_sersic": radius, "n_sersic": n}

    return Pair(name, CoreSersic, there, out, back, _places(there), **more)


def _gaussian(name: str, area: float, round_one: bool, **more: Any) -> Pair:
    def out(p: Any) -> dict[str, Any]:
        return _shape(p) | {"intensity": None if p.amp is None else p.amp * area / (2.0 * np.pi * p.sigma**2),
                            "sigma": p.sigma * np.sqrt(axis_ratio(p))}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields, amp = _fields(k), k["intensity"]
        sigma = k["sigma"] / np.sqrt(_ratio(fields))
        return fields | {"sigma": sigma, "amp": None if amp is None else amp / area * 2.0 * np.pi * sigma**2}

    there = _named(round_one, "intensity", "sigma")
    return Pair(name, Gaussian, there, out, back, _places(there), **more)


def _moffat(name: str, area: float, round_one: bool, renamed: Mapping[str, str] | None = None, **more: Any) -> Pair:
    """A Moffat, or an Elson-Freeman-Fall, which is the same with its radius on the intermediate axis."""
    on_minor = renamed is None
    alpha, beta = renamed or {"alpha": "alpha", "beta": "beta"}

    def out(p: Any) -> dict[str, Any]:
        return _shape(p) | {"intensity": None if p.amp is None else p.amp * area,
                            alpha: p.alpha * (np.sqrt(axis_ratio(p)) if on_minor else 1.0), beta: p.beta}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields, amp = _fields(k), k["intensity"]
        return fields | {"alpha": k[alpha] / (np.sqrt(_ratio(fields)) if on_minor else 1.0), "beta": k[beta],
                         "amp": None if amp is None else amp / area}

    there = _named(round_one, "intensity", alpha, beta)
    return Pair(name, Moffat, there, out, back, _places(there), **more)


def _shapelet(area: float) -> Pair:
    """One shapelet, as a set of which the others are zero."""
    def back(k: dict[str, Any]) -> dict[str, Any]:
        i, j, amp = int(k["n_x"]), int(k["n_y"]), k["intensity"]
        if min(i, j) < 0:
            raise InputError("", "n_x", f"orders {i} and {j}", "0 or more")
        n = i + j
        amps = np.zeros((n + 1) * (n + 2) // 2)
        amps[n * (n + 1) // 2 + j] = 1.0
        return _fields(k) | {"beta": k["beta"], "n_max": n,
                             "amp": None if amp is None else np.asarray(amp / k["beta"] / area)[..., None] * amps}

    return Pair("ShapeletCartesianSph", Shapelets, ("n_y", "n_x", "centre", "intensity", "beta"), vars, back, ORIGIN,
                reads=True)


def _sersic_mass(name: str, round_one: bool, index: float | None = None, **more: Any) -> Pair:
    """Mass of a Sersic, whose b_n is linear in giga."""
    there = _named(round_one, "intensity", "effective_radius", *(("sersic_index",) if index is None else ()), RATIO)

    def out(p: Any) -> dict[str, Any]:
        k_eff, radius = reshaped(p.k_eff, p.R_sersic, p.n_sersic, linear(p.n_sersic), series(p.n_sersic))
        return _shape(p) | {"intensity": k_eff, "effective_radius": radius, "sersic_index": p.n_sersic,
                            RATIO: p.mass_to_light}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        n = k["sersic_index"] if index is None else index
        k_eff, radius = reshaped(k["intensity"], k["effective_radius"], n, series(n), linear(n))
        return _fields(k) | {"k_eff": k_eff, "R_sersic": radius, "n_sersic": n, "mass_to_light": k[RATIO]}

    return Pair(name + MASS, SersicMass, there, out, back, _places(there) | {RATIO: 1.0}, **more)


def _gaussian_mass() -> Pair:
    def out(p: Any) -> dict[str, Any]:
        return {"centre": _pair(p.center_y, p.center_x), "ell_comps": np.zeros(2), "sigma": p.sigma,
                "intensity": p.amp / (2.0 * np.pi * p.sigma**2), RATIO: 1.0}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields = _fields(k)
        if np.any(fields.pop("e1")) or np.any(fields.pop("e2")):
            raise InputError("", "ell_comps", f"got {k['ell_comps']}", "0: giga's Gaussian mass is round")
        return fields | {"sigma": k["sigma"], "amp": 2.0 * np.pi * k["sigma"] ** 2 * k["intensity"] * k[RATIO]}

    return Pair("Gaussian" + MASS, GaussianMass, ("centre", "ell_comps", "intensity", "sigma", RATIO), out, back,
                SHAPE | {RATIO: 1.0})


def _third_order() -> Pair:
    """psi = r^2 (tau_1 x + tau_2 y) / 4 + r^3 (delta_1 cos 3 phi + delta_2 sin 3 phi) / 6 of an external potential."""
    zero = {"gamma_1": 0.0, "gamma_2": 0.0}

    def out(p: Any) -> dict[str, Any]:
        return {"centre": _pair(p.dec_0, p.ra_0), **zero,
                "tau_1": 0.5 * (p.g1 + p.g3), "tau_2": 0.5 * (p.g2 + p.g4),
                "delta_1": 0.25 * (p.g1 - 3.0 * p.g3), "delta_2": 0.25 * (3.0 * p.g2 - p.g4)}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        for key in zero:
            if np.any(k[key]):
                raise InputError("", key, f"got {k[key]}", "0: its shear is an ExternalShear of its own")
        t1, t2, d1, d2 = (k[key] for key in ("tau_1", "tau_2", "delta_1", "delta_2"))
        fields = _fields(k)
        return {"g1": 1.5 * t1 + d1, "g2": 0.5 * t2 + d2, "g3": 0.5 * t1 - d1, "g4": 1.5 * t2 - d2,
                "dec_0": fields["center_y"], "ra_0": fields["center_x"]}

    parts = ("gamma_1", "gamma_2", "tau_1", "tau_2", "delta_1", "delta_2")
    return Pair("ExternalPotential", Flexion, ("centre", *parts), out, back, ORIGIN | dict.fromkeys(parts, 0.0))


MASSES = (
    _power_law("Isothermal", SIE, False, False, False),
    _power_law("IsothermalSph", SIS, True, False, False),
    _power_law("PowerLaw", EPL, False, True, False),
    _power_law("PowerLawSph", EPL, True, True, False, reads=True),
    Pair("PowerLawIntermediate", EPL, ("centre", "ell_comps", "einstein_radius", "slope"), vars,
         lambda k: _fields(k) | {"theta_E": k["einstein_radius"], "gamma": k["slope"]}, SHAPE, reads=True),
    _power_law("IsothermalCore", NIE, False, False, True),
    _power_law("IsothermalCoreSph", NIE, True, False, True, reads=True),
    Pair("PIEMass", NIE, ("centre", "ell_comps", "ra", "b0"), vars, _pie, SHAPE, reads=True),
    _power_law("PowerLawCore", SPEMD, False, True, True),
    _power_law("PowerLawCoreSph", SPEMD, True, True, True, reads=True),
    _power_law("PointMass", PointMass, True, False, False),
    _halo("NFWSph", NFW, only=FLAT, expected="0: giga's is elliptical in the potential"),
    _halo("NFW", NFWEllipse, round_one=False),
    _halo("NFWTruncatedSph", TNFW, {"truncation_radius": "r_trunc"}),
    _halo("gNFWSph", GNFW, {"inner_slope": "gamma_in"}),
    _dual("dPIEMassB0", PJaffeEllipse, False),
    _dual("dPIEMassB0Sph", PJaffeEllipse, True, reads=True),
    _dual("dPIEPotential", PJaffe, False),
    _dual("dPIEPotentialSph", PJaffe, True, reads=True),
    _dispersion("dPIEMass", False),
    _dispersion("dPIEMassSph", True, reads=True),
    _chameleon("Chameleon", False),
    _chameleon("ChameleonSph", True),
    _sersic_mass("Sersic", False),
    *(_sersic_mass(f"{name}{end}", bool(end), n, reads=True) for end in ("", "Sph")
      for name, n in (("Sersic", None), ("Exponential", 1.0), ("DevVaucouleurs", 4.0)) if end or n),
    _gaussian_mass(),
    same("ExternalShear", Shear, "gamma_1 gamma_2", {"gamma_1": "gamma1", "gamma_2": "gamma2"}),
    Pair("MassSheet", Convergence, ("centre", "kappa"),
         lambda p: {"centre": _pair(p.dec_0, p.ra_0), "kappa": p.kappa},
         lambda k: {"kappa": k["kappa"], "dec_0": _fields(k)["center_y"], "ra_0": _fields(k)["center_x"]}, ORIGIN),
    _third_order(),
)
"""Mass profiles of both, by the names of PyAutoLens's classes."""


def lights(pixel_scale: float) -> tuple[Pair, ...]:
    """Light profiles of both, by the names of PyAutoLens's classes.

    Args:
        pixel_scale: Side of a pixel [arcsec], for `intensity`.
    """
    area, eff = pixel_scale**2, {"effective_radius": "alpha", "eta": "beta"}
    return (
        _sersic("Sersic", area, False),
        _sersic("SersicSph", area, True, reads=True),
        *(_sersic(f"{name}{end}", area, bool(end), n, reads=True) for end in ("", "Sph")
          for name, n in (("Exponential", 1.0), ("DevVaucouleurs", 4.0))),
        _cored("SersicCore", area, False),
        _cored("SersicCoreSph", area, True, reads=True),
        *(_cored(f"ExponentialCore{end}", area, bool(end), 1.0, reads=True) for end in ("", "Sph")),
        _gaussian("Gaussian", area, False),
        _gaussian("GaussianSph", area, True, reads=True),
        _moffat("Moffat", area, False),
        _moffat("MoffatSph", area, True, reads=True),
        *(_moffat(f"ElsonFreeFall{end}", area, bool(end), eff, reads=True) for end in ("", "Sph")),
        _shapelet(area),
    )


def pairs(pixel_scale: float) -> tuple[Pair, ...]:
    """Mass and light profiles of both; a name that both have is that of light, and has `MASS` after it as a mass's."""
    return MASSES + lights(pixel_scale)


def to_pyautolens(profile: Component, pixel_scale: float) -> tuple[str, dict[str, Any]]:
    """Class and parameters of a profile in PyAutoLens, of `al.lp` for light and of `al.mp` for mass.

    Redshifts and cosmology of a `dPIEMass` are of giga's scene, and left out. Raises InputError, as
    `giga.io.exchange.pairs.written`.
    """
    name, values = written(pairs(pixel_scale), CODE, profile, type(profile).__name__)
    return name.removesuffix(MASS), values


def from_pyautolens(name: str, values: Mapping[str, Any], pixel_scale: float) -> Any:
    """A profile from one of PyAutoLens; of a name that light and mass have, mass where a mass-to-light ratio is given.

    Raises InputError, as `giga.io.exchange.pairs.read`.
    """
    mass = MASS if RATIO in values else ""
    return read(pairs(pixel_scale), CODE, f"{name}{mass}", values, name, ("intensity",))
