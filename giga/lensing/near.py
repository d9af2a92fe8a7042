"""Images of a point source near where they were seen: Newton's method alone, for what is rendered in a fit.

They are found once for a scene, `located`, whatever number of bands, bases and derivatives is made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from giga.lensing.images import DESCENT, newton, newton_step
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.lensing.tracing import magnification
from giga.light.base import LightProfile
from giga.light.point import LensedPoint
from giga.mass.base import MassProfile

REACH = 0.2  # longest step from where an image was seen [arcsec]


class Near(NamedTuple):
    """Images of a source near places where they were seen, shape (n,) each.

    Attributes:
        x, y: Positions [arcsec].
        magnification: Signed.
        settled: Whether it is an image. Another is where one Newton step leads from where it was seen.
        start: Where the last step began, which has all derivatives, shape (n, 2) [arcsec].
    """

    x: Array
    y: Array
    magnification: Array
    settled: Array
    start: Array


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
    start = jnp.where(settled[:, None], points, seen)
    return Near(*_one_step(mass, beta, start), settled, start)


def _one_step(mass: Sequence[MassProfile], beta: Array, start: Array) -> tuple[Array, Array, Array]:
    """Newton's last step, whose derivative by lens and source is that of the image, and the magnification there."""
    step_x, step_y, _ = newton_step(list(mass), beta, start[:, 0], start[:, 1])
    x, y = start[:, 0] + step_x, start[:, 1] + step_y
    return x, y, magnification(mass, x, y)


def located(scene: Scene) -> Scene:
    """The scene with the images of its lensed points found, as `LensedPoint.found`; those that are stay."""
    def of(profile: LightProfile) -> LightProfile:
        if not isinstance(profile, LensedPoint) or profile.found is not None:
            return profile
        near = images_near(_lenses(scene, profile), profile.center_x, profile.center_y, profile.x, profile.y)
        return profile.replace(found=jnp.stack([near.x, near.y, near.magnification, *near.start.T]))

    return _with_points(scene, of)


def bare(scene: Scene) -> Scene:
    """The scene as it was before `located`."""
    return _with_points(scene, lambda p: p.replace(found=None) if isinstance(p, LensedPoint) else p)


def stepped(scene: Scene, profile: LensedPoint, start: Array) -> Array:
    """`LensedPoint.found` of a lensed point by the last step alone, which begins at `start`, shape (n, 2)."""
    beta = jnp.stack([jnp.asarray(profile.center_x, start.dtype), jnp.asarray(profile.center_y, start.dtype)])
    return jnp.stack([*_one_step(_lenses(scene, profile), beta, start), *start.T])


def _lenses(scene: Scene, profile: LensedPoint) -> Sequence[MassProfile]:
    """The masses as a lensed point sees them."""
    return scene.lenses(scene.planes.light_plane(profile)) if isinstance(scene.planes, Planes) else scene.mass


def _with_points(scene: Scene, change: Callable[[LightProfile], LightProfile]) -> Scene:
    if not any(isinstance(profile, LensedPoint) for profile in scene.source_light):
        return scene
    return scene.replace(source_light=[change(profile) for profile in scene.source_light])
