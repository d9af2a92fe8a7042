"""The measures of the modular pipeline, and the table of its paper beside ours."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from giga.models.networks.chain import Chain, ModularConfig, Stage, lens_logit, parameters
from giga.models.systems.modular import examples_of, make_simulator
from giga.simulate.batch import Batch
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys.noise import Noise
from giga.simulate.systems.modular import mass_parameters


class TooFew(ValueError):
    """A test set in which a measure has nothing to measure."""


TABLE = (  # part of the paper's Table 1, row, network here, measure here, the paper's number
    ("a", "Denoising, Noisy-Sim", "denoise", "psnr_noisy", 22.56),
    ("a", "Denoising, Noiseless-ML", "denoise", "psnr_denoised", 47.91),
    ("a", "Deblending, Noiseless-Sim", "deblend", "psnr_blended", 14.47),
    ("a", "Deblending, Deblended-ML", "deblend", "psnr_deblended", 35.03),
    ("b", "Classification, Noisy-Sim", "find, noisy", "accuracy", 0.82),
    ("b", "Classification, Deblended-Sim", "find", "accuracy", 0.99),
    ("b", "Regression, Noisy-blended-Sim", "measure, noisy", "mae", 0.08),
    ("b", "Regression, Deblended-Sim-Len", "measure", "mae", 0.03),
    ("c", "Denoising, Noisy-Sim", "chained", "psnr_noisy", 22.71),
    ("c", "Denoising, Noiseless-ML", "chained", "psnr_denoised", 47.15),
    ("c", "Deblending, Noiseless-ML", "chained", "psnr_blended", 13.59),
    ("c", "Deblending, Deblended-ML-ML", "chained", "psnr_deblended", 26.87),
    ("d", "Classification, Deblended-ML-ML", "chained", "accuracy", 0.90),
    ("d", "Regression, Deblended-ML-ML", "chained", "mae", 0.06),
    ("c", "Denoising, trained jointly", "joint", "psnr_denoised", None),
    ("c", "Deblending, trained jointly", "joint", "psnr_deblended", None),
    ("d", "Classification, trained jointly", "joint", "accuracy", None),
    ("d", "Regression, trained jointly", "joint", "mae", None))
"""Madireddy et al. (2019), arXiv:1911.03867, Table 1, and what joint training makes of (c) and (d)."""


def psnr(wanted: Array, found: Array, peak: Array) -> Array:
    """Peak signal-to-noise ratio, 10 log10(peak^2 / mean squared error) [dB].

    Args:
        wanted, found: Shape (n, ny, nx, bands).
        peak: Shape (n,).

    Returns:
        Shape (n,).
    """
    return 10.0 * jnp.log10(peak**2 / jnp.mean((found - wanted) ** 2, axis=(1, 2, 3)))


def rows_of(config: ModularConfig, model: Stage | Chain, batch: Batch) -> dict[str, Array]:
    """Measures of each image, shape (n,): those that a network has.

    Args:
        config: Of the network.
        model: One stage, shown what it was trained on; or a chain, shown noisy blends.
        batch: Simulated images.
    """
    seen = examples_of(config, batch)
    rows: dict[str, Array] = {"label": batch.label}
    if isinstance(model, Chain):
        found = model.through(seen["noisy"])
        rows |= _images(config, "noisy", "denoised", seen, seen["noisy"], found.denoised, "blend")
        rows |= _images(config, "blended", "deblended", seen, found.denoised, found.source, "source")
        return rows | _found(found.logits, batch.label) | _measured(config, found.theta, batch)
    if config.stage == "denoise":
        return rows | _images(config, "noisy", "denoised", seen, seen["noisy"], model(seen["noisy"]), "blend")
    if config.stage == "deblend":
        return rows | _images(config, "blended", "deblended", seen, seen["blend"], model(seen["blend"]), "source")
    answer = model(seen["noisy" if config.input == "noisy" else "source"])
    return rows | (_found(answer, batch.label) if config.stage == "find" else _measured(config, answer, batch))


def _images(config: ModularConfig, before: str, after: str, seen: dict[str, Array], shown: Array, found: Array,
            wanted: str) -> dict[str, Array]:
    """PSNR of what a network was shown and of what it gave, linear and stretched.

    The peak is that of the noiseless blend in either scale: all images of one example are divided by the same
    number, so that the blend ends at one.
    """
    linear, peaks = config.counts, {name: jnp.max(scaled, axis=(1, 2, 3)) for name, scaled in (
        ("linear", config.counts(seen["blend"])), ("stretched", seen["blend"]))}
    rows = {}
    for name, image in ((before, shown), (after, found)):
        rows[f"psnr_{name}"] = psnr(linear(seen[wanted]), linear(image), peaks["linear"])
        rows[f"psnr_{name}_stretched"] = psnr(seen[wanted], image, peaks["stretched"])
    return rows


def _found(logits: Array, label: Array) -> dict[str, Array]:
    return {"correct": (lens_logit(logits) > 0.0) == (label == 1)}


def _measured(config: ModularConfig, theta: Array, batch: Batch) -> dict[str, Array]:
    """Absolute errors in parameters that go from 0 to 1, the position angle's also around the end."""
    found, true = parameters(config, theta), mass_parameters(batch.truth)
    width = {"theta_E": config.theta_E[1] - config.theta_E[0], "q": config.q[1] - config.q[0], "phi": jnp.pi}
    errors = {name: jnp.abs(found[name] - true[name]) / width[name] for name in width}
    turn = jnp.mod(errors["phi"], 1.0)
    return {f"error_{name}": error for name, error in errors.items()} | {
        "error_phi_wrapped": jnp.minimum(turn, 1.0 - turn)}


def summary(rows: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Condense the measures of a test set.

    Args:
        rows: See `rows_of`.

    Returns:
        Means of `psnr_...` [dB]; `accuracy`, the mean over the two classes; `mae_...` of the normalised parameters of
        lenses, `mae` the mean of the three as the paper has it and `mae_wrapped` with the angle's error around the
        end. What the network does not do is left out.

    Raises:
        TooFew: A set without lenses, or without others, whose mean is asked for.
    """
    lens = np.asarray(rows["label"]) == 1
    found = {name: float(np.mean(values, dtype=np.float64)) for name, values in rows.items()
             if name.startswith("psnr_")}
    asked = [kind for name, kinds in (("correct", (lens, ~lens)), ("error_q", (lens,))) if name in rows
             for kind in kinds]
    if not all(kind.any() for kind in asked):
        raise TooFew(f"{len(lens)} images have {lens.sum()} lenses; expected some with and some without")
    if "correct" in rows:
        found["accuracy"] = float(np.mean([np.mean(rows["correct"][kind]) for kind in (lens, ~lens)]))
    errors = {name.removeprefix("error_"): float(np.mean(values[lens], dtype=np.float64))
              for name, values in rows.items() if name.startswith("error_")}
    if errors:
        found |= {f"mae_{name}": error for name, error in errors.items()}
        found["mae"] = (errors["theta_E"] + errors["q"] + errors["phi"]) / 3.0
        found["mae_wrapped"] = (errors["theta_E"] + errors["q"] + errors["phi_wrapped"]) / 3.0
    return found


def evaluate(config: ModularConfig, model: Stage | Chain, images: int, seed: int = 2, together: int = 32,
             catalogue: Catalogue | None = None, noise: Noise | None = None) -> dict[str, dict[str, float]]:
    """Measure one network, or a chain, on test sets that no training step draws.

    "mock" is drawn as the training set is, "shifted" has another PSF, noise and kind of source. Half of the images are
    lensed. The sets are the same for all networks of one survey and population.

    Args:
        config: Of the network.
        model: The network.
        images: Size of each set.
        seed: Of the sets.
        together: Images that are simulated and analysed at a time.
        catalogue: Lenses to draw from, if the configuration names a table.
        noise: That it was trained with; None is the survey's camera. "shifted" has another in either case.

    Returns:
        Numbers by test set and name, see `summary`.
    """
    key = jax.random.key(seed)
    structure, state = nnx.split(model)
    found, size = {}, min(together, images)  # the last batch is as large, else its programs are compiled for it alone
    for name, shifted in (("mock", False), ("shifted", True)):
        made = make_simulator(config, catalogue, shifted=shifted, noise=noise)
        batches = (made.simulate(jax.random.fold_in(key, first), size) for first in range(0, images, size))
        parts = [jax.tree.map(np.asarray, _rows(config, structure, state, batch)) for batch in batches]
        found[name] = summary({field: np.concatenate([part[field] for part in parts])[:images] for field in parts[0]})
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _rows(config: ModularConfig, structure: Any, state: Any, batch: Batch) -> dict[str, Array]:
    return rows_of(config, nnx.merge(structure, state), batch)


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """Table 1 of the paper beside ours, in Markdown.

    Args:
        found: Measures by network, as `TABLE` names them: "denoise", "deblend", "find", "measure", "find, noisy",
            "measure, noisy", "chained" and "joint"; those that are missing are shown as not measured.
    """
    lines = ["| part | Table 1 | measure | paper | here |", "|---|---|---|---|---|"]
    for part, row, network, measure, paper in TABLE:
        digits = 2 if measure.startswith("psnr") else 3
        here = f"{found[network][measure]:.{digits}f}" if network in found else "not measured"
        kind = "PSNR [dB]" if measure.startswith("psnr") else {"accuracy": "accuracy", "mae": "MAE"}[measure]
        lines.append(f"| {part} | {row} | {kind} | {'' if paper is None else f'{paper:.2f}'} | {here} |")
    return "\n".join(lines)
