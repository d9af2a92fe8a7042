"""What is taken for a giant arc and is none: spirals, rings, mergers, pairs, edge-on discs and ghosts in clusters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from giga.ellipse import ellipticity
from giga.lensing.scene import Scene
from giga.light import ring
from giga.light.base import LightProfile
from giga.light.ring import Ring
from giga.light.sersic import unit_flux
from giga.light.spiral import Spiral
from giga.simulate.generator import LENSED
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.derived import Derived
from giga.simulate.populations.population import Population
from giga.simulate.populations.relations import present
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.arc_sources import drawn_sources, magnitudes, offsets, tabled_sources
from giga.simulate.systems.cluster_arcs import arc_scene, cluster_arcs, member_mass, shining
from giga.simulate.systems.cluster_rows import COLUMNS, amplitudes_of, at, light_of, once, shape_of

# All numbers of this file are chosen here, unless they name a source or a measurement.

MAGNIFIED = (3.55, 1.03, 1.5, 6.0)
"""Magnitudes by which a mimic is brighter than a source: mean, scatter and range. Mean and scatter are those of 250
arcs of `cluster_arcs`, whole arc less source, in r (`docs/arcs_picture.py` prints them)."""

SIZE = (1.9, 20.6, -0.1, 0.12)
"""Size [arcsec] at an r magnitude, its slope [dex / mag] and scatter [dex]. The first two are medians of the same arcs:
the radius of a circle as large as the area that has the brightest half of the light, and the magnitude."""

OF_CLUSTER = {"spiral": 0.3, "ring": 0.3, "merger": 0.5, "pair": 0.7, "edge-on": 0.5, "ghost": 0.0}
"""By kind, in the order of their numbers: share that are galaxies of the cluster, with the magnitudes of members; the
others have magnitudes of arcs and colours of sources."""

KINDS = tuple(OF_CLUSTER)
SERSICS = 4  # rows of a mimic that are Sersic profiles; then come a ring and a spiral
RING, SPIRAL = SERSICS, SERSICS + 1
GHOST = (23.2, 25.2)  # brightness of a ghost's ring in its strongest band [mag / arcsec^2]
DIMMER = (1.0, 3.0)  # magnitudes by which it is fainter in another


class Seen(NamedTuple):
    """What the rows of a mimic are made of.

    Attributes:
        x, y: Its place [arcsec].
        size: See `SIZE` [arcsec].
        young, old: Its whole flux in the bands if all of it is the light of young stars, or of old ones [counts / s].
        half: Half-width of the field [arcsec].
        zero_points: Of the bands.
        u: Uniform numbers, each used once, shape (40,).
    """

    x: Array
    y: Array
    size: Array
    young: Array
    old: Array
    half: Array
    zero_points: Array
    u: Array


def cluster_mimics(survey: Survey, shares: Mapping[str, float] | None = None, **settings: Any) -> Population:
    """Clusters without an arc, each with one thing that is taken for one.

    The cluster is that of `cluster_arcs`, which lets nothing be lensed here and has no impostors; the mimic stands
    where the arc would be, a ghost anywhere. No mass bends light, and nothing is behind. All profiles of all kinds are
    in each scene, those of the other kinds with amplitudes of zero.

    - `spiral`: disc with two arms of either sense and a bulge;
    - `ring`: blue annulus about a nucleus that may be off its middle;
    - `merger`: two galaxies, in half of the cases three, that overlap, with an elongated tail;
    - `pair`: two galaxies side by side;
    - `edge-on`: disc of axis ratio 0.1 to 0.2 with a bulge;
    - `ghost`: wide annulus of low brightness, stronger in one band: a star out of focus.

    Extras: `lensed`, which is 0; `mimic`, the number of the kind in `KINDS`; `mimic_mag`, its magnitudes in the bands;
    `mimic_size` [arcsec]; and of the cluster `theta_E`, `log_m500`, `c500` and `z_lens`, as in `cluster_arcs`.

    Args:
        survey: With some of the bands g, r and z.
        shares: Of the kinds by name, none negative, in any unit; those not named have none. None is all alike.
        settings: `theta_E`, `members`, `light` and `catalogue` of `cluster_arcs`.

    Raises:
        ValueError: A kind that is unknown, shares that are none, or what `cluster_arcs` refuses.
    """
    scene, extras = arc_scene(survey, **settings, lensed=0.0, impostors=0.0)
    lights, about = _mimic(survey, shares, extras, settings.get("catalogue"))
    about |= {name: extras[name] for name in ("theta_E", "log_m500", "c500", "z_lens")}
    # The last galaxy of the cluster's field is the impostor, which is never there.
    return Population.of(Scene(lens_light=[*scene.lens_light[:-1], *lights]), extras={LENSED: 0, **about})


def arcs_among_mimics(survey: Survey, mimics: float = 0.0, shares: Mapping[str, float] | None = None,
                      **settings: Any) -> Population:
    """The population of `cluster_arcs`, where a share of what is no lens has a mimic: negatives that are hard.

    A cluster with a mimic has no impostor. It keeps its mass, behind which there is no light then. The extras are those
    of `cluster_arcs`, with `mimic`, the number of the kind in `KINDS` or -1 where there is none, and `mimic_mag` and
    `mimic_size` as `cluster_mimics` has them, also of what is not there.

    Args:
        survey: With some of the bands g, r and z.
        mimics: Share of what is no lens that has one; 0 is `cluster_arcs`.
        shares: Of the kinds, see `cluster_mimics`.
        settings: Of `cluster_arcs`.

    Raises:
        ValueError: A share outside 0 to 1, or what `cluster_mimics` refuses.
    """
    if not 0.0 <= mimics <= 1.0:
        raise ValueError(f"mimics: got {mimics:g}; expected a share from 0 to 1")
    if not mimics:
        return cluster_arcs(survey, **settings)
    scene, extras = arc_scene(survey, **settings)
    there = Derived(_beside, extras[LENSED], dist.Bernoulli(mimics))
    lights, about = _mimic(survey, shares, extras, settings.get("catalogue"), there)
    about["mimic"] = Derived(_or_none, about["mimic"], there)
    *others, impostor = scene.lens_light
    impostor = impostor.replace(amp=Derived(_unless, impostor.amp, there))
    return Population.of(scene.replace(lens_light=[*others, impostor, *lights]), extras={**extras, **about})


def _mimic(survey: Survey, shares: Mapping[str, float] | None, extras: Mapping[str, Any], catalogue: Catalogue | None,
           there: Derived | None = None) -> tuple[list[LightProfile], dict[str, Any]]:
    """Light of a mimic in a cluster, and its extras.

    Args:
        survey, shares: See `cluster_mimics`.
        extras: Of the cluster.
        catalogue: Of sources.
        there: 1 where it shines and 0 where not; None is everywhere.
    """
    weights = _weights(shares)
    names = tuple(band.name for band in survey.bands)
    kind = Derived(_kind, dist.Uniform(0.0, 1.0), np.cumsum(weights)[:-1].astype(np.float32))
    seen = Derived(_seen, kind, drawn_sources() if catalogue is None else tabled_sources(catalogue),
                   dist.TruncatedNormal(*MAGNIFIED[:2], low=MAGNIFIED[2], high=MAGNIFIED[3]),
                   dist.Normal(0.0, 1.0), dist.Uniform(0.0, 1.0).expand([2]), extras["z_lens"], offsets(names),
                   *shining(survey))
    zero_points = survey.zero_points.astype(np.float32)
    rows = Derived(_rows, kind, seen, extras["image_x"], extras["image_y"], 0.5 * min(survey.shape)
                   * survey.pixel_scale, zero_points, dist.Uniform(0.0, 1.0).expand([40]))
    R, n, angle, bend = (COLUMNS.index(name) for name in ("R", "n", "there", "theta_E"))
    lights = [*(light_of(rows, k) for k in range(SERSICS)),
              Ring(amp=amplitudes_of(rows, RING), radius=at(rows, (RING, R)), width=at(rows, (RING, n)),
                   **shape_of(rows, RING)),
              Spiral(amp=amplitudes_of(rows, SPIRAL), Rs=at(rows, (SPIRAL, R)), contrast=at(rows, (SPIRAL, n)),
                     pitch=at(rows, (SPIRAL, bend)), phi0=at(rows, (SPIRAL, angle)), **shape_of(rows, SPIRAL))]
    if there is not None:
        lights = [profile.replace(amp=present(profile.amp, there)) for profile in lights]
    return lights, dict(mimic=kind, mimic_mag=Derived(_magnitudes, rows, zero_points), mimic_size=at(seen, 0))


def _weights(shares: Mapping[str, float] | None) -> np.ndarray:
    """Shares of the kinds that sum to one, in their order. Raises ValueError."""
    shares = dict.fromkeys(KINDS, 1.0) if shares is None else shares
    if unknown := [name for name in shares if name not in KINDS]:
        raise ValueError(f"shares: got {unknown[0]!r}; expected some of {', '.join(KINDS)}")
    weights = np.array([shares.get(name, 0.0) for name in KINDS], float)
    if not (np.isfinite(weights).all() and (weights >= 0.0).all() and weights.sum() > 0.0):
        raise ValueError(f"shares: got {weights.tolist()}; expected none below 0, and one above")
    return weights / weights.sum()


# Functions of Deriveds are named ones of the module, so that two populations that are built alike compile once.

def _kind(uniform: Any, edges: Any) -> Array:
    return jnp.sum(uniform >= jnp.asarray(edges))


def _beside(lensed: Any, mimic: Any) -> Array:
    """Whether a mimic is there: never beside an arc."""
    return (1 - lensed) * mimic


def _unless(value: Any, there: Any) -> Array:
    return value * (1 - there)


def _or_none(kind: Any, there: Any) -> Array:
    return jnp.where(there == 1, kind, -1)


def _seen(kind: Any, source: Any, magnified: Any, normal: Any, uniform: Any, z: Any, offset: Any, grid: Any,
          table: Any) -> Array:
    """Size, then the magnitudes of the whole as young and as old light."""
    early, late = ([jnp.interp(z, jnp.asarray(grid), jnp.asarray(table)[k, :, band])
                    for band in range(table.shape[-1])] for k in (0, 1))
    old, new = jnp.stack(early), jnp.stack(late)
    member = uniform[0] < jnp.asarray(list(OF_CLUSTER.values()))[kind]
    young = jnp.where(member, new - 2.5 * (member_mass(uniform[1]) - 11.0), magnitudes(source, offset) - magnified)
    # Old light of the same mean magnitude has the colours of early types of the cluster.
    old = old - jnp.mean(old) + jnp.mean(young)
    radius, pivot, slope, scatter = SIZE
    size = radius * 10.0 ** (slope * (jnp.clip(jnp.mean(young), 17.0, 24.0) - pivot) + scatter * normal)
    return once(jnp.concatenate([size[None], young, old]))


def _rows(kind: Any, seen: Any, x: Any, y: Any, half: Any, zero_points: Any, u: Any) -> Array:
    """The rows of a mimic: `COLUMNS`, then amplitudes. Of a ring R is the radius and n the width; of a spiral R is the
    scale length, n the contrast, theta_E the pitch and there the angle of an arm."""
    young, old = 10.0 ** (-0.4 * (seen[1:].reshape(2, -1) - zero_points))
    drawn = Seen(x, y, seen[0], young, old, jnp.asarray(half), jnp.asarray(zero_points), u)
    return once(jnp.stack([MAKE[name](drawn) for name in KINDS])[kind])


def _magnitudes(rows: Any, zero_points: Any) -> Array:
    """Magnitudes of the whole in the bands."""
    R, n = (rows[:, COLUMNS.index(name)] for name in ("R", "n"))
    unit = jnp.concatenate([unit_flux(R[:SERSICS], n[:SERSICS]), ring.unit_flux(R[RING], n[RING])[None],
                            2.0 * math.pi * R[SPIRAL][None] ** 2])
    return zero_points - 2.5 * jnp.log10(unit @ rows[:, len(COLUMNS):])


def _between(u: Array, low: float, high: float) -> Array:
    return low + (high - low) * u


def _row(flux: Any, unit: Any, x: Any, y: Any, q: Any, phi: Any, R: Any, n: Any, bend: Any = 0.0,
         there: Any = 1.0) -> Array:
    e1, e2 = ellipticity(q, phi)
    return jnp.concatenate([jnp.stack([jnp.asarray(value, flux.dtype) for value in (
        x, y, e1, e2, bend, R, n, there)]), flux / unit])


def _galaxy(flux: Array, x: Array, y: Array, q: Any, phi: Any, R: Any, n: Any) -> Array:
    return _row(flux, unit_flux(R, jnp.asarray(n, flux.dtype)), x, y, q, phi, R, n)


def _whole(seen: Seen, sersics: list[Array], annulus: Array | None = None, arms: Array | None = None) -> Array:
    """All rows of a mimic, those that it lacks dark."""
    dark = _row(jnp.zeros_like(seen.young), 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.5, 0.5)
    lacking = [dark] * (SERSICS - len(sersics))
    return jnp.stack([*sersics, *lacking, dark if annulus is None else annulus, dark if arms is None else arms])


def _spiral(seen: Seen) -> Array:
    u, share = seen.u, _between(seen.u[0], 0.1, 0.35)
    q, phi, Rs = _between(u[1], 0.4, 1.0), math.pi * u[2], seen.size
    pitch = _between(u[3], 0.25, 0.55)  # 14 to 32 degrees
    pitch = jnp.where(u[4] < 0.5, pitch, math.pi - pitch)
    disc = _row((1.0 - share) * seen.young, 2.0 * math.pi * Rs**2, seen.x, seen.y, q, phi, Rs,
                _between(u[5], 0.6, 0.95), pitch, 2.0 * math.pi * u[6])
    bulge = _galaxy(share * seen.old, seen.x, seen.y, 0.5 + 0.5 * q, phi, 0.25 * seen.size, 2.5)
    return _whole(seen, [bulge], arms=disc)


def _ring(seen: Seen) -> Array:
    u, share = seen.u, _between(seen.u[0], 0.15, 0.5)
    q, phi, radius = _between(u[1], 0.5, 1.0), math.pi * u[2], _between(u[3], 1.1, 1.7) * seen.size
    width = _between(u[4], 0.12, 0.3) * radius
    away, angle = 0.3 * radius * u[5], 2.0 * math.pi * u[6]
    annulus = _row((1.0 - share) * seen.young, ring.unit_flux(radius, width), seen.x, seen.y, q, phi, radius, width)
    nucleus = _galaxy(share * seen.old, seen.x + away * jnp.cos(angle), seen.y + away * jnp.sin(angle),
                      _between(u[7], 0.6, 1.0), math.pi * u[8], 0.25 * radius, 2.0)
    return _whole(seen, [nucleus], annulus)


def _merger(seen: Seen) -> Array:
    u, angle = seen.u, 2.0 * math.pi * seen.u[0]
    # Of the light: the tail's, the third galaxy's in half of the cases, and the second's of what is left.
    tail, third = _between(u[1], 0.2, 0.4), 0.25 * (u[2] < 0.5)
    second = (1.0 - tail - third) * _between(u[3], 0.25, 0.5)
    shares = (1.0 - tail - third - second, second, third)
    parts = []
    for k, share in enumerate(shares):
        mixed = _between(u[4 + k], 0.0, 1.0)
        away = seen.size * (0.0 if k == 0 else _between(u[7 + k], 0.7, 1.3))
        turned = angle + 2.0 * k  # the third at another side than the second
        parts.append(_galaxy(share * (mixed * seen.young + (1.0 - mixed) * seen.old),
                             seen.x + away * jnp.cos(turned), seen.y + away * jnp.sin(turned),
                             _between(u[10 + k], 0.4, 1.0), math.pi * u[13 + k], 0.45 * seen.size,
                             _between(u[16 + k], 1.0, 3.0)))
    # The tail leaves the first one sideways.
    out, leaves = seen.size * _between(u[20], 1.2, 2.0), angle + _between(u[21], -0.6, 0.6)
    parts.append(_galaxy(tail * seen.young, seen.x - out * jnp.cos(leaves), seen.y - out * jnp.sin(leaves),
                         _between(u[22], 0.1, 0.2), leaves + _between(u[23], -0.7, 0.7), 0.7 * seen.size, 0.6))
    return _whole(seen, parts)


def _pair(seen: Seen) -> Array:
    u, angle, apart = seen.u, 2.0 * math.pi * seen.u[0], seen.size * _between(seen.u[1], 1.0, 2.5)
    fainter = 1.0 / (1.0 + 10.0 ** (0.4 * 2.0 * u[2]))  # share of the second: up to two magnitudes
    return _whole(seen, [_galaxy(share * light, seen.x + sign * 0.5 * apart * jnp.cos(angle),
                                 seen.y + sign * 0.5 * apart * jnp.sin(angle), _between(u[3 + k], 0.4, 1.0),
                                 math.pi * u[5 + k], _between(u[7 + k], 0.3, 0.6) * seen.size,
                                 _between(u[9 + k], 1.0, 4.0))
                         for k, (share, light, sign) in enumerate((
                             (1.0 - fainter, seen.old, 1.0),
                             (fainter, jnp.where(u[11] < 0.5, seen.old, seen.young), -1.0)))])


def _edge_on(seen: Seen) -> Array:
    u, share, phi = seen.u, _between(seen.u[0], 0.05, 0.3), math.pi * seen.u[1]
    return _whole(seen, [
        _galaxy((1.0 - share) * seen.young, seen.x, seen.y, _between(u[2], 0.1, 0.2), phi, 0.9 * seen.size, 1.0),
        _galaxy(share * seen.old, seen.x, seen.y, _between(u[3], 0.5, 0.8), phi, 0.3 * seen.size, 2.0)])


def _ghost(seen: Seen) -> Array:
    u, bands = seen.u, seen.young.shape[0]
    strongest = jnp.arange(bands) == jnp.floor(bands * u[0])
    faint = _between(u[1], *GHOST) + jnp.where(strongest, 0.0, _between(u[2:2 + bands], *DIMMER))
    radius = _between(u[8], 5.0, 14.0)  # [arcsec]
    width = _between(u[9], 0.12, 0.25) * radius
    # Of one brightness per arcsec^2, so of no size's flux.
    annulus = _row(10.0 ** (-0.4 * (faint - seen.zero_points)), 1.0, seen.half * _between(u[10], -1.0, 1.0),
                   seen.half * _between(u[11], -1.0, 1.0), _between(u[12], 0.85, 1.0), math.pi * u[13], radius, width)
    return _whole(seen, [], annulus)


MAKE: dict[str, Callable[[Seen], Array]] = {"spiral": _spiral, "ring": _ring, "merger": _merger, "pair": _pair,
                                            "edge-on": _edge_on, "ghost": _ghost}
"""The rows of each kind."""
