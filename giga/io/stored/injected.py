"""Cutouts that simulated light is put into: their pixels, and what a table says of their PSF, noise and calibration."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from giga.imaging.grid import Grid
from giga.imaging.observation import check_kernel
from giga.io.errors import InputError, check_pixel_scale
from giga.io.images.hdu import read_image
from giga.io.images.sky import celestial_wcs
from giga.io.images.units import is_no_rate
from giga.io.stored.labels import SHARES, check_known, known_of, name_of, split_of
from giga.io.stored.shards import FitsFiles, read_cutout
from giga.io.stored.stack import HOLD, LOOKED_AT, Stack, open_stack
from giga.io.tables import above, at_least
from giga.models.systems.labelled import pixel_noise
from giga.models.training.splits import Split
from giga.runtime.identity import identity_of
from giga.simulate.injected import Cutout
from giga.simulate.surveys.psf_models import GaussianPSF, KernelPSF, MoffatPSF
from giga.simulate.surveys.survey import Survey

SCALE = 0.02  # of the side of a pixel, that cutouts may differ from their survey by
KEPT = 4096  # kernels that are held
SIZES = ("refuse", "crop")


@dataclass(frozen=True)
class InjectedConfig:
    """Section [injected]: cutouts of galaxies that are there, into which the light of the sources is put.

    Raises:
        InputError: No images, or a value that is not one of those allowed.
    """

    images: tuple[Path, ...] | Path  # files, or folders of files
    labels: Path | None = None  # table with a row a cutout; none takes what the files know
    name: str = ""  # column of the cutouts' names; empty finds it
    psf: str = ""  # "survey" for that of the survey; empty takes what the table or the files say of each cutout
    beta: float | None = above(1.0, None)  # slope of Moffat profiles of the widths in the table; none is Gaussian
    lens_light: bool = False  # add the population's lens light too
    group: str = ""  # column of what must not be in two parts of the split
    split: str = ""  # column that says train, validation or test
    shares: tuple[float, float, float] = SHARES  # of training, validation and test
    folds: int = at_least(0, 0)  # or one of k folds
    fold: int = at_least(0, 0)  # which one
    scenes: int = at_least(1, 1)  # of each cutout in validation and test
    part: str = "all"  # that giga simulate writes: or "train", as training sees it, "validation" or "test"
    unlabelled: str = "refuse"  # cutouts without a row: or "leave" them out
    size: str = "refuse"  # of cutouts larger than the survey's shape: "crop" takes their middle
    dataset: str = ""  # name of the images in HDF5 or Zarr
    layout: str = "last"  # or "first", where the bands come before rows and columns
    hold_mb: float = above(0.0, float(HOLD))  # memory for what is stored in compressed blocks [MB]

    def __post_init__(self) -> None:
        allowed = {"psf": ("", "survey"), "part": ("all", "train", "validation", "test"), "size": SIZES,
                   "unlabelled": ("refuse", "leave")}
        for field, values in allowed.items():
            if (value := getattr(self, field)) not in values:
                raise InputError("", field, f"got {value!r}", f"one of {', '.join(repr(one) for one in values if one)}")
        if not self.paths:
            raise InputError("", "images", "none", "files of cutouts, or folders of them")

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files or folders of the cutouts."""
        return (self.images,) if isinstance(self.images, Path) else self.images


@dataclass(frozen=True, eq=False)
class Galaxies:
    """Cutouts as `giga.models.training.injected.Backdrops`.

    Attributes:
        images: Their pixels.
        photon: Variance per count / s of light, shape (n, bands).
        scale: What pixels are multiplied by, so that they are in the survey's counts / s, shape (n, bands).
        rms: Of the noise, shape (n, bands) [counts / s]; None measures it in each cutout.
        kernels: `kernels(row)`, the PSFs of a cutout, shape (bands, k, k); None where all have the survey's.
        psfs: What the kernels are made of, for their identity: files of each cutout, or numbers.
        columns: What is known of the cutouts, shape (n,) each.
        split: Which cutouts are for training, validation and test.
        notes: What the user should know.
    """

    images: Stack
    photon: np.ndarray
    scale: np.ndarray
    rms: np.ndarray | None
    kernels: Callable[[int], np.ndarray] | None
    psfs: Any
    columns: dict[str, np.ndarray]
    split: Split
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """Hash of pixels, PSFs and noise."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        files = {path for paths in self.psfs for path in paths} if isinstance(self.psfs, list) else ()
        psfs = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)] if files else self.psfs
        return identity_of("galaxies", self.images.identity, self.photon, self.scale, self.rms, psfs)

    def read(self, rows: np.ndarray) -> Cutout:
        """Cutouts by their numbers.

        Raises:
            InputError: Some cannot be read, are not finite, or have no noise.
        """
        images = self.images.read(rows) * self.scale[rows][:, None, None]
        rms = pixel_noise(images) if self.rms is None else self.rms[rows]
        if not (rms > 0.0).all():
            row, band = np.argwhere(~(rms > 0.0))[0]
            raise InputError(self.images.shards[0].path, "injected.images",
                             f"{name_of(self.images, int(rows[row]))} has no noise in band {band + 1}",
                             "an image with noise, or a column rms of the labels")
        kernels = None if self.kernels is None else np.stack([self.kernels(int(row)) for row in rows])
        return Cutout(image=images, rms=rms.astype(np.float32), photon=self.photon[rows],
                      number=np.asarray(rows, np.int32), kernels=kernels)


def open_galaxies(config: InjectedConfig, survey: Survey, supersampling: int, seed: int = 0) -> Galaxies:
    """Open cutouts, and find what is known of their PSFs and their noise.

    Args:
        config: Where they are.
        survey: That took them: its bands, the size of the images, and what the table does not say.
        supersampling: Of the kernels.
        seed: Of the split.

    Raises:
        InputError: Cutouts of another size, pixel scale, order of bands or unit; without a row of the table, or with no
            PSF; numbers of the table that cannot be.
    """
    bands = [band.name for band in survey.bands]
    try:
        stack = open_stack(config.paths, dataset=config.dataset or None, layout=config.layout, shape=survey.shape,
                           size=config.size, bands=bands, hold_mb=config.hold_mb)
    except InputError as error:
        wanted = error.expected.replace("crop, pad or resize", "crop")  # padded or resampled, noise would be another
        raise InputError(error.file, error.field, error.seen, wanted) from error
    for shard in stack.shards:
        if is_no_rate(shard.unit):
            raise InputError(shard.path, "images", f"pixels in {shard.unit!r}", "counts per second, as light is added")
    _check_scales(stack, survey)
    where = config.labels if config.labels is not None else stack.shards[0].path
    columns, known, notes = known_of(stack, config.labels, config.name or None)
    check_known(stack, known, where, "injected.labels", config.unlabelled)
    for column in (config.group, config.split):
        if column and column not in columns:
            raise InputError(where, column, "no such column", f"one of {', '.join(columns)}")
    split = split_of(columns, known, where, kinds=np.zeros(len(stack), np.int32), group=config.group or None,
                     split_by=config.split or None, shares=config.shares, number_of_folds=config.folds,
                     fold=config.fold, seed=seed, names=("cutout",))
    told = _Told(columns, bands, where, known)
    points = told("zero_point", positive=False)
    shape = len(stack), len(bands)
    scale = np.ones(shape) if points is None else 10.0 ** (0.4 * (survey.zero_points - points))
    rms = told("rms")
    kernels, psfs = _kernels(config, told, stack, survey, supersampling)
    photon = np.broadcast_to(_photon(told, survey, scale), shape).astype(np.float32)
    return Galaxies(stack, photon, scale.astype(np.float32), None if rms is None else (scale * rms).astype(np.float32),
                    kernels, psfs, columns, split, (*stack.notes, *notes))


def _photon(told: _Told, survey: Survey, scale: np.ndarray) -> np.ndarray:
    """Variance per count / s of light, in the survey's counts."""
    gains, times = told("gain"), told("exposure_time")
    if gains is None and times is None:
        return survey.photon
    if times is None:
        times = np.array([band.exposure_time * band.n_exposures for band in survey.bands])
    if gains is None:
        return 1.0 / (np.array([band.gain for band in survey.bands]) * times)
    return scale / (gains * times)  # a gain of the table is of the cutout's own count


class _Told:
    """What a table says of each cutout in each band: a column NAME for all bands, or NAME_BAND for each."""

    def __init__(self, columns: Mapping[str, np.ndarray], bands: list[str], file: Path, known: np.ndarray):
        self.columns, self.bands, self.file, self.known = columns, bands, file, known

    def texts(self, name: str) -> np.ndarray | None:
        """As they are, shape (n, bands); None where no column is of that name."""
        if name in self.columns:
            return np.stack([self.columns[name]] * len(self.bands), -1)
        names = [f"{name}_{band}" for band in self.bands]
        found = [one for one in names if one in self.columns]
        if not found:
            return None
        if len(found) < len(names):
            missing = next(one for one in names if one not in self.columns)
            raise InputError(self.file, missing, f"no such column beside {found[0]}", f"{', '.join(names)}")
        return np.stack([self.columns[one] for one in names], -1)

    def __call__(self, name: str, positive: bool = True) -> np.ndarray | None:
        """As numbers; those of cutouts without a row are 1."""
        found = self.texts(name)
        if found is None:
            return None
        try:
            numbers = np.where(self.known[:, None], found.astype(float), 1.0)
        except ValueError as error:
            raise InputError(self.file, name, f"no number ({error})", "a number for each cutout") from error
        good = np.isfinite(numbers) & ((numbers > 0.0) | (not positive))
        if not good.all():
            row, band = np.argwhere(~good)[0]
            raise InputError(self.file, name, f"row {row + 1}: {numbers[row, band]:g}",
                             "a number above 0" if positive else "a number")
        return numbers


def _kernels(config: InjectedConfig, told: _Told, stack: Stack, survey: Survey,
             supersampling: int) -> tuple[Callable[[int], np.ndarray] | None, Any]:
    """The PSFs of each cutout, and what they are made of."""
    scale = survey.pixel_scale
    files, arrays = told.texts("psf"), [shard.kernels for shard in stack.shards]
    if config.psf == "survey":
        return None, None
    if files is not None:
        folder = told.file.parent
        paths = [[_path(folder, text, told.file, row) for text in texts] if there else [] for row, (texts, there)
                 in enumerate(zip(files.tolist(), told.known, strict=True))]
        return _Kernels(lambda row, band: _of_file(paths[row][band], scale, supersampling), len(survey.bands),
                        int(np.argmax(told.known)), survey, supersampling, told.file, "psf"), paths
    if (widths := told("fwhm")) is not None:
        def one(row: int, band: int) -> np.ndarray:
            return _of_width(float(widths[row, band]), config.beta, scale, supersampling)

        widest = int(np.argmax(np.where(told.known[:, None], widths, 0.0).max(1)))
        return _Kernels(one, len(survey.bands), widest, survey, supersampling, told.file, "fwhm"), (widths, config.beta)
    if all(array is not None for array in arrays):
        made = _Stored(stack, len(survey.bands), scale, supersampling)
        return (_Kernels(made, len(survey.bands), 0, survey, supersampling, stack.shards[0].path, "psf"),
                tuple(np.asarray(array[:LOOKED_AT]) for array in arrays))
    raise InputError(told.file, "injected.psf", "cutouts without a PSF",
                     "a column fwhm or psf, or one a band such as fwhm_"
                     f"{survey.bands[0].name}; an array psf beside the images; or psf = \"survey\"")


class _Kernels:
    """Kernels of all bands of a cutout, as wide as the widest."""

    def __init__(self, one: Callable[[int, int], np.ndarray], bands: int, widest: int, survey: Survey,
                 supersampling: int, file: Path, field: str):
        self.one, self.bands, self.file, self.field = one, bands, file, field
        kernels = [one(widest, band) for band in range(bands)]
        self.side = max(map(len, kernels))
        try:
            for kernel in kernels:
                check_kernel(kernel, supersampling, survey.shape)
        except ValueError as error:
            raise InputError(file, field, str(error).removeprefix("psf: ")) from error

    def __call__(self, row: int) -> np.ndarray:
        out = np.zeros((self.bands, self.side, self.side), np.float32)
        for band in range(self.bands):
            kernel = self.one(row, band)
            edge = (self.side - len(kernel)) // 2
            if edge < 0:
                raise InputError(self.file, self.field, f"cutout {row}: a kernel of {len(kernel)} samples",
                                 f"at most {self.side}, as the first one has")
            out[band, edge:edge + len(kernel), edge:edge + len(kernel)] = kernel
        return out


def _path(folder: Path, text: Any, table: Path, row: int) -> Path:
    path = folder / str(text).strip()
    if not path.is_file():
        raise InputError(table, "psf", f"row {row + 1}: {str(text).strip()!r}, no such file", "a FITS file of a kernel")
    return path


@lru_cache(KEPT)
def _of_file(path: Path, pixel_scale: float, supersampling: int) -> np.ndarray:
    kernel, _, _ = read_image(path, None, "psf")
    return _sampled(kernel, pixel_scale, supersampling, path)


@lru_cache(KEPT)
def _of_width(fwhm: float, beta: float | None, pixel_scale: float, supersampling: int) -> np.ndarray:
    model = GaussianPSF(fwhm) if beta is None else MoffatPSF(fwhm, beta)
    return np.asarray(model.psf(pixel_scale, supersampling).kernel)


class _Stored:
    """Kernels that are stored beside the images, at the pixel scale."""

    def __init__(self, stack: Stack, bands: int, pixel_scale: float, supersampling: int):
        self.stack, self.bands = stack, bands
        self.scale, self.supersampling = pixel_scale, supersampling
        self.ends = np.cumsum([shard.count for shard in stack.shards])
        for shard in stack.shards:
            shape = tuple(shard.kernels.shape)
            if len(shape) != 4 or shape[0] not in (1, shard.count) or shape[1] not in (1, bands):
                raise InputError(shard.path, "psf", f"an array of shape {shape}",
                                 f"({shard.count} or 1, {bands}, k, k), k odd")
        self._of = lru_cache(KEPT)(self._read)

    def __call__(self, row: int, band: int) -> np.ndarray:
        number = int(np.searchsorted(self.ends, row, side="right"))
        shard = self.stack.shards[number]
        count, bands = shard.kernels.shape[:2]
        within = row - int(self.ends[number] - shard.count)
        return self._of(number, within if count > 1 else 0, band if bands > 1 else 0)

    def _read(self, number: int, row: int, band: int) -> np.ndarray:
        shard = self.stack.shards[number]
        return _sampled(np.asarray(shard.kernels[row])[band], self.scale, self.supersampling, shard.path)


def _sampled(kernel: np.ndarray, pixel_scale: float, supersampling: int, file: Path) -> np.ndarray:
    try:
        return np.asarray(KernelPSF(kernel).psf(pixel_scale, supersampling).kernel)
    except ValueError as error:
        raise InputError(file, "psf", str(error).removeprefix("psf: ")) from error


def _check_scales(stack: Stack, survey: Survey) -> None:
    """Refuse cutouts whose pixels are not the survey's, as far as the files tell; of a folder some are looked at."""
    said = f"those of the survey {survey.name!r}"
    for shard in stack.shards:
        if shard.pixel_scale is not None:
            check_pixel_scale(shard.pixel_scale, survey.pixel_scale, SCALE, said, shard.path, "images")
        if isinstance(shard.array, FitsFiles):
            some = np.unique(np.linspace(0, shard.count - 1, min(LOOKED_AT, shard.count)).astype(int))
            for file in (shard.array.files[k] for k in some):
                _, header, _ = read_cutout(file)
                wcs = celestial_wcs(header)
                if wcs is not None:
                    scale = float(Grid.from_wcs(wcs, shard.shape[:2]).pixel_scale)
                    check_pixel_scale(scale, survey.pixel_scale, SCALE, said, file, "images")


def finite_columns(columns: Mapping[str, np.ndarray], known: np.ndarray, asked: set[str]) -> dict[str, np.ndarray]:
    """Columns that a population may take: those that are numbers in each row, and those that it asks for."""
    out = {}
    for name, values in columns.items():
        try:
            numbers = np.where(known, values.astype(float), 0.0)
        except ValueError:
            continue  # texts
        if name in asked or all(map(math.isfinite, numbers)):
            out[name] = numbers
    return out
