"""The whitening map: exact for a Gaussian from few draws, and unity where there is nothing to learn."""

import numpy as np
import pytest
from _problems import random_covariance

from giga.inference.chains.whitening import whitening


def gaussian_draws(rng, covariance, mean, count):
    """Draws that are not those of the Gaussian, and its gradients there."""
    u = mean + rng.normal(size=(count, len(mean))) * rng.uniform(0.3, 3.0, len(mean))
    return u, -np.linalg.solve(covariance, (u - mean).T).T


def test_a_gaussian_is_known_from_few_draws_of_anything(rng):
    """The geometric mean takes the noise of the draws out; what is left is the pull towards unity."""
    covariance, mean = random_covariance(rng, 20, 10.0), rng.normal(size=20)
    u, gradient = gaussian_draws(rng, covariance, mean, 400)
    shift, factor = whitening(u, gradient)
    np.testing.assert_allclose(shift, mean, atol=0.05)
    by_gradients = np.linalg.eigvals(np.linalg.solve(covariance, factor @ factor.T)).real
    by_draws = np.linalg.eigvals(np.linalg.solve(covariance, np.cov(u.T))).real
    assert 0.8 < by_gradients.min() and by_gradients.max() < 1.25
    assert by_draws.max() / by_draws.min() > 5.0
    assert (np.triu(factor, 1) == 0.0).all()


def test_without_noise_of_draws_it_is_their_covariance(rng):
    u = rng.normal(size=(40000, 3)) @ np.diag([1.0, 2.0, 0.5])
    _, factor = whitening(u, -u / np.array([1.0, 4.0, 0.25]))
    np.testing.assert_allclose(factor @ factor.T, np.diag([1.0, 4.0, 0.25]), atol=0.1)


def test_fewer_draws_than_dimensions(rng):
    """Nothing is singular: the directions that no draw has seen keep their scale."""
    u = rng.normal(size=(5, 12))
    shift, factor = whitening(u, -u)
    values = np.linalg.eigvalsh(factor @ factor.T)
    np.testing.assert_allclose(values, 1.0, atol=1e-6)
    np.testing.assert_allclose(shift, 0.0, atol=1e-6)


@pytest.mark.parametrize("scale", [0.2, 5.0])
def test_a_quartic_is_between_its_spread_and_its_curvature(rng, scale):
    """Not Gaussian: the covariance lies between that of the draws and the inverse of that of the gradients."""
    x = scale * rng.normal(size=200000)
    x = x[rng.uniform(size=x.size) < np.exp(-0.25 * (x / scale) ** 4)]
    u, gradient = x[:, None], -(x / scale**2 + x**3 / scale**4)[:, None]
    _, factor = whitening(u, gradient)
    low, high = sorted([u.var(), 1.0 / gradient.var()])
    assert low < factor[0, 0] ** 2 < high
