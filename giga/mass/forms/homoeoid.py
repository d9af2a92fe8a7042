"""Lenses of elliptical mass as a sum of thin elliptical rings, by quadrature.

With R^2 = q x^2 + y^2 / q, z = x + i y, E = e1 + i e2, u = z - E conj(z) and w = -E conj(u) / u, a convergence
kappa(R^2) that is analytic has

    conj(alpha) = conj(u) int kappa(R^2 v) dg,    v = g (1 - w (1 - g)),                      over 0 < g < 1
    psi = R^2 Re int kappa(R^2 v) (ln(1 - w (1 - g)) - ln g) (1 - w + 2 w g) dg / 2

It is Bourassa & Kantowski's integral over rings with the root sqrt(1 - T v), T = 4 E R^2 / ((1 - |E|^2) z^2), as the
variable: the rings are complex, but the root, which vanishes near the path for flat lenses, is gone, and so is the
position angle. For a power law the integral is the angular series of the EPL.

References:
    Bourassa & Kantowski (1975), ApJ 195, 13, eq. 24; Bray (1984), MNRAS 208, 511; Tessore & Metcalf (2015),
    A&A 580, A79.
"""

import jax
import jax.numpy as jnp
from jax import Array

from giga.mass.forms.functions import softening


def ellipse(x: Array, y: Array, e1: Array, e2: Array) -> tuple[Array, Array, Array, Array]:
    """Real and imaginary part of u [arcsec], R^2 [arcsec^2], and w with a last axis for the rings, complex."""
    u, v = x - e1 * x - e2 * y, y - e2 * x + e1 * y
    length = u**2 + v**2 + softening(x)
    cos, sin = (u**2 - v**2) / length, -2.0 * u * v / length  # conj(u) / u
    w = jax.lax.complex(*jnp.broadcast_arrays(-(e1 * cos - e2 * sin), -(e1 * sin + e2 * cos)))
    return u, v, length / (1.0 - e1**2 - e2**2), w[..., None]


def ring(g: Array, w: Array) -> Array:
    """1 - w (1 - g), by which g is multiplied for v."""
    return 1.0 - w * (1.0 - g)


def deflection(u: Array, v: Array, mass: Array) -> tuple[Array, Array]:
    """Deflection of rings whose kappa dg is `mass`, complex, the last axis over the rings."""
    total = jnp.sum(mass, -1)
    real, imag = total.real, total.imag
    return u * real + v * imag, v * real - u * imag
