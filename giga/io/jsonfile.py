"""JSON files, written whole and read with one clear error."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

from giga.io.errors import InputError
from giga.runtime.atomic import write_text


def write_json(path: str | PathLike[str], content: Any) -> Path:
    """Write a JSON file, atomically; NaN and infinity are refused with a ValueError."""
    return write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: str | PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        InputError: Missing or damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(path, "", "no such file", "a JSON file") from None
    except ValueError as error:
        raise InputError(path, "", f"cannot be read ({error})", "whole JSON; remove it to have it anew") from error
