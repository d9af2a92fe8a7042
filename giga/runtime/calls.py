"""How a stage has a compiled program run: for one lens at a time, whoever else takes part in the call.

A stage is written for one lens and blocks on `call(program, posterior, *arguments)`, whose result
comes back on the host. The program itself takes several lenses: stacked posteriors, and arguments
with a leading axis over lenses. A single fit is a call of one (`Alone`); `giga.inference.fleet` puts the calls
of many fits together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from giga.runtime.journal import Journal
from giga.runtime.memory import waited
from giga.runtime.parallel import on_devices, on_host


@dataclass(frozen=True, eq=False)
class Program:
    """A compiled program over several lenses.

    Attributes:
        name: Its name in the journal.
        run: Jitted `run(posteriors, slots, active, *arguments)`. Posteriors are stacked; entry w of the
            arguments and of what is returned belongs to the posterior `slots[w]`, and means something
            where `active[w]`.
        like: Of the arguments, a pytree of the structure of what is returned.
    """

    name: str
    run: Callable[..., Any]
    like: Callable[..., Any]


Call = Callable[..., Any]
"""`call(program, posterior, *arguments)`: the program's result for one lens, without the axis over lenses."""


class Clock:
    """Seconds that are to be taken off the wall clock's for the run time of a fit.

    Compile time is what JAX spends on lowering and compiling in the thread that entered the clock. Tracing
    counts as run time: its events are nested, and would be added twice.

    Attributes:
        seconds: Spent on compiling.
        idle: Spent on waiting for the work of other fits.
    """

    def __init__(self) -> None:
        self.seconds, self.idle = 0.0, 0.0
        self._thread = 0

    def __enter__(self) -> Clock:
        self._thread = threading.get_ident()
        jax.monitoring.register_event_duration_secs_listener(self._add)
        return self

    def __exit__(self, *_: Any) -> None:
        jax.monitoring.unregister_event_duration_listener(self._add)

    def _add(self, event: str, duration_secs: float, **_: Any) -> None:
        compiling = ("/jax/core/compile/backend_compile_duration", "/jax/core/compile/jaxpr_to_mlir_module_duration")
        if event in compiling and threading.get_ident() == self._thread:
            self.seconds += duration_secs


class Alone:
    """Calls of a single fit."""

    def __init__(self, over: Mesh) -> None:
        self._over = over
        self._posterior: Any = None
        self._stack: Any = None

    def __call__(self, program: Program, posterior: Any, *arguments: Any) -> Any:
        if self._posterior is not posterior:
            self._posterior, self._stack = posterior, on_devices(stacked([posterior]), self._over)
        out = waited(program.run, self._stack, np.zeros(1, np.int32), np.ones(1, bool), *stacked([arguments]))
        return entry(on_host(out), 0)


def kept(call: Call, journal: Journal) -> Call:
    """Calls that are answered from a journal where it has them, and that it keeps where not."""

    def keeping(program: Program, posterior: Any, *arguments: Any) -> Any:
        return journal.call(program.name, lambda: call(program, posterior, *arguments), program.like(*arguments),
                            *arguments)

    return keeping


def stacked(trees: Sequence[Any]) -> Any:
    """Stack pytrees of arrays over a new leading axis, on the host."""
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


def entry(tree: Any, k: int) -> Any:
    """Entry k of a stacked pytree."""
    return jax.tree.map(lambda a: a[k], tree)
