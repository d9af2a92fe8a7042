"""Files of other codes: lenstronomy's keyword arguments, COOLEST templates, and the commands for them."""

import ast
import csv
import json
import sys
import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _factory import TRUTH, make_result
from astropy.io import fits
from typer.testing import CliRunner

from giga.cli import app
from giga.component import leaves_with_names
from giga.imaging.grid import Grid
from giga.imaging.points import points
from giga.inference.amplitudes import Solved
from giga.inference.pictures import Picture
from giga.inference.settings import FitConfig
from giga.io import exchange
from giga.io.configuration.toml import load_config, scene_from_config
from giga.io.errors import InputError
from giga.io.exchange.coolest_read import chain_of, read_coolest
from giga.io.exchange.coolest_write import Seen, write_coolest
from giga.io.exchange.fitted import filled, read_fitted
from giga.io.exchange.lenstronomy import from_lenstronomy, read_lenstronomy, to_lenstronomy, write_lenstronomy
from giga.io.exchange.tables import distribution_table, scene_tables
from giga.io.images.hdu import read_image
from giga.io.results.folder import SEARCHED, write_last, write_numbers
from giga.io.tables import write_toml
from giga.lensing.cosmology import Cosmology
from giga.lensing.near import located
from giga.lensing.planes import Planes
from giga.lensing.redshifts import Redshifts
from giga.lensing.scene import Scene
from giga.light import Sersic, Shapelets
from giga.light.moffat import Moffat
from giga.light.pixel_image import PixelImage
from giga.light.pixel_source import PixelSource
from giga.light.point import LensedPoint, MicrolensedPoint, Point
from giga.light.uniform_sky import UniformSky
from giga.mass import EPL, NFW, SIE, Shear
from giga.mass.deflection_map import DeflectionMap
from giga.mass.external import Convergence
from giga.mass.pjaffe import PJaffeEllipse

LENS = EPL(theta_E=1.2, gamma=1.9, e1=0.1, e2=-0.07, center_x=0.02, center_y=-0.01)
SHEAR = Shear(gamma1=0.03, gamma2=-0.02)
SOURCE = Sersic(amp=12.0, R_sersic=0.2, n_sersic=1.3, e1=-0.1, e2=0.15, center_x=0.05, b_n="linear")
SCENE = Scene(mass=[LENS, SHEAR], lens_light=[Sersic(amp=4.0, R_sersic=0.8, n_sersic=3.4, e1=0.08)],
              source_light=[SOURCE])
X, Y = np.array([0.9, -1.2, 0.3]), np.array([0.4, 0.7, -1.4])

CONFIG = """
[[observation]]
image = "data.fits"
background_rms = 0.01
exposure_time = 500.0
pixel_scale = 0.15
psf_fwhm = 0.12
psf_size = 5
supersampling = 2
zero_point = 25.5

[lens]
z_lens = 0.4
z_source = 1.5

[[mass]]
profile = "EPL"
theta_E = {dist = "Normal", loc = 1.0, scale = 0.1}
gamma = {dist = "TruncatedNormal", loc = 2.0, scale = 0.2, low = 1.2, high = 2.8}
e1 = {dist = "Normal", loc = 0.0, scale = 0.1}
e2 = {dist = "Normal", loc = 0.0, scale = 0.1}

[[mass]]
profile = "Shear"
gamma1 = {dist = "Normal", loc = 0.0, scale = 0.05}
gamma2 = {dist = "Normal", loc = 0.0, scale = 0.05}

[[lens_light]]
profile = "Sersic"
R_sersic = {dist = "Uniform", low = 0.1, high = 2.0}
n_sersic = 3.0
e1 = 0.1
e2 = -0.05
b_n = "linear"

[[source_light]]
profile = "Sersic"
amp = 12.0
R_sersic = 0.12
n_sersic = 1.0
e1 = 0.15
e2 = 0.1
center_x = {dist = "Normal", loc = 0.0, scale = 0.2}
center_y = {dist = "Normal", loc = 0.0, scale = 0.2}
b_n = "linear"
"""


QUASAR_CONFIG = CONFIG + """
[[source_light]]
profile = "MicrolensedPoint"
center_x = {same_as = "source_light.0.center_x"}
center_y = {same_as = "source_light.0.center_y"}
x = [0.34, -0.9]
y = [-1.06, 0.31]

[planes]
redshifts = [0.4, 1.5]

[[points]]
x = [0.34, -0.9]
y = [-1.06, 0.31]
sigma = 0.01
delay = [20.0]
delay_sigma = 1.0
source = 1
"""


PLANES_CONFIG = """
[[source_light]]
profile = "Sersic"
amp = 9.0
R_sersic = 0.1
n_sersic = 1.0
e1 = 0.0
e2 = 0.0
center_x = 0.1
center_y = 0.1
plane = 1
b_n = "linear"

[[mass]]
profile = "SIE"
theta_E = 0.2
e1 = 0.05
e2 = 0.0
center_x = 0.1
center_y = 0.1
plane = 1

[planes]
redshifts = [0.4, 0.8, 1.5]
reference = 0.9
"""


def fields_of(scene):
    """Deflection and source brightness at some points."""
    return np.asarray(fields(jax.tree.map(np.asarray, scene)))


@jax.jit
def fields(scene):
    return jnp.stack([*sum(jnp.stack(mass.deflection(X, Y)) for mass in scene.mass),
                      sum(light.brightness(X, Y) for light in scene.source_light)])


def run(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def written_run(out: Path, config: str, **points) -> Path:
    """The folder of a fit of 24 x 24 pixels, whose amplitudes were solved for every tenth draw."""
    of, rng = np.arange(0, 100, 10), np.random.default_rng(5)
    best = {"lens_light.0.amp": np.array(4.0)} | points
    solved = Solved({name: value + 0.1 * rng.normal(size=(4, 10, *value.shape)) for name, value in best.items()}, best,
                    dict.fromkeys(best, "ct / (s arcsec2)"), of)
    result = make_result(amplitudes=solved)
    picture = Picture(observation=result.observations[0], model=result.model_images[0], sigma=result.sigma_images[0],
                      lens_light=result.model_images[0], lensed_source=result.model_images[0], source=np.ones((4, 4)),
                      source_grid=Grid(shape=(4, 4), pixel_scale=0.1), curves=[])
    write_numbers(result, [picture], out, config)
    write_last(result, out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return written_run(tmp_path_factory.mktemp("run"), CONFIG)


@pytest.fixture(scope="module")
def quasar(tmp_path_factory) -> Path:
    """The same with a quasar in the pixels, its positions and its delay."""
    return written_run(tmp_path_factory.mktemp("quasar"), QUASAR_CONFIG, **{"source_light.1.amp": np.array([5.0, 3.0])})


# ---- lenstronomy ------------------------------------------------------------------------------------------------

def test_a_scene_comes_back_from_lenstronomys_file(tmp_path, x64):
    path = write_lenstronomy(tmp_path / "lens.json", SCENE)
    scene, notes = read_lenstronomy(path)
    assert not notes and scene.lens_light[0].b_n == "linear"
    np.testing.assert_allclose(fields_of(scene), fields_of(SCENE), rtol=1e-12)
    np.testing.assert_allclose(scene.lens_light[0].brightness(X, Y), SCENE.lens_light[0].brightness(X, Y), rtol=1e-12)
    again = to_lenstronomy(scene)
    assert json.loads(path.read_text()) == again
    flat = tmp_path / "flat.json"  # its lists side by side, as scripts have them
    flat.write_text(json.dumps(again["kwargs_model"] | again["kwargs_result"]))
    assert to_lenstronomy(read_lenstronomy(flat)[0]) == again


def test_amplitudes_that_are_solved_are_left_out_both_ways():
    scene = Scene(mass=[LENS], source_light=[Shapelets(beta=0.3, n_max=2), SOURCE.replace(amp=None)])
    kwargs = to_lenstronomy(scene)
    assert all("amp" not in row for row in kwargs["kwargs_result"]["kwargs_source"])
    again, _ = from_lenstronomy(**kwargs)
    assert again.is_linear and again.source_light[0].n_max == 2


def test_planes_come_back_from_lenstronomy():
    planes = Planes(redshifts=[0.3, 0.8, 2.0], reference=3.0)
    scene = Scene(mass=[LENS, SIE(theta_E=0.2, plane=1)], source_light=[SOURCE, SOURCE.replace(plane=1)], planes=planes)
    kwargs = to_lenstronomy(scene)
    assert kwargs["kwargs_model"]["lens_redshift_list"] == [0.3, 0.8]
    assert kwargs["kwargs_model"]["source_redshift_list"] == [2.0, 0.8]
    again, _ = from_lenstronomy(**kwargs)
    assert [p.plane for p in again.mass] == [0, 1] and [p.plane for p in again.source_light] == [2, 1]
    assert again.planes.redshifts == [0.3, 0.8, 2.0] and again.planes.reference == 3.0
    tables, _ = scene_tables(again, None)
    assert tables["planes"]["redshifts"] == [0.3, 0.8, 2.0] and tables["mass"][1]["plane"] == 1
    with pytest.raises(InputError, match=r"planes.cosmology: got|planes.cosmology: Ok0"):
        to_lenstronomy(scene.replace(planes=planes.replace(cosmology=planes.cosmology.replace(w0=-0.9))))
    with pytest.raises(InputError, match="lens_redshift_list: 1 redshifts; expected 2, one a profile"):
        from_lenstronomy(kwargs["kwargs_model"] | {"lens_redshift_list": [0.3]}, kwargs["kwargs_result"])
    with pytest.raises(InputError, match="planes.reference: got"):
        from_lenstronomy(kwargs["kwargs_model"] | {"z_source_convention": 0.5}, kwargs["kwargs_result"])


@pytest.mark.parametrize(("text", "words"), [
    ("{", "cannot be read"), ("[]", "neither kwargs_model nor lens_model_list"),
    ('{"kwargs_model": []}', "kwargs_model: a list"),
    ('{"lens_model_list": ["EPL"], "kwargs_lens": []}', "kwargs_lens: 0 entries; expected 1, one for each"),
    ('{"lens_model_list": ["SIS"], "kwargs_lens": [{"theta": 1}]}', "kwargs_lens.0.theta: no parameter of"),
    ('{"source_light_model_list": ["SERSIC"], "kwargs_source": [{"R_sersic": 0, "n_sersic": 1}]}',
     "kwargs_source.0: SERSIC with R_sersic = [0]; expected R_sersic above 0"),
])
def test_bad_files_of_lenstronomy_are_one_line(tmp_path, text, words):
    path = tmp_path / "lens.json"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_lenstronomy(path)
    assert str(error.value).startswith(str(path)) and words in str(error.value) and "\n" not in str(error.value)


QUASAR = SCENE.replace(
    lens_light=[*SCENE.lens_light, Point(amp=3.0, center_x=1.4, center_y=-1.1)],
    source_light=[LensedPoint(amp=2.0, center_x=0.05, center_y=0.02, x=(1.2, -1.1), y=(0.1, -0.1)), SOURCE,
                  MicrolensedPoint(amp=np.array([4.0, 1.0]), center_x=0.05, center_y=0.02, x=(1.2, -1.1),
                                   y=(0.1, -0.1))])
"""A star, a quasar whose images are as bright as they are magnified, and one whose are not."""


def laid_of(scene):
    """The points of a scene on pixels that its own PSF would take."""
    with jax.enable_x64(True):
        return np.asarray(jax.jit(points, static_argnums=2)(scene, Grid(shape=(40, 40), pixel_scale=0.1), 1))


@pytest.mark.parametrize("several", [False, True], ids=["one plane", "planes"])
def test_points_of_light_come_back_from_lenstronomy(tmp_path, several):
    planes = Planes(redshifts=[0.3, 1.0, 2.0]) if several else ()
    scene = QUASAR.replace(planes=planes, source_light=[p.replace(plane=1) if several and k == 0 else p
                                                        for k, p in enumerate(QUASAR.source_light)])
    path = write_lenstronomy(tmp_path / "lens.json", scene)
    content = json.loads(path.read_text())
    model, result = content["kwargs_model"], content["kwargs_result"]
    assert model["source_light_model_list"] == ["SERSIC_ELLIPSE"] and len(result["kwargs_source"]) == 1
    assert model["point_source_model_list"] == ["UNLENSED", "LENSED_POSITION", "LENSED_POSITION"]
    assert model["fixed_magnification_list"] == [False, True, False]
    assert [sorted(row) for row in result["kwargs_ps"]] == [
        ["dec_image", "point_amp", "ra_image"], ["dec_image", "ra_image", "source_amp"],
        ["dec_image", "point_amp", "ra_image"]]
    if several:
        assert model["point_source_redshift_list"] == [None, 1.0, 2.0] and model["source_redshift_list"] == [2.0]
    again, notes = read_lenstronomy(path)
    assert not notes and [type(p) for p in again.source_light] == [Sersic, LensedPoint, MicrolensedPoint]
    np.testing.assert_allclose([again.source_light[k].center_x for k in (1, 2)], 0.05, atol=1e-9)
    np.testing.assert_allclose(laid_of(again), laid_of(scene), rtol=1e-7, atol=1e-7)
    tables, left = scene_tables(again, None)
    assert tables["source_light"][2]["x"] == pytest.approx(result["kwargs_ps"][2]["ra_image"])
    assert left == ["source_light.2.amp: left out, a configuration solves the amplitudes of MicrolensedPoint"]


def test_point_sources_of_lenstronomy_that_giga_cannot_take():
    lens = {"lens_model_list": ["SIS"]}, {"kwargs_lens": [{"theta_E": 1.0}]}

    def back(names, rows, **more):
        return from_lenstronomy(lens[0] | {"point_source_model_list": names} | more, lens[1] | {"kwargs_ps": rows})

    scene, notes = back(["SOURCE_POSITION"], [{"ra_source": 0.0, "dec_source": 0.0}])
    assert not scene.source_light and notes == [
        "point_source_model_list.0: SOURCE_POSITION left out, which does not say where its images are; LENSED_POSITION "
        "does"]
    _, notes = back(["LENSED_POSITION"], [{"ra_image": [1.2, -0.8], "dec_image": [0.0, 0.1]}])
    assert notes == ["source_light.0: its images are traced to up to 0.013 arcsec from their mean, where the source is "
                     "put"]
    for names, rows, more, words in (
            (["UNLENSED"], [], {}, "kwargs_ps: 0 entries; expected 1, one for each of point_source_model_list"),
            (["LENSED"], [{}], {}, "kwargs_ps.0: lenstronomy's profile 'LENSED'; expected"),
            (["LENSED_POSITION"], [{"ra_image": [1.0, 2.0], "dec_image": [0.0]}], {},
             "kwargs_ps.0.dec_image: shape (1,); expected (2,), one an image"),
            (["UNLENSED"], [{"ra_image": [1.0, 2.0], "dec_image": [0.0, 1.0], "point_amp": [1.0]}], {},
             "kwargs_ps.0.point_amp: shape (1,); expected (2,), one an image"),
            (["UNLENSED"], [{"ra_image": [1.0], "dec_image": [0.0]}], {"fixed_magnification_list": [True, False]},
             "fixed_magnification_list: 2 entries; expected 1")):
        with pytest.raises(InputError) as error:
            back(names, rows, **more)
        assert str(error.value).startswith(words)


@pytest.mark.parametrize("code", ["lenstronomy", "coolest"])
def test_a_softened_core_is_in_the_record_of_what_is_not(code, tmp_path):
    softened = written_run(tmp_path, CONFIG + "softening = 0.01\n")  # of the source, which stands last
    result = run("export", softened, "--to", code, "--out", tmp_path / "lens.json")
    name = {"coolest": "COOLEST"}.get(code, code)
    assert result.exit_code == 0, result.output
    assert f"skipped source_light.0.softening: 0.01 arcsec: {name} draws the cusp as it is" in " ".join(
        result.output.split())


def test_a_run_with_points_goes_to_lenstronomy(quasar, tmp_path):
    """The quasar is in the file, and what was measured of it in the record of what is not."""
    out = tmp_path / "kwargs.json"
    result = run("export", quasar, "--to", "lenstronomy", "--out", out)
    said = "2 positions, 1 delays, which are data of the fit: lenstronomy's file has none of them"
    assert result.exit_code == 0 and f"skipped points.0: {said}" in " ".join(result.output.split())
    content = json.loads(out.read_text())
    assert content["giga_skipped"] == [f"points.0: {said}"]
    (row,) = content["kwargs_result"]["kwargs_ps"]
    assert row["point_amp"] == [5.0, 3.0] and content["kwargs_model"]["point_source_redshift_list"] == [1.5]
    best = read_fitted(quasar).best
    np.testing.assert_allclose(laid_of(read_lenstronomy(out)[0]), laid_of(best), rtol=1e-7, atol=1e-7)


def test_a_fit_of_points_alone_goes_to_lenstronomy(tmp_path):
    """Without an image there is a lens all the same; a template of COOLEST is of an image."""
    tables = tomllib.loads(QUASAR_CONFIG)
    kept = {name: tables[name] for name in ("lens", "mass", "planes")}
    kept["points"] = [{key: value for key, value in tables["points"][0].items() if key != "source"}]
    (tmp_path / "config.toml").write_text(write_toml(kept))
    (tmp_path / "search.json").write_text(json.dumps(dict.fromkeys(SEARCHED, 0) | {"best": TRUTH, "chi2": 1.0}))
    out = tmp_path / "kwargs.json"
    result = run("export", tmp_path, "--to", "lenstronomy", "--out", out)
    assert result.exit_code == 0 and "nothing is sampled yet" in " ".join(result.output.split())
    content = json.loads(out.read_text())
    assert content["kwargs_model"]["lens_model_list"] == ["EPL", "SHEAR"] and len(content["giga_skipped"]) == 1
    assert "kwargs_ps" not in content["kwargs_result"]
    result = run("export", tmp_path, "--to", "coolest", "--out", tmp_path / "lens.json")
    assert result.exit_code == 2 and "observation: none; expected a fit to an image" in " ".join(result.stderr.split())
    result = run("export", tmp_path, "--to", "lenstronomy", "--out", tmp_path / "x.json", "--observation", 1)
    assert result.exit_code == 2 and "expected none, of a fit without an image" in " ".join(result.stderr.split())


# ---- tables of a configuration ----------------------------------------------------------------------------------

@pytest.mark.parametrize("one", [
    dist.Normal(0.1, 0.2), dist.LogNormal(0.1, 0.2), dist.Uniform(-1.0, 2.0), dist.LogUniform(0.1, 2.0),
    dist.HalfNormal(0.3), dist.TruncatedNormal(0.1, 0.2, low=0.0), dist.TruncatedNormal(0.1, 0.2, low=0.0, high=1.0)])
def test_a_distribution_is_written_as_it_is_read(one, tmp_path):
    table = distribution_table(one, "mass.0.theta_E")
    names = {key: value for key, value in table.items() if key != "dist"}
    again = getattr(dist, table["dist"])(**names)
    points = np.array([0.2, 0.4], np.float32)
    np.testing.assert_allclose(again.log_prob(points), one.log_prob(points), rtol=1e-6)


def test_ties_and_what_a_configuration_cannot_hold():
    shared = dist.Normal(0.0, 0.1)
    scene = Scene(mass=[LENS.replace(center_x=shared)], source_light=[SOURCE.replace(center_x=shared)])
    tables, _ = scene_tables(scene, None)
    assert tables["source_light"][0]["center_x"] == {"same_as": "mass.0.center_x"}
    with pytest.raises(InputError, match="mass.0.alpha_x: a field in memory"):
        scene_tables(Scene(mass=[DeflectionMap.of(np.zeros((5, 5)), np.zeros((5, 5)), 0.1)]), None)
    with pytest.raises(InputError, match=r"mass.0.theta_E: a distribution Gamma .*; expected a scalar one of"):
        scene_tables(Scene(mass=[LENS.replace(theta_E=dist.Gamma(1.0, 2.0))]), None)


# ---- a run ------------------------------------------------------------------------------------------------------

def test_a_run_is_read_back(folder):
    fitted = read_fitted(folder)
    assert fitted.sampled and float(fitted.best.mass[0].theta_E) == TRUTH["mass.0.theta_E"]
    assert fitted.draws.mass[0].theta_E.shape == (40,) == fitted.draws.lens_light[0].amp.shape
    assert fitted.draws.source_light[0].R_sersic == 0.12  # what is fixed stays a number
    assert float(fitted.best.lens_light[0].amp) == 4.0
    with pytest.raises(InputError, match=r"config.toml: --observation: got 1; expected 0 to 0, of 1 observations"):
        read_fitted(folder, 1)
    with pytest.raises(InputError, match="mass.0.gamma: missing"):
        filled(fitted.prior, {"mass.0.theta_E": 1.0})


def test_lenstronomys_arguments_of_a_run(folder, tmp_path):
    out = tmp_path / "kwargs.json"
    result = run("export", folder, "--to", "lenstronomy", "--out", out)
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["kwargs_model"]["lens_model_list"] == ["EPL", "SHEAR"] and content["posterior"] is True
    assert content["kwargs_result"]["kwargs_lens"][0]["theta_E"] == TRUTH["mass.0.theta_E"]
    assert content["kwargs_result"]["kwargs_lens_light"][0]["amp"] == 4.0
    again = run("export", folder, "--to", "lenstronomy", "--out", out)
    assert again.exit_code == 2 and "is there already" in again.stderr
    assert run("export", tmp_path, "--to", "lenstronomy", "--out", tmp_path / "x.json").exit_code == 2
    lens = tmp_path / "lens.toml"
    result = run("import", out, "--from", "lenstronomy", "--out", lens, "--priors", "galaxy-scale", "--observation",
                 folder / "config.toml")
    assert result.exit_code == 0, result.output
    scene = scene_from_config(load_config(lens, fit_config_type=FitConfig))
    assert len(dict(leaves_with_names(scene))) == 20 and isinstance(scene.mass[0].theta_E, dist.LogNormal)


def test_a_model_without_data_says_what_is_missing(tmp_path):
    path = write_lenstronomy(tmp_path / "kwargs.json", SCENE.replace(
        source_light=[PixelImage(amp=2.0, image=np.ones((4, 4)), scale=0.1)]))
    out = tmp_path / "lens.toml"
    result = run("import", path, "--from", "lenstronomy", "--out", out)
    assert result.exit_code == 0 and "no [[observation]]" in result.output
    tables = tomllib.loads(out.read_text())
    assert tables["mass"][0]["theta_E"] == 1.2 and "observation" not in tables
    image, _, _ = read_image(tables["source_light"][0]["image"])
    np.testing.assert_array_equal(image, np.ones((4, 4)))
    assert run("import", path, "--from", "lenstronomy", "--out", out, "--priors", "galxy").exit_code == 2
    bad = write_lenstronomy(tmp_path / "bad.json", Scene(mass=[LENS], source_light=[
        PixelImage(amp=2.0, image=np.ones((4, 4)), scale=0.1, interpolation="bilinear")], lens_light=[SOURCE]))
    bad.write_text(bad.read_text().replace('"n_sersic": 1.3', '"n_sersic": 900.0'))
    before = sorted(tmp_path.iterdir())
    result = run("import", bad, "--from", "lenstronomy", "--out", tmp_path / "new.toml")
    assert result.exit_code == 2 and sorted(tmp_path.iterdir()) == before  # nothing half-written


# ---- COOLEST ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("content", "words"), [
    ({"standard": "COOLEST", "meta": {"coolest.__version__": "1.0.0"}},
     "meta.coolest.__version__: got '1.0.0'; expected a version 0.x, as COOLEST 0.1.11"),
    ({"standard": "COOLEST", "meta": {}}, "meta.coolest.__version__: missing"),
    ({"standard": "COOL"}, "standard: got 'COOL'; expected 'COOLEST'"), ([1], "standard: got list"),
])
def test_another_major_version_is_refused(tmp_path, content, words):
    path = tmp_path / "template.json"
    path.write_text(json.dumps(content))
    result = run("import", path, "--from", "coolest", "--out", tmp_path / "lens.toml")
    assert result.exit_code == 2 and words in " ".join(result.stderr.split()) and result.stderr.count("error:") == 1
    assert not (tmp_path / "lens.toml").exists()


def test_without_the_package_one_line_says_how_to_get_it(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "coolest.template.lazy", None)
    result = run("export", folder, "--to", "coolest", "--out", tmp_path / "lens.json")
    assert result.exit_code == 2 and "pip install 'giga[interop]'" in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


def test_a_template_of_a_run(folder, tmp_path, x64):
    pytest.importorskip("coolest")
    out = tmp_path / "lens.json"
    result = run("export", folder, "--to", "coolest", "--out", out)
    assert result.exit_code == 0, result.output
    content, fitted = json.loads(out.read_text()), read_fitted(folder)
    lens, external, source = content["lensing_entities"]
    assert [one["redshift"] for one in content["lensing_entities"]] == [0.4, 0.4, 1.5]
    # Quantiles and chain are those of COOLEST's own parameters of every draw
    e = np.hypot(fitted.draws.mass[0].e1, fitted.draws.mass[0].e2)
    q = lens["mass_model"][0]["parameters"]["q"]
    assert q["posterior_stats"]["median"] == pytest.approx(np.median((1.0 - e) / (1.0 + e)), rel=1e-12)
    chain = chain_of(out)
    assert set(map(len, chain.values())) == {40} and chain["probability_weights"].sum() == pytest.approx(1.0)
    np.testing.assert_allclose(chain["0-galaxy-mass-0-PEMD-q"], (1.0 - e) / (1.0 + e), rtol=1e-12)
    np.testing.assert_allclose(chain["0-galaxy-light-0-Sersic-I_eff"], fitted.draws.lens_light[0].amp, rtol=1e-12)
    assert "2-galaxy-light-0-Sersic-theta_eff" not in chain  # fixed
    assert source["light_model"][0]["parameters"]["theta_eff"]["fixed"] is True
    gamma = external["mass_model"][0]["parameters"]["gamma_ext"]["point_estimate"]["value"]
    assert gamma == pytest.approx(np.hypot(TRUTH["mass.1.gamma1"], TRUTH["mass.1.gamma2"]))
    with (tmp_path / content["meta"]["chain_file_name"]).open() as file:
        assert next(csv.reader(file))[-1] == "probability_weights"
    assert fits.getdata(tmp_path / content["observation"]["pixels"]["fits_file"]["path"]).shape == (24, 24)
    assert content["observation"]["mag_zero_point"] == 25.5
    assert content["instrument"]["psf"]["fwhm"] == pytest.approx(0.8)  # pixels
    record = json.loads((tmp_path / "lens_skipped.json").read_text())
    assert {"what": "mass.0.gamma: prior", "why": "TruncatedNormal, which COOLEST does not define; posterior_stats are "
            "there"} in record
    # And back: the same lens, with the priors and the data that the template has
    template = read_coolest(out)
    np.testing.assert_allclose(fields_of(template.scene), fields_of(fitted.best), rtol=1e-12)
    assert sorted(template.priors) == ["lens_light.0.R_sersic", "mass.0.theta_E", "source_light.0.center_x",
                                       "source_light.0.center_y"]
    assert {"source_light.0.R_sersic", "lens_light.0.e1", "source_light.0.amp"} <= template.fixed
    toml = tmp_path / "again.toml"
    result = run("import", out, "--from", "coolest", "--out", toml, "--priors", "galaxy-scale")
    assert result.exit_code == 0, result.output
    config = load_config(toml, fit_config_type=FitConfig)
    scene = scene_from_config(config)
    assert config.observation[0].noise_map == tmp_path / "lens_noise.fits" and config.lens.z_source == 1.5
    assert isinstance(scene.mass[0].gamma, dist.Distribution) and scene.source_light[0].R_sersic == 0.12
    assert isinstance(scene.mass[0].theta_E, dist.Normal) and float(scene.mass[0].theta_E.loc) == 1.0


def test_a_template_of_a_run_with_points(quasar, tmp_path, x64):
    pytest.importorskip("coolest")
    out = tmp_path / "lens.json"
    result = run("export", quasar, "--to", "coolest", "--out", out)
    assert result.exit_code == 0, result.output
    content, fitted = json.loads(out.read_text()), read_fitted(quasar)
    point = content["lensing_entities"][2]["light_model"][1]
    assert point["type"] == "LensedPS" and point["parameters"]["amps"]["point_estimate"]["value"] == [5.0, 3.0]
    # Quantiles are those of the images of every draw
    found = located(fitted.best).source_light[1].found
    places = point["parameters"]["ra_list"]
    np.testing.assert_allclose(places["point_estimate"]["value"], found[0], rtol=1e-9)
    low, high = (np.array(places["posterior_stats"][f"percentile_{k}th"]) for k in (16, 84))
    assert np.all(high - low > 1e-3) and np.all(np.abs(0.5 * (low + high) - found[0]) < high - low)
    skipped = {one["what"]: one["why"] for one in json.loads((tmp_path / "lens_skipped.json").read_text())}
    assert skipped["points.0"].startswith("2 positions, 1 delays, which are data of the fit")
    assert {"source_light.1: chain of ra_list", "source_light.1: its place in the source plane"} <= set(skipped)
    template = read_coolest(out)
    assert not template.notes and template.lens["z_source"] == 1.5
    assert [type(p) for p in template.scene.source_light] == [Sersic, MicrolensedPoint]
    np.testing.assert_allclose(laid_of(template.scene), laid_of(fitted.best), rtol=1e-7, atol=1e-7)


def test_a_template_of_a_run_with_several_planes(tmp_path, x64):
    """A mass and a source between: strengths are those of the last plane, and an import has the lens of the fit."""
    pytest.importorskip("coolest")
    (tmp_path / "run").mkdir()
    fit = written_run(tmp_path / "run", CONFIG + PLANES_CONFIG)
    out, toml = tmp_path / "lens.json", tmp_path / "again.toml"
    result = run("export", fit, "--to", "coolest", "--out", out)
    assert result.exit_code == 0, result.output
    content, fitted = json.loads(out.read_text()), read_fitted(fit)
    assert [one["name"] for one in content["lensing_entities"]] == [
        "lens_plane_0", "field_plane_0", "lens_and_source_plane_1", "source_plane_2"]
    planes = fitted.best.planes
    factor = float(planes.weights([0])[0, -1])
    assert factor > 1.2
    lens = content["lensing_entities"][0]["mass_model"][0]["parameters"]["theta_E"]
    radii = fitted.draws.mass[0].theta_E * factor ** (1.0 / (fitted.draws.mass[0].gamma - 1.0))
    assert lens["posterior_stats"]["median"] == pytest.approx(np.median(radii), rel=1e-12)
    record = {one["what"]: one["why"] for one in json.loads((tmp_path / "lens_skipped.json").read_text())}
    assert "differs by more than a number" in record["mass.0.theta_E: prior"]
    result = run("import", out, "--from", "coolest", "--out", toml)
    assert result.exit_code == 0, result.output
    scene = scene_from_config(load_config(toml, fit_config_type=FitConfig))
    best = jax.tree.map(np.asarray, fitted.best)
    assert scene.planes.reference == 0.9 and [p.plane for p in scene.source_light] == [1, 2]
    for k in (1, 2):
        found, wanted = (one.lenses(k)[0].deflection(X, Y) for one in (jax.tree.map(np.asarray, scene), best))
        np.testing.assert_allclose(found, wanted, atol=1e-8)


def test_what_coolest_cannot_say_of_points_and_planes(tmp_path):
    pytest.importorskip("coolest")
    planes = Planes(redshifts=[0.3, 1.0], cosmology=Cosmology(H0=67.0))
    scene = QUASAR.replace(planes=planes)
    prior = scene.replace(planes=planes.replace(cosmology=Cosmology(H0=dist.Uniform(40.0, 100.0))))
    path = tmp_path / "lens.json"
    _, skipped = write_coolest(path, scene, Seen(pixel_scale=0.05), prior=prior)
    reasons = dict(skipped)
    assert reasons["lens_light.1"].startswith("Point, which COOLEST does not have")
    assert "one number of it" in reasons["planes.cosmology.H0: prior and posterior"]
    assert "a flux of each image" in reasons["source_light.0: fluxes tied to the magnifications"]
    template = read_coolest(path)
    assert template.lens == {"z_lens": 0.3, "z_source": 1.0, "H0": 67.0, "Om0": 0.3}
    assert [type(p) for p in template.scene.source_light] == [MicrolensedPoint, Sersic, MicrolensedPoint]
    np.testing.assert_allclose(laid_of(template.scene), laid_of(scene.replace(lens_light=[])), rtol=1e-7, atol=1e-7)
    content = json.loads(path.read_text())
    lens, _, source = content["lensing_entities"]
    for name, rows, words in (("dec_list", [0.1], "dec_list: shape (1,); expected (2,), one an image"),
                              (None, None, "light_model.1: LensedPS of a galaxy that is no source")):
        changed = json.loads(json.dumps(content))
        if name:
            changed["lensing_entities"][2]["light_model"][0]["parameters"][name]["point_estimate"]["value"] = rows
        else:
            changed["lensing_entities"][0]["light_model"].append(source["light_model"][0])
        path.write_text(json.dumps(changed))
        with pytest.raises(InputError) as error:
            read_coolest(path)
        assert words in str(error.value)


def test_all_that_coolest_has_and_the_record_of_what_it_has_not(tmp_path, x64, rng):
    pytest.importorskip("coolest")
    pixels = PixelSource(amp=rng.normal(size=25), half_size=0.6, center_x=0.1, sd=1.0, length=0.2, n_pixels=5)
    scene = Scene(
        mass=[SIE(theta_E=0.9, e1=0.2, e2=0.1), NFW(Rs=3.0, alpha_Rs=1.0), Convergence(kappa=0.05),
              PJaffeEllipse(sigma0=1.0, Ra=0.1, Rs=1.0), SHEAR],
        lens_light=[UniformSky(amp=-0.1), Moffat(amp=1.0, alpha=0.3, beta=2.0), UniformSky(amp=0.1)],
        source_light=[pixels, Shapelets(amp=rng.normal(size=6), beta=0.3, n_max=2),
                      PixelImage(amp=2.0, image=rng.uniform(size=(6, 6)), scale=0.1, center_y=0.2)])
    seen = Seen(pixel_scale=0.05, image=np.zeros((4, 6)), psf=np.ones((3, 3)) / 9.0)
    files, skipped = write_coolest(tmp_path / "lens.json", scene, seen, redshifts=Redshifts(0.3, 1.0))
    reasons = dict(skipped)
    assert reasons["mass.1"].startswith("NFW, which COOLEST does not have")
    assert reasons["mass.3"].startswith("PJaffeEllipse") and "Moffat" in reasons["lens_light.1"]
    assert "cannot be smaller than 0" in reasons["lens_light.0"] and "4 x 6 pixels" in reasons["observation.image"]
    assert [one["what"] for one in json.loads((tmp_path / "lens_skipped.json").read_text())] == [w for w, _ in skipped]
    assert all(path.is_file() for path in files)
    template = read_coolest(tmp_path / "lens.json")
    made = template.scene
    assert [type(p) for p in (*made.mass, *made.lens_light)] == [SIE, Convergence, Shear, UniformSky]
    grid = made.source_light[0]
    # at the values that the sines pass through
    nodes = np.meshgrid(*(0.2 * (np.arange(5) - 2.0) + at for at in (0.1, 0.0)))
    np.testing.assert_allclose(grid.brightness(*nodes), pixels.brightness(*nodes), atol=1e-10)
    for k in (1, 2):
        np.testing.assert_allclose(made.source_light[k].brightness(X / 4, Y / 4),
                                   scene.source_light[k].brightness(X / 4, Y / 4), rtol=1e-9)
    np.testing.assert_allclose(made.mass[2].gamma1, SHEAR.gamma1, rtol=1e-12)
    assert template.lens["z_lens"] == 0.3 and template.observation["psf"].endswith("lens_psf.fits")


def test_templates_that_giga_cannot_take_are_one_line(tmp_path):
    pytest.importorskip("coolest")
    path = tmp_path / "lens.json"
    write_coolest(path, SCENE, Seen(pixel_scale=0.05), redshifts=Redshifts(0.3, 1.0))
    content = json.loads(path.read_text())

    def refused(words, **changes):
        path.write_text(json.dumps(content | changes))
        with pytest.raises(InputError) as error:
            read_coolest(path)
        assert words in str(error.value) and "\n" not in str(error.value)

    refused("cannot be read (TypeError", lensing_entities=None)
    halo = json.loads(json.dumps(content["lensing_entities"]))
    parameters = halo[0]["mass_model"][0]["parameters"]
    halo[0]["mass_model"][0] = {"type": "NFW", "parameters": {
        "r_s": parameters["theta_E"], "rho_c": parameters["theta_E"]}
        | {key: parameters[key] for key in ("q", "phi", "center_x", "center_y")}}
    refused("lensing_entities.0.mass_model.0: COOLEST's profile 'NFW'; expected one of", lensing_entities=halo)
    with pytest.raises(InputError, match="suffix '.txt'; expected '.json'"):
        write_coolest(tmp_path / "lens.txt", SCENE, Seen(pixel_scale=0.05))


def test_angles_near_the_seam_have_quantiles_of_one_side(tmp_path):
    """A lens whose axis is along x: COOLEST's angle is 90 or -90 degrees, and draws lie on both sides."""
    pytest.importorskip("coolest")
    rng = np.random.default_rng(2)
    best = SIE(theta_E=1.0, e1=0.3, e2=0.001)
    drawn = best.replace(e2=0.02 * rng.normal(size=200))
    write_coolest(tmp_path / "lens.json", Scene(mass=[best]), Seen(pixel_scale=0.05), draws=Scene(mass=[drawn]))
    phi = json.loads((tmp_path / "lens.json").read_text())["lensing_entities"][0]["mass_model"][0]["parameters"]["phi"]
    stats = phi["posterior_stats"]
    assert stats["percentile_84th"] - stats["percentile_16th"] < 5.0
    column = chain_of(tmp_path / "lens.json")["0-galaxy-mass-0-SIE-phi"]
    assert column.min() < -85.0 and column.max() > 85.0 and np.all(np.abs(column) <= 90.0)


def test_every_command_shows_its_help():
    for command in ("export", "import"):
        assert run(command, "--help").exit_code == 0


def test_the_exchange_imports_no_other_code():
    """What a user has not installed is asked for where it is needed, by `package` alone."""
    files = sorted(Path(exchange.__file__).parent.glob("*.py"))
    assert len(files) > 10
    for file in files:
        roots = {name.split(".")[0] for node in ast.walk(ast.parse(file.read_text()))
                 for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else
                              [node.module or ""] if isinstance(node, ast.ImportFrom) else [])}
        assert not roots & {"coolest", "lenstronomy", "tensorflow_probability", "caustics", "herculens"}, file
