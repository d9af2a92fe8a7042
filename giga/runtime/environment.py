"""Where a program runs, how fast, and what it is made of: devices, versions, the hash of the source."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("giga", "jax", "jaxlib", "numpy", "scipy", "numpyro", "blackjax", "arviz", "astropy")


def rate(count: float, seconds: float) -> float:
    """How many a second.

    A clock that has not moved, as coarse ones do, or was set back, is taken to have moved by a nanosecond.
    """
    return count / max(seconds, 1e-9)


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on, by name; those that are not installed are left out."""
    known = {}
    for package in PACKAGES:
        try:
            known[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return known


def environment() -> dict[str, Any]:
    """Devices, versions, git hash, load and date."""
    return dict(devices=[f"{d.platform}:{d.device_kind}" for d in jax.devices()], cores=os.cpu_count(),
                cpu=cpu_name(), machine=platform.machine(), load_1min=round(os.getloadavg()[0], 2),
                python=platform.python_version(), versions=versions(), git=git_hash(),
                date=datetime.now(UTC).isoformat(timespec="seconds"))


def git_hash() -> str | None:
    """Hash of the source tree, "-dirty" when it is changed; None when giga is not run from one."""
    try:
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=Path(__file__).parent, check=False,
                             capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return git.stdout.strip() or None


def cpu_name() -> str:
    """Model of the processor, as far as the system says."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


@lru_cache
def source_version() -> str:
    """Version of giga with the first digits of the SHA-256 of its source, which tells trees of one version apart."""
    folder = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted({*folder.rglob("*.py"), *(folder / "models").rglob("*.py")}):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return f"{versions().get('giga', 'of no version')} ({digest.hexdigest()[:12]})"
