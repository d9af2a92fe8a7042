"""Folders of cutouts to grade, made of a galaxy, an arc beside every second one, and noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

BANDS = ("g", "r", "i")


def cutout(k: int, size: int = 32, bands: tuple[str, ...] = BANDS, pixel_scale: float = 0.2) -> fits.PrimaryHDU:
    """A cube of bands with its place on the sky; odd ones have an arc."""
    rng = np.random.default_rng(k)
    y, x = np.mgrid[:size, :size] - 0.5 * (size - 1)
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    galaxy = 60.0 * np.exp(-radius / (0.1 * size))
    arc = 20.0 * np.exp(-((radius - 0.28 * size) / 1.5) ** 2 - (angle - 0.6) ** 2 / 0.5) * (k % 2)
    layers = [galaxy * red + arc / red + rng.normal(size=(size, size)) for red in np.linspace(0.6, 1.4, len(bands))]
    header = fits.Header({"BANDS": ",".join(bands), "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": ra(k),
                          "CRVAL2": dec(k), "CRPIX1": 0.5 * (size + 1), "CRPIX2": 0.5 * (size + 1),
                          "CDELT1": -pixel_scale / 3600.0, "CDELT2": pixel_scale / 3600.0})
    return fits.PrimaryHDU(np.asarray(layers, np.float32), header)


def ra(k: int) -> float:
    """Right ascension of a cutout [deg]."""
    return 150.0 + 0.01 * (k % 100)


def dec(k: int) -> float:
    """Declination of a cutout [deg]."""
    return 2.0 + 0.01 * (k // 100)


def candidates(folder: Path, count: int = 8, size: int = 32, start: int = 0) -> Path:
    """A folder as `giga search` leaves it."""
    (folder / "candidates").mkdir(parents=True, exist_ok=True)
    for k in range(start, start + count):
        cutout(k, size).writeto(folder / "candidates" / f"c{k:05d}.fits", overwrite=True)
    catalogue(folder, range(start + count))
    return folder


def catalogue(folder: Path, numbers: range, **more: list) -> None:
    """The catalogue of such a folder."""
    names = [f"c{k:05d}" for k in numbers]
    Table({"name": names, "ra": [ra(k) for k in numbers], "dec": [dec(k) for k in numbers],
           "score": [0.5 + 0.5 * (k % 2) for k in numbers], "cutout": [f"candidates/{name}.fits" for name in names],
           **more}).write(folder / "candidates.fits", overwrite=True)
