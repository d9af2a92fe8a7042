"""A network learns from labelled cutouts or from a simulation: its configuration, and what it is measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from giga.io.configuration.simulation import Simulation, load_simulation
from giga.io.errors import InputError, nearest
from giga.io.stored.labels import SHARES, open_cutouts
from giga.io.stored.stack import HOLD, Stack
from giga.io.tables import above, at_least
from giga.models.networks.cutouts import CutoutNet
from giga.models.networks.resnet import BLOCKS, ResNetConfig
from giga.models.systems.finetune import HEADS, begin, card_of, in_epochs, measured
from giga.models.systems.labelled import CutoutTask, Labelled, Tuning
from giga.models.systems.labelled_table import measure
from giga.models.systems.lenses import LOOKED_AT, LensTask, drawn
from giga.models.systems.measured import Measured
from giga.models.systems.simulated import elsewhere, require
from giga.models.training.injected import Injected
from giga.models.training.source import check_shares
from giga.models.training.train import TrainConfig
from giga.models.zoo import ZooError
from giga.simulate.generator import LENSED

TRUNKS = ("small", *(f"resnet{depth}" for depth in BLOCKS))
TUNES = ("head", "last", "all")


@dataclass(frozen=True)
class DataConfig:
    """One entry of `[[system.data]]`: images with labels, or a simulation. See `giga.io.stored.labels.open_cutouts`."""

    images: tuple[Path, ...] = ()  # files, or folders of files
    labels: Path | None = None  # table of labels; none takes what the files know
    simulate: Path | None = None  # or a configuration of `giga simulate`, whose images are made as the network learns;
    # one with [injected] puts light into cutouts, and has the split that they have
    share: float = above(0.0, 1.0)  # of every batch
    target: str = ""  # column of classes; empty is "label" without `values`
    values: tuple[str, ...] = ()  # or columns of numbers
    classes: tuple[str, ...] = ()  # in their order; empty is all that there are, sorted
    name: str = ""  # column of the images' names; empty finds it
    group: str = ""  # column of what must not be in two parts of the split
    split: str = ""  # column that says train, validation or test
    shares: tuple[float, float, float] = SHARES  # of training, validation and test
    folds: int = at_least(0, 0)  # or one of k folds
    fold: int = at_least(0, 0)  # which one
    balance: bool = False  # show each class as often as any other
    unlabelled: str = "refuse"  # or "leave"
    size: str = "refuse"  # of images of another: "crop", "pad" or "resize"
    pixels: tuple[int, int] | None = None  # (ny, nx) that is wanted; none is that of the images
    bands: tuple[str, ...] = ()  # names, in their order
    unit: str = ""  # of the pixels
    dataset: str = ""  # name of the images in HDF5 or Zarr
    layout: str = "last"  # or "first", where the bands come before rows and columns
    seed: int = at_least(0, 0)  # of the split and the order
    hold_mb: float = above(0.0, float(HOLD))  # memory for what is stored in compressed blocks [MB]

    def __post_init__(self) -> None:
        if bool(self.images) == (self.simulate is not None):
            raise InputError("", "images", "missing" if not self.images else "given beside simulate",
                             "stored images, or the configuration of a simulation")

    def opened(self) -> Labelled:
        """The stored examples. Raises InputError."""
        return open_cutouts(
            self.images, self.labels, target=self.target or None, values=self.values, classes=self.classes,
            name=self.name or None, group=self.group or None, split_by=self.split or None, shares=self.shares,
            number_of_folds=self.folds, fold=self.fold, balance=self.balance, unlabelled=self.unlabelled,
            seed=self.seed, shape=self.pixels, size=self.size, bands=self.bands, unit=self.unit or None,
            dataset=self.dataset or None, layout=self.layout, hold_mb=self.hold_mb)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """What a network of cutouts begins with, and what of it learns, whatever it learns from.

    Raises:
        InputError: A value that is not one of those allowed.
    """

    start: str = ""  # network that goes on learning: a name of the zoo, or a path; empty begins with new weights
    head: str = "keep"  # or "new", for other classes than the network tells
    tune: str = "all"  # what learns of it: "head", "last" or "all"
    last: int = at_least(1, 2)  # parts of the backbone that learn with the head, if "last"
    decay: float = above(0.0, 0.7)  # rate of each part, of that of the one behind it
    network: str = "small"  # that begins with new weights: or "resnet18", "resnet34", "resnet50"
    class_weights: tuple[float, ...] = ()  # of each class in the loss
    sigma: tuple[float, ...] = above(0.0, ())  # noise of each band, what images are divided by; empty measures it

    def __post_init__(self) -> None:
        for field, allowed in (("head", HEADS), ("tune", TUNES), ("network", TRUNKS)):
            if (value := getattr(self, field)) not in allowed:
                raise InputError("", field, f"got {value!r}", nearest(value, allowed))

    @property
    def tuning(self) -> Tuning | None:
        """What learns of a network that is there; None of new weights, which all do."""
        return Tuning(self.tune, self.last, self.decay) if self.start else None

    def begun(self, data: Labelled) -> CutoutNet:
        """The network before training, the same at every call.

        Raises:
            InputError: A network that is not there.
            ValueError: A network or a head that does not fit the data.
        """
        bands = len(data.bands)
        resnet = ResNetConfig.small(bands) if self.network == "small" else ResNetConfig.of(
            int(self.network.removeprefix("resnet")), bands)
        try:
            return begin(self.start, data, head=self.head, sigma=self.sigma, resnet=resnet)
        except ZooError as error:
            raise InputError("", "start", str(error)) from error


@dataclass(frozen=True)
class CutoutsConfig(NetworkConfig):
    """Section [system] of `name = "cutouts"`.

    Raises:
        InputError: No stored images, shares that do not sum to one, or a value that is not one of those allowed.
    """

    data: tuple[DataConfig, ...]
    epochs: float = at_least(0.0, 0.0)  # passes over the training images; 0 makes train.steps updates
    turns: bool = True  # flip and turn images at random

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            check_shares([one.share for one in self.data])
        except ValueError as error:
            raise InputError("", "data", str(error)) from error


@lru_cache(maxsize=4)
def _simulation(path: Path) -> Simulation:
    return load_simulation(path)


def _whole(data: tuple[DataConfig, ...]) -> DataConfig | None:
    """The entry whose images are simulated as a whole, which is no source of stored ones. Raises InputError."""
    found = [one for one in data if one.simulate and not isinstance(_simulation(one.simulate).made, Injected)]
    if len(found) > 1:
        raise InputError("", "data", "several simulations", "one, whose population may be a mixture")
    if len(found) == len(data):
        raise InputError("", "data", "no stored images", "[[system.data]] with images, or a simulation with [injected]")
    return found[0] if found else None


def stored(config: CutoutsConfig) -> float:
    """Share of the examples that are stored, with simulated light or without. Raises InputError."""
    whole = _whole(config.data)
    return 1.0 if whole is None else sum(one.share for one in config.data if one is not whole)


@lru_cache(maxsize=2)
def labelled(data: tuple[DataConfig, ...]) -> Labelled:
    """The stored examples of a configuration. Raises InputError."""
    whole = _whole(data)
    entries = [one for one in data if one is not whole]
    share = sum(one.share for one in entries)
    found = [one.opened() if one.simulate is None else injected_in(_simulation(one.simulate), one.classes, one.values)
             for one in entries]
    if len(found) == 1:
        return found[0]
    try:
        return found[0].mixed(tuple(found[1:]), tuple(one.share / share for one in entries))
    except ValueError as error:
        raise InputError("", "data", str(error)) from error


def injected_in(simulation: Simulation, classes: tuple[str, ...] = (), values: tuple[str, ...] = ()) -> Labelled:
    """Light in cutouts as labelled examples.

    Args:
        simulation: Of light in cutouts.
        classes: Names of what has no light and what has, in this order; empty is "0" and "1", if there are no `values`.
        values: Names in the truth that are learned in the place of classes.

    Raises:
        InputError: A population that does not tell its classes apart, or that has no such values.
    """
    made, names = simulation.made, simulation.population.names
    assert isinstance(made, Injected)  # of a simulation of light in cutouts
    for name in values:
        if name not in names:
            raise InputError(simulation.file, name, "no such value of the population", nearest(name, names))
    if not values and LENSED not in simulation.population.free:
        raise InputError(simulation.file, f"extras.{LENSED}", "missing, so that every image has light",
                         f"a Bernoulli draw under [extras] as {LENSED}, by which the source's amplitude is multiplied")
    if classes and len(classes) != 2:
        raise InputError(simulation.file, "classes", f"got {len(classes)}", "two: without light, and with")
    bands, stack = tuple(band.name for band in simulation.survey.bands), made.backdrops.images
    unit = stack.shards[0].unit if isinstance(stack, Stack) else None
    return Labelled(replace(made, values=values), bands, unit, () if values else classes or ("0", "1"), values,
                    simulation.notes)


@lru_cache(maxsize=2)
def _begun(config: CutoutsConfig) -> CutoutNet:
    """The network before training: the same at every call, which the card is made of after it."""
    return config.begun(labelled(config.data))


def task(config: CutoutsConfig) -> CutoutTask:
    """The task of a configuration.

    Raises:
        InputError: Files or settings that are wrong.
        ValueError: A network or a head that does not fit the data.
    """
    data, whole = labelled(config.data), _whole(config.data)
    simulator = None if whole is None or whole.simulate is None else _simulation(whole.simulate).simulator
    return CutoutTask(_begun(config).config, data, _begun(config), tuning=config.tuning, turns=config.turns,
                      weights=config.class_weights, simulator=simulator, stored=stored(config))


def training(config: CutoutsConfig, train: TrainConfig) -> TrainConfig:
    """The settings of a training that is counted in epochs. Raises ValueError."""
    if not config.epochs:
        return train
    given = [field.name for field in fields(train)
             if field.name != "steps" and getattr(train, field.name) != field.default]
    return in_epochs(train, config.epochs, labelled(config.data).source.epoch / stored(config), given)


def card(config: CutoutsConfig) -> Mapping[str, Any]:
    """What a configuration settles of the card of its weights."""
    data = labelled(config.data)
    made = card_of(_begun(config).config)
    share = stored(config)
    notes = [f"In training {1.0 - share:.0%} of the images were simulated."] if share < 1.0 else []
    if any(isinstance(source, Injected) for source in data.sources):
        notes.append("Arcs in training and test were simulated, in real cutouts.")
    return made | {"limits": (*made["limits"], *notes, *data.notes)}


def evaluate(config: CutoutsConfig, model: CutoutNet, images: int, seed: int) -> Mapping[str, Measured]:
    """Numbers of each held-out part of the data: all of its images, whatever their number and the seed."""
    return measured(model, labelled(config.data))


def image_shape(config: CutoutsConfig) -> tuple[int, int, int]:
    """Of the images, (ny, nx, bands)."""
    return labelled(config.data).shape


def notes(config: CutoutsConfig) -> tuple[str, ...]:
    """What the user should know before a training."""
    return labelled(config.data).notes


@dataclass(frozen=True)
class LensFinderConfig(NetworkConfig):
    """Section [system] of `name = "finder"`: what learns from the simulation that the same file describes.

    Raises:
        InputError: A value that is not one of those allowed.
    """

    classes: tuple[str, ...] = ()  # names of what is no lens and what is; empty is "0" and "1"
    values: tuple[str, ...] = ()  # or names in the truth, whose numbers are learned

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.classes and (self.values or len(self.classes) != 2):
            raise InputError("", "classes", f"got {len(self.classes)}" + (" beside values" if self.values else ""),
                             "two, no lens and lens, or values")


def _learned(config: LensFinderConfig, simulation: Simulation, count: int = LOOKED_AT, seed: int = 0) -> Labelled:
    """What a finder is begun and measured on. Raises InputError for a population that does not tell it."""
    if isinstance(simulation.made, Injected):
        return injected_in(simulation, config.classes, config.values)
    try:
        require(simulation.population, "a finder", lensed=None if config.values else True, values=config.values)
    except ValueError as error:
        field, _, rest = str(error).partition(": ")
        raise InputError(simulation.file, field, rest) from error
    return drawn(simulation.simulator, simulation.survey, config.values, config.classes, count, seed)


@lru_cache(maxsize=2)
def _finder(config: LensFinderConfig, simulation: Simulation) -> tuple[CutoutNet, Labelled]:
    """The network before training, the same at every call, and what it was begun on."""
    data = _learned(config, simulation)
    return config.begun(data), data


def finder_task(config: LensFinderConfig, simulation: Simulation) -> CutoutTask | LensTask:
    """The task of a finder.

    Raises:
        InputError: A population that does not tell what is to be learned.
        ValueError: A network or a head that does not fit.
    """
    net, data = _finder(config, simulation)
    if isinstance(simulation.made, Injected):  # turned as the simulation says, so that it is seen as it is written
        return CutoutTask(net.config, data, net, tuning=config.tuning, turns=False, weights=config.class_weights)
    return LensTask(net.config, simulation.simulator, simulation.survey, net, tuning=config.tuning,
                    weights=config.class_weights, shares=data.class_shares() if config.class_weights else None)


def finder_card(config: LensFinderConfig, simulation: Simulation) -> Mapping[str, Any]:
    """What a configuration settles of the card of a finder."""
    return card_of(_finder(config, simulation)[0].config) | {"limits": ()}


def finder_evaluate(config: LensFinderConfig, model: CutoutNet, images: int, seed: int,
                    simulation: Simulation) -> Mapping[str, Measured]:
    """Numbers of the held-out cutouts; or of simulated images that no training draws, and of a shifted set."""
    data = _learned(config, simulation, images, seed)
    if isinstance(simulation.made, Injected):
        return measured(model, data)
    there = drawn(elsewhere(simulation.simulator, simulation.survey), simulation.survey, config.values, config.classes,
                  images, seed)
    return {"mock": measure(model, data), "shifted": measure(model, there)}
