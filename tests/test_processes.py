"""How tests wait for processes: as long as these get on, and no longer."""

import os
import sys
from itertools import count

import _processes
import pytest
from _processes import cpu_seconds, ended, run, started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processor time of others is told by Linux alone")

SLEEPS = "import time; print('here', flush=True); time.sleep(3600)"
BUSY = "import time\nwhile time.process_time() < 1.5: pass"


def test_who_gets_nothing_done_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(_processes, "IDLE_S", 0.5)
    with started(sys.executable, "-c", SLEEPS) as running, pytest.raises(AssertionError, match="without work"):
        ended(running)
    assert running.process.returncode == -9 and running.out.closed


def test_who_works_is_waited_for(monkeypatch):
    """The time of what it started counts as its own."""
    monkeypatch.setattr(_processes, "IDLE_S", 1.0 + 20.0 * os.getloadavg()[0])
    monkeypatch.setattr(_processes, "LEAST_S", 0.05)
    assert run("sh", "-c", f"{sys.executable} -c '{BUSY}'; exit 3").returncode == 3


def test_one_that_failed_is_not_waited_for_in_vain(monkeypatch):
    monkeypatch.setattr(_processes, "BEREFT_S", 0.5)
    with started(sys.executable, "-c", "1 / 0") as one, started(sys.executable, "-c", SLEEPS) as two:
        with pytest.raises(AssertionError, match=r"exit codes \[1, None\](.|\n)*ZeroDivisionError"):
            ended(one, two)
    assert two.process.returncode == -9


def test_processor_time_goes_on_with_work_alone():
    before = cpu_seconds(os.getpid())
    next(k for k in count() if cpu_seconds(os.getpid()) > before)
    with started(sys.executable, "-c", SLEEPS) as running:
        assert cpu_seconds(running.process.pid, True) < 60.0
    assert cpu_seconds(running.process.pid) == cpu_seconds(running.process.pid, True) == 0.0
