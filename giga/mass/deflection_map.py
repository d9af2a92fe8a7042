"""A deflection field on a grid of pixels."""

from __future__ import annotations

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.ndimage import map_coordinates, spline_filter

from giga.component import AnyArray, Param
from giga.mass.base import MassProfile

SMALLEST = 4  # pixels a side that a cubic spline takes
CONSISTENT = 0.01  # of the largest deflection: how far the gradient of a potential may be from it


class DeflectionMap(MassProfile):
    """A gridded deflection field, a bicubic spline through its pixels, scaled by D_ls / D_s.

    The deflection and its first two derivatives are continuous inside the field. Outside, the deflection goes on
    linearly from the nearest point of the edge, which is continuous too but no model of a mass: keep rays inside.
    The potential, where there is one, is a spline of its own. Build with `DeflectionMap.of`, or read a FITS file
    with `giga.io.images.deflection_map.load_deflection_map`.

    Attributes:
        alpha_x, alpha_y: Coefficients of the splines, shape (ny, nx) [arcsec].
        pixel_scale: Side of a pixel [arcsec].
        center_x, center_y: Centre of the field [arcsec].
        rotation: Angle of the field's rows, counter-clockwise from +x [rad].
        scale: D_ls / D_s of the source, over that which the field was made for.
        psi: Coefficients of the potential's spline, shape (ny, nx) [arcsec^2], or None.
    """

    alpha_x: AnyArray = dataclasses.field(metadata={"file": "deflection"})
    alpha_y: AnyArray = dataclasses.field(metadata={"file": "deflection"})
    # A configuration has the place from the WCS of the files.
    pixel_scale: Param = dataclasses.field(metadata={"inner": True})
    center_x: Param = dataclasses.field(default=0.0, metadata={"inner": True})
    center_y: Param = dataclasses.field(default=0.0, metadata={"inner": True})
    rotation: Param = dataclasses.field(default=0.0, metadata={"inner": True})
    scale: Param = 1.0
    psi: AnyArray | None = dataclasses.field(default=None, metadata={"file": "deflection"})

    ranges = {"pixel_scale": (0.0, math.inf)}

    @staticmethod
    def of(alpha_x: np.ndarray, alpha_y: np.ndarray, pixel_scale: float, psi: np.ndarray | None = None,
           **placed: Param) -> DeflectionMap:
        """Make the splines of a field.

        Args:
            alpha_x, alpha_y: Deflection along the field's own columns and rows, shape (ny, nx) [arcsec].
            pixel_scale: Side of a pixel [arcsec].
            psi: Potential of the same field, shape (ny, nx) [arcsec^2].
            placed: center_x, center_y, rotation and scale.

        Raises:
            ValueError: Shapes that differ or are too small, pixels that are not finite, or a potential whose
                gradient is another field.
        """
        fields = {"alpha_x": alpha_x, "alpha_y": alpha_y} | ({} if psi is None else {"psi": psi})
        for name, values in fields.items():
            if np.ndim(values) != 2 or np.shape(values) != np.shape(alpha_x):
                raise ValueError(f"{name}: got shape {np.shape(values)}; expected {np.shape(alpha_x)}, two axes")
            if min(np.shape(values)) < SMALLEST:
                raise ValueError(f"{name}: got shape {np.shape(values)}; expected {SMALLEST} pixels a side or more")
            if bad := int(np.sum(~np.isfinite(values))):
                raise ValueError(f"{name}: {bad} pixels are NaN or infinite; expected numbers")
        if not pixel_scale > 0.0:
            raise ValueError(f"pixel_scale: got {pixel_scale:g}; expected a number above 0")
        if psi is not None:
            _check_gradient(np.asarray(psi, float), np.asarray(alpha_x, float), np.asarray(alpha_y, float), pixel_scale)
        splines = {name: spline_filter(np.asarray(values, float), order=3, mode="mirror")
                   for name, values in fields.items()}
        return DeflectionMap(pixel_scale=pixel_scale, **splines, **placed)

    @property
    def has_potential(self) -> bool:
        return self.psi is not None

    def potential(self, x: Array, y: Array) -> Array:
        if self.psi is None:
            raise NotImplementedError("DeflectionMap without psi has no potential; give the field's potential, psi")
        column, row, _, _ = self._pixels(x, y)
        (value,), (dx,), (dy,), beyond = _spline((self.psi,), column, row)
        return self.scale * (value + beyond[0] * dx + beyond[1] * dy)

    def deflection(self, x: Array, y: Array) -> tuple[Array, Array]:
        column, row, cos, sin = self._pixels(x, y)
        values, dx, dy, beyond = _spline((self.alpha_x, self.alpha_y), column, row)
        along, up = (v + beyond[0] * a + beyond[1] * b for v, a, b in zip(values, dx, dy, strict=True))
        return self.scale * (cos * along - sin * up), self.scale * (sin * along + cos * up)

    def _pixels(self, x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
        """Fractional column and row of a position, and cosine and sine of the rotation."""
        x, y = jnp.broadcast_arrays(x - self.center_x, y - self.center_y)
        cos = jnp.cos(jnp.asarray(self.rotation, jnp.result_type(x)))
        sin = jnp.sin(jnp.asarray(self.rotation, jnp.result_type(x)))
        ny, nx = np.shape(self.alpha_x)
        column = (cos * x + sin * y) / self.pixel_scale + 0.5 * (nx - 1)
        return column, (cos * y - sin * x) / self.pixel_scale + 0.5 * (ny - 1), cos, sin


def _spline(coefficients: tuple[Array, ...], column: Array, row: Array):
    """Values and derivatives by pixel of splines at the nearest points of the field, and how far away those are."""
    ny, nx = np.shape(coefficients[0])
    inside_x, inside_y = jnp.clip(column, 0.0, nx - 1.0), jnp.clip(row, 0.0, ny - 1.0)
    columns, across, across_slope = _weights(inside_x, nx)
    rows, up, up_slope = _weights(inside_y, ny)
    values, dx, dy = [], [], []
    for field in coefficients:
        field = jnp.asarray(field, column.dtype)
        part = [[field[j, i] for i in columns] for j in rows]
        lines = [sum(w * p for w, p in zip(across, line, strict=True)) for line in part]
        slopes = [sum(w * p for w, p in zip(across_slope, line, strict=True)) for line in part]
        values.append(sum(w * line for w, line in zip(up, lines, strict=True)))
        dx.append(sum(w * line for w, line in zip(up, slopes, strict=True)))
        dy.append(sum(w * line for w, line in zip(up_slope, lines, strict=True)))
    return values, dx, dy, (column - inside_x, row - inside_y)


def _weights(place: Array, n: int) -> tuple[list[Array], list[Array], list[Array]]:
    """Four pixels around a place, mirrored at the ends, their cubic B-splines and the derivatives of those."""
    cell = jnp.clip(jnp.floor(place), 0.0, n - 2.0)
    t = place - cell
    first = cell.astype(int) - 1
    pixels = [jnp.abs(n - 1 - jnp.abs(n - 1 - (first + k))) for k in range(4)]
    s = 1.0 - t
    weights = [s**3 / 6.0, (4.0 - 6.0 * t**2 + 3.0 * t**3) / 6.0, (4.0 - 6.0 * s**2 + 3.0 * s**3) / 6.0, t**3 / 6.0]
    slopes = [-0.5 * s**2, 1.5 * t**2 - 2.0 * t, 2.0 * s - 1.5 * s**2, 0.5 * t**2]
    return pixels, weights, slopes


def _check_gradient(psi: np.ndarray, alpha_x: np.ndarray, alpha_y: np.ndarray, pixel_scale: float) -> None:
    """Refuse a potential whose gradient is not the deflection, away from the edge."""
    spline, h = spline_filter(psi, order=3, mode="mirror"), 1e-3
    rows, columns = (index[2:-2, 2:-2] for index in np.indices(psi.shape, float))
    if rows.size == 0:
        return

    def at(dx: float, dy: float) -> np.ndarray:
        return map_coordinates(spline, [rows + dy, columns + dx], order=3, mode="mirror", prefilter=False)

    largest = max(np.abs(alpha_x).max(), np.abs(alpha_y).max())
    for name, values, high, low in (("alpha_x", alpha_x, at(h, 0.0), at(-h, 0.0)),
                                    ("alpha_y", alpha_y, at(0.0, h), at(0.0, -h))):
        off = np.median(np.abs((high - low) / (2.0 * h * pixel_scale) - values[2:-2, 2:-2]))
        if off > CONSISTENT * largest:
            raise ValueError(f"psi: its gradient is {off:.3g} arcsec off {name} in the median; expected at most "
                             f"{CONSISTENT:.0%} of the largest deflection, {largest:.3g} arcsec")
