"""Time of a gradient of the log-posterior of real lenses: rows of the SLACS fleet, as its chains take it.

DIR holds catalogue.csv, as `examples/slacs_fleet` takes it; the slope of the mass is fixed as `slacs.py` has it for
"isothermal", and free. Eight vectors about the middle of the prior go through one compiled program, spread over the
devices. With --add the rows that the JSON file holds of other code, by its git hash, are kept: run it in a checkout of
each, one after the other, with one --out.
"""

import json
from pathlib import Path

import jax
from _common import GIT, parser, write
from slacs import CONFIG

from giga.bayes.posterior import Posterior
from giga.jobs.bench.measure import measure
from giga.jobs.fleet import plan_fleet
from giga.jobs.job import prepare
from giga.runtime.parallel import batched, mesh, sharded

LANES, SPREAD = 8, 0.3  # vectors, and their standard deviation in the prior's own coordinates
SLOPES = {"isothermal": {"mass.0.gamma": 2.0}, "free": {}}


def row(catalogue: Path, lens: str, slope: str, repeats: int) -> dict:
    """Milliseconds of one gradient of one lens, all devices at work."""
    fleet = plan_fleet(catalogue, CONFIG, overrides=SLOPES[slope], ignore=["theta_E_published"])
    job, over = prepare(fleet.configs[lens]), mesh()
    posterior = Posterior.of(job.prior, job.observations, job.config.likelihood.amplitudes)
    z = SPREAD * jax.random.normal(jax.random.key(0), (LANES, posterior.prior.size))
    gradients = sharded(batched(jax.value_and_grad(Posterior.log_prob, 1), over), over)
    return {"lens": lens, "slope": slope, "shape": list(posterior.data[0].grid.shape), "devices": over.devices.size,
            "parameters": posterior.prior.size,
            **measure(jax.jit(gradients), posterior, z, repeats=repeats, budget=60.0, per=LANES)}


def main() -> None:
    arguments = parser(__doc__ or "", "slacs_gradient")
    arguments.add_argument("folder", type=Path, help="folder with catalogue.csv")
    arguments.add_argument("--lenses", nargs="+", default=["J1204+0358", "J0037-0942"])
    arguments.add_argument("--add", action="store_true", help="keep the rows of other code")
    given = arguments.parse_args()
    held = json.loads(given.out.read_text(encoding="utf-8"))["results"] if given.add and given.out.exists() else {}
    lenses = given.lenses[:1] if given.smoke else given.lenses
    held[GIT] = [row(given.folder / "catalogue.csv", lens, slope, 3 if given.smoke else 30)
                 for lens in lenses for slope in SLOPES]
    write(given.out, held)


if __name__ == "__main__":
    main()
