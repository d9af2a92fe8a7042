"""PSF models of a survey's bands: Gaussian, Moffat, Airy, or a kernel that was measured."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from numpy.polynomial.legendre import leggauss
from scipy.ndimage import gaussian_filter1d
from scipy.special import erf, j1

from giga.imaging.psf import PSF, half_maximum

FWHM_OF_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
NODES = 8  # Gauss-Legendre nodes a subpixel and axis: a Moffat of FWHM one subpixel is integrated to 1e-5


class PSFModel(ABC):
    """A PSF in arcsec, from which kernels are made at any pixel scale and supersampling."""

    @abstractmethod
    def psf(self, pixel_scale: float, supersampling: int = 1) -> PSF:
        """Make the kernel: integrated over subpixels, odd side, sum one.

        Args:
            pixel_scale: Side of a pixel [arcsec].
            supersampling: Subpixels a side.
        """

    @abstractmethod
    def enclosed_flux(self, pixel_scale: float, supersampling: int = 1) -> float:
        """Share of the PSF's flux inside the kernel, before the kernel is normalised to one."""

    @property
    @abstractmethod
    def width(self) -> float:
        """Full width at half maximum before pixels [arcsec]."""

    def noise_pixels(self, pixel_scale: float) -> float:
        """Pixels of noise in the best estimate of a point source's flux, 1 / sum(P^2), P the pixel values."""
        kernel = np.asarray(self.psf(pixel_scale).kernel, float)
        return float(1.0 / np.sum(kernel**2))


class _Analytic(PSFModel):
    """A circular profile that is integrated over subpixels and cut where it encloses a wanted flux."""

    enclosed: float

    @abstractmethod
    def _radius(self) -> float:
        """Radius that encloses the wanted flux [arcsec]."""

    @abstractmethod
    def _integrals(self, side: int, step: float) -> np.ndarray:
        """Flux in each subpixel of a centred square, shape (side, side), of a total of one."""

    def _kernel(self, pixel_scale: float, supersampling: int) -> np.ndarray:
        step = pixel_scale / supersampling
        return self._integrals(2 * math.ceil(self._radius() / step) + 1, step)

    def psf(self, pixel_scale: float, supersampling: int = 1) -> PSF:
        kernel = self._kernel(pixel_scale, supersampling)
        return PSF(kernel=jnp.asarray(kernel / kernel.sum()), supersampling=supersampling)

    def enclosed_flux(self, pixel_scale: float, supersampling: int = 1) -> float:
        return float(self._kernel(pixel_scale, supersampling).sum())


@dataclass(frozen=True)
class GaussianPSF(_Analytic):
    """A circular Gaussian; its kernel is separable, which makes it the fastest to convolve with.

    Attributes:
        fwhm: Full width at half maximum [arcsec].
        enclosed: Flux inside the circle that the kernel's square holds.

    Raises:
        ValueError: A width that is not positive, or a share of the flux outside (0, 1).
    """

    fwhm: float
    enclosed: float = 0.9999

    def __post_init__(self) -> None:
        _positive("fwhm", self.fwhm)
        _share(self.enclosed)

    @property
    def width(self) -> float:
        return self.fwhm

    @property
    def sigma(self) -> float:
        """Standard deviation along an axis [arcsec]."""
        return self.fwhm / FWHM_OF_SIGMA

    def _radius(self) -> float:
        return self.sigma * math.sqrt(-2.0 * math.log(1.0 - self.enclosed))

    def _integrals(self, side: int, step: float) -> np.ndarray:
        edges = (np.arange(side + 1) - 0.5 * side) * step
        line = np.diff(0.5 * erf(edges / (math.sqrt(2.0) * self.sigma)))
        return np.outer(line, line)


@dataclass(frozen=True)
class MoffatPSF(_Analytic):
    """A circular Moffat profile, `(1 + (r / alpha)^2)^-beta`, as seeing from the ground has it.

    Attributes:
        fwhm: Full width at half maximum [arcsec], `2 alpha sqrt(2^(1/beta) - 1)`.
        beta: Slope of the wings, above 1; 4.765 is turbulence, stars on detectors are nearer 2.5 to 3.5.
        enclosed: Flux inside the circle that the kernel's square holds.

    Raises:
        ValueError: A width or slope out of range, or a share of the flux outside (0, 1).

    References:
        Moffat (1969), A&A 3, 455; Trujillo et al. (2001), MNRAS 328, 977, eqs 3 and 4.
    """

    fwhm: float
    beta: float
    enclosed: float = 0.99

    def __post_init__(self) -> None:
        _positive("fwhm", self.fwhm)
        _share(self.enclosed)
        if not self.beta > 1.0:
            raise ValueError(f"beta: expected a number above 1, whose flux is finite, got {self.beta}")

    @property
    def width(self) -> float:
        return self.fwhm

    @property
    def alpha(self) -> float:
        """Scale radius [arcsec]."""
        return self.fwhm / (2.0 * math.sqrt(2.0 ** (1.0 / self.beta) - 1.0))

    def _radius(self) -> float:
        return self.alpha * math.sqrt((1.0 - self.enclosed) ** (1.0 / (1.0 - self.beta)) - 1.0)

    def _integrals(self, side: int, step: float) -> np.ndarray:
        nodes, weights = leggauss(NODES)
        position = ((np.arange(side) - side // 2)[:, None] + 0.5 * nodes).ravel() * step
        weight = np.tile(0.5 * weights * step, side)
        square = (position / self.alpha) ** 2
        profile = (self.beta - 1.0) / (np.pi * self.alpha**2) * (1.0 + square[:, None] + square) ** -self.beta
        return (weight[:, None] * profile * weight).reshape(side, NODES, side, NODES).sum((1, 3))


@dataclass(frozen=True)
class AiryPSF(_Analytic):
    """The diffraction pattern of a round mirror with a round obstruction, blurred by a Gaussian.

    Attributes:
        wavelength: [micrometres].
        diameter: Of the mirror [m].
        obscuration: Diameter of the obstruction over that of the mirror.
        sigma: Standard deviation of pointing jitter and charge diffusion along an axis [arcsec].
        enclosed: Flux inside the kernel, about; the wings fall as r^-3, and 1 - enclosed as 1 / r.

    Raises:
        ValueError: A length that is not positive, or a share out of range.

    References:
        Born & Wolf, Principles of Optics, sect. 8.6.2 (an annular aperture).
    """

    wavelength: float
    diameter: float
    obscuration: float = 0.0
    sigma: float = 0.0
    enclosed: float = 0.97

    def __post_init__(self) -> None:
        _positive("wavelength", self.wavelength)
        _positive("diameter", self.diameter)
        _share(self.enclosed)
        if not 0.0 <= self.obscuration < 1.0:
            raise ValueError(f"obscuration: expected a number from 0 to 1, got {self.obscuration}")
        if not 0.0 <= self.sigma < math.inf:
            raise ValueError(f"sigma: expected a number from 0 on, got {self.sigma}")

    @property
    def resolution(self) -> float:
        """Wavelength over diameter [arcsec]."""
        return math.degrees(self.wavelength * 1e-6 / self.diameter) * 3600.0

    @property
    def width(self) -> float:
        step = self.resolution / 16.0
        return half_maximum(self._integrals(2 * math.ceil(16.0 + 2.0 * self.sigma / step) + 1, step)) * step

    def _radius(self) -> float:
        # Far out 1 - enclosed -> 2 / (pi^2 (1 - obscuration)) (wavelength / diameter) / r.
        return 2.0 * self.resolution / (math.pi**2 * (1.0 - self.obscuration) * (1.0 - self.enclosed))

    def _integrals(self, side: int, step: float) -> np.ndarray:
        cells = max(3, math.ceil(8.0 * step / self.resolution))  # eight samples a resolution element
        fine = step / cells
        margin = math.ceil(4.0 * self.sigma / step)
        wide = side + 2 * margin
        line = (np.arange(wide * cells) - 0.5 * (wide * cells - 1)) * fine
        radius = np.hypot(line[:, None], line) * math.pi / self.resolution
        amplitude = (_jinc(radius) - self.obscuration**2 * _jinc(self.obscuration * radius))
        brightness = amplitude**2 * math.pi / (4.0 * self.resolution**2 * (1.0 - self.obscuration**2))
        if self.sigma > 0.0:
            for axis in (0, 1):
                brightness = gaussian_filter1d(brightness, self.sigma / fine, axis, mode="constant")
        pixels = brightness.reshape(wide, cells, wide, cells).sum((1, 3)) * fine**2
        return pixels[margin:margin + side, margin:margin + side]


@dataclass(frozen=True, eq=False)
class KernelPSF(PSFModel):
    """A kernel that was measured or computed, at the pixel scale of the survey.

    At another supersampling it is binned, if that divides its own, or, if it is given once a pixel,
    resampled as `giga.imaging.psf.PSF.from_native` does.

    Attributes:
        kernel: Shape (k, k), k odd; normalised to a sum of one.
        supersampling: Subpixels a side at which it is given.
        pixel_scale: Side of the survey's pixel [arcsec]; None trusts that it is the survey's.
        enclosed: Share of the flux that it holds, if that is known.

    Raises:
        ValueError: A kernel that is not square, odd, finite, and of positive sum.
    """

    kernel: np.ndarray
    supersampling: int = 1
    pixel_scale: float | None = None
    enclosed: float = 1.0

    def __post_init__(self) -> None:
        kernel = np.asarray(self.kernel, float)
        if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0:
            raise ValueError(f"psf: kernel must be square with an odd side, got shape {kernel.shape}")
        if not np.isfinite(kernel).all():
            raise ValueError(f"psf: kernel holds {np.sum(~np.isfinite(kernel))} values that are NaN or infinite")
        if not kernel.sum() > 0.0:
            raise ValueError(f"psf: kernel must have a positive sum, got {kernel.sum():.6g}")
        if self.supersampling < 1:
            raise ValueError(f"psf: supersampling must be at least 1, got {self.supersampling}")
        object.__setattr__(self, "kernel", kernel / kernel.sum())

    @property
    def width(self) -> float:
        scale = math.nan if self.pixel_scale is None else self.pixel_scale
        return half_maximum(self.kernel) * scale / self.supersampling

    def psf(self, pixel_scale: float, supersampling: int = 1) -> PSF:
        if self.pixel_scale is not None and abs(self.pixel_scale / pixel_scale - 1.0) > 0.01:
            raise ValueError(f"psf: kernel is for pixels of {self.pixel_scale:g} arcsec, the survey's are "
                             f"{pixel_scale:g} arcsec; expected agreement to 1%")
        if self.supersampling == 1 and supersampling > 1:
            return PSF.from_native(self.kernel, supersampling)
        return PSF(kernel=jnp.asarray(self.kernel), supersampling=self.supersampling).at(supersampling)

    def enclosed_flux(self, pixel_scale: float, supersampling: int = 1) -> float:
        return self.enclosed


def _jinc(x: np.ndarray) -> np.ndarray:
    """2 J1(x) / x, one at x = 0."""
    safe = np.where(x > 1e-6, x, 1.0)
    return np.where(x > 1e-6, 2.0 * j1(safe) / safe, 1.0)


def _positive(name: str, value: float) -> None:
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name}: expected a positive number, got {value}")


def _share(enclosed: float) -> None:
    if not 0.0 < enclosed < 1.0:
        raise ValueError(f"enclosed: expected a share of the flux between 0 and 1, got {enclosed}")
