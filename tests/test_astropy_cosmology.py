"""astropy's cosmologies taken as they are: distances to 1e-8, and derivatives that they have not."""

import astropy.cosmology as ap
import astropy.units as u
import jax
import numpy as np
import pytest

from giga.io.cosmology import from_astropy
from giga.io.errors import InputError
from giga.lensing.cosmology import Cosmology

Z = np.array([1e-3, 0.1, 0.5, 1.0, 2.0, 5.0, 12.0])
Z1, Z2 = np.array([0.1, 0.5, 0.5, 1.4, 3.0]), np.array([0.11, 0.7, 6.0, 1.5, 12.0])
COSMOLOGIES = {
    "Planck18": ap.Planck18,
    "WMAP9": ap.WMAP9,
    "flat": ap.FlatLambdaCDM(70.0, 0.3),
    "w": ap.FlatwCDM(68.0, 0.28, w0=-0.8),
    "curved, three massive": ap.w0waCDM(70.0, 0.3, 0.65, w0=-0.9, wa=0.4, Tcmb0=2.7255, m_nu=[0.05, 0.1, 0.2] * u.eV),
    "massless": ap.LambdaCDM(70.0, 0.3, 0.6, Tcmb0=2.7255, Neff=3.04),
}


@pytest.mark.parametrize("name", COSMOLOGIES)
def test_distances_are_astropys(name, x64):
    theirs = COSMOLOGIES[name]
    ours = from_astropy(theirs)
    distance = jax.jit(lambda z, z1, z2: (ours.efunc(z), ours.luminosity_distance(z),
                                          ours.angular_diameter_distance(z1, z2)))(Z, Z1, Z2)
    wanted = (theirs.efunc(Z), theirs.luminosity_distance(Z).value, theirs.angular_diameter_distance(Z1, Z2).value)
    for mine, other in zip(distance, wanted, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-8)


def test_a_name_is_enough():
    assert from_astropy("Planck18").H0 == 67.66
    assert type(from_astropy(COSMOLOGIES["flat"])) is Cosmology


def test_derivatives_of_a_universe_with_radiation(x64):
    cosmology, h = from_astropy("Planck18"), 1e-5

    def distance(Om0, w0):
        return cosmology.replace(Om0=Om0, w0=w0).time_delay_distance(0.5, 2.0)

    at = (cosmology.Om0, -1.0)
    slopes = jax.jit(jax.grad(distance, (0, 1)))(*at)
    value = jax.jit(distance)
    numeric = [(value(at[0] + h, at[1]) - value(at[0] - h, at[1])) / (2 * h),
               (value(at[0], at[1] + h) - value(at[0], at[1] - h)) / (2 * h)]
    np.testing.assert_allclose(slopes, numeric, rtol=1e-7)


def test_what_cannot_be_said_is_refused():
    with pytest.raises(InputError, match="cosmology: got 'Planck99'; expected one of .*Planck18"):
        from_astropy("Planck99")
    with pytest.raises(InputError, match="cosmology: got w0wzCDM; expected LambdaCDM, wCDM, w0waCDM, or a flat one"):
        from_astropy(ap.w0wzCDM(70.0, 0.3, 0.7, wz=0.1))
