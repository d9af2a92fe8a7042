"""Member galaxies of clusters as they shine, where there is no image of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import AnyArray, Component
from giga.lensing.cosmology import Cosmology
from giga.simulate.surveys.survey import Survey
from giga.simulate.systems.cluster_sources import PASSBANDS, REFERENCE, colours

# Sizes: those of early types at z = 0.25, van der Wel et al. (2014), ApJ 788, 28, in F814W; index,
# red sequence and share of blue galaxies are broad on purpose, for the catalogues of models do not have them.
M_STAR = 19.0  # F814W of a galaxy of 1e11 solar masses at z = 0.31
SIZE, SIZE_SLOPE, SIZE_SCATTER = 4.9, 0.24, 0.12  # half-light radius [kpc], its slope [dex / mag] and scatter [dex]
SMALLEST = 0.4  # half-light radius [kpc]
SERSIC, SERSIC_SLOPE, SERSIC_SCATTER = 4.0, 0.5, 0.8  # index at M_STAR, less by so much a magnitude
TILT, RED_SCATTER, BLUE = 0.03, 0.06, 0.15  # slope and scatter of the red sequence in colour, share of blue galaxies
TURNED = 0.1  # scatter of an ellipticity component of the light about the catalogue's


class MemberLight(Component):
    """How members shine: tables by cluster, made by `members_of`.

    Attributes:
        kpc: Angle of 1 kpc, shape (clusters,) [arcsec].
        m_star: F814W of a galaxy of `SIZE`, shape (clusters,).
        red, blue: Magnitudes of early and late types less F814W, shape (clusters, bands).
        reddening: Share of the tilt and the scatter of the red sequence that each band has, shape (bands,).
    """

    kpc: AnyArray
    m_star: AnyArray
    red: AnyArray
    blue: AnyArray
    reddening: AnyArray

    def draw(self, key: Array, cluster: Array, light: Array) -> dict[str, Array]:
        """Light of a galaxy of the catalogue.

        Args:
            key: Random key.
            cluster: Its number.
            light: F814W, e1 and e2.

        Returns:
            `mags` of the bands, `R`, `n`, `e1`, `e2`.
        """
        keys = jax.random.split(key, 5)
        normal = jax.random.normal(keys[0], (5,))
        away = jnp.where(jnp.isfinite(light[0]), light[0], self.m_star[cluster]) - self.m_star[cluster]
        size = jnp.maximum(SIZE * 10.0 ** (-SIZE_SLOPE * away + SIZE_SCATTER * normal[0]), SMALLEST)
        late = jax.random.bernoulli(keys[1], BLUE)
        share = jnp.where(late, jax.random.uniform(keys[2], minval=0.3), 0.0)
        colour = (1.0 - share) * self.red[cluster] + share * self.blue[cluster] \
            + self.reddening * (RED_SCATTER * normal[1] - TILT * away)
        index = jnp.clip(SERSIC - SERSIC_SLOPE * away + SERSIC_SCATTER * normal[2], 1.0, 6.0)
        e1, e2 = light[1] + TURNED * normal[3], light[2] + TURNED * normal[4]
        shrunk = jnp.minimum(1.0, 0.7 / jnp.maximum(jnp.hypot(e1, e2), 1e-6))
        return dict(mags=light[0] + colour, R=size * self.kpc[cluster], n=jnp.where(late, 1.0, index),
                    e1=shrunk * e1, e2=shrunk * e2)


def members_of(z_lens: np.ndarray, survey: Survey, cosmology: Cosmology | None = None) -> MemberLight:
    """Make the tables of members' light for clusters of some redshifts, shape (clusters,)."""
    cosmology = cosmology or Cosmology()
    luminosity = np.asarray(cosmology.luminosity_distance(jnp.asarray(np.append(z_lens, 0.31))), float)
    angular = np.asarray(cosmology.angular_diameter_distance(jnp.asarray(z_lens)), float)
    wavelengths = np.array([PASSBANDS[band.name][0] for band in survey.bands])
    away = np.log(PASSBANDS[REFERENCE][0] / wavelengths) / np.log(PASSBANDS[REFERENCE][0] / PASSBANDS["F606W"][0])
    return MemberLight(**{name: np.asarray(values, np.float32) for name, values in dict(
        kpc=648.0 / np.pi / angular, m_star=M_STAR + 5.0 * np.log10(luminosity[:-1] / luminosity[-1]),
        red=colours("elliptical", z_lens, survey), blue=colours("star-forming", z_lens, survey),
        reddening=away).items()})
