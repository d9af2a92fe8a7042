"""Pixel grids: where a pixel lies on the sky."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple, cast

import astropy.units as u
import jax.numpy as jnp
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from jax import Array

from giga.component import Component, Param, static

OBLONG = 0.02  # a pixel that is further from a square is refused


class Grid(Component):
    """A grid of square pixels. x runs to the right along columns, y up along rows.

    The origin of angles is the image centre, unless `center` says otherwise: several observations of
    one scene share their angles by it and by `rotation`.

    Attributes:
        shape: (ny, nx).
        pixel_scale: Side of a pixel [arcsec].
        center_x, center_y: Angles of the image centre [arcsec].
        rotation: Angle of the image's columns direction, counter-clockwise from +x [rad].
    """

    shape: tuple[int, int] = static()
    pixel_scale: Param
    center_x: Param = 0.0
    center_y: Param = 0.0
    rotation: Param = 0.0

    @property
    def pixel_area(self) -> Array:
        """Area of a pixel [arcsec^2]."""
        return self.pixel_scale**2

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """(left, right, bottom, top) of the unrotated grid, for matplotlib [arcsec]."""
        half_x = 0.5 * self.shape[1] * float(self.pixel_scale)
        half_y = 0.5 * self.shape[0] * float(self.pixel_scale)
        x0, y0 = float(self.center_x), float(self.center_y)
        return x0 - half_x, x0 + half_x, y0 - half_y, y0 + half_y

    def coordinates(self, supersampling: int = 1) -> tuple[Array, Array]:
        """Centres of the (sub)pixels, two arrays of shape (s*ny, s*nx) [arcsec]."""
        s = supersampling
        (ny, nx), step = self.shape, self.pixel_scale / s
        column = (jnp.arange(s * nx) - 0.5 * (s * nx - 1))[None, :] * step
        row = (jnp.arange(s * ny) - 0.5 * (s * ny - 1))[:, None] * step
        return self._to_sky(column, row)

    def phases(self, supersampling: int = 1) -> tuple[Array, Array]:
        """The same centres ordered by their place in the pixel, two arrays of shape (s*s, ny, nx)."""
        s = supersampling
        (ny, nx), step = self.shape, self.pixel_scale
        offset = (jnp.arange(s) - 0.5 * (s - 1)) / s
        column = (jnp.arange(nx) - 0.5 * (nx - 1))[None, None, :] + jnp.tile(offset, s)[:, None, None]
        row = (jnp.arange(ny) - 0.5 * (ny - 1))[None, :, None] + jnp.repeat(offset, s)[:, None, None]
        return self._to_sky(column * step, row * step)

    def _to_sky(self, column: Any, row: Any) -> tuple[Any, Any]:
        cos, sin = self._cos_sin()
        return self.center_x + cos * column - sin * row, self.center_y + sin * column + cos * row

    def _cos_sin(self) -> tuple[Param, Param]:
        # Python numbers stay Python numbers, so that a grid on the host keeps its float64.
        library = math if isinstance(self.rotation, float | int) else jnp
        return library.cos(self.rotation), library.sin(self.rotation)

    def to_pixel(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Fractional (column, row) of an angle; integers are pixel centres."""
        cos, sin = self._cos_sin()
        dx, dy = x - self.center_x, y - self.center_y
        column, row = (cos * dx + sin * dy) / self.pixel_scale, (cos * dy - sin * dx) / self.pixel_scale
        return column + 0.5 * (self.shape[1] - 1), row + 0.5 * (self.shape[0] - 1)

    @staticmethod
    def from_wcs(wcs: WCS, shape: tuple[int, int], reference: Grid | None = None,
                 reference_wcs: WCS | None = None) -> Grid:
        """Make the grid of an image from its celestial WCS.

        Alone, its angles run along its own columns and rows from its centre. With a reference, they
        are those of the reference image, so that one scene describes both.

        Args:
            wcs: Celestial WCS of the image.
            shape: (ny, nx).
            reference, reference_wcs: Grid and WCS of the image whose angles are used.

        Raises:
            ValueError: Pixels that are not square to 2%, or images of opposite parity.
        """
        wcs = wcs.celestial
        pixel = pixel_of(wcs, shape)
        if not pixel.excess <= OBLONG:
            raise ValueError(f"WCS: pixels must be square, got {pixel}")
        scale = pixel.side
        if reference is None or reference_wcs is None:
            return Grid(shape=shape, pixel_scale=scale)
        middle = np.array([0.5 * (shape[1] - 1), 0.5 * (shape[0] - 1)])
        points = middle + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        column, row = sky_to_pixel(reference_wcs.celestial, sky_of(wcs, points[:, 0], points[:, 1]))
        if not np.isfinite([*column, *row]).all():
            raise ValueError("WCS: the image lies where the WCS of the first observation does not reach")
        half_y, half_x = 0.5 * (reference.shape[0] - 1), 0.5 * (reference.shape[1] - 1)
        x, y = reference._to_sky((column - half_x) * float(reference.pixel_scale),
                                 (row - half_y) * float(reference.pixel_scale))
        along, up = (x[1] - x[0], y[1] - y[0]), (x[2] - x[0], y[2] - y[0])
        if along[0] * up[1] - along[1] * up[0] <= 0.0:
            raise ValueError("WCS: the images have opposite parity (one is mirrored); flip one of them first")
        return Grid(shape=shape, pixel_scale=scale, center_x=float(x[0]), center_y=float(y[0]),
                    rotation=float(np.arctan2(along[1], along[0])))


def position_to_pixel(wcs: WCS, ra: float, dec: float) -> tuple[float, float]:
    """Fractional (column, row) of a sky position given in degrees (ICRS); NaN where the WCS does not reach.

    A declination beyond the poles is nowhere, and NaN too.
    """
    if not abs(dec) <= 90.0:
        return np.nan, np.nan
    column, row = sky_to_pixel(wcs, SkyCoord([ra] * u.deg, [dec] * u.deg))
    return float(column[0]), float(row[0])


def sky_of(wcs: WCS, column: np.ndarray, row: np.ndarray) -> SkyCoord:
    """Sky positions of fractional columns and rows by a celestial WCS and its distortions."""
    return cast(SkyCoord, wcs.pixel_to_world(column, row))


def sky_to_pixel(wcs: WCS, sky: SkyCoord) -> tuple[np.ndarray, np.ndarray]:
    """Fractional columns and rows of sky positions by a celestial WCS and its distortions, two arrays of shape (n,).

    They are NaN where the WCS does not reach, or where its distortions, which are polynomials made for the image alone,
    lead to another place.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*failed to converge", UserWarning)  # each is seen below
        warnings.simplefilter("ignore", RuntimeWarning)
        column, row = (np.asarray(v, float) for v in wcs.world_to_pixel(sky))
    seen = np.isfinite(column) & np.isfinite(row)
    back = sky_of(wcs, np.where(seen, column, 0.0), np.where(seen, row, 0.0))
    seen &= back.separation(sky).arcsec < 0.01 * proj_plane_pixel_scales(wcs).max() * 3600.0
    return np.where(seen, column, np.nan), np.where(seen, row, np.nan)


def tangent_plane(wcs: WCS, column: float, row: float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """The sky at a pixel, and how its neighbours lie there.

    Args:
        wcs: Celestial WCS, whose distortions are followed.
        column, row: The pixel, the first being 0.
        step: Pixels to either side from which the derivative is taken.

    Returns:
        Longitude and latitude of the pixel [deg], and the derivative of coordinates in their tangent plane by column
        and row, shape (2, 2) [deg].

    Raises:
        ValueError: The WCS does not reach there.
    """
    points = np.array([[0.0, 0.0], [step, 0.0], [-step, 0.0], [0.0, step], [0.0, -step]]) + [column, row]
    world = np.asarray(wcs.all_pix2world(points, 0))
    sky = np.stack([world[:, axis] for axis in (wcs.wcs.lng, wcs.wcs.lat)])
    if not np.isfinite(sky).all():
        raise ValueError(f"WCS: it does not reach column {column:.6g}, row {row:.6g}")
    (sin, sin_0), (cos, cos_0) = ((a, a[0]) for a in (np.sin(np.radians(sky[1])), np.cos(np.radians(sky[1]))))
    east = np.radians(sky[0] - sky[0, 0])
    depth = sin_0 * sin + cos_0 * cos * np.cos(east)
    plane = np.degrees([cos * np.sin(east), cos_0 * sin - sin_0 * cos * np.cos(east)] / depth)  # gnomonic
    return sky[:, 0], (plane[:, 1::2] - plane[:, 2::2]) / (2.0 * step)


class Pixel(NamedTuple):
    """A pixel on the sky, a parallelogram.

    Attributes:
        along, up: Its sides, along columns and rows [arcsec].
        angle: Between them [deg].
    """

    along: float
    up: float
    angle: float

    @property
    def side(self) -> float:
        """Side of the square of its area [arcsec]."""
        return math.sqrt(self.along * self.up * math.sin(math.radians(self.angle)))

    @property
    def excess(self) -> float:
        """By how much it is longer in one direction than in another, of that: the ratio of its map's singular values,
        less one."""
        mean, area = 0.5 * (self.along**2 + self.up**2), self.side**2
        spread = math.sqrt(max(mean**2 - area**2, 0.0))
        return math.sqrt((mean + spread) / (mean - spread)) - 1.0

    def __str__(self) -> str:
        skewed = f" at an angle of {self.angle:.4g} deg" if abs(self.angle - 90.0) > 0.05 else ""
        return f"{self.along:.6g} x {self.up:.6g} arcsec{skewed}"


def pixel_of(wcs: WCS, shape: tuple[int, ...]) -> Pixel:
    """The pixel in the middle of an image of shape (ny, nx), by its celestial WCS. Raises ValueError past its reach."""
    ny, nx = shape
    _, plane = tangent_plane(wcs, 0.5 * (nx - 1), 0.5 * (ny - 1), max(1.0, 0.25 * min(shape)))
    along, up = np.hypot(*plane)
    cosine = float(plane[:, 0] @ plane[:, 1] / (along * up))
    return Pixel(3600.0 * float(along), 3600.0 * float(up), math.degrees(math.acos(min(max(cosine, -1.0), 1.0))))
