"""model.fits: the images of a fit with their WCS, and its critical curves and caustics.

The primary HDU is empty. Each observation has the image HDUs of IMAGES and SOURCE_PLANE, SOURCE_ERROR where its source
has no given shape, and CORRELATION where its noise has one, with its number, from 1, as EXTVER; the table CURVES holds
the critical curves and caustics, and POINT_IMAGES the images of point sources where there are some. Images keep the WCS
of the observation; their WCS "A" gives the lens angles x and y in arcsec. Of a fit without pixels the HDUs of
`giga.io.results.field` are in the place of images.
"""

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from giga.imaging.observation import Observation
from giga.inference.field import Field
from giga.inference.pictures import Picture
from giga.inference.point_images import PointTable
from giga.io.errors import InputError
from giga.io.images.angles import angles, grid_of
from giga.io.images.fits import wcs_header
from giga.io.images.sky import celestial_wcs
from giga.io.results.field import field_hdus
from giga.io.results.point_images import images_hdu
from giga.lensing.caustics import cross_sections
from giga.lensing.critical import Curve, einstein_radius_of
from giga.runtime.atomic import write_bytes

FLUX, BRIGHTNESS = "ct/s", "ct/(s arcsec2)"
IMAGES = {"DATA": FLUX, "MODEL": FLUX, "RESIDUAL": "", "LENS_LIGHT": FLUX, "LENSED_SOURCE": FLUX, "NOISE": FLUX,
          "MASK": ""}
SOURCE_ERROR = "SOURCE_ERROR"  # standard deviation of SOURCE_PLANE, where the source has no given shape
CORRELATION = "CORRELATION"  # of the noise by lag, of those observations that have one


def write_model(path: str | PathLike[str], drawn: Sequence[Picture], cards: dict[str, tuple[object, str]],
                shown: Field | None = None, points: PointTable | None = None) -> Path:
    """Write model.fits.

    Args:
        path: Where it goes.
        drawn: A picture for each observation.
        cards: Keyword, and value and comment, for the primary header.
        shown: The field of a fit without pixels, which has no pictures.
        points: Images of point sources.
    """
    primary = fits.PrimaryHDU()
    curves = drawn[0].curves if shown is None else shown.curves
    primary.header["THETAE"] = (einstein_radius_of(curves), "effective Einstein radius [arcsec]")
    primary.header["NOBS"] = (len(drawn), "number of observations")
    for keyword, card in cards.items():
        primary.header[keyword] = card
    hdus: list = [primary]
    for number, picture in enumerate(drawn, start=1):
        observation = picture.observation
        images = {"DATA": observation.image, "MODEL": picture.model, "RESIDUAL": picture.residual,
                  "LENS_LIGHT": picture.lens_light, "LENSED_SOURCE": picture.lensed_source, "NOISE": picture.sigma,
                  "MASK": picture.mask}
        header = wcs_header(observation) if observation.header else angles(observation.grid)
        header.extend(angles(observation.grid, "A"))
        hdus += [_image(image, name, number, IMAGES[name], header, observation.band) for name, image in images.items()]
        if observation.correlation is not None:
            hdus.append(fits.ImageHDU(observation.correlation, name=CORRELATION, ver=number))
        plane = _image(picture.source, "SOURCE_PLANE", number, BRIGHTNESS, angles(picture.source_grid),
                       observation.band)
        if np.isfinite(picture.held):
            plane.header["HELD"] = (picture.held, "share of the flux of the source in this image")
        hdus.append(plane)
        if picture.source_error is not None:
            hdus.append(_image(picture.source_error, SOURCE_ERROR, number, BRIGHTNESS, angles(picture.source_grid),
                               observation.band))
    if shown is not None:
        hdus += field_hdus(shown)
    if points is not None and points.rows:
        hdus.append(images_hdu(points))
    hdus.append(_table(curves))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return write_bytes(path, buffer.getvalue())


def read_model(path: str | PathLike[str]) -> list[Picture]:
    """Read the pictures that `write_model` wrote; the observations come without their PSF.

    Raises:
        InputError: Missing, not FITS, or without one of its HDUs.
    """
    if not Path(path).is_file():
        raise InputError(path, "", "no such file", "the images of a finished fit")
    try:
        with fits.open(path, memmap=False) as file:
            hdus: Any = file
            curves = _curves(hdus["CURVES"].data)
            return [_picture(hdus, number, curves) for number in range(1, int(hdus[0].header["NOBS"]) + 1)]
    except (OSError, KeyError, ValueError) as error:
        raise InputError(path, "", f"cannot be read ({error})", "the images of a finished fit") from error


def read_curves(path: str | PathLike[str]) -> list[Curve]:
    """Read the critical curves of a fit, which has been read by `read_model`."""
    with fits.open(path, memmap=False) as file:
        hdus: Any = file
        return _curves(hdus["CURVES"].data)


def _picture(hdus: Any, number: int, curves: list[Curve]) -> Picture:
    image = {name: np.array(hdus[name, number].data, float) for name in (*IMAGES, "SOURCE_PLANE")}
    header = hdus["DATA", number].header
    wcs = celestial_wcs(header)
    observation = Observation(
        image=image["DATA"], grid=grid_of(header, "A"), noise_map=image["NOISE"], mask=image["MASK"] > 0.0,
        correlation=np.array(hdus[CORRELATION, number].data, float) if (CORRELATION, number) in hdus else None,
        band=header.get("BAND"), header="" if wcs is None else wcs.to_header(relax=True).tostring(sep="\n"))
    return Picture(observation=observation, model=image["MODEL"], sigma=image["NOISE"], lens_light=image["LENS_LIGHT"],
                   lensed_source=image["LENSED_SOURCE"], source=image["SOURCE_PLANE"],
                   source_grid=grid_of(hdus["SOURCE_PLANE", number].header), curves=curves,
                   held=float(hdus["SOURCE_PLANE", number].header.get("HELD", np.nan)),
                   source_error=np.array(hdus[SOURCE_ERROR, number].data, float)
                   if (SOURCE_ERROR, number) in hdus else None)


def _image(image: np.ndarray, name: str, number: int, unit: str, header: fits.Header,
           band: str | None) -> fits.ImageHDU:
    pixels = np.asarray(image, np.uint8 if image.dtype == bool else np.float32)
    hdu = fits.ImageHDU(pixels, header=header.copy(), name=name, ver=number)
    if unit:
        hdu.header["BUNIT"] = unit
    if name == "RESIDUAL":
        hdu.header["CONTENT"] = ("(DATA - MODEL) / NOISE", "of no unit")
    if band is not None:
        hdu.header["BAND"] = band
    return hdu


def _table(curves: Sequence[Curve]) -> fits.BinTableHDU:
    rows = [(curve.kind, number, plane, points, curve.secondary, area, length)
            for number, curve in enumerate(curves, start=1) for plane, points, area, length in (
                ("image", curve.critical, curve.area, curve.length),
                ("source", curve.caustic, curve.caustic_area, curve.caustic_length))]
    lengths = [len(row[3]) for row in rows]
    points = np.concatenate([np.zeros((0, 2)), *(row[3] for row in rows)])

    def repeated(values: list, dtype) -> np.ndarray:
        return np.repeat(np.array(values, dtype), lengths)

    table = fits.BinTableHDU.from_columns([
        fits.Column("kind", "10A", array=repeated([row[0] for row in rows], "U10")),
        fits.Column("curve", "J", array=repeated([row[1] for row in rows], np.int32)),
        fits.Column("secondary", "L", array=repeated([row[4] for row in rows], bool)),
        fits.Column("far", "J", array=repeated([curves[row[1] - 1].far for row in rows], np.int32)),
        fits.Column("plane", "6A", array=repeated([row[2] for row in rows], "U6")),
        fits.Column("x", "D", unit="arcsec", array=points[:, 0]),
        fits.Column("y", "D", unit="arcsec", array=points[:, 1]),
        fits.Column("area", "D", unit="arcsec2", array=repeated([row[5] for row in rows], float)),
        fits.Column("length", "D", unit="arcsec", array=repeated([row[6] for row in rows], float))], name="CURVES")
    for number, area in areas_of(curves).items():
        table.header[f"XSEC{number}"] = (area, f"[arcsec2] of the source plane with {number} images")
    return table


def areas_of(curves: Sequence[Curve]) -> dict[int, float]:
    """Cross-sections by the number of images; none where a curve leaves the field, for they cannot be told."""
    return cross_sections(curves) if all(curve.closed for curve in curves) else {}


def curves_summary(curves: Sequence[Curve]) -> dict[str, Any]:
    """What summary.json says of critical curves and caustics, in their order in the table CURVES."""
    rows = [{"kind": curve.kind, "secondary": curve.secondary, "closed": curve.closed, "area": curve.area,
             "einstein_radius": curve.einstein_radius, "length": curve.length, "caustic_area": curve.caustic_area,
             "caustic_length": curve.caustic_length} for curve in curves]
    return {"curves": rows, "cross_sections": {str(number): area for number, area in areas_of(curves).items()}}


def _curves(table: Mapping[str, Any]) -> list[Curve]:
    points = np.stack([np.asarray(table[key], float) for key in ("x", "y")], axis=1)
    plane, number, kind = np.asarray(table["plane"]), np.asarray(table["curve"]), np.asarray(table["kind"])
    # Files of earlier versions do not tell.
    secondary = np.asarray(table["secondary"]) if "secondary" in table.names else np.zeros(len(kind), bool)  # pyright: ignore
    far = np.asarray(table["far"]) if "far" in table.names else np.ones(len(kind), int)  # pyright: ignore
    return [Curve(kind=str(kind[number == k][0]), critical=points[(number == k) & (plane == "image")],
                  caustic=points[(number == k) & (plane == "source")], secondary=bool(secondary[number == k][0]),
                  far=int(far[number == k][0]))
            for k in np.unique(number)]
