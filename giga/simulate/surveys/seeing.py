"""PSFs of ground-based images taken in varied seeing, every band at its own time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from giga.imaging.psf import PSF
from giga.simulate.surveys.psf_models import GaussianPSF, MoffatPSF, PSFModel
from giga.simulate.surveys.survey import Survey

VARIANTS = 16  # nights, of which an example has one


def check_seeing(survey: Survey, seeing: Sequence[float], beta: Sequence[float] = ()) -> None:
    """Raise ValueError if a range of seeing or of Moffat slopes is none, or the survey has no seeing."""
    if len(seeing) != 2 or not 0.0 < seeing[0] <= seeing[1]:
        raise ValueError(f"seeing: expected two factors of the PSF's width, the lower first, got {list(seeing)}")
    if beta and (len(beta) != 2 or not 1.0 < beta[0] <= beta[1]):
        raise ValueError(f"beta: expected two slopes above 1 of Moffat profiles, the lower first, got {list(beta)}")
    for band in survey.bands:
        if not isinstance(band.psf, GaussianPSF | MoffatPSF):
            raise ValueError(f"seeing: the PSF of {survey.name} in {band.name} is {type(band.psf).__name__}, which has "
                             "none; expected GaussianPSF or MoffatPSF")


def psfs_in_seeing(survey: Survey, seeing: Sequence[float], supersampling: int, beta: Sequence[float] = (),
                   variants: int = VARIANTS) -> list[list[PSF]]:
    """One PSF a band for each of several nights, the same ones at every call.

    Args:
        survey: Whose PSFs are made narrower and wider.
        seeing: Range of the factor of their FWHM; every band has one of its own, flat between the two.
        supersampling: Subpixels a side.
        beta: Range of the slope of Moffat profiles, drawn for every band so that 1 / beta is flat: 0 would be a
            Gaussian. Empty keeps the survey's profiles.
        variants: Number of nights.

    Raises:
        ValueError: See `check_seeing`.
    """
    check_seeing(survey, seeing, beta)
    rng, size = np.random.default_rng(0), (variants, len(survey.bands))
    factors = rng.uniform(seeing[0], seeing[1], size)
    models = [[_widened(band.psf, factor) for band, factor in zip(survey.bands, night, strict=True)]
              for night in factors]
    if beta:
        slopes = 1.0 / rng.uniform(1.0 / beta[1], 1.0 / beta[0], size)
        models = [[fitting_moffat(survey, model.width, slope) for model, slope in zip(*night, strict=True)]
                  for night in zip(models, slopes, strict=True)]
    return [[model.psf(survey.pixel_scale, supersampling) for model in night] for night in models]


def fitting_moffat(survey: Survey, fwhm: float, beta: float) -> MoffatPSF:
    """A Moffat PSF cut where it would be wider than the survey's image."""
    model = MoffatPSF(fwhm, beta)
    reach = (0.5 * min(survey.shape) - 1.0) * survey.pixel_scale
    inside = 1.0 - (1.0 + (reach / model.alpha) ** 2) ** (1.0 - beta)
    return MoffatPSF(fwhm, beta, min(model.enclosed, inside))


def _widened(psf: PSFModel, factor: float) -> PSFModel:
    assert isinstance(psf, GaussianPSF | MoffatPSF)  # or `check_seeing` has refused it
    return dataclasses.replace(psf, fwhm=factor * psf.fwhm)
