"""Progress of a training on the terminal: one bar, its loss and rates, and a line for each validation."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingProgress:
    """Shows the rows that `giga.models.training.train.train` reports; use as `with TrainingProgress(steps) as report:`.

    Args:
        steps: Of the whole training.
        console: Where to; the terminal by default.
    """

    def __init__(self, steps: int, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bar = Progress(TextColumn("training"), BarColumn(bar_width=24),
                             TextColumn("{task.completed}/{task.total}"), TimeElapsedColumn(), TimeRemainingColumn(),
                             TextColumn("{task.fields[numbers]}"), console=self.console)
        self._task = self._bar.add_task("training", total=steps, numbers="compiling ...")

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bar.stop()

    def __call__(self, row: dict[str, Any]) -> None:
        """Take one row of metrics."""
        text = describe(row)
        if row["kind"] == "train":
            self._bar.update(self._task, completed=row["step"], numbers=text)
        if row["kind"] != "train" or not self.console.is_terminal:
            self.console.print(escape(f"step {row['step']}: {text}"), highlight=False, soft_wrap=True)


def describe(row: dict[str, Any]) -> str:
    """Spell a row: `loss 0.0123, 512 images/s`."""
    if row["kind"] == "note":
        return f"note: {row['text']}"
    if row["kind"] == "start":
        sets = "".join(f", {name} validation set {sha256[:12]}" for name, sha256 in row["validation"].items())
        return f"{row['parameters']} weights, {row['devices']} devices{sets}"
    if row["kind"] == "rates":
        again = f", {row['reuse']} images of each scene" if row["reuse"] > 1 else ""
        return (f"simulator {row['simulator']:.4g}, network {row['network']:.4g}, both {row['joint']:.4g} images/s; "
                f"both over network {row['joint_over_network']:.2f}{again}")
    if row["kind"] == "validation":
        losses = [f"{name} {row[f'{name}_loss']:.5g}" for name in ("fixed", "shifted") if f"{name}_loss" in row]
        return f"validation loss {', '.join(losses)}; best {row['best_loss']:.5g} at step {row['best_step']}"
    return f"loss {row['loss']:.5g}, {row['images_per_s']:.4g} images/s"
