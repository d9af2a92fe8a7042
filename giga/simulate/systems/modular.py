"""Lenses of a survey as the modular pipeline has them: half of the images are lensed, the others are not deflected."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import ndtr, ndtri

from giga.ellipse import axis_ratio
from giga.lensing.cosmology import Cosmology
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import SIE
from giga.simulate.generator import LENSED
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.derived import Derived
from giga.simulate.populations.population import Population
from giga.simulate.populations.relations import amplitude, bulge_and_disc, einstein_radius, ellipticity, present, within
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.collett import collett_population

THETA_E = (0.5, 2.5)
"""Einstein radii [arcsec]: the second to ninety-ninth percentiles of Collett's lenses in the LSST."""

Q = (0.3, 0.98)
"""Axis ratios: the first to ninety-ninth percentiles."""

DISPERSION = (260.0, 42.0, 140.0, 400.0)
"""Velocity dispersions of those lenses [km / s]: mean, scatter, smallest, largest."""

# What follows was fitted to Collett's table of lenses in the best LSST images (lenses_LSSTc.txt), numbers rounded.
# With x = log10(z_lens / 0.5), s = log10(sigma_v / 250), d = z_lens - 0.5:
LENS_R = (20.13, 10.7, 5.25, -11.3, 0.2)  # r magnitude: 1, x, x^2, s, scatter
LENS_RADIUS = (-0.36, -1.31, 2.88, 0.26)  # ln of the half-light radius [arcsec]: 1, x, s, scatter
# Magnitudes less that in r: 1, d, d^2, scatter for lenses, mean and scatter for sources.
LENS_COLOUR = {"g": (2.04, 1.56, -1.92, 0.24), "r": (0.0, 0.0, 0.0, 0.0), "i": (-1.02, -1.51, 0.68, 0.16)}
SOURCE_COLOUR = {"g": (0.15, 0.35), "r": (0.0, 0.0), "i": (-0.1, 0.25)}
ARC_R = (23.6, 0.75, 21.5, 24.6)  # r magnitude of the arcs: mean, scatter, brightest, faintest
# What the arcs' magnitude is more than that of ARC_R, mean and scatter: the magnification of an ellipsoid and of a
# source with a size is not that of a point behind a sphere. In r, of 1000 lenses of the preset "lsst".
ARC_LESS_R = (0.05, 0.28)
BULGE_LESS_DISC = {"g": 0.3, "r": 0.0, "i": -0.1}  # colour of a bulge less that of its disc, relative to r
B_N = "linear"  # of the profiles that the zoo's networks were trained on


def lsst_lenses(survey: Survey, theta_E: tuple[float, float] = THETA_E, q: tuple[float, float] = Q,
                lensed: float | None = 0.5, clumps: int = 0, matched: bool = False) -> Population:
    """Singular isothermal ellipsoids with bulges and discs that resemble the lenses forecast for the LSST.

    The Einstein radius follows from velocity dispersion and redshifts; dispersions are a Gaussian, cut where the
    Einstein radius leaves its range. The lens's magnitudes and size follow from redshift and dispersion. The source's
    magnitude is that of its arcs, which the survey must show, less the magnification 2 theta_E / b of a point at b
    behind an isothermal sphere. Bulge and mass share the ellipse; the disc of a lens has its position angle. In an
    image that is not lensed the Einstein radius, `mass.0.theta_E`, is zero, and all else is drawn alike. Extras:
    `lensed`, `z_lens`, `z_source`, `sigma_v`, `mag_lens` and `mag_source` (r, without magnification).

    Args:
        survey: With some of the bands g, r and i.
        theta_E: Smallest and largest Einstein radius [arcsec].
        q: Smallest and largest axis ratio of the mass.
        lensed: Share of images that are lensed; None makes lenses alone, without the extra `lensed`.
        clumps: Bright knots of the source, to test with.
        matched: Sources that are not lensed are as bright and as large as arcs: of the magnitude of the arcs, and with
            an area that is larger by the magnification, so that their surface brightness is that of a lensed one. Else
            they are fainter by the magnification, and total flux alone tells most lenses.

    Raises:
        ValueError: A band without colours.

    References:
        Madireddy et al. (2019), arXiv:1911.03867, section 2; Collett (2015), ApJ 811, 20.
    """
    names = _bands(survey)
    seen = None if lensed is None else dist.Bernoulli(lensed)
    z_lens = Derived(jnp.exp, dist.TruncatedNormal(np.log(0.5), 0.55, low=np.log(0.1), high=np.log(1.2)))
    z_source = Derived(_behind, z_lens, dist.TruncatedNormal(np.log(1.4), 0.5, low=np.log(0.4), high=np.log(4.0)))
    sigma_v = Derived(_dispersion, dist.Uniform(0.0, 1.0), z_lens, z_source, *theta_E)
    radius = einstein_radius(sigma_v, z_lens, z_source)
    ratio, phi = dist.TruncatedNormal(0.72, 0.15, low=q[0], high=q[1]), dist.Uniform(0.0, np.pi)
    e1, e2 = ellipticity(ratio, phi)
    mass = SIE(theta_E=radius if seen is None else present(radius, seen), e1=e1, e2=e2)

    mag_lens = Derived(_lens_magnitude, z_lens, sigma_v, dist.Normal(0.0, 1.0))
    size = Derived(_lens_radius, z_lens, sigma_v, dist.Normal(0.0, 1.0))
    disc_e1, disc_e2 = ellipticity(dist.Uniform(0.4, 1.0), phi)
    colour = Derived(_lens_colours, mag_lens, z_lens, _table(LENS_COLOUR, names),
                     dist.Normal(0.0, 1.0).expand([len(names)]))
    zero_points = survey.zero_points.astype(np.float32)
    redder = _table(BULGE_LESS_DISC, names)
    lens = bulge_and_disc(
        colour, zero_points, Derived(_bulge_share, dist.Uniform(0.4, 1.0), redder),
        Sersic(amp=1.0, R_sersic=Derived(jnp.multiply, 0.8, size), n_sersic=4.0, e1=e1, e2=e2, b_n=B_N),
        Sersic(amp=1.0, R_sersic=Derived(jnp.multiply, 1.4, size), n_sersic=1.0, e1=disc_e1, e2=disc_e2, b_n=B_N))

    reach, turn = dist.Uniform(0.03, 0.7), dist.Uniform(0.0, 2.0 * np.pi)
    center_x, center_y = Derived(_x, radius, reach, turn), Derived(_y, radius, reach, turn)
    arc = dist.TruncatedNormal(ARC_R[0], ARC_R[1], low=ARC_R[2], high=ARC_R[3])
    mag_source = Derived(_source_magnitude, arc, reach)
    if matched and seen is not None:
        mag_source = Derived(_where, seen, mag_source, Derived(_matched_magnitude, arc, dist.Normal(0.0, 1.0)))
    faint = Derived(_source_colours, mag_source, _table(SOURCE_COLOUR, names),
                    dist.Normal(0.0, 1.0).expand([len(names)]))
    # The forecast has smaller and flatter ones too; these are what subpixels of 0.1 arcsec can sample.
    extent = Derived(jnp.exp, dist.TruncatedNormal(np.log(0.2), 0.5, low=np.log(0.12), high=np.log(0.8)))
    if matched and seen is not None:
        extent = Derived(_where, seen, extent, Derived(_matched_extent, extent, reach))
    angle = dist.Uniform(0.0, np.pi)
    bulge_e1, bulge_e2 = ellipticity(dist.Uniform(0.5, 1.0), angle)
    flat_e1, flat_e2 = ellipticity(dist.TruncatedNormal(0.64, 0.18, low=0.3, high=1.0), angle)
    source = bulge_and_disc(
        faint, zero_points, Derived(_bulge_share, dist.Uniform(0.0, 0.4), redder),
        Sersic(amp=1.0, R_sersic=Derived(jnp.multiply, 0.7, extent), n_sersic=2.0, e1=bulge_e1, e2=bulge_e2,
               center_x=center_x, center_y=center_y, b_n=B_N),
        Sersic(amp=1.0, R_sersic=Derived(jnp.multiply, 1.1, extent), n_sersic=1.0, e1=flat_e1, e2=flat_e2, b_n=B_N))
    for _ in range(clumps):
        size = dist.Uniform(0.08, 0.15)
        amp = amplitude(Derived(jnp.add, faint, dist.Uniform(1.5, 3.0)), zero_points, size, 1.0, B_N)
        source.append(Sersic(amp=amp, R_sersic=size, n_sersic=1.0, center_x=within(center_x, extent, 1.0),
                             center_y=within(center_y, extent, 1.0), b_n=B_N))
    return Population.of(Scene(mass=[mass], lens_light=lens, source_light=source), extras={
        **({} if seen is None else {LENSED: seen}), "z_lens": z_lens, "z_source": z_source, "sigma_v": sigma_v,
        "mag_lens": mag_lens, "mag_source": mag_source})


def catalogue_lenses(catalogue: Catalogue, survey: Survey, theta_E: tuple[float, float] = THETA_E,
                     q: tuple[float, float] = Q, lensed: float = 0.5, n_source: float = 1.0) -> Population:
    """The lenses of a table of Collett (2015) within ranges of Einstein radius and axis ratio, some not deflected.

    Their light is the table's own: one Sersic of index 4 for the lens, one for the source.

    Args:
        catalogue: Columns as `giga.io.configuration.collett.read_collett` names them.
        survey: Whose bands the table has magnitudes of.
        theta_E, q: Smallest and largest Einstein radius [arcsec] and axis ratio.
        lensed: Share of images that are lensed.
        n_source: Sersic index of the sources.

    Raises:
        ValueError: No row within the ranges, or a column that is missing.
    """
    radii, ratios = (np.asarray(catalogue.columns[catalogue[name].name]) for name in ("theta_E", "q_lens"))
    kept = (radii >= theta_E[0]) & (radii <= theta_E[1]) & (ratios >= q[0]) & (ratios <= q[1])
    if not kept.any():
        raise ValueError(f"catalogue: none of {len(kept)} rows has theta_E from {theta_E[0]:g} to {theta_E[1]:g} and "
                         f"q_lens from {q[0]:g} to {q[1]:g}")
    weights = None if catalogue.weights is None else np.asarray(catalogue.weights)[kept]
    part = Catalogue({name: np.asarray(values)[kept] for name, values in catalogue.columns.items()}, weights)
    return collett_population(part, survey.bands, n_source=n_source, lensed=dist.Bernoulli(lensed))


def mass_parameters(truth: dict[str, Array]) -> dict[str, Array]:
    """Einstein radius `theta_E` [arcsec], axis ratio `q` and position angle `phi`, from 0 to pi [rad], of a truth."""
    q, phi = axis_ratio(truth["mass.0.e1"], truth["mass.0.e2"])
    return {"theta_E": truth["mass.0.theta_E"], "q": q, "phi": jnp.mod(phi, jnp.pi)}


def _bands(survey: Survey) -> list[str]:
    names = [band.name for band in survey.bands]
    for name in names:
        if name not in LENS_COLOUR:
            raise ValueError(f"colours: band {name!r} of {survey.name} has none; expected some of "
                             f"{', '.join(LENS_COLOUR)}")
    return names


def _table(rows: dict[str, Any], names: list[str]) -> np.ndarray:
    """The rows of some bands, the bands last."""
    return np.array([rows[name] for name in names], np.float32).T


# Functions of Deriveds are named ones of the module, so that two populations that are built alike compile once.

def _behind(z_lens: Any, log_gap: Any) -> Any:
    return z_lens + jnp.exp(log_gap)


def _dispersion(uniform: Any, z_lens: Any, z_source: Any, low: Any, high: Any) -> Any:
    """A Gaussian's quantile between the dispersions of two Einstein radii [km / s]."""
    mean, width, least, most = DISPERSION
    ends = [jnp.clip(Cosmology().velocity_dispersion(radius, z_lens, z_source), least, most) for radius in (low, high)]
    left, right = (ndtr((end - mean) / width) for end in ends)
    # Rounding of the quantile must not lead out of the range.
    return jnp.clip(mean + width * ndtri(left + uniform * (right - left)), ends[0], ends[1])


def _lens_magnitude(z_lens: Any, sigma_v: Any, normal: Any) -> Any:
    one, x, x2, s, scatter = LENS_R
    z = jnp.log10(z_lens / 0.5)
    return one + x * z + x2 * z**2 + s * jnp.log10(sigma_v / 250.0) + scatter * normal


def _lens_radius(z_lens: Any, sigma_v: Any, normal: Any) -> Any:
    one, x, s, scatter = LENS_RADIUS
    return jnp.exp(one + x * jnp.log10(z_lens / 0.5) + s * jnp.log10(sigma_v / 250.0) + scatter * normal)


def _lens_colours(magnitude: Any, z_lens: Any, table: Any, normal: Any) -> Any:
    one, d, d2, scatter = table
    return magnitude + one + d * (z_lens - 0.5) + d2 * (z_lens - 0.5) ** 2 + scatter * normal


def _source_colours(magnitude: Any, table: Any, normal: Any) -> Any:
    mean, scatter = table
    return magnitude + mean + scatter * normal


def _magnification(reach: Any) -> Any:
    # A source has a size, which limits its magnification.
    return 2.0 / jnp.maximum(reach, 0.15)


def _source_magnitude(arc: Any, reach: Any) -> Any:
    return arc + 2.5 * jnp.log10(_magnification(reach))


def _matched_magnitude(arc: Any, normal: Any) -> Any:
    mean, scatter = ARC_LESS_R
    return arc + mean + scatter * normal


def _matched_extent(extent: Any, reach: Any) -> Any:
    return extent * jnp.sqrt(_magnification(reach))


def _where(seen: Any, lensed: Any, other: Any) -> Any:
    return jnp.where(seen == 1, lensed, other)


def _bulge_share(share: Any, redder: Any) -> Any:
    """Share of the bulge in the flux of each band, from that in r."""
    return share / (share + (1.0 - share) * 10.0 ** (0.4 * redder))


def _x(radius: Any, reach: Any, turn: Any) -> Any:
    return radius * reach * jnp.cos(turn)


def _y(radius: Any, reach: Any, turn: Any) -> Any:
    return radius * reach * jnp.sin(turn)
