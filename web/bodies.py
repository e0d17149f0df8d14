"""Bodies of requests, never more of one in memory than its bound."""

from fastapi import Request
from starlette.requests import ClientDisconnect

from web.problems import ProblemError

MAX_BODY_BYTES = 1024 * 1024
"""Of any request; the server itself reads no more."""


async def read_body(request: Request, most: int = MAX_BODY_BYTES, shown: str = "1 MiB") -> bytes:
    """The body, whatever its Content-Length says; ``shown`` is the bound in words.

    Raises:
        ProblemError: it is larger than ``most`` bytes, or ended too early.
    """
    too_large = f"the body must not be larger than {shown}"
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise ProblemError(413, too_large)
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise ProblemError(413, too_large)
    except ClientDisconnect as error:
        raise ProblemError(400, "the body ended too early") from error
    return bytes(body)
