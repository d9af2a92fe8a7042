"""Fit the Foundry problem (41 parameters, 33 amplitudes, 128 x 128 pixels), and keep how the chains come on.

Times are CPU seconds of the process beside those of the clock, for a machine that others use too. With --from-truth
the search starts at the truth and is short: a measurement of the sampling alone. A GPU has work for many chains:
--chains 64.
"""

import time
from dataclasses import replace

from _common import parser, write

from giga import FitConfig, fit
from giga.bayes.prior import values_of
from giga.jobs.bench.stages import SMOKE, of_result
from giga.jobs.problems import foundry128
from giga.runtime import parallel

WHOLE = FitConfig(n_chains=8)  # what the numbers in examples/foundry/README.md were measured with
SHORT_SEARCH = replace(WHOLE, n_screen=16, n_starts=16, n_finalists=16, map_rounds=1)


def main() -> None:
    arguments = parser(__doc__, "foundry")
    arguments.add_argument("--devices", type=int, help="CPU devices; one a core by default")
    arguments.add_argument("--from-truth", action="store_true", help="leave the search out")
    arguments.add_argument("--guide", action="store_true", help="steps may follow the coarse posterior")
    arguments.add_argument("--chains", type=int, default=WHOLE.n_chains)
    arguments.add_argument("--ess", type=float, default=WHOLE.target_ess, help="bulk ESS wanted of every parameter")
    arguments.add_argument("--seed", type=int, default=0)
    options = arguments.parse_args()
    parallel.start("auto", options.devices)
    problem = foundry128()
    truth = values_of(problem.prior, problem.truth)
    sizes = dict(n_chains=options.chains, target_ess=options.ess)
    config = replace(SMOKE if options.smoke else SHORT_SEARCH if options.from_truth else WHOLE,
                     guide=options.guide, **({} if options.smoke else sizes))
    begun, trail = time.perf_counter(), []

    def seconds() -> dict[str, float]:
        return dict(wall_s=round(time.perf_counter() - begun, 1), cpu_s=round(time.process_time(), 1))

    held = dict(devices=options.devices, guide=options.guide, from_truth=options.from_truth, seed=options.seed,
                **sizes, trail=trail)

    def report(stage: str, numbers: dict) -> None:
        trail.append(dict(stage=stage, **seconds(), **numbers))
        print(trail[-1], flush=True)
        write(options.out, held, show=False)  # a long run leaves what it has

    result = fit(problem.prior, problem.observations, config=config, seed=options.seed, truth=truth,
                 start=truth if options.from_truth else None, report=report)
    held["fit"] = of_result(result) | seconds() | dict(
        chi2=round(result.chi2, 1), n_pixels=result.n_pixels, modes=result.info["map"]["modes_sentence"],
        guide_error=result.info["hmc"].get("guide_error"), acceptance=result.info["hmc"]["acceptance"],
        step_size=result.info["hmc"]["step_size"], iterations=result.info["hmc"]["iterations"],
        ess_of_each={name: round(row["ess_bulk"]) for name, row in result.diagnostics.items()})
    write(options.out, held)


if __name__ == "__main__":
    main()
