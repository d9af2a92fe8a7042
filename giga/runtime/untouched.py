"""What an import of giga leaves to its user: the root logger, warnings and random numbers, as they were before."""

from __future__ import annotations

import importlib
import logging
import random
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def untouched() -> Iterator[None]:
    """Put back what the libraries that are imported inside change for the whole process.

    Astropy and SciPy add filters of warnings, Astropy shows warnings its own way, JAX and Rich draw random numbers.
    """
    numbers, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    had_astropy = "astropy" in sys.modules  # then its way with warnings is the user's choice
    with warnings.catch_warnings(), bare_root():
        # Once a day, of its next major version; a process in which warnings are errors could not import giga that day.
        warnings.filterwarnings("ignore", r"\s*ArviZ is undergoing a major refactor", FutureWarning)
        importlib.import_module("rich.style")  # draws a random number, and is imported by higher wings alone
        yield
        astropy = sys.modules.get("astropy")
        if astropy is not None and not had_astropy and astropy.log.warnings_logging_enabled():
            astropy.log.disable_warnings_logging()
    random.setstate(numbers)
    np.random.set_state(legacy)  # noqa: NPY002


@contextmanager
def bare_root() -> Iterator[None]:
    """Keep a root logger without handlers so.

    absl, through which orbax speaks, gives it one with every message, after which the user's `logging.basicConfig` does
    nothing. Meanwhile it has the one that Python falls back to, so that nothing is said otherwise than without it.
    """
    if logging.root.handlers:
        yield
        return
    handler = logging.lastResort or logging.NullHandler()
    logging.root.addHandler(handler)
    try:
        yield
    finally:
        logging.root.removeHandler(handler)
