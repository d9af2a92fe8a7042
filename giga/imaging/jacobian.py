"""Derivatives of the rendered image by parameters, one profile at a time.

Forward mode through the whole renderer would push every parameter's tangent through every profile.
A parameter of a light moves that light alone, and one of a mass moves the source through its
gradient, d I / d p = -(grad I)(beta) . d alpha / d p: the cost is that of each profile's own
parameters, and one PSF convolution a parameter.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from giga.imaging.observation import Data
from giga.imaging.points import point_image
from giga.imaging.render import average, lensed, sampled_at, supersamplings, total
from giga.lensing.near import bare, located, stepped
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.lensing.tracing import trace
from giga.light.point import LensedPoint


def image_jacobian(scene: Scene, columns: Scene, size: int, data: Data, slopes: Scene | None = None) -> Array:
    """Derivatives of the image by numbered parameters.

    Args:
        scene: Scene with numbers on its leaves, amplitudes filled in, in the unit of the data.
        columns: The same tree with a parameter number on each leaf, negative where it is fixed
            (Python integers).
        size: Number of parameters.
        data: The observation.
        slopes: The same tree with the derivative of each leaf by its parameter; None is one everywhere. Where it is
            that of `moving`, points have theirs.

    Returns:
        Shape (size, ny, nx), in the unit of the data per unit of the parameter.
    """
    s, scene = data.convolution.supersampling, located(scene)
    along = moving(scene, columns, jax.tree.map(jnp.ones_like, bare(scene)) if slopes is None else slopes, size)
    image = jnp.zeros((size, *data.grid.shape), data.image.dtype)
    for factor in supersamplings(scene, s):
        phases = _phase_jacobian(scene, columns, along, size, data, factor, s)
        image = image + jax.lax.map(lambda p, factor=factor: data.convolution(average(p, factor, s)), phases)
    for entry in zip(scene.light, columns.light, along.light, strict=True):
        if not entry[0].convolved:
            image = _accumulate(image, *entry, lambda p: p.brightness(*data.grid.coordinates()))
    return image * data.grid.pixel_area


def _phase_jacobian(scene: Scene, columns: Scene, slopes: Scene, size: int, data: Data, factor: int,
                    s: int) -> Array:
    x, y = data.grid.phases(factor)
    out = jnp.zeros((size, *x.shape), x.dtype)

    def at(profiles: Sequence[Any], *others: Sequence[Any]) -> list[Any]:
        return [(part, *entry) for profile, *entry in zip(profiles, *others, strict=True)
                for part in sampled_at(factor, s, [profile])]

    if factor == s:
        out = _of_points(out, scene, columns, slopes, data)
    for profile, mark, slope in at(scene.lens_light, columns.lens_light, slopes.lens_light):
        out = _accumulate(out, profile, mark, slope, lambda p: p.brightness(x, y))
    source = at(scene.source_light, columns.source_light, slopes.source_light)
    if not source:
        return out
    if isinstance(scene.planes, Planes):
        return _through_planes(out, scene, columns, slopes, source, x, y)
    beta_x, beta_y = trace(scene.mass, x, y)
    for profile, mark, slope in source:
        out = _accumulate(out, profile, mark, slope, lambda p: p.brightness(beta_x, beta_y))
    one, zero = jnp.ones_like(x), jnp.zeros_like(x)
    lights = [p for p, *_ in source]
    _, slope_x = jax.jvp(lambda a, b: total(lights, a, b), (beta_x, beta_y), (one, zero))
    _, slope_y = jax.jvp(lambda a, b: total(lights, a, b), (beta_x, beta_y), (zero, one))

    def displaced(profile):
        alpha_x, alpha_y = profile.deflection(x, y)
        return -(slope_x * alpha_x + slope_y * alpha_y)

    for entry in zip(scene.mass, columns.mass, slopes.mass, strict=True):
        out = _accumulate(out, *entry, displaced)
    return out


def _through_planes(out: Array, scene: Scene, columns: Scene, slopes: Scene, source: Sequence[tuple[Any, ...]],
                    x: Array, y: Array) -> Array:
    """The same of several planes, where a mass moves the rays that others bend: forward mode through all of them."""
    at = scene.rays(x, y)
    for profile, mark, slope in source:
        out = _accumulate(out, profile, mark, slope, lambda p, profile=profile: p.brightness(*at(profile)))

    def image(lenses: tuple[Any, Any]) -> Array:
        return lensed([p for p, *_ in source], scene.replace(mass=lenses[0], planes=lenses[1]).rays(x, y))

    return _accumulate(out, (scene.mass, scene.planes), (columns.mass, columns.planes), (slopes.mass, slopes.planes),
                       image)


def moving(scene: Scene, columns: Scene, slopes: Scene, size: int) -> Scene:
    """Slopes with the derivatives of the images of lensed points by all parameters, once for all observations.

    Args:
        scene: A scene that is `located`.
        columns, slopes, size: See `image_jacobian`.

    Returns:
        The slopes, with shape (size, 5, images) as `LensedPoint.found` of each; a scene without such has none.
    """
    def of(profile: Any, mark: Any, slope: Any) -> Any:
        if not isinstance(profile, LensedPoint) or slope.found is not None:
            return slope
        found = profile.found
        tree, numbers, steps = ((tree.mass, tree.planes, point.replace(amp=None, found=None))
                                for tree, point in ((scene, profile), (columns, mark), (slopes, slope)))
        by_all = _accumulate(jnp.zeros((size, *found.shape), found.dtype), tree, numbers, steps,
                             lambda tree: stepped(scene.replace(mass=tree[0], planes=tree[1]), tree[2], found[3:].T))
        return slope.replace(found=by_all)

    every = zip(scene.source_light, columns.source_light, slopes.source_light, strict=True)
    return slopes.replace(source_light=[of(*entry) for entry in every])


def _of_points(out: Array, scene: Scene, columns: Scene, slopes: Scene, data: Data) -> Array:
    """The same of points, whose images masses and planes move, too."""
    def image(profile: Any) -> Array:
        return point_image(profile, data.grid, data.convolution.supersampling)

    for profile, mark, slope in zip(scene.light, columns.light, slopes.light, strict=True):
        if isinstance(profile, LensedPoint) and isinstance(slope, LensedPoint):
            numbers = sorted({n for n in jax.tree.leaves((columns.mass, columns.planes, mark.replace(amp=None)))
                              if n >= 0})

            def along(motion: Array, profile: LensedPoint = profile) -> Array:
                return jax.jvp(lambda found: image(profile.replace(found=found)), (profile.found,), (motion,))[1]

            if numbers:
                rows = jnp.array(numbers)
                out = out.at[rows].add(jax.vmap(along)(slope.found[rows]))
            out = _accumulate(out, profile.amp, mark.amp, slope.amp,
                              lambda amp, profile=profile: image(profile.replace(amp=amp)))
        elif profile.is_point:
            out = _accumulate(out, profile, mark, slope, image)
    return out


def _accumulate(out: Array, profile: Any, mark: Any, slope: Any, image) -> Array:
    """Add the derivative of `image(profile)` by each of the profile's free leaves to its column."""
    leaves, treedef = jax.tree.flatten(profile)
    numbers = jax.tree.leaves(mark)
    if len(numbers) != len(leaves):
        raise ValueError(f"{type(profile).__name__}: {len(leaves)} leaves, but {len(numbers)} parameter numbers")
    free = [k for k, number in enumerate(numbers) if number >= 0]
    if not free:
        return out

    def of(values):
        filled = list(leaves)
        for k, value in zip(free, values, strict=True):
            filled[k] = value
        return image(jax.tree.unflatten(treedef, filled))

    primals = [leaves[k] for k in free]
    steps = [jax.tree.leaves(slope)[k] for k in free]

    def column(direction: Array) -> Array:
        return jax.jvp(of, (primals,), ([direction[i] * step for i, step in enumerate(steps)],))[1]

    tangents = jax.vmap(column)(jnp.eye(len(free), dtype=out.dtype))
    return out.at[jnp.array([numbers[k] for k in free])].add(tangents)
