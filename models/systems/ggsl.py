"""GGSL-UNet: an image is separated into deflector, source and noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from giga.models.networks.layers import DTYPES
from giga.models.networks.unet import UNet, UNetConfig
from giga.models.systems.magnitudes import Corrections, measure_corrections
from giga.models.systems.separation_metrics import measure, summary
from giga.runtime.checkpoint import identity_of
from giga.simulate.batch import Batch
from giga.simulate.generator import Geometry, Simulator, simulator
from giga.simulate.mixing import Mixing
from giga.simulate.surveys import shifted as other
from giga.simulate.surveys.noise import CameraNoise, Noise
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.seeing import check_seeing, psfs_in_seeing
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.ggsl import EMPTY, companions, physical, table_2

RECIPES = ("paper", "code", "physical")
SUPERSAMPLING = 2
CALIBRATION = 8000  # images on which magnitudes are corrected
CALIBRATION_STREAM = 2**32 - 1  # of the fold that makes their key; no test set has this number
FAINT = 30.0  # pixels of one sigma: the least flux that an error is compared with
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
        seeing: Range of the factor of the PSF's width, drawn for every band; empty keeps the survey's PSFs.
        beta: Range of the slope of Moffat profiles, drawn likewise; empty keeps the survey's profiles.
        flux: Weight of the error in total fluxes in the loss, see `flux_error`; the paper's recipes have none.
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

    def __post_init__(self) -> None:
        for field, allowed in (("recipe", RECIPES), ("survey", tuple(SURVEYS)), ("network", ("paper", "small")),
                               ("dtype", DTYPES)):
            if (value := getattr(self, field)) not in allowed:
                raise ValueError(f"{field}: expected one of {', '.join(allowed)}, got {value!r}")
        if any(width < 1 for width in self.channels):
            raise ValueError(f"channels: expected positive numbers, got {self.channels}")
        if self.companions < 0:
            raise ValueError(f"companions: expected 0 or more, got {self.companions}")
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
        return SURVEYS[self.survey]

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


def make_simulator(config: GGSLConfig, noise: Noise | None = None, shifted: bool = False,
                   empty: float = EMPTY) -> Simulator:
    """The simulator of a recipe.

    Args:
        config: The recipe.
        noise: Real cutouts of a survey in the place of computed noise, as the paper has them.
        shifted: What the network has not been trained for: a Moffat PSF that is a quarter wider, noise that is
            correlated between pixels, sources with clumps.
        empty: Share of images without a source.
    """
    survey = config.observed
    bands = len(survey.bands)
    near = companions(survey, config.companions) if config.companions else None
    if config.recipe == "physical":
        population = physical(survey, clumps=other.CLUMPS if shifted else 0, empty=empty)
    else:
        population = table_2(clumps=other.CLUMPS if shifted else 0, empty=empty)
    if shifted:
        psfs = [other.psfs(survey, SUPERSAMPLING)]
    elif config.seeing:
        psfs = psfs_in_seeing(survey, config.seeing, SUPERSAMPLING, config.beta)
    else:
        psfs = [list(survey.psfs(SUPERSAMPLING))]
    noise = noise or (other.noise(survey) if shifted else CameraNoise.of(survey))
    if config.recipe == "physical":
        return simulator(population, survey.grid, psfs, noise, companions=near)
    mixing = Mixing(bands=bands, missing=0.1 if config.recipe == "code" else 0.0)
    return simulator(population, survey.grid, [night[:1] for night in psfs], noise, companions=near, mixing=mixing)


class GGSLTask:
    """What `giga.models.training.train` needs to train a separator."""

    def __init__(self, config: GGSLConfig, noise: Noise | None = None):
        self.config = config
        self.simulator = make_simulator(config, noise)
        self.other = make_simulator(config, shifted=True)
        self.background_rms = jnp.asarray(config.observed.background_rms, jnp.float32)

    @property
    def identity(self) -> str:
        """Hash of the configuration."""
        return identity_of("ggsl", repr(dataclasses.asdict(self.config)))

    def network(self, rngs: nnx.Rngs) -> Separator:
        """A fresh network."""
        return Separator(self.config, rngs=rngs)

    def example(self, key: Array) -> dict[str, Array]:
        """One training example, see `normalised`."""
        return self.finish(key, self.geometry(key))

    def geometry(self, key: Array) -> Geometry:
        """The scene of an example."""
        return self.simulator.geometry(jax.random.split(key)[0])

    def finish(self, key: Array, geometry: Geometry) -> dict[str, Array]:
        """The example of a scene."""
        return self.normalised(self.simulator.finish(jax.random.split(key)[1], geometry))

    def shifted_example(self, key: Array) -> dict[str, Array]:
        """One example of another PSF, another noise and other sources."""
        return self.normalised(self.other.example(key))

    def normalised(self, batch: Batch) -> dict[str, Array]:
        """What the loss needs of simulated images, divided by their scale, with or without a leading axis."""
        seen = scaled(self.config, batch, self.background_rms)
        return dict(image=seen.image, sigma=seen.sigma, label=seen.label, **seen.parts)

    def loss(self, model: Separator, batch: dict[str, Array], key: Array) -> tuple[Array, dict[str, Array]]:
        """Eq. 13 for the paper's recipes; for "physical" a smooth one in units of the noise.

        Mean absolute error pulls a faint pixel to its median, that is to no flux, and so loses the wings of galaxies.
        sqrt(1 + (error / sigma)^2) - 1 is quadratic below one sigma, where the mean is what counts, and linear above.
        Wings that are below the noise in every pixel can still be bright together: `flux` adds the error of the sum.
        """
        predicted = model(batch["image"], jnp.ones((1, 1, 1, 1), batch["image"].dtype))
        errors = {name: predicted[name] - batch[name] for name in ("lens", "source", "noise")}
        if self.config.recipe == "physical":
            terms = {name: jnp.mean(jnp.sqrt(1.0 + (error / batch["sigma"]) ** 2) - 1.0)
                     for name, error in errors.items()}
        else:
            terms = {name: jnp.mean(jnp.abs(error)) for name, error in errors.items()}
        if self.config.flux:
            lens, source = (jnp.mean(flux_error(predicted[name], batch[name], batch["sigma"]))
                            for name in ("lens", "source"))
            terms["flux"] = self.config.flux * (lens + source)
        wrong = jnp.mean(((errors["lens"] + errors["source"]) / batch["sigma"]) ** 2, axis=(1, 2, 3))
        return sum(terms.values(), jnp.zeros(())), dict(terms, chi2_below_2=jnp.mean(1.0 + wrong < 2.0))


def flux_error(found: Array, true: Array, sigma: Array) -> Array:
    """Error of the total flux of a part, of that flux, shape (n, bands).

    A flux below that of `FAINT` pixels of one sigma counts as that much. Where its mean is least, the error's median is
    zero.

    Args:
        found, true: The part, shape (n, ny, nx, bands).
        sigma: Standard deviation of the noise, of the same shape.
    """
    def total(part: Array) -> Array:
        return jnp.sum(part, axis=(-3, -2))

    least = FAINT * jnp.mean(sigma, axis=(-3, -2))
    return jnp.abs(total(found) - total(true)) / jnp.sqrt(total(true) ** 2 + least**2)


def evaluate(config: GGSLConfig, model: Separator, images: int, seed: int = 2, together: int = 32,
             corrections: Corrections | None = None) -> dict[str, dict[str, float]]:
    """Measure a separator on test sets that no training step draws.

    "mock" is drawn as the training set is, "shifted" has another PSF, noise and kind of source, and in "half empty"
    every second image has no source: for the finder of eq. 16 and for the source that is seen where there is none.

    Args:
        config: The recipe.
        model: The network.
        images: Size of each set.
        seed: Of the sets.
        together: Images that are simulated and separated at a time.
        corrections: Of its magnitudes, see `calibrate`.

    Returns:
        Numbers by test set and name, see `giga.models.systems.separation_metrics.summary`.
    """
    sets = {"mock": make_simulator(config), "shifted": make_simulator(config, shifted=True),
            "half empty": make_simulator(config, empty=0.5)}
    names = [band.name for band in config.observed.bands]
    rows = _measured(config, model, together)
    return {name: summary(rows(made, images, jax.random.fold_in(jax.random.key(seed), number)), names,
                          corrections=corrections)
            for number, (name, made) in enumerate(sets.items())}


def calibrate(config: GGSLConfig, model: Separator, seed: int = 2, images: int = CALIBRATION,
              together: int = 32) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure what the magnitudes of a separator are off by, on images as it was trained on, of no test set.

    Args:
        config: The recipe.
        model: The network.
        seed: As of `evaluate`, whose images these are not.
        images: Number of images.
        together: Images that are simulated and separated at a time.

    Returns:
        See `giga.models.systems.magnitudes.Corrections`.
    """
    key = jax.random.fold_in(jax.random.key(seed), CALIBRATION_STREAM)
    rows = _measured(config, model, together)(make_simulator(config), images, key)
    return measure_corrections(rows, [band.name for band in config.observed.bands])


def _measured(config: GGSLConfig, model: Separator,
              together: int) -> Callable[[Simulator, int, Array], dict[str, np.ndarray]]:
    """`rows(simulator, images, key)`: `giga.models.systems.separation_metrics.measure` of simulated images."""
    structure, state = nnx.split(model)

    def rows(made: Simulator, images: int, key: Array) -> dict[str, np.ndarray]:
        batches = (made.simulate(jax.random.fold_in(key, first), min(together, images - first))
                   for first in range(0, images, together))
        parts = [jax.tree.map(np.asarray, _measure(config, structure, state, batch)) for batch in batches]
        return {field: np.concatenate([part[field] for part in parts]) for field in parts[0]}

    return rows


@partial(jax.jit, static_argnums=(0, 1))
def _measure(config: GGSLConfig, structure: Any, state: Any, batch: Batch) -> dict[str, Array]:
    rms = jnp.asarray(config.observed.background_rms, jnp.float32)
    scale = scale_of(config, batch.image, rms)
    seen = scaled(config, batch, rms)
    found = nnx.merge(structure, state)(seen.image, jnp.ones((1, 1, 1, 1)))
    return measure(seen, found, rms / scale[:, 0, 0])
