"""Solved amplitudes against NumPy and SciPy, their units, their evidence, and derivatives through them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats
from _problems import (
    blank,
    draw,
    finite_differences,
    lens,
    lens_prior,
    log_likelihood,
    observe,
    scenes,
    value_and_gradient,
)

from giga.bayes.posterior import Posterior
from giga.imaging.linear import solve
from giga.imaging.render import basis_images, render_data
from giga.inference.amplitudes import Solved, linear_profiles, notes
from giga.lensing.scene import Scene
from giga.light import MultiGaussian, Sersic, Shapelets, UniformSky

SOLVE = jax.jit(solve)
NONNEGATIVE = jax.jit(lambda scene, data: solve(scene, data, nonnegative=True))
BASIS = jax.jit(lambda scene, data: basis_images(scene, data.grid, data.convolution))


def scene_of(n_max: int = 3) -> Scene:
    """Two linear Sersics, a fixed one, and linear shapelets behind a lens."""
    fixed = lens((1.5, None))
    return fixed.replace(
        lens_light=[*fixed.lens_light,
                    Sersic(R_sersic=0.3, n_sersic=1.0, center_x=0.2), Sersic(R_sersic=0.8, n_sersic=4.0)],
        source_light=[Shapelets(beta=0.12, n_max=n_max, center_x=0.05)])


@pytest.fixture
def problem(x64):
    """A scene, its data with noise, and the weighted design matrix and target of the least squares."""
    scene = scene_of()
    rng = np.random.default_rng(3)
    truth = scene.with_amplitudes([3.0, 1.0, np.array([8.0, *rng.normal(size=9)])])
    mask = rng.uniform(size=(22, 22)) > 0.2
    data = observe(truth, blank(mask=mask)).data(np.float64, poisson=False)
    keep = np.asarray(data.mask, bool)
    sigma = np.sqrt(np.asarray(data.variance))[keep]
    basis = np.asarray(BASIS(scene, data))[:, keep]
    fixed = np.asarray(jax.jit(render_data)(scene.with_amplitudes([0.0, 0.0, np.zeros(10)]), data))[keep]
    return scene, data, (basis / sigma).T, (np.asarray(data.image)[keep] - fixed) / sigma


def flat(amplitudes) -> np.ndarray:
    return np.concatenate([np.atleast_1d(a) for a in amplitudes.values])


def test_amplitudes_are_those_of_least_squares(problem):
    scene, data, design, target = problem
    solved = SOLVE(scene, data)
    np.testing.assert_allclose(flat(solved), np.linalg.lstsq(design, target, rcond=None)[0], rtol=1e-7)
    assert [np.shape(v) for v in solved.values] == [(), (), (10,)]
    assert float(solved.penalty) == 0.0
    assert float(solved.log_det) == pytest.approx(np.linalg.slogdet(design.T @ design)[1], abs=1e-6)


def test_a_gaussian_prior_is_ridge_regression(problem):
    scene, data, design, target = problem
    solved = solve(scene, data, amplitude_sd=0.7)
    n = design.shape[1]
    padded = np.concatenate([design, np.eye(n) / 0.7]), np.concatenate([target, np.zeros(n)])
    expected = np.linalg.lstsq(*padded, rcond=None)[0]
    np.testing.assert_allclose(flat(solved), expected, rtol=1e-8, atol=1e-8)
    assert float(solved.penalty) == pytest.approx(np.sum(expected**2) / 0.49, rel=1e-8)


def test_float32_solves_to_its_precision(problem):
    """The amplitudes of float32 lose no more than 1e-3 in chi2, which is what the fit sees."""
    scene, data, design, target = problem
    single = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (scene, data))
    amplitudes = flat(SOLVE(*single))
    assert amplitudes.dtype == np.float32
    best = np.linalg.lstsq(design, target, rcond=None)[0]
    excess = np.sum((target - design @ amplitudes) ** 2) - np.sum((target - design @ best) ** 2)
    assert 0.0 <= excess < 1e-3


@pytest.mark.parametrize("pixel_scale", [0.13, 0.065])
def test_a_solved_amplitude_means_what_a_given_one_means(x64, pixel_scale):
    """Surface brightness per arcsec^2, whatever the pixel."""
    amplitudes = [4.0, 20.0]
    data = observe(lens(tuple(amplitudes)), blank(pixel_scale=pixel_scale), seed=None).data(np.float64, poisson=False)
    np.testing.assert_allclose(flat(SOLVE(lens(None), data)), amplitudes, rtol=1e-9)


def test_shapelets_are_recovered(x64):
    values = np.linspace(-1.0, 1.0, 10)
    scene = Scene(source_light=[Shapelets(beta=0.3, n_max=3)])
    data = observe(scene.with_amplitudes([values]), blank(), seed=None).data(np.float64, poisson=False)
    np.testing.assert_allclose(flat(SOLVE(scene, data)), values, atol=1e-9)


def test_each_observation_has_amplitudes_of_its_own(x64):
    observations = [observe(lens(a), blank(), seed=None) for a in ((4.0, 20.0), (1.0, 50.0))]
    posterior = Posterior.of(lens_prior(None), observations, dtype=np.float64)
    truth = {"mass.0.theta_E": 0.9, "mass.0.gamma": 2.05, "mass.0.e1": 0.08, "mass.0.e2": -0.05, "mass.0.center_x": 0.0,
             "mass.1.gamma1": 0.02, "mass.1.gamma2": -0.03, "lens_light.0.R_sersic": 0.5,
             "source_light.0.R_sersic": 0.2,
             "source_light.0.n_sersic": 1.2, "source_light.0.center_x": 0.05, "source_light.0.center_y": -0.04}
    seen = scenes(posterior, posterior.prior.vector(truth))
    found = [[float(p.amp) for p in scene.light] for scene in seen]
    np.testing.assert_allclose(found, [[4.0, 20.0], [1.0, 50.0]], rtol=1e-8)


# ---------------------------------------------------------------- not negative

def test_nonnegative_amplitudes_that_are_positive_anyway(problem):
    scene, data, _, _ = problem
    free = solve(scene, data)
    assert float(free.values[0]) > 0.0 and float(free.values[1]) > 0.0
    np.testing.assert_allclose(flat(NONNEGATIVE(scene, data)), flat(free), rtol=1e-10)


@pytest.mark.parametrize("radius", [0.8, 0.31])
@pytest.mark.parametrize("amplitudes", [(3.0, 1.0), (3.0, -0.5), (-1.0, 2.0), (-1.0, -1.0)])
def test_nonnegative_amplitudes_are_those_of_nnls(x64, radius, amplitudes):
    """With the constraint active or not, and with two profiles that are nearly the same (radius 0.31)."""
    scene = Scene(lens_light=[Sersic(R_sersic=0.3, n_sersic=1.0), Sersic(R_sersic=radius, n_sersic=1.1)],
                  source_light=[Sersic(R_sersic=0.1, n_sersic=1.0, center_x=0.4)])
    data = observe(scene.with_amplitudes([*amplitudes, 1.0]), blank()).data(np.float64, poisson=False)
    sigma = np.sqrt(np.asarray(data.variance)).ravel()
    design = (np.asarray(BASIS(scene, data)).reshape(3, -1) / sigma).T
    expected = scipy.optimize.nnls(design, np.asarray(data.image).ravel() / sigma)[0]
    np.testing.assert_allclose(flat(NONNEGATIVE(scene, data)), expected, rtol=1e-6, atol=1e-9)


def test_shapelets_may_be_negative_where_others_may_not(problem):
    scene, data, design, target = problem
    data = data.replace(image=data.image - 0.5 * BASIS(scene, data)[0] * 10.0)
    target = target - 5.0 * design[:, 0]
    found = flat(NONNEGATIVE(scene, data))
    bounds = (np.r_[np.zeros(2), np.full(10, -np.inf)], np.full(12, np.inf))
    expected = scipy.optimize.lsq_linear(design, target, bounds, method="bvls").x
    assert found[0] == 0.0 and found[2:].min() < 0.0
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


# ---------------------------------------------------------------- columns that are nearly alike

@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("apart", [1e-2, 1e-4, 0.0])
def test_profiles_that_are_nearly_alike(x64, apart, nonnegative):
    """In float32 chi2 is that of the best amplitudes, which neither explode nor fail.

    Where the ridge holds the difference of the two, chi2 lacks the one degree of freedom of noise that it would fit.
    """
    shape = {"R_sersic": 0.4, "n_sersic": 2.0, "e1": 0.1}
    scene = Scene(lens_light=[Sersic(**shape), Sersic(**{**shape, "R_sersic": 0.4 * (1.0 + apart)})])
    observation = observe(scene.with_amplitudes([50.0, 20.0]), blank())
    data = observation.data(np.float64, poisson=False)
    design = (np.asarray(BASIS(scene, data)) / np.sqrt(data.variance)).reshape(2, -1).T
    target = np.asarray(data.image / np.sqrt(data.variance)).ravel()
    best = scipy.optimize.nnls(design, target)[0] if nonnegative else np.linalg.lstsq(design, target)[0]
    single = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (scene, data))
    found = flat((NONNEGATIVE if nonnegative else SOLVE)(*single)).astype(float)
    excess = np.sum((target - design @ found) ** 2) - np.sum((target - design @ best) ** 2)
    assert -1e-6 < excess < (0.1 if apart == 1e-2 else 4.0)
    assert np.abs(found).max() < 500.0 and found.sum() == pytest.approx(70.0, rel=0.05)


def test_a_multi_gaussian_expansion_is_solved_in_float32(x64):
    """Thirty columns that span the light of two Sersics many times over."""
    truth = Scene(lens_light=[Sersic(amp=20.0, R_sersic=0.5, n_sersic=3.0, e1=0.1),
                              Sersic(amp=5.0, R_sersic=0.9, n_sersic=1.0, e1=0.1)])
    scene = Scene(lens_light=[MultiGaussian(sigma_min=0.01, sigma_max=3.0, n_gaussians=30, e1=0.1)])
    data = observe(truth, blank()).data(np.float64, poisson=False)
    design = (np.asarray(BASIS(scene, data)) / np.sqrt(data.variance)).reshape(30, -1).T
    target = np.asarray(data.image / np.sqrt(data.variance)).ravel()
    best = scipy.optimize.nnls(design, target)[1] ** 2
    single = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), (scene, data))
    found = flat(NONNEGATIVE(*single)).astype(float)
    assert found.min() == 0.0
    assert np.sum((target - design @ found) ** 2) == pytest.approx(best, abs=2.0)  # of a chi2 of some hundreds


def test_a_sky_may_be_negative_and_is_not_convolved(x64):
    scene = Scene(lens_light=[Sersic(R_sersic=0.3, n_sersic=1.0), UniformSky()])
    data = observe(scene.with_amplitudes([3.0, -0.2]), blank(), seed=None).data(np.float64, poisson=False)
    np.testing.assert_allclose(flat(NONNEGATIVE(scene, data)), [3.0, -0.2], rtol=1e-8)
    alone = Scene(lens_light=[UniformSky(amp=2.0)])
    np.testing.assert_allclose(render_data(alone, data), 2.0 * float(data.grid.pixel_area), rtol=1e-12)


def test_draws_of_amplitudes_have_the_covariance_of_least_squares(problem):
    scene, data, design, target = problem
    draws = jax.jit(jax.vmap(lambda key: solve(scene, data, key=key).values))(jax.random.split(jax.random.key(1), 4000))
    draws = np.concatenate([np.asarray(v).reshape(4000, -1) for v in draws], 1)
    covariance = np.linalg.inv(design.T @ design)
    whitened = (draws - np.linalg.lstsq(design, target)[0]) @ np.linalg.cholesky(np.linalg.inv(covariance))
    np.testing.assert_allclose(whitened.mean(0), 0.0, atol=0.08)  # five standard errors of 4000 draws
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(design.shape[1]), atol=0.12)


# ---------------------------------------------------------------- in the posterior

SOLVED = {"profile": {"amplitudes": "profile"}, "ridge": {"amplitudes": "profile", "amplitude_sd": 5.0},
          "marginal": {"amplitudes": "marginal", "amplitude_sd": 5.0}, "nonnegative": {"amplitudes": "nonnegative"}}


def two_lights() -> Scene:
    """Two linear lights, the second of which is not there."""
    return Scene(lens_light=[Sersic(R_sersic=dist.LogNormal(-0.7, 0.3), n_sersic=dist.Uniform(0.8, 4.0),
                                    e1=0.1, e2=0.03),
                             Sersic(R_sersic=dist.LogNormal(-1.6, 0.3), n_sersic=1.0, center_x=dist.Normal(0.5, 0.1))])


@pytest.mark.parametrize("mode", SOLVED)
def test_gradient_equals_finite_differences(x64, mode):
    """The envelope theorem, and the determinant's own derivative."""
    truth = Scene(lens_light=[Sersic(amp=4.0, R_sersic=0.5, n_sersic=2.0, e1=0.1, e2=0.03),
                              Sersic(amp=-0.3, R_sersic=0.2, n_sersic=1.0, center_x=0.5)])
    posterior = Posterior.of(two_lights(), [observe(truth, blank())], dtype=np.float64, **SOLVED[mode])
    z = jnp.array([0.2, -0.3, 0.4, -0.2])
    if mode == "nonnegative":
        assert [float(p.amp) == 0.0 for p in scenes(posterior, z)[0].light] == [False, True]
    _, gradient = value_and_gradient(posterior, z)
    np.testing.assert_allclose(gradient, finite_differences(posterior, z), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("sd", [0.5, 20.0])
def test_marginal_likelihood_is_the_evidence_of_a_linear_gaussian_model(x64, sd):
    """The density of the data under N(fixed, noise + basis prior basis^T), dense."""
    observation = observe(lens(), blank(size=14, pixel_scale=0.2))
    posterior = Posterior.of(lens_prior(None), [observation], "marginal", sd, np.float64)
    z = draw(posterior)
    data, scene = observation.data(np.float64, poisson=False), posterior.prior.scene(z)
    basis = np.asarray(BASIS(scene, data)).reshape(2, -1)
    covariance = np.diag(np.asarray(data.variance).ravel()) + sd**2 * basis.T @ basis
    dense = scipy.stats.multivariate_normal(np.zeros(len(covariance)), covariance)
    expected = dense.logpdf(np.asarray(data.image).ravel())
    assert float(log_likelihood(posterior, z) + posterior.log_norm) == pytest.approx(expected, abs=1e-5)


def test_marginal_likelihood_needs_an_amplitude_prior():
    """A flat prior has no evidence: a light could gain by leaving the image."""
    with pytest.raises(ValueError, match="amplitude_sd: missing; amplitudes = 'marginal' needs"):
        Posterior.of(two_lights(), [blank()], "marginal")


@pytest.mark.parametrize("mode", SOLVED)
def test_a_light_outside_the_fitted_area(dtype, mode):
    """A basis image that is zero leaves value and gradient finite."""
    observation = observe(Scene(lens_light=[Sersic(amp=4.0, R_sersic=0.5, n_sersic=2.0)]), blank())
    scene = Scene(lens_light=[Sersic(R_sersic=dist.LogNormal(-0.7, 0.3), n_sersic=2.0),
                              Sersic(R_sersic=0.01, n_sersic=0.5, center_x=dist.Normal(30.0, 0.1))])
    posterior = Posterior.of(scene, [observation], dtype=dtype, **SOLVED[mode])
    value, gradient = value_and_gradient(posterior, jnp.zeros(2, dtype))
    assert np.isfinite(float(value))
    assert np.isfinite(np.asarray(gradient)).all()


def test_what_is_to_be_known_of_solved_amplitudes():
    """Two lights that cancel, and one that is not there, are named; a negative sky and shapelets are not."""
    prior = Scene(lens_light=[Sersic(R_sersic=0.4, n_sersic=2.0), UniformSky()],
                  source_light=[Shapelets(beta=0.2, n_max=1), Sersic(R_sersic=0.2, n_sersic=1.0)])
    observation = blank()
    names = [name for name, *_ in linear_profiles(prior, 0, [observation])]
    assert names == ["lens_light.0.amp", "lens_light.1.amp", "source_light.0.amp", "source_light.1.amp"]
    assert [name for name, *_ in linear_profiles(prior, 1, [observation] * 2)] == [f"{name}.1" for name in names]
    best = [np.array(-218.0), np.array(-1.0), np.array([1.0, -2.0, 0.5]), np.array(0.0)]
    draws = {name: b + np.random.default_rng(1).normal(size=(2, 50, *b.shape))
             for name, b in zip(names, best, strict=True)}
    solved = Solved(draws, dict(zip(names, best, strict=True)), dict.fromkeys(names, "ct / s"), np.arange(50))
    told = notes(solved, prior, [observation])
    assert len(told) == 2 and told[0].startswith("lens_light.0.amp: the best fit has a negative Sersic, -218.00 +- 0.")
    assert told[1] == "source_light.1.amp: the best fit has no Sersic: its amplitude is held at zero"
    searched = notes(Solved(best=solved.best, units=solved.units), prior, [observation])  # before there are draws
    assert searched[0].startswith("lens_light.0.amp: the best fit has a negative Sersic, -218 ct / s;")
    assert searched[1:] == told[1:]
