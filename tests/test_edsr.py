"""EDSR: its sizes, what it restores, what it refuses."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from _networks import gradients, make
from flax import nnx

from giga.models.networks.count import count
from giga.models.networks.edsr import EDSR, EDSRConfig

TINY = EDSRConfig(bands=2, features=4, blocks=2)

restore = nnx.jit(lambda model, x: model(x))


def images(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("config", "parameters", "gflop"), [
    (EDSRConfig.paper(), 19_486_723, 479.0),
    (EDSRConfig.narrow(), 1_222_147, 30.0),
])
def test_the_paper_networks_have_their_size_and_cost(config, parameters, gflop):
    counted = count(lambda: EDSR(config, rngs=nnx.Rngs(0)), (64, 64, 3))
    assert counted.parameters == parameters
    # XLA leaves out the products with the zeros around an image, which a count by hand has: some percent.
    assert counted.training / 1e9 == pytest.approx(gflop, rel=0.04)


@pytest.mark.parametrize(("changes", "shape", "outputs"), [
    ({}, (9, 12), 2), ({"outputs": 1}, (8, 8), 1), ({"patch": 4}, (9, 14), 2), ({"residual": True}, (8, 8), 2)])
def test_images_come_out_of_the_size_they_went_in(changes, shape, outputs, rng):
    y = restore(make(EDSR, dataclasses.replace(TINY, **changes)), images(rng, 3, *shape, 2))
    assert y.shape == (3, *shape, outputs)
    assert y.dtype == jnp.float32


def test_the_residual_is_added_to_the_input(rng):
    x = images(rng, 1, 8, 8, 2)
    plain = make(EDSR, TINY)
    added = make(EDSR, dataclasses.replace(TINY, residual=True), weights_of=plain)
    np.testing.assert_allclose(restore(added, x), x + restore(plain, x), rtol=1e-6, atol=1e-6)


def test_every_weight_has_a_finite_gradient(rng):
    x = images(rng, 2, 8, 8, 2)
    slopes = gradients(make(EDSR, TINY), lambda model: jnp.mean((model(x) - x) ** 2))
    assert all(np.all(np.isfinite(slope)) and np.any(slope) for slope in slopes.values())


def test_bfloat16_is_close_to_float32(rng):
    x = images(rng, 1, 8, 8, 2)
    exact = make(EDSR, TINY)
    coarse = make(EDSR, dataclasses.replace(TINY, dtype="bfloat16"), weights_of=exact)
    y = restore(exact, x)
    error = np.abs(np.asarray(restore(coarse, x) - y))
    assert 0 < error.max() < 0.05 * float(jnp.abs(y).max())  # eight bits of mantissa through seven layers


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r"this EDSR takes images of shape \(n, ny, nx, 2\), got 4 bands"):
        make(EDSR, TINY)(jnp.zeros((1, 8, 8, 4)))
    with pytest.raises(ValueError, match=r"at least 4 x 4 pixels, got 3 x 8: pad them"):
        make(EDSR, dataclasses.replace(TINY, patch=4))(jnp.zeros((1, 3, 8, 2)))


def test_a_residual_needs_as_many_bands_out_as_in():
    with pytest.raises(ValueError, match="as many bands as it takes, got 2 in, 1 out"):
        EDSR(dataclasses.replace(TINY, residual=True, outputs=1), rngs=nnx.Rngs(0))
