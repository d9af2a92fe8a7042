"""Variational inference on posteriors known in closed form: evidence, covariance, and where it bends."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _problems import Toy, newton, random_covariance

from giga.inference.search.map import MapState
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import VIConfig, ascender, fit_vi, log_density
from giga.runtime.parallel import mesh

OPTIMISED = True

CONFIG = VIConfig(steps=12, n_samples=64)


def fitted(toy, mode, precision, config=CONFIG, lanes: int = 12, seed: int = 0):
    """Fit from a mode and a precision there, in which the toys start."""
    z = np.repeat(np.asarray(mode)[None], lanes, 0)
    found = MapState(z, np.full(lanes, float(toy.log_prob(jnp.asarray(mode)))), np.repeat(precision[None], lanes, 0))
    ascent = ascender(mesh(), config.n_samples, config.steps)
    state, info = fit_vi(jax.random.key(seed), toy, found, config, ascent, newton)
    return state.transport, info


def moments(transport, count: int = 20_000):
    u = jax.random.normal(jax.random.key(9), (count, transport.size), transport.shift.dtype)
    z = np.asarray(jax.jit(jax.vmap(lambda v: transport(v)[0]))(u))
    return z.mean(0), np.cov(z.T)


@pytest.mark.parametrize("quality", ["exact", "poor"])
def test_gaussian_target(x64, rng, quality):
    """ELBO is the evidence, mean and covariance are the target's, even from a start that is off."""
    n = 5
    mean, covariance = rng.normal(size=n), random_covariance(rng, n, 100.0)
    toy = Toy.of(mean, covariance, log_mass=-3.7)
    off = 1.0 if quality == "exact" else 1.6
    start = mean + (0.0 if quality == "exact" else 0.5) * np.linalg.cholesky(covariance) @ rng.normal(size=n)
    axis = "auto" if quality == "exact" else "none"  # a start that is off looks bent
    transport, info = fitted(toy, start, off * np.linalg.inv(covariance), VIConfig(axis=axis))
    assert not info["conditional"]
    assert info["elbo"] == pytest.approx(-3.7, abs=max(4.0 * info["elbo_sd"], 1e-3))
    found_mean, found = moments(transport)
    root = np.linalg.cholesky(covariance)
    np.testing.assert_allclose(np.linalg.solve(root, found_mean - mean), 0.0, atol=0.1)
    white = np.linalg.solve(root, np.linalg.solve(root, found).T)
    np.testing.assert_allclose(white, np.eye(n), atol=0.1)


def test_a_banana_is_fitted_along_its_axis(x64):
    """z1 bends with the square of z0: only a conditional Gaussian reaches the evidence."""
    covariance = np.diag([1.0, 0.09, 0.25])
    toy = Toy.of(np.zeros(3), covariance, log_mass=2.0, bend=0.4)
    mode = np.array([0.0, -0.4, 0.0])
    precision = -np.asarray(jax.jit(jax.hessian(toy.log_prob))(jnp.asarray(mode)))
    transport, info = fitted(toy, mode, precision)
    assert info["conditional"] and info["axis"] == "0" and info["failed_nodes"] == 0
    assert info["elbo"] == pytest.approx(2.0, abs=0.05)
    u = jax.random.normal(jax.random.key(3), (4000, 3))
    z = np.asarray(jax.vmap(lambda v: transport(v)[0])(u))
    assert np.corrcoef(z[:, 0] ** 2, z[:, 1])[0, 1] == pytest.approx(0.884, abs=0.03)  # 0.4 sqrt(2) / sqrt(0.32 + 0.09)
    _, plain = fitted(toy, mode, precision, VIConfig(axis="none"))
    assert not plain["conditional"]
    assert plain["elbo"] < info["elbo"] - 0.3


@pytest.mark.parametrize("narrow", [1e-2, 1e-4])
@pytest.mark.parametrize("directions", [1, 10])
def test_a_map_that_is_too_wide_is_begun_again(x64, rng, narrow, directions):
    """The curvature at the mode tells nothing of how narrow the posterior is, in one direction or in all."""
    mean, covariance = rng.normal(size=10), random_covariance(rng, 10, 30.0)
    root = np.linalg.cholesky(covariance) * np.where(np.arange(10) < directions, narrow, 1.0)
    toy = Toy.of(mean, root @ root.T, log_mass=1.3)
    transport, info = fitted(toy, mean, np.linalg.inv(covariance), VIConfig(axis="none"))
    assert info["scale"] < 1.0
    assert info["elbo"] == pytest.approx(1.3, abs=0.3)
    white = np.linalg.solve(root, np.linalg.solve(root, moments(transport)[1]).T)
    np.testing.assert_allclose(white, np.eye(10), atol=0.2)


def test_a_map_that_reaches_where_there_is_no_density(x64):
    """A third of the draws have no density: a narrower map has one everywhere."""
    toy = Toy.of(np.zeros(4), np.eye(4), hole=0.5)
    _, info = fitted(toy, np.zeros(4), np.eye(4), VIConfig(axis="none"))
    assert info["scale"] < 1.0 and np.isfinite(info["elbo_trace"]).all()
    _, info = fitted(toy.replace(hole=np.asarray(2.5)), np.zeros(4), np.eye(4), VIConfig(axis="none"))
    assert info["scale"] == 1.0 and np.isfinite(info["elbo_trace"]).all()
    with pytest.raises(FloatingPointError, match="lower bound is not a number"):
        fitted(Toy.of(np.zeros(4), np.eye(4), hole=-50.0), np.zeros(4), np.eye(4), VIConfig(axis="none"))


class Rough(Toy):
    """A Gaussian with ripples that are steep and short: gradients tell nothing of its width."""

    def log_prob(self, z):
        return super().log_prob(z) - 3.0 * jnp.sum(1.0 - jnp.cos(40.0 * (z - self.mean)))


def test_steps_that_lower_the_bound_are_taken_back(x64):
    """Ripples have a mean height of 3; without taking steps back the bound falls from -34 to -52."""
    n, toy = 10, Toy.of(np.zeros(10), np.eye(10))
    rough = Rough(**{field.name: getattr(toy, field.name) for field in dataclasses.fields(toy)})
    _, info = fitted(rough, np.zeros(n), np.eye(n), VIConfig(axis="none"))
    assert info["elbo"] > -3.0 * n - 8.0
    assert np.ptp(info["elbo_trace"]) < 8.0


def test_an_axis_by_name(x64):
    toy = Toy.of(np.zeros(3), np.eye(3))
    _, info = fitted(toy, np.zeros(3), np.eye(3), VIConfig(axis="2", steps=4, n_samples=16))
    assert info["axis"] == "2" and info["conditional"]


def test_evaluate_takes_any_number_of_points(x64, rng):
    """Batches are cut and padded; every point keeps its place."""
    toy = Toy.of(np.zeros(3), np.eye(3))
    ascent = ascender(mesh(), 16, 2)
    transport = gaussian(np.ones(3), random_covariance(rng, 3, 5.0), 1, np.float64)
    plain = jax.jit(jax.vmap(jax.value_and_grad(lambda v: log_density(toy, transport, v))))
    for count in (1, 37):
        u = rng.normal(size=(count, 3))
        value, gradient = ascent.evaluate(toy, transport, u)
        expected = plain(jnp.asarray(u))
        np.testing.assert_allclose(value, expected[0], rtol=1e-12)
        np.testing.assert_allclose(gradient, expected[1], rtol=1e-10, atol=1e-12)


def test_same_key_same_map(x64):
    toy = Toy.of(np.ones(2), np.array([[1.0, 0.3], [0.3, 0.5]]))
    first, second = (fitted(toy, np.ones(2), 1.3 * np.eye(2))[0] for _ in range(2))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_parameters_than_samples(x64, rng):
    """A step then changes the precision by a low rank and a diagonal; a start that is off comes nearer all the same."""
    n = 24
    covariance = random_covariance(rng, n, 10.0)
    toy = Toy.of(np.zeros(n), covariance)
    _, info = fitted(toy, np.zeros(n), 1.5 * np.linalg.inv(covariance), VIConfig(axis="none", n_samples=16, steps=12))
    off = 0.5 * n * (np.log(1.5) + 1.0 / 1.5 - 1.0)  # divergence of the start from the target
    assert info["elbo_start"] == pytest.approx(-off, abs=4.0 * info["elbo_sd"] + 0.3)
    assert info["elbo"] > -0.6 * off
