"""The U-Net of GGSL-UNet: an image is shared out among deflector, source and noise by masks."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from giga.models.networks.layers import (
    activations,
    check_images,
    conv,
    depth_to_space,
    group_norm,
    pad_to,
    space_to_depth,
    upsample,
)

PARTS = ("lens", "source", "noise")
_FLOOR = 1e-6  # added to squared masks: three masks of zero share a pixel evenly


@dataclasses.dataclass(frozen=True)
class UNetConfig:
    """What a U-Net is made of; the defaults are the paper's, 15,479,436 parameters at four bands."""

    bands: int = 4
    channels: tuple[int, ...] = (32, 64, 128, 256)  # of the levels; each level halves the image
    units: int = 2  # residual units of a level on the way down; one more on the way up
    attention: bool = True  # at the last level and in the middle
    head_width: int = 8  # channels of one attention head
    groups: int = 32  # of the group norms, at most
    time: bool = True  # the embedding of a constant time that diffusers' network has
    patch: int = 1  # patches of patch x patch pixels are channels to the first and the last layer
    dtype: str = "float32"  # of the activations: float32 or bfloat16

    @staticmethod
    def paper(bands: int = 4, **changes: Any) -> UNetConfig:
        """The network of the paper, Table 3."""
        return UNetConfig(bands=bands, **changes)

    @staticmethod
    def small(bands: int = 4, **changes: Any) -> UNetConfig:
        """A network that two CPU cores train."""
        settings: dict[str, Any] = {"channels": (16, 32, 64), "units": 1, "attention": False, "groups": 8,
                                    "time": False, "patch": 2}
        return UNetConfig(bands=bands, **(settings | changes))

    @property
    def multiple(self) -> int:
        """Sides are padded inside the network to a multiple of this many pixels."""
        return self.patch * 2 ** (len(self.channels) - 1)


class Unit(nnx.Module):
    """A residual unit: norm, SiLU, convolution, twice, with the time embedding added between them."""

    def __init__(self, inputs: int, channels: int, config: UNetConfig, rngs: nnx.Rngs):
        kinds: dict[str, Any] = {"dtype": activations(config.dtype), "rngs": rngs}
        self.norm1 = group_norm(inputs, config.groups, **kinds)
        self.conv1 = conv(inputs, channels, 3, **kinds)
        self.time = nnx.Linear(4 * config.channels[0], channels, **kinds) if config.time else None
        self.norm2 = group_norm(channels, config.groups, **kinds)
        self.conv2 = conv(channels, channels, 3, **kinds)
        self.shortcut = conv(inputs, channels, 1, **kinds) if inputs != channels else None

    def __call__(self, x: Array, time: Array | None) -> Array:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        if self.time is not None:
            assert time is not None
            y = y + self.time(jax.nn.silu(time))
        y = self.conv2(jax.nn.silu(self.norm2(y)))
        return y + (x if self.shortcut is None else self.shortcut(x))


class Attention(nnx.Module):
    """Self-attention among the pixels of a level, with a residual connection."""

    def __init__(self, channels: int, config: UNetConfig, rngs: nnx.Rngs):
        kinds: dict[str, Any] = {"dtype": activations(config.dtype), "rngs": rngs}
        self.heads = max(1, channels // config.head_width)
        self.norm = group_norm(channels, config.groups, **kinds)
        self.query, self.key, self.value, self.out = (nnx.Linear(channels, channels, **kinds) for _ in range(4))

    def __call__(self, x: Array) -> Array:
        n, ny, nx, c = x.shape
        y = self.norm(x).reshape(n, ny * nx, c)
        query, key, value = (f(y).reshape(n, ny * nx, self.heads, c // self.heads)
                             for f in (self.query, self.key, self.value))
        score = jnp.einsum("nqhc,nkhc->nhqk", query, key, preferred_element_type=jnp.float32)
        share = jax.nn.softmax(score * (c // self.heads) ** -0.5, axis=-1).astype(value.dtype)
        y = jnp.einsum("nhqk,nkhc->nqhc", share, value)
        return x + self.out(y.reshape(n, ny, nx, c))


class Level(nnx.Module):
    """The units of one level of one side, each followed by attention where the level has it."""

    def __init__(self, inputs: list[int], channels: int, attention: bool, config: UNetConfig, rngs: nnx.Rngs):
        self.units = nnx.List([Unit(c, channels, config, rngs) for c in inputs])
        self.attention = nnx.List([Attention(channels, config, rngs) for _ in inputs if attention])

    def step(self, k: int, x: Array, time: Array | None) -> Array:
        x = self.units[k](x, time)
        return self.attention[k](x) if self.attention else x


class UNet(nnx.Module):
    """Share out an image among its parts: deflector, source and noise.

    The masks of a pixel are non-negative and sum to one, so the parts sum to the image. Sides that are not a
    multiple of `config.multiple` are padded by reflection inside and the parts cut to the size of the image. The
    counted weights of the paper include the time embedding of a diffusion network; the paper has no time, so the
    embedding is that of time zero: a constant, learned offset in each unit.

    References:
        GGSL-UNet, section 3, Table 3, eqs. 11 and 12; `UNet2DModel` of diffusers.
    """

    def __init__(self, config: UNetConfig, *, rngs: nnx.Rngs):
        c, kinds = config.channels, {"dtype": activations(config.dtype), "rngs": rngs}
        self.config = config
        inputs = config.patch**2 * config.bands
        self.stem = conv(inputs, c[0], 3, **kinds)
        self.time = nnx.List([nnx.Linear(c[0], 4 * c[0], **kinds),
                              nnx.Linear(4 * c[0], 4 * c[0], **kinds)]) if config.time else None
        last, x = len(c) - 1, c[0]
        skips = [x]
        down, shrink = [], []
        for k, channels in enumerate(c):
            down.append(Level([x, *[channels] * (config.units - 1)], channels, config.attention and k == last,
                              config, rngs))
            x = channels
            skips += [x] * config.units
            if k < last:
                shrink.append(conv(x, x, 3, stride=2, **kinds))
                skips.append(x)
        middle = [Unit(x, x, config, rngs), Unit(x, x, config, rngs)]
        self.middle_attention = Attention(x, config, rngs) if config.attention else None
        up, grow = [], []
        for k, channels in reversed(list(enumerate(c))):
            wide = []
            for _ in range(config.units + 1):
                wide.append(x + skips.pop())
                x = channels
            up.append(Level(wide, channels, config.attention and k == last, config, rngs))
            if k:
                grow.append(conv(x, x, 3, **kinds))
        self.down, self.shrink, self.middle = nnx.List(down), nnx.List(shrink), nnx.List(middle)
        self.up, self.grow = nnx.List(up), nnx.List(grow)
        self.norm = group_norm(x, config.groups, **kinds)
        # Squares of masks have no slope at zero: all masks begin around one, with equal shares.
        self.masks = conv(x + (inputs if config.patch > 1 else 0), 3 * inputs, 3, bias_init=nnx.initializers.ones,
                          **kinds)

    def shares(self, x: Array) -> Array:
        """Masks of the parts, non-negative and of sum one, shape (n, ny, nx, 3, bands).

        Args:
            x: Images, normalised (eq. 10), shape (n, ny, nx, bands).

        Raises:
            ValueError: Another number of bands or a side that is too small.
        """
        config = self.config
        check_images("this U-Net", x, config.bands, config.multiple)
        x, (rows, columns) = pad_to(x, config.multiple)
        raw = depth_to_space(self._features(space_to_depth(x, config.patch)), config.patch).astype(jnp.float32)
        raw = raw[:, rows, columns]
        square = raw.reshape(*raw.shape[:3], 3, config.bands) ** 2 + _FLOOR
        return square / jnp.sum(square, axis=-2, keepdims=True)

    def encode(self, x: Array) -> Array:
        """What is found of images on the way down, behind the middle: float32, shape (n, ny', nx', channels).

        Args:
            x: Images, normalised (eq. 10), shape (n, ny, nx, bands).

        Raises:
            ValueError: Another number of bands or a side that is too small.
        """
        check_images("this U-Net", x, self.config.bands, self.config.multiple)
        x = space_to_depth(pad_to(x, self.config.multiple)[0], self.config.patch)
        return self._down(x.astype(activations(self.config.dtype)))[0].astype(jnp.float32)

    def _down(self, image: Array) -> tuple[Array, list[Array], Array | None]:
        """The middle, what the way up is reminded of, and the embedding of time."""
        x = self.stem(image)
        time = None
        if self.time is not None:
            half = self.config.channels[0] // 2
            zero = jnp.concatenate([jnp.ones(half), jnp.zeros(half)])  # cosines and sines of time zero
            time = self.time[1](jax.nn.silu(self.time[0](zero)))
        skips = [x]
        for k, level in enumerate(self.down):
            for unit in range(self.config.units):
                x = level.step(unit, x, time)
                skips.append(x)
            if k < len(self.shrink):
                x = self.shrink[k](x)
                skips.append(x)
        x = self.middle[0](x, time)
        if self.middle_attention is not None:
            x = self.middle_attention(x)
        return self.middle[1](x, time), skips, time

    def _features(self, image: Array) -> Array:
        image = image.astype(activations(self.config.dtype))
        x, skips, time = self._down(image)
        for k, level in enumerate(self.up):
            for unit in range(self.config.units + 1):
                x = level.step(unit, jnp.concatenate([x, skips.pop()], axis=-1), time)
            if k < len(self.grow):
                x = self.grow[k](upsample(x))
        x = jax.nn.silu(self.norm(x))
        return self.masks(jnp.concatenate([x, image], axis=-1) if self.config.patch > 1 else x)

    def __call__(self, x: Array) -> dict[str, Array]:
        """Separate images into parts that sum to them.

        Args:
            x: Images, normalised (eq. 10), shape (n, ny, nx, bands).

        Returns:
            "lens", "source" and "noise", each float32 of the shape and unit of the images.

        Raises:
            ValueError: Another number of bands or a side that is too small.
        """
        shares = self.shares(x)
        return {name: x * shares[..., k, :] for k, name in enumerate(PARTS)}
