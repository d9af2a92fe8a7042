"""audit.json: what the audit of a fit's data has found, kept beside the fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from giga.imaging.audit import Audit
from giga.io.errors import InputError
from giga.io.jsonfile import read_json, write_json

AUDIT = "audit.json"


def write_audit(audits: Sequence[Audit], folder: Path) -> Path:
    """Write the findings and the numbers of each observation. Raises OSError."""
    content = [{"findings": [vars(finding) | {"serious": bool(finding.serious)} for finding in one.findings],
                "numbers": {name: value if math.isfinite(value) else None for name, value in one.numbers.items()}}
               for one in audits]
    return write_json(folder / AUDIT, {"observations": content})


def read_findings(path: Path) -> list[dict[str, Any]]:
    """Findings of all observations: "kind", "serious" and "text", which names the observation if they are several.

    Raises:
        InputError: No such file, or it is damaged.
    """
    content = read_json(path)
    try:
        each = [[{key: finding[key] for key in ("kind", "serious", "text")} for finding in one["findings"]]
                for one in content["observations"]]
    except (LookupError, TypeError) as error:
        raise InputError(path, "", f"cannot be read ({type(error).__name__}: {error})",
                         "what an audit wrote") from error
    return [finding | {"text": (f"observation {k}: " if len(each) > 1 else "") + finding["text"]}
            for k, found in enumerate(each) for finding in found]
