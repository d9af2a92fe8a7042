"""Clusters prepared for injection, and the lenses that are drawn in them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from _clusters import GRID, HALF, PLACES, field, lens

from giga.io.clusters.fields import load_field, save_field
from giga.io.errors import InputError
from giga.lensing.tracing import deflection
from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems import clusters
from giga.simulate.systems.cluster_fields import MARGIN, ClusterField, Scaled, prepare, secondary

SURVEY = SURVEYS["hst-hff-60mas"].replace(pixel_scale=0.24, shape=(16, 16))
TURN = 2.0 * np.pi * np.arange(200) / 200
CIRCLE = np.stack([np.cos(TURN), np.sin(TURN)], -1)


@pytest.fixture(scope="module")
def made():
    return clusters.cluster_lenses(field(), SURVEY, others=0.0, turns=False)


@pytest.fixture(scope="module")
def batch(made):
    return jax.tree.map(np.asarray, made.simulate(jax.random.key(3), 32))


def test_region_of_a_circle_and_its_buffer():
    radius = np.array([0.0, 0.99, 1.05, 1.15, 1.4])
    places = np.stack([radius, np.zeros(5)], -1)
    assert clusters.in_region(places, CIRCLE, 0.1).tolist() == [True, True, True, False, False]
    assert clusters.in_region(places, CIRCLE[::-1], 0.0).tolist() == [True, True, False, False, False]


def test_places_are_uniform_in_the_region():
    """Of a disk of radius 1.1 half lies within 1.1 / sqrt(2), and the mean of the radius is 2/3 of 1.1."""
    keys = jax.random.split(jax.random.key(0), 20000)
    places = np.asarray(jax.jit(jax.vmap(lambda key: clusters.within(key, CIRCLE, 0.1)))(keys))
    radius = np.hypot(*places.T)
    assert radius.max() < 1.101
    assert np.mean(radius < 1.1 / np.sqrt(2.0)) == pytest.approx(0.5, abs=0.012)
    assert radius.mean() == pytest.approx(1.1 * 2.0 / 3.0, abs=0.01)
    assert np.abs(places.mean(0)).max() < 0.02


def test_a_point_as_a_region_still_has_its_buffer():
    keys = jax.random.split(jax.random.key(0), 200)
    places = np.asarray(jax.vmap(lambda key: clusters.within(key, np.zeros((8, 2)), 0.3))(keys))
    assert np.hypot(*places.T).max() <= 0.3 and np.isfinite(places).all()


def test_field_has_the_deflection_and_the_secondary_lines():
    prepared, model = field(), lens()
    x, y = (np.asarray(one) for one in GRID.replace(shape=tuple(n + 2 * MARGIN for n in GRID.shape)).phases(2))
    alpha = deflection(model.mass, jnp.asarray(x + PLACES[1, 0]), jnp.asarray(y + PLACES[1, 1]))
    np.testing.assert_allclose(prepared.alpha[1], np.stack(alpha), atol=2e-5)
    assert prepared.shape == (16, 16) and set(prepared.lenses) <= {0, 1, 2}
    assert ((prepared.theta_E > 0.2) & (prepared.theta_E < 3.5)).all()
    curves = secondary(model, float(prepared.efficiency[0, 1]), HALF)
    assert sorted(prepared.theta_E[prepared.node[:, 1] == 1]) == pytest.approx(
        sorted(curve.einstein_radius for curve in curves), rel=1e-5)


def test_corners_lie_on_the_caustic():
    """Fewer corners than the curve has points, within two percent of its size."""
    prepared = field()
    curve = max(secondary(lens(), float(prepared.efficiency[0, 0]), HALF), key=lambda one: one.einstein_radius)
    corners = prepared.caustic[prepared.node[:, 1] == 0][np.argmax(prepared.theta_E[prepared.node[:, 1] == 0])]
    away = np.hypot(*(corners[:, None] - curve.caustic[None]).transpose(2, 0, 1)).min(1)
    assert away.max() < 0.02 * np.ptp(curve.caustic, axis=0).max()


def test_galaxies_alone_by_size_where_the_smooth_part_is_not_known():
    known = secondary(lens(), 0.6, HALF)
    sizes = secondary(lens(smooth=False), 0.6, HALF)
    assert {round(c.einstein_radius, 4) for c in known} <= {round(c.einstein_radius, 4) for c in sizes}


def test_scaled_masses_are_those_of_the_planes():
    model = lens()
    x, y = jnp.array([1.0, 9.3]), jnp.array([2.0, 3.1])
    half = Scaled(mass=model.mass, efficiency=jnp.asarray(0.5)).deflection(x, y)
    np.testing.assert_allclose(np.stack(half), 0.5 * np.stack(deflection(model.mass, x, y)), rtol=1e-4)


def test_lines_are_drawn_by_their_size(made):
    """With a probability that is proportional to theta_E among those for the redshift of the source."""
    keys = jax.random.split(jax.random.key(1), 4000)
    z = 6.9
    node, line = jax.jit(jax.vmap(lambda key: made._line(key, jnp.int32(0), jnp.float32(z))))(keys)
    assert (np.asarray(node) == 1).all()
    prepared = field()
    here = np.flatnonzero(prepared.node[:, 1] == 1)
    expected = prepared.theta_E[here] / prepared.theta_E[here].sum()
    counted = np.bincount(np.asarray(line), minlength=len(prepared.lens))[here] / 4000.0
    assert counted == pytest.approx(expected, abs=0.03)


def test_lenses_have_their_source_in_the_region(made, batch):
    prepared = field()
    for k in np.flatnonzero(batch.label == 1):
        place, caustic = np.array([[batch.truth["place_x"][k], batch.truth["place_y"][k]]]), batch.truth["line"][k]
        assert clusters.in_region(place, prepared.caustic[caustic], 0.5 * batch.truth["r_e"][k] + 1e-4)[0]
    assert (batch.truth["galaxy"] == prepared.lens[batch.truth["line"]]).all()  # negatives too, with others = 0
    assert 0 < batch.label.sum() < 32 and np.isfinite(batch.image).all()


def test_image_is_the_sum_of_its_parts(batch):
    np.testing.assert_allclose(batch.image, sum(batch.parts.values()), atol=1e-5)
    dark = (batch.label == 0) & ~batch.truth["behind"]
    assert dark.any() and (batch.parts["source"][dark] == 0.0).all()
    assert (batch.parts["source"][batch.label == 1].sum((1, 2)) > 0.0).all()


def test_arc_has_the_light_of_its_rays(made):
    """Surface brightness is that of the source where each ray ends, and is then seen through the PSF."""
    key = jax.random.key(8)
    geometry = made.replace(lensed=jnp.float32(1.0), behind=jnp.float32(0.0)).geometry(key)
    flux = np.asarray(geometry.source).sum((0, 1))
    mag = SURVEY.zero_points[-1] - 2.5 * np.log10(flux[-1])
    assert mag < float(geometry.truth["mag"]) + 0.3  # magnified, or partly outside of the cutout


def test_a_key_makes_one_image_in_any_company(made):
    one = made.simulate(jax.random.key(3), 8)
    np.testing.assert_array_equal(np.asarray(one.image), np.asarray(made.simulate(jax.random.key(3), 32).image)[:8])


def test_stamps_stay_as_they_are(made):
    rng = np.random.default_rng(0)
    stamps = rng.normal(size=(3, 24, 24, 3)).astype(np.float32)
    real = clusters.cluster_lenses(field(), SURVEY, stamps=stamps, lensed=0.0, behind=0.0, others=1.0, turns=False)
    batch = jax.tree.map(np.asarray, real.simulate(jax.random.key(0), 4))
    for k in range(4):
        whole = stamps[batch.truth["galaxy"][k]]
        assert any(np.array_equal(whole[i:i + 16, j:j + 16], batch.image[k]) for i in range(9) for j in range(9))


def test_two_clusters_are_one_field():
    joined = ClusterField.join([field(), field()])
    assert len(joined.center) == 6 and joined.efficiency.shape == (2, 2)
    assert set(joined.node[:, 0]) == {0, 1} and (joined.lens[len(field().lens):] >= 3).all()
    assert (joined.member[joined.lens] == joined.node[:, 0]).all()


def test_field_is_read_back(tmp_path):
    saved = save_field(tmp_path / "one.npz", field())
    read = load_field(saved)
    for name in ("alpha", "caustic", "light", "lens", "ladder"):
        np.testing.assert_array_equal(getattr(read, name), getattr(field(), name))
    assert read.shape == field().shape and read.pixel_scale == 0.24


@pytest.mark.parametrize(("change", "said"), [
    (lambda values: values.pop("caustic"), "caustic: missing"),
    (lambda values: values.update(version=np.int64(7)), "version: 7"),
    (lambda values: values["theta_E"].__setitem__(0, np.nan), "theta_E: 1 values"),
    (lambda values: values.update(lens=values["lens"][:-1]), "rows"),
])
def test_broken_field_is_said(tmp_path, change, said):
    saved = save_field(tmp_path / "one.npz", field())
    with np.load(saved) as file:
        values = {name: file[name].copy() for name in file.files}
    change(values)
    np.savez(saved, **values)
    with pytest.raises(InputError, match=said):
        load_field(saved)


@pytest.mark.parametrize(("content", "said"), [(None, "no such file"), (b"not an archive", "cannot be read")])
def test_what_is_no_field_is_said(tmp_path, content, said):
    path = tmp_path / "one.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        load_field(path)


@pytest.mark.parametrize(("call", "said"), [
    (lambda: prepare(lens(), GRID, 3.0), "none of 3 is within"),
    (lambda: clusters.cluster_lenses(field(), SURVEYS["hst-hff"]), "prepared for"),
    (lambda: clusters.cluster_lenses(field(), SURVEY, lensed=2.0), "lensed: got 2"),
    (lambda: clusters.cluster_lenses(field(), SURVEY, stamps=np.zeros((2, 24, 24, 3))), "stamps: got shape"),
    (lambda: ClusterField.join([]), "expected one or more")])
def test_bad_input_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()
