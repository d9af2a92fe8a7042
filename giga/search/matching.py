"""Candidates and lenses that are known already, matched by their places on the sky."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord


def nearest_on_sky(ra: np.ndarray, dec: np.ndarray, known_ra: np.ndarray, known_dec: np.ndarray,
                   radius: float) -> tuple[np.ndarray, np.ndarray]:
    """The nearest known place of each place, within a radius.

    Args:
        ra, dec: Places, ICRS [deg], shape (n,); NaN where one is not known.
        known_ra, known_dec: Known ones, likewise.
        radius: Largest separation [arcsec].

    Returns:
        Number of the known one, -1 where there is none, and the separation [arcsec], NaN there; shape (n,) each.
    """
    number, apart = np.full(len(ra), -1), np.full(len(ra), np.nan)
    there, known = np.isfinite(ra) & np.isfinite(dec), np.isfinite(known_ra) & np.isfinite(known_dec)
    if not there.any() or not known.any():
        return number, apart
    found, separation, _ = SkyCoord(ra[there] * u.deg, dec[there] * u.deg).match_to_catalog_sky(
        SkyCoord(known_ra[known] * u.deg, known_dec[known] * u.deg))
    seconds = np.asarray(separation.to_value(u.arcsec), float)
    near = seconds <= radius
    places = np.flatnonzero(there)[near]
    number[places], apart[places] = np.flatnonzero(known)[np.asarray(found)[near]], seconds[near]
    return number, apart
