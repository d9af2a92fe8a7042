"""Numbers for a paper that follow from a fit, with errors from its draws: radii, masses, magnitudes, magnifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.prior import Prior
from giga.bayes.systems import Term
from giga.component import is_distribution
from giga.imaging.observation import Observation
from giga.inference.amplitudes import linear_profiles
from giga.inference.digits import moments
from giga.inference.field import masses_of_draws, rms_of_draws
from giga.inference.point_images import delay_distances
from giga.inference.result import Result
from giga.lensing.cosmology import ARCSEC
from giga.lensing.einstein import SAYS, einstein_numbers, in_pieces, middle
from giga.lensing.magnification import Lensed, Square, arcs_of, isolating, lensed, magnifications
from giga.lensing.planes import Planes
from giga.lensing.redshifts import Redshifts, Scale
from giga.lensing.scene import Scene
from giga.lensing.tracing import trace
from giga.light.shape import Shape, half_light
from giga.mass.base import MassProfile
from giga.runtime.parallel import ON_VECTORS

SIDE = 160  # pixels a side of the square that the arcs of a draw are looked at in
PIECE = 25  # draws in a compiled call
MOST = 1000  # draws whose numbers are computed
MOST_OF_FIELDS = 200  # of fits without pixels: the critical curve of a cluster takes half a second a draw
FAINT = 0.1  # of the peak: what is brighter at the best fit is inside that square
PEAKS = 0.03  # by which the peaks of the two planes may differ
METHODS = ("counts", "hulls", "points")
LENGTHS: dict[str, Scale] = {"einstein_radius": "kpc_lens", "source.half_light_radius": "kpc_source"}
MASS, AREA = "einstein_mass", "einstein_mass_over_critical"


@dataclass(frozen=True, eq=False)
class Derived:
    """Numbers that follow from the parameters, by name; docs/numbers.md has the formulas.

    Attributes:
        draws: Shape (chains, m); NaN where a draw has none.
        best: At the best fit.
        units: Unit of each, empty for none.
        of: Which draws of each chain, shape (m,).
        notes: What must be known of them, a sentence each.
        missing: What could not be computed, by name, with the reason.
        free: Redshifts and numbers of the cosmology that were fitted, by their name in `Redshifts` or in `Cosmology`:
            draws of the shape above, and the best fit.
    """

    draws: Mapping[str, np.ndarray] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    of: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    notes: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    free: Mapping[str, tuple[np.ndarray, float]] = field(default_factory=dict)

    def rows(self) -> dict[str, dict[str, float]]:
        """Best value, mean, standard deviation and quantiles of each, over the draws that have it."""
        return {name: {"best": self.best[name], **moments(draws)} for name, draws in self.draws.items()}

    def at(self, redshifts: Redshifts) -> Derived:
        """The same with lengths in kpc and the mass in solar masses; what lacks a redshift is missing, and said.

        A cosmology that is free is that of each draw, and so is a redshift that is free, unless it is given here.
        """
        draws, best, units = dict(self.draws), dict(self.best), dict(self.units)
        free = {name: one for name, one in self.free.items() if getattr(redshifts, name, None) is None}
        missing = dict(self.missing)
        wanted: dict[str, tuple[str, Scale, str]] = {f"{name}_kpc": (name, attribute, "kpc")
                                                     for name, attribute in LENGTHS.items()}
        wanted[MASS] = (AREA, "mass_per_arcsec2", "solMass")
        for name, (source, attribute, unit) in wanted.items():
            for one in [key for key in self.draws if key == source or key.startswith(f"{source}.")]:
                new = one.replace(source, name)
                needs = {"kpc_lens": ("z_lens",), "kpc_source": ("z_source",)}.get(attribute, ("z_lens", "z_source"))
                if lacking := [f"lens.{z}" for z in needs if z in redshifts.missing and z not in free]:
                    missing[new] = f"{' and '.join(lacking)} missing"
                    continue
                missing.pop(new, None)
                factor, at_best = _factors(redshifts, attribute, free)
                draws[new], best[new], units[new] = self.draws[one] * factor, self.best[one] * at_best, unit
        return replace(self, draws=draws, best=best, units=units, missing=missing)


def _factors(redshifts: Redshifts, name: Scale, free: Mapping[str, tuple[np.ndarray, float]]) -> tuple[Any, float]:
    """One of the numbers of `Redshifts`, of each draw where anything of it is free, and at the best fit."""
    if not free:
        return (number := getattr(redshifts, name)), number
    found = redshifts.of_draws(name, {key: np.append(draws, best) for key, (draws, best) in free.items()})
    return found[:-1].reshape(next(iter(free.values()))[0].shape), float(found[-1])


def derive(prior: Prior, result: Result, redshifts: Redshifts | None = None, points: Sequence[Term] = ()) -> Derived:
    """Compute the derived numbers of a fit.

    Args:
        prior: Of the posterior that was sampled.
        result: The fit, with draws of its solved amplitudes.
        redshifts: Those known; `Derived.at` takes them later, too.
        points: Images of point sources that were fitted; without pixels they say what the lens is looked at for.
    """
    shape = next(iter(result.samples.values())).shape
    if result.amplitudes.draws:
        of = np.asarray(result.amplitudes.of)
    else:
        most = MOST if result.observations else MOST_OF_FIELDS
        of = np.unique(np.linspace(0, shape[1] - 1, min(shape[1], max(most // shape[0], 2))).round().astype(int))
    x = np.stack([result.samples[name][:, of] for name in prior.names], -1).reshape(-1, prior.size)
    x = x.astype(prior.shift.dtype)
    table = _Table(shape[0], of)
    if not result.observations:
        best = np.asarray([result.best[name] for name in prior.names], x.dtype)[None]
        lens, reach = masses_of_draws(prior, points[0], np.concatenate([best, x]))
        _einstein(table, jax.tree.map(lambda leaf: leaf[1:], lens), jax.tree.map(lambda leaf: leaf[:1], lens), reach)
        for name, at_all in zip(("rms_source_plane", "rms_image_plane"),
                                rms_of_draws(prior, points, np.concatenate([best, x])), strict=True):
            table.add(name, at_all[1:], at_all[0], "arcsec")
    elif middle(result.scenes[0].lenses()) is not None:
        observation = result.observations[0]
        # Set up for what the prior allows, as the draws are.
        mass = _masses(prior, x)
        mine = jax.tree.unflatten(jax.tree.structure(mass), [np.asarray(leaf, x.dtype)[None] for leaf in
                                                             jax.tree.leaves(list(result.scenes[0].lenses()))])
        _einstein(table, mass, mine, 0.75 * max(observation.grid.shape) * float(observation.grid.pixel_scale))
    with_best = np.concatenate([np.asarray([[result.best[name] for name in prior.names]], x.dtype), x])
    for name, values in delay_distances(prior, points, with_best).items():
        table.add(name, values[1:], values[0], "Mpc")
    seen: set[str | None] = set()
    for k, observation in enumerate(result.observations):
        if observation.band in seen:  # another image of the same light
            continue
        seen.add(observation.band)
        bands = {one.band for one in result.observations}
        _light(table, prior, x, result, k, f".{observation.band or k}" if len(bands) > 1 else "")
    free = {name: (values[1:].reshape(table.shape), float(values[0]))
            for name, values in _free(prior, result.prior, with_best).items()}
    found = Derived(table.draws, table.best, table.units, of, tuple(dict.fromkeys(table.notes)), table.missing, free)
    return found.at(redshifts or Redshifts())


class _Table:
    """Collects the columns."""

    def __init__(self, chains: int, of: np.ndarray) -> None:
        self.shape = (chains, len(of))
        self.draws: dict[str, np.ndarray] = {}
        self.best: dict[str, float] = {}
        self.units: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.notes: list[str] = []

    def add(self, name: str, values: Any, best: Any, unit: str = "") -> None:
        draws = np.asarray(values, float).reshape(self.shape)
        draws = np.where(np.isfinite(draws), draws, np.nan)
        bad = int(np.isnan(draws).sum())
        if bad == draws.size:
            self.missing[name] = "no draw has it"
            return
        if bad:
            self.notes.append(f"{name}: {bad} of {draws.size} draws have none, and are left out")
        self.draws[name], self.best[name], self.units[name] = draws, float(best), unit


def _einstein(table: _Table, mass: list[MassProfile], mine: list[MassProfile], reach: float) -> None:
    """Numbers of the critical curve of the draws, arrays on their leaves, and of the best fit, arrays of one."""
    found, best = einstein_numbers(mass, reach), einstein_numbers(mine, reach)
    for name, unit, one, at_best in (("einstein_radius", "arcsec", found.radius, best.radius),
                                     (AREA, "arcsec2", found.mass, best.mass), ("slope", "", found.slope, best.slope)):
        table.add(name, one, at_best[0], unit)
    for kind, text in SAYS.items():
        if count := int(np.sum(found.kind == kind)):
            table.notes.append(f"in {count} of {len(found.kind)} draws {text}")


def _light(table: _Table, prior: Prior, x: np.ndarray, result: Result, k: int, suffix: str) -> None:
    """Magnitudes of one observation, and the shape and the magnification of the source as it sees it."""
    observation, scene = result.observations[k], result.scenes[k]
    names = [name for name, _, _ in linear_profiles(result.prior, k, result.observations)]
    amplitudes = [np.asarray(result.amplitudes.draws[name]).reshape(len(x), *result.amplitudes.draws[name].shape[2:])
                  .astype(x.dtype) for name in names]
    band = observation.band
    inputs = (x, amplitudes)
    paths = _paths(result.prior, band)
    hosts = [not profile.is_point and path.startswith("source_light")
             for path, profile in zip(paths, result.prior.in_band(band).light, strict=True)]
    scene = jax.tree.map(lambda leaf: np.asarray(leaf, x.dtype), scene)
    fluxes = np.asarray(in_pieces(lambda part: _fluxes(prior, *part, band), inputs, PIECE))
    _magnitudes(table, paths, fluxes, np.asarray(_flux_at_best(scene), float), hosts, observation, suffix)
    planes, at_best = light_planes(scene), np.asarray([result.best[name] for name in prior.names], x.dtype)
    for plane in planes:
        part = f"source_plane_{plane}" if plane != planes[-1] else "source"
        _source(table, prior, inputs, scene.of_plane(plane), observation, part, plane, suffix, at_best)


def light_planes(scene: Scene) -> list[int]:
    """Numbers of the planes that have sources with a surface brightness, nearest first; -1 without planes."""
    extended = [profile for profile in scene.source_light if not profile.is_point]
    planes = scene.planes
    return sorted({planes.light_plane(profile) if isinstance(planes, Planes) else -1 for profile in extended})


def _source(table: _Table, prior: Prior, inputs: tuple[np.ndarray, list[np.ndarray]], scene: Scene,
            observation: Observation, part: str, plane: int, suffix: str, best_x: np.ndarray) -> None:
    """Shape and magnification of what lies on one source plane, whose scene at the best fit is given."""
    x, band = inputs[0], observation.band
    square, share = _arcs_square(scene, observation)
    if square is None:
        table.missing[f"{part}.magnification{suffix}"] = "the source is nowhere bright in the image"
        return
    pixel_area = (float(square.side) / SIDE) ** 2
    best = jax.tree.map(np.asarray, _lensed(scene, square, share))
    start = _size_of(best)
    shape = jax.tree.map(np.asarray, _shape(scene, *start, (1.0, 0.0, 1.0), 30))
    begin = (shape.x, shape.y, shape.radius if np.isfinite(shape.radius) else start[2], shape.tensor)

    totals, edges, peaks, shapes = [], 0, [float(best.peaks)], []
    for first in range(0, len(x), PIECE):
        some = jax.tree.map(lambda leaf, first=first: leaf[first:first + PIECE], inputs)
        seen, ellipse = in_pieces(lambda one: _of_draws(prior, *one, square, share, begin, band, plane), some, PIECE)
        shapes.append(ellipse)
        for one in zip(*seen, strict=True):
            one = Lensed(*one)
            totals.append(magnifications(one, pixel_area).totals)
            edges += bool(one.above[[0, -1]].any() or one.above[:, [0, -1]].any())
            peaks.append(float(one.peaks))
    ellipses = jax.tree.map(lambda *parts: np.concatenate(parts), *shapes)
    table.add(f"{part}.half_light_radius{suffix}", ellipses.radius, shape.radius, "arcsec")
    if part != "source":  # by the redshift of its own plane, and the cosmology, of each draw
        scales = np.asarray(_kpc(prior, np.concatenate([best_x[None], x]), plane), float)
        name = f"{part}.half_light_radius_kpc{suffix}"
        table.add(name, ellipses.radius * scales[1:], shape.radius * scales[0], "kpc")
    table.add(f"{part}.axis_ratio{suffix}", ellipses.q, shape.q)
    three, mine = np.array(totals), magnifications(best, pixel_area).totals
    for method, draws, at_best in zip(METHODS, three.T, mine, strict=True):
        table.add(f"{part}.magnification_{method}{suffix}", draws, at_best)
    # What the paper adopts is the mean of its first two methods.
    table.add(f"{part}.magnification{suffix}", three[:, :2].mean(1), mine[:2].mean())
    table.add(f"{part}.magnification_spread{suffix}", np.ptp(three, axis=1), np.ptp(mine))
    of = f"magnification{suffix}" if part == "source" else f"{part}.magnification{suffix}"
    table.notes.append(f"{of}: of what is above {share:g} of the peak, the lowest threshold at which "
                       f"{len(arcs_of(best.above))} arcs stand apart at the best fit")
    if edges:
        table.notes.append(f"{of}: arcs leave the square that is looked at in {edges} of {len(x)} "
                           "draws")
    if np.abs(np.median(peaks) - 1.0) > PEAKS:
        table.notes.append(f"{of}: the peak of the source is {np.median(peaks):.3f} of that of its "
                           "images; the method of counts is coarse by as much")


def _magnitudes(table: _Table, paths: Sequence[str], fluxes: np.ndarray, best: np.ndarray, hosts: Sequence[bool],
                observation: Observation, suffix: str) -> None:
    """Of each component with an end, and of the source as a whole without points, which are those of `hosts`.

    Fluxes have the shape (draws, components).
    """
    columns = {f"{path}.magnitude{suffix}": (fluxes[:, i], best[i]) for i, path in enumerate(paths)
               if not np.isinf(best[i])}
    sources = np.flatnonzero(hosts)
    if len(sources):
        columns[f"source.magnitude{suffix}"] = fluxes[:, sources].sum(1), best[sources].sum()
    for name, (flux, at_best) in columns.items():
        if observation.zero_point is None:
            table.missing[name] = "observation.zero_point missing"
        else:
            zero = observation.zero_point
            table.add(name, _magnitude(flux, zero), _magnitude(at_best, zero), "mag")


def _magnitude(flux: Any, zero_point: float) -> np.ndarray:
    """NaN of a flux that is not above zero."""
    flux = np.asarray(flux, float)
    return np.where(flux > 0.0, zero_point - 2.5 * np.log10(np.where(flux > 0.0, flux, 1.0)), np.nan)


def _paths(prior: Scene, band: str | None) -> list[str]:
    """Paths of the lights that a band sees, in their order."""
    return [f"{part}.{i}" for part in ("lens_light", "source_light") for i, profile in enumerate(getattr(prior, part))
            if profile.bands is None or band in profile.bands]


def _arcs_square(scene: Scene, observation: Observation) -> tuple[Square | None, float]:
    """The square that holds the arcs of the best fit with room around them, and the threshold that isolates them."""
    grid = observation.grid
    whole = Square(x=float(grid.center_x), y=float(grid.center_y), side=max(grid.shape) * float(grid.pixel_scale))
    image, x, y = (np.asarray(part, float) for part in _lensed_image(scene, whole))
    if not image.max() > 0.0:
        return None, float("nan")
    bright = image > FAINT * image.max()
    low, high = (np.array([end(x[bright]), end(y[bright])]) for end in (np.min, np.max))
    center = 0.5 * (low + high)
    side = min(float(1.15 * np.max(high - low)) + 4.0 * whole.side / SIDE, 2.0 * whole.side)
    square = jax.tree.map(lambda value: np.asarray(value, np.float32),
                          Square(x=float(center[0]), y=float(center[1]), side=side))
    fine, _, _ = _lensed_image(scene, square)
    return square, isolating(np.asarray(fine, float))


def _size_of(best: Lensed) -> tuple[Any, Any, Any]:
    """Centre and radius that are expected of the source, from the pixels that see it."""
    dtype = best.x.dtype
    x, y = best.x[best.above], best.y[best.above]
    radius = 0.5 * max(float(np.ptp(x)), float(np.ptp(y)), 1e-3)
    return np.asarray(np.median(x), dtype), np.asarray(np.median(y), dtype), np.asarray(radius, dtype)


def _filled(prior: Prior, x: Array, amplitudes: list[Array], band: str | None) -> Scene:
    return prior.fill(x).in_band(band).with_amplitudes(amplitudes)


def _flux_of(scene: Scene) -> Array:
    return jnp.stack([jnp.asarray(profile.flux(), float) for profile in scene.light])


_flux_at_best = jax.jit(_flux_of, compiler_options=ON_VECTORS)


@partial(jax.jit, compiler_options=ON_VECTORS)
def _masses(prior: Prior, x: Array) -> Any:
    return jax.vmap(lambda one: jax.tree.map(jnp.asarray, list(prior.fill(one).lenses())))(x)


def _free(prior: Prior, scene: Scene, x: np.ndarray) -> dict[str, np.ndarray]:
    """Redshifts of the lens and of the source, and numbers of the cosmology, that are free, in each draw.

    They are those of the first plane and of the last one behind it. Systems of a cluster are none of them.
    """
    planes = scene.planes
    if not isinstance(planes, Planes):
        return {}
    names = [name for name, leaf in vars(planes.cosmology).items() if is_distribution(leaf)]
    ends = {"z_lens": 0, "z_source": len(planes.redshifts) - 1}
    ends = {name: k for name, k in ends.items() if is_distribution(planes.redshifts[k])
            and (name == "z_lens" or k > 0)}

    def one(x: Array) -> dict[str, Array]:
        at = prior.fill(x).planes
        return {name: jnp.asarray(getattr(at.cosmology, name)) for name in names} \
            | {name: jnp.asarray(at.redshifts[k]) for name, k in ends.items()}

    return jax.tree.map(lambda part: np.asarray(part, float), jax.jit(jax.vmap(one))(x)) if names or ends else {}


@partial(jax.jit, static_argnums=2)
def _kpc(prior: Prior, x: Array, plane: int) -> Array:
    """Length of one arcsec on a plane in each draw [kpc]."""

    def one(x: Array) -> Array:
        planes = prior.fill(x).planes
        return 1e3 * ARCSEC * planes.cosmology.angular_diameter_distance(jnp.asarray(planes.redshifts[plane]))

    return jax.vmap(one)(x)


@partial(jax.jit, static_argnums=3, compiler_options=ON_VECTORS)
def _fluxes(prior: Prior, x: Array, amplitudes: list[Array], band: str | None) -> Array:
    return jax.vmap(lambda one, amp: _flux_of(_filled(prior, one, amp, band)))(x, amplitudes)


@partial(jax.jit, static_argnums=(6, 7))
def _of_draws(prior: Prior, x: Array, amplitudes: list[Array], square: Square, share: float, begin: Any,
              band: str | None, plane: int) -> tuple[Lensed, Shape]:
    """The lensed source and the half-light ellipse of some draws."""

    def one(entry: tuple[Array, list[Array]]) -> tuple[Lensed, Shape]:
        scene = _filled(prior, *entry, band).of_plane(plane)
        return lensed(scene, square, share, SIDE, SIDE), half_light(scene.source_light, *begin)

    return jax.lax.map(one, (x, amplitudes))


_lensed = jax.jit(partial(lensed, n=SIDE, source_side=SIDE))
_shape = jax.jit(lambda scene, x, y, size, tensor, rounds: half_light(scene.source_light, x, y, size, tensor, rounds),
                 static_argnums=5)


@jax.jit
def _lensed_image(scene: Scene, square: Square) -> tuple[Array, Array, Array]:
    """Brightness of the lensed source on a square, not convolved, and where its pixels lie, (SIDE, SIDE) each."""
    x, y = square.pixels(SIDE, jnp.result_type(float))
    beta = trace(scene.mass, x, y)
    return sum((profile.brightness(*beta) for profile in scene.source_light), jnp.zeros_like(x)), x, y
