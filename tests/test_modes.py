"""Modes: found, joined along ridges, weighed, and drawn from in proportion."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from _problems import Mixture, blank, exchangeable, observe, odds_of_the_order
from jax import Array

from giga.bayes.exchange import exchanges
from giga.bayes.posterior import Posterior
from giga.inference.chains.hmc import Draws, HMCConfig, sample_hmc, sampler, warm_up
from giga.inference.modes.evidence import bridge, laplace, log_density_of
from giga.inference.modes.mixture import mixture, weigh
from giga.inference.modes.modes import ModesConfig, as_found, find_modes, note_of, sentence
from giga.inference.pipeline import fit
from giga.inference.search.lanes import Lanes
from giga.inference.search.map import MapState
from giga.inference.settings import FitConfig
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import ascender
from giga.runtime.checkpoint import Store
from giga.runtime.parallel import mesh

OPTIMISED = True

CONFIG = ModesConfig()


@jax.jit
def climb(posterior: Mixture, lanes: Lanes, frozen: Array) -> tuple[Lanes, Array]:
    """A round of steps uphill in the place of Levenberg-Marquardt: the Gauss-Newton precision of the nearest part."""

    def one(z):
        def precision(z):
            shape = jax.jacfwd(lambda y: y.at[1].add(-posterior.bend * y[0] ** 2))(z)
            near = posterior.precisions[jnp.argmax(posterior.parts(z))]
            return shape.T @ near @ shape

        def step(_, z):
            gradient = jnp.where(frozen, 0.0, jax.grad(posterior.log_prob)(z))
            held = jnp.where(frozen[:, None] | frozen[None, :], jnp.eye(len(z)), precision(z))
            new = z + jnp.linalg.solve(held, gradient) * 0.5 ** jnp.arange(6)[:, None]
            values = jax.vmap(posterior.log_prob)(new)
            k = jnp.argmax(values)
            return jnp.where(values[k] > posterior.log_prob(z), new[k], z)

        z = jax.lax.fori_loop(0, 25, step, z)
        return z, posterior.log_prob(z), precision(z)

    z, value, precision = jax.vmap(one)(jnp.asarray(lanes.z))
    return Lanes(z, value, jnp.asarray(lanes.damping), jnp.asarray(lanes.chi2)), precision


@pytest.fixture(scope="module")
def ascent():
    return ascender(mesh(), 32, 1)


def finalists(posterior, z) -> MapState:
    """Climb from some points and take where they end as what the search has found, best first."""
    z = np.asarray(z, float)
    lanes, precision = climb(posterior, Lanes(z, *np.zeros((3, len(z)))), np.zeros(z.shape[1], bool))
    order = np.argsort(-np.asarray(lanes.log_prob))
    return MapState(*(np.asarray(a)[order] for a in (lanes.z, lanes.log_prob, precision)))


TWO = Mixture.of([[-2.0, 0.0, 0.0], [2.0, 1.0, 0.0]], [np.diag([0.09, 0.25, 1.0]), np.diag([0.25, 0.25, 0.5])],
                 [2.4, 0.6])


def test_two_modes_of_known_weight(x64, ascent, rng):
    found = finalists(TWO, TWO.means[[0, 1, 1, 0, 1, 0, 0, 0]] + 0.3 * rng.normal(size=(8, 3)))
    modes, evaluations = find_modes(TWO, found, climb, ascent, CONFIG)
    assert [mode.starts for mode in modes] == [5, 3] and evaluations > 0
    np.testing.assert_allclose([mode.weight for mode in modes], [0.8, 0.2], atol=0.002)  # Laplace is exact here
    assert sum(np.exp(laplace(m.log_prob, m.precision)) for m in modes) == pytest.approx(3.0, rel=0.01)
    assert modes[0].distance == 0.0 and modes[1].distance > 8.0
    assert modes[1].barrier > CONFIG.dip and np.isnan(modes[0].barrier)


def test_one_mode_is_one_mode(x64, ascent, rng):
    """Finalists that stopped short, and so differ a little, need no look between them."""
    one = Mixture.of([[0.0, 0.0, 0.0]], [np.diag([1.0, 0.04, 0.01])], [1.0])
    found = finalists(one, rng.normal(size=(8, 3)))
    short = found._replace(z=found.z + 0.1 * rng.normal(size=(8, 3)) * [1.0, 0.2, 0.1])
    modes, evaluations = find_modes(one, short, climb, ascent, CONFIG)
    assert len(modes) == 1 and modes[0].starts == 8 and modes[0].weight == 1.0 and evaluations == 0


@pytest.mark.parametrize("dipping", [False, True])
def test_points_on_a_ridge_are_one_mode(x64, ascent, dipping):
    """A ridge bent by many of its widths: the straight line dips by hundreds, the ridge only where it is cut."""
    means = [[-2.0, 0.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
    ridge = Mixture.of(means, [np.diag([0.49 if not dipping else 0.04, 0.01, 0.3])] * 3, [1.0, 1.0, 1.0], bend=0.8)
    found = finalists(ridge, np.array(means)[[0, 1, 2, 2, 0, 1, 1, 1]] + [0.0, 0.8, 0.0] * np.array(means)[[
        0, 1, 2, 2, 0, 1, 1, 1]][:, :1] ** 2)
    modes, _ = find_modes(ridge, found, climb, ascent, CONFIG)
    assert len(modes) == (3 if dipping else 1)
    assert sum(mode.starts for mode in modes) == 8


def test_a_start_that_is_stuck_is_noted(x64, ascent, rng):
    """A finalist far below the others is listed with its weight and not improved, nor lost."""
    found = finalists(TWO, TWO.means[[0, 0, 1, 0, 0, 0, 0, 0]] + 0.1 * rng.normal(size=(8, 3)))
    z = np.concatenate([found.z[1:], [[0.0, 9.0, 0.0]]])
    stuck = found._replace(z=z, log_prob=np.append(found.log_prob[1:], -300.0))
    modes, _ = find_modes(TWO, stuck, climb, ascent, CONFIG)
    assert sorted(mode.starts for mode in modes) == [1, 1, 6] and modes[2].weight < 1e-100
    rows = note_of(modes, CONFIG.floor)
    assert [row["sampled"] for row in rows] == [True, True, False]
    assert "1 finalists ended elsewhere, in 1 places" in sentence(rows)


@pytest.fixture(scope="module")
def sampled(ascent):
    """Chains from each of two modes, weighed and put together."""
    with jax.enable_x64(True):
        found = finalists(TWO, TWO.means[[0, 1] * 4])
        modes, _ = find_modes(TWO, found, climb, ascent, CONFIG)
        programs = sampler(mesh(), HMCConfig(n_chains=8, n_block=50, n_min=100, n_max=1000, ess=1000.0))
        transports, draws = [], []
        for k in range(len(modes)):
            one = as_found(modes, k, found)
            start = gaussian(one.z[0], np.linalg.inv(one.precision[0]), 0, np.float64)
            warm, _ = warm_up(jax.random.key(k), TWO, start, programs, ascent)
            state, out, info = sample_hmc(jax.random.key(10 + k), TWO, warm, programs)
            assert info["converged"], (info["worst_rhat"], info["smallest_ess_bulk"])
            transports.append(state.transport)
            draws.append(out)
        weighed = weigh(jax.random.key(5), TWO, transports, [m.weight for m in modes], draws, ascent, 512)
        return modes, transports, draws, weighed, mixture(np.random.default_rng(0), draws, weighed)


def test_each_mode_starts_from_its_own_finalists(x64, ascent, rng):
    found = finalists(TWO, TWO.means[[0, 1, 1, 0, 1, 0, 0, 0]] + 0.3 * rng.normal(size=(8, 3)))
    modes, _ = find_modes(TWO, found, climb, ascent, CONFIG)
    for k, side in ((0, -1.0), (1, 1.0)):
        one = as_found(modes, k, found)
        assert one.z.shape == found.z.shape and (np.sign(one.z[:, 0]) == side).all()
        np.testing.assert_array_equal(one.z[0], modes[k].z)


def test_weights_and_evidence_to_their_error(sampled):
    *_, weighed, _ = sampled
    assert weighed.total.error < 0.03 and weighed.dead == 0
    assert abs(weighed.total.log - np.log(3.0)) < 4.0 * weighed.total.error + 1e-3
    for evidence, mass in zip(weighed.modes, (2.4, 0.6), strict=True):
        assert abs(evidence.log - np.log(mass)) < 4.0 * evidence.error + 1e-3
    np.testing.assert_allclose(weighed.weights, [0.8, 0.2], atol=0.02)


def test_draws_are_of_the_whole_posterior(sampled, x64):
    """Every chain holds both modes in proportion, and moments are the mixture's."""
    _, _, draws, weighed, together = sampled
    assert together.z.shape[0] == 8 and together.z.shape[2] == 3
    right = together.z[..., 0] > 0.0
    np.testing.assert_allclose(right.mean(1), weighed.weights[1], atol=2.0 / together.z.shape[1])
    np.testing.assert_allclose(together.z.mean((0, 1)), [-1.2, 0.2, 0.0], atol=0.07)
    left = together.z[~right]
    np.testing.assert_allclose(left.var(0), [0.09, 0.25, 1.0], rtol=0.15)
    np.testing.assert_allclose(together.log_prob, jax.vmap(jax.vmap(TWO.log_prob))(together.z), atol=1e-8)
    assert len(np.unique(together.z[..., 0])) > 0.5 * together.z.shape[0] * together.z.shape[1]
    # places are at random: no half of a chain has more of a mode than chance gives
    half = right[:, :right.shape[1] // 2].mean()
    assert abs(half - right.mean()) < 4.0 * np.sqrt(0.16 / right.size)
    sub = mixture(np.random.default_rng(0), draws[:1], weighed)
    assert sub is draws[0]


def test_what_is_said_of_two_modes(sampled):
    modes, _, _, weighed, _ = sampled
    rows = note_of(modes, 1e-3, weighed)
    assert rows[0]["weight"] == pytest.approx(0.8, abs=0.02) and rows[1]["log_evidence_error"] < 0.05
    assert sentence(rows).startswith("2 modes were sampled, with weights 0.")
    rows = note_of(modes, 1e-3, None, {1: "the chains broke down"})
    assert not rows[1]["sampled"] and "1 could not be sampled (the chains broke down)" in sentence(rows)


def test_modes_that_touch_add_up(x64, ascent, rng):
    """Regions share out the space between two modes that overlap; chains that cross are counted once."""
    pair = Mixture.of([[-1.2, 0.0, 0.0], [1.2, 0.0, 0.0]], [np.eye(3) * 0.5] * 2, [0.5, 0.5])
    transports = [gaussian(mean, 0.5 * np.eye(3), 0, np.float64) for mean in pair.means]
    side = rng.integers(0, 2, (4, 1000))  # exact draws of the whole, as from chains that cross at will
    z = pair.means[side] + np.sqrt(0.5) * rng.normal(size=(4, 1000, 3))
    value = np.asarray(jax.vmap(jax.vmap(pair.log_prob))(z))
    draws = Draws(z, value, *(np.zeros((4, 1000)) for _ in range(4)))
    weighed = weigh(jax.random.key(0), pair, transports, [0.5, 0.5], [draws, draws], ascent, 2000)
    assert abs(weighed.total.log) < 4.0 * weighed.total.error < 0.1
    assert np.mean(weighed.labels[0] == 0) == pytest.approx(0.5, abs=0.05)
    together = mixture(np.random.default_rng(1), [draws, draws], weighed)
    assert together.z[..., 0].var() == pytest.approx(1.2**2 + 0.5, rel=0.1)


def test_bridge_error_is_its_spread():
    """Over many repetitions the estimate is unbiased and spreads as it says."""
    def one(seed):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(4, 100)), 0.5 + 1.3 * rng.normal(size=300)
        ratio = [np.log(3.0) - 0.5 * v**2 + 0.5 * ((v - 0.5) / 1.3) ** 2 + np.log(1.3) for v in (x, y)]
        return bridge(*ratio)

    log, error = np.array([one(seed) for seed in range(60)]).T
    assert abs(log.mean() - np.log(3.0)) < 4.0 * log.std() / np.sqrt(60)
    assert error.mean() == pytest.approx(log.std(), rel=0.35)


def test_bridge_refuses_what_does_not_overlap():
    with pytest.raises(FloatingPointError, match="0 of 3 proposals"):
        bridge(np.zeros((2, 4)), np.full(3, -np.inf))
    draws = np.random.default_rng(0).normal(size=(2, 50))
    for apart in (60.0, 400.0, 1000.0, 1e5):  # what is common to both is small, its square is zero, it is zero
        with pytest.raises(FloatingPointError, match="do not overlap"):
            bridge(draws, np.full(30, -apart))
    assert np.isfinite(bridge(draws, np.full(30, -10.0))).all()


def test_log_density_of_a_map(x64, rng):
    covariance = np.array([[1.0, 0.3], [0.3, 0.5]])
    z = rng.normal(size=(3, 5, 2))
    expected = scipy.stats.multivariate_normal(np.ones(2), covariance).logpdf(z)
    np.testing.assert_allclose(log_density_of(gaussian(np.ones(2), covariance, 1, np.float64), z), expected, atol=1e-10)


SMALL = FitConfig(derived=False,
                  n_screen=64, n_starts=16, n_finalists=8, map_rounds=2, vi_steps=8, vi_samples=32, n_chains=8,
                  n_block=50, n_pilot=1, min_iterations=100, max_iterations=300, target_ess=300.0,
                  target_tail_ess=120.0, target_rhat=1.03, n_bridge=256, n_predictive=0)


@pytest.fixture(scope="module")
def swapped(tmp_path_factory):
    """A lens whose two sources may be exchanged: the priors of their places make one order more likely.

    Their supports differ, so the two orders are modes of their own.
    """
    truth, priors = exchangeable(alike=False)
    data = observe(truth, blank(size=24, pixel_scale=0.12, rms=0.03))
    store = Store(tmp_path_factory.mktemp("swapped"), "a", 0.0)
    return priors, data, store, fit(priors, [data], config=SMALL, seed=2, store=store)


@pytest.mark.slow
def test_a_lens_with_exchanged_sources_has_both_orders(swapped):
    """The likelihood does not know the order, so the weights are the ratio of the priors at the two."""
    *_, result = swapped
    rows = result.info["map"]["modes"]
    assert [row["sampled"] for row in rows[:2]] == [True, True] and not any(row["sampled"] for row in rows[2:])
    expected = odds_of_the_order()
    x = result.samples["source_light.0.center_x"]
    share = (x > 0.0).mean()
    assert rows[0]["weight"] == pytest.approx(expected, abs=0.04) and share == pytest.approx(expected, abs=0.05)
    assert (x > 0.0).mean(1).std() < 0.05  # every chain holds both
    y = result.samples["source_light.1.center_x"]
    assert np.mean((x > 0.0) == (y < 0.0)) > 0.999
    assert result.info["hmc"]["modes"] == 2 and result.info["hmc"]["crossed"] == [0.0, 0.0]
    assert set(result.evaluations) == {"map", "svi", "hmc", "evidence"}
    assert result.info["map"]["modes_sentence"].startswith("2 modes were sampled")
    for name in ("mass.0.theta_E", "source_light.0.center_x"):
        assert result.diagnostics[name]["rhat"] < 1.05


@pytest.mark.slow
def test_orders_that_the_priors_alone_tell_apart_are_dealt(tmp_path):
    """One mode is sampled, and its draws are put in both orders by the odds of the priors."""
    truth, priors = exchangeable()
    data = observe(truth, blank(size=24, pixel_scale=0.12, rms=0.03))
    result = fit(priors, [data], config=SMALL, seed=2)
    rows = result.info["map"]["modes"]
    assert [row["sampled"] for row in rows] == [True] + [False] * (len(rows) - 1)
    x, y = (result.samples[f"source_light.{k}.center_x"] for k in range(2))
    assert (x > 0.0).mean() == pytest.approx(odds_of_the_order(), abs=0.05)
    assert np.mean((x > 0.0) == (y < 0.0)) > 0.999
    assert "can stand in 2 orders: the draws are in all of them" in result.info["map"]["modes_sentence"]
    assert (result.vi_samples["source_light.0.center_x"] > 0.0).mean() == pytest.approx(odds_of_the_order(), abs=0.05)
    posterior = Posterior.of(priors, [data])
    values = np.stack([result.samples[name][:2, :50] for name in posterior.prior.names], -1).reshape(100, -1)
    z = jax.jit(jax.vmap(posterior.prior.unconstrain))(values.astype(np.float32))
    expected = jax.jit(jax.vmap(Posterior.log_prob, (None, 0)))(posterior, z)
    np.testing.assert_allclose(result.sample_stats["lp"][:2, :50].reshape(-1), expected, atol=0.05)
    best = posterior.prior.vector(result.best)
    other = exchanges(posterior.prior).unlike(best)[1]
    assert Posterior.log_prob(posterior, best) > Posterior.log_prob(posterior, other)


@pytest.mark.slow
def test_one_of_two_modes_goes_on_where_it_stopped(swapped, tmp_path):
    """Killed in the chains of the second mode: the samples are those of the unbroken run."""
    prior, data, store, result = swapped
    shutil.copytree(store.folder, tmp_path / "a")
    parts = store.names("part-")
    called = [store.meta(part)["records"][0][0] for part in parts]
    second = len(called) - called[::-1].index("sample") - 2  # its last block but one
    for name in parts[second:]:
        (tmp_path / "a" / f"{name}.json").unlink()
    again = fit(prior, [data], config=SMALL, seed=2, store=Store(tmp_path / "a", "a", 0.0))
    for name, values in result.samples.items():
        np.testing.assert_array_equal(again.samples[name], values)
    assert again.evaluations == result.evaluations and again.info == result.info


def test_a_mode_that_its_chains_left_has_no_weight(x64, ascent, rng):
    """All of its draws lie in the region of the other: it is weighed as nothing, and the draws are the other's."""
    transports = [gaussian(mean, np.linalg.inv(precision), 0, np.float64)
                  for mean, precision in zip(TWO.means, TWO.precisions, strict=True)]
    z = TWO.means[0] + 0.1 * rng.normal(size=(4, 200, 3))
    draws = Draws(z, np.asarray(jax.vmap(jax.vmap(TWO.log_prob))(z)), *(np.zeros((4, 200)) for _ in range(4)))
    weighed = weigh(jax.random.key(0), TWO, transports, [0.8, 0.2], [draws, draws], ascent, 64)
    np.testing.assert_array_equal(weighed.weights, [1.0, 0.0])
    assert np.isfinite(weighed.total.log) and weighed.modes[1].log == -np.inf
    assert mixture(np.random.default_rng(1), [draws, draws], weighed).z[..., 0].max() < 0.0
