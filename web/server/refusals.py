"""The limits of an HTTP request, and the answers to connections that break a limit, as problems."""

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from models.declarations.error_codes import ProblemKind
from web.bodies import MAX_BODY_BYTES
from web.browser_headers import HEADERS
from web.problems import RETRY_AFTER_SECONDS, problem

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
