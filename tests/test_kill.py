"""A fit that is killed with SIGKILL and goes on ends with the samples of the unbroken run."""

import json
import sys

import pytest
from _processes import ROOT, environment, run


@pytest.mark.slow
def test_killed_fits_end_with_the_samples_of_the_unbroken_run(tmp_path):
    """Two moments, one in each half of a run; `benchmarks/kill.py` takes twenty."""
    done = run(sys.executable, ROOT / "benchmarks" / "kill.py", "--smoke", "--out", tmp_path / "kill.json",
               env=environment())
    assert done.returncode == 0, done.out + done.error
    results = json.loads((tmp_path / "kill.json").read_text())["results"]
    assert results["repeatable"] and results["kills"] == results["equal"] == 2
    assert all(row["killed"] for row in results["rows"]) and any(row["parts"] > 0 for row in results["rows"])
