"""Votes as files: CSV and FITS for tables, JSONL for programs, one row a vote in the order in which they were given."""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from giga.io.errors import InputError
from giga.io.grading.folder import DATABASE
from giga.runtime.atomic import write_bytes
from giga.search.grading.questions import MODELS
from giga.search.grading.records import StoreError, Vote
from giga.search.grading.store import VoteStore

COLUMNS = ("grader", "name", "kind", "truth", "showing", "position", "question", "answer", "time", "seconds", "undone",
           "flag", "comment")
KINDS = ("csv", "fits", "jsonl")


def votes_as(kind: str, votes: Sequence[Vote]) -> bytes:
    """A file of votes.

    Times are UTC as ISO 8601 with milliseconds; `undone` is empty for a vote that stands. FITS has ASCII alone: other
    characters are written as their escapes.

    Args:
        kind: One of `KINDS`.
        votes: In their order.
    """
    rows = [{name: getattr(vote, name) for name in COLUMNS} for vote in votes]
    for row in rows:
        row |= {"time": _iso(row["time"]), "undone": _iso(row["undone"]), "seconds": round(row["seconds"], 3),
                "position": row["position"] + 1}
    if kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if kind == "csv":
        text = io.StringIO(newline="")
        writer: Any = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows([{name: _cell(value) for name, value in row.items()} for row in rows])
        return text.getvalue().encode()
    return _fits(rows)


def write_votes(path: Path, votes: Sequence[Vote]) -> Path:
    """Write votes by the end of a name. Raises InputError for another end."""
    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise InputError(path, "--export", f"a name that ends in {path.suffix!r}", f"one of .{', .'.join(KINDS)}")
    return write_bytes(path, votes_as(kind, votes))


def refits(votes: Iterable[Vote]) -> str:
    """CSV of the models that a grader has found wanting, by the earliest stage that one names.

    Columns `name`; `stage`; `graders`, the number of those who found it wanting; `of`, that of those who looked.
    """
    stages = [answer.name for answer in MODELS.questions[0].answers][:-1]
    said: dict[str, dict[str, str]] = {}
    for vote in votes:
        if vote.undone is None:
            said.setdefault(vote.name, {})[vote.grader] = vote.answer
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(["name", "stage", "graders", "of"])
    for name, answers in sorted(said.items()):
        if bad := [answer for answer in answers.values() if answer in stages]:
            writer.writerow([name, min(bad, key=stages.index), len(bad), len(answers)])
    return out.getvalue()


def read_votes(path: Path) -> list[Vote]:
    """Read all votes of a folder that was graded, or of its database.

    Raises:
        InputError: None there, of another version, or held by another process.
    """
    file = path / DATABASE if path.is_dir() else path
    try:
        return VoteStore(file, VoteStore.scheme_of(file)).votes()
    except StoreError as error:
        raise InputError("", "", str(error)) from error


def _iso(time: float | None) -> str:
    if time is None:
        return ""
    return datetime.datetime.fromtimestamp(time, datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cell(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    if isinstance(value, bool):
        return int(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def _fits(rows: Sequence[dict[str, Any]]) -> bytes:
    columns = []
    for name in COLUMNS:
        values = [row[name] for row in rows]
        if name in ("showing", "position"):
            columns.append(fits.Column(name, "J", array=np.array(values, np.int32)))
        elif name == "seconds":
            columns.append(fits.Column(name, "D", unit="s", array=np.array(values, float)))
        elif name == "flag":
            columns.append(fits.Column(name, "L", array=np.array(values, bool)))
        else:
            texts = [str(value).encode("ascii", "backslashreplace").decode() for value in values]
            columns.append(fits.Column(name, f"{max(map(len, texts), default=1) or 1}A", array=np.array(texts, str)))
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns, name="VOTES")]).writeto(buffer)
    return buffer.getvalue()
