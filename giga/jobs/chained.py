"""A chain of the zoo on images of one's own: is it a lens, which, and how it looks without noise and deflector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from giga.models.networks.chain import Chain


@dataclass(frozen=True)
class Analysis:
    """What a chain makes of an image.

    Attributes:
        lens: Probability that it is a lens, where half of the images are.
        parameters: By name, see `giga.models.networks.chain.parameters`; they mean something where it is a lens.
        parts: "denoised" and "source", shape (ny, nx, bands) [counts / s].
    """

    lens: float
    parameters: dict[str, float]
    parts: dict[str, np.ndarray]


def analyse(model: Chain, image: np.ndarray) -> Analysis:
    """Take one image through a chain, by one compiled program for all images.

    Args:
        model: The chain.
        image: Shape (ny, nx, bands) [counts / s of its survey].
    """
    denoised, source, logit, found = _through(*nnx.split(model), jnp.asarray(image, jnp.float32)[None])
    return Analysis(float(jax.nn.sigmoid(logit[0])), {name: float(value[0]) for name, value in found.items()},
                    {"denoised": np.asarray(denoised[0], float), "source": np.asarray(source[0], float)})


@partial(jax.jit, static_argnums=0)
def _through(structure: Any, state: Any, images: Array) -> tuple[Array, Array, Array, dict[str, Array]]:
    return nnx.merge(structure, state)(images)
