"""Amortised posteriors: a network that gives the posterior of a fit's parameters from its images."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from giga.models.networks.heads import FlowPosterior, GaussianPosterior
from giga.models.networks.resnet import ResNet, ResNetConfig

HEADS = ("flow", "gaussian")
TRUNKS = ("small", "resnet18", "resnet34", "resnet50")
CELLS = 8  # a side of the coarse image that joins the features
MIXED = 128  # features made of the trunk's and the coarse image's together


@dataclasses.dataclass(frozen=True)
class PosteriorNetConfig:
    """What an amortised posterior is made of, and what it was made for.

    Raises:
        ValueError: An unknown head or trunk, no parameter or no band.
    """

    parameters: tuple[str, ...]  # path names; what the head gives the posterior of
    shape: tuple[int, int]  # (ny, nx) of the images
    bands: tuple[str, ...]  # their names, in the order of the observations
    rms: tuple[float, ...]  # noise of the sky in each, what images are divided by [counts / s]
    pixel_scale: float  # [arcsec]
    problem: str = ""  # name of the problem whose prior it learned
    fit: str = ""  # or the configuration of the fit, as TOML
    trunk: str = "small"  # or "resnet18", "resnet34", "resnet50"
    width: int = 0  # channels of the trunk's first level; 0 takes the preset's
    blocks: tuple[int, ...] = ()  # of its levels; empty takes the preset's
    head: str = "flow"  # or "gaussian"
    layers: int = 6  # couplings of the flow
    hidden: int = 64  # their width
    dtype: str = "float32"  # of the trunk's activations

    def __post_init__(self) -> None:
        for field, allowed in (("head", HEADS), ("trunk", TRUNKS)):
            if (value := getattr(self, field)) not in allowed:
                raise ValueError(f"{field}: got {value!r}, expected one of {', '.join(allowed)}")
        if not self.parameters or not self.bands or len(self.bands) != len(self.rms):
            raise ValueError(f"parameters: expected at least one, and one rms a band, got {len(self.parameters)} "
                             f"parameters, {len(self.bands)} bands and {len(self.rms)} rms")

    @property
    def resnet(self) -> ResNetConfig:
        """The trunk's settings. It sees the coordinates as two more bands."""
        bands = len(self.bands) + 2
        changes: dict[str, Any] = {"dtype": self.dtype}
        changes |= {"width": self.width} if self.width else {}
        changes |= {"blocks": self.blocks} if self.blocks else {}
        if self.trunk == "small":
            return ResNetConfig.small(bands, **changes)
        return ResNetConfig.of(int(self.trunk.removeprefix("resnet")), bands, **changes)


class PosteriorNet(nnx.Module):
    """A ResNet and a head, from images to the posterior of a fit's parameters z.

    Images are seen as arcsinh(F / rms), which keeps both the noise and the bright core near one, with x and y as two
    more bands: a ResNet's features are means over pixels, which alone know no place. Its group norms take the
    brightness of an image away, so that the image itself, in coarse cells, joins its features. Parameters are those
    of the fit's unconstrained vector, which the prior makes of zero mean and unit spread.
    """

    def __init__(self, config: PosteriorNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = ResNet(config.resnet, rngs=rngs)
        size, found = len(config.parameters), self.trunk.width + CELLS**2 * len(config.bands)
        self.mix = nnx.Linear(found, MIXED, rngs=rngs)
        self.head = FlowPosterior(found + MIXED, size, layers=config.layers, hidden=config.hidden, rngs=rngs) \
            if config.head == "flow" else GaussianPosterior(found + MIXED, size, rngs=rngs)
        # Not trained, but saved with the weights: the pixels that the fit uses, and the width of the head's normal.
        self.mask = nnx.BatchStat(jnp.ones((*config.shape, len(config.bands)), jnp.float32))
        self.temperature = nnx.BatchStat(jnp.ones((), jnp.float32))

    def features(self, image: Array) -> Array:
        """Features of images of shape (n, ny, nx, bands) [counts / s]; pixels outside the mask are not looked at."""
        ny, nx = self.config.shape
        seen = jnp.arcsinh(jnp.where(self.mask[...] > 0.0, image, 0.0) / jnp.asarray(self.config.rms, jnp.float32))
        y, x = jnp.meshgrid(jnp.linspace(-1.0, 1.0, ny), jnp.linspace(-1.0, 1.0, nx), indexing="ij")
        places = jnp.broadcast_to(jnp.stack([x, y], -1), (*seen.shape[:3], 2))
        coarse = jax.image.resize(seen, (seen.shape[0], CELLS, CELLS, seen.shape[-1]), "linear", antialias=True)
        coarse = coarse.reshape(seen.shape[0], -1)
        found = jnp.concatenate([self.trunk(jnp.concatenate([seen, places], -1)), coarse], -1)
        return jnp.concatenate([found, jax.nn.silu(self.mix(found))], -1)

    def __call__(self, image: Array) -> Array:
        """Return the image of u = 0, shape (n, size): the mean of a Gaussian head, the middle of a flow."""
        features = self.features(image)
        return self.head.colour(features, jnp.zeros((1, features.shape[0], len(self.config.parameters))))[0]

    def log_prob(self, image: Array, z: Array) -> Array:
        """Log-density of parameters z, shape (n, size), given images; shape (n,)."""
        return self.density(*self.whiten(image, z))

    def whiten(self, image: Array, z: Array) -> tuple[Array, Array]:
        """The head's u before its temperature, shape (n, size), and log |du/dz|, shape (n,)."""
        return self.head.whiten(self.features(image), z)

    def sample(self, key: Array, image: Array, draws: int) -> Array:
        """Draw parameters z given images, shape (draws, n, size)."""
        return self.placed(image, jax.random.normal(key, (draws, len(image), len(self.config.parameters))))

    def placed(self, image: Array, normal: Array) -> Array:
        """The draws that standard normal numbers make given images, both of shape (draws, n, size)."""
        return self.head.colour(self.features(image), self.temperature[...] * normal)

    def density(self, u: Array, log_det: Array) -> Array:
        """Log-density of what `whiten` returned, shape (n,)."""
        temperature = self.temperature[...]
        normal = -0.5 * jnp.sum((u / temperature) ** 2 + jnp.log(2.0 * jnp.pi), axis=-1)
        return normal - u.shape[-1] * jnp.log(temperature) + log_det
