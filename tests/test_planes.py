"""Several planes against lenstronomy and closed forms; a scene of one lens and one source plane stays what it is."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

from giga.bayes.prior import Prior
from giga.component import names
from giga.imaging.grid import Grid
from giga.imaging.jacobian import image_jacobian
from giga.imaging.observation import Observation
from giga.imaging.psf import PSF, plan
from giga.imaging.render import average, basis_images, render, total
from giga.inference.search.curvature import parameter_numbers
from giga.lensing.cosmology import Cosmology
from giga.lensing.delays import arrival_times, days, fermat_potential
from giga.lensing.planes import Planes, Sightline, rays
from giga.lensing.scene import Scene
from giga.lensing.tracing import jacobian, magnification, trace
from giga.light import Sersic
from giga.mass import NFW, SIE, SIS, Shear
from giga.mass.base import MassProfile

LENS: list[MassProfile] = [SIE(theta_E=1.3, e1=0.12, e2=-0.07, center_x=0.03, center_y=-0.02, plane=0),
        Shear(gamma1=0.04, gamma2=-0.03, plane=0)]
HALO = SIS(theta_E=0.25, center_x=0.9, center_y=-0.4)
CLOUD = NFW(Rs=3.0, alpha_Rs=0.3, center_x=-0.7, center_y=0.8)
# As in tests/reference/make_planes.py
CASES = {
    "one": (LENS, Planes(redshifts=[0.5, 2.0], reference=2.0, cosmology=Cosmology(H0=70.0, Om0=0.3))),
    "near_source": (LENS, Planes(redshifts=[0.5, 0.8], reference=2.0, cosmology=Cosmology(H0=70.0, Om0=0.3))),
    "two": ([*LENS, HALO.replace(plane=1)], Planes(redshifts=[0.5, 0.9, 2.0], cosmology=Cosmology(H0=67.0, Om0=0.32))),
    "three": ([HALO.replace(plane=0), *[p.replace(plane=1) for p in LENS], CLOUD.replace(plane=2)],
              Planes(redshifts=[0.2, 0.5, 1.1, 2.5], reference=3.0, cosmology=Cosmology(H0=73.0, Om0=0.28, w0=-0.85))),
}


@jax.jit
def through(mass, planes, x, y):
    lens = [Sightline(mass=mass, planes=planes)]
    return rays(mass, planes, x, y)[-1], jacobian(lens, x, y), arrival_times(mass, planes, x, y)


@pytest.mark.parametrize("case", CASES)
def test_rays_and_delays_are_lenstronomys(case, planes_reference, x64):
    mass, planes = CASES[case]
    theirs = {key.split("/")[1]: value for key, value in planes_reference.items() if key.startswith(f"{case}/")}
    x, y = theirs["x"], theirs["y"]
    beta, found, time = through(mass, planes, x, y)
    np.testing.assert_allclose(jnp.stack(beta), [theirs["beta_x"], theirs["beta_y"]], atol=1e-8)
    # lenstronomy takes differences over 1e-5 arcsec: rounding of 1e-16 over that, and its square
    np.testing.assert_allclose(jnp.stack(found), [theirs[key] for key in ("xx", "xy", "yx", "yy")], atol=3e-8)
    # each sets its own zero of the potential
    np.testing.assert_allclose(time - time[0], theirs["time"] - theirs["time"][0], atol=1e-8 * np.ptp(theirs["time"]))


def test_fermat_potential_and_magnification_of_images(planes_reference, x64):
    x, y, beta_x, beta_y, fermat, mu = (planes_reference[f"single/{key}"]
                                        for key in ("x", "y", "beta_x", "beta_y", "fermat", "magnification"))
    assert len(x) == 4
    cosmology = CASES["one"][1].cosmology
    planes = Planes(redshifts=[0.5, 2.0], cosmology=cosmology)
    ours, ours_mu, time = jax.jit(lambda x, y: (fermat_potential(LENS, x, y, beta_x, beta_y), magnification(LENS, x, y),
                                                arrival_times(LENS, planes, x, y)))(x, y)
    np.testing.assert_allclose(ours - ours[0], fermat - fermat[0], atol=1e-8)
    np.testing.assert_allclose(ours_mu, mu, rtol=1e-8)
    delay = days(cosmology.time_delay_distance(0.5, 2.0), ours)
    np.testing.assert_allclose(time, delay, rtol=1e-12)


def test_one_isothermal_sphere_in_closed_form(x64):
    """Images of a source at beta on both sides of a sphere, at beta +- theta_E, come 2 theta_E beta D_dt / c apart."""
    planes, lens = Planes(redshifts=[0.4, 1.5]), [SIS(theta_E=1.1)]
    beta = 0.3
    time = jax.jit(lambda x: arrival_times(lens, planes, x, 0.0 * x))(jnp.array([beta + 1.1, beta - 1.1]))
    distance = planes.cosmology.time_delay_distance(0.4, 1.5)
    np.testing.assert_allclose(time[1] - time[0], days(distance, 2.0 * 1.1 * beta), rtol=1e-9)


@pytest.mark.parametrize("cosmology", [Cosmology(), Cosmology(Om0=0.4, Ok0=-0.3)], ids=["flat", "closed"])
def test_a_plane_without_mass_changes_nothing(cosmology, x64, rng):
    x, y = rng.uniform(-2.0, 2.0, (2, 20))
    few, many = (Planes(redshifts=z, cosmology=cosmology) for z in ([0.5, 2.0], [0.5, 0.7, 1.3, 2.0]))
    plain, more, one = jax.jit(lambda x, y: (
        jnp.stack(rays(LENS, few, x, y)[-1]), jnp.stack(rays(LENS, many, x, y)[-1]),
        jnp.stack(trace(LENS, x, y))))(x, y)
    np.testing.assert_allclose(more, plain, atol=1e-14)
    np.testing.assert_allclose(plain, one, atol=1e-15)


def test_two_planes_at_nearly_one_redshift_are_one(x64, rng):
    x, y = rng.uniform(-2.0, 2.0, (2, 20))
    planes = Planes(redshifts=[0.5, 0.5 + 1e-7, 2.0])
    split, one = jax.jit(lambda x, y: (jnp.stack(rays([*LENS, HALO.replace(plane=1)], planes, x, y)[-1]),
                                       jnp.stack(trace([*LENS, HALO], x, y))))(x, y)
    np.testing.assert_allclose(split, one, atol=2e-6)


def test_a_source_sees_less_of_the_lens_the_nearer_it_is(x64, rng):
    """A double ring: both sources see one deflection, scaled by D_ls / D_s."""
    x, y = rng.uniform(-2.0, 2.0, (2, 20))
    planes = Planes(redshifts=[0.3, 0.6, 2.0])
    lens = Sightline(mass=LENS, planes=planes, source=1)
    near, far, slope, alpha = jax.jit(lambda x, y: (
        *(jnp.stack(beta) for beta in rays(LENS, planes, x, y)[1:]),
        jnp.stack(jax.vmap(jax.grad(lens.potential, (0, 1)))(x, y)), jnp.stack(lens.deflection(x, y))))(x, y)
    ratio = planes.cosmology.lensing_efficiency(0.3, 0.6) / planes.cosmology.lensing_efficiency(0.3, 2.0)
    np.testing.assert_allclose(jnp.stack([x, y]) - near, ratio * (jnp.stack([x, y]) - far), rtol=1e-12)
    np.testing.assert_allclose(slope, alpha, atol=1e-12)


def test_derivatives_by_redshifts_and_cosmology(x64):
    def beta(parameters):
        z1, z2, z3, H0, Om0, w0 = parameters
        planes = Planes(redshifts=[z1, z2, z3], cosmology=Cosmology(H0=H0, Om0=Om0, w0=w0))
        mass = [SIS(theta_E=1.3), HALO.replace(plane=1)]
        time = arrival_times(mass, planes, jnp.array([1.0]), jnp.array([0.4]))
        return jnp.concatenate([*rays(mass, planes, jnp.array([1.0]), jnp.array([0.4]))[-1], 1e-2 * time])

    at = jnp.array([0.5, 0.9, 2.0, 70.0, 0.3, -0.9])
    slopes = jax.jit(jax.jacobian(beta))(at)
    steps = 1e-5 * jnp.diag(jnp.maximum(jnp.abs(at), 1.0))
    values = jax.jit(jax.vmap(beta))
    numeric = (values(at + steps) - values(at - steps)) / (2.0 * jnp.diag(steps))[:, None]
    np.testing.assert_allclose(slopes, numeric.T, rtol=1e-6, atol=1e-8)
    assert float(jnp.abs(slopes[:2, 5]).min()) > 1e-5  # w0 moves the ray


SHAPE = (12, 10)
CONVOLUTION = plan(PSF.gaussian(0.2, 0.1, 5, supersampling=2), SHAPE)


def light(x, plane=None, amp: float | None = 3.0):
    return Sersic(amp=amp, R_sersic=0.3, n_sersic=1.2, e1=0.1, e2=0.0, center_x=x, center_y=0.05, plane=plane)


def double(amp: float | None = 3.0) -> Scene:
    """A lens, a source that is a lens too, and another behind it."""
    mass = [*LENS, SIS(theta_E=0.2, center_x=0.1, center_y=0.05, plane=1)]
    return Scene(mass=mass, lens_light=[light(0.0)], source_light=[light(0.1, 1, amp), light(-0.1, None, amp)],
                 planes=Planes(redshifts=[0.3, 0.7, 2.0]))


def test_each_source_is_seen_on_its_plane():
    scene, grid = double(), Grid(shape=SHAPE, pixel_scale=0.3)
    image = jax.jit(render)(scene, grid, CONVOLUTION)
    parts = [scene.replace(lens_light=scene.lens_light, source_light=[]), scene.of_plane(1), scene.of_plane(2)]
    parts[1:] = [part.replace(lens_light=[]) for part in parts[1:]]
    assert [len(part.source_light) for part in parts] == [0, 1, 1]
    np.testing.assert_allclose(sum(jax.jit(render)(part, grid, CONVOLUTION) for part in parts), image, rtol=2e-5,
                               atol=1e-5)
    unit = jax.jit(basis_images)(double(None), grid, CONVOLUTION)
    np.testing.assert_allclose(3.0 * unit.sum(0), image - jax.jit(render)(parts[0], grid, CONVOLUTION), rtol=2e-5,
                               atol=1e-4)


def test_image_derivatives_through_planes(x64):
    scene = double()
    free = scene.replace(
        mass=[LENS[0].replace(theta_E=dist.Normal(1.3, 0.1)), LENS[1],
              scene.mass[2].replace(theta_E=dist.Uniform(0.05, 0.4))],
        source_light=[scene.source_light[0].replace(center_x=dist.Normal(0.1, 0.1)), scene.source_light[1]],
        planes=scene.planes.replace(redshifts=[0.3, dist.Uniform(0.5, 1.0), 2.0],
                                    cosmology=Cosmology(w0=dist.Uniform(-1.5, -0.5))))
    free.check()
    prior = Prior.of(free, np.float64)
    assert prior.names == ("mass.0.theta_E", "mass.2.theta_E", "source_light.0.center_x", "planes.redshifts.1",
                           "planes.cosmology.w0")
    at = jnp.array([1.3, 0.2, 0.1, 0.7, -1.0])
    grid = Grid(shape=SHAPE, pixel_scale=0.3)
    data = Observation(image=np.ones(SHAPE), grid=grid, psf=PSF.gaussian(0.2, 0.1, 5, supersampling=2), supersampling=2,
                       background_rms=1.0, exposure_time=1e3).data(np.float64)
    ours = jax.jit(lambda x: image_jacobian(prior.fill(x), parameter_numbers(prior), prior.size, data))(at)
    exact = jax.jit(jax.jacfwd(lambda x: render(prior.fill(x), data.grid, data.convolution)))(at)
    np.testing.assert_allclose(ours, np.moveaxis(np.asarray(exact), -1, 0), atol=1e-10)


def test_a_scene_without_planes_is_what_it_was():
    """Names and compiled operations of one lens plane and one source plane: those of the sum over profiles."""
    scene = Scene(mass=[p.replace(plane=None) for p in LENS], lens_light=[light(0.0)],
                  source_light=[light(0.1), light(-0.1)])
    assert not [name for name in names(scene) if "plane" in name]
    assert len(names(scene)) == 5 + 2 + 3 * 7
    grid = Grid(shape=SHAPE, pixel_scale=0.3)

    def plain(scene):
        """`render` as it was before there were planes."""
        image = jnp.zeros(grid.shape, jnp.float32)
        x, y = grid.phases(2)
        brightness = total(scene.lens_light, x, y) + total(scene.source_light, *trace(scene.mass, x, y))
        return (image + CONVOLUTION(average(brightness, 2, 2))) * grid.pixel_area

    now, before = (jax.make_jaxpr(function)(scene) for function in (lambda s: render(s, grid, CONVOLUTION), plain))
    assert len(now.eqns) == len(before.eqns) > 100
    assert str(now) == str(before)
    deeper = jax.make_jaxpr(lambda s: render(s, grid, CONVOLUTION))(scene.replace(planes=Planes(redshifts=[0.5, 2.0])))
    assert len(deeper.eqns) > len(now.eqns)  # the count sees a plane


@pytest.mark.parametrize("change, says", [
    (dict(redshifts=[0.5, 0.4, 2.0]),
     "planes.redshifts.1: got 0.4; expected redshifts above that of planes.redshifts.0, 0.5"),
    (dict(redshifts=[0.3, 0.3, 2.0]), "planes.redshifts.1: got 0.3"),
    (dict(redshifts=[-0.1, 0.3, 2.0]), "planes.redshifts.0: got -0.1; expected redshifts above 0"),
    (dict(redshifts=[0.3, dist.Uniform(0.2, 1.0), 2.0]), "planes.redshifts.1: got 0.2 to 1; expected redshifts above"),
    (dict(redshifts=[0.3, dist.Normal(0.7, 0.1), 2.0]), "give distributions bounds"),
    (dict(redshifts=[0.3, 0.7, 2.0], reference=0.5),
     "planes.reference: got 0.5; expected a redshift behind every mass"),
    (dict(redshifts=[0.3, 0.7]), "planes.reference: got 0.7; expected a redshift behind every mass, above 0.7"),
    (dict(redshifts=[0.3]), "mass.2.plane: got 1; expected 0 to 0"),
    (dict(redshifts=[]), "planes.redshifts: empty"),
])
def test_bad_planes_are_refused(change, says):
    with pytest.raises(ValueError) as error:
        double().replace(planes=Planes(**change)).check()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_planes_that_are_not_there_are_refused():
    with pytest.raises(ValueError, match="source_light.0.plane: got 1, but the scene has no planes"):
        Scene(source_light=[light(0.0, 1)]).check()
    with pytest.raises(ValueError, match="lens_light.0.plane: got 0; expected none"):
        Scene(lens_light=[light(0.0, 0)]).check()
