"""The log-posterior against explicit formulas: noise, masks, bands, several observations, both precisions."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from _problems import (
    blank,
    draw,
    finite_differences,
    lens,
    lens_prior,
    log_likelihood,
    log_prob,
    models,
    observe,
    value_and_gradient,
)

from giga.bayes.posterior import Posterior
from giga.bayes.prior import values_of
from giga.imaging.observation import Observation
from giga.imaging.render import render_data
from giga.lensing.scene import Scene
from giga.light import Sersic

SIZE = 22
CHI2 = jax.jit(Posterior.chi2)
MAP = 0.02 + 0.01 * np.random.default_rng(5).uniform(size=(SIZE, SIZE))
MASK = np.random.default_rng(6).uniform(size=(SIZE, SIZE)) > 0.3
NOISE = {"background": {}, "photons": {"exposure": 300.0}, "map": {"noise_map": MAP}, "map and exposure":
         {"noise_map": MAP, "exposure": 300.0}, "masked": {"exposure": 300.0, "mask": MASK}}


def rendered(posterior, z, observation: Observation) -> np.ndarray:
    """Model of all pixels, whatever is fitted."""
    scene = jax.jit(lambda p, z: p.scene(z))(posterior.prior, z)
    return np.asarray(jax.jit(render_data)(scene, observation.data(np.float64, trim=False)))


def expected_log_likelihood(posterior, z, observation: Observation) -> float:
    """Sum of Gaussian log-densities over the fitted pixels, from the rendered image."""
    model = rendered(posterior, z, observation)
    if observation.noise_map is not None:
        sigma = np.asarray(observation.noise_map)
    else:
        photons = 0.0 if observation.exposure_time is None else np.maximum(model, 0.0) / observation.exposure_time
        sigma = np.sqrt(observation.background_rms**2 + photons)
    return float(np.sum(scipy.stats.norm(model, sigma).logpdf(observation.image)[observation.mask]))


@pytest.mark.parametrize("noise", NOISE)
def test_log_likelihood_is_the_explicit_formula(x64, noise):
    observation = observe(lens(), blank(**NOISE[noise]))
    posterior = Posterior.of(lens_prior(), [observation], dtype=np.float64)
    z = draw(posterior)
    assert float(log_likelihood(posterior, z) + posterior.log_norm) == pytest.approx(
        expected_log_likelihood(posterior, z, observation), rel=1e-10)
    whole = float(log_likelihood(posterior, z) + posterior.prior.log_prob(z))
    assert float(log_prob(posterior, z)) == pytest.approx(whole)


@pytest.mark.parametrize("noise", NOISE)
def test_chi2_is_the_explicit_formula(x64, noise):
    observation = observe(lens(), blank(**NOISE[noise]))
    posterior = Posterior.of(lens_prior(), [observation], dtype=np.float64)
    z = draw(posterior)
    model = rendered(posterior, z, observation)
    photons = np.maximum(model, 0.0) / 300.0 if "exposure" in NOISE[noise] else 0.0
    var = MAP**2 if "map" in noise else 0.02**2 + photons
    expected = np.sum(((observation.image - model) ** 2 / var)[observation.mask])
    assert float(CHI2(posterior, z)) == pytest.approx(expected)


def test_solved_amplitudes_take_photon_noise_from_the_data(x64):
    observation = observe(lens(), blank(exposure=300.0))
    posterior = Posterior.of(lens_prior(None), [observation], dtype=np.float64)
    z = draw(posterior)
    model = np.asarray(models(posterior, z)[0])
    sigma = np.sqrt(0.02**2 + np.maximum(observation.image, 0.0) / 300.0)
    expected = np.sum(scipy.stats.norm(model, sigma).logpdf(observation.image))
    assert float(log_likelihood(posterior, z) + posterior.log_norm) == pytest.approx(expected, rel=1e-10)


def test_a_negative_model_has_the_noise_of_the_background(x64):
    scene = Scene(lens_light=[Sersic(amp=dist.Normal(-3.0, 0.1), R_sersic=0.5, n_sersic=1.0)])
    observation = observe(lens(), blank(exposure=100.0))
    posterior = Posterior.of(scene, [observation], dtype=np.float64)
    z = jnp.array([0.2])
    model = np.asarray(models(posterior, z)[0])
    assert model.max() < 0.0
    expected = np.sum(scipy.stats.norm(model, 0.02).logpdf(observation.image))
    assert float(log_likelihood(posterior, z) + posterior.log_norm) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("amp", [(), None])
@pytest.mark.parametrize("fill", [np.nan, np.inf, 1e30])
def test_masked_pixels_do_not_matter(amp, fill):
    """Whatever lies under the mask, value and gradient are the same, and finite."""
    observation = observe(lens(), blank(mask=MASK, exposure=300.0))
    spoilt = observation.replace(image=np.where(MASK, observation.image, fill))
    results = []
    for data in (observation, spoilt):
        posterior = Posterior.of(lens_prior(amp), [data])  # in float32, where squares of 1e30 are infinite
        results.append(value_and_gradient(posterior, jnp.full(posterior.prior.size, 0.1)))
    (value, gradient), (value_spoilt, gradient_spoilt) = results
    assert np.isfinite(float(value)) and np.isfinite(np.asarray(gradient)).all()
    assert float(value) == float(value_spoilt)
    np.testing.assert_array_equal(gradient, gradient_spoilt)


def test_masked_noise_does_not_matter(x64):
    spoilt = np.where(MASK, MAP, np.nan)
    observation = observe(lens(), blank(mask=MASK, noise_map=MAP))
    posteriors = [Posterior.of(lens_prior(), [observation.replace(noise_map=m)], dtype=np.float64)
                  for m in (MAP, spoilt)]
    values = [float(log_prob(posterior, jnp.zeros(14))) for posterior in posteriors]
    assert values[0] == values[1]


def test_trimming_to_the_fitted_area_changes_nothing(x64):
    """A small fitted area is cut out with a margin for the PSF; its likelihood is that of the whole image."""
    mask = np.zeros((SIZE, SIZE), bool)
    mask[5:13, 4:15] = True
    observation = observe(lens(), blank(mask=mask, exposure=300.0))
    posterior = Posterior.of(lens_prior(), [observation], dtype=np.float64)
    assert posterior.data[0].image.shape < (SIZE, SIZE)
    z = draw(posterior)
    assert float(log_likelihood(posterior, z) + posterior.log_norm) == pytest.approx(
        expected_log_likelihood(posterior, z, observation), rel=1e-10)


def test_observations_add(x64):
    observations = [observe(lens(), blank(exposure=300.0)), observe(lens(), blank(size=18, pixel_scale=0.17), seed=2)]
    both = Posterior.of(lens_prior(), observations, dtype=np.float64)
    z = draw(both)
    alone = [Posterior.of(lens_prior(), [o], dtype=np.float64) for o in observations]
    assert float(log_likelihood(both, z)) == pytest.approx(sum(float(log_likelihood(p, z)) for p in alone), rel=1e-12)
    assert float(both.log_norm) == pytest.approx(sum(float(p.log_norm) for p in alone), rel=1e-12)
    assert float(CHI2(both, z)) == pytest.approx(sum(float(CHI2(p, z)) for p in alone), rel=1e-12)


def test_bands_see_their_own_light(x64):
    """A light tied to one band is left out of the other's model; mass is common."""
    def scene(red, blue):
        return Scene(mass=lens().mass,
                     lens_light=[Sersic(amp=red, R_sersic=0.5, n_sersic=2.0, bands=("red",)),
                                 Sersic(amp=blue, R_sersic=0.3, n_sersic=1.0, bands=("blue",))],
                     source_light=lens().source_light)

    observations = [observe(scene(3.0, 5.0), blank(band=band), seed=None) for band in ("red", "blue")]
    posterior = Posterior.of(scene(dist.Normal(0.0, 10.0), dist.Normal(0.0, 10.0)), observations, dtype=np.float64)
    right = posterior.prior.vector({"lens_light.0.amp": 3.0, "lens_light.1.amp": 5.0})
    assert float(CHI2(posterior, right)) == pytest.approx(0.0, abs=1e-20)
    wrong_blue = posterior.prior.vector({"lens_light.0.amp": 3.0, "lens_light.1.amp": 6.0})
    red, blue = (o.image for o in observations)
    found = models(posterior, wrong_blue)
    np.testing.assert_allclose(found[0], red, atol=1e-12)
    assert np.abs(found[1] - blue).max() > 1e-3


@pytest.mark.parametrize("noise", NOISE)
def test_gradient_equals_finite_differences(x64, noise):
    posterior = Posterior.of(lens_prior(), [observe(lens(), blank(**NOISE[noise]))], dtype=np.float64)
    z = draw(posterior)
    _, gradient = value_and_gradient(posterior, z)
    np.testing.assert_allclose(gradient, finite_differences(posterior, z), rtol=2e-6, atol=1e-4)


@pytest.mark.parametrize("amp", [(), None])
def test_float32_equals_float64(x64, amp):
    """A log-posterior of a few thousand is good to 0.01 in float32, its gradient to a part in a thousand."""
    observation = observe(lens(), blank(exposure=300.0))
    z = 0.2 * np.random.default_rng(8).normal(size=14 if amp == () else 12)
    results = []
    for dtype in (np.float32, np.float64):
        posterior = Posterior.of(lens_prior(amp), [observation], dtype=dtype)
        value, gradient = value_and_gradient(posterior, jnp.asarray(z, dtype))
        assert value.dtype == gradient.dtype == dtype
        results.append((float(value), np.asarray(gradient, float)))
    (value32, gradient32), (value64, gradient64) = results
    assert value32 == pytest.approx(value64, rel=3e-6, abs=0.01)
    np.testing.assert_allclose(gradient32, gradient64, rtol=1e-3, atol=1e-3 * np.abs(gradient64).max())


def test_one_compilation_serves_every_lens_of_a_size():
    """New pixels, noise levels, PSFs, pixel scales and prior numbers do not compile again."""
    traces = []

    @jax.jit
    def density(posterior, z):
        traces.append(1)
        return posterior.log_prob(z)

    def scene(center):
        return Scene(mass=lens().mass, source_light=[Sersic(amp=dist.LogNormal(center, 0.5), R_sersic=0.2, n_sersic=1.0,
                                                            center_x=dist.Normal(center, 0.1))])

    values = []
    for seed, scale, exposure in ((1, 0.13, 300.0), (2, 0.11, 700.0)):
        observation = observe(lens(), blank(pixel_scale=scale, exposure=exposure), seed)
        posterior = Posterior.of(scene(0.1 * seed), [observation])
        values.append(float(density(posterior, jnp.zeros(2))))
    assert len(traces) == 1
    assert values[0] != values[1]


@pytest.mark.parametrize("amp", [(), None], ids=["sampled", "solved"])
def test_the_coarse_posterior_is_near_the_fine_one(x64, amp):
    """Equal where it is made; about there it changes as the fine one does, but for a small share of the change."""
    prior, truth = lens_prior(amp), lens((4.0, 20.0) if amp is not None else None)
    posterior = Posterior.of(prior, [observe(lens(), blank(size=44, pixel_scale=0.065, rms=0.3))], dtype=np.float64)
    once = Posterior.of(prior.replace(source_light=[p.replace(supersampling=1) for p in prior.source_light]), [blank()])
    assert posterior.is_fine and not once.is_fine
    z = posterior.prior.vector(values_of(prior, truth))
    coarse = jax.jit(lambda p, z: p.coarse(p.coarse_images(z)))(posterior, z)
    assert coarse.sampled_once
    # Amplitudes that are solved are best for other images, and the fit a little better.
    assert float(log_likelihood(coarse, z)) == pytest.approx(float(log_likelihood(posterior, z)), abs=0.01)
    steps = 0.03 * np.random.default_rng(2).normal(size=(6, len(z)))
    fine = np.array([float(log_prob(posterior, z + s) - log_prob(posterior, z)) for s in steps])
    near = np.array([float(log_prob(coarse, z + s) - log_prob(coarse, z)) for s in steps])
    assert np.ptp(fine) > 1.0
    assert np.abs(near - fine).max() < 0.1 * np.ptp(fine)
