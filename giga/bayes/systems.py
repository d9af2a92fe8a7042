"""Likelihood of many systems of images behind one lens plane, such as a cluster's: one evaluation for all images.

All masses lie on one plane, so a deflection is evaluated once an image, and each source sees it times its own
D_ls / D_s. The arithmetic of one system is that of `giga.bayes.points`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.points import LOG_TWO_PI, PointTerm
from giga.component import AnyArray, Component, static
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.lensing.tracing import deflection, jacobian
from giga.mass.base import MassProfile
from giga.mass.members import gathered

Ladder = Literal["source", "image"]
NEWTON = 6  # steps from where an image was seen
LEAST = 0.05  # inverse of the largest stretch with which an image tells where its source is
REACH = 2.0  # longest step [arcsec]
SETTLED = {"float32": 1e-3, "float64": 1e-6}  # longest last step of an image, of which the next is the square [arcsec]


class SystemImages(Component):
    """Positions of the images of many sources. Make it with `SystemImages.of`, which checks it.

    Attributes:
        x, y: Positions, shape (n,) [arcsec].
        sigma: Standard deviation of each coordinate, shape (n,) [arcsec].
        system: Number of the source of each image, in `Planes.sources`.
    """

    x: AnyArray
    y: AnyArray
    sigma: AnyArray
    system: tuple[int, ...] = static()

    @staticmethod
    def of(x: Any, y: Any, sigma: Any, system: Sequence[int]) -> SystemImages:
        """Check positions and put them together; a standard deviation may be one number for all.

        Raises:
            ValueError: Numbers that are not finite, shapes that do not fit, a standard deviation that is not positive,
                a system of fewer than two images, or with two at one place.
        """
        count = np.size(x)
        out = {"x": np.asarray(x, float), "y": np.asarray(y, float),
               "sigma": np.broadcast_to(np.asarray(sigma, float), (count,))}
        for name, values in out.items():
            if values.shape != (count,) or not count:
                raise ValueError(f"{name}: got shape {values.shape}; expected ({max(count, 1)},)")
            if not np.isfinite(values).all():
                raise ValueError(f"{name}: {np.sum(~np.isfinite(values))} of {count} are not finite; expected numbers")
        if not (out["sigma"] > 0.0).all():
            raise ValueError(f"sigma: got {np.min(out['sigma']):g}; expected standard deviations above 0")
        if len(system) != count or min(system) < 0:
            raise ValueError(f"system: got {len(system)} numbers; expected {count}, from 0")
        counts = np.bincount(np.asarray(system))
        if (counts < 2).any():
            k = int(np.argmin(counts))
            raise ValueError(f"system: got {counts[k]} image of system {k}; expected 2 or more")
        seen: dict[tuple[int, float, float], int] = {}
        for k, at in enumerate(zip(map(int, system), out["x"].tolist(), out["y"].tolist(), strict=True)):
            if seen.setdefault(at, k) != k:
                raise ValueError(f"x: got ({at[1]:g}, {at[2]:g}) for images {seen[at]} and {k} of system {at[0]}; "
                                 "expected a place of its own for each image")
        return SystemImages(**out, system=tuple(map(int, system)))

    @property
    def count(self) -> int:
        """Number of systems."""
        return max(self.system) + 1

    @property
    def log_norm(self) -> Array:
        """Logarithm of the density of all positions, where nothing is left over."""
        return -2.0 * jnp.sum(jnp.log(jnp.asarray(self.sigma))) - LOG_TWO_PI * len(self.system)


class Placed(NamedTuple):
    """Sources, and how well their images agree with them.

    Attributes:
        beta: Position of each source, shape (systems, 2) [arcsec].
        residuals: What is left of the positions over their standard deviations, shape (n, 2).
        settled: Whether each image was found, shape (n,); on the rung "source" all are.
        magnification: Signed, of each image where it was seen, shape (n,).
    """

    beta: Array
    residuals: Array
    settled: Array
    magnification: Array


def source_plane(mass: Sequence[MassProfile], data: SystemImages, weights: Array, beta: Array | None = None) -> Placed:
    """Positions by where they are traced to, with the local magnification tensor; sources at their best places.

    See `giga.bayes.points.source_plane`.

    Args:
        mass: Masses of the lens plane.
        data: The images.
        weights: What deflections are multiplied by for each source, shape (systems,).
        beta: Position of each source, shape (systems, 2) [arcsec]; None is the best.
    """
    x, y, weight = jnp.asarray(data.x), jnp.asarray(data.y), _each(weights, data)
    places = _traced(mass, x, y, weight)
    return _compared(places, *_inverse(mass, x, y, weight), data, beta)


def _compared(places: Array, tensor: Array, det: Array, data: SystemImages, beta: Array | None) -> Placed:
    """The sources of what images are traced to, and what is left by the local magnification tensors."""
    beta = _best(places, _information(tensor, det, 0.0), data) if beta is None else beta
    scaled = tensor / jnp.asarray(data.sigma)[:, None, None]
    left = jnp.sum(scaled * (places - _each(beta, data))[:, None, :], -1)
    return Placed(beta, left, jnp.ones(len(places), bool), 1.0 / det)


def _best(places: Array, information: Array, data: SystemImages) -> Array:
    """Best place of each source, shape (systems, 2)."""
    scaled = information / jnp.asarray(data.sigma)[:, None, None] ** 2
    return _solved(_sums(scaled, data), _sums(jnp.sum(scaled * places[:, None, :], -1), data))


def _information(tensor: Array, det: Array, least: float) -> Array:
    """What the place of an image tells of its source's, (A A^T + least^2)^-1 of the inverse magnification A.

    An image on a critical curve would tell all, were the lens linear there. It is not, and images are stretched by
    1 / `least` at most.

    Args:
        tensor, det: See `_inverse`.
        least: Smallest eigenvalue of A that counts.
    """
    adjugate = tensor * det[:, None, None]
    square = jnp.sum(adjugate[:, :, :, None] * adjugate[:, :, None, :], 1)
    size = det**2 + least**2 * jnp.sum(adjugate**2, (1, 2)) + least**4
    return (square + least**2 * jnp.eye(2)) / size[:, None, None]


def image_plane(mass: Sequence[MassProfile], data: SystemImages, weights: Array, beta: Array | None = None) -> Placed:
    """Positions in the image plane: Newton's method from where each image was seen, to the best source of its system.

    An image that it does not settle on within `NEWTON` steps keeps what the source plane leaves of it, so that the
    likelihood is finite; `Placed.settled` tells. Where a critical curve runs through the place of an image the local
    magnification is infinite, and two images merge: neither that nor the source is stretched by more than 1 / `LEAST`.
    Derivatives are those of the implicit function theorem. Arguments are those of `source_plane`.
    """
    x, y, weight = jnp.asarray(data.x), jnp.asarray(data.y), _each(weights, data)
    seen, sigma = jnp.stack([x, y], -1), jnp.asarray(data.sigma)[:, None]
    lens, fixed_weight, fixed = jax.lax.stop_gradient((list(mass), weight, beta))

    def step(k: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        """At the places that were seen the sources are found, then a step is taken, the last time none."""
        at, source, _, length = state
        tensor, det = _inverse(lens, at[:, 0], at[:, 1], fixed_weight)
        places = _traced(lens, at[:, 0], at[:, 1], fixed_weight)
        if fixed is None:
            source = jnp.where(k == 0, _best(places, _information(tensor, det, LEAST), data), source)
        move = -jnp.sum(tensor * (places - _each(source, data))[:, None, :], -1).astype(at.dtype)
        goes = k < NEWTON
        return (at + jnp.where(goes, _capped(move), 0.0), source.astype(at.dtype), tensor.astype(at.dtype),
                jnp.where(goes, jnp.hypot(move[:, 0], move[:, 1]), length))

    # One program of the lens without derivatives for all steps, and one with them for both places.
    begin = (seen, jnp.zeros((data.count, 2), seen.dtype) if fixed is None else jnp.asarray(fixed, seen.dtype),
             jnp.zeros((len(seen), 2, 2), seen.dtype), jnp.full(len(seen), jnp.inf, seen.dtype))
    at, _, tensor, length = jax.lax.stop_gradient(jax.lax.fori_loop(0, NEWTON + 1, step, begin))
    settled = length < SETTLED[seen.dtype.name]
    at, tensor = jnp.where(settled[:, None], at, seen), jnp.where(settled[:, None, None], tensor, 0.0)
    both = jnp.concatenate([seen, at])
    places, found = jnp.split(_traced(list(mass), both[:, 0], both[:, 1], jnp.tile(weight, 2)), 2)
    own = _inverse(mass, x, y, weight)
    information = _information(*own, LEAST)
    source = _best(places, information, data) if beta is None else beta
    # One step more, whose derivative by lens and source is that of the image.
    last = at - jnp.sum(tensor * (found - _each(source, data))[:, None, :], -1)
    near = jnp.sum(_root(information) * (places - _each(source, data))[:, None, :], -1)
    return Placed(source, jnp.where(settled[:, None], last - seen, near) / sigma, settled, 1.0 / own[1])


def _capped(move: Array) -> Array:
    length = jnp.sqrt(jnp.sum(move**2, -1, keepdims=True) + 1e-20)
    return move * jnp.minimum(1.0, REACH / length)


def _root(square: Array) -> Array:
    """Square roots of symmetric, positive 2 x 2 matrices, shape (n, 2, 2)."""
    root = jnp.sqrt(square[:, 0, 0] * square[:, 1, 1] - square[:, 0, 1] ** 2)
    trace = square[:, 0, 0] + square[:, 1, 1]
    return (square + root[:, None, None] * jnp.eye(2)) / jnp.sqrt(trace + 2.0 * root)[:, None, None]


def _inverse(mass: Sequence[MassProfile], x: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    """Magnification tensors, shape (n, 2, 2), and the determinants of their inverses."""
    xx, xy, yx, yy = (weight * part for part in jacobian(mass, x, y))
    det = (1.0 - xx) * (1.0 - yy) - xy * yx
    tensor = jnp.stack([jnp.stack([1.0 - yy, xy], -1), jnp.stack([yx, 1.0 - xx], -1)], -2)
    return tensor / det[:, None, None], det


def _each(values: Array, data: SystemImages) -> Array:
    """Values of the systems for each image."""
    return values[np.asarray(data.system)]


def _sums(values: Array, data: SystemImages) -> Array:
    """Sums over the images of each system."""
    return jax.ops.segment_sum(values, np.asarray(data.system), data.count)


def _solved(matrix: Array, right: Array) -> Array:
    """Solutions of symmetric 2 x 2 systems, shape (systems, 2)."""
    a, b, d = matrix[:, 0, 0], matrix[:, 0, 1], matrix[:, 1, 1]
    solved = jnp.stack([d * right[:, 0] - b * right[:, 1], a * right[:, 1] - b * right[:, 0]], -1)
    return solved / (a * d - b * b)[:, None]


def traced(mass: Sequence[MassProfile], data: SystemImages, weights: Array) -> Array:
    """Where the rays of the images meet their source planes, shape (n, 2) [arcsec]; arguments are `source_plane`'s."""
    return _traced(mass, jnp.asarray(data.x), jnp.asarray(data.y), _each(weights, data))


def _traced(mass: Sequence[MassProfile], x: Array, y: Array, weight: Array) -> Array:
    alpha_x, alpha_y = deflection(mass, x, y)
    return jnp.stack([x - weight * alpha_x, y - weight * alpha_y], -1)


def means(places: Array, data: SystemImages) -> Array:
    """Mean of what the images of each system are traced to, shape (systems, 2)."""
    return _sums(places, data) / np.bincount(np.asarray(data.system))[:, None]


def scatter(places: Array, data: SystemImages) -> Array:
    """Root mean square distance of what the images of each system are traced to from its mean, shape (systems,)."""
    apart = jnp.sum((places - _each(means(places, data), data)) ** 2, -1)
    return jnp.sqrt(_sums(apart, data) / np.bincount(np.asarray(data.system)))


@dataclass(frozen=True)
class View:
    """The field that is shown of a lens when its fit has ended, and the source that its maps are for.

    Attributes:
        half_width: Half the side of the square about the origin [arcsec].
        pixel_scale: Side of a pixel of the maps [arcsec].
        z_map: Redshift of the source.
        reference: Right ascension and declination of the origin, x to the west [deg]; None is not known.
    """

    half_width: float
    pixel_scale: float
    z_map: float
    reference: tuple[float, float] | None = None


class SystemsTerm(Component):
    """The images of many sources as a term of a posterior.

    Attributes:
        data: Positions.
        ladder: Where positions are compared.
        names: Of the systems; empty is their numbers.
        view: What is shown of a fit without pixels; None is a square around the images, and the furthest source.
    """

    data: SystemImages
    ladder: Ladder = static(default="source")
    names: tuple[str, ...] = static(default=())
    view: View | None = static(default=None)

    def check(self, scene: Scene) -> None:
        """Refuse a term that a scene cannot have. Raises ValueError."""
        if self.ladder not in get_args(Ladder):
            raise ValueError(f"ladder: got {self.ladder!r}; expected one of {', '.join(get_args(Ladder))}")
        if not isinstance(scene.planes, Planes) or len(scene.planes.sources) != self.data.count:
            have = len(scene.planes.sources) if isinstance(scene.planes, Planes) else 0
            raise ValueError(f"planes.sources: got {have} redshifts; expected {self.data.count}, one a system")
        planes = {scene.planes.mass_plane(profile) for profile in scene.mass}
        if len(planes) != 1:
            raise ValueError(f"mass: got masses on {len(planes)} planes; expected all on one")

    @property
    def named(self) -> list[tuple[str, int]]:
        """Profiles of the scene that it knows by their number: none."""
        return []

    @property
    def measured(self) -> int:
        """Number of numbers that were measured: two coordinates an image."""
        return 2 * len(self.data.system)

    @property
    def solved(self) -> int:
        """Number of parameters that are solved in it: the places of the sources."""
        return 2 * self.data.count

    def seen(self, scene: Scene) -> tuple[list[MassProfile], SystemImages, Array]:
        """The masses, the images, and what deflections are multiplied by for each source."""
        planes = scene.planes
        assert isinstance(planes, Planes)
        weights = planes.source_weights(planes.mass_plane(scene.mass[0])).astype(jnp.asarray(self.data.x).dtype)
        return gathered(scene.mass), self.data, weights

    def placed(self, scene: Scene) -> Placed:
        """Sources and residuals, on its rung."""
        return (image_plane if self.ladder == "image" else source_plane)(*self.seen(scene))

    def residuals(self, scene: Scene) -> Array:
        """What is left of the positions over their standard deviations, shape (2 n,)."""
        return self.placed(scene).residuals.ravel()

    def log_likelihood(self, scene: Scene) -> Array:
        """Logarithm of the Gaussian density of the positions, the sources at their best places."""
        return -0.5 * jnp.sum(self.residuals(scene) ** 2) + self.data.log_norm


Term = PointTerm | SystemsTerm
"""What a posterior may have beside pixels, or alone."""
