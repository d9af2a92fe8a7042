"""Likelihoods of point images in closed form, on both rungs, and their derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.optimize import fsolve
from scipy.stats import norm

from giga.bayes.points import PointImages, PointTerm, fluxes, log_likelihood, match, residuals, source_plane
from giga.bayes.posterior import Posterior
from giga.bayes.prior import Prior
from giga.imaging.grid import Grid
from giga.imaging.observation import Observation
from giga.inference.field import rms_of_draws
from giga.inference.search.curvature import quadratic
from giga.lensing.delays import arrival_times, days
from giga.lensing.images import Finder, Images, find_images
from giga.lensing.planes import Planes
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import SIS, Shear

FINDER = Finder(half_width=4.0)
THETA, BETA = 1.2, 0.3
OFF = np.array([0.004, -0.010])
SIGMA = np.array([0.003, 0.005])
PLANES = Planes(redshifts=[0.4, 1.5])
LENS = SIS(theta_E=THETA)


def seen(**more) -> PointImages:
    """The two images of an isothermal sphere on the x axis, displaced along it."""
    return PointImages.of(np.array([BETA + THETA, BETA - THETA]) + OFF, np.zeros(2), SIGMA, **more)


def test_source_plane_of_an_isothermal_sphere(x64):
    """Along the radius nothing is magnified: chi2 is that of a weighted mean of the displacements."""
    fitted = jax.jit(source_plane)([LENS], seen())
    weight = 1.0 / SIGMA**2
    mean = np.sum(weight * OFF) / np.sum(weight)
    np.testing.assert_allclose(fitted.beta, [BETA + mean, 0.0], atol=1e-12)
    np.testing.assert_allclose(fitted.chi2, np.sum(weight * (OFF - mean) ** 2), rtol=1e-10)
    density = norm.logpdf(OFF - mean, scale=SIGMA).sum() + norm.logpdf(0.0, scale=SIGMA).sum()
    np.testing.assert_allclose(jax.jit(log_likelihood)(Scene(mass=[LENS]), seen()), density, rtol=1e-12)


def test_displacements_across_the_radius_are_magnified(x64):
    """An image moved by d across the radius is traced to d (1 - theta_E / r): its residual is d again."""
    data = PointImages.of([BETA + THETA, BETA - THETA], [0.002, 0.0], 0.01)
    fitted = jax.jit(source_plane)([LENS], data, jnp.array([BETA, 0.0]))
    np.testing.assert_allclose(fitted.chi2, (0.002 / 0.01) ** 2, rtol=1e-4)  # to second order in 0.002


def test_positions_fluxes_and_delays(x64):
    """Magnifications 1 +- theta_E / beta, and a delay of 2 theta_E beta D_dt / c, at the images of the model.

    Along the radius the residuals of the image plane are the displacements, and so are those of the source plane.
    """
    mu = np.array([1.0 + THETA / BETA, THETA / BETA - 1.0])
    delay = float(days(PLANES.cosmology.time_delay_distance(0.4, 1.5), 2.0 * THETA * BETA))
    more = dict(flux=[50.0, 33.0], flux_sigma=[1.0, 2.0], delay=[delay + 1.5], delay_sigma=1.0)
    scene = Scene(mass=[LENS], planes=PLANES)
    run = jax.jit(lambda d, ladder: residuals(scene, d, ladder, FINDER, jnp.array([BETA, 0.0])), static_argnums=1)
    source = np.sum(mu * np.array([50.0, 33.0]) / [1.0, 4.0]) / np.sum(mu**2 / [1.0, 4.0])
    fluxes = (np.array([50.0, 33.0]) - source * mu) / [1.0, 2.0]
    moved, still = seen(**more), PointImages.of([BETA + THETA, BETA - THETA], [0.0, 0.0], SIGMA, **more)
    wanted = np.concatenate([np.stack([OFF / SIGMA, [0.0, 0.0]], 1).ravel(), fluxes, [-1.5]])
    np.testing.assert_allclose(np.abs(run(moved, "image")), np.abs(wanted), atol=1e-6)
    np.testing.assert_allclose(np.abs(run(moved, "source")[:4]), np.abs(wanted[:4]), atol=1e-6)
    np.testing.assert_allclose(np.abs(run(still, "source")), np.abs(np.append(np.zeros(4), wanted[4:])), atol=1e-6)


@pytest.mark.parametrize("mass, planes", [
    ([SIS(theta_E=THETA), Shear(gamma1=0.05, gamma2=0.02)], PLANES),
    ([SIS(theta_E=1.0), SIS(theta_E=0.3, center_x=0.2, plane=1)], Planes(redshifts=[0.4, 0.8, 1.5]))])
def test_errors_of_positions_do_not_move_the_delays(mass, planes, x64):
    """Fermat's principle: of places that are d off, the delay from one source is off by d^2."""
    scene, beta = Scene(mass=mass, planes=planes), jnp.array([BETA, 0.05])
    images = find_images(scene.lenses(), *beta, FINDER)
    x, y = images.x[:2], images.y[:2]
    true = arrival_times(mass, planes, x, y)
    np.testing.assert_allclose(true, arrival_times(mass, planes, x, y, beta=beta), rtol=1e-9)
    off = []
    for d in (1e-2, 1e-3):
        data = PointImages.of(x + d * np.array([1.0, -0.5]), y + d * np.array([-0.3, 1.0]), 0.003,
                              delay=[float(true[1] - true[0])], delay_sigma=1.0)
        off.append(abs(float(residuals(scene, data, beta=beta)[-1])))
    assert off[0] < 0.05 and off[1] == pytest.approx(1e-2 * off[0], rel=0.2)


def test_only_ratios_of_fluxes_count(x64):
    mu, data = jnp.array([5.0, -3.0]), seen(flux=[50.0, 33.0], flux_sigma=[1.0, 2.0])
    np.testing.assert_allclose(fluxes(7.0 * mu, data), fluxes(mu, data), rtol=1e-12)


def test_the_rungs_agree_where_residuals_are_small(x64):
    """With shear, off the axes: the source plane is the image plane to first order, gradients too."""
    def log_prob(p, ladder, data):
        scene = Scene(mass=[SIS(theta_E=p[0], center_x=p[1]), Shear(gamma1=p[2], gamma2=0.02)])
        return log_likelihood(scene, data, ladder, FINDER, p[3:])

    at = jnp.array([1.2, 0.01, 0.05, 0.25, 0.1])

    def lens_equation(theta):
        x, y = theta
        r = np.hypot(x - 0.01, y)
        return [x - 1.2 * (x - 0.01) / r - 0.05 * x - 0.02 * y - 0.25, y - 1.2 * y / r - 0.02 * x + 0.05 * y - 0.1]

    places = np.array([fsolve(lens_equation, start, xtol=1e-13) for start in ([1.4, 0.1], [-0.9, -0.05])])
    data = PointImages.of(places[:, 0] + 2e-5, places[:, 1] - 1e-5, 1e-3)
    source, image = (jax.jit(jax.value_and_grad(lambda p, ladder=ladder: log_prob(p, ladder, data)))
                     for ladder in ("source", "image"))
    (value, slope), (other, gradient) = source(at), image(at)
    np.testing.assert_allclose(value, other, atol=1e-5)
    np.testing.assert_allclose(slope, gradient, rtol=2e-3, atol=2e-3 * float(jnp.abs(gradient).max()))
    h = 1e-6
    numeric = [(image(at + step)[0] - image(at - step)[0]) / (2.0 * h) for step in h * jnp.eye(5)]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-4)


def free_scene():
    return Scene(mass=[SIS(theta_E=dist.Uniform(0.8, 1.6), center_x=dist.Normal(0.0, 0.1)),
                       Shear(gamma1=dist.Normal(0.0, 0.05), gamma2=0.0)],
                 source_light=[Sersic(amp=5.0, R_sersic=0.2, n_sersic=1.0, center_x=dist.Normal(0.3, 0.1))])


def test_distances_of_draws_of_a_fit_without_pixels(x64):
    """In the source plane about the mean of where images are traced to, in the image plane about the best source."""
    prior = Prior.of(free_scene(), np.float64)
    x = np.array([THETA, 0.0, 0.0, BETA]) + np.zeros((3, 1))  # in the order of `Prior.names`
    source, image = rms_of_draws(prior, [PointTerm(data=seen(), source=0)], x)
    mean = np.average(OFF, weights=1.0 / SIGMA**2)
    np.testing.assert_allclose(source, np.std(OFF), rtol=1e-9)
    np.testing.assert_allclose(image, np.sqrt(np.mean((OFF - mean) ** 2)), rtol=1e-6)


def test_points_alone_are_a_posterior(x64):
    """The density of a scene is its prior's and the points'; the quadratic expansion has its gradient."""
    term = PointTerm(data=seen(), source=0)
    posterior = Posterior.of(free_scene(), [], points=[term], dtype=np.float64)
    z = 0.2 * jnp.arange(1.0, 5.0)
    found = jax.jit(quadratic)(posterior, z)
    value, gradient = jax.jit(jax.value_and_grad(lambda z: posterior.log_prob(z)))(z)
    scene = posterior.prior.scene(z)
    beta = jnp.array([scene.source_light[0].center_x, 0.0])
    wanted = posterior.prior.log_prob(z) + log_likelihood(scene, seen(), beta=beta)
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    np.testing.assert_allclose(found.log_prob, value, rtol=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-9, atol=1e-9 * float(jnp.abs(gradient).max()))
    rows = jax.jit(jax.jacfwd(posterior.point_residuals))(z)
    np.testing.assert_allclose(found.precision - posterior.prior.curvature(z) * np.eye(4), rows.T @ rows,
                               atol=1e-9 * float(jnp.abs(found.precision).max()))


def test_points_beside_pixels():
    """Both likelihoods add, in the density and in its quadratic expansion."""
    observation = Observation(image=np.ones((8, 8)), grid=Grid(shape=(8, 8), pixel_scale=0.4), background_rms=0.3,
                              exposure_time=100.0)
    pixels = Posterior.of(free_scene(), [observation])
    both = Posterior.of(free_scene(), [observation], points=[PointTerm(data=seen())])
    z = jnp.zeros(4, jnp.float32)
    one, two = jax.jit(quadratic)(pixels, z), jax.jit(quadratic)(both, z)
    points = log_likelihood(both.prior.scene(z), seen())
    np.testing.assert_allclose(two.log_prob - one.log_prob, points, rtol=2e-5)
    np.testing.assert_allclose(jax.jit(Posterior.log_prob)(both, z), two.log_prob, rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda z: both.log_prob(z)))(z)
    np.testing.assert_allclose(two.gradient, gradient, rtol=1e-3, atol=1e-3 * float(jnp.abs(gradient).max()))


@pytest.mark.parametrize("term, says", [
    (dict(ladder="image"), "points.0.finder: missing"), (dict(source=1), "points.0.source: got 1; expected the number"),
    (dict(ladder="pixels"), "points.0.ladder: got 'pixels'; expected one of source, image"),
])
def test_terms_that_do_not_fit_are_refused(term, says):
    with pytest.raises(ValueError, match=says):
        Posterior.of(free_scene(), [], points=[PointTerm(data=seen(), **term)])


def test_matching_takes_each_image_once():
    """The nearest pair first; one that nothing is left for takes the nearest all the same, and is told."""
    images = Images(jnp.array([0.0, 1.0, 9.0]), jnp.zeros(3), jnp.array([2.0, -1.0, 0.0]),
                    jnp.array([True, True, False]), jnp.array(2), jnp.array(True))
    data = PointImages.of([0.1, 0.3, 5.0], [0.0, 0.0, 0.0], 0.1, dtype=np.float32)
    matched = jax.jit(match)(images, data)
    np.testing.assert_array_equal(matched.x, [0.0, 1.0, 1.0])
    np.testing.assert_array_equal(matched.distinct, [True, True, False])


@pytest.mark.parametrize("arguments, says", [
    (dict(x=[1.0], y=[0.0], sigma=0.1), "x: got 1 position; expected 2 or more images of a source"),
    (dict(x=[1.0, 2.0], y=[0.0], sigma=0.1), "y: got shape (1,); expected (2,)"),
    (dict(x=[1.0, np.nan], y=[0.0, 0.0], sigma=0.1), "x: 1 of 2 are not finite; expected numbers"),
    (dict(x=[1.0, 2.0], y=[0.0, 0.0], sigma=[0.1, 0.0]), "sigma: got 0; expected standard deviations above 0"),
    (dict(x=[1.0, 2.0], y=[0.0, 0.0], sigma=0.1, flux=[1.0, 2.0]), "flux_sigma: missing"),
    (dict(x=[1.0, 2.0], y=[0.0, 0.0], sigma=0.1, delay=[1.0, 2.0], delay_sigma=1.0), "delay: got shape (2,)"),
])
def test_bad_measurements_are_refused(arguments, says):
    with pytest.raises(ValueError) as error:
        PointImages.of(**arguments)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_what_is_missing_is_said():
    with pytest.raises(ValueError, match="planes: missing; delays need the redshifts"):
        log_likelihood(Scene(mass=[LENS]), seen(delay=[1.0], delay_sigma=1.0))
    with pytest.raises(ValueError, match="finder: missing"):
        log_likelihood(Scene(mass=[LENS]), seen(), "image")
