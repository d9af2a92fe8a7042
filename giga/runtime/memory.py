"""How many entries of a batch go through an accelerator together, so that they fit its memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import numpy as np

_MOST: ContextVar[int | None] = ContextVar("most", default=None)
_SEEN: ContextVar[list[int] | None] = ContextVar("seen", default=None)


class MemoryNote(RuntimeWarning):
    """Entries go through in smaller groups because the memory does not suffice."""


def group_size(entries: int) -> int:
    """How many of a batch's entries to take together while a program is traced; groups are as even as can be."""
    seen, most = _SEEN.get(), _MOST.get()
    if seen is not None:
        seen.append(entries)
    if most is None or most >= entries:
        return entries
    groups = -(-entries // most)
    return -(-entries // groups)


@contextmanager
def tracing(most: int | None) -> Iterator[list[int]]:
    """While programs are traced, let at most so many entries go together; yields the sizes of the batches met."""
    seen: list[int] = []
    limit, sizes = _MOST.set(most), _SEEN.set(seen)
    try:
        yield seen
    finally:
        _MOST.reset(limit)
        _SEEN.reset(sizes)


def entries_that_fit(small: int, bytes_small: int, large: int, bytes_large: int, limit: int) -> int:
    """Entries whose memory, a straight line through that of two numbers of entries, stays within a limit.

    >>> entries_that_fit(10, 1100, 20, 2100, 1600)
    15
    """
    each = (bytes_large - bytes_small) / (large - small)
    if each <= 0.0:
        return large if bytes_large <= limit else 1
    return max(1, int((limit - bytes_small) // each) + small)


def out_of_memory(error: Exception) -> bool:
    """Whether an error says that a device has no memory left."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


class Fitting:
    """A jitted function whose batches go through in groups that fit the memory.

    It is compiled for all entries together first. Only where that needs more than there is, it is compiled for fewer,
    as many as the memory analysis of two sizes lets expect to fit. What runs out of memory all the same is tried
    again with half as many, with a note. The first call of a kind waits for its result, later ones do not; `wait`
    has a call do so, which sees memory that runs out on the way to the result.

    Args:
        function: As for `jax.jit`; batches in it are made by `giga.runtime.parallel.batched`.
        limit: Bytes that there are on a device; None does not know.
    """

    def __init__(self, function: Callable[..., Any], limit: Callable[[], int | None]):
        self._function, self._limit = function, limit
        self._known: dict[Any, tuple[Callable[..., Any], int | None, int]] = {}

    def __call__(self, *arguments: Any) -> Any:
        return self._run(arguments, False)

    def wait(self, *arguments: Any) -> Any:
        """Call, and wait for the result."""
        return self._run(arguments, True)

    def _run(self, arguments: tuple[Any, ...], wait: bool) -> Any:
        leaves, structure = jax.tree.flatten(arguments)
        key = structure, tuple((np.shape(leaf), jax.dtypes.result_type(leaf)) for leaf in leaves)
        if key not in self._known:
            wait = True
            self._known[key] = self._chosen(arguments)
        while True:
            program, most, entries = self._known[key]
            try:
                with tracing(most) as seen:
                    result = program(*arguments)
                if seen:  # only a call that traces meets the batches
                    self._known[key] = program, most, max(entries, *seen)
                return jax.block_until_ready(result) if wait else result
            except jax.errors.JaxRuntimeError as error:
                whole = most or max([entries, *seen])
                if not out_of_memory(error) or whole == 1:
                    raise
                warnings.warn(f"out of memory with {whole} entries at a time on a device; going on with {whole // 2}",
                              MemoryNote, stacklevel=3)
                self._known[key], wait = (self._compilable(), whole // 2, whole), True

    def _compilable(self) -> Callable[..., Any]:
        """The function jitted anew, so that it is traced anew."""
        return jax.jit(lambda *arguments: self._function(*arguments))

    def _chosen(self, arguments: tuple[Any, ...]) -> tuple[Callable[..., Any], int | None, int]:
        """The program, the most entries at a time that it was made for, and those of its largest batch if known."""
        program, limit = self._compilable(), self._limit()
        if limit is None:
            return program, None, 1
        needed, entries = self._needed(program, arguments, None)
        if needed <= limit or entries == 1:
            return program, None, entries
        small = max(1, entries // 4)
        most = min(entries, entries_that_fit(small, self._needed(self._compilable(), arguments, small)[0], entries,
                                             needed, limit))
        while True:  # the line is a guess
            program = self._compilable()
            if most == 1 or self._needed(program, arguments, most)[0] <= limit:
                warnings.warn(f"{entries} entries at a time need {needed / 2**30:.3g} GiB on a device of "
                              f"{limit / 2**30:.3g}; going on with {most}", MemoryNote, stacklevel=4)
                return program, most, entries
            most //= 2

    def _needed(self, program: Any, arguments: tuple[Any, ...], most: int | None) -> tuple[int, int]:
        """Bytes that a program needs on a device, and the entries of its largest batch."""
        with tracing(most) as seen:
            analysis = program.lower(*arguments).compile().memory_analysis()
        size = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes
        return size, max(seen, default=1)


def waited(run: Callable[..., Any], *arguments: Any) -> Any:
    """Call a compiled function and wait for its result, where memory that runs out is still handled."""
    return run.wait(*arguments) if isinstance(run, Fitting) else jax.block_until_ready(run(*arguments))
