"""`giga separate`: images into deflector, source and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import typer
from astropy.table import Table
from rich.markup import escape

from giga.cli.base import app, check_out, console, edge, tell
from giga.cli.evaluate import loaded
from giga.cli.predict import Many, Widths, ZeroPoint, per_band, places_of, read_images, say_unlike
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.cube import Cube, background_rms
from giga.io.images.units import is_no_rate
from giga.io.results.separation import magnitudes, together, write_separation, write_table
from giga.jobs.separated_mask import SCALE_TOLERANCE
from giga.models.networks.separator import Separator, separate
from giga.models.systems.separation_metrics import chi2
from giga.runtime import parallel

TABLE = "magnitudes.ecsv"


@app.command("separate")
@edge
def separate_command(
        images: Many,
        model: Annotated[str, typer.Option("--model", help="Name in the zoo, or path of weights.")],
        out: Annotated[Path, typer.Option("--out", help="FITS file for the parts of one image, with its magnitudes "
                                          "beside it, as .ecsv; of several images a folder, with one table.")],
        background: Annotated[list[float] | None, typer.Option("--background-rms", help="Noise of the sky in each "
                                                               "band, in the image's unit; measured without.")] = None,
        zero_point: ZeroPoint = None,
        fit: Annotated[str, typer.Option("--size", help="What to do with an image of another size than the model's: "
                                         "refuse, crop, pad, or take it as it is (keep).")] = "refuse",
        widths: Widths = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False) -> None:
    """Separate images into deflector, source and noise; the WCS is kept."""
    if fit not in ("refuse", "crop", "pad", "keep"):
        raise InputError("", "--size", f"got {fit!r}", "refuse, crop, pad or keep")
    if len(images) == 1:
        check_out(_pair(out), images, overwrite)
    parallel.start()
    network, card = loaded(model)
    if not isinstance(network, Separator):
        raise InputError("", "--model", f"{model} is a {card.network}", "a Separator")
    survey = network.config.observed
    bands = [band.name for band in survey.bands]
    zero = per_band("--zero-point", zero_point, bands) if zero_point else survey.zero_points
    given = per_band("--background-rms", background, bands, positive=True) if background else None
    taken = []
    for seen in read_images(images, bands):
        taken.append(_prepared(seen, network, model, fit, given, zero_point is not None))
        # In the survey's counts, whose zero points its magnitudes have.
        say_unlike(card.seen, seen, taken[-1][2] * 10.0 ** (0.4 * (survey.zero_points - zero)), widths)
    if len(taken) == 1:
        check_out(_pair(out), images, overwrite)
        places, table = [out], out.with_suffix(".ecsv")
    else:
        table = out / TABLE
        if out.suffix == ".fits":
            raise InputError(out, "--out", f"one file for {len(taken)} images", "a folder")
        if out.is_dir():
            check_out([table], images, overwrite)
        places = places_of(out, [cube for _, cube, _ in taken], images, overwrite)
    rows: list[Table] = []
    try:
        for (seen, cube, rms), place in zip(taken, places, strict=True):
            image, sigma = jnp.asarray(cube.image, jnp.float32)[None], jnp.asarray(rms, jnp.float32)
            parts = separate(network, image, sigma)
            y, x = cube.inner(seen)
            shown, lens, source = (part[:, y, x] for part in (image, parts["lens"], parts["source"]))
            first, second = (float(value[0]) for value in chi2(shown, lens, source, sigma))
            alone = {name: np.asarray(part[0], float) for name, part in parts.items()}
            write_separation(place, cube, alone, bands, model, card.sha256)
            found = magnitudes(alone, bands, [float(value) for value in zero], rms, card.magnitudes)
            if len(taken) > 1:
                console.print(escape(str(seen.file)), highlight=False, soft_wrap=True)
                found.add_column([str(seen.file)] * len(found), name="image", index=0)
            rows.append(found)
            for row in found:
                console.print(f"{row['component']:>6}: "
                              + ", ".join(f"{band} {row[f'mag_{band}']:.2f}" for band in bands), highlight=False)
            console.print(f"chi2 without the source {first:.2f}, with it {second:.2f} (of the sky's noise alone)",
                          highlight=False, soft_wrap=True)
    finally:  # images that are there have their rows, whatever came after
        if rows:
            write_table(table, together(rows))
    console.print(f"{out}, {table}" if len(taken) == 1 else f"{len(rows)} images in {out}, {table}", highlight=False,
                  soft_wrap=True)


def _pair(out: Path) -> list[Path]:
    """The files of one image. Raises InputError."""
    if out.suffix != ".fits":
        raise InputError(out, "--out", f"suffix {out.suffix!r}", ".fits")
    return [out, out.with_suffix(".ecsv")]


def _prepared(seen: Cube, network: Separator, model: str, fit: str, given: np.ndarray | None,
              zero: bool) -> tuple[Cube, Cube, np.ndarray]:
    """An image, as it is and as the network takes it, and the noise of its sky. Raises InputError."""
    survey = network.config.observed
    tell(seen.file, seen.notes)
    if not zero and is_no_rate(seen.unit):
        tell(seen.file, [f"BUNIT {seen.unit!r} is not counts / s, which the zero points of {survey.name!r} are for; "
                         "--zero-point sets others"])
    if (scale := seen.pixel_scale) is not None:
        check_pixel_scale(scale, survey.pixel_scale, SCALE_TOLERANCE, f"which {model} learned; resample the image",
                          seen.file, "image")
    cube = seen if fit == "keep" else seen.to_shape(survey.shape, fit)
    least = network.config.unet.multiple
    if min(cube.image.shape[:2]) < least:
        raise InputError(cube.file, "image", f"{cube.image.shape[0]} x {cube.image.shape[1]} pixels",
                         f"at least {least} x {least}, or --size pad")
    bands = [band.name for band in survey.bands]
    # Of the image before zeros are put around it.
    return seen, cube, background_rms(seen if fit == "pad" else cube, bands) if given is None else given
