"""Heads: densities that integrate to one, samples that follow them, coordinates that come back."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from _networks import gradients
from flax import nnx
from scipy import stats

from giga.models.networks import spline
from giga.models.networks.coordinates import Coordinates
from giga.models.networks.heads import Classifier, Estimator, FlowPosterior, GaussianPosterior, Regressor

WIDTH = 3


def bent_flow(size, rng):
    """A flow away from its beginning: the layers that begin at zero have weights."""
    flow = FlowPosterior(WIDTH, size, layers=2, hidden=8, bins=4, rngs=nnx.Rngs(1))
    for coupling in flow.couplings:
        last = coupling.layers[-1]
        last.kernel.set_value(jnp.asarray(rng.normal(0, 0.1, last.kernel.shape), jnp.float32))
        last.bias.set_value(jnp.asarray(rng.normal(0, 0.5, last.bias.shape), jnp.float32))
    return flow


def features(rng, n):
    return jnp.asarray(rng.normal(size=(n, WIDTH)), jnp.float32)


log_prob = nnx.jit(lambda head, features, theta: head.log_prob(features, theta))
sample = nnx.jit(lambda head, key, features, draws: head.sample(key, features, draws), static_argnums=3)


@pytest.mark.parametrize("scale", [0.0, 1.0], ids=["identity", "bent"])
def test_a_spline_and_its_inverse(scale, rng):
    raw = jnp.asarray(scale * rng.normal(size=(400, 11)), jnp.float32)
    x = jnp.linspace(-8.0, 8.0, 400)

    @jax.jit
    def there_and_back(x, raw):
        (y, log_slope), slope = jax.jvp(lambda x: spline.forward(x, raw), (x,), (jnp.ones_like(x),))
        return y, log_slope, slope[0], spline.inverse(y, raw)

    y, log_slope, slope, back = map(np.asarray, there_and_back(x, raw))
    if scale == 0:
        np.testing.assert_allclose(y, x, atol=2e-6)
        np.testing.assert_allclose(log_slope, 0, atol=4e-6)
    np.testing.assert_allclose(np.log(slope), log_slope, atol=1e-4)
    # Some roundings of float32 at values of 6, stretched where the spline is flat.
    assert np.all(np.abs(back - x) < 6 * 3e-6 * np.maximum(1, 1 / slope))


def test_the_gaussian_is_scipys(rng):
    head = GaussianPosterior(WIDTH, 3, rngs=nnx.Rngs(0))
    head.out.kernel.set_value(jnp.asarray(rng.normal(0, 0.4, head.out.kernel.shape), jnp.float32))
    x, theta = features(rng, 4), jnp.asarray(rng.normal(size=(4, 3)), jnp.float32)
    mean, covariance = np.float64(head(x)), np.float64(head.covariance(x))
    expected = [stats.multivariate_normal(m, (c + c.T) / 2).logpdf(t)
                for m, c, t in zip(mean, covariance, np.float64(theta), strict=True)]
    np.testing.assert_allclose(log_prob(head, x, theta), expected, rtol=1e-4, atol=1e-4)
    draws = np.float64(sample(head, jax.random.key(0), x, 40_000))
    assert draws.shape == (40_000, 4, 3)
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    np.testing.assert_allclose(draws.mean(0), mean, atol=5 * spread.max() / 200)  # five standard errors
    for k in range(4):
        found = np.cov(draws[:, k].T)
        np.testing.assert_allclose(found / np.outer(spread[k], spread[k]),
                                   covariance[k] / np.outer(spread[k], spread[k]), atol=5 * 2**0.5 / 200)


@pytest.mark.parametrize("size", [1, 2])
def test_the_density_of_a_flow_integrates_to_one(size, rng):
    flow = bent_flow(size, rng)
    x = features(rng, 1)
    grid = np.linspace(-12, 12, 601, dtype=np.float32)
    points = jnp.stack(jnp.meshgrid(*[grid] * size), axis=-1).reshape(-1, size)
    density = np.exp(np.float64(log_prob(flow, jnp.broadcast_to(x, (len(points), WIDTH)), points)))
    # Splines have kinks in their second derivative only; a step of 0.04 is small beside every bin.
    assert density.sum() * (grid[1] - grid[0]) ** size == pytest.approx(1, abs=5e-3)
    assert abs(np.corrcoef(density, np.exp(np.float64(log_prob(
        flow.gaussian, jnp.broadcast_to(x, (len(points), WIDTH)), points))))[0, 1]) < 0.99  # bent, not the Gaussian


@pytest.mark.parametrize("size", [1, 2])
def test_samples_of_a_flow_follow_its_density(size, rng):
    flow = bent_flow(size, rng)
    x = features(rng, 2)
    draws = np.asarray(sample(flow, jax.random.key(3), x, 20_000))[:, 1]
    grid = np.linspace(-12, 12, 601, dtype=np.float32)
    points = jnp.stack(jnp.meshgrid(*[grid] * size, indexing="ij"), axis=-1).reshape(-1, size)
    density = np.exp(np.float64(log_prob(flow, jnp.broadcast_to(x[1], (len(points), WIDTH)), points)))
    density = density.reshape([len(grid)] * size)
    for axis in range(size):
        marginal = density.sum(tuple(k for k in range(size) if k != axis))
        cumulative = np.cumsum(marginal) / marginal.sum()
        rank = np.searchsorted(np.sort(draws[:, axis]), grid + 0.02) / len(draws)
        # 1.63 / sqrt(n) is the Kolmogorov-Smirnov bound of one in a hundred; the grid adds less than 0.003.
        assert np.abs(rank - cumulative).max() < 1.63 / len(draws) ** 0.5 + 0.003


def test_a_flow_begins_as_its_gaussian(rng):
    flow = FlowPosterior(WIDTH, 3, layers=2, hidden=8, rngs=nnx.Rngs(0))
    x, theta = features(rng, 5), jnp.asarray(rng.normal(size=(5, 3)), jnp.float32)
    np.testing.assert_allclose(log_prob(flow, x, theta), log_prob(flow.gaussian, x, theta), atol=1e-5)


def test_a_flow_learns_a_density_that_a_gaussian_cannot(rng):
    """Two bands of points, whose place depends on the features."""
    n = 2048
    x = features(rng, n)
    theta = jnp.asarray(np.sign(rng.normal(size=(n, 1))) + 0.2 * rng.normal(size=(n, 1)) + 0.5 * np.asarray(x[:, :1]),
                        jnp.float32)

    def fitted(head):
        graph, state = nnx.split(head)
        optimiser = optax.adam(0.02)

        def step(carry, _):
            state, kept = carry
            value, slope = jax.value_and_grad(lambda s: jnp.mean(nnx.merge(graph, s).loss(x, theta)))(state)
            change, kept = optimiser.update(slope, kept)
            return (optax.apply_updates(state, change), kept), value

        return jax.jit(lambda c: jax.lax.scan(step, c, length=150))((state, optimiser.init(state)))[1][-1]

    gaussian = fitted(GaussianPosterior(WIDTH, 1, rngs=nnx.Rngs(0)))
    flow = fitted(FlowPosterior(WIDTH, 1, layers=2, hidden=16, rngs=nnx.Rngs(0)))
    truth = np.log(2) + 0.5 * np.log(2 * np.pi * np.e * 0.04)  # entropy of two separate Gaussians
    assert float(gaussian) == pytest.approx(0.5 * np.log(2 * np.pi * np.e * 1.04), abs=0.05)
    assert float(flow) == pytest.approx(truth, abs=0.1)


@pytest.mark.parametrize("kind", [Regressor, GaussianPosterior, partial(FlowPosterior, layers=2, hidden=8, bins=4)],
                         ids=["regressor", "gaussian", "flow"])
def test_every_loss_has_finite_gradients_far_from_the_truth(kind, rng):
    head = kind(WIDTH, 2, rngs=nnx.Rngs(0))
    x = features(rng, 4)
    slopes = gradients(head, lambda head: jnp.mean(head.loss(x, jnp.full((4, 2), 50.0))))
    assert all(np.all(np.isfinite(slope)) for slope in slopes.values())


def test_the_loss_of_a_classifier_is_the_cross_entropy(rng):
    x, label = features(rng, 4), jnp.array([0, 1, 2, 1])
    estimator = Estimator(lambda x: 2 * x, Classifier(WIDTH, 3, rngs=nnx.Rngs(0)))
    shares = jax.nn.softmax(estimator(x), axis=-1)
    np.testing.assert_allclose(estimator.loss(x, label), -np.log(shares[np.arange(4), label]), rtol=1e-5)


def test_coordinates_come_back(rng):
    frame = Coordinates(names=("theta_E", "q"), location=(1.2, 0.7), scale=(0.4, 0.1), angles=("phi",))
    truth = {"theta_E": rng.uniform(0.5, 2, 50), "q": rng.uniform(0.3, 1, 50), "phi": rng.uniform(-1.5, 1.5, 50)}
    theta = frame.encode({"other": 1.0, **truth})
    assert theta.shape == (50, frame.size) == (50, 4)
    back = frame.decode(theta)
    assert set(back) == set(truth)
    for name, value in truth.items():
        np.testing.assert_allclose(back[name], value, rtol=1e-5, atol=1e-6)
    half_a_turn = frame.encode({**truth, "phi": truth["phi"] + np.pi})
    np.testing.assert_allclose(half_a_turn, theta, atol=1e-5)
    assert frame.log_volume == pytest.approx(np.log(0.4 * 0.1))


def test_other_coordinates_are_refused():
    frame = Coordinates(names=("theta_E",), location=(1.0,), scale=(1.0,), angles=("phi",))
    with pytest.raises(ValueError, match="parameters without a value: phi; there are theta_E"):
        frame.encode({"theta_E": 1.0})
    with pytest.raises(ValueError, match=r"shape \(..., 3\), got \(2,\)"):
        frame.decode(jnp.zeros(2))
    with pytest.raises(ValueError, match="scale of theta_E must be positive, got -1.0"):
        Coordinates(names=("theta_E",), location=(1.0,), scale=(-1.0,))
    with pytest.raises(ValueError, match="must have one length, got 1, 0 and 1"):
        Coordinates(names=("theta_E",), location=(), scale=(1.0,))
    with pytest.raises(ValueError, match="at least one parameter"):
        Coordinates(names=(), location=(), scale=())
