"""Multi-path Pathfinder on a Gaussian, where it is exact, on a lens, and where it must give up."""

import jax
import numpy as np
import pytest
from _problems import Toy, random_covariance

from giga.inference.variational.pathfinder import PATHS, fit_pathfinder
from giga.runtime.parallel import mesh


def test_gaussian_target(x64, rng):
    mean, covariance = rng.normal(size=5), random_covariance(rng, 5, 30.0)
    toy = Toy.of(mean, covariance, log_mass=-1.3)
    starts = mean + 2.0 * rng.normal(size=(PATHS + 2, 5)) @ np.linalg.cholesky(covariance).T
    (transport,), info = fit_pathfinder(jax.random.key(0), toy, starts, mesh())
    u = jax.random.normal(jax.random.key(9), (20_000, 5), transport.shift.dtype)
    z = np.asarray(jax.jit(jax.vmap(lambda v: transport(v)[0]))(u))
    root = np.linalg.cholesky(covariance)
    np.testing.assert_allclose(np.linalg.solve(root, z.mean(0) - mean), 0.0, atol=0.25)
    white = np.linalg.solve(root, np.linalg.solve(root, np.cov(z.T)).T)
    np.testing.assert_allclose(white, np.eye(5), atol=0.4)
    assert info["elbo"] == pytest.approx(-1.3, abs=0.4)


def test_no_path_is_finite():
    toy = Toy.of(np.zeros(2), np.eye(2), log_mass=np.nan)
    with pytest.raises(FloatingPointError, match="Pathfinder: none of 4 paths"):
        fit_pathfinder(jax.random.key(0), toy, np.ones((4, 2), np.float32), mesh())
