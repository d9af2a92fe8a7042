"""What a fit by positions alone has to show: how well images agree, and maps of the lens with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.points import PointTerm
from giga.bayes.prior import Prior
from giga.bayes.systems import SystemImages, SystemsTerm, Term, View, image_plane, scatter, traced
from giga.imaging.grid import Grid
from giga.lensing.caustics import told_apart
from giga.lensing.critical import Curve, critical_curves
from giga.lensing.einstein import in_pieces
from giga.lensing.planes import Behind
from giga.lensing.scene import Scene
from giga.lensing.tracing import jacobian
from giga.mass.base import MassProfile
from giga.mass.members import Members

DRAWS = 100  # of the posterior that maps are made of
STRIP = 4096  # pixels of a map that are evaluated at once
PIECE = 20  # draws in a compiled call
ROOM = 1.5  # half-width of the field over the furthest image, where nothing tells it
QUANTILES = {"Q16": 0.16, "Q50": 0.5, "Q84": 0.84}
MAPS = ("MAGNIFICATION", "CONVERGENCE")


@dataclass(frozen=True)
class Agreement:
    """How well the images of one source agree with the best fit.

    Attributes:
        name: Of the system.
        images: Number of images.
        source: Root mean square distance of what they are traced to from its mean [arcsec].
        image: That of the images of the best source from those seen [arcsec].
        missed: Images that are not found near where they were seen; `image` has their linear estimate.
    """

    name: str
    images: int
    source: float
    image: float
    missed: int = 0


@dataclass(frozen=True, eq=False)
class Field:
    """The field of a fit without pixels.

    Attributes:
        grid: Of the maps.
        x, y: Where images were seen [arcsec].
        owner: Number of the system of each image, in `rows`.
        rows: Of the systems, at the best fit.
        total: The same of all images together.
        maps: By name, (ny, nx): MAGNIFICATION, signed, and CONVERGENCE at the best fit; of a finished fit also
            quantiles over its draws, such as MAGNIFICATION_Q16, in which magnifications have no sign.
        curves: Critical curves and caustics at the best fit.
        z_map: Redshift of the source that maps and curves are for; None is that of the one source.
        reference: Right ascension and declination of the origin [deg], x to the west; None is not known.
        draws: Number of draws in the quantiles.
    """

    grid: Grid
    x: np.ndarray
    y: np.ndarray
    owner: np.ndarray
    rows: Sequence[Agreement]
    total: Agreement
    maps: Mapping[str, np.ndarray]
    curves: Sequence[Curve]
    z_map: float | None = None
    reference: tuple[float, float] | None = None
    draws: int = field(default=0)


def view_of(term: Term) -> View:
    """What is shown of a fit: as a term says, or a square around its images and its furthest source."""
    if isinstance(term, SystemsTerm) and term.view is not None:
        return term.view
    half = ROOM * float(np.max(np.abs([np.asarray(term.data.x), np.asarray(term.data.y)])))
    if isinstance(term, PointTerm) and term.finder is not None:
        half = float(term.finder.half_width)
    return View(half_width=half, pixel_scale=half / 100.0, z_map=float("nan"))


def lens_of(term: Term, scene: Scene, view: View) -> Sequence[MassProfile]:
    """The masses as the source of the maps sees them."""
    if isinstance(term, PointTerm):
        return list(scene.lenses(term.data.plane))
    z = max(scene.planes.sources) if np.isnan(view.z_map) else view.z_map  # pyright: ignore
    return [Behind(mass=scene.mass, planes=scene.planes, z=z)]  # pyright: ignore[reportArgumentType]


def field_of(scene: Scene, terms: Sequence[Term], prior: Prior | None = None, x: np.ndarray | None = None) -> Field:
    """The field of a fit.

    Args:
        scene: The best fit.
        terms: What was fitted; the first says what is shown.
        prior: Of the draws; None for no draws.
        x: Draws of the parameters, shape (draws, n).
    """
    view = view_of(terms[0])
    side = 2 * max(round(view.half_width / view.pixel_scale), 8)
    grid = Grid(shape=(side, side), pixel_scale=2.0 * view.half_width / side)
    lens = lens_of(terms[0], scene, view)
    if isinstance(terms[0], SystemsTerm) and np.isnan(view.z_map):
        view = View(view.half_width, view.pixel_scale, float(lens[0].z), view.reference)  # pyright: ignore
    maps: dict[str, np.ndarray] = dict(zip(MAPS, _in_strips(partial(_maps_at, lens), grid)[:, 0], strict=True))
    count = 0
    if prior is not None and x is not None:
        take = np.unique(np.linspace(0, len(x) - 1, min(DRAWS, len(x))).round().astype(int))
        count, some = len(take), x[take]
        quantiles = _in_strips(partial(_quantiles, prior, terms[0], view, some), grid)
        for name, tables in zip(MAPS, quantiles, strict=True):
            maps |= {f"{name}_{end}": table for end, table in zip(QUANTILES, tables, strict=True)}
    seen = [_seen(term, scene) for term in terms]
    rows, owner = [], []
    for term, one in zip(terms, seen, strict=True):
        table = agreements(one, _names(term, len(rows)))
        owner += [len(rows) + k for k in one[1].system]
        rows += table
    return Field(
        grid=grid, x=np.concatenate([np.asarray(one[1].x, float) for one in seen]),
        y=np.concatenate([np.asarray(one[1].y, float) for one in seen]), owner=np.asarray(owner), rows=rows,
        total=together(rows), maps=maps, curves=_curves(lens, view.half_width),
        z_map=None if np.isnan(view.z_map) else view.z_map, reference=view.reference, draws=count)


def agreements(seen: tuple[Sequence[MassProfile], SystemImages, Array], names: Sequence[str]) -> list[Agreement]:
    """How well the images of each system agree."""
    spread, placed = jax.tree.map(np.asarray, _agreeing(*seen))
    data = seen[1]
    squared = np.sum((placed.residuals * np.asarray(data.sigma)[:, None]) ** 2, -1)
    counts = np.bincount(data.system)
    image = np.sqrt(np.bincount(data.system, squared) / counts)
    missed = np.bincount(data.system, ~placed.settled)
    return [Agreement(name, int(n), float(s), float(i), int(m))
            for name, n, s, i, m in zip(names, counts, spread, image, missed, strict=True)]


def together(rows: Sequence[Agreement]) -> Agreement:
    """All systems as one."""
    counts = np.array([row.images for row in rows])
    source, image = (np.array([getattr(row, key) for row in rows]) for key in ("source", "image"))
    return Agreement("all", int(counts.sum()), float(np.sqrt(np.sum(counts * source**2) / counts.sum())),
                     float(np.sqrt(np.sum(counts * image**2) / counts.sum())), sum(row.missed for row in rows))


def rms_of_draws(prior: Prior, terms: Sequence[Term], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Root mean square distances of all images in the source plane and in the image plane, of each draw [arcsec]."""
    squares = in_pieces(lambda part: _squares(prior, tuple(terms), part), x, PIECE)
    count = sum(len(np.asarray(term.data.x)) for term in terms)
    source, image = (np.sqrt(np.asarray(part, float) / count) for part in squares)
    return source, image


def masses_of_draws(prior: Prior, term: Term, x: np.ndarray) -> tuple[list[MassProfile], float]:
    """The lens of each draw as the source of the maps sees it, arrays on its leaves; and how far it is looked at."""
    view = view_of(term)

    @jax.jit
    def made(x: Array) -> Any:
        return jax.vmap(lambda one: jax.tree.map(jnp.asarray, lens_of(term, prior.fill(one), view)))(x)

    return made(x), view.half_width


def _names(term: Term, before: int) -> Sequence[str]:
    if isinstance(term, SystemsTerm):
        return term.names or [str(k + 1) for k in range(term.data.count)]
    return [str(before + 1)]


def _seen(term: Term, scene: Scene) -> tuple[Sequence[MassProfile], SystemImages, Array]:
    """Masses, images and weights as `giga.bayes.systems` takes them."""
    if isinstance(term, SystemsTerm):
        return term.seen(scene)
    data = term.data
    images = SystemImages(x=data.x, y=data.y, sigma=data.sigma, system=(0,) * np.shape(data.x)[0])
    return list(scene.lenses(data.plane)), images, jnp.ones(1, jnp.asarray(data.x).dtype)


def _curves(lens: Sequence[MassProfile], half_width: float) -> list[Curve]:
    """The critical curves, those of member galaxies too, and told apart."""
    whole = lens[0]
    masses = list(whole.mass) if isinstance(whole, Behind) else []
    members = [mass for mass in masses if isinstance(mass, Members)]
    if not members:
        return critical_curves(lens, half_width)
    places = np.concatenate([np.stack([mass.catalogue.x, mass.catalogue.y], 1) for mass in members])
    found = critical_curves(lens, half_width, galaxies=places)
    smooth = [mass for mass in masses if not isinstance(mass, Members)]
    return told_apart(found, [whole.replace(mass=smooth)]) if smooth else found


@jax.jit
def _agreeing(mass: Sequence[MassProfile], data: SystemImages, weights: Array) -> Any:
    return scatter(traced(mass, data, weights), data), image_plane(mass, data, weights)


@jax.jit
def _squares(prior: Prior, terms: tuple[Term, ...], x: Array) -> tuple[Array, Array]:
    """Sums of squared distances in the source plane and in the image plane, as `agreements` has them."""

    def one(at: Array) -> tuple[Array, Array]:
        scene = prior.fill(at)
        totals = jnp.zeros((2,), at.dtype)
        for term in terms:
            mass, data, weights = _seen(term, scene)
            spread = scatter(traced(mass, data, weights), data)
            left = image_plane(mass, data, weights).residuals * jnp.asarray(data.sigma)[:, None]
            totals = totals + jnp.stack([jnp.sum(np.bincount(data.system) * spread**2), jnp.sum(left**2)])
        return totals[0], totals[1]

    return jax.vmap(one)(x)


def _in_strips(function: Any, grid: Grid) -> np.ndarray:
    """A function of pixels evaluated on a grid in strips of one size; shape (maps, tables, ny, nx)."""
    x, y = (np.asarray(axis).ravel() for axis in np.broadcast_arrays(*grid.coordinates()))
    size = min(STRIP, x.size)
    parts = []
    for first in range(0, x.size, size):
        piece = [np.resize(axis[first:first + size], size) for axis in (x, y)]
        parts.append(np.asarray(function(*piece), float)[..., :x.size - first])
    found = np.concatenate(parts, -1)
    return found.reshape(*found.shape[:-1], *grid.shape)


@jax.jit
def _maps(lens: Sequence[MassProfile], x: Array, y: Array) -> Array:
    xx, xy, yx, yy = jacobian(lens, x, y)
    return jnp.stack([1.0 / ((1.0 - xx) * (1.0 - yy) - xy * yx), 0.5 * (xx + yy)])


def _maps_at(lens: Sequence[MassProfile], x: np.ndarray, y: np.ndarray) -> Array:
    """Shape (maps, 1, pixels)."""
    return _maps(jax.tree.map(lambda leaf: jnp.asarray(leaf, x.dtype), lens), x, y)[:, None]


def _quantiles(prior: Prior, term: Term, view: View, draws: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Quantiles over draws, of magnifications without their sign, shape (maps, quantiles, pixels)."""
    values = in_pieces(lambda part: _maps_of_draws(prior, term, view, part, x, y), draws, PIECE)
    magnification, convergence = np.abs(values[:, 0]), values[:, 1]
    return np.stack([np.quantile(values, list(QUANTILES.values()), 0) for values in (magnification, convergence)])


@partial(jax.jit, static_argnums=2)
def _maps_of_draws(prior: Prior, term: Term, view: View, draws: Array, x: Array, y: Array) -> Array:
    return jax.lax.map(lambda one: _maps(lens_of(term, prior.fill(one), view), x, y), draws)
