"""A network for labelled cutouts: the features of a backbone, and a head that tells classes or numbers."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array

from giga.models.networks.backbones import Backbone, Base, backbone, seen_by
from giga.models.networks.chain import ModularConfig
from giga.models.networks.heads import Classifier, Regressor
from giga.models.networks.posterior import PosteriorNetConfig
from giga.models.networks.resnet import ResNetConfig
from giga.models.networks.separator import GGSLConfig


@dataclasses.dataclass(frozen=True)
class CutoutConfig:
    """What a network of labelled cutouts sees and tells.

    Of `resnet`, `modular`, `separator` and `posterior` the one that is given is the backbone.

    Raises:
        ValueError: No backbone or several, neither classes nor numbers or both, numbers that do not go together.
    """

    pixels: tuple[int, int]  # (ny, nx) of the images
    bands: tuple[str, ...]  # their names, in order
    sigma: tuple[float, ...]  # rms of the noise in each, what images are divided by [unit]
    unit: str = ""  # of the images
    classes: tuple[str, ...] = ()  # names of what is told apart
    values: tuple[str, ...] = ()  # or names of numbers that are told
    mean: tuple[float, ...] = ()  # of the numbers in training
    spread: tuple[float, ...] = ()  # their standard deviation
    resnet: ResNetConfig | None = None
    modular: ModularConfig | None = None
    separator: GGSLConfig | None = None
    posterior: PosteriorNetConfig | None = None

    def __post_init__(self) -> None:
        given = [each for each in (self.resnet, self.modular, self.separator, self.posterior) if each is not None]
        if len(given) != 1:
            raise ValueError(f"resnet: got {len(given)} backbones, expected one of resnet, modular, separator and "
                             "posterior")
        if bool(self.classes) == bool(self.values) or len(self.classes) == 1:
            raise ValueError(f"classes: got {len(self.classes)} classes and {len(self.values)} numbers, expected two "
                             "classes or more, or numbers")
        if len(self.sigma) != len(self.bands) or any(not one > 0.0 for one in self.sigma):
            raise ValueError(f"sigma: got {self.sigma}, expected a number above 0 for each of the {len(self.bands)} "
                             "bands")
        if not len(self.mean) == len(self.spread) == len(self.values):
            raise ValueError(f"mean: got {len(self.mean)} means and {len(self.spread)} standard deviations, expected "
                             f"one of each for the {len(self.values)} numbers")
        count, size, _ = seen_by(given[0])
        if count is not None and count != len(self.bands):
            raise ValueError(f"bands: got {len(self.bands)} ({', '.join(self.bands)}), expected the {count} that the "
                             "network takes")
        if size is not None and size != self.pixels:
            raise ValueError(f"pixels: got {self.pixels[0]} x {self.pixels[1]}, expected the {size[0]} x {size[1]} of "
                             "the network")

    @property
    def base(self) -> Base:
        """Configuration of the backbone."""
        found = self.resnet or self.modular or self.separator or self.posterior
        assert found is not None  # it was checked
        return found

    @staticmethod
    def on(base: Base, **settings: Any) -> CutoutConfig:
        """The configuration of a network on a backbone. Raises ValueError."""
        names = {ResNetConfig: "resnet", ModularConfig: "modular", GGSLConfig: "separator",
                 PosteriorNetConfig: "posterior"}
        settings[names[type(base)]] = base
        return CutoutConfig(**settings)

    @property
    def outputs(self) -> int:
        """Size of the head."""
        return len(self.classes) or len(self.values)


class CutoutNet(nnx.Module):
    """Classes or numbers of cutouts.

    Features are centred and scaled by what they were in the training images before anything was learned, so that the
    head of a backbone whose features are large or small learns at one rate.

    Attributes:
        backbone: Makes features.
        head: Makes logits of the classes, or the numbers in units of their spread.
    """

    def __init__(self, config: CutoutConfig, *, rngs: nnx.Rngs, made: Backbone | None = None):
        self.config = config
        self.backbone = backbone(config.base, rngs=rngs) if made is None else made
        width = self.backbone.width
        # Not trained, but saved with the weights.
        self.centre = nnx.BatchStat(jnp.zeros(width, jnp.float32))
        self.scale = nnx.BatchStat(jnp.ones(width, jnp.float32))
        self.head = Classifier(width, config.outputs, rngs=rngs) if config.classes else Regressor(
            width, config.outputs, rngs=rngs)

    def features(self, image: Array) -> Array:
        """Features as the head sees them, shape (n, width), of images [unit], shape (n, ny, nx, bands)."""
        return (self.raw(image) - self.centre[...]) / self.scale[...]

    def raw(self, image: Array) -> Array:
        """Features of the backbone, likewise."""
        return self.backbone(jnp.arcsinh(image / jnp.asarray(self.config.sigma, jnp.float32)))

    def __call__(self, image: Array) -> Array:
        """Logits of the classes, shape (n, classes), or the numbers, shape (n, values), of images [unit].

        Args:
            image: Shape (n, ny, nx, bands).
        """
        found = self.head(self.features(image))
        if self.config.classes:
            return found
        return found * jnp.asarray(self.config.spread) + jnp.asarray(self.config.mean)
