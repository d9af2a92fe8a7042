"""What a network saves a fit: the search for the mode with and without its starts, over simulated systems.

The folder holds standard80.npz, standard80.yaml and psf.npy, as for gigalens_sims.py. The network is one that was
trained on the problem gigalens80, see examples/posterior/config.toml. A search has found the mode when its
log-posterior is within `AGREE` of the best of both searches and of one that starts at the truth.
"""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _common import parser, write
from gigalens_sims import lenses

from giga.bayes.posterior import Posterior
from giga.inference.fleet import Lens
from giga.inference.search.lanes import Improve, Screen, improver, screener
from giga.inference.search.map import MapConfig, find_map
from giga.inference.search.starts import chosen, smaller
from giga.jobs.amortised import Predictor
from giga.runtime.parallel import mesh

AGREE = 0.5


def searches(lens: Lens, predictor: Predictor, screen: Screen, improve: Improve, config: MapConfig) -> dict[str, Any]:
    """The row of one system."""
    posterior, key = Posterior.of(lens.prior, lens.observations), jax.random.key(lens.seed)
    row: dict[str, Any] = {"system": lens.name}

    def plain():
        return find_map(key, posterior, config, screen, improve)

    def helped():
        less = smaller(config)
        starts = predictor.starts(lens.observations, less.n_screen, lens.seed)
        first, info = chosen(jax.random.fold_in(key, 1), posterior, starts, less, mesh())
        found, more = find_map(key, posterior, less, screen, improve, first)
        return found, more | {"evaluations": more["evaluations"] + info["proposed"], "init": info}

    def from_truth():
        start = np.asarray(posterior.prior.vector(lens.truth or {}))[None]
        few = MapConfig(8, 8, config.n_finalists, config.steps, config.rounds)
        return find_map(key, posterior, few, screen, improve, np.repeat(start, 8, 0))

    for name, search in (("prior", plain), ("network", helped), ("truth", from_truth)):
        started = time.perf_counter()
        _, info = search()
        row[name] = dict(evaluations=info["evaluations"], rounds=info["rounds"], log_prob=info["log_prob"],
                         seconds=round(time.perf_counter() - started, 3),
                         **({"best_proposal": info["init"]["best_log_prob"]} if "init" in info else {}))
    best = max(row[name]["log_prob"] for name in ("prior", "network", "truth"))
    return row | {"found": {name: row[name]["log_prob"] > best - AGREE for name in ("prior", "network")}}


def main() -> None:
    arguments = parser(__doc__ or "", "init_from")
    arguments.add_argument("folder", type=Path, help="folder with standard80.npz, standard80.yaml and psf.npy")
    arguments.add_argument("--model", required=True, help="network, by name or path")
    arguments.add_argument("--systems", type=int, default=60, help="how many of the sixty")
    options = arguments.parse_args()
    config = MapConfig()
    predictor, over = Predictor.of(options.model), mesh()
    screen, improve = screener(over), improver(over, config.steps)
    rows = [searches(lens, predictor, screen, improve, config)
            for lens in lenses(options.folder, range(2 if options.smoke else options.systems))]
    totals = {name: dict(evaluations=float(np.mean([row[name]["evaluations"] for row in rows])),
                         found=int(sum(row["found"][name] for row in rows))) for name in ("prior", "network")}
    saved = 1.0 - totals["network"]["evaluations"] / totals["prior"]["evaluations"]
    write(options.out, dict(model=options.model, sha256=predictor.sha256, systems=len(rows), agree=AGREE, **totals,
                            share_of_evaluations_saved=round(saved, 4), rows=rows))


if __name__ == "__main__":
    main()
