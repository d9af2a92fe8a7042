"""Dual pseudo-isothermal profile, elliptical in the potential or in the mass."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import potential_radius, radius_squared
from giga.mass.base import MassProfile
from giga.mass.forms.functions import gauss_legendre, log1p_ratio, softening
from giga.mass.nie import axes, core_log, core_log_slope, nearly_round, roundest, unit_potential

NEAR = 0.1  # of (Rs - Ra) / (Rs + Ra), below which the difference of two NIEs is taken as an integral
NODES = 6  # of that integral: to 1e-12
SMALL = 1e-3  # argument below which arctan(z) / z is taken by its series


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
        apart, Ra, Rs = _apart(self.Ra, self.Rs)
        far = (unit_potential(x, y, self.e1, self.e2, Ra) - unit_potential(x, y, self.e1, self.e2, Rs)) / (Rs - Ra)
        near = jnp.zeros_like(far)
        for s, weight in _between(self.Ra, self.Rs):
            near = near + 0.5 * weight * core_log(x, y, self.e1, self.e2, s)
        # As in the circular profile, whose potential is ln r far out but for the factor: the constants differ by 1.
        return self._scale() * jnp.where(apart, far - 1.0, near)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.center_x, y - self.center_y
        alpha_x, alpha_y = dual_deflection(x, y, self.e1, self.e2, self.Ra, self.Rs)
        return self._scale() * alpha_x, self._scale() * alpha_y

    def jacobian(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        xx, xy, yy = dual_hessian(x - self.center_x, y - self.center_y, self.e1, self.e2, self.Ra, self.Rs)
        return self._scale() * xx, self._scale() * xy, self._scale() * xy, self._scale() * yy

    def convergence(self, x: Array, y: Array) -> Array:
        squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        core, cut = jnp.sqrt(self.Ra**2 + squared), jnp.sqrt(self.Rs**2 + squared)
        return 0.5 * self._scale() * (self.Ra + self.Rs) / (core * cut * (core + cut))

    def _scale(self) -> Array:
        return 2.0 * self.sigma0 * self.Ra * self.Rs


def dual_deflection(x: Array, y: Array, e1: Array, e2: Array, Ra: Array, Rs: Array) -> tuple[Array, Array]:
    """Deflection of the NIE of core Ra less that of core Rs, over Rs - Ra, about the origin; theta_E = 1.

    Args:
        x, y: Positions [arcsec].
        e1, e2: Ellipticity of the mass; the derivatives by it are finite for a circle too.
        Ra, Rs: Radii on the intermediate axis, which may be equal [arcsec].
    """
    apart, first, second = _apart(Ra, Rs)
    squared = radius_squared(x, y, e1, e2) + softening(x)
    (core_x, core_y), (cut_x, cut_y) = (nearly_round(x, y, e1, e2, s, jnp.sqrt(squared + s**2))
                                        for s in (first, second))
    near_x, near_y = jnp.zeros_like(core_x), jnp.zeros_like(core_y)
    for s, weight in _between(Ra, Rs):
        slope_x, slope_y = core_log_slope(x, y, e1, e2, s)
        near_x, near_y = near_x + 0.5 * weight * slope_x, near_y + 0.5 * weight * slope_y
    round_x = jnp.where(apart, (core_x - cut_x) / (second - first), near_x)
    round_y = jnp.where(apart, (core_y - cut_y) / (second - first), near_y)
    flat, e, cos, sin = axes(e1, e2, roundest(x))
    flat_x, flat_y = turned_dual(x, y, e, cos, sin, Ra, Rs)
    return jnp.where(flat, flat_x, round_x), jnp.where(flat, flat_y, round_y)


def turned_dual(x: Array, y: Array, e: Array, cos: Array, sin: Array, Ra: Array, Rs: Array) -> tuple[Array, Array]:
    """`dual_deflection` of a given |e| above 0 and position angle: one arctangent and one logarithm.

    The difference of two arctangents is the arctangent of a quotient, in which Rs - Ra is divided out; so is that of
    the two hyperbolic ones.

    Args:
        x, y: Positions [arcsec].
        e: |e|, above 0.
        cos, sin: Of the position angle.
        Ra, Rs: Radii on the intermediate axis, which may be equal [arcsec].
    """
    q = (1.0 - e) / (1.0 + e)
    u, v = cos * x + sin * y, cos * y - sin * x
    squared = q * u**2 + v**2 / q + softening(x)
    core, cut = jnp.sqrt(Ra**2 + squared), jnp.sqrt(Rs**2 + squared)
    ratio = (Ra + Rs) / (core + cut)
    f = 2.0 * jnp.sqrt(e / (1.0 - e**2))
    step = f * (Rs - Ra)
    along = u * (ratio + 1.0 / q) / ((core + Ra / q) * (cut + Rs / q) + (f * u) ** 2)
    across = v * (ratio + q) / ((core + Ra * q) * (cut + Rs * q) - (f * v) ** 2)
    z, w = step * along, step * across
    far_z, far_w = jnp.abs(z) > SMALL, jnp.abs(w) > SMALL
    safe_z, safe_w = jnp.where(far_z, z, 1.0), jnp.where(far_w, w, 0.5)
    alpha_u = along * jnp.where(far_z, jnp.arctan(safe_z) / safe_z, 1.0 - z**2 * (1.0 / 3.0 - z**2 / 5.0))
    alpha_v = across * jnp.where(far_w, jnp.arctanh(safe_w) / safe_w, 1.0 + w**2 * (1.0 / 3.0 + w**2 / 5.0))
    return cos * alpha_u - sin * alpha_v, sin * alpha_u + cos * alpha_v


def dual_hessian(x: Array, y: Array, e1: Array, e2: Array, Ra: Array, Rs: Array) -> tuple[Array, Array, Array]:
    """Derivatives (xx, xy, yy) of `dual_deflection`: rational in all but two square roots, and in no need of an angle.

    Those of one NIE are Keeton & Kochanek's, psi_xx - psi_yy = N / (c D) with c = sqrt(R^2 + s^2), D = r^2 + 2 s c +
    s^2 (q + 1/q) and N = y^2 - x^2 - 4 e1 s^2 / (1 - |e|^2); in the difference Rs - Ra is divided out.

    References:
        Keeton & Kochanek (1998), ApJ 495, 157, eqs. 6-8.
    """
    inside = 1.0 / (1.0 - e1**2 - e2**2)
    even = 2.0 * (1.0 + e1**2 + e2**2) * inside  # q + 1/q
    soft = softening(x)
    squared, r_squared = radius_squared(x, y, e1, e2) + soft, x**2 + y**2 + soft
    core, cut = jnp.sqrt(Ra**2 + squared), jnp.sqrt(Rs**2 + squared)
    ratio = (Ra + Rs) / (core + cut)
    d_core = r_squared + 2.0 * Ra * core + Ra**2 * even
    d_cut = r_squared + 2.0 * Rs * cut + Rs**2 * even
    rise = ratio * d_cut + core * ((Ra + Rs) * even + 2.0 * (Rs * ratio + core))  # of c D, over Rs - Ra
    trace = ratio / (core * cut)  # of 1 / c
    w_core, w_cut = core * d_core, cut * d_cut

    def part(n: Array, slope: Array) -> Array:
        """Of N / (c D), N = n - slope s^2."""
        return ((n - slope * Ra**2) / w_core * rise + (Ra + Rs) * slope) / w_cut

    plus, cross = part(y**2 - x**2, 4.0 * e1 * inside), part(-2.0 * x * y, 4.0 * e2 * inside)
    return 0.5 * (trace + plus), 0.5 * cross, 0.5 * (trace - plus)


def _apart(Ra: Array, Rs: Array) -> tuple[Array, Array, Array]:
    """Whether the radii are far apart, and the two, with a stand-in where they are not."""
    apart = jnp.abs(Rs - Ra) > NEAR * (Rs + Ra)
    return apart, Ra, jnp.where(apart, Rs, 2.0 * Ra)


def _between(Ra: Array, Rs: Array) -> list[tuple[Array, float]]:
    """Radii and weights of a quadrature from Ra to Rs: d/ds of the NIE is the cored steep ellipsoid."""
    nodes, weights = gauss_legendre(NODES)
    return [(Ra + float(t) * (Rs - Ra), float(w)) for t, w in zip(nodes, weights, strict=True)]
