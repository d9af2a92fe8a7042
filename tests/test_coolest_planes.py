"""COOLEST templates of several lens and source planes, and what their redshifts say."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from typer.testing import CliRunner

from giga.cli import app
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import load_config, scene_from_config
from giga.io.errors import InputError
from giga.io.exchange.coolest_planes import META
from giga.io.exchange.coolest_read import chain_of, read_coolest
from giga.io.exchange.coolest_write import Seen, write_coolest
from giga.io.exchange.lenstronomy import to_lenstronomy
from giga.lensing.cosmology import Cosmology
from giga.lensing.planes import Planes, rays
from giga.lensing.redshifts import Redshifts
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.light.point import MicrolensedPoint
from giga.mass import EPL, NFW, SIE, Shear
from giga.mass.external import Convergence
from giga.mass.nie import NIE
from giga.mass.spemd import SPEMD

pytest.importorskip("coolest")

X, Y = np.array([0.9, -1.2, 0.3, 1.4]), np.array([0.4, 0.7, -1.4, 0.1])
LENS = EPL(theta_E=1.2, gamma=1.9, e1=0.1, e2=-0.07, center_x=0.02, center_y=-0.01)
SHEAR = Shear(gamma1=0.03, gamma2=-0.02)
MIDDLE = SIE(theta_E=0.3, e1=0.05, e2=0.02, center_x=0.1, center_y=0.15, plane=1)
LIGHT = Sersic(amp=4.0, R_sersic=0.8, n_sersic=3.4, e1=0.08, b_n="linear")
NEAR = Sersic(amp=12.0, R_sersic=0.2, n_sersic=1.3, e1=-0.1, e2=0.15, center_x=0.05, b_n="linear", plane=1)
FAR = Sersic(amp=5.0, R_sersic=0.1, n_sersic=1.0, center_x=-0.02, b_n="linear")
SCENES = {
    "two sources": Scene(mass=[LENS, SHEAR], lens_light=[LIGHT], source_light=[NEAR, FAR],
                         planes=Planes(redshifts=[0.3, 0.8, 2.0])),
    "two lenses": Scene(mass=[MIDDLE, LENS, SHEAR, Convergence(kappa=0.02, plane=1)], lens_light=[LIGHT],
                        source_light=[FAR], planes=Planes(redshifts=[0.3, 0.8, 2.0], cosmology=Cosmology(Om0=0.27))),
    "two of each": Scene(mass=[LENS, MIDDLE, SHEAR], lens_light=[LIGHT], source_light=[
        FAR, NEAR, NEAR.replace(amp=2.0)], planes=Planes(redshifts=[0.3, 0.8, 2.0])),
    "cores": Scene(mass=[NIE(theta_E=0.9, s_scale=0.1, e1=0.1), SPEMD(theta_E=0.4, gamma=2.3, s_scale=0.2, e2=0.1,
                                                                      plane=1)],
                   source_light=[FAR], planes=Planes(redshifts=[0.3, 0.8, 1.1])),
}
PLANES = {"of the last plane": {}, "of one nearer": {"reference": 1.0}, "of one behind": {"reference": 5.0},
          "of all": {"absolute": True}, "of another universe": {
              "cosmology": Cosmology(H0=65.0, Om0=0.2, Ok0=0.1, w0=-0.9, wa=0.2), "reference": 1.0}}


@jax.jit
def _crossed(scene):
    return jnp.stack([jnp.stack(one) for one in rays(scene.mass, scene.planes, X, Y)])


@jax.jit
def _brightness(scene):
    traced = scene.rays(X, Y)
    return sum(light.brightness(*traced(light)) for light in scene.source_light) \
        + sum(light.brightness(X, Y) for light in scene.lens_light)


def crossed(scene):
    """Where rays cross each plane, shape (planes, 2, points)."""
    return np.asarray(_crossed(jax.tree.map(np.asarray, scene)))


def written(tmp_path, scene, **more):
    path = tmp_path / "lens.json"
    _, skipped = write_coolest(path, scene, Seen(pixel_scale=0.05), **more)
    return path, dict(skipped)


def changed(path, change):
    """The template after a change of its content."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("scaled", PLANES)
@pytest.mark.parametrize("name", SCENES)
def test_rays_to_every_plane_come_back(name, scaled, tmp_path, x64):
    scene = SCENES[name]
    scene = scene.replace(planes=scene.planes.replace(**PLANES[scaled]))
    path, _ = written(tmp_path, scene)
    again = read_coolest(path).scene
    np.testing.assert_allclose(crossed(again), crossed(scene), atol=1e-8)
    for key in ("redshifts", "reference", "absolute"):
        assert getattr(again.planes, key) == getattr(scene.planes, key)
    np.testing.assert_allclose(_brightness(again), _brightness(scene), rtol=1e-8)
    radii = [sorted(float(p.theta_E) for p in one.mass if hasattr(p, "theta_E")) for one in (again, scene)]
    np.testing.assert_allclose(*radii, rtol=1e-12)
    if scaled == "of another universe":
        return
    # What it says without giga's own words, strengths of the most distant galaxy, is the same
    bare = read_coolest(changed(path, lambda content: content["meta"].pop(META))).scene
    assert bare.planes.reference is None and not bare.planes.absolute
    np.testing.assert_allclose(crossed(bare), crossed(scene), atol=1e-8)


def test_each_plane_is_a_galaxy_and_its_fields(tmp_path):
    path, skipped = written(tmp_path, SCENES["two of each"])
    entities = json.loads(path.read_text())["lensing_entities"]
    assert [(one["name"], one["type"], one["redshift"]) for one in entities] == [
        ("lens_plane_0", "Galaxy", 0.3), ("field_plane_0", "MassField", 0.3),
        ("lens_and_source_plane_1", "Galaxy", 0.8), ("source_plane_2", "Galaxy", 2.0)]
    assert [len(one["mass_model"]) for one in entities] == [1, 1, 1, 0]
    assert [len(one.get("light_model", ())) for one in entities] == [1, 0, 2, 1] and set(skipped) == {
        "coordinates_origin", "observation.psf"}


@pytest.mark.parametrize("case", ["near_source", "two"])
def test_a_template_is_traced_as_lenstronomy_does(case, planes_reference, tmp_path, x64):
    """Rays that lenstronomy gave (tests/reference/make_planes.py), through a template without giga's own words."""
    round_one = SIE(theta_E=0.25, e1=0.0, e2=0.0, center_x=0.9, center_y=-0.4, plane=1)
    lens = [SIE(theta_E=1.3, e1=0.12, e2=-0.07, center_x=0.03, center_y=-0.02), Shear(gamma1=0.04, gamma2=-0.03)]
    scene = {"near_source": Scene(mass=lens, source_light=[FAR], planes=Planes(redshifts=[0.5, 0.8], reference=2.0)),
             "two": Scene(mass=[*lens, round_one], source_light=[FAR], planes=Planes(
                 redshifts=[0.5, 0.9, 2.0], cosmology=Cosmology(H0=67.0, Om0=0.32)))}[case]
    path, _ = written(tmp_path, scene)
    again = read_coolest(path).scene
    theirs = {key: planes_reference[f"{case}/{key}"] for key in ("x", "y", "beta_x", "beta_y")}
    for one in (again, read_coolest(changed(path, lambda content: content["meta"].pop(META))).scene):
        x, y = theirs["x"], theirs["y"]
        lenses = one.lenses()
        bent = [sum(p) for p in zip(*(mass.deflection(x, y) for mass in lenses), strict=True)]
        np.testing.assert_allclose([x - bent[0], y - bent[1]], [theirs["beta_x"], theirs["beta_y"]], atol=1e-8)
    ours, back = (to_lenstronomy(one)["kwargs_model"] for one in (scene, again))
    assert back["z_source_convention"] == ours["z_source_convention"]
    assert sorted(back["lens_redshift_list"]) == sorted(ours["lens_redshift_list"])


def test_a_configuration_of_several_planes_loads(tmp_path, x64):
    scene = SCENES["two of each"]
    scene = scene.replace(planes=scene.planes.replace(absolute=True, cosmology=Cosmology(H0=67.0, w0=-0.9)))
    path, skipped = written(tmp_path, scene)
    changed(path, lambda c: c["lensing_entities"][0]["mass_model"][0]["parameters"]["theta_E"].update(fixed=False))
    assert "meta.giga_planes has the rest" in skipped["planes.cosmology"]
    (tmp_path / "data.toml").write_text(
        '[[observation]]\nimage = "data.fits"\nbackground_rms = 0.01\nexposure_time = 500.0\npixel_scale = 0.15\n'
        '[[lens_light]]\nprofile = "UniformSky"\n')
    for out, more in (("numbers.toml", []), ("free.toml", ["--priors", "galaxy-scale"])):
        result = CliRunner().invoke(app, [str(word) for word in (
            "import", path, "--from", "coolest", "--out", tmp_path / out, "--observation", tmp_path / "data.toml",
            *more)])
        assert result.exit_code == 0, result.output
    config = load_config(tmp_path / "numbers.toml", fit_config_type=FitConfig)
    np.testing.assert_allclose(crossed(scene_from_config(config)), crossed(scene), atol=1e-8)
    free = scene_from_config(load_config(tmp_path / "free.toml", fit_config_type=FitConfig))
    assert isinstance(free.mass[0].theta_E, dist.LogNormal) and free.planes.absolute


def test_draws_and_priors_of_free_strengths_and_redshifts(tmp_path, x64):
    rng = np.random.default_rng(3)
    planes = Planes(redshifts=[0.3, 0.8, 2.0], reference=1.0)
    scene = Scene(mass=[SIE(theta_E=1.0, e1=0.1, e2=0.0), LENS.replace(plane=1)], source_light=[FAR], planes=planes)
    drawn = 1.0 + 0.1 * rng.normal(size=50)
    prior = scene.replace(mass=[scene.mass[0].replace(theta_E=dist.Normal(1.0, 0.2)), LENS.replace(
        plane=1, theta_E=dist.Uniform(0.5, 2.0), gamma=dist.Normal(2.0, 0.1))])
    many = scene.replace(mass=[scene.mass[0].replace(theta_E=drawn), LENS.replace(
        plane=1, theta_E=drawn, gamma=2.0 + 0.1 * rng.normal(size=50))])
    path, skipped = written(tmp_path, scene, draws=many, prior=prior)
    factor = float(planes.weights([0])[0, -1])
    chain = chain_of(path)
    np.testing.assert_allclose(chain["0-galaxy-mass-0-SIE-theta_E"], factor * drawn, rtol=1e-12)
    assert "differs by more than a number" in skipped["mass.1.theta_E: prior"]
    template = read_coolest(path)
    one = template.priors["mass.0.theta_E"]
    np.testing.assert_allclose([float(one.loc), float(one.scale)], [1.0, 0.2], rtol=1e-6)
    # A redshift that is free moves the strengths of each draw, and is one number of the template
    z = rng.uniform(1.5, 3.0, 50)
    free = [0.3, 0.8, dist.Uniform(1.5, 3.0)]
    path, skipped = written(tmp_path, scene, draws=many.replace(planes=planes.replace(redshifts=[0.3, 0.8, z])),
                            prior=prior.replace(planes=planes.replace(redshifts=free)))
    why = skipped["planes.redshifts.2: prior and posterior"]
    assert why.startswith("COOLEST has one number of it") and f"{np.median(z):.6g}" in why
    assert "differs by more than a number" in skipped["mass.0.theta_E: prior"]
    factors = [float(planes.replace(redshifts=[0.3, 0.8, one]).weights([0])[0, -1]) for one in z]
    np.testing.assert_allclose(chain_of(path)["0-galaxy-mass-0-SIE-theta_E"], factors * drawn, rtol=1e-9)


def test_points_of_light_on_several_planes(tmp_path, x64):
    point = MicrolensedPoint(amp=np.array([4.0, 1.0]), center_x=0.05, center_y=0.02, x=(1.2, -1.1), y=(0.1, -0.1))
    scene = Scene(mass=[LENS, MIDDLE], source_light=[point.replace(plane=1), NEAR, point],
                  planes=Planes(redshifts=[0.3, 0.8, 2.0], reference=4.0))
    path, _ = written(tmp_path, scene)
    template = read_coolest(path)
    assert not template.notes
    found = {p.plane: (p.center_x, p.center_y) for p in template.scene.source_light if isinstance(p, MicrolensedPoint)}
    np.testing.assert_allclose([found[1], found[2]], [[0.05, 0.02]] * 2, atol=1e-8)


def test_what_is_left_out_of_several_planes_is_said(tmp_path):
    planes = Planes(redshifts=[0.2, 0.3, 0.8], reference=2.0, sources=[3.0])
    scene = Scene(mass=[LENS.replace(plane=1), MIDDLE.replace(plane=2), NFW(Rs=3.0, alpha_Rs=1.0, plane=1)],
                  source_light=[NEAR.replace(plane=2)], planes=planes)
    path, skipped = written(tmp_path, scene)
    assert skipped["mass.1"] == "on the last plane, where it bends no light that is there"
    assert skipped["mass.2"].startswith("NFW, which COOLEST does not have") and "planes.sources" in skipped
    template = read_coolest(path)
    assert [p.plane for p in template.scene.mass] == [1] and template.scene.planes.redshifts == [0.2, 0.3, 0.8]
    assert template.lens == {"z_lens": 0.3, "z_source": 0.8, "H0": 70.0, "Om0": 0.3}
    with pytest.raises(InputError, match="planes.redshifts.1: got 0.1; expected redshifts above"):
        written(tmp_path, scene.replace(planes=planes.replace(redshifts=[0.2, 0.1, 0.8])))


def test_templates_of_others_by_their_redshifts_alone(tmp_path, x64):
    """Mass on the last plane bends nothing, and light in front of every lens is lens light."""
    path, _ = written(tmp_path, SCENES["two of each"])

    def move(content):
        del content["meta"][META]
        entities = content["lensing_entities"]
        entities[3]["mass_model"] = json.loads(json.dumps(entities[2]["mass_model"]))
        entities.append(entities[2] | {"name": "star", "redshift": 0.1, "mass_model": []})

    template = read_coolest(changed(path, move))
    assert [len(getattr(template.scene, name)) for name in ("mass", "lens_light", "source_light")] == [3, 3, 3]
    assert template.scene.planes.redshifts == [0.3, 0.8, 2.0]
    assert len(template.notes) == 2 and "0.1 of 'star', in front of every lens, left out" in template.notes[0]
    assert "SIE of a source, which bends no light here" in template.notes[1]
    np.testing.assert_allclose(crossed(template.scene), crossed(SCENES["two of each"]), atol=1e-8)


@pytest.mark.parametrize(("change", "words"), [
    (lambda c: c["lensing_entities"][2].update(redshift=None), "lensing_entities.2.redshift: none of 'lens_and_source_"
     "plane_1'; expected that of every galaxy and field"),
    (lambda c: c["lensing_entities"][1].pop("redshift"), "lensing_entities.1.redshift: missing; expected a redshift"),
    (lambda c: c["lensing_entities"][1].update(redshift="0.3"), "lensing_entities.1.redshift: got '0.3'; expected a"),
    (lambda c: c["lensing_entities"][1].update(redshift=-1), "lensing_entities.1.redshift: got -1; expected a"),
    (lambda c: c["lensing_entities"][2].update(redshift=0.9), "lensing_entities.2.redshift: got 0.9 of 'lens_and_"
     "source_plane_1'; expected one of meta.giga_planes.redshifts, 0.3, 0.8, 2"),
    (lambda c: [one.update(mass_model=[]) for one in c["lensing_entities"]], "lensing_entities: no mass; expected a"),
    (lambda c: c["meta"].update(giga_planes=3), "meta.giga_planes: got 3; expected an object with redshifts"),
    (lambda c: c["meta"][META].update(redshifts=[]), "meta.giga_planes.redshifts: got []; expected a list"),
    (lambda c: c["meta"][META].update(redshifts=[0.3, "x", 2]), "meta.giga_planes.redshifts.1: got 'x'; expected a"),
    (lambda c: c["meta"][META].update(redshifts=[0.8, 0.3, 2.0]), "meta.giga_planes: planes.redshifts.1: got 0.3"),
    (lambda c: c["meta"][META].update(reference="far"), "meta.giga_planes.reference: got 'far'; expected a redshift"),
    (lambda c: c["meta"][META].update(reference=0.5), "planes.reference: got 0.5; expected a redshift behind"),
    (lambda c: c["meta"][META].update(absolute=1), "meta.giga_planes.absolute: got 1; expected true or false"),
    (lambda c: c["meta"][META].update(cosmology={"Om": 0.3}), "meta.giga_planes.cosmology.Om: unknown; expected"),
    (lambda c: (c["meta"].pop(META), c["cosmology"].update(astropy_name="wCDM")), "cosmology.astropy_name: got 'wCDM'"),
    (lambda c: c["meta"].update({"coolest.__version__": "1.2"}), "meta.coolest.__version__: got '1.2'; expected"),
    (lambda c: (c["meta"].pop(META), c["lensing_entities"][3].update(redshift=0.1), c["lensing_entities"][2].update(
        redshift=0.2, mass_model=[])), "lensing_entities.2.redshift: got 0.2 of 'lens_and_source_plane_1', in"),
])
def test_several_planes_that_giga_cannot_take_are_one_line(change, words, tmp_path):
    path, _ = written(tmp_path, SCENES["two of each"])
    with pytest.raises(InputError) as error:
        read_coolest(changed(path, change))
    assert str(error.value).startswith(str(path)) and words in str(error.value) and "\n" not in str(error.value)


def test_a_source_in_front_of_its_lens_is_refused(tmp_path):
    path, _ = written(tmp_path, Scene(mass=[LENS], source_light=[FAR]), redshifts=Redshifts(1.0, 0.5))
    with pytest.raises(InputError, match=r"lensing_entities.1.redshift: got 0.5 of 'source', in front of every lens; "
                                         "expected a source behind one, above 1"):
        read_coolest(path)
