"""Transport maps: their Jacobian, the Gaussian they start from, and a curved posterior they recover."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _problems import random_covariance

from giga.inference.chains.whitening import straightened
from giga.inference.variational.transport import Bend, conditional, gaussian, most_soft, products, pulled, pushed


def bent(rng, axis: int = 1, n: int = 4):
    """A map with every coefficient in use."""
    plain = gaussian(rng.normal(size=n), random_covariance(rng, n, 50.0), axis, np.float64).bent(shear(rng, n))
    return plain.replace(mean=plain.mean + 0.1 * rng.normal(size=plain.mean.shape),
                         chol=plain.chol + 0.1 * rng.normal(size=plain.chol.shape),
                         shift=rng.normal(size=n), factor=np.linalg.cholesky(random_covariance(rng, n, 5.0)))


def shear(rng, n: int, soft: int = 2) -> Bend:
    """A bend along the first coordinates."""
    curve = np.zeros((most_soft(n) * (most_soft(n) + 1) // 2, n))
    curve[:soft * (soft + 1) // 2, soft:] = 0.3 * rng.normal(size=(soft * (soft + 1) // 2, n - soft))
    outer = rng.normal(size=(n, n))
    return Bend(shift=rng.normal(size=n), outer=outer, curve=curve, log_det=np.linalg.slogdet(outer)[1])


@pytest.mark.parametrize("axis", [0, 1, 3])
@pytest.mark.parametrize("reach", [1.0, 10.0])
def test_log_det_is_that_of_the_jacobian(x64, rng, axis, reach):
    """Also far out, where the bend is held."""
    transport = bent(rng, axis)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda u: transport(u)[0])))
    u = jnp.asarray(reach * rng.normal(size=(6, 4)))
    np.testing.assert_allclose(jax.vmap(transport)(u)[1], np.linalg.slogdet(jacobian(u))[1], atol=1e-10)


@pytest.mark.parametrize("axis", [0, 3])
def test_pull_is_the_inverse(x64, rng, axis):
    """Also far out, where the bend is held, and for a single parameter."""
    for transport, u in ((bent(rng, axis), 4.0 * rng.normal(size=(6, 4))),
                         (gaussian(np.array([0.3]), np.array([[4.0]]), 0, np.float64), rng.normal(size=(6, 1)))):
        z, log_det = jax.vmap(transport)(u)
        back, same = jax.vmap(transport.pull)(z)
        np.testing.assert_allclose(back, u, atol=1e-10)
        np.testing.assert_allclose(same, log_det, atol=1e-10)


@pytest.mark.parametrize("axis", [0, 2, 4])
def test_gaussian_has_mean_and_covariance(x64, rng, axis):
    mean, covariance = rng.normal(size=5), random_covariance(rng, 5, 1e4)
    transport = gaussian(mean, covariance, axis, np.float64)
    np.testing.assert_allclose(transport(jnp.zeros(5))[0], mean, atol=1e-12)
    factor = np.asarray(jax.jacfwd(lambda u: transport(u)[0])(jnp.ones(5)))
    np.testing.assert_allclose(factor @ factor.T, covariance, atol=1e-12)


def test_one_parameter(x64):
    transport = gaussian(np.array([0.3]), np.array([[4.0]]), 0, np.float64)
    z, log_det = transport(jnp.array([1.5]))
    np.testing.assert_allclose(z, [3.3])
    assert float(log_det) == pytest.approx(np.log(2.0))


def test_behind_composes(x64, rng):
    transport = bent(rng)
    shift, factor = rng.normal(size=4), np.linalg.cholesky(random_covariance(rng, 4, 10.0))
    u = jnp.asarray(rng.normal(size=4))
    found, log_det = transport.behind(shift, factor)(u)
    expected, inner = transport(shift + factor @ u)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert float(log_det) == pytest.approx(float(inner) + np.linalg.slogdet(factor)[1])


@pytest.mark.parametrize("axis", [0, 1])
def test_conditional_recovers_a_banana(x64, axis):
    """z_axis = t, the others Gaussian about a cubic in t, with a width that is exponential in t."""
    def mean(t):
        return np.stack([0.5 * t + 0.8 * t**2 - 0.05 * t**3, -0.3 * t**2], -1)

    def precision(t):
        """Of all three coordinates, in the order (axis, rest): that of the rest does not depend on the axis."""
        whole = np.zeros((3, 3))
        whole[0, 0] = 1.0
        whole[1:, 1:] = np.linalg.inv(np.diag(np.exp([0.2 * t, -0.5 - 0.2 * t + 0.03 * t**2])) ** 2)
        order = [1, 0, 2] if axis == 1 else [0, 1, 2]
        return whole[np.ix_(order, order)]

    t = np.linspace(-3.2, 3.2, 16)
    z = np.insert(mean(t), axis, t, axis=1)
    transport = conditional(np.zeros(3), precision(0.0), z, np.stack([precision(v) for v in t]), axis, np.float64)
    assert float(transport.width) == pytest.approx(1.0)
    for v in (-2.0, 0.3, 1.7):
        centre = np.asarray(transport(jnp.array([v, 0.0, 0.0]))[0])
        np.testing.assert_allclose(np.delete(centre, axis), mean(v), atol=1e-8)
        assert centre[axis] == pytest.approx(v)
        spread = np.asarray(transport(jnp.array([v, 1.0, 1.0]))[0]) - centre
        np.testing.assert_allclose(np.delete(spread, axis), np.exp([0.2 * v, -0.5 - 0.2 * v + 0.03 * v**2]), rtol=1e-6)


def test_maps_of_any_axis_share_a_program(x64, rng):
    traces = []

    @jax.jit
    def push(transport, u):
        traces.append(1)
        return transport(u)[0]

    for axis in range(3):
        push(gaussian(np.zeros(3), np.eye(3), axis, np.float64), jnp.ones(3))
    assert len(traces) == 1


@pytest.mark.parametrize("soft, curved", [(3, True), (3, False)])
def test_a_curve_is_found_from_scores(x64, rng, soft, curved):
    """From draws beside the ridge, of half its width, in coordinates that mix soft and stiff; none where none is."""
    n, widths = 9, np.array([1.0, 0.8, 0.6, 0.02, 0.02, 0.01, 0.01, 0.01, 0.005])
    bend = shear(rng, n, soft)
    curve = 10.0 * bend.curve * curved
    turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
    y = 0.5 * rng.normal(size=(300, n))  # draws of half the width about the target, a standard normal before the bend
    true = Bend(shift=np.zeros(n), outer=turn * widths, curve=curve, log_det=np.sum(np.log(widths)))
    z = np.asarray(jax.vmap(true)(y))
    score = np.asarray(jax.vmap(jax.grad(lambda z: -0.5 * jnp.sum(true.pull(z) ** 2)))(z))
    mix = np.linalg.cholesky(np.cov(z.T))  # z = mix u
    found, u, gradient = straightened(np.linalg.solve(mix, z.T).T, score @ mix, mix)
    assert (found is not None) == curved
    if found is not None:
        assert found.soft == soft and found.curve[:, soft:].any() and not found.curve[soft * (soft + 1) // 2:].any()
        flat = [np.sqrt(np.max(np.linalg.eigvals(np.cov(a.T) @ np.cov(b.T)).real)) for a, b in
                ((z, score), (u, gradient))]
        assert flat[1] < 1.05 < 3.0 < flat[0]
        back = np.asarray(jax.vmap(found)(u)) @ mix.T
        np.testing.assert_allclose(back, z, atol=1e-9)


@pytest.mark.parametrize("distinct", [1, 4])
def test_chains_that_do_not_move_are_not_bent(rng, distinct):
    """Draws without a spread, or of as many places as there are chains, are no fault of the warm-up."""
    places, scores = rng.normal(size=(2, distinct, 5))
    u, gradient = np.repeat(places, 200 // distinct, 0), np.repeat(scores, 200 // distinct, 0)
    found, same, _ = straightened(u, gradient, np.eye(5))
    assert found is None and same is u


def test_a_map_is_bent_once(rng):
    with pytest.raises(ValueError, match="bent already"):
        bent(rng).bent(shear(rng, 4))


def test_a_bent_map_is_undone_in_single_precision(rng):
    transport = bent(rng)
    single = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32) if leaf.dtype == float else leaf, transport)
    u = rng.normal(size=(200, 4)).astype(np.float32)
    z, log_det = pushed(single, u)
    back, same = pulled(single, z)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, u, atol=2e-3)  # rounding of z, times the condition of the map
    np.testing.assert_allclose(same, log_det, atol=2e-3)


def test_products_of_fewer_coordinates_come_first(rng):
    w = rng.normal(size=(5, 4))
    np.testing.assert_array_equal(products(w, np)[:, :6], products(w[:, :3], np))
    np.testing.assert_allclose(products(w, np)[:, [0, 4]], np.stack([w[:, 0]**2 - 1.0, w[:, 2] * w[:, 1]], 1))
