"""Ctrl-C held back where it would leave a half: for as long as a file is written, or until a step is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held(times: int | None = None) -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back inside; where it came, it is raised at the end.

    Inside another such block the outer one has it then. In other threads than the main one, which Ctrl-C does not
    reach, nothing is done.

    Args:
        times: How often it is held back; once more ends the block at once, as without it. None is always.

    Yields:
        A function that says whether it came.

    Raises:
        KeyboardInterrupt: It came, and the block has not ended by an error.
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: object) -> None:
        came.append(number)
        if times is not None and len(came) > times:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler if before is None else before)
    if came:
        signal.raise_signal(signal.SIGINT)
