"""Fit lenses that an independent code simulated, with the prior that they were drawn from.

The folder is that of `gigalens_sims.py`. One compiled program serves every system: the first row pays for it.
With --together they are fitted as a fleet; the times of a row are then its shares of the calls that it took part in.
With --add the rows that the JSON file holds of other systems are kept. Each row holds the git hash of the code, times
with compile apart, convergence, reduced chi2, and how far the truth lies from the posterior mean in its standard
deviations. Needs pyyaml.
"""

import json
import time
from pathlib import Path

from _common import GIT, parser, write
from gigalens_sims import lenses

from giga import fit
from giga.inference.fleet import Lens, fit_many
from giga.inference.result import Result
from giga.jobs.calibrate import RANKED, row_of
from giga.runtime import parallel


def ranked(truth: dict[str, float], result: Result, system: int) -> dict:
    """Share of the draws below the truth ("ranks"), their number, and the truth's rank among thinned ones."""
    row = row_of(truth, result.samples, {}, RANKED, system)
    return dict(ranks={name: round(share, 5) for name, share in row["below"].items()}, draws=row["draws"],
                thinned_ranks=row["ranks"], thinned_draws=RANKED)


def row(system: int, result: Result, wall_s: float) -> dict:
    """What is kept of a fit."""
    truth = result.truth or {}
    pulls = {name: float((truth[name] - values.mean()) / values.std()) for name, values in result.samples.items()}
    return dict(
        system=system, git=GIT, wall_s=round(wall_s, 2),
        timings_s={key: round(value, 2) for key, value in result.timings_s.items()},
        evaluations=dict(result.evaluations), reduced_chi2=round(result.reduced_chi2, 4),
        worst_rhat=round(max(row["rhat"] for row in result.diagnostics.values()), 4),
        smallest_ess_bulk=round(min(row["ess_bulk"] for row in result.diagnostics.values())),
        smallest_ess_tail=round(min(row["ess_tail"] for row in result.diagnostics.values())),
        divergences=result.info["hmc"]["divergences"], converged=result.info["hmc"]["converged"],
        agreeing_finalists=result.info["map"]["agreeing_finalists"],
        **ranked(dict(truth), result, system), worst_pull=round(max(map(abs, pulls.values())), 2),
        pulls={name: round(value, 2) for name, value in pulls.items()})


def held(path: Path) -> dict[int, dict]:
    """The rows of a file by system."""
    found = json.loads(path.read_text())
    return {row["system"]: {"git": found["environment"]["git"], **row} for row in found["results"]}


def main() -> None:
    arguments = parser(__doc__, "fits")
    arguments.add_argument("folder", type=Path, help="folder with standard80.npz, standard80.yaml and psf.npy")
    arguments.add_argument("--systems", type=int, nargs="+", default=[0, 1, 2])
    arguments.add_argument("--together", type=int, help="fit so many at a time as a fleet; one after the other without")
    arguments.add_argument("--add", action="store_true", help="keep the rows that the file holds of other systems")
    options = arguments.parse_args()
    parallel.start()
    systems = options.systems[:1] if options.smoke else options.systems
    rows = held(options.out) if options.add else {}
    begun = [time.perf_counter()]

    def done(lens: Lens, outcome: Result | Exception) -> None:
        """Keep a row; the wall clock of a fleet runs from one end to the next."""
        now, system = time.perf_counter(), int(lens.name)
        wall_s, begun[0] = now - begun[0], now
        rows[system] = dict(system=system, git=GIT, wall_s=round(wall_s, 2), failed=str(outcome)) \
            if isinstance(outcome, Exception) else row(system, outcome, wall_s)
        print({key: value for key, value in rows[system].items()
               if key not in ("pulls", "ranks", "thinned_ranks")}, flush=True)
        write(options.out, [rows[k] for k in sorted(rows)], show=False)  # a long run leaves what it has

    if options.together is None:
        for one in lenses(options.folder, systems):
            done(one, fit(one.prior, one.observations, seed=one.seed, truth=one.truth))
    else:
        fit_many(lenses(options.folder, systems), together=options.together, done=done)


if __name__ == "__main__":
    main()
