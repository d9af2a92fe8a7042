"""What a fit of a cluster took and how well its images are met: of the folder that `giga fit` leaves.

RUN is `giga fit examples/cluster/lenstool.toml --data DIR --out RUN`, DIR a folder with LensTool's files. The distance
of images is the root mean square of the best fit, and the median over the draws of the posterior.
"""

import json
from pathlib import Path

from _common import parser, write


def main() -> None:
    """Read, write."""
    arguments = parser(__doc__ or "", "cluster_fit")
    arguments.add_argument("run", type=Path, help="folder of the fit")
    given = arguments.parse_args()
    found = json.loads((given.run / "summary.json").read_text(encoding="utf-8"))
    parameters, hmc, spent = found["parameters"], found["stages"]["hmc"], found["timings_s"]
    write(given.out, {
        "images": found["images"]["all"], "systems": len(found["images"]["systems"]),
        "posterior": {name: found["derived"][name]["q50"] for name in ("rms_image_plane", "rms_source_plane")},
        "chi2": found["chi2"], "parameters": len(parameters), "devices": found["devices"],
        "resets": hmc["resets"],
        "worst_rhat": max(row["rhat"] for row in parameters.values()),
        "smallest_ess_bulk": min(row["ess_bulk"] for row in parameters.values()),
        "smallest_ess_tail": min(row["ess_tail"] for row in parameters.values()),
        "divergences": hmc["divergences"], "trajectories": hmc["iterations"] * hmc["chains"],
        "gradients": sum(value for name, value in found["evaluations"].items() if name != "evidence"),
        "seconds": {name: round(value, 1) for name, value in spent.items()},
        "seconds_without_compile": round(sum(value for name, value in spent.items() if name != "compile"), 1)})


if __name__ == "__main__":
    main()
