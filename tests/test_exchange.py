"""Orders of like profiles: found where priors are equal, and only there."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, exchangeable, observe

from giga import EPL, Scene, Sersic
from giga.exchange import exchanges
from giga.inference.map import MapConfig, find_map, improver, screener
from giga.inference.modes import ModesConfig, find_modes
from giga.inference.vi import ascender
from giga.parallel import mesh
from giga.posterior import Posterior
from giga.prior import Prior


def sersic(scale: float = 0.1, n: object = 1.0, tied: object = None) -> Sersic:
    return Sersic(amp=dist.LogNormal(1.0, 0.5), R_sersic=dist.LogNormal(-1.0, 0.2), n_sersic=n, e1=0.0, e2=0.0,
                  center_x=dist.Normal(0.0, scale) if tied is None else tied, center_y=dist.Normal(0.0, 0.1))


def count(*sources: Sersic) -> int:
    scene = Scene(mass=[EPL(theta_E=dist.Normal(1.0, 0.1), gamma=2.0, e1=0.0, e2=0.0)], source_light=list(sources))
    return len(exchanges(Prior.of(scene)))


def test_which_profiles_may_be_exchanged():
    shared = dist.Normal(0.0, 0.1)
    assert count(sersic()) == 0
    assert count(sersic(), sersic()) == 1
    assert count(sersic(), sersic(), sersic()) == 5
    assert count(sersic(), sersic(), sersic(0.2), sersic(0.2)) == 3
    assert count(sersic(), sersic(0.2)) == 0
    assert count(sersic(), sersic(n=2.0)) == 0
    assert count(sersic(), sersic(n=dist.Uniform(0.5, 4.0))) == 0
    assert count(sersic(tied=shared), sersic(tied=shared)) == 0
    with pytest.raises(ValueError, match="orders of profiles"):
        count(*[sersic() for _ in range(8)])


@pytest.fixture(scope="module")
def twins():
    """Two sources with one prior; the image does not know which is which."""
    truth, prior = exchangeable()
    places = [(dist.Normal(0.0, 0.15), dist.Normal(0.0, 0.15)) for _ in range(2)]
    prior = prior.replace(source_light=[p.replace(center_x=x, center_y=y)
                                        for p, (x, y) in zip(prior.source_light, places, strict=True)])
    return Posterior.of(prior, [observe(truth, blank())])


def test_the_density_does_not_know_the_order(twins, rng):
    (order,) = exchanges(twins.prior)
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
