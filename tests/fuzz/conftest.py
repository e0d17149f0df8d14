"""One receiver for the bad inputs of a file: the product's own process, on real servers, with nobody behind it."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.client.ports import free_port
from models.database.connection import connect_database
from models.state.connection import connect_state
from tests.conftest import LONG, empty_tables
from tests.support.environment import database_settings, remember_path
from tests.support.servers import wait_until

_LEAKS = ("Traceback", 'File "', ".py", "/site-packages", "psycopg2", "sqlalchemy", "redis.exceptions", "object at 0x")
"""What an answer must not say: where our code is, what it is made of."""


@dataclass
class Receiver:
    """A running ``questline receiver``, and what it was sent."""

    process: subprocess.Popen[bytes]
    log: Path
    ports: dict[str, int]
    sent: Counter[str] = field(default_factory=Counter)
    """Inputs by kind and by what was answered."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['HTTP_PORT']}"

    def judge(self, kind: str, status: int, content_type: str, body: bytes, *, method: str = "POST") -> None:
        """Hold one answer to the promise: no 5xx, for nothing is overloaded, nothing leaked, a refusal says why."""
        self.sent[f"{kind} {status}"] += 1
        text = body.decode()
        assert status < 500, text
        assert not any(leak in text for leak in _LEAKS), text
        if status >= 400 and method != "HEAD":
            assert content_type == "application/problem+json", (status, content_type, text)
            problem = httpx.Response(status, content=body).json()
            assert problem["status"] == status
            assert problem["title"]
            assert problem["detail"]
            if problem["detail"].startswith("every event"):
                assert problem["rejected"]
            for refusal in problem.get("rejected", ()):
                names_what_is_wrong(refusal)

    def was_sent(self, at_least: int) -> None:
        """In a long run there were enough inputs."""
        assert not LONG or self.sent.total() >= at_least, self.sent

    def is_unhurt(self) -> None:
        """It runs, answers, and had no fault of its own."""
        assert self.process.poll() is None
        assert httpx.get(f"{self.url}/healthz", timeout=20).json() == {"status": "ok"}
        said = self.log.read_text()
        assert "Traceback" not in said, said[said.index("Traceback") - 2000 :][:6000]
        assert '"request_broke"' not in said


def names_what_is_wrong(refusal: dict[str, Any]) -> None:
    assert type(refusal["index"]) is int
    assert type(refusal["field"]) is str  # which may be empty: JSON allows such a name
    assert refusal["code"]
    assert refusal["message"]


@pytest.fixture(scope="module")
def receiver(redis_url, database_url, tmp_path_factory):
    folder = tmp_path_factory.mktemp("receiver")
    connect_state(redis_url).flushall()
    engine = connect_database(database_url)
    empty_tables(engine)  # a dead letter of another test has a traceback, and means to
    engine.dispose()
    ports = {name: free_port() for name in ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT")}
    settings = {
        **{name: str(port) for name, port in ports.items()},
        **database_settings(database_url),
        "BROKER_URL": redis_url,
        "QUESTLINE_DATA_DIR": str(folder),
        # No worker empties the journal, and a 503 is a fault here: no bound may be reached.
        "JOURNAL_MAX_AGE": "7d",
        "JOURNAL_MAX_BYTES": str(4 * 1024**3),
        "REQUEST_TIMEOUT": "5s",
        "COMMIT_LINGER": "1ms",
    }
    remember_path(settings)
    log = folder / "receiver.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "receiver"], env={**os.environ, **settings}, stderr=output
        )
    made = Receiver(process, log, ports)
    try:
        wait_until(lambda: "receiver_started" in log.read_text(), seconds=60, message=log.read_text)
        yield made
        made.is_unhurt()
        print(f"\n{made.sent.total()} inputs: {dict(sorted(made.sent.items()))}")
    finally:
        process.terminate()
        assert process.wait(20) == 0
