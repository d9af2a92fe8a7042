"""Magnification of an extended source by three methods, arc by arc.

References:
    Huang et al. (2025), arXiv:2502.03455, appendix A: pixel counts in both planes, convex hulls of delensed pixels, and
    the mean of the pointwise magnification.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jax import Array
from scipy.spatial import ConvexHull, QhullError

from giga.component import Component
from giga.lensing.scene import Scene
from giga.lensing.tracing import jacobian, trace

SOURCE_SIDE = 192  # pixels a side of the square in the source plane that is counted
SMALLEST = 4  # pixels of an arc
SHARES = np.round(np.arange(0.25, 0.951, 0.05), 2)  # thresholds that are tried, in the peak brightness
AROUND = np.ones((3, 3))  # pixels that share a corner are of one arc


class Square(Component):
    """Pixels of a square in the image plane.

    Attributes:
        x, y: Its middle [arcsec].
        side: Its side [arcsec].
    """

    x: Any
    y: Any
    side: Any

    def pixels(self, n: int, dtype: Any) -> tuple[Array, Array]:
        """Centres of n x n pixels, each of shape (n, n) [arcsec]."""
        axis = self.side * jnp.asarray((np.arange(n) + 0.5) / n - 0.5, dtype)
        x, y = jnp.meshgrid(self.x + axis, self.y + axis)
        return x, y


class Lensed(NamedTuple):
    """A source and its images, not convolved, above a threshold. Arrays are of shape (n, n).

    Attributes:
        level: Brightness of the image over the threshold.
        x, y: Where the pixels are traced to [arcsec].
        magnification: |1 / det A| there.
        source_area: Area of the source above the threshold, by counting [arcsec^2].
        peaks: Peak brightness in the source plane over that in the image plane: one where both are fine enough.
    """

    level: Any
    x: Any
    y: Any
    magnification: Any
    source_area: Any
    peaks: Any

    @property
    def above(self) -> Any:
        """Where the image is brighter than the threshold, shape (n, n)."""
        return self.level > 1.0


class Magnifications(NamedTuple):
    """Magnification of each arc by three methods, the brightest pixel count first, shape (arcs,) each.

    Attributes:
        counts: Image area over the source's, both counted in pixels.
        hulls: Image area over that of the convex hull of its pixels traced to the source plane, with the places
            between pixels where the brightness is that of the threshold: without these the hull lacks a rim.
        points: Mean of |1 / det A| over its pixels.
    """

    counts: np.ndarray
    hulls: np.ndarray
    points: np.ndarray

    @property
    def totals(self) -> np.ndarray:
        """Sums over the arcs, shape (3,); NaN without an arc."""
        if not len(self.counts):
            return np.full(3, np.nan)
        return np.array([self.counts.sum(), self.hulls.sum(), self.points.sum()])


def lensed(scene: Scene, square: Square, share: Array | float, n: int = 192, source_side: int = SOURCE_SIDE) -> Lensed:
    """Trace the pixels of a square, for one scene, to be mapped.

    Args:
        scene: Mass, and source light with amplitudes.
        square: What of the image plane is looked at.
        share: Threshold, in the peak brightness of the images.
        n: Pixels a side of the square.
        source_side: Pixels a side of the square around the delensed pixels that the source is counted in.
    """
    x, y = square.pixels(n, jnp.result_type(*jax.tree.leaves(scene.mass)))
    beta_x, beta_y = trace(scene.mass, x, y)
    image = _source(scene, beta_x, beta_y)
    peak = jnp.max(image)
    above = image > share * peak
    xx, xy, yx, yy = jacobian(scene.mass, x, y)
    determinant = (1.0 - xx) * (1.0 - yy) - xy * yx
    low = jnp.stack([jnp.min(jnp.where(above, beta, jnp.inf)) for beta in (beta_x, beta_y)])
    high = jnp.stack([jnp.max(jnp.where(above, beta, -jnp.inf)) for beta in (beta_x, beta_y)])
    side = 1.3 * jnp.max(high - low)
    own = Square(x=0.5 * (low[0] + high[0]), y=0.5 * (low[1] + high[1]), side=side)
    plane = _source(scene, *own.pixels(source_side, x.dtype))
    area = jnp.sum(plane > share * peak) * (side / source_side) ** 2
    return Lensed(image / (share * peak), beta_x, beta_y, 1.0 / jnp.abs(determinant), area, jnp.max(plane) / peak)


def arcs_of(above: np.ndarray) -> list[np.ndarray]:
    """The connected parts of some pixels, the largest first, as indices of the flattened array."""
    found: Any = scipy.ndimage.label(above, AROUND)
    labels, count = found
    flat = labels.ravel()
    order = np.argsort(flat, kind="stable")
    parts = np.split(order, np.searchsorted(flat[order], np.arange(1, count + 1)))[1:]
    return sorted((part for part in parts if len(part) >= SMALLEST), key=len, reverse=True)


def magnifications(found: Lensed, pixel_area: float) -> Magnifications:
    """The magnification of each arc by the three methods, on the host.

    Args:
        found: One source and its images.
        pixel_area: Area of a pixel of the image plane [arcsec^2].
    """
    rows = []
    level, traced = np.asarray(found.level, float), np.stack([found.x, found.y], -1).astype(float)
    for arc in arcs_of(level > 1.0):
        area = pixel_area * len(arc)
        points = np.concatenate([traced.reshape(-1, 2)[arc], _rim(level, traced, arc)])
        rows.append((area / float(found.source_area), area / _hull_area(points),
                     float(np.mean(np.asarray(found.magnification, float).ravel()[arc]))))
    return Magnifications(*np.array(rows, float).reshape(-1, 3).T)


def isolating(image: np.ndarray) -> float:
    """The lowest threshold at which as many arcs stand apart as at any that is tried, in the peak brightness.

    Args:
        image: Brightness of the lensed source, not convolved, shape (n, n).
    """
    counts = [len(arcs_of(image > share * image.max())) for share in SHARES]
    return float(SHARES[int(np.argmax(counts))])


def _rim(level: np.ndarray, traced: np.ndarray, arc: np.ndarray) -> np.ndarray:
    """Where pixels of an arc and those beside it that are below the threshold have it between them, traced.

    Args:
        level: Brightness over the threshold, shape (n, n).
        traced: Where pixels are traced to, shape (n, n, 2) [arcsec].
        arc: Indices of the flattened array.

    Returns:
        Shape (k, 2) [arcsec].
    """
    row, column = np.unravel_index(arc, level.shape)
    found = []
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        beside = row + down, column + right
        there = np.flatnonzero((np.minimum(*beside) >= 0) & (np.maximum(*beside) < len(level)))
        inner, outer = (row[there], column[there]), (beside[0][there], beside[1][there])
        edge = level[outer] <= 1.0
        inner, outer = (tuple(index[edge] for index in pixel) for pixel in (inner, outer))
        way = ((level[inner] - 1.0) / (level[inner] - level[outer]))[:, None]
        found.append(traced[inner] + way * (traced[outer] - traced[inner]))
    return np.concatenate(found)


def _hull_area(points: np.ndarray) -> float:
    """Area of the convex hull of points, shape (k, 2); NaN of points on a line."""
    try:
        return float(ConvexHull(points).volume)
    except QhullError:
        return float("nan")


def _source(scene: Scene, x: Array, y: Array) -> Array:
    return reduce(add, (profile.brightness(x, y) for profile in scene.source_light))
