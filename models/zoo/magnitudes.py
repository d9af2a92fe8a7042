"""Magnitudes of separated parts, and how far off they are in simulations, by band and signal-to-noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

PEAK = 0.1  # of a part's peak, above which a pixel belongs to it
GROUP = 100  # images in a group of like signal-to-noise, at least
MOST = 16  # groups

Corrections = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]
"""By component and band: "snr", and "offset" and "scatter" there [mag]."""


def flux_error(part: Any, background_rms: Any) -> Any:
    """Error of a part's flux: that of the background in the pixels where the part outshines a tenth of its peak.

    Args:
        part: Shape (..., ny, nx, bands).
        background_rms: Standard deviation of the background, shape (bands,) or (..., bands).

    Returns:
        Shape (..., bands), in the unit of the background times that of a pixel.
    """
    inside = part > PEAK * jnp.max(part, axis=(-3, -2), keepdims=True)
    return background_rms * jnp.sqrt(jnp.maximum(jnp.sum(inside, axis=(-3, -2)), 1))


def measure_corrections(rows: Mapping[str, np.ndarray], bands: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """What the magnitudes of a network are off by, from the measures of simulated images.

    Images are grouped by the signal-to-noise of what the network found. A band with too few images is left out.

    Args:
        rows: From `giga.models.systems.separation_metrics.measure`, concatenated.
        bands: Names of the bands.
    """
    lensed = rows["label"] == 1
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for name, shown in (("lens", np.ones(len(lensed), bool)), ("source", lensed)):
        out[name] = {}
        errors, ratios = rows[f"magnitude_error_{name}"][shown].T, rows[f"snr_{name}"][shown].T
        for band, error, snr in zip(bands, errors, ratios, strict=True):
            found = np.isfinite(error) & (snr > 0.0)
            if found.sum() < GROUP:
                continue
            order = np.argsort(snr[found])
            groups = np.array_split(order, min(MOST, len(order) // GROUP))
            inside = [error[found][group] for group in groups]
            out[name][band] = {
                "snr": [round(float(np.median(snr[found][group])), 3) for group in groups],
                "offset": [round(float(np.median(one)), 4) for one in inside],
                "scatter": [round(robust_scatter(one), 4) for one in inside]}
    return out


def check_corrections(corrections: Corrections) -> None:
    """Refuse corrections that cannot be interpolated. Raises ValueError."""
    for component, bands in corrections.items():
        for band, known in bands.items():
            where = f"{component}.{band}"
            if set(known) != {"snr", "offset", "scatter"}:
                raise ValueError(f"{where}: got {', '.join(sorted(known))}, expected snr, offset and scatter")
            snr, offset, scatter = (np.asarray(known[name], float) for name in ("snr", "offset", "scatter"))
            if not len(snr) or not len(snr) == len(offset) == len(scatter):
                raise ValueError(f"{where}: got {len(snr)}, {len(offset)} and {len(scatter)} numbers, expected as many "
                                 "of each, at least one")
            if not (np.isfinite([snr, offset, scatter]).all() and snr[0] > 0.0 and (np.diff(snr) >= 0.0).all()):
                raise ValueError(f"{where}: expected finite numbers and a signal-to-noise above 0 that grows")


def correction(corrections: Corrections, component: str, band: str,
               snr: ArrayLike) -> tuple[np.ndarray, np.ndarray] | None:
    """Offset and scatter [mag] of a magnitude at a signal-to-noise, linear in its logarithm; None where unknown."""
    known = corrections.get(component, {}).get(band)
    if known is None:
        return None
    at = np.log10(np.maximum(np.asarray(snr, float), 1e-3))
    knots = np.log10(known["snr"])
    return np.interp(at, knots, known["offset"]), np.interp(at, knots, known["scatter"])


def robust_scatter(error: np.ndarray) -> float:
    """Half the interval that holds the central 68.3%."""
    low, high = np.percentile(error, [15.87, 84.13])
    return float(0.5 * (high - low))
