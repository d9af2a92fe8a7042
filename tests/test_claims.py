"""Claims: each name is worked on once, whoever comes, and nobody's death leaves one behind."""

import json
import os
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from _processes import Running, ended, started

from giga.runtime import claims as module
from giga.runtime.claims import GIVEN_BACK, Claims, turns

pytestmark = pytest.mark.quick

# A worker in a process of its own, without the rest of giga: it appends each name to a common file.
WORKER = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from claims import Claims, turns

folder, log, expiry, hold = Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), sys.argv[5]
names = [f"L{k:02d}" for k in range(20)]

def note(text):
    handle = os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.write(handle, (text + chr(10)).encode())
    os.close(handle)

with Claims(folder / "claims", expiry) as claims:
    for turn in turns(names, claims, lambda name: (folder / name).exists()):
        for claim in turn:
            if claim.name == hold:
                note("holds")
                time.sleep(3600.0)
            time.sleep(0.01)
            note(f"{claim.name} {os.getpid()} {claim.deaths}")
            (folder / claim.name).touch()
            claims.give_back(claim.name)
"""


def worker(folder: Path, expiry: float = 120.0, hold: str = "") -> AbstractContextManager[Running]:
    path = str(Path(module.__file__).parent)
    return started(sys.executable, "-c", WORKER, path, folder, folder / "log", expiry, hold)


def lines(folder: Path) -> list[list[str]]:
    return [line.split() for line in (folder / "log").read_text().splitlines()]


def test_two_workers_do_each_name_once(tmp_path):
    with worker(tmp_path) as one, worker(tmp_path) as two:
        assert [each.returncode for each in ended(one, two)] == [0, 0]
    done = lines(tmp_path)
    assert sorted(name for name, _, _ in done) == [f"L{k:02d}" for k in range(20)]
    assert {pid for _, pid, _ in done} <= {str(each.process.pid) for each in (one, two)}


def test_a_killed_workers_claim_is_taken_over(tmp_path):
    with worker(tmp_path, hold="L03") as first:
        while not (tmp_path / "log").exists() or ["holds"] not in lines(tmp_path):
            assert first.process.poll() is None
            time.sleep(0.02)
    with worker(tmp_path, expiry=1.0) as second:
        assert ended(second)[0].returncode == 0
    done = {line[0]: line[2] for line in lines(tmp_path) if line != ["holds"]}
    assert len(done) == 20 and done["L03"] == "1" and set(done.values()) == {"0", "1"}
    old, new = sorted((tmp_path / "claims" / "L03").iterdir())
    assert json.loads(new.read_text())["pid"] == second.process.pid
    assert new.stat().st_ctime - old.stat().st_mtime > 1.0  # it waited for the claim to grow old


@pytest.fixture
def pair(tmp_path):
    with Claims(tmp_path, 60.0) as one, Claims(tmp_path, 60.0) as two:
        yield one, two


def grow_old(claim) -> None:
    os.utime(claim.path, (time.time() - 61.0, time.time() - 61.0))


def test_a_held_name_is_refused_until_it_is_given_back(pair):
    one, two = pair
    claim = one.take("a")
    assert claim is not None and one.is_mine("a") and not two.is_free("a")
    assert two.take("a") is None
    note = json.loads(claim.path.read_text())
    assert note["pid"] == os.getpid() and note["host"] and note["time"].endswith("Z") and note["deaths"] == 0
    one.give_back("a")
    assert two.is_free("a") and claim.path.stat().st_mtime == GIVEN_BACK
    taken = two.take("a")
    assert taken is not None and taken.deaths == 0 and one.take("a") is None


def test_an_old_claim_is_taken_over_and_its_owner_knows(pair):
    one, two = pair
    claim = one.take("a")
    grow_old(claim)
    assert two.is_free("a")
    assert two.take("a").deaths == 1
    assert two.is_mine("a") and not one.is_mine("a")
    one.give_back("a")  # of its own claim alone
    assert not one.is_free("a") and two.is_mine("a")


def test_who_looked_too_long_does_not_get_a_claim_that_changed_hands(pair, monkeypatch):
    """Both see the same old claim; the slower one must not take the fresh one that the faster made."""
    one, two = pair
    with Claims(one.folder, 60.0) as dead:
        grow_old(dead.take("a"))
        age = two._age

        def slow(path):
            seen = age(path)
            assert one.take("a") is not None  # between the look and the claim of the other
            return seen

        monkeypatch.setattr(two, "_age", slow)
        assert two.take("a") is None
        assert one.is_mine("a") and not dead.is_mine("a")


def test_deaths_are_counted_until_a_worker_lives(pair):
    one, two = pair
    for k in range(3):
        claim = (one, two)[k % 2].take("a")
        assert claim.deaths == k
        grow_old(claim)
    one.take("a")
    one.give_back("a")
    assert two.take("a").deaths == 0


def test_claims_are_renewed_and_given_back_at_the_end(tmp_path):
    with Claims(tmp_path, 0.4) as claims:
        claim = claims.take("a")
        os.utime(claim.path, (time.time() - 10.0, time.time() - 10.0))
        wait, beats = claims._stop.wait, []
        claims._stop.wait = lambda seconds: beats.append(seconds) or wait(seconds)
        while claims.is_free("a"):
            assert claims._thread.is_alive() and len(beats) < 100
            time.sleep(0.02)
    assert claims.is_free("a") and not claims.held


def test_a_claim_cut_short_counts_like_none_before(pair):
    one, two = pair
    claim = one.take("a")
    claim.path.write_text("")
    grow_old(claim)
    assert two.take("a").deaths == 1


def test_turns_leave_out_what_has_ended_and_end_without_waiting(pair):
    one, two = pair
    ended = {"a"}
    one.take("c")
    rounds = [[claim.name for claim in turn if ended.add(claim.name) is None]
              for turn in turns(["a", "b", "c", "d"], two, ended.__contains__, wait=False)]
    assert rounds == [["b", "d"], []]


def test_what_ended_between_look_and_claim_is_given_back(pair):
    _, two = pair
    answers = iter([False, True, True])
    assert [list(turn) for turn in turns(["a"], two, lambda name: next(answers))] == [[]]
    assert two.is_free("a")
