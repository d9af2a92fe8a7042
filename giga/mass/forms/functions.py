"""Functions that several mass profiles share, safe at the points where their textbook forms are 0 / 0."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

EULER = 0.5772156649015329


def softening(x: Array) -> float:
    """Square of the radius inside which a singular centre is smoothed [arcsec^2]."""
    return 1e-12 if jnp.result_type(x) == jnp.float32 else 1e-20


def pick(x: Array, single: float, double: float) -> float:
    """One of two constants, by the precision of an array."""
    return single if jnp.result_type(x) == jnp.float32 else double


def log1p_ratio(d: Array) -> Array:
    """log(1 + d) / d for d > -1, one at d = 0."""
    small = jnp.abs(d) < 1e-2
    safe = jnp.where(small, 0.5, d)
    near = jnp.where(small, d, 0.0)
    total = jnp.zeros_like(near)
    for k in range(9, 0, -1):
        total = 1.0 / k - near * total
    return jnp.where(small, total, jnp.log1p(safe) / safe)


def projected(u: Array) -> tuple[Array, Array, Array]:
    """What the projections of the NFW, Hernquist and like halos are made of.

    Args:
        u: Squared radius in scale radii, X^2 > 0.

    Returns:
        F = arctanh(sqrt(1 - u)) / sqrt(1 - u), the arctangent beyond u = 1; (F - 1) / (1 - u), which is 1/3 at
        u = 1; and 2 F + ln(u / 4), which goes to zero at the centre as u ln u.
    """
    v = 1.0 - u
    near, inside = jnp.abs(v) < NEAR, v > 0.0
    w = jnp.where(near, v, 0.0)
    quotient = jnp.zeros_like(w)
    for k in range(11, 0, -1):
        quotient = quotient * w + 1.0 / (2 * k + 1)
    s = jnp.sqrt(jnp.where(jnp.abs(v) < 0.5 * NEAR, 0.5 * NEAR, jnp.abs(v)))
    s_in, s_out = jnp.where(inside, s, 0.5), jnp.where(inside, 1.0, s)
    log_quarter = jnp.log(0.25 * u)
    # The logarithms of small X are cancelled by hand: 2 F + ln(u / 4) = 2 (ln(1 - d) - d ln(u / 4)) / s
    d = jnp.where(inside, u, 0.5) / (2.0 * (1.0 + s_in))
    inner = -2.0 * d * (log1p_ratio(-d) + log_quarter) / s_in
    f_out = jnp.arctan(s_out) / s_out
    f_near = 1.0 + w * quotient
    f = jnp.where(near, f_near, jnp.where(inside, 0.5 * (inner - log_quarter), f_out))
    rest = jnp.where(near, 2.0 * f_near + log_quarter, jnp.where(inside, inner, 2.0 * f_out + log_quarter))
    return f, jnp.where(near, quotient, (f - 1.0) / jnp.where(near, 1.0, v)), rest


NEAR = 0.05  # half-width in u of the series around u = 1


@jax.custom_jvp
def ein(z: Array) -> Array:
    """The entire exponential integral Ein(z), of (1 - exp(-t)) / t from 0 to z >= 0.

    Gauss-Legendre quadrature to z = 8, beyond it the continued fraction of E1 with gamma + ln z.

    References:
        Abramowitz & Stegun (1964), eqs. 5.1.39, 5.1.22.
    """
    nodes, weights = gauss_legendre(24)
    small = jnp.minimum(z, 8.0)
    near = jnp.zeros_like(small)
    for t, weight in zip(nodes, weights, strict=True):
        near = near - float(weight / t) * jnp.expm1(-float(t) * small)
    large = jnp.maximum(z, 8.0)
    fraction = large
    for k in range(20, 0, -1):
        fraction = large + k / (1.0 + k / fraction)
    return jnp.where(z < 8.0, near, EULER + jnp.log(large) + jnp.exp(-large) / fraction)


@ein.defjvp
def _ein_jvp(primals, tangents):
    (z,), (dz,) = primals, tangents
    return ein(z), growth(z) * dz


def growth(z: Array) -> Array:
    """(1 - exp(-z)) / z, one at z = 0."""
    small = jnp.abs(z) < 1e-2
    safe, near = jnp.where(small, 1.0, z), jnp.where(small, z, 0.0)
    total = jnp.ones_like(near)
    for k in range(8, 1, -1):
        total = 1.0 - near / k * total
    return jnp.where(small, total, -jnp.expm1(-safe) / safe)


def gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of Gauss-Legendre quadrature on (0, 1), shape (n,) each."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return 0.5 * (1.0 + nodes), 0.5 * weights
