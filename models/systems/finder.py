"""Finders of galaxy-scale lenses in clusters: what they are trained on, and how they are measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from giga.models.networks.finder import Finder, FinderConfig
from giga.models.systems.finder_metrics import curve, error_rates, flat, summary
from giga.models.systems.measured import Measured, Scores
from giga.models.systems.simulated import SimulatedTask
from giga.runtime.identity import identity_of
from giga.simulate.batch import Batch
from giga.simulate.generator import Examples
from giga.simulate.surveys import shifted as other_world
from giga.simulate.surveys.noise import Noise
from giga.simulate.surveys.psf_models import PSFModel
from giga.simulate.systems.cluster_fields import ClusterField
from giga.simulate.systems.clusters import cluster_lenses

LENSED = 0.5  # share of lenses, in training and in test sets
Bins = Mapping[str, tuple[str, tuple[float, ...], bool]]
BINS: Bins = {
    "fnr_mag": ("mag", (22.0, 26.0, 27.0, 28.0, 29.0), True),
    "fnr_theta_E": ("theta_E", (0.2, 0.5, 1.0, 2.0, 3.5), True),
    "fnr_z": ("z", (0.0, 2.0, 3.0, 4.0, 7.0), True), "fnr_r_e": ("r_e", (0.0, 0.1, 0.2, 0.3, 0.5), True),
    "fpr_mag_lens": ("mag_lens", (15.0, 18.0, 19.5, 21.0, 26.0), False),
    "fpr_colour_lens": ("colour_lens", (-1.0, 0.5, 0.8, 1.0, 1.3, 3.0), False)}
"""Properties that rates of errors are measured against: name in the truth, edges, and whether of lenses."""


def make_simulator(config: FinderConfig, field: ClusterField, shifted: bool = False, psfs: tuple[PSFModel, ...] = (),
                   noise: Noise | None = None, lensed: float = LENSED, others: float = 0.3,
                   behind: float = 0.5) -> Examples:
    """The simulator of a finder.

    Args:
        config: Survey and size of the images.
        field: The clusters.
        shifted: What the network has not been trained for: Moffat PSFs that are a quarter wider, noise that is
            correlated between pixels, sources with clumps. The clusters should be others too.
        psfs: One a band, in the place of the survey's.
        noise: In the place of the camera's, for what is not shifted.
        lensed, others, behind: See `giga.simulate.systems.clusters.ClusterLenses`.
    """
    survey = config.observed
    shares: dict[str, Any] = dict(lensed=lensed, others=others, behind=behind)
    if shifted:
        return cluster_lenses(field, survey, other_world.psfs(survey, field.supersampling), other_world.noise(survey),
                              clumps=other_world.CLUMPS, **shares)
    made = [psf.psf(survey.pixel_scale, field.supersampling) for psf in psfs] or None
    return cluster_lenses(field, survey, made, noise, **shares)


class FinderTask(SimulatedTask):
    """What `giga.models.training.train` needs to train a finder.

    Args:
        config: Network and images.
        field: Clusters of the training set.
        other: Those of the shifted set; None takes the same.
        psfs, noise, shares: See `make_simulator`.
    """

    def __init__(self, config: FinderConfig, field: ClusterField, other: ClusterField | None = None,
                 psfs: tuple[PSFModel, ...] = (), noise: Noise | None = None, **shares: Any):
        self.config, self.made_of = config, (field, other, psfs, noise, shares)
        self.simulator = make_simulator(config, field, psfs=psfs, noise=noise, **shares)
        self.other = make_simulator(config, other or field, shifted=True, **shares)

    @property
    def identity(self) -> str:
        """Hash of the configuration, its survey, clusters, PSFs and noise."""
        return identity_of("finder", self.config, self.config.observed, *self.made_of)

    def network(self, rngs: nnx.Rngs) -> Finder:
        """A fresh network."""
        return Finder(self.config, rngs=rngs)

    def prepared(self, batch: Batch) -> dict[str, Array]:
        """Stretched images and their labels."""
        return dict(image=self.config.stretch(batch.image), label=batch.label)

    def loss(self, model: Finder, batch: dict[str, Array], key: Array) -> tuple[Array, dict[str, Array]]:
        """Binary cross-entropy, and the share that is classified right at a probability of one half."""
        logit = model(batch["image"])
        loss = jnp.mean(optax.sigmoid_binary_cross_entropy(logit, batch["label"].astype(jnp.float32)))
        return loss, {"accuracy": jnp.mean((logit > 0.0) == (batch["label"] == 1))}


def scored(config: FinderConfig, model: Finder, made: Examples, images: int, key: Array,
           together: int = 64) -> dict[str, np.ndarray]:
    """Score simulated images.

    Args:
        config: Of the network.
        model: The network.
        made: What simulates.
        images: How many.
        key: Random key.
        together: Images that are simulated and scored at a time.

    Returns:
        `label`, `score` (log-odds), what of the truth is a number, and of baselines `flux` (of the image in all bands)
        and `colour` (first less last band of that, blue is higher), shape (n,) each.
    """
    structure, state = nnx.split(model)
    size = min(together, images)  # the last batch is as large, else its programs are compiled for it alone
    batches = (made.simulate(jax.random.fold_in(key, first), size) for first in range(0, images, size))
    rows = [jax.tree.map(np.asarray, _rows(config, structure, state, batch)) for batch in batches]
    return {name: np.concatenate([row[name] for row in rows])[:images] for name in rows[0]}


@partial(jax.jit, static_argnums=(0, 1))
def _rows(config: FinderConfig, structure: Any, state: Any, batch: Batch) -> dict[str, Array]:
    score = nnx.merge(structure, state)(config.stretch(batch.image))
    flux = jnp.sum(batch.image, (1, 2))
    first, last = jnp.maximum(flux[:, 0], 1e-6), jnp.maximum(flux[:, -1], 1e-6)
    truth = {name: values for name, values in batch.truth.items() if values.ndim == 1}
    return truth | dict(label=batch.label, score=score, flux=jnp.sum(flux, -1), colour=jnp.log(first / last))


def evaluate(config: FinderConfig, model: Finder, images: int, seed: int, make: Callable[[bool], Examples],
             threshold: float = 0.0, bins: Bins = BINS) -> dict[str, Measured]:
    """Measure a finder on test sets that no training step draws.

    Args:
        config: Of the network.
        model: The network.
        images: Size of each set, half of them lenses.
        seed: Of the sets.
        make: `make(shifted)`, the simulator of a set.
        threshold: Log-odds from which an image is called a lens.
        bins: See `BINS`.

    Returns:
        For "mock" and "shifted" what `measured` tells.
    """
    found = {}
    for number, name in enumerate(("mock", "shifted")):
        rows = scored(config, model, make(name == "shifted"), images, jax.random.fold_in(jax.random.key(seed), number))
        found[name] = measured(rows, threshold, bins)
    return found


def measured(rows: dict[str, np.ndarray], threshold: float = 0.0, bins: Bins = BINS) -> Measured:
    """What scores tell of a finder: the numbers of `giga.models.systems.finder_metrics.summary` and errors in bins,
    beside the areas under the ROC curves of the total flux alone and of the colour alone."""
    label, score = rows["label"], rows["score"]
    rates = {name: error_rates(rows[field], edges, label, score, threshold, lenses)
             for name, (field, edges, lenses) in bins.items() if field in rows}
    alone = {f"{name} alone": rows[name] for name in ("flux", "colour")}
    return Measured(summary(label, score, threshold) | flat(rates),
                    {name: {"auc": curve(label, values).auc} for name, values in alone.items()},
                    Scores(label == 1, score, threshold, 1.0 / (1.0 + np.exp(-score.astype(float))), alone))
