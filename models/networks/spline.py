"""Monotonic rational-quadratic splines, the elements of a normalising flow."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

REACH = 6.0  # the spline covers [-REACH, REACH]; outside it is the identity
_LEAST = 1e-3  # of a bin's share of the interval, and of a slope
_UNIT = math.log(math.expm1(1.0 - _LEAST))  # softplus of this and the least make a slope of one


def knots(raw: Array) -> tuple[Array, Array, Array]:
    """Turn free numbers into knots and slopes; zeros give the identity.

    Args:
        raw: Shape (..., 3 bins - 1).

    Returns:
        Knots on both axes and slopes, each of shape (..., bins + 1); the outermost slopes are one.
    """
    bins = (raw.shape[-1] + 1) // 3

    def axis(free: Array) -> Array:
        share = _LEAST + (1 - _LEAST * bins) * jax.nn.softmax(free, axis=-1)
        inner = -REACH + 2 * REACH * jnp.cumsum(share[..., :-1], axis=-1)
        end = jnp.full((*inner.shape[:-1], 1), REACH)
        return jnp.concatenate([-end, inner, end], axis=-1)

    slopes = _LEAST + jax.nn.softplus(raw[..., 2 * bins:] + _UNIT)
    one = jnp.ones((*slopes.shape[:-1], 1))
    return axis(raw[..., :bins]), axis(raw[..., bins:2 * bins]), jnp.concatenate([one, slopes, one], axis=-1)


def _bin(value: Array, edges: Array, *others: Array) -> list[tuple[Array, Array]]:
    """Lower and upper entries of arrays of knots, for the bin of `edges` in which a value lies."""
    place = jnp.sum(value[..., None] >= edges[..., 1:-1], axis=-1)[..., None]
    return [(jnp.take_along_axis(a, place, -1)[..., 0], jnp.take_along_axis(a, place + 1, -1)[..., 0])
            for a in (edges, *others)]


def forward(x: Array, raw: Array) -> tuple[Array, Array]:
    """Map x, shape (...), by the splines of `raw`, shape (..., 3 bins - 1); return y and log dy/dx.

    References:
        Durkan et al. (2019), arXiv:1906.04032, eqs. 4 and 5.
    """
    inside = jnp.abs(x) < REACH
    x_in = jnp.where(inside, x, 0.0)
    xs, ys, slopes = knots(raw)
    (x0, x1), (y0, y1), (d0, d1) = _bin(x_in, xs, ys, slopes)
    s, t = (y1 - y0) / (x1 - x0), (x_in - x0) / (x1 - x0)
    below = s + (d0 + d1 - 2 * s) * t * (1 - t)
    y = y0 + (y1 - y0) * (s * t**2 + d0 * t * (1 - t)) / below
    log_slope = 2 * jnp.log(s) + jnp.log(d1 * t**2 + 2 * s * t * (1 - t) + d0 * (1 - t) ** 2) - 2 * jnp.log(below)
    return jnp.where(inside, y, x), jnp.where(inside, log_slope, 0.0)


def inverse(y: Array, raw: Array) -> Array:
    """Map y, shape (...), back to x.

    References:
        Durkan et al. (2019), arXiv:1906.04032, eqs. 6 to 8.
    """
    inside = jnp.abs(y) < REACH
    y_in = jnp.where(inside, y, 0.0)
    xs, ys, slopes = knots(raw)
    (y0, y1), (x0, x1), (d0, d1) = _bin(y_in, ys, xs, slopes)
    s, up = (y1 - y0) / (x1 - x0), y_in - y0
    bend = up * (d0 + d1 - 2 * s)
    a, b, c = (y1 - y0) * (s - d0) + bend, (y1 - y0) * d0 - bend, -s * up
    t = 2 * c / (-b - jnp.sqrt(jnp.maximum(b**2 - 4 * a * c, 0.0)))
    return jnp.where(inside, x0 + t * (x1 - x0), y)
