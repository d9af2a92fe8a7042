"""The unit of an image changes nothing but the unit of its amplitudes, over thirty decades."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, draw, lens, log_likelihood, observe, scenes, value_and_gradient

from giga.bayes.posterior import Posterior
from giga.imaging.observation import WEIGHTLESS
from giga.inference.search.curvature import quadratic
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL
from giga.simulate.observed import draw_observed
from giga.simulate.surveys.noise import CameraNoise, CutoutNoise

SIZE = 14
CHI2 = jax.jit(Posterior.chi2)
QUADRATIC = jax.jit(quadratic)
FACTORS = (1e-30, 1e-19, 1e3)
SOLVED = {"profile": {}, "marginal": {"amplitude_sd": 30.0}, "nonnegative": {}}


def prior(amp=None) -> Scene:
    """A lens of three free shapes, whose amplitudes are solved unless one is given."""
    return Scene(mass=[EPL(theta_E=dist.LogNormal(-0.1, 0.2), e1=dist.Normal(0.0, 0.1), e2=-0.05)],
                 source_light=[Sersic(amp=amp, R_sersic=dist.LogNormal(-1.6, 0.3), n_sersic=1.2)])


def observed(factor: float, exposure: float | None = 50.0):
    """A noisy lens, its fluxes in a unit that is smaller by a factor."""
    one = observe(lens(), blank(size=SIZE, pixel_scale=0.2, exposure=exposure))
    return one.replace(image=factor * one.image, background_rms=factor * one.background_rms,
                       exposure_time=None if exposure is None else exposure / factor)


@pytest.mark.parametrize("way", SOLVED)
def test_solved_amplitudes(way, dtype):
    """Everything but the amplitudes stays; they and the norm follow the unit. Float32's rounding of data in a unit that
    is no power of two is 1e-7 of each pixel, 1e-5 of what is summed."""
    found = []
    for factor in (1.0, *FACTORS):
        settings = {name: factor * value for name, value in SOLVED[way].items()}
        posterior = Posterior.of(prior(), [observed(factor)], way, dtype=dtype, **settings)
        z = draw(posterior)
        value, gradient = value_and_gradient(posterior, z)
        amplitude = np.float64(scenes(posterior, z)[0].source_light[0].amp) / factor
        found.append([value, *gradient, CHI2(posterior, z), amplitude,
                      posterior.log_norm + SIZE**2 * np.log(factor)])
    found = np.array(found, float)
    tolerance = 3e-5 if dtype == np.float32 else 1e-9
    np.testing.assert_allclose(found[1:], np.broadcast_to(found[0], found[1:].shape), rtol=tolerance,
                               atol=tolerance * abs(found[0, 0]))


def test_sampled_amplitude_and_curvature(dtype):
    """With the amplitude's prior in the unit of the image, the same point has the same density and curvature."""
    found = []
    for factor in (1.0, *FACTORS):
        posterior = Posterior.of(prior(dist.LogNormal(2.8 + np.log(factor), 0.6)), [observed(factor)], dtype=dtype)
        z = draw(posterior)
        here = QUADRATIC(posterior, z)
        found.append(np.concatenate([[here.log_prob, here.chi2], here.gradient, np.ravel(here.precision)]))
    scale = np.abs(found[0]).max()
    # exp(log amp) loses the digits of a logarithm of 66 in float32: 1e-5 of the amplitude.
    for row in found[1:]:
        np.testing.assert_allclose(row, found[0], atol=(3e-4 if dtype == np.float32 else 1e-9) * scale)


def test_a_power_of_two_is_no_change_at_all():
    rows = []
    for factor in (1.0, 2.0**-70):
        posterior = Posterior.of(prior(), [observed(factor)])
        value, gradient = value_and_gradient(posterior, draw(posterior))
        rows.append([value, *gradient])
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize("sigma", [10.0 * WEIGHTLESS, 1e20, 1e30])
def test_a_pixel_marked_by_its_noise_is_masked(sigma):
    one = observed(1.0, None)
    noise = np.full((SIZE, SIZE), 0.02)
    noise[3:5, 4] = sigma
    marked = one.replace(noise_map=noise, background_rms=None)
    mask = np.ones((SIZE, SIZE), bool)
    mask[3:5, 4] = False
    assert (marked.mask == mask).all()
    masked = one.replace(noise_map=np.full((SIZE, SIZE), 0.02), background_rms=None, mask=mask)
    here, there = (Posterior.of(prior(), [o]) for o in (marked, masked))
    z = draw(here)
    assert float(log_likelihood(here, z)) == float(log_likelihood(there, z))
    assert here.log_norm == there.log_norm and np.isfinite(here.log_norm)


def test_noise_that_differs_is_no_mark():
    """A pixel of large noise tells little, and is kept; an image may be marked for the most part."""
    one, noise = observed(1.0, None), np.full((SIZE, SIZE), 0.02)
    noise[0, 0] = 0.5 * WEIGHTLESS * 0.02
    assert one.replace(noise_map=noise, background_rms=None).mask.all()
    noise[2:] = 1e20
    assert (one.replace(noise_map=noise, background_rms=None).mask == (noise < 1e19)).all()


def test_draws_of_the_likelihood_are_in_the_unit_of_the_image():
    images = []
    for factor in (1.0, 1e-30):
        one = observed(factor)
        posterior = Posterior.of(prior(), [one])
        data = (one.data(poisson=False, trim=False, scaled=True),)
        _, (image,) = draw_observed(jax.random.key(3), posterior.prior, data, jnp.float32(factor * 20.0))
        images.append(np.asarray(image, float) / factor)
    np.testing.assert_allclose(images[1], images[0], atol=1e-5 * np.abs(images[0]).max())


@pytest.mark.parametrize("few", [False, True])
def test_noise_of_a_survey_in_any_unit(few):
    model, found = jnp.linspace(-1.0, 40.0, 64).reshape(8, 8, 1), []
    for factor in (1.0, 1e-30):
        numbers = {name: jnp.array([factor * value], jnp.float32) for name, value in
                   (("background_rms", 2.0), ("photon", 0.2), ("sky", 10.0))}
        camera = CameraNoise(**numbers, few=few)
        cutouts = CutoutNoise.of(factor * np.ones((1, 8, 8, 1)), (8, 8), factor * np.full((1, 1), 2.0), factor * 0.2)
        for noise in (camera, cutouts):
            found.append(np.stack(noise(jax.random.key(1), jnp.float32(factor) * model)) / factor)
    for here, there in ((found[0], found[2]), (found[1], found[3])):
        np.testing.assert_allclose(there, here, atol=1e-5 * np.abs(here).max())
