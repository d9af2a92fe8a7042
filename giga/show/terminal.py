"""What giga says on the terminal: the progress of a fit, a training and a fleet, and how a fit ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from giga.inference.digits import rounded
from giga.inference.result import Found, Result

TITLES = {"map": "MAP", "svi": "VI", "hmc": "HMC", "smc": "SMC", "evidence": "lnZ"}


def names_table(*titles: str) -> Table:
    """A table of numbers by name, whose first column never cuts a name: where it is narrow, names go on below."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(titles[0], overflow="fold")
    for one in titles[1:]:
        table.add_column(one, justify="right", no_wrap=True)
    return table


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
        text = describe_row(row)
        if row["kind"] == "train":
            self._bar.update(self._task, completed=row["step"], numbers=text)
        if row["kind"] != "train" or not self.console.is_terminal:
            self.console.print(escape(f"step {row['step']}: {text}"), highlight=False, soft_wrap=True)


def describe_row(row: dict[str, Any]) -> str:
    """Spell a row: `loss 0.0123, 512 images/s`."""
    if row["kind"] == "note":
        return f"note: {row['text']}"
    if row["kind"] == "start":
        sets = "".join(f", {name} validation set {sha256[:12]}" for name, sha256 in row["validation"].items())
        return f"{row['parameters']} weights, {row['devices']} devices{sets}"
    if row["kind"] == "rates":
        again = f", {row['reuse']} images of each scene" if row["reuse"] > 1 else ""
        first = "source" if "source" in row else "simulator"  # of stored examples, or of those that are made
        return (f"{first} {row[first]:.4g}, network {row['network']:.4g}, both {row['joint']:.4g} images/s; "
                f"both over network {row['joint_over_network']:.2f}{again}")
    if row["kind"] == "validation":
        losses = [f"{name} {row[f'{name}_loss']:.5g}" for name in ("fixed", "shifted", "simulated")
                  if f"{name}_loss" in row]
        return f"validation loss {', '.join(losses)}; best {row['best_loss']:.5g} at step {row['best_step']}"
    return f"loss {row['loss']:.5g}, {row['images_per_s']:.4g} images/s"


class Board:
    """Shows how many lenses have ended; use as `with Board(...) as board`."""

    def __init__(self, console: Console, status: Mapping[str, tuple[str, str]]) -> None:
        self.console = console
        self._begun, self._first = time.monotonic(), ended(status)
        self._bars = Progress(SpinnerColumn(), BarColumn(bar_width=24), TimeElapsedColumn(),
                              TextColumn("{task.description}"), console=console, disable=not console.is_terminal)
        self._task = self._bars.add_task(self._text(status), total=len(status), completed=self._first)

    def __enter__(self) -> Board:
        self._bars.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._bars.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.console.print(escape(text), highlight=False, soft_wrap=True)

    def look(self, status: Mapping[str, tuple[str, str]]) -> None:
        """Count again, for other workers go on too."""
        self._bars.update(self._task, completed=ended(status), description=self._text(status))

    def lens(self, name: str, text: str, status: Mapping[str, tuple[str, str]]) -> None:
        """Note that a lens has ended."""
        self.look(status)
        self.say(f"{name}: {text}" if self.console.is_terminal else f"{name}: {text} ({self._text(status)})")

    def _text(self, status: Mapping[str, tuple[str, str]]) -> str:
        counts, count = Counter(said for said, _ in status.values()), ended(status)
        hours, new = (time.monotonic() - self._begun) / 3600.0, count - self._first
        speed = f", {new / hours:.0f} lenses per hour" if new > 0 and hours > 0.0 else ""  # a coarse clock may stand
        bad = counts["failed"] + counts["refused"]
        return f"{counts['done']} done, {bad} failed, {len(status) - count} left{speed}"


def ended(status: Mapping[str, tuple[str, str]]) -> int:
    """Number of lenses with which nothing more will be done."""
    return sum(said in ("done", "failed", "refused") for said, _ in status.values())


def inside(result: Result, name: str) -> bool:
    """Whether the truth lies inside the central 99% interval."""
    truth = (result.truth or {})[name]
    values = result.samples[name]
    return bool(((values < truth).mean() > 0.005) and ((values > truth).mean() > 0.005))


def show_found(found: Found, out: Path, console: Console) -> None:
    """Print the best fit of a search and how to go on."""
    table = names_table("parameter", *(["truth"] if found.truth else []), "best fit")
    for name, value in found.best.items():
        table.add_row(name, *([f"{found.truth[name]:.4g}"] if found.truth else []), f"{value:.4g}")
    console.print(table)
    console.print(f"chi2 {found.total_chi2:.1f} for {found.data_said} and {found.n_free} free parameters: "
                  f"reduced {found.reduced_chi2:.4f}")
    _show_findings(found, console)
    console.print("the best fit of the search, without errors; the same command with --resume in the place of "
                  "--stop-after goes on")
    console.print(f"report: {escape(str(out / 'report.html'))}")


def show_result(result: Result, out: Path, console: Console) -> None:
    """Print the parameters with the truth if known, chi2, what must be looked at, and the times."""
    table = names_table("parameter", *(["truth"] if result.truth else []), "mean", "sd", "R-hat", "ESS", "tail")
    for name, values in result.samples.items():
        row, sd = result.diagnostics[name], float(values.std(ddof=1))
        truth = []
        if result.truth:
            mark = "" if inside(result, name) else "[red]![/]"  # outside the 99% interval
            truth = [f"{mark}{rounded(result.truth[name], sd)}"]
        colour = "red" if row["rhat"] > 1.01 else "green"
        table.add_row(name, *truth, rounded(float(values.mean()), sd), rounded(sd, sd),
                      f"[{colour}]{row['rhat']:.3f}[/]", f"{row['ess_bulk']:.0f}", f"{row['ess_tail']:.0f}")
    console.print(table)
    hmc, found = result.info["hmc"], result.info["map"]
    sampled = len(result.names)
    console.print(f"chi2 {result.total_chi2:.1f} for {result.data_said}, {sampled} sampled and "
                  f"{result.n_free - sampled} solved parameters: "
                  f"reduced {result.reduced_chi2:.4f}")
    console.print(f"dead lanes {found['dead_lanes']} of {found['starts']}, dead chains {hmc['dead_chains']} of "
                  f"{hmc['chains']}, divergences {hmc['divergences']}, acceptance {hmc['acceptance']:.2f}")
    if result.field is not None:
        total = result.field.total
        console.print(f"rms of {total.images} images: {total.image:.3f} arcsec in the image plane, {total.source:.3f} "
                      f"in the source plane{f', {total.missed} not found' if total.missed else ''}", highlight=False)
    if "modes_sentence" in found:
        console.print(f"modes: {found['modes_sentence']}", highlight=False)
    if "evidence" in result.info:
        evidence = result.info["evidence"]
        if "failed" in evidence:
            console.print(f"[bold red]no evidence:[/] {escape(evidence['failed'])}")
        else:
            console.print(f"log evidence {evidence['log_evidence']:.2f} +- {evidence['error']:.2f} "
                          f"({evidence['method']})")
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in result.timings_s.items())
    console.print(f"time: {times}")
    _show_findings(result, console)
    if result.derived is not None:
        for name, row in result.derived.rows().items():
            sd = row["sd"]
            text = f"{name}: {rounded(row['mean'], sd)} +- {rounded(sd, sd)} {result.derived.units[name]}"
            console.print(text.rstrip(), highlight=False)
        for text in (*_lacking(result), *result.derived.notes):
            console.print(f"[yellow]note:[/] {escape(text)}", highlight=False, soft_wrap=True)
    console.print(f"report: {escape(str(out / 'report.html'))}")


def _show_findings(found: Found, console: Console) -> None:
    for text in found.findings:
        console.print(f"[bold yellow]look:[/] {escape(text)}", highlight=False, soft_wrap=True)


def _lacking(result: Result) -> list[str]:
    """What derived numbers there are not, once for each reason."""
    missing = result.derived.missing
    return [f"{reason}: no {', '.join(name for name, other in missing.items() if other == reason)}"
            for reason in dict.fromkeys(missing.values())]
