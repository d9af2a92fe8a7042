"""One setting of a fit at a time varied about its default: gradients to R-hat < 1.01 and bulk ESS > 1000.

The systems are those of `gigalens_sims.py`, with the prior that they were drawn from. Each is fitted with the defaults
and with each variation. What is counted is gradients of all stages, since they do not depend on what else the machine
does; seconds are noted beside them. A fit that has not reached its target after --draws draws of all its chains
together ends there; its gradients are a lower limit. Rows that the JSON file holds already are kept and not made again,
so that a long study can be made in parts; a file about other defaults is refused. At the end the table of
`docs/inference.md` is printed. Needs pyyaml.
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _common import parser, write
from gigalens_sims import lenses

from giga import fit
from giga.inference.fleet import Lens
from giga.inference.settings import FitConfig
from giga.jobs.bench.measure import significant
from giga.jobs.bench.stages import of_result
from giga.runtime import parallel

SYSTEMS = (1, 2, 7, 12)
DEFAULT = "default"
VARIATIONS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    **{f"{name} = {value}": {name: value} for name, values in (
        ("n_chains", (8, 16, 32)), ("target_accept", (0.8, 0.95)), ("n_pilot", (1, 4)), ("vi_axis", ("none",)),
        ("vi_steps", (1, 24)), ("vi_method", ("pathfinder",)), ("map_method", ("adam",)), ("n_starts", (32, 128)),
    ) for value in values},
}


def settings(changes: dict[str, Any], draws: int) -> FitConfig:
    """The defaults with some changed, and as many draws at the most whatever the number of chains."""
    chains = changes.get("n_chains", FitConfig.n_chains)
    return FitConfig(**changes, max_iterations=draws // chains)


def row(name: str, lens: Lens, config: FitConfig) -> dict[str, Any]:
    """Fit a lens; what is kept of it."""
    begun, found = time.perf_counter(), dict(variation=name, system=int(lens.name))
    try:
        made = of_result(fit(lens.prior, lens.observations, config=config, seed=lens.seed, truth=lens.truth))
    except FloatingPointError as error:
        return found | dict(failed=str(error), converged=False)
    total = sum(made["evaluations"].values())
    kept = ("converged", "worst_rhat", "smallest_ess_bulk", "divergences", "ess_per_gradient", "evaluations")
    return found | {key: made[key] for key in kept} | dict(
        gradients=total, ess_per_gradient_of_all=significant((made["smallest_ess_bulk"] or 0.0) / total),
        wall_s=significant(time.perf_counter() - begun, 3))


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each variation costs beside the default, over the systems that both have."""
    def of(name: str) -> dict[int, dict[str, Any]]:
        return {row["system"]: row for row in rows if row["variation"] == name and "failed" not in row}

    default, out = of(DEFAULT), []
    for name in dict.fromkeys(row["variation"] for row in rows):
        found, tried = of(name), [row["system"] for row in rows if row["variation"] == name]
        shared = sorted(set(found) & set(default))

        def ratio(key: str, found: dict = found, shared: Sequence[int] = shared) -> float | None:
            """Geometric mean over systems."""
            logs = [np.log(found[k][key] / default[k][key]) for k in shared]
            return significant(float(np.exp(np.mean(logs))), 3) if logs else None

        out.append(dict(
            variation=name, systems=len(tried), converged=sum(row["converged"] for row in found.values()),
            limit=any(not row["converged"] for row in found.values()),
            gradients={str(k): found[k]["gradients"] for k in sorted(found)},
            gradients_over_default=ratio("gradients"), ess_per_gradient_over_default=ratio("ess_per_gradient_of_all")))
    return out


def table(found: Sequence[dict[str, Any]]) -> str:
    """The summary in Markdown."""
    lines = ["| setting | reached the target | gradients, default = 1 | ESS per gradient, default = 1 |",
             "|---|---|---|---|"]
    for row in found:
        name = row["variation"] if row["variation"] == DEFAULT else f"`{row['variation']}`"
        gradients = "-" if row["gradients_over_default"] is None else (
            f"{'> ' if row['limit'] else ''}{row['gradients_over_default']:.2f}")
        worth = "-" if row["ess_per_gradient_over_default"] is None else f"{row['ess_per_gradient_over_default']:.2f}"
        lines.append(f"| {name} | {row['converged']} of {row['systems']} | {gradients} | {worth} |")
    return "\n".join(lines)


def main() -> None:
    arguments = parser(__doc__, "defaults")
    arguments.add_argument("folder", type=Path, help="folder with standard80.npz, standard80.yaml and psf.npy")
    arguments.add_argument("--systems", type=int, nargs="+", default=list(SYSTEMS))
    arguments.add_argument("--settings", nargs="+", choices=list(VARIATIONS), default=list(VARIATIONS))
    arguments.add_argument("--draws", type=int, default=16000, help="most draws of all chains of a fit")
    arguments.add_argument("--devices", type=int, help="CPU devices; one a core without")
    options = arguments.parse_args()
    parallel.start(cpu_devices=options.devices)
    systems, names = (options.systems[:1], [DEFAULT, "n_chains = 8"]) if options.smoke else (
        options.systems, list(dict.fromkeys([DEFAULT, *options.settings])))
    draws = 400 if options.smoke else options.draws
    chosen = lenses(options.folder, systems)
    held = json.loads(options.out.read_text())["results"] if options.out.exists() and not options.smoke else {}
    about = dataclasses.asdict(FitConfig())
    if held and (held["draws"], held.get("about")) != (draws, about):
        raise SystemExit(f"{options.out}: holds rows about other defaults or of other --draws; give another --out")
    rows = held["rows"] if held else []
    for lens in chosen:  # all of one system first, so that a study that is stopped compares what it has
        for name in names:
            if any((row["variation"], row["system"]) == (name, int(lens.name)) for row in rows):
                continue
            rows.append(row(name, lens, settings(VARIATIONS[name], draws)))
            print(rows[-1], flush=True)
            write(options.out, dict(draws=draws, about=about, summary=summary(rows), rows=rows), show=False)
    print(table(summary(rows)))


if __name__ == "__main__":
    main()
