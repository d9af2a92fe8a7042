"""A loop in a folder: each step leaves a file when it is whole, and what is there is not done again."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.io.jsonfile import read_json, write_json
from giga.runtime.atomic import write_bytes, write_text
from giga.search.grading.questions import GRADES
from giga.search.loop.rounds import Finder, Round, best, learned, stopped, table

SETTINGS, LOG, ROUNDS = "loop.json", "table.csv", "rounds"

Grading = Callable[[Path, np.ndarray], Sequence[str] | None]
"""`grading(folder, rows)`: grades A, B, C, X of members of the pool, in their order; None while some are missing."""


@dataclass(frozen=True)
class LoopSettings:
    """What a loop is run with; it is kept, and has to be the same when it goes on.

    Attributes:
        top: Members that are looked at in a round.
        rounds: At most.
        stop: Share of all finds that a round has to add, else the loop ends.
        hard_negatives: Learn also from those that were looked at and are no lenses.
    """

    top: int = 4000
    rounds: int = 9
    stop: float = 0.03
    hard_negatives: bool = True


@dataclass(frozen=True)
class Ended:
    """How far a loop is.

    Attributes:
        rows: Of its table, see `giga.search.loop.rounds.table`.
        waits: Folder of the round that waits for grades, or None.
        why: Why it has ended, empty while it has not.
    """

    rows: list[dict[str, float]]
    waits: Path | None
    why: str


def run_loop(out: Path, finder: Finder, grading: Grading, settings: LoopSettings,
             identity: Mapping[str, Any], truths: np.ndarray | None = None,
             say: Callable[[Mapping[str, float]], None] = lambda row: None) -> Ended:
    """Run rounds until new finds stop, or until grades are waited for.

    The folder gets loop.json, table.csv, found.csv, and a folder for each round with weights.npz, scores.npz,
    viewed.npz and grades.json. A step whose file is there is read, not done again; so a loop that was killed goes on.

    Args:
        out: The folder; it is made.
        finder: Scores and learns.
        grading: Grades.
        settings: See `LoopSettings`.
        identity: What the finder and the graders are, in words: it has to be the same when the loop goes on.
        truths: 1 for the lenses of the pool, or None, for the table alone.
        say: Is told of every round that is done.

    Raises:
        InputError: A folder of another loop, or a damaged file in it.
    """
    out.mkdir(parents=True, exist_ok=True)
    about = json.loads(json.dumps({"settings": asdict(settings), "members": len(finder.names), **identity}))
    if (out / SETTINGS).is_file():
        kept = read_json(out / SETTINGS)
        for name in {**kept, **about} if isinstance(kept, dict) else ():
            if kept.get(name) != about.get(name):
                raise InputError(out / SETTINGS, name, f"it was begun with {kept.get(name)!r}, got {about.get(name)!r}",
                                 "the same, or another --out")
    else:
        write_json(out / SETTINGS, about)
    rounds: list[Round] = []
    while not (why := stopped(rounds, settings.rounds, settings.stop)):
        folder = out / ROUNDS / f"{len(rounds) + 1:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        found = _round(folder, finder, grading, settings, rounds)
        if found is None:
            return Ended(table(rounds, truths), folder, "")
        rounds.append(found)
        rows = table(rounds, truths)
        write_text(out / LOG, as_csv(rows))
        write_text(out / "found.csv", as_csv([
            {"name": finder.names[row], "grade": grade, "round": k, "score": float(one.scores[row])}
            for k, one in enumerate(rounds, start=1) for row, grade in zip(one.viewed, one.grades, strict=True)
            if grade != "X"]))
        say(rows[-1])
    return Ended(table(rounds, truths), None, why)


def _round(folder: Path, finder: Finder, grading: Grading, settings: LoopSettings,
           before: Sequence[Round]) -> Round | None:
    """One round, from wherever it stands; None while its grades are not there."""
    weights = _arrays(folder / "weights.npz", lambda: finder.train(*learned(before, settings.hard_negatives)))
    scores = _arrays(folder / "scores.npz", lambda: {"scores": finder.score(weights)})["scores"]
    if scores.shape != (len(finder.names),) or not np.isfinite(scores).all():
        raise InputError(folder / "scores.npz", "scores", f"shape {scores.shape}, {np.isfinite(scores).sum()} finite",
                         f"{len(finder.names)} finite numbers")
    seen = np.concatenate([np.zeros(0, int), *(one.viewed for one in before)])
    viewed = _arrays(folder / "viewed.npz", lambda: {"viewed": best(scores, seen, settings.top)})["viewed"]
    if (folder / "grades.json").is_file():
        grades = read_json(folder / "grades.json")
    else:
        grades = grading(folder, viewed)
        if grades is None:
            return None
        grades = list(grades)
    if not isinstance(grades, list) or len(grades) != len(viewed) or not set(grades) <= set(GRADES):
        raise InputError(folder / "grades.json", "", f"{len(grades)} grades, of {sorted(map(str, set(grades)))[:9]}",
                         f"{len(viewed)} of {', '.join(GRADES)}")
    if not (folder / "grades.json").is_file():
        write_json(folder / "grades.json", grades)
    return Round(scores, viewed, tuple(grades), *finder.test(weights))


def _arrays(path: Path, make: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Arrays of a file, which is made if it is not there."""
    if not path.is_file():
        buffer = io.BytesIO()
        np.savez(buffer, **make())  # pyright: ignore[reportArgumentType]
        write_bytes(path, buffer.getvalue())
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InputError(path, "", f"cannot be read ({' '.join(str(error).split())[:200]})",
                         "a whole file; remove it to have it anew") from error


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV; what is not known is empty."""
    out = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows([{name: "" if isinstance(value, float) and math.isnan(value) else value
                           for name, value in row.items()} for row in rows])
    return out.getvalue()
