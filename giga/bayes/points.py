"""Likelihoods of point images: positions in the source plane or the image plane, fluxes, delays.

Each is the logarithm of a Gaussian density of what was measured, in float64 or float32, with derivatives by everything.
They add: to each other, and to the likelihood of pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import AnyArray, Component, static
from giga.lensing.delays import arrival_times
from giga.lensing.images import Finder, Images, find_images
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.lensing.tracing import jacobian, magnification, trace
from giga.light.point import Point
from giga.mass.base import MassProfile

Ladder = Literal["source", "image"]
LOG_TWO_PI = math.log(2.0 * math.pi)
NO_FINDER = "finder: missing; the image plane needs to know where to look for images"
NO_PLANES = "planes: missing; delays need the redshifts of lens and source"


class PointImages(Component):
    """What was measured of the images of one point source. Make it with `PointImages.of`, which checks it.

    Attributes:
        x, y: Positions, shape (n,) [arcsec].
        sigma: Standard deviation of each coordinate, shape (n,) [arcsec].
        flux, flux_sigma: Fluxes and their standard deviations in any unit, shape (n,), or None.
        delay, delay_sigma: How much later the second image and the further ones arrive than the first, shape (n - 1,)
            [days], or None.
        plane: Number of the plane of the source, in a scene of several; -1 is the last.
    """

    x: AnyArray
    y: AnyArray
    sigma: AnyArray
    flux: AnyArray = None
    flux_sigma: AnyArray = None
    delay: AnyArray = None
    delay_sigma: AnyArray = None
    plane: int = static(default=-1)

    @staticmethod
    def of(x: Any, y: Any, sigma: Any, *, flux: Any = None, flux_sigma: Any = None, delay: Any = None,
           delay_sigma: Any = None, plane: int = -1, dtype: Any = np.float64) -> PointImages:
        """Check measurements and put them together; a standard deviation may be one number for all.

        Raises:
            ValueError: Fewer than two images, two at one place, numbers that are not finite, shapes that do not fit, or
                a standard deviation that is missing or not positive, or a negative flux.
        """
        count = np.size(x)
        if count < 2:
            raise ValueError(f"x: got {count} position; expected 2 or more images of a source")
        out = {"x": _numbers("x", x, count), "y": _numbers("y", y, count), "sigma": _widths("sigma", sigma, count)}
        seen: dict[tuple[float, float], int] = {}
        for k, place in enumerate(zip(out["x"].tolist(), out["y"].tolist(), strict=True)):
            if seen.setdefault(place, k) != k:
                raise ValueError(f"x: got ({place[0]:g}, {place[1]:g}) for images {seen[place]} and {k}; expected a "
                                 "place of its own for each image")
        for name, value, width, n in (("flux", flux, flux_sigma, count), ("delay", delay, delay_sigma, count - 1)):
            if (value is None) != (width is None):
                missing = f"{name}_sigma" if width is None else name
                raise ValueError(f"{missing}: missing; expected both {name} and {name}_sigma, or neither")
            if value is not None:
                out |= {name: _numbers(name, value, n), f"{name}_sigma": _widths(f"{name}_sigma", width, n)}
        if "flux" in out and (out["flux"] < 0.0).any():
            k = int(np.argmax(out["flux"] < 0.0))
            raise ValueError(f"flux: got {out['flux'][k]:g} for image {k}; expected fluxes of 0 or more: parity is not "
                             "in their sign")
        return PointImages(**{name: value.astype(dtype) for name, value in out.items()}, plane=plane)

    @property
    def log_norm(self) -> Array:
        """Logarithm of the density of all that was measured, where nothing is left over."""
        widths = (self.sigma, self.sigma, self.flux_sigma, self.delay_sigma)
        return sum((_norm(width) for width in widths if width is not None), jnp.zeros(()))


def _numbers(name: str, values: Any, count: int) -> np.ndarray:
    out = np.asarray(values, float)
    if out.shape != (count,):
        raise ValueError(f"{name}: got shape {out.shape}; expected ({count},)")
    if not np.isfinite(out).all():
        raise ValueError(f"{name}: {np.sum(~np.isfinite(out))} of {count} are not finite; expected numbers")
    return out


def _widths(name: str, values: Any, count: int) -> np.ndarray:
    out = np.full(count, values, float) if np.ndim(values) == 0 else _numbers(name, values, count)
    if not (np.isfinite(out).all() and (out > 0.0).all()):
        raise ValueError(f"{name}: got {np.min(out):g}; expected standard deviations above 0")
    return out


class Fitted(NamedTuple):
    """A source position and how well images agree with it.

    Attributes:
        beta: Position of the source, shape (2,) [arcsec].
        residuals: What is left of the positions over their standard deviations, shape (n, 2).
    """

    beta: Array
    residuals: Array

    @property
    def chi2(self) -> Array:
        """Sum of the squares."""
        return jnp.sum(self.residuals**2)


def source_plane(mass: Sequence[MassProfile], data: PointImages, beta: Array | None = None) -> Fitted:
    """Likelihood of the positions by where they are traced to, with the local magnification tensor.

    chi2 = sum_i |M_i (beta_i - beta)|^2 / sigma_i^2, M = (d beta / d theta)^-1: the image plane's chi2 to first order
    in the residuals, without looking for images. Without a `beta` it is the best one, a weighted mean.

    Args:
        mass: Masses, as the source sees them (`Scene.lenses`).
        data: The images.
        beta: Position of the source, shape (2,) [arcsec]; None is the best.

    References:
        Keeton (2001), arXiv:astro-ph/0102340; Oguri (2010), PASJ 62, 1017.
    """
    traced = jnp.stack(trace(mass, data.x, data.y), -1)
    xx, xy, yx, yy = jacobian(mass, data.x, data.y)
    det = (1.0 - xx) * (1.0 - yy) - xy * yx
    tensor = jnp.stack([jnp.stack([1.0 - yy, xy], -1), jnp.stack([yx, 1.0 - xx], -1)], -2)
    tensor = tensor / (det * data.sigma)[:, None, None]
    if beta is None:
        normal = jnp.sum(tensor[:, :, :, None] * tensor[:, :, None, :], (0, 1))
        moved = jnp.sum(tensor * traced[:, None, :], -1)
        right = jnp.sum(tensor * moved[:, :, None], (0, 1))
        beta = _solved(normal, right)
    return Fitted(beta, jnp.sum(tensor * (traced - beta)[:, None, :], -1))


def image_plane(mass: Sequence[MassProfile], data: PointImages, finder: Finder,
                beta: Array | None = None) -> tuple[Fitted, Matched]:
    """Likelihood of the positions in the image plane, where the images are found again.

    Each image that was seen is compared with one that the model has, nearest pairs first. One that no image of the
    model is left for is compared with the nearest all the same, so that the likelihood is finite; `Matched.distinct`
    tells.

    Args:
        mass: Masses, as the source sees them (`Scene.lenses`).
        data: The images.
        finder: Where to look.
        beta: Position of the source, shape (2,) [arcsec]; None is the best of `source_plane`.
    """
    beta = source_plane(mass, data).beta if beta is None else beta
    matched = match(find_images(mass, beta[0], beta[1], finder), data)
    apart = jnp.stack([matched.x - data.x, matched.y - data.y], -1)
    return Fitted(beta, apart / data.sigma[:, None]), matched


class Matched(NamedTuple):
    """For each image that was seen the one that the model has there, shape (n,) each.

    Attributes:
        x, y: Its position [arcsec].
        magnification: Signed.
        distinct: Whether no other image that was seen has the same one.
    """

    x: Array
    y: Array
    magnification: Array
    distinct: Array


def match(images: Images, data: PointImages) -> Matched:
    """Pair images that were seen with those of a model, the nearest pair first."""
    count, room = len(data.x), len(images.x)
    apart = (data.x[:, None] - images.x) ** 2 + (data.y[:, None] - images.y) ** 2
    apart = jnp.where(images.found, apart, jnp.inf)
    free, index, distinct = apart, jnp.argmin(apart, 1), jnp.zeros(count, bool)
    for _ in range(min(count, room)):
        pair = jnp.argmin(free)
        row, column = pair // room, pair % room
        real = jnp.isfinite(free[row, column])
        index = index.at[row].set(jnp.where(real, column, index[row]))
        distinct = distinct.at[row].set(real | distinct[row])
        free = jnp.where(real, free.at[row].set(jnp.inf).at[:, column].set(jnp.inf), free)
    return Matched(images.x[index], images.y[index], images.magnification[index], distinct)


def fluxes(mu: Array, data: PointImages) -> Array:
    """Residuals of the fluxes, which are |mu| times one flux of the source, solved: their ratios count.

    Args:
        mu: Magnification of each image, shape (n,).
        data: With fluxes.
    """
    return (data.flux - source_flux(mu, data) * jnp.abs(mu)) / data.flux_sigma


def source_flux(mu: Array, data: PointImages) -> Array:
    """Flux of the source without lensing that fluxes of images tell best; arguments are those of `fluxes`."""
    weight, size = 1.0 / data.flux_sigma**2, jnp.abs(mu)
    return jnp.sum(weight * size * data.flux) / jnp.sum(weight * size**2)


def delays(times: Array, data: PointImages) -> Array:
    """Residuals of the delays.

    Args:
        times: Arrival times, shape (n,) [days].
        data: With delays.
    """
    return (times[1:] - times[0] - data.delay) / data.delay_sigma


def log_likelihood(scene: Scene, data: PointImages, ladder: Ladder = "source", finder: Finder | None = None,
                   beta: Array | None = None) -> Array:
    """Log-likelihood of all that was measured of one source; arguments and errors are those of `residuals`."""
    return -0.5 * jnp.sum(residuals(scene, data, ladder, finder, beta) ** 2) + data.log_norm


def residuals(scene: Scene, data: PointImages, ladder: Ladder = "source", finder: Finder | None = None,
              beta: Array | None = None) -> Array:
    """What is left of positions, and of fluxes and delays where there are some, over their standard deviations.

    On the rung "source" magnifications and arrival times are those at the positions that were seen, on the rung "image"
    those at the images of the model. Light has left from one place of the source, so that the errors of positions move
    the delays in second order alone.

    Args:
        scene: The lens; delays need its `planes`.
        data: The images.
        ladder: Where positions are compared.
        finder: Where to look for images; needed by "image".
        beta: Position of the source, shape (2,) [arcsec]; None is the best of the source plane.

    Raises:
        ValueError: "image" without a finder, or delays in a scene without planes.
    """
    if ladder == "image" and finder is None:
        raise ValueError(NO_FINDER)
    if data.delay is not None and not isinstance(scene.planes, Planes):
        raise ValueError(NO_PLANES)
    mass = scene.lenses(data.plane)
    if ladder == "image":
        assert finder is not None
        fitted, at = image_plane(mass, data, finder, beta)
        x, y, mu = at.x, at.y, at.magnification
    else:
        fitted, (x, y) = source_plane(mass, data, beta), (data.x, data.y)
        mu = magnification(mass, x, y) if data.flux is not None else jnp.zeros(())
    left = [fitted.residuals.ravel()]
    if data.flux is not None:
        left.append(fluxes(mu, data))
    if data.delay is not None:
        assert isinstance(scene.planes, Planes)
        left.append(delays(arrival_times(scene.mass, scene.planes, x, y, data.plane, fitted.beta), data))
    return jnp.concatenate(left)


class PointTerm(Component):
    """The images of one point source as a term of a posterior.

    Attributes:
        data: What was measured.
        finder: Where to look for images, which the image plane needs.
        ladder: Where positions are compared.
        source: Number of the profile in `source_light` whose centre the source is; None is the best position of the
            source plane.
        images: Numbers of the `Point`s in `lens_light` that are its images: their places take the place of the
            measured ones, and `sigma` is how far the lens may leave them.
    """

    data: PointImages
    finder: Finder | None = None
    ladder: Ladder = static(default="source")
    source: int | None = static(default=None)
    images: tuple[int, ...] = static(default=())

    def check(self, scene: Scene) -> None:
        """Refuse a term that a scene cannot have. Raises ValueError."""
        if self.ladder not in get_args(Ladder):
            raise ValueError(f"ladder: got {self.ladder!r}; expected one of {', '.join(get_args(Ladder))}")
        if self.ladder == "image" and self.finder is None:
            raise ValueError(NO_FINDER)
        if self.data.delay is not None and not isinstance(scene.planes, Planes):
            raise ValueError(NO_PLANES)
        if not scene.mass:
            raise ValueError("mass: got none; expected a mass, which images are made by")
        self._check_plane(scene)
        for k, mass in enumerate(scene.mass if self.data.delay is not None else ()):
            if not mass.has_potential:
                raise ValueError(f"delay: given, but mass.{k} is {type(mass).__name__}, which has no potential; "
                                 "expected masses that have one")
        if self.source is not None and not (0 <= self.source < len(scene.source_light)
                                            and "center_x" in vars(scene.source_light[self.source])):
            raise ValueError(f"source: got {self.source}; expected the number of a source_light with a centre")
        lights, several = dict(enumerate(scene.lens_light)), len(set(self.images))
        if self.images and several != len(self.data.x):
            raise ValueError(f"images: got {several} lens lights; expected {len(self.data.x)}, one an image")
        for k in self.images:
            if not isinstance(lights.get(k), Point):
                raise ValueError(f"images: got {k}; expected the number of a lens_light that is a Point")

    def _check_plane(self, scene: Scene) -> None:
        """Refuse a plane that is not there, is before every mass, or is not that of the source. Raises ValueError."""
        planes, plane = scene.planes, self.data.plane
        if not isinstance(planes, Planes):
            if plane != -1:
                raise ValueError(f"plane: got {plane}, but the scene has no planes; expected planes with their "
                                 "redshifts")
            return
        count = len(planes.redshifts)
        first = min(map(planes.mass_plane, scene.mass)) + 1
        if not first <= (plane if plane != -1 else count - 1) < count:
            raise ValueError(f"plane: got {plane}; expected {first} to {count - 1}, one of the {count} planes, behind "
                             "a mass")
        if self.source is not None and self.source in range(len(scene.source_light)):
            own = planes.light_plane(scene.source_light[self.source])
            if own != plane % count:
                raise ValueError(f"plane: got {plane % count} beside source_light.{self.source} on plane {own}; "
                                 "expected one plane of both")

    @property
    def named(self) -> list[tuple[str, int]]:
        """Profiles of the scene that it knows by their number: they are no others' twins."""
        source = [] if self.source is None else [("source_light", self.source)]
        return source + [("lens_light", k) for k in self.images]

    @property
    def measured(self) -> int:
        """Number of numbers that were measured: two coordinates an image, fluxes and delays."""
        return 2 * len(self.data.x) + sum(np.size(part) for part in (self.data.flux, self.data.delay)
                                          if part is not None)

    @property
    def solved(self) -> int:
        """Number of parameters that are solved in it: the place of the source where none is given, and its flux."""
        return 2 * (self.source is None) + (self.data.flux is not None)

    def residuals(self, scene: Scene) -> Array:
        """See `residuals`."""
        return residuals(scene, self.placed(scene), self.ladder, self.finder, self._beta(scene))

    def log_likelihood(self, scene: Scene) -> Array:
        """See `log_likelihood`."""
        return log_likelihood(scene, self.placed(scene), self.ladder, self.finder, self._beta(scene))

    def placed(self, scene: Scene) -> PointImages:
        """The images with their places in a scene."""
        if not self.images:
            return self.data
        x, y = (jnp.stack([jnp.asarray(getattr(scene.lens_light[k], name)) for k in self.images])
                for name in ("center_x", "center_y"))
        return self.data.replace(x=x, y=y)

    def place(self, scene: Scene) -> Array:
        """Position of the source in a scene, shape (2,) [arcsec]: where a profile tells it, or the best one."""
        beta = self._beta(scene)
        return source_plane(scene.lenses(self.data.plane), self.placed(scene)).beta if beta is None else beta

    def _beta(self, scene: Scene) -> Array | None:
        """Position of the source, where a profile of the scene tells it."""
        if self.source is None:
            return None
        profile: Any = scene.source_light[self.source]
        return jnp.stack([jnp.asarray(profile.center_x), jnp.asarray(profile.center_y)])


def _solved(matrix: Array, right: Array) -> Array:
    """Solution of a symmetric 2 x 2 system."""
    det = matrix[0, 0] * matrix[1, 1] - matrix[0, 1] ** 2
    return jnp.stack([matrix[1, 1] * right[0] - matrix[0, 1] * right[1],
                      matrix[0, 0] * right[1] - matrix[0, 1] * right[0]]) / det


def _norm(sigma: Any) -> Array:
    return -jnp.sum(jnp.log(sigma)) - 0.5 * LOG_TWO_PI * len(sigma)
