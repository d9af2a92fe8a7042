"""Einstein radius, mass and slope of many lenses against closed forms and against the contours of critical.py."""

import jax
import numpy as np
import pytest

from giga.lensing.critical import effective_einstein_radius
from giga.lensing.einstein import APART, CELLS, LEAVES, NONE, STAR, einstein_numbers
from giga.mass import EPL, SIE, SIS, PointMass, Shear

TOLERANCE = {"float32": 2e-6, "float64": 1e-9}  # rounding of the eigenvalue over its slope; 96 rays
ELLIPSE = [SIE(theta_E=1.2, e1=0.3, e2=0.2, center_x=0.1)]  # its critical curve is an ellipse of area pi theta_E^2


def batch(mass, dtype, count=2):
    return jax.tree.map(lambda leaf: np.full(count, leaf, dtype), mass)


@pytest.mark.parametrize(("mass", "radius", "slope"), [
    (ELLIPSE, 1.2, 2.0), ([PointMass(theta_E=0.9)], 0.9, 3.0), ([EPL(theta_E=1.1, gamma=1.7)], 1.1, 1.7)])
def test_closed_forms(mass, radius, slope, dtype):
    found = einstein_numbers(batch(mass, dtype), 6.0)
    np.testing.assert_allclose(found.radius, radius, rtol=TOLERANCE[dtype.name])
    np.testing.assert_allclose(found.slope, slope, rtol=4.0 * TOLERANCE[dtype.name])
    np.testing.assert_allclose(found.mass, np.pi * radius**2, rtol=2.0 * TOLERANCE[dtype.name])  # mean convergence 1
    assert (found.kind == STAR).all()


def test_a_batch_is_its_lenses_and_agrees_with_contours(rng):
    count = 3
    mass = [EPL(theta_E=rng.uniform(0.8, 1.4, count), gamma=rng.uniform(1.6, 2.3, count),
                e1=rng.uniform(-0.2, 0.2, count), e2=rng.uniform(-0.2, 0.2, count), center_x=np.full(count, 0.05),
                center_y=np.zeros(count)), Shear(gamma1=rng.normal(0.0, 0.05, count), gamma2=np.full(count, 0.02))]
    mass = jax.tree.map(np.float32, mass)
    found = einstein_numbers(mass, 5.0)
    for k in range(count):
        one = jax.tree.map(lambda leaf, k=k: leaf[k:k + 1], mass)
        alone = einstein_numbers(one, 5.0)
        np.testing.assert_array_equal([alone.radius[0], alone.mass[0]], [found.radius[k], found.mass[k]])
        contour = effective_einstein_radius(jax.tree.map(lambda leaf: float(leaf[0]), one), 4.0)
        assert found.radius[k] == pytest.approx(contour, rel=2e-4)  # of four points for each cell of a grid
    np.testing.assert_allclose(found.slope, mass[0].gamma, rtol=1e-5)  # the shear is no mass


@pytest.mark.parametrize(("mass", "kind", "radius"), [
    ([SIS(theta_E=10.0)], LEAVES, np.nan), ([SIS(theta_E=0.002)], NONE, 0.0),
    ([SIE(theta_E=1.0), SIS(theta_E=0.1, center_x=3.0)], APART, None),
    ([SIE(theta_E=1.0), SIS(theta_E=0.2, center_x=1.25)], CELLS, None)])
def test_what_is_no_star_is_said(mass, kind, radius):
    mass = batch(mass, np.float32)
    found = einstein_numbers(mass, 6.0)
    assert (found.kind == kind).all()
    if radius is not None:
        np.testing.assert_array_equal(found.radius, radius)
        return
    contour = effective_einstein_radius(jax.tree.map(lambda leaf: float(leaf[0]), mass), 4.0, 300)
    assert found.radius[0] == pytest.approx(contour, rel=0.01 if kind == CELLS else 2e-4)
    assert 0.9 < found.mass[0] / (np.pi * found.radius[0] ** 2) < 1.1  # convergence near one on average
