"""What a network has seen in training, and how far an image is from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from giga.models.networks.chain import ModularConfig
from giga.models.networks.finder import FinderConfig
from giga.models.networks.posterior import PosteriorNetConfig
from giga.models.networks.separator import GGSLConfig
from giga.simulate.surveys.survey import Survey

NOISE = 2.0  # factor of the sky's noise beyond what was seen from which it is said
WIDTH = 1.25  # of the PSF's width
SCALE = 1.02  # of the side of a pixel

Ranges = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Seen:
    """The images that a network was trained on, as far as its recipe says.

    Attributes:
        pixel_scale: Side of a pixel [arcsec].
        bands: Their names.
        rms: Least and most noise of the sky in each band [counts / s].
        fwhm: Least and most full width at half maximum of the PSF in each band [arcsec]; empty where it is not known.
    """

    pixel_scale: float
    bands: tuple[str, ...]
    rms: Ranges
    fwhm: Ranges = ()

    @staticmethod
    def of(config: Any) -> Seen | None:
        """What the config of a network says; None for networks that are of no survey."""
        if isinstance(config, PosteriorNetConfig):
            return Seen(config.pixel_scale, config.bands, tuple((rms, rms) for rms in config.rms))
        if not isinstance(config, GGSLConfig | ModularConfig | FinderConfig):
            return None
        return Seen.of_survey(config.observed, config.seeing if isinstance(config, GGSLConfig) else ())

    @staticmethod
    def of_survey(survey: Survey, seeing: Sequence[float] = ()) -> Seen:
        """What simulations of a survey show, of a seeing between two shares of its PSF's width."""
        low, high = seeing or (1.0, 1.0)
        widths = [float(band.psf.width) for band in survey.bands]
        if not all(map(math.isfinite, widths)):  # of a kernel whose pixels are not known
            widths = []
        return Seen(float(survey.pixel_scale), tuple(band.name for band in survey.bands),
                    tuple((float(rms), float(rms)) for rms in survey.background_rms),
                    tuple((low * width, high * width) for width in widths))

    def unlike(self, rms: Sequence[float | None] = (), fwhm: Sequence[float | None] = (),
               pixel_scale: float | None = None) -> list[str]:
        """What of an image is far from all that was seen, a sentence each.

        Args:
            rms: Noise of its sky in each band [counts / s], None where it is not known.
            fwhm: Width of its PSF in each band [arcsec], likewise.
            pixel_scale: Side of its pixels [arcsec].
        """
        said = []
        if pixel_scale is not None:
            said += _outside("pixels", pixel_scale, (self.pixel_scale, self.pixel_scale), SCALE, "arcsec", "a side of")
        for name, values, known, factor, unit in (("noise of the sky", rms, self.rms, NOISE, "counts / s"),
                                                  ("PSF", fwhm, self.fwhm, WIDTH, "arcsec")):
            for band, value, span in zip(self.bands, values, known, strict=False):  # what is not known is left out
                if value is not None:
                    said += _outside(f"band {band}: {name}", value, span, factor, unit,
                                     "a width of" if name == "PSF" else "")
        return said


def _outside(name: str, value: float, span: tuple[float, float], factor: float, unit: str, of: str) -> list[str]:
    low, high = span
    if low / factor <= value <= high * factor:
        return []
    ratio, edge = (value / high, high) if value > high else (value / low, low)
    seen = f"{low:.3g}" if low == high else f"{low:.3g} to {high:.3g}"
    return [" ".join(f"{name}: {of} {value:.3g} {unit}, {ratio:.3g} times the {edge:.3g} of what the network has seen "
                     f"({seen}); what it says of such an image is not tested".split())]
