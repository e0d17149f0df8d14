"""uvicorn's HTTP protocol with limits on sizes, slow clients and connections.

What it refuses no handler sees; ``web/server/limits.py`` has the limits and the answers.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import structlog
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from models.declarations.error_codes import ProblemKind
from web.requests import MAX_BODY_BYTES
from web.server.limits import MAX_HEAD_BYTES, MAX_HEADERS, MAX_URL_BYTES, ConnectionLimits, raw_refusal
from web.server.slow_readers import ReaderWatch

LINGER_S = 1.0
"""How long what a refused client still sends is read and thrown away: closing at once would reset the
connection, and the client would never read the refusal. As long has a connection that was made just before
the end of the server to send its request."""

log = structlog.get_logger()


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
        """Bytes of the head; during the body, bytes since its last chunk, such as trailers, which are ignored."""
        self._body_bytes = 0
        self._held: Counter[str] = Counter()
        """Bytes of bodies that have no answer yet, by owner."""
        self._owner: str | None = None
        """Whose share the request is of; None where there are no shares."""
        self._counted_for: str | None = None
        """Whose share the connection is of, from its first request on."""
        self._refusal = ProblemKind.MALFORMED_REQUEST
        self._refused = False
        self._one_too_many = False
        self._answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client that says nothing is not waited for."""
        super().connection_made(transport)
        self._reader = ReaderWatch(transport, self.loop, self._limits.request_timeout_s)
        is_full = len(self.connections) > self._limits.max_connections
        self._one_too_many = is_full and not self._limits.end_a_silent_one()
        self._limits.silent[transport] = None
        self._watch_the_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._set_timer(None)
        self._reader.stop()
        self._let_bodies_go()
        self._limits.silent.pop(self.transport, None)
        if self._counted_for is not None:
            self._limits.connections.give_back(self._counted_for, 1)
        if self._answering is not None:
            self._answering.disconnected = True  # the base class tells the request that came last, not this one
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection is as good as closed."""
        if self._refused:
            return
        before = self._progress()
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._part != "pause" and before == self._progress():
            # The parser tells of a header or a trailer only once it is complete, and gathers it at a growing price.
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(ProblemKind.HEAD_TOO_LARGE)
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
            self._stop_parsing(ProblemKind.URL_TOO_LONG)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, within bounds."""
        if self._part == "head":
            super().on_header(name, value)
            self._count_head(len(name) + len(value))
        # else it is a trailer of a chunked body, and ignored

    def on_headers_complete(self) -> None:
        """Start to answer the request."""
        if self._one_too_many:
            self._stop_parsing(ProblemKind.TOO_MANY_CONNECTIONS)
        self._find_owner()
        super().on_headers_complete()  # looks at the URL, which may be none: then there is no request to answer
        self._part = "body"
        if self._limits.closing:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, within bounds; what comes after the answer is dropped."""
        super().on_body(body)
        self._head_bytes = 0
        self._body_bytes += len(body)
        if self.cycle.response_started:
            return
        owner, bodies = self._owner or "", self._limits.bodies
        self._held[owner] += len(body)
        bodies.take(owner, len(body))
        if self._body_bytes > MAX_BODY_BYTES:
            self._stop_parsing(ProblemKind.BODY_TOO_LARGE)
        if bodies.is_full(0):
            self._stop_parsing(ProblemKind.TOO_MANY_BODIES)
        if self._owner is not None and bodies.is_past_share(owner, 0):
            self._stop_parsing(ProblemKind.TENANT_BUSY)

    def on_message_complete(self) -> None:
        """The request has ended."""
        self._part = "pause"
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """A request was answered; those sent ahead behind it are still here."""
        if not self.pipeline:
            self._let_bodies_go()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        self._reader.start()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._reader.stop()
        super().resume_writing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

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
        """Answer a request to upgrade in this protocol; what follows it cannot be parsed."""
        self._part = "pause"
        if self.cycle.response_complete:
            self.transport.close()
        self.cycle.keep_alive = False

    def _progress(self) -> tuple[str, int, int]:
        return self._part, self._number, self._body_bytes

    def _let_bodies_go(self) -> None:
        for owner, size in self._held.items():
            self._limits.bodies.give_back(owner, size)
        self._held.clear()

    def _find_owner(self) -> None:
        """Find the tenant of a request before its body; a connection counts for that of its first request."""
        limits = self._limits
        self._owner = limits.owner(self.headers)
        if limits.silent.pop(self.transport, self) is self or self._owner is None:
            return
        if limits.connections.is_past_share(self._owner, 1):
            self._stop_parsing(ProblemKind.TENANT_BUSY)
        self._counted_for = self._owner
        limits.connections.take(self._owner, 1)

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._stop_parsing(ProblemKind.HEAD_TOO_LARGE)

    def _stop_parsing(self, refusal: ProblemKind) -> None:
        self._refusal = refusal
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
            self._refuse(ProblemKind.TOO_SLOW)

    def _close(self) -> None:
        self._timer = None
        self.transport.close()

    def _set_timer(self, handler: Callable[[], None] | None, seconds: float | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = self._limits.request_timeout_s if seconds is None else seconds
        self._timer = None if handler is None else self.loop.call_later(delay, handler)

    def _refuse(self, refusal: ProblemKind) -> None:
        """Answer outside of any handler and end the connection, without a reset."""
        self._refused = True
        self._set_timer(None)
        self._let_bodies_go()  # nothing more is read; while the client reads the refusal others need the room
        log.info("request_refused", reason=refusal)
        if refusal is ProblemKind.TENANT_BUSY and self._limits.authenticator is not None:
            self._limits.authenticator.crowded_out()
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
        self.transport.write(raw_refusal(refusal, self.server_state.default_headers))
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
