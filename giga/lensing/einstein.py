"""Einstein radius, mass inside the critical curve and slope there, of many lenses at once.

The tangential critical curve is followed along rays from the middle of the lens, in one compiled program that is
mapped over lenses, such as the draws of a posterior. A curve that some ray crosses more than once is looked at on the
host: see `einstein_numbers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jax import Array

from giga.component import Param
from giga.lensing.tracing import deflection, jacobian
from giga.mass.base import MassProfile
from giga.mass.external import Convergence, Flexion, Shear
from giga.runtime.parallel import ON_VECTORS

RAYS = 96  # the area of an isothermal ellipse is then right to 1e-9 for an axis ratio of 0.2
RADII = 48  # along each ray, evenly in the logarithm
SECANTS = {"float32": 6, "float64": 9}  # steps from the bracket to rounding
PIECE = 64  # lenses in a compiled call
INNERMOST = 1.0 / 300.0  # of the reach
FINE = 256  # rays and radii of a curve that is looked at on the host
EXTERNAL = (Convergence, Flexion, Shear)
STAR, APART, CELLS, LEAVES, NONE, SHARP = range(6)
RESOLVED = 1e-3  # of the radius, by which every other ray may change it
SAYS = {
    APART: "further critical curves, such as those around companions, are not counted",
    CELLS: "the tangential critical curve is met more than once from the middle of the lens, or bends sharply; its "
           "area and mass are sums over cells, good to about 1%",
    LEAVES: "the tangential critical curve leaves the image",
    NONE: "there is no tangential critical curve around the middle of the lens"}
"""What is to be said of a lens, by its `kind`; nothing of a STAR."""


class Enclosed(NamedTuple):
    """The tangential critical curve around the middle of a lens, in numbers.

    Attributes:
        radius: Radius of the circle of its area, the effective Einstein radius [arcsec]; 0 without a curve.
        mass: Integral of the convergence inside of it [arcsec^2]; times the critical surface density it is the mass.
        slope: 3 - d ln M / d ln r of the mass M inside circles about the middle, at that radius: gamma of a power law.
        kind: STAR, or what `SAYS` tells.
    """

    radius: Any
    mass: Any
    slope: Any
    kind: Any


def middle(mass: Sequence[MassProfile]) -> tuple[Param, Param] | None:
    """Centre of the first mass profile that is not an external field; None when there is none."""
    for profile in mass:
        if not isinstance(profile, EXTERNAL):
            return profile.center_x, profile.center_y  # pyright: ignore[reportAttributeAccessIssue]
    return None


def along_rays(mass: Sequence[MassProfile], reach: Array | float) -> Enclosed:
    """Follow the tangential critical curve along rays from the middle of a lens; for one lens, to be mapped.

    1 - kappa - |gamma| is negative in the middle. On each ray its first zero is bracketed and then found to
    rounding. A periodic function summed over evenly spaced angles converges exponentially, so the area,
    int r^2 dphi / 2, and the mass, by Gauss's theorem int alpha_r r - alpha_phi r' dphi / 2 with a spectral r', are as
    good as the radii.

    Args:
        mass: Mass profiles, one of which has a centre.
        reach: Length of the rays [arcsec].

    Returns:
        Its numbers. Of kind CELLS where a ray meets the curve again, SHARP where it bends between rays:
        `einstein_numbers` looks into both.
    """
    x0, y0 = _center(mass)
    dtype = jnp.result_type(float)  # which second derivatives are taken in
    phi = jnp.asarray(2.0 * np.pi * np.arange(RAYS) / RAYS, dtype)
    cos, sin = jnp.cos(phi), jnp.sin(phi)

    def value(r: Array) -> Array:
        return tangential(mass, x0 + r * cos, y0 + r * sin)

    steps = reach * jnp.asarray(np.geomspace(INNERMOST, 1.0, RADII), dtype)
    f = jax.vmap(value, out_axes=1)(steps)
    inside = f < 0.0
    begins, ends = inside[:, 0], jnp.any(~inside, 1)
    outer = jnp.maximum(jnp.argmin(inside, 1), 1)

    def secant(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
        """A step of regula falsi; an end that stays twice has its value halved (the Illinois rule)."""
        low, high, f_low, f_high, _, before = state
        rise = jnp.where(f_high > f_low, f_high - f_low, 1.0)
        at = jnp.where(f_high > f_low, (low * f_high - high * f_low) / rise, 0.5 * (low + high))
        f = value(at)
        is_inside = f < 0.0
        halved = jnp.where(is_inside == before, 0.5, 1.0)
        return (jnp.where(is_inside, at, low), jnp.where(is_inside, high, at),
                jnp.where(is_inside, f, halved * f_low), jnp.where(is_inside, halved * f_high, f), at, is_inside)

    low, high = steps[outer - 1], steps[outer]
    f_low, f_high = (jnp.take_along_axis(f, at[:, None], 1)[:, 0] for at in (outer - 1, outer))
    # The end that stays in the first step has not stayed before.
    start = (low, high, f_low, f_high, low, f_high > -f_low)
    r = jax.lax.fori_loop(0, SECANTS[dtype.name], secant, start)[4]
    radius = jnp.sqrt(jnp.mean(r**2))
    slope_r = jnp.fft.irfft(1j * jnp.arange(RAYS // 2 + 1) * jnp.fft.rfft(r), RAYS)
    alpha_x, alpha_y = deflection(mass, x0 + r * cos, y0 + r * sin)
    flux = (alpha_x * cos + alpha_y * sin) * r - (alpha_y * cos - alpha_x * sin) * slope_r
    kind = jnp.select([~jnp.any(begins), ~jnp.all(begins), ~jnp.all(ends), jnp.any(_changes(inside) > 1)],
                      [NONE, CELLS, LEAVES, CELLS], STAR)
    every_other = jnp.sqrt(jnp.mean(r[::2] ** 2))
    kind = jnp.where((kind == STAR) & (jnp.abs(every_other - radius) > RESOLVED * radius), SHARP, kind)
    radius = jnp.where(kind == NONE, 0.0, jnp.where(kind == LEAVES, jnp.nan, radius))
    enclosed = jnp.where(kind == NONE, 0.0, jnp.where(kind == LEAVES, jnp.nan, jnp.pi * jnp.mean(flux)))
    return Enclosed(radius, enclosed, slope_at(mass, radius), kind)


def tangential(mass: Sequence[MassProfile], x: Array, y: Array) -> Array:
    """The tangential eigenvalue 1 - kappa - |gamma| of the lensing Jacobian, shape of x."""
    xx, xy, yx, yy = jacobian(mass, x, y)
    return 1.0 - 0.5 * (xx + yy) - 0.5 * jnp.hypot(xx - yy, xy + yx)


def slope_at(mass: Sequence[MassProfile], radius: Array) -> Array:
    """3 - d ln M / d ln r, M the mass inside a circle about the middle of a lens without external fields.

    M / pi = r <alpha_r>, so the deflection on the circle and its radial derivative tell, and a point mass has 3. It is
    gamma of any elliptical power law. NaN where the radius is not above 0.
    """
    own = [profile for profile in mass if not isinstance(profile, EXTERNAL)]
    x0, y0 = _center(mass)
    phi = jnp.asarray(2.0 * np.pi * np.arange(RAYS) / RAYS, jnp.result_type(radius))
    cos, sin = jnp.cos(phi), jnp.sin(phi)

    def inside(r: Array) -> Array:
        alpha_x, alpha_y = deflection(own, x0 + r * cos, y0 + r * sin)
        return r * jnp.mean(alpha_x * cos + alpha_y * sin)

    safe = jnp.where(radius > 0.0, radius, 1.0)
    value, rise = jax.jvp(inside, (safe,), (jnp.ones_like(safe),))
    return jnp.where(radius > 0.0, 3.0 - safe * rise / value, jnp.nan)


def einstein_numbers(mass: list[MassProfile], reach: float) -> Enclosed:
    """The numbers of many lenses, on the host.

    A lens with a ray that meets a zero more than once is looked at on a finer grid of rays and radii. Where the part
    of the plane around the middle has every ray leave it once, the other zeros are other curves (APART), and its
    numbers are those of `along_rays`. Where not, the area is a sum over cells, their edges interpolated, and so is the
    mass (CELLS).

    Args:
        mass: Mass profiles, arrays of one length on their leaves.
        reach: Length of the rays [arcsec].

    Returns:
        Arrays of that length.
    """
    far = np.asarray(reach, jnp.result_type(float))
    radius, enclosed, slope, kind = in_pieces(lambda part: _mapped(part, far), mass)
    radius, enclosed, slope = (part.astype(float) for part in (radius, enclosed, slope))
    for k in np.flatnonzero((kind == CELLS) | (kind == SHARP)):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], mass)
        inner, phi_inside, kappa, radii = (np.asarray(part, float) for part in _grid(one, far))
        around = _around_the_middle(phi_inside < 0.0)
        if not around[:, 0].all() or around[:, -1].any():
            kind[k] = LEAVES if around[:, -1].any() else CELLS
        elif kind[k] == CELLS and np.all(_changes_on_host(around) == 1):
            kind[k] = APART
            continue
        if kind[k] == LEAVES:
            radius[k] = enclosed[k] = slope[k] = np.nan
            continue
        kind[k] = CELLS
        radius[k], enclosed[k] = _by_cells(around, phi_inside, kappa, radii, float(inner))
        slope[k] = float(_slope(one, np.asarray(radius[k], far.dtype)))
    return Enclosed(radius, enclosed, slope, kind)


def _center(mass: Sequence[MassProfile]) -> tuple[Param, Param]:
    found = middle(mass)
    if found is None:
        raise ValueError("mass: no profile with a centre, expected at least one beside external fields")
    return found


def _changes(inside: Array) -> Array:
    return jnp.sum(inside[:, 1:] != inside[:, :-1], 1)


def _changes_on_host(inside: np.ndarray) -> np.ndarray:
    return np.sum(inside[:, 1:] != inside[:, :-1], 1)


def in_pieces(function: Callable[[Any], Any], tree: Any, size: int = PIECE) -> Any:
    """Apply a batched function to pieces of one length, so that one program serves any number.

    Args:
        function: Takes a tree whose arrays have a leading axis of length `size`, and returns another.
        tree: The same with an axis of any length above 0.
        size: Length of a piece.

    Returns:
        What the function returns, on the host.
    """
    count = len(jax.tree.leaves(tree)[0])
    padded = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[:1], -count % size, 0)]), tree)
    parts = [jax.tree.map(np.asarray, function(jax.tree.map(lambda leaf, k=k: leaf[k:k + size], padded)))
             for k in range(0, count, size)]
    return jax.tree.map(lambda *pieces: np.concatenate(pieces)[:count], *parts)


@partial(jax.jit, compiler_options=ON_VECTORS)
def _mapped(mass: list[MassProfile], reach: Array) -> Enclosed:
    return jax.vmap(along_rays, (0, None))(mass, reach)


_slope = jax.jit(slope_at)


@jax.jit
def _grid(mass: list[MassProfile], reach: Array) -> tuple[Array, Array, Array, Array]:
    """Mass inside the innermost circle over pi; eigenvalue and convergence by ray and radius; the radii."""
    x0, y0 = _center(mass)
    radii = reach * jnp.asarray(np.geomspace(INNERMOST, 1.0, FINE), jnp.result_type(reach))
    phi = 2.0 * jnp.pi * jnp.arange(FINE, dtype=radii.dtype)[:, None] / FINE
    cos, sin = jnp.cos(phi), jnp.sin(phi)
    x, y = x0 + radii * cos, y0 + radii * sin
    xx, _, _, yy = jacobian(mass, x, y)
    alpha_x, alpha_y = deflection(mass, x[:, :1], y[:, :1])
    inner = radii[0] * jnp.mean(alpha_x * cos + alpha_y * sin)
    return inner, tangential(mass, x, y), 0.5 * (xx + yy), radii


def _around_the_middle(inside: np.ndarray) -> np.ndarray:
    """The cells, by ray and radius, that hang together with the innermost ones; rays go around."""
    found: Any = scipy.ndimage.label(inside)
    labels, _ = found
    mine, before = set(labels[inside[:, 0], 0].tolist()), -1
    seam = inside[0] & inside[-1]
    while len(mine) != before:
        before = len(mine)
        for first, last in zip(labels[0][seam].tolist(), labels[-1][seam].tolist(), strict=True):
            if first in mine or last in mine:
                mine |= {first, last}
    return np.isin(labels, sorted(mine - {0}))


def _by_cells(around: np.ndarray, value: np.ndarray, kappa: np.ndarray, radii: np.ndarray,
              inner: float) -> tuple[float, float]:
    """Effective radius and mass of a part of the plane by sums over rays and radii, edges interpolated."""
    log_r, turn = np.log(radii), 2.0 * np.pi / len(around)
    area = mass = 0.0
    for ray, f, k in zip(around, value, kappa, strict=True):
        growth = np.concatenate([[0.0], np.cumsum(0.5 * np.diff(log_r) * (k[1:] * radii[1:]**2
                                                                         + k[:-1] * radii[:-1]**2))])
        edges = np.flatnonzero(ray[1:] != ray[:-1])
        part = f[edges] / (f[edges] - f[edges + 1])
        at = log_r[edges] + part * (log_r[edges + 1] - log_r[edges])
        signs = np.where(ray[edges], 1.0, -1.0)
        area += turn * float(np.sum(signs * 0.5 * np.exp(2.0 * at)))
        mass += turn * float(np.sum(signs * np.interp(at, log_r, growth)) + (0.5 * inner if ray[0] else 0.0))
    return float(np.sqrt(area / np.pi)), mass
