"""Grades from votes: rules, agreement, and the Bayesian model on simulated graders whose matrices are known."""

import numpy as np
import pytest

from giga.search.aggregation.confusion import aggregate, joint, prior_of_answers
from giga.search.aggregation.rules import ballot, cancelled, disagreements, mean_score, permitted, said, tally
from giga.search.aggregation.skill import Share, agreement, kappa, skills
from giga.search.grading.records import Vote

OPTIMISED = True
KEYS = iter(range(10**6))


def vote(grader, name, answer, showing=0, kind="candidate", truth="", question="grade", undone=None):
    return Vote(next(KEYS), grader, name, kind, truth, showing, 0, question, answer, 0.0, 1.0, undone, False, "")


@pytest.mark.parametrize(("grades", "grade"), [
    ("AAAABBC", "A"), ("AAABBCC", "B"), ("ABBBCCC", "B"), ("ACCCCCB", "C"), ("AAC", "A"), ("AC", "B"), ("A", "A"),
    ("X", "X"), ("AX", "X"), ("AAX", "A"), ("XXA", "X"), ("AABB", "B"), ("BBCC", "C"), ("", "")])
def test_a_and_c_cancel_and_the_majority_of_the_rest_is_the_grade(grades, grade):
    for order in (grades, grades[::-1]):
        assert cancelled(order) == grade


@pytest.mark.parametrize("seed", range(3))
def test_with_seven_graders_and_no_x_the_rule_is_that_of_the_paper(seed):
    """After cancelling an odd number of A and B, or of B and C, is left."""
    rng = np.random.default_rng(seed)
    for grades in rng.choice(list("ABC"), (200, 7)):
        a, b, c = (int((grades == grade).sum()) for grade in "ABC")
        rest = "A" * max(a - c, 0) + "B" * b + "C" * max(c - a, 0)
        assert len(rest) % 2 and cancelled("".join(grades)) == max("ABC", key=rest.count)


def test_means_and_counts():
    assert mean_score("AABX") == 2.0 and np.isnan(mean_score("")) and tally("XBAXA") == "2A 1B 2X"


def test_votes_are_sorted_into_a_ballot():
    votes = [vote("anna", "a", "escalate", question="detect"), vote("anna", "a", "A"),
             vote("bob", "a", "nothing", question="detect"), vote("anna", "b", "escalate", question="detect"),
             vote("anna", "c", "C", undone=1.0), vote("anna", "c", "B"), vote("anna", "c", "C", showing=1),
             vote("bob", "s", "X", kind="simulation", truth="lens")]
    found = ballot(votes)
    assert found.names == ("a", "c", "s") and found.graders == ("anna", "bob") and found.truths == ("", "", "lens")
    assert found.grades.tolist() == [[0, 3], [1, -1], [-1, 3]]
    assert found.repeats.tolist() == [[-1, -1], [2, -1], [-1, -1]]
    assert [said(found, k) for k in range(3)] == [["A", "X"], ["B"], ["X"]]
    assert disagreements(found) == [("a", 1.5, "1A 1X")]
    assert ballot([]).grades.shape == (0, 0)


def test_permitted_grades():
    assert permitted(["", "lens", "no lens", "B"]).astype(int).tolist() == [
        [1, 1, 1, 1], [1, 1, 1, 0], [0, 0, 0, 1], [0, 1, 0, 0]]


def test_kappa_is_one_for_the_same_zero_for_chance_and_that_of_a_table():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 4, (2, 20000))
    assert kappa(one, one) == 1.0 and kappa(one, other) == pytest.approx(0.0, abs=0.02)
    assert kappa(one, 3 - one) == pytest.approx(-1.0, abs=0.02)
    # 2 x 2: weights are those of plain kappa, (po - pe) / (1 - pe) with po = 0.7, pe = 0.5 of the table below.
    table = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], [20, 5, 10, 15], axis=0)
    assert kappa(*table.T, classes=2) == pytest.approx((0.7 - 0.5) / 0.5)
    assert np.isnan(kappa(one[:4], one[:4])) and np.isnan(kappa(np.zeros(9, int), np.zeros(9, int)))


def test_skill_from_what_was_inserted():
    votes = [vote("anna", f"l{k}", "A" if k < 8 else "X", kind="simulation", truth="lens") for k in range(10)]
    votes += [vote("anna", f"n{k}", "X" if k else "C", kind="simulation", truth="no lens") for k in range(10)]
    votes += [vote("anna", f"c{k}", "B", showing=showing) for k in range(6) for showing in (0, 1)]
    votes += [vote("bob", f"c{k}", "A") for k in range(6)]
    anna, bob = skills(ballot(votes))
    assert (anna.completeness.value, anna.false_positives.value, anna.repeated.value) == (0.8, 0.1, 1.0)
    assert anna.completeness.low < 0.8 < anna.completeness.high and np.isnan(bob.completeness.value)
    assert Share.counted(0, 10).low == 0.0 and Share.counted(10, 10).high == 1.0
    matrix = agreement(ballot(votes))
    assert matrix.shape == (2, 2) and (np.diag(matrix) == 1.0).all()


def simulated(seed, candidates=60, graders=3, classes=2, known=15):
    """Votes of graders whose matrices are drawn from the prior, on candidates of which some have a known truth."""
    rng = np.random.default_rng(seed)
    prevalence = rng.dirichlet(np.ones(classes))
    confusion = np.stack([[rng.dirichlet(row) for row in prior_of_answers(classes)] for _ in range(graders)])
    truth = rng.choice(classes, candidates, p=prevalence)
    votes = np.array([[rng.choice(classes, p=confusion[j, k]) for j in range(graders)] for k in truth])
    votes[rng.random(votes.shape) < 0.1] = -1
    allowed = np.ones((candidates, classes), bool)
    allowed[:known] = np.eye(classes, dtype=bool)[truth[:known]]
    return prevalence, confusion, truth, votes, allowed


def test_intervals_hold_the_truth_as_often_as_they_say():
    """Truths drawn from the prior lie in their 90% intervals in 90% of cases, and probabilities are shares."""
    inside, sure, right = [], [], []
    for seed in range(16):
        prevalence, confusion, truth, votes, allowed = simulated(seed)
        found = aggregate(votes, allowed, seed, warmup=150, samples=150)
        for values, true in ((found.prevalence[:, 0], prevalence[0]), (found.confusion[..., 0], confusion[..., 0])):
            low, high = found.interval(values)
            inside += ((low <= true) & (true <= high)).ravel().tolist()
        probability = found.grades.mean(0)[15:, 0]
        sure += probability.tolist()
        right += (truth[15:] == 0).tolist()
        np.testing.assert_allclose(found.grades[:, :15].mean(0), np.eye(2)[truth[:15]], atol=1e-6)
    # 112 intervals: five sigma of a binomial are 0.14.
    assert 0.76 < np.mean(inside) < 1.0, np.mean(inside)
    expected, scatter = np.sum(sure), np.sqrt(np.sum(np.array(sure) * (1.0 - np.array(sure))))
    assert abs(np.sum(right) - expected) < 4.0 * scatter + 0.1 * expected
    assert np.mean((np.array(sure) > 0.5) == np.array(right)) > 0.85


def test_the_model_is_that_of_two_classes_in_closed_form():
    """Bayes' theorem for one candidate, and nothing from a grader who has not voted."""
    confusion = np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]]])
    votes = np.array([[0, 1], [0, -1]])
    found = np.exp(np.asarray(joint(np.array([0.3, 0.7]), confusion, votes, np.ones((2, 2), bool))))
    np.testing.assert_allclose(found, [[0.3 * 0.9 * 0.3, 0.7 * 0.2 * 0.6], [0.3 * 0.9, 0.7 * 0.2]], rtol=1e-5)


@pytest.mark.parametrize(("votes", "said_of"), [(np.zeros((0, 2)), "none"), (np.full((3, 2), -1), "none"),
                                                (np.full((3, 2), 2), "got class 2")])
def test_votes_that_are_none(votes, said_of):
    with pytest.raises(ValueError, match=said_of):
        aggregate(votes, np.ones((len(votes), 2), bool))


