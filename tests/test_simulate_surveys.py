"""Presets of surveys against what is published of their images."""

import math
from pathlib import Path

import numpy as np
import pytest

from giga.imaging.observation import check_kernel
from giga.simulate.surveys.noise import CameraNoise
from giga.simulate.surveys.presets import SURVEYS, survey, table

pytestmark = pytest.mark.quick

DOCS = Path(__file__).parents[1] / "docs" / "surveys.md"


def in_aperture(band, pixel_scale, diameter):
    """Share of a point source's flux in a circular aperture."""
    fine = 10
    kernel = np.asarray(band.psf.psf(pixel_scale, fine).kernel, float)
    axis = (np.arange(len(kernel)) - len(kernel) // 2) * pixel_scale / fine
    return kernel[np.hypot(axis[:, None], axis) <= 0.5 * diameter].sum()


@pytest.mark.parametrize("name", SURVEYS)
def test_presets_are_whole(name):
    preset = survey(name)
    assert preset.name == name
    for band, psf in zip(preset.bands, preset.psfs(2), strict=True):
        check_kernel(np.asarray(psf.kernel), 2, preset.shape)
        assert band.psf.enclosed_flux(preset.pixel_scale, 2) >= min(0.97, getattr(band.psf, "enclosed", 1.0))
    assert not CameraNoise.of(preset).few


def test_bands_and_scales():
    assert {n: "".join(b.name for b in s.bands) for n, s in SURVEYS.items() if len(s.bands) > 1} == {
        "kids": "ugri", "kids-ggsl-unet": "ugri", "des": "grizY", "lsst": "ugrizy",
        **dict.fromkeys(("legacy", "legacy-clusters", "legacy-clusters-540mas"), "grz"),
        "roman": "F106F129F158F184", **dict.fromkeys(("hst-hff", "hst-clash", "hst-hff-60mas", "hst-clash-60mas"),
                                                     "F435WF606WF814W")}
    assert {s.pixel_scale for s in SURVEYS.values()} == {0.2, 0.05, 0.08, 0.262, 0.263, 0.1, 0.11, 0.03, 0.06,
                                                         0.27, 0.54}
    assert SURVEYS["kids"].shape == (64, 64) and SURVEYS["hst-wfc3-f606w"].shape == (101, 101)


# KiDS DR4, Kuijken et al. (2019), A&A 625, A2: 5 sigma in an aperture of 2". The rms and this depth are measured apart.
@pytest.mark.parametrize(("band", "depth"), [("u", 24.23), ("g", 25.12), ("r", 25.02), ("i", 23.68)])
def test_kids_depth(band, depth):
    assert SURVEYS["kids"].band(band).aperture_depth(0.2, 2.0) == pytest.approx(depth, abs=0.2)


@pytest.mark.parametrize(("band", "rms"), [("u", 5.3404), ("g", 2.1872), ("r", 2.3905), ("i", 8.4366)])
def test_kids_noise_is_the_measured_one(band, rms):
    assert SURVEYS["kids"].band(band).background_rms(0.2) == pytest.approx(rms, rel=1e-6)


# Rubin SMTN-002: 5 sigma of a visit at zenith, from the same inputs but with the real filters' sky.
@pytest.mark.parametrize(("band", "depth"), [
    ("u", 23.70), ("g", 24.97), ("r", 24.52), ("i", 24.13), ("z", 23.56), ("y", 22.55)])
def test_lsst_depth_of_a_visit(band, depth):
    assert SURVEYS["lsst"].band(band).replace(n_exposures=1).depth(0.2) == pytest.approx(depth, abs=0.15)


# DES DR2: 10 sigma in an aperture of 1.95".
@pytest.mark.parametrize(("band", "depth"), [("g", 24.7), ("r", 24.4), ("i", 23.8), ("z", 23.1), ("Y", 21.7)])
def test_des_depth(band, depth):
    assert SURVEYS["des"].band(band).aperture_depth(0.263, 1.95, sigma=10.0) == pytest.approx(depth, abs=0.25)


# Legacy Surveys DR9: predicted 5 sigma of a point source for two exposures at 1.5".
@pytest.mark.parametrize(("band", "depth"), [("g", 24.7), ("r", 23.9), ("z", 23.0)])
def test_legacy_depth_of_two_exposures(band, depth):
    preset = SURVEYS["legacy"].band(band)
    twice = preset.replace(n_exposures=2, psf=type(preset.psf)(1.5))
    assert twice.depth(0.262) == pytest.approx(depth, abs=0.3)


def test_cosmos_depth():
    """Koekemoer et al. (2007): a point source of 27.2 is 5 sigma in an aperture of 0.24 arcsec."""
    band = SURVEYS["hst-acs-f814w"].bands[0]
    depth = band.aperture_depth(0.05, 0.24) + 2.5 * math.log10(in_aperture(band, 0.05, 0.24))
    assert depth == pytest.approx(27.2, abs=0.3)


def test_euclid_noise_is_that_of_its_first_release():
    """The median rms of Q1 at zero point 30, as listed with the KiDS image simulations (KiDS-WL/MultiBand_ImSim)."""
    band = SURVEYS["euclid-vis"].bands[0]
    assert band.background_rms(0.1) * 10.0 ** (0.4 * (30.0 - band.zero_point)) == pytest.approx(0.592, rel=0.1)


# Roman WFI reference information: FWHM, and noise pixels of a star centred on a pixel. A perfect mirror without struts,
# in one wavelength, is sharper than the telescope.
@pytest.mark.parametrize(("band", "fwhm", "pixels"), [
    ("F106", 0.087, 4.83), ("F129", 0.106, 6.63), ("F158", 0.128, 9.65), ("F184", 0.146, 15.52)])
def test_roman_psf(band, fwhm, pixels):
    psf = SURVEYS["roman"].band(band).psf
    assert psf.width == pytest.approx(fwhm, rel=0.1)
    assert 0.5 * pixels < psf.noise_pixels(0.11) < pixels


@pytest.mark.parametrize(("name", "low", "high"), [
    ("hst-acs-f814w", 0.07, 0.1), ("hst-wfc3-f606w", 0.06, 0.08), ("hst-wfc3-f160w", 0.12, 0.15),
    ("euclid-vis", 0.12, 0.14)])
def test_widths_from_space(name, low, high):
    assert low < SURVEYS[name].bands[0].psf.width < high


def test_paper_presets_have_its_gaussians():
    for band in SURVEYS["kids-ggsl-unet"].bands:
        assert band.psf.width == pytest.approx(0.4 * 2.35482, rel=1e-5)
    assert SURVEYS["hst-ggsl-unet"].bands[0].psf.width == pytest.approx(0.1 * 2.35482, rel=1e-5)


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ValueError, match=r"no preset 'KIDS'; expected one of \['des', 'euclid-vis'"):
        survey("KIDS")


def test_the_docs_hold_the_table():
    assert table() in DOCS.read_text()
