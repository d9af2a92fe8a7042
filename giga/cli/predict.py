"""`giga predict`: the parameters of a lens from its image, with their uncertainties, by a network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from astropy.table import Table as AstropyTable
from rich.markup import escape
from rich.table import Table

from giga.cli.base import app, check_out, console, edge, tell
from giga.inference.digits import rounded
from giga.io.errors import InputError
from giga.io.images.cube import Cube, pixel_noise, read_cube
from giga.io.images.units import to_rate
from giga.io.jsonfile import write_json
from giga.io.results.separation import write_table
from giga.jobs.amortised import Predictor, summary
from giga.models.zoo import Seen
from giga.runtime import parallel

SUFFIXES = (".json", ".ecsv")
SIZES = ("refuse", "crop", "pad")
UNITS = ("counts/s", "counts", "surface_brightness")
Units = Annotated[str | None, typer.Option("--units", help="Of the image: counts/s, counts or surface_brightness; its "
                                                           "BUNIT says it without.")]
Exposure = Annotated[float | None, typer.Option("--exposure-time", help="For an image in counts \\[s].")]

Widths = Annotated[list[float] | None, typer.Option("--psf-fwhm", help="Width of the PSF in each band \\[arcsec], to "
                                                    "see whether it is like those of the training.")]


@app.command("predict")
@edge
def predict_command(
        images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One FITS file with all bands, or one a "
                                                     "band in the order of the model.")],
        model: Annotated[str, typer.Option("--model", help="Name in the zoo, or path of weights.")],
        out: Annotated[list[Path] | None, typer.Option("--out", help="File for the table, .json or .ecsv; may be given "
                                                       "twice.")] = None,
        draws: Annotated[int, typer.Option("--draws", min=100, help="Draws that the numbers are made of.")] = 4000,
        seed: Annotated[int, typer.Option("--seed", min=0, max=2**32 - 1, help="Of the draws.")] = 0,
        size: Annotated[str, typer.Option("--size", help="What to do with an image of another size than the model's: "
                                          "refuse, crop or pad.")] = "refuse",
        units: Units = None, exposure: Exposure = None, widths: Widths = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False) -> None:
    """Give mean, spread and quantiles of a lens's parameters, from its image alone."""
    if size not in SIZES:
        raise InputError("", "--size", f"got {size!r}", f"one of {', '.join(SIZES)}")
    check_units(units, exposure)
    for path in out or ():
        if path.suffix not in SUFFIXES:
            raise InputError(path, "--out", f"suffix {path.suffix!r}", f"one of {', '.join(SUFFIXES)}")
        check_out([path], images, overwrite)
    parallel.start()
    predictor = Predictor.of(model)
    config = predictor.config
    seen = read_cube(images, config.bands)
    cube = seen.to_shape(config.shape, size)
    if (scale := cube.pixel_scale) is not None:
        predictor.check_scale(scale, cube.file, "image")
    rate = rate_of(cube, units, exposure, config.pixel_scale)
    say_unlike(predictor.seen, seen, rate * pixel_noise(seen), widths)
    rows = summary(predictor.draws(rate * cube.image, draws, seed))
    for path in out or ():
        _write(path, rows, {"model": model, "sha256": predictor.sha256, "image": str(cube.file), "draws": draws,
                            "seed": seed})
    console.print(_table(rows))


def say_unlike(seen: Seen | None, cube: Cube, rms: Iterable[float],
               widths: Sequence[float] | None) -> None:
    """Say what of an image is far from what a network has seen.

    Args:
        seen: What it has seen.
        cube: The image, without a border.
        rms: Noise of its sky in each band, in the unit of what the network has seen.
        widths: Of its PSF [arcsec], one a band; None takes what the header tells.

    Raises:
        InputError: Not one width a band, or one that is not positive.
    """
    if seen is None:
        return
    if widths is not None and (len(widths) != len(seen.bands) or not all(0.0 < one < math.inf for one in widths)):
        raise InputError("", "--psf-fwhm", ", ".join(f"{one:g}" for one in widths),
                         f"a width above 0 for each band: {', '.join(seen.bands)}")
    for text in seen.unlike([float(one) for one in rms], [cube.psf_fwhm] if widths is None else widths,
                            cube.pixel_scale):
        console.print(f"[yellow]note:[/] {escape(cube.file.name)}: {text}", highlight=False, soft_wrap=True)


def check_units(units: str | None, exposure: float | None) -> None:
    """Refuse units and exposure times that there are not. Raises InputError."""
    if exposure is not None and not 0.0 < exposure < math.inf:
        raise InputError("", "--exposure-time", f"got {exposure:g}", "seconds above 0")
    if units not in (None, *UNITS):
        raise InputError("", "--units", f"got {units!r}", f"one of {', '.join(UNITS)}")


def rate_of(cube: Cube, units: str | None, exposure: float | None, pixel_scale: float) -> float:
    """Factor to counts / s, said where the image does not say it. Raises InputError."""
    try:
        factor, note = to_rate(cube.unit, units, exposure, pixel_scale**2)
    except ValueError as error:
        raise InputError(cube.file, "--units", str(error), ", ".join(UNITS)) from error
    tell(cube.file, [*cube.notes, *([note] if note else [])])
    return float(factor)


def _write(path: Path, rows: dict[str, dict[str, float]], about: dict[str, str | int]) -> None:
    if path.suffix == ".json":
        write_json(path, {**about, "parameters": rows})
        return
    table = AstropyTable(rows=[{"parameter": name, **row} for name, row in rows.items()], meta=about)
    write_table(path, table)


def _table(rows: dict[str, dict[str, float]]) -> Table:
    table = Table("", "mean", "sd", "q16", "q50", "q84")
    for name, row in rows.items():
        table.add_row(name, *(rounded(row[key], row["sd"]) for key in ("mean", "sd", "q16", "q50", "q84")))
    return table
