"""Metrics of a run as JSON lines, and on request as TensorBoard events and as a run of Weights & Biases."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from giga.runtime.atomic import write_text
from giga.runtime.identity import identity_of


class MetricsLog:
    """A file of rows, one JSON object a line with `kind` and `step`; each is on disk when it is written.

    Opened at step n it drops what an earlier run wrote after that step, and a last line that was cut short.
    A number that is not finite is written as a string, for JSON has none.

    Args:
        path: The file; its folder exists.
        step: Updates made already.
        tensorboard: Whether TensorBoard events are written, to `tensorboard/` beside the file.
        wandb: Whether a run of Weights & Biases is written, to `wandb/` beside the file; where it is sent is settled as
            always with it, by WANDB_MODE, WANDB_PROJECT and the like.

    Raises:
        ValueError: A line that is no such row, before the last.
        ModuleNotFoundError: What is asked for is not installed.
    """

    def __init__(self, path: Path, step: int = 0, tensorboard: bool = False, wandb: bool = False):
        self.path = path
        self._sinks: list[_TensorBoard | _Wandb] = []
        if tensorboard:
            self._sinks.append(_TensorBoard(path.parent, step))
        if wandb:
            self._sinks.append(_Wandb(path.parent))
        kept = [row for row in read_metrics(path) if row["step"] <= step] if step and path.exists() else []
        write_text(path, "".join(map(_line, kept)))
        self._file = open(path, "a", encoding="utf-8")

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Append a row and return it."""
        row = {"kind": kind, "step": step, **values}
        self._file.write(_line(row))
        self._file.flush()
        os.fsync(self._file.fileno())
        numbers = {f"{kind}/{name}": value for name, value in values.items() if isinstance(value, (int, float))}
        for sink in self._sinks:
            sink.write(numbers, step)
        return row

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        for sink in self._sinks:
            sink.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read the rows of a file; a last line that was cut short is left out.

    Raises:
        ValueError: A line before the last that is no row; names file and line.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = []
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line break was cut short
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise ValueError(f"{path}: line {number}: got {line[:60]!r}, expected a JSON object with a step")
        rows.append(row)
    return rows


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps({name: _plain(value) for name, value in row.items()}, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class _TensorBoard:
    """Events in `tensorboard/`; those of an earlier run after `step` are dropped."""

    def __init__(self, folder: Path, step: int):
        module = _module("tensorboardX", "TensorBoard events", "tensorboard")
        self._writer = module.SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases whose name follows from the folder, so that a training that goes on goes on there."""

    def __init__(self, folder: Path):
        module = _module("wandb", "runs of Weights & Biases", "wandb")
        project = {} if "WANDB_PROJECT" in os.environ else {"project": "giga"}
        self._run = module.init(dir=str(folder), id=identity_of("wandb", str(folder.resolve()))[:16], name=folder.name,
                                resume="allow", **project)

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


def _module(name: str, what: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{what} need {name}: install giga[{extra}], or leave them out (metrics.jsonl has "
                                  "the same numbers)") from error
