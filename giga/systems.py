"""The systems that `giga train` knows by name: what each simulates, which network it trains, what its card says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from giga.io.tables import to_table
from giga.models.count import operations
from giga.models.ggsl import GGSLConfig, GGSLTask, Separator, evaluate
from giga.models.task import Task
from giga.simulate.ggsl import EMPTY


@dataclass(frozen=True)
class System:
    """A kind of task that a configuration can describe.

    Attributes:
        config: Frozen dataclass of the section [system], without its `name`.
        task: Makes the task of a config.
        card: What a config settles of the card of its weights: `network`, `config`, `flops`, `limits`, and `prevalence`
            where it means something; see `giga.models.zoo.Card`.
        evaluate: `evaluate(config, model, images, seed)`, what a network makes of test sets: numbers by set and name.
    """

    config: type
    task: Callable[[Any], Task]
    card: Callable[[Any], Mapping[str, Any]]
    evaluate: Callable[[Any, Any, int, int], Mapping[str, Mapping[str, float]]]


def _separator_card(config: GGSLConfig) -> dict[str, Any]:
    survey, bands = config.observed, len(config.observed.bands)
    image = jax.ShapeDtypeStruct((1, *survey.shape, bands), jnp.float32)
    graph, state = nnx.split(nnx.eval_shape(lambda: Separator(config, rngs=nnx.Rngs(0))))
    flops = operations(lambda state, image: nnx.merge(graph, state)(image, jnp.ones((1, 1, 1, 1))), state, image)
    return dict(network="Separator", config=to_table(config), flops=flops, prevalence=1.0 - EMPTY, limits=(
        f"Trained on simulations of {survey.name} alone: Sersic galaxies, {survey.pixel_scale} arcsec a pixel, bands "
        f"{', '.join(band.name for band in survey.bands)}, one PSF; real images were in no training or test set.",
        "Fluxes are measured where light outshines the noise; wings below it go to the noise.",
        "A spiral arm, a ring galaxy or a satellite near the deflector can be taken for a source."))


SYSTEMS: dict[str, System] = {
    "ggsl-unet": System(GGSLConfig, GGSLTask, _separator_card, evaluate),
}
"""By the name in `[system] name = ...`; a new system is a line here."""
