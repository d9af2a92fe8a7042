"""A pixelated source: its prior, its evidence against dense Gaussians in NumPy, and how a Sersic fit leads to it."""

import json
import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, draw, finite_differences, lens, log_likelihood, observe, value_and_gradient
from astropy.io import fits
from scipy.stats import multivariate_normal

from giga.bayes.posterior import Posterior
from giga.component import is_distribution, names
from giga.imaging.linear import Gaussians, solve
from giga.imaging.render import basis_images, render_data
from giga.inference.pictures import pictures
from giga.inference.result import Found
from giga.inference.search.curvature import quadratic
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import parse_config, scene_from_config
from giga.io.errors import InputError
from giga.io.images.fits import load_observations
from giga.io.results.folder import read_found, write_last, write_numbers
from giga.jobs.earlier import gone_on, start_of
from giga.jobs.run import run_search
from giga.lensing.scene import Scene
from giga.light import MultiGaussian, PixelSource, Sersic
from giga.mass import EPL

HALF = 0.6  # of the frame [arcsec]
SMALL = blank(size=16, pixel_scale=0.18, ss=1)
BASIS = jax.jit(lambda scene, data: basis_images(scene, data.grid, data.convolution))


def pixels(**changes) -> PixelSource:
    return PixelSource(**{**dict(half_size=HALF, center_x=0.05, center_y=-0.04, sd=12.0, length=0.2, n_pixels=5),
                          **changes})


def prior_scene(**changes) -> Scene:
    """Two masses' parameters and the regularisation are free; the lens light's amplitude is solved."""
    source = pixels(sd=dist.LogNormal(2.5, 0.7), length=dist.LogNormal(-1.6, 0.4), nu=dist.Uniform(0.5, 3.0), **changes)
    return Scene(mass=[EPL(theta_E=dist.LogNormal(-0.1, 0.1), gamma=2.05, e1=dist.Normal(0.0, 0.1), e2=-0.05)],
                 lens_light=[Sersic(R_sersic=0.5, n_sersic=2.5, e1=0.1, e2=0.03)], source_light=[source])


def posterior(dtype=np.float64, amplitudes="nonnegative", sd=None, **changes) -> Posterior:
    return Posterior.of(prior_scene(**changes), [observe(lens(), SMALL)], amplitudes, sd, dtype=dtype)


def dense(posterior: Posterior, z, flat: float | None = None):
    """Pixels, their covariance once the source is integrated out, and the columns of the other light."""
    scene, data = posterior.prior.scene(z), posterior.data[0]
    seen = data.seen(scene)
    basis = np.asarray(BASIS(seen, data)).reshape(26, -1)
    covariance = np.diag(np.asarray(data.variance).ravel())
    covariance = covariance + basis[1:].T @ np.diag(np.asarray(seen.source_light[0].prior_sd()) ** 2) @ basis[1:]
    if flat is not None:
        covariance = covariance + (flat / float(data.unit)) ** 2 * np.outer(basis[0], basis[0])
    return np.asarray(data.image).ravel(), covariance, basis[0], seen


# ---------------------------------------------------------------- the prior

@pytest.mark.parametrize(("nu", "kernel"), [
    (0.5, lambda r: np.exp(-r)), (1.5, lambda r: (1.0 + np.sqrt(3.0) * r) * np.exp(-np.sqrt(3.0) * r))])
def test_the_prior_is_a_matern_process(x64, nu, kernel):
    """Far from the edge, but for the power beyond the resolution of the pixels, which is that of rough processes."""
    source = PixelSource(half_size=1.0, sd=3.0, length=0.12, nu=nu, n_pixels=40)
    x = np.linspace(0.0, 0.3, 7)
    waves = np.asarray(source.basis(x, np.zeros(7)))
    covariance = np.einsum("kx,k,k->x", waves, source.prior_sd() ** 2, waves[:, 0])
    np.testing.assert_allclose(covariance, 9.0 * kernel(x / 0.12), atol=9.0 * (0.12 if nu == 0.5 else 0.01))


def test_amplitudes_are_those_of_the_sine_transform_of_pixels(x64, rng):
    """So that the brightness passes through any n x n values, and the square holds all of the flux."""
    n, values = 5, rng.normal(size=(5, 5))  # at x, y
    k = np.arange(1, n + 1)
    sine = np.sin(np.pi * np.outer(k, k) / (n + 1))
    source = pixels(amp=(2.0 / (n + 1)) ** 2 * (sine @ values @ sine).ravel())
    x, y = np.meshgrid(0.05 - HALF + 2.0 * HALF * k / (n + 1), -0.04 - HALF + 2.0 * HALF * k / (n + 1), indexing="ij")
    np.testing.assert_allclose(source.brightness(x, y), values, atol=1e-12)
    fine = HALF * (np.arange(400) + 0.5) / 200.0 - HALF
    light = np.asarray(source.brightness(*np.meshgrid(0.05 + fine, -0.04 + fine)))
    assert float(source.flux()) == pytest.approx(light.sum() * (HALF / 200.0) ** 2, rel=1e-3)
    assert float(source.brightness(jnp.asarray(0.05 + 1.01 * HALF), jnp.asarray(0.0))) == 0.0


# ---------------------------------------------------------------- the evidence

def test_the_evidence_is_that_of_a_dense_gaussian(dtype):
    """The lens light takes its best amplitude, given which the source is integrated out."""
    with jax.enable_x64(True):
        exact = posterior()
        z = draw(exact)
        image, covariance, column, _ = dense(exact, z)
        weights = np.linalg.solve(covariance, column)
        best = weights @ image / (weights @ column)
        unit = float(exact.data[0].unit)
        expected = multivariate_normal(best * column, covariance).logpdf(image) - image.size * np.log(unit)
    found = float(log_likelihood(posterior(dtype), jnp.asarray(z, dtype))) + exact.log_norm
    # float32: of a chi2 of hundreds in a sum of squares of thousands
    assert found == pytest.approx(expected, abs=1e-7 if dtype == np.float64 else 0.05)


@pytest.mark.parametrize("amplitudes", ["marginal", "profile"])
def test_other_amplitudes_keep_their_way(x64, amplitudes):
    """With a Gaussian prior of their own they are integrated out, too, or at their best."""
    exact = posterior(amplitudes=amplitudes, sd=3.0)
    z = draw(exact)
    image, covariance, column, seen = dense(exact, z, 3.0 if amplitudes == "marginal" else None)
    unit = float(exact.data[0].unit)
    model, more = np.zeros_like(image), 0.0
    if amplitudes == "profile":
        weights = np.linalg.solve(covariance, column)
        best = weights @ image / (weights @ column + (unit / 3.0) ** 2)
        model, more = best * column, -0.5 * (best * unit / 3.0) ** 2
    expected = multivariate_normal(model, covariance).logpdf(image) - image.size * np.log(unit) + more
    assert float(log_likelihood(exact, z)) + exact.log_norm == pytest.approx(expected, abs=1e-7)


def test_a_bright_source_in_float32(x64):
    """Of a source a thousand times above the noise, whose normal matrix spans more than float32 has digits."""
    observation = observe(lens(), SMALL.replace(background_rms=1e-3))
    scene = Scene(mass=lens().mass, source_light=[pixels(sd=30.0, length=0.3, n_pixels=10)])
    data = observation.data(np.float64, poisson=False, scaled=True)
    scene = data.seen(scene)
    both = [jax.jit(solve)(*tree) for tree in
            ((scene, data), jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (scene, data)))]
    assert float(both[0].log_det) > 500.0
    assert float(both[1].log_det) == pytest.approx(float(both[0].log_det), abs=0.1)


def test_gradients(x64):
    exact = posterior()
    z = draw(exact)
    expected = finite_differences(exact, z)
    _, gradient = value_and_gradient(exact, z)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    single = posterior(np.float32)
    _, rounded = value_and_gradient(single, jnp.asarray(z, jnp.float32))
    np.testing.assert_allclose(rounded, gradient, atol=2e-4 * np.abs(expected).max())


def test_the_curvature_knows_the_regularisation(x64):
    """Fisher information of a Gaussian about its covariance, tr(K^-1 dK K^-1 dK) / 2."""
    exact = posterior()
    z = draw(exact)
    found = jax.jit(quadratic)(exact, z)
    _, covariance, _, seen = dense(exact, z)
    basis = np.asarray(BASIS(seen, exact.data[0])).reshape(26, -1)[1:]
    rates = jax.jacfwd(lambda z: 2.0 * jnp.log(exact.data[0].seen(exact.prior.scene(z)).source_light[0].prior_sd()))(z)
    changes = [np.linalg.solve(covariance, basis.T @ np.diag(np.asarray(seen.source_light[0].prior_sd()) ** 2 * rate)
                               @ basis) for rate in np.asarray(rates).T]
    expected = np.array([[0.5 * np.sum(a * b.T) for a in changes] for b in changes])[2:, 2:]
    own = np.diag(np.maximum(np.asarray(jax.jit(type(exact.prior).curvature)(exact.prior, z)), 1e-3))[2:, 2:]
    np.testing.assert_allclose(np.asarray(found.precision)[2:, 2:], expected + own, rtol=1e-6, atol=1e-6)
    assert float(found.log_prob) == pytest.approx(float(value_and_gradient(exact, z)[0]), abs=1e-9)


def test_draws_scatter_as_the_root_says(x64):
    scene = Scene(mass=lens().mass, source_light=[pixels(n_pixels=3)])
    data = observe(lens(), SMALL).data(np.float64, poisson=False)
    keys = jax.random.split(jax.random.key(1), 4000)
    draws = jax.jit(jax.vmap(lambda key: solve(scene, data, key=key).values[0]))(keys)
    solved = jax.jit(solve)(scene, data)
    covariance = np.asarray(scene.source_light[0].prior_sd()[:, None] * solved.root)
    covariance = covariance @ covariance.T
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(draws.mean(0), solved.values[0], atol=0.08 * scale.max())
    np.testing.assert_allclose(np.cov(draws.T) / np.outer(scale, scale), covariance / np.outer(scale, scale), atol=0.08)


def test_the_evidence_prefers_the_regularisation_that_is_right(x64, rng):
    """Over many sources drawn from the prior, the mean evidence is highest at the length they were drawn with."""
    scene = Scene(mass=lens().mass, source_light=[pixels(n_pixels=8, length=0.15)])
    data = SMALL.data(np.float64, poisson=False, trim=False)
    basis = np.asarray(BASIS(scene, data)).reshape(64, -1)
    drawn = rng.normal(size=(30, 64)) * np.asarray(scene.source_light[0].prior_sd()) @ basis
    images = (drawn + 0.02 * rng.normal(size=drawn.shape)).reshape(30, *data.grid.shape)

    def evidence(length, image):
        seen = data.replace(image=image)
        source = scene.source_light[0].replace(length=length)
        solved = solve(scene.replace(source_light=[source]), seen)
        model = render_data(scene.replace(source_light=[source.replace(amp=solved.values[0])]), seen)
        return -0.5 * (jnp.sum((image - model) ** 2 / seen.variance) + solved.penalty + solved.log_det_own)

    each = jax.jit(lambda length: jax.lax.map(lambda image: evidence(length, image), images))
    values = [float(each(length).mean()) for length in (0.05, 0.1, 0.15, 0.22, 0.4)]
    assert np.argmax(values) == 2
    assert min(values[2] - values[0], values[2] - values[4]) > 5.0


# ---------------------------------------------------------------- configurations

CONFIG = {"observation": [{"image": "image.fits", "background_rms": 0.02, "pixel_scale": 0.13}],
          "mass": [{"profile": "SIE", "theta_E": {"dist": "Normal", "loc": 1.0, "scale": 0.1}}],
          "source_light": [{"profile": "PixelSource", "half_size": 0.5, "sd": 1.0, "length": 0.1}]}


@pytest.mark.parametrize(("changes", "message"), [
    ({"source_light.0.n_pixels": 3}, r"source_light\.0\.n_pixels: got 3; expected an integer of at least 4"),
    ({"source_light.0.n_pixels": 64}, r"source_light\.0\.n_pixels: got 64; expected an integer of at most 48"),
    ({"source_light.0.half_size": -0.5}, r"source_light\.0\.half_size: got -0\.5; expected a number above 0"),
    ({"source_light.0.amp": 1.0}, r"source_light\.0\.amp: got 1\.0; expected no amp"),
    ({"source_light.0.sd": {"dist": "Normal", "loc": 0.0, "scale": 1.0}}, r"source_light\.0\.sd: Normal with 50%"),
    ({"start.best_of": "a", "start.pixelated_from": "a"}, r"start\.best_of: given together with pixelated_from"),
    ({"start.n_pixels": 20}, r"start\.n_pixels: given without pixelated_from"),
    ({"start.n_pixels": 60, "start.pixelated_from": "a"}, r"start\.n_pixels: got 60; expected an integer of at most"),
    ({"start.earlier": "a"}, r"start\.earlier: unknown field"),
])
def test_a_wrong_configuration_is_refused(tmp_path, changes, message):
    config = parse_config(CONFIG, tmp_path / "lens.toml", FitConfig)
    assert dict(config.source_light[0].settings)["n_pixels"] == 20
    with pytest.raises(InputError, match=message):
        config.with_overrides(changes)


# ---------------------------------------------------------------- from a Sersic fit

SEARCH = """
[run]
seed = 3
[[observation]]
image = "image.fits"
units = "counts/s"
pixel_scale = 0.13
background_rms = 0.02
psf = "psf.fits"
mask_keep = [{radius = 1.6}]
[[mass]]
profile = "SIE"
theta_E = {dist = "LogNormal", median = 0.9, factor = 1.1}
e1 = {dist = "Normal", loc = 0.0, scale = 0.1}
e2 = {dist = "Normal", loc = 0.0, scale = 0.1}
[[source_light]]
profile = "Sersic"
R_sersic = {dist = "LogNormal", median = 0.2, factor = 1.5}
n_sersic = 0.5
center_x = {dist = "Normal", loc = 0.0, scale = 0.1}
center_y = {dist = "Normal", loc = 0.0, scale = 0.1}
[inference]
derived = false
n_screen = 4
n_starts = 1
n_finalists = 1
map_rounds = 1
map_steps = 4
"""
TRUE = {"mass.0.theta_E": 0.9, "mass.0.e1": 0.08, "mass.0.e2": -0.05}


def write_clumps(folder) -> None:
    """A lens whose source is a disc with clumps."""
    clumps = [(0.0, 0.0, 0.2, 3.0), (0.16, 0.1, 0.08, 6.0), (-0.13, 0.12, 0.08, 5.0), (0.05, -0.18, 0.08, 4.0)]
    scene = Scene(mass=[EPL(theta_E=0.9, gamma=2.0, e1=0.08, e2=-0.05)],
                  source_light=[Sersic(amp=amp, R_sersic=r, n_sersic=0.5, center_x=x, center_y=y)
                                for x, y, r, amp in clumps])
    observation = observe(scene, blank(size=28, ss=1))
    fits.PrimaryHDU(observation.image).writeto(folder / "image.fits")
    fits.PrimaryHDU(np.asarray(observation.psf.kernel, float)).writeto(folder / "psf.fits")


def earlier(config, folder) -> None:
    """A fit with a Sersic source, as a search leaves it."""
    prior, observations = scene_from_config(config), load_observations(config.observation, [])
    best = {"mass.0.theta_E": 0.91, "mass.0.e1": 0.06, "mass.0.e2": -0.03, "source_light.0.R_sersic": 0.24,
            "source_light.0.center_x": 0.01, "source_light.0.center_y": 0.02}
    numbers = dict(zip(names(prior), jax.tree.leaves(prior, is_leaf=is_distribution), strict=True)) | best
    scene = jax.tree.unflatten(jax.tree.structure(prior, is_leaf=is_distribution), list(numbers.values()))
    scene = scene.with_amplitudes([4.0])
    model = np.asarray(jax.jit(render_data)(scene, observations[0].data(trim=False)), float)
    found = Found(prior=prior, observations=observations, scenes=[scene], best=best, model_images=[model],
                  sigma_images=[np.full(model.shape, 0.02)], chi2=1e3, n_pixels=300, n_free=7, timings_s={},
                  evaluations={})
    folder.mkdir()
    write_numbers(found, pictures(found), folder, "")
    write_last(found, folder)


def test_from_a_sersic_fit_to_pixels_by_one_field(tmp_path):
    write_clumps(tmp_path)
    config = parse_config(tomllib.loads(SEARCH), tmp_path / "lens.toml", FitConfig)
    earlier(config, tmp_path / "sersic")
    changes = {"start.pixelated_from": str(tmp_path / "sersic"), "start.n_pixels": 11}
    found = run_search(config.with_overrides(changes), tmp_path / "pixels")
    assert 0.8 < found.reduced_chi2 < 1.2
    residual = found.observations[0].independent(found.model_images[0], found.sigma_images[0])
    assert np.abs(residual).max() < 4.5
    known = json.loads((tmp_path / "pixels" / "search.json").read_text())
    assert {"source_light.0.sd", "source_light.0.length"} < set(known["best"])
    notes = known["stages"]["amplitudes"]
    assert 10.0 < notes["determined_by_the_data"] < 121.0
    assert np.isfinite(notes["log_evidence"])
    with fits.open(tmp_path / "pixels" / "model.fits") as file:
        plane, error = file["SOURCE_PLANE"].data, file["SOURCE_ERROR"].data
    assert plane.shape == error.shape and 0.0 < np.median(error) < 0.5 * plane.max()
    for name, true in TRUE.items():
        assert found.best[name] == pytest.approx(true, abs=0.03), name
    assert known["best"] == pytest.approx(read_found(tmp_path / "pixels")[0].best)


def test_an_earlier_fit_that_is_none_is_refused(tmp_path):
    config = parse_config(tomllib.loads(SEARCH), tmp_path / "lens.toml", FitConfig)
    with pytest.raises(InputError, match="no such file"):
        gone_on(config.with_overrides({"start.pixelated_from": str(tmp_path / "none")}))
    with pytest.raises(InputError, match=r"inference\.map_method: got 'adam'; expected 'lm'"):
        gone_on(config.with_overrides({"start.best_of": "a", "inference.map_method": "adam"}))
    earlier_of = config.with_overrides({"mass.0.theta_E": {"dist": "Uniform", "low": 1.0, "high": 2.0},
                                        "start.best_of": str(tmp_path / "sersic")})
    write_clumps(tmp_path)
    earlier(config, tmp_path / "sersic")
    with pytest.raises(InputError, match=r"mass\.0\.theta_E: a prior without 0\.91"):
        start_of(gone_on(earlier_of), scene_from_config(earlier_of))


def test_light_that_the_source_nearly_explains(rng):
    """Gaussians beside a source that can be nearly all of them: in single precision what is left is positive and right.

    As a difference of two products of the columns it has eigenvalues below zero, and a Cholesky factor of NaN.
    """
    columns = 300.0 * rng.normal(size=(12, 200))
    light = rng.normal(size=(5, 12)) @ columns / 300.0 + 1e-3 * rng.normal(size=(5, 200))
    expected = light @ np.linalg.solve(np.eye(200) + columns.T @ columns, light.T)
    single = np.float32(columns), np.float32(light)
    left, taken = jax.jit(lambda columns, light: Gaussians.of(columns).explained(light))(*single)
    found = np.asarray(left @ left.T + taken.T @ taken, float)
    assert np.linalg.eigvalsh(found)[0] > 0.5 * np.linalg.eigvalsh(expected)[0] > 0.0
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    cross = np.asarray(jax.jit(lambda columns, light: Gaussians.of(columns).forward(columns @ light.T))(*single))
    assert np.linalg.eigvalsh(single[1] @ single[1].T - cross.T @ cross)[0] < 0.0


@pytest.mark.parametrize("apart", [0.3, 0.03])
def test_other_light_of_nearly_alike_columns(apart):
    """Gaussians whose widths differ little, beside a source: both precisions tell which shine, or do as well without.

    In double precision changes of sides did not settle, and amplitudes were left that were no solution.
    """
    observation, found = observe(lens(), SMALL), []
    for dtype in (np.float32, np.float64):
        with jax.enable_x64(dtype is np.float64):
            light = MultiGaussian(n_gaussians=10, sigma_min=0.5, sigma_max=0.5 * (1.0 + apart), e1=0.1, e2=0.03)
            scene = Scene(mass=[EPL(theta_E=dist.LogNormal(-0.1, 0.1), gamma=2.05, e1=dist.Normal(0.0, 0.1), e2=-0.05)],
                          lens_light=[light], source_light=[pixels()])
            one = Posterior.of(scene, [observation], "nonnegative", dtype=dtype)
            z = jnp.stack([0.3 * np.random.default_rng(k).normal(size=2).astype(dtype) for k in range(8)])
            found.append(np.asarray(jax.jit(jax.vmap(Posterior.log_prob, (None, 0)))(one, z)))
    np.testing.assert_allclose(*found, rtol=1e-3)
