"""`giga train`: a network learns from simulations, and leaves its weights with a card."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from giga.cli.base import ConfigFile, Out, Override, Overwrite, Resume, app, console, edge, tell
from giga.io.configuration.kept import CONFIG, text_beside
from giga.io.configuration.simulation import Simulation
from giga.io.configuration.toml import differences, listed, parse_override
from giga.io.configuration.training import SIMULATED, TrainingConfig, load_training
from giga.io.errors import InputError
from giga.io.tables import Place
from giga.jobs.job import claim
from giga.jobs.systems import SYSTEMS, seen_in
from giga.models.training.feed import check_fed
from giga.models.training.injected import Injected
from giga.models.training.metrics_log import read_metrics
from giga.models.training.train import Trained, train
from giga.models.zoo import Card, save_weights
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.runtime.checkpoint import ForeignCheckpoint
from giga.runtime.environment import git_hash
from giga.show.terminal import TrainingProgress
from giga.simulate.surveys.noise import Noise

FILES = (CONFIG, "metrics.jsonl", "tensorboard", "wandb", "model.safetensors", "model.json")
NOISES = {"camera": "Its noise in training was that of the survey's camera.",
          "cutouts": "Its noise in training was pieces of the real sky that its recipe names.",
          "correlated": "Its noise in training was Gaussian, correlated as the real sky that its recipe names."}
OWN = {False: "Trained on simulations of the population, survey and noise that its recipe has; real images were in no "
              "training or test set.",
       True: "Trained and tested on simulated light in the real cutouts that its recipe names; real lenses were in no "
             "training or test set."}
Wandb = Annotated[bool, typer.Option("--wandb", help="Write a run of Weights & Biases too (giga\\[wandb]).")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events too (giga\\[tensorboard]).")]


@app.command("train")
@edge
def train_command(config: ConfigFile, out: Out, override: Override = None, resume: Resume = False,
                  overwrite: Overwrite = False, tensorboard: TensorBoard = False, wandb: Wandb = False) -> None:
    """Train a network on examples that are simulated as it learns, or stored; leaves its weights and a card."""
    settings = load_training(config, _systems(), dict(map(parse_override, override or [])))
    system = SYSTEMS[settings.name]
    devices = parallel.start(settings.run.devices, n_devices=settings.run.n_devices)
    try:
        settings = dataclasses.replace(settings, train=system.training(settings.system, settings.train))
        settings.train.check_devices(len(devices))
    except InputError as error:
        raise _of_system(config, error) from error
    except ValueError as error:
        field, _, seen = str(error).partition(": ")
        raise InputError(config, f"train.{field}", seen) from error
    for asked, package, extra in ((tensorboard, "tensorboardX", "tensorboard"), (wandb, "wandb", "wandb")):
        if asked and find_spec(package) is None:
            raise InputError("", f"--{extra}", f"{package} is not installed", f"giga[{extra}]")
    noise = system.noise(settings.system, settings.noise, Place(config, "noise"))
    simulation = system.simulation(settings.system, settings.simulated, Place(config, "", config.parent))
    simulated = {} if simulation is None else {"simulation": simulation}
    try:
        bound = settings.system if simulation is None or system.own is None else system.own(settings.system, simulation)
        task = system.task(bound, **noise, **simulated)
        check_fed(task, settings.train, len(devices))
    except InputError as error:
        raise _of_system(config, error) from error
    except ValueError as error:  # a file or weights that the settings name, or settings that do not go together
        raise _of_population(config, error, simulation) from error
    if simulation is not None:  # with its defaults and whole paths, as it is kept
        kept = {name: table for name, table in simulation.tables.items() if name != "run" and table}
        settings = dataclasses.replace(settings, simulated=kept)
        tell(config, simulation.notes)
    tell(config, system.notes(settings.system))
    claim(out, resume=resume, overwrite=overwrite, files=FILES, config=config)
    text = text_beside(out, settings.dump(), config, lambda: load_training(config, _systems()).dump())
    out.mkdir(parents=True, exist_ok=True)
    if not (out / CONFIG).exists():
        write_text(out / CONFIG, text)
    made_by = git_hash() or "unknown"  # the code as it was read, whatever is committed while it trains
    try:
        with TrainingProgress(settings.train.steps, console) as report:
            trained = train(task, settings.train, out, over=parallel.mesh(devices), resume=resume,
                            tensorboard=tensorboard, wandb=wandb, report=report)
    except ForeignCheckpoint as error:
        changes = listed(differences(_kept(out, settings).dump(), settings.dump()) or list(error.changes))
        raise ForeignCheckpoint(f"{error}: {changes or 'it was made by an older version of giga'}") from None
    write_text(out / CONFIG, text)
    model = system.finish(settings.system, trained.model())
    card = system.card(bound, **simulated)
    save_weights(model, out / "model", _card(settings, bound, card, trained, read_metrics(out / "metrics.jsonl"),
                                             made_by, _again(config, out, override or []), simulation, **noise))
    console.print(f"weights and card: {out / 'model.safetensors'}, {out / 'model.json'}", highlight=False,
                  soft_wrap=True)


def _of_system(config: Path, error: InputError) -> InputError:
    """An error of a file that the settings name, as it is; of a setting, with its place."""
    return error if error.file else InputError(config, f"system.{error.field}", error.seen, error.expected)


def _of_population(config: Path, error: ValueError, simulation: Simulation | None) -> InputError:
    """What a population lacks, at its own place in the file; all else is the system's."""
    field, _, rest = str(error).partition(": ")
    own = simulation is not None and field.partition(".")[0] in SIMULATED
    return InputError(config, field, rest) if own else InputError(config, "system", str(error))


def _again(config: Path, out: Path, override: list[str]) -> str:
    """The command that trains a network again."""
    return shlex.join(["giga", "train", str(config), *(word for one in override for word in ("--set", one)), "--out",
                       str(out)])


def _kept(out: Path, settings: TrainingConfig) -> TrainingConfig:
    """The configuration that a folder was begun with, on the devices of another."""
    return dataclasses.replace(load_training(out / CONFIG, _systems()), run=settings.run)


def _systems() -> dict[str, type]:
    return {name: system.config for name, system in SYSTEMS.items()}


def _card(settings: TrainingConfig, bound: Any, card: Mapping[str, Any], trained: Trained, rows: list[dict[str, Any]],
          made_by: str, command: str, simulation: Simulation | None = None, noise: Noise | None = None) -> Card:
    """The card of weights that were validated, not yet tested; their speed is not measured either.

    `bound` are the settings of the system for its simulation, `card` what they settle of the card.
    """
    metrics: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["kind"] == "validation" and row["step"] == int(trained.best.step):
            for name in trained.sets:
                metrics[f"validation, {name}"] = {key.removeprefix(f"{name}_"): float(value)
                                                  for key, value in row.items() if key.startswith(f"{name}_")}
    settled = dict(card)
    if simulation is not None:  # of its own population nothing is known but what the recipe says
        settled |= {"limits": (OWN[isinstance(simulation.made, Injected)],), "prevalence": None}
        if not isinstance(simulation.made, Injected):
            settled["seen"] = seen_in(bound, simulation.made.noise, simulation.survey)
    if (reuse := settings.train.reuse) > 1:
        settled["limits"] = (*settled["limits"], f"In training each simulated scene was seen {reuse} times, with noise "
                                                 "of its own each time.")
    if noise is not None and settings.noise is not None:
        settled["seen"] = seen_in(settings.system, noise)
        settled["limits"] = (*settled["limits"], NOISES[settings.noise.kind])
    return Card(**settled, recipe=settings.recipe(), seed=settings.train.seed,
                git_hash=made_by, command=command, metrics=metrics, images_per_s={}, validation=trained.sets)
