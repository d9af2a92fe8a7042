"""Networks that go on learning on labelled cutouts: what moves, what stays, which heads fit, what the command says."""

import dataclasses
import re
from pathlib import Path

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _networks import make
from flax import nnx
from typer.testing import CliRunner

from giga.cli import app
from giga.io.configuration.training import load_training
from giga.io.stored.labels import open_cutouts
from giga.io.tables import write_toml
from giga.jobs.cutouts import CutoutsConfig
from giga.models.networks.backbones import backbone, backbone_of, seen_by
from giga.models.networks.chain import Chain, ModularConfig, Stage
from giga.models.networks.cutouts import CutoutConfig, CutoutNet
from giga.models.networks.posterior import PosteriorNet, PosteriorNetConfig
from giga.models.networks.resnet import ResNetConfig
from giga.models.networks.separator import GGSLConfig, Separator
from giga.models.systems.finetune import begin, finetune, in_epochs
from giga.models.systems.labelled import CutoutTask, Tuning
from giga.models.systems.labelled_table import measure
from giga.models.training.config import TrainConfig, optimiser
from giga.models.training.state import start as start_of
from giga.models.training.state import weight_name
from giga.models.training.tuning import tuned
from giga.models.zoo import load
from giga.models.zoo.weights import KEPT, tensors_of

COUNT, SIDE = 64, 16
SETTINGS = {"batch_size": 16, "measure_rates": False}
TINY = ResNetConfig.small(2, width=4, blocks=(1, 1))
CHAIN = ModularConfig(stage="joint", bands=("g", "r"), pixels=SIDE, features=4, blocks=1, width=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two classes that differ in what their middle is like, and how bright it is."""
    rng, where = np.random.default_rng(3), tmp_path_factory.mktemp("cutouts")
    label = np.arange(COUNT) % 2
    images = rng.normal(0.0, 0.1, (COUNT, SIDE, SIDE, 2)).astype(np.float32)
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    ring = np.exp(-((np.hypot(x, y) - 4.0) ** 2) / 2.0)
    images += (label[:, None, None, None] * ring[..., None]).astype(np.float32)
    with h5py.File(where / "two.h5", "w") as file:
        file["image"], file["label"], file["flux"] = images, label, images.sum((1, 2, 3))
        file["kind"] = (np.arange(COUNT) % 3).astype(int)
    return where


def two(folder, **settings):
    return open_cutouts(folder / "two.h5", **{"shares": (0.5, 0.25, 0.25), **settings})


def tiny(data, **changes):
    """A network of new weights, small."""
    base = dataclasses.replace(TINY, **changes)
    return make(CutoutNet, CutoutConfig.on(base, pixels=(SIDE, SIDE), bands=data.bands, sigma=(0.1, 0.1),
                                           classes=data.classes))


@pytest.fixture(scope="module")
def learned(folder):
    return finetune(tiny(two(folder)), two(folder), folder / "first", epochs=20, decay=1.0, learning_rate=0.02,
                    **SETTINGS)


def test_three_lines_learn_and_leave_a_card_with_its_baselines(learned, folder):
    model, card = learned
    again, kept = load(folder / "first" / "model")
    assert kept == card and again.config == model.config and again.config.classes == ("0", "1")
    found, shares = card.metrics["test"], card.metrics["test: shares of the classes"]
    assert found["images"] == 16 and found["accuracy"] > 0.9 > 0.6 > card.metrics["test: commonest class"]["accuracy"]
    assert found["cross_entropy"] < 0.5 * shares["cross_entropy"] == pytest.approx(0.5 * np.log(2.0))
    measured = measure(again, two(folder), "test")
    assert found == measured.numbers and np.sum(measured.scores.positive) == 8
    images = two(folder).source.part("test", 0, 16)["image"]
    np.testing.assert_allclose(again(images), model(images), rtol=1e-5)


@pytest.mark.parametrize(("tune", "moves"), [("head", ()), ("last", ("backbone.trunk.blocks.1",)),
                                             ("all", ("backbone.trunk",))])
def test_only_what_is_tuned_moves(tune, moves, learned, folder, tmp_path):
    before = tensors_of(learned[0])
    model, _ = finetune(learned[0], two(folder), tmp_path / "run", tune=tune, last=1, epochs=1, **SETTINGS)
    after = tensors_of(model)
    for name, value in before.items():
        learns = name.startswith(("head.", *moves))
        moved = np.max(np.abs(after[name] - value))  # of the mean over updates, which is rounded
        assert moved > 1e-4 if learns else moved < 1e-6 * (1.0 + np.max(np.abs(value))), name
    assert all((tensors_of(learned[0])[name] == value).all() for name, value in before.items())  # it is not changed


def test_rates_fall_from_the_head_to_the_image(learned, folder):
    task = CutoutTask(learned[0].config, two(folder), learned[0], tuning=Tuning("all", decay=0.5))
    config = TrainConfig(steps=4, warmup=0)
    _, state = start_of(task, config, tuned(optimiser(config), task))
    plain, own = optimiser(config), tuned(optimiser(config), task)
    slopes = jax.tree.map(jnp.ones_like, state.params)
    moved = jax.tree.map(lambda a, b: float(jnp.max(jnp.abs(a / b))), own.update(slopes, own.init(state.params),
                         state.params)[0], plain.update(slopes, plain.init(state.params), state.params)[0])
    found = nnx.to_pure_dict(moved)
    assert found["head"]["out"]["kernel"] == 1.0
    trunk = found["backbone"]["trunk"]
    assert [trunk["blocks"][k]["convs"][0]["kernel"] for k in range(2)] == [0.25, 0.5]
    assert trunk["stem"]["kernel"] == 0.125


def test_held_batch_norms_keep_their_statistics(folder, tmp_path):
    data = two(folder)
    net = tiny(data, norm="batch")
    before = tensors_of(net)
    model, _ = finetune(net, data, tmp_path / "run", tune="last", last=1, epochs=1, **SETTINGS)
    after = tensors_of(model)
    same = {name for name in before if ".mean" in name and (before[name] == after[name]).all()}
    assert same == {name for name in before if ".mean" in name and "blocks.1." not in name}


def test_a_head_of_another_size_is_refused_unless_a_new_one_is_asked_for(learned, folder):
    three = two(folder, target="kind", classes=("0", "1", "2"))
    with pytest.raises(ValueError, match='head: the network tells 0, 1, the labels tell 0, 1, 2; expected the same '
                                         'in the same order, or head = "new"'):
        begin(learned[0], three)
    net = begin(learned[0], three, head="new")
    assert net.head.out.kernel.shape == (net.backbone.width, 3)
    for name, value in tensors_of(net.backbone).items():
        np.testing.assert_array_equal(value, tensors_of(learned[0].backbone)[name])
    features = net.features(three.source.rows(three.source.split.train)["image"])
    assert float(jnp.max(jnp.abs(features.mean(0)))) < 1.0  # centred, whatever the backbone makes of images


def test_the_finder_of_a_chain_keeps_its_head_for_its_own_classes(folder):
    chain = make(Chain, CHAIN)
    data = two(folder)
    net = begin(chain, data)
    images = jnp.asarray(data.source.part("test", 0, 4)["image"])
    seen = jnp.arcsinh(images / jnp.asarray(net.config.sigma))
    np.testing.assert_allclose(net(images), chain.through(seen).logits, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="head: the network tells no lens from lens, the labels tell 0, 1, 2"):
        begin(chain, two(folder, target="kind"))


BASES = [(Chain, CHAIN), (Stage, dataclasses.replace(CHAIN, stage="measure")),
         (Separator, GGSLConfig(survey="des", channels=(8, 8))),
         (PosteriorNet, PosteriorNetConfig(("a",), (SIDE, SIDE), ("g", "r"), (0.1, 0.1), 0.2, width=4, blocks=(1,),
                                           layers=1, hidden=4))]


@pytest.mark.parametrize(("kind", "config"), BASES, ids=lambda value: getattr(value, "__name__", ""))
def test_networks_of_the_zoo_are_backbones(kind, config):
    """Features are finite, of the width that is said, the same from saved weights, and every part is there."""
    base, made = backbone_of(make(kind, config))
    bands = seen_by(base)[0]
    seen = jnp.asarray(np.random.default_rng(5).normal(size=(2, SIDE, SIDE, bands)), jnp.float32)
    found = made(seen)
    assert found.shape == (2, made.width) and found.dtype == jnp.float32 and bool(jnp.isfinite(found).all())
    other = nnx.eval_shape(lambda: backbone(base, rngs=nnx.Rngs(0)))
    assert {n: v.shape for n, v in tensors_of(made).items()} == {n: v.shape for n, v in _shapes(other).items()}
    names = set(tensors_of(made))
    for part in (name for names_of_part in made.parts for name in names_of_part):
        assert any(name.startswith(f"{part}.") for name in names), part


def _shapes(model):
    return {weight_name(path): leaf for path, leaf in
            jax.tree_util.tree_flatten_with_path(nnx.state(model, KEPT))[0]}


def test_what_makes_no_features_is_refused():
    with pytest.raises(ValueError, match="a network of stage 'denoise' gives images"):
        backbone_of(make(Stage, dataclasses.replace(CHAIN, stage="denoise")))
    with pytest.raises(ValueError, match="got a Linear, expected a"):
        backbone_of(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))


def test_numbers_are_learned_in_their_own_units(folder, tmp_path):
    data = two(folder, values=["flux"], balance=False)
    model, card = finetune("", data, tmp_path / "run", epochs=10, learning_rate=0.01, **SETTINGS)
    found = card.metrics
    assert found["test"]["scatter flux"] < 0.5 * found["test: always the mean"]["scatter flux"]
    assert model.config.values == ("flux",)


def test_class_weights_and_balance_have_a_mean_of_one(folder):
    data = two(folder, target="kind", classes=("0", "1", "2"))
    net = tiny(data)
    task = CutoutTask(net.config, data, net, weights=(1.0, 2.0, 4.0))
    shown = np.bincount(data.targets("label")) @ np.asarray(task._scaled)
    assert shown == pytest.approx(len(data.source.split.train)) and task._scaled[2] == 4.0 * task._scaled[0]
    with pytest.raises(ValueError, match="class_weights: got"):
        CutoutTask(net.config, data, net, weights=(1.0, 2.0))


def test_epochs_are_steps_with_a_validation_after_each():
    config = in_epochs(TrainConfig(batch_size=32), 5, 1600)
    assert (config.steps, config.chunk, config.validate_every, config.warmup) == (250, 50, 50, 25)
    large = in_epochs(TrainConfig(batch_size=32), 2, 10_000)
    assert large.steps == 625 and large.validate_every == 7 * large.chunk and abs(large.validate_every - 312) < 7
    with pytest.raises(ValueError, match="epochs: got 0"):
        in_epochs(TrainConfig(), 0, 100)


def written(folder, tmp_path, *entries, **system):
    entries = entries or ({"images": [str(folder / "two.h5")], "shares": [0.5, 0.25, 0.25]},)
    path = tmp_path / "cutouts.toml"
    path.write_text(write_toml({"system": {"name": "cutouts", "epochs": 1, "data": list(entries), **system},
                                "train": SETTINGS, "run": {"n_devices": 1}}))
    return path


def giga(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def test_the_command_learns_resumes_and_is_measured(folder, tmp_path):
    config = written(folder, tmp_path)
    result = giga("train", config, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    _, card = load(tmp_path / "run" / "model")
    assert card.recipe["system"]["data"][0]["images"] == [str(folder / "two.h5")]
    more = giga("train", config, "--out", tmp_path / "run", "--resume", "--set", "system.epochs=2")
    assert more.exit_code == 0, more.output
    found = giga("evaluate", tmp_path / "run" / "model", "--card", "--page", tmp_path / "page.html")
    assert found.exit_code == 0, found.output
    assert "flux alone" in (tmp_path / "page.html").read_text()
    assert load(tmp_path / "run" / "model")[1].metrics["test"]["images"] == 16


@pytest.mark.parametrize(("entries", "system", "message"), [
    (({"share": 0.6}, {"share": 0.6}), {}, "system.data: share: got 0.6, 0.6, of sum 1.2"),
    (({"target": "color"},), {}, "two.h5: color: no such column; expected one of"),
    (({"target": "kind"},), {"start": "modular-lsst"}, "bands: got 2"),
    (({},), {"start": "modular-lst"}, "unknown model 'modular-lst'"),
    (({},), {"tune": "tail"}, "system.tune: got 'tail'; expected one of 'head', 'last', 'all'"),
    (({"images": ["nothing.h5"]},), {}, "nothing.h5: images: no such file"),
    (({"share": 0.3}, {"share": 0.7}), {}, "share: 0.3 of the 16 stored images of a batch is 4.8"),
], ids=["share", "column", "bands", "start", "tune", "images", "whole"])
def test_the_command_says_what_is_wrong(entries, system, message, folder, tmp_path):
    whole = [{"images": [str(folder / "two.h5")], "shares": [0.5, 0.25, 0.25], **entry} for entry in entries]
    result = giga("train", written(folder, tmp_path, *whole, **system), "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert message in " ".join(result.output.split()), result.output
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_the_configurations_of_the_page_are_valid(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "cutouts.md").read_text()
    whole, part, _ = re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for text in (whole, '[system]\nname = "cutouts"\n' + part):
        (tmp_path / "page.toml").write_text(text)
        assert load_training(tmp_path / "page.toml", {"cutouts": CutoutsConfig}).system.data[0].images
