"""The separator: a U-Net and the scale on which it looks at an image."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from giga.models.networks.layers import DTYPES
from giga.models.networks.unet import UNet, UNetConfig
from giga.runtime.identity import LATER
from giga.simulate.batch import Batch
from giga.simulate.surveys.own import OwnSurvey
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.seeing import check_seeing
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.ggsl import check_kinds

RECIPES = ("paper", "code", "physical")
CENTRE = {"paper": 1.0, "code": 2.0}  # side of the area whose maximum an image is divided by [arcsec]


@dataclasses.dataclass(frozen=True)
class GGSLConfig:
    """What a separator is trained on and made of.

    Attributes:
        recipe: "paper" (Zhong et al., section 2.3), "code" (what their public code does instead) or "physical"
            (magnitudes, slopes in each band, the camera's own noise).
        survey: Name of a survey preset.
        network: "paper" or "small", see `giga.models.networks.unet.UNetConfig`.
        channels: Channels of the network's levels; empty takes the network's own.
        dtype: Of the activations, "float32" or "bfloat16".
        companions: Most galaxies nearby.
        kinds: Shares of blue galaxies, red ones, stars, close pairs and, if given, spirals among them; None is blue
            ones alone.
        seeing: Range of the factor of the PSF's width, drawn for every band; empty keeps the survey's PSFs.
        beta: Range of the slope of Moffat profiles, drawn likewise; empty keeps the survey's profiles.
        flux: Weight of the error in total fluxes in the loss, see `flux_error`; the paper's recipes have none.
        own: Survey of a configuration that has its own; None is the preset.
        start: Separator that goes on learning, a name of the zoo or a path; empty begins with new weights.
    """

    recipe: str = "physical"
    survey: str = "kids-ggsl-unet"
    network: str = "small"
    channels: tuple[int, ...] = ()
    dtype: str = "float32"
    companions: int = 3
    seeing: tuple[float, ...] = ()
    beta: tuple[float, ...] = ()
    flux: float = 0.0
    own: OwnSurvey | None = dataclasses.field(default=None, metadata={LATER: True})
    kinds: tuple[float, ...] | None = dataclasses.field(default=None, metadata={LATER: True})
    start: str = dataclasses.field(default="", metadata={LATER: True})

    def __post_init__(self) -> None:
        for field, allowed in (("recipe", RECIPES), ("survey", tuple(SURVEYS)), ("network", ("paper", "small")),
                               ("dtype", DTYPES)):
            if (value := getattr(self, field)) not in allowed:
                raise ValueError(f"{field}: expected one of {', '.join(allowed)}, got {value!r}")
        if any(width < 1 for width in self.channels):
            raise ValueError(f"channels: expected positive numbers, got {self.channels}")
        if self.companions < 0:
            raise ValueError(f"companions: expected 0 or more, got {self.companions}")
        check_kinds(self.kinds)
        if self.kinds is not None and not self.companions:
            raise ValueError(f"kinds: got {list(self.kinds)} with companions = 0; expected some companions")
        if self.flux < 0.0:
            raise ValueError(f"flux: expected 0 or more, got {self.flux:g}")
        if self.beta and not self.seeing:
            raise ValueError(f"beta: got {list(self.beta)} without seeing; expected both, "
                             "where seeing = [1, 1] keeps the widths")
        if self.seeing:
            check_seeing(self.observed, self.seeing, self.beta)

    @property
    def observed(self) -> Survey:
        """The survey."""
        return SURVEYS[self.survey] if self.own is None else self.own.survey

    @property
    def unet(self) -> UNetConfig:
        """The network's settings."""
        make = UNetConfig.paper if self.network == "paper" else UNetConfig.small
        changes: dict[str, Any] = {"channels": self.channels} if self.channels else {}
        return make(len(self.observed.bands), dtype=self.dtype, **changes)


class Separator(nnx.Module):
    """A U-Net and the scale on which it looks at an image.

    The recipes of the paper and of its code divide each image by the maximum of its centre (eq. 10), which in a faint
    band is the noise's. "physical" shows the network arcsinh(F / sigma), sigma the rms of the background, which
    tells signal from noise at once; masks multiply the image itself in either case (eq. 11).
    """

    def __init__(self, config: GGSLConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.unet = UNet(config.unet, rngs=rngs)
        self.physical = config.recipe == "physical"

    def __call__(self, image: Array, scale: Array) -> dict[str, Array]:
        """Separate images.

        Args:
            image: Shape (n, ny, nx, bands), any unit.
            scale: What each band is divided by, shape (n, 1, 1, bands), see `scale_of`.

        Returns:
            "lens", "source" and "noise", of the shape and unit of the image, which they sum to.
        """
        seen = image / scale
        shares = self.unet.shares(jnp.arcsinh(seen) if self.physical else seen)
        return {name: image * shares[..., k, :] for k, name in enumerate(("lens", "source", "noise"))}


def scale_of(config: GGSLConfig, image: Array, background_rms: Array) -> Array:
    """What an image is divided by before the network sees it, shape (..., 1, 1, bands).

    Args:
        config: The recipe.
        image: Shape (..., ny, nx, bands).
        background_rms: Of every band, shape (bands,) or (..., bands), in the unit of the image.

    References:
        Zhong et al., "GGSL-UNet I", eq. 10. Their code takes 10 x 10 pixels in the place of 1 x 1 arcsec, and every
        band's own maximum in the place of one for all.
    """
    if config.recipe == "physical":
        return jnp.broadcast_to(background_rms[..., None, None, :], (*image.shape[:-3], 1, 1, image.shape[-1]))
    ny, nx = image.shape[-3:-1]
    half = max(1, round(0.5 * CENTRE[config.recipe] / config.observed.pixel_scale))
    centre = image[..., ny // 2 - half:ny // 2 + half, nx // 2 - half:nx // 2 + half, :]
    axes = (-3, -2) if config.recipe == "code" else (-3, -2, -1)
    peak = jnp.abs(jnp.max(centre, axis=axes, keepdims=True))
    return jnp.broadcast_to(peak, (*image.shape[:-3], 1, 1, image.shape[-1]))


def scaled(config: GGSLConfig, batch: Batch, background_rms: Array) -> Batch:
    """Simulated images divided by their scale, as a network is trained and measured on them."""
    scale = scale_of(config, batch.image, background_rms)
    return batch.replace(image=batch.image / scale, sigma=batch.sigma / scale, companions=batch.companions / scale,
                         parts={name: part / scale for name, part in batch.parts.items()})


def separate(model: Separator, image: Array, background_rms: Array) -> dict[str, Array]:
    """Separate images by a trained network, as one compiled program.

    Args:
        model: The network.
        image: Shape (n, ny, nx, bands).
        background_rms: Of every band, in the unit of the image, shape (bands,) or (n, bands).

    Returns:
        "lens", "source" and "noise", of the shape and unit of the image, which they sum to.
    """
    return _separate(*nnx.split(model), image, scale_of(model.config, image, background_rms))


@partial(jax.jit, static_argnums=0)
def _separate(structure: Any, state: Any, image: Array, scale: Array) -> dict[str, Array]:
    return nnx.merge(structure, state)(image, scale)
