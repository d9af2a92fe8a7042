"""What a separator is trained on, and its loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.models.networks.separator import GGSLConfig
from giga.models.systems.ggsl import FAINT, GGSLTask, flux_error
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems.ggsl import DENSITY, companions

SHAPE = (2, 8, 8, 3)


def example(rng) -> dict[str, jax.Array]:
    lens, source, noise = (jnp.asarray(rng.uniform(0.5, 2.0, SHAPE), jnp.float32) for _ in range(3))
    return {"image": lens + source + noise, "lens": lens, "source": source, "noise": noise,
            "sigma": jnp.ones(SHAPE), "label": jnp.ones(2, int)}


def test_the_error_of_a_flux_is_a_share_of_it(rng):
    sigma, true = jnp.full(SHAPE, 0.01), jnp.asarray(rng.uniform(1.0, 2.0, SHAPE), jnp.float32)
    np.testing.assert_allclose(flux_error(0.9 * true, true, sigma), 0.1, rtol=1e-4)
    np.testing.assert_allclose(flux_error(true, true, sigma), 0.0, atol=1e-6)


def test_a_flux_where_there_is_none_counts_in_pixels_of_noise():
    found = jnp.zeros(SHAPE).at[:, 2, 3].set(1.5)
    expected = 1.5 / (0.5 * FAINT)
    np.testing.assert_allclose(flux_error(found, jnp.zeros(SHAPE), jnp.full(SHAPE, 0.5)), expected, rtol=1e-5)


def test_light_moved_within_a_part_has_no_error_of_flux(rng):
    true = jnp.asarray(rng.uniform(1.0, 2.0, SHAPE), jnp.float32)
    np.testing.assert_allclose(flux_error(true[:, ::-1], true, jnp.ones(SHAPE)), 0.0, atol=1e-6)


@pytest.mark.parametrize("recipe", ["paper", "physical"])
def test_the_loss_is_the_sum_of_its_terms(rng, recipe):
    batch = example(rng)

    def half(image, scale):
        return {"lens": 0.5 * image, "source": 0.25 * image, "noise": 0.25 * image}

    losses = {}
    for weight in (0.0, 0.3):
        loss, terms = GGSLTask(GGSLConfig(recipe=recipe, flux=weight)).loss(half, batch, jax.random.key(0))
        parts = [terms[name] for name in ("lens", "source", "noise", "flux") if name in terms]
        assert len(parts) == (4 if weight else 3)
        np.testing.assert_allclose(loss, sum(parts), rtol=1e-6)
        losses[weight] = float(loss)
    found = half(batch["image"], 1.0)
    error = sum(jnp.mean(flux_error(found[name], batch[name], batch["sigma"])) for name in ("lens", "source"))
    np.testing.assert_allclose(losses[0.3] - losses[0.0], 0.3 * error, rtol=1e-4)


@pytest.mark.parametrize("survey", ["kids", "des", "hst-acs-f814w", "hst-wfc3-f606w", "euclid-vis"])
def test_magnitudes_are_drawn_for_the_bands_of_a_survey(survey):
    task = GGSLTask(GGSLConfig(survey=survey, companions=0))
    population = task.simulator.population
    scene, truth = population.draw(jax.random.key(0))
    bands = len(task.config.observed.bands)
    assert np.shape(scene.lens_light[0].amp) == (bands,) and np.all(np.asarray(scene.lens_light[0].amp) > 0.0)
    assert 17.0 < float(truth["lens_magnitude"]) < 20.5


@pytest.mark.parametrize("recipe", ["paper", "physical"])
def test_a_task_in_varied_seeing_shows_several_psfs(recipe):
    task = GGSLTask(GGSLConfig(recipe=recipe, survey="kids-ggsl-unet", seeing=(0.7, 1.3)))
    peaks = np.asarray(task.simulator.optics.kernels).max((-2, -1))  # of each night and band
    assert peaks.shape == (16, 4) and peaks.max() / peaks.min() > 2.0
    assert len(task.other.optics.kernels) == 1  # the shifted set keeps the one PSF that it has


@pytest.mark.parametrize(("survey", "expected"), [("kids-ggsl-unet", 1.5), ("des", 1.5), ("hst-acs-f814w", 0.2618)])
def test_companions_are_no_denser_than_on_the_sky(survey, expected):
    scenes = jax.vmap(companions(SURVEYS[survey]).sample)(jax.random.split(jax.random.key(0), 2000))
    there = np.stack([np.asarray(galaxy.amp)[:, 0] > 0.0 for galaxy in scenes.lens_light], axis=1)
    number = there.sum(1)
    np.testing.assert_allclose(number.mean(), expected, atol=4.0 * number.std() / np.sqrt(len(number)))
    outer = 0.6 * min(SURVEYS[survey].shape) * SURVEYS[survey].pixel_scale
    assert number.mean() / (np.pi * (outer**2 - 4.0)) * 3600.0 < 1.2 * DENSITY


def test_a_seeing_of_three_factors_is_refused():
    with pytest.raises(ValueError, match=r"seeing: expected two factors .*, got \[0.7, 1.0, 1.3\]"):
        GGSLConfig(seeing=(0.7, 1.0, 1.3))


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="flux: expected 0 or more, got -1"):
        GGSLConfig(flux=-1.0)


def test_slopes_without_a_seeing_are_refused():
    with pytest.raises(ValueError, match=r"beta: got \[2.5, 20.0\] without seeing; expected both"):
        GGSLConfig(beta=(2.5, 20.0))
