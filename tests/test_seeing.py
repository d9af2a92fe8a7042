"""PSFs of ground-based images in varied seeing."""

import numpy as np
import pytest

from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.psf_models import MoffatPSF
from giga.simulate.surveys.seeing import check_seeing, psfs_in_seeing


def second_moment(kernel: np.ndarray) -> float:
    axis = np.arange(len(kernel)) - len(kernel) // 2
    return float(np.sum(kernel * axis**2) / np.sum(kernel))


@pytest.mark.parametrize("supersampling", [1, 2])
def test_widths_are_flat_between_the_factors(supersampling):
    survey = SURVEYS["kids-ggsl-unet"]  # Gaussians: their second moment is their width, and that of a subpixel
    nominal = survey.psfs(supersampling)
    nights = psfs_in_seeing(survey, (0.7, 1.3), supersampling, variants=64)
    assert np.shape(nights) == (64, 4) and all(psf.supersampling == supersampling for night in nights for psf in night)
    subpixel = 1.0 / 12.0
    found = np.array([[np.sqrt((second_moment(np.asarray(psf.kernel)) - subpixel)
                               / (second_moment(np.asarray(one.kernel)) - subpixel))
                       for psf, one in zip(night, nominal, strict=True)] for night in nights])
    assert 0.69 < found.min() < 0.72 and 1.28 < found.max() < 1.31
    np.testing.assert_allclose(found.mean(0), 1.0, atol=3.0 * 0.6 / np.sqrt(12.0 * 64.0))
    correlation = np.corrcoef(found.T)[np.triu_indices(4, 1)]
    assert np.all(np.abs(correlation) < 0.4)  # every band has a seeing of its own


def test_nights_are_the_same_at_every_call_and_slopes_are_kept():
    survey = SURVEYS["kids"]
    first, second = (psfs_in_seeing(survey, (0.9, 1.1), 1, variants=3) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one.kernel, other.kernel)
    (still,) = psfs_in_seeing(survey, (1.0, 1.0), 1, variants=1)
    for psf, band in zip(still, survey.bands, strict=True):
        assert isinstance(band.psf, MoffatPSF)
        np.testing.assert_array_equal(psf.kernel, band.psf.psf(survey.pixel_scale).kernel)


@pytest.mark.parametrize(("name", "seeing", "message"), [
    ("kids", (1.3, 0.7), "expected two factors of the PSF's width, the lower first, got \\[1.3, 0.7\\]"),
    ("kids", (0.0, 1.0), "expected two factors"),
    ("hst-acs-f814w", (0.9, 1.1), "the PSF of hst-acs-f814w in F814W is AiryPSF, which has none")])
def test_what_is_no_seeing_is_refused(name, seeing, message):
    with pytest.raises(ValueError, match=message):
        check_seeing(SURVEYS[name], seeing)


@pytest.mark.parametrize("beta", [(1.0, 3.0), (4.0, 3.0), (3.0,)])
def test_what_is_no_slope_is_refused(beta):
    with pytest.raises(ValueError, match="beta: expected two slopes above 1 of Moffat profiles, the lower first"):
        check_seeing(SURVEYS["kids"], (1.0, 1.0), beta)


def test_slopes_give_wings_to_the_widths_that_are_drawn_without():
    survey = SURVEYS["kids-ggsl-unet"]
    plain, wings = (psfs_in_seeing(survey, (0.7, 1.3), 2, beta, variants=8) for beta in ((), (2.5, 20.0)))
    wider = np.array([[second_moment(np.asarray(b.kernel)) / second_moment(np.asarray(a.kernel))
                       for a, b in zip(*night, strict=True)] for night in zip(plain, wings, strict=True)])
    assert np.all(wider > 1.0) and wider.max() > 2.0  # wings, of the Gaussian of the same width at half maximum
    (night,) = psfs_in_seeing(survey, (1.0, 1.0), 1, (3.0, 3.0), variants=1)
    for psf, band in zip(night, survey.bands, strict=True):
        expected = MoffatPSF(band.psf.width, 3.0).psf(survey.pixel_scale)
        np.testing.assert_allclose(psf.kernel, expected.kernel, rtol=1e-5, atol=1e-9)
