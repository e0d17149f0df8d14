"""Checks a request's address: UTF-8, and known parameters.

A parameter that is misspelt would be left out without a word, and the answer be that of another question.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from models.declarations.error_codes import ProblemKind
from web.problems import problem

_HEALTH = frozenset({"/healthz", "/readyz"})
"""Monitors may add parameters of their own to these, and must not take a 422 for an unhealthy process."""
_UNDECODABLE = "the address holds bytes, written with %, that are not UTF-8"


class AddressCheck:
    """ASGI middleware that refuses addresses that are no text; they would be read as other ones."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and not _is_text(scope):
            await problem(ProblemKind.MALFORMED_REQUEST, _UNDECODABLE)(scope, receive, send)
            return
        await self._app(scope, receive, send)


async def known_parameters(request: Request) -> None:
    """Refuse query parameters that the route does not take, or takes once.

    Raises:
        RequestValidationError: it names each, and those that the route takes.
    """
    if not request.url.query or request.url.path in _HEALTH:
        return
    taken = _taken(request.app, request.scope["route"].path_format, request.method)
    if taken is None:
        return
    names = Counter(name for name, _ in request.query_params.multi_items())
    faults = [_unknown(name, taken) for name in names if name not in taken]
    faults += [
        _fault(name, "is given twice") for name, times in names.items() if times > 1 and taken.get(name) is False
    ]
    if faults:
        raise RequestValidationError(faults)


def _is_text(scope: Scope) -> bool:
    for part in (scope.get("raw_path", b""), scope["query_string"]):
        if b"%" in part:
            try:
                unquote_to_bytes(part).decode()
            except UnicodeDecodeError:
                return False
    return True


def _taken(app: FastAPI, path: str, method: str) -> Mapping[str, bool] | None:
    """The query parameters of a route, and whether each may be there several times; None where it is not described."""
    operation = app.openapi()["paths"].get(path, {}).get(method.lower())
    if operation is None:
        return None
    listed = (one for one in operation.get("parameters", []) if one["in"] == "query")
    return {one["name"]: "array" in str(one.get("schema", {})) for one in listed}


def _unknown(name: str, taken: Mapping[str, bool]) -> dict[str, Any]:
    known = f"those of this route are {', '.join(sorted(taken))}" if taken else "this route takes none"
    return _fault(name, f"is no parameter: {known}")


def _fault(name: str, reason: str) -> dict[str, Any]:
    return {"loc": ("query", name), "msg": reason, "type": "value_error", "input": None}
