"""Critical curves, caustics, Einstein radius and enclosed mass of a lens.

For pictures and numbers after a fit, so on the host; the fields themselves are evaluated in jitted
calls. Positions and radii in arcsec.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
POINT = 1e-3  # radius of the circle about a singular centre on which its cut is found [arcsec]
CORE = 0.05  # a radial curve this near all around a peak is that of its core [arcsec]


@dataclass(frozen=True, eq=False)
class Curve:
    """A critical curve and its caustic, point for point.

    Its points go around so that images of positive parity lie to the left of the critical curve.

    Attributes:
        kind: "tangential", "radial", or "cut": where images appear at the centre of a singular
            isothermal lens, a caustic without a critical curve. A cut is counterclockwise where there is an image more
            inside of it, clockwise where there is one less. A radial curve that runs through a singular centre
            follows, in the source plane, the cut from where it comes in to where it goes out, over the directions in
            which images near the centre are maxima; where such curves were not found to fit together, the cut is not
            closed.
        critical: Points in the image plane, shape (k, 2), or (0, 2) for a cut [arcsec].
        caustic: The same points traced to the source plane, shape (k, 2) [arcsec].
        secondary: Whether it is known to be that of a galaxy in a cluster, see `giga.lensing.caustics.told_apart`.
        far: Images of a source far from the whole lens: one, and one more for each centre at which the deflection grows
            without bound, as that of a point mass does.
    """

    kind: str
    critical: np.ndarray
    caustic: np.ndarray
    secondary: bool = False
    far: int = 1

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
    n += n % 2
    lines, peaks = _search(mass, about, half, n, LEVELS)
    for galaxy in others[np.abs(others - about).max(1) < half]:
        window = WINDOW * 2.0 * half / n
        if all(np.abs(galaxy - peak).max() > 0.1 * window for peak, _ in peaks):
            finer, below = _search(mass, galaxy, window, AROUND, 2)
            lines = [_replaced(outer, inner, galaxy, window) for outer, inner in zip(lines, finer, strict=True)]
            peaks.extend(below or [(galaxy, POINT)])
    block = SMALL if len(others) else BLOCK
    with jax.enable_x64(True):
        exact = in_float64(mass)
        curves = [_refined(exact, kind, line, block) for kind in (0, 1) for line in lines[kind]]
        curves = [curve for curve in curves if len(curve.critical) > 2]
        tangential = [curve for curve in curves if curve.kind == "tangential"]
        radial = [c for c in curves if c.kind == "radial" and np.ptp(c.critical, axis=0).max() > SMALLEST]
        cuts, far, seen = [], 1, []
        for peak, cell in peaks:
            middle = _singular(exact, peak, cell)
            if middle is None or any(np.abs(middle - other).max() < POINT for other in seen):
                continue
            seen.append(middle)
            growth = _growth(exact, middle)
            core = any(np.abs(c.critical - middle).max() < CORE and winding(c.critical, *middle) for c in radial)
            if growth > 1.01:
                far += 1
            elif growth > 0.99 and not core:
                cut, radial = _cut(exact, middle, radial)
                cuts.append(cut)
    found = [replace(curve, far=far) for curve in tangential + radial + cuts]
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
    """Contours of both kinds in a square, with finer ones around the unresolved peaks of kappa, and those peaks.

    Each peak with the size of the cells of the finest grid that shows it.
    """
    axis = half * (2.0 * np.arange(n) + 1.0 - n) / n
    x, y = center[0] + axis, center[1] + axis
    xx, yy = np.meshgrid(x, y)
    *values, kappa = (np.asarray(field, float) for field in fields(mass, xx, yy))
    lines = [cast(list[np.ndarray], contourpy.contour_generator(x, y, value).lines(0.0)) for value in values]
    # About a point mass there is shear, and no convergence that a grid would see.
    shear = np.clip(0.5 * (values[1] - values[0]), 0.0, 1.0 - 1e-6)
    excess = shear * (1.0 + np.abs(kappa)) / (1.0 - shear) - np.abs(kappa)
    pixels = _unresolved_peaks(kappa)
    pixels += [one for one in _unresolved_peaks(excess, least=1.0)
               if all(max(abs(one[0] - i), abs(one[1] - j)) > 3 for i, j in pixels)]
    peaks = [np.array([x[j], y[i]]) for i, j in pixels]
    cell = 2.0 * half / n
    if levels == 1:
        return lines, [(peak, cell) for peak in peaks[:1]]
    centers = []
    for peak in peaks if levels == LEVELS else peaks[:1]:
        window = WINDOW * cell
        finer, below = _search(mass, peak, window, n, levels - 1)
        lines = [_replaced(outer, inner, peak, window) for outer, inner in zip(lines, finer, strict=True)]
        centers.extend(below or [(peak, cell)])
    return lines, centers


def _replaced(outer: list[np.ndarray], inner: list[np.ndarray], middle: np.ndarray, window: float) -> list[np.ndarray]:
    """Lines of a grid, with those inside a window replaced by the closed ones of a finer grid there."""
    return [line for line in outer if np.abs(line - middle).max() > window] \
        + [line for line in inner if np.array_equal(line[0], line[-1])]


def _unresolved_peaks(kappa: np.ndarray, most: int = 16, least: float = 0.3) -> list[tuple[int, int]]:
    """Pixels (row, column) that stand out 5% above those two away, highest first: the grid may miss what is there."""
    middle = kappa[2:-2, 2:-2]
    ny, nx = kappa.shape
    around = np.mean([kappa[2 + i:ny - 2 + i, 2 + j:nx - 2 + j] for i, j in ((-2, 0), (2, 0), (0, -2), (0, 2))], axis=0)
    near = scipy.ndimage.maximum_filter(kappa, 5)[2:-2, 2:-2]
    found = np.argwhere((middle == near) & (middle > least) & (middle > 1.05 * around))
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


def _singular(mass: list[MassProfile], peak: np.ndarray, cell: float) -> np.ndarray | None:
    """The singular centre near a peak that a grid of such cells has found; None where the lens is smooth there.

    Convergence and shear grow on, ten times and more, from where the distance is 1e-4 arcsec to where it is 1e-9.
    """
    side = (np.arange(12) - 5.5) / 5.5
    half, middle, first, value = max(1.5 * cell, 1e-3), peak, 0.0, 0.0
    while half > 1e-9:
        x, y = np.meshgrid(middle[0] + half * side, middle[1] + half * side)
        tangential = np.minimum(np.asarray(fields(mass, jnp.asarray(x), jnp.asarray(y))[0], float), 1.0)
        # Of 1 - kappa - |gamma| over 1 + kappa + |gamma|, the sum of the two.
        value = float((1.0 - tangential).max() / max(1.0 + tangential.min(), 1e-15))
        middle = np.array([x.flat[np.argmin(tangential)], y.flat[np.argmin(tangential)]])
        if half < 2e-4 and not first:
            first = value
        half *= 0.3
    return middle if value > 10.0 * first else None


def _growth(mass: list[MassProfile], middle: np.ndarray) -> float:
    """How much larger the loop of the deflections is on a circle than on one of three times the radius.

    They are so small that the rest of the lens adds next to nothing.
    """
    phi = 2.0 * np.pi * np.arange(360) / 360
    size = [np.sqrt(enclosed_area(_loop(mass, middle, radius, phi))) for radius in (0.1 * POINT, 0.3 * POINT)]
    return float(size[0] / max(size[1], 1e-12))


def _loop(mass: list[MassProfile], middle: np.ndarray, radius: float, phi: np.ndarray) -> np.ndarray:
    """Where a circle about a centre traces, without the circle itself."""
    circle = radius * np.stack([np.cos(phi), np.sin(phi)])
    return np.stack([np.asarray(b, float) for b in _trace(mass, *(middle[:, None] + circle))], 1) - circle.T


def _maxima(mass: list[MassProfile], middle: np.ndarray, radius: np.ndarray, phi: np.ndarray) -> np.ndarray:
    """Whether the radial eigenvalue is negative where the tangential one is: images there would be maxima."""
    tangential, radial, _ = fields(mass, middle[0] + radius * np.cos(phi), middle[1] + radius * np.sin(phi))
    return np.asarray(tangential * radial) > 0.0


def _cut(mass: list[MassProfile], middle: np.ndarray, radial: list[Curve], n: int = 360) -> tuple[Curve, list[Curve]]:
    """The cut of a singular isothermal centre, and the radial curves, those that run through the centre led along it.

    The number of images outside of a small circle about the centre is 1, and twice the turn of the caustics about the
    source, less the turn of the traced circle, the parity of each of its parts as sign. Where parities differ, the
    curves end on the circle. They are led on over its parts of positive parity. What is left is the whole circle, as of
    negative parity.
    """
    phi = 2.0 * np.pi * np.arange(n) / n
    maxima = _maxima(mass, middle, np.full(n, POINT), phi)
    mixed = bool(maxima.any() and not maxima.all())
    through = _through(mass, middle, radial) if mixed else None
    if through is not None:
        phi = np.sort(np.concatenate([phi, through.angles[0]]))
    near, further = (_loop(mass, middle, radius, phi) for radius in (POINT, 3.0 * POINT))
    loop = 1.5 * near - 0.5 * further  # on a circle that shrinks to a point
    if through is not None:
        radial = _led(mass, middle, through, phi, loop)
    elif maxima.mean() > 0.5:
        loop = loop[::-1]
    # Left open where the radial curves that must end on it were not found: nobody counts images by it then.
    caustic = loop if mixed and through is None else np.concatenate([loop, loop[:1]])
    return Curve(kind="cut", critical=np.zeros((0, 2)), caustic=caustic), radial


@dataclass(frozen=True)
class _Through:
    """Radial curves cut where they enter and leave a disc about a singular centre, and their branches in it.

    Attributes:
        others: Curves that do not enter it.
        pieces: Points of the critical curve outside of it and of the caustic.
        branch: Of each piece, the branches that it begins and ends at, shape (pieces, 2).
        radii: Of circles inside the disc, ascending, shape (circles,).
        angles: Of the branches on these, counterclockwise, shape (circles, branches).
    """

    others: list[Curve]
    pieces: list[tuple[np.ndarray, np.ndarray]]
    branch: np.ndarray
    radii: np.ndarray
    angles: np.ndarray


def _through(mass: list[MassProfile], middle: np.ndarray, radial: list[Curve], n: int = 720) -> _Through | None:
    """The radial curves through a singular centre; None where those that were found do not fit together there."""
    grid, all_radii = 2.0 * np.pi * (np.arange(n) + 0.5) / n, 0.5 * POINT * 2.0 ** np.arange(10)
    maxima = _maxima(mass, middle, all_radii[:, None], grid)
    changes = maxima != np.roll(maxima, -1, 1)
    count = int(changes[0].sum())
    rows = int(np.argmin(np.append(changes.sum(1) == count, False)))  # as many as on the smallest circle
    changes[rows:], maxima[rows:] = changes[0], maxima[0]  # of one shape
    radii = np.append(all_radii[:rows], np.full(10 - rows, all_radii[0]))[:, None]
    low = np.stack([grid[row] for row in changes]) - 2.0 * np.pi / n
    before = np.stack([np.roll(row, 1)[change] for row, change in zip(maxima, changes, strict=True)])
    high = low + 2.0 * np.pi / n
    for _ in range(40):
        half = 0.5 * (low + high)
        same = _maxima(mass, middle, radii, half) == before
        low, high = np.where(same, half, low), np.where(same, high, half)
    angles = np.sort(np.mod(0.5 * (low + high), 2.0 * np.pi), 1)
    leave = _maxima(mass, middle, radii, angles - 1e-4)[0]  # counterclockwise, maxima end at these
    for k in range(1, rows):
        angles[k] = _shifted(angles[k], angles[k - 1])
    for k in range(1, rows):
        disc = 2.0 * all_radii[k]
        entering = [curve for curve in radial if curve.closed
                    and (np.hypot(*(curve.critical - middle).T) < disc).any()]
        pieces = [piece for curve in entering for piece in _pieces(curve, middle, disc)]
        if 2 * len(pieces) != count:
            continue
        ends = np.array([critical[[0, -1]] for critical, _ in pieces]).reshape(-1, 2) - middle
        at = np.mod(np.arctan2(ends[:, 1], ends[:, 0]), 2.0 * np.pi)
        shifted = _shifted(np.sort(at), angles[k])
        branch = np.zeros(count, int)
        branch[np.roll(np.argsort(at), int(np.flatnonzero(shifted == np.sort(at)[0])[0]))] = np.arange(count)
        # On the way in maxima lie to the left, clockwise of the curve.
        if np.cos(shifted - angles[k]).min() > 0.95 and leave[branch[1::2]].all() and not leave[branch[::2]].any():
            others = [curve for curve in radial if all(curve is not one for one in entering)]
            return _Through(others, pieces, branch.reshape(-1, 2), all_radii[:k + 1], angles[:k + 1])
    return None


def _shifted(angles: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Angles in cyclic order, from the one that brings them closest to others."""
    return min((np.roll(angles, k) for k in range(len(angles))), key=lambda one: np.sum(1.0 - np.cos(one - like)))


def _pieces(curve: Curve, middle: np.ndarray, radius: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """What of a closed curve that enters a disc lies outside of it, piece by piece."""
    critical, caustic = curve.critical[:-1], curve.caustic[:-1]
    inside = np.hypot(*(critical - middle).T) < radius
    first = int(np.argmax(inside))
    critical, caustic, inside = (np.roll(a, -first, 0) for a in (critical, caustic, inside))
    edges = np.flatnonzero(np.diff(np.concatenate([inside, [True]]).astype(int))) + 1
    return [(critical[a:b], caustic[a:b]) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _led(mass: list[MassProfile], middle: np.ndarray, through: _Through, phi: np.ndarray,
         loop: np.ndarray) -> list[Curve]:
    """Radial curves, those that enter a disc about a singular centre led on branches to it, and along its cut."""
    step = np.stack([np.cos(through.angles), np.sin(through.angles)], -1)
    out = middle + through.radii[:, None, None] * step  # circles, branches, 2
    traced = np.stack([np.asarray(b, float) for b in _trace(mass, out[..., 0], out[..., 1])], -1)
    begins = {int(start): k for k, (start, _) in enumerate(through.branch)}
    left, made = set(range(len(through.pieces))), []
    while left:
        k, critical, caustic = min(left), [], []
        while k in left:
            left.remove(k)
            end = int(through.branch[k, 1])
            start = (end - 1) % through.angles.shape[1]
            first, last = np.searchsorted(phi, through.angles[0, [end, start]])
            along = np.arange(first, last - 1 - (len(phi) if last > first else 0), -1) % len(phi)
            critical += [through.pieces[k][0], out[::-1, end], np.tile(middle, (len(along), 1)), out[:, start]]
            caustic += [through.pieces[k][1], traced[::-1, end], loop[along], traced[:, start]]
            k = begins[start]
        made.append(Curve(kind="radial", critical=np.concatenate([*critical, critical[0][:1]]),
                          caustic=np.concatenate([*caustic, caustic[0][:1]])))
    return through.others + made
