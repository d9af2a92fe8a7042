"""Random images: the numbers of `jax.random`, bit for bit, several times as fast on a CPU.

There JAX goes through the array once for each group of Threefry's rounds. Here all rounds are one pass, whose numbers
are kept in memory before they are used: XLA is slower than JAX's passes where it fuses the rounds with the inverse
error function. `benchmarks/simulate.py` times both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = np.uint32(0x1BD11BDA)
PIECES = 2  # of an array, filled one after the other: XLA does not fuse a loop with what uses it
BELOW_MINUS_ONE = np.nextafter(np.float32(-1.0), np.float32(0.0))


def normal(key: Array, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Standard normal numbers: `jax.random.normal(key, shape, dtype)`."""
    return _here(partial(jax.random.normal, shape=shape, dtype=dtype), _normal, key, shape, dtype)


def uniform(key: Array, shape: tuple[int, ...], dtype: Any = np.float32) -> Array:
    """Numbers from 0 to below 1: `jax.random.uniform(key, shape, dtype)`."""
    return _here(partial(jax.random.uniform, shape=shape, dtype=dtype), _unit, key, shape, dtype)


def _here(everywhere: Callable[[Array], Array], cpu: Callable[[Array, tuple[int, ...]], Array], key: Array,
          shape: tuple[int, ...], dtype: Any) -> Array:
    """The one for CPUs where it applies: float32 from a key of JAX's default generator, as it counts by default."""
    counts = jax.config.jax_threefry_partitionable  # pyright: ignore[reportAttributeAccessIssue]
    default = jax.random.key_impl(key) == "threefry2x32" and counts
    if np.dtype(dtype) != np.float32 or not default:
        return everywhere(key)
    return jax.lax.platform_dependent(key, cpu=lambda key: cpu(key, shape), default=everywhere)


def _normal(key: Array, shape: tuple[int, ...]) -> Array:
    spread = _unit(key, shape) * (np.float32(1.0) - BELOW_MINUS_ONE) + BELOW_MINUS_ONE
    return np.float32(math.sqrt(2.0)) * jax.lax.erf_inv(jnp.maximum(BELOW_MINUS_ONE, spread))


def _unit(key: Array, shape: tuple[int, ...]) -> Array:
    """Numbers from 0 to below 1 in steps of 2^-23."""
    size = math.prod(shape)
    piece = -(-size // PIECES)
    counter, words = jax.lax.iota(np.uint32, piece), jax.random.key_data(key)

    def fill(first: Array) -> Array:
        bits = _threefry(words, first + counter)
        return jax.lax.bitcast_convert_type((bits >> np.uint32(9)) | np.uint32(0x3F800000), np.float32) - 1.0

    pieces = jax.lax.map(fill, np.uint32(piece) * jnp.arange(PIECES, dtype=np.uint32))
    return pieces.reshape(-1)[:size].reshape(shape)


def _threefry(key: Array, counter: Array) -> Array:
    """32 bits for each number of a counter, shape as it.

    References:
        Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3", Threefry-2x32-20.
    """
    keys = key[0], key[1], key[0] ^ key[1] ^ PARITY
    a, b = jnp.full_like(counter, keys[0]), counter + keys[1]
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            a = a + b
            b = a ^ ((b << np.uint32(turn)) | (b >> np.uint32(32 - turn)))
        a, b = a + keys[(group + 1) % 3], b + keys[(group + 2) % 3] + np.uint32(group + 1)
    return a ^ b
