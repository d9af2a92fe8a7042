"""How well the search for the mode does on the Foundry problem, with softened noise in its first rounds and without.

A row a seed and a way: log-posterior and chi2 where it ended, rounds, gradient equivalents, CPU seconds of the process
with compilation. The last is a search that starts at the truth, to compare with.
"""

import time
from dataclasses import replace

import jax
import numpy as np
from _common import parser, write

from giga.bayes.exchange import exchanges
from giga.bayes.posterior import Posterior
from giga.bayes.prior import values_of
from giga.inference.search.lanes import improver, screener
from giga.inference.search.map import MapConfig, find_map
from giga.jobs.problems import foundry128
from giga.runtime import parallel

WAYS = {"softened": MapConfig(), "plain": MapConfig(softening=())}
FEW = dict(n_screen=16, n_starts=16, n_finalists=16)
SMOKE = dict(n_screen=4, n_starts=4, n_finalists=4, rounds=2)


def main() -> None:
    arguments = parser(__doc__ or "", "search")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = arguments.parse_args()
    problem, over = foundry128(), parallel.mesh()
    posterior = Posterior.of(problem.prior, problem.observations)
    posterior = posterior.replace(orders=exchanges(posterior.prior).unlike)
    truth = np.asarray(posterior.prior.vector(values_of(problem.prior, problem.truth)))
    screen, improve = screener(over), improver(over, MapConfig().steps)
    rows: list[dict] = []

    def search(way: str, seed: int, config: MapConfig, start: np.ndarray | None = None) -> None:
        trail, begun = [], time.process_time()
        key = jax.random.split(jax.random.key(seed), 5)[0]  # that of a fit
        config = replace(config, **(SMOKE if options.smoke else {}))
        _, info = find_map(key, posterior, config, screen, improve, start, trail.append)
        rows.append(dict(way=way, seed=seed, log_prob=round(info["log_prob"], 2), chi2=round(trail[-1]["chi2"], 1),
                         rounds=info["rounds"], hops=info["hops"], evaluations=info["evaluations"],
                         agreeing_finalists=info["agreeing_finalists"],
                         log_prob_of_finalists=[round(v, 1) for v in info["finalist_log_probs"]],
                         cpu_s=round(time.process_time() - begun, 1)))
        print(rows[-1], flush=True)
        write(options.out, dict(problem="foundry128", rows=rows), show=False)

    for seed in options.seeds[:1] if options.smoke else options.seeds:
        for way, config in WAYS.items():
            search(way, seed, config)
    search("from the truth", 0, replace(WAYS["plain"], **FEW), truth[None])


if __name__ == "__main__":
    main()
