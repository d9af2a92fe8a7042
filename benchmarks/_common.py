"""What every benchmark does the same way: arguments, timing, and the JSON it leaves."""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np

HERE = Path(__file__).parent
PACKAGES = ("giga", "jax", "jaxlib", "numpy", "scipy", "numpyro")


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """An argument parser with --out and --smoke."""
    out = argparse.ArgumentParser(description=description)
    out.add_argument("--out", type=Path, default=HERE / "results" / f"{name}.json", help="JSON file to write")
    out.add_argument("--smoke", action="store_true", help="a few seconds: smaller, fewer repeats")
    return out


def measure(function: Callable, *args: Any, repeats: int = 20, budget: float = 5.0, per: int = 1) -> dict[str, float]:
    """Time a jitted function, compile and run apart.

    Args:
        function: Jitted; called with args.
        repeats, budget: At most so many runs and so many seconds (but three runs at least).
        per: Images in one call; run times are divided by it.

    Returns:
        "compile_s" (trace, lower and compile), "median_ms", "min_ms" and "iqr_ms" per image, "runs".
    """
    jax.clear_caches()  # else a function that was traced before would seem to compile in no time
    start = time.perf_counter()
    compiled = function.lower(*args).compile()
    compile_s = time.perf_counter() - start
    jax.block_until_ready(compiled(*args))
    times, start = [], time.perf_counter()
    while len(times) < 3 or (len(times) < repeats and time.perf_counter() - start < budget):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        times.append(1e3 * (time.perf_counter() - begin) / per)
    low, middle, high = np.percentile(times, [25, 50, 75])
    return dict(compile_s=round(compile_s, 3), median_ms=round(float(middle), 4), min_ms=round(min(times), 4),
                iqr_ms=round(float(high - low), 4), runs=len(times))


def environment() -> dict[str, Any]:
    """Devices, versions, git hash and date."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True,
                         check=False)
    return dict(devices=[f"{d.platform}:{d.device_kind}" for d in jax.devices()], cores=os.cpu_count(),
                machine=platform.machine(), load_1min=round(os.getloadavg()[0], 2), python=platform.python_version(),
                versions=versions, git=git.stdout.strip() or None, date=datetime.now(UTC).isoformat(timespec="seconds"))


def write(path: Path, results: Any) -> None:
    """Print the results and write them with the environment, whole or not at all."""
    text = json.dumps(dict(environment=environment(), results=results), indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text + "\n")
    os.replace(temporary, path)
    print(text)
