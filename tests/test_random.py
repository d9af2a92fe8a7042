"""Random numbers for the host are JAX's own, whatever their number."""

import jax
import numpy as np
import pytest

from giga.runtime.random import KEYS, NORMALS, normal, split, split_data

KEY = jax.random.key(20)


@pytest.mark.parametrize("shape", [(), (3,), (4, 5, 6), (NORMALS + 1,)])
def test_normals(dtype, shape):
    mine = normal(KEY, shape, dtype)
    assert mine.dtype == dtype
    # Other optimisation may round a polynomial's sums otherwise.
    np.testing.assert_allclose(mine, jax.random.normal(KEY, shape, dtype), rtol=32 * np.finfo(dtype).eps)


@pytest.mark.parametrize("count", [1, 2, KEYS + 1])
def test_keys(count):
    expected = np.asarray(jax.random.key_data(jax.random.split(KEY, count)))
    np.testing.assert_array_equal(split_data(KEY, count), expected)
    np.testing.assert_array_equal([jax.random.key_data(key) for key in split(KEY, count)[-2:]], expected[-2:])
