"""An observation as the user has it, and the arrays that the likelihood needs of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import DTypeLike
from scipy.ndimage import gaussian_filter

from giga.component import AnyArray, Component, static
from giga.imaging.correlation import Whitening, checked
from giga.imaging.grid import Grid
from giga.imaging.psf import PSF, Convolution, plan
from giga.lensing.scene import Scene

WEIGHTLESS = 1e6  # times the usual noise: such a pixel weighs 1e-12 of another, less than its rounding
UNIT_EXPONENT = 120  # a power of two, and one over it, within float32


@dataclass(frozen=True, eq=False)
class Observation:
    """One image of the lens. Checked when made; everything after trusts it.

    Noise is a map, or the background rms and the exposure time of
    `sigma^2 = background_rms^2 + max(model, 0) / exposure_time`. Counts stand for whatever the image is in: the
    likelihood divides by `unit`, so that squares of fluxes stay within float32.

    A pixel whose noise is `WEIGHTLESS` times that of the others is one that an archive marks as bad: it is masked.

    Attributes:
        image: Shape (ny, nx) [counts / s]; NaN is allowed where the mask is False.
        grid: Where its pixels lie.
        psf: PSF at the supersampling wanted; None is a perfect telescope.
        noise_map: Standard deviation, shape (ny, nx) [counts / s].
        background_rms: Standard deviation of the sky [counts / s], one number or of each pixel.
        exposure_time: Exposure time times gain [s], one number or of each pixel; None has no photon noise.
        mask: Shape (ny, nx), True where the pixel is fitted; None is all.
        supersampling: Subpixels a side when there is no PSF.
        band: Name of the band.
        zero_point: Magnitude of 1 count / s, for magnitudes of what was fitted; None is not known.
        saturation: Level from which a pixel is saturated [counts / s], one number or of each pixel; it is only said.
        header: FITS header cards of the WCS, kept in what is written.
        correlation: Correlation of the noise of pixels by lag (row, column), of odd sides, lag zero in the middle; see
            `giga.imaging.correlation`. None is independent pixels.

    Raises:
        ValueError: The field, the value seen, and what was expected.
    """

    image: np.ndarray
    grid: Grid
    psf: PSF | None = None
    noise_map: np.ndarray | None = None
    background_rms: float | np.ndarray | None = None
    exposure_time: float | np.ndarray | None = None
    mask: np.ndarray = None  # pyright: ignore[reportAssignmentType]  # an array once made
    supersampling: int = 1
    band: str | None = None
    header: str = ""
    correlation: np.ndarray | None = None
    zero_point: float | None = None
    saturation: float | np.ndarray | None = None

    def __post_init__(self) -> None:
        image = np.asarray(self.image, float)
        mask = np.ones(image.shape, bool) if self.mask is None else np.asarray(self.mask, bool)
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "mask", mask)
        self._check()
        if self.noise_map is not None:
            object.__setattr__(self, "mask", mask & ~weightless(np.asarray(self.noise_map, float), mask))
        if self.correlation is not None:
            object.__setattr__(self, "correlation", checked(self.correlation))

    def _check(self) -> None:
        image, mask = self.image, self.mask
        if image.ndim != 2:
            raise ValueError(f"image: expected two dimensions (ny, nx), got shape {image.shape}")
        if image.shape != self.grid.shape:
            raise ValueError(f"image: shape {image.shape} differs from the grid's {self.grid.shape}")
        if mask.shape != image.shape:
            raise ValueError(f"mask: shape {mask.shape} differs from the image's {image.shape}")
        if not mask.any():
            raise ValueError(f"mask: no pixel is left to fit, all {mask.size} are masked")
        bad = ~np.isfinite(image) & mask
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise ValueError(f"image: {bad.sum()} pixels inside the fitted area are NaN or infinite, the first at "
                             f"[y={row}, x={column}]; mask them")
        if self.noise_map is not None:
            _check_noise(np.asarray(self.noise_map, float), image, mask)
        elif self.background_rms is None:
            raise ValueError("noise: give a noise_map, or background_rms (and exposure_time)")
        else:
            _check_positive("background_rms", self.background_rms, mask)
        _check_positive("exposure_time", self.exposure_time, mask)
        if self.psf is not None:
            check_kernel(np.asarray(self.psf.kernel), self.psf.supersampling, image.shape)

    def replace(self, **changes) -> Observation:
        """Return a checked copy with some fields changed."""
        return replace(self, **changes)

    def with_model_error(self, share: float) -> Observation:
        """Return a copy whose noise has a share of the brightness beside it, in quadrature.

        Light as smooth as a profile's is right to some percent of what galaxies have. Where a lens is bright that is
        many times the noise, and a fit that takes the noise alone bends mass and source to make up for it. The
        brightness is the image, where positive, smoothed over a pixel, so that none weighs less for being bright by
        chance.

        Args:
            share: Of the brightness, one standard deviation; 0.05 is 5%.
        """
        seen = np.isfinite(self.image)
        covered = gaussian_filter(seen.astype(float), 1.0)
        smooth = gaussian_filter(np.where(seen, self.image, 0.0), 1.0) / np.where(covered > 0.0, covered, 1.0)
        error = share * np.maximum(smooth, 0.0)
        if self.noise_map is not None:
            return self.replace(noise_map=np.hypot(self.noise_map, error))
        assert self.background_rms is not None  # it was checked
        return self.replace(background_rms=np.hypot(self.background_rms, error))

    def facts(self) -> dict[str, Any]:
        """All that a result depends on, by name, for the identity of what is made of it: a new field belongs here."""
        grid, psf = self.grid, self.psf
        noise = None if self.noise_map is None else np.asarray(self.noise_map, float)
        return {"image": self.image, "mask": self.mask, "noise map": noise,
                "background_rms": _number(self.background_rms), "exposure_time": _number(self.exposure_time),
                "pixel_scale": float(grid.pixel_scale), "center_x": float(grid.center_x),
                "center_y": float(grid.center_y), "rotation": float(grid.rotation),
                "psf": None if psf is None else np.asarray(psf.kernel),
                "psf supersampling": None if psf is None else psf.supersampling,
                "supersampling": self.supersampling, "band": self.band, "WCS": self.header} \
            | ({} if self.correlation is None else {"correlation": self.correlation})

    @property
    def unit(self) -> float:
        """About the median noise of the fitted pixels [counts / s], a power of two: to divide by it rounds nothing."""
        variance, photon = self._noise(1.0)
        seen = variance[self.mask] + (photon * np.maximum(np.where(self.mask, self.image, 0.0), 0.0))[self.mask]
        return float(2.0 ** np.clip(np.rint(0.5 * np.log2(np.median(seen))), -UNIT_EXPONENT, UNIT_EXPONENT))

    def sigma(self) -> np.ndarray:
        """Standard deviation of each pixel, photons counted from the data; float64, shape (ny, nx) [counts / s]."""
        variance, photon = self._noise(1.0)
        return np.sqrt(variance + photon * np.maximum(np.where(self.mask, self.image, 0.0), 0.0))

    @cached_property
    def whitening(self) -> Whitening | None:
        """What makes the noise of all its pixels independent, float64; None where it is."""
        return None if self.correlation is None else Whitening.of(self.correlation, self.mask)

    def independent(self, model: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        """Residuals that are independent and of unit variance if the model is right, zero where not fitted.

        Without correlation (data - model) / sigma; with it each less what those of fitted pixels before it tell.

        Args:
            model, sigma: Model and noise standard deviation, shape (ny, nx) [counts / s].
        """
        residual = np.zeros(self.image.shape)
        residual[self.mask] = (self.image[self.mask] - model[self.mask]) / sigma[self.mask]
        return residual if self.whitening is None else self.whitening(residual, np)

    def _noise(self, unit: float) -> tuple[np.ndarray, float | np.ndarray]:
        """Variance that does not depend on the light and variance a count, both for fluxes in a unit; float64."""
        if self.noise_map is not None:
            return np.where(self.mask, np.asarray(self.noise_map, float) / unit, 1.0) ** 2, 0.0
        rms = np.asarray(self.background_rms, float)
        variance = np.full(self.image.shape, (rms / unit) ** 2) if not rms.ndim else \
            np.where(self.mask, rms / unit, 1.0) ** 2
        if self.exposure_time is None:
            return variance, 0.0
        if not np.ndim(self.exposure_time):
            return variance, 1.0 / (float(self.exposure_time) * unit)
        return variance, np.where(self.mask, 1.0 / (np.where(self.mask, self.exposure_time, 1.0) * unit), 0.0)

    def data(self, dtype: DTypeLike = np.float32, poisson: bool = True, trim: bool = True,
             method: str = "auto", multiple: int = 1, scaled: bool = False) -> Data:
        """Prepare the arrays of the likelihood.

        Args:
            dtype: Precision of the fit.
            poisson: Photon noise from the model; else from the data, as solved amplitudes need.
            trim: Leave out rows and columns that no fitted pixel can be blurred from.
            method: Convolution method, see `giga.imaging.psf.plan`.
            multiple: What is left has sides of a multiple of so many pixels, or those of the image.
            scaled: In multiples of `unit`, as a likelihood needs it; else in the units of the image.
        """
        psf = self.psf or PSF(kernel=np.ones((1, 1)), supersampling=self.supersampling)
        rows, columns = slice(None), slice(None)
        if trim:
            margin = (psf.kernel.shape[0] // 2 + psf.supersampling - 1) // psf.supersampling
            rows, columns = (_widened(*pair, multiple)
                             for pair in zip(bounding_box(self.mask, margin), self.mask.shape, strict=True))
        return self._data(rows, columns, psf, dtype, poisson, method, self.unit if scaled else None)

    def _data(self, rows, columns, psf, dtype, poisson, method, unit: float | None) -> Data:
        mask, divisor = self.mask[rows, columns], unit or 1.0
        image = np.where(mask, self.image[rows, columns] / divisor, 0.0)
        variance, photon = self._noise(divisor)
        variance = variance[rows, columns]
        if isinstance(photon, np.ndarray):
            photon = photon[rows, columns]
        if not poisson:
            variance, photon = variance + np.maximum(image, 0.0) * photon, 0.0
        grid = crop_grid(self.grid, rows, columns)
        return Data(
            image=np.asarray(image, dtype), mask=np.asarray(mask, dtype), variance=np.asarray(variance, dtype),
            photon=np.asarray(photon, dtype), poisson=bool(np.any(photon)), band=self.band,
            unit=None if unit is None else np.asarray(unit, dtype),
            grid=Grid(shape=image.shape, pixel_scale=np.asarray(grid.pixel_scale, dtype),
                      center_x=np.asarray(grid.center_x, dtype), center_y=np.asarray(grid.center_y, dtype),
                      rotation=np.asarray(grid.rotation, dtype)),
            convolution=plan(psf, image.shape, dtype, method),
            whitening=None if self.whitening is None else self.whitening.cropped(rows, columns, dtype))


class Data(Component):
    """What the likelihood needs of one observation. Fluxes are in multiples of `unit`.

    Attributes:
        image: Shape (ny, nx), zero where masked.
        mask: One where fitted, zero elsewhere.
        variance: Variance that does not depend on the model, positive.
        photon: Variance per flux of the model, 1 / exposure_time, one number or of each pixel.
        grid: Pixel grid of these arrays.
        convolution: The PSF made ready.
        unit: What fluxes are divided by, a power of two [counts / s]; None is one.
        whitening: What makes noise over its standard deviation independent; None where it is.
        scale: What the noise has been multiplied by, where that is a parameter, as the likelihood's norm needs it.
        poisson: Whether the model adds to the variance.
        band: Name of the band.
    """

    image: AnyArray
    mask: AnyArray
    variance: AnyArray
    photon: AnyArray
    grid: Grid
    convolution: Convolution
    unit: AnyArray | None = None
    whitening: Whitening | None = None
    scale: AnyArray | None = None
    poisson: bool = static(default=False)
    band: str | None = static(default=None)

    def seen(self, scene: Scene) -> Scene:
        """The scene as this observation sees it: the lights of its band, their amplitudes in multiples of `unit`."""
        scene = scene.in_band(self.band)
        return scene if self.unit is None else scene.divided(self.unit)

    def physical(self, flux: Any) -> Any:
        """Fluxes or amplitudes, given in multiples of `unit`, in the units of the image."""
        return flux if self.unit is None else jax.tree.map(lambda leaf: leaf * self.unit, flux)

    def with_noise_of(self, scene: Scene, number: int) -> Data:
        """The same with the noise that a scene gives to the observation of this number."""
        return self.scaled(scene.noise_scale[number]) if scene.noise_scale else self

    def scaled(self, scale: AnyArray) -> Data:
        """The same with its noise multiplied by a parameter."""
        return self.replace(variance=self.variance * scale**2, photon=self.photon * scale**2, scale=scale)

    def squares(self, residual: Array, variance: Array) -> Array:
        """Terms of chi2, to be summed over the fitted pixels: of each its residual, less what those before it tell.

        Args:
            residual: Data less model, shape (ny, nx).
            variance: Of each pixel.
        """
        return residual**2 / variance if self.whitening is None else self.independent(residual, variance) ** 2

    def independent(self, residual: Array, variance: Array) -> Array:
        """Residuals, shape (..., ny, nx), over their noise and made independent, zero where not fitted."""
        scaled = self.mask * residual / jnp.sqrt(variance)
        return scaled if self.whitening is None else self.whitening(scaled)

    def unit_noise(self, normal: Callable[[tuple[int, int]], AnyArray]) -> Array:
        """Noise of unit variance, shape (ny, nx), from what draws independent normal numbers of a shape."""
        return normal(self.grid.shape) if self.whitening is None else self.whitening.drawn(normal)


def weightless(noise: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fitted pixels whose noise is so far above that of the others that they tell nothing, shape (ny, nx).

    The others are those of the lowest tenth, so that an archive may mark most of an image.

    Args:
        noise: Standard deviation, shape (ny, nx), positive where the mask is True.
        mask: True where fitted.
    """
    usual = np.quantile(noise[mask], 0.1, method="lower")
    return mask & (np.where(mask, noise, usual) > WEIGHTLESS * usual)


def facts_of(observations: Sequence[Observation], without: Sequence[str] = ()) -> dict[str, Any]:
    """The facts of several observations, as `observation.0.pixel_scale`, without some of them."""
    return {f"observation.{k}.{name}": value for k, one in enumerate(observations)
            for name, value in one.facts().items() if name not in without}


def _number(value: float | np.ndarray | None) -> float | np.ndarray | None:
    return value if value is None or np.ndim(value) else float(value)


def _check_positive(name: str, value: float | np.ndarray | None, mask: np.ndarray) -> None:
    """Check a number, or one for each pixel. Raises ValueError."""
    if value is None:
        return
    if np.ndim(value) and np.shape(value) != mask.shape:
        raise ValueError(f"{name}: shape {np.shape(value)} differs from the image's {mask.shape}")
    bad = np.asarray(value)[mask] if np.ndim(value) else np.asarray([value], float)
    bad = bad[~(np.isfinite(bad) & (bad > 0.0))]
    if bad.size:
        raise ValueError(f"{name}: expected a positive number" + (f" in fitted pixels, got {bad[0]}" if np.ndim(value)
                                                                  else f", got {value}"))


def bounding_box(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the fitted pixels and a margin around them, inside the image."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (slice(max(rows[0] - margin, 0), min(rows[-1] + margin + 1, mask.shape[0])),
            slice(max(columns[0] - margin, 0), min(columns[-1] + margin + 1, mask.shape[1])))


def _widened(part: slice, size: int, multiple: int) -> slice:
    """A part of an axis of some size, widened to a multiple of pixels, evenly where there is room."""
    length = min(-(-(part.stop - part.start) // multiple) * multiple, size)
    start = min(max(part.start - (length - (part.stop - part.start)) // 2, 0), size - length)
    return slice(start, start + length)


def crop_grid(grid: Grid, rows: slice, columns: slice) -> Grid:
    """Grid of a part of an image, with its angles unchanged."""
    y0, y1, _ = rows.indices(grid.shape[0])
    x0, x1, _ = columns.indices(grid.shape[1])
    scale = float(grid.pixel_scale)
    dx, dy = (0.5 * (x0 + x1 - grid.shape[1])) * scale, (0.5 * (y0 + y1 - grid.shape[0])) * scale
    center_x, center_y = grid._to_sky(np.float64(dx), np.float64(dy))
    return grid.replace(shape=(y1 - y0, x1 - x0), center_x=float(center_x), center_y=float(center_y))


def check_kernel(kernel: np.ndarray, supersampling: int, shape: tuple[int, int]) -> None:
    """Check a PSF kernel against the image it blurs. Raises ValueError."""
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
        raise ValueError(f"psf: kernel must be square with an odd side, got shape {kernel.shape}")
    if not np.isfinite(kernel).all():
        raise ValueError(f"psf: kernel holds {np.sum(~np.isfinite(kernel))} values that are NaN or infinite")
    if kernel.shape[0] > supersampling * min(shape):
        raise ValueError(f"psf: kernel of {kernel.shape[0]} samples ({kernel.shape[0] / supersampling:.3g} pixels) "
                         f"is wider than the image of {shape[0]} x {shape[1]} pixels")
    if not kernel.sum() > 0.0:
        raise ValueError(f"psf: kernel must have a positive sum, got {kernel.sum():.6g}")
    if abs(kernel.sum() - 1.0) > 1e-3:
        raise ValueError(f"psf: kernel must sum to one, got {kernel.sum():.6g}; renormalise it")


def _check_noise(noise: np.ndarray, image: np.ndarray, mask: np.ndarray) -> None:
    if noise.shape != image.shape:
        raise ValueError(f"noise_map: shape {noise.shape} differs from the image's {image.shape}")
    bad = mask & ~(np.isfinite(noise) & (noise > 0.0))
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(f"noise_map: {bad.sum()} fitted pixels are not positive, the first is "
                         f"{noise[row, column]:.6g} at [y={row}, x={column}]; expected a standard deviation above zero")
