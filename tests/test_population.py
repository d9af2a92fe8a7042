"""Populations: what is drawn once, what follows from it, and what cannot be drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from giga.component import leaves_with_names
from giga.lensing.scene import Scene
from giga.light import Sersic, Shapelets
from giga.mass import SIE, Shear
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.populations.population import Derived, Population


def lens(**extras):
    """A scene with ties, a chain of Deriveds, one value a band, and a shared input that is on no leaf."""
    x, theta_E, hidden = dist.Normal(0.0, 0.1), dist.Uniform(1.0, 3.0), dist.Uniform(-1.0, 1.0)
    offset = Derived(lambda t, u: 0.8 * t * u, theta_E, hidden)
    return Population.of(Scene(
        mass=[SIE(theta_E=theta_E, center_x=x), Shear(gamma1=dist.Uniform(0.0, 0.1), gamma2=0.02)],
        lens_light=[Sersic(amp=dist.Uniform(0.0, 1.0).expand([4]), R_sersic=dist.LogNormal(0.0, 0.1), n_sersic=4.0,
                           center_x=x)],
        source_light=[Sersic(amp=np.arange(4.0), R_sersic=0.2, n_sersic=1.0,
                             center_x=Derived(jnp.add, x, offset), center_y=offset)]),
        {"hidden": hidden, **extras})


def draws(population, n, seed=0):
    return jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(seed), n))


def test_names_shapes_and_types(dtype):
    scene, truth = lens(label=dist.Bernoulli(0.5)).draw(jax.random.key(0))
    assert isinstance(scene, Scene)
    assert {name: np.shape(leaf) for name, leaf in leaves_with_names(scene)} == {
        name: np.shape(leaf) for name, leaf in truth.items() if name not in ("hidden", "label")}
    assert scene.lens_light[0].amp.shape == (4,)
    assert {leaf.dtype for leaf in jax.tree.leaves(scene)} == {dtype}
    assert jnp.issubdtype(truth["label"].dtype, jnp.integer)
    np.testing.assert_array_equal(scene.source_light[0].amp, np.arange(4.0))
    assert float(truth["mass.1.gamma2"]) == pytest.approx(0.02)


def test_names_tell_what_varies():
    population = lens()
    assert population.n_bands == 4
    assert population.names[-1] == "hidden"
    assert set(population.names) == set(population.draw(jax.random.key(0))[1])
    assert population.free == ("mass.0.theta_E", "mass.0.center_x", "mass.1.gamma1", "lens_light.0.amp",
                               "lens_light.0.R_sersic", "source_light.0.center_x", "source_light.0.center_y", "hidden")


def test_one_object_is_drawn_once():
    _, truth = draws(lens(), 200)
    np.testing.assert_array_equal(truth["mass.0.center_x"], truth["lens_light.0.center_x"])
    offset = 0.8 * truth["mass.0.theta_E"] * truth["hidden"]
    np.testing.assert_allclose(truth["source_light.0.center_y"], offset, rtol=1e-6)
    np.testing.assert_allclose(truth["source_light.0.center_x"], truth["mass.0.center_x"] + offset, atol=1e-6)
    assert np.std(truth["hidden"]) > 0.5


def test_equal_distributions_are_two_draws():
    _, truth = draws(Population.of([dist.Normal(0.0, 1.0), dist.Normal(0.0, 1.0)]), 4000)
    assert abs(np.corrcoef(truth["0"], truth["1"])[0, 1]) < 4.0 / np.sqrt(4000)


def test_bands_are_drawn_apart():
    amp = np.asarray(draws(lens(), 4000)[1]["lens_light.0.amp"])
    assert np.abs(np.corrcoef(amp.T) - np.eye(4)).max() < 4.0 / np.sqrt(4000)


FAMILIES = {
    "uniform": dist.Uniform(1.0, 3.0), "log-normal": dist.LogNormal(0.2, 0.3), "poisson": dist.Poisson(3.0),
    "truncated": dist.TruncatedNormal(0.0, 1.0, low=-0.5, high=2.0), "gamma": dist.Gamma(2.0, 1.0),
    "mixture": dist.MixtureSameFamily(dist.Categorical(np.array([0.3, 0.7])), dist.Normal(np.array([0.0, 4.0]), 1.0)),
    "expanded": dist.HalfNormal(2.0).expand([3]), "batch": dist.Normal(np.arange(3.0), 1.0),
    "event": dist.MultivariateNormal(np.zeros(3), np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_draws_have_the_moments_of_the_distribution(name):
    n, family = 20_000, FAMILIES[name]
    _, truth = draws(Population.of([family, 0.0, FAMILIES["uniform"]]), n)
    values = np.asarray(truth["0"], np.float64)
    deviation = np.sqrt(family.variance) if name != "event" else np.sqrt(np.array([2.0, 2.0, 1.0]))
    # Five standard errors of the mean; of the deviation too, for tails no heavier than an exponential's.
    np.testing.assert_allclose(values.mean(0), family.mean, atol=5.0 * float(np.max(deviation)) / np.sqrt(n))
    np.testing.assert_allclose(values.std(0), deviation, rtol=5.0 * np.sqrt(2.0 / n))
    if name == "event":
        assert np.corrcoef(values.T)[0, 1] == pytest.approx(0.5, abs=0.03)


def test_key_of_a_draw_depends_on_the_order_alone():
    a, b, c = (dist.Normal(0.0, 1.0) for _ in range(3))
    key = jax.random.key(3)
    alone, more = Population.of([a, b]).draw(key)[1], Population.of([a, b, 1.0, a], {"c": c}).draw(key)[1]
    assert float(alone["0"]) == float(more["0"]) and float(alone["1"]) == float(more["1"])
    # of another family, the first draw is as it was
    assert float(Population.of([a, dist.Uniform(0.0, 1.0)]).draw(key)[1]["0"]) == float(alone["0"])


def test_a_scene_depends_on_its_key_alone():
    population, keys = lens(), jax.random.split(jax.random.key(7), 3)
    together = jax.jit(jax.vmap(population.sample))(keys)
    for k in range(3):
        alone = jax.jit(population.sample)(keys[k])
        jax.tree.map(np.testing.assert_array_equal, alone, jax.tree.map(lambda leaf, k=k: leaf[k], together))


def test_new_numbers_do_not_compile_again():
    traces = []

    def double(value):
        return 2.0 * value

    @jax.jit
    def sample(population, key):
        traces.append(1)
        return population.sample(key)

    made = [sample(Population.of([Derived(double, dist.Normal(loc, 0.1)), loc]), jax.random.key(0))
            for loc in (1.0, 5.0)]
    assert len(traces) == 1
    assert float(made[1][0] - made[0][0]) == pytest.approx(8.0, rel=1e-5)


def test_draws_are_differentiable_in_the_numbers_of_distributions(x64):
    def moved(loc, scale):
        population = Population.of({"a": Derived(jnp.exp, dist.Normal(loc, scale))})
        return population.sample(jax.random.key(5))["a"]

    loc, scale, h = 0.3, 0.7, 1e-6
    gradient = jax.jit(jax.grad(moved, (0, 1)))(loc, scale)
    numeric = ((moved(loc + h, scale) - moved(loc - h, scale)) / (2 * h),
               (moved(loc, scale + h) - moved(loc, scale - h)) / (2 * h))
    np.testing.assert_allclose(gradient, numeric, rtol=1e-8)


def test_entries_of_one_multivariate_draw_can_be_shared():
    both = dist.MultivariateNormal(np.zeros(2), np.array([[1.0, 0.9], [0.9, 1.0]]))
    _, truth = draws(Population.of([Derived(lambda v: v[0], both), Derived(lambda v: v[1], both)]), 4000)
    assert np.corrcoef(truth["0"], truth["1"])[0, 1] == pytest.approx(0.9, abs=0.02)


def test_columns_of_one_catalogue_come_from_one_row():
    a, b = Catalogue({"x": [1.0, 2.0, 3.0], "y": [1.0, 4.0, 9.0]}), Catalogue({"x": [10.0, 20.0]})
    population = Population.of([a["x"], a["y"], b["x"], Derived(jnp.sqrt, a["y"]), a["x"]])
    assert population.free == ("0", "1", "2", "3")
    _, truth = draws(population, 3000)
    np.testing.assert_array_equal(truth["1"], truth["0"] ** 2)
    np.testing.assert_allclose(truth["3"], truth["0"], rtol=1e-6)
    pairs, counts = np.unique(np.stack([truth["0"], truth["2"]]), axis=1, return_counts=True)
    assert pairs.shape == (2, 6)
    assert np.abs(counts - 500).max() < 5 * np.sqrt(500)


def test_leaves_of_a_population_are_leaves_of_a_tree():
    table = Catalogue({"x": [1.0, 2.0]})
    scene = Scene(mass=[SIE(theta_E=Derived(jnp.exp, 1.0), center_x=table["x"])])
    kinds = [type(leaf).__name__ for leaf in jax.tree.leaves(scene)]
    assert kinds == ["Derived", "float", "float", "Column", "float"]


def sersic(**parameters):
    return Scene(lens_light=[Sersic(**({"amp": 1.0, "R_sersic": 1.0, "n_sersic": 4.0} | parameters))])


def unchecked(make):
    with numpyro.validation_enabled(False):
        return make()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: sersic(amp=None), r"lens_light\.0\.amp: got None, a fixed leaf is missing; expected a number, a distrib"),
    (lambda: sersic(R_sersic="2"), r"lens_light\.0\.R_sersic: got '2'; expected a number"),
    (lambda: sersic(R_sersic=True), r"lens_light\.0\.R_sersic: got True; expected a number"),
    (lambda: sersic(R_sersic=np.array(["a"])), r"lens_light\.0\.R_sersic: got an array of type <U1"),
    (lambda: sersic(R_sersic=float("nan")), r"lens_light\.0\.R_sersic: got nan; expected finite"),
    (lambda: sersic(amp=np.array([1.0, np.inf])), r"lens_light\.0\.amp: got \[ 1\. inf\]; expected finite"),
    (lambda: sersic(e1=unchecked(lambda: dist.Normal(0.0, -1.0))), r"e1: Normal with scale = -1\.0; expected pos"),
    (lambda: sersic(e1=unchecked(lambda: dist.LogNormal(0.0, -1.0).expand([4]))), r"e1: LogNormal with scale = -1\.0"),
    (lambda: sersic(e1=dist.Normal(0.0, np.inf)), r"e1: Normal with scale = inf; expected finite"),
    (lambda: sersic(e1=dist.Uniform(0.0, np.nan)), r"e1: Uniform with high = nan; expected finite"),
    (lambda: sersic(e1=dist.Uniform(1.0, 0.0)), r"e1: Uniform with low = 1\.0, high = 0\.0; expected low below high"),
    (lambda: sersic(e1=dist.Uniform(0.0, 1.0).expand([2, 4])), r"e1: got shape \(2, 4\); expected \(\) or \(bands,\)"),
    (lambda: sersic(e1=dist.Normal(np.zeros((4, 1)), np.ones(4)).to_event(1)), r"e1: got shape \(4, 4\)"),
    (lambda: sersic(amp=np.ones(4), e1=dist.Normal(0.0, 1.0).expand([3])), r"e1: got 3 bands; expected 4, as .*\.amp"),
    (lambda: sersic(e1=Derived(lambda: (1.0, 2.0))), r"e1: Derived <lambda> returned tuple; expected one array"),
    (lambda: sersic(e1=Derived(lambda: None)), r"e1: Derived <lambda> returned NoneType"),
    (lambda: sersic(e1=Derived(lambda: jnp.ones((4, 2)))), r"e1: got shape \(4, 2\); expected \(\) or \(bands,\)"),
    (lambda: sersic(e1=Derived(lambda x: x, 1.0, 2.0)), r"e1: Derived <lambda> raised TypeError: .*positional"),
    (lambda: sersic(e1=Derived(lambda x: float(x), dist.Normal(0.0, 1.0))), r"e1: Derived <lambda> raised Concret"),
    (lambda: sersic(e1=Derived(jnp.exp, Derived(jnp.exp, None))), r"e1, input 0 of Derived exp, input 0 of Derived exp"
     ": got None"),
    (lambda: Scene(source_light=[Shapelets(amp=1.0, beta=0.1, n_max=2)]),
     r"source_light\.0: got Shapelets, which has 6 amplitudes"),
])
def test_what_cannot_be_drawn_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        Population.of(make())


def test_an_extra_may_not_hide_a_leaf():
    with pytest.raises(ValueError, match=r"mass\.0\.theta_E: an extra of this name"):
        Population.of(Scene(mass=[SIE(theta_E=1.0)]), {"mass.0.theta_E": 1.0})


def test_derived_takes_a_function():
    with pytest.raises(ValueError, match="Derived: got 3; expected a function"):
        Derived(3, 1.0)  # pyright: ignore[reportArgumentType]
