"""What a fit leaves: its numbers, and the pictures and the report that are drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from giga.inference.pictures import Picture, pictures
from giga.inference.result import Result
from giga.io.configuration.toml import Config
from giga.io.errors import InputError
from giga.io.results.folder import FILES, read_results, summary_text, write_numbers
from giga.runtime.atomic import write_bytes, write_text
from giga.show.checks import checks_figure
from giga.show.corner import corner_figure
from giga.show.plot import fit_figure, png, trace_figure
from giga.show.report import report_page


def write_results(result: Result, folder: str | PathLike[str], config_text: str, *, draw: bool = True) -> list[Path]:
    """Write every file of a fit into a folder, each under a temporary name first.

    summary.json comes last: where it is, the rest is.

    Args:
        result: The fit.
        folder: Made if it is not there.
        config_text: The configuration as run.
        draw: Draw pictures and report too; `redraw` does it later.

    Returns:
        The files written.

    Raises:
        OSError: The disk is full, or a file cannot be written; the message names it.
        ValueError: A number of the summary that is NaN or infinite.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    text = summary_text(result)
    drawn = pictures(result)
    return [*write_numbers(result, drawn, folder, config_text),
            *(_draw(result, drawn, folder, config_text) if draw else ()),
            write_text(folder / "summary.json", text)]


def in_units(result: Result, config: Config) -> Result:
    """The result with lengths and masses by the redshifts of its configuration."""
    if result.derived is None:
        return result
    return result.replace(derived=result.derived.at(config.lens.redshifts))


def redraw(folder: str | PathLike[str]) -> list[Path]:
    """Draw fit.png, corner.png and report.html again from the other files of a fit."""
    folder = Path(folder)
    result, drawn = read_results(folder)
    config = folder / "config.toml"
    if not config.is_file():
        raise InputError(config, "", "no such file", "the configuration of a finished fit")
    return _draw(result, drawn, folder, config.read_text(encoding="utf-8"))


def _draw(result: Result, drawn: Sequence[Picture], folder: Path, config_text: str) -> list[Path]:
    fit, corner, trace = png(fit_figure(result, drawn)), png(corner_figure(result)), png(trace_figure(result), 90)
    images = {"fit": fit, "corner": corner, "trace": trace}
    if "checks" in result.info:
        images["checks"] = png(checks_figure(result), 110)
    page = report_page(result, drawn[0].curves, images, config_text, FILES)
    checks = [write_bytes(folder / "checks.png", images["checks"])] if "checks" in images else []
    return [write_bytes(folder / "fit.png", fit), write_bytes(folder / "corner.png", corner), *checks,
            write_text(folder / "report.html", page)]
