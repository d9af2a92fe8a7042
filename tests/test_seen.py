"""What a network has seen, and how far an image is from it."""

import numpy as np
import pytest
from _factory import make_observation, make_scene

from giga.imaging.psf import PSF
from giga.jobs.cutouts import LensFinderConfig
from giga.jobs.familiar import unfamiliar
from giga.jobs.systems import seen_in
from giga.models.networks.chain import ModularConfig
from giga.models.networks.posterior import PosteriorNetConfig
from giga.models.networks.separator import GGSLConfig
from giga.models.networks.unet import UNetConfig
from giga.models.zoo import FOLDER, Seen, load
from giga.simulate.surveys.noise import CameraNoise
from giga.simulate.surveys.presets import survey as preset

SEEN = Seen(0.15, ("g", "r"), ((0.01, 0.01), (0.02, 0.04)), ((0.6, 0.9), (0.5, 0.8)))


@pytest.mark.parametrize(("image", "words"), [
    ({"rms": [0.25, 0.03]}, ["band g: noise of the sky: 0.25 counts / s, 25 times the 0.01"]),
    ({"rms": [0.019, 0.079]}, []), ({"rms": [0.0051, 0.0101]}, []),
    ({"rms": [None, 0.005]}, ["band r: noise of the sky: 0.005 counts / s, 0.25 times the 0.02", "(0.02 to 0.04)"]),
    ({"fwhm": [1.2, 0.3]}, ["band g: PSF: a width of 1.2 arcsec, 1.33 times the 0.9", "band r: PSF: a width of 0.3"]),
    ({"fwhm": [1.1, 0.45]}, []), ({"pixel_scale": 0.152}, []),
    ({"pixel_scale": 0.16}, ["pixels: a side of 0.16 arcsec, 1.07 times the 0.15"])])
def test_what_is_far_is_said_with_its_factor(image, words):
    said = SEEN.unlike(**image)
    assert bool(said) == bool(words) and all(word in " ".join(said) for word in words)


def test_configs_say_what_was_seen():
    config = GGSLConfig(seeing=(0.8, 1.5))
    seen, survey = Seen.of(config), config.observed
    assert seen.pixel_scale == survey.pixel_scale and seen.bands == tuple(band.name for band in survey.bands)
    width = survey.bands[0].psf.width
    assert seen.fwhm[0] == pytest.approx((0.8 * width, 1.5 * width))
    assert seen.rms[1] == pytest.approx((survey.background_rms[1],) * 2)
    assert Seen.of(ModularConfig()).bands == ("g", "r", "i")
    posterior = PosteriorNetConfig(parameters=("x",), shape=(8, 8), bands=("b",), rms=(0.2,), pixel_scale=0.1)
    assert Seen.of(posterior) == Seen(0.1, ("b",), ((0.2, 0.2),))
    assert Seen.of(UNetConfig.small(1)) is None


@pytest.mark.parametrize("sigma", [None, 0.3])
def test_a_finder_has_seen_the_survey_of_its_simulation(sigma):
    """Its config names none; noise of another camera is that of its card."""
    survey = preset("lsst")
    rms = np.full(len(survey.bands), sigma or 1.0)
    noise = None if sigma is None else CameraNoise(background_rms=rms, photon=0.0 * rms, sky=0.0 * rms)
    seen = seen_in(LensFinderConfig(), noise, survey)
    assert seen.bands == tuple(band.name for band in survey.bands) and seen.pixel_scale == survey.pixel_scale
    assert seen.rms[0] == pytest.approx((survey.background_rms[0] if sigma is None else sigma,) * 2)
    assert seen_in(LensFinderConfig(), noise) is None


def test_cards_of_the_zoo_tell_it():
    _, card = load("ggsl-unet-kids", folder=FOLDER)
    assert card.seen == Seen.of(GGSLConfig(**{name: tuple(value) if isinstance(value, list) else value
                                              for name, value in card.config.items()}))


def test_observations_of_a_fit_are_looked_at():
    plain = make_observation(make_scene(), 24, 0.15, seed=0)
    width = plain.psf.fwhm(0.15)
    seen = Seen(0.15, ("r",), ((0.01, 0.01),), ((width, width),))
    assert unfamiliar("net", seen, [plain]) == [] == unfamiliar("net", None, [plain])
    noisy = plain.replace(noise_map=np.full((24, 24), 0.25), psf=PSF.gaussian(0.45, 0.15, 7, 2))
    said = unfamiliar("net", seen, [noisy])
    assert len(said) == 2 and said[0].startswith("net: band r: noise of the sky: 0.25 counts / s, 25 times")


@pytest.mark.parametrize("supersampling", [1, 2, 4])
def test_the_width_of_a_kernel(supersampling):
    """Of a Gaussian that is sampled at (sub)pixel centres, to what a straight line between samples is off."""
    assert PSF.gaussian(0.5, 0.1, 15, supersampling).fwhm(0.1) == pytest.approx(0.5, rel=0.02)
