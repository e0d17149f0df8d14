"""uvicorn's HTTP protocol with the limits it lacks: on sizes, on slow clients, on connections; and a gentle stop.

What it refuses no handler sees; ``worker/receiver/http_refusals.py`` has the limits and the answers.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ingest.http import MAX_BODY_BYTES
from worker.receiver.http_refusals import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES, raw_refusal

LINGER_S = 1.0
"""How long what a refused client still sends is read and thrown away: closing at once would reset the
connection, and the client would never read the refusal. As long has a connection that was made just before
the end of the server to send its request."""

log = structlog.get_logger()


@dataclass(slots=True)
class ConnectionLimits:
    """What all connections of one server have to keep, and whether it is about to stop."""

    request_timeout_s: float
    """For the head of a request, and once more for its body."""
    max_connections: int
    closing: bool = False
    """The server is about to stop: every answer is the last one of its connection."""


class _RefusedError(Exception):
    """Ends the parsing; the parser hands it on as an error of its own, which ends in ``send_400_response``."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection. A request that arrives in one piece costs no timer; a slower one has one at a time."""

    def __init__(
        self, limits: ConnectionLimits, config: Config, state: ServerState, loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(config, state, {}, loop)
        self._limits = limits
        self._part = "pause"
        """What is arriving: a ``head``, a ``body``, or nothing, in the ``pause`` between two requests."""
        self._number = 0
        """Counts requests, to tell the head of one from the head of the next."""
        self._timed: tuple[str, int] = ("", 0)
        self._timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._body_bytes = 0
        self._refusal = 400
        self._refused = False
        self._one_too_many = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that says nothing is not waited for."""
        super().connection_made(transport)
        self._one_too_many = len(self.connections) > self._limits.max_connections
        self._watch_the_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._set_timer(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection is as good as closed."""
        if self._refused:
            return
        before = self._part
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if before == self._part == "head":
            self._head_bytes += len(data)  # the parser tells of a header only once it is complete
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(431)
                return
        self._watch_the_clock()

    def on_message_begin(self) -> None:
        """A request begins with its head."""
        super().on_message_begin()
        self._part, self._head_bytes, self._body_bytes = "head", 0, 0
        self._number += 1

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the URL, within bounds."""
        super().on_url(url)
        if len(self.url) > MAX_URL_BYTES:
            self._stop_parsing(414)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, within bounds."""
        if self._part == "head":
            super().on_header(name, value)
            self._count_head(len(name) + len(value))
        # else it is a trailer, behind a chunked body, which nobody reads

    def on_headers_complete(self) -> None:
        """Start to answer the request."""
        if self._one_too_many:
            self._stop_parsing(503)
        super().on_headers_complete()  # looks at the URL, which may be none: then there is no request to answer
        self._part = "body"
        if self._limits.closing:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, within bounds; what comes behind the answer nobody keeps."""
        super().on_body(body)
        self._body_bytes += len(body)
        if self._body_bytes > MAX_BODY_BYTES and not self.cycle.response_started:
            self._stop_parsing(413)

    def on_message_complete(self) -> None:
        """The request has ended."""
        self._part = "pause"
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the base class calls it, in its own words
        """Refuse what cannot be parsed, or was found to be too large while it was."""
        self._refuse(self._refusal)

    def finish(self) -> None:
        """Let the answer under way be the last one of this connection."""
        if self.cycle is not None and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def shutdown(self) -> None:
        """The server stops now: end the connection, unless a request is on its way."""
        if self._part == "pause" and self.cycle is not None:
            super().shutdown()
        elif self._part == "pause":
            self._set_timer(self._close, LINGER_S)
        else:
            self.finish()

    def _unsupported_upgrade_warning(self) -> None:
        """Whoever asks for another protocol gets an answer in this one; what follows cannot be parsed."""
        self._part = "pause"
        if self.cycle.response_complete:
            self.transport.close()
        self.cycle.keep_alive = False

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._stop_parsing(431)

    def _stop_parsing(self, status: int) -> None:
        self._refusal = status
        raise _RefusedError

    def _watch_the_clock(self) -> None:
        """Time what is arriving now, from its beginning on; where all is here, the clock is ours."""
        now = (self._part, self._number)
        if self._part != "pause":
            if self._timer is None or self._timed != now:
                self._timed = now
                self._set_timer(self._too_slow)
        elif self.cycle is not None and not self.cycle.response_complete:
            self._set_timer(None)
        elif self._timer is None or self._timed != now:  # nothing yet, blank lines, or the rest of a refused body
            self._timed = now
            self._set_timer(self._close)

    def _too_slow(self) -> None:
        self._timer = None
        if self.flow.read_paused or self.pipeline:  # we keep the client waiting, not it us
            self._set_timer(self._too_slow)
        else:
            self._refuse(408)

    def _close(self) -> None:
        self._timer = None
        self.transport.close()

    def _set_timer(self, handler: Callable[[], None] | None, seconds: float | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = self._limits.request_timeout_s if seconds is None else seconds
        self._timer = None if handler is None else self.loop.call_later(delay, handler)

    def _refuse(self, status: int) -> None:
        """Answer outside of any handler and end the connection, without a reset."""
        self._refused = True
        self._set_timer(None)
        log.info("request_refused", status=status)
        running = self.cycle is not None and not self.cycle.response_complete
        if running and self._part == "head":
            self.cycle.keep_alive = False  # its answer, to the request before, is the last one
            return
        if self._part == "body" and (self.cycle.response_started or self.pipeline):
            self.transport.close()  # it is answered already, or waits behind another
            return
        if running:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self._set_timer(self._close, LINGER_S)
        self.transport.write(raw_refusal(status, self.server_state.default_headers))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
