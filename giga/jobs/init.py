"""From an image to a configuration: measure it, look at it, and write what a fit can start from."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from giga.imaging.audit import Audit, audit
from giga.imaging.first_look import Look, centre_of, look
from giga.imaging.grid import pixel_of, position_to_pixel
from giga.imaging.observation import Observation
from giga.imaging.psf import half_maximum
from giga.imaging.sources import Blank, exposed, measure_blank, neighbours
from giga.inference.settings import FitConfig
from giga.io.configuration.priors import Expected
from giga.io.configuration.start import Light, Start, text_of
from giga.io.configuration.toml import parse_config, read_toml_text, scene_from_config
from giga.io.errors import InputError, nearest
from giga.io.images.companion import Known, known
from giga.io.images.datasets import Dataset, find_dataset
from giga.io.images.fits import load_observation
from giga.io.images.hdu import read_image, window
from giga.io.images.sky import local_wcs
from giga.io.images.units import kind_of, parse_unit
from giga.io.tables import inline
from giga.jobs.job import check_parameters
from giga.simulate.surveys.presets import survey as preset

FIELD = 16.0  # side of the part that is cut out of a larger image [arcsec], or as many Einstein radii times RADII
RADII = 8.0
SCATTER = 0.05  # from one, of the sky's scatter over the noise map, from which a likelihood with correlation needs it
EDGE = 0.25  # arcsec between the outermost arcs and the edge of the mask
SAME_SIDE = 0.01  # relative difference of pixel scales that are one
SAMPLE = 0.06  # Einstein radii between samples: half of the source's expected radius, see `GALAXY_SCALE`
FINEST = 4  # samples a side of a pixel
UNKNOWN_FWHM = 2.5  # pixels, of a PSF of which nothing is known

# FWHM of the PSF [arcsec] and AB zero point by band; the first is taken where the header names none of them.
# HSC: median seeing of the Wide layer, Aihara et al. (2019), PASJ 71, 114, Table 2; coadds have the zero point 27.
# NIRCam: FWHM of the JWST User Documentation, "NIRCam Point Spread Functions"; images are in MJy / sr.
OWN: dict[str, tuple[float, dict[str, tuple[float, float | None]]]] = {
    "hsc": (0.168, {"i": (0.58, 27.0), "g": (0.77, 27.0), "r": (0.76, 27.0), "z": (0.68, 27.0), "y": (0.68, 27.0)}),
    "jwst-nircam": (0.031, {"F150W": (0.050, None), "F090W": (0.033, None), "F115W": (0.040, None),
                            "F200W": (0.066, None), "F277W": (0.092, None), "F356W": (0.116, None),
                            "F444W": (0.145, None)}),
}
PRESETS = {"hst-acs": ("hst-acs-f814w",), "hst-wfc3": ("hst-wfc3-f160w", "hst-wfc3-f606w"),
           "euclid-vis": ("euclid-vis",), "des": ("des",), "kids": ("kids",), "lsst": ("lsst",)}
SURVEYS = (*PRESETS, *OWN)
"""Names that `--survey` takes."""


@dataclass(frozen=True)
class Telescope:
    """What a survey tells of an image: side of a pixel [arcsec], band, FWHM of the PSF [arcsec], zero point [mag]."""

    pixel_scale: float
    band: str
    fwhm: float
    zero_point: float | None


@dataclass(frozen=True)
class Wishes:
    """What the user says beside the image; None is measured, or taken from header or survey.

    Attributes:
        noise, psf: FITS files of noise map and PSF.
        survey: One of `SURVEYS`.
        pixel_scale: Side of a pixel [arcsec].
        zero_point: Magnitude of one unit of the image.
        z_lens, z_source: Redshifts.
        center: Right ascension and declination of the lens, ICRS [deg].
        pixel: Its column and row in the image, the first pixel being 0.
        theta_E: Radius of the ring [arcsec].
        light: What the light of the lens is made of.
        mask: FITS file whose pixels that are not zero are left out.
        noise_hdu, psf_hdu: HDUs of noise map and PSF.
        rms: Scatter of the sky.
        exposure_time: Exposure time [s], or the HDU of its map in the image's file.
        scale_by: Where the pixel scale is from, in words.
    """

    noise: Path | None = None
    psf: Path | None = None
    survey: str | None = None
    pixel_scale: float | None = None
    zero_point: float | None = None
    z_lens: float | None = None
    z_source: float | None = None
    center: tuple[float, float] | None = None
    pixel: tuple[float, float] | None = None
    theta_E: float | None = None
    light: Light = "gaussians"
    mask: Path | None = None
    noise_hdu: str | None = None
    psf_hdu: str | None = None
    rms: float | None = None
    exposure_time: float | str | None = None
    scale_by: str = "by --pixel-scale"

    def beside(self, found: Dataset) -> Wishes:
        """The same with what a data set has, where the user does not say otherwise."""
        changes = {name: getattr(found, name) for name in ("pixel_scale", "z_lens", "z_source")
                   if getattr(self, name) is None}
        if "pixel_scale" in changes:
            changes["scale_by"] = "of the data set"
        if self.noise is None:
            changes |= {name: getattr(found, name) for name in ("noise", "noise_hdu", "rms", "exposure_time")}
        if self.psf is None:
            changes |= {"psf": found.psf, "psf_hdu": found.psf_hdu}
        if self.mask is None:
            changes["mask"] = found.mask
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class Begun:
    """A configuration and what it was written by.

    Attributes:
        text: The configuration, which a fit takes.
        observation: The data as that fit loads it.
        found: What was seen, with positions in the part of the image that is used.
        sky: Of that part.
        residual: That part without the light of the lens.
        extent: Radius of the circle that is fitted [arcsec].
        notes: What the user should know.
    """

    text: str
    observation: Observation
    found: Look
    sky: Blank
    residual: np.ndarray
    extent: float
    notes: list[str]


def begin(image: Path, wishes: Wishes, out: Path) -> Begun:
    """Look at an image and write a configuration for it.

    Args:
        image: FITS file, HDF5 file as lenstronomy has it, or folder as PyAutoLens has it.
        wishes: What the user says.
        out: The file that the configuration goes to, whose folder its paths start from.

    Raises:
        InputError: What is missing or wrong, by its option.
    """
    folder, notes = out.parent, list[str]()
    if (data := find_dataset(image, "IMAGE")) is not None:
        image, wishes = data.image, wishes.beside(data)
        notes += data.notes
    about = known(image, None, "IMAGE")
    telescope = _telescope(wishes.survey, about)
    full, _, _ = read_image(image, about.number, "IMAGE")
    scale = _pixel_scale(about, wishes, telescope)
    centre = _centre(full, about, wishes)
    rows, columns = _part(full.shape, centre, scale, wishes.theta_E)
    part, good = full[rows, columns], exposed(full[rows, columns])
    centre = (centre[0] - columns.start, centre[1] - rows.start)
    noise_full = None if wishes.noise is None else _noise_map(wishes.noise, wishes.noise_hdu, full)
    if noise_full is not None:
        good &= np.isfinite(noise_full[rows, columns]) & (noise_full[rows, columns] > 0.0)
        good &= noise_full[rows, columns] < 1e4 * np.median(noise_full[rows, columns][good])
    if wishes.mask is not None:
        good &= _noise_map(wishes.mask, None, full, "--mask")[rows, columns] == 0.0
    fwhm, kernel = _fwhm(wishes.psf, wishes.psf_hdu, scale, telescope)
    sky, found, extent, others = _look(part, noise_full if noise_full is None else noise_full[rows, columns], good,
                                       scale, fwhm, centre, wishes.theta_E, image)
    whole = rows.stop - rows.start == full.shape[0] and columns.stop - columns.start == full.shape[1]
    x, y = ((at - 0.5 * (side - 1)) * scale for at, side in zip(centre, part.shape[::-1], strict=True))
    fields = [*_image_fields(image, about, wishes, folder, scale, telescope)]
    if not whole:
        middle_x, middle_y = (0.5 * (one.start + one.stop - 1) for one in (columns, rows))
        fields.append(("cutout", f"{{size = [{part.shape[0]}, {part.shape[1]}], x = {middle_x:g}, y = {middle_y:g}}}",
                       "the part around the lens"))
    fields += _noise_fields(wishes, image, folder, sky)
    fields += _psf_fields(wishes, kernel, telescope, scale, min(part.shape), folder, fwhm, found.theta_E, notes)
    if wishes.mask is not None:
        fields += [("mask", inline(_path(wishes.mask, folder)), ""), ("mask_is", '"bad"', "its ones are left out")]
    fields.append(("mask_keep", f"[{{x = {x:.3f}, y = {y:.3f}, radius = {extent:.3g}}}]", "arcsec from the middle"))
    if others.any():
        fields.append(("mask_neighbours", "true", "sources that peak outside the circle"))
    fields += _zero_point(about, wishes, telescope)
    fine = next((int(value) for field, value, _ in fields if field == "supersampling"), 1)
    expected = Expected(x, y, max(0.05, 0.5 * scale), found.theta_E, float(np.exp(found.uncertainty)), found.half_light,
                        1.7, scale, extent, found.e1, found.e2, 0.1, scale / fine)
    start = Start(_head(image, wishes, found, sky), (wishes.z_lens, wishes.z_source), fields, expected, wishes.light)
    text, observation, said = _made(start, out)
    if more := _correlated(audit(observation), wishes.noise is not None):
        try:
            text, observation, said = _made(replace(start, observation=[*fields, *more]), out)
        except InputError as error:
            said.append(f"the noise is correlated, which the configuration leaves out: {error}")
    return Begun(text, observation, found, sky, part - sky.level - found.light, extent, [*notes, *said])


def _made(start: Start, out: Path) -> tuple[str, Observation, list[str]]:
    """A configuration as text, its data as a fit loads them, and what is said of these. Raises InputError."""
    text, notes = text_of(start), []
    config = parse_config(read_toml_text(text, out), out, FitConfig)
    observation = load_observation(config.observation[0], notes=notes, path="observation.0")
    check_parameters(config, scene_from_config(config))
    return text, observation, notes


def _correlated(found: Audit, has_map: bool) -> list[tuple[str, str, str]]:
    """Fields of noise whose pixels are correlated, where the audit finds that; none where it does not."""
    if not any(finding.kind == "correlation" for finding in found.findings):
        return []
    along, up = (found.numbers[f"correlation along {way}"] for way in ("rows", "columns"))
    rows = [("correlation", '"measure"', f"of neighbouring sky pixels: {along:.2f} along rows, {up:.2f} along columns")]
    scatter = found.numbers["scatter over noise"]
    if has_map and abs(scatter - 1.0) > SCATTER:
        rows.append(("noise_scale", '"measure"', f"the sky scatters {scatter:.2f} times as much as the map says"))
    return rows


def _look(part: np.ndarray, noise: np.ndarray | None, good: np.ndarray, scale: float, fwhm: float,
          centre: tuple[float, float], theta_E: float | None, file: Path,
          ) -> tuple[Blank, Look, float, np.ndarray]:
    """Sky, first look, radius of the mask and neighbours. Raises InputError."""
    row, column = np.indices(part.shape)
    r = np.hypot(column - centre[0], row - centre[1]) * scale
    half = 0.5 * min(part.shape) * scale
    inside = r < (min(2.8, 0.7 * half) if theta_E is None else 2.0 * theta_E)
    try:
        sky = measure_blank(part, good, ~inside)
        sigma = np.full(part.shape, sky.rms) if noise is None else np.where(good, noise, 1.0)
        others = neighbours(part, good, inside, sky)
        found = look(part - sky.level, sigma, good & ~others, scale, fwhm, centre, theta_E)
    except ValueError as error:
        raise InputError(file, "IMAGE", str(error), "an image with a lens and some sky around it") from error
    if not np.isfinite(found.theta_E):
        raise InputError(file, "--theta-e", "no light of a ring is left beside that of the lens",
                         "the radius of the ring [arcsec]")
    extent = max(1.5 * found.theta_E, found.reach + EDGE) + 0.5 * fwhm
    extent = min(extent, 2.4 * found.theta_E + fwhm, float(r[good].max()))
    return sky, found, extent, neighbours(part, good, r < extent, sky) & (r < extent)


def _telescope(name: str | None, about: Known) -> Telescope | None:
    if name is None:
        return None
    if name not in SURVEYS:
        raise InputError("", "--survey", f"got {name!r}", nearest(name, SURVEYS))
    if name in OWN:
        scale, table = OWN[name]
        rows = {band: (scale, fwhm, zero) for band, (fwhm, zero) in table.items()}
    else:
        rows = {band.name: (one.pixel_scale, band.psf.width, band.zero_point)
                for one in map(preset, PRESETS[name]) for band in one.bands}
    filters = about.filter.lower().replace("-", " ").replace(".", " ").split()
    first = "i" if "i" in rows else next(iter(rows))
    band = next((band for band in rows if band.lower() in filters or band.lower() == about.filter.lower()), first)
    return Telescope(rows[band][0], band, rows[band][1], rows[band][2])


def _pixel_scale(about: Known, wishes: Wishes, telescope: Telescope | None) -> float:
    if about.wcs is not None:
        rows, columns = (slice(0, side) for side in about.shape)
        try:
            side = pixel_of(local_wcs(about.wcs, rows, columns), about.shape).side
        except ValueError as error:
            raise InputError(about.file, "IMAGE", str(error), "an image within the reach of its WCS") from error
        if wishes.pixel_scale is not None and abs(wishes.pixel_scale / side - 1.0) > SAME_SIDE:
            raise InputError(about.file, "--pixel-scale", f"got {wishes.pixel_scale:g}, but pixels have a side of "
                             f"{side:.5g} arcsec by the WCS of the header", "that, or an image without a WCS")
        return side
    if wishes.pixel_scale is not None:
        return wishes.pixel_scale
    if about.side is not None:
        return about.side
    if telescope is not None:
        return telescope.pixel_scale
    raise InputError(about.file, "--pixel-scale", f"missing, and the header has no {'usable ' * bool(about.broken)}"
                     "celestial WCS", "the side of a pixel [arcsec], or a --survey")


def _centre(image: np.ndarray, about: Known, wishes: Wishes) -> tuple[float, float]:
    near, within, option = wishes.pixel, 8.0, "--pixel"
    if wishes.center is not None:
        option = "--center"
        if wishes.pixel is not None:
            raise InputError("", "--center", "given together with --pixel", "one of them")
        if about.wcs is None:
            raise InputError(about.file, "--center", "a sky position, but the header has no celestial WCS",
                             "--pixel COLUMN ROW")
        near = position_to_pixel(about.wcs, *wishes.center)
    if near is not None and not (np.isfinite(near).all() and 0 <= near[0] < image.shape[1]
                                 and 0 <= near[1] < image.shape[0]):
        place = f"column {near[0]:.6g}, row {near[1]:.6g}"
        if wishes.center is not None:
            place = f"{wishes.center[0]:.6g}, {wishes.center[1]:.6g} deg ({place})"
        raise InputError(about.file, option, f"{place} is outside the image of {image.shape[0]} x {image.shape[1]} "
                         "pixels", "a place inside")
    try:
        return centre_of(image, exposed(image), near, None if near is None else within)
    except ValueError as error:
        raise InputError(about.file, "IMAGE", str(error), "an image of a lens") from error


def _part(shape: tuple[int, ...], centre: tuple[float, float], scale: float, theta_E: float | None,
          ) -> tuple[slice, slice]:
    """Rows and columns around the lens, all of a small image."""
    side = int(max(FIELD, RADII * (theta_E or 0.0)) / scale) // 2 * 2 + 1
    sides, middles = [], []
    for at, length in zip(centre[::-1], shape, strict=True):
        if length <= 1.5 * side:
            sides.append(length)
            middles.append(0.5 * (length - 1))
        else:
            sides.append(side)
            middles.append(float(np.clip(round(at), side // 2, length - 1 - side // 2)))
    return window(shape, (sides[0], sides[1]), None, (middles[1], middles[0]))


def _noise_map(file: Path, hdu: str | None, image: np.ndarray, field: str = "--noise") -> np.ndarray:
    known(file, hdu, field, "noise_hdu")
    noise, _, _ = read_image(file, hdu, field)
    if noise.shape != image.shape:
        raise InputError(file, field, f"shape {noise.shape}", f"{image.shape}, the shape of the image")
    if field == "--noise" and not (np.isfinite(noise) & (noise > 0.0)).any():
        raise InputError(file, "--noise", "no pixel above 0", "standard deviations")
    return noise


def _fwhm(file: Path | None, hdu: str | None, scale: float, telescope: Telescope | None) -> tuple[float, int]:
    """FWHM of the PSF [arcsec], and samples a side of a pixel of its kernel."""
    if file is None:
        return (UNKNOWN_FWHM * scale if telescope is None else telescope.fwhm), 1
    samples = known(file, hdu, "--psf", "psf_hdu").samples or 1.0
    kernel, _, _ = read_image(file, hdu, "--psf")
    if kernel.shape[0] != kernel.shape[1] or kernel.shape[0] % 2 == 0 or not np.isfinite(kernel).all():
        raise InputError(file, "--psf", f"shape {kernel.shape}", "a square kernel of finite values with an odd side")
    return half_maximum(kernel) * scale / round(samples), round(samples)


def _image_fields(image: Path, about: Known, wishes: Wishes, folder: Path, scale: float,
                  telescope: Telescope | None) -> list[tuple[str, str, str]]:
    rows = [("image", inline(_path(image, folder)), "")]
    if about.number:
        rows.append(("hdu", str(about.number), ""))
    units, said = _units(about)
    if units is None and said:
        rows.append(("", '# units = "counts/s"', said))
    elif units is not None:
        rows.append(("units", f'"{units}"', said))
        if units == "counts" and about.exposure is None:
            raise InputError(image, "IMAGE", f"BUNIT {about.unit!r}, and the header has no exposure time",
                             "a header with EXPTIME, or an image in counts / s")
    if about.wcs is None:
        way = wishes.scale_by if wishes.pixel_scale else "by the header" if about.side else f"of {wishes.survey}"
        rows.append(("pixel_scale", f"{scale:.6g}", f"arcsec, {way}; the header has no WCS"))
    return rows


def _units(about: Known) -> tuple[str | None, str]:
    """Unit of the image where BUNIT does not say that it is a rate, and why; None where nothing tells it."""
    untold = "counts too could be: say which, and photons of the lens count as noise"
    if about.unit is None:
        return None, f"the header has no BUNIT; {untold}"
    try:
        unit = parse_unit(about.unit)
    except ValueError as error:
        raise InputError(about.file, "IMAGE", str(error), "an image that is linear in flux") from error
    kind = "other" if unit is None else kind_of(unit)
    if kind == "counts/s":
        return None, ""
    if kind == "other":
        return None, f"BUNIT is {about.unit!r}; {untold}"
    return kind, f"BUNIT is {about.unit!r}"


def _noise_fields(wishes: Wishes, image: Path, folder: Path, sky: Blank) -> list[tuple[str, str, str]]:
    if wishes.noise is not None:
        rows = [("noise_map", inline(_path(wishes.noise, folder)), "")]
        return rows + ([("noise_hdu", inline(wishes.noise_hdu), "")] if wishes.noise_hdu else [])
    if wishes.rms is not None:
        rows = [("background_rms", f"{wishes.rms:.6g}", "of the file")]
    else:
        rows = [("background_rms", f"{sky.rms:.4g}", f"scatter of {int(sky.pixels.sum())} pixels of sky")]
    if isinstance(wishes.exposure_time, str):
        return [*rows, ("exposure_map", inline(_path(image, folder)), ""),
                ("exposure_hdu", inline(wishes.exposure_time), "")]
    return rows + ([("exposure_time", f"{wishes.exposure_time:.6g}", "of the file")] if wishes.exposure_time else [])


def _psf_fields(wishes: Wishes, samples: int, telescope: Telescope | None, scale: float, most: int, folder: Path,
                fwhm: float, theta_E: float, notes: list[str]) -> list[tuple[str, str, str]]:
    fine = min(max(2 if fwhm < 2.5 * scale else 1, math.ceil(scale / (SAMPLE * theta_E))), FINEST)
    if wishes.psf is not None:
        rows = [("psf", inline(_path(wishes.psf, folder)), f"FWHM {fwhm:.3g} arcsec")]
        rows += [("psf_hdu", inline(wishes.psf_hdu), "")] if wishes.psf_hdu else []
        if samples > 1:
            fine = 2 if samples % 2 == 0 else samples
            rows.append(("psf_supersampling", str(samples), "by its header"))
        rows += [("supersampling", str(fine), "the scene is rendered finer than the pixels")] if fine > 1 else []
        return rows
    if telescope is None:
        notes.append("no --psf and no --survey: the model is not blurred, and a fit by it is wrong near the centre and "
                     "for the sizes of the source; give a psf")
        rows = [("", "# psf = \"psf.fits\"", "without one the model is not blurred: give it before you fit")]
        return [*rows, ("supersampling", str(fine), "")] if fine > 1 else rows
    size = int(min(6.0 * fwhm / scale, most - 1)) // 2 * 2 + 1
    notes.append(f"no --psf: a Gaussian of {fwhm:.3g} arcsec stands in for it; a kernel of your own image is better")
    rows = [("psf_fwhm", f"{fwhm:.3g}", f"a stand-in for {telescope.band}: put psf = \"FILE\" in its place"),
            ("psf_size", str(max(size, 3)), "")]
    return [*rows, ("supersampling", str(fine), "")] if fine > 1 else rows


def _head(image: Path, wishes: Wishes, found: Look, sky: Blank) -> list[str]:
    lines = [f"{image.name}, by giga init. Every number is a first guess: look at the picture beside this file, change",
             "what is wrong, then fit it by giga fit."]
    way = "as given" if wishes.theta_E else f"by light of {found.significance:.0f} sigma beside the lens"
    lines.append(f"Sky: level {sky.level:.3g}, scatter {sky.rms:.3g} (in the image's unit). Ring: {found.theta_E:.3g} "
                 f"arcsec, {way}.")
    return lines


def _zero_point(about: Known, wishes: Wishes, telescope: Telescope | None) -> list[tuple[str, str, str]]:
    """The line of the zero point: as asked for, or the survey's where the header has none."""
    if wishes.zero_point is not None:
        return [("zero_point", f"{wishes.zero_point:.5g}", "magnitude of one unit of the image")]
    if about.zero_point is None and telescope is not None and telescope.zero_point is not None:
        return [("zero_point", f"{telescope.zero_point:.5g}", f"of {wishes.survey} {telescope.band}")]
    return []


def _path(file: Path, folder: Path) -> str:
    """A path as the configuration writes it: from its folder where that is a short way, else from the root."""
    way = os.path.relpath(file.resolve(), folder.resolve())
    return str(file.resolve()) if way.count("..") > 2 else way
