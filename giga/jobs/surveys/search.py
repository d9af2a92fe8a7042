"""A search: a pool of cutouts, planned into a folder, scored part by part wherever there are workers, and ranked."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from giga.imaging.grid import sky_of
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.cube import Cube, check_lit, pixel_noise
from giga.io.images.sky import celestial_wcs
from giga.io.images.units import power_of, to_rate
from giga.io.pools.base import Pool, Rows, read_positions
from giga.io.pools.kinds import READERS, pool_of
from giga.io.results.search import (
    CANDIDATES,
    GALLERY,
    ITEMS,
    KNOWN,
    PARTS,
    PLAN,
    SCORES,
    SearchFolder,
)
from giga.jobs.surveys.candidates import Ranking, Say, finder_of, rank
from giga.runtime import parallel
from giga.runtime.environment import rate
from giga.runtime.identity import told
from giga.runtime.workers import HERE, Lost, Workers, alone, spread
from giga.search.scoring import LensFinder, Scorer


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
        lenses: Class that is the lenses, see `giga.search.scoring.lens_class`.
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
    lenses: str | None = None


def plan_search(search: Search, out: Path, overwrite: bool = False) -> tuple[SearchFolder, bool]:
    """List the cutouts and keep what is to be done in the folder, or see that it is what the folder holds.

    Returns:
        The folder, and whether the search was there already.

    Raises:
        InputError: What cannot be searched, or a folder that holds another search.
        ClusterError: Another command works on the folder.
    """
    finder = finder_of(search.model, search.lenses)
    asked = {"--zero-point": search.zero_points, "--units": search.units, "--exposure-time": search.exposure_time}
    for option, value in asked.items() if finder.images.unit is not None else ():
        if value is not None:
            raise InputError("", option, f"{value} for {search.model}", "none: it learned from a user's cutouts, and "
                             f"takes others as they are{f', in {finder.images.unit}' * bool(finder.images.unit)}")
    if search.zero_points is not None and len(search.zero_points) != len(finder.bands):
        raise InputError("", "--zero-point", f"{len(search.zero_points)} values",
                         f"one a band: {', '.join(finder.bands)}")
    pool = pool_of([path.absolute() for path in search.paths], finder.bands, finder.shape,
                   finder.images.pixel_scale,
                   catalogue=search.catalogue, grid=search.grid, pattern=search.pattern, dataset=search.dataset)
    zero_points = finder.images.zero_points
    factor = np.ones(len(finder.bands)) if search.zero_points is None or zero_points is None else 10.0 ** (
        0.4 * (zero_points - np.asarray(search.zero_points)))
    model = str(Path(search.model).absolute()) if len(Path(search.model).parts) > 1 else search.model
    settings = {"model": model, "size": search.size, "units": search.units, "exposure_time": search.exposure_time,
                "factor": factor.tolist(), "batch": search.batch, "lenses": search.lenses}
    facts = told({"network": finder.sha256[:16], "cutouts": _fingerprint(pool), "number of cutouts": len(pool.rows),
                  "cutouts of a part": search.part, "size": search.size, "units": search.units,
                  "exposure time": search.exposure_time, "zero points": str(search.zero_points),
                  **({"class": finder.told} if finder.told else {})})
    folder = SearchFolder(out)
    if any(path.resolve() == out.resolve() for path in search.paths):
        raise InputError(out, "--out", "is the folder of the cutouts", "another folder")
    theirs = [*out.glob(f"{PARTS}/*.parquet"), *out.glob(CANDIDATES), *(out.glob(f"{CANDIDATES}.*"))]
    if theirs and not (out / PLAN).exists():
        raise InputError(theirs[0], "--out", f"is of something else: there is no {PLAN}", "another folder")
    out.mkdir(parents=True, exist_ok=True)
    with alone(out):
        if overwrite:
            remove(out)
        return folder, folder.plan(pool, settings, facts, search.part)


def remove(out: Path) -> None:
    """Remove a search from its folder; what else is there stays."""
    for name in (ITEMS, PARTS, CANDIDATES, GALLERY, f"{KNOWN}.csv",
                 *(f"{kind}{end}" for kind in (SCORES, CANDIDATES) for end in (".parquet", ".fits", ".vot", ".csv")),
                 PLAN):  # last, for it says whose the others are
        path = out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def run_search(folder: SearchFolder, ranking: Ranking, where: Workers = HERE, say: Say = print) -> list[dict[str, Any]]:
    """Score what is left and rank all, as the only coordinator of the folder.

    Args:
        folder: A planned search.
        ranking: How candidates are made.
        where: Who scores.
        say: Gets progress and what the user should know.

    Returns:
        The rows of the catalogue of candidates.

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
    worker, rows = _worker(path, (folder.path / PLAN).stat().st_mtime_ns), folder.rows(number)
    started, used = time.perf_counter(), time.process_time()
    columns: dict[str, list[Any]] = {name: [] for name in ("ra", "dec", "reason", "score", *worker.scorer.columns)}
    noises: list[np.ndarray] = []
    for taken in _ahead(worker, rows):
        for name in ("ra", "dec", "reason"):
            columns[name] += [getattr(one, name) for one in taken]
        good = [k for k, one in enumerate(taken) if one.image is not None]
        found = worker.scorer(np.stack([one.image for one in taken if one.image is not None])) if good else {}
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
    }, {"cutouts": len(rows), "unread": sum(map(bool, columns["reason"])),
        "seconds": round(time.perf_counter() - started, 3), "cpu_seconds": round(time.process_time() - used, 3)})


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
        bands, wanted = self.finder.bands, self.finder.images
        if not isinstance(cube, InputError):
            try:
                if not np.isfinite(ra) and (wcs := celestial_wcs(cube.header)) is not None:
                    ny, nx = cube.image.shape[:2]
                    sky: Any = sky_of(wcs, np.array([0.5 * (nx - 1)]), np.array([0.5 * (ny - 1)])).icrs
                    ra, dec = float(sky.ra.deg[0]), float(sky.dec.deg[0])
                if self.kind != "mosaic" and wanted.pixel_scale and (scale := cube.pixel_scale) is not None:
                    check_pixel_scale(scale, wanted.pixel_scale, 0.01, "which the network learned", cube.file, "")
                check_lit(cube, bands)
                image = cube.to_shape(self.finder.shape, self.settings["size"])
                factor = self._to_unit(cube) * np.asarray(self.settings["factor"])
                return _Taken(ra, dec, "", (image.image * factor).astype(np.float32), pixel_noise(cube) * factor)
            except ValueError as error:
                cube = error if isinstance(error, InputError) else InputError(cube.file, "", str(error))
        return _Taken(ra, dec, f"{cube.seen}; expected {cube.expected}" if cube.expected else cube.seen, None,
                      np.full(len(bands), np.nan))

    def _to_unit(self, cube: Cube) -> float | np.ndarray:
        """What turns a cutout into the unit that the network learned. Raises ValueError."""
        wanted = self.finder.images
        if wanted.unit is None:
            return to_rate(cube.unit, self.settings["units"], self.settings["exposure_time"],
                           (wanted.pixel_scale or 1.0) ** 2)[0]
        if power_of(cube.unit, wanted.unit) not in (None, 1.0):
            raise InputError(cube.file, "", f"BUNIT is {cube.unit!r}", f"{wanted.unit!r}, which the network learned")
        return 1.0


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
    finder = finder_of(about["settings"]["model"], about["settings"].get("lenses"))
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
