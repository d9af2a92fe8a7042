"""Who may speak to the page: holders of a token, on this machine, from the page itself."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from giga.jobs.grading.session import Grader

HOSTS = frozenset(("127.0.0.1", "localhost", "[::1]"))
LARGEST = 64 * 1024  # bytes of a request
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
                               "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin"}


def cookie_name(host: str) -> str:
    """Name of the cookie; browsers share cookies between the ports of a host."""
    return f"giga_grade_{urlsplit(f'//{host}').port or 80}"


class Guard:
    """Refuse what does not come from the page of one who holds a token.

    A request must name this machine as its host, whatever the port, for it may come through a tunnel: a page elsewhere
    whose name was made to lead here has another host. What changes votes must come from the page's own origin. The
    token comes once in the address, and from then on in a cookie that scripts cannot read.

    Args:
        app: What is guarded; it finds the grader in `scope["state"]`.
        graders: Those who are let in.
    """

    def __init__(self, app: ASGIApp, graders: Sequence[Grader]):
        self.app, self.graders = app, tuple(graders)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                extra = HEADERS | {"Cache-Control": "no-store"}
                message["headers"] = [*message["headers"], *((name.lower().encode(), value.encode())
                                      for name, value in extra.items() if name.lower().encode() not in known)]
            await send(message)

        request = Request(scope)
        refusal = self._refusal(request, scope)
        await (refusal or self.app)(scope, receive, sending)

    def _refusal(self, request: Request, scope: Scope) -> Response | None:
        """Why a request is turned away, or what lets it in; None where it may pass."""
        host = request.headers.get("host", "")
        try:
            name, port = urlsplit(f"//{host}").hostname or "", urlsplit(f"//{host}").port
        except ValueError:
            name, port = "", None
        bare = f"[{name}]" if ":" in name else name
        if bare not in HOSTS or host not in (bare, f"{bare}:{port}"):
            return _no(400, "another host: open the page by the address that giga grade printed")
        origin = request.headers.get("origin")
        if origin != f"http://{host}" and (origin is not None or request.method not in ("GET", "HEAD")):
            return _no(403, "another origin: answers are taken from the page alone")
        if request.method not in ("GET", "HEAD"):
            if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
                return _no(415, "answers are JSON")
            length = request.headers.get("content-length", "")
            if not length.isdigit() or int(length) > LARGEST:
                return _no(413, f"answers have a length of at most {LARGEST} bytes")
        given = request.query_params.get("token")
        grader = self._of(given if given is not None else request.cookies.get(cookie_name(host), ""))
        if grader is None:
            return _no(403, "no token, or that of an earlier start: open the address that giga grade printed last")
        if given is not None and request.method == "GET":
            answer = RedirectResponse("/", status_code=303)
            answer.set_cookie(cookie_name(host), grader.token, httponly=True, samesite="strict")
            return answer
        scope.setdefault("state", {})["grader"] = grader
        return None

    def _of(self, token: str) -> Grader | None:
        found = None
        for grader in self.graders:  # all are compared, so that the time tells nothing
            if secrets.compare_digest(token.encode(), grader.token.encode()):
                found = grader
        return found


def _no(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status)
