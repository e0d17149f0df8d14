"""What `questline up` makes of the receiver's answer: it waits for servers, and not for an operator's decision."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from config.settings import Settings
from tools.local.readiness import Readiness, receiver_readiness

DECISION = "PostgreSQL is older than what was written to it: an operator must run `questline recover`"


@pytest.fixture
def answering():
    """Makes a receiver that answers so, and its settings."""
    servers = []

    def answer(status, checks):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = json.dumps({"checks": checks}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments):
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return Settings(http_port=server.server_port)

    yield answer
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "checks", "expected"),
    [
        (200, {"state": "ok"}, Readiness(None)),
        (503, {"state": "does not answer"}, Readiness("state: does not answer")),
        (503, {"state": "ok", "history": "does not answer"}, Readiness("history: does not answer")),
        (503, {"history": DECISION}, Readiness(f"history: {DECISION}", DECISION)),
    ],
)
def test_only_a_postgresql_that_went_back_in_time_is_an_operators_decision(answering, status, checks, expected):
    assert receiver_readiness(answering(status, checks)) == expected
