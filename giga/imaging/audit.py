"""A look at data before a fit: what in image, noise, PSF and mask would make its numbers wrong, a sentence each."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import binary_fill_holes, convolve, gaussian_filter, median_filter

from giga.imaging.background import FEWEST, LAGS, measure
from giga.imaging.first_look import Look, centre_of, look
from giga.imaging.observation import Observation
from giga.imaging.sources import Blank, exposed, grown, measure_blank, neighbours

LEVEL, OFF = 0.5, 1.5  # scatters by which a sky is off: said, and serious
TIGHT, SPREAD = (0.8, 1.25), (0.5, 2.0)  # scatter of the sky over the noise, of means too: said outside, and serious
CORRELATED = 0.1  # correlation of neighbours that is said
COARSE = 2.0  # pixels of a PSF's FWHM below which its kernel is sampled too coarsely to be shifted
CUT = 0.02  # share of a kernel's light in its outermost pixels that is said
ASIDE = (0.25, 1.0)  # pixels between a kernel's light and its middle: said, and serious
NEGATIVE = 0.05  # share of a kernel's light that is negative and said
ODD = 7.0  # standard deviations from its surroundings of a pixel that the PSF cannot make
MANY = 3e-3  # share of odd pixels that is serious
OFF_CENTRE = (0.15, 0.5)  # arcsec, or two pixels, between light and prior: said, and serious
OUTSIDE = (0.1, 0.4)  # share of arcs outside the mask: said, and serious
FLAT = 4  # pixels of one and the same value at the peak, from which it is saturated


@dataclass(frozen=True)
class Finding:
    """What was found: its kind, whether a fit would be wrong by it, and a sentence that says what to do."""

    kind: str
    serious: bool
    text: str


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit of one observation finds.

    Attributes:
        findings: The serious ones first.
        numbers: What was measured, by name, in the unit of the observation.
        odd: Pixels that the PSF cannot make, shape (ny, nx).
        blank: The sky; None where there is too little of it.
        look: The first look that tells arcs from lens; None where there is too little to look at.
    """

    findings: tuple[Finding, ...]
    numbers: dict[str, float]
    odd: np.ndarray
    blank: Blank | None
    look: Look | None

    @property
    def serious(self) -> list[str]:
        """Sentences of the serious findings."""
        return [one.text for one in self.findings if one.serious]


def audit(observation: Observation, centre: tuple[float, float] | None = None) -> Audit:
    """Look at an observation before it is fitted. It takes a second or two.

    Args:
        observation: The data as the fit has them.
        centre: Where the prior has the lens [arcsec]; None skips the centring.
    """
    good = exposed(observation.image)
    sigma = _noise(observation, good)
    good &= np.isfinite(sigma)
    numbers: dict[str, float] = {}
    found: list[Finding] = []
    try:
        blank = measure_blank(observation.image, good, _away(observation.mask))
    except ValueError as error:
        blank = None
        found.append(Finding("sky", False,
                             f"the sky cannot be checked: {error}; give more of the image around the lens"))
    if blank is not None:
        found += _sky(observation, sigma, good, blank, numbers)
    found += _psf(observation, numbers)
    odd = odd_pixels(observation, sigma, good)
    found += _odd(odd, observation.mask, numbers)
    found += _saturated(observation, good, numbers)
    if observation.noise_map is None and observation.exposure_time is None:
        found += _photons(observation, sigma)
    seen = None
    if blank is not None:
        seen, more = _lens(observation, sigma, good & ~odd, blank, centre, numbers)
        found += more
    numbers["fitted pixels"] = float(observation.mask.sum())
    return Audit(tuple(sorted(found, key=lambda one: not one.serious)), numbers, odd, blank, seen)


def _noise(observation: Observation, good: np.ndarray) -> np.ndarray:
    """Standard deviation of every pixel, fitted or not; NaN where it is not known."""
    if observation.noise_map is None:
        rms = np.broadcast_to(np.asarray(observation.background_rms, float), observation.image.shape)
        photon = 0.0 if observation.exposure_time is None else 1.0 / np.asarray(observation.exposure_time, float)
        return np.sqrt(rms**2 + photon * np.where(good, np.maximum(observation.image, 0.0), 0.0))
    noise = np.asarray(observation.noise_map, float)
    usual = float(np.median(noise[observation.mask]))
    return np.where(np.isfinite(noise) & (noise > 0.0) & (noise < 1e4 * usual), noise, np.nan)


def _away(mask: np.ndarray) -> np.ndarray:
    """Pixels that are not fitted; all where these are few."""
    return ~mask if (~mask).sum() > FEWEST else np.ones(mask.shape, bool)


def _sky(observation: Observation, sigma: np.ndarray, good: np.ndarray, blank: Blank,
         numbers: dict[str, float]) -> list[Finding]:
    """Level and scatter of the sky against the noise, and the correlation of its pixels."""
    noise = float(np.median(sigma[blank.pixels]))
    level, scatter = blank.level / blank.rms, blank.rms / noise
    numbers |= {"sky level": blank.level, "sky scatter": blank.rms, "scatter over noise": scatter}
    found = []
    if abs(level) > LEVEL:
        found.append(Finding("sky", level < -OFF,
                             f"the sky is {level:+.2g} of its own scatter from zero ({blank.level:.3g}): "
                             "subtract it, or add a UniformSky to the lens light; a halo of the lens looks the same"))
    growth = 1.0
    try:
        sky = measure(observation.image, np.where(good, sigma, 1.0), good & _away(observation.mask))
    except ValueError:
        pass  # too little sky for a correlation, which the numbers then do not have
    else:
        along, up = float(sky.correlation[LAGS, LAGS + 1]), float(sky.correlation[LAGS + 1, LAGS])
        growth = sky.growth
        numbers |= {"correlation along rows": along, "correlation along columns": up, "growth": growth}
        if max(along, up) > CORRELATED and observation.correlation is None:
            found.append(Finding("correlation", False,
                                 f"neighbouring sky pixels are correlated ({along:.2f} along rows, "
                                 f"{up:.2f} along columns), so that means scatter {growth:.2g} times as much as those "
                                 "of independent ones: errors without that are too small; set the correlation of the "
                                 "noise"))
    means = scatter * growth
    if not TIGHT[0] <= scatter <= TIGHT[1] and not TIGHT[0] <= means <= TIGHT[1]:
        serious = scatter > SPREAD[1] or means < SPREAD[0]
        word = "more" if scatter > 1.0 else "less"
        found.append(Finding("noise", serious,
                             f"the sky scatters {scatter:.2f} times as much as the noise says, its means "
                             f"{means:.2f} times: the noise is {word} than given; check its unit, or fit its scale"))
    return found


def _psf(observation: Observation, numbers: dict[str, float]) -> list[Finding]:
    """Whether the kernel is sampled finely enough, in its middle, and whole."""
    if observation.psf is None:
        return [Finding("psf", True,
                        "there is no PSF, so the model is not blurred: give a psf, or psf_fwhm and psf_size")]
    scale, samples = float(observation.grid.pixel_scale), observation.psf.supersampling
    fwhm = observation.psf.fwhm(scale) / scale
    kernel = np.asarray(observation.psf.kernel, float)
    numbers |= {"PSF FWHM in pixels": fwhm}
    found = []
    if fwhm * samples < COARSE:
        found.append(Finding("psf", fwhm * samples < 0.75 * COARSE,
                             f"the PSF is {fwhm:.2g} pixels wide and has {samples} "
                             f"samples a pixel: render finer, supersampling = {math.ceil(COARSE / fwhm)} or more"))
    y, x = np.indices(kernel.shape) - 0.5 * (len(kernel) - 1)
    aside = float(np.hypot(np.sum(x * kernel), np.sum(y * kernel))) / samples
    numbers |= {"PSF from its middle in pixels": aside}
    if aside > ASIDE[0]:
        found.append(Finding("psf", aside > ASIDE[1],
                             f"the PSF's light lies {aside:.2g} pixels from the middle of its kernel: all that is "
                             "modelled is shifted by as much; cut the kernel about its peak"))
    if (negative := -float(kernel[kernel < 0.0].sum())) > NEGATIVE:
        found.append(Finding("psf", float(kernel.max()) < -float(kernel.min()),
                             f"{100.0 * negative:.2g}% of the PSF's light is negative: look at the kernel"))
    edge = 1.0 - float(kernel[1:-1, 1:-1].sum())
    if edge > CUT:
        found.append(Finding("psf", False,
                             f"{100.0 * edge:.2g}% of the PSF's light is in the outermost pixels of its kernel: "
                             "its wings are cut, give a larger one"))
    return found


def odd_pixels(observation: Observation, sigma: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Pixels that stand out from their surroundings more sharply than a point source does, shape (ny, nx).

    A point in the middle of a pixel leaves the share rho of it in each of the four neighbours, on average; a cosmic
    ray, a hot or a dead pixel leaves less than half of that. Pixels beside holes are not judged.
    """
    image = np.where(good, observation.image, 0.0)
    holes = grown(~good, 2)
    noise = np.where(good, sigma, 1.0)
    around = median_filter(image, size=5, mode="nearest")
    excess = np.where(holes, 0.0, image - around)
    cross = 0.25 * convolve(excess, np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], float), mode="nearest")
    rho = 0.0
    if observation.psf is not None:
        kernel = np.asarray(observation.psf.at(1).kernel, float)
        y, x = np.unravel_index(np.argmax(kernel), kernel.shape)
        if 0 < y < kernel.shape[0] - 1 and 0 < x < kernel.shape[1] - 1:
            rho = 0.25 * float(kernel[y - 1, x] + kernel[y + 1, x] + kernel[y, x - 1] + kernel[y, x + 1]) / kernel[y, x]
    slope = gaussian_filter(np.abs(excess), 2.0)  # where light is steep, a median tells little
    size = np.abs(excess)
    return ~holes & (size > ODD * noise + 2.0 * slope) & (np.sign(excess) * cross < 0.5 * rho * size)


def _odd(odd: np.ndarray, mask: np.ndarray, numbers: dict[str, float]) -> list[Finding]:
    count = int((odd & mask).sum())
    numbers["odd pixels"] = float(count)
    if not count:
        return []
    row, column = (int(k) for k in np.argwhere(odd & mask)[0])
    return [Finding("pixels", count > MANY * mask.sum(),
                    f"{count} fitted pixels are sharper than the PSF (cosmic rays, hot "
                    f"or dead pixels), the first at [y={row}, x={column}] of the part that is used: mask them")]


def _saturated(observation: Observation, good: np.ndarray, numbers: dict[str, float]) -> list[Finding]:
    """Pixels at the level that the header tells, or a flat top: several with exactly the largest value."""
    fitted = observation.mask & good
    if not fitted.any():
        return []
    if observation.saturation is not None:
        full = fitted & (observation.image >= observation.saturation)
        numbers["saturated pixels"] = float(full.sum())
        if full.any():
            row, column = (int(k) for k in np.argwhere(full)[0])
            return [Finding("saturation", True,
                            f"{int(full.sum())} fitted pixels are at or above the saturation level that the header "
                            f"tells, the first at [y={row}, x={column}] of the part that is used: mask them")]
    top = fitted & (observation.image >= observation.image[fitted].max() * (1.0 - 1e-6))
    if top.sum() < FLAT:
        return []
    row, column = (int(k) for k in np.argwhere(top)[0])
    return [Finding("saturation", True,
                    f"{int(top.sum())} fitted pixels have one and the same largest value, the first at "
                    f"[y={row}, x={column}] of the part that is used, as saturated ones have: mask them")]


def _photons(observation: Observation, sigma: np.ndarray) -> list[Finding]:
    peak = float((observation.image / sigma)[observation.mask].max())
    if peak < 30.0:
        return []
    return [Finding("noise", False, f"the peak is {peak:.0f} times the noise, which has no part from photons: give an "
                    "exposure time (and units), or a noise map")]


def _lens(observation: Observation, sigma: np.ndarray, good: np.ndarray, blank: Blank,
          centre: tuple[float, float] | None, numbers: dict[str, float]) -> tuple[Look | None, list[Finding]]:
    """Whether the light lies where the prior has it, and the arcs in the mask."""
    grid, mask, found = observation.grid, observation.mask, []
    scale = float(grid.pixel_scale)
    rows, columns = np.nonzero(mask)
    near = (float(columns.mean()), float(rows.mean()))
    if centre is not None:
        column, row = grid.to_pixel(*map(jnp.asarray, centre))
        near = (float(column), float(row))
    fwhm = 2.5 * scale if observation.psf is None else max(observation.psf.fwhm(scale), scale)
    try:
        # The core of a lens is often masked, as the errors of its PSF exceed the noise: it is where the light peaks.
        peak = centre_of(observation.image, good & np.asarray(binary_fill_holes(mask)), near, max(1.5 / scale, 4.0))
    except ValueError:
        text = "no fitted pixel lies near the place where the priors have the lens: check mask, cutout and centre"
        return None, [Finding("centring", True, text)]
    away = math.hypot(peak[0] - near[0], peak[1] - near[1]) * scale
    if centre is not None:
        numbers["light from the prior's centre"] = away
        if away > max(OFF_CENTRE[0], 2.0 * scale):
            x, y = grid._to_sky((peak[0] - 0.5 * (mask.shape[1] - 1)) * scale,
                                (peak[1] - 0.5 * (mask.shape[0] - 1)) * scale)
            found.append(Finding("centring", away > max(OFF_CENTRE[1], 4.0 * scale),
                                 f"the light peaks {away:.2f} arcsec from "
                                 f"where the priors have the lens: it is at x = {float(x):.2f}, y = {float(y):.2f}"))
    try:
        others = neighbours(observation.image, good, mask | (~mask & ~good), blank)
        seen = look(observation.image - blank.level, np.where(good, sigma, 1.0), good & ~others, scale, fwhm, peak)
    except ValueError:
        return None, found
    total = float(seen.arcs.sum())
    if math.isfinite(seen.theta_E) and total > 0.0:
        outside = float(seen.arcs[~mask].sum()) / total
        numbers |= {"ring": seen.theta_E, "arcs outside the mask": outside}
        if outside > OUTSIDE[0] and seen.significance > 5.0:
            found.append(Finding("mask", outside > OUTSIDE[1],
                                 f"{100.0 * outside:.0f}% of the light that looks like arcs lies "
                                 "outside the mask: widen it, unless that light is not of this source"))
    return seen, found
