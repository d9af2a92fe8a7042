"""The folder of `giga simulate`: shards of images and the manifest that lists them."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from operator import itemgetter
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from giga.io.configuration.kept import CONFIG, text_beside
from giga.io.configuration.simulation import Simulation, load_simulation
from giga.io.configuration.toml import listed
from giga.io.errors import InputError
from giga.io.jsonfile import read_json, write_json
from giga.io.results.shards import SUFFIXES, write_shard
from giga.io.results.shards import read_shard as read_shard
from giga.runtime import parallel
from giga.runtime.atomic import write_text
from giga.runtime.environment import environment, git_hash, rate
from giga.runtime.identity import changed, told
from giga.simulate.batch import Batch

MANIFEST = "manifest.json"


def held(folder: str | PathLike[str]) -> tuple[str, ...]:
    """Names of the files in a folder that are those of a simulation."""
    found = [path.name for suffix in SUFFIXES.values() for path in Path(folder).glob(f"shard-*{suffix}")]
    return (MANIFEST, CONFIG, *sorted(found))


def simulate_shards(simulation: Simulation, folder: str | PathLike[str], over: Mesh | None = None,
                    report: Callable[[int, int, float], None] = lambda done, shards, rate: None) -> Path:
    """Simulate and write every shard that the folder does not hold whole, each under a temporary name first.

    Image i of shard s has the key `fold_in(fold_in(key(seed), s), i)`: it depends on the configuration, s and i alone,
    whatever the number of devices, and however often the run was stopped.

    Args:
        simulation: What is simulated.
        folder: Made if it is not there.
        over: Mesh of devices; None is all.
        report: Called after each shard with the number of those that are there, of all, and images a second.

    Returns:
        The manifest: `identity` and the `facts` that it is made of, `config`, `seed`, `images`, `shards` (file, sha256,
        step, images), versions.

    Raises:
        InputError: The folder holds images of another configuration, or more than are asked for; an image that is not
            finite.
    """
    folder, output = Path(folder), simulation.output
    folder.mkdir(parents=True, exist_ok=True)
    rows = _finished(simulation, folder)
    if (held := sum(row["images"] for row in rows.values())) > output.images:
        raise InputError(folder, "--out", f"holds {held} images", f"at most the {output.images} asked for; ask for as "
                         "many or more, or start over with --overwrite")
    write_text(folder / CONFIG, text_beside(folder, simulation.dump(), simulation.file,
                                            lambda: load_simulation(simulation.file).dump()))
    count = -(-output.images // output.per_shard)
    together = min(output.per_shard, output.images)
    for shard in range(count):
        images = min(output.per_shard, output.images - shard * output.per_shard)
        row = rows.get(shard)
        if row is not None and row["images"] == images and _sha256(folder / row["file"]) == row["sha256"]:
            report(shard + 1, count, 0.0)
            continue
        started = time.perf_counter()
        key = jax.random.fold_in(jax.random.key(output.seed), shard)
        # The last shard is simulated whole and cut: to compile for its length would take longer.
        whole = parallel.on_host(simulation.simulator.simulate(key, together, over))
        batch = jax.tree.map(itemgetter(slice(images)), whole)
        _check_finite(batch, shard, simulation.file)
        path = write_shard(folder / f"shard-{shard:05d}{SUFFIXES[output.format]}", batch, _cards(simulation, shard))
        rows[shard] = dict(file=path.name, sha256=_sha256(path), step=shard, images=images)
        _write_manifest(simulation, folder, rows)
        report(shard + 1, count, rate(images, time.perf_counter() - started))
    _write_manifest(simulation, folder, {shard: rows[shard] for shard in range(count)})
    return folder / MANIFEST


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
