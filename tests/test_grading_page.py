"""The page over HTTP: who is let in, what is served, and answers that are kept or refused in one clear line."""

import io
import itertools
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from _cutouts import candidates, catalogue, cutout
from astropy.io import fits
from matplotlib.image import imread, imsave
from starlette.testclient import TestClient

from giga.io.errors import InputError
from giga.io.grading.folder import DATABASE
from giga.io.grading.votes import refits
from giga.jobs.grading.app import make_app
from giga.jobs.grading.guard import LARGEST
from giga.jobs.grading.session import Session

HOST = "http://127.0.0.1:8765"
ACTS = itertools.count()


class Browser:
    """A browser that has opened the address of a grader."""

    def __init__(self, session, number=0, enter=True):
        self.grader = session.graders[number]
        self.client = TestClient(make_app(session), base_url=HOST)
        if enter:
            assert self.client.get(f"/?token={self.grader.token}").status_code == 200

    def get(self, path, **settings):
        return self.client.get(path, **settings)

    def post(self, path, headers=None, **content):
        content = {"grader": self.grader.name, "act": f"act-{next(ACTS):08d}", **content}
        return self.client.post(path, json=content, headers={"Origin": HOST} | (headers or {}))

    def answer(self, position, question, answer, **more):
        return self.post("/answer", position=position, question=question, answer=answer, **more)


@pytest.fixture
def opened():
    """Makes sessions, and lets go of their threads."""
    made = []

    def make(*arguments, **settings):
        made.append(Session(*arguments, **{"subtract": False, "patience": 0.05} | settings))
        return made[-1]

    yield make
    for session in made:
        session.pictures.close()


@pytest.fixture
def session(tmp_path, opened):
    return opened(candidates(tmp_path, 8), ["anna", "bob"])


@pytest.mark.parametrize("path", ["/", "/mosaic/0", "/one/0", "/done", "/sheet/0", "/image/0", "/votes.csv",
                                  "/page.js"])
def test_nothing_is_served_without_the_token(session, path):
    visitor = Browser(session, enter=False)
    for got in (visitor.get(path), visitor.get(path + "?token=" + "x" * 32), visitor.get(path + "?token=")):
        assert got.status_code == 403 and "no token" in got.json()["error"]
    assert visitor.get(path, headers=[(b"cookie", b"giga_grade_8765=\xe9")]).status_code == 403


def test_the_token_goes_from_the_address_into_a_cookie_that_scripts_cannot_read(session):
    visitor = Browser(session, enter=False)
    got = visitor.get(f"/?token={visitor.grader.token}", follow_redirects=False)
    assert got.status_code == 303 and got.headers["location"] == "/"
    assert "httponly" in got.headers["set-cookie"].lower() and "samesite=strict" in got.headers["set-cookie"].lower()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8765", "evil.example:8765", "localhost:x",
                                  "127.0.0.1:8765@evil.example", "", "user@127.0.0.1:8765"])
def test_a_forged_host_is_turned_away(session, host):
    got = Browser(session).get("/done", headers={"Host": host})
    assert got.status_code == 400 and "another host" in got.json()["error"]


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1:9000"])
def test_a_tunnel_is_let_in(session, host):
    visitor = Browser(session, enter=False)
    got = visitor.get(f"/style.css?token={visitor.grader.token}", headers={"Host": host}, follow_redirects=False)
    assert got.status_code == 303


@pytest.mark.parametrize(("headers", "status"), [
    ({"Origin": "http://evil.example"}, 403), ({"Origin": "null"}, 403), ({"Origin": "https://127.0.0.1:8765"}, 403),
    ({"Origin": "http://127.0.0.1:9999"}, 403), ({"Content-Type": "text/plain"}, 415),
    ({"Content-Length": str(LARGEST + 1)}, 413)])
def test_answers_are_taken_from_the_page_alone(session, headers, status):
    got = Browser(session).post("/answer", headers=headers, position=0, question="detect", answer="nothing")
    assert got.status_code == status and got.json()["error"] and not session.store.votes()


def test_an_answer_without_an_origin_is_not_taken(session):
    anna = Browser(session)
    assert anna.client.post("/undo", json={"grader": "anna", "act": "a" * 9}).status_code == 403


@pytest.mark.parametrize("path", ["/../../etc/passwd", "/image/..%2f..%2fetc%2fpasswd",
                                  "/image/0/../../candidates.fits", "/grading.sqlite", "/candidates/c00000.fits",
                                  "/static/../grading.sqlite",
                                  "/image/-1", "/image/99", "/image/0?view=7", "/image/0?view=../../x", "/mosaic/7",
                                  "/image/0?band=q", "/image/0?stretch=%2fetc", "/image/0?panel=fit", "/one/8",
                                  "/fit/0", "/refits.csv", "/image/%00", "/image/0?view=١"])
def test_no_path_that_a_client_names_is_served(session, path):
    got = Browser(session).get(path)
    assert got.status_code == 404 and b"root:" not in got.content and b"SIMPLE" not in got.content


def test_pages_load_nothing_from_outside(session):
    anna = Browser(session)
    for path in ("/mosaic/0", "/one/0", "/done", "/style.css", "/page.js"):
        got = anna.get(path)
        assert got.status_code == 200 and "http://" not in got.text and "https://" not in got.text
        assert "url(" not in got.text.replace('url("${source}")', "")
        policy = got.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert got.headers["x-content-type-options"] == "nosniff"


def test_scores_names_and_truths_are_hidden(tmp_path, opened):
    catalogue(candidates(tmp_path / "simulated", 4), range(4), truth=["lens"] * 4)
    session = opened(candidates(tmp_path / "real", 8), ["anna"], tmp_path / "simulated", repeats=0.5)
    anna = Browser(session)
    text = "".join(anna.get(f"/one/{k}").text for k in range(18)) + anna.get("/mosaic/0").text
    for word in ("score", "c0000", "simulat", "truth", "150.0", "repeat"):
        assert word not in text
    for k in range(18):
        lines = [json.loads(line) for line in anna.get("/votes.jsonl").text.splitlines()]
        assert not any(line["kind"] or line["truth"] or line["showing"] for line in lines)
        anna.answer(k, "detect", "nothing")
    ended = [json.loads(line) for line in anna.get("/votes.jsonl").text.splitlines()]
    assert sum(line["kind"] == "simulation" for line in ended) >= 4 and sum(line["showing"] for line in ended) == 6
    assert session.store.progress(session.graders[0].number).total == 18


def test_a_candidate_is_escalated_and_graded(session):
    anna = Browser(session)
    assert anna.answer(0, "detect", "escalate", seconds=2.0).json() == {"next": "/one/0"}
    assert "How sure is it?" in anna.get("/one/0").text
    assert anna.answer(0, "grade", "A").json() == {"next": "/one/1"}
    assert "Answered: <b>escalate</b>, <b>A</b>" in anna.get("/one/0").text
    assert anna.post("/undo").json() == {"position": 0} and "How sure is it?" in anna.get("/one/0").text
    assert [vote.answer for vote in session.store.votes(standing=True)] == ["escalate"]


@pytest.mark.parametrize(("content", "status"), [
    (dict(position=0, question="grade", answer="A"), 409), (dict(position=0, question="detect", answer="Z"), 409),
    (dict(position=77, question="detect", answer="nothing"), 409), (dict(position="x", question="detect"), 404),
    (dict(position=True, question="detect", answer="nothing"), 404), (dict(act=""), 404), (dict(grader="bob"), 409)])
def test_answers_that_are_none(session, content, status):
    anna = Browser(session)
    got = anna.post("/answer", **{"position": 0, "question": "detect", "answer": "nothing", **content})
    assert got.status_code == status and got.json()["error"] and not session.store.votes()


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 60000])
def test_bodies_that_are_no_answers(session, body):
    got = Browser(session).client.post("/answer", content=body, headers={"Origin": HOST,
                                                                         "Content-Type": "application/json"})
    assert got.status_code == 404 and "error" in got.json()


def test_graders_are_blind_to_each_other(session):
    anna, bob = Browser(session, 0), Browser(session, 1)
    anna.answer(0, "detect", "escalate")
    anna.post("/note", position=0, flag=True, comment="looks like a ring")
    bob.answer(0, "detect", "nothing")
    theirs = [bob.get(path).text for path in ("/mosaic/0", "/one/0", "/done", "/votes.csv", "/votes.jsonl")]
    assert not any("ring" in text or "anna" in text for text in theirs)
    assert [json.loads(line)["answer"] for line in bob.get("/votes.jsonl").text.splitlines()] == ["nothing"]
    assert bob.post("/undo").json() == {"position": 0} and bob.post("/undo").json() == {"position": None}
    assert len(session.store.votes(standing=True)) == 1
    assert anna.get("/image/0").content != bob.get("/image/0").content  # their orders differ


def test_what_people_write_is_shown_as_text(session):
    anna = Browser(session)
    anna.post("/note", position=0, comment='<script>alert(1)</script> "quoted"')
    for path in ("/one/0", "/done"):
        text = anna.get(path).text
        assert "<script>alert" not in text and "&lt;script&gt;" in text
    assert anna.post("/note", position=0, comment="x" * 2001).status_code == 409


def test_names_of_graders_are_shown_as_text_and_markup_is_refused(tmp_path, opened):
    folder = candidates(tmp_path, 2)
    assert "O&#x27;Brien" in Browser(opened(folder, ["O'Brien"])).get("/done").text
    with pytest.raises(InputError, match="without markup"):
        opened(folder, ["<img src=x>"])


def test_pictures_are_pictures(session):
    anna = Browser(session)
    for query in ("", "?stretch=lupton", "?band=g&stretch=zscale", "?band=RGB&stretch=log&share=1"):
        got = anna.get(f"/image/0{query}")
        side = 16 if "share=1" in query else 32
        assert got.headers["content-type"] == "image/png" and imread(io.BytesIO(got.content)).shape[:2] == (side, side)
    page = imread(io.BytesIO(anna.get("/sheet/0?stretch=sqrt").content), format="jpeg")
    assert page.shape == (128, 1280, 3) and page[:, :1000].std() > 5.0


def test_a_cutout_that_cannot_be_read_is_shown_as_such_and_can_be_answered(tmp_path, opened):
    folder = candidates(tmp_path, 3)
    (folder / "candidates" / "c00000.fits").write_bytes(b"not FITS at all")
    (folder / "candidates" / "c00001.fits").unlink()
    nan = cutout(2)
    nan.data[1] = np.nan
    nan.writeto(folder / "candidates" / "c00002.fits", overwrite=True)
    anna = Browser(opened(folder, ["anna"]))
    pages = [anna.get(f"/one/{k}").text for k in range(3)]
    broken = [text for text in pages if "This cutout cannot be read." in text]
    assert len(broken) == 2 and sum("no such file" in text for text in broken) == 1
    assert not any(str(tmp_path) in text for text in pages)
    assert anna.get("/sheet/0").status_code == 200
    assert sorted(anna.get(f"/image/{k}").status_code for k in range(3)) == [200, 422, 422]
    assert all(anna.answer(k, "detect", "nothing").status_code == 200 for k in range(3))


def test_a_locked_database_is_said_and_the_answer_can_be_given_again(session):
    anna = Browser(session)
    with closing(sqlite3.connect(session.folder.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        got = anna.answer(0, "detect", "nothing", act="act-again")
        assert got.status_code == 503 and "another process holds the database" in got.json()["error"]
    assert anna.answer(0, "detect", "nothing", act="act-again").status_code == 200
    assert len(session.store.votes()) == 1


def test_a_database_that_is_locked_at_the_start_is_one_clear_error(tmp_path, opened):
    folder = candidates(tmp_path, 2)
    opened(folder, ["anna"])
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(InputError, match="another process holds the database"):
            opened(folder, ["anna"])


def test_a_full_disk_is_said_and_earlier_answers_are_kept(session, monkeypatch):
    anna = Browser(session)
    assert anna.answer(0, "detect", "nothing").status_code == 200
    connect = sqlite3.connect

    def full(*arguments, **settings):
        made = connect(*arguments, **settings)
        (pages,) = made.execute("PRAGMA page_count").fetchone()
        made.execute(f"PRAGMA max_page_count = {pages}")
        return made

    monkeypatch.setattr(sqlite3, "connect", full)
    session.store._local = type(session.store._local)()  # connections made from now on find no room
    got = anna.post("/note", position=1, comment="x" * 1900)
    for k in range(2, 8):
        got = anna.post("/note", position=k, comment="x" * 1900)
    assert got.status_code == 507 and "the disk is full" in got.json()["error"]
    monkeypatch.undo()
    session.store._local = type(session.store._local)()
    assert [vote.answer for vote in session.store.votes()] == ["nothing"]
    assert anna.answer(1, "detect", "nothing").status_code == 200


def test_a_session_goes_on_where_it_was(tmp_path, opened):
    folder = candidates(tmp_path, 8)
    first = Browser(opened(folder, ["anna"], seed=4, repeats=0.25))
    first.answer(0, "detect", "escalate")
    before = first.get("/image/3").content
    again = Browser(opened(folder, ["anna"]))
    assert again.get("/next").url.path == "/one/0" and again.get("/image/3").content == before
    with pytest.raises(InputError, match="seed: it was begun with '4'"):
        opened(folder, ["anna"], seed=5)
    (folder / "candidates.fits").unlink()
    candidates(folder, 4)
    with pytest.raises(InputError, match="no longer in the folder"):
        opened(folder, ["anna"])


def test_the_rest_of_a_page_is_filed(session):
    anna = Browser(session)
    anna.answer(2, "detect", "escalate")
    assert anna.post("/page", page=0, seconds=14.0).status_code == 200
    assert session.store.progress(anna.grader.number).waiting == {"grade": 1}
    assert "★" in anna.get("/mosaic/0").text and anna.get("/next").url.path == "/one/2"
    anna.answer(2, "grade", "C")
    assert "All answered." in anna.get("/next").text


def fleet(folder: Path) -> Path:
    for name in ("one", "two", "three"):
        (folder / "lenses" / name).mkdir(parents=True)
        imsave(folder / "lenses" / name / "fit.png", np.full((6, 20, 3), 0.5))
    return folder


def test_models_are_graded_by_the_stage_that_failed_and_the_refits_are_listed(tmp_path, opened):
    session = opened(fleet(tmp_path), ["anna", "bob"])
    anna, bob = Browser(session, 0), Browser(session, 1)
    names = [session.graded[session.task(anna.grader, k).item].item.name for k in range(3)]
    assert "Which stage failed first?" in anna.get("/next").text
    assert imread(io.BytesIO(anna.get("/fit/0").content)).shape == (6, 20, 4)
    assert anna.get("/image/0?panel=residual").status_code == 200 and anna.get("/sheet/0").status_code == 200
    for k, stage in enumerate(("mass", "good", "source")):
        assert anna.answer(k, "stage", stage).status_code == 200
    place = next(k for k in range(3) if session.graded[session.task(bob.grader, k).item].item.name == names[0])
    bob.answer(place, "stage", "lens light")
    assert "Refits: 2" in anna.get("/done").text and "Refits: 1" in bob.get("/done").text
    rows = anna.get("/refits.csv").text.splitlines()
    assert rows[0] == "name,stage,graders,of" and set(rows[1:]) == {f"{names[0]},mass,1,1", f"{names[2]},source,1,1"}
    everyone = refits(session.store.votes()).splitlines()
    assert set(everyone[1:]) == {f"{names[0]},lens light,2,2", f"{names[2]},source,1,1"}


def test_a_panel_without_the_lens_where_a_separator_fits(tmp_path, opened, monkeypatch):
    folder = tmp_path / "cutouts"
    folder.mkdir()
    cutout(1, 32, ("u", "g", "r", "i")).writeto(folder / "fits.fits")
    cutout(1, 32, ("g", "r")).writeto(folder / "other.fits")
    session = opened(folder, ["anna"], subtract=True)
    monkeypatch.setattr("giga.jobs.grading.subtraction.separate",
                        lambda network, image, sigma: {"lens": np.where(np.asarray(image) > 20.0, image, 0.0)})
    anna = Browser(session)
    place = next(k for k in range(2) if session.graded[session.task(anna.grader, k).item].item.name == "fits")
    assert 'alt="lens subtracted"' in anna.get(f"/one/{place}").text
    assert 'alt="lens subtracted"' not in anna.get(f"/one/{1 - place}").text
    plain, without = (imread(io.BytesIO(anna.get(f"/image/{place}?panel={panel}&band=r").content))[15, 15, 0]
                      for panel in ("plain", "subtracted"))
    assert without < plain - 0.3
    assert anna.get(f"/image/{1 - place}?panel=subtracted").status_code == 404


@pytest.mark.parametrize(("model", "said"), [("no-such-model", "unknown model"), ("modular-lsst", "is a Chain")])
def test_a_model_that_separates_nothing_is_refused(tmp_path, opened, model, said):
    with pytest.raises(InputError, match=said):
        opened(candidates(tmp_path, 2), ["anna"], model=model, subtract=True)


def test_fits_views_of_several_sizes(tmp_path, opened):
    near, far = cutout(1, 32), cutout(1, 64, pixel_scale=0.1)
    near.writeto(tmp_path / "a.fits")
    fits.HDUList([far]).writeto(tmp_path / "a.hst.fits")
    anna = Browser(opened(tmp_path, ["anna"]))
    text = anna.get("/one/0").text
    assert "6.4″ at 0.2″" in text and "6.4″ at 0.1″" in text
    assert imread(io.BytesIO(anna.get("/image/0?view=1").content)).shape[0] == 64
