"""Authenticates each request by its key, before anything else of it is read.

A request of either transport gets its ``Caller``, or a refusal. The keys themselves are known to the
``Authenticator`` that is handed in. Without one, no key is asked for: for tests, and for parts that are put together by
hand.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from config.loopback import is_loopback
from models.access.callers import ANYBODY, Caller
from models.declarations.error_codes import ProblemKind
from models.errors import AccessDeniedError, RateLimitedError, RetryableError, UnauthenticatedError
from web.problems import problem, too_many, unavailable

_DOCS_ASSETS = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png", "start.js")
FREE_PATHS = frozenset(
    {"/healthz", "/readyz", "/openapi.json", "/docs", "/redoc", *(f"/docs/assets/{name}" for name in _DOCS_ASSETS)}
)
"""Asked by machines and people that hold no key: health, and the description of the API, which tells no data."""
_BEARER = b"bearer "
_TELLING = frozenset({b"host", b"origin"})
_CHALLENGE = 'Bearer realm="questline"'
_ELSEWHERE = "without API keys only this machine is served, by a loopback address: see `questline keys create`"


class Authenticator(Protocol):
    """Knows the keys of the installation. Safe to use from several threads."""

    def admit(self, shown: str | None) -> Caller:
        """The caller that shows this key, or none.

        Raises:
            UnauthenticatedError: a key is asked for, and this one is not valid.
            RateLimitedError: the key has made as many requests as it may for now.
            RetryableError: whether keys are asked for is not known yet.
        """
        ...

    def owner(self, shown: str | None) -> str | None:
        """Whose share of the receiver a request is of that shows this key.

        That of its tenant, or the empty name for all that show no valid key. None where no key is asked for, and so
        there are no shares.
        """
        ...

    def denied(self) -> None:
        """Count a request that its caller's key did not allow."""
        ...

    def crowded_out(self) -> None:
        """Count a request that was one too many of its tenant."""
        ...


class KeyCheck:
    """ASGI middleware that notes the caller of each request, or refuses it; it reads no body."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator) -> None:
        self._app = app
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] not in FREE_PATHS:
            try:
                caller = self._authenticator.admit(shown_in_headers(scope["headers"]))
            except (UnauthenticatedError, RetryableError) as error:
                await _refusal(error)(scope, receive, send)
                return
            if caller is ANYBODY and _from_elsewhere(scope["headers"]):
                self._authenticator.denied()
                await problem(ProblemKind.ACCESS_DENIED, _ELSEWHERE)(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


def install_authentication(app: FastAPI, authenticator: Authenticator) -> None:
    """Ask for keys at every route that is not free of them, and count what keys do not allow."""

    async def denied(_request: Request, error: Exception) -> Response:
        authenticator.denied()
        return problem(ProblemKind.ACCESS_DENIED, str(error))

    app.add_middleware(KeyCheck, authenticator=authenticator)
    app.add_exception_handler(AccessDeniedError, denied)


def shown_in_metadata(metadata: Iterable[tuple[str, str | bytes]] | None) -> str | None:
    """The key in the metadata of a gRPC call: ``authorization`` or ``x-api-key``, as over HTTP."""
    return shown_in_headers(
        (name.encode(), value.encode("latin-1", "replace") if isinstance(value, str) else value)
        for name, value in metadata or ()
    )


def shown_in_headers(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key in lower-case headers. A bearer's token goes before X-API-Key; other kinds of it are a proxy's."""
    found = None
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == _BEARER:
            return value[7:].strip().decode("latin-1")
        if name == b"x-api-key":
            found = value
    return None if found is None else found.strip().decode("latin-1")


def _from_elsewhere(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request that reached loopback was sent on by a proxy, or by a web page of another site.

    A browser on this machine can be led here by any page, under any name; it says by which, and from where.
    """
    return any(not _is_ours(value) for name, value in headers if name in _TELLING)


@lru_cache(maxsize=64)
def _is_ours(value: bytes) -> bool:
    text = value.decode("latin-1")
    try:
        return is_loopback(urlsplit(text if "//" in text else f"//{text}").hostname or "")
    except ValueError:
        return False


def _refusal(error: Exception) -> Response:
    if isinstance(error, UnauthenticatedError):
        headers = {"WWW-Authenticate": _CHALLENGE}
        return problem(ProblemKind.UNAUTHENTICATED, str(error), headers=headers)
    if isinstance(error, RateLimitedError):
        return too_many(error)
    return unavailable(error)
