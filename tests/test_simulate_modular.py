"""The population of the modular pipeline: what a lens is, what none is, and how it resembles the forecast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.mass import SIE
from giga.models.networks.chain import ModularConfig
from giga.models.systems.modular import make_simulator
from giga.models.systems.modular_table import shortcuts
from giga.runtime.identity import identity_of
from giga.simulate.generator import simulator
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys.noise import CameraNoise
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems.modular import THETA_E, Q, catalogue_lenses, lsst_lenses, mass_parameters

SURVEY = SURVEYS["lsst"].select("gri").replace(shape=(20, 20))
DRAWS = 3000
BEFORE = [287.07446, 25.9132137, 0.1077895]  # dispersion, magnitude and radius of the source that key 0 draws

# Fifth, fiftieth and ninety-fifth percentiles of lenses_LSSTc.txt.
FORECAST = {"theta_E": (0.61, 1.15, 2.02), "z_lens": (0.17, 0.49, 1.12), "z_source": (0.83, 2.06, 3.69),
            "sigma_v": (194.0, 258.0, 332.0), "mag_lens": (16.3, 19.9, 24.3), "q": (0.44, 0.73, 0.93)}
# Of the tables' spread between the fifth and the ninety-fifth percentile. The selection of the forecast couples
# redshifts, dispersions and magnifications in more ways than the population does.
ALIKE = 0.12


@pytest.fixture(scope="module")
def truth() -> dict:
    keys = jax.random.split(jax.random.key(0), DRAWS)
    _, drawn = jax.jit(jax.vmap(lsst_lenses(SURVEY).draw))(keys)
    return {name: np.asarray(value) for name, value in (drawn | {
        name: value for name, value in mass_parameters(drawn).items()}).items()}


def test_half_are_lensed_and_the_others_have_no_deflection(truth):
    lensed = truth["lensed"] == 1
    assert abs(lensed.mean() - 0.5) < 4.0 * 0.5 / np.sqrt(DRAWS)
    assert (truth["theta_E"][~lensed] == 0.0).all()
    low, high = THETA_E
    # Dispersion and Einstein radius are inverse to each other in float32.
    assert truth["theta_E"][lensed].min() > low - 1e-4
    assert truth["theta_E"][lensed].max() < high + 1e-4
    x = jnp.linspace(-1.0, 1.0, 5)
    for deflection in SIE(theta_E=0.0, e1=0.2, e2=0.1).deflection(x, x**2 - 0.3):
        np.testing.assert_array_equal(deflection, 0.0)


def test_axis_ratios_and_angles_fill_their_ranges(truth):
    assert truth["q"].min() > Q[0] - 1e-5
    assert truth["q"].max() < Q[1] + 1e-5
    assert 0.0 <= truth["phi"].min() < 0.01
    assert np.pi - 0.01 < truth["phi"].max() <= np.float32(np.pi)


@pytest.mark.parametrize("name", FORECAST)
def test_the_population_resembles_the_forecast(truth, name):
    expected = np.array(FORECAST[name])
    found = np.percentile(truth[name][truth["lensed"] == 1], (5.0, 50.0, 95.0))
    np.testing.assert_allclose(found, expected, rtol=0.0, atol=ALIKE * (expected[2] - expected[0]))


def test_images_are_parts_and_noise_and_lensing_magnifies():
    made = simulator(lsst_lenses(SURVEY), SURVEY.grid, SURVEY.psfs(2), CameraNoise.of(SURVEY))
    batch = jax.tree.map(np.asarray, made.simulate(jax.random.key(1), 64))
    np.testing.assert_allclose(batch.image, sum(batch.parts.values()), rtol=0.0, atol=1e-5 * batch.image.max())
    assert min(batch.parts["lens"].min(), batch.parts["source"].min()) > -1e-4 * batch.sigma.min()
    # In r; light that falls outside of the small image is missing, which makes the ratio smaller.
    magnified = batch.parts["source"][..., 1].sum((1, 2)) / np.array(
        [SURVEY.bands[1].counts(float(m)) for m in batch.truth["mag_source"]])
    assert magnified[batch.label == 0].max() < 1.1  # subpixels of 0.1 arcsec sample the smallest cores this well
    assert np.median(magnified[batch.label == 0]) == pytest.approx(1.0, abs=0.05)
    assert np.median(magnified[batch.label == 1]) > 2.0


def test_lenses_of_a_matched_population_are_lenses_as_before_and_the_others_as_bright():
    keys = jax.random.split(jax.random.key(3), DRAWS)
    found = []
    for matched in (False, True):
        population = lsst_lenses(SURVEY, matched=matched)
        _, drawn = jax.jit(jax.vmap(population.draw))(keys)
        found.append({name: np.asarray(value) for name, value in drawn.items()})
    plain, matched = found
    for name in ("mag_source", "source_light.0.R_sersic", "mass.0.theta_E"):
        before, after = (np.percentile(one[name][one["lensed"] == 1], (16.0, 50.0, 84.0)) for one in (plain, matched))
        np.testing.assert_allclose(after, before, rtol=0.05)
    brighter = [np.median(one["mag_source"][one["lensed"] == 1]) - np.median(one["mag_source"][one["lensed"] == 0])
                for one in (plain, matched)]
    assert abs(brighter[0]) < 0.15 and 1.5 < brighter[1] < 2.1  # 2.5 log10 of a magnification of about 5.5
    assert (matched["mass.0.theta_E"][matched["lensed"] == 0] == 0.0).all(), "none of it is deflected"


def test_total_flux_tells_nothing_of_a_matched_population():
    """640 images: of a score that tells nothing the area under the ROC curve has a standard deviation of 0.023."""
    config = ModularConfig(stage="find", pixels=40)
    plain = shortcuts(config, 640)["flux alone"]
    matched = shortcuts(ModularConfig(stage="find", pixels=40, matched=True), 640)["flux alone"]
    assert plain["area_under_roc"] > 0.9 and plain["accuracy"] > 0.85
    assert abs(matched["area_under_roc"] - 0.5) < 0.08 and abs(matched["accuracy"] - 0.5) < 0.08


def test_a_population_that_is_not_matched_is_what_it_was():
    assert identity_of(lsst_lenses(SURVEY)) == identity_of(lsst_lenses(SURVEY, matched=False))
    assert identity_of(lsst_lenses(SURVEY)) != identity_of(lsst_lenses(SURVEY, matched=True))
    _, truth = lsst_lenses(SURVEY).draw(jax.random.key(0))
    # As drawn before there was the choice; a change of a stream of random numbers raises `identity.NUMBERS`.
    found = [float(truth[name]) for name in ("sigma_v", "mag_source", "source_light.0.R_sersic")]
    np.testing.assert_allclose(found, BEFORE, rtol=1e-4)
    assert identity_of(ModularConfig()) == identity_of(ModularConfig(matched=False))
    assert identity_of(ModularConfig()) != identity_of(ModularConfig(matched=True))
    made = make_simulator(ModularConfig(bands=("g", "r", "i"), pixels=20, matched=True))
    assert identity_of(made.population) == identity_of(jax.tree.map(jnp.asarray, lsst_lenses(SURVEY, matched=True)))


def test_lenses_alone_have_no_label_that_is_drawn():
    population = lsst_lenses(SURVEY, lensed=None, matched=True)
    _, truth = population.draw(jax.random.key(0))
    assert "lensed" not in population.free and float(truth["mass.0.theta_E"]) > 0.4


def test_a_catalogue_that_is_to_be_matched_is_refused():
    with pytest.raises(ValueError, match="matched: got true beside the catalogue 'lenses.txt'; expected one of them"):
        ModularConfig(catalogue="lenses.txt", matched=True)


def test_a_catalogue_keeps_the_rows_within_the_ranges():
    n = 40
    rng = np.random.default_rng(0)
    columns = {name: np.full(n, value) for name, value in dict(
        z_lens=0.5, z_source=2.0, sigma_v=250.0, phi_lens=0.5 * np.pi, R_lens=0.8, x_source=0.2, y_source=0.1,
        q_source=0.6, phi_source=0.3, R_source=0.2).items()}
    columns |= {f"mag_{part}_{band}": np.full(n, m) for part, m in (("lens", 20.0), ("source", 25.0)) for band in "gri"}
    catalogue = Catalogue(columns | {"theta_E": rng.uniform(0.1, 3.5, n), "q_lens": rng.uniform(0.1, 1.0, n)})
    population = catalogue_lenses(catalogue, SURVEY)
    _, drawn = jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(2), 400))
    lensed = np.asarray(drawn["lensed"]) == 1
    found = {name: np.asarray(value) for name, value in mass_parameters(drawn).items()}
    assert abs(lensed.mean() - 0.5) < 4.0 * 0.5 / 20.0
    assert (found["theta_E"][~lensed] == 0.0).all()
    assert THETA_E[0] <= found["theta_E"][lensed].min()
    assert found["theta_E"][lensed].max() <= THETA_E[1]
    assert found["q"].min() > Q[0] - 1e-5
    with pytest.raises(ValueError, match="none of 40 rows"):
        catalogue_lenses(catalogue, SURVEY, theta_E=(4.0, 5.0))


def test_a_band_without_colours_is_refused():
    with pytest.raises(ValueError, match="band 'u' of lsst has none"):
        lsst_lenses(SURVEYS["lsst"])
