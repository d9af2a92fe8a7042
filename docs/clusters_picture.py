"""Draw docs/images/clusters.png: the best fit that the search of examples/cluster finds."""

import runpy
import shutil
import tempfile
from pathlib import Path

from giga import FitConfig
from giga.io.configuration.toml import load_config
from giga.jobs.run import run_search

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "cluster"
QUICK = {"cluster.ladder": "source", "cluster.pixel_scale": 0.5, "inference.n_screen": 32, "inference.n_starts": 4,
         "inference.n_finalists": 2, "inference.map_rounds": 6}


def main() -> None:
    simulate = runpy.run_path(str(EXAMPLE / "run.py"))["simulate"]
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "run"
        simulate(data)
        config = load_config(EXAMPLE / "cluster.toml", fit_config_type=FitConfig, data_dir=data)
        run_search(config.with_overrides(QUICK), out)
        shutil.copy(out / "fit.png", ROOT / "docs" / "images" / "clusters.png")


if __name__ == "__main__":
    main()
