"""Configurations in TOML: what is read, what is written back, and the one clear error of each fault."""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from astropy.io import fits

from giga.bayes.prior import Prior
from giga.component import is_distribution, leaves_with_names
from giga.inference.settings import FitConfig
from giga.io.configuration.profiles import DISTRIBUTIONS, DistributionConfig, share_outside
from giga.io.configuration.toml import dump_config, load_config, parse_override, scene_from_config
from giga.io.errors import InputError, nearest
from giga.io.images.config import CutoutConfig, LensConfig, RingConfig
from giga.io.tables import Place, read_table
from giga.light import Sersic, Shapelets
from giga.mass import EPL

pytestmark = pytest.mark.quick

EXAMPLE = Path(__file__).parents[1] / "examples" / "slacs0946" / "fit.toml"


@dataclass(frozen=True)
class Stages:
    """A small stand-in for the settings of the inference."""

    n_chains: int = 16
    step: float = 0.1
    method: str = "hmc"
    polish: bool = True
    scales: tuple[float, ...] = (0.5, 1.0)
    limit: float | None = None


HEAD = """
[[observation]]
image = "data/image.fits"
background_rms = 0.1
exposure_time = 1000
"""
MASS = """
[[mass]]
profile = "EPL"
theta_E = {dist = "LogNormal", loc = 0.2, scale = 0.25}
"""
SOURCE = """
[[source_light]]
profile = "Sersic"
R_sersic = 0.2
n_sersic = 1
center_x = {dist = "Normal", loc = 0.0, scale = 0.3}
"""
GOOD = HEAD + MASS + SOURCE
SHAPE = '"Sersic"\nR_sersic = 0.2\nn_sersic = 1\n'


def write(folder, text, name="fit.toml"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def load(folder, text, **kwargs):
    return load_config(write(folder, text), fit_config_type=Stages, **kwargs)


def refused(folder, text, *words):
    with pytest.raises(InputError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert "\n" not in message and "; expected " in message
    for word in ("fit.toml", *words):
        assert word in message


def test_defaults(tmp_path):
    config = load(tmp_path, GOOD)
    assert config.run.seed == 0 and config.run.precision == "float32" and config.run.devices == "auto"
    assert config.inference == Stages() and config.likelihood.amplitudes == "nonnegative"
    assert config.observation[0].exposure_time == 1000.0
    assert dict(config.mass[0].parameters)["gamma"] == 2.0 and not config.mass[0].settings


@pytest.mark.parametrize("inside", [None, "elsewhere"])
def test_paths(tmp_path, inside):
    data_dir = None if inside is None else tmp_path / inside
    config = load(tmp_path, GOOD, data_dir=data_dir)
    assert config.observation[0].image == (data_dir or tmp_path) / "data" / "image.fits"


def test_observation_tables(tmp_path):
    config = load(tmp_path, HEAD + """
hdu = "SCI"
cutout = {size = [40, 60], ra = 150, dec = 2.5}
mask_keep = [{radius = 2}]
mask_exclude = [{radius = 0.3, x = 1.0}, {radius = 0.2, y = -1}]
""" + SOURCE)
    (observation,) = config.observation
    assert observation.cutout == CutoutConfig(size=(40, 60), ra=150.0, dec=2.5) and observation.hdu == "SCI"
    assert observation.mask_keep == (RingConfig(radius=2.0),) and len(observation.mask_exclude) == 2


def test_scene(tmp_path):
    scene = scene_from_config(load(tmp_path, GOOD))
    (mass,), (source,) = scene.mass, scene.source_light
    assert isinstance(mass, EPL) and isinstance(mass.theta_E, dist.LogNormal) and mass.gamma == 2.0
    assert isinstance(source, Sersic) and source.is_linear and source.n_sersic == 1.0
    assert Prior.of(scene).names == ("mass.0.theta_E", "source_light.0.center_x")


DISTRIBUTION_TEXTS = {
    "Normal": "loc = 1.0, scale = 0.1", "LogNormal": "loc = 0.1, scale = 0.2", "Uniform": "low = 0.5, high = 2.0",
    "LogUniform": "low = 0.5, high = 2.0", "TruncatedNormal": "loc = 1.0, scale = 0.5, low = 0.3, high = 3.0",
    "HalfNormal": "scale = 2.0",
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(tmp_path, name):
    text = MASS.replace('dist = "LogNormal", loc = 0.2, scale = 0.25', f'dist = "{name}", {DISTRIBUTION_TEXTS[name]}')
    scene = scene_from_config(load(tmp_path, HEAD + text + SOURCE))
    prior = Prior.of(scene)
    assert prior.names[0] == "mass.0.theta_E"
    assert np.isfinite(prior.log_prob(np.zeros(2, np.float32)))


@pytest.mark.parametrize("bound", ["low = 0.0", "high = 3.0"])
def test_one_bound(tmp_path, bound):
    text = f"[[mass]]\nprofile = 'EPL'\ntheta_E = {{dist = 'TruncatedNormal', loc = 1.0, scale = 0.1, {bound}}}\n"
    prior = Prior.of(scene_from_config(load(tmp_path, HEAD + text + SOURCE)))
    assert np.isfinite(prior.log_prob(np.zeros(2, np.float32)))


def test_ties(tmp_path):
    scene = scene_from_config(load(tmp_path, GOOD + """
center_y = {same_as = "lens_light.0.center_y"}
[[source_light]]
profile = "Shapelets"
n_max = 3
beta = 0.1
center_x = {same_as = "source_light.0.center_x"}
center_y = {same_as = "source_light.0.center_y"}
[[lens_light]]
profile = "Sersic"
R_sersic = 1.0
n_sersic = 4.0
amp = 2.0
center_y = 0.25
"""))
    sersic, shapelets = scene.source_light
    assert isinstance(shapelets, Shapelets) and shapelets.n_max == 3
    assert shapelets.center_x is sersic.center_x and is_distribution(sersic.center_x)
    assert shapelets.center_y == sersic.center_y == 0.25
    assert not scene.lens_light[0].is_linear
    assert Prior.of(scene).size == 2


ODD = GOOD + """
e1 = {dist = "TruncatedNormal", loc = 0.0, scale = 1e-5, low = -0.5, high = 0.5}
e2 = {dist = "Normal", loc = 1e-17, scale = 0.1234567890123456}
center_y = {same_as = "source_light.0.center_x"}
bands = ["F814W"]
supersampling = 3
b_n = "linear"
[run]
seed = 7
precision = "float64"
[likelihood]
amplitudes = "marginal"
amplitude_sd = 10
[inference]
n_chains = 4
scales = [1, 2.5]
limit = 3
"""
BAND = 'band = "F814W"\n'
STRANGE = 'cutout = {size = 3}\nhdu = "odd \\" name\\t\\\\ \\u007f \u00e9 \U0001f600 #"\nmask_keep = [{radius = 1.5}]\n'


@pytest.mark.parametrize("text", [GOOD, ODD.replace(HEAD, HEAD + BAND + STRANGE)], ids=["plain", "odd"])
def test_round_trip(tmp_path, text):
    config = load(tmp_path, text)
    (tmp_path / "run").mkdir()
    written = dump_config(config)
    again = load(tmp_path / "run", written)
    assert again == config and dump_config(again) == written
    assert "n_chains = " in written and "gamma = 2.0" in written


def test_an_image_as_a_source_is_read_where_the_scene_is_made(tmp_path):
    stamp = np.arange(12.0).reshape(3, 4)
    sky = '[[lens_light]]\nprofile = "UniformSky"\n'
    text = HEAD + MASS + sky + '[[source_light]]\nprofile = "PixelImage"\nimage = "stamp.fits"\nscale = 0.1\n'
    config = load(tmp_path, text)
    assert load(tmp_path, dump_config(config)) == config
    with pytest.raises(InputError, match=r"stamp\.fits: source_light\.0\.image: no such file"):
        scene_from_config(config)
    fits.PrimaryHDU(stamp).writeto(tmp_path / "stamp.fits")
    source = scene_from_config(config).source_light[0]
    np.testing.assert_array_equal(source.image, stamp)
    assert source.is_linear and source.scale == 0.1 and source.interpolation == "bicubic"
    stamp[1, 1] = np.nan
    fits.PrimaryHDU(stamp).writeto(tmp_path / "stamp.fits", overwrite=True)
    with pytest.raises(InputError, match="1 pixels that are not finite"):
        scene_from_config(config)


def test_example(tmp_path):
    config = load_config(EXAMPLE, fit_config_type=FitConfig, data_dir=tmp_path)
    assert config.observation[0].psf == tmp_path / "psf.fits"
    assert load_config(write(tmp_path, dump_config(config)), fit_config_type=FitConfig) == config
    scene = scene_from_config(config)
    assert scene.source_light[1].center_x is scene.source_light[0].center_x
    prior = Prior.of(scene)
    assert prior.size == 27 and np.isfinite(prior.log_prob(np.zeros(27, np.float32)))


def test_overrides(tmp_path):
    config = load(tmp_path, GOOD)
    changed = config.with_overrides({
        "inference.n_chains": 8, "run.seed": 3, "mass.0.theta_E.scale": 0.5, "observation.0.hdu": "SCI",
        "inference.scales.1": 3.0, "observation.0.exposure_time": None})
    assert changed.inference.n_chains == 8 and changed.run.seed == 3 and changed.inference.scales == (0.5, 3.0)
    wider = DistributionConfig("LogNormal", (("loc", 0.2), ("scale", 0.5)))
    assert dict(changed.mass[0].parameters)["theta_E"] == wider
    assert changed.observation[0].hdu == "SCI" and changed.observation[0].exposure_time is None
    assert config.inference.n_chains == 16 and config.with_overrides({}) == config


@pytest.mark.parametrize("path, value, words", [
    ("inference.n_chain", 8, ["inference.n_chain", "nearest: 'n_chains'"]),
    ("inference.n_chains", "many", ["inference.n_chains", "got 'many'", "an integer"]),
    ("inferense.n_chains", 8, ["inferense", "nearest: 'inference'"]),
    ("speed", 8, ["speed", "unknown section"]),
    ("mass.3.theta_E", 1.0, ["mass.3", "no such entry"]),
    ("mass.x.theta_E", 1.0, ["mass.x", "no such entry"]),
    ("mass.0.theta", 1.0, ["mass.0.theta", "nearest: 'theta_E'"]),
    ("mass.0.theta_E", -1.0, ["mass.0.theta_E", "got -1", "above 0"]),
    ("run.seed.low", 1, ["run.seed.low", "unknown name"]),
    ("observation.0.hdu", None, ["observation.0.hdu", "no such value"]),
])
def test_bad_overrides(tmp_path, path, value, words):
    config = load(tmp_path, GOOD)
    with pytest.raises(InputError) as caught:
        config.with_overrides({path: value})
    for word in ("fit.toml", *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("text, expected", [
    ("inference.n_chains=8", ("inference.n_chains", 8)),
    ("run.devices = cpu", ("run.devices", "cpu")),
    ("a=[1, 2]", ("a", [1, 2])),
    ('a="b = c"', ("a", "b = c")),
    ("a=__import__('os')", ("a", "__import__('os')")),
    ("a=1\nb=2", ("a", "1\nb=2")),
])
def test_override_text(text, expected):
    assert parse_override(text) == expected


def test_a_band_without_a_light(tmp_path):
    """Each of two bands needs one; a mass is none."""
    text = HEAD + "band = 'g'\n" + HEAD + "band = 'r'\n" + MASS + SOURCE
    assert len(load(tmp_path, text + "bands = ['g', 'r']\n").observation) == 2
    with pytest.raises(InputError, match=r"observation.1.band: got 'r'; expected a band in which a \[\[lens_light"):
        load(tmp_path, text + "bands = ['g']\n")


def test_override_text_without_value():
    with pytest.raises(InputError, match="no name=value"):
        parse_override("inference")


@pytest.mark.parametrize("old, new, words", [
    ("[[mass]]", "[[masses]]", ["masses", "unknown section", "nearest: 'mass'"]),
    ("[[mass]]", "[mass]", ["mass", "double brackets"]),
    ("[[mass]]", "[mass]\nprofile = 'Shear'\n[mass]", ["mass: not TOML", "[[mass]] in double brackets"]),
    ("[[mass]]", "[[run]]\nseed = 1\n[[mass]]", ["run", "[run] in single brackets"]),
    ('"EPL"', '"EPLL"', ["mass.0.profile", "got 'EPLL'", "nearest: 'EPL'"]),
    ('"EPL"', '"Shapelets"', ["mass.0.profile", "got 'Shapelets'"]),
    ('"EPL"', "3", ["mass.0.profile", "got 3"]),
    ('profile = "EPL"\n', "", ["mass.0.profile", "missing", "'Shear'"]),
    ("theta_E", "thetaE", ["mass.0.thetaE", "unknown parameter", "nearest: 'theta_E'"]),
    ("n_sersic = 1\n", "", ["source_light.0.n_sersic", "missing", "a number"]),
    ("n_sersic = 1\n", "n_sersic = 'one'\n", ["source_light.0.n_sersic", "got 'one'", "a number"]),
    ("n_sersic = 1\n", "n_sersic = true\n", ["source_light.0.n_sersic", "got True"]),
    ("n_sersic = 1\n", "n_sersic = nan\n", ["source_light.0.n_sersic", "got nan", "finite"]),
    ("n_sersic = 1\n", "n_sersic = 0\n", ["source_light.0.n_sersic", "got 0", "between 0.17 and 20"]),
    ("n_sersic = 1\n", "n_sersic = [1, 2]\n", ["source_light.0.n_sersic", "got [1, 2]"]),
    ("n_sersic = 1\n", "n_sersic = {loc = 1.0}\n", ["source_light.0.n_sersic", "{dist = ...}"]),
    ("n_sersic = 1\n", "n_sersic = 1\ne1 = 1.0\n", ["source_light.0.e1", "got 1", "between -1 and 1"]),
    ("n_sersic = 1\n", "n_sersic = 1\ne1 = 0.9\ne2 = -0.5\n",
     ["source_light.0.e2", "got -0.5 beside e1 = 0.9", "below 1"]),
    (SHAPE, '"Moffat"\nalpha = 0.2\nbeta = 0.9\n', ["source_light.0.beta", "above 1"]),
    (SHAPE, '"UniformSky"\n', ["source_light.0.profile", "not lensed"]),
    (SHAPE, '"PixelImage"\nscale = 0.1\n', ["source_light.0.image", "a FITS file"]),
    (SHAPE, '"PixelImage"\nscale = 0.1\nimage = 3\n', ["source_light.0.image", "got 3"]),
    (SHAPE, '"MultiGaussian"\nsigma_min = 0.1\nsigma_max = 1\nn_gaussians = 1\n',
     ["source_light.0.n_gaussians", "at least 2"]),
    (SHAPE, '"MultiGaussian"\nsigma_min = 0.1\nsigma_max = 1\nn_smooth = 3\n',
     ["source_light.0.n_smooth", "unknown parameter"]),  # which giga sets
    ("n_sersic = 1\n", "n_sersic = 1\nsoftening = -0.01\n",
     ["source_light.0.softening", "got -0.01", "a number of at least 0"]),
    ("n_sersic = 1\n", "n_sersic = 1\nsupersampling = 0\n", ["source_light.0.supersampling", "got 0", "at least 1"]),
    ("n_sersic = 1\n", "n_sersic = 1\nb_n = 1\n", ["source_light.0.b_n", "got 1", "exact"]),
    ("n_sersic = 1\n", "n_sersic = 1\nbands = ['r']\n", ["source_light.0.bands", "got 'r'"]),
    ("exposure_time = 1000\n", "supersampling = 2\n[[lens_light]]\nprofile = 'Sersic'\nR_sersic = 1\nn_sersic = 4\n"
     "supersampling = 3\n", ["lens_light.0.supersampling: got 3", "multiple of observation.0.supersampling, 2"]),
    ("LogNormal", "Lognormall", ["mass.0.theta_E.dist", "got 'Lognormall'", "nearest: 'LogNormal'"]),
    ("loc = 0.2", "mean = 0.2", ["mass.0.theta_E.mean", "unknown argument", "'loc'"]),
    ("loc = 0.2, ", "", ["mass.0.theta_E.loc", "missing", "the loc of LogNormal"]),
    ("scale = 0.25", "scale = 0", ["mass.0.theta_E.scale", "got 0", "above 0"]),
    ("scale = 0.25", "scale = -1.0", ["mass.0.theta_E.scale", "got -1", "above 0"]),
    ("scale = 0.25", "scale = 'wide'", ["mass.0.theta_E.scale", "got 'wide'"]),
    ('"LogNormal", loc = 0.2, scale = 0.25', '"Uniform", low = 2.0, high = 1.0', ["mass.0.theta_E", "low = 2"]),
    ('"LogNormal", loc = 0.2, scale = 0.25', '"Uniform", low = 1.0, high = 1.0', ["mass.0.theta_E", "low below high"]),
    ('"LogNormal", loc = 0.2, scale = 0.25', '"LogUniform", low = 0.0, high = 1.0', ["mass.0.theta_E.low", "above 0"]),
    ('"LogNormal", loc = 0.2, scale = 0.25', '"TruncatedNormal", loc = 1, scale = 1', ["mass.0.theta_E", "bounds"]),
    ('"LogNormal", loc = 0.2, scale = 0.25', '"Uniform", low = -1, high = 1',
     ["mass.0.theta_E", "Uniform from -1 to 1"]),
    ("n_sersic = 1\n", 'n_sersic = {dist = "Uniform", low = 0.05, high = 8}\n',
     ["source_light.0.n_sersic", "Uniform from 0.05 to 8"]),
    ('"LogNormal", loc = 0.2, scale = 0.25', '"Normal", loc = 1, scale = 1', ["mass.0.theta_E", "15.9% of it outside"]),
    ("image = ", "imge = ", ["observation.0.imge", "unknown field", "nearest: 'image'"]),
    ('image = "data/image.fits"\n', "", ["observation.0.image", "missing", "a path"]),
    ('image = "data/image.fits"', "image = 3", ["observation.0.image", "got 3", "a path"]),
    ("background_rms = 0.1", "background_rms = 0.0", ["observation.0.background_rms", "got 0.0", "above 0"]),
    ("background_rms = 0.1", "background_rms = 'x'", ["observation.0.background_rms", "got 'x'", "a number"]),
    ("background_rms = 0.1\n", "", ["observation.0.noise_map", "no noise"]),
    ("exposure_time = 1000", "units = 'adu'", ["observation.0.units", "got 'adu'", "'counts/s'"]),
    ("exposure_time = 1000", "cutout = {size = 0}", ["observation.0.cutout.size", "got 0", "at least 1"]),
    ("exposure_time = 1000", "cutout = {size = [4]}", ["observation.0.cutout.size", "got [4]", "2 entries"]),
    ("exposure_time = 1000", "cutout = {size = 4, x = 1}", ["observation.0.cutout.x", "both x and y"]),
    ("exposure_time = 1000", "cutout = 40", ["observation.0.cutout", "got 40", "a table of size"]),
    ("exposure_time = 1000", "mask_keep = [{radius = 1, inner = 2}]", ["observation.0.mask_keep.0.inner", "got 2"]),
    ("exposure_time = 1000", "supersampling = 1.5", ["observation.0.supersampling", "got 1.5", "an integer"]),
])
def test_faults(tmp_path, old, new, words):
    assert old in GOOD
    refused(tmp_path, GOOD.replace(old, new, 1), *words)


@pytest.mark.parametrize("text, words", [
    ("[run]\nseed = -1", ["run.seed", "at least 0"]),
    ("[run]\nprecision = 'float16'", ["run.precision", "got 'float16'", "nearest: 'float"]),
    ("[run]\ndevices = 'tpu'", ["run.devices", "'gpu'"]),
    ("[likelihood]\namplitudes = 'marginall'", ["likelihood.amplitudes", "nearest: 'marginal'"]),
    ("[likelihood]\namplitude_sd = 0", ["likelihood.amplitude_sd", "above 0"]),
    ("[inference]\nn_chainz = 2", ["inference.n_chainz", "nearest: 'n_chains'"]),
    ("[inference]\nn_chains = 2.0", ["inference.n_chains", "got 2.0", "an integer"]),
    ("[inference]\npolish = 1", ["inference.polish", "got 1"]),
    ("[inference]\nscales = [1, 'a']", ["inference.scales.1", "got 'a'"]),
    ("center_y = {same_as = 'mass.0.center'}", ["source_light.0.center_y", "'mass.0.center'", "nearest"]),
    ("center_y = {same_as = 'source_light.0.center_y'}", ["source_light.0.center_y", "a circle"]),
    ("center_y = {same_as = 'source_light.0.amp'}", ["source_light.0.center_y", "solved"]),
    ("center_y = {same_as = 'mass.0.theta_E', loc = 1}", ["source_light.0.center_y", "a tie alone"]),
    ("e1 = {same_as = 'mass.0.gamma'}", ["source_light.0.e1", "got 2", "between -1 and 1"]),
    ("[[source_light]]\nprofile = 'Shapelets'\nbeta = 0.1", ["source_light.1.n_max", "missing", "an integer"]),
    ("[[source_light]]\nprofile = 'Shapelets'\nbeta = 0.1\nn_max = -1", ["source_light.1.n_max", "at least 0"]),
    ("[[source_light]]\nprofile = 'Shapelets'\nbeta = 0.1\nn_max = 2\namp = 1.0", ["source_light.1.amp", "solved"]),
])
def test_faults_added(tmp_path, text, words):
    refused(tmp_path, GOOD + text, *words)


@pytest.mark.parametrize("text, words", [
    (MASS + SOURCE, ["observation", "missing"]),
    (HEAD + MASS, ["no light"]),
    ("[[mass\n", ["not TOML", "line 1"]),
    ("observation = [3]\n", ["observation.0", "got 3", "a table"]),
    ("", ["observation", "missing"]),
])
def test_faults_of_the_whole(tmp_path, text, words):
    refused(tmp_path, text, *words)


@pytest.mark.parametrize("make, word", [
    (lambda path: None, "no such file"), (lambda path: path.mkdir(), "cannot be read"),
    (lambda path: path.write_bytes(b"\xff\xfe"), "UTF-8"),
])
def test_faults_of_the_file(tmp_path, make, word):
    make(tmp_path / "fit.toml")
    with pytest.raises(InputError, match=rf"fit\.toml: .*{word}"):
        load_config(tmp_path / "fit.toml", fit_config_type=Stages)


def test_text_is_never_evaluated(tmp_path):
    refused(tmp_path, GOOD.replace("n_sersic = 1", "n_sersic = '__import__(\"os\").getpid()'"), "__import__")


@dataclass(frozen=True)
class Picky:
    """Settings that check themselves."""

    said: str = ""

    def __post_init__(self):
        if self.said:
            raise ValueError(self.said)


@pytest.mark.parametrize("said, message", [
    ("said: odd, got 1", "fit.toml: inference.said: odd, got 1"),
    ("inference.said: odd, got 1", "fit.toml: inference.said: odd, got 1"),
    ("inference: odd, got 1", "fit.toml: inference: odd, got 1"),
    ("odd", "fit.toml: inference: odd"),
])
def test_fault_found_by_the_settings_themselves(tmp_path, said, message):
    path = write(tmp_path, GOOD + f"[inference]\nsaid = '{said}'\n")
    with pytest.raises(InputError) as caught:
        load_config(path, fit_config_type=Picky)
    assert str(caught.value) == str(tmp_path / message)


@pytest.mark.parametrize("name, arguments, low, high", [
    ("Normal", {"loc": 0.5, "scale": 0.7}, 0.0, np.inf), ("LogNormal", {"loc": 0.1, "scale": 0.6}, 1.0, 3.0),
    ("HalfNormal", {"scale": 0.8}, -1.0, 1.0), ("TruncatedNormal", {"loc": 0.5, "scale": 1.0, "high": 2.0}, 0.0, 3.0),
])
def test_share_outside(name, arguments, low, high):
    value = DistributionConfig(name, tuple(arguments.items()))
    draws = np.asarray(value.build().sample(jax.random.key(1), (200_000,)))
    share = np.mean((draws < low) | (draws > high))
    assert share_outside(value, low, high) == pytest.approx(share, abs=4e-3)  # 3 sigma of the draws


def test_a_tail_within_the_range_is_within_it():
    value = DistributionConfig("TruncatedNormal", tuple({"loc": 0.5, "scale": 0.02, "low": 0.8, "high": 2.0}.items()))
    assert share_outside(value, 0.0, np.inf) == 0.0
    exponential = -np.expm1(-15.0 / 0.02 * 1e-3)  # the tail falls as its slope at its bound, to the square of its width
    assert share_outside(value, 0.0, 0.801) == pytest.approx(1.0 - exponential, rel=0.05)


def test_every_parameter_is_named(tmp_path):
    """What the configuration calls a parameter is what the scene calls it."""
    config = load(tmp_path, GOOD)
    scene = scene_from_config(config)
    wanted = {f"{section}.{k}.{key}" for section in ("mass", "source_light")
              for k, profile in enumerate(getattr(config, section)) for key, _ in profile.parameters}
    assert wanted == {name for name, _ in leaves_with_names(scene)}


def test_nearest():
    assert nearest("sersik", ["EPL", "Sersic"]) == "one of 'EPL', 'Sersic' (nearest: 'Sersic')"
    assert nearest("x", []) == "none"


@pytest.mark.parametrize(("prior", "word"), [
    ('median = 1.5, factor = 1.2', None), ('median = 1.5', "factor: missing"),
    ('median = 0.0, factor = 2', "median: got 0"),
    ('median = 1.5, factor = 1.0', "factor: got 1; expected a number above 1"),
    ('median = 1.5, factor = 1.2, low = 1', "low: unknown argument"),
    ('median = 1.5, scale = 0.2', "median: unknown argument"),
])
def test_a_log_normal_by_median_and_factor(tmp_path, prior, word):
    path = tmp_path / "fit.toml"
    path.write_text(GOOD.replace("loc = 0.2, scale = 0.25", prior))
    if word is not None:
        with pytest.raises(InputError, match=word):
            load_config(path, fit_config_type=Stages)
        return
    theta_E = scene_from_config(load_config(path, fit_config_type=Stages)).mass[0].theta_E
    assert float(theta_E.loc) == pytest.approx(np.log(1.5)) and float(theta_E.scale) == pytest.approx(np.log(1.2))


@pytest.mark.parametrize(("lens", "field", "seen"), [
    ({"z_lens": 0.5, "z_source": 0.4}, "lens.z_source", "got 0.4"), ({"z_lens": -0.1}, "lens.z_lens", "got -0.1"),
    ({"z_lense": 0.1}, "lens.z_lense", "unknown field")])
def test_redshifts_that_cannot_be(lens, field, seen):
    with pytest.raises(InputError, match=rf"{field}: {seen}"):
        read_table(LensConfig, lens, Place(Path("a.toml"), "lens"))
