"""The modular pipeline: what each of its networks is trained on, apart or as a chain."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array

from giga.models.networks.chain import STAGES, Chain, ModularConfig, Stage
from giga.models.systems.simulated import SimulatedTask, elsewhere, require
from giga.models.zoo import ZooError, load
from giga.models.zoo.weights import renewed, tensors_of
from giga.runtime.identity import identity_of
from giga.simulate.batch import Batch
from giga.simulate.generator import Simulator, simulator
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys import shifted as other
from giga.simulate.surveys.noise import CameraNoise, Noise
from giga.simulate.systems.modular import catalogue_lenses, lsst_lenses, mass_parameters

SUPERSAMPLING = 2
LENSED = 0.5  # share of lensed images, but for measuring, which is learned from lenses alone
NEEDED = {"denoise": ("noisy", "blend"), "deblend": ("blend", "source"), "find": ("source", "label"),
          "measure": ("source", "theta"), "joint": ("noisy", "blend", "source", "label", "theta")}
"""What of an example each stage is trained on."""


def make_simulator(config: ModularConfig, catalogue: Catalogue | None = None, lensed: float = LENSED,
                   shifted: bool = False, noise: Noise | None = None) -> Simulator:
    """The simulator of a configuration.

    Args:
        config: Survey, bands, size, ranges of parameters.
        catalogue: Lenses to draw from in the place of `lsst_lenses`.
        lensed: Share of images that are lensed.
        shifted: What the networks have not been trained for: a Moffat PSF that is a quarter wider, noise that is
            correlated between pixels, sources with clumps, or of a catalogue's ones with a bulge's profile.
        noise: In the place of the camera's, for what is not shifted.

    Raises:
        ValueError: A configuration that names a catalogue, and none is given.
    """
    survey = config.observed
    if config.catalogue and catalogue is None:
        raise ValueError(f"catalogue: the configuration draws from {config.catalogue!r}, got no catalogue")
    ranges = config.theta_E, config.q, lensed
    if catalogue is None:
        population = lsst_lenses(survey, *ranges, clumps=other.CLUMPS if shifted else 0, matched=config.matched)
    else:
        population = catalogue_lenses(catalogue, survey, *ranges, n_source=4.0 if shifted else 1.0)
    if shifted:
        return simulator(population, survey.grid, other.psfs(survey, SUPERSAMPLING), other.noise(survey))
    return simulator(population, survey.grid, survey.psfs(SUPERSAMPLING),
                     CameraNoise.of(survey) if noise is None else noise)


def examples_of(config: ModularConfig, batch: Batch) -> dict[str, Array]:
    """All that the four stages are trained on.

    Args:
        config: Scale of the images, ranges of the parameters.
        batch: Simulated, with or without a leading axis.

    Returns:
        "noisy", "blend" (noiseless) and "source" (noiseless, without the deflector), stretched; "label"; and "theta",
        the coordinates of the parameters, of no meaning where there is no lens.
    """
    lens, source = batch.parts["lens"], batch.parts["source"]
    return dict(noisy=config.stretch(batch.image), blend=config.stretch(lens + source), source=config.stretch(source),
                label=batch.label, theta=config.coordinates.encode(mass_parameters(batch.truth)))


def losses(config: ModularConfig, model: Stage | Chain, batch: dict[str, Array]) -> dict[str, Array]:
    """Loss of each stage, of shape (), for a network of one stage or for a chain.

    Images and parameters have mean absolute errors (Lim et al. 2017, section 4.2), labels a cross-entropy. A chain's
    parameters count where there is a lens.
    """
    if isinstance(model, Chain):
        found = model.through(batch["noisy"])
        lens = batch["label"].astype(jnp.float32)
        # Divided by the expected share, so that means over devices are the mean of all.
        wrong = jnp.mean(jnp.abs(found.theta - batch["theta"]), axis=-1) * lens / LENSED
        return dict(denoise=_absolute(found.denoised, batch["blend"]), deblend=_absolute(found.source, batch["source"]),
                    find=_entropy(found.logits, batch["label"]), measure=jnp.mean(wrong))
    stage = config.stage
    shown, wanted = NEEDED[stage]
    found = model(batch["noisy" if config.input == "noisy" else shown])
    return {stage: (_entropy if stage == "find" else _absolute)(found, batch[wanted])}


def _absolute(found: Array, wanted: Array) -> Array:
    return jnp.mean(jnp.abs(found - wanted))


def _entropy(logits: Array, label: Array) -> Array:
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, label))


class ModularTask(SimulatedTask):
    """What `giga.models.training.train` needs to train one network, or the chain of four.

    Args:
        config: Stage, images and networks.
        catalogue: Lenses to draw from, if the configuration names a table.
        stages: Networks that "joint" starts from; None loads those that the configuration names.
        noise: In the place of the camera's; the shifted set has its own.
        made: What simulates the images in the place of the configuration's lenses, of its own survey.

    Raises:
        ValueError: A population without what the stage learns; "joint" without weights to start from, or weights that
            do not fit; a catalogue that is missing.
    """

    def __init__(self, config: ModularConfig, catalogue: Catalogue | None = None,
                 stages: dict[str, Stage] | None = None, noise: Noise | None = None, made: Simulator | None = None):
        self.config, self.catalogue, self.noise, self.made = config, catalogue, noise, made
        if made is not None:
            _check_own(config, made)
            self.simulator, self.other = made, elsewhere(made, config.observed)
        else:
            lensed = 1.0 if config.stage == "measure" else LENSED
            self.simulator = make_simulator(config, catalogue, lensed, noise=noise)
            self.other = make_simulator(config, catalogue, lensed, shifted=True)
        self._start = (Chain.of(config, stages or load_stages(config)) if config.stage == "joint" else
                       _started(config))

    @property
    def identity(self) -> str:
        """Hash of the configuration, its survey, catalogue and noise, and of the weights that it starts from."""
        own = dataclasses.replace(self.config, **dict.fromkeys(STAGES, ""))
        weights = {} if self._start is None else tensors_of(self._start)
        noise = [] if self.noise is None else [self.noise]
        made = [] if self.made is None else [self.made]
        return identity_of("modular", own, self.config.observed, self.catalogue, weights, *noise, *made)

    def network(self, rngs: nnx.Rngs) -> Stage | Chain:
        """A fresh network; or the trained ones that it starts from, copied."""
        return Stage(self.config, rngs=rngs) if self._start is None else nnx.clone(self._start)

    def prepared(self, batch: Batch) -> dict[str, Array]:
        """What the stage needs of `examples_of`."""
        found = examples_of(self.config, batch)
        names = set(NEEDED[self.config.stage]) | ({"noisy"} if self.config.input == "noisy" else set())
        return {name: found[name] for name in names}

    def loss(self, model: Stage | Chain, batch: dict[str, Array], key: Array) -> tuple[Array, dict[str, Array]]:
        """See `losses`; a chain's is their sum, weighted by the configuration."""
        terms = losses(self.config, model, batch)
        if self.config.stage != "joint":
            return terms[self.config.stage], {}
        total = sum((weight * terms[name] for name, weight in zip(STAGES, self.config.balance, strict=True)),
                    jnp.zeros(()))
        return total, terms


def _check_own(config: ModularConfig, made: Simulator) -> None:
    """Refuse a population that lacks what a stage is trained on; all truths are there at every stage."""
    told = {"find": True, "joint": True, "measure": False}.get(config.stage)
    require(made.population, f"stage {config.stage!r}", parts=("lens_light", "source_light"), lensed=told,
            values=("mass.0.theta_E", "mass.0.e1", "mass.0.e2"))


def load_stages(config: ModularConfig) -> dict[str, Stage]:
    """The four networks that a configuration of "joint" names.

    Raises:
        ValueError: One is not named, cannot be loaded, or is no network of a stage.
    """
    stages = {}
    for name in STAGES:
        if not getattr(config, name):
            raise ValueError(f"{name}: stage 'joint' starts from trained weights, got none; expected a name or a path")
        stages[name] = _load_stage(config, name)
    return stages


def _load_stage(config: ModularConfig, name: str) -> Stage:
    """The network of a stage that a configuration names, or that stage of a chain. Raises ValueError."""
    place = getattr(config, name)
    try:
        model, card = load(place)
    except ZooError as error:
        raise ValueError(f"{name}: {error}") from error
    if isinstance(model, Chain):
        return getattr(model, name)
    if not isinstance(model, Stage):
        raise ValueError(f"{name}: {place} is a {card.network}, expected a stage of the modular pipeline, or a chain")
    return model


def _started(config: ModularConfig) -> Stage | None:
    """The network that a stage of its own starts from, if the configuration names one.

    Raises:
        ValueError: Weights of another stage are named; weights that cannot be loaded or do not fit.
    """
    name = config.stage
    for given in STAGES:
        if given != name and getattr(config, given):
            raise ValueError(f"{given}: given for stage {name!r}; expected {name} alone, whose weights go on learning")
    if not getattr(config, name):
        return None
    found = _load_stage(config, name)
    if found.config.stage != name or found.config.input != config.input:
        raise ValueError(f"{name}: got a network of stage {found.config.stage!r} that is shown {found.config.input} "
                         f"images, expected {config.input} ones")
    if not config.fits(found.config):
        raise ValueError(f"{name}: the network is of other images, sizes or ranges: {found.config}")
    own = dataclasses.replace(config, **dict.fromkeys(STAGES, ""))
    return renewed(lambda: Stage(own, rngs=nnx.Rngs(0)), found, getattr(config, name))


