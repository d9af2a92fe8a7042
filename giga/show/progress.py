"""Progress of a fit on the terminal: one line a stage, with its numbers and the time left."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

TITLES = {"map": "MAP", "svi": "VI", "hmc": "HMC", "smc": "SMC", "evidence": "lnZ"}


def title(stage: str) -> str:
    """Name of a stage for people: `HMC 2` for the chains of the second mode."""
    name, _, number = stage.partition("-")
    return f"{TITLES[name]} {number}".strip()


class FitProgress:
    """Shows what `giga.fit` reports; use as `with FitProgress() as report: fit(..., report=report)`."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._bars = Progress(SpinnerColumn(), TextColumn("{task.description:4}"), BarColumn(bar_width=24),
                              TimeElapsedColumn(), TextColumn("{task.fields[numbers]}"), console=self.console)
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._current = ""

    def __enter__(self) -> FitProgress:
        self._bars.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self._current:
            self._finish(self._current)
        self._bars.stop()

    def __call__(self, stage: str, numbers: dict[str, Any]) -> None:
        """Take one report of the pipeline."""
        if "note" in numbers:
            self.console.print(f"[yellow]note:[/] {escape(numbers['note'])}", highlight=False, soft_wrap=True)
            return
        if stage not in self._tasks:
            if self._current:
                self._finish(self._current)
            self._current = stage
            self._tasks[stage] = self._bars.add_task(title(stage), total=1.0, numbers="compiling ...")
            self._started[stage] = time.monotonic()
            if not self.console.is_terminal:
                self.console.print(f"{title(stage)}: compiling ...")
        if not numbers:
            return
        done = float(numbers.get("done", 1.0))
        text = describe(numbers, self._left(stage, done))
        self._bars.update(self._tasks[stage], completed=done, numbers=text)
        if not self.console.is_terminal:
            self.console.print(f"{title(stage)}: {text}")

    def _finish(self, stage: str) -> None:
        self._bars.update(self._tasks[stage], completed=1.0)
        self._bars.stop_task(self._tasks[stage])

    def _left(self, stage: str, done: float) -> float | None:
        """Seconds left in the stage, when its share done tells."""
        if not 0.0 < done < 1.0:
            return None
        return (time.monotonic() - self._started[stage]) * (1.0 / done - 1.0)


def describe(numbers: dict[str, Any], left: float | None = None) -> str:
    """Spell a report: `chi2 6420.1, log posterior -3311.6, 12 s left`."""
    if numbers.get("restored"):
        return "taken up from the checkpoint"
    parts = []
    for key, text in (("chi2", "chi2 {:.1f}"), ("log_prob", "log posterior {:.1f}"), ("elbo", "ELBO {:.1f}"),
                      ("iterations", "{:d} iterations"), ("beta", "exponent {:.2g}"),
                      ("acceptance", "acceptance {:.2f}"), ("rhat", "R-hat {:.3f}"), ("ess", "ESS {:.0f}"),
                      ("tail_ess", "tail {:.0f}"),
                      ("log_evidence", "log evidence {:.2f}")):
        if key in numbers:
            parts.append(text.format(numbers[key]))
    if numbers.get("done") == 0.0:
        parts.append("warming up")
    if left is not None:
        parts.append(f"{left:.0f} s left")
    return ", ".join(parts)
