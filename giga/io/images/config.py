"""What a user may set in the sections of a configuration that are plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from giga.imaging.correlation import checked
from giga.io.errors import InputError
from giga.io.tables import above, at_least
from giga.lensing.cosmology import Cosmology
from giga.lensing.redshifts import Redshifts

REGIONS = {".reg": "ds9", ".ds9": "ds9", ".crtf": "crtf"}  # formats of region files by the end of their names


def is_region_file(path: Path) -> bool:
    """Whether a mask is a region file by its name; else it is FITS."""
    return path.suffix.lower() in REGIONS


@dataclass(frozen=True)
class RunConfig:
    """Section [run]."""

    seed: int = at_least(0, 0)  # seed of every random number
    precision: Literal["float32", "float64"] = "float32"  # precision of the fit
    devices: Literal["auto", "cpu", "gpu"] = "auto"  # where it runs; "gpu" fails when there is none
    n_devices: int | None = at_least(1, None)  # how many of them, in all processes; none is all
    memory_gb: float | None = above(0.0, None)  # of a GPU's memory to use [GB]; none is nine tenths of it
    checkpoint_interval_s: float = at_least(0.0, 30.0)  # longest time between two checkpoints [s]
    underdetermined: bool = False  # fit image positions though they are fewer than the free parameters

    def __post_init__(self) -> None:
        if not self.seed < 2**32:
            raise InputError("", "seed", f"got {self.seed}", f"an integer below {2**32}")

    @property
    def what(self) -> RunConfig:
        """The same without what only says where and how it runs, which may change when a run goes on."""
        return RunConfig(self.seed, self.precision)


@dataclass(frozen=True)
class CutoutConfig:
    """Part of the image to use: around a pixel, a sky position, or the image centre."""

    size: int | tuple[int, int] = at_least(1)  # side, or (ny, nx) [pixels]
    x: float | None = None  # column of its centre; the first pixel is 0
    y: float | None = None  # row of its centre
    ra: float | None = None  # right ascension of its centre, ICRS [deg]
    dec: float | None = None  # declination of its centre [deg]

    def __post_init__(self) -> None:
        pixel, sky = (self.x, self.y), (self.ra, self.dec)
        for names, pair in (("x and y", pixel), ("ra and dec", sky)):
            if (pair[0] is None) != (pair[1] is None):
                raise InputError("", names.split()[0], f"only one of {names}", f"both {names}")
        if self.x is not None and self.ra is not None:
            raise InputError("", "x", "both a pixel and a sky position", "one of them")


@dataclass(frozen=True)
class RingConfig:
    """A circle, or an annulus when `inner` is above zero."""

    radius: float = above(0.0)  # outer radius [arcsec]
    inner: float = at_least(0.0, 0.0)  # inner radius [arcsec]
    x: float = 0.0  # centre in the angles of the scene [arcsec]
    y: float = 0.0
    ra: float | None = None  # or its right ascension, ICRS [deg]
    dec: float | None = None  # and declination [deg]
    column: float | None = None  # or its column in the image file; the first pixel is 0
    row: float | None = None  # and row

    def __post_init__(self) -> None:
        if not self.inner < self.radius:
            raise InputError("", "inner", f"got {self.inner:g}", f"less than the radius, {self.radius:g}")
        for names in (("ra", "dec"), ("column", "row")):
            if (getattr(self, names[0]) is None) != (getattr(self, names[1]) is None):
                raise InputError("", names[0], f"only one of {' and '.join(names)}", f"both {' and '.join(names)}")
        ways = ((self.x, self.y) != (0.0, 0.0)) + (self.ra is not None) + (self.column is not None)
        if ways > 1:
            raise InputError("", "radius", f"a centre in {ways} ways", "one of x and y, ra and dec, column and row")


@dataclass(frozen=True)
class ObservationConfig:
    """Section [[observation]]. Paths are absolute once read."""

    image: Path  # FITS file of the image, or HDF5 as lenstronomy has it
    hdu: int | str | None = None  # number or name of its HDU ("SCI", "SCI,2"); none is the first 2-D image
    units: Literal["counts/s", "counts", "surface_brightness"] | None = None  # none trusts BUNIT
    exposure_time: float | None = above(0.0, None)  # exposure time [s]; none takes it from the header
    exposure_map: Path | None = None  # FITS file of the exposure time of each pixel [s], instead of exposure_time
    exposure_hdu: int | str | None = None  # its HDU
    gain: float | None = above(0.0, None)  # electrons per count; none takes it from unit and header, else 1
    from_header: bool = True  # whether exposure time, gain and zero point may come from the header
    background_rms: float | None = above(0.0, None)  # standard deviation of the sky [units of the image]
    weight_map: Path | None = None  # FITS file of 1 / variance of the sky, instead of background_rms
    weight_hdu: int | str | None = None  # its HDU
    noise_map: Path | None = None  # FITS file of all of the noise, photons of the lens too, instead of background_rms
    noise_hdu: int | str | None = None  # its HDU
    noise_kind: Literal["sigma", "variance", "weight"] = "sigma"  # what the map holds; weight is 1 / variance
    noise_scale: Literal["measure"] | float = above(0.0, 1.0)  # times the noise given; "measure": the sky's scatter
    model_error: float = at_least(0.0, 0.0)  # share of the brightness that is added to the noise in quadrature
    noise_scale_sd: float | None = above(0.0, None)  # of the logarithm of a further factor, fitted; none fits none
    psf: Path | None = None  # FITS file of the PSF kernel
    psf_hdu: int | str | None = None  # its HDU
    psf_supersampling: int = at_least(1, 1)  # samples of the kernel per pixel side
    psf_resampling: Literal["integrated", "lenstronomy"] = "integrated"  # how a kernel at the pixel scale is refined
    psf_fwhm: float | None = above(0.0, None)  # a Gaussian PSF instead of a file: its FWHM [arcsec]
    psf_size: int | None = at_least(1, None)  # side of the Gaussian kernel, odd [pixels]
    supersampling: int = at_least(1, 1)  # subpixels a side at which the scene is rendered
    correlation: Literal["none", "measure"] | Path | tuple[tuple[float, ...], ...] = "none"  # of the noise of pixels
    mask: Path | None = None  # FITS file of a mask, or region file of DS9 (.reg) or CASA (.crtf)
    mask_hdu: int | str | None = None  # its HDU
    mask_is: Literal["good", "bad"] | None = None  # what a non-zero pixel, or one in a region, is; needed with `mask`
    mask_keep: tuple[RingConfig, ...] = field(default=())  # only pixels in one of these are fitted, if any
    mask_exclude: tuple[RingConfig, ...] = field(default=())  # pixels in any of these are not fitted
    mask_neighbours: bool = False  # leave out sources that peak outside `mask_keep`, where they reach into it
    cutout: CutoutConfig | None = None  # part of the image to use
    pixel_scale: float | None = above(0.0, None)  # side of a pixel [arcsec]; none takes it from the WCS
    offset: tuple[float, float] = (0.0, 0.0)  # x and y added to where its pixels lie by WCS or centre [arcsec]
    band: str | None = None  # name of the band
    zero_point: float | None = None  # magnitude of one unit of the image; none takes it from the header

    def files(self) -> list[Path]:
        """The files that it names."""
        named = (self.image, self.noise_map, self.weight_map, self.exposure_map, self.psf, self.mask, self.correlation)
        return [path for path in named if isinstance(path, Path)]

    def __post_init__(self) -> None:
        def check(right: bool, field: str, seen: str, expected: str) -> None:
            if not right:
                raise InputError("", field, seen, expected)

        given = [name for name in ("noise_map", "weight_map", "background_rms") if getattr(self, name) is not None]
        check(len(given) == 1, "noise_map", "both " + " and ".join(given) if given else "no noise",
              "one of noise_map, weight_map and background_rms (the latter two with an exposure time)")
        check(self.model_error < 1.0, "model_error", f"got {self.model_error:g}", "a share of the brightness, as 0.05")
        check(self.exposure_map is None or self.exposure_time is None, "exposure_map",
              "both exposure_map and exposure_time", "one of them")
        check(not self.mask_neighbours or bool(self.mask_keep), "mask_neighbours", "true, without mask_keep",
              "mask_keep, a circle around lens and arcs")
        check(self.mask is None or self.mask_is is not None, "mask_is", "missing",
              '"good" or "bad", the meaning of the non-zero pixels of the mask')
        check(self.psf is None or self.psf_fwhm is None, "psf", "both psf and psf_fwhm", "one of them")
        check((self.psf_fwhm is None) == (self.psf_size is None), "psf_size", "only one of psf_fwhm and psf_size",
              "both")
        check(self.psf_size is None or self.psf_size % 2 == 1, "psf_size", f"got {self.psf_size}",
              "an odd number of pixels")
        check(self.psf_supersampling == 1 or self.psf_supersampling % self.supersampling == 0, "psf_supersampling",
              f"got {self.psf_supersampling}", f"1, or a multiple of the supersampling {self.supersampling}")
        if isinstance(self.correlation, tuple):
            checked(self.correlation)
        native = self.psf is not None and self.psf_supersampling == 1
        check(native or self.psf_resampling == "integrated", "psf_resampling", f"got {self.psf_resampling!r}",
              "a psf file at the pixel scale (psf_supersampling = 1), which alone is resampled")


@dataclass(frozen=True)
class LensConfig:
    """Section [lens]: what turns angles into lengths and masses. The fit itself does not need it."""

    z_lens: float | None = above(0.0, None)  # redshift of the lens
    z_source: float | None = above(0.0, None)  # redshift of the source
    H0: float = above(0.0, 70.0)  # Hubble constant [km / s / Mpc]
    Om0: float = above(0.0, 0.3)  # density of matter today, of a flat universe

    def __post_init__(self) -> None:
        if self.z_lens is not None and self.z_source is not None and not self.z_source > self.z_lens:
            raise InputError("", "z_source", f"got {self.z_source:g}", f"a redshift above z_lens, {self.z_lens:g}")

    @property
    def redshifts(self) -> Redshifts:
        """The same for computing."""
        return Redshifts(self.z_lens, self.z_source, Cosmology(H0=self.H0, Om0=self.Om0))


@dataclass(frozen=True)
class StartConfig:
    """Section [start]: an earlier fit to go on from. Paths are relative to the configuration."""

    best_of: Path | None = None  # folder of a fit of the same lens, whose best fit the search climbs from, alone
    pixelated_from: Path | None = None  # the same, and the source becomes a PixelSource where that fit has it
    n_pixels: int | None = at_least(4, None)  # its pixels a side; none chooses 12 to 22, by size and resolution

    def __post_init__(self) -> None:
        if self.n_pixels is not None and self.pixelated_from is None:
            raise InputError("", "n_pixels", "given without pixelated_from", "both")
        if self.n_pixels is not None and self.n_pixels > 48:
            raise InputError("", "n_pixels", f"got {self.n_pixels}", "an integer of at most 48")
        if self.best_of is not None and self.pixelated_from is not None:
            raise InputError("", "best_of", "given together with pixelated_from", "one of them")

    @property
    def folder(self) -> Path | None:
        """The folder of the earlier fit."""
        return self.best_of or self.pixelated_from


@dataclass(frozen=True)
class LikelihoodConfig:
    """Section [likelihood]."""

    amplitudes: Literal["profile", "marginal", "nonnegative"] = "nonnegative"  # how linear amplitudes are solved
    amplitude_sd: float | None = above(0.0, None)  # standard deviation of their Gaussian prior

    def __post_init__(self) -> None:
        if self.amplitudes == "marginal" and self.amplitude_sd is None:
            raise InputError("", "amplitude_sd", "missing", "a number above 0, which amplitudes = 'marginal' needs")
