"""The end of a search: all scores in one table, the best as candidates with cutouts, matches, fits and a page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table

from giga.io.errors import InputError
from giga.io.pools.base import Rows
from giga.io.pools.kinds import READERS
from giga.io.results.search import CANDIDATES, GALLERY, KNOWN, SearchFolder, write_cutout, write_table
from giga.models.zoo import ZooError, load
from giga.runtime.atomic import write_text
from giga.search.matching import nearest_on_sky
from giga.search.scoring import LensFinder
from giga.show.candidates import About, candidates_page, thumbnails

REASONS = 3  # that are said, of cutouts that are not scored
Say = Callable[[str], None]


@dataclass(frozen=True)
class Ranking:
    """How candidates are made of scores.

    Attributes:
        top: Candidates that are kept.
        known: Table of known lenses.
        radius: Largest separation of a candidate from a known lens that is the same [arcsec].
        init: Options for `giga init` in the command that fits a candidate.
        init_from: Network whose posterior that fit starts from.
    """

    top: int = 100
    known: Path | None = None
    radius: float = 3.0
    init: str = ""
    init_from: str | None = None


def finder_of(model: str, lenses: str | None = None) -> LensFinder:
    """A network that tells lenses, of the zoo, and which of its classes they are. Raises InputError."""
    try:
        network, card = load(model)
    except (ZooError, ValueError) as error:
        raise InputError("", "--model", str(error)) from error
    try:
        return LensFinder.of(model, network, card, lenses)
    except ValueError as error:
        raise InputError("", "--model" if lenses is None else "--class", str(error)) from error


def rank(folder: SearchFolder, ranking: Ranking, known: tuple[Sequence[str], np.ndarray, np.ndarray] | None,
         say: Say) -> list[dict[str, Any]]:
    """Write the scores, and the candidates with their cutouts, their matches and their page; returns the candidates."""
    scores, about = folder.write_scores(), folder.about()
    logit = np.asarray(scores["logit"], float)
    order = np.argsort(np.where(np.isfinite(logit), -logit, np.inf), kind="stable")
    order = order[:int(np.isfinite(logit).sum())]
    finder = finder_of(about["settings"]["model"], about["settings"].get("lenses"))
    table: Any = scores[order[:ranking.top]]
    table.add_column(Column(np.arange(1, len(table) + 1), "rank"), 0)
    extra = [name for name in table.colnames if name not in ("rank", "reason", "file", "index")
             and not name.startswith("noise_")]
    cutouts, pictures = _cutouts(folder, table, finder)
    notes = [f"scores are of {finder.told}"] if finder.told else []
    notes += [*_unlike(scores, finder), *_reasons(scores)]
    names, apart = np.full(len(table), "", object), np.full(len(table), np.nan)
    if known is not None:
        number, apart = nearest_on_sky(np.asarray(table["ra"]), np.asarray(table["dec"]), known[1], known[2],
                                       ranking.radius)
        names = np.array([known[0][k] if k >= 0 else "" for k in number], object)
        notes.append(_found_again(folder, scores, order, known, ranking))
    fits = [fit_command(folder.path / cutout, row, ranking, finder)
            for cutout, row in zip(cutouts, table, strict=True)]
    out = table["rank", *extra]
    for name, values in (("known", names.astype(str)), ("known_sep", apart), ("cutout", cutouts), ("fit", fits)):
        out[name] = values
    folder.write_candidates(out)
    unread = len(scores) - len(order)
    values: Any = out.as_array()
    rows = [dict(zip(out.colnames, row, strict=True)) for row in values.tolist()]
    page = About(finder.name, len(scores), unread, finder.prevalence, notes)
    write_text(folder.path / GALLERY, candidates_page(rows, pictures, page))
    for note in notes:
        say(note)
    return rows


def _cutouts(folder: SearchFolder, table: Table, finder: LensFinder) -> tuple[list[str], dict[str, bytes]]:
    """Write the cutout of each candidate; returns their paths in the folder, and their pictures by name."""
    about = folder.about()
    reader = READERS[about["kind"]](about["files"], finder.bands, finder.shape, about["reader"])
    (folder.path / CANDIDATES).mkdir(exist_ok=True)
    paths, images = [], {}
    for row in table:
        one: Any = row
        rows = Rows.of([one["name"]], [one["file"]], one["index"], one["ra"], one["dec"])
        path = folder.cutout(str(one["name"]))
        paths.append(str(path.relative_to(folder.path)))
        cube = next(iter(reader.read(rows)))
        if isinstance(cube, InputError):
            raise InputError(cube.file, cube.field, f"was read before, and is not now: {cube.seen}", cube.expected)
        write_cutout(path, cube, finder.bands, {"OBJECT": str(one["name"])[:60], "RA": float(one["ra"]),
                                                "DEC": float(one["dec"]), "SCORE": float(one["score"]),
                                                "MODEL": finder.name[-60:]})
        images[str(one["name"])] = cube.image
    for left in set((folder.path / CANDIDATES).glob("*.fits")) - {folder.path / path for path in paths}:
        left.unlink()  # of an earlier, longer list
    return paths, thumbnails(images, finder.bands)


def fit_command(cutout: Path, row: Any, ranking: Ranking, finder: LensFinder) -> str:
    """The command that fits a candidate: `giga init` of its cutout, with what the network says, then `giga fit`."""
    run = cutout.parents[1] / "fits" / cutout.stem
    first = ["giga", "init", str(cutout), "--out", f"{run}.toml"]
    if "theta_E" in row.colnames:
        first += ["--theta-e", f"{row['theta_E']:.3g}"]
    scale = finder.images.pixel_scale
    if scale and not np.isfinite(row["ra"]) and not {"--survey", "--pixel-scale"} & set(shlex.split(ranking.init)):
        first += ["--pixel-scale", f"{scale:g}"]
    fit = ["giga", "fit", f"{run}.toml", "--out", str(run)]
    fit += [] if ranking.init_from is None else ["--init-from", ranking.init_from]
    first += shlex.split(ranking.init)
    return " && ".join(map(shlex.join, (["mkdir", "-p", str(run.parent)], first, fit)))


def _found_again(folder: SearchFolder, scores: Table, order: np.ndarray,
                 known: tuple[Sequence[str], np.ndarray, np.ndarray], ranking: Ranking) -> str:
    """Write where each known lens is among the scores; returns how many are among the candidates, in words."""
    names, ra, dec = known
    at, apart = nearest_on_sky(ra, dec, np.asarray(scores["ra"], float), np.asarray(scores["dec"], float),
                               ranking.radius)
    place, there, score = np.full(len(scores), 0), at >= 0, np.asarray(scores["score"], float)
    place[order] = np.arange(1, len(order) + 1)
    write_table(folder.path / f"{KNOWN}.csv", Table({
        "known": list(names), "ra": ra, "dec": dec,
        "name": [str(scores["name"][k]) if k >= 0 else "" for k in at], "known_sep": apart,
        "rank": np.where(there, place[at], 0), "score": np.where(there, score[at], np.nan)}))
    first = int(((place[at] > 0) & (place[at] <= ranking.top) & there).sum())
    return (f"of {len(names)} known lenses {int(there.sum())} are in cutouts within {ranking.radius:g} arcsec of their "
            f"middle, {first} of them among the first {ranking.top}; see {KNOWN}.csv")


def _reasons(scores: Table) -> list[str]:
    """Why cutouts were not scored, the most frequent first; reasons that differ in their numbers alone are one."""
    alike: dict[str, list[str]] = {}
    for reason in np.asarray(scores["reason"]).astype(str).tolist():
        if reason:
            alike.setdefault(re.sub(r"[-+\d.]+", "", reason), []).append(reason)
    most = sorted(alike.values(), key=len, reverse=True)
    said = [f"{len(one)} cutouts are unread: {one[0]}" for one in most[:REASONS]]
    rest = sum(map(len, most[REASONS:]))
    return [*said, f"{rest} more are unread for other reasons"] if rest else said


def _unlike(scores: Table, finder: LensFinder) -> list[str]:
    """What of the cutouts as a whole is far from what the network has seen."""
    noise = [np.asarray(scores[f"noise_{band}"], float) for band in finder.bands]
    if finder.seen is None or not np.isfinite(noise[0]).any():
        return []
    return [f"half of the cutouts or more: {text}" for text in
            finder.seen.unlike([float(np.nanmedian(one)) for one in noise])]
