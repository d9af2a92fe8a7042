"""Pictures drawn beside the fits; that they are drawn is part of the road of a fleet."""

import sys
from subprocess import Popen

import pytest

from giga.jobs.drawers import Drawers


def test_what_cannot_be_drawn_is_told(tmp_path):
    with Drawers(slots=1) as drawers:
        drawers.add(tmp_path / "none")
        drawers.finish()
    (problem,) = drawers.problems
    assert "no such file" in problem and "Traceback" not in problem


def test_nobody_is_left_behind_when_the_fits_end_early(tmp_path, monkeypatch):
    """Neither a process that draws nor its pipe, and nothing that waits begins."""
    def asleep(command, **options):
        return Popen([sys.executable, "-c", "import time; time.sleep(3600)"], **options)

    monkeypatch.setattr("subprocess.Popen", asleep)
    with pytest.raises(KeyboardInterrupt), Drawers(slots=1) as drawers:
        drawers.add(tmp_path / "one")
        drawers.add(tmp_path / "two")
        (process,) = drawers._running
        raise KeyboardInterrupt
    assert process.returncode is not None and process.stderr.closed and not drawers._running
