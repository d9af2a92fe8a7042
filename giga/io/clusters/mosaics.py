"""Lenses injected into a user's images of a cluster, one FITS file a band."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from jax import Array

from giga.imaging.grid import Grid
from giga.io.clusters.models import north_up
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.hdu import read_image
from giga.io.images.sky import celestial_wcs
from giga.io.lenstool.catalogues import on_plane, on_sky
from giga.io.results.separation import write_table
from giga.runtime.atomic import write_bytes
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.cluster_fields import MARGIN, NODES, ClusterField, ClusterLens, prepare
from giga.simulate.systems.clusters import ClusterLenses

TABLE = "lenses.ecsv"
TOGETHER = 32  # lenses drawn at a time
DRAWS = 64  # times so many, of which a galaxy is used once


@dataclass(frozen=True, eq=False)
class Mosaic:
    """Images of a cluster in several bands, pixel on pixel, north up.

    Attributes:
        images: Shape (ny, nx, bands) [counts / s]; NaN where there are none.
        headers: One a band.
        files: Where they came from.
        wcs: Of the first.
        sigma: Noise of the sky in each band, by the median absolute deviation, shape (bands,) [counts / s].
    """

    images: np.ndarray
    headers: tuple[fits.Header, ...]
    files: tuple[Path, ...]
    wcs: WCS
    sigma: np.ndarray


def read_mosaic(files: Sequence[str | PathLike[str]], survey: Survey) -> Mosaic:
    """Read the images of a cluster.

    Args:
        files: One a band of the survey, in its order, in counts / s of its zero points.
        survey: Whose bands and pixel scale they have.

    Raises:
        InputError: Another number of files, images of several shapes or places, without a WCS, of another pixel scale,
            without north up, or without a single finite pixel.
    """
    paths = tuple(Path(file) for file in files)
    if len(paths) != len(survey.bands):
        raise InputError(paths[0] if paths else "", "images", f"{len(paths)} files",
                         f"{len(survey.bands)}, for {', '.join(band.name for band in survey.bands)}")
    images, headers, corners = [], [], []
    for path in paths:
        image, header, _ = read_image(path, None, "images")
        north_up(path)
        wcs = celestial_wcs(header)
        assert wcs is not None  # `north_up` has seen it
        check_pixel_scale(float(Grid.from_wcs(wcs, (image.shape[0], image.shape[1])).pixel_scale), survey.pixel_scale,
                          0.01, f"that of the survey {survey.name!r}", path, "images")
        if not np.isfinite(image).any():
            raise InputError(path, "images", "no finite pixel", "an image in counts / s")
        images.append(np.where(np.isfinite(image), image, np.nan))
        headers.append(header)
        corners.append(np.asarray(wcs.all_pix2world([[0.0, 0.0]], 0))[0])
        if images[-1].shape != images[0].shape or np.abs(corners[-1] - corners[0]).max() * 3600.0 > 0.2 * \
                survey.pixel_scale:
            raise InputError(path, "images", f"{image.shape} pixels from {corners[-1]} deg",
                             f"{images[0].shape} from {corners[0]}, as {paths[0]}")
    stacked = np.stack(images, -1)
    middle = np.nanmedian(stacked, (0, 1))
    sigma = 1.4826 * np.nanmedian(np.abs(stacked - middle), (0, 1))
    wcs = celestial_wcs(headers[0])
    assert wcs is not None
    return Mosaic(stacked, tuple(headers), paths, wcs, sigma)


def on_mosaic(lens: ClusterLens, reference: tuple[float, float], mosaic: Mosaic, survey: Survey, half_width: float,
              supersampling: int = 2, nodes: int = NODES) -> tuple[ClusterField, np.ndarray]:
    """Prepare a cluster for its own images: cutouts lie on their pixels.

    Args:
        lens: The model.
        reference: Right ascension and declination of its origin [deg].
        mosaic: The images.
        survey: Shape of the cutouts.
        half_width, supersampling, nodes: See `giga.simulate.systems.cluster_fields.prepare`.

    Returns:
        The field, and the cutouts about its galaxies, shape (g, ny + 2 MARGIN, nx + 2 MARGIN, bands).

    Raises:
        InputError: No galaxy whose cutout the images cover, or none that acts as a lens.
    """
    ny, nx = survey.shape
    column, row = _pixels(mosaic, lens.galaxies.places, reference)
    # The middle of a cutout of even side is a corner of pixels, of odd side the middle of one.
    column, row = (np.round(at - 0.5 * (n + 1) % 1) + 0.5 * (n + 1) % 1 for at, n in ((column, nx), (row, ny)))
    first = np.stack([row - 0.5 * (ny - 1) - MARGIN, column - 0.5 * (nx - 1) - MARGIN], -1)
    tall, wide = ny + 2 * MARGIN, nx + 2 * MARGIN
    height, width = mosaic.images.shape[:2]
    covered = (first >= 0).all(1) & (first[:, 0] + tall <= height) & (first[:, 1] + wide <= width)
    stamps = np.full((len(first), tall, wide, len(survey.bands)), np.nan, np.float32)
    for k in np.flatnonzero(covered):
        i, j = first[k].round().astype(int)
        stamps[k] = mosaic.images[i:i + tall, j:j + wide]
    covered &= np.isfinite(stamps).all((1, 2, 3))
    if not covered.any():
        raise InputError(mosaic.files[0], "images", f"cover the cutout of none of {len(covered)} galaxies",
                         "images of this cluster")
    sky = np.asarray(mosaic.wcs.all_pix2world(np.stack([column, row], -1), 0))
    centers = np.stack(on_plane(sky[:, 0], sky[:, 1], reference), -1)
    centers[~covered] = np.nan
    try:
        field = prepare(lens, survey.grid, half_width, supersampling, nodes, centers)
    except ValueError as error:
        raise InputError(mosaic.files[0], "images", str(error)) from error
    kept = [int(np.argmin(np.where(covered, np.hypot(*(centers - center).T), np.inf))) for center in field.center]
    return field, stamps[kept]


def inject_lenses(key: Array, mosaic: Mosaic, reference: tuple[float, float], made: ClusterLenses,
                  count: int) -> tuple[np.ndarray, Table]:
    """Add lenses to images of a cluster, each about another galaxy, with the photon noise of their light.

    Args:
        key: Random key.
        mosaic: The images.
        reference: Right ascension and declination of the model's origin [deg].
        made: Lenses in the field of `on_mosaic`.
        count: How many.

    Returns:
        What is added, shape (ny, nx, bands) [counts / s], and a row for each lens: place of its galaxy, theta_E,
        redshift, magnitude and size of the source.

    Raises:
        InputError: More lenses than galaxies that can be one.
    """
    could = len(made.field.lenses)
    if not 1 <= count <= could:
        raise InputError(mosaic.files[0], "count", str(count), f"1 to {could}, the galaxies that act as lenses")
    alone = made.replace(lensed=jnp.float32(1.0), behind=jnp.float32(0.0), turns=False)
    added = np.zeros(mosaic.images.shape, np.float32)
    ny, nx = made.grid.shape
    rows: dict[int, dict[str, float]] = {}
    for draw in range(DRAWS * count):
        batch = jax.tree.map(np.asarray, alone.simulate(jax.random.fold_in(key, draw), TOGETHER))
        for k in range(TOGETHER):
            galaxy = int(batch.truth["galaxy"][k])
            if galaxy in rows or len(rows) == count:
                continue
            center = np.asarray(made.field.center[galaxy], float)
            column, row = _pixels(mosaic, center[None], reference)
            i = round(row[0] - 0.5 * (ny - 1)) - MARGIN + int(batch.truth["row"][k])
            j = round(column[0] - 0.5 * (nx - 1)) - MARGIN + int(batch.truth["column"][k])
            light = batch.parts["source"][k] + batch.parts["noise"][k] - batch.companions[k]
            added[i:i + ny, j:j + nx] += light
            ra, dec = on_sky(center[:1], center[1:], reference)
            rows[galaxy] = dict(ra=float(ra[0]), dec=float(dec[0]), **{
                name: float(batch.truth[name][k]) for name in ("theta_E", "z", "mag", "r_e", "mag_lens")})
        if len(rows) == count:
            return added, Table(list(rows.values()))
    raise InputError(mosaic.files[0], "count", f"{count}, of which {len(rows)} were found", "fewer lenses")


def write_lenses(out: str | PathLike[str], mosaic: Mosaic, added: np.ndarray, table: Table) -> list[Path]:
    """Write images with lenses in them, each with its own header and the light alone in LIGHT, and their table.

    Raises:
        InputError: See `check_places`.
    """
    folder = check_places(out, mosaic.files)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for k, name in enumerate(path.name for path in mosaic.files):
        header = mosaic.headers[k].copy(strip=True)
        header["INJECTED"] = (True, "light of simulated lenses was added")
        image = (mosaic.images[..., k] + added[..., k]).astype(np.float32)
        hdus = fits.HDUList([fits.PrimaryHDU(image, header),
                             fits.ImageHDU(added[..., k], mosaic.wcs.to_header(relax=True), name="LIGHT")])
        buffer = io.BytesIO()
        hdus.writeto(buffer)
        files.append(write_bytes(folder / name, buffer.getvalue()))
    return [*files, write_table(folder / TABLE, table)]


def check_places(out: str | PathLike[str], files: Sequence[Path], overwrite: bool = True) -> Path:
    """The folder that images with lenses go to.

    Raises:
        InputError: An image that would be overwritten, two of one name, or, unless told to, what is there.
    """
    folder, names = Path(out), [path.name for path in files]
    for path, name in zip(files, names, strict=True):
        there = folder / name
        if there.exists() and path.exists() and there.samefile(path) or names.count(name) > 1:
            raise InputError(path, "out", f"{there} would be overwritten", "another folder")
        if there.exists() and not overwrite:
            raise InputError(there, "out", "is there already", "another folder, or --overwrite")
    return folder


def _pixels(mosaic: Mosaic, places: np.ndarray, reference: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Fractional columns and rows of places relative to the origin of a model [arcsec]."""
    ra, dec = on_sky(places[:, 0], places[:, 1], reference)
    column, row = np.asarray(mosaic.wcs.all_world2pix(np.stack([ra, dec], -1), 0)).T
    return column, row
