"""Labelled cutouts: what a network learns of images on disk, of simulated ones, or of both."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array

from giga.models.networks.cutouts import CutoutConfig, CutoutNet
from giga.models.training.source import WEIGHT, Blend, Numbered, Rows, Stored
from giga.models.training.state import weight_name
from giga.models.training.tuning import hold, still
from giga.models.zoo.weights import tensors_of
from giga.runtime.identity import identity_of
from giga.simulate.batch import Batch, turned, turned_truth
from giga.simulate.generator import Simulator

MEASURED = 256  # images that the noise is measured on
CENTRED = 512  # images that features are centred by
TOGETHER = 64  # images of one call when a network is measured
FLAT = 1e-3  # spread of a feature, of the median one's, below which it counts as constant


@dataclass(frozen=True, eq=False)
class Labelled:
    """Stored examples and what their numbers mean.

    Attributes:
        source: The examples; "label" or "theta" among their targets.
        bands: Names of the bands.
        unit: Of the pixels; None where nobody said.
        classes: Names of the classes; empty where numbers are learned.
        values: Names of the numbers, likewise.
        notes: What the user should know.
    """

    source: Numbered | Blend
    bands: tuple[str, ...]
    unit: str | None = None
    classes: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Numbered, ...]:
        """What is blended, or the one source."""
        return self.source.sources if isinstance(self.source, Blend) else (self.source,)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, (ny, nx, bands)."""
        return self.sources[0].images.shape

    def mixed(self, others: tuple[Labelled, ...], shares: tuple[float, ...]) -> Labelled:
        """These examples and others, each with a share of every batch.

        Raises:
            ValueError: Shares that do not sum to one, or examples of other classes, sizes, bands or units.
        """
        for other in others:
            for what in ("classes", "values", "shape", "bands", "unit"):
                if (mine := getattr(self, what)) != (its := getattr(other, what)):
                    raise ValueError(f"{what}: got {its} beside {mine}, expected the same")
        sources = tuple(source for each in (self, *others) for source in each.sources)
        return Labelled(Blend(sources, shares), self.bands, self.unit, self.classes, self.values,
                        tuple(note for each in (self, *others) for note in each.notes))

    def some(self, most: int) -> Rows:
        """Training examples, at most so many, evenly spaced over those of each source."""
        found = []
        for source in self.sources:
            train = source.split.train
            step = max(1, -(-len(train) * len(self.sources) // most))
            found.append(source.rows(train[::step]))
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def targets(self, name: str) -> np.ndarray:
        """What the training examples are to be told as, "label" or "theta", of all sources."""
        return np.concatenate([source.targets[name][source.split.train] for source in self.sources])

    def class_shares(self) -> np.ndarray:
        """Share of each class among the training images."""
        counts = np.bincount(self.targets("label"), minlength=len(self.classes))
        return counts / counts.sum()

    def noise(self) -> tuple[float, ...]:
        """Standard deviation of what changes from pixel to pixel in each band, over some training images.

        The median of the differences of neighbours, which light that fills the image takes little part in.

        Raises:
            ValueError: A band without noise.
        """
        found = np.median(pixel_noise(self.some(MEASURED)["image"]), axis=0)
        for band, sigma in zip(self.bands, found, strict=True):
            if not sigma > 0.0:
                raise ValueError(f"sigma: no noise in band {band}; expected images with noise, or sigma as a number a "
                                 "band")
        return tuple(float(f"{sigma:.6g}") for sigma in found)


def pixel_noise(images: np.ndarray) -> np.ndarray:
    """Standard deviation of what changes from pixel to pixel of images (n, ny, nx, bands), shape (n, bands).

    By the median of the differences of neighbours.
    """
    return 1.4826 / np.sqrt(2.0) * np.median(np.abs(np.diff(images, axis=2)), axis=(1, 2))


@dataclass(frozen=True)
class Tuning:
    """Which weights of a trained network learn, and how fast.

    Attributes:
        what: "head" alone, the "last" parts of the backbone too, or "all".
        last: Parts of the backbone that learn with the head, if `what` is "last".
        decay: Rate of each part of the backbone, of that of the part behind it; 1 is the same for all.

    Raises:
        ValueError: A value that is none of these.
    """

    what: str = "all"
    last: int = 2
    decay: float = 0.7

    def __post_init__(self) -> None:
        if self.what not in ("head", "last", "all"):
            raise ValueError(f"tune: got {self.what!r}, expected head, last or all")
        if self.last < 1:
            raise ValueError(f"last: got {self.last}, expected at least 1 part of the backbone")
        if not 0.0 < self.decay <= 1.0:
            raise ValueError(f"decay: got {self.decay:g}, expected a number above 0, at most 1")

    def of(self, parts: tuple[tuple[str, ...], ...]) -> dict[str, float]:
        """Rate by the name of each part of a network, from the image to the head."""
        learning = {"head": 0, "last": min(self.last, len(parts)), "all": len(parts)}[self.what]
        rates = {"head": 1.0}
        for depth, names in enumerate(reversed(parts)):
            rates |= {f"backbone.{name}": self.decay ** (depth + 1) if depth < learning else 0.0 for name in names}
        return rates


class CutoutLearner:
    """A network of cutouts, what of it learns, and its loss; a subclass has the examples.

    Args:
        config: Of the network.
        start: A network whose weights are gone on with; None begins with new ones.
        tuning: Which of them learn; all, at one rate, in a network that is new.
        weights: Of each class in the loss, in the place of one.
        shown: Share of the examples that each class has, by which weights are scaled so that their mean is one.

    Raises:
        ValueError: Weights of another number than classes.
    """

    def __init__(self, config: CutoutConfig, start: CutoutNet | None, tuning: Tuning | None,
                 weights: tuple[float, ...], shown: Callable[[], np.ndarray]):
        if weights and (len(weights) != len(config.classes) or min(weights) < 0.0 or not sum(weights)):
            raise ValueError(f"class_weights: got {weights}, expected a number of at least 0 for each of the "
                             f"{len(config.classes)} classes")
        self.config, self._start, self.tuning, self._weights = config, start, tuning, weights
        scaled = np.asarray(weights or np.ones(max(1, len(config.classes))), np.float64)
        self._scaled = jnp.asarray(scaled / (scaled @ shown()) if weights else scaled, jnp.float32)

    def network(self, rngs: nnx.Rngs) -> CutoutNet:
        """A copy of the one that is started from, or a new one."""
        return CutoutNet(self.config, rngs=rngs) if self._start is None else nnx.clone(self._start)

    def rates(self, params: Any) -> Any:
        """See `giga.models.training.task.TunedTask`."""
        if self.tuning is None:
            return jax.tree.map(lambda leaf: 1.0, params)
        by_name = self.tuning.of(nnx.eval_shape(lambda: CutoutNet(self.config, rngs=nnx.Rngs(0))).backbone.parts)

        def rate(path: Any, leaf: Any) -> float:
            name = weight_name(path)
            return next((value for part, value in by_name.items() if name.startswith(f"{part}.")), 0.0)

        return jax.tree_util.tree_map_with_path(rate, params)

    def loss(self, model: CutoutNet, batch: dict[str, Array], key: Array) -> tuple[Array, dict[str, Array]]:
        """Cross-entropy of classes, weighted; or the mean absolute error of numbers, in units of their spread."""
        if self.tuning is not None:
            rates = self.rates(nnx.state(model, nnx.Param))
            hold(model, rates)
            parts = self.tuning.of(model.backbone.parts)
            still(model, tuple(name for name, rate in parts.items() if not rate))
        found = model.head(model.features(batch["image"]))
        if self.config.classes:
            weight = batch[WEIGHT] * self._scaled[batch["label"]]
            losses = optax.softmax_cross_entropy_with_integer_labels(found, batch["label"])
            right = jnp.argmax(found, -1) == batch["label"]
            return jnp.mean(weight * losses), {"accuracy": jnp.mean(batch[WEIGHT] * right)}
        wanted = (batch["theta"] - jnp.asarray(self.config.mean)) / jnp.asarray(self.config.spread)
        return jnp.mean(batch[WEIGHT] * jnp.mean(jnp.abs(found - wanted), -1)), {}

    def row(self, batch: Batch) -> dict[str, Array]:
        """A simulated image as an example, with or without a leading axis."""
        row = {"image": jnp.asarray(batch.image), WEIGHT: jnp.ones(batch.image.shape[:-3], jnp.float32)}
        if self.config.classes:
            return row | {"label": jnp.asarray(batch.label)}
        return row | {"theta": jnp.stack([batch.truth[name] for name in self.config.values], -1).astype(jnp.float32)}


class CutoutTask(CutoutLearner):
    """What `giga.models.training.train.train` needs to learn from labelled cutouts.

    Args:
        config: Of the network.
        data: Stored examples.
        start: A network whose weights are gone on with; None begins with new ones.
        tuning: Which of them learn; all, at one rate, in a network that is new.
        turns: Whether images are flipped and turned at random in training, numbers with a direction too.
        weights: Of each class in the loss, in the place of one; they are scaled so that their mean over the training
            images is one.
        simulator: Of the examples that are not stored, in the same bands and unit; its label is the class, 0 or 1.
        stored: Share of the examples that are stored.

    Raises:
        ValueError: Images that are not square and are to be turned, weights of another number, simulated images of
            another size.
    """

    def __init__(self, config: CutoutConfig, data: Labelled, start: CutoutNet | None = None, *,
                 tuning: Tuning | None = None, turns: bool = True, weights: tuple[float, ...] = (),
                 simulator: Simulator | None = None, stored: float = 1.0):
        if turns and config.pixels[0] != config.pixels[1]:
            raise ValueError(f"turns: got true for images of {config.pixels[0]} x {config.pixels[1]} pixels, expected "
                             "square images, or false")
        if (simulator is None) != (stored >= 1.0):
            raise ValueError(f"share: got {stored:g} of stored images "
                             f"{'without' if simulator is None else 'with'} a simulator, expected "
                             f"{'1' if simulator is None else 'a number below 1'}")
        self.data, self.turns, self.stored = data, turns, stored
        super().__init__(config, start, tuning, weights, self._class_shares)
        if simulator is not None:
            self.arrays = simulator
            _check_simulated(config, simulator)

    arrays: Any = None  # the simulator, whose tables and cutouts are large

    @property
    def source(self) -> Numbered | Blend:
        """The stored examples."""
        return self.data.source

    def holding(self, arrays: Any) -> Self:
        """The same task with this simulator."""
        task = copy.copy(self)
        task.arrays = arrays
        return task

    @property
    def identity(self) -> str:
        """Hash of all that the training depends on, the weights that it starts from too."""
        return self._identity

    @cached_property
    def _identity(self) -> str:
        start = {} if self._start is None else tensors_of(self._start)
        return identity_of("cutouts", self.config, self.source.identity, start, self.tuning, self.turns, self._weights,
                           self.arrays, self.stored)

    def example(self, key: Array) -> dict[str, Array]:
        """One simulated example."""
        draw, turn = jax.random.split(key)
        return self.shown(turn, self.row(self.arrays.example(draw)))

    def shown(self, key: Array | None, row: dict[str, Array]) -> dict[str, Array]:
        """One stored example, turned if there is a key."""
        if key is None or not self.turns:
            return row
        element = jax.random.randint(key, (), 0, 8)
        out = row | {"image": turned(element, row["image"])}
        if self.config.values:
            named = {name: row["theta"][k] for k, name in enumerate(self.config.values)}
            moved = turned_truth(element, named)
            out["theta"] = jnp.stack([moved[name] for name in self.config.values])
        return out

    def _class_shares(self) -> np.ndarray:
        """Share of the examples that each class has, as they are shown."""
        shares = self.data.class_shares()
        balanced = isinstance(self.source, Stored) and self.source.classes is not None
        return np.where(shares > 0.0, 1.0, 0.0) / (shares > 0.0).sum() if balanced else shares


def _check_simulated(config: CutoutConfig, simulator: Simulator) -> None:
    """Refuse simulated images of another size or with other truths than the stored ones. Raises ValueError."""
    made = jax.eval_shape(simulator.example, jax.random.key(0))
    wanted = (*config.pixels, len(config.bands))
    if made.image.shape != wanted:
        raise ValueError(f"simulate: images of {made.image.shape} (ny, nx, bands), expected {wanted}, as the stored "
                         "ones")
    if config.classes and len(config.classes) != 2:
        raise ValueError(f"simulate: tells two classes, lensed or not, expected the {len(config.classes)} of the "
                         "stored ones")
    for name in config.values:
        if name not in made.truth:
            raise ValueError(f"simulate: no parameter {name!r} among {', '.join(made.truth)}")


def centred(model: CutoutNet, data: Labelled) -> None:
    """Set what features are centred and scaled by, from some training images, in place."""
    images = data.some(CENTRED)["image"]
    structure, state = nnx.split(model)
    found = np.concatenate([np.asarray(_raw(structure, state, images[k:k + TOGETHER]))
                            for k in range(0, len(images) // TOGETHER * TOGETHER or len(images), TOGETHER)])
    spread = found.std(0)
    typical = float(np.median(spread[spread > 0.0])) if (spread > 0.0).any() else 1.0
    model.centre[...] = jnp.asarray(found.mean(0))
    model.scale[...] = jnp.asarray(np.where(spread > FLAT * typical, spread, typical))


@partial(jax.jit, static_argnums=0)
def _raw(structure: Any, state: Any, images: Array) -> Array:
    return nnx.merge(structure, state).raw(images)
