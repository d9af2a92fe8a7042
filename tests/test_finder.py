"""Finders: their networks, what they are trained on, and the command line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _clusters import HALF, lens
from _networks import make

from giga.io.clusters.fields import save_field
from giga.io.errors import InputError
from giga.jobs.finders import ClusterFinderConfig
from giga.jobs.systems import SYSTEMS
from giga.models.networks.finder import NETWORKS, Finder, FinderConfig
from giga.models.systems.finder import BINS, FinderTask, make_simulator, measured, scored
from giga.simulate.batch import Batch
from giga.simulate.systems.cluster_fields import prepare

SMALL = FinderConfig(network="vgg", pixels=16)


@pytest.fixture(scope="module")
def prepared():
    return prepare(lens(), SMALL.observed.grid, HALF, nodes=2)


@pytest.mark.quick
@pytest.mark.parametrize("network", NETWORKS)
def test_networks_give_one_number_an_image(network):
    model = make(Finder, FinderConfig(network=network, pixels=32))
    model.eval()
    images = jax.random.normal(jax.random.key(0), (3, 32, 32, 3))
    scores = model(images)
    assert scores.shape == (3,) and np.isfinite(scores).all()
    np.testing.assert_allclose(scores[1:], model(images[1:]), rtol=1e-3, atol=1e-4)  # of each image by itself


@pytest.mark.quick
def test_stretch_is_in_units_of_the_noise():
    rms = SMALL.observed.background_rms
    assert SMALL.stretch(np.sinh(2.0) * np.ones((1, 1, 3)) * rms) == pytest.approx(np.full((1, 1, 3), 2.0), rel=1e-5)


@pytest.mark.quick
@pytest.mark.parametrize(("change", "said"), [
    (dict(network="alexnet"), "network: expected one of vgg"), (dict(size="huge"), "size: expected one of paper"),
    (dict(pixels=8), "pixels: expected at least 16"), (dict(pixels=40), "multiple of 16"),
    (dict(bands=("F435W", "g")), "no band 'g'"), (dict(survey="hst"), "survey: expected one of")])
def test_bad_configuration_is_said(change, said):
    with pytest.raises(ValueError, match=said):
        FinderConfig(**change)


def test_task_has_examples_of_both_sets(prepared):
    task = FinderTask(SMALL, prepared)
    one, other = task.example(jax.random.key(0)), task.shifted_example(jax.random.key(0))
    assert one["image"].shape == (16, 16, 3) and jax.tree.structure(one) == jax.tree.structure(other)
    assert not np.array_equal(one["image"], other["image"])
    assert task.identity != FinderTask(SMALL, prepared, others=0.5).identity
    again = task.finish(jax.random.key(1), task.geometry(jax.random.key(0)))
    assert again["label"] == one["label"] and not np.array_equal(again["image"], one["image"])


def test_loss_is_the_binary_entropy(prepared):
    task = FinderTask(SMALL, prepared)

    class Sure:
        def __call__(self, image):
            return jnp.array([2.0, -1.0])

    loss, metrics = task.loss(Sure(), dict(image=None, label=jnp.array([1, 1])), jax.random.key(0))
    assert float(loss) == pytest.approx(0.5 * (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))), rel=1e-5)
    assert float(metrics["accuracy"]) == 0.5


def test_scores_come_with_truth_and_baselines(prepared):
    model = make(Finder, SMALL)
    made = make_simulator(SMALL, prepared)
    rows = scored(SMALL, model, made, 24, jax.random.key(0), together=16)
    assert {len(values) for values in rows.values()} == {24}
    first: Batch = jax.tree.map(np.asarray, made.simulate(jax.random.fold_in(jax.random.key(0), 0), 16))
    np.testing.assert_allclose(rows["score"][:16], model(SMALL.stretch(first.image)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(rows["flux"][:16], first.image.sum((1, 2, 3)), rtol=1e-4)
    found = measured(rows | {"label": np.arange(24) % 2})
    assert {"auc", "completeness"} <= set(found.numbers) and set(found.baselines) == {"flux alone", "colour alone"}
    assert any(name.startswith("fnr_mag") for name in found.numbers)
    assert all(np.isfinite([*found.numbers.values(), *(one["auc"] for one in found.baselines.values())]))
    assert found.scores is not None and found.scores.positive.sum() == 12


@pytest.mark.quick
def test_bins_name_what_the_truth_has():
    assert {field for field, _, _ in BINS.values()} <= {"mag", "theta_E", "z", "r_e", "mag_lens", "colour_lens"}


@pytest.mark.quick
@pytest.mark.parametrize(("change", "said"), [
    (dict(clusters=()), "clusters: none"), (dict(network="vgg19"), "network: got 'vgg19'"),
    (dict(behind=1.5), "behind: got 1.5"), (dict(survey="hst-hf"), "survey: got 'hst-hf'.*hst-hff")])
def test_bad_section_is_said(tmp_path, change, said):
    with pytest.raises(InputError, match=said):
        ClusterFinderConfig(**(dict(clusters=(tmp_path / "one.npz",)) | change))


def test_system_reads_its_clusters(tmp_path, prepared):
    saved = save_field(tmp_path / "one.npz", prepared)
    system = SYSTEMS["cluster-finder"]
    config = ClusterFinderConfig(clusters=(saved,), network="vgg")
    with pytest.raises(InputError, match="prepared for"):  # 16 pixels, where the survey has 64
        system.task(config)
    card = system.card(config)
    assert card["network"] == "Finder" and card["prevalence"] == 0.5 and "one" in card["limits"][0]
    assert card["seen"].bands == ("F435W", "F606W", "F814W")
    with pytest.raises(InputError, match="no such file"):
        system.task(ClusterFinderConfig(clusters=(tmp_path / "two.npz",)))
