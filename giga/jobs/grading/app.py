"""The page of `giga grade` over HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from giga.io.errors import InputError
from giga.io.grading.views import View
from giga.io.grading.votes import KINDS, refits, votes_as
from giga.jobs.grading.guard import Guard
from giga.jobs.grading.pictures import PAGE, SHARES, Look, shares
from giga.jobs.grading.session import Grader, Session
from giga.search.grading.questions import MODELS, UNSEEN
from giga.search.grading.records import Full, Locked, Refused, StoreError
from giga.show.grading import pages
from giga.show.grading.pixels import RGB

KEPT = "private, max-age=3600"
MEDIA = {"csv": "text/csv; charset=utf-8", "fits": "application/fits", "jsonl": "application/jsonl"}
WRONG = "private, no-store"


def make_app(session: Session) -> ASGIApp:
    """The page of a session, behind its guard."""
    site = _Site(session)
    routes = [Route("/", site.start), Route("/mosaic", site.first_page), Route("/mosaic/{page:int}", site.mosaic),
              Route("/next", site.next), Route("/one/{position:int}", site.one), Route("/done", site.done),
              Route("/sheet/{page:int}", site.sheet), Route("/image/{position:int}", site.image),
              Route("/fit/{position:int}", site.fit), Route("/refits.csv", site.refits),
              *(Route(f"/votes.{kind}", site.votes) for kind in KINDS),
              *(Route(f"/{name}", _static(name, media)) for name, media in (
                  ("style.css", "text/css; charset=utf-8"), ("page.js", "text/javascript; charset=utf-8"))),
              *(Route(f"/{name}", site.act, methods=["POST"]) for name in site.acts)]
    handlers: Mapping[Any, Any] = {StoreError: _store_error, InputError: _input_error, ValueError: _value_error}
    app = Starlette(routes=routes, exception_handlers=handlers)
    return Guard(app, session.graders)


def _store_error(request: Request, error: Exception) -> Response:
    status = 409 if isinstance(error, Refused) else 507 if isinstance(error, Full) else 503 if isinstance(
        error, Locked) else 500
    return JSONResponse({"error": str(error)}, status_code=status)


def _input_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=422, headers={"Cache-Control": WRONG})


def _value_error(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=404, headers={"Cache-Control": WRONG})


def _static(name: str, media: str) -> Callable[[Request], Response]:
    content = files("giga.show.grading").joinpath(name).read_bytes()
    return lambda request: Response(content, media_type=media)


def _number(values: Mapping[str, Any], name: str, least: int = 0, most: int = 10**9) -> int:
    """A whole number of a request. Raises ValueError."""
    value = values.get(name)
    if isinstance(value, str) and value.lstrip("-").isdecimal() and value.isascii() and len(value) < 12:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{name}: got {value!r:.40}, expected a number from {least}")
    return value


def _who(request: Request) -> Grader:
    return request.state.grader


class _Site:
    """What the addresses lead to. Plain methods run in threads, beside each other."""

    def __init__(self, session: Session):
        self.session, self.store = session, session.store
        self.models = session.scheme is MODELS
        self.acts = {"answer": self._answer, "page": self._page, "undo": self._undo, "note": self._note}

    # Pages.

    def start(self, request: Request) -> Response:
        """Where a grader begins: at the first page of the mosaic with something open, or one by one."""
        grader = _who(request)
        found = self.store.next(grader.number)
        return RedirectResponse("/done" if found is None else "/next" if self.models else "/mosaic", status_code=303)

    def first_page(self, request: Request) -> Response:
        grader = _who(request)
        first = self.session.scheme.questions[0].name
        place = self.store.first_open(grader.number, first)
        return RedirectResponse(f"/mosaic/{(place or 0) // PAGE}", status_code=303)

    def next(self, request: Request) -> Response:
        passing = _number(request.query_params, "passing") if "passing" in request.query_params else -1
        found = self.store.next(_who(request).number, passing)
        return RedirectResponse("/done" if found is None else f"/one/{found}", status_code=303)

    def _head(self, grader: Grader, here: str, **data: object) -> pages.Head:
        return pages.Head(grader.name, grader.mark, self.session.scheme, self.store.progress(grader.number), here, data)

    def mosaic(self, request: Request) -> Response:
        grader, number = _who(request), request.path_params["page"]
        tasks = self.session.page(grader, number)
        if not tasks:
            raise ValueError(f"page {number + 1}: there is none")
        head = self._head(grader, "mosaic")
        answers = self.store.answers(grader.number, number * PAGE, PAGE)
        bands = [] if self.models else self._bands(tasks[0].item)
        return HTMLResponse(pages.page(head, pages.mosaic(head, tasks, answers, number, -(-head.progress.total // PAGE),
                                                          bands)))

    def _bands(self, item: int) -> list[str]:
        try:
            view = self.session.pictures.views(item)[0]
        except InputError:
            return []
        return [RGB, *view.bands] if len(view.bands) > 1 else list(view.bands)

    def one(self, request: Request) -> Response:
        grader, position = _who(request), request.path_params["position"]
        task = self.session.task(grader, position)
        if task is None:
            raise ValueError(f"place {position + 1}: there is none")
        following = self.store.next(grader.number, position)
        head = self._head(grader, "one", next="" if following is None else following)
        said = self.store.answers(grader.number, position, 1).get(position, {})
        if self.models:
            return HTMLResponse(pages.page(head, pages.model(head, task, said)))
        try:
            views, trouble = [self._shown(view) for view in self.session.pictures.views(task.item)], ""
        except InputError as error:
            views, trouble = [], str(error).replace(f"{self.session.folder.path}/", "")
        return HTMLResponse(pages.page(head, pages.one(head, task, said, views, trouble)))

    def _shown(self, view: View) -> pages.Shown:
        longest, scale = max(view.image.shape[:2]), view.pixel_scale
        unit, side = ("px", longest) if scale is None else ("″", longest * scale)
        subtraction = self.session.pictures.subtraction
        return pages.Shown(view.name, view.bands, scale, longest,
                           [(k, f"{side * SHARES[k]:.3g} {unit}") for k in shares(view)],
                           subtraction is not None and subtraction.fitting(view) is not None)

    def done(self, request: Request) -> Response:
        grader = _who(request)
        head = self._head(grader, "done")
        counts: dict[str, dict[str, int]] = {}
        for vote in self.store.votes(grader.name, standing=True):
            of = counts.setdefault(vote.question, {})
            of[vote.answer] = of.get(vote.answer, 0) + 1
        flagged = [task for task in self.store.tasks(grader.number, 0, head.progress.total)
                   if task.flag or task.comment]
        again = refits(self.store.votes(grader.name)).count("\n") - 1 if self.models else None
        return HTMLResponse(pages.page(head, pages.done(head, counts, flagged, again)))

    # Pictures.

    def _look(self, request: Request) -> Look:
        query = request.query_params
        return Look(view=_number(query, "view", most=99) if "view" in query else 0, band=query.get("band", "")[:40],
                    stretch=query.get("stretch", "arcsinh")[:20],
                    share=_number(query, "share", most=9) if "share" in query else 0,
                    panel=query.get("panel", "plain")[:20])

    def image(self, request: Request) -> Response:
        task = self.session.task(_who(request), request.path_params["position"])
        if task is None:
            raise ValueError("no such place")
        look = self._look(request)
        if look.panel not in (("residual",) if self.models else ("plain", "subtracted")):
            raise ValueError(f"panel: got {look.panel!r}, expected plain or subtracted; of a model residual")
        return _png(self.session.pictures.image(task.item, look).result())

    def fit(self, request: Request) -> Response:
        task = self.session.task(_who(request), request.path_params["position"])
        if task is None or not self.models:
            raise ValueError("no such place")
        return _png(self.session.pictures.file(task.item))

    def sheet(self, request: Request) -> Response:
        grader, number = _who(request), request.path_params["page"]
        tasks = self.session.page(grader, number)
        if not tasks:
            raise ValueError(f"page {number + 1}: there is none")
        look = self._look(request)
        look = self.session.tiles if self.models else Look(band=look.band.replace(RGB, ""), stretch=look.stretch)
        made = self.session.pictures.page([task.item for task in tasks], look).result()
        self.session.prepare(grader, number + 1, look)
        return Response(made, media_type="image/jpeg", headers={"Cache-Control": KEPT})

    # Answers.

    async def act(self, request: Request) -> Response:
        """Take an answer; it is on the disk when this says so."""
        try:
            content = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise ValueError("the answer is no JSON") from None
        grader = _who(request)
        if not isinstance(content, dict):
            raise ValueError("the answer is no JSON object")
        if content.get("grader") != grader.name:
            return JSONResponse({"error": f"this page is of another grader; this browser is now that of {grader.name}: "
                                 "load the page anew"}, status_code=409)
        return JSONResponse(await run_in_threadpool(self.acts[request.url.path.strip("/")], grader, content))

    def _answer(self, grader: Grader, content: dict[str, Any]) -> dict[str, Any]:
        position = _number(content, "position")
        self.store.answer(grader.number, [position], str(content.get("question")), str(content.get("answer")),
                          _act(content), _seconds(content))
        task = self.session.task(grader, position)
        following = position if task is not None and task.waits else self.store.next(grader.number, position)
        return {"next": "/done" if following is None else f"/one/{following}"}

    def _page(self, grader: Grader, content: dict[str, Any]) -> dict[str, Any]:
        tasks, first = self.session.page(grader, _number(content, "page")), self.session.scheme.questions[0]
        self.store.answer(grader.number, [task.position for task in tasks], first.name, UNSEEN, _act(content),
                          _seconds(content), waiting=True)
        return {}

    def _undo(self, grader: Grader, content: dict[str, Any]) -> dict[str, Any]:
        position = _number(content, "position") if "position" in content else None
        return {"position": self.store.undo(grader.number, position)}

    def _note(self, grader: Grader, content: dict[str, Any]) -> dict[str, Any]:
        flag, comment = content.get("flag"), content.get("comment")
        self.store.note(grader.number, _number(content, "position"), None if flag is None else bool(flag),
                        None if comment is None else str(comment))
        return {}

    # Files.

    def votes(self, request: Request) -> Response:
        kind, grader = request.url.path.rpartition(".")[2], _who(request)
        votes, progress = self.store.votes(grader.name), self.store.progress(grader.number)
        if progress.done < progress.total:  # what was inserted is not to be told from the rest before the end
            votes = [replace(vote, kind="", truth="", showing=0) for vote in votes]
        content = votes_as(kind, votes)
        return Response(content, media_type=MEDIA[kind],
                        headers={"Content-Disposition": f'attachment; filename="votes.{kind}"'})

    def refits(self, request: Request) -> Response:
        if not self.models:
            raise ValueError("refits are of models")
        return Response(refits(self.store.votes(_who(request).name)), media_type=MEDIA["csv"],
                        headers={"Content-Disposition": 'attachment; filename="refits.csv"'})


def _act(content: Mapping[str, Any]) -> str:
    act = content.get("act")
    if not isinstance(act, str) or not 8 <= len(act) <= 64:
        raise ValueError(f"act: got {act!r:.40}, expected a name of 8 to 64 characters")
    return act


def _seconds(content: Mapping[str, Any]) -> float:
    value = content.get("seconds", 0.0)
    return float(value) if isinstance(value, int | float) and 0.0 <= value < 1e6 else 0.0


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers={"Cache-Control": KEPT})
