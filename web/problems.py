"""Every error answer of the HTTP side as RFC 9457 ``application/problem+json``.

The exceptions that leave a handler become answers of one shape. ``install_problems`` covers the whole app: what routes
raise themselves (``ProblemError``), errors of the stores, and what the framework refuses (404, 405, a bad parameter,
a bug).
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from models.declarations.error_codes import ProblemKind
from models.errors import (
    AccessDeniedError,
    JournalFullError,
    NotReadyError,
    QuotaExceededError,
    RateLimitedError,
    RetryableError,
)
from web.browser_headers import HEADERS
from web.public_errors import public_message

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_SECONDS = 2
"""When to try again after a 503: the journal drains, and a Redis that restarts is back, in seconds."""
_KINDS = {JournalFullError: ProblemKind.JOURNAL_FULL, NotReadyError: ProblemKind.NOT_READY}
_FAULTS, _MAX_LOCATION = 10, 200
"""How many faults of a request are told, and how many characters of the place of each."""

log = structlog.get_logger()


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    type: str = Field(description="What kind of problem it is; about:blank where the status says it all.")
    title: str
    status: int
    detail: str


class ProblemError(Exception):
    """A request that cannot be served, with the answer that says so; any route may raise it."""

    def __init__(
        self, what: ProblemKind | int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """The parameters are those of ``problem``."""
        super().__init__(detail)
        self.answer = problem(what, detail, headers=headers, **more)


def problem(what: ProblemKind | int, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """A problem answer: of a kind of our own, or what an HTTP status says; ``more`` are its extension members."""
    status, kind = (what.status, what.urn) if isinstance(what, ProblemKind) else (what, "about:blank")
    content = {
        "type": kind,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **more,
    }
    return Response(_as_json(content), status, dict(headers or {}), PROBLEM_JSON)


def _as_json(content: Any) -> bytes:
    try:
        return orjson.dumps(content)
    except orjson.JSONEncodeError:  # the detail quotes the request: half a surrogate pair is escaped
        return json.dumps(content).encode()


def install_problems(app: FastAPI) -> None:
    """Make every error answer of the app a problem.

    The handlers are coroutines, though they wait for nothing: others would need a thread, and those of requests may all
    be waiting for a server that is away.
    """
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(RetryableError, _try_again)
    app.add_exception_handler(AccessDeniedError, _denied)
    app.add_exception_handler(Exception, _broken)


async def _problem(_request: Request, error: Exception) -> Response:
    if not isinstance(error, ProblemError):
        raise error
    return error.answer


async def _http_exception(_request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return problem(error.status_code, str(error.detail), headers=error.headers)


async def _invalid_request(_request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    faults = [f"{_shortened('.'.join(str(part) for part in one['loc']))}: {one['msg']}" for one in found[:_FAULTS]]
    if len(found) > _FAULTS:
        faults.append(f"and {len(found) - _FAULTS} more")
    return problem(ProblemKind.INVALID_REQUEST, "; ".join(faults))


def _shortened(location: str) -> str:
    """A name may be as long as a body."""
    return location if len(location) <= _MAX_LOCATION else f"{location[:_MAX_LOCATION]}…"


async def _denied(_request: Request, error: Exception) -> Response:
    return problem(ProblemKind.ACCESS_DENIED, str(error))


async def _try_again(_request: Request, error: Exception) -> Response:
    return too_many(error) if isinstance(error, RateLimitedError) else unavailable(error)


def too_many(error: RateLimitedError) -> Response:
    """The 429 of a caller that has used up what it may, with the time to try again."""
    kind = ProblemKind.QUOTA_EXCEEDED if isinstance(error, QuotaExceededError) else ProblemKind.RATE_LIMITED
    return problem(kind, str(error), headers={"Retry-After": str(error.retry_after)})


def unavailable(error: Exception) -> Response:
    """The 503 of an error that passes, in words that are fit for callers."""
    kind = next((kind for cause, kind in _KINDS.items() if isinstance(error, cause)), ProblemKind.UNAVAILABLE)
    return problem(kind, public_message(error), headers={"Retry-After": str(RETRY_AFTER_SECONDS)})


async def _broken(request: Request, error: Exception) -> Response:
    log.error("request_broke", method=request.method, path=request.url.path, error=repr(error))
    # This leaves outside of all middleware, which would have added the headers.
    return problem(500, "The server failed to answer this request; its log says why.", headers=HEADERS)
