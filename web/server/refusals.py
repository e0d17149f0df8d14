"""The limits of an HTTP request, and the answers to connections that break a limit, as problems."""

from fastapi import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from web.bodies import MAX_BODY_BYTES
from web.browser_headers import HEADERS
from web.problems import RETRY_AFTER_SECONDS, problem

MAX_URL_BYTES = 8 * 1024
MAX_HEAD_BYTES = 32 * 1024
"""The URL and all headers; a bearer token and the cookies of another service on the same host fit."""
MAX_HEADERS = 100

_REFUSALS: dict[str, tuple[int, str]] = {
    "malformed-request": (400, "the request is not HTTP"),
    "too-slow": (408, "the request took too long to arrive"),
    "body-too-large": (413, f"the body must not be larger than {MAX_BODY_BYTES} bytes"),
    "url-too-long": (414, f"the URL must not be longer than {MAX_URL_BYTES} bytes"),
    "head-too-large": (431, f"the head must not be larger than {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers"),
    "too-many-connections": (503, "too many connections are open, try again later"),
    "too-many-bodies": (503, "too much is being received, try again later"),
    "tenant-busy": (503, "too much of this tenant is under way, try again later"),
}


def raw_refusal(kind: str, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """The whole answer, head and body, that ends a connection."""
    status, detail = _REFUSALS[kind]
    headers = {"connection": "close"} | ({"retry-after": str(RETRY_AFTER_SECONDS)} if status == 503 else {})
    answer: Response = problem(status, detail, kind=kind, headers=HEADERS | headers)
    head = [b"%b: %b\r\n" % pair for pair in (*default_headers, *answer.raw_headers)]
    return b"".join([STATUS_LINE[status], *head, b"\r\n", bytes(answer.body)])
