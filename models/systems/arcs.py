"""Finders of giant arcs in clusters: what they are trained on, and how they are measured."""

from __future__ import annotations

from typing import Any

from giga.models.networks.finder import FinderConfig
from giga.models.systems.finder import FinderTask
from giga.runtime.identity import identity_of
from giga.simulate.generator import Examples, simulator
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys import shifted as other_world
from giga.simulate.surveys.noise import CameraNoise, Noise
from giga.simulate.systems.cluster_arcs import cluster_arcs

SUPERSAMPLING = 2
BINS = {"fnr_mag": ("mag", (21.0, 23.0, 24.0, 25.0, 28.0), True),
        "fnr_theta_E": ("theta_E", (5.0, 6.0, 8.0, 12.0, 40.0), True),
        "fnr_z": ("z", (0.5, 1.0, 1.5, 2.5, 5.0), True), "fnr_kind": ("kind", (-0.5, 0.5, 1.5, 2.5), True),
        "fnr_r_e": ("r_e", (0.0, 0.15, 0.3, 0.6, 1.7), True),
        "fpr_z_lens": ("z_lens", (0.1, 0.3, 0.5, 0.7, 1.04), False)}
"""Properties that rates of errors are measured against, see `giga.models.systems.finder.BINS`."""


def make_simulator(config: FinderConfig, shifted: bool = False, noise: Noise | None = None,
                   catalogue: Catalogue | None = None, **population: Any) -> Examples:
    """The simulator of a finder of arcs.

    Args:
        config: Survey and size of the images.
        shifted: What the network has not been trained for: Moffat PSFs that are a quarter wider, noise that is
            correlated between pixels, sources with clumps.
        noise: In the place of the camera's, for what is not shifted; images of real clusters, of `Backdrop`, for both.
        catalogue: Of sources, see `giga.simulate.systems.cluster_arcs.cluster_arcs`.
        population: Its other settings. With `light=False` the noise has to bring the clusters.
    """
    survey, real = config.observed, not population.get("light", True)
    if shifted:
        psfs, noise = other_world.psfs(survey, SUPERSAMPLING), noise if real else other_world.noise(survey)
        population = {**population, "clumps": other_world.CLUMPS}
    else:
        psfs = survey.psfs(SUPERSAMPLING)
    drawn = cluster_arcs(survey, catalogue=catalogue, **population)
    return simulator(drawn, survey.grid, psfs, CameraNoise.of(survey) if noise is None else noise)


class ArcTask(FinderTask):
    """What `giga.models.training.train` needs to train a finder of arcs.

    Args:
        config: Network and images.
        noise, catalogue, population: See `make_simulator`.
    """

    def __init__(self, config: FinderConfig, noise: Noise | None = None, catalogue: Catalogue | None = None,
                 **population: Any):
        self.config, self.made_of = config, ("arcs", noise, population)
        self.simulator = make_simulator(config, False, noise, catalogue, **population)
        self.other = make_simulator(config, True, noise, catalogue, **population)

    @property
    def identity(self) -> str:
        """Hash of the configuration, its survey, the populations and their noise."""
        return identity_of("finder", self.config, self.config.observed, *self.made_of, self.simulator, self.other)
