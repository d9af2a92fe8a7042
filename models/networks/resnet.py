"""ResNet-18, -34 and -50: images to features, for finding and measuring."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from giga.models.networks.layers import activations, check_images, conv, group_norm, pad_to, space_to_depth

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
STEMS = {"standard": 32, "small": 8, "patch": 16}
"""Stems and the smallest side that each takes [pixels].

"standard" is a 7 x 7 convolution of stride 2 and a pooling, and divides sides by 4; "small" is a 3 x 3 convolution;
"patch" makes 2 x 2 patches of pixels channels of a 3 x 3 convolution."""


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """What a ResNet is made of; the defaults are the modular pipeline's ResNet-50."""

    bands: int = 3
    blocks: tuple[int, ...] = BLOCKS[50]  # of the levels; each level after the first halves the image
    bottleneck: bool = True  # blocks of three convolutions, four times as wide behind the last
    width: int = 64  # channels of the first level; each level doubles them
    stem: str = "standard"  # or "small", or "patch"
    norm: str = "batch"  # or "group"
    shield: int = 0  # channels of the 3 x 3 convolution of a block, behind a 1 x 1 that narrows to them; 0 has none
    dtype: str = "float32"  # of the activations: float32 or bfloat16

    @staticmethod
    def of(depth: int, bands: int = 3, **changes: Any) -> ResNetConfig:
        """The network of 18, 34 or 50 layers; ValueError for another depth."""
        if depth not in BLOCKS:
            raise ValueError(f"depth must be one of {', '.join(map(str, BLOCKS))}, got {depth}")
        return ResNetConfig(bands=bands, **({"blocks": BLOCKS[depth], "bottleneck": depth >= 50} | changes))

    @staticmethod
    def paper(bands: int = 3, **changes: Any) -> ResNetConfig:
        """The network of the modular pipeline: ResNet-50."""
        return ResNetConfig.of(50, bands, **changes)

    @staticmethod
    def shielded(bands: int = 3, **changes: Any) -> ResNetConfig:
        """A deep network of few parameters: five levels of three blocks, whose 3 x 3 convolutions see 8 channels.

        Widths are ours.

        References:
            Lanusse et al. (2018), MNRAS 473, 3895; Huang et al. (2021), ApJ 909, 27 (the shields).
        """
        settings: dict[str, Any] = {"blocks": (3, 3, 3, 3, 3), "bottleneck": False, "width": 16, "shield": 8,
                                    "stem": "small"}
        return ResNetConfig(bands=bands, **(settings | changes))

    @staticmethod
    def small(bands: int = 3, **changes: Any) -> ResNetConfig:
        """A network that two CPU cores train."""
        settings: dict[str, Any] = {"blocks": (1, 1, 1, 1), "bottleneck": False, "width": 24, "stem": "patch",
                                    "norm": "group"}
        return ResNetConfig(bands=bands, **(settings | changes))


def _norm(channels: int, config: ResNetConfig, rngs: nnx.Rngs, scale: float = 1.0) -> nnx.Module:
    dtype = activations(config.dtype)
    if config.norm == "group":
        norm = group_norm(channels, 32, dtype=dtype, rngs=rngs)
    else:
        norm = nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, dtype=dtype, param_dtype=jnp.float32,
                             scale_init=nnx.initializers.constant(scale), rngs=rngs)
    return norm


class Block(nnx.Module):
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1, added to what came in.

    A shielded block has the three, the first of which narrows and the last of which widens again.
    """

    def __init__(self, inputs: int, channels: int, stride: int, config: ResNetConfig, rngs: nnx.Rngs):
        kinds: dict[str, Any] = {"dtype": activations(config.dtype), "rngs": rngs, "bias": False,
                                 "kernel_init": nnx.initializers.he_normal()}
        outputs = 4 * channels if config.bottleneck else channels
        inner = config.shield or channels
        layers = [(inner, 1, 1), (inner, 3, stride), (outputs, 1, 1)] if config.bottleneck or config.shield else [
            (channels, 3, stride), (channels, 3, 1)]
        convs, norms, c = [], [], inputs
        for k, (features, size, step) in enumerate(layers):
            convs.append(conv(c, features, size, stride=step, **kinds))
            # A block begins as the identity: its last scale is zero (Goyal et al. 2017, section 5.1).
            norms.append(_norm(features, config, rngs, scale=float(k < len(layers) - 1)))
            c = features
        self.convs, self.norms = nnx.List(convs), nnx.List(norms)
        changed = stride > 1 or inputs != outputs
        self.shortcut = nnx.List([conv(inputs, outputs, 1, stride=stride, **kinds),
                                  _norm(outputs, config, rngs)] if changed else [])

    def __call__(self, x: Array) -> Array:
        y = x
        for k, (layer, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(layer(y))
            if k < len(self.convs) - 1:
                y = jax.nn.relu(y)
        for layer in self.shortcut:
            x = layer(x)
        return jax.nn.relu(x + y)


class ResNet(nnx.Module):
    """Turn images into features, the mean over the pixels of the last level.

    With batch norm, `model.train()` takes the statistics of the batch and keeps running ones, `model.eval()` takes
    the running ones; group norm needs neither.

    Attributes:
        width: Number of features.

    Raises:
        ValueError: An unknown stem or norm.

    References:
        He et al. (2015), arXiv:1512.03385, Table 1; the stride is at the 3 x 3 convolution, as is usual since.
    """

    def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs):
        if config.stem not in STEMS:
            raise ValueError(f"stem must be one of {', '.join(STEMS)}, got {config.stem!r}")
        if config.norm not in ("batch", "group"):
            raise ValueError(f"norm must be batch or group, got {config.norm!r}")
        kinds: dict[str, Any] = {"dtype": activations(config.dtype), "rngs": rngs, "bias": False,
                                 "kernel_init": nnx.initializers.he_normal()}
        self.config = config
        if config.stem == "standard":
            self.stem = conv(config.bands, config.width, 7, stride=2, **kinds)
        else:
            self.stem = conv(config.bands * (4 if config.stem == "patch" else 1), config.width, 3, **kinds)
        self.norm = _norm(config.width, config, rngs)
        blocks, c = [], config.width
        for level, number in enumerate(config.blocks):
            for k in range(number):
                channels = config.width * 2**level
                blocks.append(Block(c, channels, 2 if level and not k else 1, config, rngs))
                c = 4 * channels if config.bottleneck else channels
        self.blocks = nnx.List(blocks)
        self.width = c

    def __call__(self, x: Array) -> Array:
        """Find the features of images.

        Args:
            x: Images, shape (n, ny, nx, bands).

        Returns:
            float32, shape (n, width).

        Raises:
            ValueError: Another number of bands or a side that is too small.
        """
        config = self.config
        check_images("this ResNet", x, config.bands, STEMS[config.stem])
        x = x.astype(activations(config.dtype))
        if config.stem == "patch":
            x = space_to_depth(pad_to(x, 2)[0], 2)
        x = jax.nn.relu(self.norm(self.stem(x)))
        if config.stem == "standard":
            # Behind a ReLU zeros around the image never win.
            x = nnx.max_pool(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))), (3, 3), strides=(2, 2))
        for block in self.blocks:
            x = block(x)
        return jnp.mean(x.astype(jnp.float32), axis=(1, 2))
