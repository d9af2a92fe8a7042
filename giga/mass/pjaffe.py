"""Dual pseudo-isothermal profile, elliptical in the potential or in the mass."""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import potential_radius, radius_squared
from giga.mass.base import MassProfile
from giga.mass.forms.functions import log1p_ratio, pick, softening
from giga.mass.nie import axes

FLAT = (1e-2, 1e-4)  # |e| up to which a lens is taken by power series, in single and double precision
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
        return self._scale() * dual_potential(x - self.center_x, y - self.center_y, self.e1, self.e2, self.Ra, self.Rs)

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


class Shape(NamedTuple):
    """Ellipticity as `turned_dual` takes it: by axes where a lens is flat, by components where it is nearly round.

    Attributes:
        flat: Whether |e| is above `FLAT`.
        e: |e| of a flat one; `FLAT` of others, which have axes nowhere.
        cos, sin: Of the position angle.
        e1, e2: Components of a nearly round one; zero of others.
    """

    flat: Array
    e: Array
    cos: Array
    sin: Array
    e1: Array
    e2: Array


def shape(e1: Array, e2: Array, like: Array) -> Shape:
    """Axes and components of an ellipticity in the precision of an array, with finite derivatives."""
    flat, e, cos, sin = axes(e1, e2, pick(like, *FLAT))
    return Shape(flat, e, cos, sin, jnp.where(flat, 0.0, e1), jnp.where(flat, 0.0, e2))


def dual_deflection(x: Array, y: Array, e1: Array, e2: Array, Ra: Array, Rs: Array) -> tuple[Array, Array]:
    """`turned_dual` of an ellipticity by its components, with all derivatives by them."""
    return turned_dual(x, y, shape(e1, e2, x), Ra, Rs)


def turned_dual(x: Array, y: Array, of: Shape, Ra: Array, Rs: Array) -> tuple[Array, Array]:
    """Deflection of the NIE of core Ra less that of core Rs, over Rs - Ra, about the origin; theta_E = 1.

    The difference of two arctangents is the arctangent of a quotient, in which Rs - Ra is divided out; so is that of
    the two hyperbolic ones. Along the axes they are alpha_u = u P(e) and alpha_v = v P(-e), with one function P that
    is analytic in |e|, c = e1 (x^2 - y^2) + 2 e2 x y and the radii. So alpha = (P(e) + P(-e)) / 2 z +
    (P(e) - P(-e)) / (2 |e|) (e1 + i e2) conj(z), in which nearly round lenses take the power series of both.

    Args:
        x, y: Positions [arcsec].
        of: Ellipticity of the mass; derivatives by it are right for a circle too.
        Ra, Rs: Radii on the intermediate axis, which may be equal [arcsec].
    """
    soft = softening(x)
    q = (1.0 - of.e) / (1.0 + of.e)
    u, v = of.cos * x + of.sin * y, of.cos * y - of.sin * x
    r_squared, c = x**2 + y**2, of.e1 * (x**2 - y**2) + 2.0 * of.e2 * x * y
    e_squared = of.e1**2 + of.e2**2
    inside = 1.0 / (1.0 - e_squared)
    mean_q, slope_q = (1.0 + e_squared) * inside, 2.0 * inside  # 1/q = mean + |e| slope, q = mean - |e| slope
    squared = jnp.where(of.flat, q * u**2 + v**2 / q, mean_q * r_squared - slope_q * c) + soft
    core, cut = jnp.sqrt(Ra**2 + squared), jnp.sqrt(Rs**2 + squared)
    ratio = (Ra + Rs) / (core + cut)

    alpha_u, alpha_v = _along_axes(u, v, of.e, core, cut, Ra, Rs)

    # Numerator and denominator of P, their even parts in |e| and their odd ones over |e|
    even, odd = ratio + mean_q, slope_q
    under = (core + Ra * mean_q) * (cut + Rs * mean_q) + slope_q * (Ra * Rs * slope_q * e_squared + c)
    tilt = slope_q * (Ra * (cut + Rs * mean_q) + Rs * (core + Ra * mean_q) + r_squared)
    norm = 1.0 / (under**2 - e_squared * tilt**2)
    even, odd = (even * under - e_squared * odd * tilt) * norm, (odd * under - even * tilt) * norm
    # arctan(z) / z in z^2 = k P^2 (c + |e| r^2), of which both parts again
    k = slope_q * (Rs - Ra) ** 2
    square, twice = even**2 + e_squared * odd**2, 2.0 * even * odd
    m, d = k * (square * c + e_squared * twice * r_squared), k * (square * r_squared + twice * c)
    d_squared = e_squared * d**2
    bent = 1.0 - m / 3.0 + (m**2 + d_squared) / 5.0 - m * (m**2 + 3.0 * d_squared) / 7.0
    turned = d * (-1.0 / 3.0 + 2.0 / 5.0 * m - (3.0 * m**2 + d_squared) / 7.0)
    mean, twist = even * bent + e_squared * odd * turned, even * turned + odd * bent
    return (jnp.where(of.flat, of.cos * alpha_u - of.sin * alpha_v, mean * x + twist * (of.e1 * x + of.e2 * y)),
            jnp.where(of.flat, of.sin * alpha_u + of.cos * alpha_v, mean * y + twist * (of.e2 * x - of.e1 * y)))


def flat_dual(x: Array, y: Array, e: Array, cos: Array, sin: Array, Ra: Array, Rs: Array) -> tuple[Array, Array]:
    """`turned_dual` by its axes alone: |e| above 0, and derivatives by the shape that lose digits as it goes to 0."""
    q = (1.0 - e) / (1.0 + e)
    u, v = cos * x + sin * y, cos * y - sin * x
    squared = q * u**2 + v**2 / q + softening(x)
    alpha_u, alpha_v = _along_axes(u, v, e, jnp.sqrt(Ra**2 + squared), jnp.sqrt(Rs**2 + squared), Ra, Rs)
    return cos * alpha_u - sin * alpha_v, sin * alpha_u + cos * alpha_v


def _along_axes(u: Array, v: Array, e: Array, core: Array, cut: Array, Ra: Array, Rs: Array) -> tuple[Array, Array]:
    """Components along the axes; core and cut are sqrt(R^2 + s^2) of both radii."""
    q, ratio = (1.0 - e) / (1.0 + e), (Ra + Rs) / (core + cut)
    f = 2.0 * jnp.sqrt(e / (1.0 - e**2))
    step = f * (Rs - Ra)
    along = u * (ratio + 1.0 / q) / ((core + Ra / q) * (cut + Rs / q) + (f * u) ** 2)
    across = v * (ratio + q) / ((core + Ra * q) * (cut + Rs * q) - (f * v) ** 2)
    z, w = step * along, step * across
    far_z, far_w = jnp.abs(z) > SMALL, jnp.abs(w) > SMALL
    safe_z, safe_w = jnp.where(far_z, z, 1.0), jnp.where(far_w, w, 0.5)
    return (along * jnp.where(far_z, jnp.arctan(safe_z) / safe_z, 1.0 - z**2 * (1.0 / 3.0 - z**2 / 5.0)),
            across * jnp.where(far_w, jnp.arctanh(safe_w) / safe_w, 1.0 + w**2 * (1.0 / 3.0 + w**2 / 5.0)))


def dual_potential(x: Array, y: Array, e1: Array, e2: Array, Ra: Array, Rs: Array) -> Array:
    """Potential of `dual_deflection`, which goes to ln r far out.

    That of one NIE is x alpha_x + y alpha_y - s ln(Phi) / 2, Phi = r^2 + 2 s sqrt(R^2 + s^2) + s^2 (q + 1/q) as in
    `giga.mass.nie.core_log`; in the difference Rs - Ra is divided out.
    """
    alpha_x, alpha_y = dual_deflection(x, y, e1, e2, Ra, Rs)
    e_squared, soft = e1**2 + e2**2, softening(x)
    even = 2.0 * (1.0 + e_squared) / (1.0 - e_squared)
    squared, r_squared = radius_squared(x, y, e1, e2) + soft, x**2 + y**2 + soft
    core, cut = jnp.sqrt(Ra**2 + squared), jnp.sqrt(Rs**2 + squared)
    phi_core = r_squared + 2.0 * Ra * core + even * Ra**2
    phi_cut = r_squared + 2.0 * Rs * cut + even * Rs**2
    rise = (2.0 * cut + (Ra + Rs) * (2.0 * Ra / (core + cut) + even)) / phi_core  # of ln Phi, over Rs - Ra
    logs = 0.5 * (jnp.log(phi_cut) + Ra * rise * log1p_ratio((Rs - Ra) * rise))
    # As in the circular profile, whose potential is ln r far out but for the factor: the constants differ by 1.
    return x * alpha_x + y * alpha_y + logs - 1.0


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
