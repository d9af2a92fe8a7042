"""Metrics of a run as JSON lines, and as TensorBoard events on request."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from giga.runtime.atomic import write_text


class MetricsLog:
    """A file of rows, one JSON object a line with `kind` and `step`; each is on disk when it is written.

    Opened at step n it drops what an earlier run wrote after that step, and a last line that was cut short.
    A number that is not finite is written as a string, for JSON has none.

    Args:
        path: The file; its folder exists.
        step: Updates made already.
        tensorboard: Folder for TensorBoard events; None writes none.

    Raises:
        ValueError: A line that is no such row, before the last.
        ModuleNotFoundError: TensorBoard events are asked for and tensorboardX is not installed.
    """

    def __init__(self, path: Path, step: int = 0, tensorboard: Path | None = None):
        self.path = path
        self._events = _event_writer(tensorboard, step) if tensorboard is not None else None
        kept = [row for row in read_metrics(path) if row["step"] <= step] if step and path.exists() else []
        write_text(path, "".join(map(_line, kept)))
        self._file = open(path, "a", encoding="utf-8")

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """Append a row and return it."""
        row = {"kind": kind, "step": step, **values}
        self._file.write(_line(row))
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._events is not None:
            for name, value in values.items():
                if isinstance(value, (int, float)):
                    self._events.add_scalar(f"{kind}/{name}", value, step)
        return row

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()


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


def _event_writer(folder: Path, step: int) -> Any:
    try:
        module = importlib.import_module("tensorboardX")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("TensorBoard events need tensorboardX: install giga[tensorboard], or leave them "
                                  "out (metrics.jsonl has the same numbers)") from error
    return module.SummaryWriter(str(folder), purge_step=step + 1 if step else None)
