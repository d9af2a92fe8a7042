"""`giga train`: from a configuration to weights with a card; what is wrong is named."""

import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest
from _toy import CONFIG, Toy, ToyConfig, ToyTask, toy_evaluate
from rich.console import Console
from typer.testing import CliRunner

from giga.cli import app
from giga.cli.train import SYSTEMS
from giga.io.configuration.training import load_training
from giga.io.tables import to_table, write_toml
from giga.jobs.systems import System
from giga.models.zoo import from_config, load
from giga.show.terminal import TrainingProgress, describe_row
from giga.simulate.surveys.noise import CutoutNoise, Noise
from giga.simulate.surveys.presets import SURVEYS

TOY = System(ToyConfig, ToyTask, lambda config: {"network": "Toy", "config": dataclasses.asdict(config), "flops": 1.0,
                                                 "limits": ("a toy",)}, toy_evaluate)
TRAIN = dataclasses.replace(CONFIG, steps=8, chunk=4, validate_every=4)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(SYSTEMS, "toy", TOY)


@pytest.fixture
def config(tmp_path) -> Path:
    path = tmp_path / "toy.toml"
    path.write_text(write_toml({"system": {"name": "toy", "channels": 3}, "train": to_table(TRAIN),
                                "run": {"n_devices": 1}}))
    return path


def run(*words: object):
    return CliRunner().invoke(app, ["train", *map(str, words)])


def test_from_a_configuration_to_weights(config, tmp_path):
    out = tmp_path / "run"
    result = run(config, "--out", out)
    assert result.exit_code == 0, result.output
    assert "step 8: loss" in result.output and "validation loss fixed" in result.output
    model, card = load(out / "model", {"Toy": from_config(Toy, ToyConfig)})
    assert model.config.channels == 3 and card.recipe["system"]["channels"] == 3 and card.recipe["train"]["steps"] == 8
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    best = min((row for row in rows if row["kind"] == "validation"), key=lambda row: row["fixed_loss"])
    assert card.metrics["validation, fixed"]["loss"] == best["fixed_loss"]
    assert card.metrics["validation, shifted"]["bias"] == best["shifted_bias"]
    again = load_training(out / "config.toml", {"toy": ToyConfig})
    assert again.train == TRAIN and again.system == ToyConfig(channels=3)
    before = (out / "model.safetensors").read_bytes()
    refused = run(config, "--out", out)
    assert refused.exit_code == 2 and "already holds a run" in refused.stderr
    other = run(config, "--out", out, "--resume", "--set", "train.learning_rate=0.5")
    assert other.exit_code == 2 and "another configuration" in " ".join(other.stderr.split())
    assert "train.learning_rate: " in other.stderr and "-> 0.5" in other.stderr
    assert card.command == f"giga train {config} --out {out}"
    assert run(out / "config.toml", "--out", out, "--resume").exit_code == 0
    assert (out / "model.safetensors").read_bytes() == before


def test_a_configuration_inside_the_folder_is_kept(config, tmp_path):
    """A file that the user wrote is no run, and is not written over; one that a run has written is renewed."""
    out = tmp_path / "run"
    out.mkdir()
    own = out / "config.toml"
    text = "# mine\n" + config.read_text()
    own.write_text(text)
    assert run(own, "--out", out, "--set", "train.steps=4").exit_code == 0
    assert own.read_text() == text and (out / "model.json").is_file()
    assert "already holds a run (metrics.jsonl, " in " ".join(run(own, "--out", out).stderr.split())
    assert run(own, "--out", out, "--overwrite", "--set", "train.steps=4").exit_code == 0
    assert own.read_text() == text
    assert run(config, "--out", out, "--overwrite", "--set", "train.steps=4").exit_code == 0
    written = own.read_text()
    assert written != text and "steps = 4" in written
    assert run(own, "--out", out, "--resume", "--set", "train.steps=8").exit_code == 0
    assert own.read_text() == written.replace("steps = 4", "steps = 8")


def test_ctrl_c_says_what_is_saved(config, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt("the state after step 4 is saved as step-000000004")

    monkeypatch.setattr("giga.cli.train.train", interrupted)
    result = run(config, "--out", tmp_path / "run")
    assert result.exit_code == 130
    assert "interrupted: the state after step 4 is saved as step-000000004; go on" in " ".join(result.stderr.split())


def test_reuse_is_declared(config, tmp_path):
    result = run(config, "--out", tmp_path / "run", "--set", "train.reuse=2", "--set", "train.measure_rates=true")
    assert result.exit_code == 0 and "2 images of each scene" in result.output
    card = json.loads((tmp_path / "run" / "model.json").read_text())
    assert "--set train.reuse=2 --set train.measure_rates=true --out" in card["command"]
    assert card["recipe"]["train"]["reuse"] == 2 and "each simulated scene was seen 2 times" in card["limits"][-1]
    start, rates = (json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[:2])
    assert start["config"]["reuse"] == rates["reuse"] == 2


@pytest.mark.parametrize(("change", "message"), [
    ("train.reuse=3", "toy.toml: train.reuse: got 3, expected a divisor of chunk, 4"),
    ("system.name=tyo", "toy.toml: system.name: got 'tyo'; expected one of"),
    ("system.chanels=3", "toy.toml: system.chanels: unknown field; expected one of 'channels'"),
    ("train.stesp=3", "toy.toml: train.stesp: unknown field"),
    ("train.steps=0", "toy.toml: train.steps: got 0, expected a number above 0"),
    ("train.clip=strong", "toy.toml: train.clip: got 'strong'; expected a number"),
    ("tarin.steps=3", "toy.toml: tarin: unknown section; expected one of 'system', 'train', 'run', 'survey'"),
    ("run.devices=tpu", "toy.toml: run.devices: got 'tpu'; expected one of"),
])
def test_what_is_wrong_is_named(config, tmp_path, change, message):
    result = run(config, "--out", tmp_path / "run", "--set", change)
    assert result.exit_code == 2 and not (tmp_path / "run").exists()
    assert message in " ".join(result.stderr.split())


def test_noise_is_said_as_in_a_simulation_and_evaluated_as_trained(config, tmp_path, monkeypatch, rng):
    """Section [noise] reaches the task, the card, and what `giga evaluate` measures with."""
    survey = SURVEYS["lsst"].select("g").replace(shape=(8, 8))
    given: list[Noise | None] = []

    def task(config, noise=None):
        given.append(noise)
        return ToyTask(config)

    def evaluate(config, model, images, seed, noise=None):
        given.append(noise)
        return toy_evaluate(config, model, images, seed)

    monkeypatch.setitem(SYSTEMS, "toy", dataclasses.replace(TOY, task=task, evaluate=evaluate,
                                                            survey=lambda config: survey))
    monkeypatch.setattr("giga.cli.evaluate.load", lambda name: load(name, {"Toy": from_config(Toy, ToyConfig)}))
    np.save(tmp_path / "sky.npy", rng.normal(0.0, 0.3, (5, 8, 8, 1)))
    plain = config.read_text()
    config.write_text(plain + '\n[noise]\nkind = "cutouts"\ncutouts = "sky.npy"\n')
    out = tmp_path / "run"
    result = run(config, "--out", out, "--set", "train.steps=4")
    assert result.exit_code == 0, result.output
    card = json.loads((out / "model.json").read_text())
    assert card["recipe"]["noise"]["cutouts"] == str(tmp_path / "sky.npy") and "real sky" in card["limits"][-1]
    assert load_training(out / "config.toml", {"toy": ToyConfig}).noise.kind == "cutouts"
    measured = CliRunner().invoke(app, ["evaluate", str(out / "model"), "--images", "4"])
    assert measured.exit_code == 0, measured.output
    assert [type(noise) for noise in given] == [CutoutNoise, CutoutNoise]
    np.testing.assert_array_equal(given[0].bank, given[1].bank)
    (tmp_path / "sky.npy").unlink()
    gone = CliRunner().invoke(app, ["evaluate", str(out / "model"), "--images", "4"])
    assert gone.exit_code == 2 and "sky.npy: noise.cutouts: no such file" in " ".join(gone.stderr.split())
    monkeypatch.setitem(SYSTEMS, "toy", TOY)
    np.save(tmp_path / "sky.npy", np.zeros((1, 8, 8, 1)))
    refused = run(config, "--out", tmp_path / "other")
    assert refused.exit_code == 2 and not (tmp_path / "other").exists()
    assert "toy.toml: noise: given for a system that has its noise from elsewhere" in " ".join(refused.stderr.split())


def test_a_catalogue_that_is_missing_names_its_field(config, tmp_path):
    config.write_text('[system]\nname = "modular"\ncatalogue = "lenses.txt"\n')
    result = run(config, "--out", tmp_path / "run")
    assert result.exit_code == 2 and not (tmp_path / "run").exists()
    expected = "toy.toml: system.catalogue: lenses.txt: no such file; expected a table of Collett"
    assert expected in " ".join(result.stderr.split())


@pytest.mark.parametrize(("weights", "message"), [
    ("", "denoise: stage 'joint' starts from trained weights, got none"),
    ('denoise = "nothere/model"', "denoise: nothere/model.safetensors: no such weights"),
    ('denoise = "posterior-gigalens80"', "denoise: posterior-gigalens80 is a PosteriorNet, expected a stage")])
def test_a_chain_without_its_stages_names_the_field(config, tmp_path, weights, message):
    config.write_text(f'[system]\nname = "modular"\nstage = "joint"\n{weights}\n')
    result = run(config, "--out", tmp_path / "run")
    assert result.exit_code == 2 and not (tmp_path / "run").exists()
    assert f"toy.toml: system: {message}" in " ".join(result.stderr.split())


def test_tensorboard_that_is_not_installed(config, tmp_path, monkeypatch):
    monkeypatch.setattr("giga.cli.train.find_spec", lambda name: None)
    result = run(config, "--out", tmp_path / "run", "--tensorboard")
    assert result.exit_code == 2 and not (tmp_path / "run").exists()
    assert "--tensorboard: tensorboardX is not installed; expected giga[tensorboard]" in " ".join(result.stderr.split())


def test_rows_are_spelt():
    chunk = {"kind": "train", "step": 4, "loss": 0.0123, "images_per_s": 512.3}
    assert describe_row(chunk) == "loss 0.0123, 512.3 images/s"
    rates = {"kind": "rates", "simulator": 1000.0, "network": 90.0, "joint": 81.0, "joint_over_network": 0.9}
    assert describe_row(rates | {"reuse": 1}) == "simulator 1000, network 90, both 81 images/s; both over network 0.90"
    assert describe_row(rates | {"reuse": 4}).endswith("both over network 0.90, 4 images of each scene")
    out = io.StringIO()
    with TrainingProgress(8, Console(file=out, width=200)) as report:
        report({"kind": "note", "step": 4, "text": "[4] damaged"})
    assert "step 4: note: [4] damaged" in out.getvalue()
