"""Ellipses without angles: rational in the ellipticity components, so smooth at e1 = e2 = 0."""

import jax.numpy as jnp
from jax import Array

ELLIPTICITY = {"e1": (-1.0, 1.0), "e2": (-1.0, 1.0)}
"""Ranges of the two components; together they are a point inside the unit circle."""


def radius_squared(x: Array, y: Array, e1: Array, e2: Array) -> Array:
    """Squared elliptical radius on the intermediate axis, q x'^2 + y'^2 / q [arcsec^2].

    Equal to `|Z - E conj(Z)|^2 / (1 - |E|^2)` with Z = x + i y and E = e1 + i e2: no arctan2 and no
    square root, so value and gradient are finite for a circle and at the centre.

    Args:
        x, y: Position relative to the centre, any one shape [arcsec].
        e1, e2: Ellipticity (1-q)/(1+q) (cos 2phi, sin 2phi), |e| < 1.
    """
    e_squared = e1**2 + e2**2
    plus = (1.0 + e_squared) * (x**2 + y**2)
    cross = 2.0 * e1 * (x**2 - y**2) + 4.0 * e2 * x * y
    # The difference is a square; rounding must not make it negative near the centre.
    return jnp.maximum(plus - cross, 0.0) / (1.0 - e_squared)


def axis_ratio(e1, e2):
    """Axis ratio q and position angle phi [rad, counter-clockwise from +x] of an ellipticity."""
    e = jnp.hypot(e1, e2)
    return (1.0 - e) / (1.0 + e), 0.5 * jnp.arctan2(e2, e1)


def ellipticity(q, phi):
    """Ellipticity components (e1, e2) of an axis ratio q and a position angle phi [rad]."""
    e = (1.0 - q) / (1.0 + q)
    return e * jnp.cos(2.0 * phi), e * jnp.sin(2.0 * phi)


def potential_radius(x: Array, y: Array, e1: Array, e2: Array) -> tuple[Array, Array, Array]:
    """Squared radius R^2 = r^2 - 2 (e1 (x^2 - y^2) + 2 e2 x y) / (1 + |e|^2) of elliptical potentials.

    It is that of lenstronomy's profiles with an ellipticity of the potential (square average).

    Args:
        x, y: Position relative to the centre, any one shape [arcsec].
        e1, e2: Ellipticity of the potential, |e| < 1.

    Returns:
        R^2 [arcsec^2] and half its gradient by x and by y [arcsec].
    """
    factor = 2.0 / (1.0 + e1**2 + e2**2)
    c1, c2 = factor * e1, factor * e2
    half_x, half_y = x - c1 * x - c2 * y, y - c2 * x + c1 * y
    return jnp.maximum(x * half_x + y * half_y, 0.0), half_x, half_y
