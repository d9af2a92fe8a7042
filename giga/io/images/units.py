"""What the BUNIT of an image means, and the factor that makes it counts per second."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import astropy.units as u
import numpy as np

COUNTS = {u.count, u.electron, u.adu, u.DN, u.photon}
SPELLINGS = (  # as instruments write them, in lower case: what astropy reads
    (r"\be-?(?=[/)^*]|$)", "electron"), (r"\belectrons?\b", "electron"), (r"\b(counts?|cts|ct)\b", "count"),
    (r"\bcps\b", "count/s"), (r"\bdn\b", "DN"), (r"\b(sec|seconds?)\b", "s"), (r"\bphotons?\b", "photon"),
)
WHOLE = re.compile(r"(1\s*/\s*)?\(([^()]+)\)\s*(?:\^|\*\*)?\s*(-?\d)")  # a power of all of a unit


def parse_unit(text: str) -> u.UnitBase | None:
    """Read a BUNIT, in the spellings that instruments use; None when it cannot be read.

    Raises:
        ValueError: A logarithmic unit (magnitudes).

    >>> parse_unit("ELECTRONS/S")
    Unit("electron / s")
    """
    if whole := WHOLE.fullmatch(text.strip()):  # which astropy does not read
        inner = parse_unit(whole[2])
        return None if inner is None else inner ** (int(whole[3]) * (-1 if whole[1] else 1))
    lower = text.strip().lower()
    for pattern, name in SPELLINGS:
        lower = re.sub(pattern, name, lower)
    for spelling in (text.strip(), lower):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", u.UnitsWarning)  # more than one slash, as in electron/s/arcsec2
                unit = u.Unit(spelling)
        except ValueError:
            continue
        if not isinstance(unit, u.UnitBase) or {u.mag, u.dex} & set(unit.decompose().bases):
            raise ValueError(f"BUNIT {text!r} is logarithmic")
        if u.S in unit.bases:
            continue  # a second in capital letters, no siemens
        return unit
    return None


def kind_of(unit: u.UnitBase) -> str:
    """One of "counts/s", "counts", "surface_brightness" (per solid angle), or "other"."""
    plain: Any = unit.decompose()
    powers = {base: float(power) for base, power in zip(plain.bases, plain.powers, strict=True) if base != u.pix}
    if powers.get(u.rad, 0.0) == -2.0:
        return "surface_brightness"
    counts = [power for base, power in powers.items() if base in COUNTS]
    if counts != [1.0]:
        return "other"
    rest = {base: power for base, power in powers.items() if base not in COUNTS}
    return {(): "counts", ((u.s, -1.0),): "counts/s"}.get(tuple(rest.items()), "other")


def is_no_rate(bunit: str | None) -> bool:
    """Whether a BUNIT tells that pixel values are not counts per second."""
    try:
        unit = parse_unit(bunit) if bunit else None
    except ValueError:
        return True  # magnitudes
    return unit is not None and kind_of(unit) != "counts/s"


def is_electrons(bunit: str | None) -> bool:
    """Whether a BUNIT counts electrons or photons, so that its gain is one."""
    try:
        unit = parse_unit(bunit) if bunit else None
    except ValueError:
        return False
    return unit is not None and bool({u.electron, u.photon} & set(unit.decompose().bases))


def to_rate(bunit: str | None, units: str | None, exposure_time: float | np.ndarray | None, pixel_area: float,
            ) -> tuple[float | np.ndarray, str]:
    """Factor from the pixel values of an image to counts per second and pixel, and a note about it.

    Args:
        bunit: BUNIT of the header, if any.
        units: What the user says: "counts/s", "counts", "surface_brightness", or None to trust BUNIT.
        exposure_time: Exposure time [s], above 0, for "counts"; of each pixel if it is an array.
        pixel_area: Area of a pixel [arcsec^2], for "surface_brightness".

    Returns:
        The factor, and what to tell the user (empty when BUNIT says it all).

    Raises:
        ValueError: BUNIT that needs the user's word.
    """
    unit = parse_unit(bunit) if bunit else None
    kind = kind_of(unit) if unit is not None else None
    if units is None:
        if kind in ("counts", "surface_brightness"):
            raise ValueError(f"BUNIT {bunit!r} is not a rate per pixel")
        if kind == "counts/s" and unit is not None:
            return _scale(unit), ""
        said = f"BUNIT {bunit!r} is not a count rate" if bunit else "no BUNIT"
        return 1.0, f"{said}; pixel values are taken as they are, as counts / s"
    note = f"BUNIT says {bunit!r}, the configuration {units!r}, which is followed" if kind not in (None, units) else ""
    scale = _scale(unit) if unit is not None and kind == units else 1.0
    if units == "counts/s":
        return scale, note
    if units == "counts":
        if exposure_time is None:
            raise ValueError("counts need an exposure time")
        said = f"{exposure_time:g} s" if isinstance(exposure_time, float) else "of each pixel"
        return scale / exposure_time, note or f"counts divided by the exposure time {said}"
    solid = u.arcsec**-2
    if unit is not None and kind == units:
        angles = [base**power for base, power in zip(unit.bases, unit.powers, strict=True)
                  if base.physical_type in ("angle", "solid angle")]
        solid = angles[0] if len(angles) == 1 else u.rad**-2
    factor = pixel_area * float(abs(solid.to(u.arcsec**-2)))
    return factor, note or f"surface brightness multiplied by the pixel area {pixel_area:.6g} arcsec^2"


def _scale(unit: u.UnitBase) -> float:
    """Counts (per second) of one of a unit."""
    return float(abs(unit.decompose().scale))


def power_of(bunit: str | None, image: str | None) -> float | None:
    """Which power of an image's unit another unit is.

    Names of counts that mean the same are one (DN and adu, photon and electron), a count may be any of them, and units
    per pixel are those of the pixel.

    Args:
        bunit: BUNIT of what goes with the image.
        image: BUNIT of the image.

    Returns:
        1, 2, -2, or 0 for no unit; NaN for none of these; None where one of them is not there or cannot be read.

    >>> power_of("electron**2/s**2", "ELECTRONS/S")
    2.0
    """
    mine, other = (_plain(text) for text in (bunit, image))
    if mine is None or other is None:
        return None
    generic = u.count in mine[1] or u.count in other[1]
    (scale, powers), (unit_scale, unit_powers) = (_merged(*pair) if generic else pair for pair in (mine, other))
    for power in (1.0, 2.0, -2.0, 0.0):
        raised = {base: power * exponent for base, exponent in unit_powers.items() if power}
        if powers == raised and abs(scale / unit_scale**power - 1.0) < 1e-3:
            return power
    return math.nan


def _plain(text: str | None) -> tuple[float, dict[u.UnitBase, float]] | None:
    """Scale and powers of the bases of a unit, without pixels and with one name for each kind of count."""
    try:
        unit = parse_unit(text) if text else None
    except ValueError:
        return None if text is None else (1.0, {u.mag: 1.0})
    if unit is None:
        return None
    plain: Any = unit.decompose()
    powers: dict[Any, float] = {}
    same: dict[Any, Any] = {u.DN: u.adu, u.photon: u.electron}
    for base, power in zip(plain.bases, plain.powers, strict=True):
        name = same.get(base, base)
        if base != u.pix:
            powers[name] = powers.get(name, 0.0) + float(power)
    return float(abs(plain.scale)), powers


def _merged(scale: float, powers: dict[u.UnitBase, float]) -> tuple[float, dict[u.UnitBase, float]]:
    """The same with all kinds of counts as one."""
    counts = sum(power for base, power in powers.items() if base in COUNTS)
    rest = {base: power for base, power in powers.items() if base not in COUNTS}
    return scale, rest | ({u.count: counts} if counts else {})
