"""Limits of HTTP connections, and the answers where one is broken."""

from asyncio import Transport
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from models.declarations.error_codes import ProblemKind
from models.fairness import Shares
from web.authentication.middleware import Authenticator, shown_in_headers
from web.browser_headers import HEADERS
from web.problems import RETRY_AFTER_SECONDS, problem
from web.requests import MAX_BODY_BYTES

MAX_URL_BYTES = 8 * 1024
MAX_HEAD_BYTES = 32 * 1024
"""The URL and all headers; a bearer token and the cookies of another service on the same host fit."""
MAX_HEADERS = 100

_REFUSALS = {
    ProblemKind.MALFORMED_REQUEST: "the request is not HTTP",
    ProblemKind.TOO_SLOW: "the request took too long to arrive",
    ProblemKind.BODY_TOO_LARGE: f"the body must not be larger than {MAX_BODY_BYTES} bytes",
    ProblemKind.URL_TOO_LONG: f"the URL must not be longer than {MAX_URL_BYTES} bytes",
    ProblemKind.HEAD_TOO_LARGE: f"the head must not be larger than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers",
    ProblemKind.TOO_MANY_CONNECTIONS: "too many connections are open, try again later",
    ProblemKind.TOO_MANY_BODIES: "too much is being received, try again later",
    ProblemKind.TENANT_BUSY: "too much of this tenant is under way, try again later",
}


def raw_refusal(kind: ProblemKind, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """The whole answer, head and body, that ends a connection."""
    headers = {"connection": "close"} | ({"retry-after": str(RETRY_AFTER_SECONDS)} if kind.status == 503 else {})
    answer: Response = problem(kind, _REFUSALS[kind], headers=HEADERS | headers)
    head = [b"%b: %b\r\n" % pair for pair in (*default_headers, *answer.raw_headers)]
    return b"".join([STATUS_LINE[kind.status], *head, b"\r\n", bytes(answer.body)])


MAX_HELD_BYTES = 32 * 1024 * 1024
"""Of bodies that have no answer yet, in all connections together. Parsed, a body takes several times its size."""


@dataclass(slots=True)
class ConnectionLimits:
    """Limits, and what is shared to keep them; used on the event loop only."""

    request_timeout_s: float
    """For the head of a request, and once more for its body; and for a client to go on reading an answer."""
    max_connections: int
    max_held_bytes: int = MAX_HELD_BYTES
    authenticator: Authenticator | None = None
    """With one, tenants have shares of connections and bodies."""
    closing: bool = False
    """The server is about to stop: every answer is the last one of its connection."""
    silent: dict[Transport, None] = field(default_factory=dict)
    """Connections that have not said anything yet, the oldest first."""
    bodies: Shares = field(init=False)
    connections: Shares = field(init=False)

    def __post_init__(self) -> None:
        self.bodies = Shares(self.max_held_bytes)
        self.connections = Shares(self.max_connections)

    @property
    def held_bytes(self) -> int:
        """Of bodies that have no answer yet."""
        return self.bodies.held

    def owner(self, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """The tenant whose share a request counts for; None where there are no shares."""
        return None if self.authenticator is None else self.authenticator.owner(shown_in_headers(headers))

    def end_a_silent_one(self) -> bool:
        """Close the connection that has been silent longest, for one that is one too many; tells whether there was one.

        So connections without a request do not keep others out.
        """
        for transport in self.silent:
            del self.silent[transport]
            transport.abort()
            return True
        return False
