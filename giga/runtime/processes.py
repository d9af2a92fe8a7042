"""What the processes of a run tell each other; `giga.runtime.parallel` starts them and passes these on."""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import multihost_utils


def everywhere(text: str) -> list[str]:
    """Texts of all processes, in every process; all must call, in the same order."""
    if jax.process_count() == 1:
        return [text]
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.int32(len(content))))
    padded = np.zeros(max(int(sizes.max()), 1), np.uint8)
    padded[:len(content)] = content
    rows = np.asarray(multihost_utils.process_allgather(padded)).astype(np.uint8)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def process_count() -> int:
    """Number of processes that work as one."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this process is the one that writes files and speaks to the user."""
    return jax.process_index() == 0


def from_first(content: bytes) -> bytes:
    """What the first process has, in every process; all must call."""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    mine = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
    return np.asarray(multihost_utils.broadcast_one_to_all(mine)).astype(np.uint8).tobytes()
