"""`giga init`: from an image to a configuration that `giga fit` takes, and a picture of what it believes in."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from giga.cli.base import app, check_out, console, edge, tell
from giga.io.errors import InputError
from giga.jobs.init import SURVEYS, Wishes, begin
from giga.runtime.atomic import write_bytes, write_text
from giga.show.first_look import first_look_figure
from giga.show.plot import png


class LensLight(StrEnum):
    """What the light of the lens is made of."""

    GAUSSIANS = "gaussians"
    SERSICS = "sersics"


@app.command("init")
@edge
def init_command(
        image: Annotated[Path, typer.Argument(help="FITS file of the image; or HDF5 as lenstronomy has it, or a "
                                               "folder as PyAutoLens has it.")],
        out: Annotated[Path, typer.Option("--out", help="The configuration; its picture lies beside it.")] =
        Path("lens.toml"),
        noise: Annotated[Path | None, typer.Option(help="Noise map, standard deviations; without one the scatter of "
                                                   "the sky.")] = None,
        psf: Annotated[Path | None, typer.Option(help="PSF kernel.")] = None,
        mask: Annotated[Path | None, typer.Option(help="FITS file whose pixels that are not zero are left "
                                                  "out.")] = None,
        survey: Annotated[str | None, typer.Option(help=f"Pixel scale, PSF and zero point of one: "
                                                   f"{', '.join(SURVEYS)}.")] = None,
        pixel_scale: Annotated[float | None, typer.Option(help="Side of a pixel \\[arcsec], where the header has no "
                                                          "WCS.", min=0.0)] = None,
        zero_point: Annotated[float | None, typer.Option(help="Magnitude of one unit of the image.")] = None,
        z_lens: Annotated[float | None, typer.Option(help="Redshift of the lens.")] = None,
        z_source: Annotated[float | None, typer.Option(help="Redshift of the source.")] = None,
        center: Annotated[tuple[float, float] | None, typer.Option(help="RA DEC of the lens \\[deg]; else the "
                                                                   "brightest peak near the middle.")] = None,
        pixel: Annotated[tuple[float, float] | None, typer.Option(help="Column and row of the lens, from 0.")] = None,
        theta_e: Annotated[float | None, typer.Option(help="Radius of the ring \\[arcsec], if it is known.")] = None,
        light: Annotated[LensLight, typer.Option(help="Light of the lens: a multi-Gaussian expansion, or two Sersic "
                                                 "profiles.")] = LensLight.GAUSSIANS,
        overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over what is there.")] = False) -> None:
    """Write a configuration for a lens from its image, and a picture of what it believes in."""
    for name, value in (("--theta-e", theta_e), ("--pixel-scale", pixel_scale)):
        if value is not None and not value > 0.0:
            raise InputError("", name, f"got {value:g}", "a number above 0")
    picture = out.with_suffix(".png")
    check_out([out, picture], [path for path in (image, noise, psf, mask) if path is not None], overwrite)
    wishes = Wishes(noise, psf, survey, pixel_scale, zero_point, z_lens, z_source, center, pixel, theta_e, light.value,
                    mask)
    begun = begin(image, wishes, out)
    write_bytes(picture, png(first_look_figure(begun.observation, begun.found, begun.sky, begun.residual,
                                               begun.sky.rms), 110))
    write_text(out, begun.text)
    tell(out, begun.notes)
    found = begun.found
    console.print(f"ring of {found.theta_E:.2f} arcsec ({found.significance:.0f} sigma), light of the lens "
                  f"{found.half_light:.2f} arcsec, circle of {begun.extent:.2f} arcsec with "
                  f"{int(begun.observation.mask.sum())} pixels", highlight=False)
    console.print(f"wrote {escape(str(out))} and {escape(str(picture))}: look at the picture, then giga fit "
                  f"{escape(str(out))} --out RUN", highlight=False, soft_wrap=True)
