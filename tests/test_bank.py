"""Scenes that are used again: how often, with what else, and that all but the scene is new each time."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _toy import ToyTask, toy_config

from giga import PSF, Grid, Scene, Sersic
from giga.jobs import amortised
from giga.models.networks.chain import ModularConfig
from giga.models.networks.separator import GGSLConfig
from giga.models.systems.ggsl import GGSLTask
from giga.models.systems.modular import ModularTask
from giga.models.training.config import optimiser
from giga.models.training.loop import Loop, Reuse
from giga.models.training.state import start
from giga.models.training.train import train
from giga.runtime.parallel import mesh
from giga.simulate.generator import Simulator, simulator
from giga.simulate.mixing import Mixing
from giga.simulate.populations.population import Population
from giga.simulate.surveys.noise import CorrelatedNoise

TASK = ToyTask()


def make_loop(**changes) -> Loop:
    config = toy_config(**changes)
    rule = optimiser(config)
    return Loop(TASK, config, start(TASK, config, rule)[0], rule, mesh(jax.devices()[:1]))


def drawn(loop: Loop, steps: int) -> list[dict[str, np.ndarray]]:
    """The examples of each step, all micro-batches together."""
    draw, found = loop.drawn(), []
    for step in range(steps):
        bank = loop.scenes(step)
        parts = [draw(bank, step, micro) for micro in range(loop.config.accumulate)]
        found.append(jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts))
    return found


def test_the_schedule():
    """Of 12 steps with 3 uses, 4 batches; image 1 goes one batch further in each pass."""
    reuse = Reuse(times=3, chunk=12)
    steps, images = jnp.arange(24), jnp.arange(5)
    found = np.asarray(jax.vmap(reuse.batch_of, (0, None))(steps, images))
    np.testing.assert_array_equal(found[:12, 0], [0, 1, 2, 3] * 3)
    np.testing.assert_array_equal(found[:12, 1], [0, 1, 2, 3, 1, 2, 3, 0, 2, 3, 0, 1])
    np.testing.assert_array_equal(found[12:], found[:12])
    once = Reuse(times=1, chunk=12)
    np.testing.assert_array_equal(jax.vmap(once.batch_of, (0, None))(steps, images), np.tile(steps % 12, (5, 1)).T)


def test_without_reuse_an_example_is_that_of_its_key():
    loop = make_loop()
    assert loop.scenes(0) is None
    expected = loop.examples()
    for step, found in enumerate(drawn(loop, 2)):
        for name, values in expected(loop.config.seed, step, 0).items():
            np.testing.assert_array_equal(found[name], values)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_each_scene_is_seen_as_often_as_declared(accumulate):
    longer = {"chunk": 24, "validate_every": 24, "checkpoint_every": 24, "accumulate": accumulate}
    loop = make_loop(reuse=4, **longer)
    rows = drawn(loop, 48)
    size = loop.config.batch_size
    uses = Counter(float(flux) for row in rows for flux in row["flux"])
    assert len(uses) == 48 * size // 4 and set(uses.values()) == {4}
    assert all(len(set(row["flux"].tolist())) == size for row in rows)  # never twice in a batch
    together = [set(row["flux"].tolist()) for row in rows]
    assert max(len(a & b) for k, a in enumerate(together) for b in together[:k]) <= size // 2
    noise = {row["image"][i].tobytes() for row in rows for i in range(size)}
    assert len(noise) == 48 * size
    # The first pass is that of a training without reuse.
    fresh = drawn(make_loop(**longer), 2)
    for found, expected in zip(rows[:2], fresh, strict=True):
        np.testing.assert_allclose(found["image"], expected["image"], rtol=1e-6, atol=1e-7)


def test_a_task_whose_scenes_are_not_apart_is_refused(tmp_path):
    class Whole:
        identity, network, loss, example = TASK.identity, TASK.network, TASK.loss, TASK.example

    with pytest.raises(ValueError, match="reuse: got 2, expected 1: the task does not part scenes from their noise"):
        train(Whole(), toy_config(reuse=2), tmp_path)


@pytest.mark.parametrize(("times", "chunk"), [(3, 8), (0, 8)])
def test_what_reuse_cannot_be(times, chunk):
    with pytest.raises(ValueError, match=f"reuse: got {times}, expected"):
        Reuse(times, chunk)
    with pytest.raises(ValueError, match=f"reuse: got {times}, expected"):
        toy_config(reuse=times, chunk=chunk)


@pytest.mark.parametrize("make", [
    lambda: GGSLTask(GGSLConfig()), lambda: ModularTask(ModularConfig(stage="denoise", pixels=24)),
    lambda: amortised.task(amortised.PosteriorConfig(problem="gigalens80")),
], ids=["ggsl-unet", "modular", "posterior"])
def test_systems_part_scenes_from_their_noise(make):
    """The image of a scene under another key is another one, of the same truth."""
    task, key, other = make(), *jax.random.split(jax.random.key(4))

    @jax.jit
    def both(key, other):
        scene = task.geometry(key)
        return task.finish(key, scene), task.finish(other, scene)

    first, second = both(key, other)
    seen = "noisy" if "noisy" in first else "image"
    truth = {"noisy": "blend", "image": "source" if "source" in first else "z"}[seen]
    assert np.mean(np.asarray(first[seen]) == np.asarray(second[seen])) < 0.05
    if truth == "source":  # in units of the noise, which follows the light
        assert float(jnp.corrcoef(first[truth].ravel(), second[truth].ravel())[0, 1]) > 0.999
    else:
        np.testing.assert_array_equal(first[truth], second[truth])


GRID = Grid(shape=(12, 12), pixel_scale=0.2)
RADIUS = "lens_light.0.R_sersic"


def test_uses_of_one_geometry_differ_in_all_but_the_scene():
    population = Population.of(Scene(lens_light=[Sersic(amp=1.0, R_sersic=dist.Uniform(0.2, 0.8), n_sersic=1.0)],
                                     source_light=[Sersic(amp=1.0, R_sersic=0.2, n_sersic=1.0, center_x=0.4)]))
    made = simulator(population, GRID, [PSF.gaussian(0.7, 0.2, 5, supersampling=1)],
                     CorrelatedNoise.of(np.full((1, 1, 2), 0.01), GRID.shape), mixing=Mixing(bands=2), turns=True)

    @jax.jit
    def uses(made: Simulator, keys):
        scene = made.geometry(jax.random.key(0))
        return jax.lax.map(lambda key: made.finish(key, scene), keys)

    batch, n = uses(made, jax.random.split(jax.random.key(1), 50)), 50
    assert len(np.unique(batch.truth[RADIUS])) == 1
    for name in ("alpha", "beta", "gamma", "epsilon"):
        assert len(np.unique(np.asarray(batch.truth[f"mixing.{name}"]), axis=0)) == n
    noise = np.asarray(batch.parts["noise"]).reshape(n, -1)
    correlation = np.corrcoef(noise) - np.eye(n)
    assert abs(correlation).max() < 5.5 / np.sqrt(noise.shape[1])  # of independent pixels, the largest of 1,000 pairs
