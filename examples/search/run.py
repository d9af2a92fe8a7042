"""A survey searched: cutouts of simulated LSST images, some of them lenses, from scores to a gallery and a fit.

Half of the lenses are "known": their places are a table, and the search says how many of them it finds again. It ends
with the command that fits the first candidate; `--fit` runs it.

    python examples/search/run.py --out runs/search
    python examples/search/run.py --smoke
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import h5py
import jax
import numpy as np
from astropy.table import Table

from giga.jobs.surveys.candidates import Ranking
from giga.jobs.surveys.search import Search, plan_search, run_search
from giga.models.systems.modular import make_simulator
from giga.models.zoo import load
from giga.runtime import parallel
from giga.runtime.workers import HERE, Workers

MODEL = "modular-lsst"
CHUNK = 64  # images that are simulated at once


def mocks(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulated cutouts, shape (n, ny, nx, bands) [counts / s], and which of them are lenses."""
    config = load(MODEL)[0].config
    draw = jax.jit(jax.vmap(make_simulator(config, lensed=share).example))
    images, labels = [], []
    for start in range(0, count, CHUNK):
        keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(seed), k))(start + np.arange(CHUNK))
        batch = draw(keys)
        images.append(np.asarray(batch.image, np.float32))
        labels.append(np.asarray(batch.label))
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]


def write_survey(folder: Path, count: int, share: float, seed: int = 5) -> np.ndarray:
    """Write cutouts.h5 and known.csv; returns which cutouts are lenses."""
    images, labels = mocks(count, share, seed)
    places = np.random.default_rng(seed).uniform([10.0, -5.0], [12.0, -3.0], (count, 2))
    with h5py.File(folder / "cutouts.h5", "w") as file:
        stack = file.create_dataset("images", data=images, chunks=(min(count, 64), *images.shape[1:]))
        stack.attrs.update({"bands": ["g", "r", "i"], "BUNIT": "ct / s"})
        file["name"] = [f"mock{k:05d}" for k in range(count)]
        file["ra"], file["dec"] = places.T
    lenses = np.flatnonzero(labels == 1)[::2]
    Table({"name": [f"lens{k}" for k in lenses], "ra": places[lenses, 0], "dec": places[lenses, 1]}).write(
        folder / "known.csv", overwrite=True)
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder; a temporary one without")
    parser.add_argument("--cutouts", type=int, default=2000)
    parser.add_argument("--lenses", type=float, default=0.02, help="their share")
    parser.add_argument("--workers", type=int, help="processes; this one without")
    parser.add_argument("--fit", action="store_true", help="fit the first candidate")
    parser.add_argument("--smoke", action="store_true", help="128 cutouts, a tenth of them lenses")
    arguments = parser.parse_args()
    count, share = (128, 0.1) if arguments.smoke else (arguments.cutouts, arguments.lenses)
    with tempfile.TemporaryDirectory() as temporary:
        out = arguments.out or Path(temporary)
        out.mkdir(parents=True, exist_ok=True)
        parallel.start()
        labels = write_survey(out, count, share)
        lenses, top = int(labels.sum()), max(24, int(2 * labels.sum()))
        folder, _ = plan_search(Search((out / "cutouts.h5",), MODEL), out / "found")
        found = run_search(folder, Ranking(top=top, known=out / "known.csv", init="--survey lsst"),
                           HERE if arguments.workers is None else Workers(arguments.workers))
        numbers = np.array([int(str(name).removeprefix("mock")) for name in (row["name"] for row in found)])
        right = labels[numbers] == 1
        print(f"{lenses} lenses among {count}; {right.sum()} of them in the first {top}, {right[:lenses].sum()} in the "
              f"first {lenses}, where chance has {lenses * lenses / count:.1f}")
        print(found[0]["fit"])
        if arguments.fit:
            subprocess.run(found[0]["fit"], shell=True, check=True)


if __name__ == "__main__":
    main()
