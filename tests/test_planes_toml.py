"""The section [planes] of a configuration: read, checked, written back."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from giga.bayes.prior import Prior
from giga.io.configuration.toml import dump_config, parse_config, scene_from_config
from giga.io.errors import InputError

TEXT = """
[[observation]]
image = "a.fits"
background_rms = 0.1
exposure_time = 100.0
[lens]
H0 = 67.0
[[mass]]
profile = "EPL"
theta_E = {dist = "LogNormal", loc = 0.0, scale = 0.1}
[[mass]]
profile = "SIS"
theta_E = {dist = "Uniform", low = 0.0, high = 0.4}
center_x = {same_as = "source_light.0.center_x"}
plane = 1
[[source_light]]
profile = "Sersic"
R_sersic = 0.2
n_sersic = 1.0
center_x = {dist = "Normal", loc = 0.0, scale = 0.1}
plane = 1
[[source_light]]
profile = "Sersic"
R_sersic = 0.1
n_sersic = 1.0
[planes]
redshifts = [0.222, 0.609, {dist = "Uniform", low = 1.5, high = 3.0}]
cosmology = {w0 = {dist = "Uniform", low = -1.5, high = -0.5}}
"""


@dataclass(frozen=True)
class NoSettings:
    """A section [inference] that is left out."""


def parsed(text: str):
    return parse_config(tomllib.loads(text), Path("lens.toml"), NoSettings)


def test_planes_are_read_and_written_back():
    config = parsed(TEXT)
    scene = scene_from_config(config)
    assert [p.plane for p in scene.mass] == [None, 1] and [p.plane for p in scene.source_light] == [1, None]
    assert scene.planes.redshifts[:2] == [0.222, 0.609] and scene.planes.reference is None
    assert (scene.planes.cosmology.H0, scene.planes.cosmology.Om0) == (67.0, 0.3)
    assert scene.mass[1].center_x is scene.source_light[0].center_x
    assert Prior.of(scene).names == ("mass.0.theta_E", "mass.1.theta_E", "mass.1.center_x", "planes.redshifts.2",
                                     "planes.cosmology.w0")
    assert parsed(dump_config(config)) == config
    assert config.with_overrides({"planes.redshifts.1": 0.7}).planes.redshifts[1] == 0.7


def test_without_planes_nothing_is_written():
    text = TEXT.partition("[planes]")[0].replace("plane = 1\n", "")
    config = parsed(text)
    assert scene_from_config(config).planes == () and "[planes]" not in dump_config(config)


@pytest.mark.parametrize("old, new, says", [
    ("[0.222, 0.609,", "[0.222, 0.122,", "lens.toml: planes.redshifts.1: got 0.122; expected redshifts above that of"),
    ("[0.222, 0.609,", "[0.222, -0.1,", "lens.toml: planes.redshifts.1: got -0.1; expected a number above 0"),
    ("low = 1.5", "low = 0.5", "lens.toml: planes.redshifts.2: got 0.5 to 3; expected redshifts above"),
    ("plane = 1\n", "plane = 3\n", "lens.toml: mass.1.plane: got 3; expected 0 to 2"),
    ("plane = 1\n", "plane = -1\n", "lens.toml: mass.1.plane: got -1; expected an integer of at least 0"),
    ("redshifts = [", "redshift = [", "lens.toml: planes.redshift: unknown field; expected one of 'redshifts'"),
    ("{w0 =", "{w1 =", "lens.toml: planes.cosmology.w1: unknown field"),
    ("low = -1.5", "low = 0.5", "lens.toml: planes.cosmology.w0: got low = 0.5, high = -0.5; expected low below high"),
    ("H0 = 67.0", "z_lens = 0.9", "lens.toml: lens.z_lens: got 0.9; expected a redshift of a plane with mass, "
                                  "planes.redshifts.0 = 0.222, planes.redshifts.1 = 0.609, or to leave it out"),
    ("{w0 = {", "{H0 = {", "lens.toml: planes.cosmology.H0: Uniform from -1.5 to -0.5; expected a prior above 0"),
])
def test_bad_planes_are_refused(old, new, says):
    with pytest.raises(InputError) as error:
        parsed(TEXT.replace(old, new))
    assert says in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("old, new, says", [
    ("1.5]", "1.5]\nreference = 2.0", "lens.z_source: got 1.7; expected a redshift behind a mass, planes.redshifts.1 = "
                                      "0.609, planes.redshifts.2 = 1.5, planes.reference = 2, or to leave it out"),
    ("z_source = 1.7", "z_lens = 0.3\nz_source = 1.5", "lens.z_lens: got 0.3; expected a redshift of a plane with"),
])
def test_redshifts_of_lens_and_planes_agree(old, new, says):
    """A free redshift may be any; a number of [lens] is that of a plane."""
    fixed = TEXT.replace('{dist = "Uniform", low = 1.5, high = 3.0}', "1.5").replace("H0 = 67.0", "z_source = 1.7")
    with pytest.raises(InputError) as error:
        parsed(fixed.replace(old, new))
    assert f"lens.toml: {says}" in str(error.value) and "\n" not in str(error.value)
    assert parsed(fixed.replace("1.7", "1.5\nz_lens = 0.609")).redshifts.z_lens == 0.609
    assert parsed(TEXT.replace("H0 = 67.0", "z_source = 1.7")).redshifts.z_source == 1.7


def test_a_wide_prior_of_a_cosmology_stays_above_zero():
    """A normal prior of H0 with a tail below 0 is cut there, as those of profiles are at their edges."""
    wide = TEXT.replace("cosmology = {w0", 'cosmology = {H0 = {dist = "Normal", loc = 70.0, scale = 30.0}, w0')
    prior = Prior.of(scene_from_config(parsed(wide)))
    k = prior.names.index("planes.cosmology.H0")
    drawn = [float(prior.constrain(np.zeros(prior.size) + z * (np.arange(prior.size) == k))[k])
             for z in (-8.0, -3.0, 0.0, 1.0)]
    assert 0.0 < drawn[0] < drawn[1] < 1e1 and drawn[2:] == pytest.approx([70.0, 100.0], rel=1e-6)


def test_a_plane_without_planes_is_refused():
    with pytest.raises(InputError, match="lens.toml: mass.1.plane: got 1, but the scene has no planes"):
        parsed(TEXT.partition("[planes]")[0])
