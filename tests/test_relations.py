"""Relations between leaves, against closed forms and numerical integration."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import integrate

from giga.ellipse import axis_ratio
from giga.lensing.cosmology import Cosmology
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.light.sersic import unit_flux
from giga.mass import SIE
from giga.simulate.populations import relations
from giga.simulate.populations.derived import Derived
from giga.simulate.populations.population import Population

pytestmark = pytest.mark.quick


def draws(scene, extras=None, n=2000):
    population = Population.of(scene, extras)
    return jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(0), n))[1]


def one(leaf):
    return Population.of({"x": leaf}).sample(jax.random.key(0))["x"]


def test_ellipticity_has_the_axis_ratio_and_the_angle():
    q, phi = dist.Uniform(0.3, 1.0), dist.Uniform(0.0, np.pi)
    truth = draws(dict(zip("ab", relations.ellipticity(q, phi), strict=True)), {"q": q, "phi": phi})
    seen_q, seen_phi = axis_ratio(truth["a"], truth["b"])
    np.testing.assert_allclose(seen_q, truth["q"], rtol=1e-5)
    turned = np.exp(2j * np.asarray(seen_phi)) * np.exp(-2j * np.asarray(truth["phi"]))
    round_enough = np.asarray(truth["q"]) > 0.999
    np.testing.assert_allclose(turned[~round_enough], 1.0, atol=1e-3)


def test_a_source_is_in_the_box_about_its_lens():
    theta_E, x = dist.Uniform(1.0, 3.0), dist.Uniform(-0.6, 0.6)
    truth = draws({"x": relations.within(x, theta_E), "y": relations.within(0.1, theta_E, reach=0.5)},
                  {"theta_E": theta_E, "x_l": x})
    u = (truth["x"] - truth["x_l"]) / (0.8 * truth["theta_E"])
    v = (truth["y"] - 0.1) / (0.5 * truth["theta_E"])
    for uniform in (u, v):
        assert float(jnp.max(jnp.abs(uniform))) <= 1.0 + 1e-5
        assert abs(float(uniform.mean())) < 5.0 / np.sqrt(3 * 2000)
        assert float(uniform.var()) == pytest.approx(1.0 / 3.0, abs=0.03)
    assert abs(np.corrcoef(u, v)[0, 1]) < 5.0 / np.sqrt(2000)


def test_presence():
    lensed = dist.Bernoulli(0.95)
    truth = draws(Scene(lens_light=[Sersic(amp=relations.present(np.ones(3), 0.2), R_sersic=1.0, n_sersic=4.0)],
                        source_light=[Sersic(amp=relations.present(2.0, lensed), R_sersic=1.0, n_sersic=1.0)]),
                  {"lensed": lensed}, n=4000)
    second = np.asarray(truth["lens_light.0.amp"])
    assert set(np.unique(second)) == {0.0, 1.0}
    np.testing.assert_array_equal(second, second[:, :1].repeat(3, axis=1))  # all bands or none
    assert second[:, 0].mean() == pytest.approx(0.2, abs=5 * 0.4 / np.sqrt(4000))
    np.testing.assert_array_equal(truth["source_light.0.amp"], 2.0 * truth["lensed"])
    assert float(truth["lensed"].mean()) == pytest.approx(0.95, abs=5 * 0.22 / np.sqrt(4000))


@pytest.mark.parametrize("probability", [-0.1, 1.5, float("nan")])
def test_a_probability_is_between_zero_and_one(probability):
    with pytest.raises(ValueError, match=f"probability: got {probability}; expected a number from 0 to 1"):
        relations.present(1.0, probability)


def test_einstein_radius_through_the_cosmology():
    sigma_v, z_lens = dist.Uniform(150.0, 350.0), dist.Uniform(0.2, 0.8)
    z_source = Derived(lambda z, gap: z + gap, z_lens, dist.Uniform(0.5, 2.0))
    truth = draws(Scene(mass=[SIE(theta_E=relations.einstein_radius(sigma_v, z_lens, z_source))]),
                  {"sigma_v": sigma_v, "z_lens": z_lens, "z_source": z_source}, n=5)
    expected = Cosmology().einstein_radius(truth["sigma_v"], truth["z_lens"], truth["z_source"])
    np.testing.assert_allclose(truth["mass.0.theta_E"], expected, rtol=1e-5)


def test_a_cosmology_may_be_drawn_too():
    Om0 = dist.Uniform(0.2, 0.4)
    truth = draws([relations.einstein_radius(200.0, 0.5, 2.0, Cosmology(Om0=Om0))], {"Om0": Om0}, n=3)
    expected = [float(Cosmology(Om0=value).einstein_radius(200.0, 0.5, 2.0)) for value in truth["Om0"]]
    np.testing.assert_allclose(truth["0"], expected, rtol=1e-5)
    assert np.ptp(expected) > 1e-3


@pytest.mark.parametrize("b_n", ["exact", "linear"])
@pytest.mark.parametrize("n_sersic", [0.5, 1.0, 2.5, 4.0, 6.0])
def test_unit_flux_is_the_integral_of_the_profile(n_sersic, b_n, x64):
    profile = Sersic(amp=1.0, R_sersic=0.7, n_sersic=n_sersic, b_n=b_n)
    brightness = jax.jit(profile.brightness)

    def ring(t):  # t = (r / R)^(1/n), in which the integrand is smooth and falls off exponentially
        r = profile.R_sersic * t**n_sersic
        return 2.0 * np.pi * r * float(brightness(r, 0.0)) * n_sersic * r / t

    total, _ = integrate.quad(ring, 1e-6, 30.0, limit=200, epsrel=1e-8)
    assert float(unit_flux(0.7, n_sersic, b_n)) == pytest.approx(total, rel=1e-6)


def test_half_of_the_flux_is_within_the_half_light_radius(x64):
    """The exact b_n is the one that makes R_sersic the half-light radius."""
    brightness = jax.jit(Sersic(amp=1.0, R_sersic=1.0, n_sersic=4.0).brightness)
    inside, _ = integrate.quad(lambda r: 2.0 * np.pi * r * float(brightness(r, 0.0)), 0.0, 1.0, epsrel=1e-8)
    assert float(unit_flux(1.0, 4.0)) == pytest.approx(2.0 * inside, rel=1e-5)


@pytest.mark.parametrize("b_n", ["exact", "linear"])
def test_amplitude_gives_the_magnitude(b_n, x64):
    """An elliptical profile on a fine grid has the counts of its magnitude in each band."""
    magnitude, zero_point = np.array([20.0, 21.5]), np.array([25.0, 24.0])
    amp = one(relations.amplitude(magnitude, zero_point, 0.5, 1.0, b_n))
    profile = Sersic(amp=1.0, R_sersic=0.5, n_sersic=1.0, e1=0.2, e2=-0.1, b_n=b_n)
    x = np.linspace(-8.0, 8.0, 1601)
    flux = float(jax.jit(profile.brightness)(*np.meshgrid(x, x)).sum()) * (x[1] - x[0]) ** 2
    # the corners of the box miss 1e-5 of an exponential of 16 scale lengths, its cusp costs about as much
    np.testing.assert_allclose(zero_point - 2.5 * np.log10(flux * np.asarray(amp)), magnitude, atol=1e-4)


def test_rotation():
    x, y = relations.rotated(1.0, 0.5, np.pi / 2)
    np.testing.assert_allclose([one(x), one(y)], [-0.5, 1.0], atol=1e-6)


def test_bulge_and_disc_share_a_magnitude():
    share, center = dist.Uniform(0.0, 1.0), dist.Normal(0.0, 0.1)
    magnitude, zero_point = np.array([18.0, 17.0, 16.5]), 25.0
    lights = relations.bulge_and_disc(magnitude, zero_point, share,
                                      Sersic(R_sersic=0.5, n_sersic=4.0, e1=0.1, center_x=center),
                                      Sersic(R_sersic=dist.Uniform(1.0, 2.0), n_sersic=1.0, e1=0.3))
    truth = draws(Scene(lens_light=lights), {"share": share}, n=100)
    np.testing.assert_array_equal(truth["lens_light.0.center_x"], truth["lens_light.1.center_x"])
    bulge = truth["lens_light.0.amp"] * unit_flux(0.5, 4.0)
    disc = truth["lens_light.1.amp"] * unit_flux(truth["lens_light.1.R_sersic"], 1.0)[:, None]
    np.testing.assert_allclose(zero_point - 2.5 * np.log10(bulge + disc), np.tile(magnitude, (100, 1)), atol=1e-4)
    np.testing.assert_allclose(bulge / (bulge + disc), np.asarray(truth["share"])[:, None].repeat(3, 1), atol=1e-5)


def test_amplitudes_are_differentiable(x64):
    def total(at):
        magnitude, R_sersic, n_sersic = at
        return one(relations.amplitude(magnitude, 25.0, R_sersic, n_sersic))

    at, h = jnp.array([22.0, 0.5, 2.0]), 1e-5
    numeric = [(total(at + h * step) - total(at - h * step)) / (2 * h) for step in jnp.eye(3)]
    np.testing.assert_allclose(jax.grad(total)(at), numeric, rtol=1e-7)


def test_alike_populations_compile_once():
    traces = []

    @jax.jit
    def sample(population, key):
        traces.append(1)
        return population.sample(key)

    for reach in (0.8, 0.4):
        theta_E = dist.Uniform(1.0, 2.0 + reach)
        scene = Scene(mass=[SIE(theta_E=theta_E)], source_light=[Sersic(
            amp=relations.present(1.0, 0.95), R_sersic=0.1, n_sersic=1.0,
            center_x=relations.within(0.0, theta_E, reach))])
        sample(Population.of(scene), jax.random.key(0))
    assert len(traces) == 1
