"""What votes are made of: items, places of a queue, answers; and what can be wrong with them."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

LONGEST_NAME = 60
SIMULATION = "simulation"  # the kind of what is inserted


class StoreError(RuntimeError):
    """Votes that cannot be kept or read; the message names the file."""


class Locked(StoreError):
    """Another process holds the database."""


class Full(StoreError):
    """The disk is full."""


class Refused(StoreError):
    """An answer that is none, or that the candidate does not wait for."""


@dataclass(frozen=True)
class Item:
    """What is graded.

    Attributes:
        name: Its own among its kind.
        kind: "candidate", "model" or "simulation".
        mark: What tells that it is still the same one: position on the sky and file.
        truth: Of a simulation, "lens", "no lens" or a grade; empty for others.
    """

    name: str
    kind: str
    mark: str
    truth: str = ""


@dataclass(frozen=True)
class Task:
    """A place of a grader's queue."""

    position: int
    item: int
    showing: int
    waits: str
    flag: bool
    comment: str


@dataclass(frozen=True)
class Vote:
    """An answer, as it is exported.

    Attributes:
        time: When it was given, seconds since 1970 UTC.
        seconds: How long the grader looked.
        undone: When it was taken back, or None.
    """

    seq: int
    grader: str
    name: str
    kind: str
    truth: str
    showing: int
    position: int
    question: str
    answer: str
    time: float
    seconds: float
    undone: float | None
    flag: bool
    comment: str


@dataclass(frozen=True)
class Progress:
    """How far a grader is; `left_s` is None before there is a pace."""

    total: int
    done: int
    waiting: dict[str, int]
    flagged: int
    left_s: float | None


def check_name(name: str) -> str:
    """A grader's name, without spaces around it. Raises Refused for one that is none."""
    name = unicodedata.normalize("NFC", name).strip()
    if not name or len(name) > LONGEST_NAME or any(c in "<>&\"`\\/" or not c.isprintable() for c in name):
        raise Refused(f"grader: got {name[:80]!r}; expected a name of 1 to {LONGEST_NAME} characters without markup, "
                      "quotes, slashes or control characters")
    return name
