"""Dual pseudo-isothermal profile, elliptical in the potential."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import potential_radius
from giga.mass.base import MassProfile
from giga.mass.functions import log1p_ratio


class PJaffe(MassProfile):
    """Dual pseudo-isothermal profile: rho proportional to 1 / ((r^2 + Ra^2) (r^2 + Rs^2)).

    kappa = sigma0 Ra Rs / (Rs - Ra) (1 / sqrt(Ra^2 + R^2) - 1 / sqrt(Rs^2 + R^2)). With an ellipticity, its
    potential (not its mass) is constant on ellipses. Ra and Rs may be exchanged, and may be equal: the
    differences are factored, so that none is divided by another.

    LensTool writes the same deflection with the factor b0 s / (s - a), a = Ra and s = Rs, so sigma0 = b0 / (2 Ra).

    Attributes:
        sigma0: Convergence scale, dimensionless.
        Ra: Core radius [arcsec].
        Rs: Cut (transition) radius [arcsec].
        e1, e2: Ellipticity of the potential, see `giga.ellipse.potential_radius`.
        center_x, center_y: Centre [arcsec].

    References:
        Eliasdottir et al. (2007), arXiv:0710.5636, eqs. A1-A20.
    """

    sigma0: Param
    Ra: Param
    Rs: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"Ra": (0.0, math.inf), "Rs": (0.0, math.inf), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}

    def potential(self, x: Array, y: Array) -> Array:
        _, _, core, cut, ratio, lift = self._parts(x, y)
        # (Rs ln(Rs + cut) - Ra ln(Ra + core) - (cut - core)) / (Rs - Ra), the difference divided out
        slope = lift * log1p_ratio((self.Rs - self.Ra) * lift)
        return 2.0 * self.sigma0 * self.Ra * self.Rs * (jnp.log(self.Rs + cut) + self.Ra * slope - ratio)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        half_x, half_y, _, cut, _, lift = self._parts(x, y)
        scale = 2.0 * self.sigma0 * self.Ra * self.Rs * lift / (self.Rs + cut)
        return scale * half_x, scale * half_y

    def _parts(self, x: Array, y: Array):
        """Half the gradient of R^2, sqrt(Ra^2 + R^2), sqrt(Rs^2 + R^2), and two quotients of differences.

        ratio = (cut - core) / (Rs - Ra), lift = (Rs + cut - Ra - core) / ((Rs - Ra) (Ra + core)).
        """
        squared, half_x, half_y = potential_radius(x - self.center_x, y - self.center_y, self.e1, self.e2)
        core, cut = jnp.sqrt(self.Ra**2 + squared), jnp.sqrt(self.Rs**2 + squared)
        ratio = (self.Ra + self.Rs) / (core + cut)
        return half_x, half_y, core, cut, ratio, (1.0 + ratio) / (self.Ra + core)
