"""Images of point sources: closed forms, lenstronomy, brute force, folds, and derivatives."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.lensing.images import Finder, find_images, newton
from giga.lensing.planes import Behind, Planes, Sightline
from giga.lensing.tracing import jacobian, trace
from giga.mass import DPIE, SIS, EPLMultipole, Members, Shear
from giga.mass.members import Catalogue

FINDER = Finder(half_width=4.0)
N = 24  # sources in a call: one program serves most tests


def many(lens):
    """N times one lens."""
    return jax.tree.map(lambda leaf: np.full(N, leaf), lens)


# The singular isothermal ellipsoid of tests/reference/make_planes.py
QUAD = many([EPLMultipole(theta_E=1.3, gamma=2.0, e1=0.12, e2=-0.07, center_x=0.03, center_y=-0.02, terms=18),
             Shear(gamma1=0.04, gamma2=-0.03)])


@partial(jax.jit, static_argnums=4)
def found_by(mass, beta_x, beta_y, half_width, images=6):
    """The images of N sources, or of N systems."""
    finder = FINDER.replace(half_width=half_width, images=images)
    return jax.vmap(lambda m, x, y: find_images(m, x, y, finder))(mass, beta_x, beta_y)


def test_isothermal_sphere(dtype):
    """Images at beta +- theta_E of magnification 1 +- theta_E / beta; one alone of a source further out."""
    beta = np.concatenate([np.geomspace(0.02, 0.95, 18), np.linspace(1.05, 2.0, 6)]).astype(dtype)
    lens = jax.tree.map(lambda leaf: np.full(N, leaf, dtype), [SIS(theta_E=1.0, center_x=0.1, center_y=0.0)])
    found = found_by(lens, 0.1 + 0.6 * beta, 0.8 * beta, dtype.type(4.0))
    assert found.x.dtype == dtype
    np.testing.assert_array_equal(found.count, np.where(beta < 1.0, 2, 1))
    np.testing.assert_array_equal(found.complete, True)
    tolerance = 1e-9 if dtype == np.float64 else 5e-6
    np.testing.assert_allclose(found.x[:, 0], 0.1 + 0.6 * (beta + 1.0), atol=tolerance)
    np.testing.assert_allclose(found.y[:18, 1], 0.8 * (beta[:18] - 1.0), atol=tolerance)
    np.testing.assert_allclose(found.magnification[:, 0], 1.0 + 1.0 / beta, rtol=3e-4 if dtype == np.float32 else 1e-9)
    np.testing.assert_allclose(found.magnification[:18, 1], 1.0 - 1.0 / beta[:18],
                               rtol=3e-4 if dtype == np.float32 else 1e-9)
    assert not found.found[:, 2:].any() and not found.magnification[:, 2:].any()
    np.testing.assert_array_equal(found.parity[0, :3], [1, -1, 0])


def test_images_are_lenstronomys(planes_reference, x64):
    x, y, beta_x, beta_y, mu = (planes_reference[f"single/{key}"] for key in ("x", "y", "beta_x", "beta_y",
                                                                              "magnification"))
    found = found_by(QUAD, np.full(N, beta_x), np.full(N, beta_y), 4.0)
    order = np.argsort(-np.abs(mu))
    assert int(found.count[0]) == 4 and bool(found.complete[0])
    np.testing.assert_allclose(found.x[0, :4], x[order], atol=1e-9)
    np.testing.assert_allclose(found.y[0, :4], y[order], atol=1e-9)
    np.testing.assert_allclose(found.magnification[0, :4], mu[order], rtol=1e-8)


def test_two_images_merge_at_a_fold(x64):
    """Along a line out of the caustic four images become two, at one place, to 1e-9 arcsec."""
    def counts(t):
        return np.asarray(found_by(QUAD, np.full_like(t, 0.05), t, 4.0).count)

    inside, outside = 0.0, 0.5
    for _ in range(7):
        t = np.linspace(inside, outside, N)
        count = counts(t)
        last = int(np.flatnonzero(count == 4).max())
        # Nothing else ever happens: not three, not four again.
        np.testing.assert_array_equal(count, np.where(np.arange(N) <= last, 4, 2))
        inside, outside = t[last], t[last + 1]
    assert outside - inside < 1e-9
    found = found_by(QUAD, np.full(N, 0.05), np.full(N, inside - 1e-9), 4.0)
    apart = float(np.hypot(found.x[0, 0] - found.x[0, 1], found.y[0, 0] - found.y[0, 1]))
    assert int(found.count[0]) == 4 and 1e-6 < apart < 1e-3
    assert float(found.parity[0, 0] * found.parity[0, 1]) == -1.0


def test_the_image_in_the_middle(x64):
    """A shallow power law has one at r = beta^2 / theta_E and nearer; a steep one has none."""
    lens = EPLMultipole(theta_E=1.0, gamma=np.repeat([2.3, 1.5], N // 2), terms=18)
    mass = jax.tree.map(lambda leaf: np.broadcast_to(leaf, N).astype(float), [lens, Shear(gamma1=0.0, gamma2=0.0)])
    beta = np.tile(np.linspace(0.05, 0.2, N // 2), 2)
    found = jax.tree.map(np.asarray, found_by(mass, 0.8 * beta, 0.6 * beta, 4.0))
    np.testing.assert_array_equal(found.count, np.repeat([2, 3], N // 2))
    np.testing.assert_array_equal(found.complete, True)
    r = np.hypot(found.x[N // 2:, 2], found.y[N // 2:, 2])
    np.testing.assert_allclose(np.sqrt(r) - r, beta[N // 2:], rtol=1e-8)  # alpha(r) - r = beta on the far side
    np.testing.assert_array_equal(found.parity.sum(1), np.repeat([0.0, 1.0], N // 2))


def systems(n):
    """As in benchmarks/points.py."""
    u = np.random.default_rng(5).uniform
    e, turn, g, g_turn, theta = u(0, 0.3, n), u(0, 2 * np.pi, n), u(0, 0.12, n), u(0, 2 * np.pi, n), u(0.7, 1.6, n)
    lens = EPLMultipole(theta_E=theta, gamma=u(1.6, 2.4, n), e1=e * np.cos(turn), e2=e * np.sin(turn),
                        a1_a=u(-0.02, 0.02, n), delta_phi_m1=u(-3, 3, n), a3_a=u(-0.02, 0.02, n),
                        delta_phi_m3=u(-3, 3, n), a4_a=u(-0.03, 0.03, n), delta_phi_m4=u(-1, 1, n),
                        center_x=u(-0.05, 0.05, n), center_y=u(-0.05, 0.05, n), terms=18)
    r, phi = 0.4 * theta * np.sqrt(u(0, 1, n)), u(0, 2 * np.pi, n)
    return [lens, Shear(gamma1=g * np.cos(g_turn), gamma2=g * np.sin(g_turn))], r * np.cos(phi), r * np.sin(phi)


def brute_force(mass, source, beta):
    """Triangles of a grid, in the logarithm of the radius inside, whose images in the source plane hold the source."""
    x, y = beta[0]
    traced = np.stack(beta[1], -1) - source
    a, b, c, d = traced[:-1, :-1], traced[1:, :-1], traced[1:, 1:], traced[:-1, 1:]
    places = []
    for triangle in ((a, b, c), (a, c, d)):
        sides = [np.sign(p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0])
                 for p, q in zip(triangle, (*triangle[1:], triangle[0]), strict=True)]
        places += np.argwhere((sides[0] == sides[1]) & (sides[1] == sides[2]) & (sides[0] != 0)).tolist()
    bright = [(i, j) for i, j in places if abs(beta[2][i, j]) < 1e6]
    return len([1 for i, j in bright if max(abs(x[i, j]), abs(y[i, j])) < 4.0])


@jax.jit
def grid_of(mass):
    radii = np.concatenate([np.geomspace(1e-5, 0.05, 80)[:-1], np.linspace(0.05, 6.0, 420)])
    r, phi = np.meshgrid(radii, 2.0 * np.pi * np.arange(361) / 360 + 0.00123, indexing="ij")
    x, y = mass[0].center_x + r * jnp.cos(phi), mass[0].center_y + r * jnp.sin(phi)
    xx, xy, yx, yy = jacobian(mass, x, y)
    return (x, y), trace(mass, x, y), (1.0 - xx) * (1.0 - yy) - xy * yx


def test_none_is_missed_and_none_is_found_twice(x64):
    """Power laws with shear and multipoles against brute force, with every image on the source to 1e-9 arcsec."""
    mass, beta_x, beta_y = systems(N)
    found = jax.tree.map(np.asarray, found_by(mass, beta_x, beta_y, 4.0))
    np.testing.assert_array_equal(found.complete, True)
    assert len(set(found.count.tolist())) > 2
    for k in range(N):
        one = jax.tree.map(lambda leaf, k=k: leaf[k], mass)
        beta = jax.tree.map(np.asarray, grid_of(one))
        assert brute_force(one, np.array([beta_x[k], beta_y[k]]), beta) == found.count[k], f"system {k}"


def held(x, y, beta, source):
    """Middles of those triangles of a grid that hold the source."""
    a, b, c, d = (part - source for part in (beta[:-1, :-1], beta[1:, :-1], beta[1:, 1:], beta[:-1, 1:]))
    places = []
    for triangle in ((a, b, c), (a, c, d)):
        sides = [np.sign(p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0])
                 for p, q in zip(triangle, (*triangle[1:], triangle[0]), strict=True)]
        i, j = np.nonzero((sides[0] == sides[1]) & (sides[1] == sides[2]) & (sides[0] != 0))
        places.append(np.stack([x[i, j] + x[i + 1, j + 1], y[i, j] + y[i + 1, j + 1]], -1) / 2.0)
    return np.concatenate(places)


def test_galaxies_of_a_cluster(x64):
    """Sources about the small caustics of members, against Newton's method from every triangle that holds one.

    Triangles are of a square and of polar grids about the members, whose images are told apart.
    """
    rng, half = np.random.default_rng(11), 20.0
    catalogue = Catalogue.of([0.5, 6.0, -5.0, 3.0], [0.2, 4.0, 5.0, -7.0], [0.1, 0.0, -0.2, 0.3],
                             [0.05, 0.0, 0.1, -0.1], [18.0, 19.5, 20.5, 21.0])
    mass = [DPIE(sigma=500.0, core=2.0, cut=60.0, e1=0.1, e2=0.05),
            Members(catalogue=catalogue, sigma=160.0, core=0.03, cut=5.0, mag0=19.0)]
    lens = [Behind(mass=mass, planes=Planes(redshifts=[0.4], absolute=True), z=3.0)]
    traced = jax.jit(lambda x, y: jnp.stack(trace(lens, x, y), -1))
    at = np.stack([catalogue.x, catalogue.y], -1)[np.arange(N) % 4] + rng.uniform(-0.5, 0.5, (N, 2))
    sources = traced(*at.T)
    found = jax.jit(jax.vmap(lambda source: find_images(lens, *source, Finder(half_width=half))))(sources)
    found = jax.tree.map(np.asarray, found)
    assert found.complete.all() and len(set(found.count.tolist())) > 2
    grids = [np.meshgrid(*2 * [np.linspace(-half, half, 1201)])]
    r, phi = np.meshgrid(np.geomspace(1e-3, 1.0, 160), 2.0 * np.pi * np.arange(161) / 160 + 0.00123, indexing="ij")
    grids += [(x + r * np.cos(phi), y + r * np.sin(phi)) for x, y in zip(catalogue.x, catalogue.y, strict=True)]
    betas = [np.asarray(traced(*grid)) for grid in grids]
    ended = jax.jit(lambda source, starts: newton(lens, source, starts, jnp.asarray(1.0), 24))
    for k, source in enumerate(np.asarray(sources)):
        starts = np.concatenate([held(*grid, beta, source) for grid, beta in zip(grids, betas, strict=True)])
        points, settled, _ = (np.asarray(part) for part in ended(source, np.resize(starts, (64, 2))))
        assert len(starts) <= 64
        points = points[settled & (np.abs(points) < half).all(1)]
        apart = np.abs(points[:, None] - points).max(-1) < 1e-6
        points = points[~np.any(np.tril(apart, -1), 1)]
        seen = np.stack([found.x[k], found.y[k]], -1)[found.found[k]]
        assert len(points) == found.count[k], f"source {k}"
        assert np.abs(points[:, None] - seen).max(-1).min(1).max() < 1e-9


def test_on_the_source_to_a_nanoarcsecond(x64):
    t = np.linspace(-0.4, 0.4, N)
    found = found_by(QUAD, np.full_like(t, 0.05), t, 4.0)
    traced = np.stack(jax.jit(jax.vmap(trace))(QUAD, found.x, found.y))
    off = np.hypot(*(traced - np.stack([np.full_like(t, 0.05), t])[:, :, None])) * np.abs(found.magnification)
    assert float(np.where(found.found, off, 0.0).max()) < 1e-9
    np.testing.assert_array_equal(found.complete, True)


def test_derivatives_by_lens_and_source(x64):
    """Positions and magnifications move as finite differences say, forwards and backwards."""
    def seen(p):
        lens = [SIS(theta_E=p[0], center_x=p[1], center_y=p[2])]
        images = find_images(lens, p[3], p[4], FINDER)
        return jnp.concatenate([images.x[:2], images.y[:2], images.magnification[:2]])

    at, h = jnp.array([1.1, 0.05, -0.02, 0.3, 0.2]), 1e-5
    weight = jnp.arange(1.0, 7.0)
    slope, row = jax.jit(lambda p: (jax.jacfwd(seen)(p), jax.grad(lambda p: seen(p) @ weight)(p)))(at)
    np.testing.assert_allclose(weight @ slope, row, rtol=1e-10)
    steps = jnp.resize(at, (N, 5)).at[:5].add(h * jnp.eye(5)).at[5:10].add(-h * jnp.eye(5))
    theta, x, y, beta_x, beta_y = np.asarray(steps).T
    found = found_by([SIS(theta_E=theta, center_x=x, center_y=y)], beta_x, beta_y, 4.0)
    values = np.concatenate([found.x[:, :2], found.y[:, :2], found.magnification[:, :2]], 1)
    np.testing.assert_allclose(slope, (values[:5] - values[5:10]).T / (2.0 * h), rtol=1e-7, atol=1e-8)


@pytest.mark.slow
def test_too_little_room_is_said(x64):
    beta = np.full(N, 0.3), np.zeros(N)
    lens = many([SIS(theta_E=1.0)])
    found = found_by(lens, *beta, 4.0, 1)
    assert found.x.shape == (N, 1) and int(found.count[0]) == 2 and not bool(found.complete[0])
    # A square that images lie outside of: the winding on its edge tells of no more than is inside.
    small = found_by(lens, *beta, 0.9)
    assert int(small.count[0]) == 1 and bool(small.complete[0])


@pytest.mark.slow
def test_through_two_planes(x64):
    planes = Planes(redshifts=[0.4, 0.8, 2.0])
    mass = [SIS(theta_E=1.0), SIS(theta_E=0.2, center_x=0.4, center_y=0.3, plane=1)]
    lens = [Sightline(mass=mass, planes=planes)]
    found = jax.jit(lambda x, y: find_images(lens, x, y, FINDER))(0.1, 0.05)
    assert int(found.count) == 3 and bool(found.complete)
    beta = np.stack(trace(lens, found.x, found.y)) - np.array([[0.1], [0.05]])
    off = np.hypot(*beta) * np.abs(found.magnification)
    assert float(np.where(found.found, off, 0.0).max()) < 1e-9
