"""Networks that tell lenses from what is none: VGG, single-channel VGG, ResNet-18 and the shielded ResNet."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from giga.models.networks.heads import Classifier, Estimator
from giga.models.networks.layers import DTYPES
from giga.models.networks.resnet import ResNet, ResNetConfig
from giga.models.networks.vgg import VGG, SingleChannelVGG, VGGConfig
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.survey import Survey

NETWORKS = ("vgg", "sc-vgg", "resnet18", "shielded")
SIZES = ("paper", "small")


@dataclasses.dataclass(frozen=True)
class FinderConfig:
    """A finder and the images that it takes.

    Attributes:
        network: "vgg" or "sc-vgg" (Angora et al. 2023), "resnet18" (Zhang et al. 2026), or "shielded" (Huang et al.
            2021).
        size: "paper", or "small", which two CPU cores train.
        survey: Name of a survey preset.
        bands: Its bands that are used; empty is all.
        pixels: Side of an image; 0 is the survey's.
        dtype: Of the activations, "float32" or "bfloat16".

    Raises:
        ValueError: A value that is not among those there are, or images that are too small.
    """

    network: str = "sc-vgg"
    size: str = "small"
    survey: str = "hst-hff-60mas"
    bands: tuple[str, ...] = ()
    pixels: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        for field, allowed in (("network", NETWORKS), ("size", SIZES), ("survey", tuple(SURVEYS)), ("dtype", DTYPES)):
            if (value := getattr(self, field)) not in allowed:
                raise ValueError(f"{field}: expected one of {', '.join(allowed)}, got {value!r}")
        if self.observed.shape[0] < 16:
            raise ValueError(f"pixels: expected at least 16, got {self.pixels}")
        if self.network.endswith("vgg") and self.observed.shape[0] % 16:
            raise ValueError(f"pixels: expected a multiple of 16 for a VGG, got {self.observed.shape[0]}")

    @property
    def observed(self) -> Survey:
        """The survey, with the bands and the size of the images."""
        survey = SURVEYS[self.survey]
        survey = survey.select(self.bands) if self.bands else survey
        side = self.pixels or min(survey.shape)
        return survey.replace(shape=(side, side))

    def stretch(self, image: Array) -> Array:
        """What networks see of an image in counts / s: arcsinh(F / sigma), sigma the rms of each band's background."""
        return jnp.arcsinh(image / self.observed.background_rms.astype(np.float32))


class Finder(nnx.Module):
    """A classifier of images as `FinderConfig.stretch` makes them."""

    def __init__(self, config: FinderConfig, *, rngs: nnx.Rngs):
        self.config = config
        survey = config.observed
        bands, kinds = len(survey.bands), {"dtype": config.dtype}
        small = config.size == "small"
        self.network: Any
        if config.network.endswith("vgg"):
            made = (VGGConfig.small if small else VGGConfig.paper)(bands, size=survey.shape[0], **kinds)
            if config.network == "sc-vgg":
                self.network = SingleChannelVGG(made, rngs=rngs)
                return
            trunk = VGG(made, rngs=rngs)
        elif config.network == "shielded":
            changes = {"width": 8, "stem": "patch", "blocks": (2, 2, 2, 2), "norm": "group"} if small else {}
            trunk = ResNet(ResNetConfig.shielded(bands, **changes, **kinds), rngs=rngs)
        else:
            trunk = ResNet(ResNetConfig.small(bands, **kinds) if small else ResNetConfig.of(18, bands, **kinds),
                           rngs=rngs)
        self.network = Estimator(trunk, Classifier(trunk.width, 1, rngs=rngs))

    def __call__(self, seen: Array) -> Array:
        """Log-odds of a lens.

        Args:
            seen: Stretched images, shape (n, ny, nx, bands).

        Returns:
            Shape (n,).
        """
        return self.network(seen)[:, 0]
