"""Images of several bands: one file a band, one file with an HDU a band, or a cube."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.stats import sigma_clipped_stats

from giga.imaging.grid import Grid
from giga.io.errors import InputError
from giga.io.images.companion import Known, check_bands, check_distinct, order_of
from giga.io.images.hdu import COMPANIONS, DISTORTIONS, opened
from giga.io.images.sky import celestial_wcs, departure, distorted, local_wcs

FLAT = 0.99  # share of equal pixels from which on a band has no noise to measure
SCIENCE = "SCI"  # name of the HDUs that are images, where errors and flags lie beside them
WIDTHS = ("PSF_FWHM", "SEEING")  # cards that tell the width of the PSF [arcsec]
KEPT = (*WIDTHS, "BUNIT", "OBJECT", "TELESCOP", "INSTRUME", "FILTER", "DATE-OBS", "EXPTIME")


@dataclass(frozen=True, eq=False)
class Cube:
    """An image in several bands.

    Attributes:
        image: Shape (ny, nx, bands), as the file has it.
        header: Celestial WCS of the first band's HDU, and what names the observation.
        file: The first file.
        unit: BUNIT of the first band, or None.
        notes: What the user should know of.
    """

    image: np.ndarray
    header: fits.Header
    file: Path
    unit: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def pixel_scale(self) -> float | None:
        """Mean side of a pixel by the WCS [arcsec]; None without one.

        Raises:
            InputError: Pixels that are not square.
        """
        wcs = celestial_wcs(self.header)
        try:
            return None if wcs is None else float(Grid.from_wcs(wcs, self.image.shape[:2]).pixel_scale)
        except ValueError as error:
            raise InputError(self.file, "image", str(error), "square pixels") from error

    @property
    def psf_fwhm(self) -> float | None:
        """Full width at half maximum of the first band's PSF, if the header tells [arcsec]."""
        for name in WIDTHS:
            if isinstance(value := self.header.get(name), int | float) and value > 0.0:
                return float(value)
        return None

    def window(self, shape: tuple[int, int]) -> Cube:
        """The middle of the image, or the image with a border of zeros, so that it has a shape; the WCS follows."""
        image, header = self.image, self.header.copy()
        for axis, (size, wanted) in enumerate(zip(image.shape[:2], shape, strict=True)):
            start = (size - wanted) // 2
            if start >= 0:
                image = np.take(image, np.arange(start, start + wanted), axis)
            else:
                edges = [(0, 0)] * 3
                edges[axis] = (-start, wanted - size + start)
                image = np.pad(image, edges)
            keyword = f"CRPIX{2 - axis}"
            if keyword in header:
                header[keyword] -= start  # pyright: ignore[reportOperatorIssue]
        return Cube(image, header, self.file, self.unit, self.notes)

    def inner(self, other: Cube) -> tuple[slice, slice]:
        """Rows and columns of this image that are no border: another's, of which it is a window, or all of them."""
        def along(size: int, wanted: int) -> slice:
            border = max(0, -((size - wanted) // 2))  # as `window` puts it before the first pixel
            return slice(border, border + min(size, wanted))

        (ny, nx), (rows, columns) = other.image.shape[:2], self.image.shape[:2]
        return along(ny, rows), along(nx, columns)

    def to_shape(self, shape: tuple[int, int], how: str) -> Cube:
        """The image as a network takes it.

        Args:
            shape: (ny, nx) that is wanted.
            how: What to do with another: "refuse", "crop" or "pad".

        Raises:
            InputError: Another shape, which may not be cut or padded, or cannot be by that alone.
        """
        ny, nx = self.image.shape[:2]
        if (ny, nx) == shape:
            return self
        larger, smaller = ny >= shape[0] and nx >= shape[1], ny <= shape[0] and nx <= shape[1]
        if how == "crop" and larger or how == "pad" and smaller:
            return self.window(shape)
        offer = "--size crop" if larger else "--size pad" if smaller else "an image that is cut or padded first"
        raise InputError(self.file, "image", f"{ny} x {nx} pixels", f"{shape[0]} x {shape[1]}, or {offer}")


def read_cube(paths: Sequence[str | PathLike[str]], bands: Sequence[str]) -> Cube:
    """Read an image of several bands.

    Args:
        paths: One file for all bands, or one file a band in the order of the bands. A file holds a cube of shape
            (bands, ny, nx) or images, one a band: its HDUs named SCI, or without such all but those named ERR, WHT, DQ
            and the like. They are in the order of the bands, or in any if each is named after one.
        bands: Names of the bands that are wanted.

    Raises:
        InputError: A missing or unreadable file, another number of bands, bands of different shapes, units or places
            on the sky, one that is there twice, NaN.
    """
    first = Path(paths[0])
    found = [layer for path in paths for layer in _layers(Path(path))]
    if len(found) != len(bands):
        raise InputError(first, "image", f"{len(found)} bands", f"{len(bands)}, in one cube, one HDU a band, or one "
                                                                "file a band")
    layers = [found[k] for k in order_of([layer.known.name for layer in found], bands, first, "image")]
    images, about = [layer.image for layer in layers], [layer.known.usable("image") for layer in layers]
    check_bands(about, bands, "image")
    check_distinct(images, about, "image")
    for k, layer in enumerate(images):
        bad = ~np.isfinite(layer)
        if bad.any():
            row, column = np.argwhere(bad)[0]
            raise InputError(paths[k] if len(paths) > 1 else first, "image",
                             f"band {k + 1}: {bad.sum()} pixels are NaN or infinite, the first at "
                             f"[y={row}, x={column}]",
                             "finite numbers; fill or crop them")
    header, notes = layers[0].header()
    return Cube(np.stack(images, -1), header, first, about[0].unit, notes)


def check_lit(cube: Cube, bands: Sequence[str]) -> None:
    """Refuse a band that is one value everywhere, as of one that was not observed. Raises InputError."""
    for band, low, high in zip(bands, cube.image.min((0, 1)), cube.image.max((0, 1)), strict=True):
        if low == high:
            raise InputError(cube.file, "image", f"band {band} is {low:g} everywhere", "an image with noise")


def background_rms(cube: Cube, bands: Sequence[str]) -> np.ndarray:
    """Standard deviation of the sky in each band, shape (bands,), bright pixels clipped.

    Raises:
        InputError: A band is constant.
    """
    found = []
    for k, band in enumerate(bands):
        layer = cube.image[..., k]
        if np.mean(layer == np.median(layer)) > FLAT:
            raise InputError(cube.file, "image", f"band {band} is constant", "an image with noise")
        found.append(float(sigma_clipped_stats(layer, sigma=3.0, maxiters=10)[2]))
    return np.asarray(found)


def pixel_noise(cube: Cube) -> np.ndarray:
    """Standard deviation of what changes from pixel to pixel in each band, shape (bands,).

    From the median of the differences of neighbours, of which light that fills the image takes little part.
    """
    steps = np.abs(np.diff(cube.image, axis=1))
    return 1.4826 * np.median(steps, axis=(0, 1)) / np.sqrt(2.0)


def read_cubes(paths: Sequence[str | PathLike[str]], bands: Sequence[str]) -> list[Cube]:
    """Read several images of the same bands.

    Args:
        paths: One file with all bands for each image; or, if the first file has not all, a file a band, those of one
            image after each other.
        bands: Names of the bands that are wanted.

    Raises:
        InputError: What `read_cube` raises, or files that are left over.
    """
    each = 1 if len(_layers(Path(paths[0]))) == len(bands) else len(bands)
    if len(paths) % each:
        raise InputError(paths[0], "image", f"not all of {len(bands)} bands, among {len(paths)} files",
                         f"one file with all bands for each image, or {len(bands)} files for each, one a band")
    return [read_cube(paths[k:k + each], bands) for k in range(0, len(paths), each)]


@dataclass(frozen=True, eq=False)
class _Layer:
    """One band as it is in its file: pixels, what is known of them, and the cards that are kept."""

    image: np.ndarray
    known: Known
    cards: fits.Header

    def header(self) -> tuple[fits.Header, tuple[str, ...]]:
        """The WCS, linear about the middle, and what names the observation; and what there is to say of them."""
        wcs, notes, out = self.known.wcs, list(self.known.notes), fits.Header()
        if wcs is not None:
            whole = slice(0, self.image.shape[0]), slice(0, self.image.shape[1])
            try:
                local = local_wcs(wcs, *whole)
            except ValueError as error:
                raise InputError(self.known.file, "image", str(error), "a WCS that reaches its image") from error
            if kind := distorted(wcs):
                notes.append(f"its distortion ({kind}) is followed to the middle, from where one linear WCS takes its "
                             f"place; at the corners they differ by up to {departure(wcs, local, *whole):.2g} pixels")
            out = local.to_header(relax=True)
        out.update(self.cards)
        return out, tuple(notes)


def _layers(path: Path) -> list[_Layer]:
    """Two-dimensional images of a file."""
    with opened(path, "image") as hdus:
        images: list[Any] = [hdu for hdu in hdus if hdu.is_image and hdu.shape and hdu.name not in DISTORTIONS]
        images = [hdu for hdu in images if hdu.name == SCIENCE] or [hdu for hdu in images if hdu.name not in COMPANIONS]
        if not images:
            raise InputError(path, "image", "no image among its HDUs", "an image of two or three dimensions")
        first, every = images[0], list(hdus)
        flat = [hdu for hdu in images if len(hdu.shape) == 2]
        if len(first.shape) == 3:
            layer = _layer(path, every.index(first), first, hdus)
            return [_Layer(plane, layer.known, layer.cards) for plane in layer.image]
        if not flat:
            raise InputError(path, "image", f"an image of shape {first.shape}", "two or three dimensions")
        return [_layer(path, every.index(hdu), hdu, hdus) for hdu in flat]


def _layer(path: Path, number: int, hdu: Any, hdus: Any) -> _Layer:
    cards = fits.Header([(keyword, hdu.header[keyword]) for keyword in KEPT if keyword in hdu.header])
    return _Layer(np.array(hdu.data, float), Known.of(path, number, hdu, hdus), cards)
