"""Light profiles, one a file; those not named here are found all the same."""

from giga.component import found_in
from giga.light.base import LightProfile as LightProfile
from giga.light.sersic import Sersic as Sersic
from giga.light.shapelets import Shapelets as Shapelets

PROFILES = found_in(__name__, LightProfile)
"""Every light profile by name; each is exported under it."""
globals().update(PROFILES)
