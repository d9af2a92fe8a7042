"""A first look at the image of a lens: its centre, the shape of its light, and the radius of the ring.

Nothing here is a fit of a lens. The light of the galaxy is taken out as concentric Gaussians of one ellipse. The
Einstein radius is the deflection of a sphere, with a shear, that best brings what is left together in one point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from photutils.centroids import centroid_quadratic
from scipy.ndimage import gaussian_filter
from scipy.optimize import minimize, nnls

FINE = 0.1  # side of the pixels that are looked at: finer ones are binned to no more than this [arcsec]
FLOOR = 0.05  # error of the smooth model, as a share of the light: PSF and isophotes of a real galaxy
GAUSSIANS = 18
ROUNDS = 4  # of clipping and fitting again
CLIP = 2.5  # standard deviations above the model from which light is that of something else
STRUCTURE = 0.8  # standard deviation of the filter that takes out residuals of the galaxy itself [arcsec]
THRESHOLD = 1.5  # standard deviations of the smoothed residual from which it counts
BRIGHT = 6.0  # further standard deviations from which more of it counts no more
LOPSIDED = 0.35  # how much nearer the Einstein radius lies than an arc without a counter-image, as a share
INNER, OUTER = 0.5, 2.8  # radii between which a ring is looked for without another word [arcsec]


@dataclass(frozen=True, eq=False)
class Look:
    """What a first look at a lens finds. Positions are in pixels of the image, the first pixel being 0.

    Attributes:
        column, row: Centre of the lens.
        e1, e2: Ellipticity of its light.
        half_light: Half-light radius of its light, on the intermediate axis [arcsec].
        theta_E: Radius of the ring [arcsec]; NaN where nothing is left beside the light of the lens.
        uncertainty: Standard deviation of its logarithm, by how the light lies about the lens.
        significance: Of the light that the ring was found by, in its standard deviations.
        reach: Radius that holds 95% of it [arcsec].
        light: Smooth model of the lens light and sky, shape (ny, nx); NaN outside the radius that it was fitted to.
        arcs: Weight of each pixel in the search for the ring, shape (ny, nx).
    """

    column: float
    row: float
    e1: float
    e2: float
    half_light: float
    theta_E: float
    uncertainty: float
    significance: float
    reach: float
    light: np.ndarray
    arcs: np.ndarray


def centre_of(image: np.ndarray, good: np.ndarray, near: tuple[float, float] | None = None,
              within: float | None = None, smoothing: float = 2.0) -> tuple[float, float]:
    """The brightest peak of a smoothed image near a place, as (column, row).

    Args:
        image: Shape (ny, nx).
        good: Pixels that hold data.
        near: (column, row) that it is looked for around; None is the middle of the image.
        within: Largest distance from there [pixels]; None is a quarter of the image's shorter side.
        smoothing: Standard deviation of the smoothing [pixels].

    Raises:
        ValueError: No usable pixel there.
    """
    ny, nx = image.shape
    x0, y0 = near or (0.5 * (nx - 1), 0.5 * (ny - 1))
    row, column = np.indices(image.shape)
    there = good & (np.hypot(column - x0, row - y0) <= (0.25 * min(ny, nx) if within is None else within))
    if not there.any():
        raise ValueError(f"no usable pixel near column {x0:.6g}, row {y0:.6g}")
    smooth = _smooth(image, good, smoothing)
    y, x = np.unravel_index(np.argmax(np.where(there, smooth, -np.inf)), image.shape)
    y0, x0 = max(int(y) - 3, 0), max(int(x) - 3, 0)
    stamp = smooth[y0:y0 + 7, x0:x0 + 7]
    brightest = np.unravel_index(np.argmax(stamp), stamp.shape)
    if any(place in (0, side - 1) for place, side in zip(brightest, stamp.shape, strict=True)):
        return float(x), float(y)  # something brighter is near, or the edge of the image: no peak to refine
    fine = centroid_quadratic(stamp) + [x0, y0]
    if not (np.isfinite(fine).all() and np.hypot(fine[0] - x, fine[1] - y) < 2.0):
        return float(x), float(y)  # on the edge of the image a parabola has no peak
    return float(fine[0]), float(fine[1])


def look(image: np.ndarray, noise: np.ndarray, good: np.ndarray, pixel_scale: float, fwhm: float,
         centre: tuple[float, float], theta_E: float | None = None) -> Look:
    """Take a first look at a lens.

    Args:
        image: Shape (ny, nx), the sky taken off.
        noise: Its standard deviation, shape (ny, nx).
        good: Pixels that hold data, without neighbours where these are known.
        pixel_scale: Side of a pixel [arcsec].
        fwhm: Of the PSF [arcsec].
        centre: (column, row) of the lens.
        theta_E: Radius of the ring where it is known [arcsec].

    Raises:
        ValueError: Too few usable pixels around the centre.
    """
    row, column = np.indices(image.shape)
    x, y = np.asarray((column - centre[0]) * pixel_scale), np.asarray((row - centre[1]) * pixel_scale)
    reach = min(max(0.5 * min(image.shape) * pixel_scale, 1.0), 8.0 if theta_E is None else max(8.0, 4.0 * theta_E))
    step = max(1, int(FINE / pixel_scale + 1e-6))
    seen = good & (np.hypot(x, y) < reach)
    parts = _bin(seen.astype(float), step)
    share = np.where(parts > 0.45, parts, 1.0)

    def mean(values: np.ndarray) -> np.ndarray:
        return _bin(np.where(seen, values, 0.0), step) / share

    data, x_bin, y_bin = mean(image), _bin(x, step), _bin(y, step)
    sigma = np.sqrt(mean(noise**2))  # of a pixel: neighbours of a drizzled image are not independent
    fitted = parts > 0.45
    if fitted.sum() < 10 * GAUSSIANS:
        raise ValueError(f"{fitted.sum()} usable samples within {reach:.3g} arcsec of the centre, too few to look at")
    sigma = np.where(fitted, np.hypot(sigma, FLOOR * np.abs(_smooth(data, fitted, 1.0))), 1.0)
    widths = np.geomspace(max(0.4 * fwhm, 0.3 * pixel_scale), 1.2 * reach, GAUSSIANS)
    ellipse, fluxes, model = _galaxy(data[fitted], sigma[fitted], x_bin[fitted], y_bin[fitted], widths)
    residual = np.zeros(data.shape)
    residual[fitted] = (data[fitted] - model) / sigma[fitted]
    theta, spread, strength, arcs = _ring(residual, fitted, x_bin, y_bin, max(step * pixel_scale, 0.4 * fwhm),
                                          step * pixel_scale, max(INNER, 1.2 * fwhm),
                                          min(OUTER, 0.56 * reach) if theta_E is None else 2.0 * theta_E)
    r = np.hypot(x_bin, y_bin)
    known = theta if theta_E is None else theta_E
    extent = _quantile(r, arcs * r, 0.95) if arcs.any() else known
    light = np.full(image.shape, np.nan)
    everywhere = np.hypot(x, y) < reach
    light[everywhere] = _design(x[everywhere], y[everywhere], ellipse, widths) @ fluxes
    weights = np.zeros(image.shape)
    ny, nx = (side * step for side in arcs.shape)
    weights[:ny, :nx] = np.kron(arcs, np.ones((step, step)))
    return Look(centre[0], centre[1], float(ellipse[0]), float(ellipse[1]), _half_light(fluxes, widths), known,
                0.1 if theta_E is not None else spread, strength, extent, light, weights)


def _galaxy(data: np.ndarray, sigma: np.ndarray, x: np.ndarray, y: np.ndarray, widths: np.ndarray,
            ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ellipticity and non-negative fluxes of concentric Gaussians and a level, and their model; arcs are clipped."""
    keep, ellipse = np.ones(data.shape, bool), np.zeros(2)

    def solve(e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        design = _design(x, y, e, widths)
        scaled = (design / sigma[:, None])[keep]
        normal = scaled.T @ scaled
        scale = np.sqrt(np.maximum(np.diag(normal), 1e-30))
        root = np.linalg.cholesky(normal / np.outer(scale, scale) + 1e-8 * np.eye(len(scale)))
        fluxes, _ = nnls(root.T, np.linalg.solve(root, scaled.T @ (data / sigma)[keep] / scale))
        return fluxes / scale, (data - design @ (fluxes / scale)) / sigma

    def cost(e: np.ndarray) -> float:
        return float(np.minimum(solve(e)[1][keep] ** 2, 25.0).sum()) if np.hypot(*e) < 0.6 else 1e30

    for _ in range(ROUNDS):
        start = np.array([ellipse, ellipse + [0.05, 0.0], ellipse + [0.0, 0.05]])
        ellipse = minimize(cost, ellipse, method="Nelder-Mead", options={
            "initial_simplex": start, "maxfev": 40, "xatol": 2e-3, "fatol": 1e-3 * len(data)}).x
        fluxes, residual = solve(ellipse)
        middle = np.median(residual[keep])
        spread = max(1.0, 1.4826 * float(np.median(np.abs(residual[keep] - middle))))
        keep = residual < CLIP * spread
    return ellipse, fluxes, data - residual * sigma


def _design(x: np.ndarray, y: np.ndarray, e: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Gaussians of one ellipse, of peak 1, and a level; shape (n, len(widths) + 1)."""
    size, angle = min(math.hypot(*e), 0.99), 0.5 * math.atan2(e[1], e[0])
    q = (1.0 - size) / (1.0 + size)
    u, v = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    return np.column_stack([np.exp(-0.5 * (q * u**2 + v**2 / q)[:, None] / widths**2), np.ones(x.shape)])


def _half_light(fluxes: np.ndarray, widths: np.ndarray) -> float:
    """Radius on the intermediate axis that holds half the light of the Gaussians [arcsec]."""
    light = fluxes[:-1] * widths**2
    if not light.sum() > 0.0:
        return float(widths[len(widths) // 2])
    radii = np.geomspace(widths[0], widths[-1], 400)
    inside = (1.0 - np.exp(-0.5 * (radii[:, None] / widths) ** 2)) @ light / light.sum()
    return float(np.interp(0.5, inside, radii))


def _ring(residual: np.ndarray, seen: np.ndarray, x: np.ndarray, y: np.ndarray, smoothing: float, side: float,
          inner: float, outer: float) -> tuple[float, float, float, np.ndarray]:
    """Radius of a ring, the uncertainty of its logarithm, its significance, and the weight of each pixel.

    Of an image at x the source is at beta = x - theta_E x / |x| - Gamma x. A least-squares fit of beta, theta_E and the
    shear brings the light together in one point; light that does not come along weighs less in the next round. Light
    on one side only has its counter-image in the core, nearer to the centre: theta_E is smaller, by `LOPSIDED`.
    """
    width = smoothing / side
    noise = math.sqrt(4.0 * math.pi) * width if width > 0.5 else 1.0  # by which smoothing lowers that of lone pixels
    smooth = _smooth(residual, seen, width) * min(noise, 2.0)
    smooth = smooth - _smooth(np.clip(smooth, -3.0, 4.0), seen, STRUCTURE / side)
    r = np.hypot(x, y)
    within = seen & (r > inner) & (r < outer)
    weight = np.where(within, np.clip(smooth - THRESHOLD, 0.0, BRIGHT) / np.maximum(r, inner), 0.0)
    lit = weight > 0.0
    if lit.sum() < 5:
        return math.nan, 0.5, 0.0, weight
    x, y, w, r = x[lit], y[lit], weight[lit], r[lit]
    zero, one = np.zeros_like(x), np.ones_like(x)
    design = np.concatenate([np.stack([x / r, one, zero, x, y], 1), np.stack([y / r, zero, one, -y, x], 1)])
    target, total = np.concatenate([x, y]), float(w.sum())
    prior = 0.0225 * total * np.diag([0.0, 1.0, 1.0, 400.0, 400.0])  # beta of 1 arcsec, shear of 0.05
    now = w
    for _ in range(20):
        both = np.concatenate([now, now])
        found = np.linalg.solve(design.T @ (design * both[:, None]) + prior, design.T @ (both * target))
        away = np.hypot(*(target - design @ found).reshape(2, -1))
        now = w / (1.0 + (away / max(0.1, float(np.sqrt(np.median(away**2))))) ** 2)
    lopsided = math.hypot(float(np.sum(w * x / r)), float(np.sum(w * y / r))) / total
    theta = float(found[0]) * (1.0 - LOPSIDED * lopsided**2)
    significance = float(np.sqrt(np.sum((smooth[lit]) ** 2) / max(4.0 * math.pi * width**2, 1.0)))
    spread = 0.18 + 0.12 * lopsided**2 + (0.1 if significance < 8.0 else 0.0)
    return min(max(theta, inner), outer), spread, significance, weight


def _smooth(image: np.ndarray, seen: np.ndarray, width: float) -> np.ndarray:
    """An image smoothed by a Gaussian over the pixels that are seen."""
    share = gaussian_filter(seen.astype(float), width)
    return gaussian_filter(np.where(seen, image, 0.0), width) / np.maximum(share, 0.2)


def _bin(image: np.ndarray, step: int) -> np.ndarray:
    ny, nx = (side // step for side in image.shape)
    return image[: ny * step, : nx * step].reshape(ny, step, nx, step).mean((1, 3))


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> float:
    order = np.argsort(values, axis=None)
    total = np.cumsum(weights.ravel()[order])
    return float(values.ravel()[order][min(np.searchsorted(total, share * total[-1]), total.size - 1)])
