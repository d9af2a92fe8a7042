"""Derivatives of the image against forward mode, and the quadratic expansion built on them."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from _problems import blank, draw, lens, lens_prior, observe, scenes, value_and_gradient

from giga.bayes.posterior import Posterior, variance
from giga.bayes.prior import FIXED, Prior
from giga.imaging.jacobian import image_jacobian
from giga.imaging.render import render_data
from giga.inference.search.curvature import parameter_numbers, quadratic
from giga.lensing.scene import Scene
from giga.light import Sersic, Shapelets
from giga.mass import EPL, NFW, Shear


def mixed() -> Scene:
    """Ties between masses, between mass and light, between lens and source; several supersamplings."""
    x, e, r = dist.Normal(0.0, 0.05), dist.Normal(0.05, 0.05), dist.LogNormal(-1.2, 0.2)
    return Scene(
        mass=[EPL(theta_E=dist.LogNormal(-0.1, 0.1), gamma=dist.Normal(2.0, 0.1), e1=e, e2=0.05,
                  center_x=x, center_y=x),
              Shear(gamma1=dist.Normal(0.0, 0.05), gamma2=0.02),
              NFW(Rs=dist.LogNormal(0.7, 0.1), alpha_Rs=0.1, center_x=x, center_y=1.0)],
        lens_light=[Sersic(amp=2.0, R_sersic=r, n_sersic=dist.Uniform(1.0, 4.0), e1=e, center_x=x, supersampling=4),
                    Sersic(amp=dist.LogNormal(0.0, 0.3), R_sersic=r, n_sersic=1.0, supersampling=1)],
        source_light=[Sersic(amp=10.0, R_sersic=r, n_sersic=1.5, center_x=x, center_y=dist.Normal(0.0, 0.1)),
                      Shapelets(amp=np.linspace(1.0, -1.0, 6), beta=dist.LogNormal(-1.5, 0.2), n_max=2,
                                supersampling=4)])


SCENES = {"lens": lens_prior, "mixed": mixed,
          "light alone": lambda: Scene(lens_light=[Sersic(amp=1.0, R_sersic=dist.HalfNormal(0.5), n_sersic=2.0)]),
          "unlensed source": lambda: Scene(source_light=[Sersic(amp=dist.HalfNormal(1.0), R_sersic=0.4, n_sersic=2.0)]),
          "mass alone free": lambda: Scene(mass=[EPL(theta_E=dist.Normal(0.9, 0.1), gamma=2.0)],
                                           source_light=lens().source_light)}


@pytest.mark.parametrize("scene, ss", [*((name, 2) for name in SCENES), ("mixed", 1)])
def test_jacobian_is_that_of_forward_mode(x64, scene, ss):
    prior = Prior.of(SCENES[scene](), np.float64)
    data = blank(ss=ss).data(np.float64)
    x = jax.jit(lambda p, key: p.constrain(0.3 * p.sample(key)))(prior, jax.random.key(1))
    found = jax.jit(lambda x: image_jacobian(prior.fill(x), parameter_numbers(prior), prior.size, data))(x)
    expected = jax.jit(jax.jacfwd(lambda x: render_data(prior.fill(x), data)))(x)
    expected = jnp.moveaxis(expected, -1, 0)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * float(jnp.abs(expected).max()))


def test_a_profile_and_its_numbers_must_match(x64):
    scene, numbers = lens(), parameter_numbers(Prior.of(lens_prior(None), np.float64))
    with pytest.raises(ValueError, match="Sersic: 7 leaves, but 6 parameter numbers"):
        image_jacobian(scene, numbers, 12, blank().data(np.float64))


def test_parameter_numbers():
    numbers = parameter_numbers(Prior.of(lens_prior()))
    assert numbers.mass[0].center_x == numbers.lens_light[0].center_x >= 0
    assert numbers.lens_light[0].n_sersic == FIXED


TREATMENTS = {"sampled": ((), {}), "profile": (None, {"amplitudes": "profile"}),
              "ridge": (None, {"amplitudes": "profile", "amplitude_sd": 5.0}),
              "marginal": (None, {"amplitudes": "marginal", "amplitude_sd": 5.0}),
              "nonnegative": (None, {"amplitudes": "nonnegative"})}

QUADRATIC = jax.jit(quadratic)


def with_shapelets(scene: Scene) -> Scene:
    return scene.replace(source_light=[*scene.source_light, Shapelets(beta=dist.LogNormal(-1.6, 0.2), n_max=2)])


def expanded(treatment, observations=None, scene=None):
    amp, settings = TREATMENTS[treatment]
    observations = observations or [observe(lens(), blank(exposure=300.0))]
    posterior = Posterior.of(scene or lens_prior(amp), observations, dtype=np.float64, **settings)
    z = draw(posterior)
    return posterior, z, QUADRATIC(posterior, z)


@pytest.mark.slow
@pytest.mark.parametrize("treatment, count", [*((name, 1) for name in TREATMENTS), ("marginal", 2)])
def test_value_and_gradient_are_exact(x64, treatment, count):
    """Of one observation by every treatment, and of two of other sizes and noise; of two bands below."""
    observations = [observe(lens(), blank(exposure=300.0)), observe(lens(), blank(size=16, pixel_scale=0.18), 2)]
    posterior, z, found = expanded(treatment, observations[:count])
    value, gradient = value_and_gradient(posterior, z)
    assert float(found.log_prob) == pytest.approx(float(value), rel=1e-12)
    assert float(found.chi2) == pytest.approx(float(jax.jit(Posterior.chi2)(posterior, z)), rel=1e-12)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-8, atol=1e-8 * float(jnp.abs(gradient).max()))


def test_gradient_with_bands_and_shapelets(x64):
    """Solved shapelets, and a light that one of two bands does not see."""
    scene = with_shapelets(lens_prior(None))
    scene = scene.replace(lens_light=[scene.lens_light[0].replace(bands=("red",))])
    observations = [observe(lens(), blank(band="red")), observe(lens(), blank(band="blue"), 2)]
    posterior, z, found = expanded("ridge", observations, scene)
    _, gradient = value_and_gradient(posterior, z)
    np.testing.assert_allclose(found.gradient, gradient, rtol=1e-8, atol=1e-8 * float(jnp.abs(gradient).max()))


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_precision_is_symmetric_and_positive(x64, treatment):
    _, _, found = expanded(treatment)
    scale = float(jnp.abs(found.precision).max())
    np.testing.assert_allclose(found.precision, found.precision.T, atol=1e-10 * scale)
    assert float(jnp.linalg.eigvalsh(found.precision)[0]) > 0.0


@jax.jit
def slopes_of(prior, amplitudes, data, z):
    """The image for some amplitudes, and its derivatives by forward mode."""
    def image(z):
        return render_data(prior.scene(z).with_amplitudes(amplitudes), data)

    return image(z), jax.jacfwd(image)(z)


def fisher(posterior, z, extra=()):
    """Fisher information J^T W J of the parameters (and of `extra` columns), by forward mode."""
    data = posterior.data[0]
    scene = scenes(posterior, z)[0]
    amplitudes = [jax.lax.stop_gradient(p.amp) for p in scene.light]

    model, slopes = slopes_of(posterior.prior, amplitudes, data, z)
    var = variance(model, data)
    weight = 1.0 / var + (0.5 * (data.photon / var) ** 2 if data.poisson else 0.0)
    design = jnp.moveaxis(slopes, -1, 0)
    design = jnp.concatenate([design, *extra]).reshape(len(z) + sum(map(len, extra)), -1)
    return np.array((design * weight.ravel()) @ design.T)


def test_precision_is_the_exact_fisher_information(x64):
    """1/s^2 + (ds^2/dm / s^2)^2 / 2 a pixel, plus the prior's curvature."""
    posterior, z, found = expanded("sampled", [observe(lens(), blank(exposure=50.0))])
    expected = fisher(posterior, z) + np.diag(np.maximum(jax.jit(Prior.curvature)(posterior.prior, z), 1e-3))
    np.testing.assert_allclose(found.precision, expected, rtol=1e-8, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("treatment", ["profile", "ridge", "nonnegative"])
def test_solved_amplitudes_are_projected_out(x64, treatment):
    """The Schur complement of the joint Fisher information of parameters and amplitudes."""
    posterior, z, found = expanded(treatment)
    data, scene = posterior.data[0], scenes(posterior, z)[0]
    columns = jnp.stack([jax.jit(render_data)(Scene(mass=scene.mass, **light), data) for light in (
        {"lens_light": [scene.lens_light[0].replace(amp=1.0)]},
        {"source_light": [scene.source_light[0].replace(amp=1.0)]})])
    assert all(float(p.amp) > 0.0 for p in scene.light)
    joint = fisher(posterior, z, [columns])
    if treatment == "ridge":
        joint[-2:, -2:] += np.eye(2) / 25.0
    a, b, c = joint[:-2, :-2], joint[:-2, -2:], joint[-2:, -2:]
    expected = a - b @ np.linalg.solve(c, b.T) + np.diag(np.maximum(jax.jit(Prior.curvature)(posterior.prior, z), 1e-3))
    np.testing.assert_allclose(found.precision, expected, rtol=1e-7, atol=1e-8 * np.abs(expected).max())


def test_precision_is_the_hessian_at_a_perfect_fit(x64):
    """With data equal to the model, the second derivatives of the model drop out."""
    posterior = Posterior.of(lens_prior(), [observe(lens(), blank(), seed=None)], dtype=np.float64)
    truth = {"mass.0.theta_E": 0.9, "mass.0.gamma": 2.05, "mass.0.e1": 0.08, "mass.0.e2": -0.05, "mass.0.center_x": 0.0,
             "mass.1.gamma1": 0.02, "mass.1.gamma2": -0.03, "lens_light.0.amp": 4.0, "lens_light.0.R_sersic": 0.5,
             "source_light.0.amp": 20.0, "source_light.0.R_sersic": 0.2, "source_light.0.n_sersic": 1.2,
             "source_light.0.center_x": 0.05, "source_light.0.center_y": -0.04}
    z = posterior.prior.vector(truth)
    hessian = -jax.jit(jax.jacfwd(jax.grad(posterior.log_prob)))(z)
    found = QUADRATIC(posterior, z)
    np.testing.assert_allclose(found.precision, hessian, rtol=1e-6, atol=1e-6 * float(jnp.abs(hessian).max()))
    np.testing.assert_allclose(found.gradient, jax.grad(posterior.prior.log_prob)(z), atol=1e-6)


@pytest.mark.parametrize("away", [2.0, 9.0, 10.0, 11.0, 12.0, 60.0])
def test_light_outside_of_the_field_leaves_a_curvature(away):
    """A galaxy whose column is zero to rounding, or nearly: the fit is no worse with it, and its curvature a number."""
    prior, seen = lens_prior(), [observe(lens(), blank(size=16, pixel_scale=0.18, ss=1))]
    far = Sersic(R_sersic=dist.LogNormal(-1.0, 0.1), n_sersic=1.0, center_x=away)
    found, without = (QUADRATIC(one, jnp.full(one.prior.size, 0.1)) for one in (
        Posterior.of(Scene(mass=prior.mass, lens_light=light, source_light=prior.source_light), seen, "profile")
        for light in ([far], [])))
    assert np.isfinite(found.precision).all() and np.isfinite(found.gradient).all()
    assert found.chi2 < 1.0001 * without.chi2
