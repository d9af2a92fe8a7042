"""Clusters with giant arcs: their population, and the finder that learns from it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.io.configuration.simulation import load_injection, load_simulation
from giga.io.errors import InputError
from giga.jobs.finders import ArcFinderConfig, arc_card, arc_task
from giga.jobs.systems import SYSTEMS
from giga.lensing.critical import effective_einstein_radius
from giga.lensing.tracing import jacobian, trace
from giga.simulate.populations.catalogue import Catalogue
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems import arc_sources
from giga.simulate.systems.cluster_arcs import cluster_arcs, member_mass, velocity_dispersion

SURVEY = SURVEYS["legacy-clusters-540mas"].replace(shape=(32, 32))
MEMBERS, DRAWS = 2, 300


@pytest.fixture(scope="module")
def drawn():
    """Scenes and their truth, drawn by a program that is traced once."""
    traces = []

    def one(population, key):
        traces.append(1)
        return population.draw(key)

    program = jax.jit(jax.vmap(one, (None, 0)))
    populations = [cluster_arcs(SURVEY, members=MEMBERS, lensed=share) for share in (0.5, 0.9)]
    keys = jax.random.split(jax.random.key(1), DRAWS)
    found = [jax.device_get(program(population, keys)) for population in populations]
    assert len(traces) == 1  # another share, another number: the same program
    return found[0]


def test_ranges_are_the_papers(drawn):
    _, truth = drawn
    assert (truth["theta_E"] >= 5.0).mean() > 0.98  # a source in front of all tries leaves the widest
    for name, low, high in (("log_m500", 12.58, 15.13), ("z_lens", 0.1, 1.04), ("mag", 21.0, 28.0), ("n", 0.4, 4.0),
                            ("r_e", 0.0, 1.69), ("magnification", 5.0, 50.0)):
        assert low <= truth[name].min() and truth[name].max() <= high * (1.0 + 1e-6), name
    assert (truth["z"] > truth["z_lens"])[truth["theta_E"] >= 5.0].all()
    assert 0.4 < truth["lensed"].mean() < 0.6


def test_colours_are_in_three_classes(drawn):
    """Expected: blue, green and red as 2 : 1 : 1, within four standard deviations."""
    _, truth = drawn
    kind = truth["kind"]
    np.testing.assert_allclose(np.bincount(kind, minlength=3) / DRAWS, [0.5, 0.25, 0.25], atol=4.0 * 0.5 / DRAWS**0.5)
    np.testing.assert_array_equal(kind, np.digitize(truth["colour"], (0.8, 1.3)))


def test_source_lies_where_the_magnification_is_high(drawn):
    """Expected: the image that it was placed by traces to it, and has that magnification."""
    scenes, truth = drawn

    def back(scene, x, y):
        xx, xy, yx, yy = jacobian(scene.mass, x, y)
        return *trace(scene.mass, x, y), 1.0 / jnp.abs((1.0 - xx) * (1.0 - yy) - xy * yx)

    some = jax.tree.map(lambda leaf: leaf[:20], scenes)
    x, y, magnification = jax.jit(jax.vmap(back))(some, truth["image_x"][:20], truth["image_y"][:20])
    np.testing.assert_allclose(x, scenes.source_light[0].center_x[:20], atol=2e-4)
    np.testing.assert_allclose(y, scenes.source_light[0].center_y[:20], atol=2e-4)
    np.testing.assert_allclose(magnification, truth["magnification"][:20], rtol=0.02)


def test_einstein_radius_against_the_critical_curve(drawn):
    """Expected: that of all mass, members too and elliptical, is not below and not far above that of round halo and
    galaxy."""
    scenes, truth = drawn
    for k in np.flatnonzero(truth["theta_E"] < 12.0)[:2]:
        mass = jax.tree.map(lambda leaf, k=k: leaf[k], scenes.mass)
        assert 0.97 < effective_einstein_radius(mass, 40.0, 100) / truth["theta_E"][k] < 1.4


def test_only_the_arc_tells(drawn):
    """Expected: without a lens the source alone has no light, and a further galaxy is there in half of those."""
    scenes, truth = drawn
    lensed = truth["lensed"] == 1
    arcs, last = scenes.source_light[0].amp, scenes.lens_light[-1].amp
    assert (arcs[lensed] > 0.0).all() and not arcs[~lensed].any() and not last[lensed].any()
    assert 0.3 < (last[~lensed, 1] > 0.0).mean() < 0.7
    brightest = scenes.lens_light[0].amp * scenes.lens_light[0].R_sersic[:, None] ** 2
    spread = np.median(np.log(brightest[lensed, 1])) - np.median(np.log(brightest[~lensed, 1]))
    assert abs(spread) < 0.5


def test_members_are_on_their_relations(drawn):
    """Expected: SIEs of 4 pi (sigma / c)^2 D_ls / D_s, red ones on a sequence that gets redder with redshift."""
    assert float(velocity_dispersion(10.26)) == pytest.approx(118.3)
    assert float(velocity_dispersion(11.26)) == pytest.approx(118.3 * 10**0.293, rel=1e-5)
    mass = np.asarray(member_mass(jnp.linspace(0.0, 1.0, 101)))
    assert (np.diff(mass) > 0.0).all() and (mass[0], mass[-1]) == pytest.approx((9.8, 11.5))
    scenes, truth = drawn
    amp = scenes.lens_light[0].amp
    assert (scenes.mass[1].theta_E > scenes.mass[2].theta_E).all()  # the brightest galaxy bends most
    colour = -2.5 * np.log10(amp[:, 0] / amp[:, 1]) + SURVEY.zero_points[0] - SURVEY.zero_points[1]
    near, far = (np.median(colour[cut]) for cut in (truth["z_lens"] < 0.3, truth["z_lens"] > 0.5))
    assert 0.7 < near < far < 2.2


def test_sources_of_a_table():
    """Expected: rows of the table, classes drawn as 2 : 1 : 1 though nearly all are blue; i stands for z."""
    rng = np.random.default_rng(0)
    colour = np.concatenate([np.full(90, 0.1), np.full(9, 1.0), [1.6]])
    r = 24.0 + 0.01 * np.arange(100)
    table = Catalogue(dict(mag_source_g=r + colour, mag_source_r=r, mag_source_i=r - 0.2,
                           R_source=rng.uniform(0.1, 1.0, 100), q_source=np.full(100, 0.7), z_source=np.full(100, 1.5)))
    source = arc_sources.tabled_sources(table)
    weights = source.inputs[0].catalogue.weights
    assert [weights[:90].sum(), weights[90:99].sum(), weights[99]] == pytest.approx([0.5, 0.25, 0.25])
    row = np.asarray(source.function(jnp.asarray(source.inputs[0].catalogue.columns["source"][95]), 0.5))
    assert row[0] == pytest.approx(r[95]) and row[2] == pytest.approx(0.2, abs=1e-5) and 0.4 < row[6] < 4.0
    mags = arc_sources.magnitudes(jnp.asarray(row), arc_sources.offsets("grz"))
    np.testing.assert_allclose(mags, [r[95] + 1.0, r[95], r[95] - 0.2], atol=1e-4)
    with pytest.raises(ValueError, match="90, 9, 0 blue, green and red"):
        arc_sources.tabled_sources(table.select(np.arange(99)))


@pytest.mark.parametrize(("change", "said"), [
    (dict(survey=SURVEYS["lsst"]), "band 'u' has none; expected some of g, r, z"),
    (dict(theta_E=9.0), "fits into the field"),
    (dict(lensed=1.5), "lensed: got 1.5"), (dict(impostors=-0.1), "impostors: got -0.1")])
def test_bad_settings_are_said(change, said):
    with pytest.raises(ValueError, match=said):
        cluster_arcs(**(dict(survey=SURVEY, members=0) | change))


def test_recipe_of_giga_simulate_and_inject(tmp_path):
    path = tmp_path / "arcs.toml"
    path.write_text('[survey]\nname = "legacy-clusters-540mas"\nshape = [32, 32]\n'
                    '[population]\nrecipe = "cluster_arcs"\nmembers = 0\nempty = 0.5\n')
    made, injected = load_simulation(path), load_injection(path)
    assert made.simulator.bands == 3 and "lensed" in made.simulator.population.names
    assert injected.simulator.population.treedef == made.simulator.population.treedef
    with pytest.raises(InputError, match=r"arcs.toml: population: .*fits into the field"):
        load_simulation(path, {"population.theta_E": 9.0})
    with pytest.raises(InputError, match="population.*impostors.*got 2"):
        load_simulation(path, {"population.impostors": 2.0})


def test_finder_learns_from_clusters_and_from_cutouts(tmp_path):
    """Expected: on cutouts of a user the picture without an arc is a cutout, turned, but for its one further galaxy."""
    bank = np.random.default_rng(0).normal(0.0, 0.01, (2, 34, 34, 3)).astype(np.float32)
    np.save(tmp_path / "clusters.npy", bank)
    config = ArcFinderConfig(pixels=32, backgrounds=(tmp_path / "clusters.npy",), impostors=0.0)
    task = arc_task(config)
    batch = jax.device_get(task.simulator.simulate(jax.random.key(0), 12))
    lensed = batch.label == 1
    assert 0 < lensed.sum() < 12 and batch.image.shape == (12, 32, 32, 3)
    sums = bank[:, 1:33, 1:33].sum((1, 2, 3))
    for image in batch.image[~lensed]:
        assert np.abs(image.sum() - sums).min() < 1e-3
    assert not batch.parts["source"][~lensed].any() and (batch.parts["source"][lensed].sum((1, 2, 3)) > 0.0).all()
    assert task.identity != arc_task(ArcFinderConfig(pixels=32, members=0)).identity
    card = arc_card(config)
    assert card["network"] == "Finder" and "cutouts of its recipe" in card["limits"][0] and "arc-finder" in SYSTEMS


@pytest.mark.quick
@pytest.mark.parametrize(("change", "said"), [
    (dict(network="vgg19"), "network: got 'vgg19'"), (dict(survey="legasy"), "survey: got 'legasy'.*legacy"),
    (dict(impostors=2.0), "impostors: got 2.0"), (dict(bands=("u",)), "no band 'u'"),
    (dict(zero_points=(22.5,)), "zero_points: given without backgrounds")])
def test_bad_section_is_said(change, said):
    with pytest.raises(InputError, match=said):
        ArcFinderConfig(**change)


def test_missing_backgrounds_are_said(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        arc_task(ArcFinderConfig(pixels=32, backgrounds=(tmp_path / "none.npy",)))
