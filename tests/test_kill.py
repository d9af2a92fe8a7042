"""A fit that is killed with SIGKILL and goes on ends with the samples of the unbroken run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_killed_fits_end_with_the_samples_of_the_unbroken_run(tmp_path):
    """Three moments, one in each third of a run; `benchmarks/kill.py` takes twenty."""
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks" / "kill.py"), "--smoke", "--out",
                           str(tmp_path / "kill.json")], capture_output=True, text=True, timeout=1800,
                          env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu",
                                            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "kill.json").read_text())["results"]
    assert results["repeatable"] and results["kills"] == results["equal"] == 3
    assert all(row["killed"] for row in results["rows"]) and any(row["parts"] > 0 for row in results["rows"])
