"""What every benchmark script does the same way: its arguments, and the JSON that it leaves."""

import argparse
import json
from pathlib import Path
from typing import Any

from giga.runtime.atomic import write_text
from giga.runtime.environment import environment, git_hash

HERE = Path(__file__).parent
GIT = git_hash()  # of the code that was read: a commit or an edit while a long benchmark runs is not in it


def parser(description: str, name: str) -> argparse.ArgumentParser:
    """An argument parser with --out and --smoke."""
    out = argparse.ArgumentParser(description=description)
    out.add_argument("--out", type=Path, default=HERE / "results" / f"{name}.json", help="JSON file to write")
    out.add_argument("--smoke", action="store_true", help="a few seconds: smaller, fewer repeats")
    return out


def write(path: Path, results: Any, show: bool = True) -> None:
    """Write the results with the environment, whole or not at all, and print them."""
    text = json.dumps(dict(environment=environment() | {"git": GIT}, results=results), indent=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text + "\n")
    if show:
        print(text)
