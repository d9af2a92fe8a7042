"""Bands, surveys and PSF models: magnitudes to counts, sky to noise, profiles to kernels."""

import jax.numpy as jnp
import numpy as np
import pytest

from giga.imaging.psf import plan
from giga.simulate.surveys.survey import AiryPSF, Band, GaussianPSF, KernelPSF, MoffatPSF, Survey

pytestmark = pytest.mark.quick

BAND = Band("r", GaussianPSF(0.7), zero_point=28.0, gain=2.0, exposure_time=100.0, n_exposures=4, read_noise=6.0,
            sky_brightness=21.0)
MODELS = [GaussianPSF(0.9), GaussianPSF(0.15), MoffatPSF(0.9, 3.0), MoffatPSF(0.3, 4.765),
          AiryPSF(1.6, 2.4, 0.3, sigma=0.05)]


@pytest.mark.parametrize("supersampling", [1, 2, 3])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_kernels_are_odd_normalised_and_as_wide_as_stated(model, supersampling):
    psf = model.psf(0.2, supersampling)
    kernel = np.asarray(psf.kernel, float)
    assert psf.supersampling == supersampling
    assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
    # The square holds the circle that encloses the stated flux.
    assert model.enclosed <= model.enclosed_flux(0.2, supersampling) < 1.0
    np.testing.assert_allclose(kernel, kernel.T, atol=1e-8)
    np.testing.assert_allclose(kernel, kernel[::-1], atol=1e-8)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_a_kernel_is_the_profile_integrated_over_subpixels(model):
    # Sums of a kernel on subpixels are the kernel on pixels, for an odd number of subpixels.
    coarse = model.psf(0.3, 1)
    fine = np.asarray(model.psf(0.3, 3).at(1).kernel, float)
    half, wide = len(coarse.kernel) // 2, len(fine) // 2
    inner = min(half, wide)
    cut = slice(half - inner, half + inner + 1), slice(wide - inner, wide + inner + 1)
    # The widths differ by a pixel at most, so what is left outside differs by less than what is not enclosed.
    np.testing.assert_allclose(np.asarray(coarse.kernel)[cut[0], cut[0]], fine[cut[1], cut[1]],
                               atol=2.0 * (1.0 - model.enclosed))


@pytest.mark.parametrize(("model", "fwhm"), [(GaussianPSF(0.8), 0.8), (MoffatPSF(0.8, 2.5), 0.8)], ids=str)
def test_full_width_at_half_maximum(model, fwhm):
    step = 0.02
    kernel = np.asarray(model.psf(step, 1).kernel, float)
    middle = kernel[len(kernel) // 2]
    x = (np.arange(len(middle)) - len(middle) // 2) * step
    right = x > 0
    half = np.interp(-0.5 * middle.max(), -middle[right], x[right])
    assert 2.0 * half == pytest.approx(fwhm, rel=2e-3)  # a step of fwhm / 40, squared


def test_an_unobstructed_mirror_has_airys_width_and_rings():
    psf = AiryPSF(0.8, 2.4)
    assert psf.resolution == pytest.approx(0.06875, rel=1e-3)
    assert psf.width == pytest.approx(1.029 * psf.resolution, rel=0.01)
    # 83.8% of the light lies inside the first dark ring at 1.22 wavelengths over the diameter.
    step = psf.resolution / 20.0
    kernel = np.asarray(psf.psf(step).kernel, float) * psf.enclosed_flux(step)
    axis = (np.arange(len(kernel)) - len(kernel) // 2) / 20.0
    assert kernel[np.hypot(axis[:, None], axis) < 1.22].sum() == pytest.approx(0.838, abs=0.003)


def test_a_gaussian_is_convolved_as_a_separable_kernel():
    assert plan(GaussianPSF(0.8).psf(0.2, 2), (64, 64)).method == "lowrank"


def test_a_measured_kernel_is_binned_or_resampled():
    fine = GaussianPSF(0.8).psf(0.2, 4)
    model = KernelPSF(7.0 * np.asarray(fine.kernel), 4, pixel_scale=0.2)
    assert float(model.psf(0.2, 4).kernel.sum()) == pytest.approx(1.0, abs=1e-5)
    np.testing.assert_allclose(model.psf(0.2, 2).kernel, fine.at(2).kernel, atol=1e-7)
    native = KernelPSF(np.asarray(fine.at(1).kernel))
    assert native.psf(0.2, 3).supersampling == 3


@pytest.mark.parametrize(("make", "message"), [
    (lambda: GaussianPSF(0.0), "fwhm: expected a positive number, got 0.0"),
    (lambda: GaussianPSF(float("nan")), "fwhm: expected a positive number, got nan"),
    (lambda: GaussianPSF(1.0, enclosed=1.0), "enclosed: expected a share"),
    (lambda: MoffatPSF(1.0, 1.0), "beta: expected a number above 1"),
    (lambda: AiryPSF(-1.0, 2.4), "wavelength: expected a positive number, got -1.0"),
    (lambda: AiryPSF(1.0, 2.4, obscuration=1.0), "obscuration: expected a number from 0 to 1, got 1.0"),
    (lambda: KernelPSF(np.ones((4, 4))), r"odd side, got shape \(4, 4\)"),
    (lambda: KernelPSF(np.full((3, 3), np.nan)), "9 values that are NaN"),
    (lambda: KernelPSF(-np.ones((3, 3))), "positive sum, got -9"),
    (lambda: KernelPSF(np.ones((3, 3)), 0), "supersampling must be at least 1, got 0"),
    (lambda: KernelPSF(np.ones((3, 3)), pixel_scale=0.1).psf(0.2), "for pixels of 0.1 arcsec, the survey's are 0.2"),
    (lambda: BAND.replace(gain=0.0), "band 'r': gain: expected a positive number, got 0.0"),
    (lambda: BAND.replace(read_noise=-1.0), "read_noise: expected a number from 0 on, got -1.0"),
    (lambda: BAND.replace(sky_brightness=float("inf")), "sky_brightness: expected a finite magnitude"),
    (lambda: BAND.with_background(1e-3, 0.2), "not above the .* of read noise and dark current alone"),
    (lambda: Survey("s", 0.2, (64, 64), ()), "at least one band"),
    (lambda: Survey("s", 0.2, (64, 64), (BAND, BAND)), "two bands have one name"),
    (lambda: Survey("s", -0.2, (64, 64), (BAND,)), "pixel_scale: expected a positive number, got -0.2"),
    (lambda: Survey("s", 0.2, (0, 64), (BAND,)), "expected positive sizes"),
    (lambda: Survey("s", 0.2, (64, 64), (BAND,)).band("i"), r"no band 'i'; expected one of \['r'\]"),
])
def test_bad_values_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_counts_and_magnitudes():
    assert BAND.counts(28.0) == pytest.approx(1.0)
    assert BAND.counts(25.5) == pytest.approx(10.0)
    assert BAND.magnitude(BAND.counts(23.4)) == pytest.approx(23.4)


def test_background_and_photon_noise_by_hand():
    # 10^(0.4 * 7) = 630.96 counts / s / arcsec^2, in 0.04 arcsec^2 and 400 s at 2 e / count: 20190.7 electrons.
    electrons = 630.9573 * 0.04 * 400.0 * 2.0
    assert BAND.sky_electrons(0.2) == pytest.approx(electrons, rel=1e-6)
    assert BAND.background_rms(0.2) == pytest.approx(np.sqrt(electrons + 4 * 36.0) / 800.0, rel=1e-6)
    assert BAND.photon() == pytest.approx(1.0 / 800.0)
    dark = BAND.replace(dark_current=1.0)
    assert dark.sky_electrons(0.2) - BAND.sky_electrons(0.2) == pytest.approx(400.0)


def test_depth_of_a_gaussian_in_closed_form():
    # The effective area is 4 pi sigma^2 for pixels far below the seeing (Rubin SMTN-002: 2.266 (FWHM / pixel)^2).
    band = BAND.replace(psf=GaussianPSF(2.0))
    noise = band.background_rms(0.2) * np.sqrt(2.2662) * 2.0 / 0.2
    assert band.depth(0.2) == pytest.approx(band.magnitude(5.0 * noise), abs=0.01)


def test_depth_is_what_a_matched_filter_finds():
    rng = np.random.default_rng(1)
    kernel = np.asarray(BAND.psf.psf(0.2).kernel, float)
    noise = rng.normal(0.0, BAND.background_rms(0.2), (20000, *kernel.shape))
    flux = np.einsum("nij,ij->n", noise, kernel) / np.sum(kernel**2)
    assert BAND.magnitude(5.0 * flux.std()) == pytest.approx(BAND.depth(0.2), abs=0.03)  # 20000 draws: 0.5%


def test_sky_from_depth():
    assert BAND.with_depth(25.3, 0.2).depth(0.2) == pytest.approx(25.3, abs=1e-6)
    assert BAND.with_aperture_depth(24.8, 2.0, 0.2).aperture_depth(0.2, 2.0) == pytest.approx(24.8, abs=1e-6)
    assert BAND.with_background(0.3, 0.2).background_rms(0.2) == pytest.approx(0.3)


def test_a_survey_lists_its_bands():
    survey = Survey("s", 0.2, (40, 50), (BAND, BAND.replace(name="i", zero_point=27.5, gain=1.0)))
    assert survey.grid.shape == (40, 50) and survey.grid.pixel_scale == 0.2
    np.testing.assert_allclose(survey.zero_points, [28.0, 27.5])
    np.testing.assert_allclose(survey.photon, [1 / 800, 1 / 400])
    np.testing.assert_allclose(survey.background_rms, [b.background_rms(0.2) for b in survey.bands])
    assert [b.name for b in survey.select("ir").bands] == ["i", "r"]
    assert survey.replace(shape=(10, 10)).shape == (10, 10)
    assert all(jnp.isclose(p.kernel.sum(), 1.0) for p in survey.psfs(2))
