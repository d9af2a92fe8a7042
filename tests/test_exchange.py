"""Orders of like profiles: found where priors are equal, and only there."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, exchangeable, observe

from giga import EPL, Scene, Sersic
from giga.exchange import exchanges
from giga.inference.map import MapConfig, find_map, improver, screener
from giga.inference.modes import Mode, ModesConfig, _nearest, find_modes
from giga.inference.vi import ascender
from giga.parallel import mesh
from giga.posterior import Posterior
from giga.prior import Prior


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
    (order,), _ = exchanges(twins.prior)
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
    together, _ = find_modes(twins, found, improve, ascent, ModesConfig(), exchanges(twins.prior).swaps)
    assert sum(mode.weight > 0.01 for mode in together) == 1
    assert together[0].starts > apart[0].starts


def test_any_order_is_undone_by_exchanges_of_two(rng):
    """Three profiles in any of their orders are brought back to the first."""
    prior = Prior.of(Scene(source_light=[sersic() for _ in range(3)]))
    swaps = exchanges(prior).swaps
    z = 5.0 * rng.normal(size=prior.size)
    mode = Mode(z, 0.0, np.eye(prior.size), 1, 1.0, 0.0, np.nan)
    other = mode
    for p in rng.permutation(swaps):
        other = other._replace(z=other.z[p])
        np.testing.assert_array_equal(_nearest(mode, other, swaps).z, z)
