"""The journal: calls are answered as they were made, whatever became of the files meanwhile."""

import json

import jax
import numpy as np
import pytest

from giga.runtime.checkpoint import Store
from giga.runtime.journal import Journal, direct

pytestmark = pytest.mark.quick


class Walk:
    """A run of calls, each of which needs what the one before returned; dies at a call of choice."""

    def __init__(self):
        self.made = 0

    def step(self, key, x):
        self.made += 1
        if self.made > self.most:
            raise KeyboardInterrupt
        return {"x": x + np.asarray(jax.random.normal(key, x.shape)), "k": np.int32(self.made)}

    def run(self, store, most=99, told=None, steps=6):
        self.made, self.most = 0, most
        x = np.zeros(3, np.float32)
        with Journal(store, (told if told is not None else []).append) as journal:
            for key in jax.random.split(jax.random.key(1), steps):
                x = journal.call("step", lambda key=key, x=x: self.step(key, x), {"x": 0, "k": 0}, key, x)["x"]
            self.journal = journal
        return x


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "checkpoint", "abc", interval_s=0.0)


WHOLE = Walk().run(None)


def test_without_a_store_calls_are_just_made():
    assert direct("x", lambda: 3, 0) == 3
    walk = Walk()
    walk.run(None)
    assert walk.made == walk.journal.made == 6 and walk.journal.replayed == 0


@pytest.mark.parametrize("most", range(6))
def test_an_interrupted_run_goes_on_bit_for_bit(store, most):
    walk = Walk()
    with pytest.raises(KeyboardInterrupt):
        walk.run(store, most)
    assert walk.run(store).tobytes() == WHOLE.tobytes()
    assert (walk.journal.replayed, walk.made) == (most, 6 - most)
    assert walk.run(store).tobytes() == WHOLE.tobytes()
    assert (walk.journal.replayed, walk.made) == (6, 0)


@pytest.mark.parametrize("damage", ["truncated", "missing", "note", "foreign", "half"])
@pytest.mark.parametrize("part", [0, 3, 5])
def test_a_damaged_part_is_told_and_computed_again(store, damage, part):
    walk, told = Walk(), []
    walk.run(store)
    folder, note = store.folder / f"part-{part:04d}", store.folder / f"part-{part:04d}.json"
    if damage == "truncated":
        path = max(folder.rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
        path.write_bytes(path.read_bytes()[:20])
    elif damage == "missing":
        folder.rename(store.folder / "elsewhere")
    elif damage == "note":
        note.write_text(note.read_text()[:30])
    elif damage == "foreign":
        note.write_text(json.dumps(json.loads(note.read_text()) | {"identity": "xyz"}))
    else:  # killed between the arrays and the note
        note.unlink()
    assert walk.run(store, told=told).tobytes() == WHOLE.tobytes()
    assert (walk.journal.replayed, walk.made) == (5, 1)
    if damage == "half":
        assert not told
    else:
        (text,) = told
        assert f"part-{part:04d}" in text and "computed again" in text
    assert walk.run(store).tobytes() == WHOLE.tobytes()
    assert walk.made == 0


def test_other_inputs_are_not_answered(store):
    Walk().run(store)
    with Journal(store) as journal:
        assert journal.call("step", lambda: 7, 0, jax.random.key(2), np.zeros(3, np.float32)) == 7
        assert journal.call("other", lambda: 8, 0, jax.random.split(jax.random.key(1), 6)[0], np.zeros(3)) == 8
        assert journal.replayed == 0


@pytest.mark.parametrize(("interval", "call", "parts"),
                         [(30.0, 1.0, 4), (30.0, 40.0, 100), (1e9, 1.0, 1), (0.0, 0.25, 100)])
def test_parts_are_written_at_the_interval(tmp_path, monkeypatch, interval, call, parts):
    """A hundred calls: what is not yet written never took longer than the interval, or than the one call."""
    now = [0.0]
    monkeypatch.setattr("giga.runtime.journal.time.perf_counter", lambda: now[0])
    store = Store(tmp_path, "abc", interval)
    written = []
    monkeypatch.setattr(store, "save", lambda *_: written.append(now[0]))

    def work():
        now[0] += call
        return np.zeros(1)

    with Journal(store) as journal:
        for k in range(100):
            journal.call("work", work, 0, np.int32(k))
    assert len(written) == parts
    assert np.max(np.diff([0.0, *written])) <= max(interval, call)


def test_seconds_of_answered_calls_are_counted(store, monkeypatch):
    now, compiled = [0.0], [0.0]
    monkeypatch.setattr("giga.runtime.journal.time.perf_counter", lambda: now[0])

    def work():
        now[0], compiled[0] = now[0] + 5.0, compiled[0] + 2.0
        return np.zeros(1)

    for k in range(2):
        with Journal(store, compiled=lambda: compiled[0]) as journal:
            journal.call("work", work, 0)
        assert (journal.seconds, journal.compile_s) == ((3.0, 2.0) if k else (0.0, 0.0))
