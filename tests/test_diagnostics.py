"""Convergence diagnostics against ArviZ, hand computations, and chains that are known to be good or bad."""

import arviz as az
import numpy as np
import pytest
import xarray as xr

from giga.inference.chains.diagnostics import (
    ess_bulk,
    ess_mean,
    ess_tail,
    rhat,
    rhat_and_ess_bulk,
    rhat_gelman_rubin,
)

pytestmark = pytest.mark.quick


def autoregressive(rng, rho: float, shape=(8, 2000, 2)) -> np.ndarray:
    """Stationary AR(1) chains of unit variance: ESS of the mean is N (1 - rho) / (1 + rho)."""
    noise = rng.normal(size=shape)
    out = noise.copy()
    for k in range(1, shape[1]):
        out[:, k] = rho * out[:, k - 1] + np.sqrt(1.0 - rho**2) * noise[:, k]
    return out


@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_modern_ones_are_those_of_arviz(rng, rho):
    samples = autoregressive(rng, rho, (4, 300, 3))
    data = xr.Dataset({"x": (("chain", "draw", "parameter"), samples)})
    for mine, theirs in ((rhat, az.rhat(data, method="rank")), (ess_bulk, az.ess(data, method="bulk")),
                         (ess_tail, az.ess(data, method="tail", prob=(0.05, 0.95))),
                         (ess_mean, az.ess(data, method="mean"))):
        assert mine(samples).shape == (3,)
        np.testing.assert_allclose(mine(samples), theirs["x"].values, rtol=1e-10)


def test_the_tail_is_the_smaller_of_two_quantiles(rng):
    """Whatever ArviZ of a generation takes for the tail when it is not told."""
    samples = autoregressive(rng, 0.5, (4, 500, 2))
    quantiles = [[az.ess(samples[..., k], method="quantile", prob=p) for p in (0.05, 0.95)] for k in range(2)]
    np.testing.assert_allclose(ess_tail(samples), np.min(quantiles, 1), rtol=1e-10)


@pytest.mark.parametrize("shape", [(2, 4, 1), (3, 5, 2), (2, 9, 2), (4, 50, 5), (16, 101, 3)])
@pytest.mark.parametrize("kind", ["rough", "slow", "antithetic", "repeats", "rounded", "one stands", "all stand"])
def test_all_at_once_as_arviz_one_by_one(rng, shape, kind):
    """Short and long, odd and even, with ties as rejections make them, and chains that do not move."""
    samples = autoregressive(rng, {"slow": 0.97, "antithetic": -0.8}.get(kind, 0.3), shape)
    if kind == "repeats":
        samples = samples[:, np.sort(rng.integers(shape[1], size=shape[1]))]
    elif kind == "rounded":
        samples = np.round(samples)
    elif kind == "one stands":
        samples[0] = samples[0, :1]
    elif kind == "all stand":
        samples[:] = 1.5
    with np.errstate(all="ignore"):
        expected = [[az.rhat(samples[..., k], method="rank"), az.ess(samples[..., k], method="bulk"),
                     az.ess(samples[..., k], method="tail", prob=(0.05, 0.95))] for k in range(shape[2])]
    np.testing.assert_allclose(np.transpose([*rhat_and_ess_bulk(samples), ess_tail(samples)]), expected, rtol=1e-10)


def test_what_cannot_be_told(rng):
    samples = rng.normal(size=(4, 50, 2))
    samples[1, 3, 0] = np.nan
    for table in (*rhat_and_ess_bulk(samples), ess_tail(samples)):
        assert np.isnan(table[0]) and np.isfinite(table[1])
    assert np.isnan(rhat_and_ess_bulk(samples[:, :3])).all() and np.isnan(ess_tail(samples[:, :3])).all()


def test_chains_that_stand_still():
    """No R-hat of 1992, and no warning: the same place is no number, different places are infinitely far apart."""
    samples = np.zeros((2, 5, 2))
    samples[1, :, 1] = 1.0
    found = rhat_gelman_rubin(samples)
    assert np.isnan(found[0]) and found[1] == np.inf


def test_gelman_rubin_by_hand():
    """Two chains of four draws: W = 5/3, B/n = 2, (m+1)/m (3/4 + 2/W) - 3/8."""
    samples = np.array([[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]])[..., None]
    within, between = 5.0 / 3.0, 2.0
    expected = 1.5 * (0.75 * within + between) / within - 3.0 / 8.0
    np.testing.assert_allclose(rhat_gelman_rubin(samples), [expected], rtol=1e-12)


def test_independent_draws(rng):
    samples = rng.normal(size=(8, 1000, 4))
    assert rhat(samples).max() < 1.005
    np.testing.assert_allclose(rhat_gelman_rubin(samples), 1.0, atol=0.01)
    np.testing.assert_allclose(ess_bulk(samples) / 8000, 1.0, atol=0.1)
    assert (ess_tail(samples) > 6000).all()


@pytest.mark.parametrize("rho", [0.5, 0.9, -0.5])
def test_correlated_draws(rng, rho):
    """The known effective size, also above the number of draws for antithetic chains."""
    samples = autoregressive(rng, rho)
    np.testing.assert_allclose(ess_bulk(samples) / 16_000, (1.0 - rho) / (1.0 + rho), rtol=0.2)


def test_a_chain_elsewhere_is_seen(rng):
    samples = rng.normal(size=(4, 500, 2))
    samples[0, :, 1] += 3.0
    assert rhat(samples)[0] < 1.01 < 1.2 < rhat(samples)[1]
    assert rhat_gelman_rubin(samples)[1] > 1.5
    assert ess_bulk(samples)[1] < 20.0


def test_a_stuck_chain_is_seen(rng):
    samples = rng.normal(size=(4, 500, 1))
    samples[2] = 0.4
    assert rhat(samples)[0] > 1.05
    assert ess_bulk(samples)[0] < 500.0


def test_a_chain_of_other_width_is_seen(rng):
    """Same means, another spread: the folded ranks show it, the definition of 1992 does not."""
    samples = rng.normal(size=(4, 1000, 1))
    samples[0] *= 4.0
    assert rhat(samples)[0] > 1.05
    assert rhat_gelman_rubin(samples)[0] < 1.05
