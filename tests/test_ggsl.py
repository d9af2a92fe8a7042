"""What a separator is trained on, and its loss."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from giga.io.tables import to_table
from giga.jobs.systems import SYSTEMS
from giga.light.spiral import Spiral
from giga.models.networks.separator import GGSLConfig
from giga.models.systems.ggsl import FAINT, GGSLTask, flux_error, make_simulator
from giga.models.zoo import Card, save_weights
from giga.models.zoo.weights import tensors_of
from giga.runtime.identity import identity_of
from giga.simulate.generator import simulator
from giga.simulate.surveys.noise import CameraNoise
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems.ggsl import (
    BULGE,
    DEFLECTOR_COLOURS,
    DENSITY,
    PAIR,
    SOURCE_COLOURS,
    STAR_COLOURS,
    companions,
    physical,
)

SHAPE = (2, 8, 8, 3)
# Radius, index and place of the companions that key 0 draws about "kids" without kinds.
BEFORE = [[0.7645462, 1.5077642, -0.2710147], [0.419485, 1.6325394, -2.1324823], [0.3249168, 2.1848016, -1.7700195]]
# The same with the four shares of `KINDS`.
FOUR = [[0.2400919, 3.5841341, -0.7517363], [0.3437199, 2.0357625, -0.0536341], [0.1935426, 3.7061386, -0.522971],
        [0.4089684, 4.9243126, -0.7053809], [0.6392782, 3.652113, 2.8546376], [0.1641545, 2.953167, 2.9801631]]


def example(rng) -> dict[str, jax.Array]:
    lens, source, noise = (jnp.asarray(rng.uniform(0.5, 2.0, SHAPE), jnp.float32) for _ in range(3))
    return {"image": lens + source + noise, "lens": lens, "source": source, "noise": noise,
            "sigma": jnp.ones(SHAPE), "label": jnp.ones(2, int)}


def test_the_error_of_a_flux_is_a_share_of_it(rng):
    sigma, true = jnp.full(SHAPE, 0.01), jnp.asarray(rng.uniform(1.0, 2.0, SHAPE), jnp.float32)
    np.testing.assert_allclose(flux_error(0.9 * true, true, sigma), 0.1, rtol=1e-4)
    np.testing.assert_allclose(flux_error(true, true, sigma), 0.0, atol=1e-6)


def test_a_flux_where_there_is_none_counts_in_pixels_of_noise():
    found = jnp.zeros(SHAPE).at[:, 2, 3].set(1.5)
    expected = 1.5 / (0.5 * FAINT)
    np.testing.assert_allclose(flux_error(found, jnp.zeros(SHAPE), jnp.full(SHAPE, 0.5)), expected, rtol=1e-5)


def test_light_moved_within_a_part_has_no_error_of_flux(rng):
    true = jnp.asarray(rng.uniform(1.0, 2.0, SHAPE), jnp.float32)
    np.testing.assert_allclose(flux_error(true[:, ::-1], true, jnp.ones(SHAPE)), 0.0, atol=1e-6)


@pytest.mark.parametrize("recipe", ["paper", "physical"])
def test_the_loss_is_the_sum_of_its_terms(rng, recipe):
    batch = example(rng)

    def half(image, scale):
        return {"lens": 0.5 * image, "source": 0.25 * image, "noise": 0.25 * image}

    losses = {}
    for weight in (0.0, 0.3):
        loss, terms = GGSLTask(GGSLConfig(recipe=recipe, flux=weight)).loss(half, batch, jax.random.key(0))
        parts = [terms[name] for name in ("lens", "source", "noise", "flux") if name in terms]
        assert len(parts) == (4 if weight else 3)
        np.testing.assert_allclose(loss, sum(parts), rtol=1e-6)
        losses[weight] = float(loss)
    found = half(batch["image"], 1.0)
    error = sum(jnp.mean(flux_error(found[name], batch[name], batch["sigma"])) for name in ("lens", "source"))
    np.testing.assert_allclose(losses[0.3] - losses[0.0], 0.3 * error, rtol=1e-4)


@pytest.mark.parametrize("survey", ["kids", "des", "hst-acs-f814w", "hst-wfc3-f606w", "euclid-vis"])
def test_magnitudes_are_drawn_for_the_bands_of_a_survey(survey):
    task = GGSLTask(GGSLConfig(survey=survey, companions=0))
    population = task.simulator.population
    scene, truth = population.draw(jax.random.key(0))
    bands = len(task.config.observed.bands)
    assert np.shape(scene.lens_light[0].amp) == (bands,) and np.all(np.asarray(scene.lens_light[0].amp) > 0.0)
    assert 17.0 < float(truth["lens_magnitude"]) < 20.5


@pytest.mark.parametrize("recipe", ["paper", "physical"])
def test_a_task_in_varied_seeing_shows_several_psfs(recipe):
    task = GGSLTask(GGSLConfig(recipe=recipe, survey="kids-ggsl-unet", seeing=(0.7, 1.3)))
    peaks = np.asarray(task.simulator.optics.kernels).max((-2, -1))  # of each night and band
    assert peaks.shape == (16, 4) and peaks.max() / peaks.min() > 2.0
    assert len(task.other.optics.kernels) == 1  # the shifted set keeps the one PSF that it has


@pytest.mark.parametrize(("survey", "expected"), [("kids-ggsl-unet", 1.5), ("des", 1.5), ("hst-acs-f814w", 0.2618)])
def test_companions_are_no_denser_than_on_the_sky(survey, expected):
    scenes = jax.vmap(companions(SURVEYS[survey]).sample)(jax.random.split(jax.random.key(0), 2000))
    there = np.stack([np.asarray(galaxy.amp)[:, 0] > 0.0 for galaxy in scenes.lens_light], axis=1)
    number = there.sum(1)
    np.testing.assert_allclose(number.mean(), expected, atol=4.0 * number.std() / np.sqrt(len(number)))
    outer = 0.6 * min(SURVEYS[survey].shape) * SURVEYS[survey].pixel_scale
    assert number.mean() / (np.pi * (outer**2 - 4.0)) * 3600.0 < 1.2 * DENSITY


KINDS = (0.4, 0.3, 0.2, 0.1)


def drawn_of(kinds: tuple[float, ...], most: int = 1, scenes: int = 4000) -> tuple[list, dict[str, np.ndarray]]:
    population = companions(SURVEYS["kids"], most, kinds=kinds)
    found, truth = jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(1), scenes))
    return jax.tree.map(np.asarray, found).lens_light, {name: np.asarray(value) for name, value in truth.items()}


def test_kinds_of_companions_have_their_shares():
    galaxies, truth = drawn_of(KINDS, most=2)
    assert len(galaxies) == 4  # each may be a pair
    for k in range(2):
        there = galaxies[2 * k].amp[:, 0] > 0.0
        shares = np.bincount(truth[f"kind.{k}"][there], minlength=4) / there.sum()
        np.testing.assert_allclose(shares, KINDS, atol=4.0 * 0.5 / np.sqrt(there.sum()))
        paired = there & (truth[f"kind.{k}"] == 3)
        np.testing.assert_array_equal(galaxies[2 * k + 1].amp[:, 0] > 0.0, paired)
        apart, first, second = (np.hypot(dx, dy)[paired] for dx, dy in (
            (galaxies[2 * k + 1].center_x - galaxies[2 * k].center_x,
             galaxies[2 * k + 1].center_y - galaxies[2 * k].center_y),
            *((g.center_x, g.center_y) for g in galaxies[2 * k:2 * k + 2])))
        assert PAIR[0] - 1e-4 < apart.min() and apart.max() < PAIR[1] + 1e-4
        assert (second > first).all() and first.min() > 2.0 - 1e-4


@pytest.mark.parametrize(("kinds", "colours", "index", "smallest_q"), [
    ((1.0, 0.0, 0.0, 0.0), SOURCE_COLOURS, (0.6, 4.0), 0.3), ((0.0, 1.0, 0.0, 0.0), DEFLECTOR_COLOURS, (2.5, 6.0), 0.5),
    ((0.0, 0.0, 1.0, 0.0), STAR_COLOURS, (0.5, 0.5), 1.0)])
def test_each_kind_has_its_colours_and_its_shape(kinds, colours, index, smallest_q):
    (one,), _ = drawn_of(kinds)
    there = one.amp[:, 0] > 0.0
    # Bands share radius and index, so that ratios of amplitudes are colours.
    magnitudes = SURVEYS["kids"].zero_points - 2.5 * np.log10(one.amp[there])
    names = [band.name for band in SURVEYS["kids"].bands]
    for k, name in enumerate(names):
        mean, scatter = colours[name]
        colour = magnitudes[:, k] - magnitudes[:, names.index("r")]
        np.testing.assert_allclose(colour.mean(), mean, atol=4.0 * scatter / np.sqrt(there.sum()) + 1e-4)
        np.testing.assert_allclose(colour.std(), scatter, rtol=0.1, atol=1e-4)
    assert index[0] - 1e-5 <= one.n_sersic.min() and one.n_sersic.max() <= index[1] + 1e-5
    e = np.hypot(one.e1, one.e2)
    assert e.max() <= (1.0 - smallest_q) / (1.0 + smallest_q) + 1e-5


def test_galaxies_of_pairs_are_red_as_often_as_single_ones():
    pairs, _ = drawn_of((0.3, 0.1, 0.0, 0.6))
    alone, _ = drawn_of((0.0, 0.0, 0.0, 1.0))
    for galaxies, red in ((pairs, 0.25), (alone, 0.5)):
        second = galaxies[1].amp[:, 0] > 0.0
        steep = (galaxies[1].n_sersic[second] > 4.0).mean()  # of red ones alone, 2 / 3.5 of them
        np.testing.assert_allclose(steep, red * 2.0 / 3.5, atol=4.0 * 0.5 / np.sqrt(second.sum()))


def test_a_star_is_as_wide_as_the_psf_and_as_bright_as_it_is():
    survey = SURVEYS["kids-ggsl-unet"].select("r")
    sigma, one = 0.4, (0.0, 0.0, 1.0, 0.0)  # of the preset's PSF [arcsec]
    made = simulator(physical(survey), survey.grid, survey.psfs(2), CameraNoise.of(survey),
                     companions=companions(survey, 1, (20.0, 20.0 + 1e-3), one))
    light = np.asarray(made.simulate(jax.random.key(4), 64).companions[..., 0])
    x, y = (np.asarray(a) for a in survey.grid.coordinates())
    total = light.sum((1, 2))
    seen = total > 0.0
    light, total = light[seen], total[seen]
    middle = [(light * a).sum((1, 2)) / total for a in (x, y)]
    whole = np.hypot(*middle) < 4.0  # far from the edge of the image, which is 6.4 arcsec away
    width = [np.sqrt((light * (a - m[:, None, None]) ** 2).sum((1, 2)) / total)[whole]
             for a, m in zip((x, y), middle, strict=True)]
    assert whole.sum() > 5
    # The star's own 0.06 arcsec and the pixel's 0.2 / sqrt(12) add 2% to the width.
    np.testing.assert_allclose(width, sigma, rtol=0.03)
    np.testing.assert_allclose(total[whole], survey.bands[0].counts(20.0), rtol=0.01)


def test_companions_without_kinds_are_what_they_were():
    survey = SURVEYS["kids"]
    assert identity_of(companions(survey)) == identity_of(companions(survey, kinds=None))
    assert identity_of(companions(survey)) != identity_of(companions(survey, kinds=(1.0, 0.0, 0.0, 0.0)))
    scene = companions(survey).sample(jax.random.key(0))
    assert len(scene.lens_light) == 3
    # As drawn before there were kinds; a change of a stream of random numbers raises `giga.runtime.identity.NUMBERS`.
    found = [[float(np.asarray(value).ravel()[0]) for value in (one.R_sersic, one.n_sersic, one.center_x)]
             for one in scene.lens_light]
    np.testing.assert_allclose(found, BEFORE, rtol=1e-4)
    # A configuration without the field is that of the weights in the zoo.
    assert identity_of(GGSLConfig()) == identity_of(GGSLConfig(kinds=None)) != identity_of(GGSLConfig(kinds=KINDS))


def test_a_separator_learns_from_the_kinds_that_its_configuration_names():
    made = make_simulator(GGSLConfig(kinds=KINDS))
    assert made.companions is not None
    named = jax.tree.map(jnp.asarray, companions(SURVEYS["kids-ggsl-unet"], kinds=KINDS))
    assert identity_of(made.companions) == identity_of(named)


def test_a_share_of_spirals_adds_a_disc_with_arms_and_a_bulge():
    """Expected: of its share, blue disc and red bulge of one magnitude together; without a share, what four shares
    draw."""
    galaxies, truth = drawn_of((0.3, 0.2, 0.1, 0.1, 0.3), scenes=2000)
    one, bulge, disc, second = galaxies
    assert isinstance(disc, Spiral)
    kind, there = truth["kind.0"], np.stack([part.amp[:, 0] > 0.0 for part in galaxies])
    anything = there.any(0)
    shares = np.bincount(kind[anything], minlength=5) / anything.sum()
    np.testing.assert_allclose(shares, (0.3, 0.2, 0.1, 0.1, 0.3), atol=4.0 * 0.5 / np.sqrt(anything.sum()))
    spiral = anything & (kind == 4)
    np.testing.assert_array_equal(there, [anything & ~spiral, spiral, spiral, anything & (kind == 3)])
    np.testing.assert_allclose([bulge.center_x, bulge.center_y], [disc.center_x, disc.center_y])
    survey = SURVEYS["kids"]
    names, flux = [band.name for band in survey.bands], []
    for part in (bulge, disc):
        flux.append(np.stack([np.asarray(part.replace(amp=part.amp[:, k]).flux())[spiral] for k in range(len(names))]))
    g, r = names.index("g"), names.index("r")
    total = survey.bands[r].zero_point - 2.5 * np.log10(flux[0][r] + flux[1][r])
    assert 19.99 < total.min() and total.max() < 25.01
    share = flux[0][r] / (flux[0][r] + flux[1][r])
    assert BULGE[0] - 0.01 < share.min() and share.max() < BULGE[1] + 0.01
    for part, colours in zip(flux, (DEFLECTOR_COLOURS, SOURCE_COLOURS), strict=True):
        colour = -2.5 * np.log10(part[g] / part[r]) + survey.bands[g].zero_point - survey.bands[r].zero_point
        mean, scatter = colours["g"]
        np.testing.assert_allclose(colour.mean(), mean, atol=4.0 * scatter / np.sqrt(spiral.sum()) + 1e-3)
    assert 0.3 < (disc.pitch > 0.5 * np.pi).mean() < 0.7  # either sense
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(galaxies))


def test_companions_of_four_shares_are_what_they_were():
    four, none, some = (companions(SURVEYS["kids"], kinds=kinds)
                        for kinds in (KINDS, (*KINDS, 0.0), (*KINDS[:3], 0.0, 0.1)))
    assert identity_of(four) == identity_of(none) != identity_of(some)
    scene = four.sample(jax.random.key(0))
    # As drawn before there were spirals.
    found = [[float(np.asarray(value).ravel()[0]) for value in (one.R_sersic, one.n_sersic, one.center_x)]
             for one in scene.lens_light]
    np.testing.assert_allclose(found, FOUR, rtol=1e-4)


@pytest.mark.parametrize("kinds", [(0.5, 0.5), (0.5, 0.5, 0.5, 0.0), (1.5, -0.5, 0.0, 0.0), (0.2,) * 6,
                                   (0.5, 0.5, 0.0, 0.0, 0.5)])
def test_kinds_that_are_no_shares_are_refused(kinds):
    message = r"kinds: got \[.*\]; expected 4 or 5 shares from 0 to 1 that sum to 1, of blue, red, star, pair, spiral"
    for make in (lambda: GGSLConfig(kinds=kinds), lambda: companions(SURVEYS["kids"], kinds=kinds)):
        with pytest.raises(ValueError, match=message):
            make()


def test_kinds_of_no_companions_are_refused():
    with pytest.raises(ValueError, match="kinds: got .* with companions = 0; expected some companions"):
        GGSLConfig(companions=0, kinds=KINDS)


def test_a_separator_goes_on_from_the_weights_that_it_names(tmp_path):
    small = {"survey": "kids-ggsl-unet", "channels": (8, 8)}
    first = GGSLTask(GGSLConfig(**small)).network(nnx.Rngs(3))
    save_weights(first, tmp_path / "first", Card(**SYSTEMS["ggsl-unet"].card(first.config), recipe={}, seed=0,
                                                 git_hash="0a1b", command="none", metrics={}, images_per_s={}))
    named = GGSLConfig(**small, kinds=KINDS, start=str(tmp_path / "first"))
    task, fresh = GGSLTask(named), GGSLTask(GGSLConfig(**small, kinds=KINDS))
    assert SYSTEMS["ggsl-unet"].card(named)["config"] == to_table(dataclasses.replace(named, start=""))
    begun = task.network(nnx.Rngs(0))
    for name, weight in tensors_of(first).items():
        np.testing.assert_array_equal(tensors_of(begun)[name], weight)
    assert begun.config.kinds == KINDS
    # What it starts from is known by its weights, not by where they lie.
    (tmp_path / "again.safetensors").write_bytes((tmp_path / "first.safetensors").read_bytes())
    (tmp_path / "again.json").write_bytes((tmp_path / "first.json").read_bytes())
    again = GGSLTask(dataclasses.replace(named, start=str(tmp_path / "again")))
    assert again.identity == task.identity != fresh.identity
    assert identity_of(GGSLConfig()) == identity_of(GGSLConfig(start=""))


@pytest.mark.parametrize(("changes", "message"), [
    ({"start": "nothere/model"}, "start: nothere/model.safetensors: no such weights"),
    ({"start": "modular-lsst"}, "start: modular-lsst is a Chain, expected a separator"),
    ({"start": "ggsl-unet-kids", "recipe": "paper"}, "start: ggsl-unet-kids has recipe physical, expected paper"),
    ({"start": "ggsl-unet-des"}, "start: ggsl-unet-des has bands 5, expected 4"),
    ({"start": "ggsl-unet-kids", "channels": (8, 8)}, "start: ggsl-unet-kids: weights of another architecture: "),
])
def test_weights_that_a_separator_cannot_start_from_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        GGSLTask(GGSLConfig(**changes))


def test_a_seeing_of_three_factors_is_refused():
    with pytest.raises(ValueError, match=r"seeing: expected two factors .*, got \[0.7, 1.0, 1.3\]"):
        GGSLConfig(seeing=(0.7, 1.0, 1.3))


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match="flux: expected 0 or more, got -1"):
        GGSLConfig(flux=-1.0)


def test_slopes_without_a_seeing_are_refused():
    with pytest.raises(ValueError, match=r"beta: got \[2.5, 20.0\] without seeing; expected both"):
        GGSLConfig(beta=(2.5, 20.0))
