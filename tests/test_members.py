"""Halos and members of clusters: against a sum of single profiles, an independent form, and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _lenstool import kovner

from giga.mass import members as module
from giga.mass.base import deflection_jacobian
from giga.mass.members import DPIE, Catalogue, Members

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
    turned = {name: np.where(members.catalogue.e1 == 0.0, 0.0, getattr(direction[0].catalogue, name))
              for name in ("e1", "e2")}  # by the shape of a round member none is taken
    direction = (direction[0].replace(catalogue=direction[0].catalogue.replace(**turned)), *direction[1:])
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)))
    step = 1e-5
    ends = [value(*jax.tree.map(lambda a, d, s=s: a + s * d, (members, x, y), direction)) for s in (step, -step)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2.0 * step), rtol=1e-6)


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
