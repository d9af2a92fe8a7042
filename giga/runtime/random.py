"""JAX's random numbers drawn for the host: many shapes, few compiled programs.

Each shape of `jax.random.normal` and each number of keys of `jax.random.split` is a program of its own, whose compiling
takes far longer than the drawing. JAX counts the entries of an array in their order, so a smaller array is the
beginning of a larger one: what is drawn here has one of few sizes, and is cut to what was asked for.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np
from jax import Array
from numpy.typing import DTypeLike

from giga.runtime.parallel import ON_VECTORS

KEYS = 4096  # smallest number of keys, and
NORMALS = 131072  # of normals, that are drawn at a time
GROWTH = 4  # of these numbers, where more are wanted


def split(key: Array, count: int) -> list[Array]:
    """`jax.random.split(key, count)` as a list of keys."""
    return [jax.random.wrap_key_data(data) for data in split_data(key, count)]


def split_data(key: Array, count: int) -> np.ndarray:
    """`jax.random.key_data(jax.random.split(key, count))` on the host."""
    return np.asarray(_split(key, _enough(count, KEYS)))[:count]


def normal(key: Array, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> np.ndarray:
    """`jax.random.normal(key, shape, dtype)` on the host."""
    size = int(np.prod(shape))
    return np.asarray(_normal(key, _enough(size, NORMALS), np.dtype(dtype)))[:size].reshape(shape)


def _enough(count: int, size: int) -> int:
    while size < count:
        size *= GROWTH
    return size


@partial(jax.jit, static_argnums=1, compiler_options=ON_VECTORS)
def _split(key: Array, count: int) -> Array:
    return jax.random.key_data(jax.random.split(key, count))


@partial(jax.jit, static_argnums=(1, 2), compiler_options=ON_VECTORS)
def _normal(key: Array, size: int, dtype: np.dtype) -> Array:
    return jax.random.normal(key, (size,), dtype)
