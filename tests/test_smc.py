"""Tempered sequential Monte Carlo on posteriors known in closed form: evidence, moments, weights of modes."""

import jax
import numpy as np
import pytest
from _problems import Mixture, Toy, blank, exchangeable, observe, odds_of_the_order, random_covariance

from giga.inference.chains.diagnostics import ess_bulk
from giga.inference.pipeline import fit
from giga.inference.settings import FitConfig
from giga.inference.smc.smc import Particles, SMCConfig, resampled, sample_smc, smc_programs
from giga.inference.smc.tempering import Maps
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import ascender
from giga.runtime.checkpoint import Store
from giga.runtime.parallel import mesh

OPTIMISED = True

CONFIG = SMCConfig(n_groups=6, n_particles=64, n_moves=3, n_keep=3, ess=1e9, max_steps=8)


@pytest.fixture(scope="module")
def programs():
    over = mesh()
    return smc_programs(over, CONFIG, ascender(over, 64, 1))


@pytest.fixture(scope="module")
def linear(programs):
    """A linear model: unit normal prior, Gaussian data A z + noise, of known evidence."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(4)
        design, data, sd = rng.normal(size=(8, 3)), 3.0 * rng.normal(size=8), 0.4
        whole = design @ design.T + sd**2 * np.eye(8)
        log_evidence = -0.5 * data @ np.linalg.solve(whole, data) - 0.5 * np.linalg.slogdet(2.0 * np.pi * whole)[1]
        covariance = np.linalg.inv(np.eye(3) + design.T @ design / sd**2)
        mean = covariance @ design.T @ data / sd**2
        toy = Toy.of(mean, covariance, log_mass=log_evidence)
        seen = []
        return mean, covariance, log_evidence, seen, sample_smc(jax.random.key(1), toy, toy.prior, programs,
                                                                seen.append)


def test_evidence_of_a_linear_model(linear):
    """To its error, which is the groups' spread; and the path is long."""
    _, _, expected, seen, (_, evidence, info) = linear
    assert info["rounds"] > 4 and 0.005 < evidence.error < 0.5
    assert abs(evidence.log - expected) < 4.0 * evidence.error
    betas = [row["beta"] for row in seen if "beta" in row]
    assert betas == sorted(betas) and betas[-1] == 1.0


def test_moments_of_a_linear_model(linear):
    mean, covariance, *_, (draws, _, info) = linear
    assert draws.z.shape == (6, 64 * 9, 3) == (6, info["iterations"], 3)
    root = np.linalg.cholesky(covariance)
    white = np.linalg.solve(root, (draws.z.reshape(-1, 3) - mean).T).T
    np.testing.assert_allclose(white.mean(0), 0.0, atol=4.0 / np.sqrt(info["smallest_ess_bulk"]))
    squares = ess_bulk(white.reshape(draws.z.shape) ** 2).min()  # fewer than for the mean: trajectories swing across
    np.testing.assert_allclose(np.cov(white.T), np.eye(3), atol=4.0 * np.sqrt(2.0 / squares))
    assert info["worst_rhat"] < 1.1 and info["dead_particles"] == 0
    assert info["evaluations"] > info["particles"] * info["rounds"] * CONFIG.n_moves


def test_modes_have_their_weights(x64, programs):
    """From the prior, which does not know where the modes are."""
    two = Mixture.of([[-2.0, 0.0, 0.0], [2.0, 1.0, 0.0]],
                     [np.diag([0.09, 0.25, 1.0]), np.diag([0.25, 0.25, 0.5])], [2.4, 0.6])
    draws, evidence, info = sample_smc(jax.random.key(3), two, two.prior, programs)
    assert abs(evidence.log - np.log(3.0)) < 4.0 * evidence.error < 1.0
    share = (draws.z[..., 0] > 0.0).mean(1)
    assert abs(share.mean() - 0.2) < 4.0 * share.std(ddof=1) / np.sqrt(len(share))
    assert share.mean() == pytest.approx(0.2, abs=0.08)
    assert info["smallest_ess_bulk"] < 1000.0  # the groups' disagreement is counted


def test_from_the_maps_of_modes(x64, programs):
    """Widened maps are close to the posterior: few rounds, and a small error."""
    rng = np.random.default_rng(0)
    mean, covariance = rng.normal(size=3), random_covariance(rng, 3, 100.0)
    toy = Toy.of(mean, covariance, log_mass=-2.0)
    off = gaussian(mean + 0.3 * np.sqrt(np.diag(covariance)), 1.2 * covariance, 1, np.float64)
    start = Maps.of([off, gaussian(mean, covariance, 0, np.float64)], [0.7, 0.3], 1.5)
    z = jax.vmap(start.sample)(jax.random.split(jax.random.key(0), 4000))
    inside = np.exp(jax.vmap(lambda x: toy.log_prob(x) - start.log_prob(x))(z))
    assert inside.mean() == pytest.approx(np.exp(-2.0), rel=0.1)  # so draws and density belong together
    _, evidence, info = sample_smc(jax.random.key(2), toy, start, programs)
    assert info["rounds"] <= 3
    assert abs(evidence.log + 2.0) < 4.0 * evidence.error < 0.4


def test_particles_without_a_density_are_left_out(x64):
    """They get no weight, and count in the evidence as nothing."""
    config = SMCConfig(n_groups=2, n_particles=4, share=0.2)
    z = np.arange(8.0).reshape(2, 4, 1)
    target = np.array([[0.0, np.nan, 0.0, -np.inf], [0.0, 0.0, 0.0, np.nan]])
    state = resampled(jax.random.key(0), Particles(z, np.zeros((2, 4)), target, 0.0, np.zeros(2), 0.1), config)
    assert state.beta == 1.0 and np.isfinite(state.target).all()
    np.testing.assert_allclose(state.log_z, np.log([0.5, 0.75]))
    with pytest.raises(FloatingPointError, match="no finite log-posterior"):
        resampled(jax.random.key(0), state._replace(target=np.full((2, 4), np.nan)), config)


def test_too_long_a_way_is_said(x64, programs):
    toy = Toy.of(np.full(3, 4.0), 1e-4 * np.eye(3))
    short = programs._replace(config=SMCConfig(n_groups=6, n_particles=64, n_moves=3, max_rounds=2))
    with pytest.raises(FloatingPointError, match="after 2 rounds"):
        sample_smc(jax.random.key(0), toy, toy.prior, short)


@pytest.mark.slow
def test_a_lens_with_two_modes(tmp_path):
    """A whole fit by particles: both orders of two exchangeable sources, with the weights that are known."""
    truth, prior = exchangeable()
    data = observe(truth, blank(size=24, pixel_scale=0.12, rms=0.03))
    config = FitConfig(derived=False,
                       n_screen=64, n_starts=16, n_finalists=8, map_rounds=2, vi_steps=8, vi_samples=32, n_chains=8,
                       sampler="smc", smc_start="map", smc_groups=4, smc_particles=32, smc_moves=3, target_ess=100.0,
                       target_tail_ess=40.0, target_rhat=1.2, n_predictive=0)
    store = Store(tmp_path, "a", 0.0)
    result = fit(prior, [data], config=config, seed=2, store=store)
    rows = result.info["map"]["modes"]
    share = (result.samples["source_light.0.center_x"] > 0.0).mean()
    error = rows[0]["weight"] * rows[0]["log_evidence_error"]
    assert abs(share - odds_of_the_order()) < 4.0 * error + 0.02 < 0.4
    assert result.info["hmc"]["sampler"] == "smc" and result.info["evidence"]["method"] == "smc"
    laplace = result.info["evidence"]["log_evidence_laplace"]
    assert result.info["evidence"]["log_evidence"] == pytest.approx(laplace, abs=4.0 * result.info["evidence"]["error"]
                                                                    + 0.3)
    again = fit(prior, [data], config=config, seed=2, store=Store(tmp_path, "a", 0.0))
    np.testing.assert_array_equal(again.samples["mass.0.theta_E"], result.samples["mass.0.theta_E"])
