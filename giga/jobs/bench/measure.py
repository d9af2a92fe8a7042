"""Time and memory: what every benchmark measures the same way."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np


def measure(function: Callable, *args: Any, repeats: int = 20, budget: float = 5.0, per: int = 1) -> dict[str, float]:
    """Time a jitted function, compile and run apart.

    Args:
        function: Jitted; called with args.
        repeats, budget: At most so many runs and so many seconds (but three runs at least).
        per: Images in one call; run times are divided by it.

    Returns:
        "compile_s" (trace, lower and compile), "median_ms", "min_ms" and "iqr_ms" per image, "runs".
    """
    compiled, compile_s = compile_apart(function, *args)
    return dict(compile_s=round(compile_s, 3)) | run_times(compiled, *args, repeats=repeats, budget=budget, per=per)


def compile_apart(function: Callable, *args: Any) -> tuple[Callable, float]:
    """Compile a jitted function for its arguments; the seconds that it took, tracing included."""
    jax.clear_caches()  # else a function that was traced before would seem to compile in no time
    start = time.perf_counter()
    compiled = function.lower(*args).compile()
    return compiled, time.perf_counter() - start


def run_times(compiled: Callable, *args: Any, repeats: int = 20, budget: float = 5.0, per: int = 1) -> dict[str, float]:
    """Time a compiled function; see `measure`."""
    jax.block_until_ready(compiled(*args))
    times, start = [], time.perf_counter()
    while len(times) < 3 or (len(times) < repeats and time.perf_counter() - start < budget):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        times.append(1e3 * (time.perf_counter() - begin) / per)
    low, middle, high = np.percentile(times, [25, 50, 75])
    return dict(median_ms=significant(middle), min_ms=significant(min(times)), iqr_ms=significant(high - low),
                runs=len(times))


def significant(value: float, digits: int = 5) -> float:
    """Round to significant digits.

    >>> significant(0.00123456)
    0.0012346
    """
    return float(f"{value:.{digits}g}")


def cpu_seconds(process: int, group: bool = False) -> float:
    """Processor time that a process has used so far [s]: unlike the clock it tells what was done.

    Args:
        process: Its number; of one that has ended the time is zero.
        group: Count all processes of the group that it leads.

    Raises:
        NotImplementedError: The system is not Linux.
    """
    proc = Path("/proc")
    if not (proc / "self" / "stat").is_file():
        raise NotImplementedError("processor time of other processes: told by Linux alone")
    ticks = 0
    for path in proc.glob("[0-9]*/stat") if group else [proc / str(process) / "stat"]:
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if not group or int(fields[2]) == process:
            ticks += sum(int(field) for field in fields[11:15])  # its own, and that of its children that have ended
    return ticks / os.sysconf("SC_CLK_TCK")


def peak_memory(devices: Sequence[Any]) -> dict[str, Any]:
    """Most memory used so far: of the fullest accelerator, or of this process where there is none.

    Returns:
        "bytes", and "of": what it was read from.
    """
    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in devices]
    known = [int(peak) for peak in peaks if peak is not None]
    if known:
        return dict(bytes=max(known), of="fullest device, peak_bytes_in_use")
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return dict(bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, of="process, ru_maxrss")
