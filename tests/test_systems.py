"""Many systems of images behind one plane, and LensTool's files of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from giga.bayes import points
from giga.bayes.systems import LEAST, SystemImages, SystemsTerm, image_plane, means, scatter, source_plane, traced
from giga.component import Param
from giga.io.errors import InputError
from giga.io.lenstool.catalogues import (
    catalogue_of,
    on_plane,
    on_sky,
    read_images,
    read_potfile,
    system_names,
    write_table,
)
from giga.io.lenstool.par import read_par, write_par
from giga.io.lenstool.potentials import masses
from giga.io.lenstool.potfiles import members
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.mass import DPIE, Halos, MassProfile
from giga.mass.members import gathered

REFERENCE = (110.826989, -73.454723)
PAR = """#Chi2pos: 12.5
runmode
	reference 3 110.826989 -73.454723
	end
image
	multfile 1 arcs.dat
	sigposArcsec 0.3
	end
potentiel O1
	profil 81
	x_centre 1.5
	y_centre -0.5
	ellipticite 0.4
	angle_pos 30.0
	core_radius_kpc 40.0
	cut_radius_kpc 1000.0
	v_disp 900.0
	z_lens 0.39
	end
potentiel O2
	profil 81
	x_centre 12.0
	y_centre 4.0
	ellipticite 0.0
	core_radius 0.1
	cut_radius 9.0
	v_disp 250.0
	z_lens 0.39
	end
potfile0
	filein 3 galcat.cat
	zlens 0.39
	type 81
	corekpc 0.15
	mag0 19.12
	sigma 3 110.5 19.5
	cutkpc 3 51.5 27.6
	slope 0 4.0 0.0
	vdslope 0 4.0 0.0
	end
cosmologie
	H0 70.0
	omegaM 0.3
	omegaX 0.7
	end
fini
"""
GALAXIES = """  1 110.8355945 -73.4305273 0.60 0.22 -51.1 18.28 0.0
#  4 110.8270208 -73.4547093 0.25 0.21 119.2 18.87 0.0
  5 110.8008375 -73.4485933 0.26 0.22 90.6 18.88 0.0
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "input.par").write_text(PAR)
    (tmp_path / "galcat.cat").write_text(GALAXIES)
    return tmp_path


class Thinner(MassProfile):
    """A mass as a nearer source sees it."""

    mass: MassProfile
    weight: Param

    from_numbers = False

    def deflection(self, x, y):
        return tuple(self.weight * part for part in self.mass.deflection(x, y))


def example(dtype):
    # One that is gathered already: what a cluster is evaluated as, and quicker to compile.
    (halo,) = gathered([DPIE(sigma=850.0, core=5.0, cut=200.0, e1=0.15, e2=-0.08)])
    scene = Scene(mass=[halo], planes=Planes(redshifts=[0.4], sources=[1.5, 3.0], absolute=True))
    x = np.array([14.0, -9.0, -4.0, 18.0, -16.0])
    y = np.array([3.0, 6.0, -15.0, -6.0, 8.0])
    data = SystemImages.of(x, y, [0.2, 0.3, 0.2, 0.4, 0.4], [0, 0, 0, 1, 1])
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (scene, data))


def test_source_plane_is_that_of_each_system(x64):
    """As `giga.bayes.points` has it, one system at a time."""
    scene, data = example(x64)
    weights = scene.planes.source_weights(0)
    ratios = scene.planes.cosmology.lensing_efficiency(0.4, np.array([1.5, 3.0]))
    np.testing.assert_allclose(weights, ratios, rtol=1e-12)
    found = jax.jit(source_plane)(scene.mass, data, weights)
    for k, rows in ((0, slice(0, 3)), (1, slice(3, 5))):
        one = points.PointImages.of(data.x[rows], data.y[rows], data.sigma[rows])
        expected = jax.jit(points.source_plane)([Thinner(mass=scene.mass[0], weight=weights[k])], one)
        np.testing.assert_allclose(found.beta[k], expected.beta, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(found.residuals[rows], expected.residuals, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("off", [1e-2, 1e-5, 1e-8])
def test_an_image_that_is_not_found_beside_a_critical_curve_has_a_distance(x64, off):
    """What the source plane leaves of it has a pole there."""
    scene, data = example(x64)
    weights, own = scene.planes.source_weights(0), scene.mass

    def det(x):
        one = data.replace(x=np.array([x]), y=np.array([0.3]), sigma=data.sigma[:1], system=(0,))
        return float(1.0 / image_plane(own, one, weights[:1]).magnification[0])

    edge = brentq(det, 14.0, 20.0, xtol=1e-13)
    one = data.replace(x=np.array([edge + off]), y=np.array([0.3]), sigma=data.sigma[:1], system=(0,))
    beta = traced(own, one, weights[:1]) - jnp.array([0.0, 30.0])  # of an image beyond Newton's reach
    found, left = image_plane(own, one, weights[:1], beta), source_plane(own, one, weights[:1], beta)
    assert not bool(found.settled[0])
    assert float(data.sigma[0]) * np.linalg.norm(found.residuals) < 30.0 / LEAST
    if off < 1e-4:
        assert np.linalg.norm(left.residuals) > 100.0 * np.linalg.norm(found.residuals)
    gradient = jax.grad(lambda beta: jnp.sum(image_plane(own, one, weights[:1], beta).residuals ** 2))(beta)
    assert np.isfinite(gradient).all()


def test_image_plane_finds_the_images_of_the_sources(x64):
    """Where it settles, the place that it finds is traced to the source; the gradient is that of finite differences."""
    scene, data = example(x64)
    weights = scene.planes.source_weights(0)
    # Sources that images a little off those that were seen have.
    at = data.replace(x=data.x + 0.05, y=data.y - 0.03)
    beta = means(jax.jit(traced)(scene.mass, at, weights), at)
    data = data.replace(x=data.x[:2], y=data.y[:2], sigma=data.sigma[:2], system=(0, 1))
    beta = jnp.stack([traced(scene.mass, at, weights)[0], beta[1]])
    run = jax.jit(lambda mass, beta: image_plane(mass, data, weights, beta))
    found = run(scene.mass, beta)
    place = jnp.stack([data.x, data.y], -1) + found.residuals * data.sigma[:, None]
    back = traced(scene.mass, data.replace(x=place[:, 0], y=place[:, 1]), weights)
    assert bool(found.settled[0])
    np.testing.assert_allclose(back[0], beta[0], atol=1e-9)
    np.testing.assert_allclose(place[0], [data.x[0] + 0.05, data.y[0] - 0.03], atol=1e-6)

    def chi2(sigma):
        each = scene.mass[0].each.replace(sigma=jnp.full(1, sigma))
        return jnp.sum(run([scene.mass[0].replace(each=each)], beta).residuals[0] ** 2)

    difference = (chi2(850.002) - chi2(849.998)) / 0.004
    np.testing.assert_allclose(jax.grad(chi2)(850.0), difference, rtol=1e-5)


def test_scatter(x64):
    _, data = example(x64)
    places = jnp.stack([jnp.asarray([0.0, 3.0, 0.0, 1.0, 1.0]), jnp.asarray([0.0, 0.0, 3.0, 2.0, 4.0])], -1)
    np.testing.assert_allclose(means(places, data), [[1.0, 1.0], [1.0, 3.0]])
    np.testing.assert_allclose(scatter(places, data), [2.0, 1.0])


def test_terms_are_refused_with_the_field():
    scene, data = example(np.float32)
    with pytest.raises(ValueError, match=r"planes.sources: got 1 redshifts; expected 2"):
        SystemsTerm(data=data).check(scene.replace(planes=scene.planes.replace(sources=[2.0])))
    with pytest.raises(ValueError, match="system: got 1 image of system 1"):
        SystemImages.of([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], 0.1, [0, 0, 1])
    with pytest.raises(ValueError, match="planes.sources.0: got 0.3; expected a redshift behind every mass"):
        Scene(mass=[DPIE(sigma=1.0, core=1.0, cut=2.0)],
              planes=Planes(redshifts=[0.4], sources=[0.3], absolute=True)).check()
    with pytest.raises(ValueError, match="mass.0.profile: got DPIE"):
        Scene(mass=[DPIE(sigma=1.0, core=1.0, cut=2.0)]).check()


def test_par_reads_and_writes(folder):
    par = read_par(folder / "input.par")
    assert par.reference == REFERENCE and par.sigma == 0.3 and par.comments == ("Chi2pos: 12.5",)
    (folder / "again.par").write_text(write_par(par))
    again = read_par(folder / "again.par")
    strip = [(s.name, s.label, [(r.key, r.values) for r in s.rows]) for s in par.sections]
    assert [(s.name, s.label, [(r.key, r.values) for r in s.rows]) for s in again.sections] == strip
    (halos,) = masses(par)
    assert isinstance(halos, Halos)
    e = (1.0 - np.sqrt(1.0 - 0.4**2)) / 0.4
    np.testing.assert_allclose(halos.each.e1, [e * np.cos(np.pi / 3.0), 0.0], rtol=1e-12)
    np.testing.assert_allclose(halos.each.cut[1], 9.0)
    # 1 arcsec is 5.2901 kpc at z = 0.39 in a flat universe with H0 = 70 and Om0 = 0.3 (astropy)
    np.testing.assert_allclose(halos.each.core[0], 40.0 / 5.2901, rtol=1e-4)
    (galaxies,) = members(par)
    assert galaxies.sigma == 110.5 and galaxies.sigma_exponent == 0.25 and galaxies.cut_exponent == 0.5
    # The first member is to the east of the reference, where x is negative: -8.8217 and 87.1060 in the published model
    np.testing.assert_allclose([galaxies.catalogue.x[0], galaxies.catalogue.y[0]], [-8.8217, 87.1045], atol=2e-3)


def test_tables_read_and_write(folder):
    table = read_potfile(folder / "galcat.cat", REFERENCE)
    assert table.names == ("1", "5") and table.lines == (1, 3)
    np.testing.assert_allclose(on_sky(table.x, table.y, REFERENCE), [[110.8355945, 110.8008375],
                                                                     [-73.4305273, -73.4485933]], rtol=1e-12)
    (folder / "again.cat").write_text(write_table(table, REFERENCE))
    again = read_potfile(folder / "again.cat", REFERENCE)
    for name in ("x", "y", "a", "b", "theta", "mag"):
        np.testing.assert_allclose(getattr(again, name), getattr(table, name), atol=1e-7)
    assert catalogue_of(again).mag.tolist() == table.mag.tolist()
    (folder / "arcs.dat").write_text("#REFERENCE 0\n1.1 110.84 -73.45 0.1 0.1 0 1.449 0.0\n"
                                     "1.2 110.83 -73.46 .1 .1 0 1.449 0\n")
    arcs = read_images(folder / "arcs.dat", REFERENCE)
    assert arcs.z.tolist() == [1.449, 1.449] and system_names(arcs.names) == ["1", "1"]


def test_a_field_may_lie_across_a_right_ascension_of_zero():
    x, y = np.array([30.0, -40.0]), np.array([5.0, -2.0])
    for reference in ((0.002, 10.0), (359.999, -10.0), (150.0, 2.2)):
        ra, dec = on_sky(x, y, reference)
        assert ((ra >= 0.0) & (ra < 360.0)).all()
        np.testing.assert_allclose(on_plane(ra, dec, reference), (x, y), atol=1e-6)


@pytest.mark.parametrize(("old", "new", "said"), [
    ("profil 81", "profil 85", r"input.par: line 10: profil 85 of potentiel O1; expected a type that is known"),
    ("core_radius_kpc 40.0", "core_radius_kpc -4", r"input.par: line 15: core_radius_kpc -4; expected a radius"),
    ("ellipticite 0.4", "ellipticite 1.2", r"input.par: line 13: ellipticite 1.2; expected a number from 0 to below 1"),
    ("v_disp 900.0", "v_disp nan", r"input.par: line 17: v_disp nan; expected 1 or more finite numbers"),
])
def test_bad_parameters_are_named(folder, old, new, said):
    (folder / "input.par").write_text(PAR.replace(old, new, 1))
    with pytest.raises(InputError, match=said):
        masses(read_par(folder / "input.par"))


@pytest.mark.parametrize(("old", "new", "said"), [
    ("18.28", "nan", r"galcat.cat: line 1: row 0 \(1\) not finite"),
    ("-51.1 18.28 0.0", "-51.1", r"galcat.cat: line 1: .*expected a name and 6 or 7 numbers"),
    ("0.60 0.22", "0.60 0.0", r"galcat.cat: line 1: semi-axes 0.6 and 0 of 1; expected semi-axes above 0"),
])
def test_bad_rows_are_named(folder, old, new, said):
    (folder / "galcat.cat").write_text(GALAXIES.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        members(read_par(folder / "input.par"))
    assert re.search(said, str(caught.value))
