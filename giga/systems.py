"""The systems that `giga train` knows by name: what each simulates, which network it trains, what its card says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from giga.models.task import Task


@dataclass(frozen=True)
class System:
    """A kind of task that a configuration can describe.

    Attributes:
        config: Frozen dataclass of the section [system], without its `name`.
        task: Makes the task of a config.
        card: What a config settles of the card of its weights: `network`, `config`, `flops`, `limits`, and `prevalence`
            where it means something; see `giga.models.zoo.Card`.
    """

    config: type
    task: Callable[[Any], Task]
    card: Callable[[Any], Mapping[str, Any]]


SYSTEMS: dict[str, System] = {}
"""By the name in `[system] name = ...`; a new system is a line here."""
