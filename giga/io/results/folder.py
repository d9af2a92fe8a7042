"""The folder of a fit: the numbers that `giga fit` leaves after its search and at its end, written and read."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from giga.inference.amplitudes import Solved
from giga.inference.derived import Derived
from giga.inference.pictures import Picture
from giga.inference.result import Found, PointsFit, Result
from giga.io.errors import InputError
from giga.io.results.field import field_summary, read_field
from giga.io.results.model import curves_summary, read_curves, read_model, write_model
from giga.io.results.paper import csv_row, latex_rows
from giga.io.results.point_images import images_summary, read_images
from giga.io.results.posterior import CHECKS, DERIVED, TOTAL, read_posterior, write_posterior
from giga.lensing.critical import Curve
from giga.lensing.scene import Scene
from giga.runtime.atomic import write_text

FILES = ("config.toml", "posterior.nc", "model.fits", "fit.png", "corner.png", "checks.png", "report.html",
         "table.tex", "table.csv", "summary.json")
SEARCH_FILES = ("config.toml", "model.fits", "fit.png", "report.html", "search.json")
APART = ("evidence", "checks", "findings")  # notes of a fit that are not about a stage of it
SEARCHED = ("chi2", "n_pixels", "n_free", "best", "timings_s", "evaluations", "stages", "devices", "versions", "seed")
POINTS = ("chi2", "n", "log_likelihood")
DIAGNOSTICS = ("rhat", "ess_bulk", "ess_tail", "rhat_gelman_rubin")


def write_numbers(found: Found, drawn: Sequence[Picture], folder: Path, config_text: str) -> list[Path]:
    """Write the configuration, the images and, of a finished fit, the samples, each under a temporary name first.

    Raises:
        OSError: The disk is full, or a file cannot be written; the message names it.
    """
    sampled = [write_posterior(folder / "posterior.nc", found)] if isinstance(found, Result) else []
    stage = "finished fit" if sampled else "search alone"
    cards = {"CHI2": (found.total_chi2, "chi2 of the best fit"), "NPIXELS": (found.n_pixels, "number of fitted pixels"),
             "REDCHI2": (found.reduced_chi2, "chi2 per degree of freedom"), "SEED": (found.seed, "seed of the run"),
             "STAGE": (stage, "what the best fit is of"),
             "ORIGIN": (f"giga {found.versions.get('giga', '')}".strip(), "written by")}
    written = [write_text(folder / "config.toml", config_text), *sampled,
               write_model(folder / "model.fits", drawn, cards, found.field, found.point_images)]
    if isinstance(found, Result):
        written += [write_text(folder / "table.tex", latex_rows(found)),
                    write_text(folder / "table.csv", csv_row(found))]
    return written


def write_last(found: Found, folder: Path, curves: Sequence[Curve] = ()) -> Path:
    """Write search.json, or the summary.json of a finished fit in its place, when all other files are there.

    Raises as `summary`, and OSError.
    """
    name = "summary.json" if isinstance(found, Result) else "search.json"
    path = write_text(folder / name, json.dumps(summary(found, curves), indent=2, allow_nan=False) + "\n")
    if isinstance(found, Result):
        (folder / "search.json").unlink(missing_ok=True)
    return path


def read_found(folder: str | PathLike[str]) -> tuple[Found, list[Picture]]:
    """Read back a finished fit, or what the search of one that has not ended has found; raises as `read_results`."""
    folder = Path(folder)
    if (folder / "summary.json").is_file() or not (folder / "search.json").is_file():
        return read_results(folder)
    known = read_summary(folder / "search.json", SEARCHED)
    drawn = read_model(folder / "model.fits")
    return Found(**_best_of(known, drawn, folder), amplitudes=_amplitudes(known.get("amplitudes", {}), {})), drawn


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
        **_best_of(known, drawn, folder), amplitudes=_amplitudes(known.get("amplitudes", {}), groups),
        samples={name: groups["posterior"][name] for name in parameters},
        vi_samples={name: groups["vi"][name][0] for name in parameters},
        prior_samples={name: values[0] for name, values in groups["prior"].items()},
        sample_stats={name: values for name, values in groups["sample_stats"].items() if name != TOTAL},
        log_likelihood=groups["sample_stats"][TOTAL],
        diagnostics={name: {key: nan if row[key] is None else row[key] for key in DIAGNOSTICS}
                     for name, row in parameters.items()},
        derived=_derived(known, groups))
    return result.replace(info={**result.info, **_apart(known, groups)}), drawn


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


def _best_of(known: Mapping[str, Any], drawn: Sequence[Picture], folder: Path) -> dict[str, Any]:
    """The fields of `Found` that summary.json or search.json and model.fits hold."""
    images, path = known.get("images"), folder / "model.fits"
    section = known.get("points", {})
    points = PointsFit(**{name: section[name] for name in POINTS if name in section})
    return dict(
        points=points, point_images=read_images(section),
        field=None if images is None else read_field(path, images, read_curves(path)),
        prior=Scene(), scenes=[], observations=[picture.observation for picture in drawn], best=known["best"],
        model_images=[picture.model for picture in drawn], sigma_images=[picture.sigma for picture in drawn],
        chi2=known["chi2"] - points.chi2, n_pixels=known["n_pixels"], n_free=known["n_free"],
        timings_s=known["timings_s"], evaluations=known["evaluations"], truth=known.get("truth"), seed=known["seed"],
        devices=known["devices"],
        info=known["stages"] | {name: known[name] for name in APART if name in known}, versions=known["versions"])


def _amplitudes(rows: Mapping[str, Any], groups: Mapping[str, Mapping[str, np.ndarray]]) -> Solved:
    """The solved amplitudes that summary.json or search.json and posterior.nc hold together."""
    best = Solved(best={name: np.asarray(row["best"], float) for name, row in rows.items()},
                  units={name: row["unit"] for name, row in rows.items()})
    drawn = groups.get("amplitudes")
    if not rows or drawn is None:
        return best
    return replace(best, draws={name: drawn[name] for name in rows}, of=drawn["draw"])


def summary(result: Found, curves: Sequence[Curve] = ()) -> dict[str, Any]:
    """What summary.json or search.json holds, in plain Python; diagnostics that are not numbers become None.

    Args:
        result: The fit, or what its search has found.
        curves: Critical curves of the best fit.

    Raises:
        ValueError: NaN or infinity in chi2, a best-fit value, or the moments of the posterior.
    """
    sampled = {"parameters": {name: _row(result, name) for name in result.names}} if isinstance(result, Result) else {}
    out: dict[str, Any] = {
        **sampled,
        "chi2": _finite("chi2", result.total_chi2), "n_pixels": int(result.n_pixels),
        "reduced_chi2": _finite("reduced_chi2", result.reduced_chi2), "n_free": int(result.n_free),
        "best": {name: _finite(f"best.{name}", value) for name, value in result.best.items()},
        "timings_s": _plain(result.timings_s), "evaluations": _plain(result.evaluations),
        "stages": _plain({name: note for name, note in result.info.items() if name not in APART}),
        "devices": _plain(result.devices), "versions": _plain(result.versions), "seed": int(result.seed),
    }
    if result.points.n:
        out["points"] = {"chi2": _finite("points.chi2", result.points.chi2), "n": result.points.n,
                         "log_likelihood": _finite("points.log_likelihood", result.points.log_likelihood)}
        if result.point_images is not None:
            out["points"] |= _plain(images_summary(result.point_images))
    if curves:
        out |= _plain(curves_summary(curves))
    if result.field is not None:
        out["images"] = _plain(field_summary(result.field))
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


def read_summary(path: Path, needed: Sequence[str] = ("parameters", *SEARCHED)) -> dict[str, Any]:
    """Read summary.json, or search.json with what it needs.

    Raises:
        InputError: Missing, damaged, or not that of a finished fit.
    """
    if not path.is_file():
        begun = path.with_name("checkpoint").is_dir()
        raise InputError(path, "", "no such file" + "; the fit was begun and has not ended" * begun,
                         "the folder of a finished fit" + ", which giga fit --resume makes of it" * begun)
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(path, "", f"cannot be read ({error})", "the summary of a finished fit") from error
    if not isinstance(known, dict):
        raise InputError(path, "", f"holds a {type(known).__name__}", "the summary of a finished fit")
    for key in needed:
        if key not in known:
            raise InputError(path, key, "missing", "the summary of a finished fit")
    return known
