"""The sky of an image as its own pixels show it, and the sources that are neither sky nor lens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.stats import mad_std, sigma_clipped_stats
from scipy.ndimage import distance_transform_edt, gaussian_filter, label, maximum_position

from giga.imaging.background import LOCAL, blank_sky

DETECTION = 3.0  # standard deviations of the sky, in the smoothed image, from which a pixel belongs to a source
SMOOTHING = 1.5  # standard deviation of the Gaussian that sources are looked for with [pixels]
CONNECTED = 12  # smallest number of pixels of a source
LEVELS = 30  # at which sources that touch are parted
GROWTH = 2  # pixels around a neighbour that are taken with it
FEW = 100  # pixels below which a sky tells nothing


@dataclass(frozen=True, eq=False)
class Blank:
    """The blank sky of an image, in the image's unit.

    Attributes:
        level: Its median.
        rms: Scatter of its pixels about what changes slowly, such as the halo of a galaxy.
        pixels: Which pixels it was measured on, shape (ny, nx).
    """

    level: float
    rms: float
    pixels: np.ndarray


def exposed(image: np.ndarray) -> np.ndarray:
    """Pixels that hold data: finite, and not the zero that archives write where nothing was exposed."""
    finite = np.isfinite(image)
    none = finite & (image == 0.0)
    return finite & ~none if none.sum() < 0.5 * finite.sum() else finite


def measure_blank(image: np.ndarray, good: np.ndarray, away: np.ndarray | None = None) -> Blank:
    """Measure the sky of an image on pixels that show no source.

    Args:
        image: Shape (ny, nx).
        good: Pixels that hold data.
        away: Pixels that are far from the lens, among which the sky is looked for; None is all.

    Raises:
        ValueError: Fewer than `FEW` pixels of sky, or a sky without scatter.
    """
    there = good if away is None or (good & away).sum() < FEW else good & away
    if there.sum() < FEW:
        raise ValueError(f"{there.sum()} usable pixels, too few to measure the sky on; expected {FEW}")
    _, middle, scatter = sigma_clipped_stats(image[there], sigma=3.0, maxiters=10)
    if not scatter > 0.0:
        raise ValueError(f"the sky has no scatter: most pixels are {float(middle):.6g}")
    scaled = np.where(there, (image - middle) / scatter, 0.0)
    pixels, _ = blank_sky(scaled, there)
    if pixels.sum() < FEW:
        raise ValueError(f"{pixels.sum()} of {there.sum()} usable pixels show blank sky; expected {FEW}")
    share = np.maximum(gaussian_filter(pixels.astype(float), LOCAL), 1e-3)
    slow = gaussian_filter(np.where(pixels, scaled, 0.0), LOCAL) / share
    return Blank(float(np.median(image[pixels])), float(scatter * mad_std((scaled - slow)[pixels])), pixels)


def neighbours(image: np.ndarray, good: np.ndarray, inside: np.ndarray, sky: Blank | None = None) -> np.ndarray:
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
        ValueError: As `measure_blank`.
    """
    sky = measure_blank(image, good, ~inside) if sky is None else sky
    smooth, threshold = _smoothed(image, good, sky.level, sky.rms)
    depth = _distance(inside)
    core = depth > 0.5 * depth.max()
    others = np.zeros(image.shape, bool)
    top = float(smooth[~inside].max(initial=0.0))
    if not top > threshold:
        return others
    for cut in np.geomspace(threshold, max(top, 1.01 * threshold), LEVELS):
        labelled: Any = label(smooth >= cut, np.ones((3, 3)))
        numbers, count = labelled
        if not count:
            break
        names = np.arange(1, count + 1)
        peaks = np.array(maximum_position(smooth, numbers, names))
        heights = smooth[peaks[:, 0], peaks[:, 1]]
        areas = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        taken = (areas >= CONNECTED) & (heights > 1.05 * cut + threshold)
        taken &= ~inside[peaks[:, 0], peaks[:, 1]] & ~np.isin(names, numbers[core])
        others |= np.isin(numbers, names[taken])
    return grown(others, GROWTH)


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask and the pixels within a distance of it."""
    return _distance(~mask) <= pixels if mask.any() else mask


def _distance(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel of a mask from the nearest one that is not in it [pixels]."""
    return np.asarray(distance_transform_edt(mask))


def _smoothed(image: np.ndarray, good: np.ndarray, level: float, rms: float) -> tuple[np.ndarray, float]:
    """An image without its sky, smoothed over the pixels that hold data, and the level from which it shows a source."""
    share = gaussian_filter(good.astype(float), SMOOTHING)
    smooth = gaussian_filter(np.where(good, image - level, 0.0), SMOOTHING) / np.maximum(share, 0.2)
    quiet = smooth[good & (smooth < rms)]
    scatter = float(mad_std(quiet)) if quiet.size else 0.0
    return smooth, DETECTION * max(scatter, rms / (2.0 * SMOOTHING * np.sqrt(np.pi)))  # of pixels that are independent
