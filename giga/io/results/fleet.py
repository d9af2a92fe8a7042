"""The folder of a fleet: where a lens is, how it ended, and the table of them all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table

from giga.io.errors import InputError
from giga.io.jsonfile import read_json, write_json
from giga.io.results.audit import AUDIT, read_findings
from giga.io.results.folder import SEARCHED, read_summary
from giga.io.results.paper import fleet_rows
from giga.lensing.labels import unit
from giga.runtime.atomic import write_atomically, write_text
from giga.runtime.checkpoint import CheckpointError
from giga.runtime.workers import ClusterError

MOMENTS = ("mean", "sd", "q16", "q50", "q84")
HEAD = {"reduced_chi2": "", "worst_rhat": "", "smallest_ess": "", "converged": "", "seconds": "s", "findings": "",
        "look_at": "", "audit_serious": "", "audit": ""}
KINDS = {"converged": bool, "findings": int, "look_at": str, "audit_serious": int, "audit": str}  # not numbers
LOCKS, REFUSED = ".locks", "refused.json"
DATE = "%Y-%m-%dT%H:%M:%SZ"
PLAIN = (InputError, CheckpointError, ClusterError, FloatingPointError)  # their messages stand alone
SAID = {"reduced_chi2": "reduced chi2 {:.3f}", "worst_rhat": "worst R-hat {:.3f}",
        "smallest_ess": "smallest ESS {:.0f}", "seconds": "{:.0f} s"}
Numbers = dict[str, tuple[Any, str]]
"""What the table says of a lens: value and unit by column; None is not known."""


@dataclass
class FleetFolder:
    """The folder of a fleet, as any process sees it.

    Attributes:
        path: The folder.
        searches: Whether a lens is done when its search has ended.
    """

    path: Path
    searches: bool = False
    _known: dict[Path, tuple[int, Any]] = field(default_factory=dict)  # what files hold, with their dates

    def lens(self, name: str) -> Path:
        """Folder of a lens."""
        return self.path / "lenses" / name

    def lock(self, name: str) -> Path:
        """File by which a process holds a lens."""
        return self.path / LOCKS / name

    def is_done(self, name: str) -> bool:
        """Whether a lens has all its results, see `last`."""
        return self.last(name).is_file()

    def last(self, name: str) -> Path:
        """The file of a lens that is written last: summary.json, of a search search.json."""
        summary = self.lens(name) / "summary.json"
        return summary if summary.is_file() or not self.searches else self.lens(name) / "search.json"

    def failure(self, name: str) -> dict[str, str] | None:
        """Why a lens failed: its "reason" and "error", the class of the error; None when it did not.

        A finished lens whose summary cannot be read has failed as well; one that can be read has not.
        """
        if self.is_done(name):
            try:
                self.numbers(name)
            except FileNotFoundError:  # taken away to fit the lens anew
                pass
            except InputError as error:
                return {"reason": str(error), "error": type(error).__name__}
            else:
                return None
        path = self.lens(name) / "failure.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            return {"reason": f"{path}: cannot be read ({error})", "error": "ValueError"}

    def fail(self, name: str, error: Exception) -> str:
        """Keep why a lens failed; returns the reason."""
        said = " ".join(str(error).split())
        reason = said if isinstance(error, PLAIN) and said else f"{type(error).__name__}: {said}"
        self.lens(name).mkdir(parents=True, exist_ok=True)
        note = {"reason": reason, "error": type(error).__name__, "time": time.strftime(DATE, time.gmtime())}
        write_text(self.lens(name) / "failure.json", json.dumps(note, indent=2) + "\n")
        return reason

    def forget_failure(self, name: str) -> None:
        """Let a failed lens be tried again; what it left as its end is removed."""
        for file in (self.last(name), self.lens(name) / "failure.json"):
            file.unlink(missing_ok=True)

    def refuse(self, name: str, reason: str) -> None:
        """Keep why a lens is not fitted, until the next run looks at it anew; what the folder holds of it stays."""
        self.lens(name).mkdir(parents=True, exist_ok=True)
        write_json(self.lens(name) / REFUSED, {"reason": reason})

    def refusal(self, name: str) -> str:
        """Why a lens is not fitted; empty when it may be."""
        path = self.lens(name) / REFUSED
        return str(read_json(path)["reason"]) if path.is_file() else ""

    def forget_refusal(self, name: str) -> None:
        """Let a refused lens be looked at anew."""
        (self.lens(name) / REFUSED).unlink(missing_ok=True)

    def has_ended(self, name: str) -> bool:
        """Whether nothing more will be done with a lens."""
        return self.is_done(name) or self.failure(name) is not None or bool(self.refusal(name))

    def numbers(self, name: str) -> Numbers:
        """Numbers of a finished lens; a summary that did not change is not read again.

        Raises:
            InputError: The summary cannot be read.
            FileNotFoundError: There is none.
        """
        return self._read(self.last(name), _of_summary)[0]

    def derived(self, name: str) -> Mapping[str, Any]:
        """The numbers for a paper of a finished lens, as its summary has them; raises as `numbers`."""
        return self._read(self.last(name), _of_summary)[1]

    def audit(self, name: str) -> Numbers:
        """What the audit has found in the data of a lens, or why that cannot be read; empty without one."""
        try:
            return self._read(self.lens(name) / AUDIT, _of_audit)
        except FileNotFoundError:
            return {}
        except InputError as error:
            return {"audit": (str(error), "")}

    def _read(self, path: Path, how: Callable[[Path], Any]) -> Any:
        """What a file holds; one that did not change is not read again."""
        date = path.stat().st_mtime_ns
        if path not in self._known or self._known[path][0] != date:
            self._known[path] = (date, how(path))
        return self._known[path][1]

    def says(self, name: str) -> str:
        """How the fit of a finished lens went, on one line."""
        known = {column: value for column, (value, _) in self.numbers(name).items() if value is not None}
        parts = [text.format(known[column]) for column, text in SAID.items() if column in known]
        look = known.get("look_at", "")
        parts += [] if known.get("converged", True) or look else ["not converged"]
        return ", ".join(parts) + (f"; look: {look}" if look else "")

    def write_table(self, status: Mapping[str, tuple[str, str]]) -> list[Path]:
        """Write summary.fits and summary.csv, and summary.tex where lenses have numbers for a paper.

        Args:
            status: Status and reason of each lens, by name; a lens that is "done" has its numbers.
        """
        table = self.table(status)
        plain = table.copy()  # FITS has ASCII alone
        for column in ("reason", "look_at", "audit"):
            texts = np.ma.filled(np.ma.asarray(plain[column]), "")
            plain[column] = [text.encode("ascii", "backslashreplace").decode() for text in texts]
        derived = {name: self.derived(name) for name, (said, _) in status.items() if said == "done"}
        paper = [write_text(self.path / "summary.tex", fleet_rows(derived))] if any(derived.values()) else []
        return [
            *paper,
            write_atomically(self.path / "summary.fits", lambda to: plain.write(to, format="fits", overwrite=True)),
            write_atomically(self.path / "summary.csv", lambda to: table.write(to, format="ascii.csv", overwrite=True)),
        ]

    def table(self, status: Mapping[str, tuple[str, str]]) -> Table:
        """One row a lens; see `write_table`."""
        rows = [(self.numbers(name) if said == "done" else {}) | self.audit(name)
                for name, (said, _) in status.items()]
        table = Table({"name": list(status), "status": [said for said, _ in status.values()],
                       "reason": [reason for _, reason in status.values()]}, dtype=[str, str, str])
        units = HEAD | {column: physical for row in rows for column, (_, physical) in row.items()}
        for column, physical in units.items():
            values = [row[column][0] if column in row else None for row in rows]
            known, kind = [value is not None for value in values], KINDS.get(column, float)
            filled = np.array([kind() if value is None else value for value in values], kind)
            table[column] = MaskedColumn(filled, mask=~np.array(known, bool), unit=physical or None)
        return table


def _of_audit(path: Path) -> Numbers:
    """Columns of an audit."""
    found = read_findings(path)
    return {"audit_serious": (sum(one["serious"] for one in found), ""),
            "audit": ("; ".join(one["text"] for one in found), "")}


def _of_summary(path: Path) -> tuple[Numbers, Mapping[str, Any]]:
    """Columns of a finished fit or search, and its numbers for a paper."""
    searched = path.name == "search.json"
    summary = read_summary(path, SEARCHED) if searched else read_summary(path)
    try:
        return (_searched if searched else _numbers)(summary), summary.get("derived", {})
    except (LookupError, TypeError, AttributeError) as error:  # JSON, but of another structure
        raise InputError(path, "", f"cannot be read ({type(error).__name__}: {error})",
                         "the summary of a finished fit") from error


def _searched(summary: Mapping[str, Any]) -> Numbers:
    row: Numbers = {"reduced_chi2": (summary["reduced_chi2"], HEAD["reduced_chi2"]),
                    "seconds": (sum(summary["timings_s"].values()), HEAD["seconds"])} | _said(summary)
    return row | {f"{name.replace('.', '_')}_best": (value, unit(name)) for name, value in summary["best"].items()}


def _said(summary: Mapping[str, Any]) -> Numbers:
    """Columns of what must be seen, which fits of earlier versions do not have."""
    found = summary.get("findings")
    return {"findings": (None if found is None else len(found), ""),
            "look_at": (None if found is None else "; ".join(row["text"] for row in found), "")}


def _numbers(summary: Mapping[str, Any]) -> Numbers:
    parameters, truth = summary["parameters"], summary.get("truth", {})
    rhat, ess = ([row[key] for row in parameters.values()] for key in ("rhat", "ess_bulk"))
    values = {"reduced_chi2": summary["reduced_chi2"],
              "worst_rhat": None if None in rhat else max(rhat), "smallest_ess": None if None in ess else min(ess),
              "converged": bool(summary["stages"].get("hmc", {}).get("converged", False)),
              "seconds": sum(summary["timings_s"].values())}
    row: Numbers = {column: (values[column], physical) for column, physical in HEAD.items() if column in values}
    row |= _said(summary)
    for name, moments in parameters.items():
        known = {key: moments[key] for key in MOMENTS} | ({"truth": truth[name]} if name in truth else {})
        row |= {f"{name.replace('.', '_')}_{key}": (value, unit(name)) for key, value in known.items()}
    for name, moments in summary.get("derived", {}).items():
        if moments is not None:  # which what lacks a redshift is
            row |= {f"{name.replace('.', '_')}_{key}": (moments[key], moments["unit"]) for key in MOMENTS}
    return row
