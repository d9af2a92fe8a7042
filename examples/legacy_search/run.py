"""Giant arcs in clusters of the Legacy Surveys: from a population to a graded gallery, with graders that are played.

    python examples/legacy_search/run.py --smoke
    python examples/legacy_search/run.py --out runs/legacy-search --trained runs/arcs/model

Clusters with and without an arc are drawn, a ResNet-18 learns from them as they are drawn, and a folder of cutouts that
it has not seen, few of them lenses, is searched. The candidates are graded by three graders with known confusion
matrices, their votes aggregated, and a loop of rounds looks for what the first scores missed. README.md says what is
left in the folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from astropy.io import fits
from astropy.table import Table, join
from astropy.wcs import WCS

from giga.io.grading.folder import read_folder
from giga.io.grading.grades import write_grades
from giga.io.grading.votes import read_votes
from giga.io.results.separation import write_table
from giga.jobs.finders import ArcFinderConfig, arc_card
from giga.jobs.loop.drive import LoopSettings, run_loop
from giga.jobs.loop.features import Extractor
from giga.jobs.loop.people import by_script
from giga.jobs.surveys.candidates import Ranking
from giga.jobs.surveys.search import Search, plan_search, run_search
from giga.models.networks.finder import FinderConfig
from giga.models.systems.arcs import ArcTask, make_simulator
from giga.models.training.train import TrainConfig, train
from giga.models.zoo import Card, load, save_weights
from giga.runtime import parallel
from giga.runtime.atomic import write_bytes
from giga.search.aggregation.confusion import aggregate
from giga.search.aggregation.rules import ballot, permitted
from giga.search.grading.questions import GRADES
from giga.search.grading.store import VoteStore
from giga.search.loop.rounds import FeatureFinder
from giga.search.loop.scripted import ScriptedGraders, true_grades
from giga.show.finders import sheet
from giga.show.plot import png
from giga.show.terminal import TrainingProgress

SMOKE = TrainConfig(steps=2, batch_size=8, chunk=2, reuse=2, warmup=0, validate_every=2, validation_size=8,
                    checkpoint_every=2, measure_rates=False)
WHOLE = TrainConfig(steps=300, batch_size=64, chunk=50, reuse=5, learning_rate=2e-3, warmup=50, ema=0.99,
                    validate_every=150, validation_size=256, checkpoint_every=150, measure_rates=False)
CHUNK = 32  # images that are simulated at once
CONFUSION = np.array([[0.80, 0.15, 0.04, 0.01], [0.10, 0.70, 0.15, 0.05], [0.02, 0.15, 0.63, 0.20],
                      [0.001, 0.002, 0.007, 0.99]])  # a grader: answers A, B, C, X (columns) by true grade (rows)
GRADERS = ScriptedGraders({name: CONFUSION for name in ("anna", "bob", "carla")})


def mocks(config: FinderConfig, count: int, lensed: float, seed: int, **settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Simulated cutouts, shape (n, ny, nx, bands) [counts / s], and which of them are lenses."""
    made, images, labels = make_simulator(config, lensed=lensed, **settings), [], []
    for first in range(0, count, CHUNK):
        batch = made.simulate(jax.random.fold_in(jax.random.key(seed), first), CHUNK)
        images.append(np.asarray(batch.image, np.float32))
        labels.append(np.asarray(batch.label))
    return np.concatenate(images)[:count], np.concatenate(labels)[:count]


def write_pool(folder: Path, images: np.ndarray, config: FinderConfig) -> list[str]:
    """Write each cutout as a FITS file with an HDU a band and its place on the sky; returns their names."""
    folder.mkdir()
    survey = config.observed
    places = np.random.default_rng(7).uniform([150.0, 0.0], [160.0, 10.0], (len(images), 2))
    names = [f"cluster{k:05d}" for k in range(len(images))]
    for name, image, place in zip(names, images, places, strict=True):
        wcs = WCS(naxis=2)
        wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], place
        wcs.wcs.crpix, wcs.wcs.cdelt = 0.5 * np.array(image.shape[1::-1]) + 0.5, survey.pixel_scale / 3600.0 * np.array(
            [-1.0, 1.0])
        hdus = [fits.PrimaryHDU()]
        for k, band in enumerate(survey.bands):
            header = wcs.to_header()
            header["BUNIT"], header["FILTER"] = "ct / s", band.name
            hdus.append(fits.ImageHDU(image[..., k], header, name=band.name))
        fits.HDUList(hdus).writeto(folder / f"{name}.fits")
    return names


def learned(config: ArcFinderConfig, out: Path, settings: TrainConfig, **population: Any) -> Path:
    """Train a finder, and write its weights with their card."""
    task = ArcTask(config.finder, **population)
    with TrainingProgress(settings.steps) as report:
        trained = train(task, settings, out / "training", over=parallel.mesh(jax.devices()[:1]), report=report)
    card = Card(**arc_card(config), recipe={}, seed=settings.seed, git_hash="unknown", command="", metrics={},
                images_per_s={}, validation=trained.sets)
    save_weights(trained.model(), out / "model", card)
    return out / "model"


def graded(folder: Path, truths: np.ndarray, numbers: dict[str, int]) -> None:
    """Answer everything in a folder as `giga grade` keeps it, by graders that are played."""
    about = read_folder(folder)
    store = VoteStore(about.database, about.scheme)
    store.add([one.item for one in about.graded])
    items = {number: numbers[item.name] for number, item in store.items().items()}
    for column, name in enumerate(GRADERS.confusion):
        grader = store.grader(name)
        for task in store.tasks(grader, 0, len(items)):
            row = np.array([items[task.item]])
            grade, act = GRADES[GRADERS.votes(row, truths[row])[0, column]], f"{name}-{task.position}"
            store.answer(grader, [task.position], "detect", "nothing" if grade == "X" else "escalate", act)
            if grade != "X":
                store.answer(grader, [task.position], "grade", grade, f"{act}-grade")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder, which must not be there; a temporary one without")
    parser.add_argument("--trained", help="weights, a name of the zoo or a path, in the place of a training here")
    parser.add_argument("--cutouts", type=int, default=2000, help="of the pool")
    parser.add_argument("--lenses", type=float, default=0.02, help="their share")
    parser.add_argument("--smoke", action="store_true", help="32 x 32 pixels, no members, two steps, 64 cutouts")
    options = parser.parse_args()
    settings: dict[str, Any] = {"members": 0} if options.smoke else {}
    count, share, top = (64, 0.2, 16) if options.smoke else (options.cutouts, options.lenses, options.cutouts // 50)
    parallel.start(n_devices=1)
    with tempfile.TemporaryDirectory() as temporary:
        out = options.out or Path(temporary) / "legacy"
        out.mkdir(parents=True)
        config = ArcFinderConfig(pixels=32 if options.smoke else 64, **settings)
        model = options.trained or str(learned(config, out, SMOKE if options.smoke else WHOLE, **settings))
        finder = load(model)[0].config
        images, labels = mocks(finder, count, share, 5, **settings)
        lenses = images[labels == 1][:20]
        write_bytes(out / "lenses.png", png(sheet(lenses, finder.observed.background_rms)))
        numbers = {name: k for k, name in enumerate(write_pool(out / "pool", images, finder))}

        folder, _ = plan_search(Search((out / "pool",), model), out / "found")
        found = run_search(folder, Ranking(top=2 * top))
        truths = true_grades(labels)
        right = sum(int(labels[numbers[row["name"]]]) for row in found)
        print(f"search: {right} of {labels.sum()} lenses among the first {len(found)} of {count}; by chance "
              f"{labels.mean() * len(found):.1f}")

        graded(out / "found", truths, numbers)
        votes = ballot(read_votes(out / "found"))
        (out / "grades").mkdir()
        write_grades(out / "grades", votes, aggregate(votes.grades, permitted(votes.truths), 0))
        grades = Table.read(out / "grades" / "grades.ecsv")
        candidates = Table.read(out / "found" / "candidates.fits")
        candidates["name"] = [str(name).strip() for name in candidates["name"]]
        catalogue = join(candidates["name", "ra", "dec", "score", "rank"],
                         grades["name", "grade", "votes", "p_lens"], "name")
        catalogue.sort("p_lens", reverse=True)
        write_table(out / "catalogue.ecsv", catalogue)
        print("grades: " + ", ".join(f"{(catalogue['grade'] == grade).sum()} {grade}" for grade in GRADES))

        extractor = Extractor(model)
        training, known = mocks(finder, 2 * CHUNK if options.smoke else 1024, 0.5, 6, **settings)
        rounds = FeatureFinder(list(numbers), extractor(images), extractor(training), known)
        ended = run_loop(out / "loop", rounds, by_script(GRADERS, labels), LoopSettings(top, 3), {"model": str(model)},
                         labels)
        for row in ended.rows:
            print(f"round {row['iter']:.0f}: {row['new']:.0f} new, {row['cum']:.0f} in all, completeness "
                  f"{row['pool_completeness']:.0f}%, purity {row['pool_purity']:.0f}%, at random {row['random']:.0f}%")
        print(out / "found" / "gallery.html")


if __name__ == "__main__":
    main()
