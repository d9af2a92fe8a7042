"""Layers that several networks share: convolutions, group norm, and what an image must be like."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
"""Types of activations by name; weights are float32 in all of them."""


def activations(name: str) -> Any:
    """The type of activations that a configuration names; ValueError for a name that is not one."""
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]


def conv(channels: int, features: int, size: int, *, stride: int = 1, dtype: Any, rngs: nnx.Rngs,
         bias: bool = True, **settings: Any) -> nnx.Conv:
    """A square convolution, zeros around the image; `stride` divides a size that it divides."""
    edge = (size - 1) // 2
    return nnx.Conv(channels, features, (size, size), strides=(stride, stride), padding=((edge, edge), (edge, edge)),
                    use_bias=bias, dtype=dtype, param_dtype=jnp.float32, rngs=rngs, **settings)


class GroupNorm(nnx.Module):
    """Group norm whose pixels are summed for each channel first.

    A mean over pixels and the channels of a group together is a reduction over axes that do not lie side by side,
    which XLA does slowly on a CPU: five times the time of this form.

    References:
        Wu & He (2018), arXiv:1803.08494.
    """

    def __init__(self, channels: int, groups: int, *, dtype: Any, rngs: nnx.Rngs):
        self.groups, self.dtype = groups, dtype
        self.scale = nnx.Param(nnx.initializers.ones(rngs.params(), (channels,), jnp.float32))
        self.bias = nnx.Param(nnx.initializers.zeros(rngs.params(), (channels,), jnp.float32))

    def __call__(self, x: Array) -> Array:
        """Normalise x, shape (n, ny, nx, channels), with moments in float32."""
        n, ny, nx, c = x.shape
        pixels = x.reshape(n, ny * nx, c).astype(jnp.float32)

        def of_groups(moment: Array) -> Array:
            means = jnp.mean(moment.reshape(n, self.groups, c // self.groups), axis=-1)
            return jnp.repeat(means, c // self.groups, axis=-1, total_repeat_length=c)

        mean = of_groups(jnp.mean(pixels, axis=1))
        square = of_groups(jnp.mean(pixels**2, axis=1))
        slope = self.scale[...] * jax.lax.rsqrt(jnp.maximum(square - mean**2, 0.0) + 1e-5)
        offset = self.bias[...] - mean * slope
        return (pixels * slope[:, None] + offset[:, None]).reshape(x.shape).astype(self.dtype)


def group_norm(channels: int, groups: int, *, dtype: Any, rngs: nnx.Rngs) -> GroupNorm:
    """Group norm with at most so many groups."""
    while channels % groups:
        groups -= 1
    return GroupNorm(channels, groups, dtype=dtype, rngs=rngs)


def check_images(network: str, x: Array, bands: int, smallest: int) -> None:
    """Raise a ValueError, one for all networks, when images are not ones that a network takes.

    Args:
        network: Its name, for the message.
        x: Images, to be of shape (n, ny, nx, bands).
        bands: The number of bands it takes.
        smallest: The smallest side it takes [pixels].
    """
    takes = f"{network} takes images of shape (n, ny, nx, {bands})"
    if x.ndim != 4:
        raise ValueError(f"{takes}, got shape {x.shape}")
    if x.shape[-1] != bands:
        raise ValueError(f"{takes}, got {x.shape[-1]} bands (shape {x.shape}): "
                         f"choose {bands} of the bands, or make the network with bands={x.shape[-1]}")
    if min(x.shape[1:3]) < smallest:
        raise ValueError(f"{takes} of at least {smallest} x {smallest} pixels, got {x.shape[1]} x {x.shape[2]}: "
                         f"pad them, or crop a larger part of the sky")


def pad_to(x: Array, multiple: int) -> tuple[Array, tuple[slice, slice]]:
    """Pad images by reflection on all sides so that both sizes are multiples, and say where the images lie.

    Args:
        x: Shape (n, ny, nx, bands).
        multiple: Of pixels; no more than twice the smaller side.

    Returns:
        The padded images, and the slices of rows and columns that cut them back.
    """
    edges = [(-side % multiple // 2, (-side % multiple + 1) // 2) for side in x.shape[1:3]]
    rows, columns = (slice(low, low + side) for (low, _), side in zip(edges, x.shape[1:3], strict=True))
    if any(map(any, edges)):
        x = jnp.pad(x, [(0, 0), *edges, (0, 0)], mode="reflect")
    return x, (rows, columns)


def space_to_depth(x: Array, patch: int) -> Array:
    """Turn patches of pixels into channels: (n, ny, nx, c) to (n, ny / patch, nx / patch, patch^2 c)."""
    n, ny, nx, c = x.shape
    x = x.reshape(n, ny // patch, patch, nx // patch, patch, c).swapaxes(2, 3)
    return x.reshape(n, ny // patch, nx // patch, patch**2 * c)


def depth_to_space(x: Array, patch: int) -> Array:
    """Turn channels into patches of pixels, the inverse of `space_to_depth`."""
    n, ny, nx, c = x.shape
    x = x.reshape(n, ny, nx, patch, patch, c // patch**2).swapaxes(2, 3)
    return x.reshape(n, ny * patch, nx * patch, c // patch**2)


def upsample(x: Array) -> Array:
    """Double both sides, each pixel four times."""
    n, ny, nx, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None, :], (n, ny, 2, nx, 2, c)).reshape(n, 2 * ny, 2 * nx, c)
