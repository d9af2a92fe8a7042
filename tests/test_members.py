"""Halos and members of clusters: against a sum of single profiles, an independent form, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _lenstool import kovner

from giga.lensing.delays import arrival_times, days, fermat_potential
from giga.lensing.near import images_near
from giga.lensing.planes import Behind, Planes
from giga.lensing.scene import Scene
from giga.lensing.tracing import trace
from giga.mass import members as module
from giga.mass.base import deflection_jacobian
from giga.mass.forms.functions import gauss_legendre
from giga.mass.members import DPIE, Catalogue, Members, gathered
from giga.mass.pjaffe import FLAT

pytestmark = pytest.mark.quick

def catalogue(n, seed=1):
    rng = np.random.default_rng(seed)
    e, turn = rng.uniform(0.0, 0.5, n) * (rng.uniform(size=n) > 0.2), rng.uniform(0.0, 2.0 * np.pi, n)
    return Catalogue.of(rng.uniform(-30, 30, n), rng.uniform(-30, 30, n), e * np.cos(turn), e * np.sin(turn),
                        rng.uniform(18.0, 22.0, n))


def relation(n, dtype, **changes):
    values = dict(sigma=180.0, core=0.05, cut=6.0, mag0=19.0, sigma_exponent=0.28, cut_exponent=0.6) | changes
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), Members(catalogue=catalogue(n), **values))


def positions(dtype, n=24):
    return jnp.asarray(np.random.default_rng(3).uniform(-40.0, 40.0, (2, n)), dtype)


def test_one_is_type_81(x64):
    """Velocity dispersion, radii and ellipticity mean what LensTool means by them."""
    x, y = positions(x64)
    e, angle = 0.4, 0.7  # (a^2 - b^2) / (a^2 + b^2) = 2 e / (1 + e^2)
    halo = DPIE(sigma=800.0, core=5.0, cut=100.0, e1=e * np.cos(2 * angle), e2=e * np.sin(2 * angle))
    found = jax.jit(lambda: halo.deflection(x, y))()
    for value, expected in zip(found, kovner(np.asarray(x), np.asarray(y), 800.0, 5.0, 100.0,
                                                            2 * e / (1 + e**2), angle), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("at_once", [1 << 20, 20, 1], ids=["whole", "pieces", "single"])
def test_sum(at_once, x64, monkeypatch):
    """Members are a sum of type 81, however many are evaluated at once; the closed Jacobian is that of the sum."""
    monkeypatch.setattr(module, "AT_ONCE", at_once)
    members, (x, y) = relation(5, x64), positions(x64, 8)
    run = jax.jit(lambda members: (members.deflection(x, y), members.jacobian(x, y)))
    alpha, closed = run(members)
    each = jax.tree.map(np.asarray, members.each())
    e = np.maximum(np.hypot(each.e1, each.e2), 1e-7)  # the reference divides by it
    expected = sum(np.stack(kovner(np.asarray(x) - each.center_x[k], np.asarray(y) - each.center_y[k], each.sigma[k],
                                   each.core[k], each.cut[k], 2.0 * e[k] / (1.0 + e[k]**2),
                                   0.5 * np.arctan2(each.e2[k], each.e1[k]))) for k in range(5))
    np.testing.assert_allclose(alpha, expected, rtol=1e-6, atol=1e-6)  # of the round one, by the size of its e
    if at_once == 1 << 20:
        slopes = jax.jit(lambda members: deflection_jacobian(members.deflection, x, y))(members)
        np.testing.assert_allclose(closed, slopes, rtol=1e-8, atol=1e-10)


def test_relation(x64):
    """A member fainter by 2.5 magnitudes has a tenth of the luminosity."""
    two = Catalogue.of([0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [19.0, 21.5])
    each = Members(catalogue=two, sigma=200.0, core=0.1, cut=5.0, mag0=19.0, sigma_exponent=0.25, cut_exponent=0.8,
                   scatter=0.1, offsets=(0.0, 2.0)).each()
    np.testing.assert_allclose(each.sigma, [200.0, 200.0 * 10.0**(-0.25 + 0.2)], rtol=1e-12)
    np.testing.assert_allclose(each.core, [0.1, 0.1 * 10.0**-0.5], rtol=1e-12)
    np.testing.assert_allclose(each.cut, [5.0, 5.0 * 10.0**-0.8], rtol=1e-12)


def test_derivatives(x64, monkeypatch):
    """By the relation, by place and by the catalogue, in pieces that are computed again, against finite differences."""
    monkeypatch.setattr(module, "AT_ONCE", 9)
    monkeypatch.setattr(module, "KEPT", 1)
    members, (x, y) = relation(5, x64, scatter=0.1, offsets=tuple(np.linspace(-1.0, 1.0, 5))), positions(x64, 3)

    @jax.jit
    def value(members, x, y):
        return sum(jnp.sum(jnp.sin(k + 1.0) * part) for k, part in enumerate((*members.deflection(x, y),
                                                                            *members.jacobian(x, y))))

    gradient = jax.jit(jax.grad(value, (0, 1, 2)))(members, x, y)
    rng = np.random.default_rng(5)
    direction = jax.tree.map(lambda leaf: rng.normal(size=np.shape(leaf)) * (0.01 + 0.1 * np.abs(leaf)),
                             (members, x, y))
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)))
    step = 1e-5
    ends = [value(*jax.tree.map(lambda a, d, s=s: a + s * d, (members, x, y), direction)) for s in (step, -step)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2.0 * step), rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-8, 3e-5, 0.99 * FLAT[1], 1.01 * FLAT[1], 1e-3])
def test_nearly_round(size, x64):
    """First and second derivatives by the shape against differences, of one halo and of halos that are summed."""
    x, y = positions(x64, 12)
    at, h = size * jnp.array([0.8, -0.6]), 3e-4

    @jax.jit
    def slopes(e):
        def each(e):
            halo = DPIE(sigma=800.0, core=0.5, cut=20.0, e1=e[0], e2=e[1])
            return jnp.stack([*halo.deflection(x, y), *gathered([halo])[0].deflection(x, y)])

        return each(e), jax.jacfwd(each)(e), jax.jacfwd(jax.jacfwd(each))(e)

    found = slopes(at)
    np.testing.assert_allclose(found[0][:2], found[0][2:], rtol=1e-13)
    for order, tolerance in ((1, 1e-9), (2, 1e-6)):
        by = []
        for step in h * jnp.eye(2):
            far, near = (slopes(at + k * step)[order - 1] - slopes(at - k * step)[order - 1] for k in (2.0, 1.0))
            by.append((8.0 * near - far) / (12.0 * h))
        expected = np.stack(by, -1)
        np.testing.assert_allclose(found[order], expected, atol=tolerance * np.abs(expected).max())


def test_delays(x64):
    """Of a halo with members: each image is stationary, and delays are the work of theta - beta - alpha between them.

    The latter knows of no potential.
    """
    planes = Planes(redshifts=[0.4, 2.0], absolute=True)
    mass = [DPIE(sigma=700.0, core=3.0, cut=90.0, e1=0.15, e2=0.05), relation(5, x64)]
    lens = Scene(mass=mass, planes=planes).lenses()
    beta = jnp.array([1.0, 0.6])
    starts = jnp.array([[8.2, -8.3], [11.4, -0.1], [-8.7, -1.8]])
    images = jax.jit(lambda: images_near(lens, *beta, *starts.T))()
    assert images.settled.all() and len(set(np.sign(images.magnification).tolist())) == 2
    x, y = images.x, images.y

    @jax.jit
    def of(x, y):
        slope = jax.grad(lambda x, y: fermat_potential(lens, x, y, *beta), (0, 1))
        return jnp.stack(jax.vmap(slope)(x, y)), fermat_potential(lens, x, y, *beta), arrival_times(mass, planes, x, y)

    slope, fermat, times = of(x, y)
    assert np.abs(slope).max() < 1e-9
    distance = planes.cosmology.time_delay_distance(0.4, 2.0)
    np.testing.assert_allclose(np.diff(times), np.diff(days(distance, fermat)), rtol=1e-9)
    nodes, weights = gauss_legendre(400)
    for k in range(2):
        d_x, d_y = x[k + 1] - x[k], y[k + 1] - y[k]
        traced = jax.jit(trace)(lens, x[k] + nodes * d_x, y[k] + nodes * d_y)
        work = weights @ ((traced[0] - beta[0]) * d_x + (traced[1] - beta[1]) * d_y)
        np.testing.assert_allclose(fermat[k + 1] - fermat[k], work, rtol=1e-8)
    behind = Behind(mass=mass, planes=planes, z=2.0)
    np.testing.assert_allclose(behind.potential(x, y), lens[0].potential(x, y), rtol=1e-12)


def test_precisions_agree():
    """float32 within its rounding of 60 arcsec, 4e-6, times a few members."""
    run = jax.jit(Members.deflection)
    with jax.enable_x64(True):
        exact = np.stack(run(relation(8, np.float64), *positions(np.float64, 8)))
    single = np.stack(run(relation(8, np.float32), *positions(np.float32, 8)))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, atol=2e-5)


def test_size_of_program(monkeypatch):
    """The program, and with it the time to compile, does not grow with the number of members."""
    monkeypatch.setattr(module, "AT_ONCE", 1 << 6)
    x, y = positions(np.float32, 4)

    def lines(n):
        function = jax.grad(lambda members: jnp.sum(jnp.stack(members.deflection(x, y))))
        return len(str(jax.make_jaxpr(function)(relation(n, np.float32))).splitlines())

    assert lines(320) == lines(960)  # numbers of one width: so is their text


@pytest.mark.parametrize(("column", "value", "said"), [
    ("mag", np.nan, "mag: not finite in row 2"), ("e1", 1.0, "e1: .* in row 2"),
    ("x", np.inf, "x: not finite in row 2"),
])
def test_bad_rows_are_named(column, value, said):
    columns = {name: np.zeros(4) for name in ("x", "y", "e1", "e2", "mag")}
    columns[column][2] = value
    with pytest.raises(ValueError, match=said):
        Catalogue.of(**columns)
