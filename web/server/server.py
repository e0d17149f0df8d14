"""uvicorn's server with our listener, limits, and a gentle stop."""

import asyncio
import errno
import resource
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta

import uvicorn
from fastapi import FastAPI

from config.settings import Settings
from models.errors import ServiceFailedError
from web.authentication.middleware import Authenticator
from web.server.limits import ConnectionLimits
from web.server.protocol import LINGER_S, LimitedProtocol

GRACE = timedelta(seconds=5)
"""How long calls under way may take to end when the receiver stops."""
KEEP_ALIVE_S = 75
"""How long a connection may rest between two requests."""
MAX_CONNECTIONS = 10_000
_FILES_KEPT = 256
"""File descriptors for everything but HTTP connections: Redis, PostgreSQL, gRPC."""
_BACKLOG = 2048


def connection_limit() -> int:
    """How many HTTP connections this process may hold; it may open as many files as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(ValueError, OSError):  # macOS reports a hard limit that it does not grant
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, min(MAX_CONNECTIONS, soft - _FILES_KEPT))


class HttpServer(uvicorn.Server):
    """Serves one application until ``should_exit``; signals are handled outside of it."""

    def __init__(self, app: FastAPI, limits: ConnectionLimits, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(GRACE.total_seconds()),
            )
        )
        self._limits = limits
        self._tls = tls
        self._handshake_s = None if tls is None else limits.request_timeout_s

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """What uvicorn does by itself would end the process before the rest is done."""
        yield

    async def startup(self, sockets: Sequence[socket.socket] | None = None) -> None:
        """Take connections on the one listener that is given."""
        (listener,) = sockets or ()
        self._listener = listener.dup()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            self._connection, sock=listener, ssl=self._tls, ssl_handshake_timeout=self._handshake_s, backlog=_BACKLOG
        )
        self.servers = [server]
        self.started = True

    def finish(self) -> None:
        """Go on, but let every answer be the last one of its connection."""
        self._limits.closing = True
        for connection in list(self.server_state.connections):
            if isinstance(connection, LimitedProtocol):
                connection.finish()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener, then let what has begun end."""
        self._limits.closing = True
        for server in self.servers:
            server.close()
        waiting = self._take_waiting()
        self._listener.close()
        handed_over = [asyncio.create_task(self._adopt(client)) for client in waiting]
        if handed_over:
            await asyncio.wait(handed_over, timeout=LINGER_S)
        await super().shutdown(sockets)

    def _take_waiting(self) -> list[socket.socket]:
        """Accept the connections that wait in the backlog: closing the listener would reset them."""
        waiting = []
        with suppress(OSError):
            while True:
                waiting.append(self._listener.accept()[0])
        return waiting

    async def _adopt(self, client: socket.socket) -> None:
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        with suppress(OSError):  # the client went away, or spoke no TLS
            await loop.connect_accepted_socket(
                self._connection, client, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
            )

    def _connection(self) -> LimitedProtocol:
        return LimitedProtocol(self._limits, self.config, self.server_state, asyncio.get_running_loop())


def listen(host: str, port: int, setting: str, *, reuse: bool = False) -> socket.socket:
    """A listening TCP socket, refused where another one has the port; with ``reuse``, where that one does not share it.

    Raises:
        ServiceFailedError: the port is taken, or the address is not ours; the text names ``setting``.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=reuse)
    except OSError as error:
        reason = "is already taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise ServiceFailedError(f"port {port} on {host} {reason}: free it, or set {setting} to another") from error
    listener.setblocking(False)
    return listener


def limits_of(settings: Settings, authenticator: Authenticator | None = None) -> ConnectionLimits:
    """The limits of HTTP connections; with an authenticator tenants have shares of them."""
    return ConnectionLimits(settings.request_timeout.total_seconds(), connection_limit(), authenticator=authenticator)
