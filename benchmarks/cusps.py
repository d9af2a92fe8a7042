"""What a steep source does to the likelihood of a real lens: a scan through its best fit, source alone moved.

DIR holds catalogue.csv, as `examples/slacs_fleet` takes it; --fits is what `benchmarks/slacs.py` has written, whose
best fits are taken. The log-posterior is computed at 161 places within 0.02 prior widths of the best fit along one
coordinate of the source's centre: as it is, with the softening of the fleet's configuration, and with 4 and 8 samples
a pixel's side, which stand for the truth. `ripple` is what a polynomial of fourth order leaves, `above_fine` how much
higher the log-posterior is than that of 8 samples a side, in the mean over the scan: a fit that is better than the
truth is an artefact. Times are those of one value and gradient, in the median of `REPEATS`.
"""

import csv
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from _common import HERE, parser, write

from giga.bayes.posterior import Posterior
from giga.jobs.fleet import plan_fleet
from giga.jobs.fleet.lenses import prepared

CONFIG = HERE.parent / "examples" / "slacs_fleet" / "fleet.toml"
WAYS = {"as it is": {"softening": 0.0}, "softened": {}, "4 samples a side": {"softening": 0.0, "supersampling": 4},
        "8 samples a side": {"softening": 0.0, "supersampling": 8}}
COORDINATE, REACH, PLACES, REPEATS = "source_light.0.center_x", 0.02, 161, 20


def scan(catalogue: Path, lens: str, best: dict[str, float], changes: dict[str, Any]) -> tuple[np.ndarray, float]:
    """Log-posterior along the coordinate, and milliseconds of a value and gradient."""
    overrides = {"mass.0.gamma": 2.0} | {f"source_light.0.{key}": value for key, value in changes.items()}
    fleet = plan_fleet(catalogue, CONFIG, overrides=overrides, ignore=["theta_E_published"])
    job = prepared(fleet.rows[lens], fleet.configs[lens])
    posterior = Posterior.of(job.prior, job.observations)
    names = posterior.prior.names
    z = np.asarray(posterior.prior.vector({name: best[name] for name in names}), np.float32)
    places = np.repeat(z[None], PLACES, 0)
    places[:, names.index(COORDINATE)] += np.linspace(-REACH, REACH, PLACES, dtype=np.float32)
    values = np.asarray(jax.jit(lambda p, at: jax.lax.map(p.log_prob, at))(posterior, places), float)
    gradient = jax.jit(jax.value_and_grad(lambda at, p: p.log_prob(at)))
    jax.block_until_ready(gradient(z, posterior))
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        jax.block_until_ready(gradient(z, posterior))
        seconds.append(time.perf_counter() - started)
    return values, 1e3 * float(np.median(seconds))


def main() -> None:
    arguments = parser(__doc__ or "", "cusps")
    arguments.add_argument("folder", type=Path, help="folder with catalogue.csv")
    arguments.add_argument("--fits", type=Path, required=True)
    arguments.add_argument("--lenses", nargs="+", default=[], help="all of the fits by default")
    options = arguments.parse_args()
    rows = json.loads(options.fits.read_text(encoding="utf-8"))["results"]["isothermal"]["rows"]
    catalogue = options.folder / "catalogue.csv"
    with catalogue.open(newline="", encoding="utf-8") as file:
        known = [row["name"] for row in csv.DictReader(file)]
    found = {}
    for lens in options.lenses or [name for name in known if rows.get(name, {}).get("status") == "done"]:
        best = rows[lens]["best"]
        scans = {way: scan(catalogue, lens, best, changes) for way, changes in WAYS.items()}
        fine, at = scans["8 samples a side"][0], np.linspace(-1.0, 1.0, PLACES)
        found[lens] = {"n_sersic": best["source_light.0.n_sersic"], "R_sersic": best["source_light.0.R_sersic"]} | {
            way: {"ripple": round(float(np.std(values - np.polyval(np.polyfit(at, values, 4), at))), 2),
                  "above_fine": round(float(np.mean(values - fine)), 1), "ms": round(ms, 2)}
            for way, (values, ms) in scans.items()}
        print(lens, found[lens], flush=True)
    write(options.out, {"lenses": found})


if __name__ == "__main__":
    main()
