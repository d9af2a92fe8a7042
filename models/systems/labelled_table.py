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
from giga.models.systems.separation_metrics import area_under_roc
from giga.models.training.source import WEIGHT, Rows, filled


@partial(jax.jit, static_argnums=0)
def _told(structure: Any, state: Any, images: Array) -> Array:
    return nnx.merge(structure, state)(images)


def measure(model: CutoutNet, data: Labelled, part: str = "test") -> dict[str, float]:
    """What a network makes of a part of the data that it has not learned from, and what is reached without one.

    Args:
        model: The network, in evaluation mode.
        data: The examples.
        part: "test", "validation" or "train".

    Returns:
        Of classes: "images", "accuracy", "balanced_accuracy" (the mean over classes), "cross_entropy", "auc" of the
        last class against the others (two classes) or the mean over classes; and as baselines "accuracy_commonest", of
        always the commonest class of the training images, "cross_entropy_shares", of always their shares, and, for two
        classes, "auc_flux", of the total flux alone. Of numbers: "images", and for each "scatter NAME", the standard
        deviation of the error, "bias NAME", and "spread NAME", the error of always the mean.

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
    error, out = all_rows["found"] - all_rows["true"], {"images": float(total)}
    middle = data.targets("theta").mean(0)
    for k, name in enumerate(data.values):
        out |= {f"scatter {name}": float(error[:, k].std()), f"bias {name}": float(error[:, k].mean()),
                f"spread {name}": float(np.sqrt(np.mean((all_rows["true"][:, k] - middle[k]) ** 2)))}
    return out


def _of_classes(rows: Rows, data: Labelled) -> dict[str, float]:
    label, logits = rows["true"], rows["found"].astype(np.float64)
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    right, shares = np.argmax(logits, 1) == label, np.maximum(data.class_shares(), 1e-6)
    here = np.unique(label)
    known = [area_under_roc(log_p[:, k], label == k) for k in (range(len(shares)) if len(shares) > 2 else (1,))
             if 0 < np.sum(label == k) < len(label)]
    out = {"images": float(len(label)), "accuracy": float(right.mean()),
           "balanced_accuracy": float(np.mean([right[label == k].mean() for k in here])),
           "cross_entropy": float(-np.mean(log_p[np.arange(len(label)), label])),
           "accuracy_commonest": float(np.mean(label == np.argmax(shares))),
           "cross_entropy_shares": float(-np.mean(np.log(shares[label])))}
    if known:
        out["auc"] = float(np.mean(known))
    if len(shares) == 2 and len(here) == 2:
        flux = area_under_roc(rows["flux"], label == 1)
        out["auc_flux"] = max(flux, 1.0 - flux)
    return out
