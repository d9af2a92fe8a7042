"""Measures of finders against closed forms."""

import numpy as np
import pytest
from scipy.stats import norm

from giga.models.systems import finder_metrics as metrics

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def gaussians():
    """Scores of unit variance whose means differ by two, 4000 of lenses and 40,000 of others."""
    random = np.random.default_rng(0)
    label = np.repeat([1, 0], [4000, 40000])
    return label, random.normal(2.0 * label, 1.0)


def test_counts_of_a_table():
    label, score = np.repeat([1, 0], [3, 5]), np.array([0.9, 0.5, 0.1, 0.8, 0.2, 0.2, 0.1, 0.0])
    counts = metrics.confusion(label, score, 0.5)
    assert (counts.tp, counts.fp, counts.fn, counts.tn) == (2, 1, 1, 4)
    assert counts.purity == pytest.approx(2 / 3) and counts.completeness == pytest.approx(2 / 3)
    assert counts.f1 == pytest.approx(2 / 3) and counts.average_efficiency == pytest.approx(6 / 8)
    assert counts.negatives.purity == pytest.approx(4 / 5) and counts.false_positive_rate == pytest.approx(1 / 5)


def test_f1_is_the_harmonic_mean(gaussians):
    counts = metrics.confusion(*gaussians, 1.0)
    assert counts.f1 == pytest.approx(2.0 / (1.0 / counts.purity + 1.0 / counts.completeness))


def test_area_under_roc_of_two_gaussians(gaussians):
    line = metrics.curve(*gaussians)
    assert line.auc == pytest.approx(norm.cdf(2.0 / np.sqrt(2.0)), abs=0.005)
    assert line.completeness[-1] == line.false_positive_rate[-1] == 1.0


def test_equal_scores_are_a_coin():
    label = np.array([1, 0, 1, 0, 0])
    line = metrics.curve(label, np.zeros(5))
    assert line.auc == pytest.approx(0.5) and line.average_precision == pytest.approx(0.4)


@pytest.mark.parametrize("kind", ["clopper-pearson", "jeffreys"])
def test_intervals_cover(kind):
    share, trials = 0.3, 40
    counts = np.arange(trials + 1)
    ends = np.array([metrics.interval(int(k), trials, 0.9, kind) for k in counts])
    weight = np.array([np.exp(_log_binomial(k, trials, share)) for k in counts])
    covered = weight[(ends[:, 0] <= share) & (share <= ends[:, 1])].sum()
    assert covered >= 0.9 if kind == "clopper-pearson" else covered == pytest.approx(0.9, abs=0.05)


def _log_binomial(k, n, p):
    from scipy.special import gammaln
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1) + k * np.log(p) + (n - k) * np.log1p(-p)


def test_interval_of_none():
    """Zero of n: the upper end solves (1 - p)^n = tail."""
    low, high = metrics.interval(0, 50, 0.9)
    assert low == 0.0 and (1.0 - high) ** 50 == pytest.approx(0.05)


def test_completeness_at_a_rate_of_two_gaussians(gaussians):
    found = metrics.completeness_at(*gaussians, 1e-3)
    true = norm.sf(norm.isf(1e-3) - 2.0)
    assert found.false_positive_rate <= 1e-3 < found.false_positive_rate + 1.5 / 40000
    assert found.band[0] < true < found.band[1] and found.band[0] <= found.completeness <= found.band[1]
    assert found.interval[0] < found.completeness < found.interval[1]


def test_too_few_negatives_for_a_rate(gaussians):
    with pytest.raises(ValueError, match="40000 cannot tell .* 1e-05; expected 100000"):
        metrics.completeness_at(*gaussians, 1e-5)


def test_ties_at_the_threshold_stay_below_the_rate():
    label = np.repeat([1, 0], [10, 1000])
    score = np.concatenate([np.ones(10), np.ones(5), np.zeros(995)])
    assert metrics.completeness_at(label, score, 1e-3).completeness == 0.0
    assert metrics.completeness_at(label, score, 5e-3).completeness == 1.0


@pytest.mark.parametrize(("name", "purity"), [("VGG", 0.058), ("SC-VGG", 0.055)])
def test_published_rates_leave_six_percent(name, purity):
    assert metrics.purity_at(0.01, *metrics.PUBLISHED[name]) == pytest.approx(purity, abs=5e-4)


def test_purity_is_that_of_bayes():
    assert metrics.purity_at(0.5, 0.9, 0.1) == pytest.approx(0.9)
    assert metrics.purity_at([0.0, 1.0], 0.9, 0.1) == pytest.approx([0.0, 1.0])


def test_errors_in_bins():
    label, value = np.array([1, 1, 1, 1, 0]), np.array([1.0, 1.5, 2.5, 2.6, 1.0])
    rows = metrics.error_rates(value, [1.0, 2.0, 3.0, 4.0], label, np.array([0.9, 0.1, 0.1, 0.2, 0.9]), 0.5, True)
    assert [row["count"] for row in rows] == [2, 2, 0] and [row["wrong"] for row in rows] == [1, 2, 0]
    assert rows[0]["rate"] == 0.5 and rows[1]["rate_high"] == 1.0 and "rate" not in rows[2]
    others = metrics.error_rates(value, [1.0, 2.0], label, np.array([0.9, 0.1, 0.1, 0.2, 0.9]), 0.5, False)
    assert others[0]["rate"] == 1.0


def test_probabilities_that_are_right_are_calibrated():
    random = np.random.default_rng(1)
    probability = random.uniform(size=50000)
    label = (random.uniform(size=50000) < probability).astype(int)
    assert metrics.calibration(label, probability)[1] < 0.01
    assert metrics.calibration(label, np.full(50000, 0.9))[1] == pytest.approx(0.4, abs=0.01)


def test_ensembles():
    scores = np.array([[0.1, 0.2, 0.9], [5.0, 7.0, 6.0]])
    assert metrics.ensemble(scores, "rank") == pytest.approx([1 / 6, 4 / 6, 4 / 6])
    assert metrics.ensemble(scores, "worst").tolist() == [0.1, 0.2, 0.9]
    assert metrics.ensemble(np.exp(scores), "rank") == pytest.approx(metrics.ensemble(scores, "rank"))


def test_one_that_is_sure_does_not_carry_the_worst_member():
    assert metrics.ensemble(np.array([[9.0, 0.0], [-1.0, 0.0]]), "worst").argmax() == 1
    assert metrics.ensemble(np.array([[9.0, 0.0], [-1.0, 0.0]]), "mean").argmax() == 0


def test_folds_are_stratified():
    label = np.repeat([0, 1], [53, 27])
    number = metrics.folds(label, 5)
    assert {int(np.sum(label[number == k])) for k in range(5)} <= {5, 6}
    assert {int(np.sum(number == k)) for k in range(5)} <= {15, 16, 17}
    assert (metrics.folds(label, 5) == number).all() and (metrics.folds(label, 5, seed=1) != number).any()


def test_spread_of_folds():
    assert metrics.spread([1.0, 2.0, 3.0, 4.0, 5.0]) == dict(median=3.0, q1=2.0, q3=4.0, iqr=2.0)


@pytest.mark.parametrize(("label", "score", "said"), [
    ([1, 2], [0.1, 0.2], "expected 0 and 1"), ([1, 0], [0.1, np.nan], "1 of 2 are NaN"),
    ([1, 0], [0.1, 0.2, 0.3], "expected one"), ([1, 1], [0.1, 0.2], "expected some with and some without")])
def test_bad_input_is_said(label, score, said):
    with pytest.raises(ValueError, match=said):
        metrics.curve(np.array(label), np.array(score))


def test_summary_leaves_out_what_cannot_be_told(gaussians):
    found = metrics.summary(*gaussians, 1.0)
    assert {"auc", "f1", "completeness_at_1e-2", "completeness_at_1e-4"} <= set(found)
    assert "completeness_at_1e-4" not in metrics.summary(gaussians[0][:9000], gaussians[1][:9000], 1.0)
