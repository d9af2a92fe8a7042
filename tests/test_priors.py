"""Named sets of priors: what they give, what they are scaled by, and that what is written stands."""

import dataclasses

import numpy as np
import numpyro.distributions as dist
import pytest
from astropy.io import fits

from giga.component import is_distribution, leaves_with_names
from giga.inference.settings import FitConfig
from giga.io.configuration.priors import GALAXY_SCALE, SETS, Expected, parts
from giga.io.configuration.profiles import SECTIONS
from giga.io.configuration.start import Start, text_of
from giga.io.configuration.toml import dump_config, load_config, parse_config, read_toml_text, scene_from_config
from giga.io.errors import InputError
from giga.jobs.job import prepare
from giga.mass.gaussian import MultiGaussian

pytestmark = pytest.mark.quick

HEAD = """priors = "galaxy-scale"
[[observation]]
image = "image.fits"
pixel_scale = 0.1
background_rms = 0.1
"""
BARE = HEAD + """
[[mass]]
profile = "SIE"
[[lens_light]]
profile = "MultiGaussian"
[[source_light]]
profile = "Sersic"
"""
RING = "mask_keep = [{radius = 2.0, x = 0.3, y = -0.4}]\n"


@pytest.fixture
def load(tmp_path):
    def read(text, shape=(41, 61), name="lens.toml"):
        if shape is not None:
            fits.writeto(tmp_path / "image.fits", np.ones(shape), overwrite=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
        return load_config(tmp_path / name, fit_config_type=FitConfig)
    return read


def values(config, section, k=0):
    return dict(getattr(config, section)[k].parameters)


def test_every_profile_gets_all_that_it_needs(load):
    text = HEAD
    for section, classes in SECTIONS.items():
        for name, cls in classes.items():
            seen = section in getattr(cls, "sections", SECTIONS) and not getattr(cls, "is_point", False)
            if getattr(cls, "absolute", False):  # of a cluster, for which no set is named
                continue
            if not seen or name in ("PixelImage", "PixelSource", "DeflectionMap"):  # of files, or of an earlier fit
                continue
            text += f'[[{section}]]\nprofile = "{name}"\n'
            if cls is MultiGaussian:  # of mass, whose numbers are lists
                text += "amp = [0.1, 0.2]\nsigma = [0.5, 1.5]\n"
    config = load(text)
    scene = scene_from_config(config)
    free = [name for name, leaf in leaves_with_names(scene) if is_distribution(leaf)]
    shapes = [name for name in free if name.endswith((".e1", ".center_x"))]
    assert len(shapes) > 30  # which by their own defaults are fixed numbers


def test_a_point_has_no_named_priors_and_is_no_centre(load):
    """A star beside the lens: what is near its middle is not near the star, and the star must be written."""
    star = '[[lens_light]]\nprofile = "Point"\ncenter_x = 1.5\ncenter_y = -0.7\n'
    text = HEAD.rstrip() + "\n" + star + '[[mass]]\nprofile = "SIE"\n'
    assert dict(values(load(text), "mass", 0)["center_x"].arguments)["loc"] == 0.0
    with pytest.raises(InputError, match="lens_light.0.center_y: missing"):
        load(text.replace("center_y = -0.7\n", ""))


def test_no_rule_is_for_nothing():
    for rule in GALAXY_SCALE:
        for name in rule.profiles or SECTIONS[rule.section]:
            fields = {field.name for field in dataclasses.fields(SECTIONS[rule.section][name])}
            assert not rule.profiles or set(rule.parameters) <= fields, rule
        everything = {field.name for cls in SECTIONS[rule.section].values() for field in dataclasses.fields(cls)}
        assert set(rule.parameters) <= everything, rule


@pytest.mark.parametrize(("text", "shape", "theta_E", "center", "widest"), [
    (BARE, (41, 61), 1.025, (0.0, 0.0), 3.08),  # half of the radius of the field, 2.05; twice R = 1.5 theta_E
    (BARE, (121, 121), 1.2, (0.0, 0.0), 6.05),
    (BARE.replace("background", RING + "background"), (121, 121), 1.0, (0.3, -0.4), 3.0),
    (BARE.replace("background", "cutout = {size = 21, x = 40, y = 30}\nbackground"), (121, 121), 0.525, (0.0, 0.0),
     1.575),
    (BARE.replace('"SIE"', '"SIE"\ncenter_x = {dist = "Normal", loc = 0.7, scale = 0.1}'), (121, 121), 1.2, (0.7, 0.0),
     6.05),
    (BARE, None, 1.2, (0.0, 0.0), 5.0),  # an image that is not there is refused when it is loaded
])
def test_priors_are_scaled_to_the_field(load, text, shape, theta_E, center, widest):
    config = load(text, shape)
    mass, light, source = (values(config, section) for section in SECTIONS)
    (_, loc), (_, scale) = mass["theta_E"].arguments
    # Three digits are kept of what is written.
    assert np.exp(loc) == pytest.approx(theta_E, rel=5e-3) and np.exp(scale) == pytest.approx(1.6)
    assert light["sigma_min"] == pytest.approx(0.03) and light["sigma_max"] == pytest.approx(widest, rel=5e-3)
    for part in (light, source):
        found = [dict(part[f"center_{axis}"].arguments)["loc"] for axis in "xy"]
        assert found == pytest.approx(center)
    assert dict(source["center_x"].arguments)["scale"] == pytest.approx(0.25 * theta_E, rel=1e-2)
    assert dict(config.lens_light[0].settings)["n_gaussians"] == 20


def test_what_is_written_stands(load):
    text = BARE.replace('"SIE"', '"SIE"\ntheta_E = 1.4\ne1 = 0.1\ne2 = {same_as = "lens_light.0.e2"}')
    config = load(text.replace('"Sersic"', '"Sersic"\namp = 2.0\nn_sersic = 1'))
    scene = scene_from_config(config)
    assert scene.mass[0].theta_E == 1.4 and scene.mass[0].e1 == 0.1 and isinstance(scene.mass[0].center_x, dist.Normal)
    assert scene.mass[0].e2 is scene.lens_light[0].e2 and scene.source_light[0].amp == 2.0
    assert set(config.taken) >= {"mass.0.center_x", "source_light.0.R_sersic", "lens_light.0.n_gaussians"}
    assert not set(config.taken) & {"mass.0.theta_E", "mass.0.e2", "source_light.0.n_sersic", "lens_light.0.amp"}
    assert scene.lens_light[0].is_linear


def test_two_lights_are_a_compact_and_an_extended_one(load):
    light = '[[lens_light]]\nprofile = "Sersic"\n'
    config = load(BARE + light + light)
    first, second = (np.exp(dict(values(config, "lens_light", k)["R_sersic"].arguments)["loc"]) for k in (1, 2))
    assert second == pytest.approx(4.0 * first, rel=1e-2)
    assert parts(["MultiGaussian", "Sersic"]) == [None, None]
    assert parts(["MultiGaussian", "Sersic", "MultiGaussian", "CoreSersic"]) == [0, 0, 1, 1]


def test_a_run_is_repeated_from_its_own_configuration(load):
    config = load(BARE)
    written = dump_config(config)
    again = load(written, name="again.toml")
    assert again == config and dump_config(again) == written and not again.taken and again.priors == "galaxy-scale"
    moved = load(written.replace("pixel_scale = 0.1", "pixel_scale = 0.05"), name="moved.toml")
    assert values(moved, "mass") == values(config, "mass")  # what is written stands


def test_overrides_scale_anew_and_stand(load):
    config = load(BARE)
    assert config.with_overrides({}) == config
    wider = config.with_overrides({"observation.0.mask_keep": [{"radius": 1.0}]})
    assert np.exp(dict(values(wider, "mass")["theta_E"].arguments)["loc"]) == pytest.approx(0.5)
    other = config.with_overrides({"mass.0.theta_E.median": 2.0})
    assert np.exp(dict(values(other, "mass")["theta_E"].arguments)["loc"]) == pytest.approx(2.0)
    assert "mass.0.theta_E" not in other.taken and "mass.0.e1" in other.taken


@pytest.mark.parametrize("name", ['"galaxy"', "3"])
def test_an_unknown_set_is_one_line(load, name):
    with pytest.raises(InputError) as caught:
        load(BARE.replace('"galaxy-scale"', name))
    message = str(caught.value)
    assert all(word in message for word in ("lens.toml: priors: got", *SETS)) and "\n" not in message


def test_without_a_set_nothing_is_taken(load):
    with pytest.raises(InputError, match=r"mass\.0\.theta_E: missing"):
        load(BARE.replace('priors = "galaxy-scale"\n', ""))


def test_what_was_taken_is_said_and_kept(load):
    job = prepare(load(BARE))
    said = [note for note in job.notes if note.startswith('priors = "galaxy-scale" gives')]
    assert len(said) == 3 and "mass.0 (SIE): theta_E LogNormal(median 1.03, factor 1.6)" in said[0]
    assert job.text.startswith(f"# {said[0]}\n")
    again = prepare(load(job.text, name="again.toml"))
    assert again.identity == job.identity


def test_the_first_look_writes_the_same_priors(load, tmp_path):
    expected = Expected.of_field(0.1, 6.05, (0.0, 0.0))
    observation = [("image", '"image.fits"', ""), ("pixel_scale", "0.1", ""), ("background_rms", "0.1", "")]
    for light, profiles in (("gaussians", ["MultiGaussian", "MultiGaussian"]), ("sersics", ["Sersic", "Sersic"])):
        text = text_of(Start([], (None, None), observation, expected, light))
        written = parse_config(read_toml_text(text, tmp_path / "x"), tmp_path / "x", FitConfig)
        tied = "".join(f'center_{axis} = {{same_as = "lens_light.0.center_{axis}"}}\n' for axis in "xy")
        bare = f'{HEAD}[[mass]]\nprofile = "EPL"\n{tied}[[mass]]\nprofile = "Shear"\n'
        bare += '[[source_light]]\nprofile = "Sersic"\n'
        bare += "".join(f'[[lens_light]]\nprofile = "{name}"\n' for name in profiles)
        bare += tied if light == "gaussians" else ""  # about one centre
        taken = load(bare, (121, 121))
        for section in SECTIONS:
            assert getattr(written, section) == getattr(taken, section)
