"""EDSR without batch norm: images to images of the same size, for denoising and deblending."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from giga.models.networks.layers import activations, check_images, conv, depth_to_space, pad_to, space_to_depth


@dataclasses.dataclass(frozen=True)
class EDSRConfig:
    """What an EDSR is made of; the defaults are those of the modular pipeline, 19.5 M parameters."""

    bands: int = 3
    outputs: int | None = None  # bands of the output; as many as the input's if None
    features: int = 256
    blocks: int = 16
    scale: float = 0.1  # of what a block adds: wide networks do not train without (Lim et al. 2017, section 3.3)
    residual: bool = False  # add the input to the output, so that the network learns the difference
    patch: int = 1  # patches of patch x patch pixels are channels to the first and the last layer
    dtype: str = "float32"  # of the activations: float32 or bfloat16

    @staticmethod
    def paper(bands: int = 3, **changes: Any) -> EDSRConfig:
        """The network of the modular pipeline: 16 blocks of 256 features."""
        return EDSRConfig(bands=bands, **changes)

    @staticmethod
    def narrow(bands: int = 3, **changes: Any) -> EDSRConfig:
        """The paper's with 64 features, a sixteenth of the cost."""
        return EDSRConfig(bands=bands, **({"features": 64, "scale": 1.0} | changes))

    @staticmethod
    def small(bands: int = 3, **changes: Any) -> EDSRConfig:
        """A network that two CPU cores train."""
        settings: dict[str, Any] = {"features": 32, "blocks": 4, "scale": 1.0, "patch": 2, "residual": True}
        return EDSRConfig(bands=bands, **(settings | changes))


class Block(nnx.Module):
    """Convolution, ReLU, convolution, scaled and added to what came in."""

    def __init__(self, config: EDSRConfig, rngs: nnx.Rngs):
        kinds: dict[str, Any] = {"dtype": activations(config.dtype), "rngs": rngs}
        self.conv1 = conv(config.features, config.features, 3, **kinds)
        self.conv2 = conv(config.features, config.features, 3, **kinds)
        self.scale = config.scale

    def __call__(self, x: Array) -> Array:
        return x + self.scale * self.conv2(jax.nn.relu(self.conv1(x)))


class EDSR(nnx.Module):
    """Turn images into images of the same size, without batch norm and without upsampling.

    Raises:
        ValueError: `residual` with another number of bands out than in.

    References:
        Modular pipeline, section 3; Lim et al. (2017), arXiv:1707.02921.
    """

    def __init__(self, config: EDSRConfig, *, rngs: nnx.Rngs):
        outputs = config.bands if config.outputs is None else config.outputs
        if config.residual and outputs != config.bands:
            raise ValueError(f"a residual EDSR gives as many bands as it takes, got {config.bands} in, {outputs} out")
        kinds: dict[str, Any] = {"dtype": activations(config.dtype), "rngs": rngs}
        self.config = config
        self.stem = conv(config.patch**2 * config.bands, config.features, 3, **kinds)
        self.blocks = nnx.List([Block(config, rngs) for _ in range(config.blocks)])
        self.body = conv(config.features, config.features, 3, **kinds)
        self.out = conv(config.features, config.patch**2 * outputs, 3, **kinds)

    def __call__(self, x: Array) -> Array:
        """Restore images.

        Args:
            x: Images, shape (n, ny, nx, bands).

        Returns:
            float32, shape (n, ny, nx, outputs).

        Raises:
            ValueError: Another number of bands or a side that is too small.
        """
        config = self.config
        check_images("this EDSR", x, config.bands, max(2, config.patch))
        padded, (rows, columns) = pad_to(x, config.patch)
        first = self.stem(space_to_depth(padded, config.patch).astype(activations(config.dtype)))
        y = first
        for block in self.blocks:
            y = block(y)
        y = self.out(first + self.body(y))
        y = depth_to_space(y, config.patch).astype(jnp.float32)[:, rows, columns]
        return x + y if config.residual else y
