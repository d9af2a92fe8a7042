"""Votes on disk: the queue, undo, several graders, locks, a full disk, and the files of votes."""

import csv
import io
import json
import sqlite3
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
from astropy.table import Table

from giga.io.grading.votes import COLUMNS, votes_as
from giga.search.grading.questions import CANDIDATES, MODELS
from giga.search.grading.queue import order
from giga.search.grading.records import Full, Item, Locked, Refused, StoreError, check_name
from giga.search.grading.store import VoteStore

pytestmark = pytest.mark.quick


def store(path, items=20, patience=0.05, **settings):
    made = VoteStore(path / "votes.sqlite", CANDIDATES, patience=patience, **settings)
    made.add([Item(f"c{k}", "candidate", f"{k}") for k in range(items)])
    return made


@pytest.mark.parametrize(("count", "repeats"), [(1, 0.0), (1, 1.0), (7, 0.5), (200, 0.1), (200, 1.0)])
def test_everything_is_shown_once_and_a_share_of_it_again_and_later(count, repeats):
    queue = order(count, repeats, 3, "anna")
    shown = Counter(item for item, _ in queue)
    assert set(shown) == set(range(count)) and len(queue) == count + round(repeats * count)
    places = {(item, showing): place for place, (item, showing) in enumerate(queue)}
    again = [item for item, showing in queue if showing]
    assert all(places[item, 0] < places[item, 1] for item in again) and len(set(again)) == len(again)


def test_the_order_is_the_graders_own_and_that_of_the_seed():
    first = order(50, 0.1, 3, "anna")
    assert first == order(50, 0.1, 3, "anna")
    assert first != order(50, 0.1, 4, "anna") and first != order(50, 0.1, 3, "bob")
    assert [item for item, _ in first] != sorted(item for item, _ in first)


def test_an_escalated_one_waits_for_its_grade_before_all_others(tmp_path):
    votes = store(tmp_path)
    anna = votes.grader("anna")
    votes.answer(anna, [5], "detect", "escalate", "act-00001")
    assert votes.next(anna) == 5 and votes.answers(anna, 5, 1) == {5: {"detect": "escalate"}}
    votes.answer(anna, [5], "grade", "B", "act-00002", seconds=3.0)
    assert votes.next(anna) == 0 and votes.next(anna, passing=4) == 6
    progress = votes.progress(anna)
    assert (progress.total, progress.done, progress.waiting) == (20, 1, {"detect": 19})
    assert progress.left_s == pytest.approx(19 * 0.0, abs=1e-9)  # the answers to this question took no time


def test_the_rest_of_a_page_is_filed_as_one_act_and_undone_as_one(tmp_path):
    votes = store(tmp_path)
    anna = votes.grader("anna")
    votes.answer(anna, [2], "detect", "escalate", "act-00001")
    votes.answer(anna, range(10), "detect", "nothing", "act-00002", seconds=18.0, waiting=True)
    assert votes.progress(anna).done == 9 and votes.progress(anna).waiting == {"detect": 10, "grade": 1}
    assert {vote.seconds for vote in votes.votes() if vote.answer == "nothing"} == {2.0}
    assert votes.undo(anna) == 0 and votes.progress(anna).waiting == {"detect": 19, "grade": 1}
    assert votes.undo(anna) == 2 and votes.undo(anna) is None
    kept = votes.votes()
    assert len(kept) == 10 and all(vote.undone for vote in kept) and not votes.votes(standing=True)


def test_an_answer_that_is_asked_for_twice_is_kept_once(tmp_path):
    votes = store(tmp_path)
    anna = votes.grader("anna")
    for _ in range(3):
        votes.answer(anna, [0], "detect", "escalate", "act-00001")
    assert len(votes.votes()) == 1


@pytest.mark.parametrize(("position", "question", "answer", "said"), [
    (0, "detect", "D", "expected one of nothing, escalate"), (0, "colour", "A", "expected one of detect, grade"),
    (0, "grade", "A", "waits for 'detect'"), (99, "detect", "nothing", "there is none"),
    (1, "detect", "nothing", "undo it first")])
def test_an_answer_to_what_is_not_asked_is_refused(tmp_path, position, question, answer, said):
    votes = store(tmp_path)
    anna = votes.grader("anna")
    votes.answer(anna, [1], "detect", "nothing", "act-00001")
    with pytest.raises(Refused, match=said):
        votes.answer(anna, [position], question, answer, "act-00002")
    assert len(votes.votes()) == 1


def test_graders_share_a_file_and_nothing_else(tmp_path):
    first, second = store(tmp_path), store(tmp_path)
    anna, bob = first.grader("anna"), second.grader("bob")
    first.answer(anna, [0], "detect", "nothing", "act-00001")
    second.answer(bob, [0], "detect", "escalate", "act-00001")
    assert second.answers(bob, 0, 20) == {0: {"detect": "escalate"}} and first.progress(anna).done == 1
    assert second.undo(bob) == 0 and second.undo(bob) is None and first.progress(anna).done == 1


def test_what_is_added_later_is_queued_behind_the_rest(tmp_path):
    votes = store(tmp_path, repeats=0.2)
    anna = votes.grader("anna")
    before = [task.item for task in votes.tasks(anna, 0, 100)]
    more = store(tmp_path, items=30)
    anna = more.grader("anna")
    after = [task.item for task in more.tasks(anna, 0, 100)]
    assert after[:24] == before and len(after) == 36 and set(after[24:]) == set(range(21, 31))


@pytest.mark.parametrize(("items", "said"), [
    ([Item("c0", "candidate", "0")], "'c1' is in the votes and no longer in the folder"),
    ([Item("c0", "candidate", "0"), Item("c1", "candidate", "elsewhere")], "is another one than was graded")])
def test_a_folder_that_is_another_one_is_refused(tmp_path, items, said):
    store(tmp_path, items=2)
    with pytest.raises(StoreError, match=said):
        VoteStore(tmp_path / "votes.sqlite", CANDIDATES).add(items)


@pytest.mark.parametrize(("scheme", "settings", "said"), [
    (MODELS, {}, "scheme: it was begun with 'candidates'"), (CANDIDATES, {"seed": 2}, "seed: it was begun with '1'"),
    (CANDIDATES, {"repeats": 0.5}, "repeats: it was begun with '0.1'")])
def test_other_settings_are_refused(tmp_path, scheme, settings, said):
    store(tmp_path, seed=1, repeats=0.1)
    assert store(tmp_path).seed == 1
    with pytest.raises(StoreError, match=said):
        VoteStore(tmp_path / "votes.sqlite", scheme, **settings)


def test_votes_of_another_version_are_refused(tmp_path):
    store(tmp_path)
    with closing(sqlite3.connect(tmp_path / "votes.sqlite")) as database, database:
        database.execute("UPDATE meta SET value = '0' WHERE name = 'version'")
    with pytest.raises(StoreError, match="version"):
        VoteStore(tmp_path / "votes.sqlite", CANDIDATES)
    with pytest.raises(StoreError, match="unable to open"):
        VoteStore(tmp_path / "no folder" / "votes.sqlite", CANDIDATES)
    (tmp_path / "other.sqlite").write_text("no database, but long enough to look like one" * 50)
    with pytest.raises(StoreError, match="not a database"):
        VoteStore(tmp_path / "other.sqlite", CANDIDATES)


def test_a_lock_of_another_process_is_said_and_nothing_is_lost(tmp_path):
    votes = store(tmp_path)
    anna = votes.grader("anna")
    votes.answer(anna, [0], "detect", "nothing", "act-00001")
    with closing(sqlite3.connect(tmp_path / "votes.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Locked, match="another process holds the database"):
            votes.answer(anna, [1], "detect", "escalate", "act-00002")
    votes.answer(anna, [1], "detect", "escalate", "act-00002")
    assert [vote.answer for vote in votes.votes()] == ["nothing", "escalate"]


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path):
    votes = store(tmp_path, items=2000)
    anna = votes.grader("anna")
    database = votes._database()
    (pages,) = database.execute("PRAGMA page_count").fetchone()
    database.execute(f"PRAGMA max_page_count = {pages + 2}")  # as SQLite meets a disk without room
    kept = 0
    with pytest.raises(Full, match="the disk is full"):
        for k in range(2000):
            votes.answer(anna, [k], "detect", "nothing", f"act-{k:05d}")
            kept += 1
    assert 0 < kept == len(votes.votes()) == votes.progress(anna).done
    database.execute("PRAGMA max_page_count = 100000")
    votes.answer(anna, [kept], "detect", "escalate", "act-again")
    assert len(VoteStore(tmp_path / "votes.sqlite", CANDIDATES).votes()) == kept + 1


@pytest.mark.parametrize("name", ["<b>eve</b>", "a&b", 'a"b', "a\nb", "", "  ", "x" * 61, "../eve", "a\u202eb"])
def test_a_name_with_markup_is_refused(name):
    with pytest.raises(Refused, match="without markup"):
        check_name(name)


@pytest.mark.parametrize("name", ["anna", "Søren Å", "O'Brien", "李白", " anna "])
def test_other_names_are_taken(name):
    assert check_name(name) == name.strip()


def test_files_of_votes_say_the_same(tmp_path):
    votes = store(tmp_path)
    anna = votes.grader("Søren")
    votes.answer(anna, [3], "detect", "escalate", "act-00001", seconds=2.5)
    votes.answer(anna, [3], "grade", "A", "act-00002")
    votes.undo(anna)
    votes.note(anna, 3, flag=True, comment="=cmd()")
    given = votes.votes()
    lines = [json.loads(line) for line in votes_as("jsonl", given).splitlines()]
    rows = list(csv.DictReader(io.StringIO(votes_as("csv", given).decode())))
    table = Table.read(io.BytesIO(votes_as("fits", given)), format="fits", hdu="VOTES")
    assert [list(line) for line in (lines[0], rows[0])] == [list(COLUMNS)] * 2 and table.colnames == list(COLUMNS)
    assert [line["answer"] for line in lines] == ["escalate", "A"] == [row["answer"] for row in rows]
    assert not lines[0]["undone"] and lines[1]["undone"].endswith("Z") and lines[0]["position"] == 4
    assert lines[0]["time"] == rows[0]["time"] == str(table["time"][0]) and lines[0]["seconds"] == 2.5
    assert rows[0]["comment"] == "'=cmd()" and str(table["grader"][0]) == "S\\xf8ren" and bool(np.all(table["flag"]))
    assert votes_as("fits", [])[:6] == b"SIMPLE" and votes_as("csv", []).count(b"\n") == 1
