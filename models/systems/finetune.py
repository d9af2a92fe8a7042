"""Trained networks that go on learning, on labelled cutouts."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from giga.models.networks.backbones import backbone_of
from giga.models.networks.chain import Chain, Stage
from giga.models.networks.count import operations
from giga.models.networks.cutouts import CutoutConfig, CutoutNet
from giga.models.networks.resnet import ResNetConfig
from giga.models.systems.labelled import CutoutTask, Labelled, Tuning, centred
from giga.models.systems.labelled_table import measure
from giga.models.systems.measured import Measured, flattened
from giga.models.training.train import Report, TrainConfig, train
from giga.models.zoo import Card, load, save_weights
from giga.runtime.environment import git_hash
from giga.simulate.generator import Simulator

HEADS = ("keep", "new")
FINDER = (("0", "1"), ("no lens", "lens"))
"""Names of classes that mean what the finder of the modular pipeline tells apart, in its order."""
LONGEST_CHUNK = 50  # updates


def finetune(start: str | Path | Any, data: Labelled, folder: str | Path, *, head: str = "keep", tune: str = "all",
             last: int = 2, decay: float = 0.7, epochs: float = 10.0, batch_size: int = 32,
             learning_rate: float = 1e-3, turns: bool = True, class_weights: tuple[float, ...] = (),
             sigma: tuple[float, ...] = (), simulator: Simulator | None = None, stored: float = 1.0,
             resume: bool = False, report: Report | None = None, **settings: Any) -> tuple[CutoutNet, Card]:
    """Let a trained network learn from labelled cutouts.

    Leaves the run in the folder, with the best weights and their card, `model.safetensors` and `model.json`.

    Args:
        start: Name of the zoo, path of weights, or a network; "" begins with a small ResNet of new weights.
        data: The cutouts, see `giga.io.stored.labels.open_cutouts`.
        folder: Of the run.
        head: "keep" the head of the network, which must tell what the labels tell; or a "new" one.
        tune, last, decay: Which weights learn, and how fast, see `giga.models.systems.labelled.Tuning`.
        epochs: Passes over the training images.
        batch_size, learning_rate: Of `TrainConfig`; the rate is the head's.
        turns, class_weights, simulator, stored: See `giga.models.systems.labelled.CutoutTask`.
        sigma: Noise of each band, what images are divided by; empty measures it.
        resume: Go on from the last checkpoint in the folder.
        report: Called with each row of metrics.
        settings: Other fields of `TrainConfig`.

    Returns:
        The network in evaluation mode, and its card, as `giga.models.zoo.load` gives them.

    Raises:
        ValueError: A network that makes no features, or that takes other bands or sizes; a head that does not fit.
        ZooError: Weights that cannot be loaded.
    """
    model = begin(start, data, head=head, sigma=sigma)
    tuning = Tuning(tune, last, decay) if start != "" else None
    task = CutoutTask(model.config, data, model, tuning=tuning, turns=turns, weights=class_weights,
                      simulator=simulator, stored=stored)
    config = in_epochs(TrainConfig(batch_size=batch_size, learning_rate=learning_rate, **settings), epochs,
                       data.source.epoch / stored, settings)
    made_by = git_hash() or "unknown"
    trained = train(task, config, folder, resume=resume, report=report)
    network = trained.model()
    named = str(start) if isinstance(start, str | Path) else type(start).__name__
    recipe = {"finetune": {"start": named, "head": head, "tune": tune, "last": last, "decay": decay, "epochs": epochs},
              "train": dataclasses.asdict(config)}
    card = Card(**card_of(model.config), recipe=recipe, seed=config.seed, git_hash=made_by,
                command=f"finetune({named!r}, ...)", metrics=flattened(measured(network, data)), images_per_s={},
                validation=trained.sets, measured_by=made_by)
    return network, save_weights(network, Path(folder) / "model", card)


def begin(start: str | Path | Any, data: Labelled, *, head: str = "keep", sigma: tuple[float, ...] = (),
          resnet: ResNetConfig | None = None) -> CutoutNet:
    """The network that a training on labelled cutouts begins with.

    Args:
        start, data, head, sigma: See `finetune`.
        resnet: Of a network with new weights; None is a small one.

    Raises:
        ValueError, ZooError: See `finetune`.
    """
    if head not in HEADS:
        raise ValueError(f"head: got {head!r}, expected one of {', '.join(HEADS)}")
    settings: dict[str, Any] = {"pixels": data.shape[:2], "bands": data.bands, "unit": data.unit or "",
                                "sigma": sigma or data.noise(), "classes": data.classes, "values": data.values}
    if data.values:
        theta = data.targets("theta")
        spread = theta.std(0)
        settings |= {"mean": tuple(map(float, theta.mean(0))),
                     "spread": tuple(float(one) if one > 0.0 else 1.0 for one in spread)}
    if isinstance(start, str) and not start:
        config = CutoutConfig.on(resnet or ResNetConfig.small(len(data.bands)), **settings)
        return CutoutNet(config, rngs=nnx.Rngs(0))
    model = load(start)[0] if isinstance(start, str | Path) else start
    if isinstance(model, CutoutNet):
        return _grown(model, settings, data, head)
    base, made = backbone_of(model)
    net = CutoutNet(CutoutConfig.on(base, **settings), rngs=nnx.Rngs(0), made=made)
    if head == "new":
        centred(net, data)
        return net
    finder = model.find if isinstance(model, Chain) else model
    if not isinstance(finder, Stage) or finder.config.stage != "find":
        raise ValueError(f"head: a {type(model).__name__} has none that tells classes, expected head = \"new\"")
    if data.classes not in FINDER:
        raise ValueError(f"head: the network tells {' from '.join(FINDER[1])}, the labels tell {_told(data)}; expected "
                         f"the classes {' or '.join(', '.join(each) for each in FINDER)} in that order, or "
                         "head = \"new\"")
    network: Any = finder.network
    net.head = nnx.clone(network.head)
    return net


def _grown(model: CutoutNet, settings: dict[str, Any], data: Labelled, head: str) -> CutoutNet:
    """A network of cutouts that goes on with others."""
    known = model.config
    if head == "keep":
        if (known.classes, known.values) != (data.classes, data.values):
            mine = ", ".join(known.classes or known.values)
            raise ValueError(f"head: the network tells {mine}, the labels tell {_told(data)}; expected the same in "
                             "the same order, or head = \"new\"")
        for name in ("pixels", "bands"):
            if getattr(known, name) != settings[name]:
                raise ValueError(f"{name}: got {settings[name]}, expected {getattr(known, name)}, as the network has "
                                 "them")
        return nnx.clone(model)
    net = CutoutNet(CutoutConfig.on(known.base, **settings), rngs=nnx.Rngs(0), made=nnx.clone(model.backbone))
    centred(net, data)
    return net


def _told(data: Labelled) -> str:
    return ", ".join(data.classes or data.values)


def in_epochs(config: TrainConfig, epochs: float, epoch: float, given: Any = ()) -> TrainConfig:
    """The settings of a training of some passes over stored images, validated after each.

    Args:
        config: Settings; its steps are replaced.
        epochs: Passes.
        epoch: Examples, stored and simulated, in which each training image is seen once.
        given: Names of fields that the user has set, and that stay.

    Raises:
        ValueError: No passes, or fields that do not go together.
    """
    if not epochs > 0.0:
        raise ValueError(f"epochs: got {epochs:g}, expected a number above 0")
    each = max(1, round(epoch / config.batch_size))
    chunks = -(-each // LONGEST_CHUNK)
    chunk = each // chunks
    steps = max(1, int(np.ceil(epochs * epoch / config.batch_size)))
    changes = {"steps": steps, "chunk": chunk, "validate_every": chunks * chunk, "checkpoint_every": chunks * chunk,
               "warmup": min(config.warmup, steps // 10), "validation_size": config.micro}
    return dataclasses.replace(config, **{name: value for name, value in changes.items() if name not in given})


def measured(model: CutoutNet, data: Labelled) -> dict[str, Measured]:
    """Numbers of each held-out part of the data, see `giga.models.systems.labelled_table.measure`."""
    return {part: measure(model, data, part) for part in ("validation", "test") if data.source.held_out(part)}


def card_of(config: CutoutConfig) -> dict[str, Any]:
    """What a configuration settles of the card of its weights."""
    what = f"classes {', '.join(config.classes)}" if config.classes else f"numbers {', '.join(config.values)}"
    graph, state = nnx.split(nnx.eval_shape(lambda: CutoutNet(config, rngs=nnx.Rngs(0))))
    image = np.zeros((1, *config.pixels, len(config.bands)), np.float32)
    return {"network": "CutoutNet", "config": _plain(config),
            "flops": operations(lambda state, image: nnx.merge(graph, state)(image), state, image),
            "limits": (f"Trained on a user's cutouts of {config.pixels[0]} x {config.pixels[1]} pixels, bands "
                       f"{', '.join(config.bands)}: {what}; other sizes, bands, instruments or selections were not "
                       "seen.",)}


def _plain(config: Any) -> dict[str, Any]:
    """A dataclass as JSON has it; what is None is left out."""
    return {name: value for name, value in json.loads(json.dumps(dataclasses.asdict(config))).items()
            if value is not None}


