"""What the header of an image tells, and the check of what goes with it: noise map, mask, PSF, further bands."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from giga.imaging.grid import Grid, pixel_of
from giga.imaging.observation import Observation
from giga.io.errors import InputError
from giga.io.images.calibration import calibration, number_in
from giga.io.images.config import ObservationConfig, is_region_file
from giga.io.images.hdu import choose, opened, window
from giga.io.images.sky import OFFSET, SCALE, celestial_wcs, difference, local_wcs, same_core
from giga.io.images.units import kind_of, parse_unit, power_of

POWER = {"sigma": 1.0, "variance": 2.0, "weight": -2.0}  # of the image's unit, in which each kind of noise is
SIDES = ("PIXELSCL", "PIXSCALE", "PIXSCL", "PIXSCAL1", "PIXSCAY", "GS_SCALE", "D001SCAL")  # side of a pixel [arcsec]
SAMPLES = ("OVERSAMP", "OSAMP", "SUPERSAM", "DET_SAMP", "SAMPLING", "PSF_SAMP", "SAMP")  # samples a side of a pixel
DEGREES = (1e-7, 2e-3)  # range of CDELT in which it is in degrees where no unit says so
FILTER = re.compile(r"u|g|r|i|z|y|j|h|ks?|f\d{3,4}[a-z]{1,2}\d?")  # names that nothing but a band has
NOMINAL = 0.05  # share by which a side in a keyword, which may be that of the design, may differ


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of an image before its pixels are read.

    Attributes:
        file: Where it is.
        number: Of its HDU.
        name: Of its HDU, or an empty text.
        shape: (ny, nx), or of a cube.
        unit: Its BUNIT; None without.
        wcs: Its celestial WCS with its distortions; None without, or if it cannot be used.
        broken: Why its WCS cannot be used; empty if it can.
        side: Side of its pixel by a keyword [arcsec].
        samples: Samples a side of a detector's pixel by a keyword.
        filter: Its FILTER.
        notes: What of its WCS is left out.
        exposure: Its exposure time [s], and the keyword that tells it.
        gain: Its electrons per count, and the keyword.
        zero_point: AB magnitude of one unit of its pixels, and the keywords.
        saturation: Level from which its pixels are saturated, in its unit, and the keyword.
    """

    file: Path
    number: int
    name: str
    shape: tuple[int, ...]
    unit: str | None = None
    wcs: WCS | None = None
    broken: str = ""
    side: float | None = None
    samples: float | None = None
    filter: str = ""
    notes: tuple[str, ...] = ()
    exposure: tuple[float, str] | None = None
    gain: tuple[float, str] | None = None
    zero_point: tuple[float, str] | None = None
    saturation: tuple[float, str] | None = None

    @staticmethod
    def of(file: str | PathLike[str], number: int, hdu: Any, hdus: Any) -> Known:
        """What the HDU of an open file tells."""
        header: fits.Header = hdu.header
        notes: list[str] = []
        wcs, broken = None, ""
        try:
            wcs = celestial_wcs(header, hdus, notes)
        except ValueError as error:
            broken = str(error)
        unit = str(header.get("BUNIT", "")).strip()
        return Known(Path(file), number, str(hdu.name), tuple(hdu.shape), unit or None, wcs, broken, _side(header, wcs),
                     _samples(header), str(header.get("FILTER", "")).strip(), tuple(notes),
                     **calibration(header, hdus, unit))

    @property
    def place(self) -> str:
        """Its HDU in words."""
        return f"HDU {self.number}" + f" ({self.name})" * bool(self.name)

    def usable(self, field: str) -> Known:
        """Itself. Raises InputError where its WCS cannot be used."""
        if self.broken:
            raise InputError(self.file, field, f"WCS that cannot be used ({self.broken})", "a FITS WCS")
        return self


def known(path: str | PathLike[str], hdu: int | str | None, field: str, setting: str | None = None) -> Known:
    """What is known of an image of two dimensions.

    Args:
        path, hdu, field, setting: As for `giga.io.images.hdu.choose`.

    Raises:
        InputError: The file cannot be read, or has not this one image.
    """
    with opened(path, field) as hdus:
        number = choose(hdus, path, hdu, field, setting)
        return Known.of(path, number, hdus[number], hdus)


def check_observation(config: ObservationConfig, path: str, notes: list[str]) -> Known:
    """Check the headers of noise map, mask and PSF against that of their image.

    Args:
        config: Where they are.
        path: Path of the section, for messages.
        notes: Gets what the user should know of.

    Returns:
        What is known of the image.

    Raises:
        InputError: A companion that does not belong to the image: its own HDU, other pixels, another unit.
    """
    image = known(config.image, config.hdu, f"{path}.image")
    if image.broken and config.pixel_scale is None:
        image.usable(f"{path}.image")
    if image.broken:
        notes.append(f"{image.file.name}: its WCS cannot be used ({image.broken}); pixel_scale takes its place")
    notes.extend(f"{image.file.name}: {note}" for note in image.notes)
    rows, columns = part_of(config, image, path)
    for name, hdu in (("noise_map", "noise_hdu"), ("weight_map", "weight_hdu"), ("exposure_map", "exposure_hdu"),
                      ("mask", "mask_hdu")):
        file = getattr(config, name)
        if file is None or name == "mask" and is_region_file(file):
            continue
        companion = known(file, getattr(config, hdu), f"{path}.{name}", hdu)
        _check_other(companion, image, f"{path}.{name}", hdu)
        if companion.shape != image.shape:
            raise InputError(file, f"{path}.{name}", f"shape {companion.shape}",
                             f"{image.shape}, the shape of {config.image}")
        if companion.broken:
            notes.append(f"{companion.file.name}: its WCS cannot be used ({companion.broken}), nor compared")
        check_pixels(companion, image, f"{path}.{name}", rows, columns)
        _check_side(companion, image, config.pixel_scale, f"{path}.{name}")
        _check_filter(companion, image, notes)
        if name in ("noise_map", "weight_map"):
            _check_unit(companion, image, config, config.noise_kind if name == "noise_map" else "weight",
                        f"{path}.{name}", notes)
    if config.psf is not None:
        psf = known(config.psf, config.psf_hdu, f"{path}.psf", "psf_hdu")
        _check_other(psf, image, f"{path}.psf", "psf_hdu")
        _check_filter(psf, image, notes)
        scale = config.pixel_scale if image.wcs is None else _scale(image.wcs, rows, columns)
        check_sampling(psf, config.psf_supersampling, scale, f"{path}.psf", "psf_supersampling")
    return image


def part_of(config: ObservationConfig, image: Known, path: str) -> tuple[slice, slice]:
    """Rows and columns of an image that are used. Raises InputError."""
    part = config.cutout
    if part is None:
        return slice(0, image.shape[0]), slice(0, image.shape[1])
    pixel = None if part.x is None or part.y is None else (part.x, part.y)
    position = None if part.ra is None or part.dec is None else (part.ra, part.dec)
    try:
        return window(image.shape, part.size, image.wcs, pixel, position)
    except ValueError as error:
        raise InputError(config.image, f"{path}.cutout", str(error), "a part inside the image") from error


def same_hdu(one: Known, other: Known) -> bool:
    """Whether two are one HDU of one file."""
    return one.number == other.number and one.file.samefile(other.file)


def check_pixels(one: Known, other: Known, field: str, rows: slice | None = None, columns: slice | None = None) -> None:
    """Refuse an image that has not the pixels of another on the sky, where both have a WCS.

    Args:
        one, other: The images.
        field: Whose image it is, for messages.
        rows, columns: The part that is used; None is all.

    Raises:
        InputError: Shifted by half a pixel, of another pixel scale, turned, or mirrored.
    """
    if one.wcs is None or other.wcs is None or same_core(one.wcs, other.wcs):
        return
    ny, nx = one.shape[-2:]
    found = difference(one.wcs, other.wcs, rows or slice(0, ny), columns or slice(0, nx))
    if not found.same:
        raise InputError(one.file, field, f"by its WCS {found} against {_named(other, one)}",
                         f"the same pixels, to {OFFSET:g} pixel and {SCALE:.0%}")


def check_sampling(psf: Known, supersampling: int, pixel_scale: float | None, field: str, setting: str) -> None:
    """Refuse a PSF whose header says that it is sampled otherwise than the configuration does.

    A number of samples counts where there is one (OVERSAMP before DET_SAMP, which some keep from the finest), and the
    side of its pixels [arcsec], which some give of the detector's pixel.

    Args:
        psf: What is known of it.
        supersampling: Samples a side of a pixel, as the configuration says.
        pixel_scale: Side of the image's pixel [arcsec]; None if it is unknown.
        field, setting: Of the file and of the samples, for messages.

    Raises:
        InputError: They differ.
    """
    said, samples = f"{setting} = {supersampling}", psf.samples
    if samples is not None and abs(samples / supersampling - 1.0) > 0.01:
        raise InputError(psf.file, field, f"{psf.place} has {samples:g} samples a side of a pixel by its header, but "
                         f"{said}", f"{setting} = {samples:g}, or the HDU that is sampled so")
    if samples is None and psf.name in ("OVERSAMP", "OVERDIST") and supersampling == 1:
        raise InputError(psf.file, field, f"{psf.place} is oversampled by its name, but {said}",
                         f"the number of its samples as {setting}, or another HDU")
    side = psf.side
    if side is None and psf.wcs is not None:
        side = _scale(psf.wcs, slice(0, psf.shape[0]), slice(0, psf.shape[1]))
    if side is None or pixel_scale is None:
        return
    fine = pixel_scale / supersampling
    fits_in = [fine] if samples is None or supersampling == 1 else [fine, pixel_scale]
    if all(abs(side / right - 1.0) > NOMINAL for right in fits_in):
        raise InputError(psf.file, field, f"{psf.place} has pixels of {side:.5g} arcsec by its header, "
                         f"{pixel_scale / side:.4g} to one of the image, but {said}",
                         f"{fine:.5g} arcsec, or {setting} = {pixel_scale / side:.3g}")


def order_of(names: Sequence[str], bands: Sequence[str], file: Path, field: str) -> list[int]:
    """Which of some images is each band's: the one of its name; as they stand where no name says otherwise.

    Args:
        names: Of the images, one a band.
        bands: That are wanted.
        file, field: For messages.

    Raises:
        InputError: Names that are bands, but others than those that are wanted.
    """
    theirs, ours = [name.lower() for name in names], [band.lower() for band in bands]
    if set(theirs) == set(ours):
        return [theirs.index(band) for band in ours]
    of_a_sky = all(map(FILTER.fullmatch, ours)) and any(map(FILTER.fullmatch, theirs))
    if of_a_sky or any(name in ours for name in theirs):
        raise InputError(file, field, f"images of the bands {', '.join(names)}", f"{', '.join(bands)}")
    return list(range(len(bands)))


def check_band(filter_name: str, band: str, bands: Sequence[str], file: Path, place: str) -> None:
    """Refuse the image of a band whose FILTER is another of the bands. Raises InputError."""
    word = re.split(r"[^a-z0-9]", filter_name.lower())[0]
    if word != band.lower() and word in [one.lower() for one in bands]:
        raise InputError(file, place, f"its FILTER is {filter_name!r}", f"the bands in the order {', '.join(bands)}")


def check_bands(images: Sequence[Known], bands: Sequence[str], field: str) -> None:
    """Refuse bands that are not of the same pixels and unit as the first, or are in another order.

    Args:
        images: What is known of each band.
        bands: Their names.
        field: For messages.

    Raises:
        InputError: An HDU or a unit or pixels that do not go together, or a FILTER that is another band.
    """
    first, names = images[0], [band.lower() for band in bands]
    for band, image in zip(names, images, strict=True):
        place = f"{field}: band {bands[names.index(band)]}"
        if len(image.shape) == 2:
            check_band(image.filter, band, bands, image.file, place)
        if image is first:
            continue
        if image.shape != first.shape:
            raise InputError(image.file, place, f"bands of different shapes, {image.shape} and {first.shape}",
                             "one shape")
        check_pixels(image, first, place)
        if power_of(image.unit, first.unit) not in (None, 1.0):
            raise InputError(image.file, place, f"BUNIT {image.unit!r}, but {_named(first, image)} has {first.unit!r}",
                             "one unit for all bands")


def check_distinct(layers: Sequence[np.ndarray], images: Sequence[Known], field: str) -> None:
    """Refuse images that are one and the same. Raises InputError."""
    for k, layer in enumerate(layers):
        for j in range(k):
            if layer.shape == layers[j].shape and np.ptp(layer) > 0.0 and np.array_equal(layer, layers[j]):
                raise InputError(images[k].file, field, f"band {k + 1} has the pixels of band {j + 1}, "
                                 f"{_named(images[j], images[k])}", "an image of its own for each band")


def check_aligned(observations: Sequence[Observation], bands: Sequence[str], field: str) -> None:
    """Refuse observations that a network cannot take as bands of one image.

    Args:
        observations: Of one shape.
        bands: Names of the network's bands.
        field: For messages.

    Raises:
        InputError: Their pixels lie elsewhere than those of the first, or one is named after another band.
    """
    names = [band.lower() for band in bands]
    for k, one in enumerate(observations):
        name = (one.band or names[k]).lower()
        if name != names[k] and name in names:
            raise InputError("", field, f"observation {k} is in the band {one.band!r}",
                             f"the observations in the order {', '.join(bands)}")
        away = _displacement(one.grid, observations[0].grid)
        if away > OFFSET:
            raise InputError("", field, f"pixels of observation {k} lie up to {away:.3g} pixels from those of the "
                             "first", f"bands on the same pixels, to {OFFSET:g}")


def check_inside(one: Grid, first: Grid) -> None:
    """Refuse an image that shows another part of the sky than the first of its scene. Raises ValueError."""
    def half(grid: Grid) -> float:
        return 0.5 * math.hypot(*grid.shape) * float(grid.pixel_scale)

    away = math.hypot(float(one.center_x) - float(first.center_x), float(one.center_y) - float(first.center_y))
    if away > half(one) + half(first):
        raise ValueError(f"by its WCS it is {away:.4g} arcsec from the first observation, with no pixel in common")


def _displacement(one: Grid, first: Grid) -> float:
    """Largest distance of a corner from the same pixel of another grid [pixels]."""
    ny, nx = one.shape
    away = 0.0
    for column, row in ((0, 0), (nx - 1, 0), (0, ny - 1), (nx - 1, ny - 1)):
        step = float(one.pixel_scale)
        x, y = one._to_sky((column - 0.5 * (nx - 1)) * step, (row - 0.5 * (ny - 1)) * step)
        there = first.to_pixel(x, y)
        away = max(away, math.hypot(float(there[0]) - column, float(there[1]) - row))
    return away


def _check_other(companion: Known, image: Known, field: str, setting: str) -> None:
    if same_hdu(companion, image):
        raise InputError(companion.file, field, f"{companion.place} is the image itself",
                         f"another file, or another {setting}")


def _check_side(companion: Known, image: Known, pixel_scale: float | None, field: str) -> None:
    """Where one has no WCS its keyword may still tell another pixel scale."""
    if companion.wcs is not None and image.wcs is not None or companion.side is None:
        return
    ny, nx = image.shape
    scale = pixel_scale if image.wcs is None else _scale(image.wcs, slice(0, ny), slice(0, nx))
    if scale is not None and abs(companion.side / scale - 1.0) > NOMINAL:
        raise InputError(companion.file, field, f"pixels of {companion.side:.5g} arcsec by its header",
                         f"{scale:.5g}, those of {image.file}")


def _check_filter(companion: Known, image: Known, notes: list[str]) -> None:
    mine, other = companion.filter, image.filter
    if mine and other and mine.lower() != other.lower():
        notes.append(f"{companion.file.name}: its FILTER is {mine!r}, that of the image {other!r}")


def _check_unit(noise: Known, image: Known, config: ObservationConfig, noise_kind: str, field: str,
                notes: list[str]) -> None:
    """Refuse a noise map in another unit than its kind has beside the image."""
    power = power_of(noise.unit, image.unit)
    expected = POWER[noise_kind]
    if power is None:
        stated, unit = config.units, _unit(noise.unit)
        if image.unit is None and stated is not None and unit is not None and noise_kind == "sigma":
            kind = kind_of(unit)
            if kind not in ("other", stated):
                raise InputError(noise.file, field, f"BUNIT {noise.unit!r}", f"a map in the image's unit, {stated}")
        return
    if power == expected or power == 0.0:
        return
    told = power_of(noise.unit, {"counts/s": "count/s", "counts": "count"}.get(config.units or ""))
    if told == expected:
        notes.append(f"{noise.file.name}: BUNIT {noise.unit!r} is followed, as units = {config.units!r} says of the "
                     "image too")
        return
    kinds = () if field.endswith("weight_map") else POWER.items()
    other = "".join(f", or noise_kind = {kind!r}" for kind, its in kinds if its == power)
    unit = {1.0: "{}", 2.0: "({})^2", -2.0: "1 / ({})^2"}[expected].format(image.unit)
    raise InputError(noise.file, field, f"BUNIT {noise.unit!r} beside an image whose BUNIT is {image.unit!r}",
                     f"{unit} for a {noise_kind}{other}")


def _unit(text: str | None) -> Any:
    try:
        return parse_unit(text) if text else None
    except ValueError:
        return None


def _scale(wcs: WCS, rows: slice, columns: slice) -> float | None:
    """Mean side of the pixels of a part [arcsec]; None past the reach of the WCS."""
    try:
        return pixel_of(local_wcs(wcs, rows, columns), (rows.stop - rows.start, columns.stop - columns.start)).side
    except ValueError:
        return None


def _named(other: Known, one: Known) -> str:
    """The other of two: its file, or its HDU where that is the same."""
    return other.place if one.file == other.file else other.file.name


def _side(header: fits.Header, wcs: WCS | None) -> float | None:
    for key in SIDES:
        if (value := number_in(header, key)) is not None:
            return value
    if wcs is not None:
        return None  # which tells it better
    step, unit = header.get("CDELT1", header.get("CD1_1")), str(header.get("CUNIT1", "")).strip().lower()
    if isinstance(step, bool) or not isinstance(step, int | float) or step == 0.0:
        return None
    if not unit and DEGREES[0] < abs(step) < DEGREES[1]:
        unit = "deg"  # the unit of the standard, and a size that only a pixel on the sky has
    factor = {"arcsec": 1.0, "deg": 3600.0, "mas": 1e-3}.get(unit)
    return None if factor is None else factor * abs(step)


def _samples(header: fits.Header) -> float | None:
    for key in SAMPLES:
        if (value := number_in(header, key)) is not None:
            return value if value >= 1.0 else 1.0 / value  # a step in pixels
    return None
