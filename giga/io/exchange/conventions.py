"""What codes differ in: ellipses by components or by axis ratio and angle, radii by axis, the constant of a Sersic.

All in NumPy and float64, elementwise: numbers at the edge, one lens or many draws, in the digits that files have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.light.sersic import b_n

UNIT = 4.0 * (1.0 - np.log(2.0))
"""Deflection of an NFW halo at its scale radius, in kappa_s times scale radius."""


def components(q: Any, phi: Any) -> tuple[Any, Any]:
    """Ellipticity components (e1, e2) of an axis ratio and an angle counter-clockwise from +x [rad]."""
    e = (1.0 - q) / (1.0 + q)
    return e * np.cos(2.0 * phi), e * np.sin(2.0 * phi)


def polar(e1: Any, e2: Any) -> tuple[Any, Any]:
    """Axis ratio q and angle [rad, counter-clockwise from +x, in (-pi/2, pi/2]] of ellipticity components."""
    e = np.hypot(e1, e2)
    return (1.0 - e) / (1.0 + e), 0.5 * np.arctan2(e2, e1)


def within(angle: Any, middle: Any = 0.0, turn: float = np.pi) -> Any:
    """The angle, changed by whole turns until it lies within half a turn above `middle`, or less below it."""
    return middle - np.remainder(middle - angle + 0.5 * turn, turn) + 0.5 * turn


def axis_ratio(profile: Any) -> Any:
    """Axis ratio of a profile with fields e1 and e2."""
    return polar(profile.e1, profile.e2)[0]


def exact(n: Any) -> Any:
    """b_n that makes the radius that of half the light, giga's own."""
    return b_n(n)


def linear(n: Any) -> Any:
    """b_n = 1.9992 n - 0.3271, of lenstronomy, GIGA-Lens, Herculens and COOLEST's own evaluation."""
    return 1.9992 * n - 0.3271


def series(n: Any) -> Any:
    """b_n by the series of Ciotti & Bertin (1999), A&A 352, 447, eq. 18, to n^-4; of caustics and PyAutoLens."""
    x = 1.0 / n
    return 2.0 * n - 1.0 / 3.0 + x * (4.0 / 405.0 + x * (46.0 / 25515.0 + x * (131.0 / 1148175.0
                                                                            - x * 2194697.0 / 30690717750.0)))


def constant_of(profile: Any) -> Any:
    """The b_n that a Sersic profile of giga is drawn with."""
    return (exact if profile.b_n == "exact" else linear)(profile.n_sersic)


def reshaped(amp: Any, radius: Any, n: Any, before: Any, after: Any) -> tuple[Any, Any]:
    """Amplitude and radius of the same Sersic profile written with another b_n.

    amp exp(-b ((R/radius)^(1/n) - 1)) keeps its values when radius goes with b^n and amp with exp(-b).

    Args:
        amp, radius, n: Amplitude at the radius (None stays None), radius, index.
        before, after: The two b_n.
    """
    return None if amp is None else amp * np.exp(before - after), radius * (after / before) ** n


def axis_of_foci(e1: Any, e2: Any) -> Any:
    """Radius on the intermediate axis, R^2 = q x^2 + y^2 / q, of one in x^2 / (1 + |e|)^2 + y^2 / (1 - |e|)^2.

    The latter is the ellipse of Kassiola & Kovner (1993), which LensTool, PyAutoLens and Herculens have for dual
    pseudo-isothermal mass.
    """
    return np.sqrt(1.0 - np.hypot(e1, e2) ** 2)


def of_squares(e: Any) -> Any:
    """(a^2 - b^2) / (a^2 + b^2) of the modulus (a - b) / (a + b)."""
    return 2.0 * e / (1.0 + e**2)


def from_squares(ellipticity: Any) -> Any:
    """Inverse of `of_squares`."""
    return ellipticity / (1.0 + np.sqrt(1.0 - ellipticity**2))


def with_modulus(e1: Any, e2: Any, change: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Components in the same direction whose modulus is `change` of what it was."""
    e = np.hypot(e1, e2)
    ratio = np.where(e > 0.0, change(e) / np.where(e > 0.0, e, 1.0), 1.0)
    return ratio * e1, ratio * e2


def shapelet_order(amps: Any, n_max: Any) -> int:
    """Largest order of a set of shapelets, by the number of its amplitudes (None: they are solved) or as given."""
    if amps is None:
        if n_max is None:
            raise InputError("", "n_max", "missing", "the largest order, where amplitudes are left out")
        return int(n_max)
    count = np.shape(amps)[-1] if np.ndim(amps) else 1
    order = int(round((np.sqrt(8.0 * count + 1.0) - 3.0) / 2.0))
    if (order + 1) * (order + 2) // 2 != count or n_max is not None and int(n_max) != order:
        raise InputError("", "amps", f"{count} of them", "1, 3, 6, 10 ..., as n_max has it")
    return order
