"""Progress of a fleet on the terminal: one bar for all, or one line a lens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


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
        hours = (time.monotonic() - self._begun) / 3600.0
        speed = f", {(count - self._first) / hours:.0f} lenses per hour" if count > self._first else ""
        bad = counts["failed"] + counts["refused"]
        return f"{counts['done']} done, {bad} failed, {len(status) - count} left{speed}"


def ended(status: Mapping[str, tuple[str, str]]) -> int:
    """Number of lenses with which nothing more will be done."""
    return sum(said in ("done", "failed", "refused") for said, _ in status.values())
