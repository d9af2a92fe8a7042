"""Numbers of images and cross-sections by the caustics of a lens; curves of a cluster and of its galaxies told apart.

On the host, from curves that `giga.lensing.critical.critical_curves` has found. Positions in arcsec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from giga.lensing.critical import KINDS, Curve, fields, winding
from giga.mass.base import MassProfile

LINES = 4096  # across the caustics, along which areas are measured
LEAST = 1e-9  # areas, over the length of the caustics, below which they are of rounding [arcsec]
FLAT = 1e-6  # caustics, over the size of their critical curve, that are points
SAMPLES = 32  # points a side of the box of a curve, of which those inside are looked at


def image_numbers(curves: Sequence[Curve], x: np.ndarray | float, y: np.ndarray | float,
                  central: bool = True) -> np.ndarray:
    """Number of images of point sources.

    The critical curves divide the image plane into parts of one parity, each traced to the source plane without a fold.
    The number of images in a part is how often its traced edge winds around the source. All together are 1 + 2 sum w
    over the caustics, w their winding numbers, and w for the cut of a singular isothermal centre: one image more inside
    of it, and one less (w = -1) where the rest of the lens has a convergence above one there, and images near the
    centre are maxima. Each centre at which the deflection grows without bound (a point mass, a power law steeper than
    isothermal) adds one image of every source.

    Args:
        curves: All critical curves of a lens, closed.
        x, y: Places of the sources, of one shape [arcsec].
        central: Whether those inside a radial curve count: faint images in the middle of a lens, which a singular one
            does not have.

    Returns:
        The shape of x. The image that a centre steeper than isothermal adds counts however faint it is: with gamma =
        2.02 it is soon fainter than what `find_images` looks for. Slopes within 0.009 of isothermal are isothermal.

    Raises:
        ValueError: A curve that is not closed.
    """
    x, y = np.broadcast_arrays(np.asarray(x, float), np.asarray(y, float))
    total = np.full(x.shape, _far(curves))
    for curve in _closed(curves):
        total = total + _weight(curve, central) * winding(curve.caustic, x, y)
    return total


def cross_sections(curves: Sequence[Curve], central: bool = False, lines: int = LINES) -> dict[int, float]:
    """Area of the source plane from which a source has so many images.

    Args:
        curves: All critical curves of a lens, closed.
        central: Whether faint images in the middle count, see `image_numbers`. Without them an isothermal lens has
            cross-sections for two, three and four images, whether it has a small core or none.
        lines: Across the caustics, along which lengths are measured. The error falls with their number to the power of
            about 1.5.

    Returns:
        Areas by the number of images, for two and more [arcsec^2]. The number of a source far from the lens, whose area
        has no end, is left out: it is one, and two for a point mass or a power law steeper than isothermal. Left out
        too are areas below 1e-9 arcsec times the length of the caustics, and caustics smaller than 1e-6 of their
        critical curve: those of round lenses are points, up to rounding.

    Raises:
        ValueError: A curve that is not closed.
    """
    caustics = [(curve.caustic, _weight(curve, central)) for curve in _closed(curves)
                if not _is_point(curve)]
    if not caustics:
        return {}
    low, high = (limit(np.concatenate([points[:, 1] for points, _ in caustics])) for limit in (np.min, np.max))
    step = (high - low) / lines
    if step == 0.0:  # a point
        return {}
    row, at, rise = (np.concatenate(parts) for parts in
                     zip(*(_crossings(points, weight, low, step, lines) for points, weight in caustics), strict=True))
    order = np.lexsort((at, row))
    row, at, rise = row[order], at[order], rise[order]
    far, least = _far(curves), LEAST * sum(curve.caustic_length for curve in curves)
    number, width = far + np.cumsum(rise), np.diff(at)  # each line leaves as many curves as it enters
    number, width = number[:-1], np.where(row[1:] == row[:-1], width, 0.0)
    areas = {int(count): float(step * width[number == count].sum()) for count in np.unique(number[width > 0.0])}
    return {count: area for count, area in areas.items() if count > 1 and count != far and area > least}


def told_apart(curves: Sequence[Curve], smooth: Sequence[MassProfile]) -> list[Curve]:
    """The critical curves of a cluster, those that its galaxies make marked as secondary.

    A curve is secondary when the lens without the galaxies is nowhere critical inside of it: the eigenvalue of its kind
    stays positive. A primary curve that runs around a galaxy stays primary.

    Args:
        curves: Of the whole lens; those that are not closed are not marked, nor are cuts.
        smooth: The masses without the galaxies, at least one.

    Returns:
        All of them in their order. Those of galaxies that act as lenses have, in Angora et al. (2023), an equivalent
        Einstein radius of 0.2 to 3.5 arcsec.

    References:
        Angora et al. (2023), A&A 676, A40, sec. 3.1; Meneghetti et al. (2020), Science 369, 1347.
    """
    return [replace(curve, secondary=curve.kind != "cut" and curve.closed and not _critical_inside(curve, list(smooth)))
            for curve in curves]


def _critical_inside(curve: Curve, smooth: list[MassProfile]) -> bool:
    """Whether a lens has an eigenvalue of the kind of a curve that is not positive inside of the curve."""
    low, high = curve.critical.min(0), curve.critical.max(0)
    axes = low + (high - low) * (np.arange(SAMPLES)[:, None] + 0.5) / SAMPLES
    x, y = np.meshgrid(axes[:, 0], axes[:, 1])
    value = np.asarray(fields(smooth, x, y)[KINDS.index(curve.kind)])
    return bool((value[winding(curve.critical, x, y) != 0] <= 0.0).any())


def _closed(curves: Sequence[Curve]) -> Sequence[Curve]:
    for curve in curves:
        if not curve.closed:
            raise ValueError("curves: those that run through a singular centre were not found; expected a finer grid, "
                             "or `galaxies` there" if curve.kind == "cut" else
                             f"curves: a {curve.kind} curve leaves the square that was searched; expected closed ones, "
                             "of a wider square")
    return curves


def _far(curves: Sequence[Curve]) -> int:
    return max((curve.far for curve in curves), default=1)


def _is_point(curve: Curve) -> bool:
    """Whether a caustic is a point up to the precision of its curve."""
    return len(curve.critical) > 0 and np.ptp(curve.caustic, 0).max() < FLAT * np.ptp(curve.critical, 0).max()


def _weight(curve: Curve, central: bool) -> int:
    """Images that a source gains where the caustic winds around it once."""
    if curve.kind == "cut":
        (x0, y0), (x1, y1) = (curve.caustic[:-1] - curve.caustic[0]).T, (curve.caustic[1:] - curve.caustic[0]).T
        # Those that a clockwise cut takes are maxima.
        return 1 if central or (x0 * y1 - x1 * y0).sum() > 0.0 else 0
    return 1 if curve.kind == "radial" and not central else 2


def _crossings(points: np.ndarray, weight: int, low: float, step: float,
               lines: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a polygon meets lines of one y: the number of the line, the x, and what is gained beyond it."""
    (x0, y0), (x1, y1) = points[:-1].T, points[1:].T
    # Line k lies at low + (k + 1/2) step.
    first, last = (np.ceil((edge(y0, y1) - low) / step - 0.5).astype(int) for edge in (np.minimum, np.maximum))
    first, last = np.clip(first, 0, lines), np.clip(last, 0, lines)
    count = last - first
    which = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + first[which]
    share = (low + (row + 0.5) * step - y0[which]) / (y1 - y0)[which]
    return row, x0[which] + share * (x1 - x0)[which], np.where(y1 > y0, -weight, weight)[which]
