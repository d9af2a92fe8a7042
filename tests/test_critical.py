"""Critical curves against closed forms, and what is derived from them."""

import numpy as np
import pytest

from giga.imaging.grid import Grid
from giga.lensing.critical import (
    critical_curves,
    effective_einstein_radius,
    enclosed_area,
    mass_fraction,
    mean_convergence,
)
from giga.lensing.tracing import magnification
from giga.mass import EPL, NFW, SIE, Shear

RADIUS_TOLERANCE = 1e-4  # arcsec: float32 fields, four points for each grid cell crossed


def kinds(curves):
    return [curve.kind for curve in curves]


def radii(points, center=(0.0, 0.0)):
    return np.hypot(*(points - np.asarray(center)).T)


@pytest.mark.parametrize("center", [(0.0, 0.0), (0.31, -0.17)])
def test_circular_isothermal_lens(center):
    x, y = center
    curves = critical_curves([SIE(theta_E=1.2, center_x=x, center_y=y)], 3.0)
    assert kinds(curves) == ["tangential", "cut"]
    np.testing.assert_allclose(radii(curves[0].critical, center), 1.2, atol=RADIUS_TOLERANCE)
    np.testing.assert_allclose(radii(curves[0].caustic, center), 0.0, atol=RADIUS_TOLERANCE)
    np.testing.assert_allclose(radii(curves[1].caustic, center), 1.2, atol=RADIUS_TOLERANCE)
    assert curves[1].critical.shape == (0, 2) and curves[1].area == 0.0


def test_isothermal_ellipsoid_has_an_astroid_inside_its_cut():
    mass = [SIE(theta_E=1.2, e1=0.1, e2=0.05)]
    tangential, cut = critical_curves(mass, 3.0)
    assert (tangential.kind, cut.kind) == ("tangential", "cut") and tangential.closed and cut.closed
    # kappa = 1/2 on the tangential curve of any isothermal elliptical lens, an ellipse of area pi theta_E^2
    assert tangential.area == pytest.approx(np.pi * 1.2**2, rel=1e-4)
    kappa = mass[0].convergence(*tangential.critical.astype(np.float32).T)
    np.testing.assert_allclose(kappa, 0.5, rtol=1e-4)
    assert 0.0 < enclosed_area(tangential.caustic) < 0.05 * enclosed_area(cut.caustic)


@pytest.mark.parametrize("gamma", [1.4, 1.8, 1.95, 1.985])
def test_radial_curve_of_a_circular_power_law(gamma):
    curves = critical_curves([EPL(theta_E=1.1, gamma=gamma, center_x=0.05, center_y=0.02)], 3.0)
    assert kinds(curves) == ["tangential", "radial"]
    expected = 1.1 * (2.0 - gamma) ** (1.0 / (gamma - 1.0))
    np.testing.assert_allclose(radii(curves[1].critical, (0.05, 0.02)), expected, atol=RADIUS_TOLERANCE)
    deflection = 1.1 * (expected / 1.1) ** (2.0 - gamma)
    np.testing.assert_allclose(radii(curves[1].caustic, (0.05, 0.02)), deflection - expected, atol=RADIUS_TOLERANCE)
    np.testing.assert_allclose(radii(curves[0].critical, (0.05, 0.02)), 1.1, atol=RADIUS_TOLERANCE)


def test_steep_power_law_has_no_radial_curve_and_no_cut():
    assert kinds(critical_curves([EPL(theta_E=1.1, gamma=2.2)], 3.0)) == ["tangential"]


def test_elliptical_power_law_with_shear():
    mass = [EPL(theta_E=1.3, gamma=1.9, e1=0.12, e2=-0.08, center_x=0.03), Shear(gamma1=0.05, gamma2=-0.03)]
    curves = critical_curves(mass, 4.0)
    assert kinds(curves) == ["tangential", "radial"]
    radius = effective_einstein_radius(mass, 4.0)
    # a shear and an ellipticity change the area at second order alone
    assert radius == pytest.approx(1.3, abs=0.01)
    assert radius == pytest.approx(effective_einstein_radius(mass, 5.0), abs=2e-5)
    for curve in curves:
        assert curve.closed
        determinant = 1.0 / np.asarray(magnification(mass, *curve.critical.astype(np.float32).T))
        np.testing.assert_allclose(determinant, 0.0, atol=2e-4)



@pytest.mark.parametrize("n", [60, 200])
def test_area_is_accurate(n):
    assert effective_einstein_radius([EPL(theta_E=1.0, gamma=2.1)], 2.5, n) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("e1", [0.0, 0.1])
def test_nfw_has_both_curves(e1):
    curves = critical_curves([NFW(Rs=5.0, alpha_Rs=3.0, e1=e1)], 6.0)
    assert kinds(curves) == ["tangential", "radial"]
    assert curves[0].area > curves[1].area > 0.0


@pytest.mark.parametrize("mass", [[], [Shear(gamma1=0.1, gamma2=0.0)], [NFW(Rs=5.0, alpha_Rs=0.01)]])
def test_weak_lens_has_none(mass):
    assert effective_einstein_radius(mass, 3.0) == 0.0
    assert not [curve for curve in critical_curves(mass, 3.0) if curve.kind == "tangential"]


def test_two_separate_lenses():
    mass = [SIE(theta_E=0.5, center_x=-2.0), SIE(theta_E=0.4, center_x=2.0)]
    assert kinds(critical_curves(mass, 4.0)) == ["tangential", "tangential", "cut", "cut"]


def test_curve_that_leaves_the_grid():
    mass = [SIE(theta_E=2.0, e1=0.2)]
    with pytest.raises(ValueError, match="half-width 2.0 arcsec"):
        effective_einstein_radius(mass, 2.0)
    assert not critical_curves(mass, 2.0)[0].closed


@pytest.mark.parametrize(("arguments", "message"), [((0.0, 200), "grid_half_width"), ((3.0, 4), "n: expected 16")])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        critical_curves([SIE(theta_E=1.0)], *arguments)


def test_magnification_map_of_an_isothermal_sphere():
    grid = Grid(shape=(10, 12), pixel_scale=0.3)
    x, y = grid.coordinates(2)
    expected = 1.0 / (1.0 - 1.0 / np.hypot(x, y))
    got = magnification([SIE(theta_E=1.0)], *grid.coordinates(2))
    assert got.shape == (20, 24)
    np.testing.assert_allclose(1.0 / np.asarray(got), 1.0 / expected, atol=1e-4)


def test_enclosed_mass():
    sphere, epl = SIE(theta_E=1.2), EPL(theta_E=0.9, gamma=1.7, e1=0.15)
    np.testing.assert_allclose(mean_convergence([sphere], np.array([0.6, 1.2, 2.4])), [2.0, 1.0, 0.5], rtol=1e-5)
    # against a sum over the disk
    grid = Grid(shape=(400, 400), pixel_scale=0.006)
    x, y = grid.coordinates()
    inside = np.hypot(x, y) < 1.0
    summed = np.asarray(epl.convergence(x, y))[inside].mean()
    assert float(mean_convergence([epl], 1.0)) == pytest.approx(summed, rel=5e-3)
    share = mass_fraction([sphere], [sphere, epl], 1.0)
    assert float(share) == pytest.approx(1.2 / (1.2 + float(mean_convergence([epl], 1.0))), rel=1e-5)
