"""Coordinates near a bound: their Jacobian and inverse, when they are used, and that modes are followed into them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.optimize import minimize_scalar

from giga.bayes.prior import Prior
from giga.inference.variational.bounds import Bounds, inverse, near_bounds

pytestmark = pytest.mark.quick


def bounds(side=(0.0, -1.0, 1.0), dtype=np.float64) -> Bounds:
    return Bounds(side=np.array(side, dtype), log_soft=np.array([0.0, -3.0, -2.0], dtype),
                  shift=np.array([0.0, 0.4, -0.2], dtype), scale=np.array([1.0, 1.5, 1.8], dtype))


@pytest.mark.parametrize("reach", [1.0, 30.0])
def test_log_det_and_inverse(x64, rng, reach):
    y = jnp.asarray(reach * rng.normal(size=(8, 3)))
    z, log_det = jax.vmap(bounds())(y)
    jacobian = jax.vmap(jax.jacfwd(lambda v: bounds()(v)[0]))(y)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-9)
    back, again = jax.vmap(bounds().pull)(z)
    np.testing.assert_allclose(back, y, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(again, log_det, atol=1e-7)
    np.testing.assert_allclose(bounds().inverse(np.asarray(z)), y, rtol=1e-8, atol=1e-8)


def test_finite_in_float32_far_out():
    y = jnp.asarray([[0.0, v, -v] for v in (-80.0, -12.0, 0.0, 12.0, 80.0)], jnp.float32)
    z, log_det = jax.vmap(bounds(dtype=np.float32))(y)
    gradient = jax.vmap(jax.grad(lambda v: sum(map(jnp.sum, bounds(dtype=np.float32)(v)))))(y)
    assert all(np.isfinite(part).all() for part in (z, log_det, gradient))


def test_identity(rng):
    none = Bounds.none(3, np.float32)
    y = rng.normal(size=3).astype(np.float32)
    z, log_det = none(y)
    np.testing.assert_array_equal(z, y)
    assert float(log_det) == 0.0
    np.testing.assert_array_equal(none.inverse(y), y)


FAMILIES = dict(uniform=dist.Uniform(1.0, 5.0), truncated=dist.TruncatedNormal(3.0, 2.0, low=1.0, high=5.0),
                normal=dist.Normal(3.0, 1.0), log_normal=dist.LogNormal(1.0, 0.5), half_normal=dist.HalfNormal(2.0))


def mode_of(prior: Prior, x0: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    """Mode in z and precision of a Gaussian likelihood in the one physical parameter."""

    def log_prob(z):
        return prior.log_prob(z) - 0.5 * ((prior.constrain(z)[0] - x0) / width) ** 2

    found = minimize_scalar(lambda z: -float(log_prob(jnp.array([z]))), bounds=(-12.0, 12.0), method="bounded",
                            options={"xatol": 1e-10})
    z = jnp.array([found.x])
    slope = jax.jacfwd(prior.constrain)(z)[0, 0]
    return np.asarray(z), np.asarray((slope / width) ** 2 + prior.curvature(z)).reshape(1, 1)


@pytest.mark.parametrize("family, x0, side", [
    ("uniform", 4.97, 1), ("uniform", 1.02, -1), ("uniform", 5.05, 1), ("uniform", 3.0, 0), ("truncated", 4.97, 1),
    ("half_normal", 0.02, -1), ("half_normal", 2.0, 0), ("normal", 4.97, 0), ("log_normal", 0.2, 0)])
def test_which_parameters_lean_on_a_bound(x64, family, x0, side):
    prior = Prior.of({"x": FAMILIES[family]}, np.float64)
    z, precision = mode_of(prior, x0, 0.05)
    assert near_bounds(prior, z, precision).side.tolist() == [side]


@pytest.mark.parametrize("x0", [4.9, 4.97, 5.03])
def test_the_mode_follows(x64, x0):
    """The Newton step lands near the mode of the density in y, and the curvature is the one there."""
    prior = Prior.of({"x": FAMILIES["uniform"]}, np.float64)
    z, precision = mode_of(prior, x0, 0.05)
    found = near_bounds(prior, z, precision)
    (y,), (curvature,) = found.moved(prior, z[None], precision[None])

    def minus_log_prob(v):
        at, log_det = found(jnp.array([v]))
        return 0.5 * ((prior.constrain(at)[0] - x0) / 0.05) ** 2 - prior.log_prob(at) - log_det

    best = minimize_scalar(jax.jit(minus_log_prob), bounds=(-10.0, 10.0), method="bounded", options={"xatol": 1e-9}).x
    assert abs(y[0] - best) < 0.35  # of a posterior width
    assert 0.3 < curvature[0, 0] / float(jax.hessian(minus_log_prob)(y[0])) < 3.0


def test_relations_are_straight(x64):
    """Where w goes from a tenth of the width to five, dz/dw varies by 50; dy/dw by little more than e."""
    near = bounds()
    log_w = np.log(np.exp(-3.0) * np.linspace(0.5, 5.0, 50))
    z = np.zeros((50, 3))
    z[:, 1] = (log_w - 0.4) / 1.5
    slope = np.diff(near.inverse(z)[:, 1]) / np.diff(np.exp(log_w))
    assert slope.max() / slope.min() < 2.6


def test_a_precision_that_rounding_made_indefinite_has_finite_widths(rng):
    root = rng.normal(size=(4, 4))
    good = root @ root.T + np.eye(4)
    np.testing.assert_allclose(inverse(good), np.linalg.inv(good), rtol=1e-9, atol=1e-12)
    ridge = 1e6 * np.ones((2, 2)) - np.diag([0.0, 0.5])  # its determinant is negative
    assert np.diag(np.linalg.inv(ridge)).min() < 0.0
    widths = np.diag(inverse(ridge))
    assert (widths > 0.0).all() and widths.max() <= 9.0  # three deviations of the prior
