"""Ray shooting: sums of deflections, and the magnification against finite differences."""

import jax.numpy as jnp
import numpy as np
import pytest

from giga.lensing.tracing import deflection, jacobian, magnification, trace
from giga.mass import EPL, NFW, Shear

pytestmark = pytest.mark.quick

MASS = [EPL(theta_E=1.2, gamma=1.9, e1=0.1, e2=-0.05), NFW(Rs=3.0, alpha_Rs=0.4, center_x=2.0),
        Shear(gamma1=0.03, gamma2=-0.02)]


def positions(rng):
    return jnp.asarray(rng.uniform(-2.0, 2.0, 30)), jnp.asarray(rng.uniform(-2.0, 2.0, 30))


def test_deflections_add(x64, rng):
    x, y = positions(rng)
    total = np.sum([np.stack(profile.deflection(x, y)) for profile in MASS], axis=0)
    np.testing.assert_allclose(jnp.stack(deflection(MASS, x, y)), total, rtol=1e-13)
    np.testing.assert_allclose(jnp.stack(trace(MASS, x, y)), np.stack([x, y]) - total, atol=1e-13)


def test_without_mass_rays_are_straight(dtype):
    x = jnp.linspace(-1.0, 1.0, 5, dtype=dtype)
    beta_x, beta_y = trace([], x, 2.0 * x)
    assert beta_x.dtype == dtype
    np.testing.assert_array_equal(beta_x, x)
    np.testing.assert_array_equal(beta_y, 2.0 * x)
    np.testing.assert_array_equal(magnification([], x, x), 1.0)


def test_magnification_is_the_ratio_of_areas(x64, rng):
    """The source area of a small image square, by finite differences of the ray shooting."""
    x, y = positions(rng)
    h = 1e-5
    right, left, up, down = (np.stack(trace(MASS, x + dx, y + dy)) for dx, dy in ((h, 0), (-h, 0), (0, h), (0, -h)))
    (xx, yx), (xy, yy) = (right - left) / (2 * h), (up - down) / (2 * h)
    np.testing.assert_allclose(1.0 / magnification(MASS, x, y), xx * yy - xy * yx, atol=1e-7)
    np.testing.assert_allclose(jnp.stack(jacobian(MASS, x, y)), [1.0 - xx, -xy, -yx, 1.0 - yy], atol=1e-7)
