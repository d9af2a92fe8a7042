"""Profiles of GIGA-Lens 0.1.8 and 2.0: as lenstronomy's, but for the amplitudes; and of its fork for clusters.

An amplitude that is sampled is a brightness, as giga's, but a round `Sersic` multiplies it twice: its brightness at
R_sersic is Ie^2. An amplitude that is solved lacks the pixel area (`solved_amplitude`). `CoreSersic` computes
exp(-b_n (R^alpha + Rb^alpha) / (alpha n R_sersic^alpha) - 1) for its paper's last factor, which is a core-Sersic of
index 1 / alpha. Shapelets have an amplitude each, `amp00` and so on.

`DPIE`, `DPIS` and `DPIEP` of the fork have LensTool's b0 as `theta_E`, radii of Kassiola & Kovner's ellipse, and giga's
ellipticities.

References:
    Gu et al. (2022), ApJ 935, 49; the package's profiles.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from giga.component import Component
from giga.io.errors import InputError
from giga.io.exchange.conventions import axis_of_foci, constant_of, linear, reshaped, shapelet_order
from giga.io.exchange.pairs import Pair, plain, read, same, written
from giga.light.core_sersic import CoreSersic
from giga.light.sersic import Sersic
from giga.light.shapelets import Shapelets
from giga.mass.epl import EPL
from giga.mass.external import Shear
from giga.mass.nfw import NFW
from giga.mass.pjaffe import PJaffe, PJaffeEllipse
from giga.mass.sie import SIE
from giga.mass.sis import SIS
from giga.mass.tnfw import TNFW

CODE = "GIGA-Lens"
AMPLITUDE = "Ie"
SHAPELETS = "amp"
ELLIPSE = ("e1", "e2", "center_x", "center_y")


def _sersic(name: str, round_one: bool) -> Pair:
    def out(p: Any) -> dict[str, Any]:
        amp, radius = reshaped(p.amp, p.R_sersic, p.n_sersic, constant_of(p), linear(p.n_sersic))
        amp = None if amp is None else np.sqrt(amp) if round_one else amp
        return {"R_sersic": radius, "n_sersic": p.n_sersic, AMPLITUDE: amp} | {key: getattr(p, key) for key in places}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        amp = k[AMPLITUDE]
        amp = None if amp is None else amp**2 if round_one else amp
        return {key: value for key, value in k.items() if key != AMPLITUDE} | {"amp": amp, "b_n": "linear"}

    places = ELLIPSE[2:] if round_one else ELLIPSE
    # Out of giga every Sersic is an ellipse, whose amplitude is what it seems.
    return Pair(name, Sersic, ("R_sersic", "n_sersic", *places, AMPLITUDE), out, back, reads=round_one)


def _core_sersic(k: dict[str, Any]) -> dict[str, Any]:
    n, alpha, amp = 1.0 / k["alpha"], k["alpha"], k[AMPLITUDE]
    b, theirs = linear(n), linear(k["n_sersic"]) / (alpha * k["n_sersic"])
    if not np.all((b > 0.0) & (theirs > 0.0)):
        raise InputError("", "alpha", f"got {alpha}, n_sersic = {k['n_sersic']}",
                         "b_n of both n_sersic and 1 / alpha above 0")
    return {key: k[key] for key in ("Rb", "gamma", "alpha", *ELLIPSE)} \
        | {"n_sersic": n, "b_n": "linear", "R_sersic": k["R_sersic"] * (b / theirs) ** n,
           "amp": None if amp is None else amp * np.exp(-1.0 - b)}


def _dual(name: str, profile: type[Component], radii: tuple[str, str], round_one: bool = False) -> Pair:
    """A dual pseudo-isothermal profile by b0 = 2 sigma0 core."""
    places = ELLIPSE[2:] if round_one else ELLIPSE

    def unit(e1: Any, e2: Any) -> Any:
        return axis_of_foci(e1, e2) if profile is PJaffeEllipse else 1.0

    def out(p: Any) -> dict[str, Any]:
        core, cut = p.Ra / unit(p.e1, p.e2), p.Rs / unit(p.e1, p.e2)
        return {"theta_E": 2.0 * p.sigma0 * core, radii[0]: core, radii[1]: cut} \
            | {key: getattr(p, key) for key in places}

    def back(k: dict[str, Any]) -> dict[str, Any]:
        axis = unit(k.get("e1", 0.0), k.get("e2", 0.0))
        return {key: k[key] for key in places} | {"sigma0": 0.5 * k["theta_E"] / k[radii[0]], "Ra": axis * k[radii[0]],
                                                  "Rs": axis * k[radii[1]]}

    return Pair(name, profile, ("theta_E", *radii, *places), out, back, reads=round_one)


PAIRS = (
    same("EPL", EPL, "theta_E gamma e1 e2 center_x center_y"),
    same("SIE", SIE, "theta_E e1 e2 center_x center_y"),
    same("SIS", SIS, "theta_E center_x center_y"),
    same("TNFW", TNFW, "Rs alpha_Rs r_trunc center_x center_y"),
    same("Shear", Shear, "gamma1 gamma2"),
    same("NFW", NFW, "Rs alpha_Rs center_x center_y", only={"e1": 0.0, "e2": 0.0}),
    same("NFW_ELLIPSE", NFW, "Rs alpha_Rs e1 e2 center_x center_y"),
    _dual("DPIE", PJaffeEllipse, ("r_core", "r_cut")),
    _dual("DPIS", PJaffeEllipse, ("r_core", "r_cut"), True),
    _dual("DPIEP", PJaffe, ("Ra", "Rs")),
    _sersic("SersicEllipse", False),
    _sersic("Sersic", True),
    Pair("CoreSersic", CoreSersic, ("R_sersic", "n_sersic", "Rb", "alpha", "gamma", *ELLIPSE, AMPLITUDE), vars,
         _core_sersic, reads=True),
    Pair("Shapelets", Shapelets, ("n_max", "beta", "center_x", "center_y", SHAPELETS),
         lambda p: {key: getattr(p, key) for key in ("n_max", "beta", "center_x", "center_y", SHAPELETS)},
         lambda k: k | {"n_max": shapelet_order(k[SHAPELETS], k["n_max"])}, {"n_max": None}),
)
"""Profiles of both, by the names of GIGA-Lens's classes; amplitudes of shapelets as one array.

`NFW` to `DPIEP` are of its fork for clusters.
"""


def to_gigalens(profile: Component) -> tuple[str, dict[str, Any]]:
    """Class and parameters of a profile in GIGA-Lens; `n_max` of shapelets is an argument of the class.

    Raises:
        InputError: As `giga.io.exchange.pairs.written`.
    """
    name, values = written(PAIRS, CODE, profile, type(profile).__name__)
    if (amps := values.pop(SHAPELETS, None)) is not None:
        count = amps.shape[-1]
        values |= {f"{SHAPELETS}{k:0{len(str(count))}d}": plain(amps[..., k]) for k in range(count)}
    return name, values


def from_gigalens(name: str, values: Mapping[str, Any]) -> Any:
    """A profile from a class of GIGA-Lens and its parameters. Raises InputError, as `giga.io.exchange.pairs.read`."""
    each = sorted((key for key in values if re.fullmatch(rf"{SHAPELETS}\d+", key)), key=lambda key: int(key[3:]))
    if name == "Shapelets" and each:
        if [int(key[3:]) for key in each] != list(range(len(each))):
            raise InputError("", f"{name}.{each[-1]}", f"{len(each)} amplitudes", "all of them, from 0 on")
        amps = np.stack(np.broadcast_arrays(*(values[key] for key in each)), axis=-1)
        values = {key: value for key, value in values.items() if key not in each} | {SHAPELETS: amps}
    return read(PAIRS, CODE, name, values, name, (AMPLITUDE, SHAPELETS))


def solved_amplitude(coefficient: Any, pixel_scale: float) -> Any:
    """giga's amplitude of one that GIGA-Lens has solved (`use_lstsq`), whose images lack the pixel area."""
    return coefficient / pixel_scale**2
