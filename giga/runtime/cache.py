"""Compiled programs kept between runs: JAX's persistent cache in a folder of the user, bounded and shared safely."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
from filelock import FileLock
from jax.experimental.compilation_cache import compilation_cache

VARIABLE = "GIGA_CACHE"  # a folder, or "off"
LIMIT_GB = 1.0
LOCK_TIMEOUT_S = 10.0
# Entries as JAX names them: the program, written first, and the time of its last use, written when that is whole.
PROGRAM, USED = "-cache", "-atime"
EXTENSIONS = re.compile(r"sse|ssse|avx|amx|fma|f16c|bmi|asimd|sve")


class Kept(NamedTuple):
    """What a cache holds.

    Attributes:
        folder: Where it is; None where nothing is kept.
        programs: Their number.
        size: Of all files [bytes].
        limit: Largest size [bytes]; None without a limit.
    """

    folder: Path | None
    programs: int
    size: int
    limit: int | None


def enable_cache(folder: str | Path | None = None, limit_gb: float | None = None) -> Path | None:
    """Keep compiled programs on disk from now on, so that later runs need not compile them again.

    It switches JAX's persistent cache on, which holds for all of JAX in this process. Several processes share a
    folder under a lock; when it is full, those programs go that were not used for the longest time.

    Args:
        folder: Where; by default what the environment variable `GIGA_CACHE` says, which is a folder or "off", else
            `giga` in `XDG_CACHE_HOME` (`~/.cache`). Each kind of CPU has a folder of its own in it. A cache that was
            chosen before, as with JAX's own `JAX_COMPILATION_CACHE_DIR`, stays unless a folder is given here.
        limit_gb: Largest size of the folder [GB]; by default `LIMIT_GB`, or `JAX_COMPILATION_CACHE_MAX_SIZE`.

    Returns:
        The folder in use; None where `GIGA_CACHE` is "off".

    Raises:
        OSError: The folder cannot be made, written or locked; nothing has changed then.
        ValueError: A limit that is not positive.
    """
    if limit_gb is not None and not limit_gb > 0.0:
        raise ValueError(f"limit_gb: expected a positive number of gigabytes, got {limit_gb}")
    before = _setting("dir")
    if before and folder is None:
        return Path(before)
    root = _root(folder)
    if root is None:
        return None
    place = root / _machine()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    _mend(place)
    jax.config.update("jax_compilation_cache_dir", str(place))
    if limit_gb is not None or _setting("max_size") == -1:
        jax.config.update("jax_compilation_cache_max_size", int(1e9 * (limit_gb or LIMIT_GB)))
    # A fit has many small programs, of a few hundredths of a second each.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    compilation_cache.reset_cache()  # JAX looks at the folder once
    return place


def kept() -> Kept:
    """What the cache holds that this process uses."""
    folder = _setting("dir")
    if not folder:
        return Kept(None, 0, 0, None)
    sizes = [_size(file) for file in Path(folder).glob(f"*{PROGRAM}")]
    limit = _setting("max_size")
    return Kept(Path(folder), len(sizes), sum(sizes), None if limit == -1 else limit)


def _setting(name: str) -> Any:
    return getattr(jax.config, f"jax_compilation_cache_{name}")


def _root(folder: str | Path | None) -> Path | None:
    """The folder that was asked for, or that the environment names; None is off."""
    named = os.environ.get(VARIABLE, "") if folder is None else str(folder)
    if folder is None and named == "off":
        return None
    if named:
        return Path(named).expanduser().absolute()
    caches = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The XDG Base Directory Specification has relative paths ignored.
        return (Path(caches) if os.path.isabs(caches) else Path.home() / ".cache") / "giga"
    except RuntimeError as error:
        raise OSError(f"{error}; set {VARIABLE} to a folder, or to off") from error


def _machine() -> str:
    """Name of this kind of CPU: a home may be shared by machines that cannot run each other's programs."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    listed = next((line for line in lines if re.match(r"(flags|Features)\s*:", line)), platform.processor())
    extensions = " ".join(sorted(word for word in listed.split() if EXTENSIONS.match(word)))
    return f"{platform.machine() or 'cpu'}-{hashlib.sha256(extensions.encode()).hexdigest()[:8]}"


def _mend(folder: Path) -> None:
    """Remove programs that a process was writing when it was killed; raises OSError where the lock does not work."""
    try:
        with FileLock(folder / ".lockfile", timeout=LOCK_TIMEOUT_S):
            for file in folder.glob(f"*{PROGRAM}"):
                if not file.with_name(file.name.removesuffix(PROGRAM) + USED).exists():
                    file.unlink()
    except NotImplementedError as error:
        raise OSError(f"{folder}: {error}") from error


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:  # another process has made room
        return 0
