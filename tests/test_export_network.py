"""Networks for others: a program that JAX calls without giga, and a folder as hubs have them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from typer.testing import CliRunner

from giga.cli import app
from giga.io.tables import to_table
from giga.jobs import program
from giga.models import load
from giga.models.networks.chain import ModularConfig, Stage
from giga.models.networks.separator import GGSLConfig, Separator, separate
from giga.models.networks.unet import UNet, UNetConfig
from giga.models.zoo import Card, save_weights
from giga.models.zoo.weights import tensors_of

CONFIG = GGSLConfig(survey="hst-acs-f814w", channels=(2, 4))


def card(network, config) -> Card:
    return Card(network=network, config=to_table(config), recipe={}, seed=0, git_hash="0", command="giga train x.toml",
                metrics={"mock": {"accuracy": 0.9}, "mock: threshold": {"accuracy": 0.5}}, limits=("a toy",), flops=1.0,
                images_per_s={})


@pytest.fixture
def model(tmp_path):
    network = Separator(CONFIG, rngs=nnx.Rngs(0))
    save_weights(network, tmp_path / "toy", card("Separator", CONFIG))
    return network


def run(*words: object):
    return CliRunner().invoke(app, ["export", *map(str, words)])


def test_a_program_gives_what_the_network_gives(model, tmp_path, rng):
    pytest.importorskip("flatbuffers")
    out = tmp_path / "toy.stablehlo"
    result = run(tmp_path / "toy", "--to", "stablehlo", "--out", out)
    assert result.exit_code == 0, result.output
    about = json.loads((tmp_path / "toy.stablehlo.json").read_text())
    assert about["inputs"]["image"] == ["n", 100, 100, 1] and about["outputs"]["lens"] == "(n,100,100,1)"
    assert 0.0 <= about["difference"] <= program.TOLERANCE and about["platforms"] == ["cpu", "cuda", "tpu"]
    called = jax.export.deserialize(bytearray(out.read_bytes())).call
    rms = np.asarray(CONFIG.observed.background_rms, np.float32)
    image = (rms * rng.normal(size=(2, *CONFIG.observed.shape, 1))).astype(np.float32)
    found, wanted = called(image, np.tile(rms, (2, 1))), separate(model, jnp.asarray(image), jnp.asarray(rms))
    for name in ("lens", "source", "noise"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-5 * np.abs(image).max())
    again = run(tmp_path / "toy", "--to", "stablehlo", "--out", out)
    assert again.exit_code == 2 and "is there already" in again.stderr


def test_a_program_that_differs_is_not_written(model, tmp_path, monkeypatch):
    pytest.importorskip("flatbuffers")
    monkeypatch.setattr(program, "difference", lambda *arguments: 0.1)
    monkeypatch.setattr(program, "PLATFORMS", ("cpu",))
    result = run(tmp_path / "toy", "--to", "stablehlo", "--out", tmp_path / "p", "--platform", "cpu")
    assert result.exit_code == 2 and not (tmp_path / "p").exists()
    assert "differs from the network by 0.1 of its outputs; expected at most 1e-05" in " ".join(result.stderr.split())


def test_a_difference_is_seen(model):
    known = program.signature(model)

    def other(image, sky):
        return {name: 1.001 * part for name, part in known.function(image, sky).items()}

    assert program.difference(known, known.function) == 0.0
    assert program.difference(known, other) == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize(("stage", "outputs"), [("find", {"lens"}), ("measure", {"theta_E", "q", "phi"}),
                                                ("denoise", {"denoised"}), ("deblend", {"source"})])
def test_each_stage_of_a_chain_is_a_function_of_images(stage, outputs):
    model = Stage(ModularConfig(stage=stage, pixels=18, features=4, blocks=1, width=4), rngs=nnx.Rngs(0))
    known = program.signature(model)
    found = jax.eval_shape(known.function, jax.ShapeDtypeStruct((2, 18, 18, 3), np.float32))
    assert set(found) == outputs and all(value.shape[0] == 2 for value in found.values())


def test_a_folder_for_a_hub_comes_back(model, tmp_path):
    result = run(tmp_path / "toy", "--to", "hub", "--out", tmp_path / "hub")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "hub").iterdir()) == ["README.md", "config.json",
                                                                          "model.safetensors"]
    found, known = load(tmp_path / "hub")
    expected = tensors_of(model)
    assert all(np.array_equal(tensor, expected[name]) for name, tensor in tensors_of(found).items())
    assert known.metrics["mock: threshold"] == {"accuracy": 0.5}
    text = (tmp_path / "hub" / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: giga") and "- a toy" in text
    assert "| | network | threshold |" in text and "| accuracy | 0.9 | 0.5 |" in text
    again = run(tmp_path / "toy", "--to", "hub", "--out", tmp_path / "hub")
    assert again.exit_code == 2 and "is there already; expected a folder that is new or empty" in again.stderr


@pytest.mark.parametrize(("words", "message"), [
    (("nothing-like-it", "--to", "hub"), "unknown model 'nothing-like-it'; the zoo has"),
    (("weights.pt", "--to", "hub"), "weights as .pt, which is never read: expected safetensors"),
    (("toy", "--to", "stablehlo", "--platform", "gpu"), "--platform: got 'gpu'; expected one of cpu, cuda, tpu"),
    (("toy", "--to", "onnx"), "'onnx' is not one of")])
def test_what_is_wrong_is_named(tmp_path, words, message):
    result = run(*words, "--out", tmp_path / "out")
    assert result.exit_code == 2 and not (tmp_path / "out").exists()
    assert message in " ".join(result.stderr.split()).replace("│ ", "").replace(" │", "")


def test_other_networks_have_no_program():
    with pytest.raises(Exception, match="a UNet; expected a separator"):
        program.signature(UNet(UNetConfig.small(1, channels=(2, 4)), rngs=nnx.Rngs(0)))
