"""Ranks and coverage: calibrated posteriors pass, others are found out."""

import numpy as np
import pytest
from scipy import stats

from giga.inference.checks.calibration import (
    choose_bins,
    coverage,
    covered,
    ecdf_difference,
    histogram,
    histogram_band,
    rank,
    summary,
    thin,
    uniformity,
)

SIZE, LENSES = 99, 400


def study(scale: float = 1.0, shift: float = 0.0, lenses: int = LENSES, seed: int = 0):
    """Ranks and shares of a Gaussian mean with a Gaussian prior, whose posterior is known.

    Prior N(0, 1), one datum of unit noise: the posterior is N(d / 2, 1 / 2). `scale` and `shift` (in
    posterior standard deviations) make it wrong.
    """
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=lenses)
    mean, sd = 0.5 * (truth + rng.normal(size=lenses)), np.sqrt(0.5)
    draws = mean[:, None] + sd * (shift + scale * rng.normal(size=(lenses, 16 * SIZE)))
    ranks = [rank(t, thin(d.reshape(16, SIZE), SIZE), rng) for t, d in zip(truth, draws, strict=True)]
    return np.array(ranks), (draws < truth[:, None]).mean(1)


def test_a_calibrated_posterior_passes():
    ranks, below = study()
    test = uniformity(ranks, SIZE)
    assert test.bins == 20
    assert min(test.p_chi2, test.p_ks) > 0.05
    assert ecdf_difference(ranks, SIZE).inside
    for level in (0.68, 0.95):
        found = coverage(below, level)
        assert found.low <= found.share <= found.high


@pytest.mark.parametrize(("scale", "shift"), [(0.7, 0.0), (1.4, 0.0), (1.0, 0.3)], ids=["over", "under", "biased"])
def test_a_wrong_posterior_fails(scale, shift):
    ranks, below = study(scale, shift)
    test = uniformity(ranks, SIZE)
    assert test.p_chi2 < 1e-3
    assert not ecdf_difference(ranks, SIZE).inside
    # The analytic coverage of N(shift, scale^2) for a standard normal truth.
    half = scale * stats.norm.ppf(0.84)
    expected = stats.norm.cdf(half - shift) - stats.norm.cdf(-half - shift)
    assert abs(coverage(below, 0.68).share - expected) < 4.0 * np.sqrt(0.25 / LENSES)


def test_p_values_of_uniform_ranks_are_uniform(rng):
    tests = [uniformity(rng.integers(0, SIZE + 1, 60), SIZE) for _ in range(400)]
    for values in ([t.p_chi2 for t in tests], [t.p_ks for t in tests]):
        assert abs(np.mean(np.array(values) < 0.1) - 0.1) < 0.05  # three standard deviations


def test_the_band_holds_the_whole_curve_at_its_level(rng):
    inside = [ecdf_difference(rng.integers(0, SIZE + 1, 60), SIZE, 0.9).inside for _ in range(400)]
    assert abs(np.mean(inside) - 0.9) < 0.05


def test_the_histogram_band_is_the_binomial_one():
    low, high = histogram_band(100, 20)
    assert stats.binom.cdf(low - 1, 100, 0.05) <= 0.005 <= stats.binom.cdf(low, 100, 0.05)
    assert stats.binom.cdf(high - 1, 100, 0.05) <= 0.995 <= stats.binom.cdf(high, 100, 0.05)


def test_coverage_of_known_shares():
    below = np.array([[0.5, 0.01], [0.16, 0.84], [0.1, 0.9], [0.03, 0.97]])
    assert covered(below, 0.68).tolist() == [[True, False], [True, True], [False, False], [False, False]]
    found = coverage(below, 0.95)
    assert (found.share, found.n) == (7 / 8, 8)
    assert found.error == pytest.approx(np.std([0.5, 1, 1, 1], ddof=1) / 2)
    alone = coverage(below[:, 0], 0.68)
    assert alone.error == pytest.approx(np.sqrt(0.68 * 0.32 / 4))


def test_ranks_and_ties(rng):
    draws = np.array([1.0, 2.0, 2.0, 3.0])
    assert rank(0.5, draws, rng) == 0
    assert rank(2.5, draws, rng) == 3
    assert {rank(2.0, draws, rng) for _ in range(100)} == {1, 2, 3}


def test_thinning_takes_of_every_chain_alike():
    samples = np.arange(40).reshape(4, 10)
    assert thin(samples, 8).tolist() == [2, 7, 12, 17, 22, 27, 32, 37]
    assert thin(samples, 40).tolist() == list(range(40))
    with pytest.raises(ValueError, match="at most 40 draws, got 41"):
        thin(samples, 41)


def test_bins_divide_the_ranks():
    assert choose_bins(60, 99) == 10  # 20 would expect three in each
    assert choose_bins(3, 99) == 2
    assert histogram(np.array([0, 4, 5, 99]), 99, 20).tolist() == [2, 1, *[0] * 16, 0, 1]
    with pytest.raises(ValueError, match="divides 100, got 7"):
        uniformity(np.array([1, 2]), 99, 7)
    with pytest.raises(ValueError, match="no number from 2 to 20 divides 101"):
        choose_bins(60, 100)


def test_the_summary_names_the_worst_quantity():
    good, below = study()
    bad, _ = study(0.6, seed=1)
    found = summary({"good": good, "bad": bad}, {"good": below}, SIZE)
    assert found["lenses"] == LENSES
    assert found["smallest"]["p_chi2"]["quantity"] == "bad"
    assert found["smallest"]["p_chi2"]["adjusted"] == 2 * found["smallest"]["p_chi2"]["value"] < 1e-3
    assert [row["level"] for row in found["coverage"]] == [0.68, 0.95]
    assert "coverage" not in found["quantities"]["bad"]
