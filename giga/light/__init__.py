"""Light profiles, one a file."""

from giga.light.base import LightProfile as LightProfile
from giga.light.sersic import Sersic as Sersic
from giga.light.shapelets import Shapelets as Shapelets
