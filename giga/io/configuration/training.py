"""Configurations of a training in TOML: sections [system], [train] and [run], and those of a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from giga.io.configuration.survey import NoiseConfig
from giga.io.configuration.toml import LISTS, override, read_toml
from giga.io.errors import nearest
from giga.io.tables import Place, at_least, read_table, show, to_table, write_toml
from giga.models.training.train import TrainConfig

SIMULATED = ("survey", "population", "mass", "lens_light", "source_light", "values", "extras", "companions", "mixing",
             "injected", "noise", "output")
"""Sections of a simulation, see `giga.io.configuration.simulation`."""
SECTIONS = ("system", "train", "run", *SIMULATED)


@dataclass(frozen=True)
class DevicesConfig:
    """Section [run] of a training."""

    devices: Literal["auto", "cpu", "gpu"] = "auto"  # where it runs; "gpu" fails when there is none
    n_devices: int | None = at_least(1, None)  # how many of them; none is all


@dataclass(frozen=True)
class TrainingConfig:
    """A training as it is run, every default filled in."""

    name: str  # of the system
    system: Any  # its settings
    train: TrainConfig
    run: DevicesConfig
    file: Path  # where it was read from, for messages
    noise: NoiseConfig | None = None  # as `giga simulate` has it; None is the system's own
    simulated: dict[str, Any] | None = None  # sections of a simulation whose images are learned; None are the system's

    def to_tables(self) -> dict[str, Any]:
        """The sections as nested dicts and lists."""
        noise = {} if self.noise is None else {"noise": to_table(self.noise)}
        return {**(self.simulated or {}), "system": {"name": self.name, **to_table(self.system)}, **noise,
                "train": to_table(self.train), "run": to_table(self.run)}

    def recipe(self) -> dict[str, Any]:
        """The sections as a card has them: paths inside the working directory are relative to it."""
        tables, here = self.to_tables(), Path.cwd()
        for section in self.simulated or {}:
            tables[section] = _relative(tables[section], here)

        def short(value: Any) -> Any:
            if isinstance(value, tuple):
                return [short(one) for one in value]
            return str(value.relative_to(here) if value.is_relative_to(here) else value)

        for section, settings in (("system", self.system), ("noise", self.noise)):
            for name, value in vars(settings).items() if settings is not None else ():
                if isinstance(value, Path) or isinstance(value, tuple) and value and isinstance(value[0], Path):
                    tables[section][name] = short(value)
        return tables

    def dump(self) -> str:
        """TOML that reads back to an equal configuration."""
        return write_toml(self.to_tables())


def _relative(value: Any, here: Path) -> Any:
    """Tables of a simulation with paths inside a folder relative to it."""
    if isinstance(value, Mapping):
        return {name: _relative(one, here) for name, one in value.items()}
    if isinstance(value, list):
        return [_relative(one, here) for one in value]
    inside = isinstance(value, str) and Path(value).is_absolute() and Path(value).is_relative_to(here)
    return str(Path(value).relative_to(here)) if inside else value


def load_training(path: Path, systems: Mapping[str, type],
                  overrides: Mapping[str, Any] | None = None) -> TrainingConfig:
    """Read the configuration of a training.

    Args:
        path: TOML file.
        systems: Dataclass of the section [system] by the name of the system.
        overrides: Values to change, by path: `train.steps`.

    Raises:
        InputError: File, path of the field, value seen and what was expected.
    """
    tables, place = read_toml(path), Place(path, "", path.parent)
    for name, value in (overrides or {}).items():
        override(tables, name, value, Place(path))
    for section, table in tables.items():
        if section not in SECTIONS:
            raise place.at(section).error("unknown section", nearest(section, SECTIONS))
        if section not in LISTS and not isinstance(table, Mapping):
            raise place.at(section).error(show(table), "a table")
    settings = dict(tables.get("system", {}))
    at = place.at("system")
    if "name" not in settings:
        raise at.at("name").error("missing", f"one of {', '.join(map(repr, systems))}")
    name = settings.pop("name")
    if name not in systems:
        raise at.at("name").error(show(name), nearest(str(name), systems))
    simulated = {section: tables[section] for section in SIMULATED if section in tables}
    noise = None
    if set(simulated) == {"noise"}:
        noise, simulated = read_table(NoiseConfig, tables["noise"], place.at("noise")), {}
    train = read_table(TrainConfig, tables.get("train", {}), place.at("train"))
    run = read_table(DevicesConfig, tables.get("run", {}), place.at("run"))
    return TrainingConfig(name, read_table(systems[name], settings, at), train, run, path, noise, simulated or None)
