"""Mass profiles, one a file; those not named here are found all the same."""

from giga.component import found_in
from giga.mass.base import MassProfile as MassProfile
from giga.mass.epl import EPL as EPL
from giga.mass.external import Shear as Shear
from giga.mass.nfw import NFW as NFW
from giga.mass.sie import SIE as SIE

PROFILES = found_in(__name__, MassProfile)
"""Every mass profile by name; each is exported under it."""
globals().update(PROFILES)
