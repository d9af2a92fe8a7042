"""Draw docs/images/clusters.png: the picture of a fit of examples/cluster, in the source plane to be quick."""

import runpy
import shutil
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUICK = {"cluster.ladder": "source", "cluster.pixel_scale": 0.5, "inference.n_screen": 128, "inference.n_starts": 8,
         "inference.n_finalists": 4, "inference.vi_axis": "none", "inference.n_bridge": 64, "inference.derived": False}


def main() -> None:
    example = runpy.run_path(str(ROOT / "examples" / "cluster" / "run.py"))
    with tempfile.TemporaryDirectory() as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "run"
        example["simulate"](data)
        example["show"](example["fit"](data, out, QUICK, True))
        shutil.copy(out / "fit.png", ROOT / "docs" / "images" / "clusters.png")


if __name__ == "__main__":
    main()
