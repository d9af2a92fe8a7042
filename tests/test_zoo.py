"""The zoo: weights come back to the bit with their card, and what does not fit is refused."""

import dataclasses
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from _toy import SIZE, Toy, ToyConfig
from flax import nnx

from giga.cli.evaluate import system_of
from giga.models import zoo
from giga.models.zoo import Card, ZooError, from_config, load, save_weights
from giga.models.zoo.weights import pack_weights, sha256, tensors_of

NETWORKS = {"Toy": from_config(Toy, ToyConfig)}
CONFIG = ToyConfig(channels=6)
CARD = Card(network="Toy", config=dataclasses.asdict(CONFIG), recipe={"train": {"steps": 3}}, seed=4, git_hash="0a1b",
            command="giga train toy.toml", metrics={"test": {"mse": 0.25}}, limits=("one spot only",), flops=1e3,
            images_per_s={"cpu": 5.0}, prevalence=0.5, validation={"fixed": "ff"})


@pytest.fixture
def model():
    model = Toy(CONFIG, rngs=nnx.Rngs(7))
    model.train()
    model(jnp.linspace(0.0, 1.0, 3 * SIZE**2).reshape(3, SIZE, SIZE, 1))  # so that there are batch statistics
    return model


@pytest.fixture
def saved(tmp_path, model):
    save_weights(model, tmp_path / "toy-1.0", CARD)
    return tmp_path / "toy-1.0"


def write_card(saved, **changes):
    path = saved.with_name("toy-1.0.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def weights_of(saved):
    return saved.with_name("toy-1.0.safetensors")


@pytest.mark.parametrize("suffix", ["", ".safetensors", ".json"])
def test_round_trip_by_path(saved, model, suffix):
    found, card = load(saved.with_name("toy-1.0" + suffix), NETWORKS)
    expected = tensors_of(model)
    assert expected["norm.mean"].any() and set(tensors_of(found)) == set(expected)
    for name, tensor in tensors_of(found).items():
        assert tensor.dtype == np.float32 and tensor.tobytes() == expected[name].tobytes()
    written = dataclasses.replace(CARD, parameters=9 * 6 + 2 * 6 + 7, sha256=card.sha256)
    assert card.dump() == written.dump()
    assert len(card.sha256) == 64


def test_a_file_has_the_same_bytes_at_every_call(model):
    header = {name: name * 3 for name in ("weights", "a card", "network", "config")}
    assert len({pack_weights(model, header) for _ in range(20)}) == 1
    content = pack_weights(model, header)
    assert all(np.array_equal(values, tensors_of(model)[name])
               for name, values in safetensors.numpy.load(content).items())


def test_the_network_is_in_eval_mode(saved, model):
    found, _ = load(saved, NETWORKS)
    model.eval()
    x = jnp.ones((2, SIZE, SIZE, 1))
    np.testing.assert_array_equal(found(x), model(x))
    np.testing.assert_array_equal(found(x[:1]), found(x)[:1])


def test_by_name(saved):
    assert zoo.names(saved.parent) == ("toy-1.0",)
    assert load("toy-1.0", NETWORKS, saved.parent)[1].seed == 4
    with pytest.raises(ZooError, match="unknown model 'toi'; the zoo has toy-1.0$"):
        load("toi", NETWORKS, saved.parent)


def test_weights_of_another_architecture(saved, model):
    save_weights(model, saved, dataclasses.replace(CARD, config=CARD.config | {"channels": 5}))
    with pytest.raises(ZooError, match=r"toy-1.0.safetensors: weights of another architecture: conv.kernel: "
                                       r"the file has float32 \(3, 3, 1, 6\), the network float32 \(3, 3, 1, 5\)"):
        load(saved, NETWORKS)
    save_weights(model, saved, dataclasses.replace(CARD, config=CARD.config | {"norm": False}))
    with pytest.raises(ZooError, match=r"conv.bias: the file has no such tensor, the network float32 \(6,\)"):
        load(saved, NETWORKS)


@pytest.mark.parametrize("size", [0, 5, 100, -1])
def test_a_truncated_file(saved, size):
    content = weights_of(saved).read_bytes()
    weights_of(saved).write_bytes(content[:size])
    with pytest.raises(ZooError, match="toy-1.0.safetensors: truncated or no safetensors file"):
        load(saved, NETWORKS)


def test_weights_that_are_not_those_of_the_card(saved):
    save_weights(Toy(CONFIG, rngs=nnx.Rngs(8)), saved.with_name("other"), CARD)
    os.replace(saved.with_name("other.safetensors"), weights_of(saved))
    with pytest.raises(ZooError, match="not the weights of toy-1.0.json: SHA-256 [0-9a-f]{12}, the card has"):
        load(saved, NETWORKS)


def test_one_without_the_other(saved, model):
    weights_of(saved).write_bytes(pack_weights(model))  # whose header says nothing
    card = saved.with_name("toy-1.0.json")
    text = card.read_text()
    card.unlink()
    for place in (saved, "toy-1.0"):
        with pytest.raises(ZooError, match=r"toy-1.0.json: missing, though toy-1.0.safetensors is there"):
            load(place, NETWORKS, saved.parent)
    card.write_text(text)
    weights_of(saved).unlink()
    with pytest.raises(ZooError, match=r"toy-1.0.safetensors: missing, though toy-1.0.json is there"):
        load("toy-1.0", NETWORKS, saved.parent)
    card.unlink()
    with pytest.raises(ZooError, match="toy-1.0.safetensors: no such weights"):
        load(saved, NETWORKS)


def test_a_file_alone_is_built_from_its_header(saved, model):
    saved.with_name("toy-1.0.json").unlink()
    found, card = load(weights_of(saved), NETWORKS)
    np.testing.assert_array_equal(found.conv.kernel[...], model.conv.kernel[...])
    assert card.config["channels"] == 6 and "card is missing" in card.limits[0] and card.sha256 == sha256(
        weights_of(saved).read_bytes())
    for header, message in (({"network": "Toy", "config": "{"}, "header: config: got '{', expected JSON"),
                            ({"network": "Toy", "config": "3"}, "header: config: got 3, expected a JSON object"),
                            ({"network": "Tyo", "config": "{}"}, "network: got 'Tyo', expected one of Toy"),
                            ({"network": "Toy", "config": '{"chanels": 6}'}, "config: chanels: unknown field")):
        weights_of(saved).write_bytes(pack_weights(model, header))
        with pytest.raises(ZooError, match=f"toy-1.0.safetensors: .*{message}"):
            load(weights_of(saved), NETWORKS)


@pytest.mark.parametrize(("weights", "note"), [
    ("model.safetensors", "config.json"), ("model.safetensors", "model.json"), ("own.safetensors", "config.json")])
def test_a_folder_as_of_a_run_or_a_hub(saved, model, weights, note):
    folder = saved.parent / "hub"
    folder.mkdir()
    (folder / weights).write_bytes(weights_of(saved).read_bytes())
    (folder / note).write_text(saved.with_name("toy-1.0.json").read_text())
    (folder / "README.md").write_text("a card for people")
    for place in (folder, str(folder)):
        found, card = load(place, NETWORKS)
        assert card.seed == 4 and found.config.channels == 6


def test_folders_that_cannot_be_loaded(saved):
    folder = saved.parent / "hub"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(ZooError, match="hub: no weights, expected model.safetensors; pytorch_model.bin are never read"):
        load(folder, NETWORKS)
    with pytest.raises(ZooError, match="weights as .bin, which is never read: expected safetensors"):
        load(folder / "pytorch_model.bin", NETWORKS)
    for name in ("model-00001-of-00002", "model-00002-of-00002"):
        (folder / f"{name}.safetensors").write_bytes(weights_of(saved).read_bytes())
    with pytest.raises(ZooError, match=r"hub: got 2 files of weights \(model-00001-of-00002.safetensors, "):
        load(folder, NETWORKS)
    (folder / "model.safetensors").write_bytes(weights_of(saved).read_bytes())
    (folder / "config.json").write_text('{"architectures": ["ResNetForImageClassification"]}')
    with pytest.raises(ZooError, match="config.json: architectures: unknown field, expected one of network, config"):
        load(folder, NETWORKS)


@pytest.mark.parametrize(("changes", "message"), [
    ({"network": "Tyo"}, "network: got 'Tyo', expected one of Toy"),
    ({"config": {"chanels": 6}}, "card: config: chanels: unknown field, expected one of channels, norm, sides"),
    ({"config": {"channels": "six"}}, "card: config: channels: got 'six', expected int"),
    ({"more": 1}, "more: unknown field"),
    ({"limits": 3}, "limits: got 3, expected tuple"),
    ({"seed": True}, "seed: got True, expected int"),
    ({"metrics": {"test": 3}}, "metrics.test: got 3, expected dict"),
    ({"metrics": {"test": {"mse": None}}}, "metrics.test.mse: got None, expected float"),
    ({"images_per_s": {"cpu": "x"}}, "images_per_s.cpu: got 'x', expected float"),
])
def test_a_card_that_cannot_be(saved, changes, message):
    write_card(saved, **changes)
    with pytest.raises(ZooError, match=f"toy-1.0.json: {message}"):
        load(saved, NETWORKS)


def test_a_damaged_card(saved):
    card = saved.with_name("toy-1.0.json")
    card.write_text(card.read_text()[:50])
    with pytest.raises(ZooError, match="toy-1.0.json: cannot be read as JSON"):
        load(saved, NETWORKS)
    card.write_text("{}")
    with pytest.raises(ZooError, match="toy-1.0.json: network: missing"):
        load(saved, NETWORKS)


def test_a_number_that_is_none_stays_off_the_card():
    with pytest.raises(ZooError, match="card: test.mse: got nan, expected a finite number"):
        dataclasses.replace(CARD, metrics={"test": {"mse": float("nan")}})


def test_a_save_that_fails_leaves_the_old_files(saved, monkeypatch):
    before = {path.name: path.read_bytes() for path in saved.parent.iterdir()}

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="disk full"):
        save_weights(Toy(CONFIG, rngs=nnx.Rngs(8)), saved, CARD)
    assert {path.name: path.read_bytes() for path in saved.parent.iterdir()} == before


def test_the_zoo_is_small_and_whole():
    files = [path for path in zoo.FOLDER.iterdir() if path.suffix in (".safetensors", ".json")]
    assert sum(path.stat().st_size for path in files) <= zoo.LARGEST
    assert {path.stem for path in files if path.suffix == ".json"} == set(zoo.names())


@pytest.mark.parametrize("name", zoo.names())
def test_every_model_of_the_zoo_loads(name):
    _, card = load(name)
    assert card.metrics and card.command and card.limits
    system, config, noise = system_of(card, name)
    assert not noise  # that of the survey's camera
    assert set(system.card(config)["limits"]) <= set(card.limits)  # what the code says of such a training today
