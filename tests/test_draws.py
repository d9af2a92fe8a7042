"""Random images are the numbers of `jax.random`, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.simulate.surveys import draws

PAIRS = {"normal": (draws.normal, jax.random.normal), "uniform": (draws.uniform, jax.random.uniform)}


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


@pytest.mark.parametrize("shape", [(), (1,), (7,), (16, 16, 3), (5, 1, 2)])
def test_the_numbers_are_those_of_jax(pair, shape):
    ours, theirs = pair
    for seed in range(3):
        key = jax.random.key(seed)
        np.testing.assert_array_equal(jax.jit(lambda key: ours(key, shape))(key), theirs(key, shape))


def test_so_are_those_of_many_keys_at_once(pair):
    ours, theirs = pair
    keys = jax.random.split(jax.random.key(1), 5)
    found = jax.jit(jax.vmap(lambda key: ours(key, (9, 4))))(keys)
    np.testing.assert_array_equal(found, jax.vmap(lambda key: theirs(key, (9, 4)))(keys))
    assert np.unique(np.asarray(found)).size == found.size


@pytest.mark.parametrize("key", [jax.random.PRNGKey(4), jax.random.key(4, impl="rbg")], ids=["raw", "rbg"])
def test_other_keys_are_left_to_jax(pair, key):
    ours, theirs = pair
    np.testing.assert_array_equal(ours(key, (6, 5)), theirs(key, (6, 5)))


def test_other_precisions_are_left_to_jax(pair, x64):
    ours, theirs = pair
    found = ours(jax.random.key(2), (33,), np.float64)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, theirs(jax.random.key(2), (33,), np.float64))
    np.testing.assert_array_equal(ours(jax.random.key(2), (33,)), theirs(jax.random.key(2), (33,), jnp.float32))


def test_the_older_counting_is_left_to_jax(pair):
    ours, theirs = pair
    with jax.threefry_partitionable(False):
        np.testing.assert_array_equal(ours(jax.random.key(3), (12,)), theirs(jax.random.key(3), (12,)))
