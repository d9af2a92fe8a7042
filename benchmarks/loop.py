"""The loop on simulated cutouts: lenses hidden in a pool of another world than the training's, and scripted graders.

    python benchmarks/loop.py [--pool 200000 --top 4000]

The pool, drawn and turned into features piece by piece, is the shifted world of the modular system: a wider Moffat PSF,
correlated noise and clumpy sources, 0.5% of it lensed. The head learns from the world that the network was trained in.
Beside the loop stand what looking at as many at random finds, the first scores without any learning, and the loop
without hard negatives.
"""

import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from _common import parser, write

from giga.jobs.loop.drive import LoopSettings, run_loop
from giga.jobs.loop.features import Extractor
from giga.jobs.loop.people import by_script
from giga.models.systems.modular import make_simulator
from giga.models.zoo import load
from giga.search.loop.rounds import FeatureFinder, best
from giga.search.loop.scripted import ScriptedGraders

MODEL, LENSED, ROUNDS, GRADERS = "modular-lsst", 0.005, 9, 3
CONFUSION = np.array([[0.80, 0.15, 0.04, 0.01], [0.10, 0.70, 0.15, 0.05], [0.02, 0.15, 0.63, 0.20],
                      [0.001, 0.002, 0.007, 0.99]])
PIECE = 256


def drawn(extractor: Extractor, count: int, seed: int, **world: object) -> tuple[np.ndarray, np.ndarray, float]:
    """Features and labels of simulated cutouts, and the seconds that they took."""
    config = load(MODEL)[0].config
    simulate = make_simulator(config, **world)
    features, labels, start = [], [], time.perf_counter()
    for piece in range(-(-count // PIECE)):
        batch = simulate.simulate(jax.random.fold_in(jax.random.key(seed), piece), PIECE)
        features.append(extractor(np.asarray(batch.image)))
        labels.append(np.asarray(batch.label))
    return np.concatenate(features)[:count], np.concatenate(labels)[:count], time.perf_counter() - start


def main() -> None:
    """Run the loops and write what they found."""
    arguments = parser(__doc__, "loop")
    arguments.add_argument("--pool", type=int, default=10000, help="cutouts of the pool")
    arguments.add_argument("--top", type=int, default=0, help="looked at in a round; 2%% of the pool without")
    arguments.add_argument("--train", type=int, default=1536, help="simulations to learn from; half as many test")
    options = arguments.parse_args()
    if options.smoke:
        options.pool, options.train = 512, 256
    top, extractor = options.top or options.pool // 50, Extractor(MODEL)
    training, labels, _ = drawn(extractor, options.train, 1)
    testing, truths, _ = drawn(extractor, options.train // 2, 2, shifted=True)
    pool, hidden, seconds = drawn(extractor, options.pool, 3, shifted=True, lensed=LENSED)
    finder = FeatureFinder([str(k) for k in range(len(pool))], pool, training, labels, testing, truths)
    graders = by_script(ScriptedGraders({f"grader {k}": CONFUSION for k in range(GRADERS)}), hidden)
    found = {}
    for name, hard in (("loop", True), ("loop without hard negatives", False)):
        with tempfile.TemporaryDirectory() as folder:
            settings = LoopSettings(top, ROUNDS, 0.0, hard)
            start = time.perf_counter()
            ended = run_loop(Path(folder), finder, graders, settings, {}, hidden)
            rows = [{key: None if value != value else value for key, value in row.items()} for row in ended.rows]
            found[name] = {"rounds": rows, "ended": ended.why, "seconds": time.perf_counter() - start}
    nothing = np.zeros(0, int)
    viewed = best(finder.score(finder.train(nothing, nothing)), nothing, top * len(found["loop"]["rounds"]))
    kept = viewed[np.array(graders(Path(), viewed)) != "X"]
    write(options.out, {
        "pool": len(pool), "lenses": int(hidden.sum()), "top": top, "model": MODEL, "graders": GRADERS,
        "confusion": CONFUSION.tolist(), "training": len(labels), "cutouts_per_s": len(pool) / seconds, **found,
        "first scores alone": {"viewed": len(viewed), "completeness": 100.0 * hidden[kept].sum() / hidden.sum(),
                               "purity": 100.0 * hidden[kept].mean()},
        "random": {"viewed": len(viewed), "completeness": 100.0 * len(viewed) / len(pool)}})


if __name__ == "__main__":
    main()
