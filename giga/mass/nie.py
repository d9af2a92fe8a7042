"""Non-singular isothermal ellipsoid in closed form."""

import math

import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.ellipse import radius_squared
from giga.mass.base import MassProfile
from giga.mass.forms.functions import pick, softening

ORDER = 10  # of the series for nearly round lenses, to rounding below the ellipticity at which it ends


class NIE(MassProfile):
    """Non-singular isothermal ellipsoid, kappa = theta_E / (2 sqrt(s_scale^2 + q x^2 + y^2 / q)).

    Attributes:
        theta_E: Einstein radius on the intermediate axis for no core [arcsec].
        s_scale: Core radius on the intermediate axis [arcsec].
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].

    References:
        Keeton & Kochanek (1998), ApJ 495, 157, eqs. 6-8.
    """

    theta_E: Param
    s_scale: Param
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0

    ranges = {"theta_E": (0.0, math.inf), "s_scale": (0.0, math.inf), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}

    def potential(self, x: Array, y: Array) -> Array:
        x, y = x - self.center_x, y - self.center_y
        return self.theta_E * unit_potential(x, y, self.e1, self.e2, self.s_scale)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        alpha_x, alpha_y = unit_deflection(x - self.center_x, y - self.center_y, self.e1, self.e2, self.s_scale)
        return self.theta_E * alpha_x, self.theta_E * alpha_y

    def convergence(self, x: Array, y: Array) -> Array:
        squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        return 0.5 * self.theta_E / jnp.sqrt(squared + self.s_scale**2 + softening(squared))


def axes(e1: Array, e2: Array, smallest: float) -> tuple[Array, Array, Array, Array]:
    """Whether a lens is flatter than some |e|, its |e|, and cosine and sine of its position angle.

    For rounder ones they are those of a lens with that ellipticity along x, whose derivatives are finite: what is
    made of them there is to be replaced by a form without angles.
    """
    squared = e1**2 + e2**2
    flat = squared > smallest**2
    e1, e2 = jnp.where(flat, e1, smallest), jnp.where(flat, e2, 0.0)
    angle = 0.5 * jnp.arctan2(e2, e1)
    return flat, jnp.sqrt(jnp.where(flat, squared, smallest**2)), jnp.cos(angle), jnp.sin(angle)


def core_log(x: Array, y: Array, e1: Array, e2: Array, s: Array) -> Array:
    """ln Phi, whose gradient is the deflection of the cored steep ellipsoid, kappa ~ (s^2 + R^2)^(-3/2).

    Phi = r^2 + 2 s sqrt(R^2 + s^2) + 2 s^2 (1 + |e|^2) / (1 - |e|^2) in place of Keeton & Kochanek's
    (psi + s)^2 + (1 - q^2) x^2, their x, y and s times sqrt(q): the same without the position angle.
    """
    squared, e_squared = radius_squared(x, y, e1, e2), e1**2 + e2**2
    cored = jnp.sqrt(squared + s**2 + softening(squared))
    return jnp.log(x**2 + y**2 + 2.0 * s * cored + 2.0 * s**2 * (1.0 + e_squared) / (1.0 - e_squared)
                   + softening(squared))


def unit_potential(x: Array, y: Array, e1: Array, e2: Array, s: Array) -> Array:
    """Potential of the NIE of theta_E = 1 about the origin."""
    alpha_x, alpha_y = unit_deflection(x, y, e1, e2, s)
    return x * alpha_x + y * alpha_y - 0.5 * s * core_log(x, y, e1, e2, s)


def unit_deflection(x: Array, y: Array, e1: Array, e2: Array, s: Array) -> tuple[Array, Array]:
    """Deflection of the NIE of theta_E = 1 about the origin.

    Along the axes it is sqrt(q) / f (arctan a, arctanh b) with f = sqrt(1 - q^2), a = f x / (psi + s) and
    b = f y / (psi + q^2 s) (Keeton & Kochanek's s). Nearly round lenses take the power series of both in -a^2 and
    b^2, of which only sums and products enter, and those are rational in e1 and e2.
    """
    cored = jnp.sqrt(radius_squared(x, y, e1, e2) + s**2 + softening(x))
    near_x, near_y = nearly_round(x, y, e1, e2, s, cored)

    flat, e, cos, sin = axes(e1, e2, roundest(x))
    q = (1.0 - e) / (1.0 + e)
    f = 2.0 * jnp.sqrt(e) / (1.0 + e) / jnp.sqrt(q)
    # The same rays with the stand-in of a round lens would leave the arctanh's domain, so they take its radius.
    u, v = cos * x + sin * y, cos * y - sin * x
    cored = jnp.where(flat, cored, jnp.sqrt(q * u**2 + v**2 / q + s**2 + softening(x)))
    far_u = jnp.arctan(f * u / (cored + s / q)) / f
    far_v = jnp.arctanh(f * v / (cored + s * q)) / f
    far_x, far_y = cos * far_u - sin * far_v, sin * far_u + cos * far_v
    return jnp.where(flat, far_x, near_x), jnp.where(flat, far_y, near_y)


def roundest(x: Array) -> float:
    """|e| up to which a lens is taken by the series of `nearly_round`, in the precision of x."""
    return pick(x, 0.05, 0.005)


def nearly_round(x: Array, y: Array, e1: Array, e2: Array, s: Array, cored: Array) -> tuple[Array, Array]:
    """The series of `unit_deflection` for |e| up to `roundest`; flatter lenses are taken as round, to be replaced.

    Args:
        x, y: Positions [arcsec].
        e1, e2: Ellipticity.
        s: Core radius on the intermediate axis [arcsec].
        cored: sqrt(R^2 + s^2), R on the intermediate axis [arcsec].
    """
    shrink = jnp.where(e1**2 + e2**2 > roundest(x)**2, 0.0, 1.0)
    e1, e2 = e1 * shrink, e2 * shrink
    e_squared = e1**2 + e2**2
    # cored + s / q = b + |e| k, cored + s q = b - |e| k; all in units of b, whose powers leave single precision
    b = cored + s * (1.0 + e_squared) / (1.0 - e_squared)
    x, y, k = x / b, y / b, 2.0 * s / (1.0 - e_squared) / b
    r_squared, c = x**2 + y**2, e1 * (x**2 - y**2) + 2.0 * e2 * x * y
    product, squares = 1.0 - e_squared * k**2, 1.0 + e_squared * k**2
    norm = 2.0 / ((1.0 - e_squared) * product**2)
    # With m = b^2 and p = a^2 of `unit_deflection`: their difference, their product and their sum over |e|
    difference = norm * 2.0 * (2.0 * e_squared * r_squared * k - c * squares)
    times = norm**2 * (e_squared * r_squared**2 - c**2) * product**2
    total = norm * 2.0 * (r_squared * squares - 2.0 * k * c)
    # Sums of m^n + (-p)^n, and of their differences over m + p
    power, before = difference, jnp.full_like(difference, 2.0)
    quotient, last = jnp.ones_like(difference), jnp.zeros_like(difference)
    even, odd = before, jnp.zeros_like(difference)
    for n in range(1, ORDER + 1):
        even, odd = even + power / (2 * n + 1), odd + quotient / (2 * n + 1)
        power, before = difference * power + times * before, power
        quotient, last = difference * quotient + times * last, quotient
    mean = 0.5 * (even + e_squared * k * total * odd) / product
    twist = -0.5 * (total * odd + k * even) / product
    return (mean * x + twist * (e1 * x + e2 * y), mean * y + twist * (e2 * x - e1 * y))
