"""Elliptical power law: the deflection of Tessore & Metcalf (2015) in real arithmetic."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Param, static
from giga.ellipse import radius_squared
from giga.mass.base import MassProfile
from giga.mass.functions import softening

DEFAULT_TERMS = 18  # deflection to 1e-7 for q > 0.4 (|e| < 0.43); see `terms_for`


def terms_for(q: float, accuracy: float = 1e-7, gamma: tuple[float, float] = (1.2, 2.8)) -> int:
    """Smallest number of series terms that reaches an accuracy, relative to the deflection.

    The series is a power series in w with |w| = (1-q)/(1+q), so the terms grow as the logarithm of
    the accuracy over that of |w|: 1e-7 takes 5 terms at q = 0.9, 18 at q = 0.4 and 40 at q = 0.2.

    Args:
        q: Smallest axis ratio that must be covered, 0 < q <= 1.
        accuracy: Truncation error allowed.
        gamma: Range of slopes that must be covered.
    """
    f = (1.0 - q) / (1.0 + q)
    n = np.arange(1, 400)
    worst = 1
    for t in np.asarray(gamma) - 1.0:
        term = np.cumprod((2 * n - 2 + t) / (2 * n + 2 - t)) * f**n
        tail = np.cumsum(term[::-1])[::-1]  # tail[k] is what is lost with k terms
        worst = max(worst, int(np.argmax(tail < accuracy)))
    return worst


class EPL(MassProfile):
    """Elliptical power law, kappa = (3-gamma)/2 (theta_E / sqrt(q x^2 + y^2/q))^(gamma-1).

    Attributes:
        theta_E: Einstein radius on the intermediate axis [arcsec].
        gamma: Slope of the three-dimensional density, 1 < gamma < 3; 2 is isothermal.
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
        terms: Terms of the angular series, see `terms_for`.

    References:
        Tessore & Metcalf (2015), A&A 580, A79, eqs. 10-13 (deflection); Huang et al. (2025),
        arXiv:2502.03455, eq. 1 (convergence).
    """

    theta_E: Param
    gamma: Param = 2.0
    e1: Param = 0.0
    e2: Param = 0.0
    center_x: Param = 0.0
    center_y: Param = 0.0
    terms: int = static(default=DEFAULT_TERMS)

    def potential(self, x: Array, y: Array) -> Array:
        # psi is homogeneous of degree 3 - gamma about the centre.
        alpha_x, alpha_y = self.deflection(x, y)
        return ((x - self.center_x) * alpha_x + (y - self.center_y) * alpha_y) / (3.0 - self.gamma)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        x, y = x - self.center_x, y - self.center_y
        t = jnp.asarray(self.gamma - 1.0, jnp.result_type(x, self.gamma))
        # u = Z - E conj(Z), Z = x + i y, E = e1 + i e2
        u, v = x - self.e1 * x - self.e2 * y, y - self.e2 * x + self.e1 * y
        u_squared = u**2 + v**2 + softening(x)
        # w = -conj(E) u^2 / |u|^2, of constant modulus |E|
        cos, sin = (u**2 - v**2) / u_squared, 2.0 * u * v / u_squared
        w, z = -(self.e1 * cos + self.e2 * sin), self.e2 * cos - self.e1 * sin
        s_real, s_imag = angular_series(self.terms, t, w, z)
        b_squared = self.theta_E**2 * (1.0 - self.e1**2 - self.e2**2)
        amplitude = jnp.exp(0.5 * t * jnp.log(b_squared / u_squared))
        return amplitude * (u * s_real - v * s_imag), amplitude * (u * s_imag + v * s_real)

    def convergence(self, x: Array, y: Array) -> Array:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        ratio = self.theta_E**2 / (r_squared + softening(r_squared))
        return 0.5 * (3.0 - self.gamma) * ratio ** (0.5 * (self.gamma - 1.0))


def _coefficients(terms: int, t: Array) -> Array:
    """Coefficients a_0 .. a_terms of the series, a_n = prod_k (2k - 2 + t) / (2k + 2 - t)."""
    n = jnp.arange(1, terms + 1)
    ratios = (2 * n - 2 + t) / (2 * n + 2 - t)
    return jnp.concatenate([jnp.ones_like(ratios[:1]), jnp.cumprod(ratios)])


def _polynomial(coefficients: Array, w: Array, z: Array) -> tuple[Array, Array]:
    """Real-coefficient polynomial at w + i z, two multiply-adds a term (Knuth 4.6.4, eq. 3).

    Dividing by (X^2 - 2 w X + |w + iz|^2) leaves a remainder linear in X, whose value at
    X = w + i z is the polynomial's.
    """
    twice, modulus = 2.0 * w, w**2 + z**2
    last, before = coefficients[-1], jnp.zeros_like(coefficients[-1])
    for k in range(len(coefficients) - 2, 0, -1):
        last, before = coefficients[k] + twice * last - modulus * before, last
    return coefficients[0] + w * last - modulus * before, z * last


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def angular_series(terms: int, t: Array, w: Array, z: Array) -> tuple[Array, Array]:
    """Real and imaginary part of 2F1(1, t/2; 2 - t/2; w + i z), truncated after `terms` powers.

    The derivative evaluates dS/dw and dS/dt as two more polynomials at the same point, in place of
    reverse mode through the recurrence.
    """
    return _polynomial(_coefficients(terms, t), w, z)


@angular_series.defjvp
def _angular_series_jvp(terms, primals, tangents):
    t, w, z = primals
    dt, dw, dz = tangents
    a, a_t = jax.jvp(partial(_coefficients, terms), (t,), (jnp.ones_like(t),))
    s, s_imag = _polynomial(a, w, z)
    g, g_imag = _polynomial(a[1:] * np.arange(1, terms + 1, dtype=np.float32), w, z)
    h, h_imag = _polynomial(a_t, w, z)
    return (s, s_imag), (g * dw - g_imag * dz + h * dt, g * dz + g_imag * dw + h_imag * dt)
