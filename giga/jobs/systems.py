"""The systems that `giga train` knows by name: what each simulates, which network it trains, what its card says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from giga.io.configuration.collett import read_collett
from giga.io.configuration.simulation import Simulation, simulation_of
from giga.io.configuration.survey import NoiseConfig, make_noise
from giga.io.errors import InputError
from giga.io.tables import Place, to_table
from giga.jobs import amortised, cutouts, finders
from giga.models.networks.chain import STAGES, Chain, ModularConfig, Stage
from giga.models.networks.count import operations
from giga.models.networks.separator import GGSLConfig, Separator
from giga.models.systems import modular_table
from giga.models.systems.ggsl import GGSLTask, calibrate, evaluate
from giga.models.systems.measured import Measured
from giga.models.systems.modular import LENSED, ModularTask
from giga.models.training.config import TrainConfig
from giga.models.training.task import Task
from giga.models.zoo import Seen
from giga.simulate.generator import Simulator
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys.noise import CameraNoise, CorrelatedNoise, CutoutNoise, Noise
from giga.simulate.surveys.own import OwnSurvey
from giga.simulate.surveys.seeing import VARIANTS
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.ggsl import EMPTY


@dataclass(frozen=True)
class System:
    """A kind of task that a configuration can describe.

    Attributes:
        config: Frozen dataclass of the section [system], without its `name`.
        task: Makes the task of a config.
        card: What a config settles of the card of its weights: `network`, `config`, `flops`, `limits`, and `prevalence`
            where it means something; see `giga.models.zoo.Card`.
        evaluate: `evaluate(config, model, images, seed)`, what a network makes of test sets, by their names.
        calibrate: `calibrate(config, model, seed)`, what is put on the card as `magnitudes`, and `evaluate` then takes
            as `corrections`; None where a network gives none.
        shape: Shape (ny, nx, bands) of the images of a config; None leaves the speed of its networks off their cards.
        forward: `forward(model, images)`, one pass of a network.
        finish: `finish(config, model)`, the network as it is kept, when training has ended.
        survey: Of a config, whose noise another may take the place of: `task`, `evaluate` and `calibrate` then take it
            as `noise`. None where the noise is settled otherwise.
        training: `training(config, train)`, the settings of [train] as a config changes them: epochs into steps.
        notes: `notes(config)`, what the user should know before a training.
        own: `own(config, simulation)`, the config for the images of a simulation of the user's own: `task`, `card`,
            `evaluate` and `calibrate` then take it as `simulation`. None where images are from elsewhere.
        replaced: Settings that have no meaning beside a simulation.
        needs: Whether it has no images without a simulation.
    """

    config: type
    task: Callable[..., Task]
    card: Callable[..., Mapping[str, Any]]
    evaluate: Callable[..., Mapping[str, Measured]]
    finish: Callable[[Any, Any], Any] = lambda config, model: model
    calibrate: Callable[..., Mapping[str, Any]] | None = None
    shape: Callable[[Any], tuple[int, int, int]] | None = None
    forward: Callable[[Any, Any], Any] = lambda model, images: model(images)
    survey: Callable[[Any], Survey] | None = None
    training: Callable[[Any, TrainConfig], TrainConfig] = lambda config, train: train
    notes: Callable[[Any], Sequence[str]] = lambda config: ()
    own: Callable[[Any, Simulation], Any] | None = None
    replaced: tuple[str, ...] = ()
    needs: bool = False

    def simulation(self, config: Any, tables: Mapping[str, Any] | None, place: Place) -> Simulation | None:
        """The simulation of a file, if the system learns from it.

        Raises:
            InputError: A system that does not, or that cannot do without; settings that it takes the place of; or what
                `giga.io.configuration.simulation.simulation_of` raises.
        """
        if not tables:
            if self.needs:
                raise place.at("survey").error("missing", "[survey] and a population, whose images are learned")
            return None
        if self.own is None:
            raise place.at(next(iter(tables))).error("given for a system that has its images from elsewhere",
                                                     "no such section")
        for field in fields(config):
            if field.name in self.replaced and getattr(config, field.name) != field.default:
                raise place.at("system").at(field.name).error("given beside the sections of a simulation",
                                                              "one of them: [survey] says it")
        return simulation_of(tables, place)

    def noise(self, config: Any, noise: NoiseConfig | None, place: Place) -> dict[str, Noise]:
        """Section [noise] of a training as an argument of `task`, `evaluate` and `calibrate`; none without it.

        Raises:
            InputError: A system of no such noise, or cutouts that cannot be used.
        """
        if noise is None:
            return {}
        if self.survey is None:
            raise place.error("given for a system that has its noise from elsewhere", "no such section")
        return {"noise": make_noise(noise, self.survey(config), place)}


def seen_in(config: Any, noise: Noise, survey: Survey | None = None) -> Seen | None:
    """What a network of a config has seen in noise that is not its survey's camera.

    `survey` is that of the simulation that it learned from, for a config that names none.
    """
    seen = Seen.of(config)
    if seen is None and survey is not None:
        seen = Seen.of_survey(survey)
    if seen is None or not isinstance(noise, CameraNoise | CorrelatedNoise | CutoutNoise):
        return seen
    rms = np.asarray(noise.sigma if isinstance(noise, CutoutNoise) else noise.background_rms)
    rms = rms.reshape(-1, rms.shape[-1])
    return dataclasses.replace(seen, rms=tuple(zip(rms.min(0).tolist(), rms.max(0).tolist(), strict=True)))


def _survey(config: GGSLConfig | ModularConfig) -> Survey:
    return config.observed


def _shape(config: GGSLConfig | ModularConfig) -> tuple[int, int, int]:
    return (*config.observed.shape, len(config.observed.bands))


def _flops(make: Callable[[], Any], forward: Callable[[Any, Any], Any], shape: tuple[int, int, int]) -> float:
    """Operations of one pass of a network that is not made."""
    graph, state = nnx.split(nnx.eval_shape(make))
    image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
    return operations(lambda state, image: forward(nnx.merge(graph, state), image), state, image)


def _plain(simulation: Simulation | None) -> Simulator | None:
    """What simulates whole images. Raises InputError for light in cutouts, whose parts nobody knows."""
    return None if simulation is None else simulation.simulator


def _own(config: GGSLConfig, simulation: Simulation) -> GGSLConfig:
    own, table = OwnSurvey.of(simulation.survey), simulation.tables["survey"]
    return dataclasses.replace(config, survey=own.name, own=own, seeing=tuple(table.get("seeing", ())),
                               beta=tuple(table.get("beta", ())))


def _own_modular(config: ModularConfig, simulation: Simulation) -> ModularConfig:
    own = OwnSurvey.of(simulation.survey)
    if own.shape[0] != own.shape[1]:
        raise InputError(simulation.file, "survey.shape", f"{own.shape[0]} x {own.shape[1]}", "square images")
    return dataclasses.replace(config, survey=own.name, bands=own.bands, pixels=own.shape[0], own=own)


def _ggsl_task(config: GGSLConfig, noise: Noise | None = None, simulation: Simulation | None = None) -> GGSLTask:
    return GGSLTask(config, noise, _plain(simulation))


def _ggsl_evaluate(config: GGSLConfig, model: Separator, images: int, seed: int,
                   simulation: Simulation | None = None, **more: Any) -> Mapping[str, Measured]:
    return evaluate(config, model, images, seed, made=_plain(simulation), **more)


def _ggsl_calibrate(config: GGSLConfig, model: Separator, seed: int, simulation: Simulation | None = None,
                    **more: Any) -> Mapping[str, Any]:
    return calibrate(config, model, seed, made=_plain(simulation), **more)


def _separated(model: Separator, images: Any) -> Any:
    return model(images, jnp.ones((1, 1, 1, 1)))


def _separator_card(config: GGSLConfig, simulation: Simulation | None = None) -> dict[str, Any]:
    survey = config.observed
    flops = _flops(lambda: Separator(config, rngs=nnx.Rngs(0)), _separated, _shape(config))
    own = dataclasses.replace(config, start="")  # where weights came from is in the recipe
    return dict(network="Separator", config=to_table(own), flops=flops, prevalence=1.0 - EMPTY, limits=(
        f"Trained on simulations of {survey.name} alone: Sersic galaxies, {survey.pixel_scale} arcsec a pixel, bands "
        f"{', '.join(band.name for band in survey.bands)}, {_psfs(config)}; real images were in no training or test "
        "set.",
        "Wings of galaxies that are below the noise go to the noise; magnitudes are corrected for them by what these "
        "simulations say.",
        "A spiral arm, a ring galaxy or a satellite near the deflector can be taken for a source."))


def _psfs(config: GGSLConfig) -> str:
    """The PSFs that a separator has seen, in words."""
    if not config.seeing:
        return "one PSF a band"
    slopes = f" and Moffat slopes of {config.beta[0]:g} to {config.beta[1]:g}" if config.beta else ""
    return f"PSFs of {VARIANTS} nights with {config.seeing[0]:g} to {config.seeing[1]:g} times its widths{slopes}"


def _catalogue(config: ModularConfig) -> Catalogue | None:
    try:
        return read_collett(config.catalogue) if config.catalogue else None
    except InputError as error:
        raise InputError("", "catalogue", str(error)) from error


def _modular_task(config: ModularConfig, noise: Noise | None = None,
                  simulation: Simulation | None = None) -> ModularTask:
    return ModularTask(config, _catalogue(config), noise=noise, made=_plain(simulation))


def _modular_evaluate(config: ModularConfig, model: Any, images: int, seed: int, noise: Noise | None = None,
                      simulation: Simulation | None = None) -> Mapping[str, Measured]:
    return modular_table.evaluate(config, model, images, seed, catalogue=_catalogue(config), noise=noise,
                                  made=_plain(simulation))


def _through(model: Stage | Chain, images: Any) -> Any:
    return model.through(images) if isinstance(model, Chain) else model(images)


def _modular_card(config: ModularConfig, simulation: Simulation | None = None) -> dict[str, Any]:
    survey, joint = config.observed, config.stage == "joint"
    own = dataclasses.replace(config, **dict.fromkeys(STAGES, ""))  # where weights came from is in the recipe
    network = Chain if joint else Stage
    limits = [f"Trained on simulations of {survey.name} alone: isothermal ellipsoids, Sersic bulges and discs, bands "
              f"{', '.join(config.bands)}, one PSF a band; real images were in no training or test set.",
              f"Einstein radii from {config.theta_E[0]:g} to {config.theta_E[1]:g} arcsec, axis ratios from "
              f"{config.q[0]:g} to {config.q[1]:g}; no neighbours, and the lens in the middle of the image.",
              "What is no lens has a source of the same kind that is not deflected: other impostors, such as spirals "
              "and rings, were not seen."]
    if config.stage in ("deblend", "find", "measure") and config.input == "clean":
        limits.append("Takes noiseless images; behind another network of the chain it does worse than alone.")
    return dict(network=network.__name__, config=to_table(own),
                flops=_flops(lambda: network(own, rngs=nnx.Rngs(0)), _through, _shape(config)), limits=tuple(limits),
                prevalence=1.0 if config.stage == "measure" else LENSED)


SYSTEMS: dict[str, System] = {
    "ggsl-unet": System(GGSLConfig, _ggsl_task, _separator_card, _ggsl_evaluate, calibrate=_ggsl_calibrate,
                        shape=_shape, forward=_separated, survey=_survey, own=_own,
                        replaced=("survey", "companions", "kinds", "seeing", "beta", "own")),
    "modular": System(ModularConfig, _modular_task, _modular_card, _modular_evaluate, shape=_shape, forward=_through,
                      survey=_survey, own=_own_modular,
                      replaced=("survey", "bands", "pixels", "catalogue", "matched", "own")),
    "finder": System(cutouts.LensFinderConfig, cutouts.finder_task, cutouts.finder_card, cutouts.finder_evaluate,
                     own=lambda config, simulation: config, needs=True),
    "posterior": System(amortised.PosteriorConfig, amortised.task, amortised.card, amortised.evaluate,
                        amortised.finish, shape=amortised.image_shape),
    "cluster-finder": System(finders.ClusterFinderConfig, finders.task, finders.card, finders.measure,
                             shape=finders.shape, survey=finders.survey),
    "arc-finder": System(finders.ArcFinderConfig, finders.arc_task, finders.arc_card, finders.arc_measure,
                         shape=finders.arc_shape, survey=finders.arc_survey),
    "cutouts": System(cutouts.CutoutsConfig, cutouts.task, cutouts.card, cutouts.evaluate, shape=cutouts.image_shape,
                      training=cutouts.training, notes=cutouts.notes),
}
"""By the name in `[system] name = ...`; a new system is a line here."""
