"""`giga grade`, `giga aggregate` and `giga loop` from the command line: files that they leave, and bad input."""

import csv
import json

import numpy as np
import pytest
from _cutouts import candidates, catalogue, cutout
from astropy.table import Table
from typer.testing import CliRunner

from giga.cli import app
from giga.cli.surveys import aggregate as command
from giga.cli.surveys import grade as grade_command
from giga.cli.surveys import loop as loop_command
from giga.io.grading.folder import DATABASE, read_folder
from giga.search.aggregation.confusion import Aggregate
from giga.search.grading.questions import GRADES
from giga.search.grading.store import VoteStore


def run(*words: object):
    return CliRunner().invoke(app, list(map(str, words)))


def said(result) -> str:
    return " ".join(result.stderr.split())


@pytest.fixture
def graded(tmp_path):
    """Ten candidates that two have graded: odd ones are lenses, and they differ on one."""
    place = candidates(tmp_path / "found", 10)
    folder = read_folder(place)
    store = VoteStore(folder.database, folder.scheme)
    store.add([one.item for one in folder.graded])
    names = {number: item.name for number, item in store.items().items()}
    for grader, own in (("anna", "A"), ("bob", "B")):
        number = store.grader(grader)
        for task in store.tasks(number, 0, 20):
            lens = int(names[task.item][1:]) % 2 or (grader == "bob" and names[task.item] == "c00004")
            act = f"{grader}-{task.position:04d}"
            store.answer(number, [task.position], "detect", "escalate" if lens else "nothing", act)
            if lens:
                store.answer(number, [task.position], "grade", own, f"{act}-grade")
    return place


def test_votes_are_exported(graded, tmp_path):
    files = [tmp_path / f"votes.{kind}" for kind in ("csv", "fits", "jsonl")]
    result = run("grade", graded, *(word for file in files for word in ("--export", file)))
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in files[2].read_text().splitlines()]
    assert len(lines) == len(Table.read(files[1], hdu=1)) == len(Table.read(files[0])) == 31
    again = run("grade", graded, "--export", files[0])
    assert again.exit_code == 2 and "is there already" in said(again)


def test_refits_are_listed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "lenses" / name).mkdir(parents=True)
        (tmp_path / "lenses" / name / "fit.png").write_bytes(b"")
    folder = read_folder(tmp_path)
    store = VoteStore(folder.database, folder.scheme)
    store.add([one.item for one in folder.graded])
    anna = store.grader("anna")
    names = {number: item.name for number, item in store.items().items()}
    for task in store.tasks(anna, 0, 2):
        stage = "mass" if names[task.item] == "a" else "good"
        store.answer(anna, [task.position], "stage", stage, f"act-{task.position:04d}")
    result = run("grade", tmp_path, "--refits", tmp_path / "refits.csv")
    assert result.exit_code == 0 and "1 models to fit again" in result.output
    assert (tmp_path / "refits.csv").read_text().split() == ["name,stage,graders,of", "a,mass,1,1"]


@pytest.mark.parametrize(("words", "message"), [
    (("none",), "no such folder"), (("found", "--grader", "<i>eve</i>"), "without markup"),
    (("found", "--export", "votes.txt"), "one of .csv, .fits, .jsonl"), (("found", "--simulations", "none"), "no such"),
    (("found", "--model", "no-such"), "unknown model"), (("found", "--seed", 3), "seed: it was begun with '0'"),
    (("found", "--repeats", 0.5), "repeats: it was begun with '0.0'")])
def test_what_cannot_be_graded_is_one_clear_error(graded, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = run("grade", *words)
    assert result.exit_code == 2 and message in said(result) and said(result).count("error:") == 1


def test_without_the_extra_it_says_what_to_install(graded, monkeypatch):
    monkeypatch.setattr(grade_command, "find_spec", lambda name: None)
    result = run("grade", graded)
    assert result.exit_code == 2 and "starlette is not installed; expected giga[grade]" in said(result)


def test_grades_are_written(graded, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)

    def played(votes, allowed, seed):
        assert votes.shape == (10, 2) and allowed.all() and seed == 5
        grades = rng.dirichlet(np.ones(4), (50, 10))
        return Aggregate(grades, rng.dirichlet(np.ones(4), 50), rng.dirichlet(np.ones(4), (50, 2, 4)), 1.2)

    monkeypatch.setattr(command, "aggregate", played)
    result = run("aggregate", graded, "--out", tmp_path / "grades", "--seed", 5)
    assert result.exit_code == 0, result.output
    assert "disagreement: c00004: 1B 1X" in result.output and "has not converged" in result.output
    table = Table.read(tmp_path / "grades" / "grades.ecsv")
    assert table["grade"].tolist() == ["X", "B", "X", "B", "X", "B", "X", "B", "X", "B"]
    assert table["votes"][1] == "1A 1B" and table["mean"][1] == 2.5 and table["mean"][4] == 1.0
    assert (table["p_lens_low"] <= table["p_lens"]).all() and (table["p_lens"] <= table["p_lens_high"]).all()
    assert np.allclose(sum(table[f"p_{grade}"] for grade in GRADES), 1.0)
    assert len(Table.read(tmp_path / "grades" / "grades.fits")) == 10
    record = json.loads((tmp_path / "grades" / "graders.json").read_text())
    assert [one["grader"] for one in record["graders"]] == ["anna", "bob"] and record["rhat"] == 1.2
    assert 0.5 < record["graders"][0]["kappa"]["bob"] < 1.0 and record["graders"][0]["completeness"] is None
    assert "is there already" in said(run("aggregate", graded, "--out", tmp_path / "grades"))


def test_the_rule_alone_needs_no_sampling(graded, tmp_path):
    result = run("aggregate", graded, "--out", tmp_path / "grades", "--no-bayes")
    assert result.exit_code == 0 and "p_lens" not in Table.read(tmp_path / "grades" / "grades.ecsv").colnames


@pytest.mark.parametrize(("make", "message"), [
    (lambda place: place.mkdir(), "no such file"), (lambda place: candidates(place, 1), "no such file"),
    (lambda place: (candidates(place, 1) / DATABASE).write_bytes(b"x" * 9000), "not a database")])
def test_what_has_no_votes_is_refused(tmp_path, make, message):
    make(tmp_path / "other")
    result = run("aggregate", tmp_path / "other", "--out", tmp_path / "grades")
    assert result.exit_code == 2 and message in said(result) and not (tmp_path / "grades").exists()


class Means:
    """In the place of a network: means of the pixels inside and outside of the arcs, and their bands."""

    def __init__(self, model):
        self.name, self.bands, self.shape = model, ("g", "r", "i"), (32, 32)
        self.card = type("Card", (), {"sha256": "0" * 64})

    def __call__(self, images):
        y, x = np.mgrid[:32, :32] - 15.5
        ring = np.abs(np.hypot(x, y) - 9.0) < 3.0
        return np.concatenate([images[:, ring].mean(1), images[:, ~ring].mean(1)], -1)


@pytest.fixture
def worlds(tmp_path, monkeypatch):
    """A pool and a training set with labels, and graders that are played."""
    monkeypatch.setattr(loop_command, "Extractor", Means)
    for name, start, count in (("train", 0, 20), ("pool", 100, 60)):
        place = tmp_path / name
        (place / "candidates").mkdir(parents=True)
        for k in range(start, start + count):
            cutout(k).writeto(place / "candidates" / f"c{k:05d}.fits")
        catalogue(place, range(start, start + count), label=[k % 2 for k in range(start, start + count)])
    (tmp_path / "graders.json").write_text(json.dumps({"graders": {"one": np.eye(4).tolist()}}))
    return tmp_path


def looped(place, *words):
    return run("loop", place / "pool", "--train", place / "train", "--out", place / "loop", "--top", 10, *words)


def test_a_loop_of_played_graders_runs_to_its_end_and_again_changes_nothing(worlds):
    result = looped(worlds, "--test", worlds / "train", "--scripted", worlds / "graders.json", "--rounds", 4)
    assert result.exit_code == 0, result.output
    with (worlds / "loop" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["pool_purity"]) == 100.0 and "ended:" in result.output
    assert float(rows[-1]["pool_completeness"]) > 1.4 * float(rows[-1]["random"])
    before = (worlds / "loop" / "table.csv").read_bytes()
    assert looped(worlds, "--test", worlds / "train", "--scripted", worlds / "graders.json", "--rounds", 4
                  ).exit_code == 0
    assert (worlds / "loop" / "table.csv").read_bytes() == before
    other = looped(worlds, "--test", worlds / "train", "--scripted", worlds / "graders.json", "--rounds", 3)
    assert other.exit_code == 2 and "settings: it was begun with" in said(other)


def test_a_loop_of_people_waits_for_their_grades(worlds):
    result = looped(worlds)
    place = worlds / "loop" / "rounds" / "01"
    assert result.exit_code == 0 and "to grade: giga grade" in result.output and len(read_folder(place).graded) == 10
    folder = read_folder(place)
    store = VoteStore(folder.database, folder.scheme)
    store.add([one.item for one in folder.graded])
    anna = store.grader("anna")
    store.answer(anna, range(10), "detect", "nothing", "act-00001", waiting=True)
    result = looped(worlds)
    assert result.exit_code == 0 and "round 1: 0 new" in result.output


@pytest.mark.parametrize(("change", "message"), [
    (lambda place: catalogue(place / "train", range(20), label=[0, 1, 5] + [0] * 17), "truth: got '5'"),
    (lambda place: catalogue(place / "train", range(20)), "no label"),
    (lambda place: (place / "graders.json").write_text("{}"), "expected {\"graders\""),
    (lambda place: cutout(100, 32, ("g", "r")).writeto(place / "pool" / "candidates" / "c00100.fits", overwrite=True),
     "2 bands"),
    (lambda place: (place / "pool" / "candidates" / "c00103.fits").unlink(), "no such file")])
def test_a_loop_of_what_cannot_be_used_is_one_clear_error(worlds, change, message):
    change(worlds)
    result = looped(worlds, "--scripted", worlds / "graders.json")
    assert result.exit_code == 2 and message in said(result)
