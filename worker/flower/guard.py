"""Flower behind our host names only, and in no page of another site.

A browser on this machine can be led here by any page under a name of its own that leads to this address; the password
that it has noted goes with it. An address is no such name.
"""

import socket
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import flower.command
from flower.app import Flower
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.web import OutputTransform, RequestHandler

from config.settings import Settings

_HEADERS = {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'self'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ASK_FOR = "Flower is not asked by this name: use its address, or name the host in FLOWER_HOSTS\n"


def guard_flower(settings: Settings) -> None:
    """Let the Flower that this process starts refuse other names, and say how browsers must treat its answers."""
    given = (name.strip() for name in (settings.flower_hosts or "").split(","))
    names = frozenset(name.lower() for name in ("localhost", socket.gethostname(), settings.http_host, *given) if name)

    class GuardedFlower(Flower):  # type: ignore[misc] # it has no types
        """Flower behind a check of the name that it is asked by."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.add_transform(_Headers)

        def find_handler(self, request: HTTPServerRequest, **options: Any) -> Any:
            """Tornado's way of choosing who answers."""
            if not is_ours(request.host_name, names):
                return self.get_handler_delegate(request, _WrongName)
            return super().find_handler(request, **options)

    flower.command.Flower = GuardedFlower


def is_ours(host: str, names: Iterable[str]) -> bool:
    """Whether a request's host is an address, or one of these names."""
    host = host.lower().rstrip(".")
    try:
        ip_address(host.strip("[]"))
    except ValueError:
        return host in names
    return True


class _Headers(OutputTransform):
    """Adds the headers to every answer."""

    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        for name, value in _HEADERS.items():
            if name not in headers:
                headers[name] = value
        return super().transform_first_chunk(status_code, headers, chunk, finishing)


class _WrongName(RequestHandler):
    """Answers nothing but this."""

    def prepare(self) -> None:
        self.set_status(421)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(_ASK_FOR)
