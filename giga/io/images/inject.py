"""Arcs injected into the FITS images of a user, their headers and WCS kept."""

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
from jax import Array

from giga.component import leaves_with_names
from giga.imaging.grid import Grid
from giga.imaging.psf import PSF
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.companion import Known, check_bands, known, same_hdu
from giga.io.images.cube import Cube
from giga.io.images.hdu import read_image
from giga.io.images.sky import SCALE, local_wcs
from giga.lensing.scene import Scene
from giga.runtime.atomic import write_bytes
from giga.simulate.inject import Injection, inject, light_of
from giga.simulate.surveys.psf_models import PSFModel
from giga.simulate.surveys.survey import Survey


@dataclass(frozen=True, eq=False)
class Target:
    """An image of a user, in one band.

    Attributes:
        image: FITS file.
        psf: Its PSF.
        photon: Variance per count of added light, 1 / (electrons per count): for an image in counts / s,
            1 / (gain exposure_time); None adds no photon noise.
        hdu: Number or name of the HDU; None is the first image.
        pixel_scale: Of an image without a WCS [arcsec].
    """

    image: str | PathLike[str]
    psf: PSFModel
    photon: float | None = None
    hdu: int | str | None = None
    pixel_scale: float | None = None


def inject_files(key: Array, targets: Sequence[Target], scene: Scene, out: str | PathLike[str],
                 supersampling: int = 2) -> tuple[Injection, list[Path]]:
    """Add the light of a scene to images of one size, and write them.

    Each file has the image with the light in its primary HDU under the whole header of the original, the light
    without noise (LIGHT), its photon noise (NOISE), and the parameters (TRUTH, one row for each name).

    Args:
        key: Random key.
        targets: One image a band, of one size and pixel scale.
        scene: In the image's units per arcsec^2; x along columns and y along rows from the image's centre.
        out: Folder that gets a file of each image's name; it is made.
        supersampling: Subpixels a side.

    Returns:
        The injection, and the files.

    Raises:
        InputError: An image that cannot be read, that differs in size, place on the sky or unit from the first, without
            a pixel scale, that would be overwritten, or a light that is not finite.
    """
    if not targets:
        raise InputError("", "inject.images", "no image", "one FITS image for each band")
    folder, names = Path(out), [Path(t.image).name for t in targets]
    for target, name in zip(targets, names, strict=True):
        if (folder / name).exists() and (folder / name).samefile(target.image) or names.count(name) > 1:
            raise InputError(target.image, "inject.out", f"{folder / name} would be overwritten", "another folder")
    about = [known(target.image, target.hdu, "inject.image") for target in targets]
    grids = [_grid(target, one) for target, one in zip(targets, about, strict=True)]
    for target, one, grid in zip(targets, about, grids, strict=True):
        if one.shape != about[0].shape or abs(grid.pixel_scale / grids[0].pixel_scale - 1.0) > SCALE:
            raise InputError(target.image, "inject.image", f"{one.shape} pixels of {grid.pixel_scale:.4g} arcsec",
                             f"{about[0].shape} of {grids[0].pixel_scale:.4g}, those of {targets[0].image}")
        if target is not targets[0] and same_hdu(one, about[0]):
            raise InputError(target.image, "inject.image", f"{one.place} is there twice", "one image for each band")
    check_bands(about, [f"of {name}" for name in names], "inject.image")
    images, headers, _ = zip(*(read_image(one.file, one.number, "inject.image") for one in about), strict=True)
    photon = np.array([0.0 if t.photon is None else t.photon for t in targets])
    try:
        light = light_of(scene, grids[0], [_psf(t, grids[0], supersampling) for t in targets])
        added = inject(key, np.stack(images, -1), light, photon if photon.any() else None)
    except ValueError as error:
        raise InputError(targets[0].image, "inject", str(error)) from error
    folder.mkdir(parents=True, exist_ok=True)
    truth = _truth(scene)
    files = []
    for k, (name, header, one) in enumerate(zip(names, headers, about, strict=True)):
        band = jax.tree.map(lambda a, k=k: np.asarray(a[..., k]), added)
        files.append(write_bytes(folder / name, _bytes(header, one, band, truth)))
    return added, files


def inject_cube(key: Array, cube: Cube, scene: Scene, survey: Survey, *, scale: float = 1.0,
                supersampling: int = 2) -> Injection:
    """Add the light of a scene to an image in several bands.

    Args:
        key: Random key.
        cube: The image; its WCS has the survey's pixel scale, or it has none.
        scene: In counts / s per arcsec^2; those of its light may have one value a band.
        survey: PSF and photon noise of each band.
        scale: Counts / s of one unit of the image.
        supersampling: Subpixels a side.

    Returns:
        The injection in the image's unit.

    Raises:
        InputError: Another pixel scale, a PSF wider than the image, or a light that is not finite.
    """
    grid = grid_of(cube, survey)
    try:
        psfs = [_psf(Target(cube.file, band.psf), grid, supersampling) for band in survey.bands]
        light = light_of(scene, grid, psfs)
        added = inject(key, scale * cube.image, light, survey.photon)
    except ValueError as error:
        raise InputError(cube.file, "inject", str(error)) from error
    light, noise = added.light / scale, added.noise / scale
    return Injection(image=jnp.asarray(cube.image, jnp.float32) + light + noise, light=light, noise=noise)


def grid_of(cube: Cube, survey: Survey) -> Grid:
    """The pixels of an image: those of its WCS, or the survey's if it has none.

    Raises:
        InputError: A WCS that cannot be used, or of another pixel scale than the survey's.
    """
    ny, nx = cube.image.shape[:2]
    scale = cube.pixel_scale
    grid = Grid(shape=(ny, nx), pixel_scale=survey.pixel_scale if scale is None else scale)
    check_pixel_scale(float(grid.pixel_scale), survey.pixel_scale, 0.02,
                      f"those of the survey {survey.name!r}, or another survey.pixel_scale", cube.file, "image")
    return grid


def write_injection(path: str | PathLike[str], cube: Cube, added: Injection, scene: Scene,
                    bands: Sequence[str]) -> Path:
    """Write an image with light in it, each HDU a cube (bands, ny, nx) in the image's unit, with the image's WCS.

    Args:
        path: Where the FITS file goes. Its HDUs are IMAGE, LIGHT (without noise), NOISE (that of the light alone), and
            the table TRUTH of the scene.
        cube: The image as it was.
        added: What `inject_cube` returned.
        scene: Whose light it is.
        bands: Names of the bands.
    """
    primary = fits.PrimaryHDU()
    primary.header["INJECTED"] = (True, "light of a simulated lens was added")
    for k, band in enumerate(bands, start=1):
        primary.header[f"BAND{k}"] = (band, f"layer {k} of every cube")
    layers = {"IMAGE": added.image, "LIGHT": added.light, "NOISE": added.noise}
    hdus = [primary, *(fits.ImageHDU(np.moveaxis(np.asarray(values, np.float32), -1, 0), cube.header.copy(), name=name)
                       for name, values in layers.items()), _truth(scene)]
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return write_bytes(path, buffer.getvalue())


def _grid(target: Target, about: Known) -> Grid:
    ny, nx = about.shape
    if about.wcs is not None or target.pixel_scale is None:
        wcs = about.usable("inject.image").wcs
        if wcs is None:
            raise InputError(target.image, "inject.pixel_scale", "missing, and the header has no celestial WCS",
                             "the side of a pixel [arcsec]")
        try:
            return Grid.from_wcs(wcs, (ny, nx))
        except ValueError as error:
            raise InputError(target.image, "inject.image", f"WCS that cannot be used ({error})",
                             "a FITS WCS with square pixels") from error
    return Grid(shape=(ny, nx), pixel_scale=target.pixel_scale)


def _psf(target: Target, grid: Grid, supersampling: int) -> PSF:
    psf = target.psf.psf(float(grid.pixel_scale), supersampling)
    if psf.kernel.shape[0] > supersampling * min(grid.shape):
        raise ValueError(f"psf: kernel of {psf.kernel.shape[0] / supersampling:.3g} pixels is wider than the image of "
                         f"{grid.shape[0]} x {grid.shape[1]} pixels")
    return psf


def _truth(scene: Scene) -> fits.BinTableHDU:
    rows = [(name, np.atleast_1d(np.asarray(leaf, float)).ravel()) for name, leaf in leaves_with_names(scene)]
    width = max(len(values) for _, values in rows)
    padded = np.full((len(rows), width), np.nan)
    for k, (_, values) in enumerate(rows):
        padded[k, :len(values)] = values
    return fits.BinTableHDU.from_columns([
        fits.Column("name", "48A", array=np.array([name for name, _ in rows])),
        fits.Column("value", f"{width}D", array=padded)], name="TRUTH")


def _bytes(header: fits.Header, about: Known, added: Injection, truth: fits.BinTableHDU) -> bytes:
    kept = header.copy(strip=True)
    kept["INJECTED"] = (True, "light of a simulated lens was added")
    kept.add_history("giga: light of a simulated lens added; see HDUs LIGHT, NOISE, TRUTH")
    whole = slice(0, about.shape[0]), slice(0, about.shape[1])
    cards = fits.Header() if about.wcs is None else local_wcs(about.wcs, *whole).to_header(relax=True)
    hdus = [fits.PrimaryHDU(np.asarray(added.image, np.float32), header=kept),
            fits.ImageHDU(np.asarray(added.light, np.float32), header=cards, name="LIGHT"),
            fits.ImageHDU(np.asarray(added.noise, np.float32), header=cards, name="NOISE"), truth.copy()]
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return buffer.getvalue()
