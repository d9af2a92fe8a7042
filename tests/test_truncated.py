"""Truncated normals in their tails against SciPy, and priors that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from scipy.special import log_ndtr

from giga.bayes.prior import Prior
from giga.bayes.truncated import TruncatedNormal, exact
from giga.simulate.populations.population import Population

# loc, scale, low, high: inside, at an edge, and with all of it in a tail of 10 to 100 standard deviations
CASES = [(2.0, 0.25, 1.2, 2.8), (1.0, 0.05, 1.2, 2.8), (0.5, 0.02, 0.8, 2.0), (1.0, 0.02, -0.5, 0.5),
         (1.35, 0.01, 0.2, 1.0), (0.0, 1.0, 30.0, 30.1), (0.0, 0.1, 10.0, np.inf), (0.0, 0.1, -np.inf, -0.85)]
ICDF = jax.jit(lambda family, q: family.icdf(q))


@pytest.mark.parametrize("case", CASES)
def test_quantiles(case, dtype):
    """Shares below the places of some shares. In float32 a place is rounded by 6e-8 of itself and of its distance to
    loc, which is at most 4e-3 of the width of these tails."""
    loc, scale, low, high = case
    q = np.array([1e-3, 0.1, 0.5, 0.9, 0.999])
    family = jax.tree.map(lambda number: jnp.asarray(number, dtype), TruncatedNormal(*case))
    x = np.asarray(ICDF(family, jnp.asarray(q, dtype)), float)
    sides = (low - loc) / scale, (high - loc) / scale
    flip = sides[1] < 0.0
    a, b = (-sides[1], -sides[0]) if flip else sides
    above = log_ndtr(-((loc - x) / scale if flip else (x - loc) / scale))
    share = np.expm1(above - log_ndtr(-a)) / np.expm1(log_ndtr(-b) - log_ndtr(-a))
    np.testing.assert_allclose(1.0 - share if flip else share, q, atol=4e-3 if dtype == np.float32 else 1e-6)


@pytest.mark.parametrize("case", CASES)
def test_density(case, x64):
    loc, scale, low, high = case
    family = TruncatedNormal(*case)
    x = np.asarray(ICDF(family, np.linspace(0.05, 0.95, 7)))
    expected = scipy.stats.truncnorm((low - loc) / scale, (high - loc) / scale, loc, scale).logpdf(x)
    np.testing.assert_allclose(family.log_prob(x), expected, atol=1e-8)
    np.testing.assert_allclose(jax.vmap(jax.grad(family.log_prob))(x), -(x - loc) / scale**2, rtol=1e-10)


def test_a_tail_is_a_prior_in_float32():
    """Draws, density and gradient of a prior 25 standard deviations away; the mean of an exponential tail is known."""
    for loc, low, high in ((1.0, -0.5, 0.5), (0.5, 0.8, 2.0)):
        prior = Prior.of([dist.TruncatedNormal(loc, 0.02, low=low, high=high)])
        z = jax.vmap(prior.sample)(jax.random.split(jax.random.key(0), 4000))
        x = np.asarray(jax.vmap(prior.constrain)(z), float)[:, 0]
        value, gradient = jax.vmap(jax.value_and_grad(prior.log_prob))(z)
        assert np.isfinite(value).all() and np.isfinite(gradient).all()
        law = scipy.stats.truncnorm((low - loc) / 0.02, (high - loc) / 0.02, loc, 0.02)
        assert x.mean() == pytest.approx(law.mean(), abs=4.0 * law.std() / np.sqrt(len(x)))
        assert 0.9 < float(z.std()) < 1.1


def test_ordinary_draws_are_those_of_numpyro():
    family, key = dist.TruncatedNormal(2.0, 0.25, low=1.2, high=2.8), jax.random.key(2)
    np.testing.assert_allclose(exact(family).sample(key, (500,)), family.sample(key, (500,)), rtol=1e-6)
    wide = exact(family.expand([3]))
    assert wide.sample(key).shape == (3,)


REFUSED = {
    "point": (dist.TruncatedNormal(2.0, 1e-8, low=1.2, high=2.8), "its width, 1e-08, is about the rounding"),
    "far": (dist.TruncatedNormal(1.0, 1e-5, low=-0.5, high=0.5), r"TruncatedNormal\(loc = 1, scale = 1e-05, low = -"),
    "narrow": (dist.Uniform(0.5, 0.5000001), r"its width, 1e-07, is about the rounding of float32 at 0.5"),
    "infinite": (dist.LogNormal(0.0, 60.0), "draws are NaN or infinite"),
    "huge": (dist.LogNormal(200.0, 0.1), r"its values, about 7.23e\+86, are beyond"),
    "nothing": (dist.LogNormal(-120.0, 0.1), "its width, 7.67e-54, is about the rounding"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_prior_that_cannot_be_is_refused_by_name(name):
    family, words = REFUSED[name]
    with pytest.raises(ValueError, match=rf"^shape\.1: .*({words}).*float32.*; expected"):
        Prior.of({"shape": [dist.Normal(0.0, 1.0), family]})


@pytest.mark.parametrize("name", ["point", "narrow", "infinite", "nothing"])
def test_a_population_too(name):
    family, _ = REFUSED[name]
    with pytest.raises(ValueError, match=r"^shape\.1: .*draws (have . value|are NaN or infinite).*; expected"):
        Population.of({"shape": [dist.Normal(0.0, 1.0), family]})
