"""Files of a calibration study: one a lens, and the summary of all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.configuration.toml import listed
from giga.io.errors import InputError
from giga.io.jsonfile import read_json, write_json
from giga.io.results.folder import read_summary
from giga.io.results.posterior import read_posterior
from giga.runtime.atomic import write_bytes
from giga.runtime.identity import changed, told

MARK, ROWS, SUMMARY, PICTURE = "study.json", "lenses", "calibration.json", "calibration.png"
NEEDED = ("ranks", "below", "draws")


class Study:
    """The folder of a study; a lens is there whole or not at all.

    Args:
        folder: Made if it is not there.
        identity: Hash of all that the ranks depend on.
        facts: What that is, by name, to tell later what has changed.

    Raises:
        InputError: The folder holds a study of another identity.
    """

    def __init__(self, folder: str | PathLike[str], identity: str, facts: Mapping[str, Any] | None = None):
        self.folder = Path(folder)
        mark, now = self.folder / MARK, told(facts or {})
        if mark.exists():
            kept = read_json(mark)
            if (seen := kept.get("identity")) != identity:
                changes = listed(changed(kept["facts"], now)) if "facts" in kept else "made by an older version of giga"
                raise InputError(mark, "identity", f"a study of other settings (hash {str(seen)[:12]}): {changes}",
                                 f"hash {identity[:12]}; use another output folder")
        (self.folder / ROWS).mkdir(parents=True, exist_ok=True)
        if not mark.exists():
            write_json(mark, {"identity": identity, "facts": now})

    def has(self, number: int) -> bool:
        """Whether a lens is there."""
        return self._path(number).exists()

    def write(self, number: int, row: dict[str, Any]) -> None:
        """Write the row of a lens; NaN and infinity are refused."""
        write_json(self._path(number), row)

    def rows(self, count: int) -> list[dict[str, Any]]:
        """Rows of the lenses below a number that are there, in order, each with its number as "lens".

        Raises:
            InputError: A row that cannot be read.
        """
        rows = []
        for number in range(count):
            if self.has(number):
                row = read_json(self._path(number))
                for key in () if "failed" in row else NEEDED:
                    if key not in row:
                        raise InputError(self._path(number), key, "missing", "the row of a lens; remove the file")
                rows.append(row | {"lens": number})
        return rows

    def _path(self, number: int) -> Path:
        return self.folder / ROWS / f"{number:05d}.json"


def write_summary(folder: str | PathLike[str], found: dict[str, Any], picture: bytes) -> list[Path]:
    """Write calibration.json and calibration.png."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return [write_json(folder / SUMMARY, found),
            write_bytes(folder / PICTURE, picture)]


def read_runs(folders: Sequence[str | PathLike[str]]) -> Iterator[tuple[Path, dict[str, np.ndarray], dict[str, float]]]:
    """Folder, samples and truth of finished runs.

    Raises:
        InputError: A run that is damaged, or that was not told the truth.
    """
    for folder in map(Path, folders):
        known = read_summary(folder / "summary.json")
        if not known.get("truth"):
            raise InputError(folder / "summary.json", "truth", "missing", "a run of simulated data that kept its truth")
        samples = read_posterior(folder / "posterior.nc")["posterior"]
        for name in known["truth"]:
            if name not in samples:
                raise InputError(folder / "posterior.nc", name, "no such parameter", "samples of each true value")
        yield folder, samples, known["truth"]
