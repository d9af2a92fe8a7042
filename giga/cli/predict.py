"""`giga predict`: the parameters of lenses from their images, by a network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from astropy.table import Table as AstropyTable
from rich.markup import escape
from rich.table import Table

from giga.cli.base import app, check_out, console, edge, tell
from giga.cli.evaluate import loaded
from giga.inference.digits import rounded
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.cube import Cube, check_lit, pixel_noise, read_cube, read_cubes
from giga.io.images.units import to_rate
from giga.io.jsonfile import write_json
from giga.io.results.separation import write_separation, write_table
from giga.jobs.amortised import Predictor, seen_by, summary
from giga.jobs.chained import analyse
from giga.models.networks.chain import Chain
from giga.models.networks.posterior import PosteriorNet
from giga.models.zoo import Seen
from giga.runtime import parallel
from giga.show.terminal import names_table
from giga.simulate.surveys.survey import Survey

SUFFIXES = (".json", ".ecsv")
SIZES = ("refuse", "crop", "pad")
PARAMETERS = ("theta_E", "q", "phi")  # of a chain: arcsec, and radians from 0 to pi
NUMBERS = ("mean", "sd", "q16", "q50", "q84")
UNITS = ("counts/s", "counts", "surface_brightness")
Units = Annotated[str | None, typer.Option("--units", help="Of the image: counts/s, counts or surface_brightness; its "
                                                           "BUNIT says it without.")]
Exposure = Annotated[float | None, typer.Option("--exposure-time", help="For an image in counts \\[s].")]

Widths = Annotated[list[float] | None, typer.Option("--psf-fwhm", help="Width of the PSF in each band \\[arcsec], to "
                                                    "see whether it is like those of the training.")]


Many = Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="FITS files with all bands each; or one a band in "
                                            "the order of the model, those of one image after each other.")]
ZeroPoint = Annotated[list[float] | None, typer.Option("--zero-point", help="Magnitude of one unit of flux in each "
                                                       "band; the survey's without. Separators and chains.")]


@app.command("predict")
@edge
def predict_command(
        images: Many,
        model: Annotated[str, typer.Option("--model", help="Name in the zoo, or path of weights: of a posterior or a "
                                           "chain.")],
        out: Annotated[list[Path] | None, typer.Option("--out", help="File for the table, .json or .ecsv; may be given "
                                                       "twice.")] = None,
        parts: Annotated[Path | None, typer.Option("--parts", help="Folder for the images that a chain gives, without "
                                                   "noise and of the source alone.")] = None,
        draws: Annotated[int | None, typer.Option("--draws", min=100, help="Draws that the numbers of a posterior are "
                                                  "made of; 4000 without.")] = None,
        seed: Annotated[int | None, typer.Option("--seed", min=0, max=2**32 - 1,
                                                 help="Of the draws; 0 without.")] = None,
        size: Annotated[str, typer.Option("--size", help="What to do with an image of another size than the model's: "
                                          "refuse, crop or pad.")] = "refuse",
        units: Units = None, exposure: Exposure = None, zero_point: ZeroPoint = None, widths: Widths = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False) -> None:
    """Give the parameters of lenses from their images: with their spread, or by a chain, which finds lenses too."""
    if size not in SIZES:
        raise InputError("", "--size", f"got {size!r}", f"one of {', '.join(SIZES)}")
    check_units(units, exposure)
    for path in out or ():
        if path.suffix not in SUFFIXES:
            raise InputError(path, "--out", f"suffix {path.suffix!r}", f"one of {', '.join(SUFFIXES)}")
        check_out([path], images, overwrite)
    parallel.start()
    network, card = loaded(model)
    about: dict[str, Any] = {"model": model, "sha256": card.sha256}
    if isinstance(network, Chain):
        for option, given in (("--draws", draws), ("--seed", seed)):
            if given is not None:
                raise InputError("", option, f"given for {model}, a Chain", "no such option: it draws nothing")
        survey = network.config.observed
        bands = [band.name for band in survey.bands]
        factor = zero_factor(zero_point, survey, bands)
        taken = _taken(images, bands, survey.shape, size, units, exposure, survey.pixel_scale,
                       f"which {model} learned", card.seen, widths, factor)
        cubes = [cube for cube, _ in taken]
        places = [] if parts is None else places_of(parts, cubes, images, overwrite, "--parts")
        _write_chain(network, taken, places, out or [], about, bands)
        return
    if not isinstance(network, PosteriorNet):
        raise InputError("", "model", f"{model} is a {card.network}", "a PosteriorNet or a Chain")
    for option, given in (("--parts", parts), ("--zero-point", zero_point)):
        if given is not None:
            raise InputError("", option, f"given for {model}, a PosteriorNet", "no such option: it is for a Chain")
    config, draws, seed = network.config, 4000 if draws is None else draws, seed or 0
    taken = _taken(images, config.bands, config.shape, size, units, exposure, config.pixel_scale,
                   f"which {model} learned", seen_by(card, config), widths)
    predictor = Predictor.made(model, network, card)
    found: list[tuple[str, dict[str, dict[str, float]]]] = []
    try:
        for cube, image in taken:
            found.append((str(cube.file), summary(predictor.draws(image, draws, seed))))
            if len(taken) > 1:
                console.print(escape(str(cube.file)), highlight=False, soft_wrap=True)
            console.print(_table(found[-1][1]))
    finally:  # what was found is written, whatever came after
        if found:
            _write_posteriors(out or [], found, {**about, "draws": draws, "seed": seed}, len(taken) == 1)


def _taken(images: Sequence[Path], bands: Sequence[str], shape: tuple[int, int], size: str, units: str | None,
           exposure: float | None, pixel_scale: float, whose: str, known: Seen | None, widths: Sequence[float] | None,
           factor: np.ndarray | float = 1.0) -> list[tuple[Cube, np.ndarray]]:
    """Every image as a network takes it, all of them checked before anything is computed.

    Args:
        images: Files, see `read_images`.
        bands, shape, pixel_scale: What the network takes.
        size, units, exposure, widths: As the user says.
        whose: What the pixels are, in words.
        known: What the network has seen.
        factor: To the network's counts / s, of each band.

    Returns:
        The image as it is in its file, cut or padded, and its pixels [counts / s of the network].

    Raises:
        InputError: An image that cannot be taken; names its file.
    """
    taken = []
    for seen in read_images(images, bands):
        cube = seen.to_shape(shape, size)
        if (scale := cube.pixel_scale) is not None:
            check_pixel_scale(scale, pixel_scale, 0.01, whose, cube.file, "image")
        rate = rate_of(cube, units, exposure, pixel_scale) * factor
        check_lit(seen, bands)
        say_unlike(known, seen, rate * pixel_noise(seen), widths)
        taken.append((cube, rate * cube.image))
    return taken


def read_images(paths: Sequence[Path], bands: Sequence[str]) -> list[Cube]:
    """Read one image or several, see `giga.io.images.cube.read_cubes`. Raises InputError."""
    return [read_cube(paths, bands)] if len(paths) == 1 else read_cubes(paths, bands)


def places_of(folder: Path, cubes: Sequence[Cube], inputs: Sequence[Path], overwrite: bool,
              option: str = "--out") -> list[Path]:
    """A FITS file in a folder for each image, named after it; the folder is made.

    Raises:
        InputError: Two images of one name, no place for the folder, or a file that is there already.
    """
    names = [f"{cube.file.name.split('.fit')[0]}.fits" for cube in cubes]
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(folder / twice[0], option, "written for two images",
                         "images whose files have different names")
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, option, "is a file", "a folder")
    if folder.is_dir():
        check_out([folder / name for name in names], inputs, overwrite, option)
    elif not folder.parent.is_dir():
        raise InputError(folder, option, f"no folder {folder.parent}", "a folder in one that is there")
    folder.mkdir(exist_ok=True)
    return [folder / name for name in names]


def per_band(option: str, values: Sequence[float], bands: Sequence[str], positive: bool = False) -> np.ndarray:
    """Numbers that were given for each band. Raises InputError."""
    if len(values) != len(bands):
        raise InputError("", option, f"{len(values)} values", f"one a band: {', '.join(bands)}")
    for band, value in zip(bands, values, strict=True):
        if not np.isfinite(value) or positive and value <= 0.0:
            raise InputError("", option, f"band {band}: {value:g}", "a finite number" + " above 0" * positive)
    return np.asarray(values, float)


def zero_factor(zero_point: Sequence[float] | None, survey: Survey, bands: Sequence[str]) -> np.ndarray:
    """Factor of each band from counts of the zero points given to the survey's. Raises InputError."""
    zero = per_band("--zero-point", zero_point, bands) if zero_point else survey.zero_points
    return 10.0 ** (0.4 * (survey.zero_points - zero))


def _write_chain(network: Chain, taken: Sequence[tuple[Cube, np.ndarray]], places: Sequence[Path], out: Sequence[Path],
                 about: dict[str, Any], bands: Sequence[str]) -> None:
    """Take images through a chain, show and write what it gives; what was found is written, whatever comes after."""
    rows: list[dict[str, Any]] = []
    table = names_table("image", "lens", *PARAMETERS)
    try:
        for k, (cube, image) in enumerate(taken):
            found = analyse(network, image)
            rows.append({"image": str(cube.file), "lens": found.lens, **{name: found.parameters[name]
                                                                       for name in PARAMETERS}})
            table.add_row(cube.file.name, *(f"{rows[-1][name]:.3f}" for name in ("lens", *PARAMETERS)))
            if places:
                header = cube.header.copy()
                header["BUNIT"] = "ct / s"
                shown = Cube(image, header, cube.file, "ct / s")
                write_separation(places[k], shown, found.parts, bands, about["model"], about["sha256"])
    finally:
        for path in out if rows else ():
            if path.suffix == ".json":
                write_json(path, {**about, "images": rows})
            else:
                write_table(path, AstropyTable(rows=rows, meta=about))
    console.print(table)


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


def _write_posteriors(out: Sequence[Path], found: Sequence[tuple[str, dict[str, dict[str, float]]]],
                      about: dict[str, Any], one: bool) -> None:
    """Write the numbers of one image, or of several with their names."""
    for path in out:
        if path.suffix == ".json":
            images = [{"image": image, "parameters": rows} for image, rows in found]
            write_json(path, {**about, **(images[0] if one else {"images": images})})
            continue
        rows = [{**({} if one else {"image": image}), "parameter": name, **row}
                for image, each in found for name, row in each.items()]
        write_table(path, AstropyTable(rows=rows, meta={**about, **({"image": found[0][0]} if one else {})}))


def _table(rows: dict[str, dict[str, float]]) -> Table:
    table = names_table("parameter", *NUMBERS)
    for name, row in rows.items():
        table.add_row(name, *(rounded(row[key], row["sd"]) for key in NUMBERS))
    return table
