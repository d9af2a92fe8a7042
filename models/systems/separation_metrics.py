"""How well an image is split into deflector, source and noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.stats import rankdata

from giga.models.zoo.magnitudes import Corrections, correction, flux_error, robust_scatter

FLOOR = 1e-3  # epsilon of sigma = |F_n| + epsilon, of the background's rms in every recipe
COMPONENTS = ("lens", "source")
KINDS = ("printed", "realised", "expected")  # of sigma in chi2, see `measure`


def chi2(image: Array, lens: Array, source: Array, sigma: Array) -> tuple[Array, Array]:
    """Reduced chi-squared without and with the source: eqs 14 and 15.

    Args:
        image: Shape (n, ny, nx, bands).
        lens, source: Predicted parts, of the same shape.
        sigma: Standard deviation of the noise, of the same shape.

    Returns:
        chi2_1 and chi2_2, shape (n,).

    References:
        Zhong et al., "GGSL-UNet I", eqs 14 and 15.
    """
    def mean(residual: Array) -> Array:
        return jnp.mean((residual / sigma) ** 2, axis=(-3, -2, -1))

    return mean(image - lens), mean(image - lens - source)


def measure(batch: Any, predicted: dict[str, Array], background_rms: Any) -> dict[str, Array]:
    """Per-image measures of a separation; `summary` condenses them.

    The paper takes sigma = |F_n| + 1e-3 with the predicted noise, in units of an image that is divided by the peak of
    its centre; here 1e-3 is of the background's rms, the same of every recipe and unit. Since F_n is then the very
    residual of eq. 15, its chi2_2 cannot exceed one; "printed" is that number. "realised" takes the true noise image in
    its place, companions included; "expected" the true standard deviation, and leaves out the companions' light, which
    is no error.

    Args:
        batch: A `giga.simulate.batch.Batch`, normalised as the network sees it.
        predicted: "lens", "source" and "noise", of the shape of the image.
        background_rms: Of every band, likewise normalised, shape (bands,) or (n, bands).
    """
    lens, source = predicted["lens"], predicted["source"]
    residual = batch.image - lens - source
    background_rms = jnp.asarray(background_rms)
    floor = FLOOR * background_rms[..., None, None, :]
    total = jnp.maximum(jnp.sum(batch.parts["lens"], axis=(-3, -2, -1)), FLOOR * jnp.mean(background_rms, -1))
    out: dict[str, Any] = dict(label=batch.label, source_share=jnp.sum(source, axis=(-3, -2, -1)) / total)
    sigmas = (jnp.abs(residual) + floor, jnp.abs(batch.parts["noise"]) + floor, batch.sigma)
    images = (batch.image, batch.image, batch.image - batch.companions)
    for kind, sigma, image in zip(KINDS, sigmas, images, strict=True):
        out[f"chi2_1_{kind}"], out[f"chi2_2_{kind}"] = chi2(image, lens, source, sigma)
    for name in COMPONENTS:
        true = batch.parts[name]
        out[f"psnr_{name}"] = psnr(true, predicted[name])
        out[f"magnitude_{name}"] = magnitude(true)
        out[f"magnitude_error_{name}"] = magnitude(predicted[name]) - magnitude(true)
        out[f"snr_{name}"] = jnp.sum(predicted[name], axis=(-3, -2)) / flux_error(predicted[name], background_rms)
    return out


def psnr(true: Array, predicted: Array) -> Array:
    """Peak signal-to-noise ratio [dB], shape (n,); the peak is that of the true image. Infinite where there is none."""
    error = jnp.mean((predicted - true) ** 2, axis=(-3, -2, -1))
    peak = jnp.max(true, axis=(-3, -2, -1))
    return jnp.where(peak > 0.0, 10.0 * jnp.log10(peak**2 / error), jnp.inf)


def magnitude(part: Array) -> Array:
    """-2.5 log10 of the total flux in each band, shape (n, bands); NaN where the flux is not positive (eq. 17)."""
    flux = jnp.sum(part, axis=(-3, -2))
    return jnp.where(flux > 0.0, -2.5 * jnp.log10(jnp.where(flux > 0.0, flux, 1.0)), jnp.nan)


def summary(rows: dict[str, np.ndarray], bands: Sequence[str], threshold: float | None = None,
            corrections: Corrections | None = None) -> dict[str, float]:
    """Numbers of a test set, from the measures of its images.

    Magnitude errors are of the images whose flux is found at all, for each band and, as "all", for the bands together;
    "lost" is the share of the others. With corrections the errors that they leave are "corrected_magnitude_...", of the
    bands that have them.

    Args:
        rows: From `measure`, concatenated.
        bands: Names of the bands.
        threshold: Of chi2_1 - chi2_2 above which an image is called a lens (eq. 16); None takes the one of highest
            accuracy on these images.
        corrections: Of the magnitudes, measured on other images; see `giga.models.zoo.magnitudes`.
    """
    lensed = rows["label"] == 1
    out: dict[str, Any] = dict(images=len(lensed), lensed=int(lensed.sum()))
    for kind in KINDS:
        value = rows[f"chi2_2_{kind}"]
        out[f"chi2_2_{kind}_median"] = np.median(value)
        out[f"chi2_2_{kind}_below_2"] = np.mean(value < 2.0)
    for name in COMPONENTS:
        shown = lensed if name == "source" else np.ones(len(lensed), bool)
        if not shown.any():
            continue
        error = rows[f"magnitude_error_{name}"][shown]
        out[f"psnr_{name}"] = np.median(rows[f"psnr_{name}"][shown])
        out[f"magnitude_{name}_lost"] = np.mean(np.isnan(error))
        out |= _errors(f"magnitude_{name}", error.T, bands)
        if corrections:
            left, known = [], []
            for band, one, snr in zip(bands, error.T, rows[f"snr_{name}"][shown].T, strict=True):
                if (found := correction(corrections, name, band, snr)) is not None:
                    left.append(one - found[0])
                    known.append(band)
            out |= _errors(f"corrected_magnitude_{name}", left, known)
    score = rows["chi2_1_expected"] - rows["chi2_2_expected"]
    if not lensed.all():
        out["false_source_median"], out["false_source_95"] = np.percentile(rows["source_share"][~lensed], [50.0, 95.0])
        if lensed.any():
            cut = best_threshold(score, lensed) if threshold is None else threshold
            out["finder_area_under_roc"], out["finder_threshold"] = area_under_roc(score, lensed), cut
            out["finder_accuracy"] = np.mean((score > cut) == lensed)
    return {name: round(float(value), 4) for name, value in out.items()}


def _errors(name: str, errors: Any, bands: Sequence[str]) -> dict[str, float]:
    """Median and scatter of errors of each band, shape (bands, n), and of all bands together; NaN is left out."""
    out: dict[str, float] = {}
    for band, found in [*([("all", np.concatenate(list(errors)))] if len(bands) else []),
                        *zip(bands, errors, strict=True)]:
        found = found[~np.isnan(found)]
        if len(found):
            out[f"{name}_{band}_median"] = float(np.median(found))
            out[f"{name}_{band}_scatter"] = float(np.std(found))
            out[f"{name}_{band}_robust_scatter"] = robust_scatter(found)
    return out


def roc(score: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, from the highest threshold to the lowest, ties as one step."""
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    true = np.cumsum(positive[order])[last] / positive.sum()
    false = np.cumsum(~positive[order])[last] / (~positive).sum()
    return np.append(0.0, false), np.append(0.0, true)


def area_under_roc(score: np.ndarray, positive: np.ndarray) -> float:
    """Probability that a positive scores above a negative, ties counted half."""
    n, m = int(positive.sum()), int((~positive).sum())
    return float((rankdata(score)[positive].sum() - 0.5 * n * (n + 1)) / (n * m))


def best_threshold(score: np.ndarray, positive: np.ndarray) -> float:
    """The threshold of highest accuracy, midway between two scores."""
    order = np.sort(score)
    cuts = np.append(0.5 * (order[1:] + order[:-1]), order[-1])
    ranks = np.searchsorted(order, cuts, side="right")
    hits = np.append(0, np.cumsum(positive[np.argsort(score, kind="stable")]))
    right = positive.sum() - hits[ranks] + ranks - hits[ranks]  # positives above, negatives at or below
    return float(cuts[np.argmax(right)])

