"""Hernquist sphere."""

import math

from jax import Array

from giga.component import Param
from giga.mass.base import MassProfile
from giga.mass.forms.functions import projected, softening


class Hernquist(MassProfile):
    """Hernquist sphere, rho proportional to 1 / (r (r + Rs)^3); the deflection at Rs is 2/3 sigma0 Rs.

    Attributes:
        sigma0: Convergence scale rho_0 Rs / Sigma_crit, dimensionless.
        Rs: Scale radius [arcsec].
        center_x, center_y: Centre [arcsec].

    References:
        Hernquist (1990), ApJ 356, 359; Keeton (2001), arXiv:astro-ph/0102341, eqs. 45-48.
    """

    sigma0: Param
    Rs: Param
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"Rs": (0.0, math.inf)}

    def potential(self, x: Array, y: Array) -> Array:
        x, y = x - self.center_x, y - self.center_y
        _, _, rest = projected((x**2 + y**2 + softening(x)) / self.Rs**2)
        return self.sigma0 * self.Rs**2 * rest

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.center_x, y - self.center_y
        _, quotient, _ = projected((x**2 + y**2 + softening(x)) / self.Rs**2)
        scale = 2.0 * self.sigma0 * quotient
        return scale * x, scale * y
