"""Noise cutouts of a user: a folder of FITS images, a FITS cube, or an array, one for each band or all in one."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from giga.imaging.grid import Grid
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.companion import NOMINAL, Known, known
from giga.io.images.hdu import COMPANIONS, SUFFIXES, is_fits, opened, read_image
from giga.io.images.units import is_no_rate, power_of
from giga.simulate.surveys.cutouts import Vetted, Vetting, central, vet
from giga.simulate.surveys.noise import CutoutNoise
from giga.simulate.surveys.survey import Survey

FIELD = "noise.cutouts"


def load_cutout_noise(paths: str | PathLike[str] | Sequence[str | PathLike[str]], survey: Survey, *,
                      pixel_scale: float | None = None, zero_points: Sequence[float] | None = None,
                      vetting: Vetting | None = None) -> tuple[CutoutNoise, Vetted]:
    """Read, vet, and make noise of cutouts for a survey.

    Args:
        paths, pixel_scale: See `read_cutouts`.
        survey: Whose images they are noise for.
        zero_points: Of the cutouts, one a band; None is the survey's.
        vetting: Limits of their statistics.

    Returns:
        The noise and what was kept.

    Raises:
        InputError: What `read_cutouts` raises, or no cutout can be used.
    """
    images = read_cutouts(paths, survey, pixel_scale, rates=zero_points is None)
    if zero_points is not None:
        if len(zero_points) != len(survey.bands):
            raise InputError("", f"{FIELD}.zero_points", f"{len(zero_points)} values",
                             f"one for each of the bands {[b.name for b in survey.bands]}")
        images = images * 10.0 ** (0.4 * (survey.zero_points - np.asarray(zero_points))).astype(np.float32)
    try:
        vetted = vet(images, vetting)
    except ValueError as error:
        raise InputError(_first(paths), FIELD, str(error), "some with the statistics of sky") from error
    return CutoutNoise.of(vetted.cutouts, survey.shape, vetted.sigma, survey.photon), vetted


def read_cutouts(paths: str | PathLike[str] | Sequence[str | PathLike[str]], survey: Survey,
                 pixel_scale: float | None = None, rates: bool = False) -> np.ndarray:
    """Read cutouts.

    Args:
        paths: One file or folder, or one for each band. A folder holds FITS images, taken in the order of
            their names; a FITS file has shape (m, ny, nx), a .npy file (m, ny, nx) or (m, ny, nx, bands).
        survey: Whose size, bands and pixel scale they must have.
        pixel_scale: Of cutouts without a WCS [arcsec]; None trusts that it is the survey's.
        rates: Whether they have to be in counts / s, as the survey's images are, where their BUNIT tells.

    Returns:
        Shape (m, ny, nx, bands), at least as large as the survey's images.

    Raises:
        InputError: Missing, unreadable, too small, of another pixel scale or unit, or of another number of bands.
    """
    several = [Path(p) for p in ([paths] if isinstance(paths, str | PathLike) else paths)]
    if pixel_scale is not None:
        _check_scale(several[0], pixel_scale, survey)
    names = [band.name for band in survey.bands]
    parts = [_read(path, survey, rates) for path in several]
    if len(parts) == 1 and parts[0].shape[-1] == len(names):
        return parts[0]
    bands = sum(part.shape[-1] for part in parts)
    if bands != len(names) or len(parts) != len(names):
        raise InputError(several[0], FIELD, f"{bands} bands in {len(parts)} files",
                         f"one file or folder for each of the bands {names}, or one array with all")
    if len({part.shape for part in parts}) > 1:
        raise InputError(several[0], FIELD, f"shapes {[part.shape[:3] for part in parts]} in the bands {names}",
                         "the same cutouts in every band")
    return np.concatenate(parts, -1)


def _read(path: Path, survey: Survey, rates: bool) -> np.ndarray:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if is_fits(p.name))
        if not files:
            raise InputError(path, FIELD, "no FITS file in the folder", f"images named *{', *'.join(SUFFIXES)}")
        images, units = zip(*(_one(file, survey, rates) for file in files), strict=True)
        for file, unit in zip(files, units, strict=True):
            if power_of(unit, units[0]) not in (None, 1.0):
                raise InputError(file, FIELD, f"BUNIT {unit!r}, but {files[0].name} has {units[0]!r}",
                                 "one unit for all cutouts of a band")
        shape = min(i.shape[0] for i in images), min(i.shape[1] for i in images)
        return np.concatenate([central(i[None, ..., None], shape) for i in images])
    if not path.is_file():
        raise InputError(path, FIELD, "no such file or folder", "FITS images, a FITS cube, or a .npy array")
    array = _array(path) if path.suffix == ".npy" else _cube(path, survey, rates)
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4:
        raise InputError(path, FIELD, f"shape {array.shape}", "(cutouts, ny, nx) or (cutouts, ny, nx, bands)")
    _check_size(path, array.shape[1:3], survey)
    return array.astype(np.float32)


def _one(file: Path, survey: Survey, rates: bool) -> tuple[np.ndarray, str | None]:
    """An image and its BUNIT."""
    about = known(file, None, FIELD)
    _check_size(file, about.shape, survey)
    _check_header(about, about.shape, survey, rates)
    return read_image(file, about.number, FIELD)[0].astype(np.float32), about.unit


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(path, FIELD, f"cannot be read ({error})", "an array written by numpy.save") from error
    if not (isinstance(array, np.ndarray) and np.issubdtype(array.dtype, np.number)):
        raise InputError(path, FIELD, "not an array of numbers", "an array written by numpy.save")
    return array


def _cube(path: Path, survey: Survey, rates: bool) -> np.ndarray:
    with opened(path, FIELD) as hdus:
        for number, hdu in enumerate(hdus):
            if hdu.is_image and len(hdu.shape) in (3, 4) and hdu.name not in COMPANIONS:
                array, about = np.array(hdu.data, np.float64), Known.of(path, number, hdu, hdus)
                break
        else:
            raise InputError(path, FIELD, "no HDU with three or four dimensions",
                             "a cube of shape (cutouts, ny, nx), or a folder of images")
    _check_header(about, array.shape[1:3], survey, rates)
    return array


def _check_header(about: Known, shape: tuple[int, ...], survey: Survey, rates: bool) -> None:
    wcs = about.usable(FIELD).wcs
    try:
        scale = about.side if wcs is None else float(Grid.from_wcs(wcs, (shape[0], shape[1])).pixel_scale)
    except ValueError as error:
        raise InputError(about.file, FIELD, f"WCS that cannot be used ({error})",
                         "a FITS WCS with square pixels") from error
    if scale is not None:
        check_pixel_scale(scale, survey.pixel_scale, 0.02 if wcs is not None else NOMINAL,
                          f"those of the survey {survey.name!r}", about.file, FIELD)
    if rates and is_no_rate(about.unit):
        raise InputError(about.file, FIELD, f"BUNIT {about.unit!r}", "counts / s, as the survey has them, or the "
                         "zero_points of the cutouts")


def _check_scale(path: Path, scale: float, survey: Survey) -> None:
    check_pixel_scale(scale, survey.pixel_scale, 0.02, f"those of the survey {survey.name!r}", path, FIELD)


def _check_size(path: Path, size: tuple[int, ...], survey: Survey) -> None:
    ny, nx = survey.shape
    if size[0] < ny or size[1] < nx:
        raise InputError(path, FIELD, f"noise cutouts are {size[0]} x {size[1]}, the survey needs {ny} x {nx}")


def _first(paths: Any) -> str:
    return str(paths) if isinstance(paths, str | PathLike) else str(paths[0])
