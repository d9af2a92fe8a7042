"""Pictures and reports of finished runs, drawn by processes beside the fits."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from giga.runtime import parallel

CORES_EACH = 4  # a drawing process for that many cores, so that the fits keep most of them


@dataclass
class Drawers:
    """Processes that run `giga plot` on the folders that they are given; use as `with Drawers() as drawers`.

    At the end of the block those that still draw are ended: `finish` waits for them before.

    Attributes:
        slots: Processes at a time.
        problems: What went wrong, one line a process.
    """

    slots: int = field(default_factory=lambda: min(8, max(1, parallel.cores() // CORES_EACH)))
    problems: list[str] = field(default_factory=list)
    _waiting: list[Path] = field(default_factory=list)
    _running: list[subprocess.Popen] = field(default_factory=list)

    def __enter__(self) -> Drawers:
        return self

    def __exit__(self, *_: object) -> None:
        self._waiting.clear()
        for process in list(self._running):
            process.terminate()
            self._end(process)

    def add(self, folder: Path) -> None:
        """Have a run drawn when there is a process for it."""
        self._waiting.append(folder)
        self.look()

    def look(self) -> None:
        """Take leave of processes that ended and start new ones."""
        for process in [process for process in self._running if process.poll() is not None]:
            self._end(process)
        while self._waiting and len(self._running) < self.slots:
            share = max(1, len(self._waiting) // (self.slots - len(self._running)))
            folders, self._waiting = self._waiting[:share], self._waiting[share:]
            self._running.append(subprocess.Popen(
                [sys.executable, "-m", "giga.cli", "plot", *map(str, folders)], stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, text=True, env=os.environ | {"JAX_PLATFORMS": "cpu"}))

    def finish(self) -> None:
        """Wait until all is drawn."""
        while self._waiting or self._running:
            self.look()
            if self._running:
                self._end(self._running[0])

    def _end(self, process: subprocess.Popen) -> None:
        _, said = process.communicate()
        self._running.remove(process)
        if process.returncode:
            self.problems.append((said.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
