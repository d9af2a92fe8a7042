"""Surveys: pixels, bands, and the arithmetic from magnitudes, sky and read noise to counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from giga.imaging.grid import Grid
from giga.imaging.psf import PSF
from giga.simulate.surveys.psf_models import AiryPSF as AiryPSF
from giga.simulate.surveys.psf_models import GaussianPSF as GaussianPSF
from giga.simulate.surveys.psf_models import KernelPSF as KernelPSF
from giga.simulate.surveys.psf_models import MoffatPSF as MoffatPSF
from giga.simulate.surveys.psf_models import PSFModel as PSFModel


@dataclass(frozen=True)
class Band:
    """One band of a survey: an image that is the mean of several exposures, in counts / s.

    A source of magnitude m has `10^(-0.4 (m - zero_point))` counts / s.

    Attributes:
        name: As users write it: "r", "F814W".
        psf: The PSF in the mean image.
        zero_point: Magnitude of 1 count / s.
        gain: Electrons per count.
        exposure_time: Of one exposure [s].
        n_exposures: Exposures in the mean.
        read_noise: Of one exposure [electrons].
        sky_brightness: [magnitudes / arcsec^2], in the same system as the zero point.
        dark_current: [electrons / s per pixel].

    Raises:
        ValueError: A number that must be positive and is not.
    """

    name: str
    psf: PSFModel
    zero_point: float
    gain: float
    exposure_time: float
    n_exposures: float
    read_noise: float
    sky_brightness: float
    dark_current: float = 0.0

    def __post_init__(self) -> None:
        for field in ("gain", "exposure_time", "n_exposures"):
            value = getattr(self, field)
            if not 0.0 < value < math.inf:
                raise ValueError(f"band {self.name!r}: {field}: expected a positive number, got {value}")
        for field in ("read_noise", "dark_current"):
            if not 0.0 <= getattr(self, field) < math.inf:
                raise ValueError(f"band {self.name!r}: {field}: expected a number from 0 on, "
                                 f"got {getattr(self, field)}")
        for field in ("zero_point", "sky_brightness"):
            if not math.isfinite(getattr(self, field)):
                raise ValueError(f"band {self.name!r}: {field}: expected a finite magnitude, "
                                 f"got {getattr(self, field)}")

    def replace(self, **changes: Any) -> Band:
        """Return a checked copy with some fields changed."""
        return replace(self, **changes)

    @property
    def total_time(self) -> float:
        """Time of all exposures [s]."""
        return self.exposure_time * self.n_exposures

    def counts(self, magnitude: float) -> float:
        """Flux of a magnitude [counts / s]."""
        return 10.0 ** (-0.4 * (magnitude - self.zero_point))

    def magnitude(self, counts: float) -> float:
        """Magnitude of a flux [counts / s]."""
        return self.zero_point - 2.5 * math.log10(counts)

    def sky_electrons(self, pixel_scale: float) -> float:
        """Electrons of sky and dark current in a pixel, in all exposures together."""
        sky = self.gain * self.counts(self.sky_brightness) * pixel_scale**2
        return (sky + self.dark_current) * self.total_time

    def background_rms(self, pixel_scale: float) -> float:
        """Standard deviation of a pixel without a source [counts / s]."""
        electrons = self.sky_electrons(pixel_scale) + self.n_exposures * self.read_noise**2
        return math.sqrt(electrons) / (self.gain * self.total_time)

    def photon(self) -> float:
        """Variance per count / s of the model, `1 / (gain total_time)` [counts / s]."""
        return 1.0 / (self.gain * self.total_time)

    def depth(self, pixel_scale: float, sigma: float = 5.0) -> float:
        """Magnitude of a point source at a signal to noise, its flux measured by its PSF.

        The noise is that of the background: `background_rms / sqrt(sum P^2)`, P the PSF in pixels.
        """
        noise = self.background_rms(pixel_scale) * math.sqrt(self.psf.noise_pixels(pixel_scale))
        return self.magnitude(sigma * noise)

    def aperture_depth(self, pixel_scale: float, diameter: float, sigma: float = 5.0) -> float:
        """Magnitude whose flux is so many times the background noise in a circular aperture.

        It is the flux in the aperture: light of the source that falls outside is not added.

        Args:
            pixel_scale: Side of a pixel [arcsec].
            diameter: Of the aperture [arcsec].
            sigma: Signal to noise.
        """
        pixels = 0.25 * math.pi * (diameter / pixel_scale) ** 2
        return self.magnitude(sigma * self.background_rms(pixel_scale) * math.sqrt(pixels))

    def with_background(self, rms: float, pixel_scale: float) -> Band:
        """The band with the sky brightness that gives a background rms [counts / s per pixel].

        Raises:
            ValueError: An rms that read noise and dark current exceed by themselves.
        """
        other = self.n_exposures * self.read_noise**2 + self.dark_current * self.total_time
        sky = (rms * self.gain * self.total_time) ** 2 - other
        if not sky > 0.0:
            alone = math.sqrt(other) / (self.gain * self.total_time)
            raise ValueError(f"band {self.name!r}: background rms {rms:.4g} is not above the {alone:.4g} counts / s of "
                             "read noise and dark current alone")
        return self.replace(sky_brightness=self.magnitude(sky / (self.gain * self.total_time * pixel_scale**2)))

    def with_depth(self, depth: float, pixel_scale: float, sigma: float = 5.0) -> Band:
        """The band with the sky brightness that gives a point-source depth, see `depth`."""
        noise = self.counts(depth) / sigma
        return self.with_background(noise / math.sqrt(self.psf.noise_pixels(pixel_scale)), pixel_scale)

    def with_aperture_depth(self, depth: float, diameter: float, pixel_scale: float, sigma: float = 5.0) -> Band:
        """The band with the sky brightness that gives an aperture depth, see `aperture_depth`."""
        pixels = 0.25 * math.pi * (diameter / pixel_scale) ** 2
        return self.with_background(self.counts(depth) / (sigma * math.sqrt(pixels)), pixel_scale)


@dataclass(frozen=True)
class Survey:
    """Pixel scale, size and bands of the images of a survey.

    Attributes:
        name: As users write it.
        pixel_scale: Side of a pixel [arcsec].
        shape: (ny, nx) of an image.
        bands: In the order of the last axis of its images.

    Raises:
        ValueError: No band, two of one name, or sizes that are not positive.
    """

    name: str
    pixel_scale: float
    shape: tuple[int, int]
    bands: tuple[Band, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "bands", tuple(self.bands))
        object.__setattr__(self, "shape", (int(self.shape[0]), int(self.shape[1])))
        names = [band.name for band in self.bands]
        if not names:
            raise ValueError(f"survey {self.name!r}: expected at least one band, got none")
        if len(set(names)) < len(names):
            raise ValueError(f"survey {self.name!r}: two bands have one name: {names}")
        if not 0.0 < self.pixel_scale < math.inf:
            raise ValueError(f"survey {self.name!r}: pixel_scale: expected a positive number, got {self.pixel_scale}")
        if min(self.shape) < 1:
            raise ValueError(f"survey {self.name!r}: shape: expected positive sizes (ny, nx), got {self.shape}")

    def replace(self, **changes: Any) -> Survey:
        """Return a checked copy with some fields changed."""
        return replace(self, **changes)

    def select(self, names: Sequence[str]) -> Survey:
        """The survey with some of its bands, in the order given: `select("gri")`."""
        return self.replace(bands=tuple(self.band(name) for name in names))

    def band(self, name: str) -> Band:
        """The band of a name. Raises ValueError."""
        for band in self.bands:
            if band.name == name:
                return band
        raise ValueError(f"survey {self.name!r}: no band {name!r}; expected one of {[b.name for b in self.bands]}")

    @property
    def grid(self) -> Grid:
        """Pixel grid of an image."""
        return Grid(shape=self.shape, pixel_scale=self.pixel_scale)

    @property
    def zero_points(self) -> np.ndarray:
        """Magnitude of 1 count / s, shape (bands,)."""
        return np.array([band.zero_point for band in self.bands])

    @property
    def background_rms(self) -> np.ndarray:
        """Standard deviation of a pixel without a source, shape (bands,) [counts / s]."""
        return np.array([band.background_rms(self.pixel_scale) for band in self.bands])

    @property
    def photon(self) -> np.ndarray:
        """Variance per count / s of the model, shape (bands,) [counts / s]."""
        return np.array([band.photon() for band in self.bands])

    @property
    def sky_electrons(self) -> np.ndarray:
        """Electrons of sky and dark current in a pixel, shape (bands,)."""
        return np.array([band.sky_electrons(self.pixel_scale) for band in self.bands])

    def psfs(self, supersampling: int = 1) -> tuple[PSF, ...]:
        """A PSF for each band."""
        return tuple(band.psf.psf(self.pixel_scale, supersampling) for band in self.bands)
