"""Profiles that COOLEST 0.1 and giga both have.

COOLEST's x runs to the right and y up, as giga's; its angles are in degrees, counter-clockwise from +y, and an axis
ratio goes with them. Radii are on the intermediate axis. The package draws a Sersic with the linear b_n, so that is
what one is written with. Of a halo it says `rho_c` without a unit, and of a Chameleon not how it is normalised: they
are left out.

References:
    Galan et al. (2023), JOSS 8, 5567; the package's own evaluation, `coolest.api.profiles`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from giga.component import Component
from giga.io.errors import InputError
from giga.io.exchange.conventions import components, constant_of, linear, polar, reshaped, within
from giga.io.exchange.pairs import Pair, same
from giga.io.exchange.points import fluxes, positions
from giga.light.point import LensedPoint, MicrolensedPoint
from giga.light.sersic import Sersic
from giga.light.shapelets import Shapelets
from giga.light.uniform_sky import UniformSky
from giga.mass.epl import EPL
from giga.mass.external import Convergence, Shear
from giga.mass.nie import NIE
from giga.mass.sie import SIE
from giga.mass.spemd import SPEMD

CODE = "COOLEST"
GRID = "PixelatedRegularGrid"
ANGLES = ("phi", "phi_ext")  # of which half a turn is nothing [deg]
SETS = ("amps", "ra_list", "dec_list")  # parameters that are lists
ALIKE = {"theta_E": "theta_E", "gamma": "gamma", "center_x": "center_x", "center_y": "center_y", "r_core": "s_scale",
         "kappa_s": "kappa", "n": "n_sersic", "beta": "beta", "A": "amp"}
"""Parameters that are a field of giga's, so that a prior of one is a prior of the other."""
LIKE_LINEAR = {"theta_eff": "R_sersic", "I_eff": "amp"}
"""Those that are where b_n is linear."""


def _east_of_north(phi: Any) -> Any:
    return within(np.rad2deg(phi) - 90.0, 0.0, 180.0)


def _ellipse(p: Any) -> dict[str, Any]:
    q, phi = polar(p.e1, p.e2)
    return {"q": q, "phi": _east_of_north(phi), "center_x": p.center_x, "center_y": p.center_y}


def _components(k: dict[str, Any]) -> dict[str, Any]:
    e1, e2 = components(k["q"], np.deg2rad(k["phi"] + 90.0))
    return {"e1": e1, "e2": e2, "center_x": k["center_x"], "center_y": k["center_y"]}


def _elliptical(name: str, profile: type[Component], **renamed: str) -> Pair:
    """A mass on ellipses.

    Args:
        name, profile: As in `Pair`.
        renamed: giga's name of each parameter beside those of the ellipse.
    """
    return Pair(name, profile, (*renamed, "q", "phi", "center_x", "center_y"),
                lambda p: {key: getattr(p, here) for key, here in renamed.items()} | _ellipse(p),
                lambda k: {here: k[key] for key, here in renamed.items()} | _components(k))


def _shear(p: Any) -> dict[str, Any]:
    return {"gamma_ext": np.hypot(p.gamma1, p.gamma2), "phi_ext": _east_of_north(0.5 * np.arctan2(p.gamma2, p.gamma1))}


def _shear_back(k: dict[str, Any]) -> dict[str, Any]:
    twice = 2.0 * np.deg2rad(k["phi_ext"] + 90.0)
    return {"gamma1": k["gamma_ext"] * np.cos(twice), "gamma2": k["gamma_ext"] * np.sin(twice)}


def _sersic(p: Any) -> dict[str, Any]:
    amp, radius = reshaped(p.amp, p.R_sersic, p.n_sersic, constant_of(p), linear(p.n_sersic))
    return {"I_eff": amp, "theta_eff": radius, "n": p.n_sersic} | _ellipse(p)


def _sersic_back(k: dict[str, Any]) -> dict[str, Any]:
    return {"amp": k["I_eff"], "R_sersic": k["theta_eff"], "n_sersic": k["n"], "b_n": "linear"} | _components(k)


def _images(p: Any) -> dict[str, Any]:
    return dict(zip(("ra_list", "dec_list"), positions(p), strict=True)) | {"amps": fluxes(p)}


def _images_back(k: dict[str, Any]) -> dict[str, Any]:
    x, y = (np.atleast_1d(k[key]) for key in ("ra_list", "dec_list"))
    for key in ("dec_list", "amps"):
        if k[key] is not None and np.shape(np.atleast_1d(k[key])) != x.shape:
            raise InputError("", key, f"shape {np.shape(k[key])}", f"{x.shape}, one an image")
    return {"x": tuple(x.tolist()), "y": tuple(y.tolist()), "center_x": 0.0, "center_y": 0.0,
            "amp": None if k["amps"] is None else np.atleast_1d(k["amps"])}


MASSES = (
    _elliptical("SIE", SIE, theta_E="theta_E"),
    _elliptical("NIE", NIE, theta_E="theta_E", r_core="s_scale"),
    _elliptical("PEMD", EPL, theta_E="theta_E", gamma="gamma"),
    _elliptical("SPEMD", SPEMD, theta_E="theta_E", gamma="gamma", r_core="s_scale"),
    Pair("ExternalShear", Shear, ("gamma_ext", "phi_ext"), _shear, _shear_back),
    same("ConvergenceSheet", Convergence, "kappa_s", {"kappa_s": "kappa"}, only={"ra_0": 0.0, "dec_0": 0.0}),
)
"""Mass profiles of both."""
LIGHTS = (
    Pair("Sersic", Sersic, ("I_eff", "theta_eff", "n", "q", "phi", "center_x", "center_y"), _sersic, _sersic_back),
    Pair("Shapelets", Shapelets, ("amps", "n_max", "beta", "center_x", "center_y"),
         lambda p: {"amps": p.amp, "n_max": p.n_max, "beta": p.beta, "center_x": p.center_x, "center_y": p.center_y},
         lambda k: {"amp": k["amps"], "n_max": int(k["n_max"]), "beta": k["beta"], "center_x": k["center_x"],
                    "center_y": k["center_y"]}),
    same("Uniform", UniformSky, "A", {"A": "amp"}),
    *(Pair("LensedPS", profile, ("ra_list", "dec_list", "amps"), _images, _images_back)
      for profile in (LensedPoint, MicrolensedPoint)),  # the last one is read: it has a flux of each image
)
"""Light profiles of both; those of pixels are files of their own."""
