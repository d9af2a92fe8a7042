"""How well an image is split into deflector, source and noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.models.systems.measured import Measured, Numbers, Scores, area_under_roc, best_threshold, finite
from giga.models.zoo.magnitudes import Corrections, correction, flux_error, robust_scatter

FLOOR = 1e-3  # epsilon of sigma = |F_n| + epsilon, of the background's rms in every recipe
COMPONENTS = ("lens", "source")
KINDS = ("printed", "realised", "expected")  # of sigma in chi2, see `measure`
OWN = 1.0  # of sigma, above which a pixel is the source's own
THRESHOLD = 3.0  # of the sky's rms, above which a pixel has light, in the methods without a network
PEAK = 0.5  # of a band's peak, above which light is the deflector's, in one of them
SNR_EDGES = (0.0, 10.0, 30.0, 100.0, np.inf)  # of the source's matched signal-to-noise


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

    The source's own pixels are those, of all bands, where its noiseless light is above one sigma of the noise. There
    "chi2_source" is the mean of ((found - true source) / sigma)^2, zero for a source that is found as it is and one for
    it with all of the noise, and "chi2_inside" is eq. 15's; NaN without such pixels. "flux_ratio" is the source's found
    flux over its true one, all bands together, "source_snr" the matched signal-to-noise sqrt(sum (true / sigma)^2).

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
    true, wrong = batch.parts["source"], (source - batch.parts["source"]) / batch.sigma
    own, taken = true > OWN * batch.sigma, source > OWN * batch.sigma
    out |= {"pixels_true": _sum(own), "pixels_found": _sum(taken), "pixels_both": _sum(own & taken)}
    pixels = jnp.where(out["pixels_true"] > 0, out["pixels_true"], jnp.nan)
    out["chi2_source"] = _sum(own * wrong**2) / pixels
    out["chi2_inside"] = _sum(own * ((residual - batch.companions) / batch.sigma) ** 2) / pixels
    out["source_snr"] = jnp.sqrt(_sum((true / batch.sigma) ** 2))
    flux = _sum(true)
    out["flux_ratio"] = jnp.where(flux > 0.0, _sum(source) / jnp.where(flux > 0.0, flux, 1.0), jnp.nan)
    out["flux_alone"] = _sum(batch.image / background_rms[..., None, None, :])
    for name in COMPONENTS:
        true = batch.parts[name]
        out[f"psnr_{name}"] = psnr(true, predicted[name])
        out[f"magnitude_{name}"] = magnitude(true)
        out[f"magnitude_error_{name}"] = magnitude(predicted[name]) - magnitude(true)
        out[f"snr_{name}"] = jnp.sum(predicted[name], axis=(-3, -2)) / flux_error(predicted[name], background_rms)
    return out


def without_source(parts: dict[str, Array]) -> dict[str, Array]:
    """The parts that a network found, with its source left in the noise."""
    # Not zeros outright: XLA spends seconds on sums of a constant.
    return {"lens": parts["lens"], "source": 0.0 * parts["source"], "noise": parts["noise"] + parts["source"]}


def without_network(image: Array, background_rms: Any) -> dict[str, dict[str, Array]]:
    """Parts of an image by methods that need no training, by their names; the light of each part is the image's.

    "nothing subtracted" finds none. "threshold" gives the source each pixel above three sigma of the sky. "half the
    peak" gives those above half of their band's peak to the deflector, and the others of them to the source.

    Args:
        image: Shape (n, ny, nx, bands).
        background_rms: Of every band, shape (bands,) or (n, bands).
    """
    light = image > THRESHOLD * jnp.asarray(background_rms)[..., None, None, :]
    bright = light & (image > PEAK * jnp.max(image, axis=(-3, -2), keepdims=True))
    nowhere = image != image  # not zeros outright, see above
    masks = {"nothing subtracted": (nowhere, nowhere), "threshold": (nowhere, light),
             "half the peak": (bright, light & ~bright)}
    return {name: {"lens": image * lens, "source": image * source, "noise": image * ~(lens | source)}
            for name, (lens, source) in masks.items()}


def _sum(values: Array) -> Array:
    return jnp.sum(values, axis=(-3, -2, -1))


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
    "lost" is the share of the others. Completeness and purity are of the source's own pixels, of all images together:
    the share of them that is found, and the share of what is found that is one; pixels of images without a source
    count against purity. With corrections the errors that they leave are "corrected_magnitude_...", of the
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
    out |= _source(rows, lensed)
    for kind in reversed(KINDS):
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


def measured(rows: dict[str, dict[str, np.ndarray]], bands: Sequence[str],
           corrections: Corrections | None = None) -> Measured:
    """A separator on a test set, beside methods without a network.

    Args:
        rows: By method, the network's under "": from `measure`, concatenated.
        bands: Names of the bands.
        corrections: Of the network's magnitudes.
    """
    own = rows[""]
    numbers, lensed = summary(own, bands, corrections=corrections), own["label"] == 1
    baselines: dict[str, Numbers] = {name: finite({key: value for key, value in summary(found, bands).items()
                                                   if not any(f"_{band}_" in key for band in bands)})
                                     for name, found in rows.items() if name}
    recovered = {name or "network": np.stack([own["source_snr"][lensed], found["flux_ratio"][lensed]])
                 for name, found in rows.items() if name in ("", "threshold", "half the peak")}
    if lensed.all() or not lensed.any():
        return Measured(numbers, baselines, recovered=recovered)
    flux = own["flux_alone"]
    cut = best_threshold(flux, lensed)
    baselines["flux alone"] = finite({"finder_area_under_roc": area_under_roc(flux, lensed), "finder_threshold": cut,
                                      "finder_accuracy": np.mean((flux > cut) == lensed)})
    score = {name: found["chi2_1_expected"] - found["chi2_2_expected"] for name, found in rows.items()}
    others = {name: score[name] for name in ("threshold", "half the peak")} | {"flux alone": flux}
    return Measured(numbers, baselines, Scores(lensed, score[""], numbers["finder_threshold"], baselines=others),
                  recovered=recovered)


def _source(rows: dict[str, np.ndarray], lensed: np.ndarray) -> dict[str, float]:
    """Numbers of the source: its pixels, its light in them, and its flux by signal-to-noise."""
    both, true, found = (float(rows[f"pixels_{name}"].sum(dtype=np.float64)) for name in ("both", "true", "found"))
    out = ({"completeness": both / true} if true else {}) | ({"purity": both / found} if found else {})
    for name in ("chi2_source", "chi2_inside"):
        if len(value := rows[name][np.isfinite(rows[name])]):
            out |= {f"{name}_median": float(np.median(value)), f"{name}_below_2": float(np.mean(value < 2.0))}
    if lensed.any():
        snr, ratio = rows["source_snr"][lensed], rows["flux_ratio"][lensed]
        out["source_snr_median"] = float(np.median(snr))
        for low, high in zip(SNR_EDGES, SNR_EDGES[1:], strict=False):
            if (inside := (snr >= low) & (snr < high)).any():
                name = f"flux_ratio_snr_{low:g}_{high:g}" if np.isfinite(high) else f"flux_ratio_snr_{low:g}_up"
                out |= {f"{name}_images": float(inside.sum()), f"{name}_median": float(np.median(ratio[inside])),
                        f"{name}_scatter": float(np.std(ratio[inside]))}
    return out


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
