"""Banked geometries: what repeats, what never does, and how often."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from giga import PSF, Grid, Scene, Sersic
from giga.simulate.bank import Bank
from giga.simulate.generator import Simulator, simulator
from giga.simulate.mixing import Mixing
from giga.simulate.noise import CorrelatedNoise
from giga.simulate.population import Population

GRID = Grid(shape=(12, 12), pixel_scale=0.2)
RADIUS = "lens_light.0.R_sersic"


@pytest.fixture(scope="module")
def made() -> Simulator:
    population = Population.of(Scene(lens_light=[Sersic(amp=1.0, R_sersic=dist.Uniform(0.2, 0.8), n_sersic=1.0)],
                                     source_light=[Sersic(amp=1.0, R_sersic=0.2, n_sersic=1.0, center_x=0.4)]))
    return simulator(population, GRID, [PSF.gaussian(0.7, 0.2, 5, supersampling=1)],
                     CorrelatedNoise.of(np.full((1, 1, 2), 0.01), GRID.shape), mixing=Mixing(bands=2), turns=True)


@partial(jax.jit, static_argnums=1)
def examples(bank: Bank, n: int, seed: int = 0):
    keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(seed)))(jnp.arange(n))
    return jax.lax.map(bank.example, keys)


def test_a_reuse_of_one_gives_fresh_images(made):
    bank = Bank.fill(made, jax.random.key(1), 4)
    assert bank.size == 0 and bank.declared == "" and bank.due(100) == 0
    assert bank.refreshed(jax.random.key(2), 3) is bank
    batch = examples(bank, 20)
    assert len(np.unique(batch.truth[RADIUS])) == 20
    key = jax.random.fold_in(jax.random.key(0), 7)
    np.testing.assert_array_equal(batch.image[7], jax.jit(Simulator.example)(made, key).image)


def test_uses_of_one_geometry_differ_in_all_but_the_scene(made):
    bank = Bank.fill(made, jax.random.key(1), 3, reuse=50)
    batch = examples(bank, 150)
    radii, uses = np.unique(batch.truth[RADIUS], return_counts=True)
    assert len(radii) == 3
    # Picks are independent: 150 of probability 1/3 lie within 5 standard deviations, 29, of 50.
    assert abs(uses - 50).max() < 29
    same = np.flatnonzero(np.asarray(batch.truth[RADIUS]) == radii[0])
    for name in ("alpha", "beta", "gamma", "epsilon"):
        assert len(np.unique(np.asarray(batch.truth[f"mixing.{name}"])[same], axis=0)) == len(same)
    noise = np.asarray(batch.parts["noise"])[same].reshape(len(same), -1)
    correlation = np.corrcoef(noise) - np.eye(len(same))
    assert abs(correlation).max() < 5.5 / np.sqrt(noise.shape[1])  # of independent pixels, the largest of 1,000 pairs


def test_the_oldest_are_replaced(made):
    bank = Bank.fill(made, jax.random.key(1), 5, reuse=4)
    assert bank.declared == "bank of 5 geometries, reuse 4" and bank.due(8) == 2
    once = bank.refreshed(jax.random.key(2), 2)
    twice = once.refreshed(jax.random.key(3), 4)
    assert bank.geometries is not None and once.geometries is not None and twice.geometries is not None
    first, second, third = (np.asarray(b.geometries.truth[RADIUS]) for b in (bank, once, twice))
    np.testing.assert_array_equal(first == second, [False, False, True, True, True])
    np.testing.assert_array_equal(second == third, [False, True, False, False, False])
    assert int(twice.oldest) == 1


def test_in_the_mean_a_geometry_is_used_as_often_as_declared(made):
    bank, used = Bank.fill(made, jax.random.key(1), 8, reuse=5), []
    for step in range(40):
        used.append(np.asarray(examples(bank, 20, seed=step).truth[RADIUS]))
        bank = bank.refreshed(jax.random.key(100 + step), bank.due(20))
    _, uses = np.unique(np.concatenate(used), return_counts=True)
    made_in_all = 8 + 40 * bank.due(20)
    # Uses are Poisson but for the bank's ends: the mean of 168 has an error of 0.17.
    assert np.sum(uses) / made_in_all == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize(("size", "reuse"), [(0, 2), (4, 0)])
def test_what_a_bank_cannot_be(made, size, reuse):
    with pytest.raises(ValueError, match=f"bank: size {size} and reuse {reuse}; expected at least 1"):
        Bank.fill(made, jax.random.key(0), size, reuse)
    with pytest.raises(ValueError, match="bank: 9 new geometries; expected 0 to 3"):
        Bank.fill(made, jax.random.key(0), 3, 2).refreshed(jax.random.key(0), 9)
