"""Critical curves, caustics, Einstein radius and enclosed mass of a lens.

For pictures and numbers after a fit, so on the host; the fields themselves are evaluated in jitted
calls. Positions and radii in arcsec.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import contourpy
import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jax import Array

from giga.component import in_float64
from giga.lensing.tracing import deflection, jacobian, trace
from giga.mass.base import MassProfile

KINDS = ("tangential", "radial", "cut")
BLOCK, SMALL = 2048, 256  # points are moved onto a curve in multiples of this; onto those of many galaxies
SMALLEST = 1e-3  # a radial curve smaller than this is the smoothed centre of a singular profile [arcsec]
LEVELS = 3  # grids inside grids, each about n / 12 times finer
WINDOW = 6.18  # half-width of a finer grid, in cells of the coarser
MOST, SETTLED = 40, 1e-9  # steps onto a curve, and the longest of the last one [arcsec]
NEAR = 1e-7  # what is further from the curve in the end has not come onto it [arcsec]
AROUND = 48  # grid points a side about a galaxy


@dataclass(frozen=True, eq=False)
class Curve:
    """A critical curve and its caustic, point for point.

    Its points go around so that images of positive parity lie to the left of the critical curve.

    Attributes:
        kind: "tangential", "radial", or "cut": where images appear at the centre of a singular
            isothermal lens, a caustic without a critical curve.
        critical: Points in the image plane, shape (k, 2), or (0, 2) for a cut [arcsec].
        caustic: The same points traced to the source plane, shape (k, 2) [arcsec].
        secondary: Whether it is known to be that of a galaxy in a cluster, see `giga.lensing.caustics.told_apart`.
    """

    kind: str
    critical: np.ndarray
    caustic: np.ndarray
    secondary: bool = False

    @property
    def closed(self) -> bool:
        """Whether the curve ends where it began; one that leaves the grid does not."""
        points = self.critical if len(self.critical) else self.caustic
        return bool(np.array_equal(points[0], points[-1]))

    @property
    def area(self) -> float:
        """Area inside the critical curve, zero for a cut [arcsec^2]."""
        return enclosed_area(self.critical)

    @property
    def einstein_radius(self) -> float:
        """Radius of the circle of that area, the equivalent Einstein radius of a tangential curve [arcsec]."""
        return float(np.sqrt(self.area / np.pi))

    @property
    def length(self) -> float:
        """Length of the critical curve, zero for a cut [arcsec]."""
        return _length(self.critical)

    @property
    def caustic_area(self) -> float:
        """Area inside the caustic; of one that crosses itself by the sense of each part [arcsec^2]."""
        return enclosed_area(self.caustic)

    @property
    def caustic_length(self) -> float:
        """Length of the caustic [arcsec]."""
        return _length(self.caustic)


def critical_curves(mass: Sequence[MassProfile], grid_half_width: float = 5.0, n: int = 200,
                    center: tuple[float, float] = (0.0, 0.0), galaxies: np.ndarray | None = None) -> list[Curve]:
    """Find the critical curves and caustics of a lens inside a square.

    The eigenvalues 1 - kappa -+ |gamma| of the lensing Jacobian are contoured at zero on a grid, and
    each point is moved onto the curve by Newton steps along the gradient. These steps are in float64 whatever the
    precision of the grid, so that points are good to 1e-6 arcsec even of a cluster, see `tests/test_caustics.py`.
    Around each peak of the convergence finer grids look for small radial curves.

    Args:
        mass: Mass profiles with numbers on their leaves.
        grid_half_width: Half the side of the square [arcsec].
        n: Grid points a side of each level.
        center: Centre of the square [arcsec].
        galaxies: Centres of galaxies of a cluster, shape (k, 2): finer grids look around each of them too, whose curves
            may be smaller than the cells of the square [arcsec].

    Returns:
        Tangential curves first, then radial ones, then cuts; the larger first within a kind. Empty
        when the lens has none.

    Raises:
        ValueError: A half-width that is not positive, fewer than 16 points, or galaxies of another shape.
    """
    if not grid_half_width > 0.0:
        raise ValueError(f"grid_half_width: expected a positive number of arcsec, got {grid_half_width}")
    if n < 16:
        raise ValueError(f"n: expected 16 or more grid points a side, got {n}")
    mass = list(mass)
    if not mass:
        return []
    about, half = np.asarray(center, float), float(grid_half_width)
    others = np.zeros((0, 2)) if galaxies is None else np.asarray(galaxies, float)
    if others.ndim != 2 or others.shape[1] != 2 or not np.isfinite(others).all():
        raise ValueError(f"galaxies: expected finite positions of shape (k, 2), got shape {others.shape}")
    lines, peaks = _search(mass, about, half, n + n % 2, LEVELS)
    for galaxy in others[np.abs(others - about).max(1) < half]:
        window = WINDOW * 2.0 * half / n
        if all(np.abs(galaxy - peak).max() > 0.1 * window for peak in peaks):
            finer, below = _search(mass, galaxy, window, AROUND, 2)
            lines = [_replaced(outer, inner, galaxy, window) for outer, inner in zip(lines, finer, strict=True)]
            peaks.extend(below)
    block = SMALL if len(others) else BLOCK
    with jax.enable_x64(True):
        exact = in_float64(mass)
        curves = [_refined(exact, kind, line, block) for kind in (0, 1) for line in lines[kind]]
        curves = [curve for curve in curves if len(curve.critical) > 2]
        tangential = [curve for curve in curves if curve.kind == "tangential"]
        radial = [c for c in curves if c.kind == "radial" and np.ptp(c.critical, axis=0).max() > SMALLEST]
        cuts = [_cut(exact, peak) for peak in peaks if not any(winding(curve.critical, *peak) for curve in radial)]
    found = tangential + radial + [cut for cut in cuts if cut is not None]
    return sorted(found, key=lambda curve: (KINDS.index(curve.kind), -enclosed_area(curve.caustic), -curve.area))


def effective_einstein_radius(mass: Sequence[MassProfile], grid_half_width: float = 5.0, n: int = 200,
                              center: tuple[float, float] = (0.0, 0.0)) -> float:
    """Radius of the circle with the area inside the largest tangential critical curve [arcsec].

    Zero for a lens too weak to have one.

    Raises:
        ValueError: A tangential curve that leaves the square.
    """
    tangential = [c for c in critical_curves(mass, grid_half_width, n, center) if c.kind == "tangential"]
    if any(not curve.closed for curve in tangential):
        raise ValueError(f"grid_half_width: a critical curve leaves the square of half-width {grid_half_width} arcsec; "
                         "expected a wider one")
    return einstein_radius_of(tangential)


def einstein_radius_of(curves: Sequence[Curve]) -> float:
    """Effective Einstein radius of curves already found, zero when none is tangential and closed [arcsec]."""
    areas = [curve.area for curve in curves if curve.kind == "tangential" and curve.closed]
    return float(np.sqrt(max(areas, default=0.0) / np.pi))


def mean_convergence(mass: Sequence[MassProfile], radius: Array | float, center_x: Array | float = 0.0,
                     center_y: Array | float = 0.0, n: int = 256) -> Array:
    """Mean convergence inside circles, by Gauss's theorem from the deflection on them.

    The mean of div(alpha) / 2 over a disk is the mean radial deflection on its rim over its radius.

    Args:
        mass: Mass profiles.
        radius: Radii of the circles, any shape [arcsec].
        center_x, center_y: Their common centre [arcsec].
        n: Points on each circle.

    Returns:
        The shape of radius; one at the Einstein radius of a circular lens.
    """
    phi = 2.0 * jnp.pi * jnp.arange(n) / n
    cos, sin = jnp.cos(phi), jnp.sin(phi)
    r = jnp.asarray(radius, float)[..., None]
    alpha_x, alpha_y = deflection(list(mass), center_x + r * cos, center_y + r * sin)
    return jnp.mean(alpha_x * cos + alpha_y * sin, axis=-1) / r[..., 0]


def mass_fraction(part: Sequence[MassProfile], mass: Sequence[MassProfile], radius: Array | float,
                  center_x: Array | float = 0.0, center_y: Array | float = 0.0) -> Array:
    """Fraction of the projected mass inside circles that some of the profiles hold, the shape of radius."""
    return mean_convergence(part, radius, center_x, center_y) / mean_convergence(mass, radius, center_x, center_y)


def enclosed_area(points: np.ndarray) -> float:
    """Area inside a polygon, shape (k, 2), by the shoelace formula; zero for none."""
    if len(points) < 3:
        return 0.0
    x, y = (points - points[0]).T
    return float(0.5 * abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))))


def _length(points: np.ndarray) -> float:
    return float(np.hypot(*np.diff(points, axis=0).T).sum())


def winding(points: np.ndarray, x: np.ndarray | float, y: np.ndarray | float) -> np.ndarray:
    """How often a closed polygon winds around places, counterclockwise.

    Args:
        points: Shape (k, 2), the last the first.
        x, y: The places, of one shape.

    Returns:
        The shape of x: a ray to the right crosses so many more edges that rise than edges that fall.
    """
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    turn = np.zeros(x.shape, int)
    for (x0, y0), (x1, y1) in zip(points[:-1], points[1:], strict=True):
        crosses = (y1 > y) != (y0 > y)
        if crosses.any():
            turn = turn + np.where(crosses & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0)), 1 if y1 > y0 else -1, 0)
    return turn


@jax.jit
def fields(mass: list[MassProfile], x: Array, y: Array) -> tuple[Array, Array, Array]:
    """Tangential and radial eigenvalue, each over 1 + |kappa| + |gamma| so that it is bounded, and kappa."""
    xx, xy, yx, yy = jacobian(mass, x, y)
    kappa, squared = 0.5 * (xx + yy), 0.25 * (xx - yy) ** 2 + 0.25 * (xy + yx) ** 2
    gamma = jnp.sqrt(jnp.where(squared > 0.0, squared, 1.0)) * (squared > 0.0)
    bound = 1.0 + jnp.abs(kappa) + gamma
    return (1.0 - kappa - gamma) / bound, (1.0 - kappa + gamma) / bound, kappa


@jax.jit
def _trace(mass: list[MassProfile], x: Array, y: Array) -> tuple[Array, Array]:
    return trace(mass, x, y)


@jax.jit
def _onto_curve(mass: list[MassProfile], kind: Array, x: Array, y: Array,
                reach: Array) -> tuple[tuple[Array, Array], tuple[Array, Array], Array]:
    """Newton steps along the gradient of an eigenvalue, none longer than reach.

    The points, where they trace, and whether they have come onto the curve.

    A step after which the eigenvalue is no nearer to zero is halved: where two curves all but touch, or the shear
    vanishes nearby, a whole one leads away. As many steps are taken as the slowest of the points needs. The kind of
    eigenvalue is a number like the others: one program serves both.
    """
    one, zero = jnp.ones_like(x), jnp.zeros_like(x)

    def value(x: Array, y: Array) -> Array:
        tangential, radial, _ = fields(mass, x, y)
        return jnp.where(kind == 0, tangential, radial)

    def at(point: tuple[Array, Array]) -> tuple[Array, Array, Array]:
        f, slope = jax.vmap(lambda u, v: jax.jvp(value, point, (u, v)))(jnp.stack([one, zero]), jnp.stack([zero, one]))
        return f[0], slope[0], slope[1]

    def move(found: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        steepness = jnp.maximum(jnp.hypot(found[1], found[2]), 1e-12)
        length = jnp.clip(found[0] / steepness, -reach, reach)
        return length * found[1] / steepness, length * found[2] / steepness

    def step(state: Any) -> Any:
        k, point, found, scale = state
        by = move(found)
        trial = point[0] - scale * by[0], point[1] - scale * by[1]
        there = at(trial)
        nearer = jnp.abs(there[0]) < jnp.abs(found[0])
        point, found = jax.tree.map(lambda new, old: jnp.where(nearer, new, old), (trial, there), (point, found))
        return k + 1, point, found, jnp.where(nearer, 1.0, 0.5 * scale)

    def goes_on(state: Any) -> Array:
        k, _, found, scale = state
        return (k < MOST) & jnp.any(scale * jnp.hypot(*move(found)) > SETTLED)

    _, critical, found, _ = jax.lax.while_loop(goes_on, step, (0, (x, y), at((x, y)), one))
    return critical, trace(mass, *critical), jnp.hypot(*move(found)) < NEAR


def _search(mass: list[MassProfile], center: np.ndarray, half: float, n: int, levels: int):
    """Contours of both kinds in a square, with finer ones around the unresolved peaks of kappa, and those peaks."""
    axis = half * (2.0 * np.arange(n) + 1.0 - n) / n
    x, y = center[0] + axis, center[1] + axis
    xx, yy = np.meshgrid(x, y)
    *values, kappa = (np.asarray(field, float) for field in fields(mass, xx, yy))
    lines = [cast(list[np.ndarray], contourpy.contour_generator(x, y, value).lines(0.0)) for value in values]
    peaks = [np.array([x[j], y[i]]) for i, j in _unresolved_peaks(kappa)]
    if levels == 1:
        return lines, peaks[:1]
    centers = []
    for peak in peaks if levels == LEVELS else peaks[:1]:
        window = WINDOW * 2.0 * half / n
        finer, below = _search(mass, peak, window, n, levels - 1)
        lines = [_replaced(outer, inner, peak, window) for outer, inner in zip(lines, finer, strict=True)]
        centers.extend(below)
    return lines, centers


def _replaced(outer: list[np.ndarray], inner: list[np.ndarray], middle: np.ndarray, window: float) -> list[np.ndarray]:
    """Lines of a grid, with those inside a window replaced by the closed ones of a finer grid there."""
    return [line for line in outer if np.abs(line - middle).max() > window] \
        + [line for line in inner if np.array_equal(line[0], line[-1])]


def _unresolved_peaks(kappa: np.ndarray, most: int = 16) -> list[tuple[int, int]]:
    """Pixels (row, column) that stand out 5% above those two away, highest first: the grid may miss what is there."""
    middle = kappa[2:-2, 2:-2]
    ny, nx = kappa.shape
    around = np.mean([kappa[2 + i:ny - 2 + i, 2 + j:nx - 2 + j] for i, j in ((-2, 0), (2, 0), (0, -2), (0, 2))], axis=0)
    near = scipy.ndimage.maximum_filter(kappa, 5)[2:-2, 2:-2]
    found = np.argwhere((middle == near) & (middle > 0.3) & (middle > 1.05 * around))
    kept: list[tuple[int, int]] = []
    for i, j in sorted(found.tolist(), key=lambda pixel: -middle[tuple(pixel)]):
        if all(max(abs(i + 2 - k), abs(j + 2 - m)) > 3 for k, m in kept):  # equal neighbours are one peak
            kept.append((i + 2, j + 2))
    return kept[:most]


def _refined(mass: list[MassProfile], kind: int, line: np.ndarray, block: int) -> Curve:
    """Put four points where a contour has one, move them onto the curve and trace them.

    A point that does not come onto it is left out.

    Contours have higher values to their left. The determinant of the Jacobian has the sign of the eigenvalue on a
    tangential curve, the opposite one on a radial curve.
    """
    closed = np.array_equal(line[0], line[-1])
    line = line if KINDS[kind] == "tangential" else line[::-1]
    index = np.linspace(0, len(line) - 1, 4 * (len(line) - 1) + 1)
    points = np.stack([np.interp(index, np.arange(len(line)), column) for column in line.T])
    reach = 2.0 * np.hypot(*np.diff(line, axis=0).T).max()
    padded = np.pad(points, ((0, 0), (0, -points.shape[1] % block)), mode="edge")  # one shape, one program
    parts = [_onto_curve(mass, np.int32(kind), *part, reach) for part in np.split(padded, padded.shape[1] // block, 1)]
    there = np.concatenate([np.asarray(part[2]) for part in parts])[:len(index)]
    critical, caustic = (np.concatenate([np.stack([np.asarray(c, float) for c in part[k]], 1) for part in parts])
                         [:len(index)][there] for k in (0, 1))
    if closed and len(critical):
        critical[-1], caustic[-1] = critical[0], caustic[0]
    return Curve(kind=KINDS[kind], critical=critical, caustic=caustic)


def _cut(mass: list[MassProfile], peak: np.ndarray, n: int = 360) -> Curve | None:
    """The caustic of a peak near which the deflection keeps its size, as an isothermal one does; else None."""
    phi = 2.0 * np.pi * np.arange(n) / n
    circle = np.stack([np.cos(phi), np.sin(phi)])
    loops = []
    for radius in (3e-3, 1e-3):
        rays = peak[:, None] + radius * circle
        beta = np.stack([np.asarray(b, float) for b in _trace(mass, *rays)])
        loops.append(beta - radius * circle)
    size = [np.sqrt(enclosed_area(loop.T)) for loop in loops]
    if not 0.99 < size[1] / max(size[0], 1e-12) < 1.01:
        return None
    caustic = np.concatenate([loops[1], loops[1][:, :1]], axis=1).T
    return Curve(kind="cut", critical=np.zeros((0, 2)), caustic=caustic)
