"""PSF models of PSFEx: images that vary over the detector as a polynomial of the position."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from giga.io.errors import InputError
from giga.io.images.hdu import opened
from giga.simulate.surveys.psf_models import KernelPSF

LANCZOS = 4  # the interpolation that PSFEx fits its model with


@dataclass(frozen=True, eq=False)
class PSFEx:
    """A PSF that varies with the position in the image.

    At (x, y) it is the sum of its images times `u^i v^j`, u = (x - zero_x) / scale_x and so for v, in the
    order i fastest, i + j <= degree. Its values are those of a star's pixels: the pixel is in it.

    Attributes:
        images: Shape (terms, k, k).
        step: Distance of its samples [pixels].
        degree: Of the polynomial.
        zero, scale: (x, y) offset and scale of the position [pixels, the first being 1].

    References:
        Bertin (2011), ADASS XX, ASP Conf. Ser. 442, 435.
    """

    images: np.ndarray
    step: float
    degree: int
    zero: tuple[float, float]
    scale: tuple[float, float]

    def samples(self, x: float, y: float) -> np.ndarray:
        """The PSF as PSFEx samples it, at a position (column, row), the first pixel being 0; shape (k, k)."""
        u, v = (x + 1.0 - self.zero[0]) / self.scale[0], (y + 1.0 - self.zero[1]) / self.scale[1]
        powers = [u**i * v**j for j in range(self.degree + 1) for i in range(self.degree + 1 - j)]
        return np.tensordot(np.array(powers), self.images, 1)

    def kernel(self, x: float, y: float) -> np.ndarray:
        """The PSF in pixels at a position (column, row), centred on a pixel, of odd side and sum one."""
        fine = self.samples(x, y)
        half = int((len(fine) // 2) * self.step)
        place = np.arange(-half, half + 1) / self.step + len(fine) // 2  # of the pixels, in samples
        distance = place[:, None] - np.arange(len(fine))
        weights = np.where(np.abs(distance) < LANCZOS, np.sinc(distance) * np.sinc(distance / LANCZOS), 0.0)
        pixels = weights @ fine @ weights.T
        return pixels / pixels.sum()

    def at(self, x: float, y: float, pixel_scale: float | None = None) -> KernelPSF:
        """The PSF at a position (column, row), for a band of a survey."""
        return KernelPSF(self.kernel(x, y), pixel_scale=pixel_scale)


def read_psfex(path: str | PathLike[str], row: int = 0) -> PSFEx:
    """Read a model of PSFEx.

    Args:
        path: What PSFEx writes (.psf: the table PSF_DATA and its keywords), or a table with a detector in
            each row whose columns are those keywords, as the Legacy Surveys merge them.
        row: Which detector of such a table.

    Raises:
        InputError: Missing, not FITS, without such a table, or a polynomial of another kind.
    """
    path = Path(path)
    with opened(path, "psf", "a PSF model of PSFEx") as hdus:
        for hdu in hdus:
            columns = {} if hdu.is_image else {name.lower(): name for name in hdu.columns.names}
            if "psf_mask" in columns:
                return _model(path, hdu, columns, row)
    raise InputError(path, "psf", "no table with the column PSF_MASK", "a PSF model of PSFEx")


def _model(path: Path, hdu: Any, columns: dict[str, str], row: int) -> PSFEx:
    if not 0 <= row < len(hdu.data):
        raise InputError(path, "psf.row", f"row {row}", f"one of the {len(hdu.data)} rows of its table")

    def value(name: str, default: Any = None) -> Any:
        if name in columns:
            return hdu.data[columns[name]][row]
        found = hdu.header.get(name.upper(), default)
        if found is None:
            raise InputError(path, "psf", f"no keyword {name.upper()}", "a PSF model of PSFEx")
        return found

    images = np.array(hdu.data[columns["psf_mask"]][row], float)
    axes = int(value("polnaxis"))
    if images.ndim != 3 or axes not in (0, 2) or (axes and int(value("polngrp", 1)) != 1):
        raise InputError(path, "psf", f"{axes} context variables in {value('polngrp', 1)} groups, PSF_MASK of shape "
                         f"{images.shape}", "a polynomial of the two coordinates")
    if images.shape[1] != images.shape[2] or images.shape[1] % 2 == 0 or not np.isfinite(images).all():
        raise InputError(path, "psf", f"PSF_MASK of shape {images.shape}", "finite square images with an odd side")
    degree = int(value("poldeg1")) if axes else 0
    if len(images) != (degree + 1) * (degree + 2) // 2:
        raise InputError(path, "psf", f"{len(images)} images for a polynomial of degree {degree}",
                         f"{(degree + 1) * (degree + 2) // 2}")
    pair = [(float(value(f"polzero{k}")), float(value(f"polscal{k}"))) if axes else (0.0, 1.0) for k in (1, 2)]
    return PSFEx(images=images, step=float(value("psf_samp")), degree=degree, zero=(pair[0][0], pair[1][0]),
                 scale=(pair[0][1], pair[1][1]))
