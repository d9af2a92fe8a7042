"""Ray shooting from the image to the source plane."""

from collections.abc import Sequence

from jax import Array

from giga.mass.base import MassProfile


def deflection(mass: Sequence[MassProfile], x: Array, y: Array) -> tuple[Array, Array]:
    """Total deflection of the mass profiles, two arrays of the shape of x [arcsec]."""
    total_x, total_y = 0.0 * x, 0.0 * y
    for profile in mass:
        alpha_x, alpha_y = profile.deflection(x, y)
        total_x, total_y = total_x + alpha_x, total_y + alpha_y
    return total_x, total_y


def trace(mass: Sequence[MassProfile], x: Array, y: Array) -> tuple[Array, Array]:
    """Source position beta = theta - alpha(theta) of each ray [arcsec]."""
    alpha_x, alpha_y = deflection(mass, x, y)
    return x - alpha_x, y - alpha_y


def jacobian(mass: Sequence[MassProfile], x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Derivatives of the total deflection (xx, xy, yx, yy), each profile's by its own way."""
    parts = [profile.jacobian(x, y) for profile in mass] or [(0.0 * x,) * 4]
    xx, xy, yx, yy = (sum(terms[1:], terms[0]) for terms in zip(*parts, strict=True))
    return xx, xy, yx, yy  # pyright: ignore[reportReturnType]


def magnification(mass: Sequence[MassProfile], x: Array, y: Array) -> Array:
    """Signed magnification 1 / det A, A = 1 - d alpha / d theta."""
    xx, xy, yx, yy = jacobian(mass, x, y)
    return 1.0 / ((1.0 - xx) * (1.0 - yy) - xy * yx)
