"""`giga evaluate`: a trained network on the test sets of its system."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import typer
from flax import nnx
from rich.table import Table

from giga.cli.base import app, check_out, console, edge
from giga.io.configuration.survey import NoiseConfig
from giga.io.configuration.training import SIMULATED
from giga.io.errors import InputError
from giga.io.jsonfile import write_json
from giga.io.tables import Place, read_table
from giga.jobs.bench.measure import run_times, significant
from giga.jobs.systems import SYSTEMS, System
from giga.models.systems.measured import Measured, flattened
from giga.models.systems.modular_table import TooFew
from giga.models.zoo import Card, ZooError, load, save_card
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.runtime.environment import git_hash
from giga.show.evaluation import evaluation_page
from giga.show.terminal import names_table

TOGETHER = 16  # images of one call when the speed of a network is measured

Model = Annotated[str, typer.Argument(metavar="MODEL", help="Name in the zoo, or path of weights.")]


@app.command("evaluate")
@edge
def evaluate_command(
        model: Model,
        images: Annotated[int, typer.Option("--images", min=1, help="Images in each test set.")] = 1000,
        seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the test sets.")] = 2,
        out: Annotated[Path | None, typer.Option("--out", help="JSON file for the numbers.")] = None,
        page: Annotated[Path | None, typer.Option("--page", help="HTML file for pictures and numbers, which needs no "
                                                  "other file.")] = None,
        card: Annotated[bool, typer.Option("--card", help="Put the numbers on the model's card, with what the "
                                           "magnitudes of a separator are off by.")] = False) -> None:
    """Measure a trained network on simulated test sets: as in training, shifted, and those of its system."""
    check_out([] if out is None else [out], overwrite=True)
    check_out([] if page is None else [page], overwrite=True, option="--page")
    parallel.start()
    network, known = loaded(model)
    system, config, noise = system_of(known, model)
    if card and system.calibrate is not None:
        known = dataclasses.replace(known, magnitudes=system.calibrate(config, network, seed,
                                                                          **noise))
    corrected = {"corrections": known.magnitudes} if known.magnitudes else {}
    try:
        sets = system.evaluate(config, network, images, seed, **corrected, **noise)
    except TooFew as error:
        raise InputError("", "--images", str(error)) from error
    found = flattened(sets)
    for name, tested in sets.items():
        console.print(_table(name, tested))
    if page is not None:
        write_text(page, evaluation_page(model, known, sets, f"giga evaluate {model} --images {images} --seed {seed}"))
        console.print(f"page: {page}", highlight=False, soft_wrap=True)
    if out is not None or card:
        for name, tested in sets.items():
            for key, value in tested.numbers.items():
                if not math.isfinite(value):
                    raise InputError("", "--images", f"{name}, {key}: {value} of {images} images",
                                     "more images, for --out and --card take finite numbers alone")
    if out is not None:
        write_json(out, {"model": model, "sha256": known.sha256, "images": images, "seed": seed, "metrics": found})
    if card:
        measured = f"giga evaluate {model} --images {images} --seed {seed} --card"
        command = f"{known.command.split('; ')[0]}; {measured}"
        kept = {name: numbers for name, numbers in known.metrics.items() if name.startswith("validation")}
        speed = known.images_per_s if system.shape is None else known.images_per_s | {
            parallel.describe(): _images_per_s(system, network, system.shape(config))}
        path = save_card(model, dataclasses.replace(known, metrics=kept | found, images_per_s=speed, command=command,
                                                    measured_by=git_hash() or "unknown"))
        console.print(f"card: {path}", highlight=False, soft_wrap=True)


def _images_per_s(system: System, network: Any, shape: tuple[int, int, int]) -> float:
    """Images a second through a network, so many together; the devices but the first stay idle."""
    graph, state = nnx.split(network)
    forward = jax.jit(lambda state, images: system.forward(nnx.merge(graph, state), images))
    times = run_times(forward, state, jnp.ones((TOGETHER, *shape)), per=TOGETHER)
    return significant(1e3 / times["median_ms"], 3)


def loaded(model: str) -> tuple[Any, Card]:
    """A network of the zoo with its card; what is wrong with it is bad input."""
    try:
        return load(model)
    except ZooError as error:
        raise InputError("", "--model", str(error)) from error


def system_of(card: Card, model: str) -> tuple[System, Any, dict[str, Any]]:
    """The system that a network was trained in, its configuration, and what it learned from if that was not the
    system's own: its noise, or a simulation."""
    settings = dict(card.recipe.get("system", {}))
    name = settings.pop("name", None)
    if name not in SYSTEMS:
        raise InputError("", "model", f"the card of {model} names the system {name!r}", f"one of {', '.join(SYSTEMS)}")
    system, recipe = SYSTEMS[name], Place(Path(f"card of {model}"), "recipe")
    config, at = read_table(system.config, settings, recipe.at("system")), recipe.at("noise")
    simulated = {section: card.recipe[section] for section in SIMULATED if section in card.recipe}
    if "survey" in simulated:
        simulation = system.simulation(config, simulated, Place(Path(f"card of {model}"), "", Path.cwd()))
        assert simulation is not None and system.own is not None  # else it had been refused
        return system, system.own(config, simulation), {"simulation": simulation}
    noise = read_table(NoiseConfig, card.recipe["noise"], at) if "noise" in card.recipe else None
    return system, config, system.noise(config, noise, at)


def _table(name: str, tested: Measured) -> Table:
    """The numbers of a test set, the baselines' beside the network's."""
    columns = {name: tested.numbers, **tested.baselines}
    table = names_table("", *("\n".join(column.split()) for column in columns))
    for key in dict.fromkeys(key for numbers in columns.values() for key in numbers):
        table.add_row(key, *(f"{numbers[key]:.4g}" if key in numbers else "" for numbers in columns.values()))
    return table
