"""ResNets: their sizes, their norms, their features."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _networks import gradients, make
from flax import nnx

from giga.models.networks.count import count
from giga.models.networks.resnet import ResNet, ResNetConfig

TINY = ResNetConfig(bands=2, blocks=(1, 1), bottleneck=False, width=4, stem="small")
CONFIGS = [TINY, dataclasses.replace(TINY, norm="group", bottleneck=True), dataclasses.replace(TINY, stem="patch"),
           dataclasses.replace(TINY, stem="standard")]

features = nnx.jit(lambda model, x: model(x))


def images(rng, *shape):
    return jnp.asarray(rng.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(("depth", "side", "parameters", "gflop"), [
    (50, 64, 23_508_032, 2.0), (18, 223, 11_176_512, 10.9), (34, 223, 21_284_672, None)])
def test_networks_have_their_size_and_cost(depth, side, parameters, gflop):
    """Sizes are those of the usual networks without their last layer."""
    counted = count(lambda: ResNet(ResNetConfig.of(depth), rngs=nnx.Rngs(0)), (side, side, 3))
    assert counted.parameters == parameters
    if gflop:
        # XLA leaves out the products with the zeros around an image, many where the last level is of 2 x 2 pixels.
        assert counted.training / 1e9 == pytest.approx(gflop, rel=0.11)


@pytest.mark.parametrize("config", CONFIGS, ids=["batch", "group-bottleneck", "patch", "standard"])
@pytest.mark.parametrize("shape", [(32, 32), (33, 37)])
def test_features_have_their_shape(config, shape, rng):
    model = make(ResNet, config)
    y = features(model, images(rng, 3, *shape, 2))
    assert y.shape == (3, model.width)
    assert model.width == (32 if config.bottleneck else 8)
    assert y.dtype == jnp.float32
    assert np.all(np.isfinite(y))


@pytest.mark.parametrize("config", CONFIGS[:2], ids=["batch", "group-bottleneck"])
def test_every_weight_has_a_finite_gradient(config, rng):
    x = images(rng, 4, 8, 8, 2)
    model = make(ResNet, config)
    slopes = gradients(model, lambda model: jnp.sum(model(x) ** 2))
    assert all(np.all(np.isfinite(slope)) and np.any(slope) for slope in slopes.values())


def test_batch_norm_learns_its_statistics_and_then_an_image_stands_alone(rng):
    model = make(ResNet, TINY)
    x = images(rng, 16, 8, 8, 2)

    model.train()
    before = np.asarray(model.norm.mean[...])
    graph, state = nnx.split(model)

    def step(state, _):
        model = nnx.merge(graph, state)
        model(x)
        return nnx.state(model), None

    # 0.9^60 of the first statistics is left, 0.2%.
    nnx.update(model, jax.jit(lambda state: jax.lax.scan(step, state, length=60)[0])(state))
    assert not np.allclose(model.norm.mean[...], before)
    trained = features(model, x)
    model.eval()
    evaluated = features(model, x)
    # The running variance is the mean of batches' own, so the same batch gives the same features.
    np.testing.assert_allclose(evaluated, trained, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(features(model, x[:1]), evaluated[:1], rtol=1e-4, atol=1e-5)


def test_group_norm_needs_no_batch(rng):
    model = make(ResNet, CONFIGS[1])
    x = images(rng, 4, 8, 8, 2)
    np.testing.assert_allclose(features(model, x[:1]), features(model, x)[:1], rtol=1e-4, atol=1e-5)


def test_a_block_begins_as_the_identity():
    """The last scale of each block is zero before training."""
    model = ResNet(dataclasses.replace(TINY, blocks=(1,), norm="batch"), rngs=nnx.Rngs(0))
    assert not np.any(model.blocks[0].norms[-1].scale[...])
    assert np.all(model.blocks[0].norms[0].scale[...] == 1)


def test_bfloat16_is_close_to_float32(rng):
    x = images(rng, 2, 8, 8, 2)
    exact = make(ResNet, CONFIGS[1])
    coarse = make(ResNet, dataclasses.replace(CONFIGS[1], dtype="bfloat16"), weights_of=exact)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(nnx.state(coarse)))
    y = features(exact, x)
    error = np.abs(np.asarray(features(coarse, x) - y))
    assert 0 < error.max() < 0.03 * float(y.max())  # eight bits of mantissa through seven layers


@pytest.mark.parametrize(("changes", "message"), [
    ({"stem": "large"}, "stem must be one of standard, small, patch, got 'large'"),
    ({"norm": "layer"}, "norm must be batch or group, got 'layer'"),
])
def test_other_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ResNet(dataclasses.replace(TINY, **changes), rngs=nnx.Rngs(0))


def test_other_depths_and_images_are_refused():
    with pytest.raises(ValueError, match="depth must be one of 18, 34, 50, got 101"):
        ResNetConfig.of(101)
    with pytest.raises(ValueError, match=r"this ResNet takes images of shape \(n, ny, nx, 2\), got 3 bands"):
        make(ResNet, TINY)(jnp.zeros((1, 32, 32, 3)))
    with pytest.raises(ValueError, match="at least 32 x 32 pixels, got 20 x 40"):
        make(ResNet, CONFIGS[3])(jnp.zeros((1, 20, 40, 2)))
