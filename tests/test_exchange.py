"""Orders of like profiles: copies where priors are equal, folded into one where they are not."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, exchangeable, observe, odds_of_the_order

from giga import EPL, Scene, Sersic
from giga.bayes.exchange import exchanges
from giga.bayes.points import PointImages, PointTerm
from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior
from giga.inference.chains.hmc import Draws
from giga.inference.gather import _mode, _variational_draws
from giga.inference.modes.modes import Mode, ModesConfig, _nearest, find_modes
from giga.inference.sampling import dealt
from giga.inference.search.lanes import improver, screener
from giga.inference.search.map import MapConfig, MapState, find_map
from giga.inference.variational.transport import gaussian
from giga.inference.variational.vi import ascender
from giga.runtime.parallel import mesh


def sersic(scale: float = 0.1, n: object = 1.0, tied: object = None) -> Sersic:
    return Sersic(amp=dist.LogNormal(1.0, 0.5), R_sersic=dist.LogNormal(-1.0, 0.2), n_sersic=n, e1=0.0, e2=0.0,
                  center_x=dist.Normal(0.0, scale) if tied is None else tied, center_y=dist.Normal(0.0, 0.1))


def orders(*sources: Sersic) -> int:
    scene = Scene(mass=[EPL(theta_E=dist.Normal(1.0, 0.1), gamma=2.0, e1=0.0, e2=0.0)], source_light=list(sources))
    return exchanges(Prior.of(scene)).orders


def test_which_profiles_may_be_exchanged():
    shared = dist.Normal(0.0, 0.1)
    assert orders(sersic()) == 1
    assert orders(sersic(), sersic()) == 2
    assert orders(sersic(), sersic(), sersic()) == 6
    assert orders(sersic(), sersic(), sersic(0.2), sersic(0.2)) == 4
    assert orders(sersic(), sersic(0.2)) == 1
    assert orders(sersic(), sersic(n=2.0)) == 1
    assert orders(sersic(), sersic(n=dist.Uniform(0.5, 4.0))) == 1
    assert orders(sersic(tied=shared), sersic(tied=shared)) == 1
    assert orders(*[sersic() for _ in range(9)]) == 362880


@pytest.fixture(scope="module")
def twins():
    """Two sources with one prior; the image does not know which is which."""
    truth, prior = exchangeable()
    places = [(dist.Normal(0.0, 0.15), dist.Normal(0.0, 0.15)) for _ in range(2)]
    prior = prior.replace(source_light=[p.replace(center_x=x, center_y=y)
                                        for p, (x, y) in zip(prior.source_light, places, strict=True)])
    return Posterior.of(prior, [observe(truth, blank())])


def test_the_density_does_not_know_the_order(twins, rng):
    (order,) = exchanges(twins.prior).swaps
    z = rng.normal(size=(4, twins.prior.size)).astype(np.float32)
    log_prob = jax.jit(jax.vmap(twins.log_prob))
    np.testing.assert_allclose(log_prob(z[:, order]), log_prob(z), rtol=1e-5)


def test_copies_of_a_mode_are_one_mode(twins):
    over = mesh()
    improve, ascent = improver(over, 5), ascender(over, 32, 1)
    found, _ = find_map(jax.random.key(0), twins, MapConfig(n_screen=64, n_starts=8, n_finalists=8, rounds=2),
                        screener(over), improve)
    apart, _ = find_modes(twins, found, improve, ascent, ModesConfig())
    assert sum(mode.weight > 0.2 for mode in apart) == 2
    together, _ = find_modes(twins, found, improve, ascent, ModesConfig(), exchanges(twins.prior))
    assert sum(mode.weight > 0.01 for mode in together) == 1
    assert together[0].starts > apart[0].starts


def test_any_order_is_undone_by_exchanges_of_two(rng):
    """Three profiles in any of their orders are brought back to the first."""
    prior = Prior.of(Scene(source_light=[sersic() for _ in range(3)]))
    like = exchanges(prior)
    z = 5.0 * rng.normal(size=prior.size)
    mode = Mode(z, 0.0, np.eye(prior.size), 1, 1.0, 0.0, np.nan)
    other = mode
    for p in rng.permutation(like.swaps):
        other = other._replace(z=other.z[p])
        np.testing.assert_array_equal(_nearest(mode, other, like).z, z)


def unlike(*sources: Sersic):
    return exchanges(Prior.of(Scene(source_light=list(sources)))).unlike


def test_which_profiles_differ_in_their_priors_alone():
    assert unlike(sersic(), sersic()) is None
    assert unlike(sersic(), sersic(n=2.0)) is None
    assert unlike(sersic(), sersic(n=dist.Uniform(0.5, 4.0))) is None
    assert unlike(sersic(n=dist.Uniform(0.5, 5.0)), sersic(n=dist.Uniform(0.5, 4.0))) is None  # other supports
    assert len(unlike(sersic(), sersic(0.2)).place) == 2
    assert len(unlike(sersic(), sersic(), sersic(0.2)).place) == 3
    assert len(unlike(sersic(), sersic(0.2), sersic(0.3)).place) == 6
    assert len(unlike(sersic(), sersic(0.2), sersic(n=2.0), sersic(0.2, n=2.0)).place) == 4
    assert unlike(*[sersic(0.1 + 0.01 * k) for k in range(5)]) is None  # too many


@pytest.fixture(scope="module")
def siblings():
    """Two sources whose priors differ in their places."""
    truth, prior = exchangeable()
    posterior = Posterior.of(prior, [observe(truth, blank())])
    return posterior.replace(orders=exchanges(posterior.prior).unlike)


def test_orders_have_one_likelihood_and_their_priors_are_summed(siblings, rng):
    z = rng.normal(size=siblings.prior.size).astype(np.float32)
    one, other = siblings.orders(z)
    np.testing.assert_array_equal(one, z)
    x, y = (siblings.prior.values(siblings.prior.constrain(v)) for v in (one, other))
    for name in ("center_x", "center_y"):
        np.testing.assert_allclose(x[f"source_light.0.{name}"], y[f"source_light.1.{name}"], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(x[f"source_light.1.{name}"], y[f"source_light.0.{name}"], rtol=1e-4, atol=1e-6)
    plain = siblings.replace(orders=None)
    log_prob, log_likelihood = jax.jit(Posterior.log_prob), jax.jit(Posterior.log_likelihood)
    np.testing.assert_allclose(log_likelihood(plain, one), log_likelihood(plain, other), rtol=1e-5)
    each = [float(log_prob(plain, v)) for v in (one, other)]
    assert abs(each[0] - each[1]) > 0.01
    np.testing.assert_allclose(log_prob(siblings, z), np.logaddexp(*each), rtol=1e-5)
    np.testing.assert_allclose(log_prob(siblings, other), log_prob(siblings, one), rtol=1e-5)


def test_draws_are_dealt_by_the_odds_of_the_priors(siblings):
    z = siblings.prior.vector({"mass.0.theta_E": 0.9, "source_light.0.center_x": 0.3, "source_light.0.center_y": 0.1,
                               "source_light.1.center_x": -0.1, "source_light.1.center_y": -0.1})
    plain = siblings.replace(orders=None)
    log_prob = jax.jit(jax.vmap(Posterior.log_prob, (None, 0)))
    count = 4000
    none = np.zeros((4, count // 4))
    draws = Draws(np.broadcast_to(z, (4, count // 4, len(z))), np.full((4, count // 4), log_prob(siblings, z[None])[0]),
                  *[none] * 4)
    out = dealt(jax.random.key(0), siblings, draws)
    first = np.isclose(out.z, z).all(-1)
    expected = float(np.exp(log_prob(plain, z[None])[0] - draws.log_prob[0, 0]))
    assert 0.1 < expected < 0.9
    assert first.mean() == pytest.approx(expected, abs=4.0 * np.sqrt(0.25 / count))
    for kept in (first, ~first):
        np.testing.assert_allclose(out.log_prob[kept], log_prob(plain, out.z[kept][:1])[0], rtol=1e-4)
    assert dealt(jax.random.key(0), plain, draws) is draws


def test_modes_that_the_priors_alone_tell_apart_are_one(siblings):
    over = mesh()
    improve, ascent = improver(over, 5), ascender(over, 32, 1)
    found, _ = find_map(jax.random.key(0), siblings, MapConfig(n_screen=64, n_starts=8, n_finalists=8, rounds=2),
                        screener(over), improve)
    modes, _ = find_modes(siblings, found, improve, ascent, ModesConfig(), exchanges(siblings.prior))
    assert sum(mode.weight > 0.01 for mode in modes) == 1


def test_the_result_is_in_one_order_at_its_best_and_in_all_of_them_in_draws(siblings):
    """The best fit stands in the order that the prior likes; draws of the map are dealt."""
    plain = siblings.replace(orders=None)
    log_prob = jax.jit(Posterior.log_prob)
    z = np.asarray(siblings.prior.vector({
        "mass.0.theta_E": 0.9, "source_light.0.center_x": -0.1, "source_light.0.center_y": -0.06,
        "source_light.1.center_x": 0.08, "source_light.1.center_y": 0.05}))
    found = MapState(z[None], np.asarray(log_prob(siblings, z))[None], np.eye(len(z))[None])
    best, height = _mode(siblings, found)
    other = np.asarray(siblings.orders(z))[1]
    np.testing.assert_allclose(best, other, atol=1e-6)
    assert height == pytest.approx(float(log_prob(plain, best)), rel=1e-5)
    assert height > float(log_prob(plain, z))
    assert _mode(plain, found)[1] == float(found.log_prob[0])
    draws = _variational_draws(siblings, gaussian(z, 1e-4 * np.eye(len(z))), jax.random.key(0))
    x = np.asarray(draws)[:, siblings.prior.names.index("source_light.0.center_x")]
    assert np.mean(np.abs(x - best[siblings.prior.names.index("source_light.0.center_x")]) < 0.1) == pytest.approx(
        odds_of_the_order(), abs=0.05)


def test_profiles_that_a_likelihood_knows_by_their_number_stay_in_place():
    """Of three alike, one is the host of measured point images: the two others may change places alone."""
    light = [Sersic(R_sersic=0.2, n_sersic=1.0, center_x=dist.Normal(0.0, 0.1)) for _ in range(3)]
    prior = Prior.of(Scene(source_light=light))
    assert exchanges(prior).orders == 6
    held = exchanges(prior, {("source_light", 1)})
    assert held.orders == 2
    (place,) = held.swaps
    assert place[1] == 1 and sorted(place) == [0, 1, 2]
    term = PointTerm(data=PointImages.of([1.0, -0.9], [0.0, 0.1], 0.01), source=1, images=(0, 2))
    assert term.named == [("source_light", 1), ("lens_light", 0), ("lens_light", 2)]
