"""The images of point sources that a fit has: where, how bright and when, with errors, beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.bayes.points import Matched, PointTerm, match, source_flux
from giga.bayes.prior import Prior
from giga.bayes.systems import Term
from giga.component import in_float64
from giga.inference.digits import moments
from giga.inference.field import view_of
from giga.lensing.delays import arrival_times, days, fermat_potential
from giga.lensing.einstein import in_pieces
from giga.lensing.images import DESCENT, TWINS, Finder, Images, find_images, newton
from giga.lensing.planes import Planes
from giga.lensing.redshifts import Redshifts

MOST = 1000  # draws that images are followed in
PIECE = 50  # draws in a compiled call
FAINT = 1e-3  # of the brightest image: what nobody has seen and is fainter is left out
FURTHEST = 2.0  # half-widths of the field: an image that is further away has left it
UNITS = {"x": "arcsec", "y": "arcsec", "magnification": "", "flux": "", "fermat_potential": "arcsec2", "delay": "days"}
"""What there may be of an image, with its unit; fluxes are in that of the measured ones."""


@dataclass(frozen=True)
class PointImage:
    """One image of a point source.

    Attributes:
        source: Number of the source in `[[points]]`, from 0.
        seen: Number of the image in what was measured of the source, from 0; None is an image that nobody has seen.
        parity: Sign of the magnification at the best fit; 0 where the best fit has no image.
        numbers: By a name in UNITS: "best", of a finished fit "mean", "sd", "q16", "q50", "q84" over the draws that
            have the image, and "observed" and "sigma" where it was measured. Fermat potential and delay are those over
            the first image's that was measured.
        draws: Share of the draws that have it; None without draws.
    """

    source: int
    seen: int | None
    parity: int
    numbers: Mapping[str, Mapping[str, float]]
    draws: float | None = None


@dataclass(frozen=True)
class PointTable:
    """All images of the point sources of a fit.

    Attributes:
        rows: Source by source, first the images that were seen in their order, then the others, the brightest first.
        notes: What must be known of them, a sentence each.
        count: Number of draws.
        time_delay_distance: By the redshifts of the lens, of a scene without planes [Mpc]; None otherwise.
    """

    rows: tuple[PointImage, ...] = ()
    notes: tuple[str, ...] = ()
    count: int = 0
    time_delay_distance: float | None = None

    def at(self, redshifts: Redshifts) -> PointTable:
        """The same with delays of a scene without planes, where both redshifts are known; see `Redshifts`."""
        have = {"delay" in row.numbers for row in self.rows if "fermat_potential" in row.numbers}
        if redshifts.missing or have != {False}:
            return self
        distance = redshifts.cosmology.time_delay_distance(redshifts.z_lens, redshifts.z_source)  # pyright: ignore
        one = float(days(distance, jnp.ones(())))

        def timed(row: PointImage) -> PointImage:
            times = {key: one * value for key, value in row.numbers["fermat_potential"].items()}
            return replace(row, numbers={**row.numbers, "delay": times})

        return replace(self, rows=tuple(map(timed, self.rows)), time_delay_distance=float(distance))


def point_images(prior: Prior, terms: Sequence[Term], best: np.ndarray, x: np.ndarray | None = None) -> PointTable:
    """Find the images of each point source at the best fit, and follow them through the draws.

    All images of the best fit are found (`find_images`); those that were measured are paired with them, the nearest
    first. In each draw Newton's method goes from an image of the best fit to that of the draw. One that has vanished or
    changed its parity is not there. In float64, whatever the precision of the fit.

    Args:
        prior: Of the posterior.
        terms: What was fitted; what is no `PointTerm` is passed over.
        best: Physical values of the parameters at the best fit, shape (n,).
        x: Draws of them, shape (draws, n); None for none.
    """
    taken = np.zeros((0, len(best))) if x is None else x[np.unique(np.linspace(0, len(x) - 1, min(MOST, len(x)))
                                                                   .round().astype(int))]
    rows, notes = [], []
    with jax.enable_x64(True):
        double = in_float64(prior)
        for k, term in enumerate(term for term in terms if isinstance(term, PointTerm)):
            more, said = _of_source(double, in_float64(term), k, np.concatenate([best[None], taken]).astype(float))
            rows += more
            notes += [f"points.{k}: {text}" for text in said]
    return PointTable(tuple(rows), tuple(notes), len(taken))


def delay_distances(prior: Prior, terms: Sequence[Term], x: np.ndarray) -> dict[str, np.ndarray]:
    """Time-delay distance of the sources of points in each draw, shape (draws,) each [Mpc].

    By name: `time_delay_distance` of the last plane, `source_plane_1.time_delay_distance` of plane 1. A source behind
    several lens planes has none, and a scene without planes has no redshifts.

    Args:
        prior: Of the posterior.
        terms: What was fitted.
        x: Draws of the parameters, shape (draws, n).
    """
    found = {}
    scene = prior.fill(x[0])
    planes = scene.planes
    if not isinstance(planes, Planes):
        return found
    for source in dict.fromkeys(term.data.plane % len(planes.redshifts) for term in terms
                                if isinstance(term, PointTerm)):
        name = "time_delay_distance"
        if source != len(planes.redshifts) - 1:
            name = f"source_plane_{source}.{name}"
        lenses = list(planes.lenses(scene.mass, source))
        if len(lenses) == 1:
            found[name] = np.asarray(_distances(prior, lenses[0], source, x))
    return found


@partial(jax.jit, static_argnums=(1, 2))
def _distances(prior: Prior, lens: int, source: int, x: Array) -> Array:
    """Time-delay distance of two planes in each draw [Mpc]."""

    def one(x: Array) -> Array:
        planes = prior.fill(x).planes
        here, there = (jnp.asarray(planes.redshifts[k], float) for k in (lens, source))
        return planes.cosmology.time_delay_distance(here, there)

    return jax.vmap(one)(x)


def _of_source(prior: Prior, term: PointTerm, k: int, x: np.ndarray) -> tuple[list[PointImage], list[str]]:
    """Rows of one source, and what must be said of them; x has the best fit first."""
    view = view_of(term)
    finder = term.finder if term.finder is not None else jax.tree.map(np.asarray, Finder(half_width=view.half_width))
    images, matched = jax.tree.map(np.asarray, _found(prior, term, finder, x[0]))
    count = len(np.asarray(term.data.x))
    own = [(matched.x[i], matched.y[i]) for i in range(count) if matched.distinct[i]]
    bright = images.found & (np.abs(images.magnification) > FAINT * np.abs(images.magnification).max())
    more = [i for i in np.flatnonzero(bright) if (images.x[i], images.y[i]) not in own]
    starts = np.concatenate([np.stack([matched.x, matched.y], 1), np.stack([images.x, images.y], 1)[more]])
    signs = np.concatenate([np.where(matched.distinct, np.sign(matched.magnification), 0.0),
                            np.sign(images.magnification)[more]])
    given, notes = _with_times(prior, term, x[0])
    values = in_pieces(lambda part: _followed(prior, term, starts, signs, finder.half_width, part, given), x, PIECE)
    there = np.isfinite(values["magnification"])
    rows = [_row(k, i if i < count else None, {name: column[:, i] for name, column in values.items()},
                 _measured(term, i) if i < count else {}) for i in range(len(starts))]
    if missing := [str(i) for i in range(count) if not matched.distinct[i]]:
        notes.append(f"the best fit has no image for those seen with the numbers {', '.join(missing)}")
    if more:
        notes.append(f"the best fit has {len(more)} image{'s' * (len(more) > 1)} that nobody has seen")
    if not images.complete:
        notes.append("an image of the best fit may be missing")
    if lost := np.sum(~there[1:, signs != 0.0].all(1)):
        notes.append(f"an image of the best fit is missing in {lost} of {len(x) - 1} draws")
    return rows, notes


def _row(source: int, seen: int | None, values: Mapping[str, np.ndarray],
         measured: Mapping[str, tuple[float, float]]) -> PointImage:
    """A row of what an image has at the best fit, first, and in the draws; NaN where it is not there."""
    mu, numbers = values["magnification"], {}
    for name, column in values.items():
        numbers[name] = {"best": float(column[0])} | (moments(column[1:]) if len(column) > 1 else {})
        if name in measured:
            numbers[name] |= dict(zip(("observed", "sigma"), measured[name], strict=True))
    parity = int(np.sign(mu[0])) if np.isfinite(mu[0]) else 0
    return PointImage(source, seen, parity, numbers, float(np.isfinite(mu[1:]).mean()) if len(mu) > 1 else None)


def _measured(term: PointTerm, i: int) -> dict[str, tuple[float, float]]:
    """What was measured of an image, with its standard deviation. Places that are parameters were not."""
    data = term.data
    out: dict[str, Any] = {name: (getattr(data, name)[i], data.sigma[i]) for name in ("x", "y")} \
        if not term.images else {}
    if data.flux is not None:
        out["flux"] = data.flux[i], data.flux_sigma[i]
    if data.delay is not None and i:
        out["delay"] = data.delay[i - 1], data.delay_sigma[i - 1]
    return {name: (float(value), float(sigma)) for name, (value, sigma) in out.items()}


def _with_times(prior: Prior, term: PointTerm, x: Any) -> tuple[tuple[str, ...], list[str]]:
    """Which of Fermat potential and delay a lens tells, and why it does not tell others."""
    notes, given = [], []
    for name, function in TIMES.items():
        if name == "delay" and not isinstance(prior.fill(x).planes, Planes):
            continue
        try:
            jax.eval_shape(lambda prior, term, x, function=function: function(
                prior.fill(x), term.data.plane, term.data.x, term.data.y, jnp.zeros(2)), prior, term, x)
            given.append(name)
        except NotImplementedError as error:
            notes.append(f"no {name.replace('_', ' ')}: {error}")
    return tuple(given), notes


TIMES: Mapping[str, Any] = {
    "fermat_potential": lambda scene, plane, x, y, beta: fermat_potential(scene.lenses(plane), x, y, *beta),
    "delay": lambda scene, plane, x, y, beta: arrival_times(scene.mass, scene.planes, x, y, plane, beta)}
"""What tells when an image arrives, of a scene, its source plane, the images, and the place of the source."""


@jax.jit
def _found(prior: Prior, term: PointTerm, finder: Finder, x: Array) -> tuple[Images, Matched]:
    """All images of the best fit, and for each that was seen the one that it has there."""
    scene = prior.fill(x)
    source = term.place(scene)
    images = find_images(scene.lenses(term.data.plane), source[0], source[1], finder)
    return images, match(images, term.placed(scene))


@partial(jax.jit, static_argnums=6)
def _followed(prior: Prior, term: PointTerm, starts: Array, signs: Array, half: Array, x: Array,
              times: tuple[str, ...]) -> dict[str, Array]:
    """What images have in each of some draws, shape (draws, images) by name; NaN where a draw has not the image.

    Args:
        prior, term: What was fitted.
        starts: Images of the best fit, shape (images, 2), those that were seen first.
        signs: Their parities; 0 of what is no image.
        half: Half-width of the field [arcsec].
        x: Draws of the parameters, shape (draws, n).
        times: Names in TIMES.
    """

    def one(x: Array) -> dict[str, Array]:
        scene, plane = prior.fill(x), term.data.plane
        mass, beta, data = list(scene.lenses(plane)), term.place(scene), term.placed(scene)
        at, settled, det = newton(mass, beta, starts, half, DESCENT)
        apart = jnp.max(jnp.abs(at[:, None] - at), -1) + jnp.diag(jnp.full(len(at), jnp.inf))
        alone = ~jnp.any((apart < TWINS["float64"]) & (signs != 0.0), 1)
        there = settled & (jnp.sign(det) == signs) & alone & jnp.all(jnp.abs(at) < FURTHEST * half, -1)
        at = jnp.where(there[:, None], at, starts)
        mu = jnp.where(there, 1.0 / jnp.where(there, det, 1.0), 0.0)
        found = {"x": at[:, 0], "y": at[:, 1], "magnification": mu}
        if data.flux is not None:
            found["flux"] = source_flux(mu[:len(data.x)], data) * jnp.abs(mu)
        for name in times:
            value = TIMES[name](scene, plane, at[:, 0], at[:, 1], beta)
            found[name] = jnp.where(there[0], value - value[0], jnp.nan)
        return {name: jnp.where(there, value, jnp.nan) for name, value in found.items()}

    return jax.vmap(one)(x)
