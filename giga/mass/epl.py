"""Elliptical power law: the deflection of Tessore & Metcalf (2015) in real arithmetic."""

import math
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero

from giga.component import Param, static
from giga.ellipse import radius_squared
from giga.mass.base import MassProfile
from giga.mass.forms.functions import softening

SERIES = 18  # most terms that are summed as they are: to |e| = 0.43 with 1e-7
HEAD = 12  # terms that are summed of a longer series; the rest is a continued fraction
UNROLLED = 8  # levels of it that are written out
UNKNOWN = 0.9  # |e| that is covered where nothing is known of it
ACCURACY = {"float32": 1e-7, "float64": 1e-11}  # of the deflection


def terms_for(q: float, accuracy: float = 1e-7, gamma: tuple[float, float] = (1.2, 2.8)) -> int:
    """Smallest number of series terms that reaches an accuracy, relative to the deflection.

    The series is a power series in w with |w| = (1-q)/(1+q), so the terms grow as the logarithm of
    the accuracy over that of |w|: 1e-7 takes 5 terms at q = 0.9, 18 at q = 0.4 and 40 at q = 0.2.

    Args:
        q: Smallest axis ratio that must be covered, 0 < q <= 1.
        accuracy: Truncation error allowed.
        gamma: Range of slopes that must be covered.
    """
    f = min((1.0 - q) / (1.0 + q), 0.995)
    n = np.arange(1, 6000)
    worst = 1
    for t in np.asarray(gamma) - 1.0:
        term = np.cumprod((2 * n - 2 + t) / (2 * n + 2 - t)) * f**n
        tail = np.cumsum(term[::-1])[::-1]  # tail[k] is what is lost with k terms
        worst = max(worst, int(np.argmax(tail < accuracy)))
    return worst


@cache
def levels_for(terms: int) -> int:
    """Levels of the continued fraction after HEAD terms that lose no more than a series of so many terms does.

    Compared where that series is good to 1e-4, 1e-7 and 1e-11; the fraction's error falls as |(1 - r) / (1 + r)|^2,
    r = sqrt(1 - w), for two levels, where the series gains |w|^2.
    """
    if terms <= SERIES:
        return 0
    level, n = 0, 2 * np.arange(1, HEAD + 1)
    for accuracy in (1e-4, 1e-7, 1e-11):
        f = accuracy ** (1.0 / terms)
        w = f * np.exp(1j * np.linspace(0.0, np.pi, 33))
        for t in (0.1, 0.5, 1.0, 1.5, 1.9):
            exact = _tail(w, t, HEAD, level + 200)
            size = f**HEAD * np.prod((n - 2 + t) / (n + 2 - t))
            while size * np.max(np.abs(_tail(w, t, HEAD, level) - exact)) > accuracy and level < 200:
                level += 1
    return level


class EPL(MassProfile):
    """Elliptical power law, kappa = (3-gamma)/2 (theta_E / sqrt(q x^2 + y^2/q))^(gamma-1).

    Attributes:
        theta_E: Einstein radius on the intermediate axis [arcsec].
        gamma: Slope of the three-dimensional density, 1 < gamma < 3; 2 is isothermal.
        e1, e2: Ellipticity components (1-q)/(1+q) (cos 2phi, sin 2phi).
        center_x, center_y: Centre [arcsec].
        terms: Terms of the angular series, see `terms_for`; None is as many as the numbers, or the prior's reach,
            need (see `MassProfile.reaching`), and enough for |e| = 0.9 where neither is known. Of more than 18 the
            first 12 are summed, and the rest is a continued fraction that is as good.

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
    terms: int | None = static(default=None)

    ranges = {"theta_E": (0.0, math.inf), "gamma": (1.0, 3.0), "e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}

    def reaching(self, ellipticity: float, dtype: Any) -> "EPL":
        return self if self.terms is not None else self.replace(terms=enough_terms(ellipticity, dtype))

    def potential(self, x: Array, y: Array) -> Array:
        # psi is homogeneous of degree 3 - gamma about the centre.
        alpha_x, alpha_y = self.deflection(x, y)
        return ((x - self.center_x) * alpha_x + (y - self.center_y) * alpha_y) / (3.0 - self.gamma)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        (u, v), _, _, _, (s_real, s_imag), amplitude = self._series(x, y)
        return amplitude * (u * s_real - v * s_imag), amplitude * (u * s_imag + v * s_real)

    def jacobian(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        # alpha = A u S(w) with |u|^2 + s for |u|^2, by u and conj(u); w dS/dw follows from S, see `angular_series`.
        (u, v), u_squared, t, (w, z), (s, s_imag), amplitude = self._series(x, y)
        right, right_imag = 0.5 * t * (w * s - z * s_imag) - (1.0 - 0.5 * t) * (s - 1.0), \
            0.5 * t * (w * s_imag + z * s) - (1.0 - 0.5 * t) * s_imag
        whole = (1.0 - w) ** 2 + z**2
        g, g_imag = ((1.0 - w) * right - z * right_imag) / whole, ((1.0 - w) * right_imag + z * right) / whole
        core = softening(x) / u_squared
        by_u, by_u_imag = ((1.0 - 0.5 * t * (1.0 - core)) * of_s + (1.0 + core) * of_g
                           for of_s, of_g in ((s, g), (s_imag, g_imag)))
        cos, sin = (u**2 - v**2) / u_squared, 2.0 * u * v / u_squared
        part, part_imag = 0.5 * t * s + g, 0.5 * t * s_imag + g_imag
        by_bar, by_bar_imag = sin * part_imag - cos * part, -(cos * part_imag + sin * part)
        # u = Z - E conj(Z)
        e1, e2 = self.e1, self.e2
        one, one_imag = by_u - e1 * by_bar - e2 * by_bar_imag, by_u_imag - e1 * by_bar_imag + e2 * by_bar
        bar, bar_imag = by_bar - e1 * by_u + e2 * by_u_imag, by_bar_imag - e1 * by_u_imag - e2 * by_u
        return (amplitude * (one + bar), amplitude * (bar_imag - one_imag),
                amplitude * (one_imag + bar_imag), amplitude * (one - bar))

    def _series(self, x: Array, y: Array) -> tuple[Any, ...]:
        """u, |u|^2, gamma - 1, w, S(w) and A of alpha = A u S(w), complex numbers as pairs."""
        x, y = x - self.center_x, y - self.center_y
        t = jnp.asarray(self.gamma - 1.0, jnp.result_type(x, self.gamma))
        # u = Z - E conj(Z), Z = x + i y, E = e1 + i e2
        u, v = x - self.e1 * x - self.e2 * y, y - self.e2 * x + self.e1 * y
        u_squared = u**2 + v**2 + softening(x)
        # w = -conj(E) u^2 / |u|^2, of constant modulus |E|
        cos, sin = (u**2 - v**2) / u_squared, 2.0 * u * v / u_squared
        w, z = -(self.e1 * cos + self.e2 * sin), self.e2 * cos - self.e1 * sin
        terms = terms_of(self.terms, self.e1, self.e2, jnp.result_type(u_squared))
        series = angular_series(terms, t, w, z)
        b_squared = self.theta_E**2 * (1.0 - self.e1**2 - self.e2**2)
        return (u, v), u_squared, t, (w, z), series, jnp.exp(0.5 * t * jnp.log(b_squared / u_squared))

    def convergence(self, x: Array, y: Array) -> Array:
        r_squared = radius_squared(x - self.center_x, y - self.center_y, self.e1, self.e2)
        ratio = self.theta_E**2 / (r_squared + softening(r_squared))
        return 0.5 * (3.0 - self.gamma) * ratio ** (0.5 * (self.gamma - 1.0))


def terms_of(terms: int | None, e1: Param, e2: Param, dtype: Any) -> int:
    """The number of terms that is given, that the numbers need, or that is safe where there are none."""
    if terms is not None:
        return terms
    if any(isinstance(e, Tracer) for e in (e1, e2)):
        return enough_terms(UNKNOWN, dtype)
    return enough_terms(float(np.max(np.hypot(np.asarray(e1), np.asarray(e2)))), dtype)


@cache
def enough_terms(ellipticity: float, dtype: Any) -> int:
    """Terms for all ellipticities up to one, in a precision: SERIES, or more in steps of ten for few programs."""
    ellipticity = min(max(ellipticity, 0.1), 0.99)
    terms = terms_for((1.0 - ellipticity) / (1.0 + ellipticity), ACCURACY[np.dtype(dtype).name])
    return SERIES if terms <= SERIES else 10 * -(-terms // 10)


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


def _fractions(t, start: int, levels: int):
    """Coefficients d_1 .. d_levels of Gauss's continued fraction of 2F1(1, t/2 + n; 2 - t/2 + n; w), n = start."""
    k = np.arange(1, levels + 1)
    j, b, c = k // 2, 0.5 * t + start, 2.0 - 0.5 * t + start
    odd = (b + j) * (c - 1.0 + j) / ((c + 2 * j - 1.0) * (c + 2 * j))
    even = j * (c - b + j - 1.0) / ((c + 2 * j - 2.0) * (c + 2 * j - 1.0))
    return (k % 2) * odd + (1 - k % 2) * even


def _tail(w, t, start: int, levels: int):
    """2F1(1, t/2 + n; 2 - t/2 + n; w), n = start, by Gauss's continued fraction 1 / (1 - d_1 w / (1 - d_2 w / ...)).

    Complex, of NumPy or of JAX; many levels are a loop of the compiled program, or it would be long to compile.

    References:
        DLMF 15.7.5.
    """
    d = _fractions(t, start, levels)
    fraction = w * 0.0 + 1.0
    if levels > UNROLLED and isinstance(w, jax.Array):
        fraction, _ = jax.lax.scan(lambda f, d: (1.0 - d * w * _inverse(f), None), fraction, d[::-1], unroll=2)
    else:
        for k in range(levels - 1, -1, -1):
            fraction = 1.0 - d[k] * w * _inverse(fraction)
    return _inverse(fraction)


def _inverse(z):
    """1 / z of complex numbers near one, without the division's care for very large and small ones."""
    return z.conj() / (z.real**2 + z.imag**2)


def _summed(terms: int, w: Array, t: Array) -> tuple[Array, Array]:
    """S and (S - 1) / w, which is summed by itself, for w may be zero: HEAD terms, then a continued fraction."""
    a = _coefficients(HEAD, t)
    rest = a[HEAD] * _tail(w, t, HEAD, levels_for(terms))
    for k in range(HEAD - 1, 0, -1):
        rest = a[k] + w * rest
    return 1.0 + w * rest, rest


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def angular_series(terms: int, t: Array, w: Array, z: Array) -> tuple[Array, Array]:
    """Real and imaginary part of 2F1(1, t/2; 2 - t/2; w + i z), truncated after `terms` powers.

    On a CPU a long series is summed only where the points need it: a prior allows ellipticities that few lenses have.
    The derivative evaluates dS/dw and, where t is not fixed, dS/dt as two more polynomials at the same point, in place
    of reverse mode through the recurrence. Of a long series dS/dw follows from S by the first-order equation that it
    solves, (1 - w) dS/dw = t/2 S - (1 - t/2) (S - 1) / w.
    """
    (value,) = _values(terms, 1, t, w, z)
    return value


@partial(angular_series.defjvp, symbolic_zeros=True)
def _angular_series_jvp(terms, primals, tangents):
    t, w, z = primals
    dt, dw, dz = tangents
    fixed = isinstance(dt, SymbolicZero)
    (s, s_imag), (g, g_imag), *rest = _values(terms, 2 if fixed else 3, t, w, z)
    dw, dz = (jnp.zeros_like(w) if isinstance(d, SymbolicZero) else d for d in (dw, dz))
    out, out_imag = g * dw - g_imag * dz, g * dz + g_imag * dw
    if not fixed:
        h, h_imag = rest[0]
        out, out_imag = out + h * dt, out_imag + h_imag * dt
    return (s, s_imag), (out, out_imag)


@partial(jax.jit, static_argnums=(0, 1))  # traced once for all programs that ask for the same
def _values(terms: int, count: int, t: Array, w: Array, z: Array) -> tuple[tuple[Array, Array], ...]:
    """The first so many of S, dS/dw and dS/dt.

    They come from the short series where it is as good as the long one and only one of the two is run.
    """
    short, long = partial(_polynomials, min(terms, SERIES), count), partial(_accelerations, terms, count)
    if terms <= SERIES:
        return short(t, w, z)
    reach = reach_of(SERIES, jnp.result_type(w).name)

    def either(t: Array, w: Array, z: Array) -> tuple[tuple[Array, Array], ...]:
        return jax.lax.cond(jnp.max(w**2 + z**2, initial=0.0) < reach**2, short, long, t, w, z)

    return jax.lax.platform_dependent(t, w, z, cpu=either, default=long)


@cache
def reach_of(terms: int, dtype: str) -> float:
    """Largest |e|, in steps of 0.01, to which so many terms are enough for a precision."""
    return max(e for e in np.arange(0.0, 1.0, 0.01) if terms_for((1.0 - e) / (1.0 + e), ACCURACY[dtype]) <= terms)


def _polynomials(terms: int, count: int, t: Array, w: Array, z: Array) -> tuple[tuple[Array, Array], ...]:
    """`_values` of the sum of so many terms."""
    a, a_t = jax.jvp(partial(_coefficients, terms), (t,), (jnp.ones_like(t),))
    slopes = a[1:] * np.arange(1, terms + 1, dtype=np.float32)
    return tuple(_polynomial(of, w, z) for of in (a, slopes, a_t)[:count])


def _accelerations(terms: int, count: int, t: Array, w: Array, z: Array) -> tuple[tuple[Array, Array], ...]:
    """The same of HEAD terms and the rest as a continued fraction."""
    point = jax.lax.complex(*jnp.broadcast_arrays(w, z))
    summed = partial(_summed, terms, point)
    (s, rest), by_t = (summed(t), ()) if count < 3 else jax.jvp(summed, (t,), (jnp.ones_like(t),))
    slope = (0.5 * t * s - (1.0 - 0.5 * t) * rest) * _inverse(1.0 - point)
    return tuple((value.real, value.imag) for value in (s, slope, *by_t[:1])[:count])
