"""The page on a port of this machine, until Ctrl-C."""

from __future__ import annotations

import socket
from collections.abc import Callable

import uvicorn

from giga.io.errors import InputError
from giga.jobs.grading.app import make_app
from giga.jobs.grading.session import Session

HOST = "127.0.0.1"


def serve(session: Session, port: int, say: Callable[[str, str], None]) -> None:
    """Serve a session on the loopback interface alone.

    Args:
        session: What is graded.
        port: 0 takes a free one.
        say: Is told the name of each grader and the address that lets them in, once connections are taken.

    Raises:
        InputError: The port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listening:
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise InputError("", "--port", f"{port}: {error.strerror}", "a free port, or 0 for any") from error
        listening.listen(128)
        session.warm()
        config = uvicorn.Config(make_app(session), log_level="error", access_log=False, server_header=False,
                                lifespan="off", ws="none", loop="asyncio", http="h11", timeout_graceful_shutdown=2)
        for grader in session.graders:
            say(grader.name, f"http://{HOST}:{listening.getsockname()[1]}/?token={grader.token}")
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            pass  # the usual end, after the answers that were under way
        finally:
            session.pictures.close()
