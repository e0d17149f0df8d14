"""A receiver that only remembers, for the commands that call one."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Server(ThreadingHTTPServer):
    """What it got, and what it answers."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.calls: list[tuple[str, str, Any]] = []
        self.shown: list[str | None] = []
        self.answer: tuple[int, Any] = (202, {"accepted": 1, "rejected": []})


@pytest.fixture
def receiver(monkeypatch, tmp_path):
    """An HTTP server; what it got is in ``calls``, the keys in ``shown``, what it answers in ``answer``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer(None)

        def do_POST(self):
            self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        do_PUT = do_POST  # noqa: N815 - the name http.server calls

        def _answer(self, body):
            server.calls.append((self.command, self.path, body))
            server.shown.append(self.headers["Authorization"])
            status, answer = server.answer
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HTTP_PORT", str(server.server_port))
    monkeypatch.setenv("QUESTLINE_DATA_DIR", str(tmp_path))
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
