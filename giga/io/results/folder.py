"""The folder of a finished fit: the numbers that `giga fit` leaves, written and read."""

import json
import math
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from giga.inference.amplitudes import Solved
from giga.inference.derived import Derived
from giga.inference.pictures import Picture
from giga.inference.result import Result
from giga.io.errors import InputError
from giga.io.results.model import read_model, write_model
from giga.io.results.paper import csv_row, latex_rows
from giga.io.results.posterior import CHECKS, DERIVED, TOTAL, read_posterior, write_posterior
from giga.lensing.scene import Scene
from giga.runtime.atomic import write_text

FILES = ("config.toml", "posterior.nc", "model.fits", "fit.png", "corner.png", "checks.png", "report.html",
         "table.tex", "table.csv", "summary.json")
APART = ("evidence", "checks", "findings")  # notes of a fit that are not about a stage of it
DIAGNOSTICS = ("rhat", "ess_bulk", "ess_tail", "rhat_gelman_rubin")


def write_numbers(result: Result, drawn: Sequence[Picture], folder: Path, config_text: str) -> list[Path]:
    """Write the configuration, the samples and the images of a fit, each under a temporary name first.

    Raises:
        OSError: The disk is full, or a file cannot be written; the message names it.
    """
    cards = {"CHI2": (result.chi2, "chi2 of the best fit"), "NPIXELS": (result.n_pixels, "number of fitted pixels"),
             "REDCHI2": (result.reduced_chi2, "chi2 per degree of freedom"), "SEED": (result.seed, "seed of the run"),
             "ORIGIN": (f"giga {result.versions.get('giga', '')}".strip(), "written by")}
    return [write_text(folder / "config.toml", config_text), write_posterior(folder / "posterior.nc", result),
            write_model(folder / "model.fits", drawn, cards),
            write_text(folder / "table.tex", latex_rows(result)), write_text(folder / "table.csv", csv_row(result))]


def summary_text(result: Result) -> str:
    """What summary.json holds, as JSON. Raises as `summary`."""
    return json.dumps(summary(result), indent=2, allow_nan=False) + "\n"


def read_results(folder: str | PathLike[str]) -> tuple[Result, list[Picture]]:
    """Read a finished fit back, enough to draw and report it again.

    The prior and the scenes are not in the files read (the configuration has the prior), so they are
    empty, and the observations have no PSF.

    Raises:
        InputError: A file that is missing or damaged.
    """
    folder = Path(folder)
    known = read_summary(folder / "summary.json")
    groups = read_posterior(folder / "posterior.nc")
    drawn = read_model(folder / "model.fits")
    parameters, nan = known["parameters"], float("nan")
    result = Result(
        prior=Scene(), scenes=[], observations=[picture.observation for picture in drawn], best=known["best"],
        samples={name: groups["posterior"][name] for name in parameters},
        vi_samples={name: groups["vi"][name][0] for name in parameters},
        prior_samples={name: values[0] for name, values in groups["prior"].items()},
        sample_stats={name: values for name, values in groups["sample_stats"].items() if name != TOTAL},
        log_likelihood=groups["sample_stats"][TOTAL],
        model_images=[picture.model for picture in drawn], sigma_images=[picture.sigma for picture in drawn],
        chi2=known["chi2"], n_pixels=known["n_pixels"], n_free=known["n_free"],
        diagnostics={name: {key: nan if row[key] is None else row[key] for key in DIAGNOSTICS}
                     for name, row in parameters.items()},
        timings_s=known["timings_s"], evaluations=known["evaluations"],
        info=known["stages"] | _apart(known, groups), truth=known.get("truth"),
        seed=known["seed"], amplitudes=_amplitudes(known.get("amplitudes", {}), groups),
        devices=known["devices"], versions=known["versions"], derived=_derived(known, groups))
    return result, drawn


def _apart(known: Mapping[str, Any], groups: Mapping[str, Mapping[str, np.ndarray]]) -> dict[str, Any]:
    """Evidence, checks and findings; the draws of checks are in posterior.nc, of earlier versions in summary.json."""
    out = {name: known[name] for name in APART if name in known}
    if CHECKS in groups and "checks" in out:
        rows = {name: row | {kind: groups[CHECKS][f"{name}_{kind}"].tolist() for kind in ("observed", "replicated")}
                for name, row in out["checks"]["predictive"].items()}
        out["checks"] = out["checks"] | {"predictive": rows}
    return out


def _derived(known: Mapping[str, Any], groups: Mapping[str, Mapping[str, np.ndarray]]) -> Derived | None:
    """The derived numbers that summary.json and posterior.nc hold together."""
    if "derived" not in known:
        return None
    rows = {name: row for name, row in known["derived"].items() if row is not None}
    missing = {name: reason for reason, names in known["derived_missing"].items() for name in names}
    return Derived({name: groups[DERIVED][name] for name in rows},
                   {name: float("nan") if row["best"] is None else row["best"] for name, row in rows.items()},
                   {name: row["unit"] for name, row in rows.items()},
                   groups[DERIVED]["draw"] if rows else np.zeros(0, int), tuple(known["derived_notes"]), missing)


def _amplitudes(rows: Mapping[str, Any], groups: Mapping[str, Mapping[str, np.ndarray]]) -> Solved:
    """The solved amplitudes that summary.json and posterior.nc hold together."""
    return Solved({name: groups["amplitudes"][name] for name in rows},
                  {name: np.asarray(row["best"], float) for name, row in rows.items()},
                  {name: row["unit"] for name, row in rows.items()}, groups["amplitudes"]["draw"] if rows else
                  np.zeros(0, int))


def summary(result: Result) -> dict[str, Any]:
    """What summary.json holds, in plain Python; diagnostics that are not numbers become None.

    Raises:
        ValueError: NaN or infinity in chi2, a best-fit value, or the moments of the posterior.
    """
    parameters = {name: _row(result, name) for name in result.names}
    out: dict[str, Any] = {
        "parameters": parameters,
        "chi2": _finite("chi2", result.chi2), "n_pixels": int(result.n_pixels),
        "reduced_chi2": _finite("reduced_chi2", result.reduced_chi2), "n_free": int(result.n_free),
        "best": {name: _finite(f"best.{name}", value) for name, value in result.best.items()},
        "timings_s": _plain(result.timings_s), "evaluations": _plain(result.evaluations),
        "stages": _plain({name: note for name, note in result.info.items() if name not in APART}),
        "devices": _plain(result.devices), "versions": _plain(result.versions), "seed": int(result.seed),
    }
    if rows := result.amplitudes.rows():
        out["amplitudes"] = {name: _plain(row) | {"unit": result.amplitudes.units[name]} for name, row in rows.items()}
    out |= {name: _plain(result.info[name]) for name in APART if name in result.info}
    if "checks" in out:  # their draws are in posterior.nc
        out["checks"]["predictive"] = {name: {"p_value": row["p_value"], "draws": len(row["observed"])}
                                       for name, row in out["checks"]["predictive"].items()}
    if result.derived is not None:
        derived = result.derived
        out["derived"] = {name: _plain(row) | {"unit": derived.units[name]} for name, row in derived.rows().items()} \
            | dict.fromkeys(derived.missing)
        out["derived_missing"] = {reason: [name for name, other in derived.missing.items() if other == reason]
                                  for reason in dict.fromkeys(derived.missing.values())}
        out["derived_notes"] = list(derived.notes)
    if result.truth is not None:
        out["truth"] = {name: _finite(f"truth.{name}", value) for name, value in result.truth.items()}
    return out


def _row(result: Result, name: str) -> dict[str, float | None]:
    samples = np.asarray(result.samples[name], float)
    q16, q50, q84 = np.quantile(samples, [0.16, 0.5, 0.84])
    moments = {"mean": samples.mean(), "sd": samples.std(ddof=1), "q16": q16, "q50": q50, "q84": q84}
    diagnostics = result.diagnostics[name]
    return ({key: _finite(f"parameters.{name}.{key}", value) for key, value in moments.items()}
            | {key: _plain(diagnostics[key]) for key in DIAGNOSTICS})


def _finite(field: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"summary.json: {field}: got {value}; expected a finite number")
    return float(value)


def _plain(value: Any) -> Any:
    """NumPy and JAX numbers, arrays and mappings as JSON has them; NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    array = np.asarray(value)
    if array.ndim:
        return [_plain(item) for item in array]
    if array.dtype == bool:
        return bool(array)
    if np.issubdtype(array.dtype, np.integer):
        return int(array)
    if np.issubdtype(array.dtype, np.floating):
        return float(array) if np.isfinite(array) else None
    raise ValueError(f"summary.json: got {value!r} of type {type(value).__name__}; expected numbers, strings and lists")


def read_summary(path: Path) -> dict[str, Any]:
    """Read summary.json.

    Raises:
        InputError: Missing, damaged, or not that of a finished fit.
    """
    if not path.is_file():
        raise InputError(path, "", "no such file", "the folder of a finished fit")
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(path, "", f"cannot be read ({error})", "the summary of a finished fit") from error
    if not isinstance(known, dict):
        raise InputError(path, "", f"holds a {type(known).__name__}", "the summary of a finished fit")
    needed = ("parameters", "chi2", "n_pixels", "n_free", "best", "timings_s", "evaluations", "stages", "devices",
              "versions", "seed")
    for key in needed:
        if key not in known:
            raise InputError(path, key, "missing", "the summary of a finished fit")
    return known
