"""An HTTP server of ours in a thread, for tests that speak to it over raw sockets."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import uvloop
from fastapi import FastAPI, Request, Response
from starlette.requests import ClientDisconnect

from web.problems import install_problems
from web.server.limits import MAX_HELD_BYTES, ConnectionLimits
from web.server.server import HttpServer, listen

SLOW = 30.0
"""A time limit that no test reaches."""


class Served:
    """A running server: ``connect`` to it, ``stop`` it."""

    def __init__(self, app: Any, limits: ConnectionLimits, tls: ssl.SSLContext | None) -> None:
        self._listener = listen("127.0.0.1", 0, "HTTP_PORT")
        self.address: tuple[str, int] = self._listener.getsockname()
        self.limits = limits
        self.server = HttpServer(app, limits, tls)
        self._started = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._started.wait(10)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            self.loop = runner.get_loop()
            runner.run(self._serve())

    async def _serve(self) -> None:
        serving = asyncio.create_task(self.server.serve(sockets=[self._listener]))
        while not self.server.started:
            await asyncio.sleep(0.001)
        self._started.set()
        await serving

    def connect(self, *, seconds: float = 20) -> socket.socket:
        """A connection; reads give up after so many seconds."""
        return socket.create_connection(self.address, timeout=seconds)

    def finish(self) -> None:
        """As after the first signal."""
        self.loop.call_soon_threadsafe(self.server.finish)

    def wait_until_idle(self) -> None:
        """Return once the server has seen to what happened before."""
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.05), self.loop).result(10)

    def stop(self) -> None:
        """As at the end of the lame-duck time; returns once the server has ended."""
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def serving(
    app: Any,
    *,
    timeout: float = SLOW,
    connections: int = 100,
    held_bytes: int = MAX_HELD_BYTES,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Served]:
    """A server of this application; ended with the block."""
    served = Served(app, ConnectionLimits(timeout, connections, held_bytes), tls)
    try:
        yield served
    finally:
        served.stop()


SHORT = 1.0
"""A time limit that a test waits for."""


MUCH = 16 * 1024 * 1024
"""Bytes of an answer that fits into no buffer of the system."""


def size_app() -> FastAPI:
    """Answers with the size of the body; remembers what it was asked."""
    app = FastAPI()
    app.state.sizes = []

    @app.api_route("/size", methods=["GET", "POST"])
    async def size(request: Request) -> int:
        try:
            app.state.sizes.append(len(await request.body()))
        except ClientDisconnect:
            app.state.sizes.append(-1)
        return int(app.state.sizes[-1])

    @app.get("/much")
    async def much() -> Response:
        return Response(b"x" * MUCH)

    install_problems(app)
    return app


def everything(connection: socket.socket) -> bytes:
    """What comes until the server closes; a reset would raise."""
    read = b""
    while chunk := connection.recv(65536):
        read += chunk
    return read


def one_answer(connection: socket.socket) -> bytes:
    """What comes until the body is there, on a connection that stays."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += connection.recv(65536)
    return read


def refused(answer: bytes, status: int) -> dict[str, Any]:
    """The problem of an answer that is the last of its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"connection: close" in head
    assert b"content-type: application/problem+json" in head
    problem: dict[str, Any] = json.loads(body)
    assert problem["status"] == status
    assert problem["detail"]
    return problem
