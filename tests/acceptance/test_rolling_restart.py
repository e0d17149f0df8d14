"""Every process of a product is replaced while events come in: no sender notices, and everything counts once."""

import http.client
import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from subprocess import Popen
from threading import Event, Thread
from typing import Any

import grpc
import pytest

from cli.client.messages import EVENTS_PATH, LOGIN_METHOD
from ingest.protos.account_pb2 import UserLoggedIn
from tests.acceptance.product import Up
from tests.conftest import long_only
from tests.support.servers import wait_until

SECONDS_BETWEEN = 0.005
PATIENCE = 80
RETRYABLE = {"503", "UNAVAILABLE"}


class Sender:
    """Sends one event after another, each until it is acknowledged, and counts what it was answered."""

    def __init__(self, name: str, send: Callable[[str, str], str], stop: Event) -> None:
        self.answers: Counter[str] = Counter()
        self.acknowledged = 0
        self.name = name
        self._send = send
        self._stop = stop
        self.thread = Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN):
            event_id, user = f"{self.name}-{self.acknowledged}", f"{self.name}-{self.acknowledged % 50}"
            answer = ""
            while answer not in {"202", "OK"}:
                answer = self._send(event_id, user)
                self.answers[answer] += 1
                if answer not in {"202", "OK", *RETRYABLE}:
                    return
            self.acknowledged += 1


def _post(connection: http.client.HTTPConnection, event_id: str, user: str) -> str:
    body = json.dumps({"event_id": event_id, "event_type": "login", "user_id": user})
    try:
        connection.request("POST", EVENTS_PATH, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        return repr(error)
    return str(answer.status)


def _keeping_alive(connection: http.client.HTTPConnection) -> Callable[[str, str], str]:
    return lambda event_id, user: _post(connection, event_id, user)


def _connecting_anew(port: int) -> Callable[[str, str], str]:
    def send(event_id: str, user: str) -> str:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
            return _post(connection, event_id, user)

    return send


def _by_grpc(channel: Any) -> Callable[[str, str], str]:
    call = channel.unary_unary

    def send(event_id: str, user: str) -> str:
        try:
            call(LOGIN_METHOD)(UserLoggedIn(id=event_id, user_id=user).SerializeToString(), timeout=20)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"

    return send


def _started(run: Up) -> int:
    """How often the supervised receiver has started."""
    return (run.data / "logs" / "receiver.log").read_text().count('"receiver_started"')


def _replace_receiver(run: Up, beside_log: Any) -> None:
    """A second receiver takes the ports beside the first one, until the supervisor has started that one anew."""
    command = run.command("receiver")
    with beside_log.open("w") as output, Popen(command, env=run.environment, stderr=output) as beside:
        wait_until(lambda: "receiver_started" in beside_log.read_text(), seconds=PATIENCE, message=beside_log.read_text)
        before = _started(run)
        os.kill(run.programs()["receiver"], signal.SIGTERM)
        wait_until(lambda: _started(run) == before + 1, seconds=PATIENCE, message=run.said)
        beside.send_signal(signal.SIGTERM)
        assert beside.wait(PATIENCE) == 0, beside_log.read_text()


def _replace(run: Up, name: str) -> None:
    before = run.programs()[name]
    os.kill(before, signal.SIGTERM)
    wait_until(lambda: run.programs().get(name, before) != before, seconds=PATIENCE, message=run.said)


@pytest.fixture
def ways(ports):
    """How senders may send: by a name, a function."""
    with (
        closing(http.client.HTTPConnection("127.0.0.1", ports["HTTP_PORT"], timeout=20)) as alive,
        grpc.insecure_channel(f"127.0.0.1:{ports['GRPC_PORT']}") as channel,
    ):
        yield {
            "alive": _keeping_alive(alive),
            "anew": _connecting_anew(ports["HTTP_PORT"]),
            "grpc": _by_grpc(channel),
        }


@long_only
@pytest.mark.timeout(400)
def test_a_rolling_restart_of_all_processes_under_load_is_noticed_by_no_sender(up, ways, tmp_path):
    run = up(REUSE_PORT="true", JOURNAL_RETRY_AFTER="4s", JOURNAL_SWEEP_INTERVAL="1s")
    run.ready()
    programs = run.programs()
    stop = Event()
    senders = [Sender(name, send, stop) for name, send in ways.items()]
    try:
        _replace_receiver(run, tmp_path / "beside.log")
        for name in ("worker-0", "worker-1", "maintenance", "beat"):
            _replace(run, name)
    finally:
        stop.set()
        for sender in senders:
            sender.thread.join()
    answers = {sender.name: dict(sender.answers) for sender in senders}
    print(f"answers: {answers}")
    assert all(set(one) <= {"202", "OK", *RETRYABLE} for one in answers.values()), answers
    assert {name for name, pid in run.programs().items() if pid == programs[name]} == {"redis", "postgres", "flower"}

    acknowledged = sum(sender.acknowledged for sender in senders)
    assert acknowledged > 100
    wait_until(
        lambda: run.rows("SELECT count(*), count(DISTINCT event_id) FROM events") == [(acknowledged,) * 2],
        seconds=PATIENCE,
        message=lambda: f"{acknowledged} acknowledged, {run.rows('SELECT count(*) FROM events')} in PostgreSQL",
    )
    assert run.rows("SELECT count(*) FROM dead_letters") == [(0,)]
    audited = run.run("audit", "--all", seconds=PATIENCE)
    assert audited.returncode == 0, audited.stdout + audited.stderr
