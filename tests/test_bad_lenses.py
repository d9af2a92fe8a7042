"""Lenses that cannot be are refused where they enter: one line with the field, the value seen and what was expected.

A new kind of bad input joins with one line.
"""

import tomllib
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from giga.bayes.points import PointImages, PointTerm
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import parse_config, scene_from_config
from giga.io.errors import InputError
from giga.io.images.deflection_map import load_deflection_map
from giga.jobs.job import check_count, free_names, prepare
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.mass.deflection_map import DeflectionMap

HEAD = """
[[observation]]
image = "a.fits"
background_rms = 0.1
exposure_time = 100.0
[[lens_light]]
profile = "Sersic"
R_sersic = 1.0
n_sersic = 2.0
"""
SIS = '[[mass]]\nprofile = "SIS"\ntheta_E = 1.0\n'
POINTS = '[[points]]\nsigma = 0.1\n'
PAIR = "[[points]]\nx = [1.0, -0.9]\ny = [0.0, 0.1]\n"
FREE = '{dist = "Uniform", low = 0.5, high = 2.0}'
PLANES = "\n[planes]\nredshifts = [0.5, 1.5]\n"
SOURCE = '\n[[source_light]]\nprofile = "Sersic"\nR_sersic = 0.1\nn_sersic = 1.0\n'


@pytest.mark.parametrize(("text", "says"), [
    (SIS + "[planes]\nredshifts = [0.8, 0.5]", "planes.redshifts.1: got 0.5; expected redshifts above that of "
     "planes.redshifts.0, 0.8"),
    (SIS + '[planes]\nredshifts = [0.8, {dist = "Uniform", low = 0.5, high = 2.0}]',
     "planes.redshifts.1: got 0.5 to 2; expected redshifts above"),
    (SIS + "[planes]\nredshifts = [0.5, 1.5]\nreference = 0.3", "planes.reference: got 0.3; expected a redshift"),
    (SIS + "[lens]\nz_lens = 0.8\nz_source = 0.5", "lens.z_source: got 0.5; expected a redshift above z_lens, 0.8"),
    ('[[mass]]\nprofile = "NFW"\nRs = -1.0\nalpha_Rs = 1.0', "mass.0.Rs: got -1; expected a number above 0"),
    ('[[mass]]\nprofile = "TNFW"\nRs = 1.0\nalpha_Rs = 1.0\nr_trunc = 0.0', "mass.0.r_trunc: got 0; expected a number"),
    ('[[mass]]\nprofile = "NIE"\ntheta_E = 1.0\ns_scale = -0.1', "mass.0.s_scale: got -0.1; expected a number above 0"),
    ('[[mass]]\nprofile = "PJaffe"\nsigma0 = 1.0\nRa = -0.1\nRs = 1.0', "mass.0.Ra: got -0.1; expected a number"),
    ('[[mass]]\nprofile = "SIE"\ntheta_E = 1.0\ne1 = 1.0', "mass.0.e1: got 1; expected a number between -1 and 1"),
    ('[[mass]]\nprofile = "SIE"\ntheta_E = 1.0\ne1 = 0.8\ne2 = 0.7', "mass.0.e2: got 0.7 beside e1 = 0.8; expected"),
    ('[[mass]]\nprofile = "EPL"\ntheta_E = 1.0\ngamma = 3.0', "mass.0.gamma: got 3; expected a number between 1 and 3"),
    ('[[mass]]\nprofile = "EPL"\ntheta_E = 1.0\ngamma = {dist = "Uniform", low = 0.9, high = 2.5}',
     "mass.0.gamma: Uniform from 0.9 to 2.5; expected a prior between 1 and 3"),
    ('[[mass]]\nprofile = "EPL"\ntheta_E = 1.0\ngamma = {dist = "Normal", loc = 2.0, scale = 1.0}',
     "mass.0.gamma: Normal with 31.7% of it outside; expected a prior between 1 and 3"),
    (SIS + POINTS + "x = [1.0]\ny = [0.0]", "points.0.x: got 1 position; expected 2 or more images of a source"),
    (SIS + POINTS + "x = [1.0, nan]\ny = [0.0, 0.0]", "points.0.x.1: got nan; expected a finite number"),
    (SIS + POINTS + "x = [1.0, 1.0]\ny = [0.5, 0.5]",
     "points.0.x: got (1, 0.5) for images 0 and 1; expected a place of its own for each image"),
    (SIS + PAIR + "sigma = [0.1, 0.0]", "points.0.sigma: got 0; expected standard deviations above 0"),
    (SIS + PAIR + "sigma = [0.1, 0.1, 0.1]", "points.0.sigma: got shape (3,); expected (2,)"),
    (SIS + PAIR + "sigma = 0.1\nflux = [1.0, 2.0]\nflux_sigma = -1.0",
     "points.0.flux_sigma: got -1; expected standard deviations above 0"),
    (SIS + PAIR + "sigma = 0.1\nflux = [1.0]\nflux_sigma = 1.0", "points.0.flux: got shape (1,); expected (2,)"),
    (SIS + PAIR + "sigma = 0.1\ndelay = [1.0, 2.0]\ndelay_sigma = 1.0",
     "points.0.delay: got shape (2,); expected (1,)"),
    (SIS + PAIR + "sigma = 0.1\ndelay = [1.0]\ndelay_sigma = 0.0",
     "points.0.delay_sigma: got 0; expected standard deviations above 0"),
    (SIS + PAIR + "sigma = 0.1\ndelay = [1.0]\ndelay_sigma = 1.0",
     "points.0: planes: missing; delays need the redshifts of lens and source"),
    (SIS + PAIR + "sigma = 0.1\nplane = 1", "points.0: plane: got 1, but the scene has no planes; expected planes"),
    (SIS + PAIR + "sigma = 0.1\nplane = 2" + PLANES, "points.0: plane: got 2; expected 1 to 1, one of the 2 planes"),
    (SIS + PAIR + "sigma = 0.1\nplane = 0" + PLANES, "points.0: plane: got 0; expected 1 to 1, one of the 2 planes"),
    (SIS + PAIR + "sigma = 0.1\nsource = 0" + PLANES.replace("[0.5", "[0.5, 1.0") + SOURCE + "plane = 1",
     "points.0: plane: got 2 beside source_light.0 on plane 1; expected one plane of both"),
    (SIS + PAIR + "sigma = 0.1\nsource = 1" + SOURCE, "points.0: source: got 1; expected the number of a source_light"),
    (SIS + PAIR + "sigma = 0.1\nimages = [0, 0]", "points.0: images: got 1 lens lights; expected 2, one an image"),
    (PAIR + "sigma = 0.1", "points.0: mass: got none; expected a mass, which images are made by"),
    (SIS + POINTS + "x = [1.0, -9.0]\ny = [0.0, 0.0]\nhalf_width = 3.0",
     "points.0.x: got -9; expected places within half_width, 3"),
])
def test_a_lens_that_cannot_be_is_refused(text, says):
    with pytest.raises(InputError) as caught:
        scene_from_config(parse_config(tomllib.loads(HEAD + text), Path("lens.toml"), FitConfig))
    assert str(caught.value).startswith(f"lens.toml: {says}") and "\n" not in str(caught.value)


def test_an_image_of_a_quasar_lies_on_an_image(tmp_path):
    """Its pixels are known once the files are read."""
    fits.PrimaryHDU(np.ones((10, 12))).writeto(tmp_path / "a.fits")
    text = HEAD.replace("0.1\nexposure", "0.1\npixel_scale = 0.5\nexposure") + SIS.replace("1.0", FREE) + (
        '[[source_light]]\nprofile = "LensedPoint"\ncenter_x = 0.0\ncenter_y = 0.0\nx = [2.9, -1.0]\ny = [0.0, 2.6]\n')
    with pytest.raises(InputError) as caught:
        prepare(parse_config(tomllib.loads(text), tmp_path / "lens.toml", FitConfig))
    assert str(caught.value).endswith("lens.toml: source_light.0.x.1: got (-1, 2.6), which no image has; expected a "
                                      "place on an image, x from -3 to 3 and y from -2.5 to 2.5 arcsec")
    prepare(parse_config(tomllib.loads(text.replace("2.6", "2.4")), tmp_path / "lens.toml", FitConfig))
    measured = text.partition("[[source_light]]")[0] + POINTS + "x = [2.9, -9.0]\ny = [0.0, 0.0]\n"
    with pytest.raises(InputError, match=r"lens.toml: points.0.x.1: got \(-9, 0\), which no image has; expected a"):
        prepare(parse_config(tomllib.loads(measured), tmp_path / "lens.toml", FitConfig))


TWO = "x = [1.0, -0.9]\ny = [0.0, 0.1]\n"
PLACE = '\ncenter_x = {dist = "Normal", loc = 0.0, scale = 0.1}\n'
ALONE = {
    "pair": (SIS.replace("1.0", FREE) + PLACE + POINTS + TWO, 4, 2, 2),
    "few": (SIS.replace("1.0", FREE) + PLACE + PLACE.replace("_x", "_y") + POINTS + TWO, 4, 3, 2),
    "flux": (SIS.replace("1.0", FREE) + PLACE + POINTS + TWO + "flux = [2.0, 1.0]\nflux_sigma = 0.1\n", 6, 2, 3),
    "delay": (SIS.replace("1.0", FREE) + PLACE + POINTS + TWO + "delay = [9.0]\ndelay_sigma = 1.0\n"
              f"[planes]\nredshifts = [0.5, 1.5]\n[planes.cosmology]\nH0 = {FREE}\n", 5, 3, 2),
    "redshifts": (SIS.replace("1.0", FREE) + PLACE + POINTS + TWO
                  + f'[planes]\nredshifts = [0.5, {FREE.replace("0.5", "0.6")}]\n', 4, 3, 2),
    "source": (SIS.replace("1.0", FREE) + PLACE + POINTS + TWO + "source = 0\n" + SOURCE + PLACE
               + PLACE.replace("_x", "_y"), 4, 4, 0),
}


@pytest.mark.parametrize("name", ALONE)
def test_no_more_is_free_than_was_measured(name):
    """Without pixels: coordinates, fluxes and delays against parameters, places and fluxes of sources."""
    text, measured, sampled, solved = ALONE[name]
    config = parse_config(tomllib.loads(text), Path("lens.toml"), FitConfig)
    (term,) = config.terms
    assert (term.measured, term.solved, len(free_names(scene_from_config(config)))) == (measured, solved, sampled)
    if measured >= sampled + solved:
        assert not check_count(config, scene_from_config(config))
        return
    said = f"{measured} measurements for {sampled + solved} free parameters ({sampled} sampled, {solved} solved)"
    with pytest.raises(InputError) as caught:
        prepare(config)
    assert str(caught.value).startswith(f"lens.toml: points: {said}; expected as many")
    assert "\n" not in str(caught.value)
    meant = config.with_overrides({"run.underdetermined": True})
    assert prepare(meant).notes == [f"{said}: what the priors say of the rest stays"]


def test_delays_need_potentials():
    data = PointImages.of([1.0, -0.9], [0.0, 0.1], 0.1, delay=[1.0], delay_sigma=1.0)
    field = np.zeros((5, 5))
    scene = Scene(mass=[DeflectionMap.of(field, field, pixel_scale=0.5)], planes=Planes(redshifts=[0.5, 1.5]))
    with pytest.raises(ValueError, match="delay: given, but mass.0 is DeflectionMap, which has no potential"):
        PointTerm(data=data).check(scene)


@pytest.mark.parametrize(("shape", "wcs", "says"), [((6, 5), True, r"alpha_y: shape \(6, 5\); expected \(5, 5\)"),
                                                    ((5, 5), False, "alpha_x: no celestial WCS; expected a FITS WCS")])
def test_a_deflection_map_needs_a_place_and_one_shape(tmp_path, shape, wcs, says):
    header = fits.Header(dict(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=150.0, CRVAL2=2.0, CRPIX1=3.0, CRPIX2=3.0,
                              CDELT1=-1e-4, CDELT2=1e-4) if wcs else {})
    for name, size in (("x", (5, 5)), ("y", shape)):
        fits.PrimaryHDU(np.zeros(size), header).writeto(tmp_path / f"{name}.fits")
    with pytest.raises(InputError, match=says):
        load_deflection_map(tmp_path / "x.fits", tmp_path / "y.fits")
