"""The configuration that is kept beside results, where it is not the user's own file that lies there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

CONFIG = "config.toml"


def is_own(folder: Path, given: Path) -> bool:
    """Whether the configuration that a command was given is the one in its folder of results."""
    kept = folder / CONFIG
    return kept.is_file() and given.is_file() and kept.samefile(given)


def text_beside(folder: Path, text: str, given: Path, plain: Callable[[], str]) -> str:
    """The text of config.toml in a folder of results: every default written out, or the user's own file as it is.

    Args:
        folder: Of the results.
        text: The configuration as run, with every default.
        given: File that the command was given. Where it is that very file, it stays as the user wrote it; one that
            an earlier run wrote is renewed.
        plain: The given file with every default, as an earlier run would have written it.
    """
    if not is_own(folder, given):
        return text
    found = given.read_text(encoding="utf-8")
    return text if _said(found) == _said(plain()) else found


def _said(text: str) -> str:
    """Without the comments that giga writes above a configuration."""
    lines = text.splitlines()
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    return "\n".join(lines)
