"""Populations in TOML: what is read, tied and related, and what is refused."""

import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

from giga.io.configuration.population import read_population
from giga.io.errors import InputError
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys.survey import Band, GaussianPSF

TEXT = """
[values]
q = {dist = "Uniform", low = 0.4, high = 1.0}
phi = {dist = "Uniform", low = 0.0, high = 3.14}
lensed = {dist = "Bernoulli", probability = 0.5}

[extras]
lensed = {same_as = "values.lensed"}
z_lens = {column = "z"}

[[mass]]
profile = "SIE"
theta_E = {column = "theta_E"}
e1 = {relation = "e1", q = {same_as = "values.q"}, phi = {same_as = "values.phi"}}
e2 = {relation = "e2", q = {same_as = "values.q"}, phi = {same_as = "values.phi"}}
center_x = {dist = "Normal", loc = 0.0, scale = 0.1}

[[lens_light]]
profile = "Sersic"
amp = {relation = "amplitude", magnitude = {dist = "Uniform", low = 18, high = 20, each_band = true}, R_sersic = 1.0, \
n_sersic = 4.0}
R_sersic = 1.0
n_sersic = 4.0
e1 = {same_as = "mass.0.e1"}

[[source_light]]
profile = "Sersic"
amp = {relation = "present", value = [1.0, 2.0], probability = {same_as = "values.lensed"}}
R_sersic = 0.2
n_sersic = 1.0
center_x = {relation = "within", center = {same_as = "mass.0.center_x"}, radius = {same_as = "mass.0.theta_E"}}
"""
BANDS = [Band(name=name, psf=GaussianPSF(0.8), zero_point=25.0, gain=1.0, exposure_time=100.0, n_exposures=1,
              read_noise=5.0, sky_brightness=22.0) for name in "gr"]
TABLE = Catalogue({"theta_E": [1.0, 2.0], "z": [0.1, 0.2]})


def read(text=TEXT):
    return read_population(tomllib.loads(text), Path("p.toml"), BANDS, TABLE)


def test_ties_relations_and_columns():
    population = read()
    assert population.n_bands == 2
    _, truth = jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(0), 200))
    np.testing.assert_allclose(truth["z_lens"], truth["mass.0.theta_E"] / 10.0, rtol=1e-6)
    np.testing.assert_array_equal(truth["lens_light.0.e1"], truth["mass.0.e1"])
    np.testing.assert_array_equal(truth["source_light.0.amp"], truth["lensed"][:, None] * np.array([1.0, 2.0]))
    offset = np.abs(truth["source_light.0.center_x"] - truth["mass.0.center_x"]) / truth["mass.0.theta_E"]
    assert 0.7 < offset.max() <= 0.8 + 1e-6
    e = np.hypot(truth["mass.0.e1"], truth["mass.0.e2"])  # of one q and one phi: (1 - q) / (1 + q), q above 0.4
    assert e.max() < 0.6 / 1.4 + 1e-6
    assert abs(np.corrcoef(np.asarray(truth["lens_light.0.amp"]).T)[0, 1]) < 0.4


@pytest.mark.parametrize(("old", "new", "message"), [
    ('"SIE"', '"SIIE"', r"p\.toml: mass\.0\.profile: got 'SIIE'; expected one of .*nearest: 'SIE'"),
    ("center_x = {dist", "centre_x = {dist", r"mass\.0\.centre_x: unknown parameter; expected .*'center_x'"),
    ("R_sersic = 0.2\n", "", r"source_light\.0\.R_sersic: missing"),
    ("R_sersic = 0.2\n", 'R_sersic = "0.2"\n', r"source_light\.0\.R_sersic: got '0\.2'; expected a number"),
    ("R_sersic = 0.2\n", "R_sersic = -0.2\n", r"source_light\.0\.R_sersic: got -0\.2; expected a number above 0"),
    ("R_sersic = 0.2\n", "R_sersic = [0.2, -0.1]\n",
     r"source_light\.0\.R_sersic\.1: got -0\.1; expected a number above 0"),
    ('theta_E = {column = "theta_E"}', 'theta_E = {dist = "Uniform", low = -1, high = 1}',
     r"mass\.0\.theta_E: Uniform from -1 to 1; expected a prior above 0, its bounds too"),
    ("scale = 0.1", "scale = -0.1", r"mass\.0\.center_x\.scale: got -0\.1; expected a number above 0"),
    ('"within"', '"near"', r"center_x\.relation: got 'near'; expected one of"),
    ("radius = {same_as", "radios = {same_as", r"center_x\.radios: unknown argument; expected .*'radius'"),
    ("probability = 0.5", "probability = 1.5", r"values\.lensed: got .*; expected Bernoulli with a probability"),
    ('"values.lensed"}\nz', '"values.lens"}\nz', r"extras\.lensed: same as 'values\.lens', which has no value"),
    ('column = "z"', 'column = "redshift"', r"extras\.z_lens: got .*; expected one of 'theta_E', 'z'"),
    ("value = [1.0, 2.0]", "value = [1.0, 2.0, 3.0]", r"got 3 bands; expected 2"),
    ('center_x = {dist = "Normal", loc = 0.0, scale = 0.1}', 'center_x = {same_as = "source_light.0.center_x"}',
     r"a circle of ties, mass\.0\.center_x -> source_light\.0\.center_x"),
    ("amp = {relation = \"present\"", "bmp = {relation = \"present\"", r"source_light\.0\.bmp: unknown parameter"),
])
def test_bad_files_are_refused(old, new, message):
    assert old in TEXT
    with pytest.raises(InputError, match=message):
        read(TEXT.replace(old, new))


def test_an_amplitude_left_out_is_refused():
    with pytest.raises(InputError, match=r"p\.toml: source_light\.0\.amp: got None, a fixed leaf is missing"):
        read(TEXT[:TEXT.rindex("amp =")] + TEXT[TEXT.rindex("R_sersic = 0.2"):])


def test_bands_and_columns_need_a_survey_and_a_catalogue():
    text = '[[mass]]\nprofile = "SIE"\ntheta_E = [1.0, 2.0, 3.0]'
    with pytest.raises(InputError, match="values for 3 bands; expected 2, as the survey has"):
        read(text)
    with pytest.raises(InputError, match="mass.0.theta_E: got .*no column: there is no catalogue"):
        read_population(tomllib.loads(text.replace("[1.0, 2.0, 3.0]", '{column = "z"}')), Path("p.toml"))
    each = '{dist = "HalfNormal", scale = 1.0, each_band = true}'
    with pytest.raises(InputError, match="each_band: got True; expected .* a survey that has bands"):
        read_population(tomllib.loads(text.replace("[1.0, 2.0, 3.0]", each)), Path("p.toml"))
