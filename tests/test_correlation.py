"""Correlated noise: its filter against dense matrices, every way the likelihood is used, and noise scales."""

import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _factory import make_result
from _problems import blank, draw, finite_differences, log_likelihood, models, observe, value_and_gradient
from astropy.io import fits

from giga.bayes.posterior import Posterior, log_density, variance
from giga.bayes.prior import Prior
from giga.imaging.background import FEWEST, LAGS, measure
from giga.imaging.correlation import SIDE, Whitening, covariance, drizzled, spectrum
from giga.imaging.linear import solve
from giga.imaging.render import basis_images, render_data
from giga.inference.checks.comparison import DISCREPANCIES, pointwise, predictive
from giga.inference.pictures import pictures
from giga.inference.search.curvature import photon_weight, quadratic
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import dump_config, load_config, parse_config
from giga.io.errors import InputError
from giga.io.results.model import read_model, write_model
from giga.jobs.job import prepare
from giga.lensing.labels import labels
from giga.lensing.scene import Scene
from giga.light import Sersic, UniformSky
from giga.mass import SIS

SIZE = 20
RNG = np.random.default_rng(4)
MASK = RNG.uniform(size=(SIZE, SIZE)) > 0.1
MASK[5:9, 12:15] = False
MAP = 0.02 * (1.0 + RNG.uniform(size=(SIZE, SIZE)))


RHO = drizzled(0.8, 0.6)
NOISE = {"photons": {"exposure": 300.0}, "masked map": {"noise_map": MAP, "mask": MASK}}
QUADRATIC = jax.jit(quadratic)


def lens(amp: tuple | None = (4.0, 20.0)) -> Scene:
    """A lens that compiles fast; amp None leaves both amplitudes to be solved."""
    a, b = (None, None) if amp is None else amp
    return Scene(mass=[SIS(theta_E=0.7)], lens_light=[Sersic(amp=a, R_sersic=0.4, n_sersic=1.5)],
                 source_light=[Sersic(amp=b, R_sersic=0.2, n_sersic=1.0, center_x=0.05, center_y=-0.04)])


def lens_prior(amp: tuple | None = ()) -> Scene:
    """A prior around it, of three or five parameters."""
    a, b = (None, None) if amp is None else (dist.LogNormal(1.4, 0.3), dist.LogNormal(2.8, 0.3))
    true = lens()
    return Scene(mass=[SIS(theta_E=dist.LogNormal(-0.35, 0.1))],
                 lens_light=[true.lens_light[0].replace(amp=a, R_sersic=dist.LogNormal(-0.9, 0.2))],
                 source_light=[true.source_light[0].replace(amp=b, center_x=dist.Normal(0.0, 0.1))])


def dense(correlation: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Correlation matrix of the fitted pixels."""
    places = np.argwhere(mask)
    lags = (places[:, None] - places[None]) % SIDE
    return covariance(correlation)[lags[..., 0], lags[..., 1]]


def matrix(whitening: Whitening, mask: np.ndarray) -> np.ndarray:
    """A filter as a matrix of the fitted pixels."""
    unit = np.zeros((mask.sum(), *mask.shape))
    unit[:, mask] = np.eye(int(mask.sum()))
    return whitening(unit, np)[:, mask].T


def normal_logpdf(residual: np.ndarray, matrix: np.ndarray) -> float:
    sign, log_det = np.linalg.slogdet(matrix)
    assert sign > 0.0
    return float(-0.5 * (residual @ np.linalg.solve(matrix, residual) + log_det + len(residual) * np.log(2.0 * np.pi)))


def seen_through(observation):
    """An observation with correlated noise, simulated."""
    return observe(lens(), observation.replace(correlation=RHO))


def test_all_pixels_before_it_make_the_filter_exact():
    mask = MASK[:8, 6:15]
    white = matrix(Whitening.of(RHO, mask, reach=8), mask)
    np.testing.assert_allclose(white @ dense(RHO, mask) @ white.T, np.eye(mask.sum()), atol=1e-10)
    np.testing.assert_allclose(white, np.linalg.inv(np.linalg.cholesky(dense(RHO, mask))), atol=1e-10)


@pytest.mark.parametrize(("correlation", "within"), [(RHO, 0.5), (drizzled(1.0, 0.7), 1.0)])
def test_the_log_likelihood_converges_to_that_of_the_dense_matrix(correlation, within):
    """Of 4, 12, 24 and 40 pixels before it, by the mean over noise of the difference: Kullback and Leibler's."""
    exact = dense(correlation, MASK)
    log_det = np.linalg.slogdet(exact)[1]
    noise = np.linalg.cholesky(exact) @ np.random.default_rng(0).normal(size=MASK.sum())
    gaps, differences = [], []
    for reach in (1, 2, 3, 4):
        white = matrix(Whitening.of(correlation, MASK, reach), MASK)
        own_det = 2.0 * np.sum(np.log(np.diag(white)))
        gaps.append(0.5 * (np.trace(white @ exact @ white.T) - len(exact) - own_det - log_det))
        value = -0.5 * (np.sum((white @ noise) ** 2) - own_det + len(noise) * np.log(2.0 * np.pi))
        differences.append(abs(value - normal_logpdf(noise, exact)))
    assert gaps == sorted(gaps, reverse=True) and gaps[3] > 0.0
    assert gaps[2] < within < gaps[0] and gaps[3] < 0.4 * gaps[2]
    assert differences[3] < differences[0] and differences[3] < 1.0


@pytest.mark.parametrize("noise", NOISE)
def test_log_likelihood_is_that_of_a_multivariate_normal(x64, noise):
    observation = seen_through(blank(size=SIZE, ss=1, **NOISE[noise]))
    posterior = Posterior.of(lens_prior(), [observation], dtype=np.float64)
    z = draw(posterior)
    data = observation.data(np.float64, trim=False)
    model = np.asarray(jax.jit(render_data)(jax.jit(lambda p, z: p.prior.scene(z))(posterior, z), data))
    sigma = np.sqrt(np.asarray(variance(model, data)))[observation.mask]
    residual = (observation.image - model)[observation.mask]
    white = matrix(observation.whitening, observation.mask)
    found = float(log_likelihood(posterior, z) + posterior.log_norm)
    own = np.linalg.inv(white.T @ white) * np.outer(sigma, sigma)
    assert found == pytest.approx(normal_logpdf(residual, own), rel=1e-9)
    # Residuals of a wrong model, some 40 sigma: the square of the filter is that of the dense matrix to 3%.
    exact = normal_logpdf(residual, dense(RHO, observation.mask) * np.outer(sigma, sigma))
    assert found == pytest.approx(exact, rel=0.03, abs=1.0)


@pytest.mark.parametrize(("noise", "ways"), [
    ("photons", {}), ("masked map", {"amplitudes": "profile"}),
    ("masked map", {"amplitudes": "marginal", "amplitude_sd": 10.0})])
def test_gradient_equals_finite_differences(x64, noise, ways):
    prior = lens_prior(None if ways else ())
    posterior = Posterior.of(prior, [seen_through(blank(size=SIZE, ss=1, **NOISE[noise]))], dtype=np.float64, **ways)
    z = draw(posterior)
    _, gradient = value_and_gradient(posterior, z)
    np.testing.assert_allclose(gradient, finite_differences(posterior, z), rtol=5e-6, atol=2e-4)
    expansion = QUADRATIC(posterior, z)
    np.testing.assert_allclose(expansion.gradient, gradient, rtol=1e-7, atol=1e-7)
    assert float(expansion.log_prob) == pytest.approx(float(posterior.log_prob(z)), rel=1e-9)


@pytest.mark.parametrize("noise", ["photons", "masked map"])
def test_the_curvature_is_the_fisher_information(x64, noise):
    """Of the means exactly; that of variances which follow the model is between the one taken and half of it."""
    posterior = Posterior.of(lens_prior(), [seen_through(blank(size=SIZE, ss=1, **NOISE[noise]))], dtype=np.float64)
    (data,), z = posterior.data, draw(posterior)
    model, jacobian = jax.jit(lambda z: (posterior.scaled_models(z)[0], jax.jacfwd(posterior.scaled_models)(z)[0]))(z)
    mask = np.asarray(data.mask) > 0.0
    white = matrix(data.whitening, mask)
    root = white @ (np.asarray(jacobian) / np.sqrt(np.asarray(variance(model, data)))[..., None])[mask]
    expected = root.T @ root
    if data.poisson:
        own = np.asarray(jacobian * jnp.sqrt(photon_weight(model, data))[..., None])[mask]
        expected = expected + own.T @ own
        slope = np.sqrt(np.asarray(photon_weight(model, data))[mask] / 2.0)
        inverse = white.T @ white
        true = np.outer(slope, slope) * (np.eye(mask.sum()) + np.linalg.inv(inverse) * inverse)
        assert np.linalg.eigvalsh(true - 2.0 * np.diag(slope**2)).min() > -1e-12
    found = QUADRATIC(posterior, z).precision - np.diag(np.maximum(posterior.prior.curvature(z), 1e-3))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


def test_solved_amplitudes_are_those_of_generalised_least_squares(x64):
    observation = seen_through(blank(size=SIZE, ss=1, noise_map=MAP, mask=MASK))
    data, scene = observation.data(np.float64, trim=False), lens(None)
    white = matrix(observation.whitening, MASK)
    basis = np.asarray(jax.jit(basis_images)(scene, data.grid, data.convolution))[:, MASK].T / MAP[MASK][:, None]
    design, target = white @ basis, white @ (observation.image / MAP)[MASK]
    found = jax.jit(lambda s, d: solve(s, d).values)(scene, data)
    expected = np.linalg.lstsq(design, target)[0]
    np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-8)
    draws = jax.jit(jax.vmap(lambda key: jnp.stack(solve(scene, data, key=key).values)))(
        jax.random.split(jax.random.key(0), 2000))
    # The error of a variance of 2000 draws is 3.2%.
    np.testing.assert_allclose(np.cov(np.asarray(draws).T), np.linalg.inv(design.T @ design), rtol=0.12)


def test_marginal_amplitudes_are_part_of_the_covariance(x64):
    observation, sd = seen_through(blank(size=SIZE, ss=1, noise_map=MAP, mask=MASK)), 3.0
    posterior = Posterior.of(lens_prior(None), [observation], "marginal", sd, dtype=np.float64)
    z, data = draw(posterior), observation.data(np.float64, trim=False)
    scene = jax.jit(lambda p, z: p.prior.scene(z))(posterior, z)
    basis = np.asarray(jax.jit(basis_images)(scene, data.grid, data.convolution))[:, MASK]
    white = matrix(observation.whitening, MASK)
    noise = np.linalg.inv(white.T @ white) * np.outer(MAP[MASK], MAP[MASK])
    expected = normal_logpdf(observation.image[MASK], noise + sd**2 * basis.T @ basis)
    assert float(log_likelihood(posterior, z) + posterior.log_norm) == pytest.approx(expected, abs=1e-5)


def test_independent_pixels_have_the_likelihood_and_the_program_of_before(x64):
    plain = observe(lens(), blank(size=SIZE, ss=1, exposure=None, mask=MASK))
    none, delta = (Posterior.of(lens_prior(), [one], dtype=np.float64)
                   for one in (plain, plain.replace(correlation=np.ones((1, 1)))))
    z = draw(none)
    for one, other in zip(value_and_gradient(none, z), value_and_gradient(delta, z), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert none.log_norm == pytest.approx(delta.log_norm, rel=1e-14)
    data = none.data[0]

    def by_hand(model, data):
        return -0.5 * jnp.sum(data.mask * ((data.image - model) ** 2 / data.variance))

    programs = [[e.primitive.name for e in jax.make_jaxpr(f)(data.image, data).eqns] for f in (log_density, by_hand)]
    assert programs[0] == programs[1]
    assert len(jax.make_jaxpr(log_density)(data.image, delta.data[0]).eqns) > 24
    assert len(jax.tree.leaves(none)) == len(jax.tree.leaves(delta)) - 2


def test_trimming_changes_nothing(x64):
    mask = np.zeros((SIZE, SIZE), bool)
    mask[5:13, 4:15] = MASK[5:13, 4:15]
    observation = seen_through(blank(size=SIZE, ss=1, mask=mask))
    data, whole = observation.data(np.float64), observation.data(np.float64, trim=False)
    assert data.image.shape != whole.image.shape
    np.testing.assert_array_equal(np.asarray(data.whitening.weights)[:, np.asarray(data.mask) > 0.0],
                                  np.asarray(whole.whitening.weights)[:, mask])


def test_float32_equals_float64(x64):
    observation = seen_through(blank(size=SIZE, ss=1, mask=MASK, exposure=300.0))
    values = [value_and_gradient(Posterior.of(lens_prior(), [observation], dtype=dtype), np.zeros(5, dtype))
              for dtype in (np.float32, np.float64)]
    # Independent residuals are sums of correlated ones over the root of what is left of them, and so is their rounding.
    assert float(values[0][0]) == pytest.approx(float(values[1][0]), rel=1e-5)
    np.testing.assert_allclose(values[0][1], values[1][1], rtol=2e-3, atol=2e-3 * np.abs(values[1][1]).max())


def test_noise_is_drawn_with_its_correlation(x64):
    data = blank(size=SIZE, ss=1, mask=MASK, correlation=RHO).data(np.float64, trim=False)
    keys = jax.random.split(jax.random.key(2), 3000)
    noise = np.asarray(jax.jit(jax.vmap(lambda key: data.unit_noise(
        lambda shape: jax.random.normal(key, shape, float))))(keys))
    table = covariance(RHO)
    for y, x in ((0, 0), (0, 1), (1, 0), (2, -1), (1, 1), (0, 3), (SIZE - 1, 0)):
        pairs = noise[:, :SIZE - y, max(-x, 0):SIZE - max(x, 0)] * noise[:, y:, max(x, 0):SIZE + min(x, 0)]
        # Of 3000 images of some hundred independent pairs each.
        assert pairs.mean() == pytest.approx(table[y, x], abs=0.02 if y == SIZE - 1 else 0.01)
    white = np.asarray(data.independent(jnp.asarray(noise), jnp.ones(())))[:, MASK]
    assert (white**2).mean() == pytest.approx(1.0, abs=0.01)
    assert np.abs(np.cov(white[:, :60].T) - np.eye(60)).max() < 0.1


def test_intervals_hold_what_they_claim(x64):
    """A closed form: the amplitude of a profile and a sky, by generalised least squares and by plain ones."""
    scene = Scene(lens_light=[Sersic(amp=None, R_sersic=0.25, n_sersic=1.0), UniformSky(amp=None)])
    correlated = blank(size=SIZE, ss=1, mask=MASK, noise_map=MAP, correlation=RHO)
    key, shares = jax.random.split(jax.random.key(5), 1200), []
    data = correlated.data(np.float64, trim=False)
    for own in (data, data.replace(whitening=None)):
        basis = basis_images(scene, own.grid, own.convolution)
        design = np.asarray(own.independent(basis, own.variance)).reshape(2, -1)
        sd = np.sqrt(np.diag(np.linalg.inv(design @ design.T)))

        def found(key, own=own):
            noise = data.unit_noise(lambda shape: jax.random.normal(key, shape, float))
            return jnp.stack(solve(scene, own.replace(image=own.mask * jnp.sqrt(data.variance) * noise)).values)

        shares.append((np.abs(np.asarray(jax.jit(jax.vmap(found))(key))) < sd).mean(0))
    assert np.abs(shares[0] - 0.683).max() < 0.03  # the error is 0.013
    assert shares[1].max() < 0.50


def test_checks_of_a_fit_know_of_the_correlation(x64):
    """Pixels' log-likelihoods add up; replicas are as correlated as the data."""
    observation = seen_through(blank(size=SIZE, ss=1, mask=MASK, exposure=300.0))
    posterior = Posterior.of(lens_prior(), [observation], dtype=np.float64)
    truth = {name: 0.0 for name in posterior.prior.names}
    z = np.zeros((1, 3, len(truth)))
    _, (values,) = pointwise(posterior, z, 3)
    total = float(log_likelihood(posterior, jnp.zeros(len(truth))) + posterior.log_norm)
    np.testing.assert_allclose(values.sum(-1), total, rtol=1e-9)
    exact = Scene(lens_light=[Sersic(amp=dist.LogNormal(np.log(4.0), 1e-3), R_sersic=0.5, n_sersic=2.5)])
    light = Scene(lens_light=[Sersic(amp=4.0, R_sersic=0.5, n_sersic=2.5)])
    rows = []
    for fitted in (observe(light, blank(size=SIZE, ss=1, correlation=RHO)),
                   observe(light, blank(size=SIZE, ss=1, correlation=RHO)).replace(correlation=None)):
        one = Posterior.of(exact, [fitted], dtype=np.float64)
        predicted = predictive(jax.random.key(0), one, np.zeros((200, 1)), 200)
        rows.append([predicted[name]["p_value"] for name in DISCREPANCIES])
        residual = fitted.independent(np.asarray(models(one, jnp.zeros(1))[0]), np.full((SIZE, SIZE), 0.02))
        assert (residual**2).sum() == pytest.approx(float(jax.jit(Posterior.chi2)(one, jnp.zeros(1))), rel=1e-9)
    assert all(0.005 < p < 0.995 for p in rows[0]) and rows[1][1] == 0.0


@pytest.mark.parametrize(("noise", "correlation"), [("photons", None), ("masked map", RHO)])
def test_a_noise_scale_is_a_parameter(x64, noise, correlation):
    """Its likelihood is that of noise multiplied by it, its best value the root of the mean square residual."""
    observation = observe(lens(), blank(size=SIZE, ss=1, **NOISE[noise], correlation=correlation))
    prior = lens_prior().replace(noise_scale=[dist.LogNormal(0.0, 0.3)])
    posterior = Posterior.of(prior, [observation], dtype=np.float64)
    assert posterior.prior.names[-1] == "noise_scale.0"
    z = draw(posterior)
    scale = float(posterior.prior.constrain(z)[-1])
    louder = observation.replace(noise_map=scale * MAP) if observation.noise_map is not None else observation.replace(
        background_rms=scale * 0.02, exposure_time=300.0 / scale**2)
    plain = Posterior.of(lens_prior(), [louder], dtype=np.float64)
    assert float(log_likelihood(posterior, z) + posterior.log_norm) == pytest.approx(
        float(log_likelihood(plain, z[:-1]) + plain.log_norm), rel=1e-10)
    value, gradient = value_and_gradient(posterior, z)
    np.testing.assert_allclose(gradient, finite_differences(posterior, z), rtol=5e-6, atol=2e-4)
    expansion = QUADRATIC(posterior, z)
    np.testing.assert_allclose(expansion.gradient, gradient, rtol=1e-7, atol=1e-7)
    pixels = observation.mask.sum()
    # d ln s / dz = 0.3; the prior's own curvature is one.
    assert float(expansion.precision[-1, -1]) == pytest.approx(2.0 * pixels * 0.3**2 + 1.0, rel=1e-6)
    best = scale * np.sqrt(float(expansion.chi2) / pixels)
    there = jax.jit(jax.grad(Posterior.log_likelihood, argnums=1))(posterior, z.at[-1].set(np.log(best) / 0.3))
    assert abs(float(there[-1])) < 1e-6 * pixels


@pytest.mark.parametrize(("scales", "message"), [
    ([1.0, 1.0], "expected one entry for each of 1 observations, got 2"), ([0.0], "noise_scale.0: expected a number"),
    ([dist.Normal(1.0, 0.1)], "noise_scale.0: expected a number above zero or a distribution of such")])
def test_noise_scales_that_are_none(scales, message):
    with pytest.raises(ValueError, match=message):
        Posterior.of(lens_prior().replace(noise_scale=scales), [blank(size=SIZE, ss=1)])


@pytest.mark.parametrize(("correlation", "message"), [
    (np.ones((2, 3)), r"two odd sides of at most 33 pixels.*\(2, 3\)"), ([[1.0], [1.0, 1.0]], "rows of one length"),
    ([[np.nan, 1.0, 0.0]], "1 values are NaN"), ([[0.2, 0.9, 0.2]], "expected 1 at lag zero, in the middle, got 0.9"),
    ([[0.2, 1.0, 0.1]], "differ by up to 0.1"), ([[1.5, 1.0, 1.5]], "expected values from -1 to 1, got 1.5")])
def test_correlations_that_are_none(correlation, message):
    with pytest.raises(ValueError, match=f"correlation: .*{message}"):
        blank(size=SIZE, ss=1, correlation=correlation)


def test_any_correlation_is_made_positive_definite():
    """One that no noise has, [-0.9, 1, -0.9], keeps its variance and has no frequency below a share of the mean."""
    power = spectrum(np.array([[-0.9, 1.0, -0.9]]))
    assert power.mean() == pytest.approx(1.0) and 0.005 < power.min() < 0.01
    assert np.linalg.eigvalsh(dense(np.array([[-0.9, 1.0, -0.9]]), MASK)).min() > 0.004
    np.testing.assert_allclose(covariance(RHO)[:3, :3], RHO[4:7, 4:7], atol=1e-12)  # which is one already


def sky(rng, correlation: np.ndarray, shape=(150, 140)) -> tuple[np.ndarray, np.ndarray]:
    """An image of noise, a sky that is not flat and some sources, and the noise map, which is 1.4 times too loud."""
    y, x = np.mgrid[:shape[0], :shape[1]]
    noise = 0.02 * (1.0 + 0.5 * (x > 70))
    power = spectrum(correlation, shape)
    image = noise * np.fft.ifft2(np.fft.fft2(rng.normal(size=shape)) * np.sqrt(power)).real + 0.3 + 1e-4 * x
    for _ in range(15):
        row, column = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
        image += rng.uniform(0.05, 3.0) * np.exp(-0.5 * ((y - row) ** 2 + (x - column) ** 2) / 2.0**2)
    return image + 20.0 / (1.0 + ((y - 75) ** 2 + (x - 60) ** 2) / 3.0**2) ** 1.5, 1.4 * noise


@pytest.mark.parametrize("correlation", [np.ones((1, 1)), RHO, drizzled(1.0, 0.6)])
def test_the_correlation_is_measured_beside_sources(rng, correlation):
    image, noise = sky(rng, correlation)
    good = np.ones(image.shape, bool)
    good[20:30, 30:44] = False
    image[20:30, 30:44] = np.nan
    found = measure(image, noise, good)
    expected = covariance(correlation)[np.ix_(np.arange(-LAGS, LAGS + 1), np.arange(-LAGS, LAGS + 1))]
    assert FEWEST < found.pixels < 0.9 * image.size
    # Of 10,000 pixels and more; neighbouring lags of correlated noise share their errors.
    np.testing.assert_allclose(found.correlation, expected, atol=0.045)
    assert found.scatter == pytest.approx(1.0 / 1.4, rel=0.03)
    assert found.growth == pytest.approx(np.sqrt(expected.sum()), rel=0.15)
    assert f"{found.correlation[LAGS, LAGS + 1]:.2f} along rows" in str(found)


def test_too_little_sky_is_said(rng):
    image, noise = sky(rng, RHO)
    with pytest.raises(ValueError, match=r"^\d+ pixels of blank sky, of 900 that are not masked; expected at least"):
        measure(image[:30, :30], noise[:30, :30], np.ones((30, 30), bool))


TEXT = """[[observation]]
image = "image.fits"
noise_map = "noise.fits"
pixel_scale = 0.1
mask_keep = [{radius = 2.0}]
cutout = {size = 60}

[[source_light]]
profile = "Sersic"
amp = 1.0
R_sersic = 0.5
n_sersic = 1.0
center_x = {dist = "Normal", loc = 0.0, scale = 0.1}
"""


@pytest.fixture
def read(tmp_path, rng):
    """Reads a configuration with some lines more in its observation; gives the job."""
    image, noise = sky(rng, RHO)
    for name, values in (("image", image), ("noise", noise), ("rho", RHO), ("wide", np.ones((2, 2)))):
        fits.writeto(tmp_path / f"{name}.fits", values)

    def job(lines: str):
        (tmp_path / "fit.toml").write_text(TEXT.replace("cutout", f"{lines}\ncutout"))
        config = load_config(tmp_path / "fit.toml", fit_config_type=FitConfig)
        assert parse_config(tomllib.loads(dump_config(config)), tmp_path / "fit.toml", FitConfig) == config
        return prepare(config)

    return job


def test_a_configuration_says_how_noise_is_correlated(read):
    measured = read('correlation = "measure"\nnoise_scale = "measure"\nnoise_scale_sd = 0.1')
    (observation,) = measured.observations
    assert observation.correlation.shape == (2 * LAGS + 1,) * 2
    np.testing.assert_allclose(observation.correlation[LAGS, LAGS + 1], RHO[4, 5], atol=0.05)
    plain = read("").observations[0]
    ratio = (observation.noise_map / plain.noise_map)[plain.mask]
    np.testing.assert_allclose(ratio, 1.0 / 1.4, rtol=0.03)
    (note,) = [text for text in measured.notes if "correlated by" in text]
    assert note.startswith("image.fits: noise of neighbouring pixels is correlated by 0.")
    assert Prior.of(measured.prior).names == ("source_light.0.center_x", "noise_scale.0")
    assert labels(["noise_scale.0"]) == {"noise_scale.0": r"$s_{\rm noise}$"}
    assert plain.correlation is None and Prior.of(read("").prior).names == ("source_light.0.center_x",)
    given = read('correlation = "rho.fits"')
    np.testing.assert_array_equal(given.observations[0].correlation, RHO)
    assert any(name.endswith("rho.fits") for name in given.dates)
    listed = read("correlation = [[0.0, 0.2, 0.0], [0.3, 1, 0.3], [0.0, 0.2, 0.0]]\nnoise_scale = 0.7")
    assert listed.observations[0].correlation[1, 2] == 0.3
    np.testing.assert_allclose((listed.observations[0].noise_map / plain.noise_map)[plain.mask], 0.7)
    doubted = read("model_error = 0.05")
    assert (doubted.observations[0].noise_map >= plain.noise_map)[plain.mask].all()
    assert any("0.05 of the brightness is added to the noise" in text for text in doubted.notes)
    assert len({job.identity for job in (measured, given, listed, doubted)}) == 4


@pytest.mark.parametrize(("lines", "message"), [
    ('correlation = "rhos.fits"', r"rhos\.fits: observation\.0\.correlation: no such file"),
    ('correlation = "wide.fits"', r"wide\.fits: observation\.0\.correlation: .*\(2, 2\)"),
    ("correlation = [[0.5, 0.9, 0.5]]", r"fit\.toml: observation\.0\.correlation: expected 1 at lag zero"),
    ("correlation = 0.3", r"fit\.toml: observation\.0\.correlation: got 0\.3; expected one of 'none', 'measure' or a"),
    ("model_error = 1.0", r"fit\.toml: observation\.0\.model_error: got 1; expected a share of the brightness"),
    ("noise_scale = 0.0", r"fit\.toml: observation\.0\.noise_scale: got 0\.0; expected a number above 0"),
    ('correlation = "measure"\nmask_exclude = [{radius = 20.0, inner = 2.0}]', None),
    ('correlation = "measure"\nmask = "wide.fits"\nmask_is = "good"', "mask")])
def test_what_a_configuration_may_not_say(read, lines, message):
    if message is None:  # what is not in the cutout is not masked by angles, and tells enough
        assert read(lines).observations[0].correlation is not None
        return
    with pytest.raises(InputError, match=message):
        read(lines)


def test_the_files_of_a_fit_keep_the_correlation(tmp_path):
    result = make_result(truth=False)
    (observation, *others) = result.observations
    result = result.replace(observations=[observation.replace(correlation=RHO), *others])
    drawn = pictures(result)
    write_model(tmp_path / "model.fits", drawn, {})
    for old, new in zip(drawn, read_model(tmp_path / "model.fits"), strict=True):
        assert new.chi2 == pytest.approx(old.chi2, rel=1e-4)  # images are kept in float32
    assert drawn[0].chi2 != pytest.approx(float(np.nansum(drawn[0].residual**2)), rel=1e-2)
