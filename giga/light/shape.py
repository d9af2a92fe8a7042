"""Half-light radius and axis ratio of any sum of light profiles."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.light.base import LightProfile

RAYS, RADII = 32, 96
SPAN = (4e-3, 1e2)  # radii, in the size that is expected


class Shape(NamedTuple):
    """The ellipse that holds half of the light.

    Attributes:
        radius: Its radius on the intermediate axis [arcsec]; NaN of light that sums to nothing.
        q: Its axis ratio.
        x, y: Its centre, the centroid of the light inside of it [arcsec].
        tensor: Its shape, a symmetric matrix of determinant one, (xx, xy, yy).
    """

    radius: Any
    q: Any
    x: Any
    y: Any
    tensor: tuple[Any, Any, Any]


def half_light(profiles: Sequence[LightProfile], x: Array, y: Array, size: Array,
               tensor: tuple[Any, Any, Any] = (1.0, 0.0, 1.0), rounds: int = 8) -> Shape:
    """Find the ellipse that holds half of the light and has the centroid and the second moments of what it holds.

    One elliptical profile has its own half-light radius on the intermediate axis and its own axis ratio. The light is
    summed on a polar grid that is even in the logarithm of the radius, which is exact to many digits for smooth
    profiles, and the ellipse is the fixed point of so many rounds.

    Args:
        profiles: Light with amplitudes.
        x, y: Where its centre is expected [arcsec].
        size: Radius that is expected; the grid goes from a hundredth to a hundred times it [arcsec].
        tensor: Shape that is expected.
        rounds: From there.
    """
    dtype = jnp.result_type(x, jnp.float32)
    phi = jnp.asarray(2.0 * np.pi * np.arange(RAYS) / RAYS, dtype)[:, None]
    log_r = jnp.asarray(np.linspace(np.log(SPAN[0]), np.log(SPAN[1]), RADII), dtype)
    step = float(np.log(SPAN[1] / SPAN[0]) / (RADII - 1))
    unit_x, unit_y = jnp.cos(phi), jnp.sin(phi)

    def one(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, y, xx, xy, yy, _ = state
        # The root of the tensor maps a circle to the ellipse.
        root = jnp.sqrt(xx + yy + 2.0)
        a, b, c = (xx + 1.0) / root, xy / root, (yy + 1.0) / root
        r = size * jnp.exp(log_r)
        dx, dy = r * (a * unit_x + b * unit_y), r * (b * unit_x + c * unit_y)
        light = r**2 * reduce(add, (profile.brightness(x + dx, y + dy) for profile in profiles))
        growth = _growth(jnp.mean(light, 0), step)  # and the innermost disc, as if uniform
        at = _crossing(growth / growth[-1])
        inside = jnp.clip(at + 0.5 - jnp.arange(RADII), 0.0, 1.0) * jnp.where(jnp.arange(RADII) == 0, 0.5, 1.0)
        weight = light * inside
        total = jnp.sum(weight)
        shift_x, shift_y = jnp.sum(weight * dx) / total, jnp.sum(weight * dy) / total
        m_xx, m_xy, m_yy = (jnp.sum(weight * p * q) / total for p, q in ((dx, dx), (dx, dy), (dy, dy)))
        scale = jnp.sqrt(m_xx * m_yy - m_xy**2)
        return x + shift_x, y + shift_y, m_xx / scale, m_xy / scale, m_yy / scale, size * jnp.exp(log_r[0] + step * at)

    begin = tuple(jnp.asarray(value, dtype) for value in (x, y, *tensor, size))
    x, y, xx, xy, yy, radius = jax.lax.fori_loop(0, rounds, one, begin)
    largest = 0.5 * (xx + yy) + jnp.sqrt(0.25 * (xx - yy) ** 2 + xy**2)
    return Shape(radius, 1.0 / largest, x, y, (xx, xy, yy))


def _growth(light: Array, step: float) -> Array:
    """Running integral of an evenly sampled function, to fourth order."""
    slope = jnp.asarray(jnp.gradient(light))
    return 0.5 * light[0] + jnp.concatenate([jnp.zeros(1, light.dtype), jnp.cumsum(
        step * (0.5 * (light[1:] + light[:-1]) - (slope[1:] - slope[:-1]) / 12.0))])


def _crossing(growth: Array) -> Array:
    """Place, in steps, where a growth curve first reaches one half, by a cubic through four points."""
    k = jnp.clip(jnp.argmax(growth >= 0.5), 2, RADII - 2)
    near = jax.lax.dynamic_slice(growth, (k - 2,), (4,)) - 0.5
    linear = near[1] / (near[1] - near[2])

    def newton(_: int, t: Array) -> Array:
        def cubic(t: Array) -> Array:  # Catmull-Rom between the middle points
            slopes = 0.5 * (near[2] - near[0]), 0.5 * (near[3] - near[1])
            return ((2 * t**3 - 3 * t**2 + 1) * near[1] + (t**3 - 2 * t**2 + t) * slopes[0]
                    + (3 * t**2 - 2 * t**3) * near[2] + (t**3 - t**2) * slopes[1])
        value, slope = jax.jvp(cubic, (t,), (jnp.ones_like(t),))
        return jnp.clip(t - value / slope, 0.0, 1.0)

    return (k - 1) + jax.lax.fori_loop(0, 3, newton, linear)
