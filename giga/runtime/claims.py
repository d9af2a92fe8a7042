"""Claims on named pieces of work by workers that share nothing but a folder.

A claim is a file `NAME/000001` made by exclusive creation, which a file system grants to one process
only, on NFS too. Its date is renewed while its worker lives. When it grows old, or is given back, the
next worker creates `NAME/000002`. Numbers are never used twice, so that a worker that was slow to
look cannot take a claim that has meanwhile changed hands; the highest number is the owner's.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

EXPIRY = 120.0  # seconds
GIVEN_BACK = 1.0  # date of a claim that is given back: long ago


@dataclass(frozen=True)
class Claim:
    """The right to work on one name, made by `Claims.take`.

    Attributes:
        name: The name.
        path: Its file.
        deaths: Workers that held the name one after the other and died.
    """

    name: str
    path: Path
    deaths: int = 0


@dataclass
class Claims:
    """The claims of one worker; use as `with Claims(folder) as claims`, which renews and gives back.

    Attributes:
        folder: Shared by all workers; made when missing.
        expiry: Age at which the claim of another worker is taken over [s].
    """

    folder: Path
    expiry: float = EXPIRY
    held: dict[str, Claim] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def beat(self) -> float:
        """Seconds between renewals."""
        return self.expiry / 8.0

    def __enter__(self) -> Claims:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._renew, name="claims", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for name in list(self.held):
            with contextlib.suppress(OSError):  # it expires
                self.give_back(name)

    def take(self, name: str) -> Claim | None:
        """Claim a name; None when another worker holds it."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        last, deaths = _last(folder), 0
        if last is not None:
            age = self._age(last)
            if age is None or age < self.expiry:
                return None
            deaths = 0 if last.stat().st_mtime == GIVEN_BACK else _deaths(last) + 1
        path = folder / f"{1 if last is None else int(last.name) + 1:06d}"
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:  # another was faster
            return None
        with open(handle, "w", encoding="utf-8") as file:
            json.dump({"host": socket.gethostname(), "pid": os.getpid(), "deaths": deaths,
                       "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}, file)
        claim = Claim(name, path, deaths)
        with self._lock:
            self.held[name] = claim
        return claim

    def is_mine(self, name: str) -> bool:
        """Whether this worker still holds a name: it was not taken over."""
        return name in self.held and _last(self.folder / name) == self.held[name].path

    def is_free(self, name: str) -> bool:
        """Whether nobody works on a name: never claimed, given back, or expired."""
        last = _last(self.folder / name)
        age = None if last is None else self._age(last)
        return last is None or (age is not None and age >= self.expiry)

    def give_back(self, name: str) -> None:
        """End a claim: another worker may take the name at once."""
        with self._lock:
            claim = self.held.pop(name)
            if claim.path.exists():
                os.utime(claim.path, (GIVEN_BACK, GIVEN_BACK))

    def _age(self, path: Path) -> float | None:
        """Seconds since a claim was renewed, by the clock of the file system; None when it is gone."""
        probe = self.folder / f".clock-{socket.gethostname()}-{os.getpid()}"
        try:
            probe.touch()
            return probe.stat().st_mtime - path.stat().st_mtime
        except FileNotFoundError:
            return None
        finally:
            probe.unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._stop.wait(self.beat):
            with self._lock:
                for claim in self.held.values():
                    with contextlib.suppress(OSError):  # a file server away for a while: the next beat comes
                        os.utime(claim.path)


def turns(names: Sequence[str], claims: Claims, ended: Callable[[str], bool], *,
          wait: bool = True) -> Iterator[Iterator[Claim]]:
    """Go through names until each has ended, here or at another worker.

    Yields iterators of claims; each ends when nothing more can be claimed at the time. Whoever takes a
    claim from one must make the name end, or give it back.

    Args:
        names: The names.
        claims: The claims of this worker.
        ended: Whether there is nothing to do for a name any more; looked at again after a claim.
        wait: Wait for the names that other workers hold, and take them over if those die.
    """
    def turn(left: Sequence[str], taken: list[str]) -> Iterator[Claim]:
        for name in left:
            claim = claims.take(name)
            if claim is not None and ended(name):
                claims.give_back(name)
            elif claim is not None:
                taken.append(name)
                yield claim

    while left := [name for name in names if not ended(name)]:
        taken: list[str] = []
        yield turn(left, taken)
        if not taken:
            if not wait:
                return
            time.sleep(min(claims.beat, 5.0))


def _last(folder: Path) -> Path | None:
    """The claim with the highest number."""
    if not folder.is_dir():
        return None
    return max((path for path in folder.iterdir() if path.name.isdecimal()), key=lambda path: path.name, default=None)


def _deaths(path: Path) -> int:
    """Deaths noted in a claim; a worker that died before it wrote them counts like none before."""
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["deaths"])
    except (ValueError, KeyError, FileNotFoundError):
        return 0
