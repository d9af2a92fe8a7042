"""Sheets of cutouts, and how good a finder is as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from giga.models.systems.finder_metrics import PUBLISHED, curve, error_rates, purity_at

SOFT, WHITE = 3.0, 80.0  # noise up to which a sheet is linear, and so many times that is white
BALANCE = (1.0, 0.8, 1.6)  # of red, green and blue
PREVALENCE = np.logspace(-4, np.log10(0.5), 60)


def sheet(images: np.ndarray, rms: np.ndarray, labels: Sequence[str] = (), columns: int = 5) -> Figure:
    """Cutouts side by side, the last three bands as red, green and blue, arcsinh of each in its noise.

    Args:
        images: Shape (n, ny, nx, bands), the bluest band first; one band is shown in grey.
        rms: Noise of the sky in each band.
        labels: Above each.
        columns: Of the sheet.
    """
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(1.9 * columns, (2.0 if labels else 1.9) * rows), layout="constrained")
    for k, axis in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        axis.axis("off")
        if k >= len(images):
            continue
        scaled = np.asarray(images[k], float) / np.asarray(rms, float)
        rgb = scaled[..., [-1, -2, -3] if scaled.shape[-1] > 2 else [0, 0, 0]] * BALANCE / SOFT
        axis.imshow(np.clip(np.arcsinh(np.maximum(rgb, 0.0)) / np.arcsinh(WHITE), 0.0, 1.0), origin="lower")
        if labels:
            axis.set_title(labels[k], fontsize=7, pad=2)
    return figure


def performance(sets: Mapping[str, Mapping[str, np.ndarray]], threshold: float = 0.0) -> Figure:
    """ROC, purity and completeness, purity against prevalence beside the published ones, and errors against a property.

    Args:
        sets: By name of a test set, what `giga.models.systems.finder.scored` gives.
        threshold: From which an image is called a lens, for the third and fourth panels.
    """
    figure = Figure(figsize=(11.0, 8.2), layout="constrained")
    (roc, pr), (prevalence, errors) = figure.subplots(2, 2)
    for k, (name, rows) in enumerate(sets.items()):
        line, colour = curve(rows["label"], rows["score"]), f"C{k}"
        roc.plot(line.false_positive_rate, line.completeness, color=colour, label=f"{name}, AUC {line.auc:.3f}")
        pr.plot(line.completeness, line.purity, color=colour, label=name)
        lenses = rows["label"] == 1
        found, wrong = np.mean(rows["score"][lenses] >= threshold), np.mean(rows["score"][~lenses] >= threshold)
        prevalence.plot(PREVALENCE, purity_at(PREVALENCE, float(found), float(wrong)), color=colour,
                        label=f"{name}: {found:.0%} at {wrong:.1%}")
        edges = np.arange(22.0, 29.5, 1.0)
        bins = [row for row in error_rates(rows["mag"], list(edges), rows["label"], rows["score"], threshold, True)
                if "rate" in row]
        middle, rate = [0.5 * (b["low"] + b["high"]) for b in bins], np.array([b["rate"] for b in bins])
        ends = np.array([[b["rate_low"], b["rate_high"]] for b in bins]).T
        errors.errorbar(middle, rate, np.abs(ends - rate), fmt="o-", color=colour, label=name, ms=4)
    for name, kind in (("flux", ":"), ("colour", "--")):
        rows = next(iter(sets.values()))
        line = curve(rows["label"], rows[name])
        roc.plot(line.false_positive_rate, line.completeness, color="0.5", ls=kind, lw=1.0,
                 label=f"{name} alone, AUC {line.auc:.3f}")
    for (name, rates), kind in zip(PUBLISHED.items(), ("--", ":"), strict=True):
        prevalence.plot(PREVALENCE, purity_at(PREVALENCE, *rates), color="k", ls=kind, lw=1.0,
                        label=f"{name} as published: {rates[0]:.0%} at {rates[1]:.1%}")
    roc.set(xscale="log", xlim=(1e-4, 1.0), ylim=(0.0, 1.0), xlabel="false-positive rate", ylabel="completeness")
    pr.set(xlim=(0.0, 1.0), ylim=(0.45, 1.02), xlabel="completeness", ylabel="purity (half are lenses)")
    prevalence.set(xscale="log", yscale="log", ylim=(1e-4, 1.2), xlabel="share of lenses among all",
                   ylabel="purity of what is called a lens")
    prevalence.axvline(0.01, color="0.7", lw=0.8)
    errors.set(ylim=(0.0, 1.0), xlabel="F814W of the source, not magnified", ylabel="lenses missed")
    for axis in (roc, pr, prevalence, errors):
        axis.legend(fontsize=7)
    return figure
