"""Half-light radius and axis ratio of a source against closed forms."""

import jax.numpy as jnp
import numpy as np
import pytest

from giga.light import Gaussian, Moffat, Sersic
from giga.light.shape import half_light


@pytest.mark.parametrize(("profile", "radius"), [
    (Sersic(amp=2.0, R_sersic=0.4, n_sersic=4.0, e1=0.2, e2=-0.1, center_x=0.3), 0.4),
    (Sersic(amp=2.0, R_sersic=0.15, n_sersic=0.6), 0.15),
    (Gaussian(amp=1.0, sigma=0.2, e1=0.3, center_y=-0.2), 0.2 * np.sqrt(2.0 * np.log(2.0))),
    (Moffat(amp=1.0, alpha=0.2, beta=4.0), 0.2 * np.sqrt(2.0 ** (1.0 / 3.0) - 1.0))], ids=str)
def test_one_profile_has_its_own_ellipse(profile, radius):
    found = half_light([profile], profile.center_x + 0.05, profile.center_y, jnp.asarray(0.3), rounds=25)
    q = (1.0 - np.hypot(profile.e1, profile.e2)) / (1.0 + np.hypot(profile.e1, profile.e2))
    assert float(found.radius) == pytest.approx(radius, rel=2e-3)  # a grid even in the logarithm, 96 radii
    assert float(found.q) == pytest.approx(q, rel=5e-3)
    np.testing.assert_allclose([found.x, found.y], [profile.center_x, profile.center_y], atol=2e-3 * radius)


def test_two_equal_profiles_side_by_side():
    """Half of the light of two spots far apart: the ellipse is long and lies between them."""
    spots = [Gaussian(amp=1.0, sigma=0.1, center_x=x) for x in (-0.15, 0.15)]
    found = half_light(spots, jnp.asarray(0.02), jnp.asarray(0.0), jnp.asarray(0.2), rounds=25)
    assert abs(float(found.x)) < 1e-3 and float(found.q) < 0.7
