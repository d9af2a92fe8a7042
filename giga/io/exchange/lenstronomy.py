"""Scenes as lenstronomy's keyword arguments, and back: mass, light, shear, planes.

Angles, radii and amplitudes are those of giga but for a few: b_n is lenstronomy's linear form, so the exact one of
giga's Sersic light is written with another amplitude and radius (the same profile to rounding); its SPEMD takes
s_scale on another axis than its documentation says; Sersic mass on ellipses is a sum of Gaussians there, some percent
off near the centre; images are interpolated bilinearly. By version 1.14.2; nothing of the package is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np

from giga.io.errors import InputError, nearest
from giga.io.exchange.conventions import axis_ratio, components, constant_of, linear, polar, reshaped
from giga.io.exchange.pairs import Pair, read, same, written
from giga.io.exchange.points import positions, with_images, with_sources
from giga.io.jsonfile import read_json, write_json
from giga.lensing.cosmology import Cosmology
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.light.base import LightProfile
from giga.light.core_sersic import CoreSersic
from giga.light.gaussian import Gaussian as GaussianLight
from giga.light.gaussian import MultiGaussian as MultiGaussianLight
from giga.light.pixel_image import PixelImage
from giga.light.point import LensedPoint, MicrolensedPoint, Point
from giga.light.sersic import Sersic as SersicLight
from giga.light.shapelets import Shapelets
from giga.light.uniform_sky import UniformSky
from giga.mass.deflection_map import DeflectionMap
from giga.mass.epl import EPL
from giga.mass.epl_multipole import EPLMultipole
from giga.mass.external import Convergence, Flexion, Shear
from giga.mass.gaussian import Gaussian as GaussianMass
from giga.mass.gaussian import MultiGaussian as MultiGaussianMass
from giga.mass.gnfw import GNFW
from giga.mass.hernquist import Hernquist
from giga.mass.nfw import NFW
from giga.mass.nfw_ellipse import NFWEllipse
from giga.mass.nie import NIE
from giga.mass.pjaffe import PJaffe
from giga.mass.point_mass import PointMass
from giga.mass.sersic import Sersic as SersicMass
from giga.mass.sie import SIE
from giga.mass.sis import SIS
from giga.mass.spemd import SPEMD
from giga.mass.tnfw import TNFW

CODE = "lenstronomy"
CENTER = {"center_x": 0.0, "center_y": 0.0}
ZERO = {"ra_0": 0.0, "dec_0": 0.0}
ROUND = {"e1": 0.0, "e2": 0.0}
PLACE = "center_x center_y"
ELLIPSE = f"e1 e2 {PLACE}"
SECTIONS = {"mass": ("lens_model_list", "kwargs_lens"),
            "lens_light": ("lens_light_model_list", "kwargs_lens_light"),
            "source_light": ("source_light_model_list", "kwargs_source")}
"""Names of the lists in `kwargs_model` and in `kwargs_result`."""
SOLVED = ("point_amp", "source_amp")
POINTS = "point_source_model_list", "kwargs_ps"
"""The same of points of light."""
REDSHIFTS = "point_source_redshift_list"
WITHOUT = {"optical_depth_model_list": "an optical depth"}
EVEN = 1e-6  # largest share by which steps of a grid or a series may differ


def _spemd() -> Pair:
    # The code takes s2 = s_scale^2 q inside [x^2 + y^2/q^2 + s2], which is (q s_scale)^2 beside q x^2 + y^2/q.
    def out(p: Any) -> dict[str, Any]:
        return {key: getattr(p, key) for key in ("theta_E", "gamma", *ELLIPSE.split())} \
            | {"s_scale": p.s_scale / axis_ratio(p)}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        return k | {"s_scale": k["s_scale"] * polar(k["e1"], k["e2"])[0]}

    return Pair("SPEMD", SPEMD, ("theta_E", "gamma", "s_scale", *ELLIPSE.split()), out, back, CENTER)


def _sersic_mass(name: str, there: str, **more: Any) -> Pair:
    names = tuple(there.split())

    def out(p: Any) -> dict[str, Any]:
        return {key: p.k_eff * p.mass_to_light if key == "k_eff" else getattr(p, key) for key in names}

    return Pair(name, SersicMass, names, out, dict, CENTER, **more)


def _gridded(p: Any) -> dict[str, Any]:
    ny, nx = p.alpha_x.shape
    x, y = (p.pixel_scale * (np.arange(n) - 0.5 * (n - 1)) + middle
            for n, middle in ((nx, p.center_x), (ny, p.center_y)))
    with jax.enable_x64(True):  # what is written has the digits of a file, whatever the precision of a fit
        fields = _field(p, *np.meshgrid(x, y))
    names = ("f_x", "f_y", "f_xx", "f_xy", "f_yy", "f_")
    return {"grid_interp_x": x, "grid_interp_y": y} | dict(zip(names, map(np.asarray, fields), strict=False))


@jax.jit
def _field(p: DeflectionMap, x: Any, y: Any) -> tuple[Any, ...]:
    xx, xy, _, yy = p.jacobian(x, y)
    return *p.deflection(x, y), xx, xy, yy, *(() if p.psi is None else (p.potential(x, y),))


def _map(k: dict[str, Any]) -> dict[str, Any]:
    x, y = k["grid_interp_x"], k["grid_interp_y"]
    steps = np.concatenate([np.diff(x), np.diff(y)])
    if not np.ptp(steps) <= EVEN * steps.mean():
        raise InputError("", "grid_interp_x", f"steps from {steps.min():g} to {steps.max():g}", "one pixel scale")
    made = DeflectionMap.of(k["f_x"], k["f_y"], float(steps.mean()), k["f_"], center_x=float(x.mean()),
                            center_y=float(y.mean()))
    return {key: getattr(made, key) for key in ("alpha_x", "alpha_y", "pixel_scale", "center_x", "center_y", "psi")}


def _about_origin(k: dict[str, Any]) -> dict[str, Any]:
    for key in ZERO:
        if np.any(k[key]):
            raise InputError("", key, f"got {k[key]}", "0: the shear of giga is about the origin")
    return {key: k[key] for key in ("gamma1", "gamma2")}


LENSES = (
    same("SIS", SIS, f"theta_E {PLACE}", defaults=CENTER),
    same("SIE", SIE, f"theta_E {ELLIPSE}", defaults=CENTER),
    same("NIE", NIE, f"theta_E s_scale {ELLIPSE}", defaults=CENTER),
    same("EPL", EPL, f"theta_E gamma {ELLIPSE}", defaults=CENTER),
    same("EPL_NUMBA", EPL, f"theta_E gamma {ELLIPSE}", defaults=CENTER, reads=True),
    same("PEMD", EPL, f"theta_E gamma {ELLIPSE}", defaults=CENTER, reads=True),
    Pair("EPL_Q_PHI", EPL, ("theta_E", "gamma", "q", "phi", "center_x", "center_y"), vars,
         lambda k: {key: k[key] for key in ("theta_E", "gamma", "center_x", "center_y")}
         | dict(zip(("e1", "e2"), components(k["q"], k["phi"]), strict=True)), CENTER, reads=True),
    _spemd(),
    same("EPL_MULTIPOLE_M1M3M4", EPLMultipole, "theta_E gamma a1_a delta_phi_m1 a3_a delta_phi_m3 a4_a "
         f"delta_phi_m4 {ELLIPSE}", defaults=CENTER),
    same("NFW", NFW, f"Rs alpha_Rs {PLACE}", defaults=CENTER, only=ROUND),
    same("NFW_ELLIPSE_POTENTIAL", NFW, f"Rs alpha_Rs {ELLIPSE}", defaults=CENTER),
    same("NFW_ELLIPSE", NFW, f"Rs alpha_Rs {ELLIPSE}", defaults=CENTER, reads=True),
    same("NFW_ELLIPSE_CSE", NFWEllipse, f"Rs alpha_Rs {ELLIPSE}", defaults=CENTER),
    same("TNFW", TNFW, f"Rs alpha_Rs r_trunc {PLACE}", defaults=CENTER),
    same("GNFW", GNFW, f"Rs alpha_Rs gamma_in {PLACE}", defaults=CENTER),
    same("HERNQUIST", Hernquist, f"sigma0 Rs {PLACE}", defaults=CENTER),
    same("PJAFFE", PJaffe, f"sigma0 Ra Rs {PLACE}", defaults=CENTER, only=ROUND),
    same("PJAFFE_ELLIPSE_POTENTIAL", PJaffe, f"sigma0 Ra Rs {ELLIPSE}", defaults=CENTER),
    same("PJAFFE_ELLIPSE", PJaffe, f"sigma0 Ra Rs {ELLIPSE}", defaults=CENTER, reads=True),
    _sersic_mass("SERSIC", f"k_eff R_sersic n_sersic {PLACE}", only=ROUND),
    _sersic_mass("SERSIC_ELLIPSE_GAUSS_DEC", f"k_eff R_sersic n_sersic {ELLIPSE}"),
    same("GAUSSIAN", GaussianMass, f"amp sigma {PLACE}", defaults=CENTER),
    same("GAUSSIAN_KAPPA", GaussianMass, f"amp sigma {PLACE}", defaults=CENTER, reads=True),
    same("MULTI_GAUSSIAN", MultiGaussianMass, f"amp sigma scale_factor {PLACE}",
         defaults=CENTER | {"scale_factor": 1.0}),
    same("MULTI_GAUSSIAN_KAPPA", MultiGaussianMass, f"amp sigma scale_factor {PLACE}",
         defaults=CENTER | {"scale_factor": 1.0}, reads=True),
    same("POINT_MASS", PointMass, f"theta_E {PLACE}", defaults=CENTER),
    Pair("SHEAR", Shear, ("gamma1", "gamma2", "ra_0", "dec_0"),
         lambda p: {"gamma1": p.gamma1, "gamma2": p.gamma2} | ZERO, _about_origin, ZERO),
    Pair("SHEAR_GAMMA_PSI", Shear, ("gamma_ext", "psi_ext", "ra_0", "dec_0"), vars,
         lambda k: _about_origin({"gamma1": k["gamma_ext"] * np.cos(2.0 * k["psi_ext"]),
                                  "gamma2": k["gamma_ext"] * np.sin(2.0 * k["psi_ext"])} | k),
         ZERO, reads=True),
    same("CONVERGENCE", Convergence, "kappa ra_0 dec_0", defaults=ZERO),
    same("FLEXION", Flexion, "g1 g2 g3 g4 ra_0 dec_0", defaults=ZERO),
    Pair("INTERPOL", DeflectionMap, ("grid_interp_x", "grid_interp_y", "f_", "f_x", "f_y", "f_xx", "f_xy", "f_yy"),
         _gridded, _map, dict.fromkeys(("f_", "f_xx", "f_xy", "f_yy")), {"rotation": 0.0}),
)
"""Mass profiles of both."""


def _sersic(name: str, there: str, profile: type[LightProfile] = SersicLight, polar_angles: bool = False,
            **more: Any) -> Pair:
    """A Sersic profile, written with the linear b_n."""
    names = tuple(there.split())

    def out(p: Any) -> dict[str, Any]:
        amp, radius = reshaped(p.amp, p.R_sersic, p.n_sersic, constant_of(p), linear(p.n_sersic))
        return {key: getattr(p, key) for key in names if key in vars(p)} | {"amp": amp, "R_sersic": radius}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        fields = {key: value for key, value in k.items() if key not in ("q", "phi")}
        if polar_angles:
            fields |= dict(zip(("e1", "e2"), components(k["q"], k["phi"]), strict=True))
        return fields | {"b_n": "linear"}

    return Pair(name, profile, names, out, back, CENTER | more.pop("defaults", {}), **more)


def _widths(p: Any) -> Any:
    steps = np.arange(p.n_gaussians) / max(p.n_gaussians - 1, 1)
    return p.sigma_min * (p.sigma_max / p.sigma_min) ** steps


def _gaussians(name: str, there: str, **more: Any) -> Pair:
    """A sum of Gaussians whose widths form a geometric series."""
    names = tuple(there.split())

    def out(p: Any) -> dict[str, Any]:
        return {key: _widths(p) if key == "sigma" else getattr(p, key) for key in names}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        widths = np.atleast_1d(k["sigma"])
        steps = np.diff(np.log(widths))
        if len(widths) < 2 or not np.ptp(steps) <= EVEN * np.abs(steps).mean():
            raise InputError("", "sigma", f"got {widths}"[:80], "two widths or more, in a geometric series")
        return {key: k[key] for key in names if key != "sigma"} \
            | {"sigma_min": widths[0], "sigma_max": widths[-1], "n_gaussians": len(widths)}

    return Pair(name, MultiGaussianLight, names, out, back, CENTER, **more)


def _shapelets(k: dict[str, Any]) -> dict[str, Any]:
    n_max, amp = int(k["n_max"]), k["amp"]
    wanted = (n_max + 1) * (n_max + 2) // 2
    if amp is not None and np.shape(amp)[-1:] != (wanted,):
        raise InputError("", "amp", f"shape {np.shape(amp)}", f"({wanted},), of n_max = {n_max}")
    return k | {"n_max": n_max}


LIGHTS = (
    _sersic("SERSIC", f"amp R_sersic n_sersic {PLACE}", only=ROUND, reads=True),
    _sersic("SERSIC_ELLIPSE", f"amp R_sersic n_sersic {ELLIPSE}"),
    _sersic("SERSIC_ELLIPSE_Q_PHI", f"amp R_sersic n_sersic q phi {PLACE}", polar_angles=True, reads=True),
    _sersic("CORE_SERSIC", f"amp R_sersic Rb n_sersic gamma alpha {ELLIPSE}", CoreSersic,
            defaults={"alpha": 3.0}),
    same("GAUSSIAN", GaussianLight, f"amp sigma {PLACE}", defaults=CENTER, only=ROUND),
    same("GAUSSIAN_ELLIPSE", GaussianLight, f"amp sigma {ELLIPSE}", defaults=CENTER),
    _gaussians("MULTI_GAUSSIAN", f"amp sigma {PLACE}", only=ROUND),
    _gaussians("MULTI_GAUSSIAN_ELLIPSE", f"amp sigma {ELLIPSE}"),
    Pair("SHAPELETS", Shapelets, ("amp", "n_max", "beta", "center_x", "center_y"),
         lambda p: {key: getattr(p, key) for key in ("amp", "n_max", "beta", "center_x", "center_y")}, _shapelets,
         CENTER),
    same("UNIFORM", UniformSky, "amp"),
    Pair("INTERPOL", PixelImage, ("image", "amp", "center_x", "center_y", "phi_G", "scale"),
         lambda p: {key: getattr(p, key) for key in ("image", "amp", "center_x", "center_y", "phi_G", "scale")},
         lambda k: k | {"interpolation": "bilinear"}, CENTER | {"phi_G": 0.0}),
)
"""Light profiles of both."""


def _each(k: Mapping[str, Any], amplitude: str) -> tuple[Any, Any, Any]:
    """Place and amplitude of each image; an amplitude may be one for all, or None."""
    x, y = (np.atleast_1d(k[key]) for key in ("ra_image", "dec_image"))
    for key, seen in (("dec_image", y.shape), (amplitude, np.shape(k[amplitude]) or x.shape if k[amplitude] is not None
                                               else x.shape)):
        if seen != x.shape:
            raise InputError("", key, f"shape {seen}", f"{x.shape}, one an image")
    return x, y, None if k[amplitude] is None else np.broadcast_to(k[amplitude], x.shape)


def _images(profile: type[LensedPoint], amplitude: str) -> Pair:
    """A point behind the lens, by where its images are; where it is itself follows from them."""
    def out(p: Any) -> dict[str, Any]:
        return dict(zip(("ra_image", "dec_image"), positions(p), strict=True)) | {amplitude: p.amp}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        x, y, amp = _each(k, amplitude)
        single = None if amp is None else amp if profile is MicrolensedPoint else amp[0]
        return {"x": tuple(x.tolist()), "y": tuple(y.tolist()), "center_x": 0.0, "center_y": 0.0, "amp": single}

    return Pair("LENSED_POSITION", profile, ("ra_image", "dec_image", amplitude), out, back)


UNLENSED = Pair("UNLENSED", Point, ("ra_image", "dec_image", "point_amp"),
                lambda p: {key: np.atleast_1d(one) for key, one in (("ra_image", p.center_x), ("dec_image", p.center_y),
                                                                     ("point_amp", p.amp)) if one is not None},
                lambda k: dict(zip(("center_x", "center_y", "amp"), _each(k, "point_amp"), strict=True)))
OWN, MAGNIFIED = _images(MicrolensedPoint, "point_amp"), _images(LensedPoint, "source_amp")
"""Points of light of both; the last one where `fixed_magnification_list` says so."""
PAIRS: Mapping[str, Sequence[Pair]] = {"mass": LENSES, "lens_light": LIGHTS, "source_light": LIGHTS}


def to_lenstronomy(scene: Scene) -> dict[str, dict[str, Any]]:
    """Keyword arguments of lenstronomy for a scene of numbers.

    Args:
        scene: Amplitudes that are None, which are solved, are left out, as lenstronomy leaves them out.

    Returns:
        `kwargs_model`, as `lenstronomy.Util.class_creator` takes it, and `kwargs_result`, as its fits return it.

    Raises:
        InputError: A profile that lenstronomy does not have, or a value that is no number; named by its path.
    """
    model: dict[str, Any] = {}
    result: dict[str, Any] = {}
    scene, _ = with_images(scene)
    points: list[tuple[Any, str, dict[str, Any]]] = []
    for section, (names, values) in SECTIONS.items():
        both = []
        for k, profile in enumerate(getattr(scene, section)):
            is_point = section != "mass" and profile.is_point
            one = written((UNLENSED, OWN, MAGNIFIED) if is_point else PAIRS[section], CODE, profile, f"{section}.{k}")
            if is_point:
                points.append((profile, *one))
            else:
                both.append(one)
        model[names], result[values] = [name for name, _ in both], [one for _, one in both]
    if points:
        model |= {POINTS[0]: [name for _, name, _ in points],
                  "fixed_magnification_list": [type(profile) is LensedPoint for profile, _, _ in points]}
        result[POINTS[1]] = [one for _, _, one in points]
    if isinstance(scene.planes, Planes):
        model |= _planes_out(scene.planes, scene, [profile for profile, _, _ in points])
    return {"kwargs_model": model, "kwargs_result": result}


def _planes_out(planes: Planes, scene: Scene, points: Sequence[LightProfile]) -> dict[str, Any]:
    z = [float(one) for one in planes.redshifts]
    flat = planes.cosmology
    if float(flat.Ok0) or float(flat.w0) != -1.0 or float(flat.wa):
        raise InputError("", "planes.cosmology", f"Ok0 = {flat.Ok0}, w0 = {flat.w0}, wa = {flat.wa}",
                         "a flat universe with a cosmological constant")
    return {"multi_plane": True, "z_source": z[-1], "z_source_convention": float(planes.scaled_to),
            "lens_redshift_list": [z[planes.mass_plane(p)] for p in scene.mass],
            "source_redshift_list": [z[planes.light_plane(p)] for p in scene.source_light if not p.is_point],
            **({REDSHIFTS: [z[planes.light_plane(p)] if isinstance(p, LensedPoint) else None for p in points]}
               if points else {}),
            "cosmology_model": "FlatLambdaCDM", "cosmology_params": {"H0": float(flat.H0), "Om0": float(flat.Om0)}}


def from_lenstronomy(kwargs_model: Mapping[str, Any], kwargs_result: Mapping[str, Any]) -> tuple[Scene, list[str]]:
    """A scene of numbers from lenstronomy's keyword arguments.

    Sersic light has the linear b_n, as lenstronomy draws it. An amplitude that is left out is solved.

    Args:
        kwargs_model: Lists of profiles, and redshifts where there are several planes.
        kwargs_result: Lists of their parameters.

    Returns:
        The scene, and what it does not have of the arguments, in words.

    Raises:
        InputError: A profile that giga does not have, or a parameter that is unknown, missing or out of range; named by
            its list and number.
    """
    parts = {}
    for section, (names, values) in SECTIONS.items():
        listed, given = list(kwargs_model.get(names) or ()), list(kwargs_result.get(values) or ())
        if len(listed) != len(given):
            raise InputError("", values, f"{len(given)} entries", f"{len(listed)}, one for each of {names}")
        solved = () if section == "mass" else ("amp",)
        parts[section] = [read(PAIRS[section], CODE, name, one, f"{values}.{k}", solved)
                          for k, (name, one) in enumerate(zip(listed, given, strict=True))]
    notes = [f"{key}: {kwargs_model[key]} left out, {what}" for key, what in WITHOUT.items() if kwargs_model.get(key)]
    several = bool(kwargs_model.get("multi_plane"))
    scene = Scene(**parts)
    stars, points, redshifts, more = _points_back(kwargs_model, kwargs_result)
    if several:
        scene = _planes_back(kwargs_model, scene, points, redshifts)
    else:
        scene = scene.replace(source_light=[*scene.source_light, *points])
    scene, apart = with_sources(scene.replace(lens_light=[*scene.lens_light, *stars]))
    return scene, notes + more + apart


def _points_back(model: Mapping[str, Any], result: Mapping[str, Any]
                 ) -> tuple[list[Any], list[Any], list[float], list[str]]:
    """Points of light before the lens and behind it, redshifts of the latter where they are given, and notes."""
    names, values = POINTS
    listed, given = list(model.get(names) or ()), list(result.get(values) or ())
    if len(listed) != len(given):
        raise InputError("", values, f"{len(given)} entries", f"{len(listed)}, one for each of {names}")
    tied, z = (list(model.get(key) or [None] * len(listed)) for key in ("fixed_magnification_list", REDSHIFTS))
    for key, one in (("fixed_magnification_list", tied), (REDSHIFTS, z)):
        if len(one) != len(listed):
            raise InputError("", key, f"{len(one)} entries", f"{len(listed)}, one for each of {names}")
    stars, points, redshifts, notes = [], [], [], []
    for k, (name, one) in enumerate(zip(listed, given, strict=True)):
        if name == "SOURCE_POSITION":
            notes.append(f"{names}.{k}: SOURCE_POSITION left out, which does not say where its images are; "
                         "LENSED_POSITION does")
            continue
        made = read((UNLENSED, MAGNIFIED if tied[k] else OWN), CODE, name, one, f"{values}.{k}", SOLVED)
        if isinstance(made, Point):
            stars += [made.replace(center_x=float(x), center_y=float(y), amp=None if made.amp is None else
                                   float(made.amp[j])) for j, (x, y) in enumerate(zip(made.center_x, made.center_y,
                                                                                      strict=True))]
        else:
            points.append(made)
            redshifts += _redshifts({f"{REDSHIFTS}.{k}": z[k]}, f"{REDSHIFTS}.{k}")
    return stars, points, redshifts, notes


def _planes_back(model: Mapping[str, Any], scene: Scene, points: Sequence[Any], redshifts: Sequence[float]) -> Scene:
    last = _redshifts(model, "z_source")
    lens = _redshifts(model, "lens_redshift_list")
    source = _redshifts(model, "source_redshift_list") or last * len(scene.source_light)
    source = [*source, *(redshifts or last * len(points))]
    scene = scene.replace(source_light=[*scene.source_light, *points])
    for name, found, profiles in (("lens_redshift_list", lens, scene.mass),
                                  ("source_redshift_list", source, scene.source_light)):
        if len(found) != len(profiles):
            raise InputError("", name, f"{len(found)} redshifts", f"{len(profiles)}, one a profile")
    z = sorted({*lens, *source, *last})
    name = model.get("cosmology_model", "FlatLambdaCDM")
    if name != "FlatLambdaCDM":
        raise InputError("", "cosmology_model", f"got {name!r}", "'FlatLambdaCDM'")
    given = model.get("cosmology_params") or {}
    if unknown := [key for key in given if key not in ("H0", "Om0")]:
        raise InputError("", f"cosmology_params.{unknown[0]}", "unknown", "H0 and Om0")
    reference = [one for one in _redshifts(model, "z_source_convention") if one != z[-1]]
    planes = Planes(redshifts=z, reference=reference[0] if reference else None,
                    cosmology=Cosmology(**{key: float(value) for key, value in given.items()}))
    made = scene.replace(
        planes=planes, mass=[p.replace(plane=z.index(at)) for p, at in zip(scene.mass, lens, strict=True)],
        source_light=[p.replace(plane=z.index(at)) for p, at in zip(scene.source_light, source, strict=True)])
    try:
        made.check()
    except ValueError as error:  # it begins with the path of the value
        raise InputError("", "", str(error)) from None
    return made


def _redshifts(model: Mapping[str, Any], key: str) -> list[float]:
    """Redshifts of a list, of a number, or none."""
    found = model.get(key)
    rows = [] if found is None else [found] if isinstance(found, int | float) else list(found)
    if not all(isinstance(z, int | float) and z > 0.0 for z in rows):
        raise InputError("", key, f"got {found}"[:80], "redshifts above 0")
    return [float(z) for z in rows]


def write_lenstronomy(path: str | PathLike[str], scene: Scene, about: Mapping[str, Any] | None = None) -> Path:
    """Write a scene as JSON: `kwargs_model` and `kwargs_result`, arrays as lists.

    Args:
        path: Where it goes.
        scene: Of numbers.
        about: More to say in the file, beside the two.

    Raises:
        InputError: As `to_lenstronomy`.
        OSError: It cannot be written.
    """
    return write_json(path, _listed(to_lenstronomy(scene)) | dict(about or {}))


def read_lenstronomy(path: str | PathLike[str]) -> tuple[Scene, list[str]]:
    """Read JSON with `kwargs_model` and `kwargs_result`, or with their lists side by side.

    Raises:
        InputError: A file that is missing, damaged, or without these; or as `from_lenstronomy`.
    """
    content = read_json(path)
    names = [key for pair in SECTIONS.values() for key in pair]
    if not isinstance(content, Mapping) or not {"kwargs_model", *names} & set(content):
        raise InputError(path, "", "neither kwargs_model nor lens_model_list",
                         "keyword arguments of lenstronomy, as JSON")
    parts = [content.get(key, content) for key in ("kwargs_model", "kwargs_result")]
    for key, part in zip(("kwargs_model", "kwargs_result"), parts, strict=True):
        if not isinstance(part, Mapping):
            raise InputError(path, key, f"a {type(part).__name__}", nearest(key, ["an object of lists"]))
    try:
        return from_lenstronomy(*parts)
    except InputError as error:
        raise error if error.file else InputError(path, error.field, error.seen, error.expected) from None


def _listed(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _listed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_listed(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
