"""The report is one page that stands alone."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from _factory import make_result

from giga.lensing.critical import Curve
from giga.show.report import report_page

VOID = {"meta", "img"}
IMAGES = {"fit": b"\x89PNG fit", "corner": b"\x89PNG corner", "trace": b"\x89PNG trace"}


class Checker(HTMLParser):
    """Collects tags and text, and checks that tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for key, value in attrs if key in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def circle(radius):
    phi = np.linspace(0.0, 2.0 * np.pi, 500)
    points = radius * np.stack([np.cos(phi), np.sin(phi)], axis=1)
    points[-1] = points[0]
    return Curve(kind="tangential", critical=points, caustic=0.0 * points)


@pytest.fixture(scope="module")
def result():
    return make_result()


def page_of(result, config="[mass]\n"):
    checker = Checker()
    page = report_page(result, [circle(1.2)], IMAGES, config, ("config.toml", "model.fits"))
    checker.feed(page)
    assert checker.open == []
    return page, checker, " ".join(checker.text)


def test_stands_alone(result):
    page, checker, _ = page_of(result)
    assert page.startswith("<!DOCTYPE html>")
    assert len(checker.links) == 3 and all(link.startswith("data:image/png;base64,") for link in checker.links)
    assert not {"script", "link", "iframe"} & set(checker.tags)
    assert not re.search(r"url\(|@import|https?://", page)


def test_says_the_headline_numbers(result):
    _, _, text = page_of(result)
    for expected in ("1.2000″", f"{result.reduced_chi2:.3f}", "1.0400", "180", "31.9 s", "cpu:0", "0.10.2", "seed 42",
                     "0.83"):
        assert expected in text
    for name in result.names:
        assert name in text


def test_marks_what_has_not_converged(result):
    page, _, _ = page_of(result)
    assert page.count('<td class="bad">') == 3
    row = {"rhat": 1.0, "rhat_gelman_rubin": 1.0, "ess_bulk": 900.0, "ess_tail": 900.0}
    good = {name: row for name in result.names}
    assert '"bad"' not in page_of(result.replace(diagnostics=good))[0].split("</style>")[1]
    undefined = {name: {**row, "rhat": float("nan")} for name, row in good.items()}
    page, _, text = page_of(result.replace(diagnostics=undefined))
    assert page.count('<td class="bad">') == len(result.names) and "nan" not in text.split("Configuration")[0]


def test_truth_is_optional(result):
    assert "truth" in page_of(result)[2]
    assert "truth" not in page_of(result.replace(truth=None))[2]


def test_escapes_everything(result):
    evil = "<script>alert('x')</script> & \"quoted\""
    changed = result.replace(info={"map": {evil: evil}, evil: {"list": [evil]}}, devices=[evil], versions={evil: evil})
    page, checker, text = page_of(changed, config=evil)
    assert "script" not in checker.tags and "<script" not in page
    assert text.count("alert('x')") >= 7


def test_solved_amplitudes_are_in_a_table(result):
    _, _, text = page_of(result)
    assert "Solved amplitudes" in text and "lens_light.1.amp[2]" in text
    assert "Solved amplitudes" not in page_of(result.replace(amplitudes=type(result.amplitudes)()))[2]
