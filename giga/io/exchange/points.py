"""Points of light behind a lens: other codes say where each image is, so they are found before they are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from giga.lensing.near import located
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.lensing.tracing import trace
from giga.light.point import LensedPoint

APART = 1e-3  # how far from their mean images may be traced to without a word [arcsec]


def with_images(scene: Scene, draws: Scene | None = None) -> tuple[Scene, Scene | None]:
    """The scene, and its draws, with the images of lensed points found in float64, as `LensedPoint.found`.

    Args:
        scene: Of numbers.
        draws: The same with draws along the first axis of free leaves.
    """
    if not _lensed(scene):
        return scene, draws
    leaves, tree = jax.tree.flatten(scene)
    best = _with(scene, _found(tree, leaves, [None] * len(leaves)))
    if draws is None:
        return best, None
    drawn = jax.tree.leaves(draws)
    axes = [0 if np.ndim(many) > np.ndim(one) else None for one, many in zip(leaves, drawn, strict=True)]
    return best, _with(draws, _found(tree, drawn, axes))


def positions(profile: Any) -> tuple[Any, Any]:
    """Where the images of a lensed point are, once found, shape (images,) or (draws, images) [arcsec]."""
    return profile.found[..., 0, :], profile.found[..., 1, :]


def fluxes(profile: Any) -> Any:
    """Flux of each image of such a point, as magnified or its own, shape as above [counts / s]; None if solved."""
    if profile.amp is None or not profile.scalar_amp:
        return profile.amp
    return np.asarray(profile.amp)[..., None] * np.abs(profile.found[..., 2, :])


def with_sources(scene: Scene) -> tuple[Scene, list[str]]:
    """The scene with each lensed point where its images are traced to, in the mean; and how far these lie apart."""
    notes, places = [], []
    for k in _lensed(scene):
        profile: Any = scene.source_light[k]
        plane = scene.planes.light_plane(profile) if isinstance(scene.planes, Planes) else -1
        with jax.enable_x64(True):
            traced = np.asarray(jax.jit(trace)(scene.lenses(plane), *np.asarray([profile.x, profile.y], float)))
        places.append(traced.mean(1))
        if (apart := float(np.hypot(*(traced.T - places[-1]).T).max())) > APART:
            notes.append(f"source_light.{k}: its images are traced to up to {apart:.2g} arcsec from their mean, where "
                         "the source is put")
    lights = list(scene.source_light)
    for k, (x, y) in zip(_lensed(scene), places, strict=True):
        lights[k] = lights[k].replace(center_x=float(x), center_y=float(y))
    return scene.replace(source_light=lights), notes


def _lensed(scene: Scene) -> list[int]:
    return [k for k, profile in enumerate(scene.source_light) if isinstance(profile, LensedPoint)]


def _found(tree: Any, leaves: Sequence[Any], axes: Sequence[int | None]) -> list[np.ndarray]:
    """`LensedPoint.found` of each lensed point, shape (5, images), or (draws, 5, images) where leaves have an axis."""
    def of(leaves: list[Array]) -> list[Array]:
        made: Any = located(jax.tree.unflatten(tree, leaves))
        return [made.source_light[k].found for k in _lensed(made)]

    function = jax.vmap(of, (list(axes),)) if any(axis == 0 for axis in axes) else of
    with jax.enable_x64(True):  # what is written has the digits of a file, whatever the precision of a fit
        return [np.asarray(one) for one in jax.jit(function)([np.asarray(leaf, float) for leaf in leaves])]


def _with(scene: Scene, found: Sequence[np.ndarray]) -> Scene:
    lights = list(scene.source_light)
    for k, one in zip(_lensed(scene), found, strict=True):
        lights[k] = lights[k].replace(found=one)
    return scene.replace(source_light=lights)
