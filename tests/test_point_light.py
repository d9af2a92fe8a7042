"""Points of light through the PSF: where they lie, what lenses make of them, derivatives, and their configuration."""

import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from giga.bayes.points import PointImages, PointTerm
from giga.bayes.posterior import Posterior
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF, plan
from giga.imaging.render import render
from giga.inference.search.curvature import quadratic
from giga.inference.settings import FitConfig
from giga.io.configuration.toml import dump_config, parse_config, scene_from_config
from giga.io.errors import InputError
from giga.lensing.images import DESCENT, Finder, find_images
from giga.lensing.near import bare, images_near, located
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.light import LensedPoint, MicrolensedPoint, Point, Sersic, UniformSky
from giga.mass import SIE, SIS, Shear
from giga.simulate.populations._walk import check_profiles

X, Y = (0.95, -0.61, 0.79, -1.18), (1.2, -1.15, -0.97, 0.22)  # near the images
MASS = [SIE(theta_E=1.35, e1=0.11, e2=-0.06), Shear(gamma1=0.03, gamma2=0.045)]
BETA = dict(center_x=0.08, center_y=0.06)


@pytest.mark.parametrize("rotation", [0.0, 0.3])
@pytest.mark.parametrize("s, method, worst", [(1, "auto", 1e-3), (2, "auto", 4e-4), (3, "direct", 3e-4),
                                              (2, "fft", 4e-4)])
def test_a_point_is_the_psf_where_it_lies(s, method, worst, rotation):
    """Of a Gaussian PSF 3 pixels wide, any subpixel place, in closed form."""
    grid = Grid(shape=(40, 44), pixel_scale=0.1, center_x=0.03, rotation=rotation)
    psf = PSF.gaussian(fwhm=0.3, pixel_scale=0.1, size=31, supersampling=s)
    scene = Scene(lens_light=[Point(amp=5.0, center_x=0.123, center_y=-0.347)])
    image = np.asarray(render(scene, grid, plan(psf, grid.shape, np.float64, method)), float)
    column, row = (float(value) for value in grid.to_pixel(0.123, -0.347))
    sigma = 3.0 / 2.3548200450309493
    offsets = (np.arange(s) - 0.5 * (s - 1)) / s
    lines = [np.mean(np.exp(-0.5 * ((np.arange(n)[:, None] + offsets - place) / sigma) ** 2), 1)
             for n, place in ((40, row), (44, column))]
    expected = 5.0 * np.outer(*lines) / (2.0 * np.pi * sigma**2)
    np.testing.assert_allclose(image, expected, atol=worst * expected.max())
    assert image.sum() == pytest.approx(5.0, rel=2e-6)


def test_images_near_are_those_that_the_finder_has(x64):
    every = find_images(MASS, 0.08, 0.06, Finder(half_width=3.0))
    near = images_near(MASS, 0.08, 0.06, X, Y)
    count = int(every.count)
    apart = np.hypot(*(np.asarray(a)[:count, None] - np.asarray(b) for a, b in ((every.x, near.x), (every.y, near.y))))
    assert np.asarray(near.settled).all() and apart.min(0).max() < 1e-9
    np.testing.assert_allclose(near.magnification, np.asarray(every.magnification)[apart.argmin(0)], rtol=1e-9)


def test_an_image_that_is_not_there_goes_one_step():
    """A sphere has one image of a source outside its radius: the place of a second one is finite, and said."""
    near = images_near([SIS(theta_E=1.0)], 1.5, 0.0, (2.4, -0.3), (0.0, 0.1))
    assert np.asarray(near.settled).tolist() == [True, False]
    assert np.isfinite(np.asarray(near.x)).all() and near.x[0] == pytest.approx(2.5, abs=1e-5)


def test_planes_move_the_images():
    """Through several planes a point's images are those of its own plane."""
    mass = [SIE(theta_E=1.0, e1=0.1), SIS(theta_E=0.3, center_x=0.3, plane=1)]
    planes = Planes(redshifts=[0.3, 0.8, 2.0])
    grid = Grid(shape=(24, 24), pixel_scale=0.2)
    psf = plan(PSF.gaussian(fwhm=0.5, pixel_scale=0.2, size=9), grid.shape)
    point = LensedPoint(amp=1.0, center_x=0.05, center_y=0.02, x=(1.0,), y=(0.1,))
    images = [np.asarray(render(Scene(mass=mass, planes=planes, source_light=[point.replace(plane=k)]), grid, psf))
              for k in (1, 2)]
    one = images_near(Scene(mass=mass, planes=planes).lenses(1), 0.05, 0.02, (1.0,), (0.1,))
    assert images[0].sum() == pytest.approx(abs(float(one.magnification[0])), rel=1e-3)
    assert abs(images[0] - images[1]).max() > 0.05 * images[0].max()


def normal(value, scale=0.02):
    return dist.Normal(value, scale)


def priors():
    """A scene of each kind and the terms that go with it, by name."""
    x, y = normal(0.08), normal(0.06)
    mass = [SIE(theta_E=normal(1.35), e1=normal(0.11), e2=-0.06), Shear(gamma1=normal(0.03), gamma2=0.045)]
    light, host = [Sersic(R_sersic=0.6, n_sersic=2.0)], Sersic(R_sersic=0.2, n_sersic=1.0, center_x=x, center_y=y)
    at = dict(center_x=x, center_y=y, x=X, y=Y)
    data = PointImages.of(X, Y, 0.1)
    near = images_near(MASS, 0.08, 0.06, X, Y)
    seen = [Point(center_x=normal(float(a)), center_y=normal(float(b))) for a, b in zip(near.x, near.y, strict=True)]
    return {
        "magnified": (Scene(mass=mass, lens_light=light, source_light=[host, LensedPoint(**at)]), []),
        "each its own": (Scene(mass=mass, lens_light=light, source_light=[host, MicrolensedPoint(**at)]),
                         [PointTerm(data=data, source=1)]),
        "free places": (Scene(mass=mass, lens_light=light + seen, source_light=[host]),
                        [PointTerm(data=data, source=0, images=(1, 2, 3, 4))]),
    }


def observed():
    grid = Grid(shape=(22, 24), pixel_scale=0.17)
    psf = PSF.gaussian(fwhm=0.4, pixel_scale=0.17, size=11)
    scene = Scene(mass=MASS, lens_light=[Sersic(amp=5.0, R_sersic=0.6, n_sersic=2.0)],
                  source_light=[Sersic(amp=8.0, R_sersic=0.2, n_sersic=1.0, **BETA),
                                LensedPoint(amp=4.0, x=X, y=Y, **BETA)])
    image = np.asarray(render(scene, grid, plan(psf, grid.shape, np.float64)), float)
    image = image + 0.01 * np.random.default_rng(0).normal(size=image.shape)
    return Observation(image=image, grid=grid, background_rms=0.01, exposure_time=1e5, psf=psf)


@pytest.mark.parametrize("kind", ["magnified", "each its own", "free places"])
def test_derivatives_and_solved_fluxes(kind, x64):
    """The gradient is that of finite differences, and the fluxes that are solved at the truth are the true ones."""
    scene, terms = priors()[kind]
    posterior = Posterior.of(scene, [observed()], dtype=np.float64, points=terms)
    middle = jnp.zeros(posterior.prior.size)  # every prior is a normal one about the truth
    fluxes = jax.jit(posterior.scenes)(middle)[0].light
    magnifications = np.abs(np.asarray(images_near(MASS, 0.08, 0.06, X, Y).magnification))
    found = np.array([light.amp for light in fluxes[1:5]]) if kind == "free places" else np.asarray(fluxes[2].amp)
    np.testing.assert_allclose(found, 4.0 if kind == "magnified" else 4.0 * magnifications, rtol=0.02)
    z = middle + 0.3 * np.random.default_rng(1).normal(size=len(middle))
    density, steps = jax.jit(posterior.log_prob), 1e-6 * np.eye(len(z))
    difference = np.array([(density(z + step) - density(z - step)) / 2e-6 for step in steps])
    slope = np.asarray(jax.jit(jax.grad(posterior.log_prob))(z))
    np.testing.assert_allclose(slope, difference, atol=1e-6 * np.abs(difference).max())


def loops(jaxpr):
    """Number of Newton's loops in a traced program."""
    count = 0
    for equation in jaxpr.eqns:
        count += equation.primitive.name == "scan" and equation.params["length"] == DESCENT
        for parameter in equation.params.values():
            for inner in parameter if isinstance(parameter, tuple | list) else [parameter]:
                inner = getattr(inner, "jaxpr", inner)
                count += loops(inner) if hasattr(inner, "eqns") else 0
    return count


def test_a_scene_finds_its_images_once(x64):
    """Bands, bases and derivatives share them, and without points there is nothing to share."""
    scene, terms = priors()["each its own"]
    posterior = Posterior.of(scene, [observed(), observed()], dtype=np.float64, points=terms)
    z = jnp.full(posterior.prior.size, 0.1)
    for function in (posterior.log_prob, jax.value_and_grad(posterior.log_prob), posterior.scenes,
                     lambda z: quadratic(posterior, z)):
        assert loops(jax.make_jaxpr(function)(z).jaxpr) == 1
    plain = scene.replace(source_light=scene.source_light[:1])
    assert located(plain) is plain and bare(plain) is plain
    posterior = posterior.replace(data=posterior.data[:1])
    by_image, by_all = (jax.jit(function)(z) for function in (lambda z: quadratic(posterior, z).gradient,
                                                              jax.grad(posterior.log_prob)))
    np.testing.assert_allclose(by_image, by_all, atol=1e-9 * np.abs(by_all).max())


TEXT = """
[[observation]]
image = "a.fits"
background_rms = 0.1
exposure_time = 100.0
[[mass]]
profile = "SIS"
theta_E = 1.0
[[lens_light]]
profile = "Point"
center_x = 1.1
center_y = {dist = "Normal", loc = 0.0, scale = 0.01}
[[lens_light]]
profile = "Point"
center_x = -0.9
center_y = 0.0
[[source_light]]
profile = "MicrolensedPoint"
center_x = 0.1
center_y = 0.0
x = [1.1, -0.9]
y = [0.0, 0.0]
[[points]]
x = [1.1, -0.9]
y = [0.0, 0.0]
sigma = 0.003
images = [0, 1]
"""


def parsed(text):
    return parse_config(tomllib.loads(text), Path("lens.toml"), FitConfig)


def test_a_configuration_has_points():
    config = parsed(TEXT)
    scene = scene_from_config(config)
    assert scene.source_light[0].n_amp == 2 and scene.source_light[0].x == (1.1, -0.9)
    assert config.terms[0].images == (0, 1)
    assert parsed(dump_config(config)) == config


@pytest.mark.parametrize("old, new, says", [
    ("y = [0.0, 0.0]\n[[points]]", "y = [0.0]\n[[points]]",
     "source_light.0.y: 1 numbers beside 2 of x; expected one an image, 1 or more"),
    ("x = [1.1, -0.9]\ny = [0.0, 0.0]\n[[points]]", "[[points]]",
     "source_light.0.x: missing; expected a list of numbers"),
    ('"MicrolensedPoint"', '"Point"',
     "source_light.0.profile: Point, which is not lensed; expected it in a [[lens_light]]"),
    ('[[lens_light]]\nprofile = "Point"', '[[lens_light]]\nprofile = "LensedPoint"',
     "lens_light.0.profile: LensedPoint, which is behind the lens; expected it in a [[source_light]]"),
    ("images = [0, 1]", "images = [0, 2]",
     "points.0: images: got 2; expected the number of a lens_light that is a Point"),
    ("center_x = 0.1\n", "center_x = 0.1\nfound = 0.0\n", "source_light.0.found: unknown parameter"),
    ("images = [0, 1]", "images = [0]", "points.0: images: got 1 lens lights; expected 2, one an image"),
])
def test_bad_points_are_refused(old, new, says):
    assert old in TEXT
    with pytest.raises(InputError) as error:
        parsed(TEXT.replace(old, new))
    assert f"lens.toml: {says}" in str(error.value) and "\n" not in str(error.value)


def test_lights_stand_where_they_can():
    for scene, says in ((Scene(source_light=[UniformSky()]), "source_light.0: got UniformSky; expected it in"),
                        (Scene(lens_light=[LensedPoint(x=(1.0,), y=(0.0,), **BETA)]), "expected it in source_light")):
        with pytest.raises(ValueError, match=says):
            scene.check()
    with pytest.raises(ValueError, match="y: got 2 numbers beside 1 of x; expected one an image"):
        LensedPoint(x=(1.0,), y=(0.0, 1.0), **BETA)


def test_a_simulation_refuses_points():
    with pytest.raises(ValueError, match="lens_light.0: got Point, a point of light"):
        check_profiles(Scene(lens_light=[Point(amp=1.0, center_x=0.0, center_y=0.0)]))
