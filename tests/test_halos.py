"""Halos by M500: against astropy's densities and distances, and against the tracer of critical curves."""

import astropy.units as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.constants import G, c
from astropy.cosmology import FlatLambdaCDM
from scipy.optimize import brentq

from giga.lensing.critical import effective_einstein_radius, mean_convergence
from giga.lensing.halos import concentration, concentration_500, inner_mass, nfw_500, round_einstein_radius
from giga.mass import NFW, SIE, NFWEllipse

pytestmark = pytest.mark.quick
MASS, Z_LENS, Z_SOURCE = np.array([3e13, 2e14, 1.2e15]), np.array([0.2, 0.45, 0.8]), np.array([0.9, 2.0, 3.0])


def test_scale_radius_and_convergence_are_the_closed_form():
    """Expected: r_s = r500 / c500 and kappa_s = rho_s r_s / Sigma_cr with astropy's densities and distances."""
    c500 = np.array([2.0, 3.0, 5.0])
    cosmology = FlatLambdaCDM(70.0, 0.3)
    r500 = (3.0 * MASS * u.Msun / (4.0 * np.pi * 500.0 * cosmology.critical_density(Z_LENS))) ** (1.0 / 3.0)
    lens, source = cosmology.angular_diameter_distance(Z_LENS), cosmology.angular_diameter_distance(Z_SOURCE)
    between = (cosmology.comoving_distance(Z_SOURCE) - cosmology.comoving_distance(Z_LENS)) / (1.0 + Z_SOURCE)  # flat
    rho = MASS * u.Msun / (4.0 * np.pi * (r500 / c500) ** 3 * (np.log1p(c500) - c500 / (1.0 + c500)))
    kappa = (rho * (r500 / c500) * 4.0 * np.pi * G * lens * between / source / c**2).to_value("")
    Rs, alpha_Rs = nfw_500(MASS, c500, Z_LENS, Z_SOURCE)
    np.testing.assert_allclose(Rs, (r500 / c500 / lens).to_value("") * 206264.806, rtol=2e-5)
    np.testing.assert_allclose(alpha_Rs / (4.0 * Rs * (1.0 - np.log(2.0))), kappa, rtol=4e-5)  # Newton's constant


def test_concentrations_are_of_one_halo():
    """Expected: the density within c500 scale radii is 500 times critical where that within c200 is 200, and c200 is
    the relation's at M200; at M200 = 10^12 / h and z = 0 the relation has log10 c = 0.905."""
    assert float(concentration(1e12 / 0.7, 0.0)) == pytest.approx(10**0.905, rel=1e-5)
    for mass, z, offset in zip(MASS, Z_LENS, (0.0, 0.2, -0.3), strict=True):
        c500 = float(concentration_500(mass, z, offset))
        density = inner_mass(c500) / c500**3 / 500.0
        c200 = brentq(lambda x, density=density: inner_mass(x) / x**3 / 200.0 - density, c500, 4.0 * c500)
        mass_200 = mass * inner_mass(c200) / inner_mass(c500)
        assert c200 == pytest.approx(float(concentration(mass_200, z)) * 10.0**offset, rel=1e-4)


def test_a_source_in_front_is_not_bent():
    assert float(nfw_500(1e15, 3.0, 0.5, 0.4)[1]) == 0.0
    grad = jax.grad(lambda mass: nfw_500(mass * 1e15, 3.0, 0.3, 1.5)[1])(1.0)
    assert np.isfinite(grad) and grad > 0.0


def test_einstein_radius_against_the_tracer():
    """Expected: where the mean convergence is one, and for round mass the radius of the critical curve."""
    Rs, alpha_Rs = nfw_500(6e14, 3.5, 0.35, 1.8)
    radius = float(round_einstein_radius(Rs, alpha_Rs, 1.8))
    mass = [NFW(Rs=Rs, alpha_Rs=alpha_Rs), SIE(theta_E=1.8)]
    assert 5.0 < radius < 40.0 and float(mean_convergence(mass, radius)) == pytest.approx(1.0, abs=1e-4)
    assert effective_einstein_radius(mass, 50.0) == pytest.approx(radius, rel=2e-3)
    wider = effective_einstein_radius([NFWEllipse(Rs=Rs, alpha_Rs=alpha_Rs, e1=0.14), mass[1]], 50.0)
    assert 1.0 < wider / radius < 1.15  # an axis ratio of 0.75
    assert float(round_einstein_radius(jnp.float32(30.0), jnp.float32(0.0), 1.4)) == pytest.approx(1.4, rel=1e-5)
