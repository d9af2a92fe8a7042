"""A search: a pool of cutouts, planned into a folder, scored part by part wherever there are workers, and ranked."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Column, Table

from giga.imaging.grid import sky_of
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.cube import Cube, pixel_noise
from giga.io.images.sky import celestial_wcs
from giga.io.images.units import to_rate
from giga.io.pools.base import Pool, Rows, read_positions
from giga.io.pools.kinds import READERS, pool_of
from giga.io.results.search import CANDIDATES, GALLERY, ITEMS, KNOWN, PARTS, PLAN, SCORES, SearchFolder, write_cutout, \
    write_table
from giga.models.zoo import ZooError, load
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.runtime.environment import rate
from giga.runtime.identity import told
from giga.runtime.workers import HERE, Lost, Workers, alone, spread
from giga.search.matching import nearest_on_sky
from giga.search.scoring import LensFinder, Scorer
from giga.show.candidates import About, candidates_page, thumbnail

Say = Callable[[str], None]


@dataclass(frozen=True)
class Search:
    """What is searched, by what, and how its images are taken.

    Attributes:
        paths, catalogue, grid, pattern, dataset: The cutouts, see `giga.io.pools.kinds.pool_of`.
        model: Network of the zoo, or path of its weights.
        size: What to do with a cutout of another size: "refuse", "crop" or "pad".
        units, exposure_time: Of the cutouts, see `giga.io.images.units.to_rate`; None trusts their BUNIT.
        zero_points: Magnitude of one count / s in each band; None takes the survey's of the network.
        batch: Cutouts that a device scores at once.
        part: Cutouts of a part, which is what a worker takes and what a run that is stopped can lose.
    """

    paths: tuple[Path, ...]
    model: str
    catalogue: Path | None = None
    grid: float | None = None
    pattern: str | None = None
    dataset: str | None = None
    size: str = "refuse"
    units: str | None = None
    exposure_time: float | None = None
    zero_points: tuple[float, ...] | None = None
    batch: int = 64
    part: int = 2048


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


def finder_of(model: str) -> LensFinder:
    """A network that tells lenses, of the zoo. Raises InputError."""
    try:
        network, card = load(model)
        return LensFinder.of(model, network, card)
    except (ZooError, ValueError) as error:
        raise InputError("", "--model", str(error)) from error


def plan_search(search: Search, out: Path, overwrite: bool = False) -> tuple[SearchFolder, bool]:
    """List the cutouts and keep what is to be done in the folder, or see that it is what the folder holds.

    Returns:
        The folder, and whether the search was there already.

    Raises:
        InputError: What cannot be searched, or a folder that holds another search.
    """
    finder = finder_of(search.model)
    if search.zero_points is not None and len(search.zero_points) != len(finder.bands):
        raise InputError("", "--zero-point", f"{len(search.zero_points)} values",
                         f"one a band: {', '.join(finder.bands)}")
    pool = pool_of([path.absolute() for path in search.paths], finder.bands, finder.shape,
                   float(finder.survey.pixel_scale),
                   catalogue=search.catalogue, grid=search.grid, pattern=search.pattern, dataset=search.dataset)
    factor = np.ones(len(finder.bands)) if search.zero_points is None else 10.0 ** (
        0.4 * (finder.survey.zero_points - np.asarray(search.zero_points)))
    model = str(Path(search.model).absolute()) if len(Path(search.model).parts) > 1 else search.model
    settings = {"model": model, "size": search.size, "units": search.units, "exposure_time": search.exposure_time,
                "factor": factor.tolist(), "batch": search.batch}
    facts = told({"network": finder.sha256[:16], "cutouts": _fingerprint(pool), "number of cutouts": len(pool.rows),
                  "cutouts of a part": search.part, "size": search.size, "units": search.units,
                  "exposure time": search.exposure_time, "zero points": str(search.zero_points)})
    folder = SearchFolder(out)
    if overwrite:
        remove(out)
    return folder, folder.plan(pool, settings, facts, search.part)


def remove(out: Path) -> None:
    """Remove a search from its folder; what else is there stays."""
    for name in (PLAN, ITEMS, PARTS, CANDIDATES, GALLERY, f"{KNOWN}.csv",
                 *(f"{kind}{suffix}" for kind in (SCORES, CANDIDATES) for suffix in (".parquet", ".fits", ".vot", ".csv"))):
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def run_search(folder: SearchFolder, ranking: Ranking, where: Workers = HERE, say: Say = print) -> Table:
    """Score what is left and rank all, as the only coordinator of the folder.

    Args:
        folder: A planned search.
        ranking: How candidates are made.
        where: Who scores.
        say: Gets progress and what the user should know.

    Returns:
        The catalogue of candidates.

    Raises:
        ClusterError: Another coordinator, or workers that cannot be had or went away.
        InputError: A table of known lenses that cannot be read; parts that no worker survived.
        OSError: A file cannot be written.
    """
    known = None if ranking.known is None else read_positions(ranking.known)
    with alone(folder.path):
        left, started, seen = folder.left(), time.perf_counter(), 0
        lost: dict[int, str] = {}
        for k, ((_, number), died) in enumerate(spread(score_part, [(str(folder.path), one) for one in left], where,
                                                       say), 1):
            if isinstance(died, Lost):
                lost[number] = died.reason
                say(f"part {number}: {died.reason}")
                continue
            about = folder.told(number)
            seen += about["cutouts"]
            say(f"part {k} of {len(left)}: {about['cutouts']} cutouts, {about['unread']} unread; "
                f"{rate(seen, time.perf_counter() - started):.0f} cutouts/s, start included")
        if lost:
            number, reason = next(iter(lost.items()))
            raise InputError(folder.path, "parts", f"{len(lost)} not scored, the first {number} ({reason})",
                             "workers with memory for them; the others are kept")
        return rank(folder, ranking, known, say)


def score_part(piece: tuple[str, int]) -> None:
    """Score the cutouts of a part of a planned search and leave its file; nothing to do where it is there."""
    path, number = piece
    folder = SearchFolder(Path(path))
    if folder.part(number).exists():
        return
    worker, rows, started = _worker(path, (folder.path / PLAN).stat().st_mtime_ns), folder.rows(number), time.time()
    columns: dict[str, list[Any]] = {name: [] for name in ("ra", "dec", "reason", "score", *worker.scorer.columns)}
    noises: list[np.ndarray] = []
    for taken in _ahead(worker, rows):
        for name in ("ra", "dec", "reason"):
            columns[name] += [getattr(one, name) for one in taken]
        good = [k for k, one in enumerate(taken) if one.image is not None]
        found = worker.scorer(np.stack([taken[k].image for k in good])) if good else {}
        for name in ("score", *worker.scorer.columns):
            values = np.full(len(taken), np.nan)
            values[good] = found.get(name, np.nan)
            columns[name] += values.tolist()
        noises += [one.noise for one in taken]
    noise = np.stack(noises)
    read = {name: np.asarray(values, float) if name != "reason" else values for name, values in columns.items()}
    folder.write_part(number, {
        "name": rows.name, "ra": read.pop("ra"), "dec": read.pop("dec"), "score": read.pop("score"),
        **{name: read[name] for name in worker.scorer.columns},
        **{f"noise_{band}": noise[:, k].astype(np.float32) for k, band in enumerate(worker.finder.bands)},
        "reason": read["reason"], "file": rows.file, "index": rows.index,
    }, {"cutouts": len(rows), "unread": sum(map(bool, columns["reason"])), "seconds": round(time.time() - started, 3)})


@dataclass(frozen=True, eq=False)
class _Worker:
    """What a process keeps between parts of a search."""

    settings: Mapping[str, Any]
    kind: str
    finder: LensFinder
    scorer: Scorer
    reader: Any

    def taken(self, cube: Cube | InputError, ra: float, dec: float) -> _Taken:
        """A cutout as the network takes it, or why it cannot be taken."""
        bands = self.finder.bands
        if not isinstance(cube, InputError):
            try:
                if not np.isfinite(ra) and (wcs := celestial_wcs(cube.header)) is not None:
                    ny, nx = cube.image.shape[:2]
                    sky: Any = sky_of(wcs, np.array([0.5 * (nx - 1)]), np.array([0.5 * (ny - 1)])).icrs
                    ra, dec = float(sky.ra.deg[0]), float(sky.dec.deg[0])
                if self.kind != "mosaic" and (scale := cube.pixel_scale) is not None:
                    check_pixel_scale(scale, float(self.finder.survey.pixel_scale), 0.01, "which the network learned",
                                      cube.file, "")
                for band, low, high in zip(bands, cube.image.min((0, 1)), cube.image.max((0, 1)), strict=True):
                    if low == high:
                        raise InputError(cube.file, "", f"band {band} is {low:g} everywhere", "an image with noise")
                image = cube.to_shape(self.finder.shape, self.settings["size"])
                factor = to_rate(cube.unit, self.settings["units"], self.settings["exposure_time"],
                                 float(self.finder.survey.pixel_scale) ** 2)[0] * np.asarray(self.settings["factor"])
                return _Taken(ra, dec, "", (image.image * factor).astype(np.float32), pixel_noise(cube) * factor)
            except ValueError as error:
                cube = error if isinstance(error, InputError) else InputError(cube.file, "", str(error))
        return _Taken(ra, dec, f"{cube.seen}; expected {cube.expected}" if cube.expected else cube.seen, None,
                      np.full(len(bands), np.nan))


@dataclass(frozen=True, eq=False)
class _Taken:
    """A cutout: its place [deg], why it cannot be scored, or its pixels and their noise [counts / s]."""

    ra: float
    dec: float
    reason: str
    image: np.ndarray | None
    noise: np.ndarray


@lru_cache(1)
def _worker(path: str, written: int) -> _Worker:
    """Network, program and reader of a search, made once by each process."""
    about = SearchFolder(Path(path)).about()
    devices = parallel.start()
    finder = finder_of(about["settings"]["model"])
    over = parallel.mesh(devices)
    if parallel.one_by_one(over):
        over = parallel.mesh(devices[:1])  # whose convolutions take all cores
    reader = READERS[about["kind"]](about["files"], finder.bands, finder.shape, about["reader"])
    return _Worker(about["settings"], about["kind"], finder, Scorer(finder, about["settings"]["batch"], over), reader)


def _ahead(worker: _Worker, rows: Rows) -> Iterator[list[_Taken]]:
    """Batches of cutouts; while one is scored, the next is read."""
    def read(start: int) -> list[_Taken]:
        part = rows[start:start + worker.scorer.batch]
        return [worker.taken(cube, ra, dec)
                for cube, ra, dec in zip(worker.reader.read(part), part.ra, part.dec, strict=True)]

    starts = range(0, len(rows), worker.scorer.batch)
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(read, 0)
        for start in starts[1:]:
            now, coming = coming.result(), pool.submit(read, start)
            yield now
        yield coming.result()


def rank(folder: SearchFolder, ranking: Ranking, known: tuple[Sequence[str], np.ndarray, np.ndarray] | None,
         say: Say) -> Table:
    """Write the scores, and the candidates with their cutouts, their matches and their page."""
    scores, about = folder.write_scores(), folder.about()
    logit = np.asarray(scores["logit"], float)
    order = np.argsort(np.where(np.isfinite(logit), -logit, np.inf), kind="stable")
    order = order[:int(np.isfinite(logit).sum())]
    finder = finder_of(about["settings"]["model"])
    table: Any = scores[order[:ranking.top]]
    table.add_column(Column(np.arange(1, len(table) + 1), "rank"), 0)
    extra = [name for name in table.colnames if name not in ("rank", "reason", "file", "index")
             and not name.startswith("noise_")]
    cutouts, pictures = _cutouts(folder, table, finder)
    notes = _unlike(scores, finder)
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
    rows = [dict(zip(out.colnames, row, strict=True)) for row in out.as_array().tolist()]
    page = About(finder.name, len(scores), unread, finder.prevalence, notes)
    write_text(folder.path / GALLERY, candidates_page(rows, pictures, page))
    for note in notes:
        say(note)
    return out


def _cutouts(folder: SearchFolder, table: Table, finder: LensFinder) -> tuple[list[str], dict[str, bytes]]:
    """Write the cutout of each candidate; returns their paths in the folder, and their pictures by name."""
    about = folder.about()
    reader = READERS[about["kind"]](about["files"], finder.bands, finder.shape, about["reader"])
    (folder.path / CANDIDATES).mkdir(exist_ok=True)
    paths, pictures = [], {}
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
        pictures[str(one["name"])] = thumbnail(cube.image)
    return paths, pictures


def fit_command(cutout: Path, row: Any, ranking: Ranking, finder: LensFinder) -> str:
    """The command that fits a candidate: a configuration from its cutout and what the network says of it, then the fit."""
    run = cutout.parents[1] / "fits" / cutout.stem
    first = ["giga", "init", str(cutout), "--out", f"{run}.toml"]
    if "theta_E" in row.colnames:
        first += ["--theta-e", f"{row['theta_E']:.3g}"]
    if not np.isfinite(row["ra"]) and not {"--survey", "--pixel-scale"} & set(shlex.split(ranking.init)):
        first += ["--pixel-scale", f"{float(finder.survey.pixel_scale):g}"]
    fit = ["giga", "fit", f"{run}.toml", "--out", str(run)]
    fit += [] if ranking.init_from is None else ["--init-from", ranking.init_from]
    return f"mkdir -p {shlex.quote(str(run.parent))} && {shlex.join(first)}{' ' * bool(ranking.init)}{ranking.init} && " \
           f"{shlex.join(fit)}"


def _found_again(folder: SearchFolder, scores: Table, order: np.ndarray,
                 known: tuple[Sequence[str], np.ndarray, np.ndarray], ranking: Ranking) -> str:
    """Write where each known lens is among the scores; returns how many are among the candidates, in words."""
    names, ra, dec = known
    at, apart = nearest_on_sky(ra, dec, np.nan_to_num(np.asarray(scores["ra"], float), nan=0.0),
                               np.nan_to_num(np.asarray(scores["dec"], float), nan=-90.0), ranking.radius)
    place = np.full(len(scores), 0)
    place[order] = np.arange(1, len(order) + 1)
    there = at >= 0
    logit = np.asarray(scores["score"], float)
    write_table(folder.path / f"{KNOWN}.csv", Table({
        "known": list(names), "ra": ra, "dec": dec,
        "name": [str(scores["name"][k]) if k >= 0 else "" for k in at], "known_sep": apart,
        "rank": np.where(there, place[at], 0), "score": np.where(there, logit[at], np.nan)}))
    first = int(((place[at] > 0) & (place[at] <= ranking.top) & there).sum())
    return (f"of {len(names)} known lenses {int(there.sum())} are in cutouts within {ranking.radius:g} arcsec of their "
            f"middle, {first} of them among the first {ranking.top}; see {KNOWN}.csv")


def _unlike(scores: Table, finder: LensFinder) -> list[str]:
    """What of the cutouts as a whole is far from what the network has seen."""
    noise = [np.asarray(scores[f"noise_{band}"], float) for band in finder.bands]
    if finder.seen is None or not np.isfinite(noise[0]).any():
        return []
    return [f"half of the cutouts or more: {text}" for text in
            finder.seen.unlike([float(np.nanmedian(one)) for one in noise])]


def _fingerprint(pool: Pool) -> str:
    """Hash of what a pool is made of: names, places, and sizes and dates of its files."""
    digest = hashlib.sha256()
    rows = pool.rows
    for texts in (rows.name, rows.file):
        digest.update("\n".join(texts.tolist()).encode())
    for values in (rows.index, rows.ra, rows.dec):
        digest.update(np.ascontiguousarray(values).tobytes())
    for file in dict.fromkeys([*pool.files, *rows.file.tolist()]):
        known = os.stat(file)
        if not os.path.isdir(file):
            digest.update(f"{file} {known.st_size} {known.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]
