"""A survey of a user's own as numbers alone, as it travels with the weights of a network."""

from __future__ import annotations

import math
from dataclasses import dataclass

from giga.simulate.surveys.survey import Band, GaussianPSF, Survey

NUMBERS = ("zero_point", "gain", "exposure_time", "n_exposures", "read_noise", "sky_brightness", "dark_current")


@dataclass(frozen=True)
class OwnSurvey:
    """What a network knows of the survey that it was trained on: all numbers of its bands, and of PSFs the widths.

    Attributes:
        name: Of the preset that it began with.
        pixel_scale: Side of a pixel [arcsec].
        shape: (ny, nx) of an image.
        bands: Names, in the order of the last axis of images; what follows has a number for each.
        fwhm: Of the PSFs [arcsec].
        zero_point, gain, exposure_time, n_exposures, read_noise, sky_brightness, dark_current: See
            `giga.simulate.surveys.survey.Band`.

    Raises:
        ValueError: Another number of numbers than of bands, or what `Survey` raises.
    """

    name: str
    pixel_scale: float
    shape: tuple[int, int]
    bands: tuple[str, ...]
    fwhm: tuple[float, ...]
    zero_point: tuple[float, ...]
    gain: tuple[float, ...]
    exposure_time: tuple[float, ...]
    n_exposures: tuple[float, ...]
    read_noise: tuple[float, ...]
    sky_brightness: tuple[float, ...]
    dark_current: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("fwhm", *NUMBERS):
            if len(getattr(self, name)) != len(self.bands):
                raise ValueError(f"{name}: got {len(getattr(self, name))} numbers, expected one for each of the "
                                 f"{len(self.bands)} bands")

    @staticmethod
    def of(survey: Survey) -> OwnSurvey:
        """The numbers of a survey."""
        numbers = {name: tuple(float(getattr(band, name)) for band in survey.bands) for name in NUMBERS}
        widths = tuple(_width(band, survey.pixel_scale) for band in survey.bands)
        names = tuple(band.name for band in survey.bands)
        return OwnSurvey(survey.name, float(survey.pixel_scale), survey.shape, names, widths, **numbers)

    @property
    def survey(self) -> Survey:
        """The survey, with Gaussian PSFs of these widths."""
        bands = tuple(Band(name, GaussianPSF(self.fwhm[k]), **{one: getattr(self, one)[k] for one in NUMBERS})
                      for k, name in enumerate(self.bands))
        return Survey(self.name, self.pixel_scale, self.shape, bands)


def _width(band: Band, pixel_scale: float) -> float:
    """Full width at half maximum of a PSF [arcsec]; of a kernel whose own pixels are not known, on those of images."""
    width = float(band.psf.width)
    return width if math.isfinite(width) else band.psf.psf(pixel_scale).fwhm(pixel_scale)
