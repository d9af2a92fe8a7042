"""What `giga separate` writes: the parts of an image with its WCS, and their magnitudes."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Column, Table, vstack

from giga.io.images.cube import Cube
from giga.models.zoo.magnitudes import Corrections, correction, flux_error
from giga.runtime.atomic import write_atomically, write_bytes

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
               sigma: np.ndarray, corrections: Corrections | None = None) -> Table:
    """Total magnitudes of deflector and source in every band, one row a component.

    Args:
        parts: "lens" and "source", shape (ny, nx, bands) [counts / s].
        bands: Names of the bands.
        zero_points: Magnitude of 1 count / s in each band.
        sigma: Standard deviation of the background in each band, shape (bands,) [counts / s].
        corrections: Of the network's card: what its magnitudes are off by in simulations.

    Returns:
        Columns `component`, and `mag_BAND`, `magerr_BAND` and `flux_BAND` of each band. `flux_BAND` is the sum of the
        part [counts / s]. Where the card has corrections, `mag_BAND` is freed of the median error that simulated parts
        of that signal-to-noise have, and `magerr_BAND` is their scatter; elsewhere the magnitude is that of the flux,
        and its error that of the background in the pixels where a component outshines a tenth of its peak, not the
        network's. A flux below that error has no magnitude: NaN. The header says which bands are corrected.

    References:
        Zhong et al., "GGSL-UNet I", eq. 17.
    """
    components = ["lens", "source"]
    columns: list[Any] = [Column(components, "component")]
    fluxes = np.array([np.sum(parts[name], axis=(0, 1)) for name in components], float)
    errors = np.array([flux_error(parts[name], sigma) for name in components], float)
    seen = fluxes > errors
    safe = np.where(seen, fluxes, 1.0)
    found = np.where(seen, np.asarray(zero_points) - 2.5 * np.log10(safe), np.nan)
    widths = np.where(seen, 2.5 / np.log(10.0) * errors / safe, np.nan)
    corrected: dict[str, list[str]] = {}
    for row, name in enumerate(components):
        for k, band in enumerate(bands):
            known = correction(corrections or {}, name, band, fluxes[row, k] / errors[row, k])
            if known is not None and seen[row, k]:
                found[row, k], widths[row, k] = found[row, k] - known[0], known[1]
                corrected.setdefault(name, []).append(band)
    for k, band in enumerate(bands):
        magnitude, width, flux = found[:, k], widths[:, k], fluxes[:, k]
        columns += [Column(magnitude, f"mag_{band}", unit="mag", description=f"zero point {zero_points[k]:.4f}"),
                    Column(width, f"magerr_{band}", unit="mag"), Column(flux, f"flux_{band}")]
    zero = {band: float(value) for band, value in zip(bands, zero_points, strict=True)}
    return Table(columns, meta={"zero_points": zero, "corrected": corrected})


def together(tables: Sequence[Table]) -> Table:
    """The magnitudes of several images in one table; a band is corrected if it is in any of them."""
    about: list[Any] = [one.meta for one in tables]
    corrected = {name: [band for band in about[0]["zero_points"]
                        if any(band in one["corrected"].get(name, ()) for one in about)]
                 for one in about for name in one["corrected"]}
    table: Any = vstack(list(tables), metadata_conflicts="silent")
    table.meta = {"zero_points": about[0]["zero_points"], "corrected": corrected}
    return table


def write_table(path: str | PathLike[str], table: Table) -> Path:
    """Write a table as ECSV, which any table reader takes as CSV with a commented header."""
    return write_atomically(path, lambda temporary: table.write(temporary, format="ascii.ecsv"))
