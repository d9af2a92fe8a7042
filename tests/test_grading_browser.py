"""The page in a headless Chromium: keys, the mosaic, undo, two graders at once, and a server that is killed."""

import os
import shutil
import signal
from contextlib import contextmanager

import pytest
from _cutouts import candidates
from _grading import Client, served, until

from giga.io.grading.votes import read_votes

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM, DRIVER = (next(filter(None, map(shutil.which, names)), None) for names in (
    ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)))
pytestmark = pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="no Chromium with its driver")


@contextmanager
def browser(address):
    """A browser of its own at an address."""
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                     "--window-size=1280,860"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get(address)
        yield Page(driver)
    finally:
        driver.quit()


class Page:
    """What a grader sees and does."""

    def __init__(self, driver):
        self.driver = driver

    def js(self, code):
        return self.driver.execute_script(f"return {code}")

    def text(self, what):
        return self.js(f"document.querySelector({what!r})?.textContent || ''")

    def press(self, key):
        """Press a key as a grader does, and wait until the page has done what it does."""
        drawn = self.js("document.body.dataset.drawn")
        self.driver.switch_to.active_element.send_keys(key)
        until(lambda: self.js("document.body.dataset.drawn") != drawn or self.text("#trouble"), f"key {key!r}")

    def shown(self):
        """Wait for the large picture; returns its address."""
        until(lambda: self.js("(i => i && i.complete && i.naturalWidth > 0)(document.querySelector('.large img'))"),
              "the picture")
        return self.js("document.querySelector('.large img').getAttribute('src')")

    def place(self):
        return int(self.js("document.querySelector('[data-position]').dataset.position"))

    def errors(self):
        return [line["message"] for line in self.driver.get_log("browser")
                if line["level"] == "SEVERE" and "favicon" not in line["message"]]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A folder of 120 candidates with two graders, and their addresses."""
    folder = candidates(tmp_path_factory.mktemp("grading"), 120)
    with served(folder, "--grader", "anna", "--grader", "bob") as (_, addresses):
        yield folder, addresses


def standing(folder, grader):
    return [(vote.position, vote.answer) for vote in read_votes(folder)
            if vote.grader == grader and vote.undone is None]


def test_two_graders_at_once_by_key_in_the_mosaic_and_one_by_one(server):
    folder, (first, second) = server
    with browser(first) as anna, browser(second) as bob:
        for page in (anna, bob):
            until(lambda page=page: page.js("document.querySelector('.mosaic')?.dataset.ready"), "the mosaic")
            assert page.js("document.querySelectorAll('.tile.open').length") == 100
        # Anna marks two tiles, takes one mark back, and files the rest of the page.
        for place in (4, 7, 4):
            drawn = anna.js("document.body.dataset.drawn")
            anna.js(f"document.querySelectorAll('.tile')[{place}].click()")
            until(lambda drawn=drawn: anna.js("document.body.dataset.drawn") != drawn, "a mark")
        assert standing(folder, "anna") == [(7, "escalate")]
        assert anna.js("document.querySelectorAll('.marked').length") == 1
        anna.press("\ue007")
        until(lambda: "/mosaic/1" in anna.driver.current_url, "the next page")
        assert len(standing(folder, "anna")) == 100
        # Bob goes one by one: nothing, escalate and B, a flag, a comment, undo of the grade.
        bob.driver.get(bob.driver.current_url.partition("/mosaic")[0] + "/next")
        assert "anything that may be lensed" in bob.text("h2") and "band=RGB" in bob.shown()
        bob.press("n")
        assert bob.place() == 1
        bob.press("e")
        assert bob.place() == 1 and "How sure" in bob.text("h2")
        bob.press("f")
        bob.driver.find_element("id", "comment").send_keys("an arc, n e a b\ue007")
        until(lambda: bob.js("document.querySelector('#comment').defaultValue") == "an arc, n e a b", "the comment")
        assert standing(folder, "bob") == [(0, "nothing"), (1, "escalate")]
        bob.press("b")
        assert bob.place() == 2
        bob.press("u")
        assert bob.place() == 1 and standing(folder, "bob")[-1] == (1, "escalate")
        bob.press("a")
        vote = [vote for vote in read_votes(folder) if vote.grader == "bob"][-1]
        assert (vote.answer, vote.flag, vote.comment) == ("A", True, "an arc, n e a b") and vote.seconds > 0.0
        # Pictures follow their keys and are kept for the next candidate.
        source = bob.shown()
        for key, word in (("s", "stretch=log"), ("d", "band=g"), ("z", "share=1")):
            bob.press(key)
            assert word in bob.shown() and word not in source
        bob.press("n")
        assert "stretch=log" in bob.shown() and bob.place() == 3
        # Anna's escalated one waits for her grade, and Bob's votes are nowhere in her page.
        anna.driver.get(anna.driver.current_url.partition("/mosaic")[0] + "/next")
        assert anna.place() == 7 and "How sure" in anna.text("h2")
        assert "an arc" not in anna.js("document.body.innerHTML")
        assert anna.errors() == [] == bob.errors()


def test_answers_before_a_kill_are_kept_and_an_answer_after_it_is_not_taken_for_saved(tmp_path):
    folder = candidates(tmp_path, 12, 16)
    with served(folder, "--grader", "anna") as (running, (address,)), browser(address) as page:
        page.driver.get(page.driver.current_url.partition("/mosaic")[0] + "/next")
        page.shown()
        for key in "nen":  # the last one is no answer to the second question
            if page.js(f"document.querySelector('[data-key={key}]') !== null"):
                page.press(key)
        os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()
        page.press("a")
        assert "Not saved" in page.text("#trouble") and page.place() == 1
    assert standing(folder, "anna") == [(0, "nothing"), (1, "escalate")]
    with served(folder, "--grader", "anna") as (_, (address,)):
        assert b"How sure is it?" in Client(address, "anna").get("/one/1")
        assert [vote["answer"] for vote in Client(address, "anna").votes()] == ["nothing", "escalate"]
