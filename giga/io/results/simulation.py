"""The folder of `giga simulate`: shards of images and the manifest that lists them."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from giga.io.configuration.kept import CONFIG, text_beside
from giga.io.configuration.simulation import Simulation, load_simulation, read_run
from giga.io.configuration.toml import listed
from giga.io.errors import InputError
from giga.io.jsonfile import read_json, write_json
from giga.io.results.shards import SUFFIXES, write_shard
from giga.io.results.shards import read_shard as read_shard
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.runtime.environment import environment, git_hash, rate
from giga.runtime.identity import changed, told
from giga.runtime.workers import HERE, ClusterError, Lost, Workers, alone, spread
from giga.simulate.batch import Batch

MANIFEST = "manifest.json"


def held(folder: str | PathLike[str]) -> tuple[str, ...]:
    """Names of the files in a folder that are those of a simulation."""
    found = [path.name for suffix in SUFFIXES.values() for path in Path(folder).glob(f"shard-*{suffix}")]
    return (MANIFEST, CONFIG, *sorted(found))


def simulate_shards(simulation: Simulation, folder: str | PathLike[str], over: Mesh | None = None,
                    report: Callable[[int, int, float], None] = lambda done, shards, rate: None, *,
                    where: Workers = HERE, changes: Mapping[str, Any] | None = None,
                    say: Callable[[str], None] = lambda text: None) -> Path:
    """Simulate and write every shard that the folder does not hold whole, each under a temporary name first.

    Image i of shard s has the key `fold_in(fold_in(key(seed), s), i)`: it depends on the configuration, s and i alone,
    whatever the number of devices, and however often the run was stopped.

    Args:
        simulation: What is simulated.
        folder: Made if it is not there.
        over: Mesh of devices; None is all.
        report: Called after each shard with the number of those that are there, of all, and images a second.
        where: Who simulates; workers read the configuration's files by the paths of this process.
        changes: With which the configuration was loaded, for workers.
        say: Gets what the user should know of workers.

    Returns:
        The manifest: `identity` and the `facts` that it is made of, `config`, `seed`, `images`, `shards` (file, sha256,
        step, images), versions.

    Raises:
        InputError: The folder holds images of another configuration, or more than are asked for; an image that is not
            finite.
        ClusterError: Another process simulates into the folder, or workers that cannot be had or went away.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        return _simulate(simulation, folder, over, report, where, changes or {}, say)


def _simulate(simulation: Simulation, folder: Path, over: Mesh | None, report: Callable[[int, int, float], None],
              where: Workers, changes: Mapping[str, Any], say: Callable[[str], None]) -> Path:
    output = simulation.output
    rows = _finished(simulation, folder)
    if (held := sum(row["images"] for row in rows.values())) > output.images:
        raise InputError(folder, "--out", f"holds {held} images", f"at most the {output.images} asked for; ask for as "
                         "many or more, or start over with --overwrite")
    write_text(folder / CONFIG, text_beside(folder, simulation.dump(), simulation.file,
                                            lambda: load_simulation(simulation.file).dump()))
    count = -(-output.images // output.per_shard)
    left, done, started = [], 0, time.perf_counter()
    for shard in range(count):
        row = rows.get(shard)
        if row is None or row["images"] != _images(simulation, shard) or _sha256(folder / row["file"]) != row["sha256"]:
            left.append(shard)
            continue
        done += 1
        report(done, count, 0.0)
    for shard in _written(simulation, folder, over, left, where, changes, say):
        path, images = _place(simulation, folder, shard), _images(simulation, shard)
        rows[shard] = dict(file=path.name, sha256=_sha256(path), step=shard, images=images)
        _write_manifest(simulation, folder, rows)
        done += 1
        report(done, count, rate(images, time.perf_counter() - started))
        started = time.perf_counter()
    _write_manifest(simulation, folder, {shard: rows[shard] for shard in range(count)})
    return folder / MANIFEST


def _written(simulation: Simulation, folder: Path, over: Mesh | None, left: list[int], where: Workers,
             changes: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[int]:
    """Have shards simulated, here or by workers; gives the number of each that is there."""
    if where.here:
        for shard in left:
            _write_shard(simulation, folder, shard, over)
            yield shard
        return
    for shard in left:
        _place(simulation, folder, shard).unlink(missing_ok=True)
    settings = str(simulation.file.absolute()), json.dumps(dict(changes)), str(folder.absolute()), simulation.identity
    for piece, died in spread(work_shard, [(*settings, shard) for shard in left], where, say):
        if isinstance(died, Lost):
            raise ClusterError(f"{folder}: shard {piece[-1]}: {died.reason}")
        yield piece[-1]


def work_shard(piece: tuple[str, str, str, str, int]) -> None:
    """Simulate a shard in a worker: configuration, changes as JSON, folder, identity, number of the shard."""
    file, changes, folder, identity, shard = piece
    simulation, over = _kept(file, changes)
    if simulation.identity != identity:
        raise InputError(file, "", "another configuration or version in a worker", "the same files everywhere")
    if not _place(simulation, Path(folder), shard).exists():
        _write_shard(simulation, Path(folder), shard, over)


@lru_cache(1)
def _kept(file: str, changes: str) -> tuple[Simulation, Mesh]:
    """What a worker keeps between shards."""
    run = read_run(Path(file), json.loads(changes))
    devices = parallel.start(run.devices, n_devices=run.n_devices)
    return load_simulation(Path(file), json.loads(changes)), parallel.mesh(devices)


def _place(simulation: Simulation, folder: Path, shard: int) -> Path:
    return folder / f"shard-{shard:05d}{SUFFIXES[simulation.output.format]}"


def _images(simulation: Simulation, shard: int) -> int:
    """Images of a shard."""
    output = simulation.output
    return min(output.per_shard, output.images - shard * output.per_shard)


def _write_shard(simulation: Simulation, folder: Path, shard: int, over: Mesh | None) -> None:
    output = simulation.output
    # The last shard is simulated whole and cut: to compile for its length would take longer.
    whole = simulation.images(shard, min(output.per_shard, output.images), over)
    batch = jax.tree.map(itemgetter(slice(_images(simulation, shard))), whole)
    _check_finite(batch, shard, simulation.file)
    write_shard(_place(simulation, folder, shard), batch, _cards(simulation, shard))


def _finished(simulation: Simulation, folder: Path) -> dict[int, dict[str, Any]]:
    """Rows of the manifest by shard."""
    path = folder / MANIFEST
    if not path.is_file():
        return {}
    manifest = read_json(path)
    try:
        identity, rows = manifest["identity"], {row["step"]: row for row in manifest["shards"]}
        if not all(isinstance(row[name], kind) for row in rows.values()
                   for name, kind in (("file", str), ("sha256", str), ("images", int))):
            raise TypeError("a shard without file, sha256 or images")
    except (KeyError, TypeError) as error:
        raise InputError(path, "", f"cannot be read ({error})", "the manifest of giga simulate") from error
    if identity != simulation.identity:
        changes = listed(changed(manifest["facts"], told(simulation.facts))) if "facts" in manifest \
            else "made by an older version of giga"
        raise InputError(folder, "--out", f"holds images of another configuration or version ({changes})",
                         "an empty or new folder, or --overwrite to start over")
    return rows


def _write_manifest(simulation: Simulation, folder: Path, rows: dict[int, dict[str, Any]]) -> None:
    about = environment()
    write_json(folder / MANIFEST, dict(
        identity=simulation.identity, facts=told(simulation.facts), config=simulation.tables,
        seed=simulation.output.seed, format=simulation.output.format,
        images=sum(row["images"] for row in rows.values()),
        bands=[band.name for band in simulation.survey.bands],
        shards=[rows[shard] for shard in sorted(rows)], versions=about["versions"], git=git_hash()))


def _cards(simulation: Simulation, shard: int) -> dict[str, Any]:
    survey = simulation.survey
    cards: dict[str, Any] = dict(SURVEY=survey.name, PIXSCALE=float(survey.pixel_scale), SEED=simulation.output.seed,
                                 SHARD=shard, IDENTITY=simulation.identity)
    for k, band in enumerate(survey.bands, start=1):
        cards |= {f"BAND{k}": band.name, f"ZP{k}": float(band.zero_point)}
    return cards


def _check_finite(batch: Batch, shard: int, file: Path) -> None:
    good = np.isfinite(batch.image).all((1, 2, 3)) & np.isfinite(batch.sigma).all((1, 2, 3))
    if good.all():
        return
    bad = int(np.argmin(good))
    values = {name: np.round(np.asarray(value[bad], float), 4).tolist() for name, value in batch.truth.items()}
    told = ", ".join(f"{name} = {value}" for name, value in values.items())
    raise InputError(file, "population", f"image {bad} of shard {shard} is not finite, as are "
                     f"{np.sum(~good)} of {len(good)}, with {told[:300]}", "parameters that can be rendered")


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
