"""Distances against astropy, closed forms, and gradients against finite differences."""

import astropy.cosmology as reference
import astropy.units as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy import constants

from giga.lensing.cosmology import Cosmology

PAIRS = {
    "flat": (Cosmology(H0=70.0, Om0=0.3), reference.FlatLambdaCDM(70.0, 0.3)),
    "open": (Cosmology(H0=67.0, Om0=0.3, Ok0=0.2), reference.LambdaCDM(67.0, 0.3, 0.5)),
    "closed": (Cosmology(H0=73.0, Om0=0.4, Ok0=-0.3), reference.LambdaCDM(73.0, 0.4, 0.9)),
    "w": (Cosmology(Om0=0.25, w0=-0.8), reference.FlatwCDM(70.0, 0.25, w0=-0.8)),
    "w0wa": (Cosmology(Om0=0.3, Ok0=0.05, w0=-0.9, wa=0.4), reference.w0waCDM(70.0, 0.3, 0.65, w0=-0.9, wa=0.4)),
    "matter": (Cosmology(Om0=1.0), reference.FlatLambdaCDM(70.0, 1.0)),
}
Z = np.array([1e-3, 0.1, 0.5, 1.0, 2.0, 5.0, 12.0])
Z1, Z2 = np.array([0.1, 0.5, 0.5, 1.4, 3.0]), np.array([0.11, 0.7, 6.0, 1.5, 12.0])


@pytest.mark.parametrize("name", PAIRS)
def test_distances_are_astropys(name, x64):
    ours, theirs = PAIRS[name]
    # the quadratures of both are good to 1e-9
    for mine, other in ((ours.efunc(Z), theirs.efunc(Z)), (ours.comoving_distance(Z), theirs.comoving_distance(Z)),
                        (ours.transverse_distance(Z), theirs.comoving_transverse_distance(Z)),
                        (ours.angular_diameter_distance(Z), theirs.angular_diameter_distance(Z)),
                        (ours.angular_diameter_distance(Z1, Z2), theirs.angular_diameter_distance(Z1, Z2)),
                        (ours.luminosity_distance(Z), theirs.luminosity_distance(Z)),
                        (ours.distance_modulus(Z), theirs.distmod(Z))):
        np.testing.assert_allclose(mine, getattr(other, "value", other), rtol=1e-8)


@pytest.mark.parametrize("name", PAIRS)
def test_single_precision(name):
    ours, theirs = PAIRS[name]
    mine = ours.angular_diameter_distance(Z1, Z2)
    assert mine.dtype == jnp.float32
    # a few roundings of 1 + z, which the difference of two near redshifts, 0.1 and 0.11, magnifies ten times
    np.testing.assert_allclose(mine, theirs.angular_diameter_distance(Z1, Z2).value, rtol=3e-5)


def test_lensing_quantities(x64):
    ours, theirs = PAIRS["w0wa"]
    d_l, d_s = (theirs.angular_diameter_distance(z) for z in (Z1, Z2))
    d_ls = theirs.angular_diameter_distance(Z1, Z2)
    density = (constants.c**2 / (4.0 * np.pi * constants.G) * d_s / (d_l * d_ls)).to(u.M_sun / u.kpc**2)
    np.testing.assert_allclose(ours.critical_density(Z1, Z2), density.value, rtol=1e-7)
    np.testing.assert_allclose(ours.time_delay_distance(Z1, Z2), ((1 + Z1) * d_l * d_s / d_ls).value, rtol=1e-7)
    radius = (4.0 * np.pi * (220.0 * u.km / u.s / constants.c) ** 2 * d_ls / d_s).to_value("", u.dimensionless_angles())
    np.testing.assert_allclose(ours.einstein_radius(220.0, Z1, Z2), np.rad2deg(radius) * 3600.0, rtol=1e-7)


def test_velocity_dispersion_is_the_inverse(x64):
    cosmology = Cosmology()
    radius = cosmology.einstein_radius(np.array([150.0, 300.0]), 0.5, 2.0)
    np.testing.assert_allclose(cosmology.velocity_dispersion(radius, 0.5, 2.0), [150.0, 300.0], rtol=1e-12)


def test_a_source_in_front_is_not_lensed():
    radius, slope = jax.value_and_grad(Cosmology().einstein_radius, 2)(200.0, 0.5, 0.3)
    assert float(radius) == float(slope) == 0.0


def test_closed_forms(x64):
    """Einstein-de Sitter: D_C = 2 D_H (1 - 1 / sqrt(1 + z)); empty: D_M = D_H ((1 + z)^2 - 1) / (2 + 2 z)."""
    flat, empty = Cosmology(Om0=1.0), Cosmology(Om0=0.0, Ok0=1.0)
    np.testing.assert_allclose(flat.comoving_distance(Z), 2.0 * flat.hubble_distance * (1.0 - (1.0 + Z) ** -0.5),
                               rtol=1e-9)
    np.testing.assert_allclose(empty.transverse_distance(Z), empty.hubble_distance * ((1 + Z) ** 2 - 1) / (2 + 2 * Z),
                               rtol=1e-9)


def test_distances_add_up(x64):
    cosmology = PAIRS["w0wa"][0]
    np.testing.assert_allclose(cosmology.comoving_distance(0.5) + cosmology.comoving_distance(0.5, 2.0),
                               cosmology.comoving_distance(2.0), rtol=1e-12)


@pytest.mark.parametrize("name", ["flat", "closed", "w0wa"])
def test_gradients(name, x64):
    cosmology, h = PAIRS[name][0], 1e-5

    def radius(parameters):
        *fields, sigma_v, z_lens, z_source = parameters
        universe = Cosmology(**dict(zip(("H0", "Om0", "Ok0", "w0", "wa"), fields, strict=True)))
        return universe.einstein_radius(sigma_v, z_lens, z_source) + 1e-3 * universe.angular_diameter_distance(z_lens)

    at = jnp.array([cosmology.H0, cosmology.Om0, cosmology.Ok0, cosmology.w0, cosmology.wa, 220.0, 0.5, 2.0])
    gradient = jax.jit(jax.grad(radius))(at)
    steps = jnp.diag(h * jnp.maximum(jnp.abs(at), 1.0))
    values = jax.jit(jax.vmap(radius))
    numeric = (values(at + steps) - values(at - steps)) / (2.0 * jnp.diag(steps))
    # error of a central difference: h^2 and eps / h
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
    assert bool(jnp.all(jnp.isfinite(gradient)))


def test_maps_over_redshifts_and_universes(x64):
    universes = Cosmology(H0=jnp.array([70.0, 60.0]), Om0=jnp.array([0.3, 0.2]), Ok0=jnp.zeros(2), w0=-jnp.ones(2),
                          wa=jnp.zeros(2))
    mapped = jax.jit(jax.vmap(lambda universe: universe.comoving_distance(Z)))(universes)
    np.testing.assert_allclose(mapped[1], Cosmology(H0=60.0, Om0=0.2).comoving_distance(Z), rtol=1e-12)
