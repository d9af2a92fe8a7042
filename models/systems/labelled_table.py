"""How well a network tells what the labels of cutouts tell, beside what is reached without one."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax import Array

from giga.models.networks.cutouts import CutoutNet
from giga.models.systems.labelled import TOGETHER, Labelled
from giga.models.systems.measured import Estimate, Measured, Scores, area_under_roc
from giga.models.training.source import WEIGHT, Rows, filled

FLUX, MEAN = "flux alone", "always the mean"


@partial(jax.jit, static_argnums=0)
def _told(structure: Any, state: Any, images: Array) -> Array:
    return nnx.merge(structure, state)(images)


def measure(model: CutoutNet, data: Labelled, part: str = "test") -> Measured:
    """What a network makes of a part of the data that it has not learned from, and what is reached without one.

    Args:
        model: The network, in evaluation mode.
        data: The examples.
        part: "test", "validation" or "train".

    Returns:
        Of classes: "images", "accuracy", "balanced_accuracy" (the mean over classes), "cross_entropy", "auc" of the
        last class against the others (two classes) or the mean over classes. Its baselines are always the commonest
        class of the training images, always their shares, and, for two classes, the total flux alone. Of numbers:
        "images", and for each "scatter NAME", the standard deviation of the error, and "bias NAME"; the baseline is
        always the mean of the training images.

    Raises:
        ValueError: No image in that part.
    """
    total = data.source.held_out(part)
    if not total:
        raise ValueError(f"part: no image is for {part!r}, expected some: a share of the split")
    structure, state = nnx.split(model)
    rows: list[Rows] = []
    for first in range(0, total, TOGETHER):
        batch = data.source.part(part, first, TOGETHER)
        there = len(batch[WEIGHT])
        found = np.asarray(_told(structure, state, filled(batch, TOGETHER, total, total)["image"]))[:there]
        rows.append({"found": found, "flux": batch["image"].sum((1, 2, 3)),
                     "true": batch["label" if data.classes else "theta"]})
    all_rows = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    if data.classes:
        return _of_classes(all_rows, data)
    return _of_numbers(all_rows, data)


def _of_classes(rows: Rows, data: Labelled) -> Measured:
    label, logits, flux = rows["true"], rows["found"].astype(np.float64), rows["flux"]
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    right, shares = np.argmax(logits, 1) == label, np.maximum(data.class_shares(), 1e-6)
    here = np.unique(label)
    known = [area_under_roc(log_p[:, k], label == k) for k in (range(len(shares)) if len(shares) > 2 else (1,))
             if 0 < np.sum(label == k) < len(label)]
    numbers = {"images": float(len(label)), "accuracy": float(right.mean()),
               "balanced_accuracy": float(np.mean([right[label == k].mean() for k in here])),
               "cross_entropy": float(-np.mean(log_p[np.arange(len(label)), label]))}
    if known:
        numbers["auc"] = float(np.mean(known))
    baselines = {"commonest class": {"accuracy": float(np.mean(label == np.argmax(shares)))},
                 "shares of the classes": {"cross_entropy": float(-np.mean(np.log(shares[label])))}}
    if len(shares) != 2 or len(here) != 2:
        return Measured(numbers, baselines)
    positive = label == 1
    flux = flux if area_under_roc(flux, positive) >= 0.5 else -flux
    scores = Scores(positive, logits[:, 1] - logits[:, 0], 0.0, np.exp(log_p[:, 1]), {FLUX: flux})
    return Measured(numbers, baselines | {FLUX: {"auc": area_under_roc(flux, positive)}}, scores)


def _of_numbers(rows: Rows, data: Labelled) -> Measured:
    true, found, middle = rows["true"], rows["found"], data.targets("theta").mean(0)
    error, numbers, scatter = found - true, {"images": float(len(true))}, {}
    for k, name in enumerate(data.values):
        numbers |= {f"scatter {name}": float(error[:, k].std()), f"bias {name}": float(error[:, k].mean())}
        scatter[f"scatter {name}"] = float(np.sqrt(np.mean((true[:, k] - middle[k]) ** 2)))
    return Measured(numbers, {MEAN: scatter}, estimates={
        name: Estimate(true[:, k], found[:, k], baselines={MEAN: np.full(len(true), middle[k])})
        for k, name in enumerate(data.values)})
