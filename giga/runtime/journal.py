"""What the compiled calls of a run returned, kept so that a stopped run is gone through again without them.

Between its compiled calls a run computes little, and always the same. So nothing needs to know where a run
stopped: it starts again, each call whose inputs were seen before is answered from the journal, and the first
that is not in it goes on as if nothing had happened.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import jax
import numpy as np

from giga.runtime import parallel
from giga.runtime.checkpoint import CheckpointError, Store, identity_of, pack, unpack
from giga.runtime.nodes import NodeError

T = TypeVar("T")
PREFIX = "part-"


class Keep(Protocol):
    """How a stage calls a compiled program whose outcome is worth keeping, see `Journal.call`."""

    def __call__(self, name: str, work: Callable[[], T], like: Any, *inputs: Any) -> T: ...


def direct(name: str, work: Callable[[], T], like: Any, *inputs: Any) -> T:
    """Call and keep nothing."""
    return work()


@dataclass(frozen=True)
class Record:
    """Outcome of one call.

    Attributes:
        name: Name of the program.
        key: Hash of the name and of the inputs.
        leaves: The arrays that it returned.
        seconds: Time that it ran [s].
        compile_s: Time that it was compiled before that [s].
    """

    name: str
    key: str
    leaves: list[np.ndarray]
    seconds: float
    compile_s: float


class Journal:
    """Answers calls that an earlier run made, and keeps new ones.

    Of several processes the first alone reads and writes; it tells the others what is in the journal.

    Args:
        store: Where to keep it; None keeps nothing.
        tell: Called with what the user should know, such as a damaged part.
        compiled: Seconds that were spent compiling so far.
        idle: Seconds that were spent waiting for other work so far, which count nowhere.

    Attributes:
        replayed, made: Number of calls that were answered, and of those that were made.
        seconds, compile_s: Run and compile time that the answered calls took when they were made [s].
    """

    def __init__(self, store: Store | None, tell: Callable[[str], None] = lambda text: None,
                 compiled: Callable[[], float] = lambda: 0.0, idle: Callable[[], float] = lambda: 0.0):
        self.replayed, self.made, self.seconds, self.compile_s = 0, 0, 0.0, 0.0
        self._store = store if parallel.is_first() else None
        self._compiled, self._idle = compiled, idle
        records = [] if self._store is None else _read(self._store, tell)
        self._known = {record.key: record for record in _share(records)}
        self._new: list[Record] = []
        self._flushed = time.perf_counter()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: Any) -> None:
        self.flush()  # also when the user has interrupted

    def call(self, name: str, work: Callable[[], T], like: Any, *inputs: Any) -> T:
        """Return what a program returns, computed now or earlier.

        Args:
            name: Name of the program; with the inputs it tells which call it is.
            work: Calls it; returns a pytree of arrays on the host.
            like: A pytree of the structure of what it returns.
            inputs: What the outcome depends on, besides the data and the configuration.
        """
        if self._store is None and not self._known:
            self.made += 1
            return work()
        key = identity_of(name, *inputs)
        if self._known and len(set(parallel.everywhere(key))) > 1:
            # Some would answer from the journal and others compute, and wait for each other.
            raise NodeError(f"the processes differ in the inputs of {name}, as nodes of different kinds do; "
                            "go on with nodes of one kind, or start over with --overwrite")
        if record := self._known.get(key):
            self.replayed, self.seconds = self.replayed + 1, self.seconds + record.seconds
            self.compile_s += record.compile_s
            return jax.tree.unflatten(jax.tree.structure(like), record.leaves)
        self.made += 1
        begun, compiled, idle = time.perf_counter(), self._compiled(), self._idle()
        result = work()
        seconds, compile_s = time.perf_counter() - begun, self._compiled() - compiled
        if self._store is not None:
            self._new.append(Record(name, key, [np.asarray(leaf) for leaf in jax.tree.leaves(result)],
                                    max(seconds - compile_s - (self._idle() - idle), 0.0), compile_s))
            # The next call may take as long as this one.
            if time.perf_counter() - self._flushed + seconds >= self._store.interval_s:
                self.flush()
        return result

    def flush(self) -> None:
        """Write what is new, as a part of its own."""
        if self._store is not None and self._new:
            numbers = [int(name.removeprefix(PREFIX)) for name in self._store.names(PREFIX)]
            rows, leaves = _table(self._new)
            self._store.save(f"{PREFIX}{max(numbers, default=-1) + 1:04d}", leaves, {"records": rows})
            self._new = []
        self._flushed = time.perf_counter()


def _read(store: Store, tell: Callable[[str], None]) -> list[Record]:
    """All records of a store; what is damaged is told, and will be computed again."""
    records = []
    for name in store.names(PREFIX):
        try:
            leaves, meta = store.load_leaves(name)
        except CheckpointError as error:
            tell(f"{error}; what it held is computed again, the rest of the checkpoint is used")
            continue
        records += _records(meta["records"], leaves)
    return records


def _table(records: list[Record]) -> tuple[list[list[Any]], list[np.ndarray]]:
    """What `_records` puts together again: a row for each record, and all arrays."""
    rows = [[r.name, r.key, len(r.leaves), r.seconds, r.compile_s] for r in records]
    return rows, [leaf for record in records for leaf in record.leaves]


def _records(rows: list[list[Any]], leaves: list[np.ndarray]) -> list[Record]:
    records, at = [], 0
    for name, key, count, seconds, compile_s in rows:
        records.append(Record(name, key, leaves[at:at + count], seconds, compile_s))
        at += count
    return records


def _share(records: list[Record]) -> list[Record]:
    """The records of the first process, in every process."""
    if parallel.process_count() == 1:
        return records
    rows, leaves = _table(records)
    data, index = pack(leaves)
    head = parallel.from_first(json.dumps([rows, index]).encode())
    rows, index = json.loads(head)
    return _records(rows, unpack(np.frombuffer(parallel.from_first(data.tobytes()), np.uint8), index))
