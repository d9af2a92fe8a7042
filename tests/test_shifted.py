"""Shifted test sets: another PSF, another noise and another kind of source, of the same images otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _networks import make
from _toy import toy_config

from giga.models.networks.chain import ModularConfig, Stage
from giga.models.systems import modular_table
from giga.models.systems.modular import ModularTask, make_simulator
from giga.models.training.config import optimiser
from giga.models.training.loop import Loop
from giga.models.training.state import start
from giga.models.training.validation import draw_sets
from giga.runtime.parallel import mesh
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys import shifted
from giga.simulate.surveys.presets import SURVEYS

TINY = ModularConfig(stage="find", pixels=24, bands=("g", "r"), width=4)
SURVEY = TINY.observed


def test_the_psf_is_wider_and_has_wings():
    survey = SURVEYS["lsst"]  # whose PSFs are Gaussian
    for ours, theirs in zip(shifted.psfs(survey, 2), survey.psfs(2), strict=True):
        wide, kernel = np.asarray(ours.kernel), np.asarray(theirs.kernel)
        assert np.sum(wide**2) < 0.75 * np.sum(kernel**2)  # 1 / 1.25^2 and less, by the wings
        assert wide.sum() == pytest.approx(1.0, abs=1e-5)


def test_a_psf_is_no_wider_than_the_image():
    small = SURVEY.replace(shape=(16, 16))
    assert all(psf.kernel.shape[0] <= 32 for psf in shifted.psfs(small, 2))


def test_noise_has_the_rms_of_the_survey_and_is_correlated():
    rms, survey = SURVEY.background_rms, SURVEY.replace(shape=(64, 64))
    draw = jax.jit(lambda key: shifted.noise(survey)(key, jnp.zeros((64, 64, 2), jnp.float32)))
    noise, sigma = jax.tree.map(np.asarray, draw(jax.random.key(0)))
    np.testing.assert_allclose(sigma, np.broadcast_to(rms, sigma.shape), rtol=1e-5)
    np.testing.assert_allclose(noise.std((0, 1)), rms, rtol=0.08)
    for k in range(2):  # the triangle with itself, [1 4 6 4 1], at a lag of one pixel
        assert np.corrcoef(noise[:, 1:, k].ravel(), noise[:, :-1, k].ravel())[0, 1] == pytest.approx(2 / 3, abs=0.06)


@pytest.fixture(scope="module")
def pair():
    made = make_simulator(TINY), make_simulator(TINY, shifted=True)
    return [jax.tree.map(np.asarray, one.simulate(jax.random.key(1), 32)) for one in made]


def test_a_shifted_image_is_of_another_psf_noise_and_source(pair):
    plain, other = pair
    assert np.sum(other.psf[0, 0] ** 2) < 0.75 * np.sum(plain.psf[0, 0] ** 2)

    def neighbours(batch):
        pixels = batch.parts["noise"] / batch.sigma
        return np.mean(pixels[:, :, 1:] * pixels[:, :, :-1])

    assert abs(neighbours(plain)) < 0.1 and neighbours(other) > 0.4  # photon noise is not correlated
    clumps = [f"source_light.{k}.R_sersic" for k in range(2, 2 + shifted.CLUMPS)]
    assert set(clumps) <= set(other.truth) and not set(clumps) & set(plain.truth)
    assert set(plain.truth) <= set(other.truth)
    near = np.hypot(*(other.truth[f"source_light.2.center_{a}"] - other.truth[f"source_light.0.center_{a}"]
                      for a in "xy"))
    assert 0.0 < near.min() and near.max() < 0.8 * np.sqrt(2.0)  # within the largest source


def test_a_catalogues_sources_have_another_profile():
    values = dict(z_lens=0.5, z_source=2.0, theta_E=1.2, sigma_v=250.0, q_lens=0.8, phi_lens=0.5, R_lens=0.8,
                  x_source=0.2, y_source=0.1, q_source=0.6, phi_source=0.3, R_source=0.2)
    values |= {f"mag_{part}_{band}": m for part, m in (("lens", 20.0), ("source", 25.0)) for band in "gr"}
    catalogue = Catalogue({name: np.full(3, value) for name, value in values.items()})
    index = [float(make_simulator(TINY, catalogue, shifted=flag).population.draw(jax.random.key(0))[1][
        "source_light.0.n_sersic"]) for flag in (False, True)]
    assert index == [1.0, 4.0]


def test_validation_and_evaluation_report_both():
    config = toy_config(validation_size=16)
    rule = optimiser(config)

    class Made(ModularTask):
        def network(self, rngs):
            return make(Stage, self.config)

    task = Made(TINY)
    network, state = start(task, config, rule)
    sets = draw_sets(Loop(task, config, network, rule, mesh(jax.devices()[:1])))
    assert [each.name for each in sets] == ["fixed", "shifted"] and sets[0].sha256 != sets[1].sha256
    assert jax.tree.map(jnp.shape, sets[0].batches) == jax.tree.map(jnp.shape, sets[1].batches)
    found = modular_table.evaluate(TINY, make(Stage, TINY), 32)
    assert set(found) == {"mock", "shifted"}
    assert set(found["mock"].numbers) == set(found["shifted"].numbers) >= {"accuracy"}
