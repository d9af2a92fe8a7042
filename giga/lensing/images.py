"""All images of a point source: cells that may hold one are split until Newton's method is sure of it.

Fixed shapes throughout, so that it compiles once, maps over systems, and has derivatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Component, static
from giga.lensing.planes import Behind, Sightline
from giga.lensing.tracing import jacobian, trace
from giga.mass.base import MassProfile
from giga.mass.members import Halos, gathered

CHILDREN = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
SAFETY = 2.0  # times the second differences of a cell, for what they do not tell
AROUND = 12  # starts on the circle about a centre
AROUND_CORE = 4  # starts on the circle of the core radius of a galaxy
FAR = 1e3  # of the half-width: where centres are put that are not there
CORE = 1e-7  # of the half-width: radius about a centre within which the parities are told by the winding
INNERMOST = 2e-7  # of the half-width: radius of the circle, from where Newton's method climbs
WIDE = 2  # splits at which all the cells are kept
CLIMB, DESCENT = 26, 12  # Newton steps from a circle, and from a cell
RING = 64  # points on a circle about a centre, for the winding
TWINS = {"float32": 1e-3, "float64": 1e-6}  # two places of one parity nearer than this are one image [arcsec]
SETTLED = {"float32": 1e-4, "float64": 1e-9}  # longest last step of an image, of which Newton's next is the square


class Finder(Component):
    """Where and how finely images are looked for.

    Attributes:
        half_width: Half the side of the square that is searched [arcsec].
        x, y: Its middle [arcsec].
        faintest: Images with |magnification| below this are left out, such as those in the middle of a steep lens.
        cells: Cells a side of the first grid, even.
        splits: How often cells that may hold an image are split in four.
        most: Cells that are kept at first, besides two for each of `galaxies`; half as many after the second split, for
            the fewer the smaller they are.
        images: Images that there is room for.
        galaxies: Halos and members of a cluster whose cores are looked into, those whose mass may move an image there
            to the source most.
    """

    half_width: Any
    x: Any = 0.0
    y: Any = 0.0
    faintest: Any = 1e-6
    cells: int = static(default=32)
    splits: int = static(default=6)
    most: int = static(default=64)
    images: int = static(default=16)
    galaxies: int = static(default=16)


class Galaxies(NamedTuple):
    """Halos and members with a core and a deflection that is never larger than a bound, shape (m,) each.

    Attributes:
        x, y: Centres [arcsec].
        core: Core radii [arcsec].
        reach: Largest deflections [arcsec].
    """

    x: Array
    y: Array
    core: Array
    reach: Array


class Images(NamedTuple):
    """The images of one source, the brightest first; what there is room for beyond their number is not `found`.

    Attributes:
        x, y: Positions, shape (images,) [arcsec]; those not found are at the middle of the search.
        magnification: Signed, shape (images,): positive at minima and maxima of the arrival time, negative at
            saddles; 0 of those not found.
        found: Which of them are images, shape (images,).
        count: Their number.
        complete: Whether all room sufficed, and the parities of the images sum to what the lens mapping says on the
            edge of the square, by its winding about the source, less those that lie in the middles of masses. Where it
            is false an image may be missing.
    """

    x: Any
    y: Any
    magnification: Any
    found: Any
    count: Any
    complete: Any

    @property
    def parity(self) -> Array:
        """Sign of the magnification, 0 of those not found."""
        return jnp.sign(self.magnification)


def find_images(mass: Sequence[MassProfile], beta_x: Array | float, beta_y: Array | float, finder: Finder) -> Images:
    """Find all images of a point source; for one system, to be mapped.

    A grid is traced to the source plane. A cell is kept where the source lies in the parallelogram that it is traced
    to, widened by the second differences of the mapping, and its four quarters are looked at next. All cells that are
    left, and circles about the centres of masses, where images are at no scale of a grid, are starts of Newton's
    method. Cells about galaxies of a cluster are kept where their deflection may lead to the source. Places of one
    parity that agree are one image. Positions and magnifications have exact derivatives by the lens and the source, by
    the implicit function theorem.

    Args:
        mass: Masses, as the source sees them (`Scene.lenses`).
        beta_x, beta_y: Position of the source [arcsec].
        finder: Where to look.

    References:
        Keeton (2001), arXiv:astro-ph/0102340 (tiling of the image plane); Burke (1981), ApJ 244, L1 (the odd
        number of images).
    """
    dtype = jnp.result_type(float, *(jnp.asarray(leaf).dtype for leaf in jax.tree.leaves((mass, finder))))
    lens = jax.lax.stop_gradient(list(mass))
    place, source = jax.lax.stop_gradient((jnp.stack([jnp.asarray(v, dtype) for v in (finder.x, finder.y)]),
                                           jnp.stack([jnp.asarray(v, dtype) for v in (beta_x, beta_y)])))
    half = jnp.asarray(jax.lax.stop_gradient(finder.half_width), dtype)
    centres, galaxies = _centres(lens, finder, dtype)

    def shoot(points: Array) -> Array:
        return jnp.stack(trace(lens, points[..., 0], points[..., 1]), -1) - source

    side, core = finder.cells + 1, CORE * half
    nodes = (place + half * _lattice(side, dtype)).reshape(-1, 2)
    rings = (centres[:, None] + core * _circle(RING, dtype)).reshape(-1, 2)
    shot = shoot(jnp.concatenate([nodes, rings, jnp.stack([galaxies.x, galaxies.y], -1)]))
    values, loops, led = jnp.split(shot, [side**2, side**2 + len(rings)])
    values, loops = values.reshape(side, side, 2), loops.reshape(-1, RING, 2)
    middles, kept, full = _refined(shoot, values, place, half, centres, galaxies, finder)
    rings = jnp.concatenate([(centres[:, None] + INNERMOST * half * _circle(AROUND, dtype)).reshape(-1, 2),
                             _cores(galaxies, led, finder.galaxies)])
    rings, _, _ = newton(lens, source, rings, half, CLIMB - DESCENT)
    usable = jnp.concatenate([kept, jnp.ones(len(rings), bool)])
    points, settled, determinant = newton(lens, source, jnp.concatenate([middles, rings]), half, DESCENT)
    inside = jnp.all(jnp.abs(points - place) <= half, -1)
    bright = jnp.abs(determinant) * finder.faintest <= 1.0
    every = _first(points, determinant > 0.0, usable & settled & inside)
    first = every & bright
    order = jnp.argsort(jnp.where(first, jnp.abs(determinant), jnp.inf))[:finder.images]
    found, seen = first[order], jnp.where(first[order][:, None], points[order], place)
    total = jnp.sum(first)
    hidden = jnp.any(jnp.hypot(*jnp.moveaxis(points[:, None] - centres, -1, 0)) < core, 1)
    balance = jnp.sum(jnp.where(every & ~hidden, jnp.sign(determinant), 0.0))
    degree = _winding(_edge(values)) - _within(loops, centres, core)
    x, y = _polished(list(mass), beta_x, beta_y, seen, found)
    xx, xy, yx, yy = jacobian(list(mass), x, y)
    signed = (1.0 - xx) * (1.0 - yy) - xy * yx
    mu = jnp.where(found, 1.0 / jnp.where(found, signed, 1.0), 0.0)
    complete = ~full & (total <= finder.images) & (jnp.abs(balance - degree) < 0.5)
    return Images(x, y, mu, found, total, complete)


def _lattice(n: int, dtype: Any) -> Array:
    """Points of a square of half-width one, shape (n, n, 2), rows along y."""
    axis = jnp.asarray(np.linspace(-1.0, 1.0, n), dtype)
    x, y = jnp.meshgrid(axis, axis)
    return jnp.stack([x, y], -1)


def _refined(shoot: Any, values: Array, place: Array, half: Array, centres: Array, galaxies: Galaxies,
             finder: Finder) -> tuple[Array, Array, Array]:
    """Split cells that may hold an image; the middles of those left, which of them count, and whether any were lost."""
    n = finder.cells
    blocks = jnp.stack([values[i:n - 1 + i:2, j:n - 1 + j:2] for i in range(3) for j in range(3)], 2)
    blocks = blocks.reshape((n // 2) ** 2, 3, 3, 2)
    corner = jnp.asarray(np.arange(1, n, 2) * (2.0 / n) - 1.0, values.dtype)
    x, y = jnp.meshgrid(corner, corner)
    middles = place + half * jnp.stack([x.ravel(), y.ravel()], -1)
    size = half / n  # half the side of a cell
    most = finder.most + 2 * min(finder.galaxies, len(galaxies.x))
    middles, kept, lost = _best(*_children(blocks, middles, size, centres, galaxies), most)
    stencil = _lattice(3, values.dtype)

    def split(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
        middles, kept, size, lost = state
        nodes = middles[:, None, None] + size * stencil
        cells, scores = _children(shoot(nodes), middles, 0.5 * size, centres, galaxies)
        scores = jnp.where(jnp.repeat(kept, 4), scores, jnp.inf)
        middles, kept, more = _best(cells, scores, len(middles))
        return middles, kept, 0.5 * size, lost | more

    wide = min(WIDE, finder.splits)
    middles, kept, size, lost = jax.lax.fori_loop(0, wide, split, (middles, kept, size, lost))
    few = (most + 1) // 2
    lost = lost | jnp.any(kept[few:])
    middles, kept, _, lost = jax.lax.fori_loop(0, finder.splits - wide, split, (middles[:few], kept[:few], size, lost))
    return middles, kept, lost


def _children(blocks: Array, middles: Array, size: Array, centres: Array, galaxies: Galaxies) -> tuple[Array, Array]:
    """Middles of the quarters of blocks, and how far each is from holding an image; infinite where it cannot.

    Args:
        blocks: The mapping less the source at 3 x 3 nodes of each block, shape (k, 3, 3, 2).
        middles: Middles of the blocks, shape (k, 2).
        size: Half the side of a quarter.
        centres: Centres of masses, shape (m, 2).
        galaxies: Those of a cluster.
    """
    along = jnp.max(jnp.abs(blocks[:, :, 0] - 2.0 * blocks[:, :, 1] + blocks[:, :, 2]), 1)
    across = jnp.max(jnp.abs(blocks[:, 0] - 2.0 * blocks[:, 1] + blocks[:, 2]), 1)
    bend = SAFETY * 0.125 * (along + across)
    cells, scores = [], []
    for i, j in CHILDREN:
        a, b, c, d = (blocks[:, i + k, j + m] for k, m in ((0, 0), (0, 1), (1, 0), (1, 1)))
        middle = middles + size * jnp.asarray([2.0 * j - 1.0, 2.0 * i - 1.0], middles.dtype)
        offset, p, q = 0.25 * (a + b + c + d), 0.25 * (b + d - a - c), 0.25 * (c + d - a - b)
        error = bend + 0.25 * jnp.abs(a + d - b - c)
        slack = jnp.hypot(error[:, 0], error[:, 1])
        det = jnp.abs(_cross(p, q))
        long_p, long_q = jnp.hypot(p[:, 0], p[:, 1]), jnp.hypot(q[:, 0], q[:, 1])
        distance = jnp.hypot(offset[:, 0], offset[:, 1])
        may = ((jnp.abs(_cross(offset, q)) <= det * 1.001 + slack * long_q)
               & (jnp.abs(_cross(p, offset)) <= det * 1.001 + slack * long_p)
               & (distance <= 1.001 * (long_p + long_q) + slack))
        near = jnp.any(jnp.max(jnp.abs(middle[:, None] - centres), -1) < 1.5 * size, 1)
        # About a galaxy, between the nodes of a cell, its deflection is another one by twice the largest.
        about = jnp.maximum(jnp.abs(middle[:, :1] - galaxies.x), jnp.abs(middle[:, 1:] - galaxies.y)) < 1.5 * size
        lead = 1.001 * (long_p + long_q) + slack
        near = near | jnp.any(about & (galaxies.core < 2.0 * size)
                              & (distance[:, None] <= lead[:, None] + 2.0 * galaxies.reach), 1)
        # Cells about centres come first: little of them is seen from outside.
        scores.append(jnp.where(near, -1.0, jnp.where(may, distance / (long_p + long_q + slack), jnp.inf)))
        cells.append(middle)
    return jnp.stack(cells, 1).reshape(-1, 2), jnp.stack(scores, 1).reshape(-1)


def _best(cells: Array, scores: Array, most: int) -> tuple[Array, Array, Array]:
    """So many cells with the smallest scores, which of them count, and whether others did."""
    best, order = jax.lax.top_k(-scores, min(most, len(scores)))
    short = most - len(order)
    middles = jnp.pad(cells[order], ((0, short), (0, 0)))
    kept = jnp.pad(jnp.isfinite(best), (0, short))
    return middles, kept, jnp.sum(jnp.isfinite(scores)) > most


def newton(lens: list[MassProfile], source: Array, starts: Array, half: Array,
            steps: int) -> tuple[Array, Array, Array]:
    """Newton's method from each start: where it ends, whether it has settled, and the determinant there.

    A step is no longer than a tenth of `half`.
    """
    x, y = starts[:, 0], starts[:, 1]

    def step(_: Any, state: tuple[Array, ...]) -> tuple[Array, ...]:
        x, y, _, _ = state
        step_x, step_y, det = newton_step(lens, source, x, y)
        length = jnp.hypot(step_x, step_y)
        shrink = jnp.minimum(1.0, 0.1 * half / jnp.maximum(length, 1e-30))
        return x + shrink * step_x, y + shrink * step_y, length, det

    x, y, length, det = jax.lax.fori_loop(0, steps, step, (x, y, jnp.full_like(x, jnp.inf), jnp.ones_like(x)))
    return jnp.stack([x, y], -1), (length < SETTLED[x.dtype.name]) & (det != 0.0), det


def newton_step(lens: list[MassProfile], source: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Newton's step to the source from each place, and the determinant there."""
    beta_x, beta_y = trace(lens, x, y)
    xx, xy, yx, yy = jacobian(lens, x, y)
    det = (1.0 - xx) * (1.0 - yy) - xy * yx
    d_x, d_y = source[0] - beta_x, source[1] - beta_y
    safe = jnp.where(det == 0.0, 1.0, det)
    return ((1.0 - yy) * d_x + xy * d_y) / safe, (yx * d_x + (1.0 - xx) * d_y) / safe, det


def _first(points: Array, positive: Array, good: Array) -> Array:
    """Which places are images that no earlier one is."""
    apart = jnp.max(jnp.abs(points[:, None] - points), -1)
    same = (apart < TWINS[points.dtype.name]) & (positive[:, None] == positive)
    earlier = jnp.tri(len(points), k=-1, dtype=bool)
    return good & ~jnp.any(same & earlier & good, 1)


def _polished(mass: list[MassProfile], beta_x: Any, beta_y: Any, points: Array, found: Array) -> tuple[Array, Array]:
    """The images as functions of the lens and the source, all their derivatives by the implicit function theorem."""
    beta = [jnp.asarray(b, points.dtype) for b in (beta_x, beta_y)]

    def residual(at: tuple[Array, Array]) -> tuple[Array, Array]:
        traced = trace(mass, *at)
        return (jnp.where(found, traced[0] - beta[0], at[0] - points[:, 0]),
                jnp.where(found, traced[1] - beta[1], at[1] - points[:, 1]))

    def solve(_: Any, at: tuple[Array, Array]) -> tuple[Array, Array]:
        return at

    def invert(linear: Any, right: tuple[Array, Array]) -> tuple[Array, Array]:
        one, zero = jnp.ones_like(right[0]), jnp.zeros_like(right[0])
        (a, c), (b, d) = linear((one, zero)), linear((zero, one))
        det = a * d - b * c
        return (d * right[0] - b * right[1]) / det, (a * right[1] - c * right[0]) / det

    return jax.lax.custom_root(residual, (points[:, 0], points[:, 1]), solve, invert)


def _centres(lens: Sequence[MassProfile], finder: Finder, dtype: Any) -> tuple[Array, Galaxies]:
    """Where centres of masses are seen, shape (m, 2), and the galaxies of clusters apart."""
    found = []
    for profile in gathered(lens):
        if isinstance(profile, Halos):
            each = profile.each
            found.append((_none(dtype)[0], Galaxies(*(jnp.asarray(part, dtype) for part in (
                each.center_x, each.center_y, each.core, each.largest_deflection)))))
        elif isinstance(profile, Behind):
            found.append(_centres(profile.mass, finder, dtype))
        elif isinstance(profile, Sightline):
            found.append(_centres_behind(profile, finder, dtype))
        elif {"center_x", "center_y"} <= vars(profile).keys():
            at = jnp.stack([jnp.asarray(profile.center_x, dtype), jnp.asarray(profile.center_y, dtype)])  # pyright: ignore
            found.append((at[None], _none(dtype)[1]))
    return _joined(found, dtype)


def _none(dtype: Any) -> tuple[Array, Galaxies]:
    return jnp.zeros((0, 2), dtype), Galaxies(*4 * (jnp.zeros(0, dtype),))


def _joined(found: Sequence[tuple[Array, Galaxies]], dtype: Any) -> tuple[Array, Galaxies]:
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), _none(dtype), *found)


def _centres_behind(sightline: Sightline, finder: Finder, dtype: Any) -> tuple[Array, Galaxies]:
    """Centres of the masses of several planes: those of a mass behind another have images themselves, where it is seen.

    Places that are not used lie far outside.
    """
    lenses = sightline.planes.lenses(sightline.mass, sightline.source)
    found = []
    far = jnp.asarray(finder.half_width, dtype) * FAR
    for k, plane in enumerate(lenses):
        at, galaxies = _centres(lenses[plane], finder, dtype)
        if k:
            def seen(x: Array, y: Array, plane: int = plane) -> tuple[Array, Array]:
                before = find_images([sightline.replace(source=plane)], x, y, finder)
                return jnp.where(before.found, before.x, far), jnp.where(before.found, before.y, far)

            at = jnp.stack(jax.vmap(seen)(at[:, 0], at[:, 1]), -1).reshape(-1, 2) if len(at) else at
            if len(galaxies.x):
                x, y = jax.vmap(seen)(galaxies.x, galaxies.y)
                core, reach = (jnp.broadcast_to(part[:, None], x.shape) for part in galaxies[2:])
                galaxies = Galaxies(*(part.ravel() for part in (x, y, core, reach)))
        found.append((at, galaxies))
    return _joined(found, dtype)


def _cores(galaxies: Galaxies, led: Array, most: int) -> Array:
    """Starts in the cores of those galaxies whose deflection may lead to the source, shape (starts, 2).

    Args:
        galaxies: All that there are.
        led: Where their centres are traced to, less the source, shape (m, 2).
        most: How many are taken.
    """
    most = min(most, len(galaxies.x))
    if not most:
        return led
    _, order = jax.lax.top_k(-jnp.hypot(led[:, 0], led[:, 1]) / galaxies.reach, most)
    x, y, core, _ = (part[order, None] for part in galaxies)
    circle = _circle(AROUND_CORE, led.dtype)
    return jnp.stack([x + core * circle[:, 0], y + core * circle[:, 1]], -1).reshape(-1, 2)


def _circle(n: int, dtype: Any) -> Array:
    """Points on the circle of radius one, counter-clockwise, shape (n, 2)."""
    phi = 2.0 * np.pi * (np.arange(n) + 0.5) / n
    return jnp.asarray(np.stack([np.cos(phi), np.sin(phi)], -1), dtype)


def _winding(loop: Array) -> Array:
    """How often a closed loop of vectors, shape (..., k, 2), turns about zero, counter-clockwise."""
    after = jnp.roll(loop, -1, -2)
    turn = jnp.arctan2(_cross(loop, after), jnp.sum(loop * after, -1))
    return jnp.sum(turn, -1) / (2.0 * jnp.pi)


def _edge(values: Array) -> Array:
    """The nodes on the edge of a grid, counter-clockwise."""
    return jnp.concatenate([values[0, :-1], values[:-1, -1], values[-1, :0:-1], values[:0:-1, 0]])


def _within(loops: Array, centres: Array, radius: Array) -> Array:
    """The winding about the source on circles about centres, those that agree counted once: the parities in there."""
    if not len(centres):
        return jnp.zeros((), centres.dtype)
    earlier = jnp.tri(len(centres), k=-1, dtype=bool)
    again = jnp.any((jnp.max(jnp.abs(centres[:, None] - centres), -1) < radius) & earlier, 1)
    return jnp.sum(jnp.where(again, 0.0, _winding(loops)))


def _cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
