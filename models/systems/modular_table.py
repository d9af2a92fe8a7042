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
from giga.models.systems.measured import (
    Estimate,
    Measured,
    Numbers,
    Scores,
    area_under_roc,
    best_threshold,
    calibration_error,
)
from giga.models.systems.modular import examples_of, make_simulator
from giga.models.systems.simulated import elsewhere
from giga.simulate.batch import Batch
from giga.simulate.generator import Simulator
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys.noise import Noise
from giga.simulate.systems.modular import mass_parameters

THRESHOLD = 3.0  # sigma, above which a pixel has light
PEAK = 0.5  # of the peak, above which a pixel is bright
METHODS = ("flux alone", "threshold", "half the peak")  # of finding lenses without a network
QUANTITIES = {"theta_E": "arcsec", "q": "", "phi": "rad"}  # that are measured, with their units
BEFORE = {"noisy": "denoised", "blended": "deblended"}  # images before and after a network


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
        return rows | _found(found.logits, batch.label, found.source) | _measured(config, found.theta, batch,
                                                                                  found.source)
    if config.stage == "denoise":
        return rows | _images(config, "noisy", "denoised", seen, seen["noisy"], model(seen["noisy"]), "blend")
    if config.stage == "deblend":
        return rows | _images(config, "blended", "deblended", seen, seen["blend"], model(seen["blend"]), "source")
    shown = seen["noisy" if config.input == "noisy" else "source"]
    answer = model(shown)
    return rows | (_found(answer, batch.label, shown) if config.stage == "find"
                   else _measured(config, answer, batch, shown))


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


def _found(logits: Array, label: Array, shown: Array) -> dict[str, Array]:
    """Whether the finder is right, its logit, and what tells of a lens without it in the image that it is shown.

    "flux alone" is the total flux over sigma, "threshold" counts the pixels above three sigma, of all bands, and "half
    the peak" those above half of the peak.
    """
    light, logit = jnp.sinh(shown), lens_logit(logits)
    return {"correct": (logit > 0.0) == (label == 1), "logit": logit, "flux alone": jnp.sum(light, axis=(1, 2, 3)),
            "threshold": jnp.sum(light > THRESHOLD, axis=(1, 2, 3)),
            "half the peak": jnp.sum(_bright(light), axis=(1, 2))}


def _bright(light: Array) -> Array:
    """Pixels above half of the peak, bands summed, shape (n, ny, nx)."""
    total = jnp.sum(light, axis=-1)
    return total > PEAK * jnp.max(total, axis=(1, 2), keepdims=True)


def _measured(config: ModularConfig, theta: Array, batch: Batch, shown: Array) -> dict[str, Array]:
    """Parameters as they are, as they are found, and as the pixels above half the peak have them."""
    rows = {}
    for kind, values in (("true", mass_parameters(batch.truth)), ("found", parameters(config, theta)),
                         ("half", ring(_bright(jnp.sinh(shown)), config.observed.pixel_scale))):
        rows |= {f"{kind}_{name}": values[name] for name in QUANTITIES}
    return rows


def ring(pixels: Array, pixel_scale: float) -> dict[str, Array]:
    """What pixels about the middle of an image say of a lens: their mean radius, and the ellipse of their moments.

    Args:
        pixels: Which, shape (n, ny, nx).
        pixel_scale: [arcsec].
    """
    ny, nx = pixels.shape[1:]
    y, x = jnp.meshgrid(*(pixel_scale * (jnp.arange(n) - 0.5 * (n - 1)) for n in (ny, nx)), indexing="ij")

    def mean(values: Array) -> Array:
        return jnp.sum(pixels * values, axis=(1, 2)) / jnp.sum(pixels, axis=(1, 2))

    xx, yy, xy = mean(x**2), mean(y**2), mean(x * y)
    spread = jnp.hypot(xx - yy, 2.0 * xy)
    return {"theta_E": mean(jnp.hypot(x, y)), "phi": jnp.mod(0.5 * jnp.arctan2(2.0 * xy, xx - yy), jnp.pi),
            "q": jnp.sqrt(jnp.maximum(xx + yy - spread, 0.0) / (xx + yy + spread))}


def summary(config: ModularConfig, rows: Mapping[str, np.ndarray]) -> Measured:
    """Condense the measures of a test set.

    Args:
        config: Of the network.
        rows: See `rows_of`.

    Returns:
        Means of `psnr_...` [dB]; `accuracy`, the mean over the two classes, `area_under_roc` and `calibration_error` of
        the probabilities; `mae_...` of the parameters of lenses, each from 0 to 1, `mae` the mean of the three as the
        paper has it and `mae_wrapped` with the angle's error around the end. What the network does not do is left out.
        Baselines: "nothing subtracted", images as they are shown to a network; for a finder "flux alone", "threshold"
        and "half the peak", see `_found`, each with the cut that is best on this very set; for a measurer "the mean" of
        these lenses, and "half the peak", see `ring`.

    Raises:
        TooFew: A set without lenses, or without others, whose mean is asked for.
    """
    lens = np.asarray(rows["label"]) == 1
    numbers = {name: float(np.mean(values, dtype=np.float64)) for name, values in rows.items()
               if name.startswith("psnr_")}
    asked = [kind for name, kinds in (("correct", (lens, ~lens)), ("true_q", (lens,))) if name in rows
             for kind in kinds]
    if not all(kind.any() for kind in asked):
        raise TooFew(f"{len(lens)} images have {lens.sum()} lenses; expected some with and some without")
    baselines: dict[str, Numbers] = {}
    before = {f"psnr_{after}{scale}": numbers[f"psnr_{shown}{scale}"] for shown, after in BEFORE.items()
              for scale in ("", "_stretched") if f"psnr_{shown}" in numbers}
    if before:
        baselines["nothing subtracted"] = before
    scores = _scores(rows, lens) if "correct" in rows else None
    if scores is not None:
        assert scores.probability is not None
        numbers |= {"accuracy": float(np.mean([np.mean(rows["correct"][kind]) for kind in (lens, ~lens)])),
                    "area_under_roc": area_under_roc(scores.score, lens),
                    "calibration_error": calibration_error(scores.probability, lens)}
        for name, score in scores.baselines.items():
            right = (score > best_threshold(score, lens)) == lens
            baselines[name] = {"accuracy": float(np.mean([np.mean(right[kind]) for kind in (lens, ~lens)])),
                               "area_under_roc": area_under_roc(score, lens)}
    estimates = _estimates(rows, lens) if "true_q" in rows else {}
    if estimates:
        numbers |= _maes(config, {name: (one, one.found) for name, one in estimates.items()})
        for method in next(iter(estimates.values())).baselines:
            found = _maes(config, {name: (one, one.baselines[method]) for name, one in estimates.items()})
            baselines[method] = {**baselines.get(method, {}), **found}
    return Measured(numbers, baselines, scores, estimates)


def _scores(rows: Mapping[str, np.ndarray], lens: np.ndarray) -> Scores:
    logit = np.asarray(rows["logit"], float)
    return Scores(lens, logit, 0.0, 1.0 / (1.0 + np.exp(-logit)),
                  {name: np.asarray(rows[name], float) for name in METHODS})


def _estimates(rows: Mapping[str, np.ndarray], lens: np.ndarray) -> dict[str, Estimate]:
    """Of the lenses alone."""
    out = {}
    for name, unit in QUANTITIES.items():
        true, found, half = (np.asarray(rows[f"{kind}_{name}"], float)[lens] for kind in ("true", "found", "half"))
        period = np.pi if name == "phi" else 0.0
        mean = np.full(len(true), 0.5 * period or true.mean())  # of an angle that has none the middle
        out[name] = Estimate(true, found, unit, baselines={"the mean": mean, "half the peak": half}, period=period)
    return out


def _maes(config: ModularConfig, found: Mapping[str, tuple[Estimate, np.ndarray]]) -> dict[str, float]:
    """Mean absolute errors of parameters that go from 0 to 1, the position angle's also around the end."""
    width = {"theta_E": config.theta_E[1] - config.theta_E[0], "q": config.q[1] - config.q[0], "phi": np.pi}
    mae = {name: float(np.mean(np.abs(values - one.truth))) / width[name] for name, (one, values) in found.items()}
    one, values = found["phi"]
    mae["phi_wrapped"] = float(np.mean(np.abs(one.errors(values)))) / np.pi
    return {f"mae_{name}": error for name, error in mae.items()} | {
        "mae": (mae["theta_E"] + mae["q"] + mae["phi"]) / 3.0,
        "mae_wrapped": (mae["theta_E"] + mae["q"] + mae["phi_wrapped"]) / 3.0}


def evaluate(config: ModularConfig, model: Stage | Chain, images: int, seed: int = 2, together: int = 32,
             catalogue: Catalogue | None = None, noise: Noise | None = None,
             made: Simulator | None = None) -> dict[str, Measured]:
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
        made: What simulated its images, in the place of the configuration's lenses.

    Returns:
        By test set, see `summary`.
    """
    key = jax.random.key(seed)
    structure, state = nnx.split(model)
    found, size = {}, min(together, images)  # the last batch is as large, else its programs are compiled for it alone
    if made is not None:
        sets = {"mock": made, "shifted": elsewhere(made, config.observed)}
    else:
        sets = {name: make_simulator(config, catalogue, shifted=name == "shifted", noise=noise)
                for name in ("mock", "shifted")}
    for name, each in sets.items():
        batches = (each.simulate(jax.random.fold_in(key, first), size) for first in range(0, images, size))
        parts = [jax.tree.map(np.asarray, _rows(config, structure, state, batch)) for batch in batches]
        rows = {field: np.concatenate([part[field] for part in parts])[:images] for field in parts[0]}
        found[name] = summary(config, rows)
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _rows(config: ModularConfig, structure: Any, state: Any, batch: Batch) -> dict[str, Array]:
    return rows_of(config, nnx.merge(structure, state), batch)


def shortcuts(config: ModularConfig, images: int, seed: int = 2, together: int = 32) -> dict[str, Numbers]:
    """What tells lenses without a network, in the true sources of the test set "mock" of `evaluate`.

    Args:
        config: Whose images are simulated.
        images, seed, together: As of `evaluate`.

    Returns:
        `accuracy` and `area_under_roc` by method, see `_found`.
    """
    made, key, size = make_simulator(config), jax.random.key(seed), min(together, images)
    parts = []
    for first in range(0, images, size):
        batch = made.simulate(jax.random.fold_in(key, first), size)
        shown = config.stretch(batch.parts["source"])
        parts.append({"label": batch.label, **_found(jnp.zeros((size, 2)), batch.label, shown)})
    rows = {name: np.concatenate([np.asarray(part[name]) for part in parts])[:images] for name in parts[0]}
    return {method: numbers for method, numbers in summary(config, rows).baselines.items() if method in METHODS}


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
