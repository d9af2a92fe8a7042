"""Giant arcs of clusters: NFW halos by M500, members by stellar mass, sources where the magnification is high."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array

from giga.ellipse import ellipticity
from giga.lensing.cosmology import Cosmology
from giga.lensing.halos import SCATTER, concentration_500, nfw_500, round_einstein_radius
from giga.lensing.scene import Scene
from giga.light.sersic import Sersic, unit_flux
from giga.mass.nfw_ellipse import NFWEllipse
from giga.mass.sie import SIE
from giga.simulate.generator import LENSED
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.derived import Derived
from giga.simulate.populations.population import Population
from giga.simulate.populations.relations import present
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.arc_sources import drawn_sources, kind_of, magnitudes, offsets, tabled_sources
from giga.simulate.systems.cluster_rows import COLUMNS, at, light_of, once, shape_of
from giga.simulate.systems.cluster_sources import PASSBANDS, REFERENCE, colours, template_magnitude

THETA_E = 5.0
"""Least Einstein radius [arcsec]: Zhang et al. (2026), section 2.2, item 4."""

MASS = (14.2, 0.3, 12.58, 15.13)
"""log10 M500 [solar masses] before the cut by the Einstein radius: range of Table 1, and where their training set
peaks."""

REDSHIFT = (0.5, 0.2, 0.1, 1.04)
"""Redshift before that cut. Table 1 has 0.01 to 1.04; the form is shown as a figure, and below 0.1 a field of 60" is
filled by one galaxy."""

AXIS_RATIO = (0.75, 0.1, 0.4, 1.0)  # of the halo: Table 1
TRIES = 256  # clusters of which one is taken that is wide enough; see `cluster_arcs`
BRIGHTEST = (11.65, 0.39, 0.15)
"""log10 of the stellar mass of the brightest galaxy at M500 = 10^14.2, its slope (Kravtsov et al. 2018, Astron.
Lett. 44, 8) and scatter; the first and the last are ours, within what photometric catalogues have."""

SCHECHTER = (11.0, -1.0, 9.8, 11.5)
"""log10 of the characteristic stellar mass of members, faint-end slope, and range: ours, after van der Burg et al.
(2018), A&A 618, A140. Table 1 goes down to 8.04, where a member neither bends light nor is seen."""

SIGMA = (118.3, 10.26, 0.403, 0.293)
"""Velocity dispersion [km / s] at 10^10.26 solar masses in stars, and its slopes below and above: Zahid et al.
(2016), ApJ 832, 203. The paper takes eq. 2 of Yue et al. (2022)."""

SIZE = (4.0, 0.75, -0.36, 0.10, 10.7)
"""Half-light radius [kpc] of 10^10.7 solar masses at z = 0.25, slope, evolution [dex per unit z], scatter [dex]: early
types of van der Wel et al. (2014), ApJ 788, 28, table 1."""

SHINES = 19.0  # F814W of 1e11 solar masses at z = 0.31, as in `giga.simulate.systems.cluster_members`
EVOLVES = 1.0  # magnitudes per unit redshift by which old stars were brighter; ours
LATE = (0.15, 0.7)  # share of late types among members, and magnitudes by which they outshine early ones of their mass
RED = 0.04  # scatter of a member's magnitude in each band
TILTED = 0.03  # magnitudes per dex of stellar mass by which r, and twice that by which g, reddens
NEAREST = 0.12  # of the field's half-width: members are uniform in radius from there to its corner, ours
HIGH = (5.0, 50.0)
"""Least and largest magnification of the image that a source is placed by: "regions with high magnifications", ours."""

AROUND = (0.5, 1.6)  # of the Einstein radius: where that image is looked for
PLACES = 48
FIELD = 3  # further galaxies, each there in half of the images
BRIGHTER, LARGER = 2.2, 1.8
"""Magnitudes by which those are brighter than sources, and how much larger: as if magnified about eight times."""


class Cluster(NamedTuple):
    """What `_wide_enough` gives, in this order."""

    log_m500: Any
    z_lens: Any
    c500: Any
    log_stars: Any  # of the brightest galaxy
    Rs: Any
    alpha_Rs: Any
    theta_E_galaxy: Any  # of the brightest galaxy
    theta_E: Any  # of halo and brightest galaxy, both round


def arc_scene(survey: Survey, *, theta_E: float = THETA_E, members: int = 12, lensed: float = 0.5,
              impostors: float = 0.5, light: bool = True, clumps: int = 0,
              catalogue: Catalogue | None = None) -> tuple[Scene, dict[str, Any]]:
    """Scene and extras of clusters with a lensed arc, and of clusters without.

    A halo of M500 and a concentration about Dutton & Maccio's, elliptical in the mass, and a brightest galaxy are drawn
    until they have the Einstein radius that is wanted; members are isothermal ellipsoids by their stellar mass. Of
    places about the Einstein radius one is taken whose magnification is high, and the source is where it maps to.
    What is no lens is a cluster of the same kind whose source has no light. In both up to three galaxies of the
    sources' colours shine that are not lensed, and in a share of what is no lens one more; so that neither a blue
    galaxy nor flux tells.

    Extras: `lensed`, `theta_E` (where the mean convergence of halo and brightest galaxy is one, taken as round)
    [arcsec], `log_m500`, `c500`, `z_lens`, `z` (of the source), `mag` (its r, not magnified), `colour` (its g - r),
    `kind` (0 blue, 1 green, 2 red), `r_e` [arcsec], `n`, `magnification` and `image_x`, `image_y` [arcsec] of the
    place that it was put by.

    Args:
        survey: With some of the bands g, r and z; pixels and shape say how wide the field is.
        theta_E: Least Einstein radius [arcsec]. Of the clusters that are drawn two in five have 5"; should none of
            `TRIES` have it, which is one in a thousand, the widest is taken.
        members: Most members beside the brightest galaxy; a rich cluster shows all.
        lensed: Share of lenses.
        impostors: Share of what is no lens that has a further galaxy of an arc's magnitude; the paper's is 0.
        light: Whether the cluster and the further galaxies shine; without, an arc alone, or one galaxy, is added to
            images that have a cluster, and there are no members.
        clumps: Bright knots of the source, to test with.
        catalogue: Sources of a table of Collett (2015); None takes fits to one.

    Raises:
        ValueError: A band without colours, a share outside 0 to 1, or no room for an Einstein radius in the field.

    References:
        Zhang et al. (2026), "Searching for Galaxy Cluster-Scale Strong Lenses from the DESI Legacy Imaging Surveys",
        section 2.2 and Table 1.
    """
    names = tuple(band.name for band in survey.bands)
    away = offsets(names)
    half = 0.5 * min(survey.shape) * survey.pixel_scale
    if not 0.0 < theta_E < half:
        raise ValueError(f"theta_E: got {theta_E:g}; expected an Einstein radius above 0 that fits into the field, "
                         f"whose half-width is {half:.3g} arcsec")
    for name, share in dict(lensed=lensed, impostors=impostors).items():
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"{name}: got {share:g}; expected a share from 0 to 1")
    zero_points = survey.zero_points.astype(np.float32)
    source = drawn_sources() if catalogue is None else tabled_sources(catalogue)
    each = [TRIES]
    cluster = Derived(_wide_enough, source, dist.TruncatedNormal(*MASS[:2], low=MASS[2], high=MASS[3]).expand(each),
                      dist.TruncatedNormal(*REDSHIFT[:2], low=REDSHIFT[2], high=REDSHIFT[3]).expand(each),
                      dist.Normal(0.0, 1.0).expand([2, TRIES]), theta_E)
    shape = Derived(_ellipses, dist.TruncatedNormal(*AXIS_RATIO[:2], low=AXIS_RATIO[2], high=AXIS_RATIO[3]),
                    dist.Uniform(0.0, np.pi), dist.Normal(0.0, 1.0).expand([2]))
    count = members if light else 0
    galaxies = Derived(_galaxies, cluster, source, shape, dist.Uniform(0.0, 1.0).expand([count + 1, 7]),
                       dist.Normal(0.0, 1.0).expand([count + 1, 2 + len(names)]), half, zero_points, *shining(survey))
    place = Derived(_highly_magnified, cluster, shape, galaxies, dist.Uniform(0.0, 1.0).expand([PLACES, 2]))
    seen = dist.Bernoulli(lensed)

    Rs, alpha_Rs = (at(cluster, Cluster._fields.index(name)) for name in ("Rs", "alpha_Rs"))
    mass = [NFWEllipse(Rs=Rs, alpha_Rs=alpha_Rs, e1=at(shape, 0), e2=at(shape, 1)),
            *(SIE(theta_E=at(galaxies, (k, COLUMNS.index("theta_E"))), **shape_of(galaxies, k))
              for k in range(count + 1))]
    lights = [light_of(galaxies, k) for k in range(count + 1)] if light else []
    further = FIELD if light else 0
    unlensed = Derived(_unlensed, drawn_sources(further + 1), dist.Uniform(0.0, 1.0).expand([further + 1, 4]), seen,
                       impostors, half, zero_points, away)
    lights += [light_of(unlensed, k) for k in range(further + 1)]
    amps = Derived(_source_amplitude, source, zero_points, away)
    turned = Derived(_turned, source, dist.Uniform(0.0, np.pi))
    sources = [Sersic(amp=present(amps, seen), R_sersic=at(source, 3), n_sersic=at(source, 6), e1=at(turned, 0),
                      e2=at(turned, 1), center_x=at(place, 0), center_y=at(place, 1))]
    for _ in range(clumps):
        knot = Derived(_knot, source, place, amps, dist.Uniform(-1.0, 1.0).expand([2]), dist.Uniform(1.0, 2.5))
        sources.append(Sersic(amp=present(Derived(_knot_amplitudes, knot), seen), R_sersic=at(knot, 2), n_sersic=1.0,
                              center_x=at(knot, 0), center_y=at(knot, 1)))
    about = {name: at(cluster, Cluster._fields.index(name)) for name in ("theta_E", "log_m500", "c500", "z_lens")}
    about |= dict(mag=at(source, 0), colour=at(source, 1), r_e=at(source, 3), z=at(source, 5), n=at(source, 6),
                  kind=Derived(kind_of, at(source, 1)), magnification=at(place, 2), image_x=at(place, 3),
                  image_y=at(place, 4))
    return Scene(mass=mass, lens_light=lights, source_light=sources), {LENSED: seen, **about}


def cluster_arcs(survey: Survey, **settings: Any) -> Population:
    """The population of `arc_scene`, whose settings it takes, and whose errors it raises."""
    scene, extras = arc_scene(survey, **settings)
    return Population.of(scene, extras=extras)


def member_mass(uniform: Array) -> Array:
    """log10 of the stellar mass of members by its quantile, a Schechter function between bounds."""
    star, slope, low, high = SCHECHTER
    grid = np.linspace(low, high, 256)
    density = 10.0 ** ((slope + 1.0) * (grid - star)) * np.exp(-(10.0 ** (grid - star)))
    total = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]))])
    return jnp.interp(uniform, jnp.asarray(total / total[-1]), jnp.asarray(grid))


def velocity_dispersion(log_mass: Any) -> Any:
    """Velocity dispersion of a galaxy by log10 of its stellar mass [km / s], see `SIGMA`."""
    sigma, mass, below, above = SIGMA
    return sigma * 10.0 ** (jnp.where(log_mass < mass, below, above) * (log_mass - mass))


def shining(survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Redshifts, and there the magnitudes of 1e11 solar masses of early and late types, shape (2, z, bands)."""
    z = np.linspace(0.5 * REDSHIFT[2], REDSHIFT[3] + 0.01, 48)
    both = np.append(z, 0.31)
    distance = 5.0 * np.log10(np.asarray(Cosmology().luminosity_distance(jnp.asarray(both)), float))
    # An AB magnitude of a flux per wavelength, which is dimmed by another 1 + z.
    dimmed = template_magnitude("elliptical", both, *PASSBANDS[REFERENCE]) + distance + 2.5 * np.log10(1.0 + both)
    reference = SHINES + (dimmed[:-1] - dimmed[-1]) - EVOLVES * (z - 0.31)
    early, late = (reference[:, None] + colours(name, z, survey) for name in ("elliptical", "star-forming"))
    return z.astype(np.float32), np.stack([early, late - LATE[1]]).astype(np.float32)


# Functions of Deriveds are named ones of the module, so that two populations that are built alike compile once.

def _wide_enough(source: Any, log_m500: Any, z: Any, normal: Any, least: Any) -> Array:
    """The first of some clusters whose Einstein radius for the source is as wide as wanted, else the widest."""
    z_source = source[5]
    c500 = concentration_500(10.0**log_m500, z, SCATTER * normal[0])
    Rs, alpha_Rs = nfw_500(10.0**log_m500, c500, z, z_source)
    stars = BRIGHTEST[0] + BRIGHTEST[1] * (log_m500 - MASS[0]) + BRIGHTEST[2] * normal[1]
    galaxy = Cosmology().einstein_radius(velocity_dispersion(stars), z, z_source)
    radius = round_einstein_radius(Rs, alpha_Rs, galaxy)
    wide = radius >= least
    one = jnp.where(wide.any(), jnp.argmax(wide), jnp.argmax(radius))
    found = Cluster(log_m500, z, c500, stars, Rs, alpha_Rs, galaxy, radius)
    return once(jnp.stack([column[one] for column in found]))


def _ellipses(q: Any, phi: Any, normal: Any) -> Array:
    """Ellipticities of the halo, and of the brightest galaxy, which is rounder and nearly aligned with it."""
    own = jnp.clip(q + 0.1 + 0.07 * normal[0], 0.5, 0.98)
    return jnp.stack([*ellipticity(q, phi), *ellipticity(own, phi + 0.25 * normal[1])])


def _galaxies(cluster: Any, source: Any, shape: Any, uniform: Any, normal: Any, half: Any, zero_points: Any, grid: Any,
              table: Any) -> Array:
    """The brightest galaxy and the members, a row each: `COLUMNS`, then amplitudes in the bands."""
    about, z_source = Cluster(*cluster), source[5]
    first = jnp.arange(len(uniform)) == 0
    stars = jnp.where(first, about.log_stars, member_mass(uniform[:, 0]))
    # As many as its mass has within the field, which is why a row may be empty.
    richness = 0.75 * 10.0 ** (0.5 * (about.log_m500 - 14.3)) + 0.15 * normal[0, 0]
    there = jnp.where(first, 1.0, 1.0 * (jnp.arange(len(uniform)) <= jnp.clip(richness, 0.3, 1.0) * len(uniform)))
    radius = jnp.where(first, 0.0, half * (NEAREST + (1.3 - NEAREST) * uniform[:, 1]))
    angle = 2.0 * np.pi * uniform[:, 2]
    # Places are stretched as the halo is.
    e1, e2 = shape[0], shape[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    x, y = radius * (cos + e1 * cos + e2 * sin), radius * (sin + e2 * cos - e1 * sin)
    own_e1, own_e2 = ellipticity(0.5 + 0.48 * uniform[:, 3], np.pi * uniform[:, 4])
    own_e1, own_e2 = jnp.where(first, shape[2], own_e1), jnp.where(first, shape[3], own_e2)
    bend = Cosmology().einstein_radius(velocity_dispersion(stars), about.z_lens, z_source) * there
    late = ~first & (uniform[:, 5] < LATE[0])
    size, slope, evolution, scatter, pivot = SIZE
    kpc = size * 10.0 ** (slope * (stars - pivot) + evolution * (about.z_lens - 0.25) + scatter * normal[:, 1])
    R = jnp.maximum(kpc, 0.5) / (Cosmology().angular_diameter_distance(about.z_lens) * 1e3) * 206264.8
    n = jnp.where(first, 4.0, jnp.where(late, 1.0, 1.5 + 3.0 * uniform[:, 6]))
    seen = jax.vmap(jax.vmap(lambda column: jnp.interp(about.z_lens, grid, column), 1))(table)  # (2, bands)
    dimmer = jnp.where(late[:, None], seen[1], seen[0]) - 2.5 * (stars - 11.0)[:, None]
    # The red sequence: massive galaxies are a little redder, the more the bluer the band.
    bands = seen.shape[1]
    tilt = TILTED * jnp.arange(bands - 1, -1, -1.0) * (stars - 11.0)[:, None]
    mags = dimmer + jnp.where(late[:, None], 0.0, tilt) + RED * normal[:, 2:]
    amp = there[:, None] * 10.0 ** (-0.4 * (mags - zero_points)) / unit_flux(R, n)[:, None]
    return once(jnp.concatenate([jnp.stack([x, y, own_e1, own_e2, bend, R, n, there], -1), amp], -1))


def _highly_magnified(cluster: Any, shape: Any, galaxies: Any, uniform: Any) -> Array:
    """Where a source is placed: behind the first of some images whose magnification is high.

    Returns:
        x, y of the source, the magnification of that image, and its x and y.
    """
    about = Cluster(*cluster)
    halo = NFWEllipse(Rs=about.Rs, alpha_Rs=about.alpha_Rs, e1=shape[0], e2=shape[1])
    columns = dict(zip(COLUMNS, jnp.moveaxis(galaxies, -1, 0), strict=False))
    each = SIE(theta_E=columns["theta_E"], e1=columns["e1"], e2=columns["e2"], center_x=columns["x"],
               center_y=columns["y"])

    def behind(image: Array) -> Array:
        alpha, parts = jnp.stack(halo.deflection(image[0], image[1])), each.deflection(image[0], image[1])
        return image - alpha - jnp.stack([jnp.sum(part) for part in parts])

    radius = about.theta_E * jnp.sqrt(AROUND[0] ** 2 + (AROUND[1] ** 2 - AROUND[0] ** 2) * uniform[:, 0])
    images = radius[:, None] * jnp.stack([jnp.cos(2.0 * np.pi * uniform[:, 1]), jnp.sin(2.0 * np.pi * uniform[:, 1])],
                                         -1)
    determinant = jax.vmap(lambda image: jnp.linalg.det(jax.jacfwd(behind)(image)))(images)
    magnification = 1.0 / jnp.maximum(jnp.abs(determinant), 1e-6)
    fits = (magnification >= HIGH[0]) & (magnification <= HIGH[1])
    one = jnp.where(fits.any(), jnp.argmax(fits), jnp.argmax(jnp.minimum(magnification, HIGH[1])))
    return once(jnp.concatenate([behind(images[one]), magnification[one][None], images[one]]))


def _unlensed(drawn: Any, uniform: Any, lensed: Any, impostors: Any, half: Any, zero_points: Any, offset: Any) -> Array:
    """Galaxies in the field that are seen once; the last is the one that only what is no lens has."""
    last = jnp.arange(len(uniform)) == len(uniform) - 1
    there = uniform[:, 0] < jnp.where(last, impostors * (1.0 - lensed), 0.5)
    R, n = LARGER * drawn[:, 3], drawn[:, 6]
    e1, e2 = ellipticity(drawn[:, 4], np.pi * uniform[:, 3])
    x, y = half * (2.0 * uniform[:, 1] - 1.0), half * (2.0 * uniform[:, 2] - 1.0)
    mags = magnitudes(drawn, offset) - BRIGHTER
    amp = there[:, None] * 10.0 ** (-0.4 * (mags - zero_points)) / unit_flux(R, n)[:, None]
    return once(jnp.concatenate([jnp.stack([x, y, e1, e2, 0.0 * x, R, n, 1.0 * there], -1), amp], -1))


def _source_amplitude(source: Any, zero_points: Any, offset: Any) -> Array:
    return 10.0 ** (-0.4 * (magnitudes(source, offset) - zero_points)) / unit_flux(source[3], source[6])


def _turned(source: Any, phi: Any) -> Array:
    return jnp.stack(ellipticity(source[4], phi))


def _knot_amplitudes(knot: Any) -> Array:
    return knot[3:]


def _knot(source: Any, place: Any, amp: Any, offset: Any, fainter: Any) -> Array:
    """A knot within a half-light radius, a fifth as large and so many magnitudes fainter: x, y, radius, amplitudes."""
    R = 0.2 * source[3]
    flux = amp * unit_flux(source[3], source[6]) * 10.0 ** (-0.4 * fainter)
    return jnp.concatenate([place[:2] + source[3] * offset, R[None], flux / unit_flux(R, jnp.ones_like(R))])
