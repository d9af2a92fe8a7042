"""What a network has not been trained for: the PSF, the noise and the sources of a shifted test set."""

from __future__ import annotations

import numpy as np

from giga.imaging.psf import PSF
from giga.simulate.surveys.noise import CorrelatedNoise
from giga.simulate.surveys.seeing import fitting_moffat
from giga.simulate.surveys.survey import Survey

CLUMPS = 3  # knots of a source
BROADER = 1.25  # PSF over that of the training
BETA = 3.0  # its slope


def psfs(survey: Survey, supersampling: int) -> list[PSF]:
    """Moffat PSFs a quarter wider than the survey's, one a band, cut where they would be wider than the image."""
    return [fitting_moffat(survey, BROADER * band.psf.width, BETA).psf(survey.pixel_scale, supersampling)
            for band in survey.bands]


def noise(survey: Survey) -> CorrelatedNoise:
    """Noise of the survey's rms whose neighbouring pixels are correlated as after a resampling by a triangle."""
    line = np.convolve([0.25, 0.5, 0.25], [0.25, 0.5, 0.25])
    shape = np.outer(line, line) / line[2] ** 2
    rms = np.asarray(survey.background_rms)
    return CorrelatedNoise.of(shape[..., None] * rms**2, survey.shape, survey.photon)
