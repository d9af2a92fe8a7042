"""The search for the mode, on a small simulated lens."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, draw, lens, lens_prior, log_prob, observe

from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior
from giga.inference.search.lanes import Lanes, damped_step, improver, screener, softened, with_solved_amplitudes
from giga.inference.search.map import (
    MapConfig,
    _arriving,
    _climbing,
    _hopped,
    _idle,
    _kept,
    draws_of_a_call,
    find_map,
    multi_start_adam,
)
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.runtime.parallel import mesh

TRUTH = {"mass.0.theta_E": 0.9, "mass.0.gamma": 2.05, "mass.0.e1": 0.08, "mass.0.e2": -0.05, "mass.0.center_x": 0.0,
         "mass.1.gamma1": 0.02, "mass.1.gamma2": -0.03, "lens_light.0.amp": 4.0, "lens_light.0.R_sersic": 0.5,
         "source_light.0.amp": 20.0, "source_light.0.R_sersic": 0.2, "source_light.0.n_sersic": 1.2,
         "source_light.0.center_x": 0.05, "source_light.0.center_y": -0.04}
STEPS = 5


@pytest.fixture(scope="module")
def posterior():
    return Posterior.of(lens_prior(), [observe(lens(), blank(exposure=500.0))])


@pytest.fixture(scope="module")
def improve():
    return improver(mesh(), STEPS)


def lanes_at(z) -> Lanes:
    z = np.asarray(z)
    return Lanes(z, *(np.full(len(z), v, z.dtype) for v in (-np.inf, 1.0, np.inf)))


@pytest.fixture(scope="module")
def mode(posterior, improve):
    """The mode that a start from the truth finds: its log-posterior."""
    lanes = lanes_at(np.repeat(np.asarray(posterior.prior.vector(TRUTH))[None], 8, 0))
    for _ in range(6):
        lanes, _ = improve(posterior, lanes, np.zeros(posterior.prior.size, bool))
    return float(np.max(lanes.log_prob))


@pytest.mark.slow
def test_the_search_finds_the_mode_of_the_truth(posterior, improve, mode):
    reports = []
    config = MapConfig(n_screen=96, n_starts=24, n_finalists=8, steps=STEPS, rounds=6)
    found, info = find_map(jax.random.key(0), posterior, config, screener(mesh()), improve, report=reports.append)
    assert float(found.log_prob[0]) > mode - 0.1
    assert (np.diff(found.log_prob) <= 0.0).all()
    assert found.z.shape == (8, 14) and found.precision.shape == (8, 14, 14)
    assert info["starts"] == 96 and info["dead_lanes"] == 0
    assert 1 <= info["agreeing_finalists"] <= info["finalists"] == 8
    assert 4 <= info["rounds"] <= 6 and info["jacobians"] == STEPS * (24 + info["rounds"] * 8)
    assert len(reports) == info["rounds"] + 1 and reports[-1]["done"] == 1.0
    assert reports[-1]["chi2"] / 22**2 == pytest.approx(1.0, abs=0.2)
    np.testing.assert_allclose(log_prob(posterior, found.z[0]), found.log_prob[0], atol=0.01)


@pytest.mark.parametrize("softening", [(), (0.3,)])
def test_the_second_half_of_the_draws_has_the_light_of_the_best_start(posterior, improve, softening):
    """Of those that see the same noise; all else is drawn anew. No call of the screen has another shape."""
    asked, begun = [], []
    screen = screener(mesh())

    def telling_screen(posterior, z, shares):
        asked.append((np.array(z), np.asarray(shares)))
        return screen(posterior, z, shares)

    def telling(posterior, lanes, frozen, shares):
        begun.append((improve(posterior, lanes, frozen, shares), shares))
        return begun[-1][0]

    config = MapConfig(n_screen=33, n_starts=24, n_finalists=8, steps=STEPS, rounds=1, softening=softening)
    _, info = find_map(jax.random.key(0), posterior, config, telling_screen, telling)
    assert [z.shape for z, _ in asked] == [(17, 14)] * 2 == [(draws_of_a_call(posterior.prior, config), 14)] * 2
    light = np.array([name.startswith("lens_light") for name in posterior.prior.names])
    z, shares = asked[1]
    for share in np.unique(shares):
        lanes = [(out.log_prob[k], out.z[k]) for (out, _), own in begun[:2] for k in range(8) if own[k] == share]
        best = np.asarray(max(lanes, key=lambda lane: lane[0])[1])
        np.testing.assert_array_equal(z[shares == share][:, light], np.tile(best[light], ((shares == share).sum(), 1)))
    assert light.any() and len(np.unique(z[:, ~light], axis=0)) == 17 and not np.isin(z[:, ~light], asked[0][0]).any()
    assert len(begun) == 4 and info["jacobians"] == STEPS * 32  # three groups, and the finalists
    dark = Prior.of(Scene(source_light=[Sersic(R_sersic=dist.LogNormal(-1.0, 0.3), n_sersic=1.0)]))
    assert draws_of_a_call(dark, config) == 33


def test_a_start_joins_the_search(posterior, improve, mode):
    """With hardly any draws the search finds the mode through the start that it is given."""
    config = MapConfig(n_screen=8, n_starts=8, n_finalists=8, steps=STEPS, rounds=4)
    start = np.asarray(posterior.prior.vector(TRUTH))[None]
    found, _ = find_map(jax.random.key(0), posterior, config, screener(mesh()), improve, start)
    assert float(found.log_prob[0]) > mode - 0.1


def test_steps_never_lower_the_log_posterior(posterior):
    step = jax.jit(damped_step)
    free = jnp.zeros(posterior.prior.size, bool)
    for seed in range(3):
        lane = Lanes(draw(posterior, seed, 1.0), *(jnp.float32(v) for v in (-jnp.inf, 1.0, jnp.inf)))
        trace = []
        for _ in range(8):
            lane, _ = step(posterior, lane, free)
            trace.append(float(lane.log_prob))
        assert (np.diff(trace) >= 0.0).all()
        assert trace[-1] > trace[0]
        assert float(log_prob(posterior, lane.z)) == pytest.approx(trace[-1], rel=1e-5, abs=0.01)


def test_frozen_parameters_stay(posterior):
    frozen = jnp.arange(14) < 5
    lane = Lanes(draw(posterior, 1), *(jnp.float32(v) for v in (-jnp.inf, 1.0, jnp.inf)))
    after, _ = jax.jit(damped_step)(posterior, lane, frozen)
    np.testing.assert_array_equal(after.z[:5], lane.z[:5])
    assert (np.asarray(after.z[5:]) != np.asarray(lane.z[5:])).any()


def test_a_lane_that_is_not_finite_stays_so(posterior):
    lane = Lanes(jnp.full(14, jnp.nan), *(jnp.float32(v) for v in (-jnp.inf, 1.0, jnp.inf)))
    after, _ = jax.jit(damped_step)(posterior, lane, jnp.zeros(14, bool))
    assert np.isnan(float(after.log_prob))


class Flawed(Sersic):
    """A light that is NaN for a part of its prior."""

    def basis(self, x, y):
        return jnp.where(self.center_x > 0.05, jnp.nan, super().basis(x, y))


def flawed(low: float) -> Posterior:
    scene = Scene(lens_light=[Flawed(amp=dist.LogNormal(1.4, 0.3), R_sersic=0.5, n_sersic=2.0,
                                     center_x=dist.Uniform(low, 0.2))])
    image = observe(Scene(lens_light=[Sersic(amp=4.0, R_sersic=0.5, n_sersic=2.0)]), blank(size=14))
    return Posterior.of(scene, [image])


def test_dead_lanes_are_counted(improve):
    """Half of the draws are NaN; they are counted, go last, and the mode is found without them."""
    config = MapConfig(n_screen=64, n_starts=16, n_finalists=8, steps=STEPS, rounds=2)
    found, info = find_map(jax.random.key(0), flawed(-0.1), config, screener(mesh()), improve)
    assert 15 < info["dead_lanes"] < 49
    assert np.isfinite(found.log_prob[0])


@pytest.mark.parametrize("rounds", [1, 40])
def test_all_lanes_dead_is_an_error(improve, rounds):
    config = MapConfig(n_screen=16, n_starts=8, n_finalists=8, steps=STEPS, rounds=rounds)
    with pytest.raises(FloatingPointError, match="all 16 starts have a log-posterior that is not finite"):
        find_map(jax.random.key(0), flawed(0.1), config, screener(mesh()), improve)


def test_solved_amplitudes_improve_a_draw():
    """With noise that does not follow the model, chi2 is what they minimise."""
    posterior = Posterior.of(lens_prior(), [observe(lens(), blank())])
    solve = jax.jit(with_solved_amplitudes)
    chi2 = jax.jit(Posterior.chi2)
    amplitudes = [posterior.prior.names.index(n) for n in ("lens_light.0.amp", "source_light.0.amp")]
    for seed in range(4):
        z = draw(posterior, seed, 1.0)
        after = solve(posterior, z)
        assert float(chi2(posterior, after)) < float(chi2(posterior, z))
        np.testing.assert_allclose(np.delete(after, amplitudes), np.delete(z, amplitudes), atol=2e-3)
        assert np.abs(np.asarray(after)[amplitudes]).max() < 3.01  # within three prior deviations


def test_solved_amplitudes_are_the_true_ones_at_the_truth(x64):
    exact = Posterior.of(lens_prior(), [observe(lens(), blank(), seed=None)], dtype=np.float64)
    wrong = {**TRUTH, "lens_light.0.amp": 2.0, "source_light.0.amp": 33.0}
    x = exact.prior.constrain(jax.jit(with_solved_amplitudes)(exact, exact.prior.vector(wrong)))
    assert {name: float(v) for name, v in exact.prior.values(x).items()} == pytest.approx(TRUTH, abs=1e-6)


def test_tied_amplitudes_are_left_alone(x64):
    amp = dist.LogNormal(0.0, 0.5)
    scene = Scene(lens_light=[Sersic(amp=amp, R_sersic=0.5, n_sersic=1.0), Sersic(amp=amp, R_sersic=0.2, n_sersic=1.0)])
    posterior = Posterior.of(scene, [observe(lens(), blank())], dtype=np.float64)
    np.testing.assert_allclose(with_solved_amplitudes(posterior, jnp.array([0.4])), [0.4], rtol=1e-12)


def test_each_band_solves_its_own_amplitude(x64):
    def scene(red, blue):
        return Scene(lens_light=[Sersic(amp=red, R_sersic=0.5, n_sersic=1.0, bands=("red",)),
                                 Sersic(amp=blue, R_sersic=0.3, n_sersic=1.0, bands=("blue",))])

    observations = [observe(scene(3.0, 0.5), blank(band=band), seed=None) for band in ("blue", "red")]
    posterior = Posterior.of(scene(dist.LogNormal(0.0, 1.0), dist.LogNormal(0.0, 1.0)), observations, dtype=np.float64)
    x = posterior.prior.constrain(with_solved_amplitudes(posterior, jnp.zeros(2)))
    np.testing.assert_allclose(x, [3.0, 0.5], rtol=1e-8)


def test_adam_for_comparison():
    """On an easy light it climbs to the mode that damped steps find."""
    image = observe(Scene(lens_light=[Sersic(amp=4.0, R_sersic=0.5, n_sersic=2.0)]), blank(size=14))
    scene = Scene(lens_light=[Sersic(amp=dist.LogNormal(1.4, 0.3), R_sersic=dist.LogNormal(-0.7, 0.2), n_sersic=2.0)])
    posterior = Posterior.of(scene, [image])
    found, info = multi_start_adam(jax.random.key(0), posterior, mesh(), n_starts=8, steps=400, learning_rate=0.05)
    lanes, _ = improver(mesh(), 10)(posterior, lanes_at(np.asarray(found.z)), np.zeros(2, bool))
    assert float(found.log_prob[0]) > float(np.max(lanes.log_prob)) - 0.1
    assert found.precision.shape == (8, 2, 2)
    assert info["evaluations"] == 3200 and info["dead_lanes"] == 0


def test_screening_takes_names_from_the_prior():
    assert set(Prior.of(lens_prior()).names) == set(TRUTH)


def test_lanes_go_on_while_one_climbs():
    best, agree = -100.0, 0.5
    def climbing(before, after):
        return _climbing(np.array(before), np.array(after), agree).tolist()

    assert climbing([best, -500.0], [best, -500.0]) == [False, False]
    assert climbing([best - 10.0, -500.0], [best, -500.0]) == [True, False]  # the best itself
    assert climbing([best, -500.0], [best, -300.0]) == [False, True]  # on its way to overtake it
    assert climbing([best, -500.0], [best, -499.0]) == [False, False]  # too slow
    assert climbing([best, np.nan], [best, np.nan]) == [False, False]
    assert climbing([-np.inf, -500.0], [best, -500.0]) == [True, False]


def test_softened_noise_has_a_share_of_the_data(posterior):
    """In quadrature, where the data are positive; a share of zero is the posterior itself."""
    z = draw(posterior, 3)
    assert float(log_prob(softened(posterior, 0.0), z)) == float(log_prob(posterior, z))
    (data,), (soft,) = posterior.data, softened(posterior, np.float32(0.3)).data
    image = np.asarray(data.image, float)
    assert (image < 0.0).any() and soft.variance.dtype == data.variance.dtype
    np.testing.assert_allclose(soft.variance, np.asarray(data.variance) + 0.09 * np.maximum(image, 0.0) ** 2, rtol=1e-5)


def test_a_search_softens_half_of_its_first_rounds(posterior, improve):
    """Every other start, in a schedule that ends; what is reported as log-posterior is never a softened one."""
    told, reports = [], []

    def telling(posterior, lanes, frozen, shares):
        told.append(np.unique(shares, return_counts=True))
        return improve(posterior, lanes, frozen, shares)

    config = MapConfig(n_screen=16, n_starts=8, n_finalists=8, steps=STEPS, rounds=4, softening=(0.3, 0.1, 0.03))
    found, _ = find_map(jax.random.key(0), posterior, config, screener(mesh()), telling, report=reports.append)
    assert [list(shares) for shares, _ in told] == [[0.0, 0.3], [0.0, 0.1], [0.0, 0.03], [0.0], [0.0]][:len(told)]
    assert all(list(counts) == [4, 4] for _, counts in told[:3]) and len(told) >= 4
    assert (np.diff([report["log_prob"] for report in reports]) >= 0.0).all()
    np.testing.assert_allclose(log_prob(posterior, found.z[0]), found.log_prob[0], atol=0.01)
    told.clear()
    find_map(jax.random.key(0), posterior, replace(config, rounds=2), screener(mesh()), telling)
    assert [shares.max() for shares, _ in told] == [0.3, 0.1, 0.0]  # the last is always as the noise is


def test_half_of_each_kind_is_kept():
    lanes = Lanes(np.zeros((6, 1)), *3 * [np.float32([-1.0, -2.0, -3.0, -4.0, -5.0, np.nan])])
    soft = np.array([True, True, True, False, False, False])
    for count, values, kinds in ((4, [-1, -2, -4, -5], [1, 1, 0, 0]), (1, [-4], [0]), (2, [-1, -4], [1, 0])):
        best, kind = _kept(lanes, soft, count)
        assert best.log_prob.tolist() == values and kind.tolist() == kinds
    best, kind = _kept(lanes, np.zeros(6, bool), 3)  # one kind is all there is
    assert best.log_prob.tolist() == [-1, -2, -3] and not kind.any()


def test_lanes_of_no_use_become_draws_about_the_best():
    """2, 4, 8 and 16 times as wide as the Gaussian of the curvature, and nowhere wider than twice the prior."""
    width, rng = 4000, np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    precision = np.tile(axes @ np.diag([100.0, 4.0, 1e-3]) @ axes.T, (width, 1, 1))
    log_prob = np.full(width, -500.0, np.float32)
    log_prob[:4] = [-10.0, -20.0, -200.0, -10.1]  # the best, another mode, one that climbs, a copy of the best
    lanes = Lanes(np.tile(np.float32([1.0, 2.0, 3.0]), (width, 1)), log_prob, np.ones(width, np.float32),
                  np.ones(width, np.float32))
    climbing = np.arange(width) == 2
    idle = _idle(lanes, precision[0], climbing, 0.5)
    after, drawn = _hopped(jax.random.key(1), lanes, precision[0], idle, first=0, most=width)
    assert not drawn[:3].any() and drawn[3:].all()
    np.testing.assert_array_equal(after.z[:3], lanes.z[:3])
    np.testing.assert_array_equal(after.log_prob[:3], lanes.log_prob[:3])
    assert (after.log_prob[3:] == -np.inf).all()
    steps = (after.z[3:] - lanes.z[0]) @ axes
    for k, widths in enumerate([[0.2, 1.0, 2.0], [0.4, 2.0, 2.0], [0.8, 2.0, 2.0], [1.6, 2.0, 2.0]]):
        own = steps[k::4]
        np.testing.assert_allclose(own.std(0), widths, rtol=0.1)  # 2.2% is one standard error
        np.testing.assert_allclose(own.mean(0) / own.std(0), 0.0, atol=0.13)


def test_draws_about_the_best_are_counted():
    """No more of them than are left, and their widths go on in turn where the draws before ended."""
    precision = 4.0 * np.eye(1)
    lanes = Lanes(np.zeros((4001, 1), np.float32), *3 * [np.zeros(4001, np.float32)])
    idle = _idle(lanes, precision, np.zeros(4001, bool), 0.5)
    assert idle[1:].all() and not idle[0]
    after, drawn = _hopped(jax.random.key(1), lanes, precision, idle, first=1, most=3000)
    assert drawn.sum() == 3000 and not drawn[0]
    np.testing.assert_allclose([after.z[drawn][k::4].std() for k in range(4)], [2.0, 2.0, 2.0, 1.0], rtol=0.1)
    assert not _hopped(jax.random.key(1), lanes, precision, idle, first=1, most=0)[1].any()


def test_a_lane_on_the_parabola_of_the_best_is_on_its_way_there():
    z = np.float32([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 3.0], [0.0, 0.1]])
    gaps = [0.0, 50.0, 20.0, 20.0, np.nan]  # the parabola says 0, 50, 2, 18 and 0.02
    lanes = Lanes(z, np.float32(-100.0 - np.array(gaps)), *2 * [np.ones(5, np.float32)])
    assert _arriving(lanes, np.diag([100.0, 4.0]), 0.5).tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("most", [2, 40])
def test_rounds_end(most):
    """A search ends when it has arrived, or after the most rounds."""
    truth, prior = lens(), lens_prior()
    posterior, over = Posterior.of(prior, [observe(truth, blank())]), mesh()
    config = MapConfig(n_screen=32, n_starts=8, n_finalists=4, steps=2, rounds=most)
    _, info = find_map(jax.random.key(0), posterior, config, screener(over), improver(over, 2))
    assert info["rounds"] == 2 if most == 2 else 4 <= info["rounds"] < 40
