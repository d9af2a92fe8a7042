"""A coroutine whose body is plain blocking code."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax


class Stopped(BaseException):
    """Raised in a routine that is given up; not an error of its own."""


class Routine:
    """Work in a thread of its own that runs only while its owner waits for it.

    Owner and routine take turns, so nothing ever runs beside anything else: `resume` lets the work go on
    until it asks for something or ends.

    Args:
        work: Called with a function `ask(request) -> answer`.
        caught: Exceptions that become the outcome; others are raised where `resume` is called.

    Attributes:
        request: What the work waits for; None before it begins and when it has ended.
        outcome: What it returned, or the exception that ended it.
    """

    def __init__(self, work: Callable[[Callable[[Any], Any]], Any], caught: tuple[type[Exception], ...] = ()):
        self.request: Any = None
        self.outcome: Any = None
        self._work, self._caught = work, caught
        self._answer: Any = None
        self._stopping = False
        self._turn, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._x64 = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]  # a thread's own
        self._pool = ThreadPoolExecutor(1)
        self._future = self._pool.submit(self._run)

    def resume(self, answer: Any = None) -> None:
        """Hand over the answer and wait until the work asks again or ends."""
        self._answer, self.request = answer, None
        self._turn.release()
        self._back.acquire()
        if self.request is None:
            self._pool.shutdown()
            try:
                self.outcome = self._future.result()
            except self._caught as error:
                self.outcome = error

    def stop(self) -> None:
        """End work that waits, or has not begun."""
        if self._future.done():
            return
        self._stopping = True
        try:
            self.resume()
        except Stopped:
            pass

    def _ask(self, request: Any) -> Any:
        self.request = request
        self._back.release()
        self._turn.acquire()
        if self._stopping:
            raise Stopped
        return self._answer

    def _run(self) -> Any:
        self._turn.acquire()
        try:
            if self._stopping:
                raise Stopped
            with jax.enable_x64(self._x64):
                return self._work(self._ask)
        finally:
            self._back.release()
