"""Galaxies behind clusters, and their colours: magnitudes, redshifts and sizes as Angora et al. (2023) inject them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import AnyArray, Component
from giga.lensing.cosmology import ARCSEC, Cosmology
from giga.simulate.surveys.survey import Survey

BINS = (22.0, 24.0, 25.0, 26.0, 27.0, 28.0, 29.0)
"""Edges of the magnitude bins of p(z | F814W), which end at the limits of the counts."""

FAINT = (0.299, 0.311)
"""Shares of sources from 27 to 28 and from 28 to 29 in F814W: Angora et al. (2023), Table A.5."""

SLOPE = 0.32
"""d log10 N / d m below 27: with it the counts of `FAINT` go on without a step, as in COSMOS (0.31 in i)."""

MEDIAN = (0.75, 1.15, 1.4, 1.6, 1.7, 1.75)
"""Median redshift of each bin before the cut behind the cluster.

The paper shows its fits as a figure. These grow with magnitude as COSMOS has it, and give its Table A.5 behind its
eight clusters: 25.1% of sources beyond z = 3, 12.7% beyond 4, 5.9% beyond 5 (printed: 25.5, 12.9, 5.9)."""

BEHIND = 0.4  # of the least source redshift, more than the cluster's: section 3.1
FURTHEST = 7.0  # redshift at which the COSMOS catalogue ends
RADIUS = 2.54  # half-light radius up to z = 1 [kpc]: Table 2
SHRINKS = -1.2
"""R_e ~ (1 + z)^this beyond z = 1, within the -1.0 to -1.3 of Shibuya et al. (2015), arXiv:1503.07481. The paper does
not print its own; with this one R_e is 0.5 kpc at z = 4 at the lower end of the scatter, as its section 3.1 says."""

SCATTER, LEAST, MOST = 0.25, -1.5, 1.0  # of the radius [kpc], and its range in units of that
INDEX, AXES = (1.0, 2.0), (0.2, 1.0)  # Sersic index and axis ratio, uniform: Table 2
TABLE = 512  # points of a tabulated distribution

EDGES = (912, 980, 1050, 1150, 1250, 1350, 1500, 1700, 1900, 2100, 2300, 2500, 2700, 2900, 3100, 3300, 3500, 3650, 3800,
         3950, 4100, 4300, 4550, 4800, 4900, 5050, 5300, 5700, 6100, 6450, 6650, 7000, 7500, 8000, 8500, 9000, 9600)
"""Edges of the bins of the templates, at rest [Angstrom]."""

TEMPLATES = {
    "star-forming": (
        3.958, 3.836, 3.68, 3.498, 3.489, 3.037, 2.408, 2.445, 1.892, 1.657, 1.55, 1.376, 1.266, 1.192, 1.167, 0.908,
        0.894, 1.064, 1.106, 1.233, 1.271, 1.249, 1.227, 1.252, 1.174, 1.078, 1.0, 0.979, 0.915, 1.252, 0.845, 0.742,
        0.713, 0.7, 0.7, 0.678),
    "elliptical": (
        0.031, 0.033, 0.034, 0.035, 0.036, 0.033, 0.029, 0.027, 0.033, 0.042, 0.043, 0.064, 0.121, 0.189, 0.278, 0.313,
        0.334, 0.376, 0.336, 0.575, 0.628, 0.798, 0.95, 0.977, 0.947, 0.906, 1.0, 1.011, 1.006, 1.024, 1.011, 0.984,
        0.937, 0.892, 0.861, 0.807)}
"""Mean F_lambda in each bin over that at 5500 Angstrom: the starburst 3 of Kinney et al. (1996), ApJ 467, 38, and the
elliptical of Coleman, Wu & Weedman (1980), ApJS 43, 393, both as Benitez et al. (2004), ApJS 150, 1, recalibrated them.
In bins colours are those of the whole templates to 0.05 magnitudes below z = 4."""

PASSBANDS = {"F435W": (4318.0, 993.0), "F606W": (5919.0, 2225.0), "F814W": (8060.0, 2511.0), "F160W": (15369.0, 2683.0),
             "g": (4730.0, 1500.0), "r": (6420.0, 1480.0), "z": (9260.0, 1520.0)}
"""Central wavelength and width of a passband [Angstrom]: ACS and WFC3 Instrument Handbooks; g, r and z of DECam:
Flaugher et al. (2015), AJ 150, 150."""

LYMAN = ((1215.67, 0.0036), (1025.72, 0.0017), (972.54, 0.0012), (949.74, 0.00093))
"""Line and factor of the mean opacity of the intergalactic medium: Madau (1995), ApJ 441, 18."""

REFERENCE = "F814W"
BLACKEST = 8.0  # most magnitudes of a drop-out below the reference: nothing is left to see


class Sources(Component):
    """The population of Table 2 as tables, made by `sources_behind`.

    Attributes:
        magnitude: Quantiles of F814W, shape (TABLE,).
        redshift: Redshifts of the tables below, shape (z,).
        cumulative: Distribution function of the redshift in each magnitude bin, behind each cluster, shape
            (clusters, bins, z).
        arcsec: Angle of 1 kpc, shape (z,).
        colours: Magnitudes less F814W, shape (z, bands).
        scatter: Of those [mag].
    """

    magnitude: AnyArray
    redshift: AnyArray
    cumulative: AnyArray
    arcsec: AnyArray
    colours: AnyArray
    scatter: AnyArray = 0.1

    def draw(self, key: Array, cluster: Array) -> dict[str, Array]:
        """One source behind a cluster.

        Returns:
            `mag` (F814W, not magnified), `z`, `r_e` (half-light radius) [arcsec], `n`, `q`, `phi` [rad], all of shape
            (), and `mags` of the bands, shape (bands,).
        """
        keys = jax.random.split(key, 7)
        uniform = [jax.random.uniform(one) for one in keys[:2]]
        mag = jnp.interp(uniform[0], jnp.linspace(0.0, 1.0, TABLE), self.magnitude)
        which = jnp.clip(jnp.searchsorted(jnp.asarray(BINS), mag, side="right") - 1, 0, len(BINS) - 2)
        z = jnp.interp(uniform[1], self.cumulative[cluster, which], self.redshift)
        kpc = half_light_radius(z) + SCATTER * jax.random.truncated_normal(keys[2], LEAST, MOST)
        bands = self.colours.shape[1]
        colour = jnp.stack([jnp.interp(z, self.redshift, self.colours[:, k]) for k in range(bands)])
        noise = self.scatter * jax.random.normal(keys[6], (bands,))
        return dict(mag=mag, z=z, r_e=kpc * jnp.interp(z, self.redshift, self.arcsec), mags=mag + colour + noise,
                    n=jax.random.uniform(keys[3], minval=INDEX[0], maxval=INDEX[1]),
                    q=jax.random.uniform(keys[4], minval=AXES[0], maxval=AXES[1]),
                    phi=jax.random.uniform(keys[5], maxval=np.pi))


def half_light_radius(z: Array) -> Array:
    """Mean half-light radius of a galaxy at a redshift [kpc], constant up to z = 1."""
    return RADIUS * (jnp.maximum(1.0 + z, 2.0) / 2.0) ** SHRINKS


def sources_behind(z_lens: np.ndarray, survey: Survey, cosmology: Cosmology | None = None) -> Sources:
    """Make the tables of the population behind clusters.

    Args:
        z_lens: Redshifts of the clusters, shape (clusters,).
        survey: Whose bands are seen.
        cosmology: What makes redshifts distances; the default is flat with H0 = 70 and Om0 = 0.3, the paper's.

    Raises:
        ValueError: A cluster too far away for sources behind it, or a band whose passband is not known.
    """
    z_lens = np.atleast_1d(np.asarray(z_lens, float))
    if not (z_lens + BEHIND < FURTHEST).all():
        raise ValueError(f"z_lens: got {z_lens.max():g}; expected less than {FURTHEST - BEHIND:g}")
    fine = np.linspace(BINS[0], BINS[-1], 8 * TABLE + 1)
    z = np.linspace(0.0, FURTHEST, TABLE)
    cumulative = np.array([[_cumulative(z, np.where(z > one + BEHIND, redshift_density(z, k), 0.0))
                            for k in range(len(BINS) - 1)] for one in z_lens])
    distances = np.asarray((cosmology or Cosmology()).angular_diameter_distance(jnp.asarray(z[1:])), float)
    arcsec = np.concatenate([[0.0], 1.0 / (1e3 * ARCSEC * distances)])
    quantiles = np.interp(np.linspace(0.0, 1.0, TABLE), _cumulative(fine, counts(fine)), fine)
    return Sources(**{name: np.asarray(values, np.float32) for name, values in dict(
        magnitude=quantiles, redshift=z, cumulative=cumulative, arcsec=arcsec,
        colours=colours("star-forming", z, survey)).items()})


def counts(magnitude: np.ndarray) -> np.ndarray:
    """Density of sources by F814W magnitude, of integral one from 22 to 29."""
    bright = (1.0 - sum(FAINT)) * SLOPE * np.log(10.0) / (1.0 - 10.0 ** (-SLOPE * (27.0 - BINS[0])))
    return np.select([magnitude < 27.0, magnitude < 28.0],
                     [bright * 10.0 ** (SLOPE * (np.minimum(magnitude, 27.0) - 27.0)), FAINT[0]], FAINT[1])


def redshift_density(z: np.ndarray, number: int) -> np.ndarray:
    """The form of p(z | bin) of section 3.1, not normalised: z^2 exp(-z / z0), or z^2 exp(-sqrt(z / z0)) beyond 24.

    Args:
        z: Redshifts.
        number: Of the magnitude bin.
    """
    if number == 0:
        return z**2 * np.exp(-z / (MEDIAN[0] / 2.674))  # the median of a Gamma(3) in units of its scale
    return z**2 * np.exp(-np.sqrt(z / (MEDIAN[number] / 5.6702**2)))  # sqrt(z / z0) is a Gamma(6)


def colours(template: str, z: np.ndarray, survey: Survey) -> np.ndarray:
    """Magnitudes of a template in the bands of a survey, less that in F814W.

    Beyond the Lyman limit nothing is seen, and the mean of the forests dims what lies between; at most `BLACKEST`.

    Args:
        template: Name in `TEMPLATES`.
        z: Redshifts, shape (z,).
        survey: Whose bands are meant.

    Returns:
        Shape (z, bands).

    Raises:
        ValueError: A band that `PASSBANDS` does not have.
    """
    names = [band.name for band in survey.bands]
    for name in names:
        if name not in PASSBANDS:
            raise ValueError(f"bands: {name!r} of {survey.name} has no passband; expected some of "
                             f"{', '.join(PASSBANDS)}")
    seen = {name: template_magnitude(template, np.asarray(z, float), *PASSBANDS[name]) for name in {*names, REFERENCE}}
    return np.stack([np.clip(seen[name] - seen[REFERENCE], -BLACKEST, BLACKEST) for name in names], -1)


def template_magnitude(template: str, z: np.ndarray, center: float, width: float) -> np.ndarray:
    """AB magnitude of a template through a flat passband, up to a constant, shape (z,).

    Args:
        template: Name in `TEMPLATES`.
        z: Redshifts, shape (z,).
        center, width: Of the passband [Angstrom].
    """
    seen = np.linspace(center - 0.5 * width, center + 0.5 * width, 200)
    rest = seen / (1.0 + z[:, None])
    level = np.asarray(TEMPLATES[template])
    flux = level[np.clip(np.searchsorted(EDGES, rest, side="right") - 1, 0, len(level) - 1)]
    depth = sum(factor * (seen / line) ** 3.46 * (rest < line) for line, factor in LYMAN)
    flux = flux * np.exp(-depth) * (rest > EDGES[0])
    mean = (flux * seen).sum(-1) / (1.0 / seen).sum()
    return -2.5 * np.log10(np.maximum(mean, 1e-30))


def _cumulative(x: np.ndarray, density: np.ndarray) -> np.ndarray:
    """Distribution function of a tabulated density by trapezia, from zero to one."""
    total = np.concatenate([[0.0], np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(x))])
    return total / total[-1]
