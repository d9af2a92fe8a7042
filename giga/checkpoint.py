"""Save and restore any state, atomically (orbax; arrays and JSON, never pickles)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used: foreign, damaged, or of other data or configuration."""


class Store:
    """A folder of named states. A state is there whole or not at all.

    Args:
        folder: Where to keep them; made when missing.
        identity: What the states belong to (a hash of data and configuration).

    Raises:
        CheckpointError: The folder holds states of another identity.
    """

    def __init__(self, folder: str | Path, identity: str):
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        mark = self.folder / "identity.json"
        if mark.exists():
            seen = _read_json(mark).get("identity")
            if seen != identity:
                raise CheckpointError(f"{mark}: belongs to other data or another configuration (hash {str(seen)[:12]}, "
                                      f"this run has {identity[:12]}); use another output folder or --overwrite")
        else:
            _write_json(mark, {"identity": identity})

    def has(self, name: str) -> bool:
        """Whether a state was saved whole."""
        return (self.folder / f"{name}.json").exists()

    def count(self, prefix: str) -> int:
        """Number of states whose names start with a prefix and are numbered from zero without a gap."""
        number = 0
        while self.has(f"{prefix}{number:04d}"):
            number += 1
        return number

    def save(self, name: str, state: Any, meta: dict[str, Any]) -> None:
        """Save a pytree of arrays and a JSON note; the note, written last, says that the state is whole."""
        path = self.folder / name
        (self.folder / f"{name}.json").unlink(missing_ok=True)  # first the note, so that no half is taken for a whole
        if path.exists():
            shutil.rmtree(path)
        leaves = {f"{k:05d}": np.asarray(leaf) for k, leaf in enumerate(jax.tree.leaves(state))}
        arrays = {name: leaf for name, leaf in leaves.items() if leaf.size}
        # Orbax keeps no array without entries.
        empty = {name: [leaf.shape, str(leaf.dtype)] for name, leaf in leaves.items() if not leaf.size}
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, arrays)
        _write_json(self.folder / f"{name}.json", {"meta": meta, "leaves": len(leaves), "empty": empty})

    def meta(self, name: str) -> dict[str, Any]:
        """The JSON note of a state."""
        return _read_json(self.folder / f"{name}.json")["meta"]

    def load(self, name: str, like: Any) -> tuple[Any, dict[str, Any]]:
        """Restore a state into the structure of `like`, as NumPy arrays.

        Raises:
            CheckpointError: The state is damaged or of another structure.
        """
        path = self.folder / name
        structure = jax.tree.structure(like)
        note = _read_json(self.folder / f"{name}.json")
        expected, empty = note["leaves"], note["empty"]
        if structure.num_leaves != expected:
            raise CheckpointError(f"{path}: holds {expected} arrays, expected {structure.num_leaves}")
        places = [f"{k:05d}" for k in range(expected)]
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                metadata = checkpointer.metadata(path).item_metadata
                kept = [k for k in places if k not in empty]
                target = {k: jax.ShapeDtypeStruct(metadata[k].shape, metadata[k].dtype) for k in kept}
                arrays = checkpointer.restore(path, target)
        except (ValueError, KeyError, OSError, TypeError) as error:
            raise CheckpointError(f"{path}: damaged checkpoint ({error})") from error
        arrays |= {k: np.zeros(*shape_and_type) for k, shape_and_type in empty.items()}
        return jax.tree.unflatten(structure, [np.asarray(arrays[k]) for k in places]), note["meta"]


def identity_of(*parts: Any) -> str:
    """Hash of texts and pytrees of arrays."""
    digest = hashlib.sha256()
    for part in parts:
        for leaf in [part] if isinstance(part, str) else jax.tree.leaves(part):
            data = leaf.encode() if isinstance(leaf, str) else _bytes(np.asarray(leaf))
            digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def _bytes(array: np.ndarray) -> bytes:
    return f"{array.shape} {array.dtype} ".encode() + np.ascontiguousarray(array).tobytes()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(content))
    os.replace(temporary, path)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error})") from error
