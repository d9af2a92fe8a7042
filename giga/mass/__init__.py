"""Mass profiles, one a file."""

from giga.mass.base import MassProfile as MassProfile
from giga.mass.epl import EPL as EPL
from giga.mass.nfw import NFW as NFW
from giga.mass.shear import Shear as Shear
from giga.mass.sie import SIE as SIE
