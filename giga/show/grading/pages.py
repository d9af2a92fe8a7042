"""The pages of `giga grade`, as HTML: the mosaic, one by one, and what is done.

Whatever comes from a file or a person is escaped. The pages load their style, their script and their pictures from
where they are from, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from giga.search.grading.questions import UNSEEN, Question, Scheme
from giga.search.grading.records import Progress, Task
from giga.show.grading.pixels import RGB, STRETCHES

TITLES = {"arcsinh": "arcsinh", "log": "log", "sqrt": "sqrt", "linear": "linear", "zscale": "zscale",
          "lupton": "Lupton"}


@dataclass(frozen=True)
class Shown:
    """What is at hand of one candidate.

    Attributes:
        name: Of a view.
        bands: Of it.
        scale: Side of a pixel [arcsec], or None.
        size: Its longer side [pixels].
        shares: Number and name of each size of its field.
        subtracted: Whether a network takes the lens away.
    """

    name: str
    bands: Sequence[str]
    scale: float | None
    size: int
    shares: Sequence[tuple[int, str]]
    subtracted: bool


@dataclass(frozen=True)
class Head:
    """What stands at the top of every page.

    Attributes:
        grader: Whose page it is.
        mark: Of the grader's queue.
        scheme: What is asked.
        progress: How far the grader is.
        here: Which of the tabs it is.
        data: What the script is told besides.
    """

    grader: str
    mark: str
    scheme: Scheme
    progress: Progress
    here: str
    data: Mapping[str, object] = field(default_factory=dict)


def page(head: Head, main: str) -> str:
    """A whole page: bar, progress, and what is in the middle."""
    data = {"grader": head.grader, "mark": head.mark, "here": head.here, "scheme": head.scheme.name, **head.data}
    body = "".join(f' data-{name}="{escape(str(value))}"' for name, value in data.items())
    return (f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>giga grade</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<link rel="stylesheet" href="/style.css">\n<script src="/page.js" defer></script>\n</head>\n'
            f"<body{body}>\n{_bar(head)}\n<div id=\"trouble\" role=\"alert\" hidden></div>\n<main>{main}</main>\n"
            f"{HELP}\n</body>\n</html>\n")


def _bar(head: Head) -> str:
    progress = head.progress
    parts = [f"{progress.done:,} of {progress.total:,}"]
    parts += [f"{progress.waiting[question.name]:,} to {question.name}" for question in head.scheme.questions
              if progress.waiting.get(question.name) and len(head.scheme.questions) > 1]
    parts += [f"{progress.flagged:,} flagged"] if progress.flagged else []
    parts += [] if progress.left_s is None or progress.done == progress.total else [f"{duration(progress.left_s)} left"]
    tabs = "".join(f'<a href="{href}"{" class=on" if here == head.here else ""}>{text}</a>' for href, here, text in (
        ("/mosaic", "mosaic", "Mosaic"), ("/next", "one", "One by one"), ("/done", "done", "Votes")))
    return (f'<header><b>giga</b><nav>{tabs}</nav>'
            f'<progress max="{max(progress.total, 1)}" value="{progress.done}"></progress>'
            f'<span id="said">{" · ".join(parts)}</span><span class="who" title="grader">{escape(head.grader)}</span>'
            f'<button class="tiny" data-do="help" title="keys">?</button></header>')


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(42.0), duration(400.0), duration(9000.0)
    ('1 min', '7 min', '2.5 h')
    """
    return f"{max(round(seconds / 60.0), 1)} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"


def mosaic(head: Head, tasks: Sequence[Task], answers: Mapping[int, Mapping[str, str]], number: int, pages: int,
           bands: Sequence[str]) -> str:
    """A page of tiles: a click marks one that is worth a grade, and Enter files the rest as nothing."""
    first = head.scheme.questions[0]
    marks = any(answer.leads for answer in first.answers)
    tiles = []
    for k, task in enumerate(tasks):
        said = answers.get(task.position, {})
        last = said.get(head.scheme.questions[-1].name, "") or said.get(first.name, "")
        kind = "open" if not last else "none" if last in (UNSEEN, "X", "good") else "marked"
        label = "" if last == UNSEEN else "★" if last == "escalate" else last
        tiles.append(f'<button class="tile {kind}" data-position="{task.position}" data-place="{k}" '
                     f'aria-label="{task.position + 1} {escape(last)}"><i>{escape(label)}'
                     f'{" ⚑" if task.flag else ""}</i></button>')
    said = ('Click what is worth a grade; <kbd>Enter</kbd> files the rest of the page as nothing and goes on. '
            "<kbd>Shift</kbd>+click opens one." if marks else "Residuals in units of the noise. Click to open one.")
    file = '<button data-do="file" class="primary"><kbd>Enter</kbd> file the rest, next page</button>' if marks else ""
    tools = _tools([("stretch", [(name, TITLES[name]) for name in STRETCHES]),
                    ("band", [(band, band) for band in bands])]) if marks else ""
    last = max(pages - 1, 0)
    return (f'<div class="line"><p class="hint">{said}</p><div class="pager">'
            f'<a data-do="back" href="/mosaic/{max(number - 1, 0)}">←</a> page {number + 1:,} of {pages:,} '
            f'<a data-do="on" href="/mosaic/{min(number + 1, last)}">→</a></div></div>{tools}'
            f'<div class="mosaic" data-page="{number}" data-last="{last}">{"".join(tiles)}</div>'
            f'<div class="line">{file}<button data-do="undo"><kbd>U</kbd> undo</button></div>')


def one(head: Head, task: Task, said: Mapping[str, str], views: Sequence[Shown], trouble: str = "") -> str:
    """One candidate, large, with its bands beside it, and the question that it waits for."""
    if trouble:
        pictures = f'<div class="broken"><b>This cutout cannot be read.</b><br>{escape(trouble)}</div>'
    else:
        pictures = _pictures(views)
    return (f'<div class="one" data-position="{task.position}" data-waits="{escape(task.waits)}">{pictures}'
            f'<section class="ask">{_ask(head.scheme, task, said)}{_notes(task)}</section></div>')


def model(head: Head, task: Task, said: Mapping[str, str], trouble: str = "") -> str:
    """One model of a fleet: the picture of its fit, and its residuals."""
    pictures = f'<div class="broken"><b>No picture.</b><br>{escape(trouble)}</div>' if trouble else (
        f'<figure class="fit"><img alt="data, model, residual and source" src="/fit/{task.position}?k={head.mark}">'
        f'</figure><figure class="fit residual"><img class="pixels" alt="residual" '
        f'src="/image/{task.position}?k={head.mark}&amp;panel=residual">'
        "<figcaption>(data − model) / noise, −5 to 5</figcaption></figure>")
    return (f'<div class="model" data-position="{task.position}" data-waits="{escape(task.waits)}">{pictures}'
            f'<section class="ask">{_ask(head.scheme, task, said)}{_notes(task)}</section></div>')


def _pictures(views: Sequence[Shown]) -> str:
    rows = [("view", [(str(k), view.name) for k, view in enumerate(views)])] if len(views) > 1 else []
    stretch = _tools([*rows, ("stretch", [(name, TITLES[name]) for name in STRETCHES])])
    each = []
    for k, view in enumerate(views):
        bands = ([(RGB, "colour")] if len(view.bands) > 1 else []) + [(band, band) for band in view.bands]
        scale = "" if view.scale is None else f' data-width="{view.size * view.scale:.6g}"'
        small = "".join(f'<figure data-panel="plain" data-pick="{escape(band)}"><img alt="{escape(band)}" '
                        f'class="pixels"><figcaption>{escape(text)}</figcaption></figure>' for band, text in bands)
        if view.subtracted:
            first = bands[0][0]
            small += (f'<figure data-panel="subtracted" data-pick="{escape(first)}"><img alt="lens subtracted" '
                      'class="pixels"><figcaption>lens subtracted</figcaption></figure>')
        each.append(f'<div class="view" data-view="{k}"{scale} hidden><div class="panels">{small}</div>'
                    + _tools([("share", [(str(number), text) for number, text in view.shares])]) + "</div>")
    return (f'<figure class="large"><img alt="candidate" class="pixels"><span class="bar" hidden><i></i><b></b></span>'
            f'<figcaption></figcaption></figure><aside>{"".join(each)}{stretch}</aside>')


def _tools(rows: Sequence[tuple[str, Sequence[tuple[str, str]]]]) -> str:
    """Rows of buttons that set how pictures are made."""
    words = {"stretch": "stretch", "band": "band", "view": "image", "share": "field"}
    return '<div class="tools">' + "".join(
        f'<div role="group" aria-label="{words[name]}"><span>{words[name]}</span>' + "".join(
            f'<button data-set="{name}" data-value="{escape(value)}">{escape(text)}</button>'
            for value, text in options)
        + "</div>" for name, options in rows if len(options) > 1) + "</div>"


def _ask(scheme: Scheme, task: Task, said: Mapping[str, str]) -> str:
    if not task.waits:
        given = ", ".join(f"<b>{escape(answer)}</b>" for answer in said.values())
        return f'<h2>Answered: {given}</h2><div class="answers"><button data-do="undo-here"><kbd>U</kbd> take it back' \
               '</button><button data-do="next" class="primary"><kbd>Enter</kbd> next</button></div>'
    return _question(scheme.question(task.waits))


def _question(question: Question) -> str:
    answers = "".join(
        f'<button class="answer" data-question="{question.name}" data-answer="{escape(answer.name)}" '
        f'data-key="{answer.key}"><kbd>{answer.key.upper()}</kbd> {escape(answer.says)}</button>'
        for answer in question.answers)
    return (f'<h2>{escape(question.text)}</h2><div class="answers">{answers}<button data-do="undo"><kbd>U</kbd> undo'
            '</button><button data-do="skip"><kbd>→</kbd> leave open</button></div>')


def _notes(task: Task) -> str:
    on = " class=on" if task.flag else ""
    return (f'<div class="notes"><button data-do="flag"{on} aria-pressed="{str(task.flag).lower()}"><kbd>F</kbd> ⚑ flag'
            f'</button><input id="comment" maxlength="2000" placeholder="/ comment, Enter keeps it" '
            f'value="{escape(task.comment)}" aria-label="comment"><span class="soft">no. {task.position + 1:,}'
            "</span></div>")


def done(head: Head, counts: Mapping[str, Mapping[str, int]], flagged: Sequence[Task], refits: int | None) -> str:
    """What the grader has answered, and the files of it."""
    progress = head.progress
    title = "All answered." if progress.done == progress.total else \
        f"{progress.total - progress.done:,} are left to answer."
    tables = "".join(
        f"<table><tr><th>{escape(question.name)}</th><th></th></tr>" + "".join(
            f"<tr><td><kbd>{answer.key.upper()}</kbd> {escape(answer.name)}</td>"
            f"<td>{counts.get(question.name, {}).get(answer.name, 0):,}</td></tr>" for answer in question.answers)
        + "</table>" for question in head.scheme.questions)
    files = " ".join(f'<a class="button" href="/votes.{kind}" download>{kind.upper()}</a>'
                     for kind in ("csv", "fits", "jsonl"))
    again = "" if refits is None else (f'<p><a class="button primary" href="/refits.csv" download>Refits: {refits:,} '
                                       "models</a> with the stage that failed first.</p>")
    flags = "".join(f'<li><a href="/one/{task.position}">no. {task.position + 1:,}</a> {escape(task.comment)}</li>'
                    for task in flagged)
    return (f'<section class="done"><h1>{title}</h1><div class="columns">{tables}</div>{again}'
            f"<p>Your votes, with their times: {files}</p>"
            + (f"<h2>Flagged or commented</h2><ul>{flags}</ul>" if flags else "")
            + ('' if progress.done == progress.total else '<p><a class="button primary" href="/next">Go on</a></p>')
            + "</section>")


HELP = """<dialog id="help"><h2>Keys</h2><table>
<tr><td><kbd>N</kbd> <kbd>E</kbd></td><td>nothing, escalate</td></tr>
<tr><td><kbd>A</kbd> <kbd>B</kbd> <kbd>C</kbd> <kbd>X</kbd></td><td>grade</td></tr>
<tr><td><kbd>1</kbd>…<kbd>4</kbd> <kbd>G</kbd></td><td>stage of a model that failed first, good</td></tr>
<tr><td><kbd>U</kbd></td><td>undo; again for the one before</td></tr>
<tr><td><kbd>F</kbd> <kbd>/</kbd></td><td>flag, comment</td></tr>
<tr><td><kbd>→</kbd> <kbd>←</kbd></td><td>leave open, look back; pages of the mosaic</td></tr>
<tr><td><kbd>S</kbd> <kbd>D</kbd></td><td>next stretch, next band</td></tr>
<tr><td><kbd>Z</kbd> <kbd>V</kbd></td><td>next field size, next image</td></tr>
<tr><td><kbd>L</kbd> <kbd>P</kbd></td><td>lens subtracted, smooth or pixels</td></tr>
<tr><td><kbd>Enter</kbd></td><td>file the rest of the page; next</td></tr>
</table><p>Every answer is on the disk before the next candidate is shown.</p></dialog>"""
