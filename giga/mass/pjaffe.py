"""Dual pseudo-isothermal profile, elliptical in the potential or in the mass."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import potential_radius, radius_squared
from giga.mass.base import MassProfile
from giga.mass.forms.functions import gauss_legendre, log1p_ratio
from giga.mass.nie import core_log, core_log_slope, unit_deflection, unit_potential

NEAR = 0.1  # of (Rs - Ra) / (Rs + Ra), below which the difference of two NIEs is taken as an integral
NODES = 6  # of that integral: to 1e-12


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


class PJaffeEllipse(MassProfile):
    """Dual pseudo-isothermal profile of elliptical mass, as LensTool's type 81.

    kappa = sigma0 Ra Rs / (Rs - Ra) (1 / sqrt(Ra^2 + R^2) - 1 / sqrt(Rs^2 + R^2)), R^2 = q x^2 + y^2 / q: the
    difference of two NIEs. LensTool writes the same with the factor b0 s / (s - a), a = Ra and s = Rs, so
    sigma0 = b0 / (2 Ra); its radii are on the same axis for small ellipticities only, see its documentation.

    Attributes:
        sigma0: Convergence scale, dimensionless.
        Ra: Core radius on the intermediate axis [arcsec].
        Rs: Cut (transition) radius on the intermediate axis [arcsec].
        e1, e2: Ellipticity components of the mass, (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].

    References:
        Kassiola & Kovner (1993), ApJ 417, 450, sect. 4.1; Eliasdottir et al. (2007), arXiv:0710.5636, app. A.
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
        x, y = x - self.center_x, y - self.center_y
        apart, Ra, Rs = self._radii()
        far = (unit_potential(x, y, self.e1, self.e2, Ra) - unit_potential(x, y, self.e1, self.e2, Rs)) / (Rs - Ra)
        near = jnp.zeros_like(far)
        for s, weight in self._between():
            near = near + 0.5 * weight * core_log(x, y, self.e1, self.e2, s)
        # As in the circular profile, whose potential is ln r far out but for the factor: the constants differ by 1.
        return self._scale() * jnp.where(apart, far - 1.0, near)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.center_x, y - self.center_y
        apart, Ra, Rs = self._radii()
        core_x, core_y = unit_deflection(x, y, self.e1, self.e2, Ra)
        cut_x, cut_y = unit_deflection(x, y, self.e1, self.e2, Rs)
        near_x, near_y = jnp.zeros_like(core_x), jnp.zeros_like(core_y)
        for s, weight in self._between():
            slope_x, slope_y = core_log_slope(x, y, self.e1, self.e2, s)
            near_x, near_y = near_x + 0.5 * weight * slope_x, near_y + 0.5 * weight * slope_y
        return (self._scale() * jnp.where(apart, (core_x - cut_x) / (Rs - Ra), near_x),
                self._scale() * jnp.where(apart, (core_y - cut_y) / (Rs - Ra), near_y))

    def convergence(self, x: Array, y: Array) -> Array:
        squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        core, cut = jnp.sqrt(self.Ra**2 + squared), jnp.sqrt(self.Rs**2 + squared)
        return 0.5 * self._scale() * (self.Ra + self.Rs) / (core * cut * (core + cut))

    def _scale(self) -> Array:
        return 2.0 * self.sigma0 * self.Ra * self.Rs

    def _radii(self) -> tuple[Array, Array, Array]:
        """Whether the radii are far apart, and the two, with a stand-in where they are not."""
        apart = jnp.abs(self.Rs - self.Ra) > NEAR * (self.Rs + self.Ra)
        return apart, self.Ra, jnp.where(apart, self.Rs, 2.0 * self.Ra)

    def _between(self) -> list[tuple[Array, float]]:
        """Radii and weights of a quadrature from Ra to Rs: d/ds of the NIE is the cored steep ellipsoid."""
        nodes, weights = gauss_legendre(NODES)
        return [(self.Ra + float(t) * (self.Rs - self.Ra), float(w)) for t, w in zip(nodes, weights, strict=True)]
