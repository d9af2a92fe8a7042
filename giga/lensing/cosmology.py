"""Distances between redshifts, differentiable in the redshifts and in the cosmology."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
from jax import Array

from giga.component import Component, Param

SPEED_OF_LIGHT = 299792.458
"""[km / s]"""
GRAVITY = 4.300917270e-9
"""Newton's constant [Mpc (km / s)^2 / solar mass]."""
ARCSEC = math.pi / 648000.0
"""One arcsec [rad]."""
NODES = 24  # of the quadrature in log(1 + z): 1e-9 of a distance to z = 20
TERMS = 16  # of the series in curvature: below 1e-12 for |Ok0| (D_C / D_H)^2 up to 25


class Cosmology(Component):
    """A universe of matter, curvature and dark energy with w(z) = w0 + wa z / (1 + z); radiation is in `Radiant`.

    Distances are in Mpc and may be differentiated by redshifts and by the fields. Redshifts are arrays of shapes that
    broadcast.

    Attributes:
        H0: Hubble constant [km / s / Mpc].
        Om0: Density of matter today.
        Ok0: Density of curvature today; 0 is flat, positive is open.
        w0, wa: Equation of state of dark energy; -1 and 0 are a cosmological constant.

    References:
        Hogg (1999), arXiv:astro-ph/9905116; Linder (2003), PRL 90, 091301 (w0, wa).
    """

    H0: Param = 70.0
    Om0: Param = 0.3
    Ok0: Param = 0.0
    w0: Param = -1.0
    wa: Param = 0.0

    ranges = {"H0": (0.0, math.inf), "Om0": (0.0, math.inf)}

    @property
    def hubble_distance(self) -> Param:
        """c / H0 [Mpc]."""
        return SPEED_OF_LIGHT / self.H0

    def efunc(self, z: Array) -> Array:
        """Hubble parameter in units of its value today, E(z) = H(z) / H0."""
        return jnp.sqrt(self.density(jnp.asarray(z, float)))

    def density(self, z: Array) -> Array:
        """E(z)^2, the sum of matter, curvature and dark energy."""
        return self._with(z, 1.0 - self.Om0 - self.Ok0)

    def _with(self, z: Array, dark: Param) -> Array:
        """E(z)^2 of a density of dark energy today."""
        growth = (1.0 + z) ** (3.0 * (1.0 + self.w0 + self.wa)) * jnp.exp(-3.0 * self.wa * z / (1.0 + z))
        return self.Om0 * (1.0 + z) ** 3 + self.Ok0 * (1.0 + z) ** 2 + dark * growth

    def comoving_distance(self, z: Array, z2: Array | None = None) -> Array:
        """Line-of-sight comoving distance D_C to a redshift, or from the first to the second [Mpc].

        Gauss-Legendre quadrature in log(1 + z), in which the integrand is smooth out to any redshift.
        """
        start, stop = (0.0, z) if z2 is None else (z, z2)
        start, stop = jnp.broadcast_arrays(jnp.log1p(jnp.asarray(start, float)), jnp.log1p(jnp.asarray(stop, float)))
        nodes, weights = (np.asarray(part, start.dtype) for part in np.polynomial.legendre.leggauss(NODES))
        half = 0.5 * (stop - start)
        x = 0.5 * (start + stop)[..., None] + half[..., None] * nodes
        return self.hubble_distance * half * jnp.sum(weights * jnp.exp(x) / self.efunc(jnp.expm1(x)), axis=-1)

    def transverse_distance(self, z: Array, z2: Array | None = None) -> Array:
        """Transverse comoving distance D_M to a redshift, or from the first to the second [Mpc].

        D_C sinh(sqrt(u)) / sqrt(u) with u = Ok0 (D_C / D_H)^2, by a power series in u, which is one function for an
        open, a flat and a closed universe.
        """
        distance = self.comoving_distance(z, z2)
        u = self.Ok0 * (distance / self.hubble_distance) ** 2
        total = jnp.ones_like(distance)
        for n in range(TERMS, 0, -1):
            total = 1.0 + total * u / (2 * n * (2 * n + 1))
        return distance * total

    def angular_diameter_distance(self, z: Array, z2: Array | None = None) -> Array:
        """Angular diameter distance D_A to a redshift, or of the second as seen from the first [Mpc]."""
        return self.transverse_distance(z, z2) / (1.0 + (z if z2 is None else z2))

    def luminosity_distance(self, z: Array) -> Array:
        """Luminosity distance D_L [Mpc]."""
        return self.transverse_distance(z) * (1.0 + z)

    def distance_modulus(self, z: Array) -> Array:
        """Apparent minus absolute bolometric magnitude, 5 log10(D_L / 10 pc)."""
        return 5.0 * jnp.log10(self.luminosity_distance(z)) + 25.0

    def lensing_efficiency(self, z_lens: Array, z_source: Array) -> Array:
        """Ratio D_ls / D_s; zero for a source that is not behind the lens."""
        ratio = self.transverse_distance(z_lens, z_source) / self.transverse_distance(z_source)
        return jnp.maximum(ratio, 0.0)

    def critical_density(self, z_lens: Array, z_source: Array) -> Array:
        """Critical surface density c^2 / (4 pi G) D_s / (D_l D_ls) [solar masses / kpc^2]; z_source above z_lens."""
        ratio = self.lensing_efficiency(z_lens, z_source) * self.angular_diameter_distance(z_lens)
        return 1e-6 * SPEED_OF_LIGHT**2 / (4.0 * math.pi * GRAVITY) / ratio

    def time_delay_distance(self, z_lens: Array, z_source: Array) -> Array:
        """Time-delay distance (1 + z_l) D_l D_s / D_ls [Mpc]; z_source above z_lens."""
        return self.transverse_distance(z_lens) / self.lensing_efficiency(z_lens, z_source)

    def einstein_radius(self, sigma_v: Array, z_lens: Array, z_source: Array) -> Array:
        """Einstein radius of a singular isothermal sphere, 4 pi (sigma_v / c)^2 D_ls / D_s [arcsec].

        Zero for a source that is not behind the lens.

        Args:
            sigma_v: Velocity dispersion [km / s].
            z_lens, z_source: Redshifts, z_source above 0.

        References:
            Madireddy et al. (2019), arXiv:1911.03867, sec. 2.
        """
        return 4.0 * math.pi / ARCSEC * (sigma_v / SPEED_OF_LIGHT) ** 2 * self.lensing_efficiency(z_lens, z_source)

    def velocity_dispersion(self, theta_E: Array, z_lens: Array, z_source: Array) -> Array:
        """Velocity dispersion of the isothermal sphere of an Einstein radius [km / s]; z_source above z_lens."""
        efficiency = self.lensing_efficiency(z_lens, z_source)
        return SPEED_OF_LIGHT * jnp.sqrt(theta_E * ARCSEC / (4.0 * math.pi * efficiency))


NEUTRINOS, KNEE, BEND = 0.22710731766, 0.3173, 1.83  # density of a massless species over the photons'; fit of eq. 26


class Radiant(Cosmology):
    """A universe with photons and neutrinos too, as astropy's cosmologies with a temperature of the background have it.

    Attributes:
        Ogamma0: Density of photons today.
        N_eff: Effective number of massless neutrinos, shared evenly by the species.
        masses: For each species its mass over its temperature today, m c^2 / (k T).

    References:
        Komatsu et al. (2011), ApJS 192, 18, eq. 26 (neutrinos, good to 0.3% of their density).
    """

    Ogamma0: Param = 0.0
    N_eff: Param = 0.0
    masses: tuple[Param, ...] = ()

    def density(self, z: Array) -> Array:
        dark = 1.0 - self.Om0 - self.Ok0 - self._radiation(jnp.zeros_like(z))
        return self._with(z, dark) + (1.0 + z) ** 4 * self._radiation(z)

    def _radiation(self, z: Array) -> Array:
        """Density of photons and neutrinos over (1 + z)^4."""
        species = [(1.0 + (KNEE * mass / (1.0 + z)) ** BEND) ** (1.0 / BEND) for mass in self.masses]
        share = self.N_eff / max(len(species), 1)
        return self.Ogamma0 * (1.0 + NEUTRINOS * share * sum(species, jnp.zeros_like(z)))
