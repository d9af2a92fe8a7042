"""Four networks in a row: noise off, deflector off, is it a lens, and which."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from giga.component import Component
from giga.models.networks.coordinates import Coordinates
from giga.models.networks.edsr import EDSR, EDSRConfig
from giga.models.networks.heads import Classifier, Estimator, Regressor
from giga.models.networks.layers import DTYPES
from giga.models.networks.resnet import ResNet, ResNetConfig
from giga.runtime.identity import LATER
from giga.simulate.surveys.own import OwnSurvey
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.modular import THETA_E, Q

STAGES = ("denoise", "deblend", "find", "measure")
SIZES = ("paper", "narrow", "small")
INPUTS = ("clean", "noisy")
ANGLES = ("pair", "unit")


@dataclasses.dataclass(frozen=True)
class ModularConfig:
    """What is learned, from which images, by networks of which size.

    Attributes:
        stage: "denoise", "deblend", "find" or "measure", trained apart; or "joint", the chain of the four.
        input: What finder and measurer are shown: the "clean" source without its deflector, or the "noisy" blend, which
            is the baseline.
        survey: Name of a survey preset.
        bands: Its bands that are used.
        pixels: Side of an image.
        catalogue: A table of Collett (2015) to draw lenses from; empty takes
            `giga.simulate.systems.modular.lsst_lenses`.
        theta_E: Einstein radii that are 0 and 1 of the normalised one [arcsec]; no lens lies outside.
        q: Axis ratios likewise.
        size: "paper" (EDSR of 16 x 256, ResNet-50), "narrow" (EDSR of 64 features, ResNet-18) or "small" (two CPU cores
            train it).
        features, blocks: Of the EDSRs; 0 takes the size's own.
        width: Channels of the first level of the ResNets; 0 takes the size's own.
        angle: The measurer gives the position angle as a "pair", (cos 2 phi, sin 2 phi), or as the paper's "unit",
            phi / pi from 0 to 1, which jumps.
        dtype: Of the activations, "float32" or "bfloat16".
        denoise, deblend, find, measure: Weights that go on learning, names of the zoo or paths: of a chain its part is
            taken. "joint" needs all four; a stage may have its own, or begins with new ones.
        balance: Of the four losses in "joint".
        matched: Sources that are not lensed are as bright and as large as arcs, see
            `giga.simulate.systems.modular.lsst_lenses`.
        own: Survey of a configuration that has its own, with these bands and of this size; None is the preset.

    Raises:
        ValueError: A value that is not among those there are, a range that is none, images that are too small.
    """

    stage: str = "denoise"
    input: str = "clean"
    survey: str = "lsst"
    bands: tuple[str, ...] = ("g", "r", "i")
    pixels: int = 64
    catalogue: str = ""
    theta_E: tuple[float, float] = THETA_E
    q: tuple[float, float] = Q
    size: str = "small"
    features: int = 0
    blocks: int = 0
    width: int = 0
    angle: str = "pair"
    dtype: str = "float32"
    denoise: str = ""
    deblend: str = ""
    find: str = ""
    measure: str = ""
    balance: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    own: OwnSurvey | None = dataclasses.field(default=None, metadata={LATER: True})
    matched: bool = dataclasses.field(default=False, metadata={LATER: True})

    def __post_init__(self) -> None:
        for field, allowed in (("stage", (*STAGES, "joint")), ("input", INPUTS), ("survey", tuple(SURVEYS)),
                               ("size", SIZES), ("angle", ANGLES), ("dtype", DTYPES)):
            if (value := getattr(self, field)) not in allowed:
                raise ValueError(f"{field}: expected one of {', '.join(allowed)}, got {value!r}")
        if self.input == "noisy" and self.stage not in ("find", "measure"):
            raise ValueError(f"input: 'noisy' is a baseline of find and measure, got stage {self.stage!r}")
        for field, top in (("theta_E", np.inf), ("q", 1.0)):
            low, high = getattr(self, field)
            if not 0.0 < low < high <= top:
                raise ValueError(f"{field}: expected a range within 0 and {top:g}, got {low:g} to {high:g}")
        for field in ("features", "blocks", "width"):
            if (number := getattr(self, field)) < 0:
                raise ValueError(f"{field}: expected 0 or more, got {number}")
        if self.matched and self.catalogue:
            raise ValueError(f"matched: got true beside the catalogue {self.catalogue!r}; expected one of them")
        if self.pixels < 16:
            raise ValueError(f"pixels: expected at least 16, got {self.pixels}")
        if self.own is None:
            SURVEYS[self.survey].select(self.bands)
        elif (self.own.bands, self.own.shape) != (self.bands, (self.pixels, self.pixels)):
            raise ValueError(f"own: got bands {', '.join(self.own.bands)} of {self.own.shape} pixels, expected "
                             f"{', '.join(self.bands)} of {self.pixels} x {self.pixels}")

    @property
    def observed(self) -> Survey:
        """The survey, with the bands and the size of the images."""
        if self.own is not None:
            return self.own.survey
        return SURVEYS[self.survey].select(self.bands).replace(shape=(self.pixels, self.pixels))

    @property
    def edsr(self) -> EDSRConfig:
        """Settings of the networks that give images."""
        make = {"paper": EDSRConfig.paper, "narrow": EDSRConfig.narrow, "small": EDSRConfig.small}[self.size]
        changes = {name: getattr(self, name) for name in ("features", "blocks") if getattr(self, name)}
        return make(len(self.bands), dtype=self.dtype, **changes)

    @property
    def resnet(self) -> ResNetConfig:
        """Settings of the networks that give numbers."""
        changes: dict[str, Any] = {"width": self.width} if self.width else {}
        if self.size == "narrow":
            return ResNetConfig.of(18, len(self.bands), dtype=self.dtype, **changes)
        make = ResNetConfig.paper if self.size == "paper" else ResNetConfig.small
        return make(len(self.bands), dtype=self.dtype, **changes)

    @property
    def coordinates(self) -> Coordinates:
        """Parameters to and from what the measurer gives: numbers from 0 to 1, and the angle's pair."""
        names, low = ("theta_E", "q"), (self.theta_E[0], self.q[0])
        scale = self.theta_E[1] - self.theta_E[0], self.q[1] - self.q[0]
        if self.angle == "pair":
            return Coordinates(names, low, scale, angles=("phi",))
        return Coordinates((*names, "phi"), (*low, 0.0), (*scale, np.pi))

    def stretch(self, image: Array) -> Array:
        """What networks see of an image in counts / s: arcsinh(F / sigma), sigma the rms of each band's background."""
        return jnp.arcsinh(image / self.observed.background_rms.astype(np.float32))

    def counts(self, stretched: Array) -> Array:
        """The inverse of `stretch` [counts / s]."""
        return jnp.sinh(stretched) * self.observed.background_rms.astype(np.float32)

    def of_stage(self, stage: str) -> ModularConfig:
        """The configuration of one network of the chain."""
        return dataclasses.replace(self, stage=stage, input="clean", **dict.fromkeys(STAGES, ""))

    def fits(self, other: ModularConfig) -> bool:
        """Whether weights of the other's stage have their place here: another population and sky are no hindrance."""
        free = {name: getattr(self, name) for name in ("catalogue", "matched", "balance", "dtype", "survey", "own")}
        return (self.of_stage("find") == dataclasses.replace(other.of_stage("find"), **free)
                and self.observed.pixel_scale == other.observed.pixel_scale)


class Stage(nnx.Module):
    """One of the four networks. It takes and gives images as `ModularConfig.stretch` makes them."""

    def __init__(self, config: ModularConfig, *, rngs: nnx.Rngs):
        self.config = config
        if config.stage in ("denoise", "deblend"):
            self.network = EDSR(config.edsr, rngs=rngs)
            return
        trunk = ResNet(config.resnet, rngs=rngs)
        head = Classifier(trunk.width, rngs=rngs) if config.stage == "find" else Regressor(
            trunk.width, config.coordinates.size, rngs=rngs)
        self.network = Estimator(trunk, head)

    def __call__(self, seen: Array) -> Array:
        """Images of the shape of `seen`, (n, ny, nx, bands); or logits, (n, 2); or coordinates, (n, size)."""
        return self.network(seen)


class Chained(Component):
    """What a chain makes of images, each of its networks shown what the one before gave.

    Attributes:
        denoised: Without noise, stretched, shape (n, ny, nx, bands).
        source: Without noise and deflector, likewise.
        logits: No lens and lens, shape (n, 2).
        theta: Coordinates of the parameters, shape (n, size).
    """

    denoised: Array
    source: Array
    logits: Array
    theta: Array


class Chain(nnx.Module):
    """Denoising, deblending, finding and measuring, one after the other.

    References:
        Madireddy et al. (2019), arXiv:1911.03867, Fig. 1.
    """

    def __init__(self, config: ModularConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.denoise, self.deblend, self.find, self.measure = (
            Stage(config.of_stage(name), rngs=rngs) for name in STAGES)

    @staticmethod
    def of(config: ModularConfig, stages: Mapping[str, Stage]) -> Chain:
        """Chain networks that were trained apart; theirs are copied.

        Raises:
            ValueError: One is missing, or it is another stage's, or of other images, sizes or ranges.
        """
        chain = nnx.eval_shape(lambda: Chain(config, rngs=nnx.Rngs(0)))
        for name in STAGES:
            if name not in stages:
                raise ValueError(f"{name}: no network, expected one for each of {', '.join(STAGES)}")
            found = stages[name].config
            if found.stage != name or found.input != "clean":
                raise ValueError(f"{name}: got a network of stage {found.stage!r} that is shown {found.input} images")
            if not config.fits(found):
                raise ValueError(f"{name}: the network is of other images, sizes or ranges than the chain: {found}")
            setattr(chain, name, nnx.clone(stages[name]))
        return chain

    def through(self, seen: Array) -> Chained:
        """Take stretched images, shape (n, ny, nx, bands), through all four."""
        denoised = self.denoise(seen)
        source = self.deblend(denoised)
        return Chained(denoised=denoised, source=source, logits=self.find(source), theta=self.measure(source))

    def __call__(self, image: Array) -> tuple[Array, Array, Array, dict[str, Array]]:
        """Analyse images.

        Args:
            image: Shape (n, ny, nx, bands) [counts / s].

        Returns:
            The image without noise and the source alone [counts / s], the logit of a lens, shape (n,), and parameters
            by name, shape (n,) each: `theta_E` [arcsec], `q`, `phi` from 0 to pi [rad].
        """
        found = self.through(self.config.stretch(image))
        return (self.config.counts(found.denoised), self.config.counts(found.source), lens_logit(found.logits),
                parameters(self.config, found.theta))


def lens_logit(logits: Array) -> Array:
    """Log-odds of a lens, shape (n,), from those of the two classes, shape (n, 2)."""
    return logits[:, 1] - logits[:, 0]


def parameters(config: ModularConfig, theta: Array) -> dict[str, Array]:
    """Einstein radius [arcsec], axis ratio and position angle, from 0 to pi [rad], of a measurer's coordinates."""
    values = config.coordinates.decode(theta)
    return values | {"phi": jnp.mod(values["phi"], jnp.pi)} if config.angle == "pair" else values
