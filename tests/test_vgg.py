"""The VGG and its single-channel variant: their sizes, what the mean of probabilities is."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _networks import gradients, make
from flax import nnx

from giga.models.networks.count import count
from giga.models.networks.vgg import VGG, SingleChannelVGG, VGGConfig

TINY = VGGConfig(bands=2, size=8, channels=(4, 8), units=1, dense=6)

answer = nnx.jit(lambda model, x: model(x))


def images(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("network", "parameters", "gflop"), [
    (VGG, 5_366_816, 5.1), (SingleChannelVGG, 16_099_491, 15.1)])
def test_the_paper_networks_have_their_size_and_cost(network, parameters, gflop):
    counted = count(lambda: network(VGGConfig.paper(), rngs=nnx.Rngs(0)), (128, 128, 3))
    assert counted.parameters == parameters
    # XLA leaves out the products with the zeros around an image, which a count by hand has: some percent.
    assert counted.training / 1e9 == pytest.approx(gflop, rel=0.05)


def test_features_and_logits_have_their_shape(rng):
    x = images(rng, 3, 8, 8, 2)
    assert answer(make(VGG, TINY), x).shape == (3, 6)
    assert answer(make(SingleChannelVGG, TINY), x).shape == (3, 1)


def test_the_single_channel_answer_is_the_mean_probability_of_the_bands(rng):
    x = images(rng, 3, 8, 8, 2)
    model = make(SingleChannelVGG, TINY)
    each = [jax.nn.sigmoid(out(answer(branch, x[..., k:k + 1])))
            for k, (branch, out) in enumerate(zip(model.branches, model.out, strict=True))]
    np.testing.assert_allclose(jax.nn.sigmoid(answer(model, x)), sum(each) / 2, rtol=1e-5)


def test_a_certain_answer_keeps_finite_gradients(rng):
    """Probabilities that round to zero and one in float32 still have a logit."""
    x = 1e4 * images(rng, 3, 8, 8, 2)
    slopes = gradients(make(SingleChannelVGG, TINY), lambda model: jnp.sum(jax.nn.log_sigmoid(-model(x))))
    assert all(np.all(np.isfinite(slope)) for slope in slopes.values())


@pytest.mark.parametrize("network", [VGG, SingleChannelVGG])
def test_every_weight_has_a_finite_gradient(network, rng):
    x = images(rng, 16, 8, 8, 2)
    slopes = gradients(make(network, TINY), lambda model: jnp.mean(model(x) ** 2))
    assert all(np.all(np.isfinite(slope)) and np.any(slope) for slope in slopes.values())


def test_bfloat16_is_close_to_float32(rng):
    x = images(rng, 2, 8, 8, 2)
    exact = make(VGG, TINY)
    coarse = make(VGG, dataclasses.replace(TINY, dtype="bfloat16"), weights_of=exact)
    y = answer(exact, x)
    error = np.abs(np.asarray(answer(coarse, x) - y))
    assert 0 < error.max() < 0.03 * float(jnp.abs(y).max())  # eight bits of mantissa through three layers


@pytest.mark.parametrize("network", [VGG, SingleChannelVGG])
@pytest.mark.parametrize(("shape", "message"), [
    ((1, 8, 8, 3), r"takes images of shape \(n, ny, nx, 2\), got 3 bands"),
    ((1, 6, 8, 2), "at least 8 x 8 pixels, got 6 x 8: pad"),
    ((1, 16, 12, 2), "takes images of 8 x 8 pixels, got 16 x 12: crop them, or make the network with size=12"),
])
def test_other_images_are_refused(network, shape, message):
    with pytest.raises(ValueError, match=message):
        make(network, TINY)(jnp.zeros(shape))


def test_a_size_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="size must be a multiple of 4, got 10"):
        VGG(dataclasses.replace(TINY, size=10), rngs=nnx.Rngs(0))
