"""A fit as a user runs it, without the fitting."""

import pytest

from giga.checkpoint import CheckpointError
from giga.demo import write_demo
from giga.inference.pipeline import FitConfig
from giga.io.toml import load_config
from giga.run import prepare


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return load_config(write_demo(tmp_path_factory.mktemp("data")), fit_config_type=FitConfig)


def test_a_checkpoint_belongs_to_what_is_computed_not_to_where(config, tmp_path):
    prepare(config).store(tmp_path)
    where = {"run.devices": "cpu", "run.checkpoint_interval_s": 5}
    assert prepare(config.with_overrides(where)).store(tmp_path).interval_s == 5.0
    for change in ({"run.seed": 7}, {"run.precision": "float64"}, {"inference.n_chains": 20}, {"mass.0.theta_E": 1.0},
                   {"observation.0.mask_keep": [{"radius": 1.0}]}):
        with pytest.raises(CheckpointError, match="belongs to other data or another configuration"):
            prepare(config.with_overrides(change)).store(tmp_path)
