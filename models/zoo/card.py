"""What is known of a set of weights: how it was made, how good it is, and where it ends."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from giga.models.zoo.magnitudes import check_corrections
from giga.models.zoo.seen import Seen

T = TypeVar("T")


class ZooError(ValueError):
    """Weights or a card that cannot be used."""


@dataclass(frozen=True)
class Card:
    """The JSON file beside the weights; every number on it comes from `command`."""

    network: str  # name in `giga.models.zoo.NETWORKS`
    config: dict[str, Any]  # of the network
    recipe: dict[str, Any]  # of the training: its whole configuration and that of the simulation
    seed: int  # of the training
    git_hash: str  # of the code that trained it
    command: str  # that trains it again and measures it
    metrics: dict[str, dict[str, float]]  # by test set, then by name
    limits: tuple[str, ...]  # what it was not trained for, a sentence each
    flops: float  # of one image, forward
    images_per_s: dict[str, float]  # in inference, by device
    prevalence: float | None = None  # share of lenses in its training set, where that means something
    validation: dict[str, str] = field(default_factory=dict)  # SHA-256 of the validation sets by name
    magnitudes: dict[str, dict[str, dict[str, tuple[float, ...]]]] = field(default_factory=dict)
    """What they are off by, see `giga.models.zoo.magnitudes.Corrections`; empty where that is not measured."""
    measured_by: str = ""  # git hash of the code that measured `metrics` on test sets and `images_per_s`
    seen: Seen | None = None  # of images, for those who have others; from `config` where an older card has none
    parameters: int = 0  # filled in when the weights are saved
    sha256: str = ""  # of the file of weights, filled in when it is saved

    def __post_init__(self) -> None:
        for name, values in [("images_per_s", self.images_per_s), *self.metrics.items()]:
            for key, value in values.items():
                if not math.isfinite(value):
                    raise ZooError(f"card: {name}.{key}: got {value}, expected a finite number")
        try:
            check_corrections(self.magnitudes)
        except ValueError as error:
            raise ZooError(f"card: magnitudes.{error}") from None

    def dump(self) -> str:
        """The card as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"


def read_card(path: Path) -> Card:
    """Read a card.

    Raises:
        ZooError: It is not there, is no JSON object, or has fields that are missing or unknown.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ZooError(f"{path}: no such card") from None
    except (OSError, ValueError) as error:
        raise ZooError(f"{path}: cannot be read as JSON ({error})") from error
    return from_table(Card, values, str(path))


def from_table(cls: type[T], values: Any, where: str) -> T:
    """Make a dataclass from what JSON gave: lists are tuples where it has tuples, tables are dataclasses.

    Args:
        cls: The dataclass.
        values: A JSON object.
        where: What it is, for messages.

    Raises:
        ZooError: A field that is unknown or missing, or of another kind.
    """
    if not isinstance(values, Mapping):
        raise ZooError(f"{where}: got {values!r:.60}, expected a JSON object")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # pyright: ignore[reportArgumentType]
    hints = typing.get_type_hints(cls)
    for name in values:
        if name not in fields:
            raise ZooError(f"{where}: {name}: unknown field, expected one of {', '.join(fields)}")
    for name, each in fields.items():
        if name not in values and each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise ZooError(f"{where}: {name}: missing")
    return cls(**{name: _converted(hints[name], value, f"{where}: {name}") for name, value in values.items()})


def _converted(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        kind = typing.get_origin(option) or option
        if kind is dict and isinstance(value, Mapping):
            inner = typing.get_args(option)[1]
            return {key: _converted(inner, one, f"{where}.{key}") for key, one in value.items()}
        if kind is tuple and isinstance(value, list):
            return tuple(_tuples(value))
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            return from_table(kind, value, where)  # pyright: ignore[reportArgumentType]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if kind is Any or kind is typing.Literal and value in typing.get_args(option):
            return value
        if isinstance(kind, type) and isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
            return value
    raise ZooError(f"{where}: got {value!r:.60}, expected {hint.__name__ if isinstance(hint, type) else hint}")


def _tuples(values: list[Any]) -> list[Any]:
    return [tuple(_tuples(value)) if isinstance(value, list) else value for value in values]
