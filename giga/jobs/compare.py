"""Fits of the same data side by side: evidence, BIC, chi2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from giga.inference.checks.findings import p_text
from giga.io.errors import InputError
from giga.io.results.folder import read_summary


@dataclass(frozen=True)
class Compared:
    """One fit.

    Attributes:
        run: Its folder.
        log_evidence, error: Natural logarithm of the evidence, with its standard error.
        bic: Bayesian information criterion.
        chi2, reduced_chi2: Of the best fit.
        n_pixels, n_free: Fitted pixels; sampled and solved parameters.
        p_value: Posterior predictive p-value of chi2, in words; empty when it was not asked for.
        amplitudes: How linear amplitudes were treated; None when there are none.
        converged: Whether the sampling reached its targets.
        modes: What modes there are, as a sentence.
        findings: What else must be seen before its numbers are used, see `giga.inference.checks.findings`.
    """

    run: Path
    log_evidence: float
    error: float
    bic: float
    chi2: float
    reduced_chi2: float
    n_pixels: int
    n_free: int
    p_value: str
    amplitudes: str | None
    converged: bool
    modes: str
    findings: tuple[str, ...] = ()


def read_compared(runs: Sequence[Path]) -> list[Compared]:
    """Read fits that may be compared.

    Raises:
        InputError: A folder without a finished fit, or one of an older version; or fits of different data.
    """
    rows, first = [], ""
    for run in runs:
        known = read_summary(run / "summary.json")
        for part in ("evidence", "checks"):
            if part not in known:
                raise InputError(run / "summary.json", part, "missing",
                                 "a fit of this version; fit again with --overwrite")
        evidence, checks = known["evidence"], known["checks"]
        first = first or checks["data_hash"]
        if checks["data_hash"] != first:
            raise InputError(run / "summary.json", "checks.data_hash",
                             f"{checks['data_hash'][:12]}, but {runs[0]} has {first[:12]}",
                             "fits of the same data; evidences of different pixels, masks or noise say nothing")
        predicted = checks["predictive"].get("chi2")
        if predicted is not None and "draws" not in predicted:  # earlier versions kept the draws themselves
            predicted = {**predicted, "draws": len(predicted["observed"])}
        rows.append(Compared(
            run, _number(evidence["log_evidence"]), _number(evidence["error"]), checks["bic"], known["chi2"],
            known["reduced_chi2"], known["n_pixels"], known["n_free"],
            "" if predicted is None else p_text(predicted["p_value"], predicted["draws"]),
            checks["amplitudes"], known["stages"]["hmc"]["converged"], known["stages"]["map"]["modes_sentence"],
            tuple(row["text"] for row in known.get("findings", ()) if row["kind"] != "not converged")))
    return rows


def difference(row: Compared, best: Compared) -> tuple[float, float]:
    """Log-evidence less that of the best, and its error; the best itself has none."""
    if row is best:
        return 0.0, 0.0
    return row.log_evidence - best.log_evidence, math.hypot(row.error, best.error)


def cautions(rows: Sequence[Compared]) -> list[str]:
    """What must be kept in mind with these fits."""
    said = [f"{row.run}: the sampling did not reach its targets" for row in rows if not row.converged]
    said += [f"{row.run}: {text}" for row in rows for text in row.findings]
    solved = [row for row in rows if row.amplitudes not in (None, "marginal")]
    if solved:
        said.append(f"{', '.join(str(row.run) for row in solved)}: amplitudes are solved, not integrated over, so the "
                    "evidence is that of the profile likelihood; compare only models with the same linear amplitudes, "
                    "or use amplitudes = \"marginal\"")
    return said


def _number(value: float | None) -> float:
    """A number of a summary, where null stands for what could not be had."""
    return math.nan if value is None else float(value)
