"""What `giga separate` writes: the parts of an image with its WCS, and their magnitudes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Column, Table

from giga.atomic import write_atomically, write_bytes
from giga.io.cube import Cube

PARTS = ("lens", "source", "noise")


def write_separation(path: str | PathLike[str], cube: Cube, parts: Mapping[str, np.ndarray], bands: Sequence[str],
                     model: str, sha256: str) -> Path:
    """Write the image and its parts, each a cube (bands, ny, nx) in the image's unit, with the image's WCS.

    Args:
        path: Where the FITS file goes. Its HDUs are IMAGE, LENS, SOURCE and NOISE, which sum to the image.
        cube: The image.
        parts: "lens", "source" and "noise", shape (ny, nx, bands).
        bands: Names of the bands.
        model: Name of the network, for the header.
        sha256: Of its weights, likewise.
    """
    primary = fits.PrimaryHDU()
    primary.header["MODEL"] = model
    primary.header["WEIGHTS"] = (sha256[:16], "first digits of the SHA-256 of the weights")
    for k, band in enumerate(bands, start=1):
        primary.header[f"BAND{k}"] = (band, f"layer {k} of every cube")
    hdus: list = [primary]
    for name, values in {"image": cube.image, **parts}.items():
        layers = np.moveaxis(np.asarray(values, np.float32), -1, 0)
        hdus.append(fits.ImageHDU(layers, cube.header.copy(), name=name.upper()))
    buffer = io.BytesIO()
    fits.HDUList(hdus).writeto(buffer)
    return write_bytes(path, buffer.getvalue())


def magnitudes(parts: Mapping[str, np.ndarray], bands: Sequence[str], zero_points: Sequence[float],
               sigma: np.ndarray) -> Table:
    """Total magnitudes of deflector and source in every band, one row a component.

    Args:
        parts: "lens" and "source", shape (ny, nx, bands) [counts / s].
        bands: Names of the bands.
        zero_points: Magnitude of 1 count / s in each band.
        sigma: Standard deviation of the background in each band, shape (bands,) [counts / s].

    Returns:
        Columns `component`, and `mag_BAND`, `magerr_BAND` and `flux_BAND` [counts / s] of each band. The error is that
        of the background in the pixels where a component outshines a tenth of its peak, not the network's. A
        flux below that error has no magnitude: NaN.

    References:
        Zhong et al., "GGSL-UNet I", eq. 17.
    """
    components = ["lens", "source"]
    columns: list[Any] = [Column(components, "component")]
    for k, band in enumerate(bands):
        flux = np.array([np.sum(parts[name][..., k]) for name in components])
        area = np.array([np.sum(parts[name][..., k] > 0.1 * np.max(parts[name][..., k])) for name in components])
        error = sigma[k] * np.sqrt(np.maximum(area, 1))
        seen = flux > error
        safe = np.where(seen, flux, 1.0)
        magnitude = np.where(seen, zero_points[k] - 2.5 * np.log10(safe), np.nan)
        width = np.where(seen, 2.5 / np.log(10.0) * error / safe, np.nan)
        columns += [Column(magnitude, f"mag_{band}", unit="mag", description=f"zero point {zero_points[k]:.4f}"),
                    Column(width, f"magerr_{band}", unit="mag"), Column(flux, f"flux_{band}")]
    zero = {band: float(value) for band, value in zip(bands, zero_points, strict=True)}
    return Table(columns, meta={"zero_points": zero})


def write_table(path: str | PathLike[str], table: Table) -> Path:
    """Write a table as ECSV, which any table reader takes as CSV with a commented header."""
    return write_atomically(path, lambda temporary: table.write(temporary, format="ascii.ecsv"))
