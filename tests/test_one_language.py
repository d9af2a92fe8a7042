"""One file to simulate and to train: the same images, the systems that learn from them, and what these need."""

import dataclasses
import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

from giga.cli import app
from giga.cli.evaluate import system_of
from giga.io.configuration.simulation import load_simulation
from giga.io.configuration.training import load_training
from giga.io.errors import InputError
from giga.io.results.simulation import read_shard
from giga.io.tables import Place, write_toml
from giga.jobs.cutouts import finder_task
from giga.jobs.systems import SYSTEMS
from giga.models.networks.chain import ModularConfig
from giga.models.networks.separator import GGSLConfig, Separator, scale_of
from giga.models.training.loop import Loop
from giga.models.training.train import TrainConfig
from giga.models.zoo import FOLDER, Seen, load, names
from giga.runtime.identity import LATER, identity_of
from giga.runtime.parallel import mesh
from giga.simulate.surveys.noise import CorrelatedNoise
from giga.simulate.surveys.own import OwnSurvey
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.surveys.psf_models import KernelPSF

SIDE, SEED = 16, 11
TIED = {"same_as": "values.lensed"}
PLAIN = {
    "survey": {"name": "lsst", "bands": ["g", "r"], "shape": [SIDE, SIDE], "pixel_scale": 0.3, "psf": {"fwhm": 0.7},
               "band": {"r": {"zero_point": 29.0}}},
    "values": {"lensed": {"dist": "Bernoulli", "probability": 0.5}}, "extras": {"lensed": TIED},
    "mass": [{"profile": "SIE", "theta_E": {"dist": "Uniform", "low": 0.7, "high": 1.5}, "e1": 0.1, "e2": 0.0}],
    "lens_light": [{"profile": "Sersic", "amp": [30.0, 60.0], "R_sersic": 0.4, "n_sersic": 2.0}],
    "source_light": [{"profile": "Sersic", "amp": {"relation": "present", "value": 90.0, "probability": TIED},
                      "R_sersic": 0.2, "n_sersic": 1.0, "center_x": 0.1}],
    "output": {"images": 8, "per_shard": 8, "seed": SEED, "turns": True},
    "train": {"steps": 2, "batch_size": 8, "chunk": 1, "warmup": 1, "validate_every": 2, "checkpoint_every": 1,
              "validation_size": 8, "measure_rates": False, "seed": SEED}, "run": {"n_devices": 1}}
SYSTEM = {"ggsl-unet": {"network": "small", "channels": [4, 4]}, "modular": {"stage": "find", "width": 4}, "finder": {}}


def write(folder, name, changes=None, **system):
    tables = {**PLAIN, "system": {"name": name, **SYSTEM[name], **system}, **(changes or {})}
    (folder / "own.toml").write_text(write_toml({key: value for key, value in tables.items() if value is not None}))
    return folder / "own.toml"


def giga(*words):
    return CliRunner().invoke(app, [*map(str, words)])


def made(file):
    """The task of a file, and its simulation."""
    settings = load_training(file, {name: system.config for name, system in SYSTEMS.items()})
    system = SYSTEMS[settings.name]
    simulation = system.simulation(settings.system, settings.simulated, Place(file, "", file.parent))
    return system.task(system.own(settings.system, simulation), simulation=simulation), simulation


@pytest.mark.parametrize("name", SYSTEM)
def test_training_sees_the_images_that_are_written(name, tmp_path):
    file = write(tmp_path, name)
    result = giga("simulate", file, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    shard = read_shard(tmp_path / "out" / "shard-00000.h5")
    task, simulation = made(file)
    key, device = jax.random.fold_in(jax.random.key(SEED), 0), mesh(jax.devices()[:1])
    batch = task.simulator.simulate(key, 8, device)
    for wanted, found in zip(jax.tree.leaves(shard), jax.tree.leaves(batch), strict=True):
        np.testing.assert_array_equal(wanted, found)
    # The first step as the loop has it: another program, whose float32 rounds otherwise.
    seen = Loop(task, TrainConfig(**PLAIN["train"]), None, None, device).examples(False)(SEED, 0, 0)
    np.testing.assert_array_equal(seen.get("label", shard.label), shard.label)
    if name == "finder":
        np.testing.assert_allclose(seen["image"], shard.image, rtol=1e-5, atol=1e-5)
    elif name == "ggsl-unet":
        scale = scale_of(task.config, shard.image, task.background_rms)
        np.testing.assert_allclose(seen["image"] * scale, shard.image, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(seen["source"] * scale, shard.parts["source"], rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_allclose(seen["source"], task.config.stretch(shard.parts["source"]), rtol=1e-5, atol=1e-5)
    assert simulation.survey.bands[1].zero_point == 29.0
    # The seed of the simulation is that of its files; that of the training is its own.
    assert task.identity == made(file)[0].identity != made(write(tmp_path, name, {"survey": {
        **PLAIN["survey"], "pixel_scale": 0.31}}))[0].identity
    assert jax.tree.structure(jax.eval_shape(task.shifted_example, key)) == jax.tree.structure(
        jax.eval_shape(task.example, key))
    assert isinstance(task.other.noise, CorrelatedNoise)


def test_a_file_is_trained_on_evaluated_and_gone_on_with(tmp_path):
    file = write(tmp_path, "ggsl-unet")
    result = giga("train", file, "--out", tmp_path / "run")
    assert result.exit_code == 0, result.output
    model, card = load(tmp_path / "run" / "model")
    assert isinstance(model, Separator) and model.config.observed.bands[1].zero_point == 29.0
    assert card.seen is not None and card.seen.pixel_scale == 0.3 and card.seen.fwhm[0] == (0.7, 0.7)
    assert card.recipe["survey"]["psf"] == {"fwhm": 0.7, "supersampling": 1, "row": 0, "x": 0.0, "y": 0.0}
    assert "its recipe has" in card.limits[0] and card.prevalence is None
    system, config, more = system_of(card, "it")
    assert config == model.config and more["simulation"].survey.pixel_scale == 0.3
    assert system.task(config, **more).identity == made(file)[0].identity
    found = system.evaluate(config, model, 8, 2, **more)
    assert set(found) == {"mock", "shifted"}
    survey = config.observed
    cube = np.random.default_rng(0).normal(size=(2, SIDE, SIDE)) * survey.background_rms[:, None, None]
    header = fits.Header({"BUNIT": "count/s", "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 0.0,
                          "CDELT1": -0.3 / 3600.0, "CDELT2": 0.3 / 3600.0})
    fits.writeto(tmp_path / "image.fits", cube.astype("f4"), header)
    told = giga("separate", tmp_path / "image.fits", "--model", tmp_path / "run" / "model", "--out",
                tmp_path / "s.fits")
    assert told.exit_code == 0, told.output
    again = giga("train", tmp_path / "run" / "config.toml", "--out", tmp_path / "run", "--resume",
                 "--set", "train.steps=3")
    assert again.exit_code == 0, again.output
    changed = giga("train", file, "--out", tmp_path / "run", "--resume", "--set", "survey.pixel_scale=0.31")
    assert changed.exit_code != 0 and "survey.pixel_scale: 0.3 -> 0.31" in " ".join(changed.output.split())


NEITHER = {"values": {}, "extras": {}, "source_light": [{"profile": "Sersic", "amp": 9.0, "R_sersic": 0.2,
                                                       "n_sersic": 1.0}]}


@pytest.mark.parametrize(("name", "changes", "system", "message"), [
    ("ggsl-unet", {"lens_light": None}, {}, "lens_light: none in the population; a separator needs [[lens_light]]"),
    ("modular", {"source_light": None, "values": {}, "extras": {}}, {}, "source_light: none in the population"),
    ("modular", NEITHER, {}, "extras.lensed: missing, so that every scene is a lens; stage 'find' needs"),
    ("modular", {}, {"stage": "measure"}, "extras.lensed: a draw, so that some scenes are no lenses"),
    ("modular", {"mass": [{"profile": "PointMass", "theta_E": 1.0}]}, {}, "mass.0.e1: no such value"),
    ("finder", NEITHER, {}, "extras.lensed: missing, so that every scene is a lens; a finder needs"),
    ("finder", {"survey": None}, {}, "survey: missing; expected [survey]"),
    ("finder", {}, {"values": ["mass.0.thet"]}, "mass.0.thet: no such value in the population"),
    ("finder", {}, {"classes": ["a", "b", "c"]}, "system.classes: got 3"),
    ("ggsl-unet", {}, {"survey": "kids"}, "system.survey: given beside the sections of a simulation"),
    ("modular", {}, {"pixels": 32}, "system.pixels: given beside the sections of a simulation"),
    ("ggsl-unet", {"survey": None}, {}, "survey: missing; expected [survey] with the name of a preset"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_population_lacks_is_said(name, changes, system, message, tmp_path):
    result = giga("train", write(tmp_path, name, changes, **system), "--out", tmp_path / "run")
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.output.split()), result.output
    assert not (tmp_path / "run").exists()


def test_networks_of_the_zoo_are_what_they_were():
    for name in names():
        model, card = load(name, folder=FOLDER)
        assert "own" not in card.config and getattr(model.config, "own", None) is None


@pytest.mark.parametrize("config", [GGSLConfig(), ModularConfig()])
def test_a_later_field_changes_no_identity_until_it_is_used(config):
    fields = [(field.name, field.type, field) for field in dataclasses.fields(config)
              if not field.metadata.get(LATER)]
    kind = type(config)
    before = dataclasses.make_dataclass(kind.__name__, [(name, hint, field.default) for name, hint, field in fields],
                                        frozen=True)
    before.__module__, before.__qualname__ = kind.__module__, kind.__qualname__
    assert identity_of(before()) == identity_of(config)
    own = OwnSurvey.of(config.observed)
    assert identity_of(dataclasses.replace(config, own=own)) != identity_of(config)


def test_a_survey_travels_as_numbers():
    survey = SURVEYS["kids"].replace(shape=(20, 20), pixel_scale=0.21)
    kernel = survey.bands[0].psf.psf(0.21).kernel
    survey = survey.replace(bands=(survey.bands[0].replace(psf=KernelPSF(np.asarray(kernel))), *survey.bands[1:]))
    own = OwnSurvey.of(survey)
    np.testing.assert_array_equal(own.survey.background_rms, survey.background_rms)
    np.testing.assert_array_equal(own.survey.zero_points, survey.zero_points)
    assert own.survey.bands[1].psf.width == pytest.approx(survey.bands[1].psf.width)
    assert own.fwhm[0] == pytest.approx(SURVEYS["kids"].bands[0].psf.width, rel=0.1)  # and the pixel
    with pytest.raises(ValueError, match="gain: got 1 numbers, expected one for each of the 4 bands"):
        dataclasses.replace(own, gain=(1.0,))
    assert json.loads(json.dumps(dataclasses.asdict(own)))["bands"] == ["u", "g", "r", "i"]


def test_nights_of_a_survey_of_ones_own(tmp_path):
    survey = {**PLAIN["survey"], "seeing": [0.8, 1.2], "beta": [2.5, 5.0]}
    task, simulation = made(write(tmp_path, "ggsl-unet", {"survey": survey}))
    assert simulation.simulator.optics.variants == 16 and task.config.seeing == (0.8, 1.2)
    seen = Seen.of(task.config)
    assert seen is not None and seen.fwhm[0] == pytest.approx((0.56, 0.84))
    for wrong, message in (({"beta": [2.5, 5.0]}, "survey.beta: given without seeing"),
                           ({"seeing": [1.2, 0.8]}, "survey.seeing: expected two factors")):
        with pytest.raises(InputError, match=message):
            load_simulation(write(tmp_path, "ggsl-unet", {"survey": {**PLAIN["survey"], **wrong}}))


def test_sections_of_a_training_do_not_trouble_a_simulation(tmp_path):
    file = write(tmp_path, "finder")
    assert load_simulation(file).identity == load_simulation(write(tmp_path, "modular")).identity
    task = finder_task(SYSTEMS["finder"].config(), load_simulation(file))
    assert task.config.classes == ("0", "1") and task.config.bands == ("g", "r")


def test_the_configuration_of_the_page_is_valid(tmp_path):
    page = (Path(__file__).parents[1] / "docs" / "training.md").read_text()
    text = next(one for one in re.findall(r"^```toml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE) if "[survey]" in one)
    (tmp_path / "lenses.toml").write_text(text)
    for name in SYSTEM:
        (tmp_path / "lenses.toml").write_text(text.replace("ggsl-unet", name, 1))
        load_training(tmp_path / "lenses.toml", {key: system.config for key, system in SYSTEMS.items()})
    task, simulation = made(tmp_path / "lenses.toml")
    assert task.config.bands == ("g", "r", "i") and simulation.survey.shape == (48, 48)
