"""FITS files to observations: image, units, noise, PSF, mask, WCS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

from giga.imaging.background import Sky, measure
from giga.imaging.correlation import checked
from giga.imaging.grid import Grid, pixel_of
from giga.imaging.observation import WEIGHTLESS, Observation, weightless
from giga.imaging.psf import PSF, gaussian_outside
from giga.io.errors import InputError
from giga.io.images.companion import Known, check_inside, check_observation, known, part_of, same_hdu
from giga.io.images.config import ObservationConfig, is_region_file
from giga.io.images.exposure import Exposure, read_exposure, read_weights
from giga.io.images.hdu import cutout as cutout
from giga.io.images.hdu import read_image as read_image
from giga.io.images.masks import Window, first_of, from_file, read_mask, read_with, ring_masks
from giga.io.images.sky import celestial_wcs as celestial_wcs
from giga.io.images.sky import departure, distorted, local_wcs
from giga.io.images.units import to_rate

SQUARE = 1e-3  # pixels further from a square are said to be taken as one
CUT = 0.005  # share of an analytic PSF outside its kernel that is said
SUM_TOLERANCE = 1e-4  # a PSF whose sum is further from one is renormalised, and that is said


def load_observations(configs: Sequence[ObservationConfig], notes: list[str] | None = None) -> list[Observation]:
    """Load the observations of one scene; the later ones take their angles from the first, by WCS.

    Args:
        configs: Sections [[observation]].
        notes: Gets what the user should know of.

    Raises:
        InputError: Whatever is wrong, see `load_observation`; or one image stands for two, or for the noise, mask or
            PSF of another.
    """
    loaded: list[Observation] = []
    for k, config in enumerate(configs):
        loaded.append(load_observation(config, loaded[0] if loaded else None, notes, f"observation.{k}"))
    _check_apart(configs)
    return loaded


def _check_apart(configs: Sequence[ObservationConfig]) -> None:
    """Refuse an image that is that of two observations, with the same cutout, or goes with another one."""
    if len(configs) < 2:
        return
    images = [known(config.image, config.hdu, f"observation.{k}.image") for k, config in enumerate(configs)]
    for k, (config, image) in enumerate(zip(configs, images, strict=True)):
        for j, other in enumerate(images):
            if j < k and same_hdu(image, other) and config.cutout == configs[j].cutout:
                raise InputError(config.image, f"observation.{k}.image", f"{image.place} is the image of observation "
                                 f"{j}", "another file or hdu")
            for name, hdu in (("noise_map", "noise_hdu"), ("mask", "mask_hdu"), ("psf", "psf_hdu")):
                if j != k and (file := getattr(config, name)) is not None and not (name == "mask" and
                                                                                   is_region_file(file)):
                    field = f"observation.{k}.{name}"
                    companion = known(file, getattr(config, hdu), field, hdu)
                    if same_hdu(companion, other):
                        raise InputError(file, field, f"{companion.place} is the image of observation {j}",
                                         f"another file or {hdu}")


def load_observation(config: ObservationConfig, reference: Observation | None = None, notes: list[str] | None = None,
                     path: str = "observation") -> Observation:
    """Load image, noise, PSF and mask of one observation.

    Args:
        config: Where they are and what they mean.
        reference: An observation of the same scene, whose angles are used when both have a WCS.
        notes: Gets what the user should know of: units, a renormalised PSF, an alignment.
        path: Path of the section, for messages.

    Raises:
        InputError: File, field, value seen and what was expected.
    """
    notes = [] if notes is None else notes
    about = check_observation(config, path, notes)
    full, _, bunit = read_image(config.image, about.number, f"{path}.image")
    window = part_of(config, about, path)
    image, wcs = full[window].copy(), _linear(config, about, window, notes, path)
    grid = _grid(config, image.shape, wcs, reference, notes, path)
    exposure = read_exposure(config, about, full, window, notes, path)
    try:
        factor, note = to_rate(bunit, config.units, exposure.time, float(grid.pixel_scale) ** 2)
    except ValueError as error:
        raise InputError(config.image, f"{path}.units", str(error),
                         "units in the configuration: counts (with an exposure time), surface_brightness, "
                         "or counts/s to take the pixel values as they are") from error
    if note:
        notes.append(f"{Path(config.image).name}: {note}")
    mask = read_mask(config, full, window, grid, about.wcs, notes, path)
    mask = _measured(mask, exposure, weights := read_weights(config, full, window, path), config, notes, path)
    _check_finite(config, image, mask, window, path)
    noise = _noise(config, full, window, mask, path)
    correlation, scale = _correlated(config, full, window, grid, about.wcs, notes, path)
    try:
        observation = Observation(
            image=factor * image, grid=grid, psf=_psf(config, float(grid.pixel_scale), image.shape, notes, path),
            noise_map=None if noise is None else scale * factor * noise,
            background_rms=_times(scale * factor, config.background_rms if weights is None else weights),
            exposure_time=_times(1.0 / scale**2, exposure.photons),
            mask=mask, supersampling=config.supersampling, band=config.band, correlation=correlation,
            zero_point=_zero_point(config, about, factor, notes), saturation=_saturation(config, about, factor, notes),
            header="" if wcs is None else wcs.to_header(relax=True).tostring(sep="\n"))
    except InputError:
        raise
    except ValueError as error:
        raise InputError(config.image, path, str(error)) from error
    if config.model_error:
        widened = observation.with_model_error(config.model_error)
        most = float(np.max((widened.sigma() / observation.sigma())[observation.mask]))
        observation = widened
        notes.append(f"{Path(config.image).name}: {config.model_error:.3g} of the brightness is added to the noise, "
                     f"which is {most:.3g} times as large where that is most")
    if without := int(np.sum(mask & ~observation.mask)):
        notes.append(f"{Path(config.noise_map or config.image).name}: {without} pixels have more than {WEIGHTLESS:g} "
                     "times the noise of the others and are masked")
    return observation


def frame_of(config: ObservationConfig, path: str = "observation") -> tuple[Grid, Window, WCS | None]:
    """Grid of the part of an image that is used, its rows and columns, and the WCS of the whole, by its header alone.

    Raises:
        InputError: What `load_observation` refuses of them.
    """
    about = known(config.image, config.hdu, f"{path}.image")
    window = part_of(config, about, path)
    shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
    return _grid(config, shape, _linear(config, about, window, [], path), None, [], path), window, about.wcs


def wcs_header(observation: Observation) -> fits.Header:
    """Header with the WCS cards of an observation, for what is written; empty when it has none."""
    return fits.Header.fromstring(observation.header, sep="\n")


def _linear(config: ObservationConfig, about: Known, window: tuple[slice, slice], notes: list[str],
            path: str) -> WCS | None:
    """The linear WCS of the part that is used, which the grid and the header have in common."""
    if about.wcs is None:
        return None
    try:
        local = local_wcs(about.wcs, *window)
    except ValueError as error:
        raise InputError(config.image, f"{path}.image", str(error), "an image within the reach of its WCS") from error
    if kind := distorted(about.wcs):
        most = departure(about.wcs, local, *window)
        notes.append(f"{Path(config.image).name}: its distortion ({kind}) is followed to the middle of the image, from "
                     f"where one linear WCS takes its place; at the corners they differ by up to {most:.2g} pixels")
    return local


def _grid(config: ObservationConfig, shape: tuple[int, int], wcs: WCS | None, reference: Observation | None,
          notes: list[str], path: str) -> Grid:
    """The pixels of an image, moved by its offset. Raises InputError."""
    grid = _by_wcs(config, shape, wcs, reference, notes, path)
    return grid.replace(center_x=grid.center_x + config.offset[0], center_y=grid.center_y + config.offset[1])


def _by_wcs(config: ObservationConfig, shape: tuple[int, int], wcs: WCS | None, reference: Observation | None,
            notes: list[str], path: str) -> Grid:
    name = Path(config.image).name
    if wcs is None:
        if config.pixel_scale is None:
            raise InputError(config.image, f"{path}.pixel_scale", "missing, and the header has no celestial WCS",
                             "the side of a pixel [arcsec]")
        if reference is not None:
            notes.append(f"{name}: no celestial WCS; its centre is taken as that of the first observation")
        return Grid(shape=shape, pixel_scale=config.pixel_scale)
    reference_grid = None if reference is None else reference.grid
    reference_wcs = None if reference is None or not reference.header else celestial_wcs(wcs_header(reference))
    if reference is not None and reference_wcs is None:
        notes.append(f"{name}: the first observation has no celestial WCS; centres are taken as the same")
    try:
        grid = Grid.from_wcs(wcs, shape, reference_grid, reference_wcs)
        if reference_wcs is not None and reference_grid is not None:
            check_inside(grid, reference_grid)
    except ValueError as error:
        raise InputError(config.image, f"{path}.image", str(error),
                         "square pixels, and observations of one field and parity") from error
    scale = float(grid.pixel_scale)
    if config.pixel_scale is not None and abs(config.pixel_scale / scale - 1.0) > 0.01:
        raise InputError(config.image, f"{path}.pixel_scale",
                         f"got {config.pixel_scale:g}, but the WCS has {scale:.6g} arcsec", "agreement to 1%")
    if (pixel := pixel_of(wcs, shape)).excess > SQUARE:
        taken, word = (scale, "their mean") if config.pixel_scale is None else (config.pixel_scale, "pixel_scale")
        notes.append(f"{name}: pixels of {pixel}, {pixel.excess:.2%} from square, are taken as {taken:.6g}, {word}")
        return grid.replace(pixel_scale=taken)
    return grid


def _times(factor: float | np.ndarray, rms: float | np.ndarray | None) -> float | np.ndarray | None:
    return None if rms is None else factor * rms


def _measured(mask: np.ndarray, exposure: Exposure, weights: np.ndarray | None, config: ObservationConfig,
              notes: list[str], path: str) -> np.ndarray:
    """A mask without the pixels that were not exposed or have no weight, which is said. Raises InputError."""
    seen = np.ones(mask.shape, bool)
    for values in (exposure.time, weights):
        if isinstance(values, np.ndarray):
            seen &= np.isfinite(values)
    file = config.weight_map or config.exposure_map or config.image
    if without := int((mask & ~seen).sum()):
        notes.append(f"{file.name}: {without} pixels have no weight or exposure and are masked")
    if not (mask & seen).any():
        raise InputError(file, path, "no pixel that is fitted has weight and exposure", "some that have")
    return mask & seen


def _check_finite(config: ObservationConfig, image: np.ndarray, mask: np.ndarray, window, path: str) -> None:
    bad = mask & ~np.isfinite(image)
    if bad.any():
        raise InputError(config.image, f"{path}.image", f"{bad.sum()} fitted pixels are NaN or infinite, the first at "
                         f"{first_of(bad, window)[2]}", "finite pixels, or a mask that leaves them out")


def _noise(config: ObservationConfig, image: np.ndarray, window, mask: np.ndarray, path: str) -> np.ndarray | None:
    """Noise standard deviation in the units of the image; NaN where it is unusable and not fitted."""
    if config.noise_map is None:
        return None
    values = read_with(config.noise_map, config.noise_hdu, image, f"{path}.noise_map", config)[window]
    usable = np.isfinite(values) & (values > 0.0)
    bad = mask & ~usable
    if bad.any():
        row, column, place = first_of(bad, window)
        seen = f"{bad.sum()} fitted pixels are not positive, the first is {values[row, column]:.6g} at {place}"
        raise InputError(config.noise_map, f"{path}.noise_map", seen,
                         f"a {config.noise_kind} above zero wherever the mask keeps a pixel")
    return _sigma(config, np.where(usable, values, np.nan))


def _sigma(config: ObservationConfig, values: np.ndarray) -> np.ndarray:
    """Standard deviations from the values of a noise map."""
    return values ** {"sigma": 1.0, "variance": 0.5, "weight": -0.5}[config.noise_kind]


def _zero_point(config: ObservationConfig, about: Known, factor: float | np.ndarray, notes: list[str]) -> float | None:
    """Magnitude of one count a second, which is `factor` of the image's units; None where it is not known."""
    zero = config.zero_point
    if zero is None and config.from_header and about.zero_point is not None:
        zero, way = about.zero_point
        notes.append(f"{Path(config.image).name}: zero point {zero:.4g}, {way}")
    if zero is None:
        return None
    if np.ndim(factor):
        notes.append(f"{Path(config.image).name}: counts by an exposure map have no one zero point: no magnitudes")
        return None
    return zero + 2.5 * float(np.log10(factor))


def _saturation(config: ObservationConfig, about: Known, factor: float | np.ndarray,
                notes: list[str]) -> float | np.ndarray | None:
    """Level of saturated pixels by the header, in counts a second; None where it has none."""
    if not config.from_header or about.saturation is None:
        return None
    level, key = about.saturation
    notes.append(f"{Path(config.image).name}: pixels are saturated from {level:g} on by its header ({key})")
    return factor * level


def _correlated(config: ObservationConfig, image: np.ndarray, window: Window, grid: Grid, wcs: WCS | None,
                notes: list[str], path: str) -> tuple[np.ndarray | None, float]:
    """Correlation of the noise by lag, None where pixels are independent, and what the noise is multiplied by."""
    given, scale, field = config.correlation, config.noise_scale, f"{path}.correlation"
    if "measure" in (given, scale):
        try:
            sky = _sky(config, image, window, grid, wcs, path)
        except ValueError as error:
            which = "correlation" if given == "measure" else "noise_scale"
            raise InputError(config.image, f"{path}.{which}", *str(error).split("; expected ", 1)) from error
        notes.append(f"{Path(config.image).name}: {sky}")
        if given == "measure":
            given = tuple(map(tuple, sky.correlation.tolist()))
        if scale == "measure":
            scale = sky.scatter
    assert not isinstance(scale, str)  # what is not measured is a number
    if given == "none":
        return None, scale
    values = read_with(given, None, image, field, config) if isinstance(given, Path) else np.asarray(given)
    try:
        return checked(values), scale
    except ValueError as error:
        file = given if isinstance(given, Path) else config.image
        raise InputError(file, field, str(error).removeprefix("correlation: ")) from error


def _sky(config: ObservationConfig, image: np.ndarray, window: Window, grid: Grid, wcs: WCS | None, path: str) -> Sky:
    """What the blank sky of the whole image tells, of which `mask_keep` and the cutout leave out none."""
    everything = (slice(0, image.shape[0]), slice(0, image.shape[1]))
    good, noise = np.isfinite(image), np.ones(image.shape)
    if config.noise_map is not None:
        values = read_with(config.noise_map, config.noise_hdu, image, f"{path}.noise_map", config)
        good &= np.isfinite(values) & (values > 0.0)
        noise = _sigma(config, np.where(good, values, 1.0))
        good &= ~weightless(noise, good)
    elif config.weight_map is not None:
        weighted = read_weights(config, image, everything, path)
        assert weighted is not None
        good &= np.isfinite(weighted)
        noise = np.where(good, weighted, 1.0)
    elif config.background_rms is not None:
        noise *= config.background_rms
    if config.mask is not None:
        good &= from_file(config, image, everything, wcs, f"{path}.mask")
    good[window] &= ~ring_masks(config.mask_exclude, grid, window, wcs, config.image, f"{path}.mask_exclude").any(0)
    return measure(image, noise, good)


def _psf(config: ObservationConfig, pixel_scale: float, shape: tuple[int, int], notes: list[str],
         path: str) -> PSF | None:
    if config.psf_fwhm is not None and config.psf_size is not None:
        if config.psf_size > min(shape):
            raise InputError(config.image, f"{path}.psf_size", f"got {config.psf_size} pixels",
                             f"a PSF that is not wider than the image of {shape[0]} x {shape[1]} pixels")
        outside = gaussian_outside(config.psf_fwhm, config.psf_size * pixel_scale)
        if outside > CUT:
            notes.append(f"{Path(config.image).name}: {100.0 * outside:.3g}% of the light of psf_fwhm = "
                         f"{config.psf_fwhm:g} arcsec lies outside psf_size = {config.psf_size} pixels; the kernel is "
                         "narrower than that")
        return PSF.gaussian(config.psf_fwhm, pixel_scale, config.psf_size, config.supersampling)
    if config.psf is None:
        notes.append(f"{Path(config.image).name}: no PSF is given, so the model is not blurred")
        return None
    kernel, _, _ = read_image(config.psf, config.psf_hdu, f"{path}.psf")
    kernel = _check_psf(kernel, config, shape, notes, f"{path}.psf")
    if config.psf_supersampling == 1:
        return PSF.from_native(kernel, config.supersampling, config.psf_resampling)
    return PSF(kernel=jnp.asarray(kernel), supersampling=config.psf_supersampling).at(config.supersampling)


def _check_psf(kernel: np.ndarray, config: ObservationConfig, shape: tuple[int, int], notes: list[str],
               field: str) -> np.ndarray:
    """Check a kernel as it is in its file; return it summing to one."""
    file, side, total = Path(config.psf or ""), len(kernel), float(kernel.sum())
    if kernel.shape[0] != kernel.shape[1] or side % 2 == 0:
        raise InputError(file, field, f"shape {kernel.shape}", "a square kernel with an odd side")
    if not np.isfinite(kernel).all():
        raise InputError(file, field, f"{np.sum(~np.isfinite(kernel))} values are NaN or infinite", "finite values")
    if side > config.psf_supersampling * min(shape):
        raise InputError(file, field, f"{side / config.psf_supersampling:.4g} pixels wide",
                         f"a PSF that is not wider than the image of {shape[0]} x {shape[1]} pixels")
    if not total > 0.0:
        raise InputError(file, field, f"sums to {total:.6g}", "a positive sum")
    if abs(total - 1.0) > SUM_TOLERANCE:
        notes.append(f"{file.name}: sums to {total:.4g}, renormalised to 1")
    peak = tuple(int(k) for k in np.unravel_index(np.argmax(kernel), kernel.shape))
    if peak != (side // 2, side // 2):
        notes.append(f"{file.name}: its peak is at [y={peak[0]}, x={peak[1]}], "
                     f"not at its centre [y={side // 2}, x={side // 2}]")
    return kernel / total
