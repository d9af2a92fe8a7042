"""The audit of a fit's data: before the fit, and as a command of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape

from giga.bayes.prior import Prior
from giga.component import leaves_with_names
from giga.imaging.audit import Audit, audit
from giga.imaging.observation import Observation
from giga.io.errors import InputError
from giga.io.results.audit import write_audit
from giga.lensing.scene import Scene
from giga.runtime.atomic import write_bytes
from giga.show.audit import audit_figure
from giga.show.plot import png

PICTURE = "audit.png"


def audited(prior: Scene, observations: Sequence[Observation], precision: str, file: Path,
            strict: bool = False) -> list[Audit]:
    """Audit the observations of a fit.

    Args:
        prior: Scene with distributions on its leaves, which tells where the lens is expected.
        observations: The data.
        precision: Of the fit.
        file: The configuration, for messages.
        strict: Refuse data with a serious finding.

    Raises:
        InputError: A serious finding, when strict.
    """
    centre = expected_centre(prior, precision)
    audits = [audit(observation, centre) for observation in observations]
    for k, one in enumerate(audits):
        if strict and one.serious:
            raise InputError(file, f"observation.{k}", one.serious[0], "data without serious findings (--strict)")
    return audits


def expected_centre(prior: Scene, precision: str) -> tuple[float, float] | None:
    """Where the middle of the prior has the lens: its light, or else its mass; None for neither."""
    middle = Prior.of(prior, np.dtype(precision))
    origin: Any = np.zeros(middle.size, precision)
    values = {name: leaf for name, leaf in leaves_with_names(middle.scene(origin)) if np.ndim(leaf) == 0}
    for part in ("lens_light.0", "mass.0"):
        if f"{part}.center_x" in values and f"{part}.center_y" in values:
            return float(values[f"{part}.center_x"]), float(values[f"{part}.center_y"])
    return None


def show_audits(audits: Sequence[Audit], console: Console) -> None:
    """Print what was found, a line each."""
    for k, one in enumerate(audits):
        name = "audit" if len(audits) == 1 else f"audit of observation {k}"
        for finding in one.findings:
            colour = "bold red" if finding.serious else "yellow"
            console.print(f"[{colour}]{name}:[/] {escape(finding.text)}", highlight=False, soft_wrap=True)
        if not one.findings:
            console.print(f"[green]{name}:[/] nothing found", highlight=False)


def keep_audits(observations: Sequence[Observation], audits: Sequence[Audit], folder: Path, draw: bool = True) -> None:
    """Leave what was found in the folder of a fit: audit.json, and audit.png when it is drawn. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if draw:
        write_audits(observations, audits, folder / PICTURE)
    write_audit(audits, folder)


def write_audits(observations: Sequence[Observation], audits: Sequence[Audit], path: Path) -> Path:
    """Draw what was found. Raises OSError."""
    return write_bytes(path, png(audit_figure(observations, audits), 100))
