"""`giga separate`: an image into deflector, source and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import jax.numpy as jnp
import numpy as np
import typer

from giga.cli.base import app, check_out, console, edge, tell
from giga.cli.evaluate import loaded
from giga.cli.predict import Widths, say_unlike
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.cube import background_rms, read_cube
from giga.io.images.units import is_no_rate
from giga.io.results.separation import magnitudes, write_separation, write_table
from giga.jobs.separated_mask import SCALE_TOLERANCE
from giga.models.networks.separator import Separator, separate
from giga.models.systems.separation_metrics import chi2
from giga.runtime import parallel


@app.command("separate")
@edge
def separate_command(
        images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="One FITS file with all bands, or one a "
                                                     "band in the order of the model.")],
        model: Annotated[str, typer.Option("--model", help="Name in the zoo, or path of weights.")],
        out: Annotated[Path, typer.Option("--out", help="FITS file for the parts; magnitudes go beside it, as "
                                          ".ecsv.")],
        background: Annotated[list[float] | None, typer.Option("--background-rms", help="Noise of the sky in each "
                                                               "band, in the image's unit; measured without.")] = None,
        zero_point: Annotated[list[float] | None, typer.Option("--zero-point", help="Magnitude of one unit of flux in "
                                                               "each band; the survey's without.")] = None,
        fit: Annotated[str, typer.Option("--size", help="What to do with an image of another size than the model's: "
                                         "refuse, crop, pad, or take it as it is (keep).")] = "refuse",
        widths: Widths = None,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False) -> None:
    """Separate an image into deflector, source and noise; the WCS is kept."""
    if fit not in ("refuse", "crop", "pad", "keep"):
        raise InputError("", "--size", f"got {fit!r}", "refuse, crop, pad or keep")
    if out.suffix != ".fits":
        raise InputError(out, "--out", f"suffix {out.suffix!r}", ".fits")
    beside = out.with_suffix(".ecsv")
    check_out([out, beside], images, overwrite)
    parallel.start()
    network, card = loaded(model)
    if not isinstance(network, Separator):
        raise InputError("", "--model", f"{model} is a {card.network}", "a Separator")
    survey = network.config.observed
    bands = [band.name for band in survey.bands]
    zero = _per_band("--zero-point", zero_point, bands) if zero_point else survey.zero_points
    given = _per_band("--background-rms", background, bands, positive=True) if background else None
    seen = read_cube(images, bands)
    tell(seen.file, seen.notes)
    if zero_point is None and is_no_rate(seen.unit):
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
    # Of the image before zeros are put around it.
    rms = background_rms(seen if fit == "pad" else cube, bands) if given is None else given
    # In the survey's counts, whose zero points its magnitudes have.
    say_unlike(card.seen, seen, rms * 10.0 ** (0.4 * (survey.zero_points - zero)), widths)
    image, sigma = jnp.asarray(cube.image, jnp.float32)[None], jnp.asarray(rms, jnp.float32)
    parts = separate(network, image, sigma)
    y, x = cube.inner(seen)
    shown, lens, source = (part[:, y, x] for part in (image, parts["lens"], parts["source"]))
    first, second = (float(value[0]) for value in chi2(shown, lens, source, sigma))
    alone = {name: np.asarray(part[0], float) for name, part in parts.items()}
    table = magnitudes(alone, bands, [float(value) for value in zero], rms, card.magnitudes)
    write_separation(out, cube, alone, bands, model, card.sha256)
    write_table(beside, table)
    for row in table:
        console.print(f"{row['component']:>6}: " + ", ".join(f"{band} {row[f'mag_{band}']:.2f}" for band in bands),
                      highlight=False)
    console.print(f"chi2 without the source {first:.2f}, with it {second:.2f} (of the sky's noise alone)\n{out}, "
                  f"{beside}", highlight=False, soft_wrap=True)


def _per_band(option: str, values: list[float], bands: list[str], positive: bool = False) -> np.ndarray:
    if len(values) != len(bands):
        raise InputError("", option, f"{len(values)} values", f"one a band: {', '.join(bands)}")
    for band, value in zip(bands, values, strict=True):
        if not np.isfinite(value) or positive and value <= 0.0:
            raise InputError("", option, f"band {band}: {value:g}", "a finite number" + " above 0" * positive)
    return np.asarray(values, float)

