"""The sky of an image as its own pixels show it: level, scatter, correlation; and the sources that are not sky."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy.stats import mad_std, sigma_clipped_stats
from photutils.segmentation import detect_sources
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, maximum_position

DETECTION = 3.0  # standard deviations of the sky, in the smoothed image, from which a pixel belongs to a source
SMOOTHING = 1.5  # standard deviation of the kernel that sources are looked for with [pixels]
CONNECTED = 12  # smallest number of pixels of a source
LEVELS = 30  # at which sources that touch are parted
GROWTH = 2  # pixels around a neighbour that are taken with it
MARGIN = 4  # pixels around a source that still hold light of it, and are no sky
FEW = 100  # pixels below which a sky tells nothing
FLAT = 6.0  # standard deviation of the filter that takes out the halo of a galaxy [pixels]
LAGS = 4  # largest lag of the correlation [pixels]


@dataclass(frozen=True, eq=False)
class Sky:
    """The sky of an image, in the image's unit.

    Attributes:
        level: Its median.
        rms: Scatter of its pixels about it.
        correlation: Mean correlation of two sky pixels by their lag, rows and columns, shape (LAGS + 1, 2 LAGS + 1), as
            [lag in y, lag in x + LAGS].
        pixels: Which pixels it was measured on, shape (ny, nx).
    """

    level: float
    rms: float
    correlation: np.ndarray
    pixels: np.ndarray

    @property
    def along(self) -> tuple[float, float]:
        """Correlation of neighbours in a row, and in a column."""
        return float(self.correlation[0, LAGS + 1]), float(self.correlation[1, LAGS])

    @property
    def inflation(self) -> float:
        """By how much the scatter of a mean over many pixels exceeds that of independent ones; at least 1.

        It is the root of the sum of the correlation over all lags, of those within reach that are above their noise.
        """
        seen = np.abs(self.correlation) > 3.0 / np.sqrt(max(self.pixels.sum(), 1))
        half = np.where(seen, self.correlation, 0.0)
        half[0, : LAGS + 1] = 0.0  # each lag once, and not lag 0
        return float(np.sqrt(max(1.0 + 2.0 * half.sum(), 1.0)))


def measure_sky(image: np.ndarray, usable: np.ndarray, away: np.ndarray | None = None) -> Sky:
    """Measure the sky of an image on pixels that show no source.

    Args:
        image: Shape (ny, nx).
        usable: Pixels that hold data, shape (ny, nx).
        away: Pixels that are far from the lens, among which the sky is looked for; None is all.

    Raises:
        ValueError: Fewer than `FEW` pixels of sky, or a sky without scatter.
    """
    good = usable & np.isfinite(image)
    good &= image != 0.0 if np.mean(image[good] == 0.0) < 0.5 else True  # where nothing was exposed, archives write 0
    away = good if away is None else good & away
    if away.sum() < FEW:
        raise ValueError(f"{away.sum()} usable pixels far from the lens, too few to measure the sky on")
    _, level, rms = sigma_clipped_stats(image[away], sigma=3.0, maxiters=10)
    if not rms > 0.0:
        raise ValueError("the sky has no scatter: most of its pixels have one value")
    pixels = away & ~grown(sources(image, good, float(level), float(rms)), MARGIN)
    if pixels.sum() < FEW:  # a field full of light: the faintest third of it
        pixels = away & (image <= np.quantile(image[away], 0.33))
    level = float(sigma_clipped_stats(image[pixels], sigma=3.0, maxiters=10)[1])
    flat = _flattened(image - level, pixels)
    rms = float(mad_std(flat[pixels]))
    if not rms > 0.0:
        raise ValueError("the sky has no scatter: most of its pixels have one value")
    pixels &= np.abs(flat) < 5.0 * rms
    return Sky(level, rms, correlation(_flattened(image - level, pixels), pixels), pixels)


def correlation(flat: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Mean correlation of pixels by their lag, shape (LAGS + 1, 2 LAGS + 1); that at lag 0 is 1.

    Args:
        flat: Image without its sky and without structure much larger than the lags, zero where there is no sky.
        pixels: Pixels of sky.
    """
    variance = float(np.mean(flat[pixels] ** 2))
    ny, nx = flat.shape
    out = np.zeros((LAGS + 1, 2 * LAGS + 1))
    for dy in range(LAGS + 1):
        for dx in range(-LAGS, LAGS + 1):
            one = (slice(0, ny - dy), slice(max(0, -dx), nx - max(0, dx)))
            two = (slice(dy, ny), slice(max(0, dx), nx - max(0, -dx)))
            both = pixels[one] & pixels[two]
            out[dy, dx + LAGS] = np.sum(flat[one] * flat[two], where=both) / (max(both.sum(), 1) * variance)
    return out


def sources(image: np.ndarray, good: np.ndarray, level: float, rms: float) -> np.ndarray:
    """Pixels of the sources of an image; shape (ny, nx).

    Args:
        image: Shape (ny, nx).
        good: Pixels that hold data.
        level, rms: Of the sky.
    """
    smooth, threshold = _smoothed(image, good, level, rms)
    found = detect_sources(smooth, threshold, n_pixels=CONNECTED)
    return np.zeros(image.shape, bool) if found is None else np.asarray(found.data) > 0


def neighbours(image: np.ndarray, good: np.ndarray, inside: np.ndarray, sky: Sky | None = None) -> np.ndarray:
    """Pixels of the sources whose peak lies outside an area, whether they reach into it or not; shape (ny, nx).

    At rising levels of the smoothed image, what hangs together is one source: one with a peak outside, and no pixel in
    the inner half of the area, is a neighbour, down to the saddle where it meets the light of the lens.
    What lies inside is lens or arc for all that segmentation can tell.

    Args:
        image: Shape (ny, nx).
        good: Pixels that hold data.
        inside: The area, of lens and arcs.
        sky: Of the image, when it is at hand.

    Raises:
        ValueError: As `measure_sky`.
    """
    if sky is None:
        around = ~inside
        sky = measure_sky(image, good, around if (around & good).sum() > FEW else None)
    smooth, threshold = _smoothed(image, good, sky.level, sky.rms)
    depth = distance_transform_edt(inside)
    core = depth > 0.5 * depth.max()
    others = np.zeros(image.shape, bool)
    top = float(smooth[~inside].max(initial=0.0))
    if not top > threshold:
        return others
    for cut in np.geomspace(threshold, max(top, 1.01 * threshold), LEVELS):
        numbers, count = label(smooth >= cut, np.ones((3, 3)))
        if not count:
            break
        names = np.arange(1, count + 1)
        peaks = np.array(maximum_position(smooth, numbers, names))
        heights = smooth[peaks[:, 0], peaks[:, 1]]
        taken = (np.bincount(numbers.ravel(), minlength=count + 1)[1:] >= CONNECTED) & (heights > 1.05 * cut + threshold)
        taken &= ~inside[peaks[:, 0], peaks[:, 1]] & ~np.isin(names, numbers[core])
        others |= np.isin(numbers, names[taken])
    return grown(others, GROWTH)


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask and the pixels within a distance of it."""
    return distance_transform_edt(~mask) <= pixels if mask.any() else mask


def _flattened(image: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Pixels of sky without structure larger than `FLAT`, such as the halo of a galaxy; zero elsewhere."""
    share = gaussian_filter(pixels.astype(float), FLAT)
    smooth = gaussian_filter(np.where(pixels, image, 0.0), FLAT) / np.maximum(share, 1e-3)
    return np.where(pixels, image - smooth, 0.0)


def _smoothed(image: np.ndarray, good: np.ndarray, level: float, rms: float) -> tuple[np.ndarray, float]:
    """An image without its sky, smoothed over the pixels that hold data, and the level from which it shows a source."""
    share = gaussian_filter(good.astype(float), SMOOTHING)
    smooth = gaussian_filter(np.where(good, image - level, 0.0), SMOOTHING) / np.maximum(share, 0.2)
    quiet = smooth[good & (smooth < rms)]
    scatter = float(mad_std(quiet)) if quiet.size else 0.0
    return smooth, DETECTION * max(scatter, rms / (2.0 * SMOOTHING * np.sqrt(np.pi)))  # of pixels that are independent
