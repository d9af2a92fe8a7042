"""HMC on posteriors known in closed form, its counts, and going on after a stop."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from _problems import Toy, random_covariance

from giga.inference.chains.diagnostics import ess_bulk, ess_mean, rhat
from giga.inference.chains.hmc import Chains, Draws, HMCConfig, HMCState, Path, reach, sample_hmc, sampler, warm_up
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import ascender, log_density
from giga.runtime.parallel import mesh

OPTIMISED = True

CONFIG = HMCConfig(n_chains=8, n_block=100, n_min=200, n_max=3000, ess=2000.0)


@pytest.fixture(scope="module")
def programs():
    """Compiled once; the toys all have their numbers on their leaves."""
    return sampler(mesh(), CONFIG), ascender(mesh(), 16, 1)


def run(toy, transport, programs, seed: int = 0):
    key, sub = jax.random.split(jax.random.key(seed))
    state, _ = warm_up(key, toy, transport, *programs)
    return sample_hmc(sub, toy, state, programs[0])


def check_mean(values, expected, ess):
    """Within four standard errors, from the effective sample size."""
    error = values.std() / np.sqrt(ess)
    assert abs(values.mean() - expected) < 4.0 * error


@pytest.fixture(scope="module")
def ill_conditioned(programs):
    """Ten dimensions, condition number 1000, from a map that is off by a factor in every direction."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        mean, covariance = rng.normal(size=10), random_covariance(rng, 10, 1e3)
        start = gaussian(mean + 0.3 * np.linalg.cholesky(covariance) @ rng.normal(size=10),
                         0.6 * covariance + 0.1 * np.diag(np.diag(covariance)), 2, np.float64)
        return mean, covariance, *run(Toy.of(mean, covariance, log_mass=5.0), start, programs)


def test_gaussian_of_large_condition_number(ill_conditioned):
    mean, covariance, _, draws, info = ill_conditioned
    assert info["converged"] and info["divergences"] == 0 and info["dead_chains"] == 0
    assert rhat(draws.z).max() < 1.01
    white = np.linalg.solve(np.linalg.cholesky(covariance), (draws.z - mean).reshape(-1, 10).T).T.reshape(draws.z.shape)
    for k in range(10):
        values = white[..., k:k + 1]
        check_mean(values, 0.0, ess_bulk(values)[0])
        check_mean(values**2, 1.0, ess_bulk(values**2)[0])
        for q in (0.05, 0.5, 0.95):
            below = (values < scipy.stats.norm.ppf(q)).astype(float)
            check_mean(below, q, ess_bulk(below)[0])
    for j, k in ((0, 1), (3, 7), (8, 9)):
        product = (white[..., j] * white[..., k])[..., None]
        check_mean(product, 0.0, ess_bulk(product)[0])


def test_log_prob_is_that_of_the_posterior(ill_conditioned, x64):
    """In the prior's coordinates, the map's Jacobian taken out."""
    mean, covariance, _, draws, _ = ill_conditioned
    expected = 5.0 + scipy.stats.multivariate_normal(mean, covariance).logpdf(draws.z)
    np.testing.assert_allclose(draws.log_prob, expected, atol=1e-8)


def test_counts(ill_conditioned):
    _, _, state, draws, info = ill_conditioned
    assert draws.z.shape == (8, info["iterations"], 10)
    assert draws.acceptance_rate.shape == draws.diverging.shape == draws.energy.shape == draws.n_steps.shape
    assert info["evaluations"] == draws.n_steps.sum()
    assert 0.6 < info["acceptance"] <= 1.0
    assert draws.n_steps.min() < draws.n_steps.mean() < draws.n_steps.max()  # the length is jittered
    assert float(state.step_size) == info["step_size"] > 0.0


def test_effective_sample_size_is_what_repeated_chains_show(x64, programs):
    """The spread of chain means over many chains against the ESS that the chains claim."""
    toy = Toy.of(np.zeros(4), np.diag([1.0, 2.0, 0.5, 1.0]))
    transport = gaussian(np.zeros(4), np.eye(4), 0, np.float64)
    means, claimed = [], []
    for seed in range(4):
        _, draws, _ = run(toy, transport, programs, seed)
        values = draws.z / np.sqrt([1.0, 2.0, 0.5, 1.0])
        means.append(values.mean(1).reshape(-1))
        claimed.append(ess_bulk(values).mean() / values.shape[0])
    shown = 1.0 / np.concatenate(means).var()  # of 128 chains: good to 13% (one sigma)
    assert 0.6 < np.mean(claimed) / shown < 1.7


@pytest.mark.parametrize("bend, straightened", [(0.15, False), (0.4, True)])
def test_banana(x64, programs, bend, straightened):
    """A mild one from a plain Gaussian map; a strong one, too stiff for that, from a map that bends with it."""
    toy = Toy.of(np.zeros(3), np.diag([1.0, 0.3, 1.0]), bend=bend)
    transport = gaussian(np.zeros(3), np.diag([1.0, 0.3 + 2.0 * bend**2, 1.0]), 0, np.float64)
    if straightened:
        mean = transport.mean.copy()
        mean[0, 0], mean[2, 0] = -bend, bend
        transport = transport.replace(mean=mean)
    _, draws, info = run(toy, transport, programs)
    assert info["converged"]
    z0, z1 = draws.z[..., :1], draws.z[..., 1:2]
    for values, expected in ((z0, 0.0), (z0**2, 1.0), (z1, 0.0), (z1**2, 0.3 + 2.0 * bend**2),
                             (z0**2 * z1, 2.0 * bend)):
        check_mean(values, expected, ess_mean(values)[0])
    for q in (0.05, 0.95):
        below = (z0 < scipy.stats.norm.ppf(q)).astype(float)
        check_mean(below, q, ess_bulk(below)[0])


def test_trajectories_are_as_long_as_the_draws_reach(x64, programs):
    """Along a curve they grow, and the draws that are asked for take fewer iterations.

    Its ends are steep: what is left as curved as here has divergences, and too few draws there, at any length.
    """
    bend, spent = 1.0, {np.inf: 0, 1.1: 0}  # how much longer: never; as the draws say
    toy = Toy.of(np.zeros(3), np.diag([1.0, 0.3, 1.0]), bend=bend)
    transport = gaussian(np.zeros(3), np.diag([1.0, 0.3 + 2.0 * bend**2, 1.0]), 0, np.float64)
    fewer = programs[0]._replace(config=replace(CONFIG, ess=700.0))
    for seed in range(4):  # the number of one run is as random as its draws
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("giga.inference.chains.whitening.WORTH", 0.0)  # the curve stays
            state, _ = warm_up(jax.random.key(10 + seed), toy, transport, *programs)
        for longer in spent:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("giga.inference.chains.hmc.LONGER", longer)
                start = state._replace(length=np.asarray(CONFIG.length))
                _, _, info = sample_hmc(jax.random.key(20 + seed), toy, start, fewer)
            spent[longer] += info["iterations"]
            assert info["converged"]
            if longer == np.inf:
                assert info["length"] == CONFIG.length
            else:
                assert 1.3 * CONFIG.length < info["length"] <= 3.0 * CONFIG.length
    assert spent[1.1] < 0.8 * spent[np.inf]


def test_a_curved_ridge_is_made_straight(x64, programs):
    """The pilot finds its curve; the same draws then take far fewer gradients, and their moments are right."""
    bend, found = 1.0, []
    toy = Toy.of(np.zeros(4), np.diag([1.0, 0.02, 1.0, 0.5]), bend=bend)
    transport = gaussian(np.zeros(4), np.diag([1.0, 0.02 + 2.0 * bend**2, 1.0, 0.5]), 0, np.float64)
    fewer = programs[0]._replace(config=replace(CONFIG, ess=700.0))
    for worth in (0.0, 0.8):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("giga.inference.chains.whitening.WORTH", worth)
            state, _ = warm_up(jax.random.key(1), toy, transport, *programs)
        found.append(sample_hmc(jax.random.key(2), toy, state, fewer))
    (plain, _, before), (straight, draws, after) = found
    assert not plain.transport.bend.curve.any() and straight.transport.bend.curve.any()
    assert after["converged"] and after["evaluations"] < 0.3 * before["evaluations"]
    z0, z1 = draws.z[..., :1], draws.z[..., 1:2]
    for values, expected in ((z0, 0.0), (z0**2, 1.0), (z1, 0.0), (z1**2, 0.02 + 2.0 * bend**2),
                             (z0**2 * z1, 2.0 * bend)):
        check_mean(values, expected, ess_mean(values)[0])


def test_a_standard_normal_is_reached_as_it_is(x64, rng):
    """Whatever the number of draws and dimensions; wider draws are as wide as they are, up to a limit."""
    for count, n in ((60, 3), (300, 20), (4000, 40)):
        assert reach(rng.normal(size=(count, n))) < 1.1
    wide = rng.normal(size=(8, 1000, 4)) * [1.0, 2.0, 1.0, 1.0]
    assert reach(wide) == pytest.approx(2.0, rel=0.05)
    assert reach(10.0 * wide) == 3.0


def state_at(toy, transport, u, step_size: float = 0.3) -> HMCState:
    value, gradient = jax.vmap(jax.value_and_grad(lambda v: log_density(toy, transport, v)))(jnp.asarray(u))
    return HMCState(Chains(u, np.asarray(value), np.asarray(gradient)), np.asarray(step_size),
                    np.asarray(CONFIG.length), transport)


def test_a_chain_that_is_stuck_alone_makes_the_step_shorter(x64, programs):
    """Seven chains where a ridge is wide and one where it is narrow: the mean acceptance alone would not tell."""
    toy = Toy.of(np.zeros(3), np.diag([1.0, 0.3, 1.0]), bend=1.0)
    transport = gaussian(np.zeros(3), np.eye(3), 0, np.float64)
    u = np.zeros((8, 3))
    u[:, 1] = -1.0
    u[7, :2] = 6.0, 35.0
    short = programs[0]._replace(config=replace(CONFIG, n_max=400, ess=1.0, tail_ess=0.0, rhat=10.0))
    state, draws, info = sample_hmc(jax.random.key(4), toy, state_at(toy, transport, u, 0.2), short)
    assert 0 < info["resets"] <= 3 and float(state.step_size) == 0.2 * 0.5 ** info["resets"]
    assert info["dead_chains"] == 0 and draws.acceptance_rate.mean(1).min() > 0.4


@pytest.mark.parametrize(("stuck", "kept"), [(0, 2), (1, 2), (2, 4)])
def test_draws_outlive_a_chain_that_is_stuck_once_there_are_enough(x64, programs, stuck, kept):
    """In one block of two at the beginning they are left out, later they stay, and the step is halved either way."""

    class Scripted(NamedTuple):
        config: HMCConfig
        blocks: list[int]

        def run(self, key, posterior, state, adapt):
            rng, shape = np.random.default_rng(len(self.blocks)), (8, 100)
            rate = np.full(shape, 0.9)
            if len(self.blocks) == stuck:
                rate[3] = 0.1
            self.blocks.append(1)
            u = rng.normal(size=(*shape, 3))
            return state, Path(u, -u), Draws(u, np.zeros(shape), rate, np.zeros(shape, bool), np.zeros(shape),
                                             np.ones(shape, int))

    toy, transport = Toy.of(np.zeros(3), np.eye(3)), gaussian(np.zeros(3), np.eye(3), 0, np.float64)
    made = Scripted(replace(CONFIG, n_max=100 * kept, ess=np.inf), [])
    start = state_at(toy, transport, np.zeros((8, 3)), 0.4)
    state, draws, info = sample_hmc(jax.random.key(0), toy, start, made)
    assert draws.z.shape[1] == 100 * kept
    assert len(made.blocks) == kept + (stuck + 1 if stuck < 2 else 0)
    assert info["resets"] == 1 and float(state.step_size) == 0.2


def test_divergences_are_counted_and_never_accepted(x64, programs):
    """Beyond the hole the density is NaN: no draw lies there, and what ran into it is counted."""
    toy = Toy.of(np.zeros(3), np.eye(3), hole=0.5)
    transport = gaussian(np.zeros(3), np.eye(3), 0, np.float64)
    start = state_at(toy, transport, np.zeros((8, 3)))
    _, draws, info = sample_hmc(jax.random.key(1), toy, start, programs[0])
    assert info["divergences"] == draws.diverging.sum() > 0
    assert np.isfinite(draws.z).all() and np.isfinite(draws.log_prob).all()
    assert draws.z[..., 0].max() <= 0.5
    assert np.isfinite(draws.acceptance_rate).all()


def test_dead_chains_are_counted(x64, programs):
    """Two chains start where the density is NaN, and stay."""
    toy = Toy.of(np.zeros(3), np.eye(3), hole=3.0)
    transport = gaussian(np.zeros(3), np.eye(3), 0, np.float64)
    u = np.zeros((8, 3))
    u[[2, 5], 0] = 4.0
    _, _, info = sample_hmc(jax.random.key(1), toy, state_at(toy, transport, u), programs[0])
    assert info["dead_chains"] == 2
    assert not info["converged"]


def test_starts_without_a_density_are_replaced(x64, programs):
    """Half of the draws lie where the density is NaN; no chain is left there."""
    toy = Toy.of(np.zeros(3), np.eye(3), hole=0.0)
    state, info = warm_up(jax.random.key(2), toy, gaussian(np.zeros(3), np.eye(3), 0, np.float64), *programs)
    assert 0 < info["replaced_starts"] < 8
    assert np.isfinite(state.chains.logdensity).all()
    nowhere = Toy.of(np.zeros(3), np.eye(3), hole=-50.0)
    with pytest.raises(FloatingPointError, match="none of 8 draws"):
        warm_up(jax.random.key(2), nowhere, gaussian(np.zeros(3), np.eye(3), 0, np.float64), *programs)


def test_a_step_that_is_too_long_is_set_anew(x64, programs):
    """Draws made with it are left out, but their gradients count."""
    toy, transport = Toy.of(np.zeros(3), np.eye(3)), gaussian(np.zeros(3), np.eye(3), 0, np.float64)
    start = state_at(toy, transport, np.zeros((8, 3)))._replace(step_size=np.array(1.95))
    state, draws, info = sample_hmc(jax.random.key(4), toy, start, programs[0])
    assert info["resets"] >= 1 and info["converged"]
    assert float(state.step_size) < 1.6 and info["acceptance"] > CONFIG.target_accept - 0.1
    assert info["evaluations"] > draws.n_steps.sum()
    assert draws.z.std() == pytest.approx(1.0, rel=0.1)


def test_chains_go_on_until_the_tails_are_there(x64, programs):
    """The draws are the same; only where they end differs."""
    toy, transport = Toy.of(np.zeros(3), np.eye(3)), gaussian(np.zeros(3), np.eye(3), 0, np.float64)
    start = state_at(toy, transport, np.zeros((8, 3)))._replace(step_size=np.array(1.2))
    ends = []
    for tail in (0.0, 2000.0):
        wanted = replace(CONFIG, ess=100.0, tail_ess=tail, rhat=1.1)
        reports = []
        _, draws, info = sample_hmc(jax.random.key(1), toy, start, programs[0]._replace(config=wanted), reports.append)
        assert info["converged"] and info["smallest_ess_tail"] > tail
        assert [row["tail_ess"] for row in reports][-1] == info["smallest_ess_tail"]
        assert all(row["tail_ess"] <= tail for row in reports[1:-1])  # not before the fewest iterations
        ends.append(draws.z)
    assert CONFIG.n_min == ends[0].shape[1] < ends[1].shape[1]
    np.testing.assert_array_equal(ends[1][:, :ends[0].shape[1]], ends[0])


def test_warm_up_sets_the_step(x64, programs):
    """A step that the target's acceptance asks for, whatever the map's scale."""
    toy = Toy.of(np.zeros(3), 25.0 * np.eye(3))
    seen = []
    state, info = warm_up(jax.random.key(0), toy, gaussian(np.zeros(3), np.eye(3), 0, np.float64), *programs,
                          report=seen.append)
    assert len(seen) == 3
    assert info["evaluations"] > 0
    _, draws, _ = sample_hmc(jax.random.key(1), toy, state, programs[0])
    assert draws.acceptance_rate.mean() == pytest.approx(CONFIG.target_accept, abs=0.07)
    assert draws.z.std() == pytest.approx(5.0, rel=0.15)
