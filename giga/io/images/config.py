"""What a user may set in the sections of a configuration that are plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from giga.io.errors import InputError
from giga.io.tables import above, at_least
from giga.lensing.cosmology import Cosmology
from giga.lensing.redshifts import Redshifts


@dataclass(frozen=True)
class RunConfig:
    """Section [run]."""

    seed: int = at_least(0, 0)  # seed of every random number
    precision: Literal["float32", "float64"] = "float32"  # precision of the fit
    devices: Literal["auto", "cpu", "gpu"] = "auto"  # where it runs; "gpu" fails when there is none
    n_devices: int | None = at_least(1, None)  # how many of them, in all processes; none is all
    memory_gb: float | None = above(0.0, None)  # of a GPU's memory to use [GB]; none is nine tenths of it
    checkpoint_interval_s: float = at_least(0.0, 30.0)  # longest time between two checkpoints [s]

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

    def __post_init__(self) -> None:
        if not self.inner < self.radius:
            raise InputError("", "inner", f"got {self.inner:g}", f"less than the radius, {self.radius:g}")


@dataclass(frozen=True)
class ObservationConfig:
    """Section [[observation]]. Paths are absolute once read."""

    image: Path  # FITS file of the image
    hdu: int | str | None = None  # number or name of its HDU ("SCI", "SCI,2"); none is the first 2-D image
    units: Literal["counts/s", "counts", "surface_brightness"] | None = None  # none trusts BUNIT
    exposure_time: float | None = above(0.0, None)  # exposure time [s]
    gain: float = above(0.0, 1.0)  # electrons per count
    background_rms: float | None = above(0.0, None)  # standard deviation of the sky [units of the image]
    noise_map: Path | None = None  # FITS file of the noise, instead of background_rms
    noise_hdu: int | str | None = None  # its HDU
    noise_kind: Literal["sigma", "variance", "weight"] = "sigma"  # what the map holds; weight is 1 / variance
    psf: Path | None = None  # FITS file of the PSF kernel
    psf_hdu: int | str | None = None  # its HDU
    psf_supersampling: int = at_least(1, 1)  # samples of the kernel per pixel side
    psf_resampling: Literal["integrated", "lenstronomy"] = "integrated"  # how a kernel at the pixel scale is refined
    psf_fwhm: float | None = above(0.0, None)  # a Gaussian PSF instead of a file: its FWHM [arcsec]
    psf_size: int | None = at_least(1, None)  # side of the Gaussian kernel, odd [pixels]
    supersampling: int = at_least(1, 1)  # subpixels a side at which the scene is rendered
    mask: Path | None = None  # FITS file of a mask
    mask_hdu: int | str | None = None  # its HDU
    mask_is: Literal["good", "bad"] | None = None  # what a non-zero pixel of the mask is; needed with `mask`
    mask_keep: tuple[RingConfig, ...] = field(default=())  # only pixels in one of these are fitted, if any
    mask_exclude: tuple[RingConfig, ...] = field(default=())  # pixels in any of these are not fitted
    cutout: CutoutConfig | None = None  # part of the image to use
    pixel_scale: float | None = above(0.0, None)  # side of a pixel [arcsec]; none takes it from the WCS
    band: str | None = None  # name of the band
    zero_point: float | None = None  # magnitude of one count per second; magnitudes need it

    def files(self) -> list[Path]:
        """The files that it names."""
        return [path for path in (self.image, self.noise_map, self.psf, self.mask) if path is not None]

    def __post_init__(self) -> None:
        def check(right: bool, field: str, seen: str, expected: str) -> None:
            if not right:
                raise InputError("", field, seen, expected)

        given = (self.noise_map is not None) + (self.background_rms is not None)
        check(given == 1, "noise_map", "both noise_map and background_rms" if given else "no noise",
              "either noise_map, or background_rms (and exposure_time)")
        check(self.units != "counts" or self.exposure_time is not None, "exposure_time", "missing",
              'an exposure time [s], because units = "counts" are divided by it')
        check(self.mask is None or self.mask_is is not None, "mask_is", "missing",
              '"good" or "bad", the meaning of the non-zero pixels of the mask')
        check(self.psf is None or self.psf_fwhm is None, "psf", "both psf and psf_fwhm", "one of them")
        check((self.psf_fwhm is None) == (self.psf_size is None), "psf_size", "only one of psf_fwhm and psf_size",
              "both")
        check(self.psf_size is None or self.psf_size % 2 == 1, "psf_size", f"got {self.psf_size}",
              "an odd number of pixels")
        check(self.psf_supersampling == 1 or self.psf_supersampling % self.supersampling == 0, "psf_supersampling",
              f"got {self.psf_supersampling}", f"1, or a multiple of the supersampling {self.supersampling}")
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
class LikelihoodConfig:
    """Section [likelihood]."""

    amplitudes: Literal["profile", "marginal", "nonnegative"] = "nonnegative"  # how linear amplitudes are solved
    amplitude_sd: float | None = above(0.0, None)  # standard deviation of their Gaussian prior

    def __post_init__(self) -> None:
        if self.amplitudes == "marginal" and self.amplitude_sd is None:
            raise InputError("", "amplitude_sd", "missing", "a number above 0, which amplitudes = 'marginal' needs")
