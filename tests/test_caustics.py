"""Numbers of images and cross-sections by caustics, against closed forms and the images themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.component import in_float64
from giga.io.results.model import _curves, _table, curves_summary
from giga.lensing.caustics import cross_sections, image_numbers, told_apart
from giga.lensing.critical import KINDS, Curve, critical_curves, enclosed_area, fields
from giga.lensing.images import Finder, find_images
from giga.lensing.planes import Behind, Planes
from giga.mass import DPIE, EPL, GNFW, NFW, NIE, SIE, SIS, Convergence, PointMass, Shear
from giga.mass.members import Halos

LENSES = {
    "isothermal, sheared": ([SIS(theta_E=1.1), Shear(gamma1=0.08, gamma2=-0.05)], 4.0),
    "naked cusps": ([SIE(theta_E=1.0, e1=0.45), Shear(gamma1=-0.2, gamma2=0.0)], 6.0),
    "cored": ([NIE(theta_E=1.3, s_scale=0.1, e1=0.2, e2=0.1), Shear(gamma1=-0.04, gamma2=0.06)], 5.0),
    "flat": ([EPL(theta_E=1.2, gamma=1.7, e1=0.1, e2=0.15), Shear(gamma1=0.03, gamma2=0.0)], 4.0),
    "two galaxies": ([NIE(theta_E=0.9, s_scale=0.08, center_x=-0.9), NIE(theta_E=0.7, s_scale=0.06, center_x=1.0,
                                                                         center_y=0.3, e1=0.2)], 5.0),
    "halo": ([NFW(Rs=6.0, alpha_Rs=3.5), Shear(gamma1=0.05, gamma2=0.02)], 7.0),
}


def test_a_sheared_isothermal_sphere_has_the_areas_of_its_circle_and_its_astroid():
    b, gamma = 1.3, 0.1
    with jax.enable_x64(True):
        curves = critical_curves([SIS(theta_E=b), Shear(gamma1=gamma, gamma2=0.0)], 4.0, 400)
    found = cross_sections(curves)
    four = 1.5 * np.pi * (b * gamma) ** 2 / (1.0 - gamma**2)  # an astroid of half-axes 2 b gamma / (1 +- gamma)
    assert set(found) == {2, 4}
    assert found[4] == pytest.approx(four, rel=2e-4)
    assert found[2] + found[4] == pytest.approx(np.pi * b**2, rel=1e-4)  # of its cut, a circle of 360 corners
    assert image_numbers(curves, [0.0, 1.2, 1.4], 0.0).tolist() == [4, 2, 1]


def test_cusps_that_stick_out_of_the_cut_have_three_images():
    curves = critical_curves(*LENSES["naked cusps"])
    found = cross_sections(curves)
    assert set(found) == {2, 3, 4} and min(found.values()) > 0.01
    tangential, cut = curves
    areas = enclosed_area(tangential.caustic), enclosed_area(cut.caustic)
    # Four images are counted in both, three in the astroid alone, two in the cut alone.
    assert found[3] + found[4] == pytest.approx(areas[0], rel=1e-3)
    assert found[2] + found[4] == pytest.approx(areas[1], rel=1e-3)


@pytest.mark.parametrize("name", LENSES)
def test_numbers_are_those_of_the_images_that_are_found(name):
    mass, half = LENSES[name]
    rng = np.random.default_rng(5)
    with jax.enable_x64(True):
        curves = critical_curves(mass, half, 300)
        corner = np.abs(np.concatenate([curve.caustic for curve in curves])).max()
        x, y = rng.uniform(-corner, corner, (2, 200))
        found = jax.vmap(lambda a, b: find_images(mass, a, b, Finder(half_width=half, faintest=1e-9)))(x, y)
        counted = np.asarray(found.found).sum(1)
    near = np.min([np.hypot(curve.caustic[:, 0] - x[:, None], curve.caustic[:, 1] - y[:, None]).min(1)
                   for curve in curves], axis=0) < 0.003  # on a caustic two of them merge
    numbers = image_numbers(curves, x, y)
    assert len(np.unique(numbers)) > 1
    np.testing.assert_array_equal(numbers[~near], counted[~near])
    # The areas are those of the share of the sources in each.
    dense = image_numbers(curves, *rng.uniform(-corner, corner, (2, 20000)))
    for number, area in cross_sections(curves, central=True).items():
        share = np.mean(dense == number)
        error = np.sqrt((share + 1e-3) / len(dense))
        assert abs(share - area / (4.0 * corner**2)) < 4.0 * error, number


CLUSTER = NIE(theta_E=20.0, s_scale=4.0)
FLATTENED = NIE(theta_E=20.0, s_scale=4.0, e1=0.1)
# Masses, half-widths of the squares for curves and for images, place of a galaxy, half-width of sources, numbers.
CUTS = {
    "galaxy in the ring": ([CLUSTER, SIS(theta_E=0.8, center_x=12.0)], 45.0, 60.0, 12.0, 1.2, {3, 4, 5}),
    "inside the radial curve": ([CLUSTER, SIS(theta_E=0.8, center_x=4.0)], 45.0, 60.0, 4.0, 1.2, {1, 2, 3}),
    "elliptical": ([FLATTENED, SIE(theta_E=0.8, center_x=12.0, e1=0.1)], 45.0, 60.0, 12.0, 1.2, {3, 4, 5, 6}),
    "sheet": ([SIE(theta_E=1.0, e1=0.1), Convergence(kappa=1.3)], 12.0, 12.0, 0.0, 1.2, {0, 1}),
    "strong shear": ([SIE(theta_E=1.0, e1=0.1), Shear(gamma1=1.4, gamma2=0.0)], 6.0, 6.0, 0.0, 1.2, {1, 2, 3}),
    "point mass": ([PointMass(theta_E=1.1), Shear(gamma1=0.2, gamma2=0.0)], 6.0, 6.0, 0.0, 0.8, {2, 4}),
    "steep": ([EPL(theta_E=1.1, gamma=2.3, e1=0.4)], 6.0, 6.0, 0.0, 0.8, {2, 4}),
    "with a point mass": ([SIE(theta_E=1.1, e1=0.4), PointMass(theta_E=0.1, center_x=1.0)], 6.0, 6.0, 0.0, 1.2,
                          {2, 3, 5}),
}


@pytest.mark.parametrize("name", CUTS)
def test_cuts_and_steep_centres_count_by_what_surrounds_them(name):
    mass, half, wide, place, box, numbers = CUTS[name]
    with jax.enable_x64(True):
        curves = critical_curves(mass, half)
        about = place - sum(float(one.deflection(jnp.asarray(place), jnp.asarray(0.0))[0]) for one in mass
                            if isinstance(one, NIE))
        x, y = np.random.default_rng(3).uniform(-box, box, (2, 150)) + [[about], [0.0]]
        found = jax.vmap(lambda a, b: find_images(mass, a, b, Finder(half_width=wide, most=64)))(x, y)
        counted, complete = np.asarray(found.count), np.asarray(found.complete)
    near = np.min([np.hypot(curve.caustic[:, 0] - x[:, None], curve.caustic[:, 1] - y[:, None]).min(1)
                   for curve in curves], axis=0) < 0.01
    assert np.mean(near) < 0.3 and set(counted[~near & complete]) == numbers
    np.testing.assert_array_equal(image_numbers(curves, x, y)[~near & complete], counted[~near & complete])
    # The areas are the shares of sources, seen without faint images in the middle and with them.
    span = np.abs(np.concatenate([curve.caustic for curve in curves])).max()
    u, v = np.random.default_rng(4).uniform(-span, span, (2, 20000))
    dense, far = image_numbers(curves, u, v), int(image_numbers(curves, 9e3, 0.0))
    areas = cross_sections(curves, central=True)
    assert set(areas) >= numbers - {0, 1, far} and far not in areas
    for number, area in areas.items():
        share = np.mean(dense == number)
        assert abs(share - area / (4.0 * span**2)) < 4.0 * np.sqrt((share + 1e-3) / len(dense)), number


def test_a_lens_that_is_round_and_steep_has_two_images_everywhere_and_no_areas():
    for mass in (PointMass(theta_E=1.1), GNFW(Rs=3.0, alpha_Rs=1.0, gamma_in=2.3)):
        curves = critical_curves([mass], 6.0)
        assert image_numbers(curves, [0.1, 2.0, 50.0], 0.3).tolist() == [2, 2, 2]
        assert cross_sections(curves) == {}
        assert image_numbers(_curves(_table(curves).data), 2.0, 0.3) == 2
    assert cross_sections(critical_curves([NIE(theta_E=1.0, s_scale=0.1)])).keys() == {2}


def test_curves_of_galaxies_are_told_from_those_of_the_cluster():
    halo = NIE(theta_E=18.0, s_scale=3.0, e1=0.15)
    places = np.array([[30.0, 8.0], [-20.0, -31.0], [6.0, 1.0], [55.0, 0.0], [18.5, -1.0]])
    galaxies = [NIE(theta_E=size, s_scale=0.02, center_x=x, center_y=y)
                for size, (x, y) in zip((0.4, 0.25, 0.3, 0.9, 0.2), places, strict=True)]
    mass = [halo, *galaxies]
    curves = critical_curves(mass, 50.0, 48, galaxies=places)
    secondary = [curve for curve in told_apart(curves, [halo]) if curve.secondary]
    tangential = [curve for curve in secondary if curve.kind == "tangential"]
    # One is outside the square, one inside the primary curve, where the halo alone is critical, one on it.
    middles = np.array(sorted(curve.critical.mean(0).tolist() for curve in tangential))
    np.testing.assert_allclose(middles, [places[1], places[0]], atol=0.6)
    radii = [curve.einstein_radius for curve in sorted(tangential, key=lambda curve: curve.critical[0, 0])]
    assert 0.25 < radii[0] < 0.6 and 0.4 < radii[1] < 1.2  # larger than alone: the cluster helps
    primary = [curve for curve in told_apart(curves, [halo]) if curve.kind == "tangential" and not curve.secondary]
    assert len(primary) == 1 and primary[0].einstein_radius > 15.0
    assert primary[0].length > 2.0 * np.pi * primary[0].einstein_radius  # a circle is the shortest


def test_every_galaxy_of_many_is_looked_at():
    phi = 2.0 * np.pi * np.arange(24) / 24
    places = 30.0 * np.stack([np.cos(phi), np.sin(phi)], 1)
    sigma = np.linspace(70.0, 140.0, 24)
    each = DPIE(sigma=sigma, core=np.full(24, 0.02), cut=np.full(24, 20.0), e1=np.zeros(24), e2=np.zeros(24),
                center_x=places[:, 0], center_y=places[:, 1])
    smooth = [Convergence(kappa=0.3)]
    found = told_apart(critical_curves([Halos(each=each), *smooth], 40.0, 100, galaxies=places), smooth)
    tangential = [curve for curve in found if curve.kind == "tangential" and curve.secondary]
    assert len(tangential) == 24  # most of them are smaller than a cell
    radii = np.sort([curve.einstein_radius for curve in tangential])
    alone = 6.0 * np.pi * (sigma / 299792.458) ** 2 * 206264.806 / 0.7  # isothermal, in a sheet that magnifies
    assert (alone < radii).all() and (radii < 1.3 * alone).all()  # the others add to the sheet


def test_a_large_circle_is_one_to_a_millionth_of_an_arcsecond_whatever_the_precision(dtype):
    """An isothermal sphere in a sheet of convergence k is critical at theta_E / (1 - k), and has a point as caustic."""
    mass = jax.tree.map(lambda leaf: np.asarray(leaf, dtype), [SIS(theta_E=25.0), Convergence(kappa=0.25)])
    tangential, cut = critical_curves(mass, 60.0)
    radius, turns = 25.0 / 0.75, 2.0 * np.pi
    assert (tangential.kind, cut.kind) == ("tangential", "cut")
    np.testing.assert_allclose(np.hypot(*tangential.critical.T), radius, atol=1e-6)
    np.testing.assert_allclose(tangential.caustic, 0.0, atol=1e-6)
    # Of a polygon of so many corners, which lies inside of the circle.
    assert tangential.area == pytest.approx(np.pi * radius**2, rel=1e-4)
    assert tangential.length == pytest.approx(turns * radius, rel=1e-4) and tangential.caustic_length < 1e-4
    assert cut.caustic_area == pytest.approx(np.pi * 25.0**2, rel=1e-3)
    assert cut.caustic_length == pytest.approx(turns * 25.0, rel=1e-3)
    said = curves_summary([tangential, cut])
    assert [row["area"] for row in said["curves"]] == [tangential.area, 0.0]
    assert set(said["cross_sections"]) == {"2"}
    header, table = _table([tangential, cut]).header, _table([tangential, cut]).data
    assert header["XSEC2"] == said["cross_sections"]["2"] == pytest.approx(np.pi * 25.0**2, rel=1e-3)
    assert set(table["area"]) == {tangential.area, tangential.caustic_area, cut.caustic_area}


def two_galaxies():
    """A halo with one galaxy on it."""
    return [NIE(theta_E=25.0, s_scale=4.0, e1=0.2, e2=0.1), NIE(theta_E=1.0, s_scale=0.05, center_x=33.0)], \
        np.array([[33.0, 0.0]]), 60.0, 200


def crowd():
    """Galaxies whose curves all but touch: whole Newton steps left points of them 7e-4 arcsec off, in float64 too."""
    rng, none = np.random.default_rng(1), np.zeros(8)
    places = rng.uniform(-9.0, 9.0, (8, 2))
    each = DPIE(sigma=rng.uniform(120.0, 190.0, 8), core=none + 0.02, cut=none + 20.0, e1=none, e2=none,
                center_x=places[:, 0], center_y=places[:, 1])
    return [Halos(each=each), Convergence(kappa=0.4)], places, 20.0, 60


@pytest.mark.parametrize("made", [two_galaxies, crowd])
def test_points_of_a_cluster_lie_on_its_curves_to_a_millionth_of_an_arcsecond(made):
    mass, places, half, n = made()
    curves = critical_curves(mass, half, n, galaxies=places)  # of a grid in float32

    def off(mass, x, y, kind):
        def value(x, y):
            return fields(mass, x, y)[KINDS.index(kind)]

        one, zero = jnp.ones_like(x), jnp.zeros_like(x)
        slope = jnp.hypot(*(jax.jvp(value, (x, y), step)[1] for step in ((one, zero), (zero, one))))
        return jnp.abs(value(x, y)) / slope

    of_kind = jax.jit(off, static_argnums=3)
    with jax.enable_x64(True):
        for kind in ("tangential", "radial"):
            points = [curve.critical for curve in curves if curve.kind == kind]
            assert np.max(of_kind(in_float64(mass), *np.concatenate(points).T, kind)) < 1e-6
            assert max(np.hypot(*np.diff(one, axis=0).T).max() for one in points) < 1.0  # without a gap


def test_a_file_keeps_which_curves_are_secondary():
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    curves = [Curve("tangential", 9.0 * points, points), Curve("tangential", points, 0.1 * points, secondary=True),
              Curve("cut", np.zeros((0, 2)), points)]
    back = _curves(_table(curves).data)
    assert [(curve.kind, curve.secondary, len(curve.critical)) for curve in back] == [
        ("tangential", False, 4), ("tangential", True, 4), ("cut", False, 0)]


def test_curves_that_are_open_are_refused():
    curves = critical_curves([SIE(theta_E=2.2, e1=0.1)], 2.2)
    for function in (cross_sections, lambda curves: image_numbers(curves, 0.0, 0.0)):
        with pytest.raises(ValueError, match="curves: a tangential curve leaves the square .* expected closed ones"):
            function(curves)
    assert not told_apart(curves[:1], [Shear(gamma1=0.0, gamma2=0.0)])[0].secondary


def test_a_weak_lens_has_no_curves_and_one_image():
    assert cross_sections([]) == {} and image_numbers([], [0.0, 1.0], 0.0).tolist() == [1, 1]


@pytest.mark.parametrize("galaxies", [np.zeros((2, 3)), np.array([[0.0, np.nan]]), np.zeros(2)])
def test_galaxies_of_another_shape_are_refused(galaxies):
    with pytest.raises(ValueError, match="galaxies: expected finite positions of shape"):
        critical_curves([SIE(theta_E=1.0)], galaxies=galaxies)


def test_a_seen_cluster_takes_other_source_redshifts():
    mass = [DPIE(sigma=900.0, core=5.0, cut=150.0, e1=0.2)]
    planes = Planes(redshifts=[0.4], sources=[2.0], absolute=True)
    radii = [critical_curves([Behind(mass=mass, planes=planes, z=z)], 60.0)[0].einstein_radius for z in (1.0, 2.0, 6.0)]
    assert 5.0 < radii[0] < radii[1] < radii[2]
