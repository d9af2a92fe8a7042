"""The prior as a density of a flat vector: every family, ties, names, precision and compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from _processes import pythons

from giga.bayes.prior import Prior, values_of
from giga.component import leaves_with_names
from giga.lensing.scene import Scene
from giga.light import Sersic
from giga.mass import EPL, Shear
from giga.runtime.checkpoint import identity_of

FAMILIES = {
    "Normal": lambda: dist.Normal(0.5, 2.0),
    "LogNormal": lambda: dist.LogNormal(0.3, 0.4),
    "Uniform": lambda: dist.Uniform(-1.0, 3.0),
    "TruncatedNormal": lambda: dist.TruncatedNormal(2.0, 0.25, low=1.0, high=2.7),
    "TruncatedNormal at its edge": lambda: dist.TruncatedNormal(2.0, 0.5, low=1.9, high=2.2),
    "TruncatedNormal, low": lambda: dist.TruncatedNormal(0.5, 1.0, low=0.2),
    "TruncatedNormal, high": lambda: dist.TruncatedNormal(0.5, 1.0, high=1.2),
    "TruncatedNormal, all of it a tail": lambda: dist.TruncatedNormal(-0.3, 0.02, low=0.0, high=1.2),
    "HalfNormal": lambda: dist.HalfNormal(0.7),
    "LogUniform": lambda: dist.LogUniform(0.01, 10.0),
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return FAMILIES[request.param]


def quadrature(prior):
    """Positions along z, and the density there times the spacing; float64."""
    z = jnp.linspace(-60.0, 60.0, 60001)[:, None]
    return z, jnp.exp(jax.vmap(prior.log_prob)(z)) * (z[1, 0] - z[0, 0])


def test_round_trip(family, dtype):
    prior = Prior.of([family()], dtype)
    z = np.linspace(-2.5, 2.5, 11, dtype=dtype)[:, None]
    x = jax.vmap(prior.constrain)(z)
    assert x.dtype == dtype
    assert bool(jnp.all(family().support(x)))
    np.testing.assert_allclose(jax.vmap(prior.unconstrain)(x), z, atol=1e-3 if dtype == np.float32 else 1e-10)


def test_density_integrates_to_one(family, x64):
    _, weight = quadrature(Prior.of([family()], np.float64))
    assert float(weight.sum()) == pytest.approx(1.0, abs=1e-8)


def test_draws_have_the_moments_of_the_density(family, x64):
    prior = Prior.of([family()], np.float64)
    z, weight = quadrature(prior)
    x = jax.vmap(prior.constrain)(z)[:, 0]
    mean = float(jnp.sum(x * weight))
    deviation = float(jnp.sqrt(jnp.sum((x - mean) ** 2 * weight)))
    count = 20_000
    draws = jax.vmap(prior.constrain)(jax.vmap(prior.sample)(jax.random.split(jax.random.key(3), count)))
    assert float(draws.mean()) == pytest.approx(mean, abs=4.0 * deviation / np.sqrt(count))
    assert float(draws.std()) == pytest.approx(deviation, rel=0.04)


def test_vector_is_of_order_one(family, dtype):
    prior = Prior.of([family()], dtype)
    z = jax.vmap(prior.sample)(jax.random.split(jax.random.key(4), 4000))
    assert abs(float(z.mean())) < 0.1
    assert 0.9 < float(z.std()) < 1.1


def test_curvature_is_the_diagonal_of_the_hessian(x64, rng):
    prior = Prior.of([make() for make in FAMILIES.values()], np.float64)
    z = jnp.asarray(rng.normal(size=prior.size))
    hessian = jax.jit(jax.hessian(prior.log_prob))(z)
    np.testing.assert_allclose(jax.jit(prior.curvature)(z), -jnp.diag(hessian), atol=1e-10)
    np.testing.assert_allclose(hessian - jnp.diag(jnp.diag(hessian)), 0.0, atol=1e-12)


def test_families_keep_their_places(x64, rng):
    """Parameters are evaluated family by family, and come back in the order of the scene."""
    makers = [*FAMILIES.values()] * 2
    prior = Prior.of([make() for make in makers], np.float64)
    z = jnp.asarray(rng.normal(size=prior.size))
    alone = [Prior.of([make()], np.float64) for make in FAMILIES.values()] * 2
    each = [(float(p.constrain(v[None])[0]), float(p.log_prob(v[None]))) for p, v in zip(alone, z, strict=True)]
    values, densities = np.transpose(each)
    np.testing.assert_allclose(prior.constrain(z), values, rtol=1e-12)
    np.testing.assert_allclose(prior.log_prob(z), densities.sum(), rtol=1e-12)


def test_precisions_agree(x64, rng):
    scene = [make() for make in FAMILIES.values()]
    z = rng.normal(size=len(scene))
    single, double = (Prior.of(scene, d) for d in (np.float32, np.float64))
    z32 = jnp.asarray(z, jnp.float32)
    assert single.constrain(z32).dtype == single.log_prob(z32).dtype == jnp.float32
    np.testing.assert_allclose(single.constrain(z32), double.constrain(jnp.asarray(z)), rtol=3e-6, atol=3e-6)
    np.testing.assert_allclose(single.log_prob(z32), double.log_prob(jnp.asarray(z)), rtol=1e-5)


def tied_scene():
    center = dist.Normal(0.0, 0.1)
    return Scene(mass=[EPL(theta_E=dist.LogNormal(0.0, 0.1), gamma=2.0, center_x=center),
                       Shear(gamma1=dist.Normal(0.0, 0.05), gamma2=dist.Normal(0.0, 0.05))],
                 lens_light=[Sersic(amp=2.0, R_sersic=0.5, n_sersic=4.0, center_x=center)])


def test_names_ties_and_fixed_numbers():
    prior = Prior.of(tied_scene())
    assert prior.names == ("mass.0.theta_E", "mass.0.center_x", "mass.1.gamma1", "mass.1.gamma2")
    assert prior.size == 4
    scene = prior.scene(jnp.array([0.3, -1.2, 0.5, -0.5]))
    assert float(scene.mass[0].center_x) == float(scene.lens_light[0].center_x) == pytest.approx(-0.12)
    assert float(scene.mass[1].gamma1) == pytest.approx(0.025)
    assert float(scene.mass[0].gamma) == 2.0
    assert float(scene.lens_light[0].n_sersic) == 4.0
    assert scene.source_light == ()
    alike = tied_scene()
    # as many terms as the prior needs
    alike = alike.replace(mass=[alike.mass[0].replace(terms=scene.mass[0].terms), alike.mass[1]])
    assert jax.tree.structure(scene) == jax.tree.structure(jax.tree.map(
        lambda leaf: 0.0, alike, is_leaf=lambda leaf: isinstance(leaf, dist.Distribution)))


def test_equal_distributions_are_two_parameters():
    prior = Prior.of(Shear(gamma1=dist.Normal(0.0, 0.05), gamma2=dist.Normal(0.0, 0.05)))
    assert prior.names == ("gamma1", "gamma2")


def test_a_tied_parameter_counts_once_in_the_density(x64):
    both, z = dist.Normal(0.0, 0.1), jnp.array([1.3])
    assert float(Prior.of([both, both], np.float64).log_prob(z)) == float(Prior.of([both], np.float64).log_prob(z))


def test_solved_amplitudes_are_no_parameters():
    prior = Prior.of(Scene(lens_light=[Sersic(R_sersic=dist.HalfNormal(1.0), n_sersic=4.0)]))
    assert prior.names == ("lens_light.0.R_sersic",)
    assert prior.scene(jnp.zeros(1)).is_linear


def test_values_by_name(x64):
    prior = Prior.of(tied_scene(), np.float64)
    values = {"mass.0.theta_E": 1.1, "mass.0.center_x": 0.02, "mass.1.gamma1": 0.03, "mass.1.gamma2": -0.04}
    x = prior.constrain(prior.vector(values))
    assert {name: pytest.approx(float(v)) for name, v in prior.values(x).items()} == values
    assert prior.values(jnp.stack([x, x]))["mass.1.gamma1"].shape == (2,)
    numbers = prior.fill(x)
    assert values_of(tied_scene(), numbers) == pytest.approx(values)
    del values["mass.1.gamma2"]
    with pytest.raises(KeyError, match=r"no value for mass\.1\.gamma2; expected mass\.0\.theta_E"):
        prior.vector(values)


def test_new_numbers_do_not_compile_again():
    traces = []

    @jax.jit
    def density(prior, z):
        traces.append(1)
        return prior.log_prob(z)

    def scene(shift, fixed):
        return [dist.Normal(shift, 0.1), dist.Uniform(shift, 2.0),
                dist.TruncatedNormal(shift, 1.0, low=0.0, high=3.0), fixed]

    values = [float(density(Prior.of(scene(shift, fixed)), jnp.ones(3))) for shift, fixed in ((0.1, 1.0), (0.7, 2.0))]
    assert len(traces) == 1
    assert values[0] != values[1]


@pytest.mark.parametrize("scene, message", [
    ([1.0, 2.0], "no leaf of the scene is a distribution"),
    ({"x": lambda: dist.Normal(np.zeros(2), 1.0)}, r"x: expected a scalar distribution, got shape \(2,\)"),
    ({"x": lambda: dist.MultivariateNormal(np.zeros(2), np.eye(2))},
     r"x: expected a scalar distribution, got shape \(2,\)"),
    ({"x": lambda: dist.Poisson(3.0)}, "x: expected a continuous distribution, got Poisson"),
])
def test_errors(scene, message):
    made = {k: make() for k, make in scene.items()} if isinstance(scene, dict) else scene
    with pytest.raises(ValueError, match=message):
        Prior.of(made)


def test_extreme_vectors_stay_finite(family, dtype):
    """Far from the prior's mass the density is low, not NaN, and its gradient points home."""
    prior = Prior.of([family()], dtype)
    of = jax.jit(jax.value_and_grad(prior.log_prob))
    for z in (-6.0, 6.0):
        value, gradient = of(jnp.array([z], dtype))
        assert np.isfinite(float(value)), z
        assert np.sign(float(gradient[0])) == -np.sign(z)


def test_names_are_paths():
    prior = Prior.of(tied_scene())
    assert set(prior.names) <= {name for name, _ in leaves_with_names(tied_scene())}


def mixed() -> Prior:
    """Of many families, bounded and not."""
    return Prior.of([dist.TruncatedNormal(2.0, 0.2, low=1.2, high=2.8), dist.LogNormal(0.1, 0.2),
                     dist.Normal(0.3, 0.4), dist.TruncatedNormal(1.0, 0.5, low=0.0), dist.HalfNormal(2.0),
                     dist.LogUniform(0.1, 3.0)])


ORDER = """
    from giga.runtime.checkpoint import identity_of
    from test_prior import mixed
    print(identity_of(mixed()))
    """


def test_a_prior_is_the_same_in_every_process():
    """NumPyro's pytrees list their leaves in the order of a set; compiled programs, hashes, and processes must not."""
    found = pythons(ORDER, [()] * 2, [{"PYTHONHASHSEED": seed} for seed in ("1", "2")], bare=True)
    assert {out.strip() for out in found} == {identity_of(mixed())}


# ---------------------------------------------------------------- physical ranges

def wide() -> Scene:
    """Priors without bounds of their own that reach beyond the physical ranges."""
    return Scene(mass=[EPL(theta_E=dist.Normal(1.0, 0.4), gamma=dist.Normal(2.0, 0.5), e1=dist.Normal(0.1, 0.5),
                           e2=dist.Normal(0.0, 0.4))],
                 lens_light=[Sersic(amp=1.0, R_sersic=1.0, n_sersic=dist.LogNormal(0.0, 1.5), e1=0.6,
                                    e2=dist.Normal(0.0, 0.5))])


CONSTRAIN = jax.jit(jax.vmap(Prior.constrain, (None, 0)))


def test_no_step_leaves_the_physical_range(dtype):
    """However far; value and slope of the density stay finite, and so does the way back short of the edge."""
    prior = Prior.of(wide(), dtype)
    assert len(prior.edges.pairs) == 1
    z = np.random.default_rng(1).normal(size=(2000, prior.size)) * np.geomspace(0.1, 1e3, 2000)[:, None]
    x = dict(zip(prior.names, np.asarray(CONSTRAIN(prior, z.astype(dtype))).T, strict=True))
    assert 0.0 < x["mass.0.theta_E"].min() and 1.0 < x["mass.0.gamma"].min() and x["mass.0.gamma"].max() < 3.0
    assert 0.17 < x["lens_light.0.n_sersic"].min() and x["lens_light.0.n_sersic"].max() < 20.0
    assert 0.99 < np.hypot(x["mass.0.e1"], x["mass.0.e2"]).max() < 1.0
    assert 0.79 < np.abs(x["lens_light.0.e2"]).max() < 0.8  # beside a fixed e1 of 0.6
    density, slope = jax.jit(jax.vmap(jax.value_and_grad(Prior.log_prob, 1), (None, 0)))(prior, z.astype(dtype))
    assert np.isfinite(density).all() and np.isfinite(slope).all()
    near = z[:400].astype(dtype)  # up to two standard deviations, well into the margins
    back = jax.vmap(prior.unconstrain)(CONSTRAIN(prior, near))
    np.testing.assert_allclose(back, near, rtol={"float32": 1e-3, "float64": 1e-9}[dtype.name], atol=1e-5)


def test_a_prior_within_its_ranges_is_as_it_would_be_without(dtype):
    """Away from the edges coordinate and density are those of the distributions themselves, to the last bit."""
    scene = Scene(mass=[EPL(theta_E=1.0, gamma=2.0, e1=dist.Normal(0.1, 0.1), e2=dist.Normal(0.0, 0.2))])
    prior = Prior.of(scene, dtype)
    assert prior.edges.pairs == ((0, 1),)
    z = jax.random.normal(jax.random.key(0), (500, 2), dtype)
    np.testing.assert_array_equal(CONSTRAIN(prior, z), prior.shift + prior.scale * z)
    expected = np.sum(scipy.stats.norm.logpdf(z), 1)
    tolerance = {"float32": 1e-5, "float64": 1e-6}[dtype.name]
    np.testing.assert_allclose(jax.vmap(prior.log_prob)(z), expected, atol=tolerance)


def test_a_prior_cut_by_its_ranges_is_normalised(x64):
    """The integral of the density over the coordinates, a pair and two parameters by themselves."""
    prior = Prior.of(wide(), x64)
    line = np.linspace(-12.0, 12.0, 2401)
    log_probs = jax.jit(jax.vmap(Prior.log_probs, (None, 0)))
    for name in ("mass.0.theta_E", "mass.0.gamma", "lens_light.0.n_sersic", "lens_light.0.e2"):
        k = prior.names.index(name)
        z = np.zeros((len(line), prior.size))
        z[:, k] = line
        total = np.sum(np.exp(log_probs(prior, z)[:, k])) * (line[1] - line[0])
        np.testing.assert_allclose(total, 1.0, rtol=1e-4)
    (i, j), = prior.edges.pairs
    coarse = np.linspace(-9.0, 9.0, 361)
    grid = np.zeros((361 * 361, prior.size))
    grid[:, i], grid[:, j] = (part.ravel() for part in np.meshgrid(coarse, coarse))
    total = np.sum(np.exp(log_probs(prior, grid)[:, [i, j]].sum(1))) * (coarse[1] - coarse[0]) ** 2
    np.testing.assert_allclose(total, 1.0, rtol=1e-3)  # the quantiles that give the share inside are 400 a side


def test_draws_are_inside_the_ranges_and_follow_the_prior(x64):
    prior = Prior.of(wide(), x64)
    x = CONSTRAIN(prior, jax.jit(jax.vmap(prior.sample))(jax.random.split(jax.random.key(3), 4000)))
    x = dict(zip(prior.names, np.asarray(x).T, strict=True))
    assert np.hypot(x["mass.0.e1"], x["mass.0.e2"]).max() < 1.0
    cut = scipy.stats.truncnorm(-2.0, 2.0, 2.0, 0.5)
    assert scipy.stats.kstest(x["mass.0.gamma"], cut.cdf).pvalue > 1e-3
    rng = np.random.default_rng(0)
    e = rng.normal(size=(2, 40000)) * [[0.5], [0.4]] + [[0.1], [0.0]]
    expected = e[:, np.hypot(*e) < 1.0]
    for one, name in zip(expected, ("mass.0.e1", "mass.0.e2"), strict=True):
        assert scipy.stats.ks_2samp(one, x[name]).pvalue > 1e-3


def test_a_prior_outside_its_range_is_refused():
    with pytest.raises(ValueError, match=r"mass.0.gamma: all of its prior is outside its physical range"):
        Prior.of(Scene(mass=[EPL(theta_E=1.0, gamma=dist.Normal(40.0, 0.1))]))


def test_a_slope_of_zero_stays_where_it_is():
    """Far out on its line a parameter's derivative underflows: the columns of ellipticities are right all the same."""
    prior = Prior.of(Scene(mass=[EPL(theta_E=dist.LogNormal(0.0, 0.3), gamma=2.0, e1=dist.Normal(0.0, 0.3),
                                     e2=dist.Normal(0.0, 0.3))]))
    assert prior.edges.pairs
    x, slopes = jnp.array([1.0, 0.7, 0.55]), jnp.array([0.0, 0.3, 0.2])
    found = jax.jit(prior.edges.mixed)(x, slopes, slopes[:, None] * jnp.array([[5.0], [1.0], [2.0]]))
    inner = jax.jacobian(lambda x: prior.edges.disc(x)[0])(x)
    expected = slopes * (inner.T @ jnp.array([5.0, 1.0, 2.0]))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5)
