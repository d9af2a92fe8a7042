"""Halos of clusters by M500: their concentration, and the Navarro-Frenk-White profile that bends light."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array

from giga.component import Param
from giga.lensing.cosmology import ARCSEC, GRAVITY, SPEED_OF_LIGHT, Cosmology
from giga.mass.nfw import NFW

SCATTER = 0.11
"""Scatter of log10 c200 about `concentration`: Dutton & Maccio (2014)."""
STEPS = 12  # of Newton's method for a concentration, which takes five
HALVINGS = 32  # of the bracket of an Einstein radius: to rounding in single precision
NEAREST, FURTHEST = 1e-3, 300.0  # ends of that bracket [arcsec]


def inner_mass(x: Param) -> Array:
    """Mass of an NFW halo inside x scale radii, over 4 pi rho_s r_s^3: ln(1 + x) - x / (1 + x)."""
    return jnp.log1p(x) - x / (1.0 + x)


def concentration(mass_200: Param, z: Param, cosmology: Cosmology | None = None) -> Array:
    """Mean concentration c200 of halos, for a critical overdensity of 200.

    Args:
        mass_200: M200 [solar masses].
        z: Redshift.
        cosmology: Gives h; the default is flat with H0 = 70 and Om0 = 0.3.

    References:
        Dutton & Maccio (2014), MNRAS 441, 3359, arXiv:1402.7073.
    """
    a = 0.520 + (0.905 - 0.520) * jnp.exp(-0.617 * z**1.21)
    b = -0.101 + 0.026 * z
    h = (cosmology or Cosmology()).H0 / 100.0
    return 10.0 ** (a + b * jnp.log10(mass_200 * h / 1e12))


def concentration_500(mass_500: Param, z: Param, offset: Param = 0.0,
                      cosmology: Cosmology | None = None) -> Array:
    """Concentration c500 of halos whose M500 is known, by `concentration` of the M200 that goes with it.

    Args:
        mass_500: M500 [solar masses].
        z: Redshift.
        offset: Of log10 c200 from its mean, `SCATTER` times a standard normal number.
        cosmology: See `concentration`.
    """
    def step(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        c500, mass_200 = state
        c200 = concentration(mass_200, z, cosmology) * 10.0**offset
        # The mean density inside c scale radii goes as m(c) / c^3; it is 500 / 200 times that inside c200.
        wanted = jnp.log(2.5 * inner_mass(c200) / c200**3)
        off = jnp.log(inner_mass(c500)) - 3.0 * jnp.log(c500) - wanted
        slope = c500 / (1.0 + c500) ** 2 / inner_mass(c500) - 3.0 / c500
        c500 = jnp.maximum(c500 - off / slope, 0.1 * c500)
        return c500, mass_500 * inner_mass(c200) / inner_mass(c500)

    start = jnp.asarray(0.65 * concentration(mass_500, z, cosmology) * 10.0**offset, float)
    return jax.lax.fori_loop(0, STEPS, step, (start, 1.4 * jnp.broadcast_to(mass_500, start.shape)))[0]


def nfw_500(mass_500: Param, c500: Param, z_lens: Param, z_source: Param,
            cosmology: Cosmology | None = None) -> tuple[Array, Array]:
    """The NFW profile of a halo for a source, as `giga.mass.nfw.NFW` and `NFWEllipse` have it.

    Args:
        mass_500: Mass inside the radius of 500 times the critical density [solar masses].
        c500: That radius over the scale radius.
        z_lens, z_source: Redshifts.
        cosmology: The default is flat with H0 = 70 and Om0 = 0.3.

    Returns:
        Rs and alpha_Rs [arcsec]; alpha_Rs is zero for a source that is not behind the lens.

    References:
        Wright & Brainerd (2000), ApJ 534, 34: alpha_Rs = 4 kappa_s Rs (1 - ln 2), kappa_s = rho_s r_s / Sigma_cr.
    """
    cosmology = cosmology or Cosmology()
    density = 3.0 * (cosmology.H0 * cosmology.efunc(z_lens)) ** 2 / (8.0 * math.pi * GRAVITY)  # per Mpc^3
    radius = jnp.cbrt(mass_500 / density * (3.0 / (4.0 * math.pi * 500.0))) / c500  # r_s [Mpc]
    distance = cosmology.angular_diameter_distance(z_lens)
    surface = mass_500 / density / (4.0 * math.pi * radius**2 * inner_mass(c500))  # rho_s r_s over the density
    bend = 4.0 * math.pi * GRAVITY / SPEED_OF_LIGHT**2 * density * distance \
        * cosmology.lensing_efficiency(z_lens, z_source)
    Rs = radius / distance / ARCSEC
    return Rs, 4.0 * (1.0 - math.log(2.0)) * surface * bend * Rs


def round_einstein_radius(Rs: Param, alpha_Rs: Param, theta_E: Param = 0.0) -> Array:
    """Einstein radius of a round NFW halo with an isothermal sphere in its middle [arcsec], to rounding.

    The mean convergence falls outwards, so its one crossing of 1 is bracketed and halved in the logarithm; 1e-3 arcsec
    where it is lower everywhere, as it is never for an isothermal sphere.

    Args:
        Rs, alpha_Rs: Of the halo [arcsec].
        theta_E: Of the sphere alone [arcsec].
    """
    shape = jnp.broadcast_shapes(*map(jnp.shape, (Rs, alpha_Rs, theta_E)))
    halo = NFW(Rs=Rs, alpha_Rs=alpha_Rs)

    def halved(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = jnp.sqrt(low * high)
        alpha, _ = halo.deflection(middle, jnp.zeros_like(middle))
        inside = alpha + theta_E > middle
        return jnp.where(inside, middle, low), jnp.where(inside, high, middle)

    return jax.lax.fori_loop(0, HALVINGS, halved, (jnp.full(shape, NEAREST), jnp.full(shape, FURTHEST)))[0]
