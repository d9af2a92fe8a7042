"""One value and gradient of the benchmark problems by this giga and by another checkout of it, in turns.

TREE is a folder with another version, as `git worktree add --detach TREE COMMIT` leaves it, with this one's
environment. Each round starts a process of each, in which a program is compiled and called many times; a ratio is that
of the fastest calls of two processes of one round, one after the other. Below one, this giga is the faster. "lanes" is
a batch of 16, as searches and chains evaluate, on one device.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from _common import HERE, parser, write

WHAT = ("one_ms", "lanes_ms", "compile_s")
MEASURED = """
import json, sys
import jax, jax.numpy as jnp
from giga.bayes.posterior import Posterior
from giga.bayes.prior import values_of
from giga.jobs.bench.measure import compile_apart, run_times
from giga.jobs.bench.stages import FUNCTIONS
from giga.jobs.problems import demo60, foundry128, gigalens80
out = {}
for problem in (demo60(), gigalens80(1).systems()[0], foundry128()):
    posterior = Posterior.of(problem.prior, problem.observations)
    z = posterior.prior.vector(values_of(problem.prior, problem.truth))
    program, seconds = compile_apart(jax.jit(FUNCTIONS["value_and_gradient"]), posterior, z)
    batch, lanes = jnp.tile(z, (16, 1)), jax.jit(jax.vmap(FUNCTIONS["value_and_gradient"], (None, 0)))
    out[problem.name.removesuffix("_0")] = {
        "one_ms": run_times(program, posterior, z, repeats=400, budget=float(sys.argv[1]))["min_ms"],
        "lanes_ms": run_times(lanes, posterior, batch, repeats=100, budget=float(sys.argv[1]))["min_ms"],
        "compile_s": seconds}
print(json.dumps(out))
"""


def measured(tree: Path, budget: float) -> dict:
    """What one version takes, in a process of its own."""
    found = subprocess.run([sys.executable, "-c", MEASURED, str(budget)], cwd=tree, check=True, capture_output=True,
                           text=True, env=os.environ | {"PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu"})
    return json.loads(found.stdout.splitlines()[-1])


def main() -> None:
    """Measure both in turns, write."""
    arguments = parser(__doc__ or "", "earlier")
    arguments.add_argument("tree", type=Path, help="folder of the other checkout")
    arguments.add_argument("--rounds", type=int, default=5)
    given = arguments.parse_args()
    trees = {"this": HERE.parent, "earlier": given.tree.resolve()}
    budget, rounds = (0.2, 1) if given.smoke else (3.0, given.rounds)
    found: dict[str, list[dict]] = {name: [] for name in trees}
    for k in range(rounds):
        for name in sorted(trees, reverse=k % 2 == 1):
            found[name].append(measured(trees[name], budget))
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=trees["earlier"], check=True,
                         capture_output=True, text=True)
    out: dict = {"earlier": git.stdout.strip(), "rounds": rounds}
    for problem in found["earlier"][0]:
        each = {f"{name}_{what}": [row[problem][what] for row in rows] for name, rows in found.items()
                for what in WHAT}
        out[problem] = {key: round(float(np.median(values)), 4) for key, values in each.items()} | {
            f"ratio_of_{what}": [round(a / b, 3) for a, b in zip(each[f"this_{what}"], each[f"earlier_{what}"],
                                                                strict=True)] for what in WHAT}
    write(given.out, out)


if __name__ == "__main__":
    main()
