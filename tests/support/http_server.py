"""An HTTP server of ours in a thread, for tests that speak to it over raw sockets."""

import asyncio
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import uvloop

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
