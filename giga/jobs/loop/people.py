"""Grades of a round by people, on the page of `giga grade`; or by graders that are played."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from astropy.table import Table

from giga.io.errors import InputError
from giga.io.grading.folder import DATABASE, Folder, read_folder
from giga.io.grading.votes import read_votes
from giga.io.images.hdu import stem
from giga.io.jsonfile import read_json
from giga.runtime.atomic import write_atomically
from giga.search.aggregation.rules import ballot, cancelled, said
from giga.search.grading.questions import CANDIDATES
from giga.search.grading.store import StoreError, VoteStore
from giga.search.loop.scripted import ScriptedGraders, true_grades

CATALOGUE = "candidates.fits"


def by_people(pool: Path) -> Callable[[Path, np.ndarray], list[str] | None]:
    """Grades of people: each round becomes a folder for `giga grade`, and is done when all its graders are.

    Args:
        pool: The folder of the cutouts, as `giga.io.grading.folder.read_folder` takes it.
    """
    folder = read_folder(pool)

    def grading(place: Path, rows: np.ndarray) -> list[str] | None:
        names = [folder.graded[row].item.name for row in rows]
        if not (place / CATALOGUE).is_file():
            _lay_out(folder, place, rows)
        if not (place / DATABASE).is_file():
            return None
        try:
            store = VoteStore(place / DATABASE, CANDIDATES)
            graders = [store.progress(store.grader(name)) for name in store.graders()]
        except StoreError as error:
            raise InputError("", "", str(error)) from error
        if not graders or any(one.done < one.total for one in graders):
            return None
        votes = ballot(read_votes(place))
        found = {name: cancelled(said(votes, k)) for k, name in enumerate(votes.names) if votes.kinds[k] == "candidate"}
        return [found[name] for name in names]

    return grading


def _lay_out(folder: Folder, place: Path, rows: np.ndarray) -> None:
    """The cutouts of a round beside its catalogue, which is written last; files are linked where they can be."""
    (place / "candidates").mkdir(exist_ok=True)
    lines = []
    for row in rows:
        one, files = folder.graded[row], []
        for k, file in enumerate(one.files):  # files of several folders may have one name
            files.append(f"{row:07d}{f'.{k}' * (k > 0)}{file.name[len(stem(file.name)):]}")
            target = place / "candidates" / files[-1]
            target.unlink(missing_ok=True)
            try:
                os.link(file, target)
            except OSError:  # another disk
                shutil.copyfile(file, target)
        known = {name: float(one.row[name]) for name in ("ra", "dec") if name in one.row}
        lines.append({"name": one.item.name, **known, "cutout": f"candidates/{files[0]}"})
    table = Table(rows=lines)
    write_atomically(place / CATALOGUE, lambda to: table.write(to, format="fits", overwrite=True))


def by_script(graders: ScriptedGraders, labels: np.ndarray) -> Callable[[Path, np.ndarray], list[str]]:
    """Grades of graders that are played, from the labels of the pool."""
    truths = true_grades(labels, graders.seed)
    return lambda place, rows: graders.grades(rows, truths[rows])


def read_graders(path: Path) -> ScriptedGraders:
    """Read confusion matrices: {"graders": {"NAME": [[...], ...]}, "seed": 0}. Raises InputError."""
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("graders"), dict) or set(found) - {"graders", "seed"}:
        raise InputError(path, "", f"got {json.dumps(found)[:60]}",
                         '{"graders": {"NAME": 4 x 4 probabilities}, "seed": 0}')
    try:
        matrices = {str(name): np.asarray(matrix, float) for name, matrix in found["graders"].items()}
        return ScriptedGraders(matrices, int(found.get("seed", 0)))
    except (ValueError, TypeError) as error:
        raise InputError(path, "graders", str(error), "4 x 4 probabilities a grader") from error
