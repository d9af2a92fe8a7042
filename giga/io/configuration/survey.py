"""Surveys and their noise in TOML: a preset with changes, PSFs from files, and one of three kinds of noise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from giga.imaging.psf import PSF
from giga.io.errors import InputError, nearest
from giga.io.images.companion import check_sampling, known
from giga.io.images.cutouts import load_cutout_noise
from giga.io.images.hdu import read_image
from giga.io.images.psfex import read_psfex
from giga.io.tables import Place, above, at_least, read_table, show
from giga.simulate.surveys.noise import CameraNoise, CorrelatedNoise, Noise, autocovariance
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.seeing import psfs_in_seeing
from giga.simulate.surveys.survey import Band, GaussianPSF, KernelPSF, MoffatPSF, PSFModel, Survey

CHANGES = ("zero_point", "gain", "exposure_time", "n_exposures", "read_noise", "sky_brightness", "dark_current")
"""What of a band may be changed, besides its PSF."""


@dataclass(frozen=True)
class PSFConfig:
    """Section [survey.psf], or `psf` of a band: a FITS kernel, a model of PSFEx, or a width."""

    fits: Path | None = None  # a kernel of odd side
    hdu: int | str | None = None  # of that file
    supersampling: int = at_least(1, 1)  # samples a side of a pixel in that kernel
    psfex: Path | None = None  # what PSFEx writes
    row: int = at_least(0, 0)  # detector of a merged table
    x: float = 0.0  # position on the detector [pixels], the first being 0
    y: float = 0.0
    fwhm: float | None = above(0.0, None)  # of a Gaussian, or with beta of a Moffat profile [arcsec]
    beta: float | None = above(1.0, None)  # slope of that profile

    def __post_init__(self) -> None:
        given = [name for name in ("fits", "psfex", "fwhm") if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError("", given[-1] if given else "fwhm", f"{len(given)} of fits, psfex and fwhm", "one of them")
        if self.beta is not None and self.fwhm is None:
            raise InputError("", "beta", "got a slope without a width", "fwhm as well")

    def model(self, pixel_scale: float) -> PSFModel:
        """The PSF for pixels of some side [arcsec]. Raises InputError."""
        if self.fwhm is not None:
            return GaussianPSF(self.fwhm) if self.beta is None else MoffatPSF(self.fwhm, self.beta)
        if self.psfex is not None:
            return read_psfex(self.psfex, self.row).at(self.x, self.y)
        assert self.fits is not None  # one of the three is there
        about = known(self.fits, self.hdu, "survey.psf.fits", "hdu")
        check_sampling(about, self.supersampling, pixel_scale, "survey.psf.fits", "supersampling")
        kernel, _, _ = read_image(self.fits, about.number, "survey.psf.fits")
        try:
            return KernelPSF(kernel, self.supersampling)
        except ValueError as error:
            raise InputError(self.fits, "survey.psf.fits", str(error).removeprefix("psf: ")) from error


@dataclass(frozen=True)
class BandConfig:
    """Section [survey.band.NAME]: what differs from the preset."""

    psf: PSFConfig | None = None
    zero_point: float | None = None
    gain: float | None = None
    exposure_time: float | None = None
    n_exposures: float | None = None
    read_noise: float | None = None
    sky_brightness: float | None = None
    dark_current: float | None = None


@dataclass(frozen=True)
class SurveyConfig:
    """Section [survey]."""

    name: str  # of a preset
    bands: tuple[str, ...] = ()  # which, in this order; none is all of them
    shape: tuple[int, int] | None = at_least(1, None)  # (ny, nx)
    pixel_scale: float | None = above(0.0, None)  # [arcsec]
    supersampling: int = at_least(1, 2)  # subpixels a side
    psf: PSFConfig | None = None  # of every band that has none of its own
    seeing: tuple[float, float] | None = None  # range of factors of the PSFs' widths, of which each image has some
    beta: tuple[float, float] | None = None  # range of slopes of Moffat profiles, likewise

    def __post_init__(self) -> None:
        if self.beta is not None and self.seeing is None:
            raise InputError("", "beta", "given without seeing", "both, where seeing = [1, 1] keeps the widths")

    def psfs(self, survey: Survey, shared: bool = False) -> list[list[PSF]]:
        """One PSF a band, or the first alone if it is `shared`, for each night. Raises ValueError."""
        nights = [list(survey.psfs(self.supersampling))] if self.seeing is None else psfs_in_seeing(
            survey, self.seeing, self.supersampling, self.beta or ())
        return [night[:1] for night in nights] if shared and self.seeing is not None else nights


@dataclass(frozen=True)
class NoiseConfig:
    """Section [noise]."""

    kind: Literal["camera", "correlated", "cutouts"] = "camera"
    cutouts: tuple[Path, ...] | Path = ()  # of blank sky: a file or folder, or one for each band
    pixel_scale: float | None = above(0.0, None)  # of cutouts without a WCS [arcsec]
    zero_points: tuple[float, ...] | None = None  # of the cutouts; none are the survey's
    reach: int = at_least(1, 8)  # longest lag of the correlation [pixels]

    def __post_init__(self) -> None:
        if self.kind != "camera" and not self.cutouts:
            raise InputError("", "cutouts", "missing", f"images of blank sky for {self.kind} noise")
        if self.kind == "camera" and self.cutouts:
            raise InputError("", "cutouts", "given for camera noise", 'kind = "correlated" or "cutouts"')

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files or folders of cutouts."""
        return (self.cutouts,) if isinstance(self.cutouts, Path) else self.cutouts


def read_survey(table: Any, place: Place) -> tuple[Survey, SurveyConfig, dict[str, BandConfig]]:
    """The survey of a section, and the section as it was read.

    Raises:
        InputError: File, path of the field, value seen and what was expected.
    """
    if not isinstance(table, Mapping):
        raise place.error(show(table), "a table")
    config = read_table(SurveyConfig, {key: value for key, value in table.items() if key != "band"}, place)
    if config.name not in SURVEYS:
        raise place.at("name").error(show(config.name), nearest(config.name, SURVEYS))
    survey = SURVEYS[config.name]
    survey = _checked(place.at("bands"), lambda: survey.select(config.bands or [band.name for band in survey.bands]))
    names, tables = [band.name for band in survey.bands], table.get("band", {})
    if not isinstance(tables, Mapping):
        raise place.at("band").error(show(tables), f"tables such as [survey.band.{names[0]}]")
    changes = {}
    for name, part in tables.items():
        if name not in names:
            raise place.at("band").at(name).error("no such band", nearest(name, names))
        changes[name] = read_table(BandConfig, part, place.at("band").at(name))
    scale = survey.pixel_scale if config.pixel_scale is None else config.pixel_scale
    bands = tuple(_changed(band, config, changes.get(band.name, BandConfig()), scale, place) for band in survey.bands)
    size = {key: getattr(config, key) for key in ("shape", "pixel_scale") if getattr(config, key) is not None}
    return _checked(place, lambda: survey.replace(bands=bands, **size)), config, changes


def read_noise(table: Any, survey: Survey, place: Place) -> tuple[Noise, NoiseConfig]:
    """The noise of a section for a survey, and the section as it was read.

    Raises:
        InputError: File, path of the field, value seen and what was expected.
    """
    config = read_table(NoiseConfig, table, place)
    return make_noise(config, survey, place), config


def make_noise(config: NoiseConfig, survey: Survey, place: Place) -> Noise:
    """The noise of a section that was read from a place, for a survey. Raises InputError."""
    if config.kind == "camera":
        return CameraNoise.of(survey)
    noise, vetted = load_cutout_noise(config.paths, survey, pixel_scale=config.pixel_scale,
                                      zero_points=config.zero_points)
    if config.kind == "cutouts":
        return noise
    covariance = _checked(place.at("reach"), lambda: autocovariance(vetted.cutouts, config.reach))
    return CorrelatedNoise.of(covariance, survey.shape, survey.photon)


def _changed(band: Band, survey: SurveyConfig, change: BandConfig, pixel_scale: float, place: Place) -> Band:
    values: dict[str, Any] = {name: getattr(change, name) for name in CHANGES if getattr(change, name) is not None}
    if (psf := change.psf or survey.psf) is not None:
        values["psf"] = psf.model(pixel_scale)
    return _checked(place.at("band").at(band.name), lambda: band.replace(**values))


def _checked(place: Place, make: Callable[[], Any]) -> Any:
    """What a library makes, its complaint put to the place in the file."""
    try:
        return make()
    except InputError:
        raise
    except ValueError as error:
        raise place.error(str(error)) from error


def files_of(*configs: Any) -> list[Path]:
    """Files and folders that dataclasses name, in order."""
    found: list[Path] = []
    for config in configs:
        if isinstance(config, Path):
            found.append(config)
        elif dataclasses.is_dataclass(config):
            found += files_of(*(getattr(config, field.name) for field in dataclasses.fields(config)))
        elif isinstance(config, Mapping):
            found += files_of(*config.values())
        elif isinstance(config, tuple):
            found += files_of(*config)
    return found
