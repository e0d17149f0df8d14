"""The metrics port: Prometheus' application behind our listener, with TLS."""

import socket
import ssl
from collections.abc import Iterable
from datetime import timedelta
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.types import WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from config.settings import Settings
from web.browser_headers import HEADERS
from web.server.server import listen
from web.server.tls import certificate_of


def serve_metrics(settings: Settings, registry: CollectorRegistry) -> ThreadingWSGIServer:
    """Answer scrapes in threads of their own until the process ends.

    Raises:
        ConfigurationError: TLS_CERT and TLS_KEY cannot be used.
        ServiceFailedError: METRICS_PORT is taken.
    """
    certificate = certificate_of(settings)
    listener = listen(settings.http_host, settings.metrics_port, "METRICS_PORT", reuse=settings.reuse_port)
    listener.setblocking(True)
    server = _MetricsServer(listener, None if certificate is None else certificate.context(), settings.request_timeout)
    server.set_app(_with_headers(make_wsgi_app(registry)))
    Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def _with_headers(app: WSGIApplication) -> WSGIApplication:
    """The application, with what its answers tell browsers."""

    def answer(environ: WSGIEnvironment, start: Any) -> Iterable[bytes]:
        return app(environ, lambda status, headers, *more: start(status, [*headers, *HEADERS.items()], *more))

    return answer


class _MetricsServer(ThreadingWSGIServer):
    """Takes a ready listener, and does each TLS handshake in the connection's thread: a slow one blocks no other."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None, patience: timedelta) -> None:
        self.address_family = listener.family
        super().__init__(listener.getsockname()[:2], _SilentHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()
        self._tls = tls
        self._patience_s = patience.total_seconds()

    def finish_request(self, request: Any, client_address: Any) -> None:
        request.settimeout(self._patience_s)
        try:
            spoken = request if self._tls is None else self._tls.wrap_socket(request, server_side=True)
            super().finish_request(spoken, client_address)
        except OSError:  # the scraper went away, was too slow, or spoke no TLS
            return


class _SilentHandler(WSGIRequestHandler):
    """Logs no scrapes."""

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""
