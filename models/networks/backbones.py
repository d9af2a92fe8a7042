"""Networks that were trained for one thing, as makers of features for another: what is behind their heads."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from giga.models.networks.chain import Chain, ModularConfig, Stage
from giga.models.networks.edsr import EDSR
from giga.models.networks.posterior import PosteriorNet, PosteriorNetConfig
from giga.models.networks.resnet import ResNet, ResNetConfig
from giga.models.networks.separator import GGSLConfig, Separator
from giga.models.networks.unet import UNet


class Backbone(nnx.Module):
    """Images to features. Images are seen as arcsinh(F / sigma), sigma the rms of the noise in each band.

    Attributes:
        width: Number of features.
        parts: Names of its modules from the image to the features, those of one depth together.
    """

    width: int
    parts: tuple[tuple[str, ...], ...]

    def __call__(self, seen: Array) -> Array:
        """Features of images of shape (n, ny, nx, bands), float32, shape (n, width)."""
        raise NotImplementedError


class ResNetBackbone(Backbone):
    """A ResNet."""

    def __init__(self, config: ResNetConfig, *, rngs: nnx.Rngs):
        self.trunk = ResNet(config, rngs=rngs)
        self.width, self.parts = self.trunk.width, _resnet_parts(config, "trunk")

    def __call__(self, seen: Array) -> Array:
        return self.trunk(seen)


class ChainBackbone(Backbone):
    """The modular pipeline up to the features of its finder: noise off, deflector off, trunk."""

    def __init__(self, config: ModularConfig, *, rngs: nnx.Rngs):
        self.denoise, self.deblend = (EDSR(config.edsr, rngs=rngs) for _ in range(2))
        self.trunk = ResNet(config.resnet, rngs=rngs)
        self.width, self.parts = self.trunk.width, (("denoise",), ("deblend",), *_resnet_parts(config.resnet, "trunk"))

    def __call__(self, seen: Array) -> Array:
        return self.trunk(self.deblend(self.denoise(seen)))


class SeparatorBackbone(Backbone):
    """The way down of a separator's U-Net: means and maxima of its channels over the pixels of the middle."""

    def __init__(self, config: GGSLConfig, *, rngs: nnx.Rngs):
        self.unet = UNet(config.unet, rngs=rngs)
        levels = len(config.unet.channels)
        self.width = 2 * config.unet.channels[-1]
        down = [(f"unet.down.{k}", *([f"unet.shrink.{k}"] if k < levels - 1 else [])) for k in range(levels)]
        stem = ("unet.stem", "unet.time") if config.unet.time else ("unet.stem",)
        middle = ("unet.middle", "unet.middle_attention") if config.unet.attention else ("unet.middle",)
        self.parts = (stem, *down, middle)

    def __call__(self, seen: Array) -> Array:
        found = self.unet.encode(seen)
        return jnp.concatenate([jnp.mean(found, (1, 2)), jnp.max(found, (1, 2))], -1)


class PosteriorBackbone(Backbone):
    """The features of an amortised posterior, which look at images of the size that it was trained on."""

    def __init__(self, config: PosteriorNetConfig, *, rngs: nnx.Rngs):
        self.network = PosteriorNet(config, rngs=rngs)
        self.width = self.network.mix.out_features + self.network.mix.in_features
        self.parts = (*_resnet_parts(config.resnet, "network.trunk"), ("network.mix",))

    def __call__(self, seen: Array) -> Array:
        return self.network.features(jnp.sinh(seen) * jnp.asarray(self.network.config.rms, jnp.float32))


Base = ResNetConfig | ModularConfig | GGSLConfig | PosteriorNetConfig
"""Configurations of networks that a backbone is made of."""

KINDS: dict[type, Any] = {ResNetConfig: ResNetBackbone, ModularConfig: ChainBackbone,
                                     GGSLConfig: SeparatorBackbone, PosteriorNetConfig: PosteriorBackbone}


def backbone(config: Base, *, rngs: nnx.Rngs) -> Backbone:
    """A backbone with new weights."""
    return KINDS[type(config)](config, rngs=rngs)


def backbone_of(model: Any) -> tuple[Base, Backbone]:
    """The backbone of a trained network, with copies of its weights, and the configuration that makes one like it.

    Raises:
        ValueError: A network that makes no features: one of the pipeline's that gives images.
    """
    if isinstance(model, Stage):
        network: Any = model.network
        if model.config.stage not in ("find", "measure"):
            raise ValueError(f"a network of stage {model.config.stage!r} gives images, expected one that finds or "
                             "measures, or the chain of the four")
        return model.config.resnet, _holding(model.config.resnet, trunk=network.trunk)
    if isinstance(model, Chain):
        finder: Any = model.find.network
        return model.config, _holding(model.config, denoise=model.denoise.network, deblend=model.deblend.network,
                                      trunk=finder.trunk)
    if isinstance(model, Separator):
        return model.config, _holding(model.config, unet=model.unet)
    if isinstance(model, PosteriorNet):
        return model.config, _holding(model.config, network=model)
    raise ValueError(f"got a {type(model).__name__}, expected a {', '.join(each.__name__ for each in KINDS)}")


def seen_by(config: Base) -> tuple[int | None, tuple[int, int] | None, tuple[str, ...]]:
    """Bands that a backbone takes, the size of its images, and the names of the bands; None and empty where any do."""
    if isinstance(config, ResNetConfig):
        return config.bands, None, ()
    if isinstance(config, ModularConfig):
        return len(config.bands), None, config.bands
    if isinstance(config, GGSLConfig):
        names = tuple(band.name for band in config.observed.bands)
        return len(names), None, names
    return len(config.bands), config.shape, config.bands


def _holding(config: Base, **modules: Any) -> Backbone:
    """A backbone of the outline of a configuration, with copies of trained modules in it."""
    made = nnx.eval_shape(lambda: backbone(config, rngs=nnx.Rngs(0)))
    for name, module in modules.items():
        setattr(made, name, nnx.clone(module))
    return made


def _resnet_parts(config: ResNetConfig, name: str) -> tuple[tuple[str, ...], ...]:
    blocks = sum(config.blocks)
    return (f"{name}.stem", f"{name}.norm"), *((f"{name}.blocks.{k}",) for k in range(blocks))
