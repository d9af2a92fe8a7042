"""Cosmologies of astropy, taken as they are."""

from __future__ import annotations

from typing import Any

import astropy.cosmology as ap
import numpy as np

from giga.io.errors import InputError
from giga.lensing.cosmology import Cosmology, Radiant

KINDS = (ap.LambdaCDM, ap.wCDM, ap.w0waCDM)
"""With their flat kinds; others have a dark energy that is not that of w0 and wa."""

BOLTZMANN = 8.617333262145177e-05
"""[eV / K]"""


def from_astropy(cosmology: Any) -> Cosmology:
    """Make a cosmology of one of astropy's, with its curvature, dark energy, photons and massive neutrinos.

    >>> from_astropy("Planck18").H0
    67.66

    Args:
        cosmology: An object of astropy, or the name of one, such as "Planck18".

    Returns:
        One whose distances are the same, to be differentiated by its fields.

    Raises:
        InputError: A name that astropy does not know, or a dark energy other than that of w0 and wa.
    """
    if isinstance(cosmology, str):
        if cosmology not in ap.available:
            raise InputError("", "cosmology", f"got {cosmology!r}", f"one of {', '.join(ap.available)}")
        cosmology = getattr(ap, cosmology)
    if not isinstance(cosmology, KINDS):
        raise InputError("", "cosmology", f"got {type(cosmology).__name__}", "LambdaCDM, wCDM, w0waCDM, or a flat one")
    universe: Any = cosmology
    w0 = float(universe.w(0.0))
    wa = 2.0 * (float(universe.w(1.0)) - w0)
    fields = dict(H0=float(universe.H0.value), Om0=float(universe.Om0), Ok0=float(universe.Ok0), w0=w0, wa=wa)
    if not universe.Ogamma0 > 0.0:
        return Cosmology(**fields)
    species = int(np.floor(universe.Neff))
    masses = np.zeros(species) if universe.m_nu is None else np.broadcast_to(universe.m_nu.to_value("eV"), species)
    temperature = universe.Tnu0.to_value("K") * BOLTZMANN
    return Radiant(**fields, Ogamma0=float(universe.Ogamma0), N_eff=float(universe.Neff),
                   masses=tuple(float(mass / temperature) for mass in masses))
