"""Features of cutouts by a network of the zoo: what a head is trained on, computed once and kept."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from giga.io.errors import InputError
from giga.io.grading.folder import Graded, read_folder, truth_of
from giga.io.images.cube import read_cube
from giga.io.results.shards import SUFFIXES, read_shard
from giga.models.networks.chain import Chain
from giga.models.networks.finder import Finder
from giga.models.networks.posterior import PosteriorNet
from giga.models.networks.vgg import SingleChannelVGG
from giga.models.zoo import ZooError, load
from giga.runtime.atomic import write_bytes

TOGETHER = 64  # cutouts of one compiled call
UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class Sample:
    """Cutouts as a head sees them.

    Attributes:
        names: Their names.
        features: Shape (n, d).
        labels: 1 for a lens, 0 for none, -1 where it is not known, shape (n,).
    """

    names: tuple[str, ...]
    features: np.ndarray
    labels: np.ndarray


def _chain(model: Chain, images: Array) -> Array:
    """What the finder and the measurer of a chain see, of the source behind the deflector."""
    source = model.deblend(model.denoise(model.config.stretch(images)))
    return jnp.concatenate([_trunk(model.find, source), _trunk(model.measure, source)], -1)


def _trunk(stage: Any, images: Array) -> Array:
    return stage.network.trunk(images)


def _finder(model: Finder, images: Array) -> Array:
    """What a finder sees before its last layer; of a network a band, of each."""
    seen = model.config.stretch(images)
    if isinstance(model.network, SingleChannelVGG):
        return jnp.concatenate([branch(seen[..., k:k + 1]) for k, branch in enumerate(model.network.branches)], -1)
    return _trunk(model, seen)


FEATURES: dict[type, tuple[Callable[[Any, Array], Array], Callable[[Any], tuple[tuple[str, ...], tuple[int, int]]]]] = {
    Chain: (_chain, lambda config: (tuple(config.bands), tuple(config.observed.shape))),
    PosteriorNet: (lambda model, images: model.features(images), lambda config: (tuple(config.bands),
                                                                                 tuple(config.shape))),
    Finder: (_finder, lambda config: (tuple(band.name for band in config.observed.bands), config.observed.shape)),
}
"""By class of network: features of images (n, ny, nx, bands), and the bands and the shape that a config takes."""


class Extractor:
    """A network of the zoo that gives features.

    Raises:
        InputError: A model that is not there, or that gives none.
    """

    def __init__(self, model: str):
        try:
            network, self.card = load(model)
        except ZooError as error:
            raise InputError("", "--model", str(error)) from error
        if type(network) not in FEATURES:
            raise InputError("", "--model", f"{model} is a {self.card.network}",
                             f"one of {', '.join(kind.__name__ for kind in FEATURES)}")
        features, takes = FEATURES[type(network)]
        self.name, (self.bands, self.shape) = model, takes(network.config)
        self._graph, self._state = nnx.split(network)
        self._features = jax.jit(partial(_forward, self._graph, features))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images of shape (n, ny, nx, bands), shape (n, d)."""
        out = []
        for start in range(0, len(images), TOGETHER):
            part = np.asarray(images[start:start + TOGETHER], np.float32)
            full = np.concatenate([part, np.zeros((TOGETHER - len(part), *part.shape[1:]), np.float32)])
            out.append(np.asarray(self._features(self._state, full))[:len(part)])
        return np.concatenate(out)


def _forward(graph: Any, features: Callable[[Any, Array], Array], state: Any, images: Array) -> Array:
    return features(nnx.merge(graph, state), images)


def sample(path: Path, extractor: Extractor, kept: Path, labelled: bool = False) -> Sample:
    """Features of a folder of cutouts, or of shards; those that were computed before are read.

    Args:
        path: A folder as `giga.io.grading.folder.read_folder` takes it, whose truths are in the column `truth` or
            `label`; or a shard of `giga simulate` (.h5, .fits), or a folder of such (.h5).
        extractor: Network.
        kept: File that keeps them, .npz.
        labelled: Refuse cutouts without a truth.

    Raises:
        InputError: A cutout that cannot be used, a label that is none, features of other cutouts or of another network.
    """
    names, labels, batches = _listed(path, extractor)
    if labelled and (labels < 0).any():
        raise InputError(path, names[int((labels < 0).argmax())], "no label", "a column truth or label with 1 or 0")
    about = np.array([extractor.card.sha256, *names])
    if kept.is_file():
        with np.load(kept, allow_pickle=False) as file:
            if not np.array_equal(file["about"], about):
                raise InputError(kept, "", "features of other cutouts, or of another network",
                                 "another --out, or the cutouts and the model that it was begun with")
            return Sample(names, file["features"], labels)
    features = np.concatenate([extractor(images) for images in batches()])
    bad = ~np.isfinite(features).all(1)
    if bad.any():
        raise InputError(path, names[int(bad.argmax())], "its features are not finite", "an image with finite pixels")
    buffer = io.BytesIO()
    np.savez(buffer, about=about, features=features)
    write_bytes(kept, buffer.getvalue())
    return Sample(names, features, labels)


def _listed(path: Path, extractor: Extractor) -> tuple[tuple[str, ...], np.ndarray,
                                                       Callable[[], Iterator[np.ndarray]]]:
    """Names, labels, and what reads the images."""
    shards = [path] if path.is_file() else sorted(p for p in path.glob("*.h5")) if path.is_dir() else []
    if shards:
        if any(shard.suffix not in SUFFIXES.values() for shard in shards):
            raise InputError(path, "", f"a name that ends in {path.suffix!r}", "a folder, or a shard of giga simulate")
        batches = [read_shard(shard) for shard in shards]
        for shard, batch in zip(shards, batches, strict=True):
            if batch.image.shape[1:] != (*extractor.shape, len(extractor.bands)):
                raise InputError(shard, "image", f"shape {batch.image.shape[1:]}",
                                 f"{(*extractor.shape, len(extractor.bands))}, which {extractor.name} takes")
        labels = np.concatenate([np.asarray(batch.label, int) for batch in batches])
        names = tuple(f"{shard.stem}-{k}" for shard, batch in zip(shards, batches, strict=True)
                      for k in range(len(batch.label)))
        return names, labels, lambda: (np.asarray(batch.image) for batch in batches)
    graded = read_folder(path).graded
    truths = [truth_of(path, k, one) for k, one in enumerate(graded)]
    labels = np.array([UNKNOWN if truth is None else int(truth not in ("no lens", "X")) for truth in truths])

    def images() -> Iterator[np.ndarray]:
        for start in range(0, len(graded), TOGETHER):
            yield np.stack([_image(one, extractor) for one in graded[start:start + TOGETHER]])

    return tuple(one.item.name for one in graded), labels, images


def _image(one: Graded, extractor: Extractor) -> np.ndarray:
    return read_cube(one.files[:1], extractor.bands).to_shape(extractor.shape, "crop").image
