"""Images of a point source near where they were seen: Newton's method alone, for what is rendered in a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from giga.lensing.images import DESCENT, newton, newton_step
from giga.lensing.tracing import magnification
from giga.mass.base import MassProfile

REACH = 0.2  # longest step from where an image was seen [arcsec]


class Near(NamedTuple):
    """Images of a source near places where they were seen, shape (n,) each.

    Attributes:
        x, y: Positions [arcsec].
        magnification: Signed.
        settled: Whether it is an image. Another is where one Newton step leads from where it was seen.
    """

    x: Array
    y: Array
    magnification: Array
    settled: Array


def images_near(mass: Sequence[MassProfile], beta_x: Array | float, beta_y: Array | float, x: Any, y: Any) -> Near:
    """The images of a point source by Newton's method from where each was seen, with exact derivatives.

    Args:
        mass: Masses, as the source sees them (`Scene.lenses`).
        beta_x, beta_y: Position of the source [arcsec].
        x, y: Where the images were seen, shape (n,) [arcsec].
    """
    dtype = jnp.result_type(float, *(jnp.asarray(leaf).dtype for leaf in jax.tree.leaves((list(mass), beta_x, beta_y))))
    seen = jnp.stack([jnp.asarray(x, dtype), jnp.asarray(y, dtype)], -1)
    beta = jnp.stack([jnp.asarray(beta_x, dtype), jnp.asarray(beta_y, dtype)])
    lens, source = jax.lax.stop_gradient((list(mass), beta))
    points, settled, _ = newton(lens, source, seen, jnp.asarray(10.0 * REACH, dtype), DESCENT)
    at = jnp.where(settled[:, None], points, seen)
    # One step more, whose derivative by lens and source is that of the image.
    step_x, step_y, _ = newton_step(list(mass), beta, at[:, 0], at[:, 1])
    x, y = at[:, 0] + step_x, at[:, 1] + step_y
    return Near(x, y, magnification(mass, x, y), settled)
