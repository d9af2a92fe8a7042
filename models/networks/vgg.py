"""The VGG of the search in clusters of galaxies, and its single-channel variant."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from giga.models.networks.layers import activations, check_images, conv


@dataclasses.dataclass(frozen=True)
class VGGConfig:
    """What a VGG is made of.

    The paper gives the kind of network, not its widths; these have its cost: 5.4 M parameters at 128 x 128 pixels.
    """

    bands: int = 3
    size: int = 128  # side of the images [pixels]
    channels: tuple[int, ...] = (32, 64, 128, 256)  # of the levels; a pooling behind each halves the image
    units: int = 2  # convolutions of a level
    dense: int = 256  # features
    slope: float = 0.3  # of the leaky ReLU below zero, the default of the library that the paper names
    dtype: str = "float32"  # of the activations: float32 or bfloat16

    @staticmethod
    def paper(bands: int = 3, **changes: Any) -> VGGConfig:
        """The network at the size of the paper's images."""
        return VGGConfig(bands=bands, **changes)

    @staticmethod
    def small(bands: int = 3, **changes: Any) -> VGGConfig:
        """A network that two CPU cores train, for images of 64 pixels."""
        return VGGConfig(bands=bands, **({"size": 64, "channels": (8, 24, 48, 96), "units": 1, "dense": 64} | changes))


class VGG(nnx.Module):
    """Turn images into features by convolutions, poolings and a dense layer.

    Attributes:
        width: Number of features.

    Raises:
        ValueError: A size that the poolings do not divide.

    References:
        Search for galaxy-scale lenses in clusters of galaxies, section 2; Simonyan & Zisserman (2014), arXiv:1409.1556.
    """

    def __init__(self, config: VGGConfig, *, rngs: nnx.Rngs):
        multiple = 2 ** len(config.channels)
        if config.size % multiple:
            raise ValueError(f"size must be a multiple of {multiple}, got {config.size}")
        kinds: dict[str, Any] = {"dtype": activations(config.dtype), "rngs": rngs,
                                 "kernel_init": nnx.initializers.he_normal()}
        self.config, self.width = config, config.dense
        convs, c = [], config.bands
        for channels in config.channels:
            for _ in range(config.units):
                convs.append(conv(c, channels, 3, **kinds))
                c = channels
        self.convs = nnx.List(convs)
        self.dense = nnx.Linear(c * (config.size // multiple) ** 2, config.dense, **kinds)

    def __call__(self, x: Array) -> Array:
        """Find the features of images.

        Args:
            x: Images, shape (n, size, size, bands).

        Returns:
            float32, shape (n, width).

        Raises:
            ValueError: Images of another size or number of bands.
        """
        config = self.config
        check_images("this VGG", x, config.bands, config.size)
        if x.shape[1:3] != (config.size, config.size):
            raise ValueError(f"this VGG takes images of {config.size} x {config.size} pixels, got {x.shape[1]} x "
                             f"{x.shape[2]}: crop them, or make the network with size={min(x.shape[1:3])}")
        x = x.astype(activations(config.dtype))
        for k, layer in enumerate(self.convs):
            x = jax.nn.leaky_relu(layer(x), config.slope)
            if (k + 1) % config.units == 0:
                x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        return jax.nn.leaky_relu(self.dense(x.reshape(len(x), -1)), config.slope).astype(jnp.float32)


class SingleChannelVGG(nnx.Module):
    """One VGG for each band, each with a probability of its own; the answer is their mean.

    References:
        Search for galaxy-scale lenses in clusters of galaxies, section 2.
    """

    def __init__(self, config: VGGConfig, *, rngs: nnx.Rngs):
        self.config = config
        one = dataclasses.replace(config, bands=1)
        self.branches = nnx.List([VGG(one, rngs=rngs) for _ in range(config.bands)])
        self.out = nnx.List([nnx.Linear(config.dense, 1, rngs=rngs) for _ in range(config.bands)])

    def __call__(self, x: Array) -> Array:
        """Classify images.

        Args:
            x: Images, shape (n, size, size, bands).

        Returns:
            The logit of the mean over the bands of the probability of a lens, shape (n, 1).

        Raises:
            ValueError: Images of another size or number of bands.
        """
        check_images("this single-channel VGG", x, self.config.bands, self.config.size)
        logits = jnp.stack([out(branch(x[..., k:k + 1]))
                            for k, (branch, out) in enumerate(zip(self.branches, self.out, strict=True))])
        return jax.nn.logsumexp(jax.nn.log_sigmoid(logits), 0) - jax.nn.logsumexp(jax.nn.log_sigmoid(-logits), 0)
