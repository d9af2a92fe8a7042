"""`giga grade` as a process of its own, and one who answers it over HTTP as fast as it takes answers."""

from __future__ import annotations

import json
import re
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _processes import Running, environment, started

LONGEST_S = 120.0  # that anything is waited for, on a machine that does much else


def until(found: Any, what: str = "") -> Any:
    """Wait until a function gives something, and return it."""
    end = time.monotonic() + LONGEST_S
    while not (value := found()):
        assert time.monotonic() < end, f"waited in vain for {what or found}"
        time.sleep(0.02)
    return value


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple[Running, list[str]]]:
    """A server, and the address of each grader."""
    command = (sys.executable, "-m", "giga.cli", "grade", str(folder), "--no-subtract", *options)
    count = max(options.count("--grader"), 1)
    with started(*command, env=environment(PYTHONUNBUFFERED="1", COLUMNS="300")) as running:
        def said() -> list[str] | None:
            running.out.seek(0)
            found = re.findall(r"http://\S+", running.out.read())
            if running.process.poll() is not None:
                running.error.seek(0)
                raise AssertionError(running.error.read()[-2000:])
            return found if len(found) >= count else None

        yield running, until(said, "the address")


class Client:
    """One who has opened an address, without a browser."""

    def __init__(self, address: str, grader: str):
        self.root, _, token = address.partition("/?token=")
        port = self.root.rpartition(":")[2]
        self.grader, self.headers = grader, {"Cookie": f"giga_grade_{port}={token}", "Origin": self.root,
                                             "Content-Type": "application/json"}

    def get(self, path: str) -> bytes:
        """What an address holds."""
        return urllib.request.urlopen(urllib.request.Request(self.root + path, headers=self.headers)).read()

    def post(self, path: str, **content: Any) -> dict[str, Any]:
        """Send an answer; OSError where none comes back."""
        body = json.dumps({"grader": self.grader, **content}).encode()
        request = urllib.request.Request(self.root + path, body, self.headers, method="POST")
        return json.loads(urllib.request.urlopen(request).read())

    def votes(self) -> list[dict[str, Any]]:
        """The votes of this grader."""
        return [json.loads(line) for line in self.get("/votes.jsonl").splitlines()]
