"""Profiles of GIGA-Lens 0.1.8 and 2.0: as lenstronomy's, but for the amplitudes.

An amplitude that is sampled is a brightness, as giga's, but a round `Sersic` multiplies it twice: its brightness at
R_sersic is Ie^2. An amplitude that is solved lacks the pixel area (`solved_amplitude`). `CoreSersic` computes
something else than its paper's formula, and has no counterpart.

References:
    Gu et al. (2022), ApJ 935, 49; the package's profiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from giga.component import Component
from giga.io.exchange.conventions import constant_of, linear, reshaped
from giga.io.exchange.pairs import Pair, read, same, written
from giga.light.sersic import Sersic
from giga.mass.epl import EPL
from giga.mass.external import Shear
from giga.mass.sie import SIE
from giga.mass.sis import SIS
from giga.mass.tnfw import TNFW

CODE = "GIGA-Lens"
AMPLITUDE = "Ie"
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


PAIRS = (
    same("EPL", EPL, "theta_E gamma e1 e2 center_x center_y"),
    same("SIE", SIE, "theta_E e1 e2 center_x center_y"),
    same("SIS", SIS, "theta_E center_x center_y"),
    same("TNFW", TNFW, "Rs alpha_Rs r_trunc center_x center_y"),
    same("Shear", Shear, "gamma1 gamma2"),
    _sersic("SersicEllipse", False),
    _sersic("Sersic", True),
)
"""Profiles of both, by the names of GIGA-Lens's classes. Its shapelets have an amplitude each, see `joint`."""


def to_gigalens(profile: Component) -> tuple[str, dict[str, Any]]:
    """Class and parameters of a profile in GIGA-Lens. Raises InputError, as `giga.io.exchange.pairs.written`."""
    return written(PAIRS, CODE, profile, type(profile).__name__)


def from_gigalens(name: str, values: Mapping[str, Any]) -> Any:
    """A profile from a class of GIGA-Lens and its parameters. Raises InputError, as `giga.io.exchange.pairs.read`."""
    return read(PAIRS, CODE, name, values, name, (AMPLITUDE,))


def solved_amplitude(coefficient: Any, pixel_scale: float) -> Any:
    """giga's amplitude of one that GIGA-Lens has solved (`use_lstsq`), whose images lack the pixel area."""
    return coefficient / pixel_scale**2
