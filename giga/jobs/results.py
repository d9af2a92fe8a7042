"""What a fit leaves: its numbers, and the pictures and the report that are drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TypeVar

from giga.inference.pictures import Picture, pictures
from giga.inference.result import Found, Result
from giga.io.configuration.toml import Config
from giga.io.errors import InputError
from giga.io.results.folder import FILES, SEARCH_FILES, read_found, write_last, write_numbers
from giga.jobs.audit import PICTURE
from giga.lensing.critical import Curve
from giga.runtime.atomic import write_bytes, write_text
from giga.show.checks import checks_figure
from giga.show.corner import corner_figure
from giga.show.field import field_figure
from giga.show.plot import fit_figure, png, trace_figure
from giga.show.report import report_page

F = TypeVar("F", bound=Found)


def write_results(found: Found, folder: str | PathLike[str], config_text: str, *, draw: bool = True) -> list[Path]:
    """Write every file of a fit, or of its search, into a folder, each under a temporary name first.

    summary.json comes last, of a search search.json: where it is, the rest is.

    Args:
        found: The fit, or what its search has found.
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
    drawn = pictures(found)
    return [*write_numbers(found, drawn, folder, config_text),
            *(_draw(found, drawn, folder, config_text) if draw else ()),
            write_last(found, folder, _curves(found, drawn))]


def _curves(found: Found, drawn: Sequence[Picture]) -> Sequence[Curve]:
    """The critical curves of the best fit."""
    return drawn[0].curves if found.field is None else found.field.curves


def keep_search(found: Found, folder: Path, config_text: str, *, draw: bool = True) -> None:
    """Write what a search has found, unless the folder holds the finished fit, whose files stay as they are."""
    if not (folder / "summary.json").is_file():
        write_results(found, folder, config_text, draw=draw)


def in_units(result: F, config: Config) -> F:
    """The result with lengths, masses and delays by the redshifts of its configuration."""
    if result.point_images is not None:
        result = result.replace(point_images=result.point_images.at(config.redshifts))
    if result.derived is None:
        return result
    return result.replace(derived=result.derived.at(config.redshifts))


def redraw(folder: str | PathLike[str]) -> list[Path]:
    """Draw fit.png, corner.png and report.html again from the other files of a fit, or of its search."""
    folder = Path(folder)
    found, drawn = read_found(folder)
    config = folder / "config.toml"
    if not config.is_file():
        raise InputError(config, "", "no such file", "the configuration of a finished fit")
    return _draw(found, drawn, folder, config.read_text(encoding="utf-8"))


def _draw(found: Found, drawn: Sequence[Picture], folder: Path, config_text: str) -> list[Path]:
    images = {"fit": png(fit_figure(found, drawn) if found.field is None else field_figure(found))}
    if isinstance(found, Result):
        images |= {"corner": png(corner_figure(found)), "trace": png(trace_figure(found), 90)}
        if "checks" in found.info:
            images["checks"] = png(checks_figure(found), 110)
    if (folder / PICTURE).is_file():
        images["audit"] = (folder / PICTURE).read_bytes()
    files = FILES if isinstance(found, Result) else SEARCH_FILES
    page = report_page(found, _curves(found, drawn), images, config_text, files)
    kept = [write_bytes(folder / f"{name}.png", image) for name, image in images.items() if f"{name}.png" in files]
    return [*kept, write_text(folder / "report.html", page)]
