"""Files that are whole or not there: written under a temporary name, then moved into place."""

import errno
import os
import socket
from collections.abc import Callable
from os import PathLike
from pathlib import Path


def write_atomically(path: str | PathLike[str], write: Callable[[Path], object]) -> Path:
    """Let a function write a file under a temporary name beside its place, then move it there.

    A file of that name is kept until the new one is whole. Whatever goes wrong, the temporary file is
    removed.

    Args:
        path: Where the file goes; its folder exists.
        write: Writes the path that it is given, which ends as `path` does.

    Returns:
        The path.

    Raises:
        OSError: The disk is full, or the file cannot be written; the message names it.
    """
    path = Path(path)
    # Workers on several machines may write one file.
    temporary = path.with_name(f".{path.stem}.{socket.gethostname()}.{os.getpid()}.tmp{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno == errno.ENOSPC or "No space left" in str(error):
            advice = "disk full while writing; free some space, then go on (a fit with --resume)"
            raise OSError(errno.ENOSPC, advice, str(path)) from error
        raise OSError(error.errno, f"cannot be written ({error.strerror or error})", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_text(path: str | PathLike[str], text: str) -> Path:
    """Write a text file in UTF-8, atomically."""
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_bytes(path: str | PathLike[str], content: bytes) -> Path:
    """Write a file, atomically."""
    return write_atomically(path, lambda temporary: temporary.write_bytes(content))
