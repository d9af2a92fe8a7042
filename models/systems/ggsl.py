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

from giga.models.networks.separator import GGSLConfig, Separator, scale_of, scaled
from giga.models.systems.measured import Measured
from giga.models.systems.separation_metrics import measure, measured, without_network, without_source
from giga.models.systems.simulated import SimulatedTask, elsewhere, require
from giga.models.zoo import ZooError, load
from giga.models.zoo.magnitudes import Corrections, measure_corrections
from giga.models.zoo.weights import renewed, tensors_of
from giga.runtime.identity import identity_of
from giga.simulate.batch import Batch
from giga.simulate.generator import Simulator, simulator
from giga.simulate.mixing import Mixing
from giga.simulate.surveys import shifted as other
from giga.simulate.surveys.noise import CameraNoise, Noise
from giga.simulate.surveys.seeing import psfs_in_seeing
from giga.simulate.systems.ggsl import EMPTY, companions, physical, table_2

SUPERSAMPLING = 2
CALIBRATION = 8000  # images on which magnitudes are corrected
CALIBRATION_STREAM = 2**32 - 1  # of the fold that makes their key; no test set has this number
UNSEEN = "paper's recipe"  # the test set of a network that was trained on another
FAINT = 30.0  # pixels of one sigma: the least flux that an error is compared with


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
    near = None
    if config.companions:
        near = companions(survey, config.companions, kinds=config.kinds, supersampling=SUPERSAMPLING)
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
    if noise is None:
        noise = other.noise(survey) if shifted else CameraNoise.of(survey)
    if config.recipe == "physical":
        return simulator(population, survey.grid, psfs, noise, companions=near)
    mixing = Mixing(bands=bands, missing=0.1 if config.recipe == "code" else 0.0)
    return simulator(population, survey.grid, [night[:1] for night in psfs], noise, companions=near, mixing=mixing)


class GGSLTask(SimulatedTask):
    """What `giga.models.training.train` needs to train a separator.

    Args:
        config: The network, and the recipe of its images.
        noise: In the place of the survey's camera.
        made: What simulates the images in the place of the recipe, of the config's own survey.

    Raises:
        ValueError: A population without lens light or without sources; weights to start from that cannot be loaded or
            are of another network.
    """

    def __init__(self, config: GGSLConfig, noise: Noise | None = None, made: Simulator | None = None):
        self.config, self.noise, self.made = config, noise, made
        if made is not None:
            require(made.population, "a separator", parts=("lens_light", "source_light"))
        self.simulator = make_simulator(config, noise) if made is None else made
        self.other = make_simulator(config, shifted=True) if made is None else elsewhere(made, config.observed)
        self.background_rms = jnp.asarray(config.observed.background_rms, jnp.float32)
        self._start = _begun(config) if config.start else None

    @property
    def identity(self) -> str:
        """Hash of the configuration, its survey, noise that was measured, and the weights that it starts from."""
        own = [] if self.made is None else [self.made]
        own += [] if self._start is None else [tensors_of(self._start)]
        return identity_of("ggsl", dataclasses.replace(self.config, start=""), self.config.observed, self.noise, *own)

    def network(self, rngs: nnx.Rngs) -> Separator:
        """A fresh network; or the one that it starts from, copied."""
        return Separator(self.config, rngs=rngs) if self._start is None else nnx.clone(self._start)

    def prepared(self, batch: Batch) -> dict[str, Array]:
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


def _begun(config: GGSLConfig) -> Separator:
    """A separator of a configuration with the weights that it names.

    Raises:
        ValueError: Weights that cannot be loaded, or of another network.
    """
    try:
        found, card = load(config.start)
        if not isinstance(found, Separator):
            raise ZooError(f"{config.start} is a {card.network}, expected a separator")
        for name, has, wants in (("recipe", found.config.recipe, config.recipe),
                                 ("bands", found.config.unet.bands, config.unet.bands)):
            if has != wants:
                raise ZooError(f"{config.start} has {name} {has}, expected {wants}")
        return renewed(lambda: Separator(config, rngs=nnx.Rngs(0)), found, config.start)
    except ZooError as error:
        raise ValueError(f"start: {error}") from error


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
             corrections: Corrections | None = None, noise: Noise | None = None,
             made: Simulator | None = None) -> dict[str, Measured]:
    """Measure a separator on test sets that no training step draws.

    "mock" is drawn as the training set is, "shifted" has another PSF, noise and kind of source, and in "half empty"
    every second image has no source: for the finder of eq. 16 and for the source that is seen where there is none. A
    network of recipe "physical" is measured on the "paper's recipe" too, which it has not seen: strengths that are
    uniform and sources far fainter. The noise of each of those images is taken as known, as if it had been measured.

    Args:
        config: The recipe.
        model: The network.
        images: Size of each set.
        seed: Of the sets.
        together: Images that are simulated and separated at a time.
        corrections: Of its magnitudes, see `calibrate`.
        noise: That it was trained with; None is the survey's camera. "shifted" has another in either case.
        made: What simulated its images in the place of the recipe; "mock" and "shifted" are all sets then.

    Returns:
        By test set; of the numbers see `giga.models.systems.separation_metrics.summary`, of the baselines
        `without_network` and `without_source` there, and "flux alone", the image's total flux as a finder.
    """
    if made is not None:
        sets = {"mock": made, "shifted": elsewhere(made, config.observed)}
    else:
        sets = {"mock": make_simulator(config, noise), "shifted": make_simulator(config, shifted=True),
                "half empty": make_simulator(config, noise, empty=0.5)}
    if made is None and config.recipe == "physical":
        sets[UNSEEN] = make_simulator(dataclasses.replace(config, recipe="paper", seeing=(), beta=()))
    names = [band.name for band in config.observed.bands]
    rows = _measured(config, model, together, beside=True)
    return {name: measured(rows(each, images, jax.random.fold_in(jax.random.key(seed), number), name == UNSEEN), names,
                           corrections)
            for number, (name, each) in enumerate(sets.items())}


def calibrate(config: GGSLConfig, model: Separator, seed: int = 2, images: int = CALIBRATION,
              together: int = 32, noise: Noise | None = None,
              made: Simulator | None = None) -> dict[str, dict[str, dict[str, Any]]]:
    """Measure what the magnitudes of a separator are off by, on images as it was trained on, of no test set.

    Args:
        config: The recipe.
        model: The network.
        seed: As of `evaluate`, whose images these are not.
        images: Number of images.
        together: Images that are simulated and separated at a time.
        noise: That it was trained with; None is the survey's camera.
        made: What simulated its images, in the place of the recipe.

    Returns:
        See `giga.models.zoo.magnitudes.Corrections`.
    """
    key = jax.random.fold_in(jax.random.key(seed), CALIBRATION_STREAM)
    rows = _measured(config, model, together)(make_simulator(config, noise) if made is None else made, images, key)
    return measure_corrections(rows[""], [band.name for band in config.observed.bands])


def _measured(config: GGSLConfig, model: Separator, together: int, beside: bool = False,
              ) -> Callable[..., dict[str, dict[str, np.ndarray]]]:
    """`rows(simulator, images, key, own_sky=False)`: `separation_metrics.measure` of simulated images.

    By method; the network's is "", and others are there where they are asked for `beside` it. With `own_sky` the rms of
    the background is each image's, else it is the survey's.
    """
    structure, state = nnx.split(model)

    def rows(made: Simulator, images: int, key: Array, own_sky: bool = False) -> dict[str, dict[str, np.ndarray]]:
        size = min(together, images)  # of the last batch too, else its programs are compiled for it alone
        batches = (made.simulate(jax.random.fold_in(key, first), size) for first in range(0, images, size))
        parts = [jax.tree.map(np.asarray, _measure(config, beside, own_sky, structure, state, batch))
                 for batch in batches]
        return jax.tree.map(lambda *values: np.concatenate(values)[:images], *parts)

    return rows


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _measure(config: GGSLConfig, beside: bool, own_sky: bool, structure: Any, state: Any,
             batch: Batch) -> dict[str, dict[str, Array]]:
    rms = jnp.min(batch.sigma, axis=(1, 2)) if own_sky else jnp.asarray(config.observed.background_rms, jnp.float32)
    scale = scale_of(config, batch.image, rms)
    seen = scaled(config, batch, rms)
    found = nnx.merge(structure, state)(seen.image, jnp.ones((1, 1, 1, 1)))
    sky = rms / scale[:, 0, 0]
    parts = {"": found}
    if beside:
        parts |= {"no source": without_source(found)} | without_network(seen.image, sky)
    return {name: measure(seen, one, sky) for name, one in parts.items()}
