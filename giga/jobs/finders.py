"""From the configuration of a finder in clusters to its task, its test sets and its card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flax import nnx

from giga.io.clusters.fields import load_field
from giga.io.errors import InputError, nearest
from giga.io.tables import to_table
from giga.models.networks.count import count
from giga.models.networks.finder import NETWORKS, SIZES, Finder, FinderConfig
from giga.models.systems.finder import LENSED, FinderTask, evaluate, make_simulator
from giga.models.systems.measured import Measured
from giga.models.zoo import Seen
from giga.simulate.generator import Examples
from giga.simulate.surveys.noise import Noise
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.cluster_fields import ClusterField


@dataclass(frozen=True)
class ClusterFinderConfig:
    """Section [system] of `name = "cluster-finder"`: the network, and the clusters that it learns from.

    Raises:
        InputError: No cluster, or a value that is not one of those allowed.
    """

    clusters: tuple[Path, ...] = ()  # prepared ones, see giga.io.clusters.fields
    other: tuple[Path, ...] = ()  # those of the shifted set; empty takes the same
    network: str = "sc-vgg"  # or "vgg", "resnet18", "shielded"
    size: str = "small"  # or "paper"
    survey: str = "hst-hff-60mas"  # a preset, of the shape and pixel scale of the clusters
    others: float = 0.3  # share of what is no lens that is about any member; the rest is about galaxies that could lens
    behind: float = 0.5  # share of images with a galaxy further away that is seen once
    dtype: str = "float32"  # of the activations, or "bfloat16"

    def __post_init__(self) -> None:
        if not self.clusters:
            raise InputError("", "clusters", "none", "one or more prepared clusters")
        for field, allowed in (("network", NETWORKS), ("size", SIZES), ("survey", tuple(SURVEYS)),
                               ("dtype", ("float32", "bfloat16"))):
            if (value := getattr(self, field)) not in allowed:
                raise InputError("", field, f"got {value!r}", nearest(value, allowed))
        for field in ("others", "behind"):
            if not 0.0 <= getattr(self, field) <= 1.0:
                raise InputError("", field, f"got {getattr(self, field)}", "a share from 0 to 1")

    @property
    def finder(self) -> FinderConfig:
        """The network's own configuration, which goes with its weights."""
        return FinderConfig(network=self.network, size=self.size, survey=self.survey, dtype=self.dtype)


def survey(config: ClusterFinderConfig) -> Survey:
    """Whose images a finder takes."""
    return config.finder.observed


def shape(config: ClusterFinderConfig) -> tuple[int, int, int]:
    """Shape (ny, nx, bands) of the images of a finder."""
    observed = survey(config)
    return (*observed.shape, len(observed.bands))


def task(config: ClusterFinderConfig, noise: Noise | None = None) -> FinderTask:
    """The task of a configuration. Raises InputError."""
    field, other = _fields(config.clusters), _fields(config.other) if config.other else None
    try:
        return FinderTask(config.finder, field, other, noise=noise, others=config.others, behind=config.behind)
    except ValueError as error:
        raise InputError(config.clusters[0], "clusters", str(error)) from error


def measure(config: ClusterFinderConfig, model: Any, images: int, seed: int,
            noise: Noise | None = None) -> Mapping[str, Measured]:
    """What a finder makes of test sets, see `giga.models.systems.finder.evaluate`. Raises InputError."""
    fields = {False: _fields(config.clusters), True: _fields(config.other or config.clusters)}

    def make(shifted: bool) -> Examples:
        return make_simulator(config.finder, fields[shifted], shifted, noise=noise, others=config.others,
                              behind=config.behind)

    return evaluate(config.finder, model, images, seed, make)


def card(config: ClusterFinderConfig) -> dict[str, Any]:
    """What a configuration settles of the card of its weights."""
    own = config.finder
    names = ", ".join(path.stem for path in config.clusters)
    cost = count(lambda: Finder(own, rngs=nnx.Rngs(0)), shape(config))
    settled = dict(network="Finder", config=to_table(own), flops=cost.forward, prevalence=LENSED, seen=Seen.of(own))
    return settled | dict(limits=(
        f"Trained on sources injected into the models of {names}, with members rendered as Sersic galaxies in the "
        f"noise of {own.survey}; real images were in no training or test set.",
        "Cutouts have a cluster member in the middle, to 0.24 arcsec; others are not what it was trained for.",
        "Einstein radii from 0.2 to 3.5 arcsec and sources to F814W = 29: a third of its lenses show nothing to the "
        "eye, so its completeness is not that of lenses that people would find.",
        "Spirals, rings, mergers and ghosts were not seen; a galaxy behind that is seen once, and late types of one "
        "Sersic profile, were."))


def _fields(paths: tuple[Path, ...]) -> ClusterField:
    fields = [load_field(path) for path in paths]
    try:
        return ClusterField.join(fields)
    except ValueError as error:
        raise InputError(paths[0], "clusters", str(error)) from error

