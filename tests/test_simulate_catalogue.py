"""Catalogues that populations draw their rows from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from giga.simulate.populations.catalogue import Catalogue, draw_row, upper_edges
from giga.simulate.populations.population import Derived, Population


def test_columns():
    table = Catalogue({"a": [1, 2, 3], "b": np.arange(6.0).reshape(3, 2)}, weights=[1.0, 2.0, 3.0])
    assert len(table) == 3
    assert (table["a"].name, table["a"].catalogue) == ("a", table)
    few = table.select(table.columns["a"] > 1)
    np.testing.assert_array_equal(few.columns["b"], [[2.0, 3.0], [4.0, 5.0]])
    np.testing.assert_array_equal(few.weights, [2.0, 3.0])


def test_a_column_may_have_one_value_a_band():
    table = Catalogue({"mag": np.arange(6.0).reshape(3, 2), "row": np.arange(3)})
    population = Population.of([table["mag"], table["row"]])
    assert population.n_bands == 2
    _, truth = jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(0), 50))
    np.testing.assert_array_equal(truth["0"], truth["1"][:, None] * 2.0 + np.arange(2.0))


@pytest.mark.parametrize("weights", [[1.0, 0.0, 3.0, 4.0, 0.0], [0.0, 1.0, 1.0, 1.0, 7.0], [5.0, 0.0, 0.0, 0.0, 0.0]])
def test_rows_are_drawn_by_their_weights(weights):
    n = 20_000
    edges = upper_edges(np.array(weights))
    rows = jax.vmap(lambda key: draw_row(key, 5, edges))(jax.random.split(jax.random.key(1), n))
    expected = n * np.array(weights) / np.sum(weights)
    counts = np.bincount(rows, minlength=5)
    np.testing.assert_allclose(counts, expected, atol=5.0 * np.sqrt(n) / 2.0)
    assert not counts[expected == 0.0].any()


def test_long_catalogues_lose_no_row():
    """A cumulative sum in float32 would give rows of a table of 2^24 rows a share of zero or two."""
    edges = upper_edges(np.ones(2**20))
    assert set(np.diff(edges.astype(np.int64))) == {2**12}


def test_rows_without_weights_are_drawn_equally():
    rows = jax.vmap(lambda key: draw_row(key, 4, None))(jax.random.split(jax.random.key(2), 4000))
    assert np.abs(np.bincount(rows) - 1000).max() < 5 * np.sqrt(750)


def test_columns_in_a_derived_alone_share_the_row():
    table = Catalogue({"x": [1.0, 2.0, 3.0], "y": [2.0, 3.0, 4.0]})
    population = Population.of([Derived(jnp.subtract, table["y"], table["x"])])
    _, truth = jax.jit(jax.vmap(population.draw))(jax.random.split(jax.random.key(0), 50))
    np.testing.assert_array_equal(truth["0"], np.ones(50))


@pytest.mark.parametrize(("columns", "weights", "message"), [
    ({}, None, "catalogue: no columns"),
    ({"a": []}, None, "a has no rows"),
    ({"a": [1.0, 2.0], "b": [1.0]}, None, "b has 1 rows; expected 2, as a has"),
    ({"a": [1.0, np.nan, np.nan]}, None, r"a is nan in row 1; expected finite numbers \(2 bad rows of 3\)"),
    ({"a": [1.0, np.inf]}, None, "a is inf in row 1"),
    ({"a": ["x", "y"]}, None, "a is of type <U1; expected numbers"),
    ({"a": np.zeros((2, 2, 2))}, None, r"a has shape \(2, 2, 2\); expected \(rows,\) or \(rows, bands\)"),
    ({"a": 1.0}, None, r"a has shape \(\)"),
    ({"a": [1.0, 2.0]}, [1.0, -0.5], "weights is -0.5 in row 1; expected no negative weight"),
    ({"a": [1.0, 2.0]}, [0.0, 0.0], "all weights are zero"),
    ({"a": [1.0, 2.0]}, [1.0], r"weights have shape \(1,\); expected \(2,\)"),
    ({"a": [1.0, 2.0]}, [1.0, np.nan], "weights is nan in row 1"),
])
def test_bad_tables_are_refused(columns, weights, message):
    with pytest.raises(ValueError, match=message):
        Catalogue(columns, weights)


def test_a_missing_column_says_which_there_are():
    with pytest.raises(ValueError, match=r"no column 'theta'; expected one of 'theta_E', 'q'"):
        Catalogue({"theta_E": [1.0], "q": [0.5]})["theta"]
