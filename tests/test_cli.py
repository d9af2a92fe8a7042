"""The command line at its edges: one line, exit code 2, nothing left behind. The road itself is slow."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from _factory import FIT, write_image
from typer.testing import CliRunner

from giga.cli import app
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config
from giga.io.errors import InputError
from giga.io.results.folder import FILES, SEARCH_FILES, read_summary
from giga.jobs.demo import write_demo
from giga.jobs.job import prepare
from giga.runtime.checkpoint import CheckpointError

pytestmark = pytest.mark.quick

SHORT = ["n_screen=16", "n_starts=4", "n_finalists=4", "map_steps=3", "map_rounds=2", "vi_steps=2", "vi_samples=8",
         "n_chains=4", "n_block=10", "n_pilot=1", "min_iterations=10", "max_iterations=10",
         "n_bridge=64", "n_predictive=20"]
SETTINGS = [word for value in SHORT for word in ("--set", f"inference.{value}")]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_demo(tmp_path_factory.mktemp("data"))


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_version_is_the_package_s():
    result = run("--version")
    assert result.exit_code == 0 and result.output == f"giga {version('giga')}\n"


def refused(out: Path, *words: object) -> str:
    """The message of a command that must fail with exit code 2 and leave no folder."""
    result = run("fit", *words, "--out", out)
    assert result.exit_code == 2, result.output
    assert not out.exists()
    message = " ".join(result.stderr.split())
    assert message.startswith("error: ") and "Traceback" not in message
    return message


def changed(config: Path, old: str, new: str) -> Path:
    text = config.read_text()
    assert old in text
    path = config.with_name("changed.toml")
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize(("old", "new", "words"), [
    ('image = "data.fits"', 'image = "none.fits"', ["none.fits", "no such file"]),
    ('profile = "EPL"', 'profile = "EPPL"', ["mass.0", "EPPL", "nearest: 'EPL'"]),
    ('[run]', '[run]\ndevices = "gpu"', ["run.devices", "gpu was asked for"]),
    ('[run]', '[inference]\nvi_axis = "mass.0.gama"\n[run]', ["inference.vi_axis", "nearest: 'mass.0.gamma'"]),
    ('[run]', '[inference]\nmin_iterations = 50\nmax_iterations = 10\n[run]', ["min_iterations", "got 50"]),
    ('seed = 1', 'seed = 99999999999999999999', ["run.seed", "below 4294967296"]),
])
def test_bad_input_is_one_line(config, tmp_path, old, new, words):
    message = refused(tmp_path / "run", changed(config, old, new))
    for word in words:
        assert word in message


def test_a_scene_without_a_free_parameter(config, tmp_path):
    lines = [line.split("{")[0] + "0.5" if "{dist" in line else line for line in config.read_text().splitlines()]
    path = config.with_name("fixed.toml")
    path.write_text("\n".join(lines).replace("gamma = 0.5", "gamma = 2.0"))
    assert "no free parameter" in refused(tmp_path / "run", path)


def test_a_folder_that_holds_a_run(config, tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    result = run("fit", config, "--out", tmp_path)
    assert result.exit_code == 2
    assert "already holds a run" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "summary.json"]
    assert run("fit", config, "--out", tmp_path, "--resume", "--overwrite").exit_code == 2


@pytest.mark.parametrize(("value", "words"), [
    ("inference.n_chains=2", "inference.n_chains: expected at least 4"),
    ("inference.n_chains=two", "inference.n_chains: got 'two'; expected an integer"),
    ("inference.vi_samples=7", "inference.vi_samples: expected an even number"),
    ("inference.n_starts=0", "inference.n_starts: expected a positive integer, got 0"),
    ("inference.n_starts=100000", "inference: expected n_finalists <= n_starts <= n_screen"),
    ("inference.sampler=nuts", "inference.sampler: expected hmc or smc, got 'nuts'"),
    ("inference.smc_groups=2", "inference.smc_groups: expected at least 4"),
    ("inference.smc_particles=2", "inference.smc_particles: expected at least 8"),
    ("inference.target_accept=1.5", "inference.target_accept: expected a number between 0 and 1, got 1.5"),
    ("inference.vi_axis=mass.0.gama", "inference.vi_axis: got 'mass.0.gama'; expected one of"),
    ("likelihood.amplitudes=marginal", "likelihood.amplitude_sd: missing"),
    ("likelihood.amplitude_sd=-1.0", "likelihood.amplitude_sd: got -1.0; expected a number above 0"),
    ("source_light.0.supersampling=3", "source_light.0.supersampling: got 3; expected 1, or a multiple"),
    ("source_light.0.bands=['r']", "source_light.0.bands: got 'r'"),
    ("observation.0.psf_size=4", "observation.0.psf_size: only one of psf_fwhm and psf_size"),
    ("observation.0.supersampling=0", "observation.0.supersampling: got 0"),
    ("mass.0.theta_E={dist='Uniform',low=2.0,high=1.0}", "mass.0.theta_E: got low = 2, high = 1"),
])
def test_a_bad_value_from_the_command_line_is_one_line(config, tmp_path, value, words):
    message = refused(tmp_path / "run", config, "--set", value)
    assert words in message and message.count("inference.") <= 2


def test_only_commands_that_have_resume_advise_it(config, tmp_path, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("giga.cli.fit.run_fit", interrupted)
    monkeypatch.setattr("giga.cli.plot.redraw", interrupted)
    fit, plot = run("fit", config, "--out", tmp_path / "run"), run("plot", tmp_path)
    assert (fit.exit_code, plot.exit_code) == (130, 130)
    assert "interrupted" in fit.stderr and "--resume" in fit.stderr
    assert "interrupted" in plot.stderr and "--resume" not in plot.stderr


def test_a_place_that_cannot_be_written_to_is_named_by_its_option(config, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        result = run("fit", config, "--out", out)
        assert result.exit_code == 2
        assert ": --out: " in result.stderr and "a place that can be written to" in " ".join(result.stderr.split())
    assert (tmp_path / "file").read_text() == "mine"


def test_plot_without_a_run(tmp_path):
    result = run("plot", tmp_path / "none")
    assert result.exit_code == 2 and "none" in result.stderr


def test_a_run_that_was_begun_is_said_to_be_so(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(InputError, match="the fit was begun and has not ended; expected .*giga fit --resume"):
        read_summary(tmp_path / "summary.json")


def test_doctor_names_devices_and_the_way_to_a_gpu():
    result = run("doctor")
    assert result.exit_code == 0
    assert "device 0" in result.output and "float32" in result.output


def test_what_changed_under_a_checkpoint_is_named(config, tmp_path):
    settings = load_config(config, fit_config_type=FitConfig)
    prepare(settings).store(tmp_path)
    prepare(settings.with_overrides({"run.devices": "cpu"})).store(tmp_path)  # where it runs may change
    other = settings.with_overrides({"run.seed": 7, "mass.0.theta_E.scale": 0.5})
    with pytest.raises(CheckpointError, match=r"theta_E\.scale: 0\.25 -> 0\.5, run\.seed: 1 -> 7"):
        prepare(other).store(tmp_path)
    job = prepare(settings)
    job.observations[0].image[3, 4] += 1.0
    with pytest.raises(CheckpointError, match=r"observation\.0\.image: hash [0-9a-f]{12} -> hash"):
        job.store(tmp_path)
    (tmp_path / "checkpoint" / "identity.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read as JSON") as caught:
        prepare(settings).store(tmp_path)
    assert "->" not in str(caught.value)


@pytest.mark.slow
def test_the_road(tmp_path, monkeypatch):
    """Look at the search, lose the fit, go on; every file there; resume gives the same numbers, plot redraws."""
    config, out = tmp_path / "fit.toml", tmp_path / "run"
    config.write_text(FIT.replace("[[observation]]", '[[observation]]\nimage = "image.fits"'))
    write_image(tmp_path / "image.fits", 0)
    look = run("fit", config, "--out", out, *SETTINGS, "--stop-after", "map")
    assert look.exit_code == 0 and "the best fit of the search, without errors" in look.output, look.output
    assert {path.name for path in out.iterdir()} == {*SEARCH_FILES, "audit.png", "audit.json", "checkpoint"}
    assert "Nothing is sampled yet" in (out / "report.html").read_text()
    found = json.loads((out / "search.json").read_text())
    assert found["best"]["mass.0.theta_E"] > 0.0 and "parameters" not in found
    (out / "fit.png").unlink()
    assert run("plot", out).exit_code == 0 and (out / "fit.png").stat().st_size > 10_000
    refusal = run("fit", config, "--out", out, *SETTINGS)
    assert refusal.exit_code == 2 and "search.json" in " ".join(refusal.stderr.split())

    def fails(*arguments):
        raise FloatingPointError("VI: the evidence lower bound is not a number")

    with monkeypatch.context() as patched:
        patched.setattr("giga.inference.stages.fit_vi", fails)
        failed = run("fit", config, "--out", out, *SETTINGS, "--resume")
    assert failed.exit_code == 1 and "; the best fit of the search is in" in " ".join(failed.stderr.split())
    assert (out / "search.json").exists() and not (out / "summary.json").exists()
    first = run("fit", config, "--out", out, *SETTINGS, "--resume")
    assert first.exit_code == 0, first.output
    assert {path.name for path in out.iterdir()} == {*FILES, "audit.png", "audit.json", "checkpoint"}
    summary = json.loads((out / "summary.json").read_text())
    assert run("fit", config, "--out", out, *SETTINGS, "--resume").exit_code == 0
    assert json.loads((out / "summary.json").read_text())["parameters"] == summary["parameters"]
    other = run("fit", config, "--out", out, *SETTINGS, "--set", "run.seed=2", "--resume")
    assert other.exit_code == 2 and "other data or another configuration" in " ".join(other.stderr.split())
    (out / "fit.png").unlink()
    assert run("plot", out).exit_code == 0
    assert (out / "fit.png").stat().st_size > 10_000
