"""Many lenses fitted together: the calls that their fits wait for are put together into one."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from giga.bayes.posterior import AmplitudeMethod, Posterior
from giga.inference.pipeline import dtype_of, fit_posterior, search_posterior
from giga.inference.result import Found, Result
from giga.inference.routine import Routine
from giga.inference.settings import FitConfig
from giga.inference.stages import Lens
from giga.runtime import parallel
from giga.runtime.calls import Clock, Program, entry, stacked
from giga.runtime.checkpoint import CheckpointError
from giga.runtime.memory import out_of_memory

FAILURES = (ArithmeticError, ValueError, LookupError, OSError, CheckpointError)
"""What may end one lens and leave the others be; anything else is a fault of the program or of the machine."""

CROP = 16  # images are cropped to a multiple of so many pixels, so that like masks make like shapes
MOST = 64  # lenses at a time for each accelerator
LADDER = 4  # an accelerator computes what pads a call too: calls of a quarter of the width, of a sixteenth, ...


Done = Callable[[Lens, Result | Exception], None]


def fit_many(lenses: Iterable[Lens], *, config: FitConfig | None = None, amplitudes: AmplitudeMethod = "nonnegative",
             amplitude_sd: float | None = None, precision: str = "float32", together: int | None = None,
             over: Mesh | None = None, done: Done) -> None:
    """Fit many lenses.

    Lenses of one shape (of images, kernels and parameters) share compiled programs. Each goes at its own
    pace; the place of one that has ended is taken by the next. Samples are those of `giga.fit` with
    the same seed, to rounding, whatever runs beside them.

    Args:
        lenses: The lenses, taken one by one as places come free.
        config: Sizes and targets of the stages, for all.
        amplitudes: How linear amplitudes are treated, see `giga.bayes.posterior.Posterior`.
        amplitude_sd: Standard deviation of their Gaussian prior; None is flat.
        precision: "float32" or "float64" (which needs `jax_enable_x64`).
        together: Most lenses at a time; None chooses.
        over: Device mesh; all devices by default.
        done: Called once a lens, in this thread, as each ends, with its result or with the error that
            ended it (of `FAILURES`); the others go on.

    Raises:
        ValueError: An unknown precision, or `together` below one.
    """
    _each(fit_posterior, lenses, config, amplitudes, amplitude_sd, precision, together, over, done)


def search_many(lenses: Iterable[Lens], *, config: FitConfig | None = None, amplitudes: AmplitudeMethod = "nonnegative",
                amplitude_sd: float | None = None, precision: str = "float32", together: int | None = None,
                over: Mesh | None = None, done: Callable[[Lens, Found | Exception], None]) -> None:
    """The searches of `fit_many` alone, whose arguments these are; `done` is given what each has found."""
    _each(search_posterior, lenses, config, amplitudes, amplitude_sd, precision, together, over, done)


def _each(stages: Callable[..., Any], lenses: Iterable[Lens], config: FitConfig | None, amplitudes: AmplitudeMethod,
          amplitude_sd: float | None, precision: str, together: int | None, over: Mesh | None,
          done: Callable[[Lens, Any], None]) -> None:
    config, over, dtype = config or FitConfig(), over or parallel.mesh(), dtype_of(precision)
    if together is None:
        together = most_together(over, config)
    if together < 1:
        raise ValueError(f"together: expected a positive number of lenses, got {together}")

    def work(lens: Lens, ask: Callable[[Request], Any]) -> Found:
        with Clock() as clock:
            def call(program: Program, posterior: Any, *arguments: Any) -> Any:
                begun = time.perf_counter()
                out, ran, compiled = ask(Request(program, posterior, arguments))
                clock.seconds += compiled
                clock.idle += time.perf_counter() - begun - ran - compiled
                return out

            posterior = Posterior.of(lens.prior, lens.observations, amplitudes, amplitude_sd, dtype, CROP,
                                     lens.points)
            return stages(lens, posterior, config, over, call, clock)

    fleet = Fleet(together, over)
    try:
        for lens, outcome in fleet.run(lenses, lambda lens: Routine(partial(work, lens), FAILURES)):
            done(lens, outcome)
    finally:
        fleet.stop()


def most_together(over: Mesh, config: FitConfig) -> int:
    """Lenses at a time that keep every device busy: two chains a core, or what fits an accelerator's memory."""
    devices = over.devices.size
    return -(-2 * devices // config.n_chains) if parallel.one_by_one(over) else MOST * devices


class Request(NamedTuple):
    """A call that a fit waits for."""

    program: Program
    posterior: Any
    arguments: tuple[Any, ...]


class Member(NamedTuple):
    """A lens under way and its place in the stacks."""

    lens: Lens
    seat: int
    routine: Routine


class Flight(NamedTuple):
    """A call under way: for whom, of which width, what it returns, when it began, and seconds of compiling."""

    members: list[Member]
    width: int
    program: Program
    out: Any
    begun: float
    compiled: float


class Stack:
    """Posteriors of one shape, one a seat, on all devices."""

    def __init__(self, like: Any, seats: int, over: Mesh):
        self._held: list[Any] = [None] * seats
        self._host = stacked([like] * seats)
        self._over = over
        self._there: Any = None

    def put(self, seat: int, posterior: Any) -> None:
        """Give a seat its posterior."""
        if self._held[seat] is posterior:
            return
        self._held[seat], self._there = posterior, None
        for whole, leaf in zip(jax.tree.leaves(self._host), jax.tree.leaves(posterior), strict=True):
            whole[seat] = leaf

    def there(self) -> Any:
        """The stack on the devices."""
        if self._there is None:
            # A copy, since a CPU device may go on reading the host's memory.
            self._there = parallel.on_devices(jax.tree.map(np.copy, self._host), self._over)
        return self._there


class Fleet:
    """Seats for lenses, and the calls that they wait for.

    Host and devices take turns: all fits that have their answers go on, one after the other, until each
    waits again; then the call that most wait for is made for those who wait for it, up to the width.
    An accelerator gets a second call before the answers of the first are looked at, so that it
    computes while the host works. Nothing depends on time, so several processes make the same calls.
    """

    def __init__(self, seats: int, over: Mesh):
        self.over, self.seats, self.free = over, seats, list(range(seats))[::-1]
        if parallel.one_by_one(over):  # what pads a call costs nothing there
            self.depth, self.widths = 1, [seats]
        else:
            width = -(-seats // 2)
            self.depth, self.widths = 2, sorted({-(-width // LADDER**k) for k in range(4)}, reverse=True)
        self.ready: list[tuple[Member, Any]] = []
        self.waiting: list[Member] = []
        self.flights: list[Flight] = []
        self.stacks: dict[Any, Stack] = {}
        self.limits: dict[Program, int] = {}
        self.clock = Clock()
        self.arrived = 0.0

    def run(self, lenses: Iterable[Lens], begin: Callable[[Lens], Routine]) -> Iterator[tuple[Lens, Any]]:
        """Fit all; hand out each lens with its outcome as it ends."""
        source, more = iter(lenses), True
        while True:
            while more and self.free:
                lens = next(source, None)
                if more := lens is not None:
                    self.ready.append((Member(lens, self.free.pop(), begin(lens)), None))
            if self.ready:
                member, answer = self.ready.pop(0)
                self.waiting.append(member)  # first, so that it is stopped if it raises
                member.routine.resume(answer)
                if member.routine.request is None:
                    self.waiting.remove(member)
                    self.free.append(member.seat)
                    yield member.lens, member.routine.outcome
                continue
            while self.waiting and len(self.flights) < self.depth:
                self._depart()
            if not self.flights:
                return
            self._arrive()

    def stop(self) -> None:
        """End all fits that have not ended; what one of them raises is raised when all have ended."""
        with ExitStack() as ending:
            for member in [*self.waiting, *(m for m, _ in self.ready), *(m for f in self.flights for m in f.members)]:
                ending.callback(member.routine.stop)

    def _depart(self) -> None:
        """Make the call that most wait for."""
        wanted: dict[Any, list[Member]] = {}
        for member in self.waiting:
            request = member.routine.request
            wanted.setdefault((request.program, shape_of(request.posterior)), []).append(member)
        (program, shape), members = max(wanted.items(), key=lambda item: len(item[1]))
        limit = self.limits.get(program, self.seats)
        members = members[:min(limit, self.widths[0])]
        width = min(limit, min(w for w in self.widths if w >= len(members)))
        requests = [member.routine.request for member in members]
        stack = self.stacks.setdefault(shape, Stack(requests[0].posterior, self.seats, self.over))
        for member, request in zip(members, requests, strict=True):
            stack.put(member.seat, request.posterior)
        padded = [*range(len(members)), *[0] * (width - len(members))]
        slots = np.array([members[k].seat for k in padded], np.int32)
        arguments = stacked([requests[k].arguments for k in padded])
        begun = time.perf_counter()
        with self.clock:
            compiled = self.clock.seconds
            with self._retried(members, width, program):
                self.waiting = [member for member in self.waiting if member not in members]
                out = program.run(stack.there(), slots, np.arange(width) < len(members), *arguments)
                self.flights.append(Flight(members, width, program, out, begun, self.clock.seconds - compiled))

    def _arrive(self) -> None:
        """Wait for the first call made, and hand its answers out."""
        flight = self.flights[0]
        with self._retried(flight.members, flight.width, flight.program):
            self.flights.pop(0)
            out = parallel.on_host(flight.out)
            now = time.perf_counter()
            ran, compiled = now - max(flight.begun, self.arrived) - flight.compiled, flight.compiled
            self.arrived = now
            share = len(flight.members)
            for k, member in enumerate(flight.members):
                self.ready.append((member, (entry(out, k), max(ran, 0.0) / share, compiled / share)))

    @contextmanager
    def _retried(self, members: list[Member], width: int, program: Program) -> Iterator[None]:
        """Have members wait again when they get no answer; for a narrower call when the memory does not suffice."""
        answered = False
        try:
            yield
            answered = True
        except jax.errors.JaxRuntimeError as error:
            if not out_of_memory(error) or width == 1:
                raise
            self.limits[program] = min(width // 2, self.limits.get(program, width))
            warnings.warn(f"out of memory with {width} lenses in a call; going on with {width // 2}", RuntimeWarning,
                          stacklevel=4)
        finally:
            if not answered:  # whatever was raised, they are stopped with the rest
                self.waiting = [*members, *self.waiting]


def shape_of(tree: Any) -> Any:
    """What two posteriors must share to share a program: structure, shapes and types."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, np.dtype(leaf.dtype)) for leaf in leaves)
