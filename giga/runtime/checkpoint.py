"""Save and restore any state, atomically (orbax; arrays and JSON, never pickles)."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from giga.runtime.atomic import write_text
from giga.runtime.identity import changed, told
from giga.runtime.identity import identity_of as identity_of
from giga.runtime.interrupt import held
from giga.runtime.untouched import bare_root

MARK = "identity.json"  # says what the states in a folder belong to


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used: foreign, damaged, or of other data or configuration."""


class ForeignCheckpoint(CheckpointError):
    """A checkpoint of other data or another configuration.

    Attributes:
        changes: What has changed, each as `name: old -> new`, where that was kept.
    """

    def __init__(self, message: str, changes: Sequence[str] = ()):
        super().__init__(message)
        self.changes = tuple(changes)


class Store:
    """A folder of named states. A state is there whole or not at all.

    Args:
        folder: Where to keep them; made when missing.
        identity: What the states belong to (a hash of data and configuration).
        interval_s: Longest that a run should go on without saving [s].
        facts: What the identity is made of, by name, see `giga.runtime.identity`; kept to tell what has changed.
        note: What else is kept with it.

    Raises:
        CheckpointError: The folder holds states of another identity.
    """

    def __init__(self, folder: str | Path, identity: str, interval_s: float = 30.0,
                 facts: Mapping[str, Any] | None = None, note: Mapping[str, Any] | None = None):
        self.folder, self.identity, self.interval_s = Path(folder).absolute(), identity, interval_s
        self.folder.mkdir(parents=True, exist_ok=True)
        self._facts = told(facts or {})
        mark, content = self.folder / MARK, {"identity": identity, "facts": self._facts, **(note or {})}
        if mark.exists():
            self._same(mark, kept := _read_json(mark))
        if not mark.exists() or facts is not None and kept != content:
            write_text(mark, json.dumps(content))  # several workers may look at one folder

    def has(self, name: str) -> bool:
        """Whether a state was saved whole."""
        return (self.folder / f"{name}.json").exists()

    def names(self, prefix: str) -> list[str]:
        """Names of the whole states that start with a prefix, sorted."""
        return sorted(path.stem for path in self.folder.glob(f"{prefix}*.json"))

    def save(self, name: str, state: Any, meta: dict[str, Any]) -> None:
        """Save a pytree of arrays and a JSON note; the note, written last, says that the state is whole.

        Ctrl-C waits until it is.
        """
        with held():
            self._save(name, state, meta)

    def _save(self, name: str, state: Any, meta: dict[str, Any]) -> None:
        path, note = self.folder / name, self.folder / f"{name}.json"
        note.unlink(missing_ok=True)  # first the note, so that no half is taken for a whole
        for left in (path, *self.folder.glob(f"{name}.orbax-checkpoint-tmp*")):  # by a run that was killed
            if left.exists():
                shutil.rmtree(left)
        data, leaves = pack(jax.tree.leaves(state))
        with _checkpointer() as checkpointer:
            checkpointer.save(path, {"data": data})
        _write_json(note, {"identity": self.identity, "leaves": leaves, "sha256": _checksum(data, leaves, meta),
                           "meta": meta})

    def remove(self, name: str) -> None:
        """Remove a state; first its note, so that no half is taken for a whole."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def meta(self, name: str) -> dict[str, Any]:
        """The JSON note of a state."""
        return self._note(name)["meta"]

    def load(self, name: str, like: Any) -> tuple[Any, dict[str, Any]]:
        """Restore a state into the structure of `like`, as NumPy arrays.

        Raises:
            CheckpointError: The state is damaged, of another structure or of another run.
        """
        structure, (arrays, meta) = jax.tree.structure(like), self.load_leaves(name)
        if structure.num_leaves != len(arrays):
            raise CheckpointError(f"{self.folder / name}: holds {len(arrays)} arrays, expected {structure.num_leaves}")
        return jax.tree.unflatten(structure, arrays), meta

    def load_leaves(self, name: str) -> tuple[list[np.ndarray], dict[str, Any]]:
        """Restore the arrays of a state as a list; raises CheckpointError as `load` does."""
        path, note = self.folder / name, self._note(name)
        leaves, meta = note["leaves"], note["meta"]
        try:
            with _checkpointer() as checkpointer:
                stored = checkpointer.metadata(path).item_metadata["data"]
                data = checkpointer.restore(path, {"data": jax.ShapeDtypeStruct(stored.shape, stored.dtype)})["data"]
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise CheckpointError(f"{path}: damaged checkpoint ({_first_line(error)})") from error
        if _checksum(data := np.asarray(data), leaves, meta) != note["sha256"]:
            raise CheckpointError(f"{path}: damaged checkpoint (its checksum is not the one in {name}.json)")
        return unpack(data, leaves), meta

    def _note(self, name: str) -> dict[str, Any]:
        path = self.folder / f"{name}.json"
        note = _read_json(path)
        self._same(path, note)
        if missing := {"leaves", "sha256", "meta"} - set(note):
            raise CheckpointError(f"{path}: damaged checkpoint (no {', '.join(sorted(missing))})")
        return note

    def _same(self, path: Path, note: dict[str, Any]) -> None:
        seen = str(note.get("identity"))
        if seen != self.identity:
            facts = note.get("facts")
            raise ForeignCheckpoint(f"{path}: belongs to other data or another configuration (hash {seen[:12]}, this "
                                    f"run has {self.identity[:12]}); use another output folder or --overwrite",
                                    changed(facts, self._facts) if isinstance(facts, dict) else ())


def mark_of(folder: Path) -> dict[str, Any]:
    """What a folder of states says that it belongs to; empty for none. Raises CheckpointError when it is damaged."""
    return _read_json(folder / MARK) if (folder / MARK).exists() else {}


def pack(leaves: Sequence[Any]) -> tuple[np.ndarray, list[list[Any]]]:
    """Put arrays into one array of bytes, and list the shape and type of each."""
    arrays = [np.asarray(leaf) for leaf in leaves]
    content = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays) or b"-"  # orbax keeps no empty array
    return np.frombuffer(content, np.uint8), [[list(array.shape), str(array.dtype)] for array in arrays]


def unpack(data: np.ndarray, leaves: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    """Take apart what `pack` put together."""
    arrays, at = [], 0
    for shape, kind in leaves:
        size = math.prod(shape) * np.dtype(kind).itemsize
        arrays.append(np.frombuffer(data[at:at + size].tobytes(), kind).reshape(shape).copy())
        at += size
    return arrays


def _checksum(data: np.ndarray, leaves: Sequence[Any], meta: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([leaves, meta], sort_keys=True).encode() + data.tobytes()).hexdigest()


@contextmanager
def _checkpointer() -> Iterator[Any]:
    """Of this process alone: of several processes only the first saves, and the others do not wait for it."""
    only = jax.process_index()
    with bare_root():
        # Here alone, for it takes as long to import as all the rest and speaks to the root logger as it does.
        import orbax.checkpoint as ocp

        options = ocp.options.MultiprocessingOptions(primary_host=only, active_processes={only},
                                                     barrier_sync_key_prefix=f"process{only}")
        with ocp.StandardCheckpointer(multiprocessing_options=options) as checkpointer:
            yield checkpointer


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({_first_line(error)})") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: damaged checkpoint (not a JSON object)")
    return content
