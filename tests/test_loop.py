"""The loop: rounds that find what is hidden, learn from it, and go on from wherever they were stopped."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from _cutouts import candidates, catalogue, cutout
from typer.testing import CliRunner

from giga.cli import app
from giga.cli.surveys import loop as command
from giga.io.errors import InputError
from giga.io.grading.folder import DATABASE
from giga.jobs.loop.drive import LOG, LoopSettings, run_loop
from giga.jobs.loop.features import Extractor, sample
from giga.jobs.loop.people import by_people, by_script, read_graders
from giga.search.grading.questions import CANDIDATES
from giga.search.grading.store import VoteStore
from giga.search.loop.head import train_head
from giga.search.loop.rounds import FeatureFinder, Round, best, learned, stopped, table
from giga.search.loop.scripted import ScriptedGraders, true_grades

GOOD = np.array([[0.8, 0.15, 0.04, 0.01], [0.1, 0.75, 0.13, 0.02], [0.02, 0.18, 0.75, 0.05],
                 [0.002, 0.003, 0.005, 0.99]])


def world(count=4000, lenses=40, size=8, seed=0, shift=1.0):
    """A pool with few lenses whose features lie elsewhere than those of the simulations, and a test set like it."""
    rng = np.random.default_rng(seed)

    def drawn(labels, toward):
        return rng.normal(size=(len(labels), size)) + np.outer(labels, toward)

    old, new = np.eye(size)[0] * 2.0, np.eye(size)[0] * 1.2 + np.eye(size)[1] * 2.5 * shift
    training, testing = (np.repeat([0, 1], 300) for _ in range(2))
    labels = np.zeros(count, int)
    labels[rng.choice(count, lenses, replace=False)] = 1
    finder = FeatureFinder([f"m{k}" for k in range(count)], drawn(labels, new), drawn(training, old), training,
                           drawn(testing, new), testing)
    return finder, labels


def scripted(labels, graders=3, seed=0):
    return by_script(ScriptedGraders({f"g{k}": GOOD for k in range(graders)}, seed), labels)


@pytest.mark.parametrize("seed", range(3))
def test_the_head_is_where_the_gradient_of_its_loss_is_zero(seed):
    rng = np.random.default_rng(seed)
    features, labels = rng.normal(size=(200, 5)) * [1, 10, 100, 1, 0], rng.random(200) < 0.3
    head = train_head(features, labels, ridge=1e-3)
    chance = 1.0 / (1.0 + np.exp(-head(features)))
    each = np.where(labels, 0.5 / labels.sum(), 0.5 / (~labels).sum())
    x = (features - head.mean) / head.scale
    np.testing.assert_allclose(x.T @ (each * (chance - labels)) + 2e-3 * head.weights[:-1], 0.0, atol=1e-7)
    assert each @ (chance - labels) == pytest.approx(0.0, abs=1e-7)


def test_the_head_finds_the_line_between_two_gaussians():
    """Log-odds of two normals of unit spread are their difference times the features."""
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1], [30000, 10000])
    features = rng.normal(size=(40000, 2)) + np.outer(labels, [1.5, 0.0])
    head = train_head(features, labels, ridge=1e-9)
    slope = head.weights[:-1] / head.scale
    np.testing.assert_allclose(slope, [1.5, 0.0], atol=0.05)
    assert head(np.array([[0.75, 0.0]]))[0] == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize(("features", "labels", "said"), [
    (np.full((4, 2), np.nan), [0, 1, 0, 1], "4 rows are not finite"), (np.zeros((3, 2)), [1, 1, 1], "expected both")])
def test_a_head_of_nothing_is_refused(features, labels, said):
    with pytest.raises(ValueError, match=said):
        train_head(features, np.array(labels))


def test_scripted_graders_answer_by_their_matrices_and_always_the_same():
    graders = ScriptedGraders({"a": GOOD, "b": np.eye(4)}, seed=3)
    rows = np.arange(20000)
    truths = rows % 4
    votes = graders.votes(rows, truths)
    shares = np.array([[(votes[truths == t, 0] == a).mean() for a in range(4)] for t in range(4)])
    np.testing.assert_allclose(shares, GOOD, atol=0.025)
    assert (votes[:, 1] == truths).all()
    assert (graders.votes(rows[::-1][:50], truths[::-1][:50]) == votes[::-1][:50]).all()
    assert np.bincount(true_grades(np.repeat([0, 1], 5000)), minlength=4)[3] == 5000


def test_the_best_that_nobody_has_seen_are_looked_at():
    assert best(np.array([1.0, 5.0, 3.0, 5.0, 2.0]), np.array([1]), 3).tolist() == [3, 2, 4]
    assert best(np.arange(3.0), np.arange(3), 3).tolist() == []


def test_rounds_find_more_than_the_first_scores_and_the_log_counts_right(tmp_path):
    finder, labels = world()
    settings = LoopSettings(top=100, rounds=6, stop=0.0)
    told = []
    ended = run_loop(tmp_path, finder, scripted(labels), settings, {}, labels, told.append)
    rows = ended.rows
    assert ended.waits is None and ended.why and len(told) == len(rows)
    last = rows[-1]
    assert last["pool_purity"] > 90.0 and last["pool_completeness"] > 3.0 * last["random"]
    assert last["pool_completeness"] > 60.0
    assert [row["cum"] for row in rows] == np.cumsum([row["new"] for row in rows]).tolist()
    assert all(row["cum"] == row["cum_A"] + row["cum_B"] + row["cum_C"] for row in rows)
    assert all(row["thresh_tp"] >= row["thresh"] for row in rows if row["new"])
    assert rows[1]["completeness"] != rows[0]["completeness"] and 0 < rows[0]["purity"] <= 100
    kept = list(csv.DictReader((tmp_path / LOG).read_text().splitlines()))
    assert [float(row["cum"]) for row in kept] == [row["cum"] for row in rows]
    found = list(csv.DictReader((tmp_path / "found.csv").read_text().splitlines()))
    assert len(found) == last["cum"] and len({row["name"] for row in found}) == len(found)
    # Without learning, the same number of views along the first scores finds fewer.
    first = finder.score(finder.train(np.zeros(0, int), np.zeros(0, int)))
    viewed = best(first, np.zeros(0, int), 100 * len(rows))
    assert labels[viewed].sum() < last["pool_completeness"] / 100.0 * labels.sum()


@pytest.mark.parametrize("gone", ["weights.npz", "scores.npz", "viewed.npz", "grades.json"])
def test_a_loop_that_was_stopped_at_any_step_goes_on_as_if_it_had_not_been(tmp_path, gone):
    finder, labels = world()
    settings = LoopSettings(top=100, rounds=3, stop=0.0)
    whole = run_loop(tmp_path / "whole", finder, scripted(labels), settings, {}, labels)
    shutil.copytree(tmp_path / "whole", tmp_path / "part")
    steps = ["weights.npz", "scores.npz", "viewed.npz", "grades.json"]
    for name in steps[steps.index(gone):]:
        (tmp_path / "part" / "rounds" / "02" / name).unlink()
    shutil.rmtree(tmp_path / "part" / "rounds" / "03")
    again = run_loop(tmp_path / "part", finder, scripted(labels), settings, {}, labels)
    assert again == whole and (tmp_path / "part" / LOG).read_text() == (tmp_path / "whole" / LOG).read_text()


def test_grades_are_waited_for_and_nothing_is_trained_again(tmp_path):
    finder, labels = world()
    calls = []

    class Counted(FeatureFinder):
        def train(self, lenses, others):
            calls.append(len(lenses))
            return super().train(lenses, others)

    counted = Counted(**{one.name: getattr(finder, one.name) for one in dataclasses.fields(finder)})
    settings = LoopSettings(top=50, rounds=2, stop=0.0)
    for _ in range(2):
        ended = run_loop(tmp_path, counted, lambda folder, rows: None, settings, {})
        assert ended.waits == tmp_path / "rounds" / "01" and not ended.rows
    assert calls == [0]
    ended = run_loop(tmp_path, counted, scripted(labels), settings, {})
    assert len(ended.rows) == 2 and len(calls) == 2 and "pool_purity" not in ended.rows[0]


def test_what_is_learned_from():
    one = Round(np.zeros(9), np.array([4, 7, 2]), ("X", "A", "X"), np.zeros(0), np.zeros(0))
    assert [part.tolist() for part in learned([one], True)] == [[7], [2, 4]]
    assert [part.tolist() for part in learned([one], False)] == [[7], []]


def test_the_end_of_a_loop():
    def rounds(*news, size=1000):
        return [Round(np.zeros(size), np.arange(100), ("A",) * new + ("X",) * (100 - new), np.zeros(0), np.zeros(0))
                for new in news]

    assert not stopped([], 9, 0.03) and not stopped(rounds(50, 10), 9, 0.03)
    assert "found 1 of 51" in stopped(rounds(50, 1), 9, 0.03) and "9 rounds" in stopped(rounds(*[9] * 9), 9, 0.0)
    assert "everything" in stopped(rounds(5, 5, size=200), 9, 0.0)
    assert np.isnan(table(rounds(0))[0]["thresh_tp"]) and np.isnan(table(rounds(0))[0]["purity"])


@pytest.mark.parametrize(("change", "said"), [
    (lambda out: LoopSettings(top=60), "settings: it was begun with"),
    (lambda out: (out / "rounds" / "01" / "scores.npz").write_bytes(b"half"), "cannot be read"),
    (lambda out: (out / "rounds" / "01" / "grades.json").write_text('["A"]'), "expected 50 of A, B, C, X"),
    (lambda out: (out / "rounds" / "01" / "grades.json").write_text(json.dumps(["D"] * 50)), "50 grades, of .'D'.")])
def test_a_folder_of_another_loop_or_a_damaged_one_is_refused(tmp_path, change, said):
    finder, labels = world()
    settings = LoopSettings(top=50, rounds=1)
    run_loop(tmp_path, finder, scripted(labels), settings, {})
    other = change(tmp_path)
    with pytest.raises(InputError, match=said):
        run_loop(tmp_path, finder, scripted(labels), other if isinstance(other, LoopSettings) else settings, {})


def test_people_grade_a_round_on_the_page(tmp_path):
    pool = candidates(tmp_path / "pool", 9)
    cutout(3, 48).writeto(pool / "candidates" / "c00003.hst.fits")
    grading, place = by_people(pool), tmp_path / "round"
    place.mkdir()
    rows = np.array([3, 1, 8])
    assert grading(place, rows) is None and grading(place, rows) is None
    from giga.io.grading.folder import read_folder

    folder = read_folder(place)
    assert [one.item.name for one in folder.graded] == ["c00003", "c00001", "c00008"]
    assert [len(one.files) for one in folder.graded] == [2, 1, 1] and "score" not in folder.graded[0].row
    store = VoteStore(place / DATABASE, CANDIDATES)
    store.add([one.item for one in folder.graded])
    names = {number: item.name for number, item in store.items().items()}
    anna, bob = store.grader("anna"), store.grader("bob")
    for grader in (anna, bob):
        for task in store.tasks(grader, 0, 9):
            assert grading(place, rows) is None
            lens = names[task.item] == "c00003"
            store.answer(grader, [task.position], "detect", "escalate" if lens else "nothing",
                         f"{grader}-{task.position}")
            if lens:
                store.answer(grader, [task.position], "grade", "AB"[grader == bob], f"{grader}-grade")
    assert grading(place, rows) == ["B", "X", "X"]


@pytest.mark.parametrize(("content", "said"), [
    ([1], "expected {\"graders\""), ({"graders": {"a": [[1.0]]}}, "4 x 4 probabilities"), ({"graders": {}}, "none"),
    ({"graders": {"a": (2 * np.eye(4)).tolist()}}, "each row of sum 1")])
def test_graders_that_are_none(tmp_path, content, said):
    (tmp_path / "graders.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=said):
        read_graders(tmp_path / "graders.json")


class Played:
    """What an extractor is, with sums of pixels for features."""

    def __init__(self):
        self.name, self.bands, self.shape = "played", ("g", "r", "i"), (32, 32)
        self.card = type("Card", (), {"sha256": "0" * 64})
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        return np.asarray(images).sum((1, 2))


def test_features_are_computed_once_and_labels_are_read(tmp_path):
    pool, extractor = candidates(tmp_path / "pool", 6), Played()
    first = sample(pool, extractor, tmp_path / "kept.npz")
    again = sample(pool, extractor, tmp_path / "kept.npz")
    assert extractor.calls == 1 and (first.features == again.features).all() and first.features.shape == (6, 3)
    assert first.labels.tolist() == [-1] * 6
    with pytest.raises(InputError, match="no label"):
        sample(pool, extractor, tmp_path / "other.npz", labelled=True)
    catalogue(pool, range(6), label=[0, 1, 0, 1, 0, 1])
    assert sample(pool, extractor, tmp_path / "kept.npz", labelled=True).labels.tolist() == [0, 1, 0, 1, 0, 1]
    catalogue(pool, range(6), label=[0, 1, 2, 1, 0, 1])
    with pytest.raises(InputError, match="row 3 .c00002.: truth: got '2'"):
        sample(pool, extractor, tmp_path / "kept.npz")
    catalogue(pool, range(5))
    with pytest.raises(InputError, match="features of other cutouts"):
        sample(pool, extractor, tmp_path / "kept.npz")


@pytest.mark.parametrize("which", ["--train", "--test"])
def test_cutouts_of_one_kind_teach_nothing(tmp_path, monkeypatch, which):
    """The folder and the numbers of both kinds are named, before a round is begun."""
    monkeypatch.setattr(command, "Extractor", lambda model: Played())
    folders = {name: candidates(tmp_path / name, 4) for name in ("pool", "both", "one")}
    catalogue(folders["both"], range(4), label=[0, 1, 0, 1])
    catalogue(folders["one"], range(4), label=[1] * 4)
    given = {"--train": folders["both"], "--test": folders["both"], which: folders["one"]}
    said = CliRunner().invoke(app, ["loop", str(folders["pool"]), "--out", str(tmp_path / "out"),
                                    *[str(word) for pair in given.items() for word in pair]])
    assert said.exit_code == 2 and "one: label: 4 lenses among 4 cutouts" in " ".join(said.output.split())
    assert not (tmp_path / "out" / "rounds").exists()


@pytest.mark.parametrize(("model", "said"), [("no-such", "unknown model"), ("ggsl-unet-kids", "is a Separator")])
def test_a_network_that_gives_no_features(model, said):
    with pytest.raises(InputError, match=said):
        Extractor(model)


def test_features_of_a_chain_tell_its_lenses():
    """Those of the zoo's chain, the whole way from images: finite, as many as its two trunks have, in any number."""
    extractor = Extractor("modular-lsst")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(3, *extractor.shape, len(extractor.bands)))
    found = extractor(images)
    assert found.shape == (3, 384) and np.isfinite(found).all()
    np.testing.assert_allclose(extractor(images[:1]), found[:1], rtol=1e-4, atol=1e-5)

