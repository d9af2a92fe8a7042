"""A trajectory: second order, reversible, and accepted by the density whatever its steps followed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.inference.chains.diagnostics import rhat_and_ess_bulk
from giga.inference.chains.trajectory import Chains, trajectory

PRECISION = np.diag([1.0, 4.0, 0.5])


def density(u):
    return -0.5 * u @ PRECISION @ u - 0.1 * u[0] ** 4


def guide(u):
    """Off by a third in one curvature, displaced, and without the quartic term."""
    return -0.5 * (u - 0.2) @ (PRECISION @ jnp.diag(jnp.array([1.3, 0.8, 1.0]))) @ (u - 0.2)


def start(force, u):
    u = jnp.asarray(u, float)
    return Chains(u, density(u), jax.grad(force)(u))


def test_energy_is_kept_to_second_order(x64):
    key, chain = jax.random.key(0), start(density, [0.5, -0.3, 1.0])
    loss = []
    for size in (0.02, 0.01):
        _, info = trajectory(key, chain, density, size, round(1.0 / size))
        momentum = jax.random.normal(jax.random.split(key)[0], (3,))
        loss.append(abs(float(info.energy - 0.5 * momentum @ momentum + chain.logdensity)))
        assert info.acceptance > 0.99 and not info.diverging
    assert loss[0] / loss[1] == pytest.approx(4.0, rel=0.1)


@pytest.mark.parametrize("guided", [False, True])
def test_the_density_is_sampled_whatever_guides_the_steps(x64, guided):
    """Moments of the quartic axis by quadrature, of the Gaussian ones in closed form; within four standard errors."""
    force = guide if guided else density
    first = jax.vmap(lambda u: start(force, u))(np.random.default_rng(0).normal(size=(64, 3)))

    def iteration(chains, key):
        keys = jax.random.split(key, 65)
        steps = jax.random.randint(keys[0], (), 2, 6)
        chains, info = jax.vmap(lambda k, c: trajectory(k, c, density, 0.45, steps, guide if guided else None))(
            keys[1:], chains)
        return chains, (chains.position, info.acceptance, chains.logdensity)

    keys = jax.random.split(jax.random.key(1), 1200)
    _, (u, acceptance, value) = jax.jit(lambda c, k: jax.lax.scan(iteration, c, k))(first, keys)
    u, value = np.asarray(u).swapaxes(0, 1)[:, 100:], np.asarray(value).swapaxes(0, 1)[:, 100:]
    np.testing.assert_allclose(value[:3], jax.vmap(jax.vmap(density))(u[:3]), atol=1e-12)
    assert (0.5 if guided else 0.9) < acceptance.mean() < (0.9 if guided else 1.0)
    x = np.linspace(-6.0, 6.0, 4001)
    weight = np.exp([float(-0.5 * v**2 - 0.1 * v**4) for v in x])
    expected = [np.sum(weight * x**2) / weight.sum(), 0.25, 2.0]
    for values, moment in ((u, [0.0] * 3), (u**2, expected)):
        rhat, ess = rhat_and_ess_bulk(values)
        assert rhat.max() < 1.01
        error = values.std((0, 1)) / np.sqrt(ess)
        assert (np.abs(values.mean((0, 1)) - moment) < 4.0 * error).all()


def test_steps_are_reversible_along_a_guide(x64):
    """Turned round at its end, a trajectory leads back: steps that depend on the position alone."""
    key, size, steps = jax.random.key(3), 0.3, 7
    force = jax.grad(guide)
    u = np.array([0.4, 0.1, -0.8])
    p = np.asarray(jax.random.normal(jax.random.split(key)[0], (3,)))

    def leap(u, p):
        for _ in range(steps):
            p = p + 0.5 * size * force(u)
            u = u + size * p
            p = p + 0.5 * size * force(u)
        return u, p

    end, final = leap(u, p)
    back, momentum = leap(end, -final)
    np.testing.assert_allclose(back, u, atol=1e-12)
    np.testing.assert_allclose(momentum, -p, atol=1e-12)
    _, info = trajectory(key, start(guide, u), density, size, steps, guide)
    np.testing.assert_allclose(info.energy, 0.5 * final @ final - density(end), rtol=1e-12)


def test_a_density_that_is_no_number_is_never_entered():
    def hole(u):
        return jnp.where(u[0] > 0.5, jnp.nan, -0.5 * u @ u)

    chain = Chains(jnp.zeros(3), jnp.zeros(()), jnp.zeros(3))
    seen = 0
    for seed in range(20):
        after, info = trajectory(jax.random.key(seed), chain, hole, 0.5, 3)
        assert np.isfinite(after.position).all() and after.position[0] <= 0.5 and np.isfinite(after.logdensity)
        seen += bool(info.diverging)
        assert info.acceptance == 0.0 or not info.diverging
    assert 0 < seen < 20
