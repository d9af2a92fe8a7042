"""A fit as a user runs it, without the fitting."""

import socket
import sys

import pytest
from _processes import environment, together

from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config
from giga.io.errors import InputError
from giga.jobs.demo import write_demo
from giga.jobs.job import opened, prepare
from giga.runtime.checkpoint import CheckpointError


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return load_config(write_demo(tmp_path_factory.mktemp("data")), fit_config_type=FitConfig)


def test_a_checkpoint_belongs_to_what_is_computed_not_to_where(config, tmp_path):
    prepare(config).store(tmp_path)
    where = {"run.devices": "cpu", "run.checkpoint_interval_s": 5}
    assert prepare(config.with_overrides(where)).store(tmp_path).interval_s == 5.0
    prepare(config.with_overrides({"lens.z_lens": 0.4, "observation.0.zero_point": 25.0})).store(tmp_path)
    for change in ({"run.seed": 7}, {"run.precision": "float64"}, {"inference.n_chains": 20}, {"mass.0.theta_E": 1.0},
                   {"observation.0.mask_keep": [{"radius": 1.0}]}):
        with pytest.raises(CheckpointError, match="belongs to other data or another configuration"):
            prepare(config.with_overrides(change)).store(tmp_path)


def test_a_configuration_inside_the_folder_is_kept(tmp_path):
    """A file that the user wrote is no run, and is neither removed nor written over."""
    path = write_demo(tmp_path)
    own = path.rename(tmp_path / "config.toml")
    text = "# mine\n" + own.read_text() + "# and this\n"
    own.write_text(text)
    for overwrite in (False, True):
        config = load_config(own, fit_config_type=FitConfig)
        begun = opened(config, tmp_path, overwrite=overwrite)
        assert own.read_text() == begun.job.text == text and (tmp_path / "checkpoint").is_dir()
    with pytest.raises(InputError, match=r"already holds a run \(checkpoint\)"):
        opened(config, tmp_path)
    other = opened(load_config(own, fit_config_type=FitConfig), tmp_path / "other").job.text
    written = tmp_path / "other" / "config.toml"
    assert written.read_text() == other != text
    more = load_config(written, fit_config_type=FitConfig).with_overrides({"inference.n_chains": 20})
    opened(more, tmp_path / "other", overwrite=True)
    assert written.read_text() == other.replace("n_chains = 4", "n_chains = 20") != other


@pytest.mark.slow
def test_processes_that_disagree_end_with_one_error_each(config, tmp_path):
    """Two processes, one of which was given another setting; nothing hangs and nothing is written."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{probe.getsockname()[1]}"
    commands = [(sys.executable, "-m", "giga.cli", "fit", config.file, "--out", tmp_path / "run", "--coordinator", at,
                 "--processes", 2, "--process", k, "--coordinator-timeout", 600, "--set",
                 f"inference.n_chains={8 + 4 * k}") for k in range(2)]
    for code, _, error in together(*commands, envs=[environment()] * 2):
        assert code == 2, error
        (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
        assert "different data or configurations (hashes: process 0: " in line and ", process 1: " in line
    assert not (tmp_path / "run").exists()
