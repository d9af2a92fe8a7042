"""Galaxy-galaxy strong lenses as the GGSL-UNet paper draws them, and as a camera would see them."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.light.base import LightProfile
from giga.light.spiral import Spiral
from giga.mass import SIE, Shear
from giga.simulate.generator import LENSED
from giga.simulate.populations.derived import Derived
from giga.simulate.populations.population import Population
from giga.simulate.populations.relations import amplitude, ellipticity, present, within
from giga.simulate.surveys.survey import Survey

PAIRS = 0.2  # share of deflectors that are two galaxies
EMPTY = 0.05  # share of images without a source
B_N = "linear"  # of the profiles that the zoo's networks were trained on
# Most companions a square arcminute: about twice the field's to 25th magnitude (46 10^(0.31 (i - 25)): LSST Science
# Book, arXiv:0912.0201, sect. 3.7), for massive galaxies cluster.
DENSITY = 60.0

KINDS = ("blue", "red", "star", "pair", "spiral")
"""Kinds of companions, in the order of their shares; the share of the last may be left out, and is zero then."""

# Colours of galaxies relative to their r magnitude (mean, scatter), by band: early types at z = 0.2-0.6 for deflectors,
# star-forming galaxies at z = 1-3 for sources. Broad on purpose: a network that separates by shape is to learn nothing
# from a narrow colour. Those of space telescopes' filters lie between those of the bands about them.
DEFLECTOR_COLOURS = {"u": (3.0, 0.5), "g": (1.3, 0.3), "r": (0.0, 0.0), "i": (-0.55, 0.15), "z": (-0.85, 0.2),
                     "y": (-1.0, 0.25), "Y": (-1.0, 0.25), "F606W": (0.3, 0.1), "F814W": (-0.65, 0.15),
                     "VIS": (-0.35, 0.1)}
SOURCE_COLOURS = {"u": (0.8, 0.5), "g": (0.3, 0.3), "r": (0.0, 0.0), "i": (-0.2, 0.2), "z": (-0.35, 0.25),
                  "y": (-0.4, 0.3), "Y": (-0.4, 0.3), "F606W": (0.08, 0.1), "F814W": (-0.25, 0.2),
                  "VIS": (-0.15, 0.15)}

# Of stars at the magnitudes of companions, from the turn-off of the halo to M dwarfs: rough, as broad as their locus is
# long, and no fit to a survey.
STAR_COLOURS = {"u": (2.4, 0.7), "g": (0.9, 0.4), "r": (0.0, 0.0), "i": (-0.5, 0.4), "z": (-0.8, 0.6),
                "y": (-0.95, 0.7), "Y": (-0.95, 0.7), "F606W": (0.25, 0.1), "F814W": (-0.6, 0.45),
                "VIS": (-0.35, 0.25)}
# Half-light radius of a star in subpixels. A population takes no points; a narrower Gaussian than this, of a standard
# deviation of 0.6 subpixels, would gain or lose light with where it lies between its samples.
STAR = 0.7
PAIR = (0.5, 1.5)  # distance of the two galaxies of a pair [arcsec]
# Of spirals, chosen here: half-light radius of the disc [arcsec] at an r magnitude, its slope [dex / mag] and scatter
# [dex], so that 4.5 kpc at z = 0.3 are of 21 mag; share of a bulge in r, and its radius in those of the disc.
SPIRAL_SIZE = (1.0, 21.0, -0.1, 0.12)
BULGE, BULGE_SIZE = (0.1, 0.35), 0.25
PITCH = (0.25, 0.55)  # 14 to 32 degrees
CONTRAST = (0.6, 0.95)
HALF_LIGHT = 1.678  # half-light radius of an exponential disc in its scale length


def uniform(low: float, high: float) -> dist.Distribution:
    """A flat distribution; every call is a parameter of its own."""
    return dist.Uniform(low, high)


def table_2(clumps: int = 0, empty: float = EMPTY) -> Population:
    """The population of Table 2, in one band: light normalised later, by `giga.simulate.mixing.Mixing`.

    Two of ten deflectors are pairs whose centres lie within one Einstein radius; one of twenty images has no source.
    The paper gives no flux ratio of a pair: it is uniform here. An extra "lensed" tells whether there is a source.

    Args:
        clumps: Bright knots of the source, which the paper's has none of: another kind of source, to test with.
        empty: Share of images without a source.

    References:
        Zhong et al., "GGSL-UNet I", section 2.3 and Table 2.
    """
    theta_E, lensed = uniform(1.0, 3.0), dist.Bernoulli(1.0 - empty)
    center = uniform(-0.6, 0.6), uniform(-0.6, 0.6)
    e1, e2 = ellipticity(uniform(0.4, 1.0), uniform(0.0, np.pi))
    galaxies = [_galaxy(1.0, (e1, e2), center, uniform(1.0, 3.0), uniform(1.0, 6.0)),
                _galaxy(present(uniform(0.0, 1.0), PAIRS),
                        ellipticity(uniform(0.4, 1.0), uniform(0.0, np.pi)), _around(center, theta_E, 1.0),
                        uniform(1.0, 3.0), uniform(1.0, 6.0))]
    place, radius = _around(center, theta_E, 0.8), uniform(0.05, 1.0)
    source = [_galaxy(present(1.0, lensed), ellipticity(uniform(0.2, 1.0), uniform(0.0, np.pi)), place, radius,
                      uniform(1.0, 6.0))]
    source += [_galaxy(present(uniform(0.5, 3.0), lensed), (0.0, 0.0), _around(place, radius, 1.0),
                       uniform(0.03, 0.1), 1.0) for _ in range(clumps)]
    mass = [SIE(theta_E=theta_E, e1=e1, e2=e2, center_x=center[0], center_y=center[1]),
            Shear(gamma1=uniform(0.0, 0.1), gamma2=uniform(0.0, 0.1))]
    return Population.of(Scene(mass=mass, lens_light=galaxies, source_light=source), extras={LENSED: lensed})


def physical(survey: Survey, lens_magnitude: tuple[float, float] = (17.0, 20.5),
             source_magnitude: tuple[float, float] = (21.0, 24.5), clumps: int = 0,
             empty: float = EMPTY) -> Population:
    """The geometry of Table 2 with magnitudes, colours and slopes that differ between bands.

    Where the paper raises an image to a random power in each band, a deflector has a Sersic index and a radius of its
    own in each band; where it draws strengths, magnitudes and colours are; shears have either sign.

    Args:
        survey: Whose bands and zero points are used.
        lens_magnitude: Range of the deflector's r magnitude.
        source_magnitude: Range of the unlensed source's r magnitude.
        clumps: Bright knots of the source, to test with.
        empty: Share of images without a source.

    Raises:
        ValueError: A band without colours.
    """
    theta_E, lensed = dist.TruncatedNormal(1.3, 0.6, low=0.6, high=3.0), dist.Bernoulli(1.0 - empty)
    center = dist.Normal(0.0, 0.1), dist.Normal(0.0, 0.1)
    e1, e2 = ellipticity(uniform(0.4, 1.0), uniform(0.0, np.pi))
    bright, faint = uniform(*lens_magnitude), uniform(*source_magnitude)
    radius, index = dist.LogNormal(np.log(1.5), 0.35), uniform(1.5, 6.0)
    galaxies = [_coloured(survey, bright, DEFLECTOR_COLOURS, (e1, e2), center, radius, index, varies=True),
                _coloured(survey, Derived(_fainter, bright, uniform(0.0, 2.5)), DEFLECTOR_COLOURS,
                          ellipticity(uniform(0.4, 1.0), uniform(0.0, np.pi)), _around(center, theta_E, 1.0),
                          dist.LogNormal(np.log(1.0), 0.35), uniform(1.0, 6.0), probability=PAIRS, varies=True)]
    place, size = _around(center, theta_E, 0.5), dist.LogNormal(np.log(0.25), 0.5)
    source = [_coloured(survey, faint, SOURCE_COLOURS, ellipticity(uniform(0.2, 1.0), uniform(0.0, np.pi)), place,
                        size, uniform(0.6, 4.0), probability=lensed)]
    source += [_coloured(survey, Derived(_fainter, faint, uniform(1.5, 3.0)), SOURCE_COLOURS, (0.0, 0.0),
                         _around(place, size, 1.0), uniform(0.03, 0.1), 1.0, probability=lensed) for _ in range(clumps)]
    mass = [SIE(theta_E=theta_E, e1=e1, e2=e2, center_x=center[0], center_y=center[1]),
            Shear(gamma1=dist.Normal(0.0, 0.04), gamma2=dist.Normal(0.0, 0.04))]
    return Population.of(Scene(mass=mass, lens_light=galaxies, source_light=source),
                         extras={LENSED: lensed, "lens_magnitude": bright, "source_magnitude": faint})


def check_kinds(kinds: tuple[float, ...] | None) -> None:
    """Refuse what are no shares of `KINDS`. Raises ValueError."""
    if kinds is not None and not (len(kinds) in (len(KINDS) - 1, len(KINDS)) and abs(sum(kinds) - 1.0) < 1e-6
                                  and all(0.0 <= share <= 1.0 for share in kinds)):
        raise ValueError(f"kinds: got {list(kinds)}; expected {len(KINDS) - 1} or {len(KINDS)} shares from 0 to 1 that "
                         f"sum to 1, of {', '.join(KINDS)}")


def companions(survey: Survey, most: int = 3, magnitude: tuple[float, float] = (20.0, 25.0),
               kinds: tuple[float, ...] | None = None, supersampling: int = 2) -> Population:
    """Galaxies nearby, up to so many, anywhere but within 2 arcsec of the centre.

    With `kinds` each is one of `KINDS`: a blue galaxy as those without; a red one, with the colours of deflectors and
    the profile of an early type; a star, which is a Gaussian too narrow to be resolved; a close pair, whose two are
    blue or red as single ones are, the second up to 2 mag fainter and no nearer to the centre; or a spiral, a disc of
    two arms of either sense with the colours of blue galaxies, and a bulge with those of red ones. Extras `kind.0`, ...
    tell which, by the place in `KINDS`, also of those that are not there.

    Args:
        survey: Whose field, bands and zero points are used.
        most: Largest number; each is there with probability one half, and with less where the field is so small that
            there would be more than `DENSITY`.
        magnitude: Range of their r magnitude.
        kinds: Shares of `KINDS`, of which the last may be left out; None is blue galaxies alone.
        supersampling: Of the PSFs, for the size of stars.

    Raises:
        ValueError: A band without colours, or what are no shares.
    """
    check_kinds(kinds)
    inner = 2.0
    outer = max(0.6 * min(survey.shape) * survey.pixel_scale, inner + survey.pixel_scale)
    chance = min(0.5, DENSITY / 3600.0 * np.pi * (outer**2 - inner**2) / max(most, 1))
    if kinds is not None:
        return _of_kinds(survey, most, magnitude, kinds, STAR * survey.pixel_scale / supersampling, (inner, outer),
                         chance / (1.0 + kinds[3]) if chance < 0.5 else chance)
    galaxies = []
    for _ in range(most):
        distance, angle = uniform(inner, outer), uniform(0.0, 2.0 * np.pi)
        place = Derived(_polar_x, distance, angle), Derived(_polar_y, distance, angle)
        galaxies.append(_coloured(survey, uniform(*magnitude), SOURCE_COLOURS,
                                  ellipticity(uniform(0.3, 1.0), uniform(0.0, np.pi)), place,
                                  dist.LogNormal(np.log(0.4), 0.5), uniform(0.6, 4.0), probability=chance))
    return Population.of(Scene(lens_light=galaxies))


def _of_kinds(survey: Survey, most: int, magnitude: tuple[float, float], kinds: tuple[float, ...], star: float,
              ring: tuple[float, float], chance: float) -> Population:
    """Companions of several kinds.

    Args:
        star: Half-light radius of a star [arcsec].
        ring: Where they are, from the centre [arcsec].
        chance: That each is there.
    """
    spirals = len(kinds) == len(KINDS) and kinds[-1] > 0.0
    shares = kinds if spirals else kinds[:len(KINDS) - 1]
    edges = (np.cumsum(shares) / np.sum(shares)).astype(np.float32)
    red = kinds[1] / (kinds[0] + kinds[1]) if kinds[0] + kinds[1] else 0.5  # share among the galaxies of pairs
    tables = [_colour_table(survey, colours) for colours in (SOURCE_COLOURS, DEFLECTOR_COLOURS, STAR_COLOURS)]
    mean, scatter = (np.stack([table[k] for table in tables]) for k in (0, 1))
    zero_points = survey.zero_points.astype(np.float32)

    def one(r: Any, sort: Any, place: tuple[Any, Any], there: Any) -> Sersic:
        size = Derived(_of_sort, sort, dist.LogNormal(np.log(0.4), 0.5), dist.LogNormal(np.log(0.5), 0.4), star)
        index = Derived(_of_sort, sort, uniform(0.6, 4.0), uniform(2.5, 6.0), 0.5)
        q = Derived(_of_sort, sort, uniform(0.3, 1.0), uniform(0.5, 1.0), 1.0)
        colour = dist.Normal(0.0, 1.0).expand([len(survey.bands)])
        bands = Derived(_coloured_magnitude, r, Derived(_row, sort, mean), Derived(_row, sort, scatter), colour)
        return _galaxy(present(amplitude(bands, zero_points, size, index, B_N), there),
                       ellipticity(q, uniform(0.0, np.pi)), place, size, index)

    galaxies: list[LightProfile] = []
    extras = {}
    for k in range(most):
        kind, there = Derived(_kind, uniform(0.0, 1.0), edges), dist.Bernoulli(chance)
        distance, angle = uniform(*ring), uniform(0.0, 2.0 * np.pi)
        place, r = (Derived(_polar_x, distance, angle), Derived(_polar_y, distance, angle)), uniform(*magnitude)
        galaxies.append(one(r, Derived(_sort, kind, uniform(0.0, 1.0), red), place,
                            Derived(_of_one, kind, there) if spirals else there))
        if spirals:
            galaxies += _spiral(survey, r, place, Derived(_spiralling, kind, there))
        extras[f"kind.{k}"] = kind
        if kinds[3]:
            apart, turn = uniform(*PAIR), Derived(jnp.add, angle, uniform(-0.5 * np.pi, 0.5 * np.pi))
            beside = (Derived(jnp.add, place[0], Derived(_polar_x, apart, turn)),
                      Derived(jnp.add, place[1], Derived(_polar_y, apart, turn)))
            galaxies.append(one(Derived(_fainter, r, uniform(0.0, 2.0)), Derived(_sort, kind, uniform(0.0, 1.0), red),
                                beside, Derived(_paired, kind, there)))
    return Population.of(Scene(lens_light=galaxies), extras=extras)


def _spiral(survey: Survey, r: Any, place: tuple[Any, Any], there: Any) -> list[LightProfile]:
    """Bulge and disc of a spiral of this r magnitude, where it is there."""
    bulge, angle = uniform(*BULGE), uniform(0.0, np.pi)
    size = Derived(_disc_size, r, dist.Normal(0.0, 1.0))
    e1, e2 = ellipticity(uniform(0.4, 1.0), angle)
    Rs = Derived(jnp.multiply, size, 1.0 / HALF_LIGHT)
    mean, scatter = _colour_table(survey, SOURCE_COLOURS)
    bands = Derived(_coloured_magnitude, Derived(_part, r, Derived(_rest, bulge)), mean, scatter,
                    dist.Normal(0.0, 1.0).expand([len(mean)]))
    disc = Spiral(amp=present(Derived(_disc_amplitude, bands, survey.zero_points.astype(np.float32), Rs), there), Rs=Rs,
                  contrast=uniform(*CONTRAST), pitch=Derived(_either_sense, uniform(*PITCH), uniform(0.0, 1.0)),
                  phi0=uniform(0.0, 2.0 * np.pi), e1=e1, e2=e2, center_x=place[0], center_y=place[1])
    return [_coloured(survey, Derived(_part, r, bulge), DEFLECTOR_COLOURS, ellipticity(uniform(0.7, 1.0), angle), place,
                      Derived(jnp.multiply, size, BULGE_SIZE), uniform(2.0, 4.0), probability=there), disc]


def _galaxy(amp: Any, ellipse: tuple[Any, Any], center: tuple[Any, Any], radius: Any, index: Any) -> Sersic:
    return Sersic(amp=amp, R_sersic=radius, n_sersic=index, e1=ellipse[0], e2=ellipse[1],
                  center_x=center[0], center_y=center[1], b_n=B_N)


def _around(center: tuple[Any, Any], radius: Any, reach: float) -> tuple[Any, Any]:
    """A place in the box of half a side `reach` radius around another."""
    return within(center[0], radius, reach), within(center[1], radius, reach)


def _coloured(survey: Survey, magnitude: Any, colours: dict[str, tuple[float, float]], ellipse: tuple[Any, Any],
              center: tuple[Any, Any], radius: Any, index: Any, probability: Any = None,
              varies: bool = False) -> Sersic:
    """A Sersic whose magnitude differs from band to band, and its radius and index too where these vary.

    Args:
        survey: Whose bands and zero points are used.
        magnitude: In r.
        colours: Mean and scatter of the magnitude relative to r, by band.
        ellipse, center: Ellipticity and centre, of all bands.
        radius, index: Half-light radius and Sersic index.
        varies: Whether those of the bands lie about them, by 8% and 10%.
        probability: See `giga.simulate.populations.relations.present`; None is always there.
    """
    mean, scatter = _colour_table(survey, colours)
    colour, wider, steeper = (dist.Normal(0.0, width).expand([len(mean)]) for width in (1.0, 0.08, 0.1))
    R, n = (Derived(_varied, radius, wider), Derived(_varied, index, steeper)) if varies else (radius, index)
    amp = amplitude(Derived(_coloured_magnitude, magnitude, mean, scatter, colour),
                    survey.zero_points.astype(np.float32), R, n, B_N)
    return _galaxy(amp if probability is None else present(amp, probability), ellipse, center, R, n)


def _colour_table(survey: Survey, colours: dict[str, tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scatter of colours in the bands of a survey."""
    names = [band.name for band in survey.bands]
    for name in names:
        if name not in colours:
            raise ValueError(f"colours: band {name!r} of {survey.name} has none; expected one of {', '.join(colours)}")
    mean, scatter = (np.array([colours[name][k] for name in names], np.float32) for k in (0, 1))
    return mean, scatter


# Functions of Deriveds are named ones of the module, so that two populations that are built alike compile once.

def _coloured_magnitude(magnitude: Any, mean: Any, scatter: Any, colour: Any) -> Any:
    return magnitude + mean + scatter * colour


def _fainter(magnitude: Any, difference: Any) -> Any:
    return magnitude + difference


def _varied(value: Any, offset: Any) -> Any:
    return value * jnp.exp(offset)


def _polar_x(distance: Any, angle: Any) -> Any:
    return distance * jnp.cos(angle)


def _polar_y(distance: Any, angle: Any) -> Any:
    return distance * jnp.sin(angle)


def _kind(uniform: Any, edges: Any) -> Any:
    return jnp.searchsorted(edges, uniform, side="right")


def _part(magnitude: Any, share: Any) -> Any:
    return magnitude - 2.5 * jnp.log10(share)


def _rest(share: Any) -> Any:
    return 1.0 - share


def _disc_size(magnitude: Any, normal: Any) -> Any:
    radius, pivot, slope, scatter = SPIRAL_SIZE
    return radius * 10.0 ** (slope * (magnitude - pivot) + scatter * normal)


def _disc_amplitude(magnitude: Any, zero_points: Any, Rs: Any) -> Any:
    return 10.0 ** (-0.4 * (magnitude - zero_points)) / (2.0 * np.pi * Rs**2)


def _either_sense(pitch: Any, uniform: Any) -> Any:
    return jnp.where(uniform < 0.5, pitch, np.pi - pitch)


def _of_one(kind: Any, there: Any) -> Any:
    """Whether the one Sersic of a companion is there: all but spirals have it."""
    return jnp.where(kind == KINDS.index("spiral"), 0, there)


def _spiralling(kind: Any, there: Any) -> Any:
    return jnp.where(kind == KINDS.index("spiral"), there, 0)


def _sort(kind: Any, uniform: Any, red: Any) -> Any:
    """A blue galaxy, a red one, or a star; of a pair either galaxy; a blue one that is dark of a spiral."""
    one = jnp.where(kind == KINDS.index("spiral"), 0, kind)
    return jnp.where(kind == KINDS.index("pair"), jnp.where(uniform < red, 1, 0), one)


def _of_sort(sort: Any, blue: Any, red: Any, star: Any) -> Any:
    return jnp.where(sort == 0, blue, jnp.where(sort == 1, red, star))


def _row(sort: Any, table: Any) -> Any:
    return jnp.asarray(table)[sort]


def _paired(kind: Any, there: Any) -> Any:
    return jnp.where(kind == KINDS.index("pair"), there, 0)
