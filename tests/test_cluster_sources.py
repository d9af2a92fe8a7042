"""The population behind clusters against the numbers that Angora et al. (2023) print."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.simulate.surveys.presets import SURVEYS
from giga.simulate.systems import cluster_sources as behind

pytestmark = pytest.mark.quick

CLUSTERS = np.array([0.234, 0.346, 0.352, 0.397, 0.439, 0.450, 0.451, 0.587])  # Table 1
SURVEY = SURVEYS["hst-hff"]


@pytest.fixture(scope="module")
def drawn():
    sources = jax.tree.map(jnp.asarray, behind.sources_behind(CLUSTERS, SURVEY))
    keys = jax.random.split(jax.random.key(0), 40000)
    cluster = jnp.arange(40000) % len(CLUSTERS)
    return {name: np.asarray(values) for name, values in jax.jit(jax.vmap(sources.draw))(keys, cluster).items()}


def test_magnitudes_are_those_of_table_a5(drawn):
    assert np.mean(drawn["mag"] >= 28.0) == pytest.approx(0.311, abs=0.01)
    assert np.mean(drawn["mag"] >= 27.0) == pytest.approx(0.610, abs=0.01)
    assert drawn["mag"].min() >= 22.0 and drawn["mag"].max() <= 29.0


@pytest.mark.parametrize(("beyond", "share"), [(3.0, 0.255), (4.0, 0.129), (5.0, 0.059)])
def test_redshifts_are_those_of_table_a5(drawn, beyond, share):
    assert np.mean(drawn["z"] >= beyond) == pytest.approx(share, abs=0.012)


def test_sources_are_behind(drawn):
    assert (drawn["z"] >= CLUSTERS[np.arange(40000) % len(CLUSTERS)] + behind.BEHIND - 0.02).all()


@pytest.mark.parametrize(("number", "median"), list(enumerate(behind.MEDIAN)))
def test_medians_of_the_bins(number, median):
    z = np.linspace(0.0, 60.0, 60001)
    total = np.cumsum(behind.redshift_density(z, number))
    assert z[np.searchsorted(total, 0.5 * total[-1])] == pytest.approx(median, rel=0.01)


def test_counts_are_a_density_without_a_step():
    m = np.linspace(22.0, 29.0, 70001)
    assert np.trapezoid(behind.counts(m), m) == pytest.approx(1.0, abs=1e-3)
    assert behind.counts(np.array([26.9999]))[0] == pytest.approx(behind.counts(np.array([27.0001]))[0], rel=0.03)


def test_sizes_of_table_2(drawn):
    assert behind.half_light_radius(jnp.array([0.1, 1.0])) == pytest.approx([2.54, 2.54])
    assert float(behind.half_light_radius(jnp.array(4.0))) - 1.5 * behind.SCATTER == pytest.approx(0.5, abs=0.05)
    assert drawn["r_e"].min() > 0.0 and 0.1 < np.median(drawn["r_e"]) < 0.3


def test_angles_of_sizes(drawn):
    """At z = 1 a kiloparsec is 0.125 arcsec in this cosmology."""
    near = np.abs(drawn["z"] - 1.0) < 0.02
    assert drawn["r_e"][near].mean() == pytest.approx((2.54 - 0.06) * 0.125, rel=0.03)


@pytest.mark.parametrize(("template", "z", "expected"), [
    ("star-forming", 2.0, (0.52, 0.25, 0.0)), ("star-forming", 4.0, (3.53, 0.73, 0.0)),
    ("elliptical", 0.3, (2.69, 0.94, 0.0)), ("elliptical", 0.4, (2.95, 1.08, 0.0))])
def test_colours_are_those_of_the_whole_templates(template, z, expected):
    """Expected: the templates as they are published, without bins, through the same passbands."""
    assert behind.colours(template, np.array([z]), SURVEY)[0] == pytest.approx(expected, abs=0.05)


def test_drop_outs_are_dark():
    assert behind.colours("star-forming", np.array([6.0]), SURVEY)[0, 0] == behind.BLACKEST


@pytest.mark.parametrize(("call", "said"), [
    (lambda: behind.sources_behind(np.array([6.8]), SURVEY), "expected less than 6.6"),
    (lambda: behind.sources_behind(np.array([0.3]), SURVEYS["lsst"]), "'u' of lsst has no passband")])
def test_bad_input_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()
