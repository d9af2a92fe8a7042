"""Masses of a configuration that are more than numbers: gridded fields from FITS, and sums of Gaussians by lists."""

import tomllib
from dataclasses import dataclass

import numpy as np
import pytest
from astropy.io import fits

from giga.bayes.prior import Prior
from giga.io.configuration.toml import dump_config, parse_config, scene_from_config
from giga.io.errors import InputError
from giga.io.images.deflection_map import frame_at
from giga.io.lenstool.catalogues import on_plane
from giga.mass import SIS
from giga.mass.deflection_map import DeflectionMap
from giga.mass.gaussian import Gaussian, MultiGaussian

SIDE, SCALE, THETA = 60, 0.1, 1.2
TURN = np.radians(30.0)  # of the fitted image against the field, counter-clockwise

POINTS = """
[[points]]
x = [1.5, -0.9]
y = [0.0, 0.1]
sigma = 0.005
"""
FIELD = """
[[mass]]
profile = "DeflectionMap"
alpha_x = "alpha_x.fits"
alpha_y = "alpha_y.fits"
scale = {dist = "Normal", loc = 1.0, scale = 0.1}
"""
GAUSSIANS = """
[[mass]]
profile = "MultiGaussian"
amp = [1.0, 2.5]
sigma = [0.3, 1]
scale_factor = {dist = "LogNormal", loc = 0.0, scale = 0.1}
center_x = 0.1
"""
IMAGE = """
[[observation]]
image = "image.fits"
background_rms = 0.1
exposure_time = 100.0
[[source_light]]
profile = "Sersic"
R_sersic = 0.1
n_sersic = 1.0
"""


@dataclass(frozen=True)
class NoSettings:
    """A section [inference] that is left out."""


def cards(size, scale, turn=0.0, shift=0.0) -> fits.Header:
    """A tangent plane about one place, `shift` pixels off the middle, turned."""
    across, up = scale / 3600.0 * np.cos(turn), scale / 3600.0 * np.sin(turn)
    return fits.Header(dict(
        CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=2.0, CRPIX1=0.5 * (size + 1) - shift,
        CRPIX2=0.5 * (size + 1), CD1_1=-across, CD1_2=up, CD2_1=up, CD2_2=across))


@pytest.fixture
def folder(tmp_path):
    """The field of an isothermal sphere, 5 pixels off the middle of the grid, and an image about the sphere."""
    axis = (np.arange(SIDE) - 0.5 * (SIDE - 1)) * SCALE
    x, y = np.meshgrid(axis + 5.0 * SCALE, axis)
    r = np.hypot(x, y)
    for name, alpha in (("alpha_x", THETA * x / r), ("alpha_y", THETA * y / r), ("psi", THETA * r)):
        fits.PrimaryHDU(alpha, cards(SIDE, SCALE, shift=5.0)).writeto(tmp_path / f"{name}.fits")
    fits.PrimaryHDU(np.zeros((40, 40)), cards(40, 0.15, TURN)).writeto(tmp_path / "image.fits")
    return tmp_path


def parsed(text, folder):
    return parse_config(tomllib.loads(text), folder / "lens.toml", NoSettings)


def test_a_field_is_read_and_written_back(folder):
    config = parsed(FIELD + 'psi = "psi.fits"' + POINTS, folder)
    again = parse_config(tomllib.loads(dump_config(config)), folder / "elsewhere" / "lens.toml", NoSettings)
    assert again == config
    scene = scene_from_config(again)
    (field,) = scene.mass
    assert isinstance(field, DeflectionMap) and Prior.of(scene).names == ("mass.0.scale",)
    field = field.replace(scale=0.5)
    # Without an image its angles run from its own middle, five pixels from the sphere.
    np.testing.assert_allclose(field.deflection(np.array([1.0]), np.array([0.0])), [[0.5 * THETA], [0.0]], atol=1e-6)
    assert float(field.potential(1.0, 0.0)) == pytest.approx(0.5 * THETA * 1.5, rel=1e-5)


def test_a_field_lies_where_the_image_has_it(folder):
    """The image is about the sphere and turned: the field is found by both WCS."""
    (field,) = scene_from_config(parsed(FIELD + IMAGE, folder)).mass
    x, y = np.array([0.7, -0.9, 0.3]), np.array([0.5, 0.2, -1.1])
    np.testing.assert_allclose(field.replace(scale=1.0).deflection(x, y), SIS(theta_E=THETA).deflection(x, y),
                               atol=2e-4)
    assert abs(float(field.rotation)) == pytest.approx(TURN, abs=1e-4)
    assert np.hypot(field.center_x, field.center_y) == pytest.approx(0.5, abs=1e-4)


def test_a_cluster_has_x_to_the_west_and_y_to_the_north():
    grid, wcs = frame_at((150.0, -40.0))
    ra, dec = np.array([150.01, 149.98]), np.array([-39.99, -40.02])
    column, row = wcs.world_to_pixel_values(ra, dec)
    np.testing.assert_allclose([column, row], on_plane(ra, dec, (150.0, -40.0)), atol=1e-6)
    assert (grid.shape, grid.pixel_scale) == ((1, 1), 1.0)  # of one arcsec, the origin its middle


def test_gaussians_are_lists(folder):
    config = parsed(GAUSSIANS + POINTS, folder)
    assert parsed(dump_config(config), folder) == config
    scene = scene_from_config(config)
    (mass,) = scene.mass
    assert isinstance(mass, MultiGaussian) and Prior.of(scene).names == ("mass.0.scale_factor",)
    x, y = np.array([0.7, -0.9]), np.array([0.5, 0.2])
    wanted = sum(np.array(Gaussian(amp=a, sigma=s, center_x=0.1).deflection(x, y)) for a, s in ((1.0, 0.3), (2.5, 1.0)))
    np.testing.assert_allclose(mass.replace(scale_factor=1.0).deflection(x, y), wanted, rtol=1e-5)


@pytest.mark.parametrize(("text", "old", "new", "says"), [
    (FIELD, 'alpha_x = "alpha_x.fits"', "", "mass.0.alpha_x: missing; expected a FITS file"),
    (FIELD, '"alpha_y.fits"', '"none.fits"', "none.fits"),
    (FIELD, '"alpha_y.fits"', '"image.fits"', "alpha_y: shape (40, 40); expected (60, 60)"),
    (FIELD, '"alpha_y.fits"', "2.0", "mass.0.alpha_y: got 2.0; expected a path"),
    (FIELD, "scale = {", "center_x = 1.0\nscale = {", "mass.0.center_x: unknown parameter"),
    (FIELD, "scale = {", 'psi = "alpha_x.fits"\nscale = {', "psi: its gradient is"),
    (GAUSSIANS, "[1.0, 2.5]", "[1.0]", "mass.0.sigma: 2 numbers beside 1 of amp"),
    (GAUSSIANS, "[1.0, 2.5]", "1.0", "mass.0.amp: got 1.0; expected a list (each a number)"),
    (GAUSSIANS, "[0.3, 1]", "[0.3, -1]", "mass.0.sigma.1: got -1; expected a number above 0"),
    (GAUSSIANS, "[0.3, 1]", "[]", "mass.0.sigma: got []; expected one number or more"),
    (GAUSSIANS, "sigma = [0.3, 1]", "", "mass.0.sigma: missing; expected a list of numbers"),
])
def test_one_line_says_what_is_wrong(folder, text, old, new, says):
    with pytest.raises(InputError) as error:
        scene_from_config(parsed(text.replace(old, new) + POINTS, folder))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_an_image_without_a_wcs_cannot_place_a_field(folder):
    fits.PrimaryHDU(np.zeros((40, 40))).writeto(folder / "image.fits", overwrite=True)
    with pytest.raises(InputError, match="observation.0.image: no celestial WCS; expected one, which a DeflectionMap"):
        scene_from_config(parsed(FIELD + IMAGE.replace("background", "pixel_scale = 0.15\nbackground"), folder))


def test_a_named_set_of_priors_leaves_a_field_as_its_files_have_it(folder):
    config = parsed('priors = "galaxy-scale"\n' + IMAGE + FIELD, folder)
    assert config.taken and not any(name.startswith("mass.") for name in config.taken)
