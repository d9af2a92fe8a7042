"""The fixed problems: their sizes, their priors, and that the truth explains the image."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import label

from giga.bayes.posterior import Posterior, variance
from giga.bayes.prior import Prior, values_of
from giga.component import is_distribution, leaves_with_names
from giga.imaging.observation import Observation
from giga.imaging.render import render_data
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config, scene_from_config
from giga.io.images.fits import load_observations
from giga.jobs import problems

FOUNDRY = Path(__file__).parents[1] / "examples" / "foundry"

render = jax.jit(lambda scene, data: render_data(scene, data))


def model_of(scene, observation: Observation) -> np.ndarray:
    return np.asarray(render(jax.tree.map(jnp.float32, scene), observation.data(trim=False)), float)


def chi2_per_pixel(scene, observation: Observation) -> float:
    data = observation.data(trim=False)
    model = model_of(scene, observation)
    terms = (observation.image - model) ** 2 / np.asarray(variance(model, data), float)
    return float(terms[observation.mask].mean())


def description(scene) -> dict:
    """Names, families and numbers of a scene's leaves."""
    return {name: (type(leaf).__name__, [float(v) for v in jax.tree.leaves(leaf)]) if is_distribution(leaf) else leaf
            for name, leaf in leaves_with_names(scene)}


@pytest.fixture(scope="module")
def config():
    return load_config(FOUNDRY / "fit.toml", fit_config_type=FitConfig)


@pytest.fixture(scope="module")
def example():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("foundry_run", FOUNDRY / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("make, size, shape", [
    (problems.demo60, 22, (60, 60)), (problems.foundry128, 41, (128, 128)),
    (lambda: problems.gigalens80(3, seed=5), 22, (80, 80))])
def test_truth_explains_the_image(make, size, shape):
    problem = make()
    assert Prior.of(problem.prior).size == size
    systems = problem.systems() if len(problem.observations) > 1 else [problem]
    assert [len(s.observations) for s in systems] == [1] * len(problem.observations)
    for system in systems:
        (observation,) = system.observations
        assert observation.image.shape == shape
        spread = np.sqrt(2.0 / observation.mask.sum())
        assert abs(chi2_per_pixel(system.truth, observation) - 1.0) < 4.0 * spread
        assert np.isfinite(list(values_of(system.prior, system.truth).values())).all()


def test_problems_are_the_same_every_time():
    problems.demo60.cache_clear()
    first = problems.demo60().observations[0].image
    problems.demo60.cache_clear()
    np.testing.assert_array_equal(first, problems.demo60().observations[0].image)


def test_systems_do_not_depend_on_their_number():
    few, many = problems.gigalens80(1, seed=5), problems.gigalens80(3, seed=5)
    np.testing.assert_allclose(few.observations[0].image, many.observations[0].image, atol=1e-4)
    assert not np.allclose(many.observations[0].image, many.observations[1].image)
    other = problems.gigalens80(1, seed=6)
    assert values_of(other.prior, other.systems()[0].truth) != values_of(few.prior, few.systems()[0].truth)


def test_the_truth_of_the_benchmark_is_inside_its_prior():
    problem = problems.demo60()
    posterior = Posterior.of(problem.prior, problem.observations)
    z = posterior.prior.vector(values_of(problem.prior, problem.truth))
    assert np.isfinite(float(jax.jit(Posterior.log_prob)(posterior, z)))


def test_foundry_has_41_parameters_and_33_amplitudes():
    prior = problems.foundry_prior()
    assert Prior.of(prior).size == 41
    assert all(profile.is_linear for profile in prior.light)
    assert sum(profile.n_amp for profile in prior.light) == 33


def test_the_configuration_has_the_prior_of_the_problem(config):
    ours, theirs = description(scene_from_config(config)), description(problems.foundry_prior())
    assert list(ours) == list(theirs)
    for name, (family, numbers) in theirs.items():
        assert ours[name] == (family, pytest.approx(numbers, rel=1e-14)), name


def test_the_files_of_the_example_are_the_problem(config, example, tmp_path):
    example.simulate(tmp_path)
    notes: list[str] = []
    settings = load_config(FOUNDRY / "fit.toml", fit_config_type=FitConfig, data_dir=tmp_path)
    (loaded,) = load_observations(settings.observation, notes)
    (made,) = problems.foundry128().observations
    assert notes == ["foundry_drz.fits: zero point 26.45, PHOTFLAM and PHOTPLAM"]
    assert loaded.zero_point == pytest.approx(problems.F140W_ZERO_POINT, abs=0.01)
    np.testing.assert_allclose(loaded.image, made.image, rtol=1e-6)
    np.testing.assert_array_equal(loaded.mask, made.mask)
    np.testing.assert_allclose(loaded.psf.kernel, made.psf.kernel, rtol=1e-6)
    assert loaded.background_rms == pytest.approx(made.background_rms, rel=1e-3)
    assert loaded.exposure_time == pytest.approx(made.exposure_time)
    assert float(loaded.grid.pixel_scale) == pytest.approx(0.065, rel=1e-6)
    assert [float(c) for c in (loaded.grid.center_x, loaded.grid.center_y)] == [0.0, 0.0]


def test_the_brightest_image_is_as_bright_as_the_paper_says():
    problem = problems.foundry128()
    arcs = model_of(problem.truth.replace(lens_light=[]), problem.observations[0])
    regions, _ = label(arcs > 0.75 * arcs.max())
    brightest = regions == regions[np.unravel_index(arcs.argmax(), arcs.shape)]
    magnitude = problems.F140W_ZERO_POINT - 2.5 * np.log10(arcs[brightest].sum())
    area = brightest.sum() * problems.FOUNDRY_PIXEL_SCALE**2
    assert magnitude == pytest.approx(23.87, abs=0.05)  # Table 1
    assert area == pytest.approx(0.1394, rel=0.1)
    assert arcs.min() > 0.0


def test_the_masks_cover_what_the_model_does_not_have():
    """Beyond the masks, what is left of the faint objects is a small part of the noise."""
    problem = problems.foundry128()
    (observation,) = problem.observations
    objects = problems.foundry_contaminants()
    light = model_of(problem.truth.replace(lens_light=objects, source_light=[]), observation)
    assert light[observation.mask].max() < 0.5 * problems.foundry_rms()
    assert all(light[~observation.mask].max() > 3.0 * problems.foundry_rms() for _ in objects)


def test_the_psf_has_the_width_of_the_instrument():
    kernel = problems.foundry_kernel()
    assert kernel.shape == (27, 27) and kernel.sum() == pytest.approx(1.0)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (13, 13)
    np.testing.assert_allclose(kernel, kernel.T, rtol=1e-9)
    profile = kernel[13, 13:] / kernel[13, 13]
    half = 2.0 * np.interp(-0.5, -profile[:4], np.arange(4)) * 0.065
    assert 0.14 < half < 0.24  # 0.141 before native and drizzled pixels (handbook, Table 7.5)
