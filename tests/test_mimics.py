"""What is taken for a giant arc: its population, and what a finder's scores of it tell."""

import jax
import numpy as np
import pytest

from giga.io.configuration.simulation import load_injection, load_simulation
from giga.io.errors import InputError
from giga.io.results.shards import read_shard, write_shard
from giga.jobs.finders import ArcFinderConfig, arc_card, arc_task
from giga.models.networks.finder import FinderConfig
from giga.models.systems import arcs
from giga.models.systems.measured import Measured, Scores
from giga.runtime.identity import identity_of
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems.cluster_arcs import cluster_arcs
from giga.simulate.systems.cluster_mimics import (
    KINDS,
    MAGNIFIED,
    OF_CLUSTER,
    arcs_among_mimics,
    cluster_mimics,
)

CONFIG = FinderConfig(network="resnet18", size="small", survey="legacy-clusters-540mas", pixels=32)
RECIPE = '[survey]\nname = "legacy-clusters-540mas"\nshape = [32, 32]\n[population]\nmembers = 0\nrecipe = '
DRAWS, IMAGES = 600, 48


@pytest.fixture(scope="module")
def drawn():
    """Scenes and their truth."""
    population = cluster_mimics(CONFIG.observed, members=1)
    keys = jax.random.split(jax.random.key(2), DRAWS)
    return jax.device_get(jax.jit(jax.vmap(population.draw))(keys))


@pytest.fixture(scope="module")
def seen():
    """Images of mimics beside one galaxy each, the brightest of its cluster."""
    made = arcs.make_mimics(CONFIG, members=0)
    return jax.device_get(made.simulate(jax.random.key(0), IMAGES))


def lights(scenes):
    """Amplitudes of the rows of mimics in r: four Sersics, the ring, the spiral; shape (6, n)."""
    return np.stack([profile.amp[:, 1] for profile in scenes.lens_light[-6:]])


def test_shares_are_as_said(drawn):
    """Expected: a sixth each, within four standard deviations."""
    kind = drawn[1]["mimic"]
    np.testing.assert_allclose(np.bincount(kind, minlength=6) / DRAWS, 1 / 6, atol=4.0 * (5 / 36 / DRAWS) ** 0.5)
    only = cluster_mimics(CONFIG.observed, {"ring": 1.0, "ghost": 3.0}, members=0)
    kind = np.asarray(jax.jit(jax.vmap(only.draw))(jax.random.split(jax.random.key(0), 300))[1]["mimic"])
    assert set(kind) == {KINDS.index("ring"), KINDS.index("ghost")}
    assert np.mean(kind == KINDS.index("ghost")) == pytest.approx(0.75, abs=0.1)


def test_nothing_is_lensed(drawn, seen):
    """Expected: no mass, no source and a label of 0, in the scene and in the image."""
    scenes, truth = drawn
    assert not scenes.mass and not scenes.source_light and not truth["lensed"].any()
    assert not seen.label.any() and not seen.parts["source"].any() and np.isfinite(seen.image).all()


def test_each_kind_has_its_own_profiles(drawn):
    """Expected: which of Sersics, ring and spiral shine tells the kind, but for a pair and an edge-on disc, which have
    two Sersics: there the disc is flat; and a merger is of three or four."""
    scenes, truth = drawn
    shining = lights(scenes) > 0.0
    sersics, ring, spiral = shining[:4].sum(0), shining[4], shining[5]
    for name, some, has_ring, has_spiral in (("spiral", {1}, False, True), ("ring", {1}, True, False),
                                             ("merger", {3, 4}, False, False), ("pair", {2}, False, False),
                                             ("edge-on", {2}, False, False), ("ghost", {0}, True, False)):
        on = truth["mimic"] == KINDS.index(name)
        assert set(sersics[on]) == some and set(ring[on]) == {has_ring} and set(spiral[on]) == {has_spiral}, name
    disc = scenes.lens_light[-6]
    e = np.hypot(disc.e1, disc.e2)
    q = (1.0 - e) / (1.0 + e)
    flat, round_ = (q[truth["mimic"] == KINDS.index(name)] for name in ("edge-on", "pair"))
    assert flat.max() < 0.21 < 0.39 < round_.min()
    assert set(np.unique(scenes.lens_light[-1].pitch[spiral] > np.pi / 2)) == {False, True}  # either sense


def test_a_ghost_is_stronger_in_one_band(drawn):
    """Expected: the strongest band by a magnitude or more, each band in turn."""
    scenes, truth = drawn
    on = truth["mimic"] == KINDS.index("ghost")
    brightness = -2.5 * np.log10(scenes.lens_light[-2].amp[on]) + CONFIG.observed.zero_points
    first, second = np.sort(brightness, 1)[:, :2].T
    assert (second - first > 0.99).all() and set(np.argmin(brightness, 1)) == {0, 1, 2}
    assert 23.1 < first.min() and first.max() < 25.3


def test_magnitudes_are_those_of_arcs_and_of_members(drawn):
    """Expected: what is no galaxy of the cluster is as bright as sources of the mocks made brighter as arcs are; all
    but ghosts lie where arcs and members do."""
    _, truth = drawn
    _, mocks = jax.device_get(jax.jit(jax.vmap(cluster_arcs(CONFIG.observed, members=0).draw))(
        jax.random.split(jax.random.key(4), DRAWS)))
    arc = mocks["mag"] - MAGNIFIED[0]
    some = np.isin(truth["mimic"], [KINDS.index(name) for name in ("spiral", "ring")])
    assert OF_CLUSTER["spiral"] == OF_CLUSTER["ring"] == 0.3
    r = truth["mimic_mag"][some, 1]
    # Of 200 of them, a third members, which are brighter: half a magnitude is three standard errors.
    assert np.median(r) == pytest.approx(np.median(arc), abs=0.8)
    assert np.quantile(arc, 0.001) - 3.0 < r.min() and r.max() < arc.max() + 3.0
    size = truth["mimic_size"]
    assert np.isfinite(truth["mimic_mag"]).all() and (size > 0.3).all() and (size < 8.0).all()


def test_magnitudes_are_those_of_the_images():
    """Expected: a mimic that lies in the cutout has the flux that its magnitudes say. The clusters here are cutouts
    without light."""
    config = FinderConfig(network="resnet18", size="small", survey="legacy-clusters-540mas", pixels=64)
    made = arcs.make_mimics(config, shares={"ring": 1.0, "pair": 1.0, "edge-on": 1.0, "spiral": 1.0}, light=False)
    batch = jax.device_get(made.simulate(jax.random.key(5), 16))
    found = batch.parts["lens"].sum((1, 2))
    expected = 10.0 ** (-0.4 * (batch.truth["mimic_mag"] - config.observed.zero_points))
    inside = batch.truth["mimic_size"] < 2.5
    assert inside.sum() > 6
    assert np.median(np.abs(found / expected - 1.0)[inside]) < 0.05 and (found < 1.01 * expected).all()


def test_kinds_look_different(seen):
    """Expected: the six kinds are there, and no two images are alike."""
    assert set(seen.truth["mimic"]) == set(range(6))
    flat = seen.parts["lens"].reshape(IMAGES, -1)
    assert np.unique(flat.round(5), axis=0).shape[0] == IMAGES


def test_a_share_of_what_is_no_lens_has_a_mimic():
    """Expected: 40% of it, within four standard deviations, none beside an arc or an impostor; the other arcs and
    impostors are there."""
    mixed = arcs_among_mimics(CONFIG.observed, 0.4, {"ring": 1.0, "pair": 1.0}, members=0, impostors=1.0)
    scenes, truth = jax.device_get(jax.jit(jax.vmap(mixed.draw))(jax.random.split(jax.random.key(3), DRAWS)))
    lensed, there = truth["lensed"] == 1, truth["mimic"] >= 0
    assert set(truth["mimic"]) == {-1, KINDS.index("ring"), KINDS.index("pair")} and not (lensed & there).any()
    share = 4.0 * (0.24 / (~lensed).sum()) ** 0.5
    assert 0.4 < lensed.mean() < 0.6 and there[~lensed].mean() == pytest.approx(0.4, abs=share)
    np.testing.assert_array_equal((lights(scenes) > 0.0).any(0), there)
    np.testing.assert_array_equal(scenes.lens_light[-7].amp[:, 1] > 0.0, ~lensed & ~there)  # the impostor
    np.testing.assert_array_equal(scenes.source_light[0].amp[:, 1] > 0.0, lensed)
    assert len(scenes.mass) == 2 and np.isfinite(truth["mimic_mag"]).all()


def test_without_mimics_all_is_what_it_was():
    """Expected: populations, simulations and trainings that name no mimics have the identity that they had."""
    survey = CONFIG.observed
    assert identity_of(arcs_among_mimics(survey, members=0)) == identity_of(cluster_arcs(survey, members=0))
    plain, some = (arc_task(ArcFinderConfig(pixels=32, members=0, mimics=share)) for share in (0.0, 0.2))
    assert "mimics" not in plain.made_of[-1] and plain.identity != some.identity
    names = {name: task.simulator.population.names for name, task in (("plain", plain), ("some", some))}
    assert "mimic" in names["some"] and "mimic" in some.other.population.names and "mimic" not in names["plain"]
    for share, said in ((0.0, "were in no training set"), (0.2, "no lens in training 20% had a rendered spiral")):
        assert said in arc_card(ArcFinderConfig(pixels=32, mimics=share))["limits"][-1]


def test_recipes_of_giga_simulate(tmp_path):
    """Expected: a file of mimics has their kinds as truth, and of arcs a share among what is no lens; of a simulation
    without neither settings nor names change."""
    path = tmp_path / "mimics.toml"
    path.write_text(RECIPE + '"cluster_mimics"\n')
    made = load_simulation(path)
    assert identity_of(made.simulator.population) == identity_of(
        jax.tree.map(jax.numpy.asarray, cluster_mimics(made.survey, members=0)))
    written = read_shard(write_shard(tmp_path / "one.fits", made.images(0, 8), {}))
    assert set(written.truth["mimic"]) <= set(range(6)) and len(set(written.truth["mimic"])) > 1
    assert not written.label.any() and written.truth["mimic_mag"].shape == (8, 3)
    path.write_text(RECIPE + '"cluster_arcs"\nempty = 0.5\n')
    plain, some = load_simulation(path), load_simulation(path, {"population.mimics": 0.2})
    assert "mimics" not in plain.tables["population"] and "mimic" not in plain.simulator.population.names
    assert "mimic" in some.simulator.population.names and some.identity != plain.identity
    for change, said in ((dict(mimics=1.2), r"population.mimics: got 1.2; expected a share from 0 to 1"),
                         (dict(mimics=0.2, recipe="cluster_mimics"), "got 0.2 with 'cluster_mimics' as recipe; "
                                                                     "expected 'cluster_arcs'")):
        with pytest.raises(InputError, match=said):
            load_simulation(path, {f"population.{name}": value for name, value in change.items()})
    with pytest.raises(InputError, match=r"population.mimics: got 0.2 for an injection, .*; expected no mimics"):
        load_injection(path, {"population.mimics": 0.2})
    with pytest.raises(InputError, match="source_light: no source"):
        load_injection(path, {"population.recipe": "cluster_mimics"})


@pytest.mark.quick
@pytest.mark.parametrize(("shares", "said"), [
    ({"spirals": 1.0}, "shares: got 'spirals'; expected some of spiral, ring"), ({"ring": -1.0}, "none below 0"),
    ({"ring": 0.0}, "and one above"), ({"ring": np.nan}, "none below 0")])
def test_bad_shares_are_said(shares, said):
    with pytest.raises(ValueError, match=said):
        cluster_mimics(SURVEYS["legacy-clusters-540mas"], shares)


def known(rng, lenses=1000, others=1000):
    """A mock set: others score about 0, lenses about 2, each with a scatter of one."""
    positive = np.arange(lenses + others) < lenses
    score = rng.normal(size=len(positive)) + 2.0 * positive
    return Measured({}, {}, Scores(positive, score, 0.0, None, {"flux alone": score, "colour alone": -score}))


@pytest.mark.quick
def test_numbers_are_by_kind(rng):
    """Expected: kinds that score as others do have the mocks' rate, and a kind that scores as lenses do has their
    completeness; areas of 0.921 (two Gaussians two scatters apart) and 0.5."""
    n = 6000
    kind = np.arange(n) % len(KINDS)
    score = rng.normal(size=n) + 2.0 * (kind == KINDS.index("ghost"))
    rows = dict(score=score, mimic=kind, flux=score, colour=-score)
    found = arcs.measured_mimics(rows, known(rng))
    numbers = found.numbers
    assert numbers["auc_spiral"] == pytest.approx(0.921, abs=0.02)
    assert numbers["auc_ghost"] == pytest.approx(0.5, abs=0.04)
    for rate in ("1e-2", "1e-3"):
        assert numbers[f"fpr_ghost_at_{rate}"] == pytest.approx(numbers[f"completeness_at_{rate}"], abs=0.06)
        for name in ("", *(f"_{kind}" for kind in KINDS)):
            value, low, high = (numbers[f"fpr{name}_at_{rate}{end}"] for end in ("", "_low", "_high"))
            assert low <= value <= high
    assert numbers["fpr_at_1e-2"] == pytest.approx(np.mean([numbers[f"fpr_{name}_at_1e-2"] for name in KINDS]))
    assert numbers["fpr_ring_at_1e-2"] < 0.04 and found.scores is not None
    assert found.scores.positive.sum() == 1000 and len(found.scores.score) == 1000 + n
    assert found.baselines["flux alone"]["auc"] == pytest.approx(numbers["auc"])
    assert found.baselines["colour alone"]["auc"] == pytest.approx(1.0 - numbers["auc"])


@pytest.mark.quick
def test_rates_that_few_negatives_cannot_tell_are_left_out(rng):
    rows = dict(score=rng.normal(size=60), mimic=np.zeros(60, int), flux=np.ones(60), colour=np.ones(60))
    numbers = arcs.measured_mimics(rows, known(rng, 50, 200)).numbers
    assert "fpr_spiral_at_1e-2" in numbers and not any("1e-3" in name or "ring" in name for name in numbers)
    with pytest.raises(ValueError, match="mock: no scores"):
        arcs.measured_mimics(rows, Measured({}))


@pytest.mark.quick
def test_a_share_of_mimics_that_is_none_is_said():
    with pytest.raises(ValueError, match="mimics: got 1.5; expected a share from 0 to 1"):
        arcs_among_mimics(SURVEYS["legacy-clusters-540mas"], 1.5)
    with pytest.raises(InputError, match="mimics: got -0.1"):
        ArcFinderConfig(mimics=-0.1)
