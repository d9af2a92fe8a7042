"""From the configurations of finders in clusters to their tasks, their test sets and their cards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from giga.io.clusters.fields import load_field
from giga.io.configuration.collett import read_collett
from giga.io.errors import InputError, nearest
from giga.io.images.cutouts import read_cutouts
from giga.io.tables import above, at_least, to_table
from giga.models.networks.count import count
from giga.models.networks.finder import NETWORKS, SIZES, Finder, FinderConfig
from giga.models.systems import arcs
from giga.models.systems.finder import LENSED, FinderTask, evaluate, make_simulator
from giga.models.systems.measured import Measured
from giga.models.zoo import Seen
from giga.simulate.generator import Examples
from giga.simulate.inject import Backdrop
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys.noise import Noise
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.cluster_arcs import THETA_E
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


@dataclass(frozen=True)
class ArcFinderConfig:
    """Section [system] of `name = "arc-finder"`: the network, and the clusters with arcs that it learns from.

    Raises:
        InputError: A value that is not one of those allowed.
    """

    network: str = "resnet18"  # or "vgg", "sc-vgg", "shielded"
    size: str = "small"  # or "paper"
    survey: str = "legacy-clusters-540mas"  # a preset with some of the bands g, r and z
    bands: tuple[str, ...] = ()  # of it; none is all
    pixels: int = at_least(0, 0)  # side of an image; 0 is the survey's
    theta_E: float = above(0.0, THETA_E)  # least Einstein radius [arcsec]
    members: int = at_least(0, 12)  # most galaxies beside the brightest
    impostors: float = 0.5  # share of what is no lens with a further galaxy of an arc's magnitude
    mimics: float = 0.0  # share of what is no lens in training that has a mimic of an arc
    sources: Path | None = None  # table of Collett (2015), in the place of fits to one
    backgrounds: tuple[Path, ...] = ()  # cutouts of clusters that arcs are added to: a file or folder, or one a band
    pixel_scale: float | None = above(0.0, None)  # of those without a WCS [arcsec]
    zero_points: tuple[float, ...] = ()  # of those, one a band; none are the survey's
    dtype: str = "float32"  # of the activations, or "bfloat16"

    def __post_init__(self) -> None:
        for field, allowed in (("network", NETWORKS), ("size", SIZES), ("survey", tuple(SURVEYS)),
                               ("dtype", ("float32", "bfloat16"))):
            if (value := getattr(self, field)) not in allowed:
                raise InputError("", field, f"got {value!r}", nearest(value, allowed))
        for field in ("impostors", "mimics"):
            if not 0.0 <= getattr(self, field) <= 1.0:
                raise InputError("", field, f"got {getattr(self, field)}", "a share from 0 to 1")
        if (self.pixel_scale or self.zero_points) and not self.backgrounds:
            raise InputError("", "pixel_scale" if self.pixel_scale else "zero_points", "given without backgrounds",
                             "cutouts of clusters, whose it is")
        try:
            bands = len(self.finder.observed.bands)
        except ValueError as error:
            field, _, seen = str(error).partition(": ")
            raise InputError("", field, seen or field) from error
        if len(self.zero_points) not in (0, bands):
            raise InputError("", "zero_points", f"{len(self.zero_points)} values", f"{bands}, one a band")

    @property
    def finder(self) -> FinderConfig:
        """The network's own configuration, which goes with its weights."""
        return FinderConfig(network=self.network, size=self.size, survey=self.survey, bands=self.bands,
                            pixels=self.pixels, dtype=self.dtype)


def arc_survey(config: ArcFinderConfig) -> Survey:
    """Whose images a finder of arcs takes."""
    return config.finder.observed


def arc_shape(config: ArcFinderConfig) -> tuple[int, int, int]:
    """Shape (ny, nx, bands) of the images of a finder of arcs."""
    observed = arc_survey(config)
    return (*observed.shape, len(observed.bands))


def arc_task(config: ArcFinderConfig, noise: Noise | None = None) -> arcs.ArcTask:
    """The task of a configuration. Raises InputError."""
    try:
        # Without any the task has the identity that it had before there were mimics.
        mimics: dict[str, Any] = {"mimics": config.mimics} if config.mimics else {}
        return arcs.ArcTask(config.finder, **_drawn(config, noise), **mimics)
    except InputError:
        raise
    except ValueError as error:
        field, _, seen = str(error).partition(": ")
        raise InputError("", field, seen or field) from error


def arc_measure(config: ArcFinderConfig, model: Any, images: int, seed: int,
                noise: Noise | None = None) -> Mapping[str, Measured]:
    """What a finder of arcs makes of test sets: see `giga.models.systems.finder.evaluate`, and as "mimics" what
    `giga.models.systems.arcs.evaluate_mimics` tells. The first two have no mimics, so that networks that were trained
    with mimics and without compare. Raises InputError."""
    drawn = _drawn(config, noise)
    sets = evaluate(config.finder, model, images, seed,
                    lambda shifted: arcs.make_simulator(config.finder, shifted, **drawn), bins=arcs.BINS)
    made = arcs.make_mimics(config.finder, **drawn)
    return sets | {"mimics": arcs.evaluate_mimics(config.finder, model, images, seed, made, sets["mock"])}


def arc_card(config: ArcFinderConfig) -> dict[str, Any]:
    """What a configuration settles of the card of its weights."""
    own = config.finder
    cost = count(lambda: Finder(own, rngs=nnx.Rngs(0)), arc_shape(config))
    clusters = "simulated arcs in the cutouts of its recipe" if config.backgrounds else (
        "rendered clusters: NFW halos, Sersic galaxies on a red sequence, Gaussian PSFs")
    settled = dict(network="Finder", config=to_table(own), flops=cost.forward, prevalence=LENSED, seen=Seen.of(own))
    return settled | dict(limits=(
        f"Trained on {clusters}, in the noise of {own.survey}; real lenses were in no training or test set.",
        "Cutouts have the brightest galaxy of a cluster in the middle; others are not what it was trained for.",
        f"Einstein radii above {config.theta_E:g} arcsec, and sources to r = 28, so that a part of its arcs shows "
        "nothing to the eye.",
        (f"Of what is no lens in training {config.mimics:.0%} had a rendered spiral, ring, merger, pair, edge-on disc "
         "or ghost; the test set \"mimics\" has others of the same kinds, so it tells nothing of kinds not seen. "
         if config.mimics else
         "Spirals, rings, mergers, pairs, edge-on discs and ghosts were in no training set; the test set \"mimics\" "
         "has rendered ones. ") + "Tidal streams were in neither."))


def _drawn(config: ArcFinderConfig, noise: Noise | None) -> dict[str, Any]:
    """What simulators of a configuration are made with. Raises InputError."""
    drawn: dict[str, Any] = dict(theta_E=config.theta_E, members=config.members, impostors=config.impostors,
                                 catalogue=_sources(config.sources), noise=noise)
    if not config.backgrounds:
        return drawn
    if noise is not None:
        raise InputError("", "backgrounds", "given beside [noise]", "one of them: cutouts have their own noise")
    return drawn | dict(light=False, noise=_backdrop(config))


def _sources(path: Path | None) -> Catalogue | None:
    return None if path is None else read_collett(path)


def _backdrop(config: ArcFinderConfig) -> Backdrop:
    """The cutouts that arcs are added to. Raises InputError."""
    survey = arc_survey(config)
    images = read_cutouts(config.backgrounds, survey, config.pixel_scale, rates=not config.zero_points)
    if config.zero_points:
        images = images * 10.0 ** (0.4 * (survey.zero_points - np.asarray(config.zero_points))).astype(np.float32)
    try:
        return Backdrop.of(images, survey.shape, photon=survey.photon)
    except ValueError as error:
        raise InputError(config.backgrounds[0], "backgrounds", str(error),
                         "cutouts of clusters, all pixels finite") from error
