"""The correlation of an image's noise, measured from its own sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
import scipy.ndimage

LAGS = 4  # longest lag that is measured, along rows and columns [pixels]
BEYOND = 3  # lags beyond those, at which noise no longer knows itself
FEWEST = 1000  # pixels of blank sky; a correlation of so many has an error of some 0.03
SMOOTHED = 2.0  # standard deviation of the Gaussian in which sources are looked for [pixels]
LOCAL = 8.0  # standard deviation of the Gaussian over which the sky's level is the mean [pixels]
SOURCE = 3.0  # standard deviations of the smoothed sky from which a pixel is a source's
ODD = 5.0  # standard deviations of the sky from which a pixel is none
GROWN = 5  # pixels about a source that are left out
ROUNDS = 8  # most times that sky and sources are told apart


@dataclass(frozen=True, eq=False)
class Sky:
    """What the blank sky of an image tells about its noise.

    Attributes:
        correlation: Correlation by lag (row, column), shape (2 LAGS + 1, 2 LAGS + 1), one in the middle.
        scatter: Standard deviation of the sky over that of the noise map.
        error: Standard error of a correlation where there is none.
        pixels: Number of pixels of blank sky.
    """

    correlation: np.ndarray
    scatter: float
    error: float
    pixels: int

    def __str__(self) -> str:
        middle, rho = LAGS, self.correlation
        diagonal = 0.5 * (rho[middle + 1, middle + 1] + rho[middle + 1, middle - 1])
        return (f"noise of neighbouring pixels is correlated by {rho[middle, middle + 1]:.2f} along rows, "
                f"{rho[middle + 1, middle]:.2f} along columns and {diagonal:.2f} along diagonals, two pixels apart by "
                f"{rho[middle, middle + 2]:.2f} and {rho[middle + 2, middle]:.2f} (± {self.error:.2f}, of "
                f"{self.pixels} pixels of blank sky); the sky's scatter is {self.scatter:.2f} times the noise given, "
                f"that of its means over many pixels {self.scatter * self.growth:.2f} times what independent pixels of "
                "this noise would have")

    @property
    def growth(self) -> float:
        """Standard deviation of a mean over many pixels, of that of as many independent ones with their scatter."""
        return float(np.sqrt(max(np.sum(self.correlation), 0.0)))


def measure(image: np.ndarray, noise: np.ndarray, good: np.ndarray) -> Sky:
    """Measure the correlation of noise over its standard deviation, with sources left out.

    The sky's level is followed over the image, as halos of galaxies reach far. The covariance at a lag is the mean
    product of all pairs of blank pixels that far apart about that level. Its mean over lags beyond `LAGS` is taken off
    all: noise has none there, but what is left of the halos has, and the level, which holds a little of the noise.

    Args:
        image: Shape (ny, nx); any number where not good.
        noise: Standard deviation, of the same shape.
        good: Pixels that may be looked at, whether they are fitted or not.

    Raises:
        ValueError: Too little blank sky, or one whose scatter is not that of noise.
    """
    scaled = np.where(good, image, 0.0) / np.where(good, noise, 1.0)
    blank, level = blank_sky(scaled, good)
    pixels = int(blank.sum())
    if pixels < FEWEST:
        raise ValueError(f"{pixels} pixels of blank sky, of {int(good.sum())} that are not masked; expected at least "
                         f"{FEWEST} to measure the correlation of the noise: give more of the image, or "
                         'correlation as numbers or "none"')
    far = LAGS + BEYOND
    products = _mean_products(np.where(blank, scaled - level, 0.0), blank, far)
    lags = np.abs(np.arange(-far, far + 1))
    beyond = np.maximum(lags[:, None], lags) > LAGS
    inside = products[BEYOND:-BEYOND, BEYOND:-BEYOND] - float(np.mean(products[beyond]))
    variance = float(inside[LAGS, LAGS])
    if not variance > 0.0:
        raise ValueError(f"the blank sky has a variance of {variance:.3g} about its own slow changes; expected that of "
                         "noise, above 0")
    correlation = np.clip(inside / variance, -1.0, 1.0)
    return Sky(correlation, float(np.sqrt(variance)), 1.0 / float(np.sqrt(pixels)), pixels)


def blank_sky(scaled: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels without a source in or near them, and the level of the sky.

    Args:
        scaled: Image over its noise, shape (ny, nx), zero where not good.
        good: Pixels that may be looked at.
    """
    blank, level = good, np.zeros(good.shape)
    weight = np.maximum(_smooth(good, SMOOTHED), 0.1)
    grown = scipy.ndimage.generate_binary_structure(2, 1)
    for k in range(ROUNDS):
        if not blank.any():
            break
        level = _local(scaled, blank) if k else np.full(good.shape, np.median(scaled[good]))
        rest = np.where(good, scaled - level, 0.0)
        smooth = _smooth(rest, SMOOTHED) / weight
        source = good & np.asarray(smooth > SOURCE * _spread(smooth[blank]), bool)
        odd = good & (np.abs(rest) > ODD * _spread(rest[blank]))
        before, blank = blank, good & ~np.asarray(scipy.ndimage.binary_dilation(source, grown, GROWN), bool) & ~odd
        if np.array_equal(before, blank):
            break
    return blank, level


def _spread(values: np.ndarray) -> float:
    """Standard deviation of the Gaussian that has this median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _local(values: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Mean of the blank pixels about each."""
    weight = np.maximum(_smooth(blank, LOCAL), np.finfo(float).tiny)
    return _smooth(np.where(blank, values, 0.0), LOCAL) / weight


def _smooth(values: np.ndarray, sigma: float) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(np.asarray(values, float), sigma, mode="constant")


def _mean_products(values: np.ndarray, seen: np.ndarray, far: int) -> np.ndarray:
    """Mean product of pixels at each lag, shape (2 far + 1, 2 far + 1); values are zero where not seen."""
    sides = [scipy.fft.next_fast_len(side + far) for side in values.shape]
    power, pairs = (np.abs(np.asarray(scipy.fft.rfft2(one, sides))) ** 2 for one in (values, seen.astype(float)))
    lags = np.arange(-far, far + 1)
    total, count = (np.asarray(scipy.fft.irfft2(one, sides))[np.ix_(lags, lags)] for one in (power, pairs))
    return total / np.maximum(count, 1.0)
