"""PSFs of ground-based images taken in varied seeing, every band at its own time."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from giga.psf import PSF
from giga.simulate.psf_models import GaussianPSF, MoffatPSF, PSFModel
from giga.simulate.survey import Survey

VARIANTS = 16  # nights, of which an example has one


def check_seeing(survey: Survey, seeing: Sequence[float]) -> None:
    """Raise ValueError if a range of seeing is none, or the survey has none."""
    if len(seeing) != 2 or not 0.0 < seeing[0] <= seeing[1]:
        raise ValueError(f"seeing: expected two factors of the PSF's width, the lower first, got {list(seeing)}")
    for band in survey.bands:
        if not isinstance(band.psf, GaussianPSF | MoffatPSF):
            raise ValueError(f"seeing: the PSF of {survey.name} in {band.name} is {type(band.psf).__name__}, which has "
                             "none; expected GaussianPSF or MoffatPSF")


def psfs_in_seeing(survey: Survey, seeing: Sequence[float], supersampling: int,
                   variants: int = VARIANTS) -> list[list[PSF]]:
    """One PSF a band for each of several nights, the same ones at every call.

    Args:
        survey: Whose PSFs are made narrower and wider.
        seeing: Range of the factor of their FWHM; every band has one of its own, flat between the two.
        supersampling: Subpixels a side.
        variants: Number of nights.

    Raises:
        ValueError: See `check_seeing`.
    """
    check_seeing(survey, seeing)
    factors = np.random.default_rng(0).uniform(seeing[0], seeing[1], (variants, len(survey.bands)))
    return [[_widened(band.psf, factor).psf(survey.pixel_scale, supersampling)
             for band, factor in zip(survey.bands, night, strict=True)] for night in factors]


def _widened(psf: PSFModel, factor: float) -> PSFModel:
    assert isinstance(psf, GaussianPSF | MoffatPSF)  # or `check_seeing` has refused it
    return dataclasses.replace(psf, fwhm=factor * psf.fwhm)
