"""The U-Net: its size, its parts that sum to the image, what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _networks import gradients, make
from flax import nnx

from giga.models.networks.count import count
from giga.models.networks.layers import depth_to_space, space_to_depth
from giga.models.networks.unet import PARTS, UNet, UNetConfig

TINY = UNetConfig(bands=2, channels=(4, 8), units=1, head_width=4, groups=2)
PATCHED = dataclasses.replace(TINY, patch=2, attention=False, time=False)


separate = nnx.jit(lambda model, x: model(x))
shares_of = nnx.jit(lambda model, x: model.shares(x))


def images(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("config", "shape", "parameters", "gflop"), [
    (UNetConfig.paper(4), (64, 64, 4), 15_479_436, 17.1),
    (UNetConfig.paper(1), (101, 101, 1), 15_475_971, 44.1),
])
def test_the_paper_networks_have_their_size_and_cost(config, shape, parameters, gflop):
    counted = count(lambda: UNet(config, rngs=nnx.Rngs(0)), shape)
    assert counted.parameters == parameters
    # XLA leaves out the products with the zeros around an image, which a count by hand has: some percent.
    assert counted.training / 1e9 == pytest.approx(gflop, rel=0.08)


@pytest.mark.parametrize("config", [TINY, PATCHED], ids=["attention", "patched"])
@pytest.mark.parametrize("shape", [(16, 16), (13, 17), (8, 5)])
def test_parts_sum_to_the_image(config, shape, rng):
    x = images(rng, 2, *shape, 2)
    parts = separate(make(UNet, config), x)
    assert set(parts) == set(PARTS)
    total = sum(parts.values())
    assert all(part.shape == x.shape for part in parts.values())
    np.testing.assert_allclose(total, x, rtol=2e-6, atol=0)  # rounding of three products and two sums
    assert all(np.all(np.abs(part) <= np.abs(x) * (1 + 1e-6)) for part in parts.values())


def test_padding_by_reflection_leaves_the_middle_in_place(rng):
    """An image padded by hand as the network pads gives the same parts."""
    x = images(rng, 1, 13, 16, 2)
    padded = jnp.pad(x, [(0, 0), (0, 1), (0, 0), (0, 0)], mode="reflect")
    model = make(UNet, TINY)
    whole, cut = separate(model, padded)["lens"], separate(model, x)["lens"]
    np.testing.assert_allclose(cut, whole[:, :13], rtol=1e-5, atol=1e-6)


def test_masks_are_squares_over_their_sum(rng):
    """Eq. 12: the sign of the last layer does not matter, and three zeros share evenly."""
    x = images(rng, 1, 8, 8, 2)
    model = make(UNet, TINY)
    shares = shares_of(model, x)
    assert float(shares.min()) >= 0
    model.masks.kernel.set_value(-model.masks.kernel.get_value())
    model.masks.bias.set_value(-model.masks.bias.get_value())
    np.testing.assert_allclose(shares_of(model, x), shares, rtol=1e-6)
    model.masks.kernel.set_value(0 * model.masks.kernel.get_value())
    model.masks.bias.set_value(0 * model.masks.bias.get_value())
    np.testing.assert_allclose(shares_of(model, x), 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("config", [TINY, PATCHED], ids=["attention", "patched"])
def test_every_weight_has_a_finite_gradient(config, rng):
    x, target = images(rng, 2, 8, 8, 2), images(rng, 2, 8, 8, 2)
    model = make(UNet, config)

    def loss(model):
        return jnp.mean(jnp.abs(model(x)["lens"] - target))

    slopes = gradients(model, loss)
    assert all(np.all(np.isfinite(slope)) for slope in slopes.values())
    blind = {name for name in slopes if "key" in name and "bias" in name}  # a softmax does not see a constant
    assert {name for name, slope in slopes.items() if not np.any(slope)} <= blind


@pytest.mark.parametrize("config", [TINY, PATCHED], ids=["attention", "patched"])
def test_bfloat16_is_close_to_float32_and_has_the_same_weights(config, rng):
    x = images(rng, 2, 16, 16, 2)
    exact = make(UNet, config)
    coarse = make(UNet, dataclasses.replace(config, dtype="bfloat16"), weights_of=exact)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(coarse)))
    low = shares_of(coarse, x)
    assert low.dtype == jnp.float32
    error = np.abs(np.asarray(low - shares_of(exact, x)))
    assert 0 < error.mean() < 0.01  # eight bits of mantissa through some ten layers
    assert np.quantile(error, 0.99) < 0.05  # where all three masks pass near zero their shares are anything


def test_one_image_gives_what_a_batch_gives_and_one_trace_serves_a_shape(rng):
    graph, state = nnx.split(make(UNet, TINY))
    traces = []

    @jax.jit
    def compiled(state, x):
        traces.append(x.shape)
        return nnx.merge(graph, state)(x)

    x = images(rng, 3, 8, 8, 2)
    batch = compiled(state, x)
    for _ in range(2):
        one = compiled(state, x[:1])
    assert len(traces) == 2
    np.testing.assert_allclose(one["source"], batch["source"][:1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("shape", "message"), [
    ((1, 16, 16, 3), r"takes images of shape \(n, ny, nx, 2\), got 3 bands .*: choose 2 of the bands"),
    ((1, 16, 1, 2), r"at least 2 x 2 pixels, got 16 x 1: pad them, or crop"),
    ((16, 16, 2), r"got shape \(16, 16, 2\)"),
])
def test_other_images_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        make(UNet, TINY)(jnp.zeros(shape))


def test_an_unknown_type_is_refused():
    with pytest.raises(ValueError, match="dtype must be one of float32, bfloat16, got 'float16'"):
        UNet(dataclasses.replace(TINY, dtype="float16"), rngs=nnx.Rngs(0))


def test_patches_become_channels_and_come_back(rng):
    x = images(rng, 2, 8, 12, 3)
    y = space_to_depth(x, 4)
    assert y.shape == (2, 2, 3, 48)
    np.testing.assert_array_equal(y[0, 1, 2, :3], x[0, 4, 8])
    np.testing.assert_array_equal(depth_to_space(y, 4), x)
