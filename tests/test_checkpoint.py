"""Checkpoints: whole or not at all, bit for bit, and never those of another fit."""

import json
import os
import signal
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import StandardCheckpointer

from giga.light import Sersic
from giga.runtime.checkpoint import CheckpointError, Store, identity_of
from giga.runtime.interrupt import held


class State(NamedTuple):
    """A state with a component, precisions, an integer, flags, NaN and infinities in it."""

    light: Sersic
    x: np.ndarray
    y: np.ndarray
    count: np.ndarray
    flags: np.ndarray


def make(seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(3, 5))
    x[0, :3] = np.nan, np.inf, -0.0
    return State(Sersic(amp=np.float32(1.1), R_sersic=np.float32(0.3), n_sersic=np.float64(4.0)), x,
                 rng.normal(size=7).astype(np.float32), np.int32(41), rng.uniform(size=4) > 0.5)


LIKE = State(Sersic(amp=0, R_sersic=0, n_sersic=0), *(0,) * 4)


def leaves(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "checkpoint", "abc")


def test_round_trip_is_bit_for_bit(store):
    store.save("map", make(), {"seconds": 1.5, "info": {"names": ["a", "b"]}})
    state, meta = store.load("map", LIKE)
    assert meta == store.meta("map") == {"seconds": 1.5, "info": {"names": ["a", "b"]}}
    assert isinstance(state, State) and isinstance(state.light, Sersic)
    for found, expected in zip(leaves(state), leaves(make()), strict=True):
        assert found.dtype == expected.dtype and found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()


def test_arrays_of_the_device_are_saved(store):
    store.save("x", {"a": jnp.arange(3.0)}, {})
    np.testing.assert_array_equal(store.load("x", {"a": 0})[0]["a"], [0.0, 1.0, 2.0])


def test_a_new_store_finds_what_another_left(store):
    store.save("map", make(), {})
    again = Store(store.folder, "abc")
    assert again.has("map") and not again.has("svi")


def test_whole_states_are_named(store):
    for k in (3, 0, 1):
        store.save(f"part-{k:04d}", {"x": np.ones(k + 1)}, {})
    (store.folder / "part-0001.json").unlink()
    assert store.names("part-") == ["part-0000", "part-0003"]
    assert store.names("other-") == []


def test_a_half_written_state_is_not_there(store):
    """Killed after the arrays, before the note."""
    store.save("map", make(), {})
    (store.folder / "map.json").unlink()
    assert not store.has("map")
    store.save("map", make(1), {})
    np.testing.assert_array_equal(store.load("map", LIKE)[0].x, make(1).x)


def test_overwriting_is_not_half_done(store, monkeypatch):
    """Killed while the new arrays are written: the old note no longer vouches for them."""
    store.save("map", make(), {})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("giga.runtime.checkpoint.shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        store.save("map", make(1), {})
    assert not store.has("map")


def test_killed_while_writing_arrays(store, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.StandardCheckpointer.save", killed)
        with pytest.raises(KeyboardInterrupt):
            store.save("map", make(), {})
    assert not store.has("map")
    store.save("map", make(), {})
    assert store.has("map")


def test_ctrl_c_waits_until_a_state_is_saved(store, monkeypatch):
    save = StandardCheckpointer.save

    def interrupted(*arguments, **options):
        signal.raise_signal(signal.SIGINT)
        return save(*arguments, **options)

    monkeypatch.setattr(StandardCheckpointer, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save("map", make(), {"step": 3})
    assert store.has("map") and store.meta("map") == {"step": 3}
    store.load("map", make())


def test_ctrl_c_is_held_back():
    """Until the end of the block, by the outermost of several; a second one is not where one is enough."""
    reached = []
    with pytest.raises(KeyboardInterrupt), held(1) as came:
        with held() as inner:
            signal.raise_signal(signal.SIGINT)
            assert inner() and not came()
            signal.raise_signal(signal.SIGINT)
        assert came()
        reached.append(1)
        signal.raise_signal(signal.SIGINT)
        reached.append(2)
    assert reached == [1] and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyError), held():
        signal.raise_signal(signal.SIGINT)
        raise KeyError  # an error of its own goes before
    with held() as came:
        assert not came()


def test_another_identity_is_refused(store):
    with pytest.raises(CheckpointError, match=r"identity\.json: belongs to other data .*hash abc, this run has xyz"):
        Store(store.folder, "xyz")


def test_a_damaged_identity_is_refused(store):
    (store.folder / "identity.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON"):
        Store(store.folder, "abc")


def test_another_structure_is_refused(store):
    store.save("map", make(), {})
    with pytest.raises(CheckpointError, match="holds 11 arrays, expected 2"):
        store.load("map", {"a": 0, "b": 0})


def files_of(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


# Reads that were cut off answer when their event loop is gone.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", ["truncated", "missing", "garbled"])
def test_damaged_arrays_are_refused(tmp_path, damage):
    """Each file in turn: the state comes back bit for bit, or CheckpointError names its folder."""
    store = Store(tmp_path, "abc")
    store.save("map", make(), {})
    refused = 0
    for path in files_of(tmp_path / "map"):
        whole = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(whole[:len(whole) // 2] if damage == "truncated" else bytes(255 - b for b in whole))
        try:
            found = leaves(store.load("map", LIKE)[0])
        except CheckpointError as error:
            assert str(tmp_path / "map") in str(error)
            refused += 1
        else:
            assert [f.tobytes() for f in found] == [e.tobytes() for e in leaves(make())], path
        path.write_bytes(whole)
    assert refused > 0
    store.load("map", LIKE)


def test_a_missing_folder_is_refused(store):
    store.save("map", make(), {})
    os.rename(store.folder / "map", store.folder / "moved")
    with pytest.raises(CheckpointError, match="map"):
        store.load("map", LIKE)


def test_a_damaged_note_is_refused(store):
    store.save("map", make(), {})
    (store.folder / "map.json").write_text('{"meta": {}')
    with pytest.raises(CheckpointError, match=r"map\.json: cannot be read as JSON"):
        store.load("map", LIKE)
    with pytest.raises(CheckpointError, match=r"map\.json: cannot be read as JSON"):
        store.meta("map")


def test_nothing_is_pickled(store):
    store.save("map", make(), {})
    assert not [p for p in files_of(store.folder) if b"\x80\x04\x95" in p.read_bytes()[:16]]
    assert len(json.loads((store.folder / "map.json").read_text())["leaves"]) == 11
    assert not list(store.folder.rglob("*.tmp"))


def test_every_flipped_bit_is_noticed(store):
    """In the arrays, in their shapes and in the note: refused, naming the state, or without any effect."""
    store.save("map", make(), {"seconds": 1.5})
    rng, refused = np.random.default_rng(5), 0
    for path in [store.folder / "map.json", *files_of(store.folder / "map")]:
        whole = path.read_bytes()
        for place in rng.choice(len(whole), min(len(whole), 12), replace=False):
            bad = bytearray(whole)
            bad[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(bytes(bad))
            try:
                state, meta = store.load("map", LIKE)
            except CheckpointError as error:
                assert str(store.folder / "map") in str(error) and "\n" not in str(error)
                refused += 1
            else:
                assert meta == {"seconds": 1.5}
                assert [f.tobytes() for f in leaves(state)] == [e.tobytes() for e in leaves(make())], path
        path.write_bytes(whole)
    assert refused >= 20
    store.load("map", LIKE)


def test_a_state_of_another_run_in_the_folder_is_refused(store, tmp_path):
    other = Store(tmp_path / "other", "xyz")
    other.save("map", make(), {})
    for path in other.folder.glob("map*"):
        os.rename(path, store.folder / path.name)
    with pytest.raises(CheckpointError, match=r"map\.json: belongs to other data .*hash xyz, this run has abc"):
        store.load("map", LIKE)


def test_what_a_killed_run_left_is_cleared(store):
    left = store.folder / "map.orbax-checkpoint-tmp-7"
    left.mkdir()
    (left / "half").write_text("x")
    store.save("map", make(), {})
    assert not left.exists()
    store.load("map", LIKE)


def test_identity():
    parts = ("config", make())
    assert identity_of(*parts) == identity_of("config", make())
    changed = make()._replace(count=np.int32(42))
    assert len({identity_of(*p) for p in (parts, ("confiG", make()), ("config", changed), ("config",),
                                          ("con", "fig", make()))}) == 5
