"""The limits of an HTTP request, and the answers to connections that break a limit, as problems."""

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from ingest.http import MAX_BODY_BYTES
from ingest.problems import RETRY_AFTER_SECONDS, problem

MAX_URL_BYTES = 8 * 1024
MAX_HEAD_BYTES = 32 * 1024
"""The URL and all headers; a bearer token and the cookies of another service on the same host fit."""
MAX_HEADERS = 100

_REFUSALS: dict[int, tuple[str, str]] = {
    400: ("malformed-request", "the request is not HTTP"),
    408: ("too-slow", "the request took too long to arrive"),
    413: ("body-too-large", f"the body must not be larger than {MAX_BODY_BYTES} bytes"),
    414: ("url-too-long", f"the URL must not be longer than {MAX_URL_BYTES} bytes"),
    431: ("head-too-large", f"the head must not be larger than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers"),
    503: ("too-many-connections", "too many connections are open, try again later"),
}


def raw_refusal(status: int, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """The whole answer, head and body, that ends a connection."""
    kind, detail = _REFUSALS[status]
    headers = {"connection": "close"} | ({"retry-after": str(RETRY_AFTER_SECONDS)} if status == 503 else {})
    answer: Response = problem(status, detail, kind=kind, headers=headers)
    head = [b"%b: %b\r\n" % pair for pair in (*default_headers, *answer.raw_headers)]
    return b"".join([STATUS_LINE[status], *head, b"\r\n", bytes(answer.body)])
