"""Noise that is correlated between neighbouring pixels, as resampled images have it: what it is, and how it is undone.

The noise of a pixel is its standard deviation times a stationary Gaussian field of unit variance, n = sigma g. The
correlation of g falls to zero within a few pixels. Residuals over sigma are made independent by a short filter, the
same everywhere but beside masked pixels and edges, in whose place it has filters of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import AnyArray, Component, static

REACH = 3  # rows and columns within which a pixel is told from those before it: 24 of them
FLOOR = 0.01  # of the mean power: least power of a frequency
SIDE = 64  # of the torus on which a correlation is made positive definite [pixels]
PIECE = 4096  # systems of equations that are solved at once


class Whitening(Component):
    """A filter that makes correlated noise of unit variance independent, given the mask.

    Pixels are ordered row by row. Each is conditioned on those fitted pixels before it that lie within a few rows and
    columns: w = (r - sum_k b_k r_k) / s, b and s from the correlation of these alone. It is the inverse Cholesky factor
    of the correlation matrix but for what pixels further off would add, so that |w|^2 is r^T C^-1 r and
    the product of all 1 / s is |C|^(-1/2).

    Attributes:
        weights: Shape (1 + k, ny, nx): 1 / s of each fitted pixel and one of the others, then -b_k / s, zero where
            either pixel is not fitted.
        correlation: What it undoes, see `checked`.
        shifts: Row and column of each of the k pixels from the pixel itself.

    References:
        Vecchia (1988), J. R. Stat. Soc. B 50, 297; Datta et al. (2016), J. Am. Stat. Assoc. 111, 800.
    """

    weights: AnyArray
    correlation: AnyArray
    shifts: tuple[tuple[int, int], ...] = static()

    @staticmethod
    def of(correlation: np.ndarray, mask: np.ndarray, reach: int = REACH) -> Whitening:
        """Solve for the filter, in float64 on the host.

        Args:
            correlation: See `checked`.
            mask: True where fitted, shape (ny, nx).
            reach: Rows and columns within which pixels are taken into account.
        """
        shifts = earlier(reach)
        table = covariance(correlation)
        lags = np.array([(0, 0), *shifts])
        joint = table[tuple((lags[:, None] - lags[None]).transpose(2, 0, 1))]
        padded = np.pad(np.asarray(mask, bool), reach)
        seen = np.stack([padded[reach + y:reach + y + mask.shape[0], reach + x:reach + x + mask.shape[1]][mask]
                         for y, x in shifts], axis=1)
        patterns, which = np.unique(np.packbits(seen, axis=1), axis=0, return_inverse=True)
        patterns = np.unpackbits(patterns, axis=1, count=len(shifts)).astype(bool)
        solved = np.concatenate([_conditional(joint, patterns[k:k + PIECE]) for k in range(0, len(patterns), PIECE)])
        weights = np.zeros((1 + len(shifts), *mask.shape))
        weights[0] = 1.0
        weights[:, mask] = solved[which.reshape(-1)].T
        return Whitening(weights=weights, correlation=correlation, shifts=shifts)

    def __call__(self, residual: AnyArray, xp: Any = jnp) -> AnyArray:
        """Filter residuals over their standard deviation.

        Args:
            residual: Shape (..., ny, nx), zero where not fitted.
            xp: jax.numpy, or NumPy on the host.

        Returns:
            The same shape.
        """
        # Row behind row in one line, in which a shift is a distance: a program without divisions by the width. What a
        # row's end takes from the next row instead of from outside has no weight.
        *_, ny, nx = residual.shape
        back = [-(y * nx + x) for y, x in self.shifts]
        flat, weights = residual.reshape(*residual.shape[:-2], ny * nx), self.weights.reshape(-1, ny * nx)
        padded = xp.pad(flat, [(0, 0)] * (residual.ndim - 2) + [(max(back), 0)])
        out = weights[0] * flat
        for weight, distance in zip(weights[1:], back, strict=True):
            start = max(back) - distance
            out = out + weight * padded[..., start:start + ny * nx]
        return out.reshape(residual.shape)

    def cropped(self, rows: slice, columns: slice, dtype: np.dtype) -> Whitening:
        """The filter of a part of the image that holds all fitted pixels."""
        return self.replace(weights=np.asarray(self.weights[:, rows, columns], dtype),
                            correlation=np.asarray(self.correlation, dtype))

    def drawn(self, normal: Callable[[tuple[int, int]], AnyArray]) -> Array:
        """Noise of the correlation and of unit variance, shape (ny, nx), from what draws independent normal numbers.

        It is cut out of a torus that is larger than the image by the reach of any correlation.
        """
        ny, nx = self.weights.shape[1:]
        shape = ny + SIDE // 2, nx + SIDE // 2
        white = normal(shape)
        power = spectrum(self.correlation, shape, jnp)
        return jnp.fft.ifft2(jnp.fft.fft2(white) * jnp.sqrt(power)).real[:ny, :nx].astype(white.dtype)


def earlier(reach: int) -> tuple[tuple[int, int], ...]:
    """Row and column, from a pixel, of those before it in its row and in so many rows above."""
    return tuple((y, x) for y in range(-reach, 1) for x in range(-reach, reach + 1) if y < 0 or x < 0)


def _conditional(joint: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Weights of a pixel and those before it, of which only some are seen, shape (m, 1 + k).

    Args:
        joint: Correlation matrix of all of them, the pixel first, shape (1 + k, 1 + k).
        seen: Shape (m, k).
    """
    unit = np.eye(seen.shape[1])
    matrix = np.where(seen[:, :, None] & seen[:, None, :], joint[1:, 1:], unit)
    cross = np.where(seen, joint[0, 1:], 0.0)
    b = np.linalg.solve(matrix, cross[..., None])[..., 0]
    s = np.sqrt(joint[0, 0] - np.sum(b * cross, axis=1, keepdims=True))
    return np.concatenate([np.ones_like(s), -b], axis=1) / s


def drizzled(drop: float, pixel: float, reach: int = 4) -> np.ndarray:
    """Correlation that drizzling leaves in the mean of many exposures whose pixels fall evenly on the output's.

    The weight of an input pixel in an output one is the area that its drop shares with it, so that the correlation
    along an axis is that of a trapezoid, drop and pixel convolved, with itself.

    Args:
        drop, pixel: Sides of a drop (pixfrac) and of an output pixel, in input pixels.
        reach: Longest lag; the correlation ends at drop / pixel + 1.

    Returns:
        As `checked` has it, shape (2 reach + 1, 2 reach + 1).

    References:
        Fruchter & Hook (2002), PASP 114, 144, sec. 7.
    """
    lags = np.arange(reach + 1) * pixel
    half = 0.5 * (drop + pixel)
    x = np.linspace(-half, half, 4001)

    def weight(x: np.ndarray) -> np.ndarray:
        return np.clip(half - np.abs(x), 0.0, min(drop, pixel))

    line = np.array([np.sum(weight(x) * weight(x - lag)) for lag in lags])
    line = np.concatenate([line[:0:-1], line]) / line[0]
    return np.outer(line, line)


def checked(correlation: Sequence[Sequence[float]] | np.ndarray) -> np.ndarray:
    """A correlation function that a likelihood can use, as float64.

    Args:
        correlation: By lag (row, column), of odd sides with lag zero in the middle, where it is one.

    Raises:
        ValueError: It is none: what was seen and what was expected.
    """
    try:
        table = np.asarray(correlation, float)
    except ValueError:
        raise ValueError("correlation: expected rows of one length") from None
    if table.ndim != 2 or not all(side % 2 for side in table.shape) or max(table.shape) > SIDE // 2 + 1:
        raise ValueError(f"correlation: expected two odd sides of at most {SIDE // 2 + 1} pixels, lag zero in the "
                         f"middle, got shape {table.shape}")
    if not np.isfinite(table).all():
        raise ValueError(f"correlation: {np.sum(~np.isfinite(table))} values are NaN or infinite")
    zero = float(table[table.shape[0] // 2, table.shape[1] // 2])
    if abs(zero - 1.0) > 1e-6:
        raise ValueError(f"correlation: expected 1 at lag zero, in the middle, got {zero:.6g}")
    odd = float(np.max(np.abs(table - table[::-1, ::-1])))
    if odd > 1e-6:
        raise ValueError("correlation: expected the same value at lags (y, x) and (-y, -x), which differ by up to "
                         f"{odd:.3g}")
    largest = float(np.max(np.abs(table)))
    if largest > 1.0 + 1e-6:
        raise ValueError(f"correlation: expected values from -1 to 1, got {largest:.6g}")
    return table


def spectrum(correlation: AnyArray, shape: tuple[int, int] = (SIDE, SIDE), xp: Any = np) -> AnyArray:
    """Power of unit-variance noise at each frequency of a torus, of mean one.

    A correlation that is measured, or cut off, may be none: power below zero. What is below `FLOOR` is raised to it and
    all is divided by the mean: every pixel keeps its variance, and every correlation matrix is positive definite.

    Args:
        correlation: See `checked`.
        shape: Sides of the torus, at least those of the correlation.
        xp: NumPy or jax.numpy.
    """
    (y, x), (my, mx) = correlation.shape, shape
    full = xp.roll(xp.pad(correlation, [(0, my - y), (0, mx - x)]), (-(y // 2), -(x // 2)), (0, 1))
    power = xp.fft.fft2(full).real
    power = xp.maximum(power, FLOOR * power.mean())
    return power / power.mean()


def covariance(correlation: np.ndarray) -> np.ndarray:
    """The correlation function that is used, by lag modulo `SIDE`: positive definite, one at lag zero."""
    return np.fft.ifft2(spectrum(correlation)).real
