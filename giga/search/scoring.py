"""Networks that tell lenses, as a search uses them: batches of one size, one compiled program, on all devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh

from giga.models.networks.chain import Chain, ModularConfig, Stage, lens_logit, parameters
from giga.models.networks.cutouts import CutoutNet
from giga.models.networks.finder import Finder
from giga.models.zoo import Card, Seen
from giga.runtime import parallel
from giga.simulate.surveys.survey import Survey

LENSES = ("lens", "lenses", "lensed", "arc", "arcs")  # classes that are no others
Scores = Mapping[str, Array]
"""`logit` of a lens, shape (n,), and what else a network says of each cutout, likewise."""


def _chain(model: Chain, images: Array) -> Scores:
    found = model.through(model.config.stretch(images))
    return {"logit": lens_logit(found.logits), **parameters(model.config, found.theta)}


def _stage(model: Stage, images: Array) -> Scores:
    return {"logit": lens_logit(model(model.config.stretch(images)))}


def _finder(model: Finder, images: Array) -> Scores:
    return {"logit": model(model.config.stretch(images))}


def _cutouts(model: CutoutNet, images: Array, lens: int) -> Scores:
    logits = model(images)
    others = np.delete(np.arange(logits.shape[1]), lens)
    return {"logit": logits[:, lens] - jax.nn.logsumexp(logits[:, others], axis=1)}


def lens_class(classes: Sequence[str], asked: str | None = None) -> int:
    """Number of the class that is the lenses: the one asked for, else the one that is called so, else the last.

    Raises:
        ValueError: No such class.
    """
    if asked is not None:
        if asked not in classes:
            raise ValueError(f"got the class {asked!r}; expected one of {', '.join(classes)}")
        return list(classes).index(asked)
    called = [k for k, one in enumerate(classes) if one.casefold() in LENSES]
    return called[0] if len(called) == 1 else len(classes) - 1


@dataclass(frozen=True)
class Images:
    """The images that a network takes.

    Attributes:
        bands: Their names, in order.
        shape: (ny, nx).
        unit: What images are in, which are taken as they are; None is counts / s of a survey.
        pixel_scale: Side of a pixel [arcsec]; None is not known.
        zero_points: Magnitude of one count / s in each band; None is not known.
    """

    bands: tuple[str, ...]
    shape: tuple[int, int]
    unit: str | None = None
    pixel_scale: float | None = None
    zero_points: np.ndarray | None = None


def _of_survey(config: Any) -> Images:
    survey: Survey = config.observed
    ny, nx = survey.shape
    return Images(tuple(band.name for band in survey.bands), (ny, nx), None, float(survey.pixel_scale),
                  np.asarray(survey.zero_points))


class Kind(NamedTuple):
    """A class of networks that tell lenses.

    Attributes:
        scores: What one says of images (n, ny, nx, bands).
        tells: Whether one of a config tells lenses in images as they are observed.
        images: Those that it takes.
    """

    scores: Callable[[Any, Array], Scores]
    tells: Callable[[Any], bool] = lambda config: True
    images: Callable[[Any], Images] = _of_survey


FINDERS: Mapping[type, Kind] = {
    Chain: Kind(_chain),
    Finder: Kind(_finder),
    Stage: Kind(_stage, lambda config: config.stage == "find" and config.input == "noisy"),
    CutoutNet: Kind(partial(_cutouts, lens=-1), lambda config: bool(config.classes),
                    lambda config: Images(config.bands, config.pixels, config.unit)),
}
"""By class of network; which class of one that learned from labelled cutouts is the lenses, `lens_class` says."""


@dataclass(frozen=True, eq=False)
class LensFinder:
    """A network that tells lenses, and the images that it takes.

    Attributes:
        name: In the zoo, or its path.
        sha256: Of its weights.
        images: Those that it takes.
        seen: What it has seen.
        prevalence: Share of lenses in its training, for which its probabilities are.
        network: The network.
        scores: `scores(network, images)`, see `FINDERS`.
        told: The class that is ranked, of all, of a network that has classes of a user's.
    """

    name: str
    sha256: str
    images: Images
    seen: Seen | None
    prevalence: float | None
    network: Any
    scores: Callable[[Any, Array], Scores]
    told: str = ""

    @staticmethod
    def of(name: str, network: Any, card: Card, lenses: str | None = None) -> LensFinder:
        """The finder of a loaded network, whose class `lenses` is ranked; None is as `lens_class` takes it.

        Raises:
            ValueError: A network that tells no lenses in observed images, or that has no such class.
        """
        kind = FINDERS.get(type(network))
        if kind is None or not kind.tells(network.config):
            stage = f" of stage {network.config.stage!r}, shown {network.config.input} images" if isinstance(
                getattr(network, "config", None), ModularConfig) else ""
            raise ValueError(f"{name} is a {card.network}{stage}, which tells no lenses in observed images; expected "
                             f"one of {', '.join(kind.__name__ for kind in FINDERS)}")
        scores, said = kind.scores, ""
        if isinstance(network, CutoutNet):
            classes = network.config.classes
            number = lens_class(classes, lenses)
            scores = partial(_cutouts, lens=number)
            said = f"the class {classes[number]!r} of {', '.join(classes)}"
        elif lenses is not None:
            raise ValueError(f"got the class {lenses!r}; expected none: {name} has no classes of a user's")
        return LensFinder(name, card.sha256, kind.images(network.config), card.seen, card.prevalence, network,
                          scores, said)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in their order."""
        return self.images.bands

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the images."""
        return self.images.shape


class Scorer:
    """Scores batches by one compiled program; the last batch of many is padded.

    Args:
        finder: The network.
        batch: Cutouts of a batch.
        over: Devices that share it; on a CPU one, whose convolutions take all cores.

    Attributes:
        columns: Names of what the network says, `logit` first.
    """

    def __init__(self, finder: LensFinder, batch: int, over: Mesh) -> None:
        self.finder, self.batch = finder, batch
        structure, state = nnx.split(finder.network)
        self._state = parallel.on_devices(state, over)
        self._program = jax.jit(parallel.partitioned(
            lambda state, images: dict(finder.scores(nnx.merge(structure, state), images)), over))
        image = jax.ShapeDtypeStruct((batch, *finder.shape, len(finder.bands)), jnp.float32)
        said = jax.eval_shape(self._program, self._state, image)
        self.columns = tuple(sorted(said, key=lambda name: name != "logit"))

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Score up to a batch of images.

        Args:
            images: Shape (n, ny, nx, bands), n at most the batch, in the finder's unit.

        Returns:
            `logit` and whatever else the network says, shape (n,) each, and `score`, the probability of a lens for a
            sample with the share of lenses of its training.
        """
        n = len(images)
        padded = np.concatenate([images, np.repeat(images[:1], self.batch - n, 0)]) if n < self.batch else images
        found = self._program(self._state, jnp.asarray(padded, jnp.float32))
        out = {name: np.asarray(values, float)[:n] for name, values in found.items()}
        return {"score": np.asarray(jax.nn.sigmoid(out["logit"]), float), **out}
